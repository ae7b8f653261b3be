/* out = weight * x / sqrt(mean(x^2) + eps), a row at a time. Reads and writes each value once. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/math.h"

#define ROWS_PER_ITEM 16
#define SUMS          16 /* running sums side by side: one vector, or several */

typedef struct {
    emc_dtype dtype;
    void *out;
    const void *x;
    const void *weight;
    int rows;
    int dim;
    float eps;
} job;

static void norm_row(void *out, const void *x, const void *weight, emc_dtype dtype, int dim,
                     float eps)
{
    float sum[SUMS] = {0}, part[SUMS], scaled[SUMS], w[SUMS];

    for (int i = 0; i < dim; i += SUMS) {
        const int n = dim - i < SUMS ? dim - i : SUMS;
        cpu_widen(part, cpu_at(x, dtype, (size_t)i), dtype, (size_t)n);
        for (int l = 0; l < n; l++)
            sum[l] += part[l] * part[l];
    }
    for (int width = SUMS / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            sum[l] += sum[l + width];
    const float scale = 1.0f / sqrtf(sum[0] / (float)dim + eps);
    for (int i = 0; i < dim; i += SUMS) {
        const int n = dim - i < SUMS ? dim - i : SUMS;
        cpu_widen(part, cpu_at(x, dtype, (size_t)i), dtype, (size_t)n);
        cpu_widen(w, cpu_at(weight, dtype, (size_t)i), dtype, (size_t)n);
        for (int l = 0; l < n; l++)
            scaled[l] = part[l] * scale * w[l];
        cpu_narrow(cpu_at_mut(out, dtype, (size_t)i), dtype, scaled, (size_t)n);
    }
}

static emc_status norm_rows(void *context, int worker, int item)
{
    const job *j = context;
    const int row0 = item * ROWS_PER_ITEM;

    (void)worker;
    for (int row = row0; row < row0 + ROWS_PER_ITEM && row < j->rows; row++) {
        const size_t place = (size_t)row * (size_t)j->dim;
        norm_row(cpu_at_mut(j->out, j->dtype, place), cpu_at(j->x, j->dtype, place), j->weight,
                 j->dtype, j->dim, j->eps);
    }
    return EMC_OK;
}

emc_status cpu_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight, int rows,
                       int dim, float eps)
{
    job j = {dev->dtype, out, x, weight, rows, dim, eps};

    if (rows < 1 || dim < 8 || dim % 8 != 0)
        return emc_fail(EMC_ERR_ARG, "rmsnorm: rows=%d dim=%d, need rows >= 1, dim %% 8 == 0", rows,
                        dim);
    const size_t n_bytes = (size_t)rows * (size_t)dim * emc_dtype_bytes(dev->dtype);
    if (!cpu_aligned(out) || !cpu_aligned(x) || !cpu_aligned(weight) ||
        (out != x && cpu_overlap(out, n_bytes, x, n_bytes)))
        return emc_fail(EMC_ERR_ARG,
                        "rmsnorm: rows=%d dim=%d, need 16-byte aligned tensors, and out to be x "
                        "or apart from it",
                        rows, dim);
    return cpu_pool_run(cpu_of(dev)->pool, norm_rows, &j, cpu_items(rows, ROWS_PER_ITEM));
}
