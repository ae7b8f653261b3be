// out = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
//
// Mapping: a block takes PIECE chunks of eight values of one row, a thread CHUNKS of them, a
// block's width apart; blockIdx.x is the piece, blockIdx.y the row (and every gridDim.y-th after
// it), so that blocks which run together read neighbouring memory and no index is ever divided. 384
// chunks are a quarter of the rows of Qwen3-8B and whole rows of Qwen3-0.6B.
//
// Bytes: 6 for an output value: 4 read, 2 written, nothing twice. A thread has six 16-byte loads in
// flight, an SM with its ten such blocks 120 KiB: several times what covers the latency. What
// is read here is not needed again, and so does not push the output, which is, out of the L2.
//
// Numbers: f32; exp to 2 ulp of its argument's rounding, then one rounding at the store.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int THREADS = 128;
constexpr int CHUNKS = 3;
constexpr int PIECE = THREADS * CHUNKS;

static __device__ __forceinline__ float silu(float x)
{
    return __fdividef(x, 1.0f + __expf(-x));
}

static __global__ void __launch_bounds__(THREADS)
    swiglu_kernel(uint4 *out, const uint4 *gate_up, int rows, int row_chunks)
{
    const int first = blockIdx.x * PIECE + threadIdx.x;

    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        const uint4 *gate = gate_up + (size_t)row * 2 * row_chunks;
        uint4 g[CHUNKS], u[CHUNKS];

#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            const int at = first + i * THREADS;
            if (at < row_chunks) {
                g[i] = __ldcs(gate + at);
                u[i] = __ldcs(gate + row_chunks + at);
            }
        }
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            const int at = first + i * THREADS;
            float a[8], b[8];
            if (at >= row_chunks)
                break;
            widen(a, g[i]);
            widen(b, u[i]);
            for (int j = 0; j < 8; j++)
                a[j] = silu(a[j]) * b[j];
            out[(size_t)row * row_chunks + at] = narrow(a);
        }
    }
}

emc_status cuda_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_swiglu(dev->dtype, out, gate_up, rows, ffn));
    const int row_chunks = ffn / CUDA_CHUNK;
    return cuda_check(EMC_LAUNCH(swiglu_kernel,
                                 (cuda_blocks(row_chunks, PIECE),
                                  rows < CUDA_MAX_GRID_Y ? rows : CUDA_MAX_GRID_Y),
                                 (THREADS), 0, cuda->stream, (uint4 *)out, (const uint4 *)gate_up,
                                 rows, row_chunks),
                      "swiglu: rows=%d ffn=%d", rows, ffn);
}
