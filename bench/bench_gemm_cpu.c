/*
 * How near do the CPU device's linear layers come to a bare oneDNN product of the same shape?
 *
 * bench_gemm_cpu [--quick] [--f32] [--cpu-time]
 *
 * Weights are bf16 as in a checkpoint; activations bf16, or f32 with --f32. The bare product has
 * its activations and weights in the dtype of the device's products already, packed at leisure, all
 * rows in one call, and as many OpenMP threads as the device has (OMP_NUM_THREADS). The two take
 * turns. --cpu-time: one thread each and its CPU time, for a machine that others use too.
 */
#include "bench.h"

#include "bare_matmul.h"
#include "base/dtype.h"
#include "kernels/cpu.h"

#define ROWS 1024

typedef struct {
    const char *model, *layer;
    int n, k;
} shape;

static const shape shapes[] = {
    {"Qwen3-0.6B", "qkv", 4096, 1024},
    {"Qwen3-0.6B", "o", 1024, 2048},
    {"Qwen3-0.6B", "gate+up", 6144, 1024},
    {"Qwen3-0.6B", "down", 1024, 3072},
    {"Qwen3-8B", "qkv", 6144, 4096},
    {"Qwen3-8B", "o", 4096, 4096},
    {"Qwen3-8B", "gate+up", 24576, 4096},
    {"Qwen3-8B", "down", 4096, 12288},
    {"demo", "qkv", 512, 256},
    {"demo", "o", 256, 256},
    {"demo", "gate+up", 1536, 256},
    {"demo", "down", 256, 768},
};
static const shape quick_shapes[] = {{"quick", "narrow", 96, 64}, {"quick", "wide", 512, 160}};

static bool cpu_time;

static double now(void)
{
    struct timespec t;

    if (!cpu_time)
        return bench_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    emc_device *dev;
    emc_matrix *w;
    uint16_t *weights;
    void *x, *out;
    emc_linear_args args;
    bare_matmul *bare;
    bool bf16; /* dtype of the products */
} pair;

static void close_pair(pair *p)
{
    if (p->w)
        p->dev->ops->matrix_close(p->dev, p->w);
    p->dev->ops->release(p->dev, p->x);
    p->dev->ops->release(p->dev, p->out);
    bare_matmul_close(p->bare);
    free(p->weights);
}

static emc_status open_pair(pair *p, const shape *s, int rows)
{
    const size_t n = (size_t)s->n, k = (size_t)s->k, m = (size_t)rows;
    const size_t size = emc_dtype_bytes(p->dev->dtype);
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = s->n};

    p->weights = malloc(n * k * sizeof *p->weights);
    p->bare = bare_matmul_open(rows, s->n, s->k, p->bf16);
    if (!p->weights || !p->bare)
        return emc_fail(EMC_ERR_NOMEM, "no memory, or oneDNN failed, for [%d, %d]", s->n, s->k);
    for (size_t i = 0; i < n * k; i++)
        p->weights[i] = (uint16_t)(0x3C00 + i % 257); /* around 0.01 */
    part.data = p->weights;
    EMC_TRY(p->dev->ops->matrix_open(p->dev, &p->w, &part, 1, s->k));
    EMC_TRY(p->dev->ops->alloc(p->dev, &p->x, m * k * size, "activations"));
    EMC_TRY(p->dev->ops->alloc(p->dev, &p->out, m * n * size, "a result"));
    memset(p->x, 0x3C, m * k * size);
    p->args = (emc_linear_args){.out = p->out, .x = p->x, .w = p->w, .n = s->n, .rows = rows};
    return EMC_OK;
}

/* Runs both in turns for about the given time each and prints a row. */
static emc_status measure(pair *p, const shape *s, int rows, double seconds, int min_runs)
{
    const double flops = 2.0 * rows * s->n * s->k;
    bench_runs ours = {.n = 0}, theirs = {.n = 0};
    double spent = 0;

    while (ours.n < BENCH_MAX_RUNS && (ours.n < min_runs || spent < seconds)) {
        const double start = now();
        EMC_TRY(p->dev->ops->linear(p->dev, &p->args));
        const double middle = now();
        if (!bare_matmul_run(p->bare))
            return emc_fail(EMC_ERR_DEVICE, "oneDNN failed on [%d, %d]", s->n, s->k);
        const double end = now();
        bench_add(&ours, middle - start);
        bench_add(&theirs, end - middle);
        spent += middle - start;
    }
    const double our_median = bench_median(&ours), their_median = bench_median(&theirs);
    const double our_best = ours.seconds[0], their_best = theirs.seconds[0];
    printf("%-10s %-8s %5d %6d %6d %9.3f %8.1f %8.1f %6.0f%% %8.1f %8.1f %6.0f%% %5.0f%%\n",
           s->model, s->layer, rows, s->n, s->k, 1e3 * our_median, 1e-9 * flops / our_median,
           1e-9 * flops / their_median, 100.0 * their_median / our_median, 1e-9 * flops / our_best,
           1e-9 * flops / their_best, 100.0 * their_best / our_best, 100.0 * bench_spread(&ours));
    return EMC_OK;
}

static bool has(int argc, char **argv, const char *option)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], option) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    const bool quick = bench_is_quick(argc, argv);
    const shape *list = quick ? quick_shapes : shapes;
    const size_t n = quick ? EMC_COUNT(quick_shapes) : EMC_COUNT(shapes);
    emc_status status;

    cpu_time = has(argc, argv, "--cpu-time");
    const emc_cpu_options options = {.dtype = has(argc, argv, "--f32") ? EMC_F32 : EMC_BF16,
                                     .n_threads = cpu_time ? 1 : 0};
    bare_matmul_threads(options.n_threads);
    pair p = {0};
    status = emc_cpu_open(&p.dev, &options);
    if (status == EMC_OK) {
        printf("%s\n", p.dev->description);
        printf("%-10s %-8s %5s %6s %6s %9s %8s %8s %7s %8s %8s %7s %6s\n", "model", "layer", "rows",
               "n", "k", "ms", "GFLOP/s", "bare", "share", "best", "bare", "share", "spread");
        p.bf16 = strstr(p.dev->description, "BF16 products") != NULL;
    }
    for (size_t i = 0; i < n && status == EMC_OK; i++) {
        const int rows = quick ? 70 : ROWS;
        pair this = p;
        status = open_pair(&this, &list[i], rows);
        if (status == EMC_OK)
            status = measure(&this, &list[i], rows, quick ? 0.0 : 1.5, quick ? 1 : 3);
        close_pair(&this);
    }
    if (p.dev)
        p.dev->ops->close(p.dev);
    if (status != EMC_OK)
        fprintf(stderr, "bench_gemm_cpu: %s\n", emc_message());
    return status == EMC_OK ? 0 : emc_status_exit_code(status);
}
