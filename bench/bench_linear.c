/*
 * How near do the products of a layer come to the best that the library can do?
 *
 * bench_linear [--device ...] [--quick]
 *
 * On a GPU each shape is also run by every algorithm that cuBLASLt offers for it, and the fastest
 * time is printed beside ours, which keeps to algorithms whose bits do not vary; the last line has
 * the sums over the four shapes of Qwen3-8B's layer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bare_cublaslt.h"
#include "base/size.h"
#include "device_bench.h"

static const struct {
    const char *what;
    int n, k;
    bool of_8b;
} shapes[] = {
    {"Qwen3-8B qkv", 6144, 4096, true},        {"Qwen3-8B o", 4096, 4096, true},
    {"Qwen3-8B gate+up", 24576, 4096, true},   {"Qwen3-8B down", 4096, 12288, true},
    {"Qwen3-0.6B qkv", 4096, 1024, false},     {"Qwen3-0.6B o", 1024, 2048, false},
    {"Qwen3-0.6B gate+up", 6144, 1024, false}, {"Qwen3-0.6B down", 1024, 3072, false},
    {"Qwen3-14B qkv", 7168, 5120, false},      {"Qwen3-14B gate+up", 34816, 5120, false},
};

typedef struct {
    device_bench *bench;
    int rows, n, k;
    uint16_t *weights;
    emc_matrix *w;
    void *out[DEVICE_BENCH_MAX_COPIES], *x[DEVICE_BENCH_MAX_COPIES];
    device_bench_time time;
    double best; /* seconds of the library's best; 0: not measured */
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;
    const emc_linear_args args = {.out = j->out[copy],
                                  .x = j->x[copy],
                                  .w = j->w,
                                  .n = j->n,
                                  .rows = j->rows,
                                  .batch_rows = j->rows};

    return dev->ops->linear(dev, &args);
}

static emc_status measure(job *j)
{
    device_bench *bench = j->bench;
    const size_t rows = (size_t)j->rows, n = (size_t)j->n, k = (size_t)j->k;
    const int n_copies = device_bench_copies(bench, 2 * rows * (n + k));
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = j->n};
    void *w;

    EMC_TRY(device_bench_host_normals(bench, &j->weights, n * k, -5));
    part.data = j->weights;
    EMC_TRY(bench->dev->ops->matrix_open(bench->dev, &j->w, &part, 1, j->k));
    for (int i = 0; i < n_copies; i++) {
        EMC_TRY(device_bench_normals(bench, &j->x[i], rows * k, 0));
        EMC_TRY(device_bench_take(bench, &j->out[i], 2 * rows * n));
    }
    EMC_TRY(device_bench_measure(bench, call, j, n_copies, &j->time));
    if (!bench->is_gpu || !bare_cublaslt_is_there())
        return EMC_OK;
    EMC_TRY(device_bench_normals(bench, &w, n * k, -5));
    return bare_cublaslt_best(j->out[0], j->x[0], w, j->rows, j->n, j->k, &j->best);
}

static void print_row(const job *j, const char *what)
{
    const double rate = 2.0 * j->rows * (double)j->n * j->k / j->time.seconds;

    printf("| %s: %d rows, [%d, %d] | %.1f | %.2f | %.0f%% | %.0f%% |", what, j->rows, j->n, j->k,
           1e6 * j->time.seconds, 1e-12 * rate, 100.0 * rate / j->bench->product_per_s,
           100.0 * j->time.spread);
    if (j->best > 0.0)
        printf(" %.1f | %.1f%% |\n", 1e6 * j->best, 100.0 * j->best / j->time.seconds);
    else
        printf(" | |\n");
}

static void close_job(job *j)
{
    if (j->w)
        j->bench->dev->ops->matrix_close(j->bench->dev, j->w);
    device_bench_release(j->bench);
    free(j->weights);
}

static emc_status run(device_bench *bench)
{
    double ours = 0, best = 0;
    emc_status status = device_bench_product_ceiling(bench);

    if (status == EMC_OK)
        printf(
            "\nA large product: %.1f TFLOP/s.\n\n| shape | us | TFLOP/s | of the product | spread "
            "| library's best, us | best / ours |\n|---|---:|---:|---:|---:|---:|---:|\n",
            1e-12 * bench->product_per_s);
    for (size_t i = 0; i < EMC_COUNT(shapes) && status == EMC_OK; i++) {
        job j = {.bench = bench,
                 .rows = device_bench_rows(bench, 8448, 128),
                 .n = bench->quick ? 128 * (1 + shapes[i].n / 8192) : shapes[i].n,
                 .k = bench->quick ? 128 : shapes[i].k};
        status = measure(&j);
        if (status == EMC_OK)
            print_row(&j, shapes[i].what);
        if (shapes[i].of_8b) {
            ours += j.time.seconds;
            best += j.best;
        }
        close_job(&j);
    }
    if (best > 0.0 && status == EMC_OK)
        printf("\nQwen3-8B, a layer: %.1f us, the library's best %.1f us: %.1f%%.\n", 1e6 * ours,
               1e6 * best, 100.0 * best / ours);
    return status;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_linear", run);
}
