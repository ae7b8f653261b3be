// Kernels that use memory in ways whose counts are known, or in ways that are mistakes.
#include "kernels/cuda/device.cuh"
#include "virtual_gpu/own_kernels.h"

static __global__ void strided_kernel(float *y, const float *x, int from_stride, int to_stride)
{
    y[(int)threadIdx.x * to_stride] = x[(int)threadIdx.x * from_stride];
}

cudaError_t own_strided(float *y, const float *x, int from_stride, int to_stride,
                        cudaStream_t stream)
{
    return EMC_LAUNCH(strided_kernel, (1), (32), 0, stream, y, x, from_stride, to_stride);
}

// As kernels write it: a chunk is loaded whole, and used by its parts.
static __global__ void wide_kernel(uint4 *y, const uint4 *x)
{
    uint4 v = x[threadIdx.x];

    v.x ^= 1;
    v.w += v.y;
    y[threadIdx.x] = v;
}

cudaError_t own_wide(void *y, const void *x, cudaStream_t stream)
{
    return EMC_LAUNCH(wide_kernel, (1), (32), 0, stream, (uint4 *)y, (const uint4 *)x);
}

static __global__ void shared_stride_kernel(float *y, int stride)
{
    EMC_DYNAMIC_SMEM(raw);
    float *shared = reinterpret_cast<float *>(raw);

    shared[(int)threadIdx.x * stride] = (float)threadIdx.x;
    __syncwarp();
    y[threadIdx.x] = shared[(int)threadIdx.x * stride];
}

cudaError_t own_shared_stride(float *y, int stride, cudaStream_t stream)
{
    return EMC_LAUNCH(shared_stride_kernel, (1), (32), (size_t)(32 * stride) * sizeof(float),
                      stream, y, stride);
}

static __global__ void increment_kernel(int *y, const int *x, int n)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i < n)
        y[i] = x[i] + 1;
}

cudaError_t own_increment(int *y, const int *x, int n, cudaStream_t stream)
{
    return EMC_LAUNCH(increment_kernel, ((unsigned)(n + 63) / 64), (64), 0, stream, y, x, n);
}

static __device__ __attribute__((noinline)) int deeper(volatile int *p, int n)
{
    volatile int here[64];

    here[n % 64] = n;
    return n < 0 ? p[0] : deeper(p, n + 1) + here[n % 64];
}

static __global__ void mistake_kernel(own_mistake mistake, int *p, int n)
{
    EMC_SHARED(int, shared, [64]);
    const int t = (int)threadIdx.x;

    switch (mistake) {
    case MISTAKE_READ_PAST_END:
        p[t] = p[n - 63 + t];
        break;
    case MISTAKE_WRITE_FAR:
        p[n + 5000] = t;
        break;
    case MISTAKE_RACE_BLOCKS:
        p[t] = (int)blockIdx.x;
        break;
    case MISTAKE_RACE_THREADS:
        shared[t] = t;
        shared[63 - t] = t;
        p[t] = shared[t];
        break;
    case MISTAKE_UNWRITTEN_SHARED:
        p[t] = shared[t];
        break;
    case MISTAKE_DIVERGENT_BARRIER:
        if (t < 7)
            __syncthreads();
        p[t] = __shfl_sync(~0u, t, 0);
        break;
    case MISTAKE_ABSENT_LANE:
        p[t] = __shfl_sync(t & 1 ? 0xaaaaaaaau : 0x55555555u, t, 0);
        break;
    case MISTAKE_COPY_IN_FLIGHT:
        cp_async_16(smem_addr_of(&shared[t & ~3]), &p[t & ~3], true);
        cp_async_commit();
        p[t] = shared[t];
        cp_async_wait<0>();
        break;
    case MISTAKE_MISALIGNED:
        *reinterpret_cast<uint2 *>(&p[1]) = make_uint2(1, 2);
        break;
    case MISTAKE_TOO_DEEP:
        p[t] = deeper(p, 0);
        break;
    }
}

cudaError_t own_make_mistake(own_mistake mistake, int *p, int n, cudaStream_t stream)
{
    return EMC_LAUNCH(mistake_kernel, (2), (64), 0, stream, mistake, p, n);
}
