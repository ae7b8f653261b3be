// out[r] = table[ids[r]] (+ low-rank update: A^T's row ids[r] times B^T).
//
// Without an update this is gather_rows. With one a block takes ROWS rows and THREADS values of
// each: it lays the rows' coefficients, a column of A each, into shared memory, RANKS at a time,
// and a thread multiplies its row of B into all ROWS of them, so that B is read from the L2 once
// for ROWS rows. Adapters seldom touch the embedding: this path is kept simple.
//
// Bytes: 4 for a value, and with an update dim * rank * 2 / ROWS for a row from the L2.
//
// Numbers: f32, the table's value first, then the ranks in order, one rounding at the store.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int THREADS = 128;
constexpr int ROWS = 8;
constexpr int RANKS = CUDA_RANK_MULTIPLE;

typedef struct {
    __nv_bfloat16 *out;
    const __nv_bfloat16 *table; // [vocab, dim]
    const __nv_bfloat16 *a;     // [ranks, vocab]
    const __nv_bfloat16 *b;     // [dim, ranks]
    const int32_t *ids;
    int rows, dim, vocab, ranks;
} embed_job;

// Grid: (groups of rows, pieces of dim).
static __global__ void __launch_bounds__(THREADS) embed_update_kernel(const embed_job job)
{
    EMC_SHARED(float, coefficient, [ROWS][RANKS]);
    EMC_SHARED(int32_t, ids, [ROWS]);
    const int row0 = blockIdx.x * ROWS, d = blockIdx.y * THREADS + threadIdx.x;
    const int n_rows = min(job.rows - row0, ROWS);
    float sum[ROWS];

    if (threadIdx.x < ROWS) // surplus rows repeat the last one, and are not stored
        ids[threadIdx.x] = job.ids[min(row0 + (int)threadIdx.x, job.rows - 1)];
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sum[r] = d < job.dim ? __bfloat162float(job.table[(size_t)ids[r] * job.dim + d]) : 0.0f;
    for (int rank0 = 0; rank0 < job.ranks; rank0 += RANKS) {
        for (int i = threadIdx.x; i < ROWS * RANKS; i += THREADS)
            coefficient[i / RANKS][i % RANKS] =
                __bfloat162float(job.a[(size_t)(rank0 + i % RANKS) * job.vocab + ids[i / RANKS]]);
        __syncthreads();
        const uint4 *b = (const uint4 *)(job.b + (size_t)d * job.ranks + rank0);
#pragma unroll 1
        for (int chunk = 0; chunk < RANKS / CUDA_CHUNK && d < job.dim; chunk++) {
            float value[CUDA_CHUNK];
            widen(value, b[chunk]);
#pragma unroll
            for (int i = 0; i < CUDA_CHUNK; i++)
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    sum[r] += coefficient[r][chunk * CUDA_CHUNK + i] * value[i];
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        if (r < n_rows && d < job.dim)
            job.out[(size_t)(row0 + r) * job.dim + d] = __float2bfloat16(sum[r]);
}

emc_status cuda_embed(emc_device *dev, void *out, const emc_matrix *table, const emc_lora *lora,
                      const int32_t *ids, int rows)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_embed(out, cuda_matrix_shape(table), cuda_lora_shape(lora),
                            lora && lora->column_scale, ids, rows));
    if (!lora)
        return cuda_copy_rows(cuda, "embed", out, table->d, ids, rows, table->k);
    const embed_job job = {(__nv_bfloat16 *)out,
                           (const __nv_bfloat16 *)table->d,
                           (const __nv_bfloat16 *)lora->a.d,
                           (const __nv_bfloat16 *)lora->b.d,
                           ids,
                           rows,
                           table->k,
                           table->n_rows,
                           lora->padded};
    const int pieces = cuda_blocks(table->k, THREADS);
    if (pieces > CUDA_MAX_GRID_Y)
        return emc_fail(EMC_ERR_ARG, "embed: dim=%d, with an update need at most %d", table->k,
                        CUDA_MAX_GRID_Y * THREADS);
    return cuda_check(EMC_LAUNCH(embed_update_kernel, (cuda_blocks(rows, ROWS), pieces), (THREADS),
                                 0, cuda->stream, job),
                      "embed: rows=%d dim=%d rank=%d", rows, table->k, lora->rank);
}
