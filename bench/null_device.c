/*
 * A bench tool, no device for users: it computes nothing and answers at once, so that a run shows
 * what the host alone takes. emcell_null is `emcell` with it in place of every real device:
 *
 *   --device cpu    answers before an operation returns, as the CPU device does
 *   --device cuda   queues, with a GPU's sizes: steps of 8448 rows, 512 readers
 *
 * Every cell gets the same answer: of the tokens that may follow, the first has most of the
 * probability and each further one e^-2 of the one before. The rest of what devices have is there:
 * memory, copies, events.
 *
 * Of the environment:
 *
 *   NULL_DEVICE_STEP_MS   --device cuda: a step takes so long on the device's clock (0)
 *   NULL_DEVICE_LOG       a file that gets one line of JSON when the device is closed
 *
 * The line: steps, their rows and readers, milliseconds of CPU that the thread which drives the
 * device took from one step to the next, and the share of time that the device waited for it. Only
 * the last thread that drove it counts, and its first steps are left out: the run's beginning.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "kernels/cpu.h"
#include "kernels/cuda.h"

#define ALIGNMENT   64
#define STEP_ROWS   8448
#define READER_ROWS 512
#define CPU_ROWS    1024
#define LEFT_OUT    4 /* steps */

/* Above log(1 + e^-2 + e^-4 + ...) = 0.1454, which leaves some probability to other tokens. */
#define LOG_SUM 0.2F

typedef struct {
    emc_device device;
    double step_s, busy_until;     /* on the clock of now() */
    double first_begin, first_cpu; /* of the first step that counts */
    double idle_s, last_begin, last_cpu;
    double n_rows, n_readers;
    int64_t n_steps; /* of the thread that drives it now */
    pthread_t driver;
} null_device;

struct emc_matrix {
    int n, k;
};

struct emc_lora {
    int rank;
};

struct emc_event {
    double at;
};

static null_device *null_of(emc_device *dev)
{
    return (null_device *)dev;
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void)
{
    return seconds(CLOCK_MONOTONIC);
}

static void wait_until(double at)
{
    double left;

    while ((left = at - now()) > 0) {
        const struct timespec wait = {.tv_sec = (time_t)left,
                                      .tv_nsec = (long)(1e9 * (left - floor(left)))};
        nanosleep(&wait, NULL);
    }
}

/* --- Memory --------------------------------------------------------------------------------- */

/* Pages that nobody writes to are never taken, as if they were a GPU's. */
static emc_status null_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    size_t whole = 0;
    char *raw = NULL;

    (void)dev;
    *out = NULL;
    if (emc_size_add(&whole, n_bytes, ALIGNMENT + sizeof raw))
        raw = calloc(1, whole);
    if (!raw)
        return emc_fail(EMC_ERR_DEVICE, "null device: no memory for %s: %zu bytes", what, n_bytes);
    char *memory = raw + sizeof raw;
    memory += (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
    memcpy(memory - sizeof raw, &raw, sizeof raw);
    *out = memory;
    return EMC_OK;
}

static void null_release(emc_device *dev, void *memory)
{
    char *raw;

    (void)dev;
    if (!memory)
        return;
    memcpy(&raw, (char *)memory - sizeof raw, sizeof raw);
    free(raw);
}

static emc_status null_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)dev;
    *n_free = *n_whole = 0;
    return EMC_OK;
}

static emc_status null_upload(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    (void)dev;
    if (n_bytes > 0)
        memcpy(d_dst, src, n_bytes);
    return EMC_OK;
}

static emc_status null_sync(emc_device *dev)
{
    wait_until(null_of(dev)->busy_until);
    return EMC_OK;
}

static emc_status null_download(emc_device *dev, void *dst, const void *d_src, size_t n_bytes)
{
    EMC_TRY(null_sync(dev));
    return null_upload(dev, dst, d_src, n_bytes);
}

/* Nobody reads what it would have moved: activations and weights only. */
static emc_status null_copy(emc_device *dev, void *d_dst, const void *d_src, size_t n_bytes)
{
    (void)dev;
    (void)d_dst;
    (void)d_src;
    (void)n_bytes;
    return EMC_OK;
}

/* --- Events --------------------------------------------------------------------------------- */

static emc_status null_event_open(emc_device *dev, emc_event **out)
{
    (void)dev;
    return emc_alloc(out, 1, sizeof **out, "an event");
}

static void null_event_close(emc_device *dev, emc_event *event)
{
    (void)dev;
    free(event);
}

static emc_status null_event_record(emc_device *dev, emc_event *event)
{
    event->at = fmax(now(), null_of(dev)->busy_until);
    return EMC_OK;
}

static emc_status null_event_wait(emc_device *dev, emc_event *event)
{
    (void)dev;
    wait_until(event->at);
    return EMC_OK;
}

static emc_status null_event_ms(emc_device *dev, const emc_event *from, const emc_event *to,
                                float *ms)
{
    (void)dev;
    *ms = (float)(1e3 * (to->at - from->at));
    return EMC_OK;
}

/* --- Weights -------------------------------------------------------------------------------- */

static emc_status null_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                                   int n_parts, int k)
{
    (void)dev;
    EMC_TRY(emc_alloc(out, 1, sizeof **out, "a matrix"));
    (*out)->k = k;
    for (int i = 0; i < n_parts; i++)
        (*out)->n += parts[i].n_rows;
    return EMC_OK;
}

static void null_matrix_close(emc_device *dev, emc_matrix *matrix)
{
    (void)dev;
    free(matrix);
}

static emc_status null_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec)
{
    (void)dev;
    EMC_TRY(emc_alloc(out, 1, sizeof **out, "an update"));
    (*out)->rank = spec->rank;
    return EMC_OK;
}

static void null_lora_close(emc_device *dev, emc_lora *lora)
{
    (void)dev;
    free(lora);
}

/* --- Operations ----------------------------------------------------------------------------- */

/* Whoever drove the device before has its own clock of CPU time. */
static void meet_driver(null_device *null)
{
    if (null->n_steps > 0 && pthread_equal(null->driver, pthread_self()))
        return;
    null->driver = pthread_self();
    null->n_steps = 0;
    null->idle_s = null->n_rows = null->n_readers = 0;
}

/* A step begins. */
static emc_status null_embed(emc_device *dev, void *out, const emc_matrix *table,
                             const emc_lora *lora, const int32_t *ids, int rows)
{
    null_device *null = null_of(dev);
    const double begin = fmax(now(), null->busy_until);

    (void)out;
    (void)table;
    (void)lora;
    (void)ids;
    meet_driver(null);
    null->last_begin = begin;
    null->last_cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
    if (null->n_steps == LEFT_OUT) {
        null->first_begin = begin;
        null->first_cpu = null->last_cpu;
    } else if (null->n_steps > LEFT_OUT) {
        null->idle_s += begin - null->busy_until;
        null->n_rows += rows;
    }
    null->busy_until = begin + null->step_s;
    null->n_steps++;
    return EMC_OK;
}

static emc_status null_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight,
                               int rows, int dim, float eps)
{
    (void)dev;
    (void)out;
    (void)x;
    (void)weight;
    (void)rows;
    (void)dim;
    (void)eps;
    return EMC_OK;
}

static emc_status null_add_rmsnorm(emc_device *dev, void *out, void *x, const void *y,
                                   const void *weight, int rows, int dim, float eps)
{
    (void)y;
    return null_rmsnorm(dev, out, x, weight, rows, dim, eps);
}

static emc_status null_linear(emc_device *dev, const emc_linear_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static emc_status null_rope_store(emc_device *dev, const emc_rope_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static emc_status null_attention(emc_device *dev, const emc_attention_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static emc_status null_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn)
{
    (void)dev;
    (void)out;
    (void)gate_up;
    (void)rows;
    (void)ffn;
    return EMC_OK;
}

static emc_status null_gather_rows(emc_device *dev, void *out, const void *x, const int32_t *index,
                                   int n, int dim)
{
    (void)dev;
    (void)out;
    (void)x;
    (void)index;
    (void)n;
    (void)dim;
    return EMC_OK;
}

static float logit_at(int place)
{
    return -2.0F * (float)(place < 40 ? place : 40);
}

static emc_status null_head(emc_device *dev, const emc_head_args *args)
{
    null_device *null = null_of(dev);

    if (null->n_steps > LEFT_OUT + 1)
        null->n_readers += args->rows;
    for (int r = 0; r < args->rows; r++) {
        const int32_t first = args->wanted_begin[r];

        args->log_sum[r] = LOG_SUM;
        for (int32_t i = first; i < args->wanted_begin[r + 1]; i++)
            args->wanted_logits[i] = logit_at(i - first);
        for (int i = 0; i < args->n_top; i++) {
            args->top_ids[r * args->n_top + i] = i < args->n_ids ? i : -1;
            if (args->top_logits)
                args->top_logits[r * args->n_top + i] = logit_at(i);
        }
    }
    return EMC_OK;
}

static emc_status null_prepare_attention(emc_device *dev, const emc_attention_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static emc_status null_prepare_head(emc_device *dev, const emc_head_args *args)
{
    (void)dev;
    (void)args;
    return EMC_OK;
}

static const char *null_chosen(emc_device *dev)
{
    (void)dev;
    return "{}";
}

/* --- The device ----------------------------------------------------------------------------- */

static void tell(const null_device *null, const char *path)
{
    const double n = (double)(null->n_steps - LEFT_OUT - 1);
    const double whole = null->last_begin - null->first_begin;
    FILE *file = n > 0 ? fopen(path, "a") : NULL;

    if (!file)
        return;
    fprintf(file,
            "{\"steps\": %.0f, \"rows\": %.1f, \"readers\": %.1f, \"host_ms\": %.4f, "
            "\"step_ms\": %.4f, \"idle\": %.5f}\n",
            n, null->n_rows / n, null->n_readers / n, 1e3 * (null->last_cpu - null->first_cpu) / n,
            1e3 * whole / n, whole > 0 ? null->idle_s / whole : 0);
    (void)fclose(file);
}

static void null_close(emc_device *dev)
{
    const char *log = getenv("NULL_DEVICE_LOG");

    if (dev && log)
        tell(null_of(dev), log);
    free(dev);
}

static const emc_ops null_ops = {
    .close = null_close,
    .alloc = null_alloc,
    .release = null_release,
    .memory = null_memory,
    .upload = null_upload,
    .download = null_download,
    .sync = null_sync,
    .alloc_host = null_alloc,
    .release_host = null_release,
    .upload_async = null_upload,
    .download_async = null_upload,
    .copy = null_copy,
    .event_open = null_event_open,
    .event_close = null_event_close,
    .event_record = null_event_record,
    .event_wait = null_event_wait,
    .event_ms = null_event_ms,
    .matrix_open = null_matrix_open,
    .matrix_close = null_matrix_close,
    .lora_open = null_lora_open,
    .lora_close = null_lora_close,
    .embed = null_embed,
    .rmsnorm = null_rmsnorm,
    .add_rmsnorm = null_add_rmsnorm,
    .linear = null_linear,
    .rope_store = null_rope_store,
    .attention = null_attention,
    .swiglu = null_swiglu,
    .gather_rows = null_gather_rows,
    .head = null_head,
    .prepare_linear = null_linear,
    .prepare_attention = null_prepare_attention,
    .prepare_head = null_prepare_head,
    .chosen = null_chosen,
};

static emc_status open_null(null_device **out, emc_dtype dtype)
{
    EMC_TRY(emc_alloc(out, 1, sizeof **out, "the null device"));
    (*out)->device.ops = &null_ops;
    (*out)->device.dtype = dtype;
    return EMC_OK;
}

emc_status emc_cpu_open(emc_device **out, const emc_cpu_options *options)
{
    null_device *null;

    *out = NULL;
    EMC_TRY(open_null(&null, options->dtype));
    null->device.step_rows = CPU_ROWS;
    null->device.at_once = true;
    snprintf(null->device.description, sizeof null->device.description,
             "null device of the bench (computes nothing), at once");
    *out = &null->device;
    return EMC_OK;
}

emc_status emc_cuda_open(emc_device **out, const emc_cuda_options *options)
{
    const char *step_ms = getenv("NULL_DEVICE_STEP_MS");
    null_device *null;

    *out = NULL;
    EMC_TRY(open_null(&null, options->dtype));
    null->device.step_rows = STEP_ROWS;
    null->device.reader_rows = READER_ROWS;
    null->device.copies_weights = true;
    null->step_s = step_ms ? 1e-3 * atof(step_ms) : 0;
    snprintf(null->device.description, sizeof null->device.description,
             "null device of the bench (computes nothing), queued");
    *out = &null->device;
    return EMC_OK;
}

const char *emc_cuda_architectures(void)
{
    return "";
}

void emc_cuda_describe_system(emc_cuda_system *out)
{
    *out = (emc_cuda_system){.n_gpus = 1};
}

emc_status emc_cuda_describe_gpu(int index, emc_cuda_gpu *out)
{
    *out = (emc_cuda_gpu){.n_sms = 132, .compute_capability = 90, .usable = true};
    snprintf(out->name, sizeof out->name, "null device");
    return index == 0 ? EMC_OK : emc_fail(EMC_ERR_DEVICE, "cuda:%d: no such GPU", index);
}

void emc_cuda_describe_nccl(char *out, size_t n_out)
{
    snprintf(out, n_out, "NCCL: not in this build");
}
