#include "device_bench.h"

#include <math.h>

#include "base/size.h"
#include "bench.h"
#include "kernels/cpu.h"
#include "kernels/cuda.h"

#define RANDOM_VALUES ((size_t)1 << 22)
#define BEYOND_CACHES ((size_t)512 << 20) /* ten times the L2 of an H200 */
#define REPETITIONS   15
#define REPETITION_S  4e-3 /* long beside an event's resolution */
#define MAX_CALLS     2000
#define WARM_UP_S     0.05
#define CPU_SECONDS   1.0 /* a CPU takes its time: fewer repetitions then */

/* --- The device --------------------------------------------------------------------------- */

static emc_status open_gpu(device_bench *bench, int index)
{
    const emc_cuda_options options = {.dtype = EMC_BF16, .index = index};
    emc_cuda_gpu gpu;

    EMC_TRY(emc_cuda_describe_gpu(index, &gpu));
    bench->is_gpu = true;
    bench->n_sms = gpu.n_sms;
    return emc_cuda_open(&bench->dev, &options);
}

static emc_status open_device(device_bench *bench, const char *name)
{
    const emc_cpu_options options = {.dtype = EMC_BF16};
    emc_cuda_system system;
    int index = 0;
    char rest;

    if (!name) {
        emc_cuda_describe_system(&system);
        name = system.n_gpus > 0 ? "cuda" : "cpu";
    }
    if (strcmp(name, "cpu") == 0)
        return emc_cpu_open(&bench->dev, &options);
    if (strcmp(name, "cuda") == 0 || (sscanf(name, "cuda:%d%c", &index, &rest) == 1 && index >= 0))
        return open_gpu(bench, index);
    return emc_fail(EMC_ERR_USAGE, "--device is '%s': need cpu, cuda or cuda:N", name);
}

int device_bench_rows(const device_bench *bench, int on_gpu, int on_cpu)
{
    return bench->quick ? 3 : bench->is_gpu ? on_gpu : on_cpu;
}

int device_bench_copies(const device_bench *bench, size_t n_bytes)
{
    const size_t n = BEYOND_CACHES / (n_bytes > 0 ? n_bytes : 1) + 1;

    if (bench->quick)
        return 2;
    return n < 2 ? 2 : n > DEVICE_BENCH_MAX_COPIES ? DEVICE_BENCH_MAX_COPIES : (int)n;
}

/* --- Memory ------------------------------------------------------------------------------- */

emc_status device_bench_take(device_bench *bench, void **out, size_t n_bytes)
{
    *out = NULL;
    if ((size_t)bench->n_memory == EMC_COUNT(bench->memory))
        return emc_fail(EMC_ERR_INTERNAL, "a bench takes more than %d buffers", bench->n_memory);
    EMC_TRY(bench->dev->ops->alloc(bench->dev, out, n_bytes, "a bench"));
    bench->memory[bench->n_memory++] = *out;
    return EMC_OK;
}

void device_bench_release(device_bench *bench)
{
    while (bench->n_memory > 0)
        bench->dev->ops->release(bench->dev, bench->memory[--bench->n_memory]);
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Normal numbers: power, and with it a GPU's clock, depends on the values. */
static emc_status fill_random(device_bench *bench)
{
    const double two_pi = 6.283185307179586;
    uint64_t seed = 7;

    EMC_TRY(emc_alloc(&bench->random, RANDOM_VALUES, sizeof *bench->random, "random numbers"));
    for (size_t i = 0; i < RANDOM_VALUES; i++) {
        const double u = ((double)(next_random(&seed) >> 11) + 1) * 0x1p-53;
        const double angle = two_pi * 0x1p-53 * (double)(next_random(&seed) >> 11);
        bench->random[i] = emc_f32_to_bf16((float)(sqrt(-2.0 * log(u)) * cos(angle)));
    }
    return EMC_OK;
}

/* The bf16 number times 2^exponent: its exponent field is at bit 7. */
static uint16_t scaled(uint16_t value, int exponent)
{
    const int field = (value >> 7 & 0xff) + exponent;

    return field <= 0 ? 0 : (uint16_t)((value & 0x807f) | field << 7);
}

emc_status device_bench_host_normals(device_bench *bench, uint16_t **out, size_t n, int exponent)
{
    *out = NULL;
    if (!bench->random)
        EMC_TRY(fill_random(bench));
    EMC_TRY(emc_alloc(out, n, sizeof **out, "random numbers"));
    for (size_t i = 0; i < n; i++)
        (*out)[i] = scaled(bench->random[i % RANDOM_VALUES], exponent);
    return EMC_OK;
}

emc_status device_bench_normals(device_bench *bench, void **out, size_t n, int exponent)
{
    const emc_ops *ops = bench->dev->ops;
    const size_t piece = n < RANDOM_VALUES ? n : RANDOM_VALUES;
    emc_status status;
    uint16_t *values;

    EMC_TRY(device_bench_take(bench, out, n * sizeof *values));
    EMC_TRY(device_bench_host_normals(bench, &values, piece, exponent));
    status = ops->upload(bench->dev, *out, values, piece * sizeof *values);
    for (size_t done = piece; done < n && status == EMC_OK; done += piece) {
        const size_t left = n - done < piece ? n - done : piece;
        status = ops->copy(bench->dev, (uint16_t *)*out + done, *out, left * sizeof *values);
    }
    free(values);
    return status;
}

emc_status device_bench_words(device_bench *bench, void **out, const void *words, size_t n)
{
    EMC_TRY(device_bench_take(bench, out, n * sizeof(int32_t)));
    return bench->dev->ops->upload(bench->dev, *out, words, n * sizeof(int32_t));
}

/* --- Times -------------------------------------------------------------------------------- */

typedef struct {
    emc_event *begin, *end;
} stopwatch;

static emc_status time_calls(device_bench *bench, const stopwatch *watch, device_bench_call call,
                             void *context, int n_copies, int n_calls, double *seconds)
{
    const emc_ops *ops = bench->dev->ops;
    float ms;

    EMC_TRY(ops->event_record(bench->dev, watch->begin));
    for (int i = 0; i < n_calls; i++)
        EMC_TRY(call(context, i % n_copies));
    EMC_TRY(ops->event_record(bench->dev, watch->end));
    EMC_TRY(ops->event_wait(bench->dev, watch->end));
    EMC_TRY(ops->event_ms(bench->dev, watch->begin, watch->end, &ms));
    *seconds = 1e-3 * (double)ms / n_calls;
    return EMC_OK;
}

static emc_status measure(device_bench *bench, const stopwatch *watch, device_bench_call call,
                          void *context, int n_copies, device_bench_time *out)
{
    bench_runs runs = {.n = 0};
    double seconds, spent = 0, start = bench_now();
    int n_calls = n_copies;

    do { /* the first calls choose algorithms and take memory */
        EMC_TRY(time_calls(bench, watch, call, context, n_copies, n_copies, &seconds));
    } while (!bench->quick && bench_now() - start < WARM_UP_S);
    while (!bench->quick && n_calls * seconds < REPETITION_S && n_calls < MAX_CALLS)
        n_calls *= 2;
    while (runs.n < (bench->quick ? 1 : REPETITIONS)) {
        EMC_TRY(time_calls(bench, watch, call, context, n_copies, n_calls, &seconds));
        bench_add(&runs, seconds);
        spent += seconds * n_calls;
        if (!bench->is_gpu && spent > CPU_SECONDS && runs.n >= 3)
            break;
    }
    *out = (device_bench_time){.seconds = bench_median(&runs), .spread = bench_spread(&runs)};
    return EMC_OK;
}

emc_status device_bench_measure(device_bench *bench, device_bench_call call, void *context,
                                int n_copies, device_bench_time *out)
{
    const emc_ops *ops = bench->dev->ops;
    stopwatch watch = {NULL, NULL};
    emc_status status;

    status = ops->event_open(bench->dev, &watch.begin);
    if (status == EMC_OK)
        status = ops->event_open(bench->dev, &watch.end);
    if (status == EMC_OK)
        status = measure(bench, &watch, call, context, n_copies, out);
    ops->event_close(bench->dev, watch.begin);
    ops->event_close(bench->dev, watch.end);
    return status;
}

/* --- Ceilings ----------------------------------------------------------------------------- */

typedef struct {
    device_bench *bench;
    char *from, *to;
    size_t n_bytes; /* of one copy */
    emc_matrix *w;
    int n; /* rows and columns of the product */
} ceiling;

static emc_status call_copy(void *context, int copy)
{
    const ceiling *c = context;
    const size_t at = (size_t)copy * c->n_bytes;

    return c->bench->dev->ops->copy(c->bench->dev, c->to + at, c->from + at, c->n_bytes);
}

static emc_status measure_copy(device_bench *bench)
{
    const size_t n = bench->quick ? (size_t)1 << 16 : bench->is_gpu ? (size_t)1 << 30 : 1u << 28;
    ceiling c = {.bench = bench, .n_bytes = n / 2};
    const int n_before = bench->n_memory;
    device_bench_time time;
    void *from, *to;

    EMC_TRY(device_bench_normals(bench, &from, n / sizeof(uint16_t), 0));
    EMC_TRY(device_bench_take(bench, &to, n));
    c.from = from;
    c.to = to;
    EMC_TRY(device_bench_measure(bench, call_copy, &c, 2, &time));
    bench->copy_per_s = 2.0 * (double)c.n_bytes / time.seconds;
    while (bench->n_memory > n_before)
        bench->dev->ops->release(bench->dev, bench->memory[--bench->n_memory]);
    return EMC_OK;
}

static emc_status call_product(void *context, int copy)
{
    const ceiling *c = context;
    const emc_linear_args args = {.out = c->to, .x = c->from, .w = c->w, .n = c->n, .rows = c->n};

    (void)copy;
    return c->bench->dev->ops->linear(c->bench->dev, &args);
}

static emc_status measure_product_of(device_bench *bench, ceiling *c, uint16_t **weights)
{
    const size_t n = (size_t)c->n * (size_t)c->n;
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = c->n};
    device_bench_time time;
    void *from, *to;

    EMC_TRY(device_bench_host_normals(bench, weights, n, -5));
    EMC_TRY(device_bench_normals(bench, &from, n, 0));
    EMC_TRY(device_bench_take(bench, &to, n * sizeof(uint16_t)));
    c->from = from;
    c->to = to;
    part.data = *weights;
    EMC_TRY(bench->dev->ops->matrix_open(bench->dev, &c->w, &part, 1, c->n));
    EMC_TRY(device_bench_measure(bench, call_product, c, 1, &time));
    bench->product_per_s = 2.0 * (double)n * c->n / time.seconds;
    return EMC_OK;
}

static emc_status measure_product(device_bench *bench)
{
    ceiling c = {.bench = bench, .n = bench->quick ? 64 : bench->is_gpu ? 8192 : 2048};
    const int n_before = bench->n_memory;
    uint16_t *weights = NULL;
    const emc_status status = measure_product_of(bench, &c, &weights);

    if (c.w)
        bench->dev->ops->matrix_close(bench->dev, c.w);
    while (bench->n_memory > n_before)
        bench->dev->ops->release(bench->dev, bench->memory[--bench->n_memory]);
    free(weights);
    return status;
}

emc_status device_bench_bytes_table(device_bench *bench)
{
    if (bench->copy_per_s == 0.0)
        EMC_TRY(measure_copy(bench));
    printf("\nA large copy: %.1f GB/s read and written.\n\n"
           "| shape | us | GB/s | of the copy | spread |\n|---|---:|---:|---:|---:|\n",
           1e-9 * bench->copy_per_s);
    return EMC_OK;
}

emc_status device_bench_product_ceiling(device_bench *bench)
{
    return bench->product_per_s == 0.0 ? measure_product(bench) : EMC_OK;
}

emc_status device_bench_flops_table(device_bench *bench)
{
    EMC_TRY(device_bench_product_ceiling(bench));
    printf("\nA large product: %.1f TFLOP/s.\n\n"
           "| shape | us | TFLOP/s | of the product | spread |\n|---|---:|---:|---:|---:|\n",
           1e-12 * bench->product_per_s);
    return EMC_OK;
}

void device_bench_bytes_row(const device_bench *bench, const char *what, device_bench_time time,
                            double n_bytes)
{
    const double rate = n_bytes / time.seconds;

    printf("| %s | %.1f | %.1f | %.0f%% | %.0f%% |\n", what, 1e6 * time.seconds, 1e-9 * rate,
           100.0 * rate / bench->copy_per_s, 100.0 * time.spread);
}

void device_bench_flops_row(const device_bench *bench, const char *what, device_bench_time time,
                            double n_operations)
{
    const double rate = n_operations / time.seconds;

    printf("| %s | %.1f | %.2f | %.0f%% | %.0f%% |\n", what, 1e6 * time.seconds, 1e-12 * rate,
           100.0 * rate / bench->product_per_s, 100.0 * time.spread);
}

/* --- main --------------------------------------------------------------------------------- */

static emc_status read_options(device_bench *bench, int argc, char **argv, const char **device)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            bench->quick = true;
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            *device = argv[++i];
        else
            return emc_fail(EMC_ERR_USAGE, "'%s': need --device cpu|cuda|cuda:N, or --quick",
                            argv[i]);
    }
    return EMC_OK;
}

int device_bench_main(int argc, char **argv, const char *name,
                      emc_status (*run)(device_bench *bench))
{
    device_bench bench = {0};
    const char *device = NULL;
    emc_status status;

    status = read_options(&bench, argc, argv, &device);
    if (status == EMC_OK)
        status = open_device(&bench, device);
    if (status == EMC_OK) {
        printf("%s on %s%s\n", name, bench.dev->description,
               bench.quick ? " (--quick: no figures)" : "");
        status = run(&bench);
    }
    if (bench.dev) {
        device_bench_release(&bench);
        bench.dev->ops->close(bench.dev);
    }
    free(bench.random);
    if (status != EMC_OK)
        fprintf(stderr, "%s: %s\n", name, emc_message());
    return status == EMC_OK ? 0 : emc_status_exit_code(status);
}
