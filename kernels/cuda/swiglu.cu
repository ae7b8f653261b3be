// out = silu(gate) * up. One 16-byte load of each, one 16-byte store: as fast as memory allows.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int THREADS = 256;

static __device__ __forceinline__ float silu(float x)
{
    return x / (1.0f + __expf(-x));
}

// Grid: chunks of 8 values over all rows, in any number of blocks.
static __global__ void swiglu_kernel(__nv_bfloat16 *out, const __nv_bfloat16 *gate_up, int rows,
                                     int ffn)
{
    const long long n_chunks = (long long)rows * (ffn / CUDA_CHUNK);

    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n_chunks;
         i += (long long)gridDim.x * blockDim.x) {
        const long long row = i / (ffn / CUDA_CHUNK);
        const int column = (int)(i % (ffn / CUDA_CHUNK)) * CUDA_CHUNK;
        const __nv_bfloat16 *gate = gate_up + row * 2 * ffn + column;
        const uint4 g4 = *reinterpret_cast<const uint4 *>(gate);
        const uint4 u4 = *reinterpret_cast<const uint4 *>(gate + ffn);
        const __nv_bfloat162 *g = reinterpret_cast<const __nv_bfloat162 *>(&g4);
        const __nv_bfloat162 *u = reinterpret_cast<const __nv_bfloat162 *>(&u4);
        uint4 o4;
        __nv_bfloat162 *o = reinterpret_cast<__nv_bfloat162 *>(&o4);

        for (int j = 0; j < CUDA_CHUNK / 2; j++) {
            const float2 a = __bfloat1622float2(g[j]), b = __bfloat1622float2(u[j]);
            o[j] = __floats2bfloat162_rn(silu(a.x) * b.x, silu(a.y) * b.y);
        }
        *reinterpret_cast<uint4 *>(out + row * ffn + column) = o4;
    }
}

emc_status cuda_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn)
{
    cuda_device *cuda = cuda_use(dev);

    if (rows < 1 || ffn < 8 || ffn % 8 != 0)
        return emc_fail(EMC_ERR_ARG, "swiglu: rows=%d ffn=%d, need rows >= 1, ffn %% 8 == 0", rows,
                        ffn);
    if (!cuda_aligned(out) || !cuda_aligned(gate_up))
        return emc_fail(EMC_ERR_ARG, "swiglu: rows=%d ffn=%d, a tensor is not 16-byte aligned",
                        rows, ffn);
    const size_t n_bytes = (size_t)rows * (size_t)ffn * sizeof(__nv_bfloat16);
    if (cuda_overlap(out, n_bytes, gate_up, 2 * n_bytes))
        return emc_fail(EMC_ERR_ARG, "swiglu: rows=%d ffn=%d, out overlaps gate_up", rows, ffn);
    const long long n_chunks = (long long)rows * (ffn / CUDA_CHUNK);
    const long long most = 16LL * cuda->n_sms, blocks = (n_chunks + THREADS - 1) / THREADS;
    return cuda_check(EMC_LAUNCH(swiglu_kernel, ((unsigned)(blocks < most ? blocks : most)),
                                 (THREADS), 0, cuda->stream, (__nv_bfloat16 *)out,
                                 (const __nv_bfloat16 *)gate_up, rows, ffn),
                      "swiglu: rows=%d ffn=%d", rows, ffn);
}
