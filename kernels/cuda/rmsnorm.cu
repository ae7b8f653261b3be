// out = weight * x / sqrt(mean(x^2) + eps), a row at a time, with or without x = x + y before.
//
// Mapping: up to MAX_WARP_CHUNKS chunks of eight values, a warp has a row and a block eight of
// them; above, a block has a row, with just as many warps as give each thread HELD chunks. A
// thread's chunks lie a row's threads apart, so that neighbours read neighbouring 16 bytes. A row
// stays in registers from its one read to its one write; only rows of more than HELD * 1024 chunks
// are read again for the output.
//
// Bytes: 4 for a value of rmsnorm, 8 with the addition (x and y read, x and out written). The
// weights come from the caches, asked for together with the row. Four or eight 16-byte loads are in
// flight per thread, 64 KiB and more per SM.
//
// Numbers: f32. A thread sums its squares in order, warps add lanes in a tree, and a block's warps
// are added in order: the same for every row of this dim. The sum of x and y is rounded before it
// is squared, since that is what the next layer reads as x. One rounding at each store.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int HELD = 4; // chunks of a row that a thread keeps in registers
constexpr int MAX_WARP_CHUNKS = 32 * HELD;
constexpr int ROWS_PER_BLOCK = 8; // of those that a warp has
constexpr int MAX_THREADS = 1024;
constexpr int MAX_HELD_CHUNKS = MAX_THREADS * HELD;

typedef struct {
    uint4 *out; // may be x (rmsnorm) or y (add_rmsnorm)
    uint4 *x;   // written only where y is added to it
    const uint4 *y;
    const uint4 *weight;
    int rows;
    int chunks; // of a row
    float eps;
} norm_job;

static __device__ __forceinline__ uint4 add(uint4 x, uint4 y)
{
    float a[8], b[8];

    widen(a, x);
    widen(b, y);
#pragma unroll
    for (int i = 0; i < 8; i++)
        a[i] += b[i];
    return narrow(a);
}

static __device__ __forceinline__ float add_squares(float sum, uint4 x)
{
    float a[8];

    widen(a, x);
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum += a[i] * a[i];
    return sum;
}

static __device__ __forceinline__ uint4 scaled(uint4 x, uint4 weight, float scale)
{
    float a[8], w[8];

    widen(a, x);
    widen(w, weight);
#pragma unroll
    for (int i = 0; i < 8; i++)
        a[i] = a[i] * scale * w[i];
    return narrow(a);
}

// The sum over the threads that share a row: a warp, or a whole block.
static __device__ __forceinline__ float row_sum(float sum)
{
    EMC_SHARED(float, warp_sums, [MAX_THREADS / 32]);

    sum = lanes_sum<32>(sum);
    if (blockDim.x == 32)
        return sum;
    if (threadIdx.x % 32 == 0)
        warp_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int warp = 0; warp < (int)(blockDim.x / 32); warp++)
        sum += warp_sums[warp];
    return sum;
}

// Block: (threads of a row, rows). Where it has several rows each is one warp's.
template <bool ADD>
static __global__ void __launch_bounds__(MAX_THREADS) norm_held_kernel(const norm_job job)
{
    const int row = blockIdx.x * blockDim.y + threadIdx.y;
    const size_t start = (size_t)row * job.chunks;
    uint4 x[HELD], y[HELD], weight[HELD];
    float sum = 0.0f;

    if (row >= job.rows)
        return;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const int at = threadIdx.x + i * blockDim.x;
        if (at < job.chunks) {
            x[i] = job.x[start + at];
            if (ADD)
                y[i] = job.y[start + at];
            weight[i] = job.weight[at];
        }
    }
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const int at = threadIdx.x + i * blockDim.x;
        if (at < job.chunks) {
            if (ADD) {
                x[i] = add(x[i], y[i]);
                job.x[start + at] = x[i];
            }
            sum = add_squares(sum, x[i]);
        }
    }
    const float scale = rsqrtf(row_sum(sum) / (float)(job.chunks * CUDA_CHUNK) + job.eps);
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const int at = threadIdx.x + i * blockDim.x;
        if (at < job.chunks)
            job.out[start + at] = scaled(x[i], weight[i], scale);
    }
}

// A row too long for registers: each thread reads its chunks again.
template <bool ADD>
static __global__ void __launch_bounds__(MAX_THREADS) norm_long_kernel(const norm_job job)
{
    const size_t start = (size_t)blockIdx.x * job.chunks;
    float sum = 0.0f;

    for (int at = threadIdx.x; at < job.chunks; at += blockDim.x) {
        uint4 x = job.x[start + at];
        if (ADD) {
            x = add(x, job.y[start + at]);
            job.x[start + at] = x;
        }
        sum = add_squares(sum, x);
    }
    const float scale = rsqrtf(row_sum(sum) / ((float)job.chunks * CUDA_CHUNK) + job.eps);
    for (int at = threadIdx.x; at < job.chunks; at += blockDim.x)
        job.out[start + at] = scaled(job.x[start + at], job.weight[at], scale);
}

template <bool ADD>
static emc_status launch(cuda_device *cuda, const char *name, const norm_job *job)
{
    const int dim = job->chunks * CUDA_CHUNK;

    if (job->chunks > MAX_HELD_CHUNKS)
        return cuda_check(
            EMC_LAUNCH(norm_long_kernel<ADD>, (job->rows), (MAX_THREADS), 0, cuda->stream, *job),
            "%s: rows=%d dim=%d", name, job->rows, dim);
    const int warps = cuda_blocks(job->chunks, MAX_WARP_CHUNKS);
    const int n_rows = warps == 1 ? ROWS_PER_BLOCK : 1;
    return cuda_check(EMC_LAUNCH(norm_held_kernel<ADD>, (cuda_blocks(job->rows, n_rows)),
                                 (32 * warps, n_rows), 0, cuda->stream, *job),
                      "%s: rows=%d dim=%d", name, job->rows, dim);
}

emc_status cuda_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight, int rows,
                        int dim, float eps)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_rmsnorm(dev->dtype, out, x, weight, rows, dim));
    const norm_job job = {(uint4 *)out, (uint4 *)x,       NULL, (const uint4 *)weight,
                          rows,         dim / CUDA_CHUNK, eps};
    return launch<false>(cuda, "rmsnorm", &job);
}

emc_status cuda_add_rmsnorm(emc_device *dev, void *out, void *x, const void *y, const void *weight,
                            int rows, int dim, float eps)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_add_rmsnorm(dev->dtype, out, x, y, weight, rows, dim));
    const norm_job job = {
        (uint4 *)out,     (uint4 *)x, (const uint4 *)y, (const uint4 *)weight, rows,
        dim / CUDA_CHUNK, eps};
    return launch<true>(cuda, "add_rmsnorm", &job);
}
