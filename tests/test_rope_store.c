/* rope_store on every device: norm, rotation and the cache. */
#include <math.h>
#include <stdlib.h>

#include "emt_device.h"
#include "ref/ref_rows.h"

#define EPS         1e-6f
#define N_POSITIONS 50
#define N_PAGES     3

typedef struct {
    int rows, n_heads, n_kv_heads, head_dim;
    bool q, kv, fused; /* fused: q, k and v lie side by side in one row */
    int gap;           /* values between rows */
    const char *reaches;
} rope_case;

static const rope_case cases[] = {
    {1, 1, 1, 8, true, true, false, 8, "the smallest head"},
    {9, 2, 1, 16, true, true, true, 8, "a fused row, a second item"},
    {5, 4, 2, 72, true, false, false, 8, "q alone"},
    {5, 4, 2, 40, false, true, true, 8, "k and v alone"},
    {20, 16, 8, 128, true, true, true, 8, "heads of the 0.6B model"},
    {3, 5, 1, 256, true, true, false, 8, "the largest head"},
    {3, 5, 1, 128, true, true, true, 3, "rows at odd addresses"},
    {2, 32, 8, 128, true, true, true, 0, "heads of the 8B model, no gap"},
    {2, 64, 8, 128, true, true, true, 8, "heads of the 32B model"},
    {3, 11, 1, 128, true, false, false, 8, "just under a warp's heads"},
    {3, 13, 1, 128, true, false, false, 8, "just over a warp's heads"},
    {2, 12, 7, 128, false, true, true, 8, "k and v alone, just over a warp's heads"},
    {2, 24, 1, 64, true, true, false, 8, "half heads, just over a warp's"},
    {3, 3, 2, 32, true, true, true, 16, "short heads"},
    {2, 47, 1, 256, true, true, true, 8, "just over a block's heads"},
};

typedef struct {
    emc_rope_args args;
    emt_buf rows, k_rows, v_rows, q_norm, k_norm, table, positions, slots, k_cache, v_cache;
    int32_t slot[64], position[64];
    size_t q_at, k_at, v_at, stride; /* in `rows` when fused */
} step;

static step make_step(emc_device *dev, const rope_case *c)
{
    step s = {0};
    uint64_t seed = 3;
    const int q_width = c->n_heads * c->head_dim, kv_width = c->n_kv_heads * c->head_dim;
    const size_t cache = (size_t)N_PAGES * (size_t)kv_width * EMC_PAGE_POSITIONS;
    double *table = calloc((size_t)(N_POSITIONS * c->head_dim), sizeof *table);
    const int stride = (c->fused ? q_width + 2 * kv_width : q_width) + c->gap;

    for (int p = 0; p < N_POSITIONS; p++) {
        for (int i = 0; i < c->head_dim / 2; i++) {
            const double angle = p * pow(1e4, -2.0 * i / c->head_dim);
            table[p * c->head_dim + 2 * i] = cos(angle);
            table[p * c->head_dim + 2 * i + 1] = sin(angle);
        }
    }
    for (int r = 0; r < c->rows; r++) {
        s.position[r] = r == 0 ? N_POSITIONS - 1 : r * 7 % N_POSITIONS;
        s.slot[r] = (r * 29 + 100) % (N_PAGES * EMC_PAGE_POSITIONS);
    }
    s.stride = (size_t)stride;
    s.rows = emt_normals(dev, (size_t)c->rows * s.stride, 2.0, &seed);
    s.k_rows = emt_normals(dev, (size_t)(c->rows * (kv_width + c->gap)), 2.0, &seed);
    s.v_rows = emt_normals(dev, (size_t)(c->rows * (kv_width + c->gap)), 2.0, &seed);
    s.q_norm = emt_normals(dev, (size_t)c->head_dim, 1.0, &seed);
    s.k_norm = emt_normals(dev, (size_t)c->head_dim, 1.0, &seed);
    s.table = emt_f32_values(dev, table, (size_t)(N_POSITIONS * c->head_dim));
    s.positions = emt_ints(dev, s.position, (size_t)c->rows);
    s.slots = emt_ints(dev, s.slot, (size_t)c->rows);
    s.k_cache = emt_poison(dev, cache);
    s.v_cache = emt_poison(dev, cache);
    s.k_at = (size_t)q_width;
    s.v_at = (size_t)(q_width + kv_width);
    s.args = (emc_rope_args){.q = c->q ? s.rows.d : NULL,
                             .q_stride = stride,
                             .kv_stride = c->fused ? stride : kv_width + c->gap,
                             .q_norm = s.q_norm.d,
                             .k_norm = s.k_norm.d,
                             .rope_table = s.table.d,
                             .positions = s.positions.d,
                             .slots = s.slots.d,
                             .k_cache = s.k_cache.d,
                             .v_cache = s.v_cache.d,
                             .rows = c->rows,
                             .n_heads = c->n_heads,
                             .n_kv_heads = c->n_kv_heads,
                             .head_dim = c->head_dim,
                             .eps = EPS};
    if (c->kv) {
        s.args.k = c->fused ? (char *)s.rows.d + s.k_at * s.rows.size : s.k_rows.d;
        s.args.v = c->fused ? (char *)s.rows.d + s.v_at * s.rows.size : s.v_rows.d;
    }
    free(table);
    return s;
}

static void free_step(step *s)
{
    emt_free(&s->rows);
    emt_free(&s->k_rows);
    emt_free(&s->v_rows);
    emt_free(&s->q_norm);
    emt_free(&s->k_norm);
    emt_free(&s->table);
    emt_free(&s->positions);
    emt_free(&s->slots);
    emt_free(&s->k_cache);
    emt_free(&s->v_cache);
}

static void want_head(double *want, double *atol, const double *x, const emt_buf *norm,
                      const double *table, int dim)
{
    double normed[256];

    ref_rmsnorm(normed, x, norm->value, dim, EPS);
    ref_rope(want, atol, normed, table, dim);
    /* The norm as in test_rmsnorm, then two products and a sum. */
    for (int i = 0; i < dim; i++)
        atol[i] *= (0.5 * sqrt(dim) + 8.0) * 0x1p-24;
}

static void want_q(const rope_case *c, const step *s, double *want, double *atol)
{
    for (size_t i = 0; i < s->rows.n; i++) {
        want[i] = s->rows.value[i]; /* what lies between the rows stays */
        atol[i] = 0;
    }
    for (int r = 0; c->q && r < c->rows; r++)
        for (int h = 0; h < c->n_heads; h++) {
            const size_t at = (size_t)r * s->stride + (size_t)(h * c->head_dim);
            want_head(want + at, atol + at, s->rows.value + at, &s->q_norm,
                      s->table.value + s->position[r] * c->head_dim, c->head_dim);
        }
}

static void want_cache(const rope_case *c, const step *s, double *k, double *v, double *atol)
{
    const size_t dim = (size_t)c->head_dim;

    for (size_t i = 0; i < s->k_cache.n; i++)
        k[i] = v[i] = NAN;
    for (int r = 0; c->kv && r < c->rows; r++) {
        for (int h = 0; h < c->n_kv_heads; h++) {
            const size_t from = (size_t)r * (size_t)s->args.kv_stride + (size_t)h * dim;
            const size_t page = (size_t)s->slot[r] / EMC_PAGE_POSITIONS;
            const size_t to = ((page * (size_t)c->n_kv_heads + (size_t)h) * EMC_PAGE_POSITIONS +
                               (size_t)s->slot[r] % EMC_PAGE_POSITIONS) *
                              dim;
            const double *x = c->fused ? s->rows.value + s->k_at + from : s->k_rows.value + from;
            want_head(k + to, atol + to, x, &s->k_norm,
                      s->table.value + s->position[r] * c->head_dim, c->head_dim);
            for (size_t d = 0; d < dim; d++)
                v[to + d] =
                    c->fused ? s->rows.value[s->v_at + from + d] : s->v_rows.value[from + d];
        }
    }
}

/* What was not to be written is still NaN; the rest is close. */
static void close_cache(const rope_case *c, const emt_buf *got, const double *want, double rtol,
                        const double *atol)
{
    for (size_t i = 0; i < got->n; i++) {
        const double err = fabs(got->value[i] - want[i]);
        if (isnan(want[i]) ? !isnan(got->value[i])
                           : !(err <= rtol * fabs(want[i]) + (atol ? atol[i] : 0)))
            fail_msg("%s: cache element %zu is %g, wanted %g", c->reaches, i, got->value[i],
                     want[i]);
    }
}

static void run_case(emc_device *dev, const rope_case *c)
{
    step s = make_step(dev, c);
    double *want = calloc(s.rows.n, sizeof *want), *atol = calloc(s.rows.n, sizeof *atol);
    double *k = calloc(s.k_cache.n, sizeof *k), *v = calloc(s.k_cache.n, sizeof *v);
    double *k_atol = calloc(s.k_cache.n, sizeof *k_atol);
    const double rtol = 1.01 * emt_rounding(dev);

    want_q(c, &s, want, atol);
    want_cache(c, &s, k, v, k_atol);
    EMT_OK(dev->ops->rope_store(dev, &s.args));
    emt_fetch(&s.rows);
    emt_fetch(&s.k_cache);
    emt_fetch(&s.v_cache);
    emt_close(c->reaches, &s.rows, want, rtol, atol);
    close_cache(c, &s.k_cache, k, rtol, k_atol);
    close_cache(c, &s.v_cache, v, 0, NULL);
    free_step(&s);
    free(want);
    free(atol);
    free(k);
    free(v);
    free(k_atol);
}

static void on_device(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        run_case(dev, &cases[i]);
}

static void test_numbers(void **state)
{
    (void)state;
    emt_each_device(on_device);
}

/* Rows from the fourth on, alone and on other threads: the same bytes. */
static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    const rope_case *c = &cases[4];
    emc_device *dev = emt_open(kind, dtype, 3);
    step all = make_step(dev, c), some = make_step(dev, c);
    const size_t skip = 4 * all.stride;

    EMT_OK(dev->ops->rope_store(dev, &all.args));
    some.args.q = (char *)some.args.q + skip * some.rows.size;
    some.args.k = (const char *)some.args.k + skip * some.rows.size;
    some.args.v = (const char *)some.args.v + skip * some.rows.size;
    some.args.positions += 4;
    some.args.slots += 4;
    some.args.rows -= 4;
    EMT_OK(dev->ops->rope_store(dev, &some.args));
    emt_fetch(&all.rows);
    emt_fetch(&some.rows);
    emt_same("q", &all.rows, skip, &some.rows, skip, all.rows.n - skip);
    emt_fetch(&all.k_cache);
    emt_fetch(&some.k_cache);
    for (int r = 4; r < c->rows; r++) {
        const size_t head0 = (size_t)(all.slot[r] / EMC_PAGE_POSITIONS * c->n_kv_heads);
        const size_t at = (head0 * EMC_PAGE_POSITIONS + (size_t)all.slot[r] % EMC_PAGE_POSITIONS) *
                          (size_t)c->head_dim;
        emt_same("k", &all.k_cache, at, &some.k_cache, at, (size_t)c->head_dim);
    }
    free_step(&all);
    free_step(&some);
    emt_close_device(dev);
}

static void test_rows_alone(void **state)
{
    (void)state;
    emt_each_kind(rows_alone);
}

static void limits(emc_device *dev)
{
    step s = make_step(dev, &cases[1]);
    emc_rope_args args;

#define REFUSED(text, change)                                                                      \
    do {                                                                                           \
        args = s.args;                                                                             \
        change;                                                                                    \
        EMT_FAILS(EMC_ERR_ARG, text, dev->ops->rope_store(dev, &args));                            \
    } while (0)
    REFUSED("rope_store: rows=0", args.rows = 0);
    REFUSED("head_dim=0", args.head_dim = 0);
    REFUSED("head_dim=20", args.head_dim = 20);
    REFUSED("head_dim=264", args.head_dim = 264);
    REFUSED("q_stride=31", args.q_stride = 31);
    REFUSED("kv_stride=15", args.kv_stride = 15);
    REFUSED("n_heads=0", args.n_heads = 0);
    REFUSED("n_kv_heads=0", args.n_kv_heads = 0);
    REFUSED("need q, or k and v", args.v = NULL);
    REFUSED("need q, or k and v", args.k = NULL);
    REFUSED("need q, or k and v", args.q = NULL; args.k = args.v = NULL);
    REFUSED("missing", args.positions = NULL);
    REFUSED("missing", args.slots = NULL);
    REFUSED("missing", args.rope_table = NULL);
    REFUSED("missing", args.q_norm = NULL);
    REFUSED("missing", args.k_norm = NULL);
    REFUSED("16-byte", args.q = (char *)args.q + 8);
    REFUSED("16-byte", args.k = (const char *)args.k + 8);
    REFUSED("16-byte", args.v = (const char *)args.v + 8);
    REFUSED("16-byte", args.k_cache = (char *)args.k_cache + 8);
    REFUSED("16-byte", args.v_cache = (char *)args.v_cache + 8);
#undef REFUSED
    free_step(&s);
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
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
