/* How are weights and low-rank updates kept, and what scratch do they need? */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/device.h"

typedef struct {
    cpu_device *cpu;
    int k_padded;
    int plan;
} plan_job;

/* Products are made on a worker: oneDNN plans for the threads that the calling thread may use. */
static emc_status make_plan(void *context, int worker, int item)
{
    plan_job *job = context;

    (void)worker, (void)item;
    return cpu_gemm_plan(job->cpu->gemm, &job->plan, job->cpu->product, job->k_padded);
}

/* Room for products with this matrix, so that none of them has to allocate. */
static emc_status fit_matrix(cpu_device *cpu, const emc_matrix *matrix)
{
    const size_t row_bytes = (size_t)matrix->k_padded * emc_dtype_bytes(cpu->product);
    const size_t x_bytes = (size_t)matrix->k_padded * sizeof(float);
    const size_t w_bytes = CPU_BLOCK * row_bytes;
    const bool all_staged = cpu->product != cpu->device.dtype || matrix->k != matrix->k_padded;
    const int n_blocks = cpu_items(matrix->n_rows, CPU_BLOCK);
    const size_t n_slabs = (size_t)cpu_items(n_blocks, CPU_SLAB_BLOCKS);

    for (int i = 0; i < cpu_pool_workers(cpu->pool); i++) {
        size_t held = cpu->w_bytes;
        EMC_TRY(cpu_fit(&cpu->workers[i].w, &held, w_bytes, "a block of weights"));
        held = cpu->x_bytes;
        EMC_TRY(cpu_fit(&cpu->workers[i].x, &held, x_bytes, "a row of activations"));
    }
    if (cpu->w_bytes < w_bytes)
        cpu->w_bytes = w_bytes;
    if (cpu->x_bytes < x_bytes)
        cpu->x_bytes = x_bytes;
    EMC_TRY(cpu_fit(&cpu->staged, &cpu->staged_bytes,
                    (size_t)(all_staged ? CPU_ROUND_ROWS : CPU_TILE_ROWS) * row_bytes,
                    "copies of activations"));
    return cpu_fit(&cpu->parts, &cpu->parts_bytes, n_slabs * CPU_ROUND_ROWS * sizeof *cpu->parts,
                   "partial sums over the vocabulary");
}

/* What whole blocks and steps of the products leave room for. */
static emc_status check_room(int n_rows, int k)
{
    if (n_rows > INT_MAX - 2 * CPU_BLOCK || k > INT_MAX - CPU_K_STEP)
        return emc_fail(EMC_ERR_ARG, "matrix_open: n_rows=%d k=%d, need at most %d and %d", n_rows,
                        k, INT_MAX - 2 * CPU_BLOCK, INT_MAX - CPU_K_STEP);
    return EMC_OK;
}

emc_status cpu_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                           int n_parts, int k)
{
    cpu_device *cpu = cpu_of(dev);
    emc_matrix *matrix = NULL;
    emc_status status;
    int n_rows = 0;

    *out = NULL;
    EMC_TRY(emc_check_matrix(parts, n_parts, k, false, &n_rows));
    EMC_TRY(check_room(n_rows, k));
    EMC_TRY(emc_alloc(&matrix, 1, sizeof *matrix + (size_t)n_parts * sizeof *matrix->parts,
                      "a matrix"));
    matrix->k = k;
    matrix->k_padded = cpu_items(k, CPU_K_STEP) * CPU_K_STEP;
    matrix->n_rows = n_rows;
    matrix->n_parts = n_parts;
    for (int i = 0, first = 0; i < n_parts; first += parts[i++].n_rows)
        matrix->parts[i] = (cpu_part){.part = parts[i], .first = first};
    plan_job job = {.cpu = cpu, .k_padded = matrix->k_padded};
    status = cpu_pool_run(cpu->pool, make_plan, &job, 1);
    if (status == EMC_OK) {
        matrix->plan = job.plan;
        status = fit_matrix(cpu, matrix);
    }
    if (status != EMC_OK) {
        cpu_matrix_close(dev, matrix);
        return status;
    }
    *out = matrix;
    return EMC_OK;
}

void cpu_matrix_close(emc_device *dev, emc_matrix *matrix)
{
    (void)dev;
    free(matrix);
}

const cpu_part *cpu_matrix_part(const emc_matrix *matrix, int row)
{
    int i = 0;

    while (row >= matrix->parts[i].first + matrix->parts[i].part.n_rows)
        i++;
    return &matrix->parts[i];
}

emc_status cpu_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec)
{
    cpu_device *cpu = cpu_of(dev);
    const int n = spec->n, k = spec->k, rank = spec->rank;
    emc_lora *lora = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_check_lora(spec));
    if (n > INT_MAX - 2 * CPU_BLOCK)
        return emc_fail(EMC_ERR_ARG, "lora_open: n=%d, need at most %d", n,
                        INT_MAX - 2 * CPU_BLOCK);
    const size_t stride = (size_t)n + CPU_BLOCK;
    EMC_TRY(emc_alloc(&lora, 1, sizeof *lora, "a low-rank update"));
    lora->n = n;
    lora->k = k;
    lora->rank = rank;
    status = emc_alloc(&lora->a, (size_t)rank * (size_t)k, sizeof(float), "a low-rank update");
    if (status == EMC_OK)
        status = emc_alloc(&lora->b, (size_t)rank * stride, sizeof(float), "a low-rank update");
    if (status == EMC_OK && spec->column_scale)
        status = emc_alloc(&lora->column_scale, stride, sizeof(float), "a low-rank update");
    if (status == EMC_OK)
        status =
            cpu_fit(&cpu->lora, &cpu->lora_bytes,
                    (size_t)CPU_ROUND_ROWS * (size_t)rank * sizeof(float), "low-rank activations");
    if (status != EMC_OK) {
        cpu_lora_close(dev, lora);
        return status;
    }
    memcpy(lora->a, spec->a, (size_t)rank * (size_t)k * sizeof(float));
    for (size_t j = 0; j < (size_t)n; j++)
        for (size_t i = 0; i < (size_t)rank; i++)
            lora->b[i * stride + j] = spec->b[j * (size_t)rank + i];
    if (spec->column_scale)
        memcpy(lora->column_scale, spec->column_scale, (size_t)n * sizeof(float));
    *out = lora;
    return EMC_OK;
}

void cpu_lora_close(emc_device *dev, emc_lora *lora)
{
    (void)dev;
    if (!lora)
        return;
    free(lora->a);
    free(lora->b);
    free(lora->column_scale);
    free(lora);
}
