#include "emt_device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/cpu/device.h"
#include "kernels/cuda.h"

#define GUARD_BYTES 256
#define GUARD       0xA5

static emc_status open_cpu(emc_device **out, emc_dtype dtype, int n_threads)
{
    const emc_cpu_options options = {.dtype = dtype, .n_threads = n_threads};

    return emc_cpu_open(out, &options);
}

/* The loops for lesser machines, which this one would never pick. */
static emc_status open_avx2(emc_device **out, emc_dtype dtype, int n_threads)
{
    const emc_cpu_options options = {.dtype = dtype, .n_threads = n_threads};

    return cpu_open_variant(out, &options, "avx2");
}

static emc_status open_base(emc_device **out, emc_dtype dtype, int n_threads)
{
    const emc_cpu_options options = {.dtype = dtype, .n_threads = n_threads};

    return cpu_open_variant(out, &options, "base");
}

/* A GPU of this machine, or the virtual one, whichever this program is linked with. */
static emc_status open_cuda(emc_device **out, emc_dtype dtype, int n_threads)
{
    const emc_cuda_options options = {.dtype = dtype};

    (void)n_threads;
    return emc_cuda_open(out, &options);
}

#ifdef EMT_NO_CPU
#define MAY_LACK_CPU true
#else
#define MAY_LACK_CPU false
#endif

const emt_device_kind emt_device_kinds[] = {
    {"cpu", open_cpu, true, MAY_LACK_CPU, true},
    {"cpu, avx2 loops", open_avx2, true, true, true},
    {"cpu, base loops", open_base, true, true, true},
    {"cuda", open_cuda, false, true, false},
    {NULL, NULL, false, false, false},
};

emc_device *emt_open(const emt_device_kind *kind, emc_dtype dtype, int n_threads)
{
    emc_device *dev;

    EMT_OK(kind->open(&dev, dtype, n_threads));
    return dev;
}

void emt_close_device(emc_device *dev)
{
    dev->ops->close(dev);
}

void emt_each_kind(void (*test)(const emt_device_kind *kind, emc_dtype dtype))
{
    bool ran = false;

    for (const emt_device_kind *kind = emt_device_kinds; kind->name; kind++) {
        const char *only = getenv("EMT_ONLY_DEVICE");
        emc_device *dev;

        if (only && strcmp(only, kind->name) != 0)
            continue;
        if (kind->may_be_absent && !only && kind->open(&dev, EMC_BF16, 1) != EMC_OK) {
            print_message("NOT RUN on %s: %s\n", kind->name, emc_message());
            continue;
        }
        if (kind->may_be_absent && !only)
            emt_close_device(dev);
        if (kind->has_f32)
            test(kind, EMC_F32);
        test(kind, EMC_BF16);
        ran = true;
    }
    if (!ran) {
        print_error("SKIPPED: this build has no device that the test may run on\n");
        skip();
    }
}

static void (*device_test)(emc_device *dev);

static void on_one(const emt_device_kind *kind, emc_dtype dtype)
{
    emc_device *dev = emt_open(kind, dtype, 2);

    device_test(dev);
    emt_close_device(dev);
}

void emt_each_device(void (*test)(emc_device *dev))
{
    device_test = test;
    emt_each_kind(on_one);
}

static void *need(void *memory)
{
    if (!memory)
        fail_msg("no memory for a test");
    return memory;
}

static emt_buf make(emc_device *dev, emc_dtype dtype, size_t n, size_t size)
{
    emt_buf buf = {.dev = dev, .dtype = dtype, .n = n, .size = size};
    void *whole;
    unsigned char guard[GUARD_BYTES];

    memset(guard, GUARD, sizeof guard);
    EMT_OK(dev->ops->alloc(dev, &whole, n * size + 2 * GUARD_BYTES, "a test"));
    buf.whole = whole;
    buf.d = buf.whole + GUARD_BYTES;
    buf.value = need(calloc(n + 1, sizeof *buf.value));
    buf.bytes = need(calloc(n + 1, size));
    EMT_OK(dev->ops->upload(dev, buf.whole, guard, GUARD_BYTES));
    EMT_OK(dev->ops->upload(dev, buf.whole + GUARD_BYTES + n * size, guard, GUARD_BYTES));
    return buf;
}

static void put(const emt_buf *buf, size_t i, double value)
{
    const float full = (float)value;
    const uint16_t half = emc_f32_to_bf16(full);

    if (buf->dtype == EMC_F32)
        memcpy(buf->bytes + i * 4, &full, 4);
    else
        memcpy(buf->bytes + i * 2, &half, 2);
}

static double get(const emt_buf *buf, size_t i)
{
    float full;
    uint16_t half;

    if (buf->dtype == EMC_F32) {
        memcpy(&full, buf->bytes + i * 4, 4);
        return full;
    }
    memcpy(&half, buf->bytes + i * 2, 2);
    return emc_bf16_to_f32(half);
}

static void send(emt_buf *buf)
{
    EMT_OK(buf->dev->ops->upload(buf->dev, buf->d, buf->bytes, buf->n * buf->size));
    for (size_t i = 0; i < buf->n; i++)
        buf->value[i] = get(buf, i);
}

static emt_buf values(emc_device *dev, emc_dtype dtype, const double *from, size_t n)
{
    emt_buf buf = make(dev, dtype, n, emc_dtype_bytes(dtype));

    for (size_t i = 0; i < n; i++)
        put(&buf, i, from ? from[i] : NAN);
    send(&buf);
    return buf;
}

emt_buf emt_poison(emc_device *dev, size_t n)
{
    return values(dev, dev->dtype, NULL, n);
}

emt_buf emt_values(emc_device *dev, const double *from, size_t n)
{
    return values(dev, dev->dtype, from, n);
}

emt_buf emt_f32_poison(emc_device *dev, size_t n)
{
    return values(dev, EMC_F32, NULL, n);
}

emt_buf emt_f32_values(emc_device *dev, const double *from, size_t n)
{
    return values(dev, EMC_F32, from, n);
}

emt_buf emt_normals(emc_device *dev, size_t n, double scale, uint64_t *seed)
{
    emt_buf buf = make(dev, dev->dtype, n, emc_dtype_bytes(dev->dtype));

    for (size_t i = 0; i < n; i++)
        put(&buf, i, scale * emt_normal(seed));
    send(&buf);
    return buf;
}

emt_buf emt_ints(emc_device *dev, const int32_t *from, size_t n)
{
    emt_buf buf = make(dev, EMC_F32, n, sizeof *from);

    if (n > 0)
        memcpy(buf.bytes, from, n * sizeof *from);
    EMT_OK(dev->ops->upload(dev, buf.d, buf.bytes, n * sizeof *from));
    return buf;
}

int32_t emt_int(const emt_buf *buf, size_t i)
{
    int32_t value;

    memcpy(&value, buf->bytes + i * sizeof value, sizeof value);
    return value;
}

static void check_guard(const emt_buf *buf, const char *d_guard, const char *where)
{
    unsigned char guard[GUARD_BYTES];

    EMT_OK(buf->dev->ops->download(buf->dev, guard, d_guard, GUARD_BYTES));
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (guard[i] != GUARD)
            fail_msg("a write %s a buffer of %zu elements, guard byte %zu", where, buf->n, i);
}

void emt_fetch(emt_buf *buf)
{
    EMT_OK(buf->dev->ops->download(buf->dev, buf->bytes, buf->d, buf->n * buf->size));
    for (size_t i = 0; i < buf->n; i++)
        buf->value[i] = get(buf, i);
    check_guard(buf, buf->whole, "before");
    check_guard(buf, buf->whole + GUARD_BYTES + buf->n * buf->size, "after");
}

void emt_free(emt_buf *buf)
{
    buf->dev->ops->release(buf->dev, buf->whole);
    free(buf->value);
    free(buf->bytes);
    *buf = (emt_buf){0};
}

void emt_close(const char *what, const emt_buf *got, const double *want, double rtol,
               const double *atol)
{
    for (size_t i = 0; i < got->n; i++) {
        const double tol = rtol * fabs(want[i]) + (atol ? atol[i] : 0.0);
        const double err = fabs(got->value[i] - want[i]);
        if (!(err <= tol))
            fail_msg("%s (%s): element %zu is %.9g, wanted %.9g within %.3g", what,
                     emc_dtype_name(got->dev->dtype), i, got->value[i], want[i], tol);
    }
}

void emt_same(const char *what, const emt_buf *a, size_t at, const emt_buf *b, size_t other_at,
              size_t n)
{
    assert_true(at + n <= a->n && other_at + n <= b->n && a->size == b->size);
    for (size_t i = 0; i < n; i++)
        if (memcmp(a->bytes + (at + i) * a->size, b->bytes + (other_at + i) * b->size, a->size))
            fail_msg("%s (%s): element %zu is %.9g in one and %.9g in the other", what,
                     emc_dtype_name(a->dev->dtype), i, get(a, at + i), get(b, other_at + i));
}

static uint16_t to_f16(double value)
{
    /* Normal numbers only, cut towards zero: any f16 value will do for a test. */
    int exponent;
    const double fraction = frexp(fabs(value), &exponent);
    const int bits = (int)(fraction * 2048.0) - 1024;

    if (value == 0.0 || exponent < -13)
        return 0;
    return (uint16_t)((value < 0 ? 0x8000 : 0) | ((exponent + 14) << 10) | bits);
}

emt_weights emt_part(emc_device *dev, int n_rows, int k, emc_dtype dtype, size_t offset,
                     double scale, uint64_t *seed)
{
    const size_t n = (size_t)n_rows * (size_t)k, size = emc_dtype_bytes(dtype);
    emt_weights weights = {.n = n};
    unsigned char *data;

    /* Exactly as long as it must be, so that a sanitizer sees a read past its end. */
    weights.whole = need(malloc(n * size + offset));
    weights.value = need(calloc(n, sizeof *weights.value));
    data = (unsigned char *)weights.whole + offset;
    for (size_t i = 0; i < n; i++) {
        const float full = (float)(scale * emt_normal(seed));
        const uint16_t half = dtype == EMC_F16 ? to_f16(full) : emc_f32_to_bf16(full);
        float kept = full;
        if (dtype == EMC_F32) {
            memcpy(data + 4 * i, &full, 4);
        } else {
            memcpy(data + 2 * i, &half, 2);
            kept = dtype == EMC_F16 ? emc_f16_to_f32(half) : emc_bf16_to_f32(half);
        }
        weights.value[i] = dev->dtype == EMC_BF16 ? emc_bf16_to_f32(emc_f32_to_bf16(kept)) : kept;
    }
    weights.part = (emc_matrix_part){.data = data, .dtype = dtype, .n_rows = n_rows};
    return weights;
}

void emt_free_weights(emt_weights *weights)
{
    free(weights->whole);
    free(weights->value);
    *weights = (emt_weights){0};
}

double emt_rounding(const emc_device *dev)
{
    return dev->dtype == EMC_BF16 ? 0x1p-8 : 0x1p-24;
}
