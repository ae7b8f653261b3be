// out[i] = x[i] rounded to bf16.
//
// Mapping: a thread takes 8 values, 16 bytes of the result; what is left of a multiple of 8 goes
// one by one. Bytes: 6 a value.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int THREADS = 256;

struct alignas(16) Chunk {
    __nv_bfloat16 of[CUDA_CHUNK];
};

// Grid: chunks in any number of blocks.
static __global__ void __launch_bounds__(THREADS)
    round_kernel(__nv_bfloat16 *out, const float *x, long long n)
{
    const long long n_chunks = n / CUDA_CHUNK, step = (long long)gridDim.x * THREADS;
    const long long first = (long long)blockIdx.x * THREADS + threadIdx.x;

    for (long long i = first; i < n_chunks; i += step) {
        const float4 low = ((const float4 *)x)[2 * i], high = ((const float4 *)x)[2 * i + 1];
        const float value[CUDA_CHUNK] = {low.x,  low.y,  low.z,  low.w,
                                         high.x, high.y, high.z, high.w};
        Chunk chunk;
#pragma unroll
        for (int j = 0; j < CUDA_CHUNK; j++)
            chunk.of[j] = __float2bfloat16_rn(value[j]);
        ((Chunk *)out)[i] = chunk;
    }
    for (long long i = n_chunks * CUDA_CHUNK + first; i < n; i += step)
        out[i] = __float2bfloat16_rn(x[i]);
}

emc_status cuda_round(emc_device *dev, void *out, const float *x, size_t n)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_round(dev->dtype, out, x, n));
    const long long most = 16LL * cuda->n_sms;
    const long long blocks = ((long long)(n / CUDA_CHUNK) + THREADS) / THREADS;
    return cuda_check(EMC_LAUNCH(round_kernel, ((unsigned)(blocks < most ? blocks : most)),
                                 (THREADS), 0, cuda->stream, (__nv_bfloat16 *)out, x, (long long)n),
                      "round: n=%zu", n);
}
