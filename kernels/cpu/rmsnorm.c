/* out = weight * x / sqrt(mean(x^2) + eps), a row at a time, with or without x = x + y before. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/math.h"

#define ROWS_PER_ITEM 16
#define SUMS          16 /* running sums side by side: one vector, or several */

typedef struct {
    emc_dtype dtype;
    void *out;
    const void *x;
    void *sum; /* x itself, where y is added to it */
    const void *y;
    const void *weight;
    int rows;
    int dim;
    float eps;
} job;

/* x = x + y, rounded. */
static void add_row(void *x, const void *y, emc_dtype dtype, int dim)
{
    float a[SUMS], b[SUMS];

    for (int i = 0; i < dim; i += SUMS) {
        const size_t n = dim - i < SUMS ? (size_t)(dim - i) : SUMS;
        cpu_widen(a, cpu_at(x, dtype, (size_t)i), dtype, n);
        cpu_widen(b, cpu_at(y, dtype, (size_t)i), dtype, n);
        for (size_t l = 0; l < n; l++)
            a[l] += b[l];
        cpu_narrow(cpu_at_mut(x, dtype, (size_t)i), dtype, a, n);
    }
}

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
        if (j->y)
            add_row(cpu_at_mut(j->sum, j->dtype, place), cpu_at(j->y, j->dtype, place), j->dtype,
                    j->dim);
        norm_row(cpu_at_mut(j->out, j->dtype, place), cpu_at(j->x, j->dtype, place), j->weight,
                 j->dtype, j->dim, j->eps);
    }
    return EMC_OK;
}

emc_status cpu_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight, int rows,
                       int dim, float eps)
{
    job j = {.dtype = dev->dtype,
             .out = out,
             .x = x,
             .weight = weight,
             .rows = rows,
             .dim = dim,
             .eps = eps};

    EMC_TRY(emc_check_rmsnorm(dev->dtype, out, x, weight, rows, dim));
    return cpu_pool_run(cpu_of(dev)->pool, norm_rows, &j, cpu_items(rows, ROWS_PER_ITEM));
}

emc_status cpu_add_rmsnorm(emc_device *dev, void *out, void *x, const void *y, const void *weight,
                           int rows, int dim, float eps)
{
    job j = {.dtype = dev->dtype,
             .out = out,
             .x = x,
             .sum = x,
             .y = y,
             .weight = weight,
             .rows = rows,
             .dim = dim,
             .eps = eps};

    EMC_TRY(emc_check_add_rmsnorm(dev->dtype, out, x, y, weight, rows, dim));
    return cpu_pool_run(cpu_of(dev)->pool, norm_rows, &j, cpu_items(rows, ROWS_PER_ITEM));
}
