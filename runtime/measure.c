/*
 * How fast is the device at the best?
 *
 * One large product and one large copy, each in sizes that rise until one call takes long enough
 * to be measured well, so that a slow device is not kept for minutes. The numbers are random: how
 * fast a GPU multiplies depends on them, through its power limit. Only whole calls are timed, by
 * marks on the device, and the median counts.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/ops.h"
#include "runtime/model.h"

#define ENOUGH_MS 5.0   /* a call that takes longer is large enough */
#define TOTAL_MS  200.0 /* that all calls of a size may take together, about */
#define MAX_CALLS 50
#define MIN_CALLS 3

typedef struct {
    emc_device *dev;
    emc_event *from, *to;
} stopwatch;

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The median time of a call that is repeated. */
static emc_status time_calls(const stopwatch *watch, emc_status (*call)(void *context),
                             void *context, double *median_ms)
{
    const emc_ops *ops = watch->dev->ops;
    float ms[MAX_CALLS];
    double total = 0;
    int n = 0;

    EMC_TRY(call(context)); /* what only the first does */
    EMC_TRY(ops->sync(watch->dev));
    while (n < MAX_CALLS && (n < MIN_CALLS || total < TOTAL_MS)) {
        EMC_TRY(ops->event_record(watch->dev, watch->from));
        EMC_TRY(call(context));
        EMC_TRY(ops->event_record(watch->dev, watch->to));
        EMC_TRY(ops->event_wait(watch->dev, watch->to));
        EMC_TRY(ops->event_ms(watch->dev, watch->from, watch->to, &ms[n]));
        total += ms[n++];
    }
    qsort(ms, (size_t)n, sizeof ms[0], compare);
    *median_ms = ms[n / 2];
    return EMC_OK;
}

/* --- The product -------------------------------------------------------------------------- */

typedef struct {
    emc_device *dev;
    emc_linear_args args;
    emc_matrix *w;
    void *x, *out;
    uint16_t *host; /* bf16 */
} product;

/* bf16 numbers of either sign and of size 0.5 to 1. */
static void fill(uint16_t *values, size_t n)
{
    uint64_t state = 88172645463325252u;

    for (size_t i = 0; i < n; i++) {
        state ^= state << 13; /* xorshift64 (Marsaglia 2003) */
        state ^= state >> 7;
        state ^= state << 17;
        values[i] = (uint16_t)((state & 0x807Fu) | 0x3F00u);
    }
}

static emc_status upload_x(product *p, size_t n)
{
    float *converted = NULL;
    emc_status status;

    if (p->dev->dtype == EMC_BF16)
        return p->dev->ops->upload(p->dev, p->x, p->host, n * sizeof *p->host);
    EMC_TRY(emc_alloc(&converted, n, sizeof *converted, "a product to be measured"));
    emc_to_f32(converted, p->host, EMC_BF16, n);
    status = p->dev->ops->upload(p->dev, p->x, converted, n * sizeof *converted);
    free(converted);
    return status;
}

static emc_status open_product(product *p, int rows, int n, int k)
{
    const char *what = "a product to be measured";
    const size_t value = emc_dtype_bytes(p->dev->dtype);
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = n};

    EMC_TRY(emc_alloc(&p->host, (size_t)(rows > n ? rows : n) * (size_t)k, sizeof *p->host, what));
    fill(p->host, (size_t)(rows > n ? rows : n) * (size_t)k);
    part.data = p->host;
    EMC_TRY(p->dev->ops->matrix_open(p->dev, &p->w, &part, 1, k));
    EMC_TRY(p->dev->ops->alloc(p->dev, &p->x, (size_t)rows * (size_t)k * value, what));
    EMC_TRY(p->dev->ops->alloc(p->dev, &p->out, (size_t)rows * (size_t)n * value, what));
    EMC_TRY(upload_x(p, (size_t)rows * (size_t)k));
    p->args = (emc_linear_args){.out = p->out, .x = p->x, .w = p->w, .n = n, .rows = rows};
    return p->dev->ops->prepare_linear(p->dev, &p->args);
}

static void close_product(product *p)
{
    (void)p->dev->ops->sync(p->dev); /* nothing may be in use */
    p->dev->ops->release(p->dev, p->out);
    p->dev->ops->release(p->dev, p->x);
    if (p->w)
        p->dev->ops->matrix_close(p->dev, p->w);
    free(p->host);
}

static emc_status run_product(void *context)
{
    product *p = context;

    return p->dev->ops->linear(p->dev, &p->args);
}

static emc_status measure_product(const stopwatch *watch, double *flops)
{
    /* 33 tiles of 128 rows for each 4096: whole waves on 132 SMs. */
    static const int sizes[] = {256, 1024, 4096, 8192};
    double ms = 0;

    *flops = 0;
    for (size_t i = 0; i < EMC_COUNT(sizes) && ms < ENOUGH_MS; i++) {
        const int n = sizes[i], rows = n + n / 32;
        product p = {.dev = watch->dev};
        emc_status status = open_product(&p, rows, n, n);

        if (status == EMC_OK)
            status = time_calls(watch, run_product, &p, &ms);
        close_product(&p);
        /* A device that is nearly full still gives the rate of a smaller product. */
        if (status == EMC_ERR_DEVICE && *flops > 0)
            return EMC_OK;
        EMC_TRY(status);
        if (ms > 0 && 2.0 * rows * n * n / (ms * 1e-3) > *flops)
            *flops = 2.0 * rows * n * n / (ms * 1e-3);
    }
    return EMC_OK;
}

/* --- The copy ----------------------------------------------------------------------------- */

typedef struct {
    emc_device *dev;
    void *from, *to;
    size_t n_bytes;
} copy;

static emc_status run_copy(void *context)
{
    const copy *c = context;

    return c->dev->ops->copy(c->dev, c->to, c->from, c->n_bytes);
}

static emc_status measure_copy(const stopwatch *watch, double *bytes)
{
    emc_device *dev = watch->dev;
    double ms = 0;

    *bytes = 0;
    /* The largest is past the caches of any device. */
    for (size_t n = (size_t)16 << 20; n <= (size_t)1 << 30 && ms < ENOUGH_MS; n *= 4) {
        copy c = {.dev = dev, .n_bytes = n};
        emc_status status = dev->ops->alloc(dev, &c.from, n, "a copy to be measured");

        if (status == EMC_OK)
            status = dev->ops->alloc(dev, &c.to, n, "a copy to be measured");
        if (status == EMC_OK)
            status = time_calls(watch, run_copy, &c, &ms);
        dev->ops->release(dev, c.to);
        dev->ops->release(dev, c.from);
        if (status == EMC_ERR_DEVICE && *bytes > 0)
            return EMC_OK;
        EMC_TRY(status);
        if (ms > 0)
            *bytes = 2.0 * (double)n / (ms * 1e-3); /* not the most: small ones stay in caches */
    }
    return EMC_OK;
}

emc_status emc_model_measure(emc_model *model, emc_ceilings *out)
{
    stopwatch watch = {.dev = model->dev};
    const emc_ops *ops = model->dev->ops;
    emc_status status;

    *out = (emc_ceilings){0};
    if (model->choice.absent[0])
        return emc_fail(EMC_ERR_DEVICE, "%s cannot be measured: %s", model->choice.name,
                        model->choice.absent);
    status = ops->event_open(watch.dev, &watch.from);
    if (status == EMC_OK)
        status = ops->event_open(watch.dev, &watch.to);
    if (status == EMC_OK)
        status = measure_product(&watch, &out->product_flops);
    if (status == EMC_OK)
        status = measure_copy(&watch, &out->copy_bytes);
    ops->event_close(watch.dev, watch.to);
    ops->event_close(watch.dev, watch.from);
    return status;
}
