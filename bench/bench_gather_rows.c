/* How near does gather_rows come to a copy's speed? bench_gather_rows [--device ...] [--quick] */
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "device_bench.h"

static const struct {
    const char *what;
    int rows, dim;
} shapes[] = {{"readers, Qwen3-0.6B", 512, 1024},
              {"readers, Qwen3-8B", 512, 4096},
              {"a step, Qwen3-8B", 8448, 4096}};

typedef struct {
    device_bench *bench;
    int rows, dim;
    void *out[DEVICE_BENCH_MAX_COPIES], *x[DEVICE_BENCH_MAX_COPIES];
    void *index;
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;

    return dev->ops->gather_rows(dev, j->out[copy], j->x[copy], j->index, j->rows, j->dim);
}

/* Every row once, far from its neighbours. */
static emc_status take_index(device_bench *bench, void **out, int rows)
{
    int32_t *index = NULL;
    emc_status status;

    EMC_TRY(emc_alloc(&index, (size_t)rows, sizeof *index, "rows"));
    for (int i = 0; i < rows; i++)
        index[i] = (int32_t)((long long)i * 7919 % rows);
    status = device_bench_words(bench, out, index, (size_t)rows);
    free(index);
    return status;
}

static emc_status measure(device_bench *bench, const char *name, int rows, int dim)
{
    job j = {.bench = bench, .rows = rows, .dim = dim};
    const size_t n = (size_t)rows * (size_t)dim;
    const int n_copies = device_bench_copies(bench, 4 * n);
    device_bench_time time;
    char what[96];

    EMC_TRY(take_index(bench, &j.index, rows));
    for (int i = 0; i < n_copies; i++) {
        EMC_TRY(device_bench_normals(bench, &j.x[i], n, 0));
        EMC_TRY(device_bench_take(bench, &j.out[i], 2 * n));
    }
    EMC_TRY(device_bench_measure(bench, call, &j, n_copies, &time));
    (void)snprintf(what, sizeof what, "%s: %d rows, dim %d", name, rows, dim);
    device_bench_bytes_row(bench, what, time, 4.0 * (double)n);
    device_bench_release(bench);
    return EMC_OK;
}

static emc_status run(device_bench *bench)
{
    EMC_TRY(device_bench_bytes_table(bench));
    for (size_t i = 0; i < EMC_COUNT(shapes); i++)
        EMC_TRY(measure(bench, shapes[i].what, bench->quick ? 3 : shapes[i].rows, shapes[i].dim));
    return EMC_OK;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_gather_rows", run);
}
