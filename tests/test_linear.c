/* linear on every device: right numbers, exact limits, bits that depend on the row alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "emt_device.h"
#include "ref/ref_linear.h"

#define MAX_PARTS 3

typedef struct {
    int rows, k;
    int part_rows[MAX_PARTS];
    emc_dtype dtypes[MAX_PARTS];
    int first, n; /* n 0: all */
    int rank;     /* 0: no lora */
    bool scaled, residual, in_place;
    size_t offset; /* of the weights' data from an aligned address */
    const char *reaches;
} linear_case;

static const linear_case cases[] = {
    {1, 1, {1}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "the smallest product"},
    {3, 32, {64}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "one whole block, an unfinished tile"},
    {96, 64, {64}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "one whole tile"},
    {95, 64, {63}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "just under tile and block"},
    {97, 64, {65}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "just over tile and block"},
    {5, 33, {70}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "k padded, copies of everything"},
    {130, 40, {70}, {EMC_F32}, 0, 0, 0, 0, 0, 0, 0, "k padded, two tiles copied"},
    {192, 64, {64}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "two whole tiles"},
    {4,
     96,
     {70, 1, 60},
     {EMC_F32, EMC_BF16, EMC_F16},
     0,
     0,
     0,
     0,
     0,
     0,
     0,
     "mixed parts in a block"},
    {4, 96, {130}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 1, "weights at an odd address"},
    {4, 96, {130}, {EMC_F32}, 0, 0, 0, 0, 0, 0, 2, "f32 weights at an unsuitable address"},
    {4, 96, {130}, {EMC_F16}, 0, 0, 0, 0, 0, 0, 1, "f16 weights at an odd address"},
    {4, 96, {130}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 2, "weights used where they lie"},
    {4, 64, {200}, {EMC_BF16}, 7, 131, 0, 0, 0, 0, 0, "rows from the middle"},
    {4, 64, {200, 56}, {EMC_BF16, EMC_BF16}, 190, 66, 0, 0, 0, 0, 0, "rows up to the end"},
    {4, 64, {200}, {EMC_BF16}, 199, 1, 0, 0, 0, 0, 0, "the last row alone"},
    {4, 64, {100}, {EMC_BF16}, 0, 0, 0, 0, 1, 0, 0, "a residual"},
    {140, 64, {100}, {EMC_BF16}, 0, 0, 0, 0, 1, 1, 0, "a residual in place"},
    {4, 64, {100}, {EMC_BF16}, 0, 0, 1, 0, 0, 0, 0, "lora of rank 1"},
    {140, 70, {100}, {EMC_BF16}, 30, 70, 5, 0, 1, 1, 0, "lora, some rows, residual"},
    {131, 64, {100}, {EMC_F32}, 3, 90, 16, 1, 1, 0, 0, "lora with a column scale"},
    {1060, 32, {66}, {EMC_BF16}, 0, 0, 3, 0, 1, 0, 0, "a second round"},
    {1060, 40, {66}, {EMC_BF16}, 0, 0, 0, 0, 1, 1, 0, "a second round of copies"},
    {20, 1024, {256}, {EMC_BF16}, 0, 0, 8, 0, 0, 0, 0, "width of the 0.6B model"},
    {9, 3072, {128}, {EMC_BF16}, 0, 0, 0, 0, 1, 0, 0, "ffn of the 0.6B model"},
    {3, 12288, {64}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "ffn of the 8B model"},
    {9, 64, {72}, {EMC_BF16}, 0, 0, 4, 1, 0, 0, 0, "scaled, no residual"},
};

/* In tensors that have room for so many rows more. */
static const struct {
    linear_case c;
    int rows;
} spare_cases[] = {
    {{5, 64, {72}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "spare rows"}, 123},
    {{1, 64, {72}, {EMC_BF16}, 0, 0, 0, 0, 1, 1, 0, "spare rows, residual in place"}, 255},
    {{9, 64, {72}, {EMC_BF16}, 0, 0, 65, 0, 1, 0, 0, "spare rows, a rank to pad"}, 119},
    {{9, 64, {72}, {EMC_BF16}, 8, 64, 64, 1, 1, 1, 0, "spare rows, scaled in place"}, 119},
};

typedef struct {
    emt_weights parts[MAX_PARTS];
    emc_matrix *matrix;
    double *value; /* [n_rows, k] */
    int n_rows;
} weights;

static weights open_weights(emc_device *dev, const linear_case *c, uint64_t *seed)
{
    weights w = {0};
    emc_matrix_part parts[MAX_PARTS];
    int n_parts = 0;
    size_t at = 0;

    for (; n_parts < MAX_PARTS && c->part_rows[n_parts] > 0; n_parts++) {
        w.parts[n_parts] =
            emt_part(dev, c->part_rows[n_parts], c->k, c->dtypes[n_parts], c->offset, 1.0, seed);
        parts[n_parts] = w.parts[n_parts].part;
        w.n_rows += c->part_rows[n_parts];
    }
    w.value = calloc((size_t)w.n_rows * (size_t)c->k, sizeof *w.value);
    for (int p = 0; p < n_parts; p++)
        for (size_t i = 0; i < w.parts[p].n; i++)
            w.value[at++] = w.parts[p].value[i];
    EMT_OK(dev->ops->matrix_open(dev, &w.matrix, parts, n_parts, c->k));
    return w;
}

static void close_weights(emc_device *dev, weights *w)
{
    dev->ops->matrix_close(dev, w->matrix);
    for (int p = 0; p < MAX_PARTS; p++)
        if (w->parts[p].whole)
            emt_free_weights(&w->parts[p]);
    free(w->value);
}

typedef struct {
    ref_lora ref;
    double *a, *b, *scale;
    emc_lora *lora;
} update;

static double *normals(float **out, size_t n, double offset, uint64_t *seed)
{
    double *value = calloc(n, sizeof *value);

    *out = calloc(n, sizeof **out);
    for (size_t i = 0; i < n; i++) {
        (*out)[i] = (float)(offset + 0.3 * emt_normal(seed));
        value[i] = (*out)[i];
    }
    return value;
}

static update open_update(emc_device *dev, const linear_case *c, int n_rows, uint64_t *seed)
{
    update u = {0};
    float *a, *b, *scale;
    emc_lora_spec spec = {.rank = c->rank, .n = n_rows, .k = c->k};

    u.a = normals(&a, (size_t)c->rank * (size_t)c->k, 0.0, seed);
    u.b = normals(&b, (size_t)c->rank * (size_t)n_rows, 0.0, seed);
    u.scale = normals(&scale, (size_t)n_rows, 1.0, seed);
    spec.a = a;
    spec.b = b;
    spec.column_scale = c->scaled ? scale : NULL;
    u.ref = (ref_lora){u.a, u.b, c->scaled ? u.scale : NULL, c->rank};
    EMT_OK(dev->ops->lora_open(dev, &u.lora, &spec));
    free(a);
    free(b);
    free(scale);
    return u;
}

static void close_update(emc_device *dev, update *u)
{
    dev->ops->lora_close(dev, u->lora);
    free(u->a);
    free(u->b);
    free(u->scale);
}

/* n_rows of `width` normal numbers, and after them spare rows of NaN. */
static emt_buf with_spare_rows(emc_device *dev, size_t n, size_t n_spare, double scale,
                               uint64_t *seed)
{
    double *value = calloc(n + n_spare, sizeof *value);

    for (size_t i = 0; i < n + n_spare; i++)
        value[i] = i < n ? scale * emt_normal(seed) : NAN;
    emt_buf buf = emt_values(dev, value, n + n_spare);
    free(value);
    return buf;
}

/*
 * A sum of m terms in f32, in any order, is off by at most m 2^-24 of the sum of their sizes;
 * errors that do not conspire grow with sqrt(m), of which four times are allowed here. On top of
 * that what a BF16 device that multiplies in bf16 alone may round beside the store
 * (kernels/ops.h).
 */
static void set_tolerance(double *atol, const emc_device *dev, const linear_case *c, int n,
                          const double *x, const double *w, const ref_lora *lora,
                          const double *residual)
{
    const size_t n_out = (size_t)c->rows * (size_t)n;

    for (size_t i = 0; i < n_out; i++)
        atol[i] *= 4.0 * 0x1p-24 * (2.0 + sqrt((double)(c->k + c->rank)));
    if (lora && strncmp(dev->description, "cuda", 4) == 0)
        ref_add_lora_roundings(atol, 0x1p-8, x, w, c->first, n, c->k, lora, residual, c->rows);
}

static void run_case(emc_device *dev, const linear_case *c, int spare_rows, bool out_f32)
{
    uint64_t seed = 1;
    weights w = open_weights(dev, c, &seed);
    const int n = c->n ? c->n : w.n_rows;
    const size_t n_out = (size_t)c->rows * (size_t)n, spare = (size_t)spare_rows;
    update u = {0};
    emt_buf x =
        with_spare_rows(dev, (size_t)c->rows * (size_t)c->k, spare * (size_t)c->k, 1.0, &seed);
    emt_buf residual = with_spare_rows(dev, n_out, spare * (size_t)n, 3.0, &seed);
    emt_buf out = out_f32 ? emt_f32_poison(dev, n_out + spare * (size_t)n)
                          : emt_poison(dev, n_out + spare * (size_t)n);
    double *want = calloc(n_out, sizeof *want), *atol = calloc(n_out, sizeof *atol);
    emt_buf *target = c->in_place ? &residual : &out;
    const double *added = c->residual ? residual.value : NULL;

    if (c->rank > 0)
        u = open_update(dev, c, w.n_rows, &seed);
    ref_linear(want, atol, x.value, w.value, c->first, n, c->k, c->rank ? &u.ref : NULL, added,
               c->rows);
    set_tolerance(atol, dev, c, n, x.value, w.value, c->rank ? &u.ref : NULL, added);
    const emc_linear_args args = {.out = target->d,
                                  .x = x.d,
                                  .w = w.matrix,
                                  .first = c->first,
                                  .n = n,
                                  .lora = u.lora,
                                  .residual = c->residual ? residual.d : NULL,
                                  .rows = c->rows,
                                  .batch_rows = spare_rows ? c->rows + spare_rows : 0,
                                  .out_f32 = out_f32};
    EMT_OK(dev->ops->linear(dev, &args));
    emt_fetch(target);
    emt_fetch(&x);
    emt_buf used = *target;
    used.n = n_out;
    emt_close(c->reaches, &used, want, out_f32 ? 0x1p-24 : 1.01 * emt_rounding(dev), atol);
    if (u.lora)
        close_update(dev, &u);
    close_weights(dev, &w);
    emt_free(&x);
    emt_free(&residual);
    emt_free(&out);
    free(want);
    free(atol);
}

static void on_device(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        run_case(dev, &cases[i], 0, false);
    for (size_t i = 0; i < EMC_COUNT(spare_cases); i++)
        run_case(dev, &spare_cases[i].c, spare_cases[i].rows, false);
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        if (!cases[i].residual)
            run_case(dev, &cases[i], i % 2 ? 3 : 0, true);
}

static void test_numbers(void **state)
{
    (void)state;
    emt_each_device(on_device);
}

/* The shapes on which bits are compared: a product in place, one that is copied, one with lora. */
static const linear_case bit_cases[] = {
    {300, 64, {96}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "plain"},
    {300, 50, {70}, {EMC_F32}, 0, 0, 0, 0, 0, 0, 0, "copied"},
    {300, 128, {70}, {EMC_BF16}, 0, 0, 4, 0, 0, 0, 0, "with lora"},
    {200, 1024, {128}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "0.6B width"},
    {140, 3072, {64}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "0.6B ffn"},
    {140, 4096, {64}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "8B width"},
};

/* Rows row0 to row0 + rows of x, in tensors with room for batch_rows: those beyond are NaN. */
static emt_buf multiply(emc_device *dev, const weights *w, const update *u, const emt_buf *x, int k,
                        int row0, int rows, int batch_rows)
{
    const size_t width = (size_t)k;
    emt_buf out = emt_poison(dev, (size_t)batch_rows * (size_t)w->n_rows);
    double *value = calloc((size_t)batch_rows * width, sizeof *value);

    for (size_t i = 0; i < (size_t)batch_rows * width; i++)
        value[i] = i < (size_t)rows * width ? x->value[(size_t)row0 * width + i] : NAN;
    emt_buf part = emt_values(dev, value, (size_t)batch_rows * width);
    const emc_linear_args args = {.out = out.d,
                                  .x = part.d,
                                  .w = w->matrix,
                                  .n = w->n_rows,
                                  .lora = u->lora,
                                  .rows = rows,
                                  .batch_rows = batch_rows};

    EMT_OK(dev->ops->linear(dev, &args));
    emt_fetch(&out);
    emt_free(&part);
    free(value);
    return out;
}

/* Row r alone, in other company and in another place of its tile: the same bytes. */
static void compare_rows(emc_device *dev, const linear_case *c, const weights *w, const update *u,
                         const emt_buf *x, const emt_buf *all)
{
    static const int row0s[] = {1, 17, 63, 95, 96, 100, 127, 128, 139};
    const size_t n = (size_t)w->n_rows;

    for (size_t s = 0; s < EMC_COUNT(row0s); s++) {
        const int rows = c->rows - row0s[s];
        emt_buf some = multiply(dev, w, u, x, c->k, row0s[s], rows, c->rows);
        emt_same(c->reaches, all, (size_t)row0s[s] * n, &some, 0, (size_t)rows * n);
        emt_free(&some);
    }
    for (int r = 0; r < c->rows; r += 37) {
        emt_buf one = multiply(dev, w, u, x, c->k, r, 1, c->rows);
        emt_same(c->reaches, all, (size_t)r * n, &one, 0, n);
        emt_free(&one);
    }
}

/* The bytes of one whole product, owned by the caller. */
static unsigned char *product_bytes(const emt_device_kind *kind, emc_dtype dtype, int n_threads,
                                    const linear_case *c, size_t *n_bytes)
{
    emc_device *dev = emt_open(kind, dtype, n_threads);
    uint64_t seed = 2;
    weights w = open_weights(dev, c, &seed);
    update u = {0};

    if (c->rank)
        u = open_update(dev, c, w.n_rows, &seed);
    emt_buf x = emt_normals(dev, (size_t)c->rows * (size_t)c->k, 1.0, &seed);
    emt_buf all = multiply(dev, &w, &u, &x, c->k, 0, c->rows, c->rows);
    if (n_threads < 3)
        compare_rows(dev, c, &w, &u, &x, &all);
    *n_bytes = all.n * all.size;
    unsigned char *bytes = malloc(*n_bytes);
    memcpy(bytes, all.bytes, *n_bytes);
    if (u.lora)
        close_update(dev, &u);
    close_weights(dev, &w);
    emt_free(&x);
    emt_free(&all);
    emt_close_device(dev);
    return bytes;
}

static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    /* Some of the cases are enough for the loops of other machines, which are the same code. */
    for (size_t i = 0; i < EMC_COUNT(bit_cases); i += kind->may_be_absent ? 2 : 1) {
        size_t n_bytes;
        unsigned char *first = product_bytes(kind, dtype, 1, &bit_cases[i], &n_bytes);
        for (int n_threads = 2; kind->has_threads && n_threads <= 3; n_threads++) {
            unsigned char *other = product_bytes(kind, dtype, n_threads, &bit_cases[i], &n_bytes);
            if (memcmp(first, other, n_bytes) != 0)
                fail_msg("%s: %d threads give other bits than one", bit_cases[i].reaches,
                         n_threads);
            free(other);
        }
        free(first);
    }
}

static void test_rows_alone(void **state)
{
    (void)state;
    emt_each_kind(rows_alone);
}

/* A product of NaN leaves nothing behind that a later one could pick up from scratch memory. */
static void after_nan(emc_device *dev)
{
    static const linear_case wide = {192, 90, {64}, {EMC_BF16}, 0, 0, 3, 0, 0, 0, 0, "NaN"};
    static const linear_case narrow[] = {
        {5, 33, {70}, {EMC_BF16}, 0, 0, 0, 0, 0, 0, 0, "copies after NaN"},
        {5, 64, {70}, {EMC_BF16}, 0, 0, 2, 0, 0, 0, 0, "a tile after NaN"},
    };

    for (size_t i = 0; i < EMC_COUNT(narrow); i++) {
        uint64_t seed = 4;
        weights w = open_weights(dev, &wide, &seed);
        update u = open_update(dev, &wide, w.n_rows, &seed);
        emt_buf x = emt_poison(dev, (size_t)wide.rows * (size_t)wide.k);
        emt_buf out = multiply(dev, &w, &u, &x, wide.k, 0, wide.rows, wide.rows);
        assert_true(isnan(out.value[0]));
        run_case(dev, &narrow[i], 0, false);
        emt_free(&x);
        emt_free(&out);
        close_update(dev, &u);
        close_weights(dev, &w);
    }
}

static void test_after_nan(void **state)
{
    (void)state;
    emt_each_device(after_nan);
}

static void limits(emc_device *dev)
{
    const linear_case c = {4, 32, {64}, {EMC_BF16}, 0, 0, 2, 0, 0, 0, 0, ""};
    const linear_case narrow = {4, 32, {63}, {EMC_BF16}, 0, 0, 2, 0, 0, 0, 0, ""};
    uint64_t seed = 3;
    weights w = open_weights(dev, &c, &seed);
    update other = open_update(dev, &narrow, 63, &seed);
    emt_buf x = emt_normals(dev, 4 * 64, 1.0, &seed);
    emt_buf out = emt_poison(dev, 4 * 64);
    const emc_linear_args good = {.out = out.d, .x = x.d, .w = w.matrix, .n = 64, .rows = 4};
    const size_t four_rows = 4 * 32 * emc_dtype_bytes(dev->dtype);
    emc_linear_args args;

#define REFUSED(text, change)                                                                      \
    do {                                                                                           \
        args = good;                                                                               \
        change;                                                                                    \
        EMT_FAILS(EMC_ERR_ARG, text, dev->ops->linear(dev, &args));                                \
    } while (0)
    REFUSED("linear: rows=0", args.rows = 0);
    REFUSED("linear: rows=-1", args.rows = -1);
    REFUSED("first=-1", args.first = -1);
    REFUSED("n=0", args.n = 0);
    REFUSED("n=65", args.n = 65);
    REFUSED("first=1 n=64", args.first = 1);
    REFUSED("first=2147483647", args.first = 2147483647);
    REFUSED("linear:", args.w = NULL);
    REFUSED("not 16-byte aligned", args.x = (char *)x.d + 4);
    REFUSED("not 16-byte aligned", args.x = NULL);
    REFUSED("not 16-byte aligned", args.out = (char *)out.d + 8);
    REFUSED("not 16-byte aligned", args.residual = (char *)out.d + 2);
    REFUSED("overlaps x", args.out = x.d);
    REFUSED("overlaps x", args.residual = (char *)out.d + 16);
    REFUSED("overlaps x", (args.x = out.d, args.out = (char *)out.d + four_rows,
                           args.batch_rows = 5)); /* what there is room for may be written */
    REFUSED("low-rank update [63, 32]", args.lora = other.lora);
#undef REFUSED
    emt_fetch(&out);
    for (size_t i = 0; i < out.n; i++)
        assert_true(out.value[i] != out.value[i]); /* nothing was queued */
    close_update(dev, &other);
    close_weights(dev, &w);
    emt_free(&x);
    emt_free(&out);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_after_nan),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
