/* out = x w^T (+ low-rank update) (+ residual): the product's tiles, rounded and put in place. */
#include "kernels/cpu/math.h"
#include "kernels/cpu/product.h"

typedef struct {
    emc_dtype dtype;
    emc_dtype out_dtype;
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
        cpu_narrow(cpu_at_mut(j->out, j->out_dtype, place), j->out_dtype, y, n_columns);
    }
}

emc_status cpu_linear(emc_device *dev, const emc_linear_args *args)
{
    cpu_device *cpu = cpu_of(dev);

    EMC_TRY(
        emc_check_linear(dev->dtype, args, cpu_matrix_shape(args->w), cpu_lora_shape(args->lora)));
    const emc_dtype out_dtype = args->out_f32 ? EMC_F32 : dev->dtype;
    for (int row0 = 0; row0 < args->rows; row0 += CPU_ROUND_ROWS) {
        const int left = args->rows - row0;
        const size_t out0 = (size_t)row0 * (size_t)args->n;
        job j = {.dtype = dev->dtype,
                 .out_dtype = out_dtype,
                 .out = cpu_at_mut(args->out, out_dtype, out0),
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
