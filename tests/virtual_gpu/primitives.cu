// Do shuffles, votes, atomics, static shared memory, early exits and a template kernel with a
// two-dimensional block behave as documented?
#include "kernels/cuda/device.cuh"
#include "virtual_gpu/own_kernels.h"

constexpr int BINS = 16;
constexpr int NONE = 0x7fffffff;

static __device__ void count_values(int *bins, int4 v, int *max_out)
{
    atomicAdd(&bins[v.x % BINS], 1);
    atomicAdd(&bins[v.y % BINS], 1);
    atomicAdd(&bins[v.z % BINS], 1);
    atomicAdd(&bins[v.w % BINS], 1);
    atomicMax(max_out, max(max(v.x, v.y), max(v.z, v.w)));
}

// Grid: one block per 32 * WARPS groups of four.
template <int WARPS>
static __global__ void __launch_bounds__(WARPS * 32)
    primitives_kernel(const int4 *x, int n4, int *sum, int *hist, int *max_out, int *firsts)
{
    EMC_SHARED(int, partial, [WARPS]);
    EMC_SHARED(int, bins, [BINS]);
    EMC_SHARED(int, first, );
    const int t = (int)(threadIdx.y * blockDim.x + threadIdx.x), lane = t & 31, warp = t >> 5;

    if (t < BINS)
        bins[t] = 0;
    if (t == 0)
        first = NONE;
    __syncthreads(); // bins and first are ready
    const int i = (int)blockIdx.x * WARPS * 32 + t;
    const int4 v = i < n4 ? __ldg(x + i) : make_int4(0, 0, 0, 0);
    int s = v.x + v.y + v.z + v.w;
    if (i < n4)
        count_values(bins, v, max_out);
    const unsigned odd = __ballot_sync(~0u, i < n4 && (v.x & 1));
    const int value = __shfl_sync(~0u, v.x, odd ? __ffs((int)odd) - 1 : 0);
    if (lane == 0 && odd)
        atomicMin(&first, (warp << 20) | (value & 0xfffff));
    for (int d = 16; d; d >>= 1)
        s += __shfl_down_sync(~0u, s, d);
    if (lane == 0)
        partial[warp] = s;
    __syncthreads(); // partial, bins and first are whole
    if (warp != 0)
        return; // the rest is one warp's work
    s = lane < WARPS ? partial[lane] : 0;
    for (int m = 16; m; m >>= 1)
        s += __shfl_xor_sync(~0u, s, m);
    if (lane == 0) {
        atomicAdd(sum, s);
        firsts[blockIdx.x] = first == NONE ? -1 : first & 0xfffff;
    }
    if (lane < BINS)
        atomicAdd(&hist[lane], bins[lane]);
}

cudaError_t own_primitives(const int *x, int n4, int *sum, int *hist, int *max, int *firsts,
                           cudaStream_t stream)
{
    const cudaError_t error = EMC_LAUNCH(primitives_kernel<1>, ((unsigned)(n4 + 31) / 32), (8, 4),
                                         0, stream, (const int4 *)x, n4, sum, hist, max, firsts);

    if (error != cudaSuccess)
        return error;
    return EMC_LAUNCH(primitives_kernel<4>, ((unsigned)(n4 + 127) / 128), (32, 4), 0, stream,
                      (const int4 *)x, n4, sum, hist, max, firsts);
}
