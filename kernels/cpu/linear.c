/* out = x w^T (+ low-rank update) (+ residual): the product's tiles, rounded and put in place. */
#include "kernels/cpu/math.h"
#include "kernels/cpu/product.h"

typedef struct {
    emc_dtype dtype;
    void *out;
    const void *residual;
    int n;
} job;

static void store_tile(void *context, const cpu_tile *tile)
{
    const job *j = context;
    const size_t n_columns = (size_t)tile->n_columns;
    float row[CPU_BLOCK];

    for (int r = 0; r < tile->n_rows; r++) {
        const float *y = tile->y + (size_t)r * CPU_BLOCK;
        const size_t place = (size_t)(tile->row0 + r) * (size_t)j->n + (size_t)tile->column0;
        if (j->residual) {
            cpu_widen(row, cpu_at(j->residual, j->dtype, place), j->dtype, n_columns);
            for (size_t c = 0; c < n_columns; c++)
                row[c] = y[c] + row[c];
            y = row;
        }
        cpu_narrow(cpu_at_mut(j->out, j->dtype, place), j->dtype, y, n_columns);
    }
}

static emc_status check_places(const emc_device *dev, const emc_linear_args *args)
{
    const size_t size = emc_dtype_bytes(dev->dtype), rows = (size_t)args->rows;
    const size_t out_bytes = rows * (size_t)args->n * size;
    const size_t x_bytes = rows * (size_t)args->w->k * size;

    if (!cpu_aligned(args->out) || (args->residual && !cpu_aligned(args->residual)))
        return emc_fail(EMC_ERR_ARG,
                        "linear: rows=%d n=%d k=%d, out or residual is not 16-byte aligned",
                        args->rows, args->n, args->w->k);
    if (cpu_overlap(args->out, out_bytes, args->x, x_bytes) ||
        (args->residual && args->residual != args->out &&
         cpu_overlap(args->out, out_bytes, args->residual, out_bytes)))
        return emc_fail(EMC_ERR_ARG,
                        "linear: rows=%d n=%d k=%d, out overlaps x, or residual without being it",
                        args->rows, args->n, args->w->k);
    return EMC_OK;
}

emc_status cpu_linear(emc_device *dev, const emc_linear_args *args)
{
    cpu_device *cpu = cpu_of(dev);

    EMC_TRY(cpu_check_product("linear", args->x, args->rows, args->w, args->first, args->n,
                              args->lora));
    EMC_TRY(check_places(dev, args));
    for (int row0 = 0; row0 < args->rows; row0 += CPU_ROUND_ROWS) {
        const int left = args->rows - row0;
        const size_t out0 = (size_t)row0 * (size_t)args->n;
        job j = {.dtype = dev->dtype,
                 .out = cpu_at_mut(args->out, dev->dtype, out0),
                 .residual = args->residual ? cpu_at(args->residual, dev->dtype, out0) : NULL,
                 .n = args->n};
        const cpu_product_args product = {
            .x = cpu_at(args->x, dev->dtype, (size_t)row0 * (size_t)args->w->k),
            .rows = left < CPU_ROUND_ROWS ? left : CPU_ROUND_ROWS,
            .w = args->w,
            .first = args->first,
            .n = args->n,
            .lora = args->lora,
            .slab = 1,
            .done = store_tile,
            .context = &j};
        EMC_TRY(cpu_product(cpu, &product));
    }
    return EMC_OK;
}
