/* How near does swiglu come to a copy's speed? bench_swiglu [--device ...] [--quick] */
#include <stdio.h>

#include "device_bench.h"

static const struct {
    const char *model;
    int ffn;
} shapes[] = {{"Qwen3-0.6B", 3072}, {"Qwen3-4B", 9728}, {"Qwen3-8B", 12288}, {"Qwen3-14B", 17408}};

typedef struct {
    device_bench *bench;
    int rows, ffn;
    void *out[DEVICE_BENCH_MAX_COPIES], *gate_up[DEVICE_BENCH_MAX_COPIES];
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;

    return dev->ops->swiglu(dev, j->out[copy], j->gate_up[copy], j->rows, j->ffn);
}

static emc_status measure(device_bench *bench, const char *model, int rows, int ffn)
{
    job j = {.bench = bench, .rows = rows, .ffn = ffn};
    const size_t n = (size_t)rows * (size_t)ffn;
    const int n_copies = device_bench_copies(bench, 6 * n);
    device_bench_time time;
    char what[96];

    for (int i = 0; i < n_copies; i++) {
        EMC_TRY(device_bench_normals(bench, &j.gate_up[i], 2 * n, 0));
        EMC_TRY(device_bench_take(bench, &j.out[i], 2 * n));
    }
    EMC_TRY(device_bench_measure(bench, call, &j, n_copies, &time));
    (void)snprintf(what, sizeof what, "%s: %d rows, ffn %d", model, rows, ffn);
    device_bench_bytes_row(bench, what, time, 6.0 * (double)n);
    device_bench_release(bench);
    return EMC_OK;
}

static emc_status run(device_bench *bench)
{
    EMC_TRY(device_bench_bytes_table(bench));
    for (size_t i = 0; i < EMC_COUNT(shapes); i++)
        EMC_TRY(
            measure(bench, shapes[i].model, device_bench_rows(bench, 8448, 256), shapes[i].ffn));
    return EMC_OK;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_swiglu", run);
}
