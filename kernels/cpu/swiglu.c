/* out = silu(gate) * up, value by value. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/math.h"

#define ROWS_PER_ITEM 8
#define PIECE         64

typedef struct {
    emc_dtype dtype;
    void *out;
    const void *gate_up;
    int rows;
    int ffn;
} job;

static void swiglu_row(void *out, const void *gate, const void *up, emc_dtype dtype, int ffn)
{
    float g[PIECE], u[PIECE];

    for (int i = 0; i < ffn; i += PIECE) {
        const int n = ffn - i < PIECE ? ffn - i : PIECE;
        cpu_widen(g, cpu_at(gate, dtype, (size_t)i), dtype, (size_t)n);
        cpu_widen(u, cpu_at(up, dtype, (size_t)i), dtype, (size_t)n);
        for (int l = 0; l < n; l++)
            g[l] = g[l] / (1.0f + cpu_exp(-g[l])) * u[l];
        cpu_narrow(cpu_at_mut(out, dtype, (size_t)i), dtype, g, (size_t)n);
    }
}

static emc_status swiglu_rows(void *context, int worker, int item)
{
    const job *j = context;
    const int row0 = item * ROWS_PER_ITEM;
    const size_t ffn = (size_t)j->ffn;

    (void)worker;
    for (int row = row0; row < row0 + ROWS_PER_ITEM && row < j->rows; row++) {
        const size_t gate = (size_t)row * 2 * ffn;
        swiglu_row(cpu_at_mut(j->out, j->dtype, (size_t)row * ffn),
                   cpu_at(j->gate_up, j->dtype, gate), cpu_at(j->gate_up, j->dtype, gate + ffn),
                   j->dtype, j->ffn);
    }
    return EMC_OK;
}

emc_status cpu_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn)
{
    job j = {dev->dtype, out, gate_up, rows, ffn};

    EMC_TRY(emc_check_swiglu(dev->dtype, out, gate_up, rows, ffn));
    return cpu_pool_run(cpu_of(dev)->pool, swiglu_rows, &j, cpu_items(rows, ROWS_PER_ITEM));
}
