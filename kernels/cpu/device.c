/* How is a CPU device opened, and which of the compiled variants does this machine run? */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "kernels/cpu.h"
#include "kernels/cpu/device.h"

#define ALIGNMENT 64

/* 8 % fewer CPU seconds than 512 and 30 % fewer than 128 on a 0.6B model; more gain nothing
 * (emcell bench). */
#define STEP_ROWS 1024

void cpu_fill_base(emc_ops *ops);
#ifdef EMC_CPU_X86_VARIANTS
void cpu_fill_avx2(emc_ops *ops);
void cpu_fill_avx512(emc_ops *ops);
#endif

typedef struct {
    const char *name;
    void (*fill)(emc_ops *ops);
} variant;

/* The best first. */
static const variant variants[] = {
#ifdef EMC_CPU_X86_VARIANTS
    {"avx512", cpu_fill_avx512},
    {"avx2", cpu_fill_avx2},
#endif
    {"base", cpu_fill_base},
};

static bool runs_here(const char *name)
{
#ifdef EMC_CPU_X86_VARIANTS
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (strcmp(name, "avx512") == 0)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (strcmp(name, "avx2") == 0)
        return avx2;
#endif
    return strcmp(name, "base") == 0;
}

/* The named variant, or the best one for NULL; NULL when this machine lacks it. */
static const variant *find_variant(const char *name)
{
    for (size_t i = 0; i < EMC_COUNT(variants); i++)
        if ((!name || strcmp(name, variants[i].name) == 0) && runs_here(variants[i].name))
            return &variants[i];
    return NULL;
}

emc_status cpu_alloc(void **out, size_t n_bytes, const char *what)
{
    size_t whole;
    char *raw = NULL;

    *out = NULL;
    /* calloc leaves large memory untouched until it is used. Its own address stands right before
     * ours. */
    if (emc_size_add(&whole, n_bytes, ALIGNMENT + sizeof raw))
        raw = calloc(1, whole);
    if (!raw)
        return emc_fail(EMC_ERR_DEVICE, "cpu: no memory for %s: %zu bytes", what, n_bytes);
    char *memory = raw + sizeof raw;
    memory += (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
    memcpy(memory - sizeof raw, &raw, sizeof raw);
    *out = memory;
    return EMC_OK;
}

void cpu_free(void *memory)
{
    char *raw;

    if (!memory)
        return;
    memcpy(&raw, (char *)memory - sizeof raw, sizeof raw);
    free(raw);
}

emc_status cpu_fit(void *memory, size_t *held, size_t n_bytes, const char *what)
{
    void *now, *bigger;

    if (n_bytes <= *held)
        return EMC_OK;
    EMC_TRY(cpu_alloc(&bigger, n_bytes, what));
    memcpy(&now, memory, sizeof now);
    cpu_free(now);
    memcpy(memory, &bigger, sizeof bigger);
    *held = n_bytes;
    return EMC_OK;
}

static emc_status device_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    (void)dev;
    return cpu_alloc(out, n_bytes, what);
}

static void device_release(emc_device *dev, void *memory)
{
    (void)dev;
    cpu_free(memory);
}

static emc_status device_upload(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    (void)dev;
    if (n_bytes > 0)
        memcpy(d_dst, src, n_bytes);
    return EMC_OK;
}

static emc_status device_download(emc_device *dev, void *dst, const void *d_src, size_t n_bytes)
{
    (void)dev;
    if (n_bytes > 0)
        memcpy(dst, d_src, n_bytes);
    return EMC_OK;
}

static emc_status device_copy(emc_device *dev, void *d_dst, const void *d_src, size_t n_bytes)
{
    return device_upload(dev, d_dst, d_src, n_bytes);
}

/* Every operation has ended when it returns: so have copies, and events have come. */
static emc_status device_sync(emc_device *dev)
{
    (void)dev;
    return EMC_OK;
}

static emc_status device_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)dev;
    *n_free = *n_whole = 0;
    return EMC_OK;
}

struct emc_event {
    struct timespec at;
};

static emc_status event_open(emc_device *dev, emc_event **out)
{
    (void)dev;
    return emc_alloc(out, 1, sizeof **out, "an event");
}

static void event_close(emc_device *dev, emc_event *event)
{
    (void)dev;
    free(event);
}

static emc_status event_record(emc_device *dev, emc_event *event)
{
    (void)dev;
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    return EMC_OK;
}

static emc_status event_wait(emc_device *dev, emc_event *event)
{
    (void)dev;
    (void)event;
    return EMC_OK;
}

static emc_status event_ms(emc_device *dev, const emc_event *from, const emc_event *to, float *ms)
{
    (void)dev;
    *ms = (float)((double)(to->at.tv_sec - from->at.tv_sec) * 1e3 +
                  (double)(to->at.tv_nsec - from->at.tv_nsec) * 1e-6);
    return EMC_OK;
}

static emc_status prepare_linear(emc_device *dev, const emc_linear_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static emc_status prepare_attention(emc_device *dev, const emc_attention_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static emc_status prepare_head(emc_device *dev, const emc_head_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static const char *device_chosen(emc_device *dev)
{
    (void)dev;
    return "{}";
}

static emc_status adopt(emc_device *dev, const char *chosen)
{
    (void)dev;
    (void)chosen;
    return EMC_OK;
}

static void device_close(emc_device *dev)
{
    cpu_device *cpu = cpu_of(dev);

    if (!cpu)
        return;
    for (int i = 0; cpu->workers && i < cpu_pool_workers(cpu->pool); i++) {
        cpu_free(cpu->workers[i].w);
        cpu_free(cpu->workers[i].x);
        cpu_free(cpu->workers[i].y);
        cpu_free(cpu->workers[i].attention);
    }
    free(cpu->workers);
    cpu_gemm_close(cpu->gemm);
    cpu_pool_close(cpu->pool);
    cpu_free(cpu->staged);
    cpu_free(cpu->lora);
    cpu_free(cpu->parts);
    free(cpu);
}

static int usable_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return CPU_COUNT(&set);
}

static emc_status fill_device(cpu_device *cpu, int n_threads, const variant *chosen)
{
    char products[64];
    void *memory;

    cpu->ops = (emc_ops){.close = device_close,
                         .alloc = device_alloc,
                         .release = device_release,
                         .upload = device_upload,
                         .download = device_download,
                         .sync = device_sync,
                         .memory = device_memory,
                         .alloc_host = device_alloc,
                         .release_host = device_release,
                         .upload_async = device_upload,
                         .download_async = device_download,
                         .copy = device_copy,
                         .event_open = event_open,
                         .event_close = event_close,
                         .event_record = event_record,
                         .event_wait = event_wait,
                         .event_ms = event_ms,
                         .prepare_linear = prepare_linear,
                         .prepare_attention = prepare_attention,
                         .prepare_head = prepare_head,
                         .chosen = device_chosen,
                         .adopt = adopt,
                         .comms_open = cpu_comms_open,
                         .comm_close = cpu_comm_close,
                         .comm_abort = cpu_comm_abort,
                         .all_reduce = cpu_all_reduce,
                         .all_gather = cpu_all_gather,
                         .broadcast = cpu_broadcast,
                         .matrix_broadcast = cpu_matrix_broadcast,
                         .merge_heads = cpu_merge_heads,
                         .round = cpu_round,
                         .matrix_open = cpu_matrix_open,
                         .matrix_close = cpu_matrix_close,
                         .lora_open = cpu_lora_open,
                         .lora_close = cpu_lora_close};
    chosen->fill(&cpu->ops);
    cpu->device.ops = &cpu->ops;
    cpu->device.step_rows = STEP_ROWS;
    cpu->device.at_once = true;
    EMC_TRY(cpu_pool_open(&cpu->pool, n_threads, cpu_gemm_start_worker));
    EMC_TRY(cpu_gemm_open(&cpu->gemm, n_threads));
    cpu->product = cpu->device.dtype == EMC_BF16 ? cpu_gemm_product() : EMC_F32;
    EMC_TRY(emc_alloc(&cpu->workers, (size_t)n_threads, sizeof *cpu->workers,
                      "the CPU device's threads"));
    for (int i = 0; i < n_threads; i++) {
        EMC_TRY(cpu_alloc(&memory, CPU_TILE_ROWS * CPU_BLOCK * sizeof(float), "a tile"));
        cpu->workers[i].y = memory;
        EMC_TRY(cpu_alloc(&memory, sizeof *cpu->workers[i].attention, "tiles of attention"));
        cpu->workers[i].attention = memory;
    }
    cpu_gemm_describe(products, sizeof products);
    snprintf(cpu->device.description, sizeof cpu->device.description,
             "cpu, %s products by %s, %s loops, %d thread%s", emc_dtype_name(cpu->product),
             products, chosen->name, n_threads, n_threads == 1 ? "" : "s");
    return EMC_OK;
}

emc_status emc_cpu_open(emc_device **out, const emc_cpu_options *options)
{
    return cpu_open_variant(out, options, NULL);
}

emc_status cpu_open_variant(emc_device **out, const emc_cpu_options *options, const char *name)
{
    const variant *chosen = find_variant(name);
    const int n_threads = options->n_threads ? options->n_threads : usable_cores();
    cpu_device *cpu = NULL;

    *out = NULL;
    if (options->dtype != EMC_F32 && options->dtype != EMC_BF16)
        return emc_fail(EMC_ERR_ARG, "cpu: dtype %d, need F32 or BF16", (int)options->dtype);
    if (n_threads < 0 || n_threads > CPU_MAX_THREADS)
        return emc_fail(EMC_ERR_ARG, "cpu: n_threads=%d, need 0 to %d", n_threads, CPU_MAX_THREADS);
    if (!chosen)
        return emc_fail(EMC_ERR_DEVICE, "cpu: this machine cannot run the %s loops", name);
    EMC_TRY(emc_alloc(&cpu, 1, sizeof *cpu, "the CPU device"));
    cpu->device.dtype = options->dtype;
    const emc_status status = fill_device(cpu, n_threads, chosen);
    if (status != EMC_OK) {
        device_close(&cpu->device);
        return status;
    }
    *out = &cpu->device;
    return EMC_OK;
}
