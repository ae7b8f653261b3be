/*
 * How near does rope_store (norm and rotation of heads, K and V into pages) come to a copy's speed?
 *
 * bench_rope_store [--device ...] [--quick]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "device_bench.h"

#define N_POSITIONS 1024

static const struct {
    const char *model;
    int n_heads, n_kv_heads, head_dim;
} shapes[] = {
    {"Qwen3-0.6B", 16, 8, 128},
    {"Qwen3-8B", 32, 8, 128},
    {"Qwen3-14B", 40, 8, 128},
    {"half heads", 32, 8, 64},
};

typedef struct {
    device_bench *bench;
    emc_rope_args args[DEVICE_BENCH_MAX_COPIES];
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;

    return dev->ops->rope_store(dev, &j->args[copy]);
}

/* What all sets share: angles, and where each row is and goes. */
static emc_status take_shared(device_bench *bench, emc_rope_args *args)
{
    const size_t rows = (size_t)args->rows, dim = (size_t)args->head_dim;
    const size_t n = rows > N_POSITIONS * dim ? rows : N_POSITIONS * dim;
    emc_status status;
    int32_t *whole;
    float *angles;
    void *taken[5] = {NULL};

    EMC_TRY(emc_alloc(&whole, n, sizeof *whole, "angles"));
    angles = (float *)(void *)whole;
    for (size_t i = 0; i < N_POSITIONS * dim / 2; i++) {
        const double angle =
            (double)(i / (dim / 2)) * pow(1e6, -2.0 * (double)(i % (dim / 2)) / (double)dim);
        angles[2 * i] = (float)cos(angle);
        angles[2 * i + 1] = (float)sin(angle);
    }
    status = device_bench_words(bench, &taken[0], whole, N_POSITIONS * dim);
    for (size_t r = 0; r < rows; r++)
        whole[r] = (int32_t)(r % N_POSITIONS);
    if (status == EMC_OK)
        status = device_bench_words(bench, &taken[1], whole, rows);
    for (size_t r = 0; r < rows; r++)
        whole[r] = (int32_t)r;
    if (status == EMC_OK)
        status = device_bench_words(bench, &taken[2], whole, rows);
    if (status == EMC_OK)
        status = device_bench_normals(bench, &taken[3], dim, 0);
    if (status == EMC_OK)
        status = device_bench_normals(bench, &taken[4], dim, 0);
    free(whole);
    args->rope_table = taken[0];
    args->positions = taken[1];
    args->slots = taken[2];
    args->q_norm = taken[3];
    args->k_norm = taken[4];
    return status;
}

static emc_status take_rows(device_bench *bench, emc_rope_args *args)
{
    const size_t q_width = (size_t)(args->n_heads * args->head_dim);
    const size_t kv_width = (size_t)(args->n_kv_heads * args->head_dim);
    const size_t pages = ((size_t)args->rows + EMC_PAGE_POSITIONS - 1) / EMC_PAGE_POSITIONS;
    const size_t cache = pages * EMC_PAGE_POSITIONS * kv_width * sizeof(uint16_t);
    void *fused;

    EMC_TRY(device_bench_normals(bench, &fused, (size_t)args->rows * (q_width + 2 * kv_width), 0));
    EMC_TRY(device_bench_take(bench, &args->k_cache, cache));
    EMC_TRY(device_bench_take(bench, &args->v_cache, cache));
    args->q = fused;
    args->k = (uint16_t *)fused + q_width;
    args->v = (uint16_t *)fused + q_width + kv_width;
    args->q_stride = args->kv_stride = (int)(q_width + 2 * kv_width);
    return EMC_OK;
}

static emc_status measure(device_bench *bench, size_t shape, int rows)
{
    emc_rope_args args = {.rows = rows,
                          .n_heads = shapes[shape].n_heads,
                          .n_kv_heads = shapes[shape].n_kv_heads,
                          .head_dim = shapes[shape].head_dim,
                          .eps = 1e-6f};
    const size_t n =
        (size_t)rows * (size_t)(args.n_heads + 2 * args.n_kv_heads) * (size_t)args.head_dim;
    const int n_copies = device_bench_copies(bench, 4 * n);
    job j = {.bench = bench};
    device_bench_time time;
    char what[96];

    EMC_TRY(take_shared(bench, &args));
    for (int i = 0; i < n_copies; i++) {
        j.args[i] = args;
        EMC_TRY(take_rows(bench, &j.args[i]));
    }
    EMC_TRY(device_bench_measure(bench, call, &j, n_copies, &time));
    (void)snprintf(what, sizeof what, "%s: %d rows, %d + 2 * %d heads of %d", shapes[shape].model,
                   rows, args.n_heads, args.n_kv_heads, args.head_dim);
    device_bench_bytes_row(bench, what, time, 4.0 * (double)n);
    device_bench_release(bench);
    return EMC_OK;
}

static emc_status run(device_bench *bench)
{
    EMC_TRY(device_bench_bytes_table(bench));
    for (size_t i = 0; i < EMC_COUNT(shapes); i++)
        EMC_TRY(measure(bench, i, device_bench_rows(bench, 8448, 256)));
    return EMC_OK;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_rope_store", run);
}
