/* Norm and rotation of every head's q and k, and the way of k and v into the cache. */
#include <string.h>

#include "kernels/cpu/device.h"
#include "kernels/cpu/math.h"

#define ROWS_PER_ITEM 8
#define SUMS          8

typedef struct {
    emc_dtype dtype;
    const emc_rope_args *args;
} job;

static void rotate_head(void *out, const void *x, const float *weight, const float *table,
                        const job *j)
{
    const int dim = j->args->head_dim, half = dim / 2;
    float value[EMC_MAX_HEAD_DIM], turned[EMC_MAX_HEAD_DIM], sum[SUMS] = {0};

    cpu_widen(value, x, j->dtype, (size_t)dim);
    for (int i = 0; i < dim; i += SUMS)
        for (int l = 0; l < SUMS; l++)
            sum[l] += value[i + l] * value[i + l];
    for (int width = SUMS / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            sum[l] += sum[l + width];
    const float scale = 1.0f / sqrtf(sum[0] / (float)dim + j->args->eps);
    for (int i = 0; i < dim; i++)
        value[i] = value[i] * scale * weight[i];
    for (int i = 0; i < half; i++) {
        const float c = table[2 * i], s = table[2 * i + 1];
        turned[i] = value[i] * c - value[i + half] * s;
        turned[i + half] = value[i + half] * c + value[i] * s;
    }
    cpu_narrow(out, j->dtype, turned, (size_t)dim);
}

static void store_row(const job *j, int row, const float *k_norm, const float *table)
{
    const emc_rope_args *args = j->args;
    const size_t dim = (size_t)args->head_dim, from = (size_t)row * (size_t)args->kv_stride;
    const int slot = args->slots[row];
    const size_t page = (size_t)(slot / EMC_PAGE_POSITIONS);
    const size_t place = (size_t)(slot % EMC_PAGE_POSITIONS);

    for (int head = 0; head < args->n_kv_heads; head++) {
        const size_t src = from + (size_t)head * dim;
        const size_t dst =
            ((page * (size_t)args->n_kv_heads + (size_t)head) * EMC_PAGE_POSITIONS + place) * dim;
        rotate_head(cpu_at_mut(args->k_cache, j->dtype, dst), cpu_at(args->k, j->dtype, src),
                    k_norm, table, j);
        memcpy(cpu_at_mut(args->v_cache, j->dtype, dst), cpu_at(args->v, j->dtype, src),
               dim * emc_dtype_bytes(j->dtype));
    }
}

static emc_status rope_rows(void *context, int worker, int item)
{
    const job *j = context;
    const emc_rope_args *args = j->args;
    const size_t dim = (size_t)args->head_dim;
    const int row0 = item * ROWS_PER_ITEM;
    float q_norm[EMC_MAX_HEAD_DIM], k_norm[EMC_MAX_HEAD_DIM];

    (void)worker;
    if (args->q)
        cpu_widen(q_norm, args->q_norm, j->dtype, dim);
    if (args->k)
        cpu_widen(k_norm, args->k_norm, j->dtype, dim);
    for (int row = row0; row < row0 + ROWS_PER_ITEM && row < args->rows; row++) {
        const float *table = args->rope_table + (size_t)args->positions[row] * dim;
        for (int head = 0; args->q && head < args->n_heads; head++) {
            void *q = cpu_at_mut(args->q, j->dtype,
                                 (size_t)row * (size_t)args->q_stride + (size_t)head * dim);
            rotate_head(q, q, q_norm, table, j);
        }
        if (args->k)
            store_row(j, row, k_norm, table);
    }
    return EMC_OK;
}

emc_status cpu_rope_store(emc_device *dev, const emc_rope_args *args)
{
    job j = {dev->dtype, args};

    EMC_TRY(emc_check_rope_store(args));
    return cpu_pool_run(cpu_of(dev)->pool, rope_rows, &j, cpu_items(args->rows, ROWS_PER_ITEM));
}
