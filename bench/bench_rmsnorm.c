/* How near do rmsnorm and add_rmsnorm come to a copy's speed? bench_rmsnorm [--device ...]
 * [--quick] */
#include <stdio.h>

#include "device_bench.h"

#define EPS 1e-6f

static const struct {
    const char *model;
    int dim;
} shapes[] = {{"Qwen3-0.6B", 1024}, {"Qwen3-4B", 2560}, {"Qwen3-8B", 4096}, {"Qwen3-14B", 5120}};

typedef struct {
    device_bench *bench;
    int rows, dim;
    bool adds;
    void *out[DEVICE_BENCH_MAX_COPIES], *x[DEVICE_BENCH_MAX_COPIES], *y[DEVICE_BENCH_MAX_COPIES];
    void *weight;
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;

    if (j->adds)
        return dev->ops->add_rmsnorm(dev, j->out[copy], j->x[copy], j->y[copy], j->weight, j->rows,
                                     j->dim, EPS);
    return dev->ops->rmsnorm(dev, j->out[copy], j->x[copy], j->weight, j->rows, j->dim, EPS);
}

static emc_status measure(device_bench *bench, const char *model, int rows, int dim, bool adds)
{
    job j = {.bench = bench, .rows = rows, .dim = dim, .adds = adds};
    const size_t n = (size_t)rows * (size_t)dim, n_bytes = (adds ? 8 : 4) * n;
    const int n_copies = device_bench_copies(bench, n_bytes);
    device_bench_time time;
    char what[96];

    EMC_TRY(device_bench_normals(bench, &j.weight, (size_t)dim, 0));
    for (int i = 0; i < n_copies; i++) {
        EMC_TRY(device_bench_normals(bench, &j.x[i], n, 0));
        /* Small, so that x, to which it is added again and again, stays finite. */
        if (adds)
            EMC_TRY(device_bench_normals(bench, &j.y[i], n, -10));
        EMC_TRY(device_bench_take(bench, &j.out[i], 2 * n));
    }
    EMC_TRY(device_bench_measure(bench, call, &j, n_copies, &time));
    (void)snprintf(what, sizeof what, "%s, %s: %d rows, dim %d", adds ? "add_rmsnorm" : "rmsnorm",
                   model, rows, dim);
    device_bench_bytes_row(bench, what, time, (double)n_bytes);
    device_bench_release(bench);
    return EMC_OK;
}

static emc_status run(device_bench *bench)
{
    const int rows = device_bench_rows(bench, 8448, 256);

    EMC_TRY(device_bench_bytes_table(bench));
    for (size_t i = 0; i < 2 * EMC_COUNT(shapes); i++)
        EMC_TRY(measure(bench, shapes[i / 2].model, rows, shapes[i / 2].dim, i % 2 == 1));
    return EMC_OK;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_rmsnorm", run);
}
