/* head on every device: log-sum-exp, best ids and wanted logits, with and without all logits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "emt_device.h"
#include "ref/ref_linear.h"

typedef struct {
    int rows, k, vocab, n_ids;
    emc_dtype dtype;
    double scale; /* of the weights */
    int rank;
    bool scaled;  /* its columns */
    int n_wanted; /* a row; row r has (n_wanted + r) % (n_wanted + 1) of them */
    int n_top;
    bool all;
    const char *reaches;
} head_case;

static const head_case cases[] = {
    {1, 1, 1, 1, EMC_BF16, 1, 0, false, 1, 1, true, "the smallest vocabulary"},
    {3, 32, 64, 64, EMC_BF16, 1, 0, false, 5, 2, true, "one block"},
    {3, 32, 63, 60, EMC_BF16, 1, 0, false, 5, 32, true, "just under a block, with padding ids"},
    {3, 32, 65, 64, EMC_BF16, 1, 0, false, 5, 1, true, "just over a block"},
    {4, 32, 2048, 2000, EMC_BF16, 1, 0, false, 9, 5, false, "one slab"},
    {4, 32, 2049, 2049, EMC_BF16, 1, 0, false, 9, 5, true, "just over a slab, the last id in use"},
    {130, 40, 4500, 4400, EMC_F32, 1, 0, false, 20, 3, true, "several slabs and tiles, copies"},
    {5, 64, 300, 299, EMC_BF16, 1, 4, false, 7, 4, true, "a low-rank update"},
    {5, 64, 3000, 3000, EMC_BF16, 12, 0, false, 7, 1, true, "one id has nearly all the weight"},
    {1060, 32, 130, 100, EMC_BF16, 1, 0, false, 2, 1, false, "a second round"},
    {3, 1024, 5000, 4990, EMC_BF16, 0.1, 0, false, 40, 8, false, "width of the 0.6B model"},
    {2, 8, 20, 7, EMC_BF16, 1, 0, false, 3, 9, true, "fewer ids than are asked for"},
    {3, 16, 8191, 8191, EMC_BF16, 1, 0, false, 9, 32, true, "just under a GPU's slab"},
    {3, 16, 8192, 8192, EMC_BF16, 1, 0, false, 9, 1, true, "a GPU's slab"},
    {3, 16, 8193, 8193, EMC_BF16, 1, 0, false, 9, 32, true,
     "just over it: the last id has its own"},
    {4, 8, 16500, 16400, EMC_BF16, 1, 65, false, 30, 7, true,
     "a low-rank update over a GPU's slabs"},
    {2, 8, 151936, 151669, EMC_BF16, 1, 0, false, 30, 4, false, "vocabulary of the models"},
    {3, 16, 8200, 8200, EMC_BF16, 1, 3, true, 30, 3, true, "columns of two slabs with a scale"},
};

typedef struct {
    emt_weights part;
    emc_matrix *w;
    emc_lora *lora;
    ref_lora ref;
    double *a, *b, *column_scale;
    emt_buf x, wanted_begin, wanted, logits, log_sum, best, best_logits, all;
    int32_t *begin, *id;
    emc_head_args args;
} step;

/* A device that computes in bf16 may keep an update in it. */
static float in_bf16(double x)
{
    return emc_bf16_to_f32(emc_f32_to_bf16((float)x));
}

static void open_update(emc_device *dev, step *s, const head_case *c, uint64_t *seed)
{
    const size_t n_a = (size_t)(c->rank * c->k), n_b = (size_t)(c->rank * c->vocab);
    float *a = calloc(n_a + 1, sizeof *a), *b = calloc(n_b + 1, sizeof *b);
    float *scale = calloc((size_t)c->vocab, sizeof *scale);

    s->a = calloc(n_a + 1, sizeof *s->a);
    s->b = calloc(n_b + 1, sizeof *s->b);
    for (size_t i = 0; i < n_a; i++)
        s->a[i] = a[i] = in_bf16(0.2 * emt_normal(seed));
    for (size_t i = 0; i < n_b; i++)
        s->b[i] = b[i] = in_bf16(0.2 * emt_normal(seed));
    s->column_scale = calloc((size_t)c->vocab, sizeof *s->column_scale);
    for (int j = 0; j < c->vocab; j++)
        s->column_scale[j] = scale[j] = 0.5f + (float)emt_uniform(seed);
    s->ref = (ref_lora){
        .a = s->a, .b = s->b, .column_scale = c->scaled ? s->column_scale : NULL, .rank = c->rank};
    const emc_lora_spec spec = {.a = a,
                                .b = b,
                                .column_scale = c->scaled ? scale : NULL,
                                .rank = c->rank,
                                .n = c->vocab,
                                .k = c->k};
    if (c->rank > 0)
        EMT_OK(dev->ops->lora_open(dev, &s->lora, &spec));
    free(a);
    free(b);
    free(scale);
}

static step make_step(emc_device *dev, const head_case *c)
{
    step s = {0};
    uint64_t seed = 6;
    const size_t rows = (size_t)c->rows;
    size_t n_wanted = 0;

    s.part = emt_part(dev, c->vocab, c->k, c->dtype, 0, c->scale, &seed);
    EMT_OK(dev->ops->matrix_open(dev, &s.w, &s.part.part, 1, c->k));
    open_update(dev, &s, c, &seed);
    s.x = emt_normals(dev, rows * (size_t)c->k, 1.0, &seed);
    s.begin = calloc(rows + 1, sizeof *s.begin);
    s.id = calloc(rows * (size_t)c->n_wanted + 1, sizeof *s.id);
    for (int r = 0; r < c->rows; r++) {
        for (int i = 0; i < (c->n_wanted + r) % (c->n_wanted + 1); i++)
            s.id[n_wanted++] =
                i == 0 ? c->vocab - 1 : (int32_t)(emt_random(&seed) % (uint64_t)c->vocab);
        s.begin[r + 1] = (int32_t)n_wanted;
    }
    s.wanted_begin = emt_ints(dev, s.begin, rows + 1);
    s.wanted = emt_ints(dev, s.id, n_wanted);
    s.logits = emt_f32_poison(dev, n_wanted);
    s.log_sum = emt_f32_poison(dev, rows);
    s.best = emt_f32_poison(dev, rows * (size_t)c->n_top);
    s.best_logits = emt_f32_poison(dev, rows * (size_t)c->n_top);
    s.all = emt_f32_poison(dev, c->all ? rows * (size_t)c->vocab : 1);
    s.args = (emc_head_args){.x = s.x.d,
                             .w = s.w,
                             .lora = s.lora,
                             .wanted_begin = s.wanted_begin.d,
                             .wanted = s.wanted.d,
                             .wanted_logits = s.logits.d,
                             .log_sum = s.log_sum.d,
                             .top_ids = s.best.d,
                             .top_logits = s.best_logits.d,
                             .n_top = c->n_top,
                             .all_logits = c->all ? s.all.d : NULL,
                             .rows = c->rows,
                             .n_ids = c->n_ids};
    return s;
}

static void fetch_step(step *s)
{
    emt_fetch(&s->logits);
    emt_fetch(&s->log_sum);
    emt_fetch(&s->best);
    emt_fetch(&s->best_logits);
    emt_fetch(&s->all);
}

static void free_step(emc_device *dev, step *s)
{
    dev->ops->lora_close(dev, s->lora);
    dev->ops->matrix_close(dev, s->w);
    emt_free_weights(&s->part);
    emt_free(&s->x);
    emt_free(&s->wanted_begin);
    emt_free(&s->wanted);
    emt_free(&s->logits);
    emt_free(&s->log_sum);
    emt_free(&s->best);
    emt_free(&s->best_logits);
    emt_free(&s->all);
    free(s->begin);
    free(s->id);
    free(s->a);
    free(s->b);
    free(s->column_scale);
}

/* The n_top largest of n logits, the lowest id first on a tie; -1 where there are no more. */
static void ref_top(int *ids, int n_top, const double *logits, int n)
{
    for (int t = 0; t < n_top; t++) {
        ids[t] = -1;
        for (int j = 0; j < n; j++) {
            bool better = !isnan(logits[j]) && (ids[t] < 0 || logits[j] > logits[ids[t]]);
            for (int u = 0; u < t; u++)
                better = better && ids[u] != j;
            ids[t] = better ? j : ids[t];
        }
    }
}

/* Ids as exact logits have them, or others that are as good within what logits may be off. */
static void check_top(const head_case *c, const step *s, int r, const double *want,
                      const double *tol, double worst)
{
    int ids[EMC_MAX_TOP];

    ref_top(ids, c->n_top, want, c->n_ids);
    for (int t = 0; t < c->n_top; t++) {
        const size_t at = (size_t)(r * c->n_top + t);
        const int got = emt_int(&s->best, at);
        if (ids[t] < 0) {
            assert_int_equal(got, -1);
            continue;
        }
        assert_in_range(got, 0, c->n_ids - 1);
        if (!(fabs(want[got] - want[ids[t]]) <= 2 * worst))
            fail_msg("%s: best %d of row %d is %d (%.9g), wanted %d (%.9g)", c->reaches, t, r, got,
                     want[got], ids[t], want[ids[t]]);
        if (!(fabs(s->best_logits.value[at] - want[got]) <= tol[got]))
            fail_msg("%s: best logit %d of row %d is %.9g, wanted %.9g", c->reaches, t, r,
                     s->best_logits.value[at], want[got]);
    }
    if (!c->all) /* of the device's own logits they are known to the last id */
        return;
    ref_top(ids, c->n_top, s->all.value + (size_t)r * (size_t)c->vocab, c->n_ids);
    for (int t = 0; t < c->n_top; t++)
        assert_int_equal(emt_int(&s->best, (size_t)(r * c->n_top + t)), ids[t]);
}

static void check_row(const head_case *c, const step *s, int r, const double *want,
                      const double *tol)
{
    double worst = 0;

    for (int j = 0; j < c->vocab; j++)
        worst = fmax(worst, tol[j]);
    /* log-sum-exp moves by at most as much as the logits; exp, the sums of a block and the last
     * rounding add 2^-21, and 2^-24 of the value. */
    const double log_sum = ref_log_sum(want, c->vocab);
    const double allowed = worst + 0x1p-21 + 0x1p-24 * fabs(log_sum);
    if (!(fabs(s->log_sum.value[r] - log_sum) <= allowed))
        fail_msg("%s: log_sum[%d] is %.9g, wanted %.9g within %.3g", c->reaches, r,
                 s->log_sum.value[r], log_sum, allowed);
    for (int i = s->begin[r]; i < s->begin[r + 1]; i++)
        if (!(fabs(s->logits.value[i] - want[s->id[i]]) <= tol[s->id[i]]))
            fail_msg("%s: wanted logit %d of row %d is %.9g, wanted %.9g", c->reaches,
                     i - s->begin[r], r, s->logits.value[i], want[s->id[i]]);
    check_top(c, s, r, want, tol, worst);
}

/* What each logit may be off by: as in test_linear, and one rounding to f32. */
static void find_tolerance(const emc_device *dev, const head_case *c, const step *s,
                           const double *want, double *tol)
{
    const size_t n = (size_t)c->rows * (size_t)c->vocab;
    double *plain = calloc(n, sizeof *plain), *size = calloc(n, sizeof *size);

    if (c->rank > 0)
        ref_linear(plain, size, s->x.value, s->part.value, 0, c->vocab, c->k, NULL, NULL, c->rows);
    for (size_t i = 0; i < n; i++) {
        /* x A^T may have been rounded to T on the way. */
        const double scale = c->scaled ? s->column_scale[i % (size_t)c->vocab] : 1.0;
        const double update = c->rank > 0 ? emt_rounding(dev) * (tol[i] - scale * size[i]) : 0.0;
        tol[i] = tol[i] * 4.0 * 0x1p-24 * (2.0 + sqrt(c->k + c->rank)) + 0x1p-24 * fabs(want[i]) +
                 update;
    }
    free(plain);
    free(size);
}

static void run_case(emc_device *dev, const head_case *c)
{
    step s = make_step(dev, c);
    const size_t n = (size_t)c->rows * (size_t)c->vocab;
    double *want = calloc(n, sizeof *want), *tol = calloc(n, sizeof *tol);

    ref_linear(want, tol, s.x.value, s.part.value, 0, c->vocab, c->k, c->rank ? &s.ref : NULL, NULL,
               c->rows);
    find_tolerance(dev, c, &s, want, tol);
    EMT_OK(dev->ops->prepare_head(dev, &s.args));
    EMT_OK(dev->ops->head(dev, &s.args));
    fetch_step(&s);
    for (int r = 0; r < c->rows; r++)
        check_row(c, &s, r, want + (size_t)r * (size_t)c->vocab,
                  tol + (size_t)r * (size_t)c->vocab);
    if (c->all)
        emt_close(c->reaches, &s.all, want, 0.0, tol);
    free_step(dev, &s);
    free(want);
    free(tol);
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

/* A vocabulary of which a few ids have the logit 1 and the rest 0, one row, no wanted logits. */
enum { TIE_VOCAB = 16500, TIE_K = 32, TIE_IDS = 4 };

static void run_ties(emc_device *dev, const int *ids, int n_ids, float of_first, int n_top,
                     emt_buf *log_sum, emt_buf *best)
{
    float *w = calloc((size_t)TIE_VOCAB * TIE_K, sizeof *w);
    double ones[TIE_K];
    const int32_t begin[2] = {0, 0};
    emc_matrix *matrix;

    for (int k = 0; k < TIE_K; k++)
        ones[k] = 1;
    for (int t = TIE_IDS - 1; t >= 0; t--)
        w[ids[t] * TIE_K] = t == 0 ? of_first : 1;
    const emc_matrix_part part = {w, EMC_F32, TIE_VOCAB};
    EMT_OK(dev->ops->matrix_open(dev, &matrix, &part, 1, TIE_K));
    emt_buf x = emt_values(dev, ones, TIE_K), d_begin = emt_ints(dev, begin, 2);
    *log_sum = emt_f32_poison(dev, 1);
    *best = emt_f32_poison(dev, (size_t)n_top);
    const emc_head_args args = {.x = x.d,
                                .w = matrix,
                                .wanted_begin = d_begin.d,
                                .log_sum = log_sum->d,
                                .top_ids = best->d,
                                .n_top = n_top,
                                .rows = 1,
                                .n_ids = n_ids};
    EMT_OK(dev->ops->head(dev, &args));
    emt_fetch(log_sum);
    emt_fetch(best);
    dev->ops->matrix_close(dev, matrix);
    emt_free(&x);
    emt_free(&d_begin);
    free(w);
}

/* Equal logits: the lowest ids in use, in one block, over blocks and over slabs. */
static void ties(emc_device *dev)
{
    static const struct {
        int ids[TIE_IDS], n_ids, n_top, best[6];
    } tie_cases[] = {
        {{7, 6, 5, 5}, TIE_VOCAB, 6, {5, 6, 7, 0, 1, 2}},
        {{60, 64, 128, 3}, TIE_VOCAB, 5, {3, 60, 64, 128, 0}},
        {{2047, 2048, 4100, 4100}, TIE_VOCAB, 1, {2047}},
        {{4199, 4150, 100, 100}, TIE_VOCAB, 3, {100, 4150, 4199}},
        {{8192, 8191, 16384, 16383}, TIE_VOCAB, 6, {8191, 8192, 16383, 16384, 0, 1}},
        {{16499, 8200, 4, 9000}, TIE_VOCAB, 2, {4, 8200}},
        {{3000, 3001, 3002, 3003}, 3001, 2, {3000, 0}},
        {{4000, 4001, 4002, 4003}, 3500, 2, {0, 1}}, /* all beyond n_ids: the rest ties at 0 */
        {{16300, 5, 3, 4}, 4, 5, {3, 0, 1, 2, -1}},
    };
    for (size_t i = 0; i < EMC_COUNT(tie_cases); i++) {
        emt_buf log_sum, best;

        run_ties(dev, tie_cases[i].ids, tie_cases[i].n_ids, 1.0f, tie_cases[i].n_top, &log_sum,
                 &best);
        for (int t = 0; t < tie_cases[i].n_top; t++)
            assert_int_equal(emt_int(&best, (size_t)t), tie_cases[i].best[t]);
        emt_free(&log_sum);
        emt_free(&best);
    }
}

/* A NaN is never among the best, and shows in log_sum. */
static void odd_logits(emc_device *dev)
{
    static const int ids[2][TIE_IDS] = {{1, 9000, 9001, 9002}, {9001, 2, 9000, 16400}};
    emt_buf log_sum, best;

    for (int i = 0; i < 2; i++) {
        run_ties(dev, ids[i], TIE_VOCAB, NAN, 4, &log_sum, &best);
        assert_true(isnan(log_sum.value[0]));
        assert_int_equal(emt_int(&best, 0), i == 0 ? 9000 : 2);
        assert_int_equal(emt_int(&best, 1), i == 0 ? 9001 : 9000);
        assert_int_equal(emt_int(&best, 2), i == 0 ? 9002 : 16400);
        assert_int_equal(emt_int(&best, 3), 0);
        emt_free(&log_sum);
        emt_free(&best);
    }
    run_ties(dev, ids[0], 2, NAN, 3, &log_sum, &best); /* one id is left, of two */
    assert_int_equal(emt_int(&best, 0), 0);
    assert_int_equal(emt_int(&best, 1), -1);
    assert_int_equal(emt_int(&best, 2), -1);
    emt_free(&log_sum);
    emt_free(&best);
}

static void test_odd_logits(void **state)
{
    (void)state;
    emt_each_device(odd_logits);
}

static void test_ties(void **state)
{
    (void)state;
    emt_each_device(ties);
}

/* Rows from `from` on, alone, in buffers with room for as many: the same bytes. */
static void compare_rows(emc_device *dev, const head_case *c, const step *s, int from, int rows)
{
    step some = *s;
    const int base = s->begin[from], n_wanted = s->begin[from + rows] - base;
    const size_t k = (size_t)c->k, n_top = (size_t)c->n_top;
    int32_t *begin = calloc((size_t)rows + 1, sizeof *begin);
    double *x = calloc((size_t)c->rows * k, sizeof *x);

    for (int r = 0; r <= rows; r++)
        begin[r] = s->begin[from + r] - base;
    for (size_t i = 0; i < (size_t)c->rows * k; i++)
        x[i] = i < (size_t)rows * k ? s->x.value[(size_t)from * k + i] : NAN;
    some.x = emt_values(dev, x, (size_t)c->rows * k);
    some.wanted_begin = emt_ints(dev, begin, (size_t)rows + 1);
    some.wanted = emt_ints(dev, s->id + base, (size_t)n_wanted);
    some.logits = emt_f32_poison(dev, (size_t)n_wanted);
    some.log_sum = emt_f32_poison(dev, (size_t)rows);
    some.best = emt_f32_poison(dev, (size_t)rows * n_top);
    some.args.x = some.x.d;
    some.args.wanted_begin = some.wanted_begin.d;
    some.args.wanted = some.wanted.d;
    some.args.wanted_logits = some.logits.d;
    some.args.log_sum = some.log_sum.d;
    some.args.top_ids = some.best.d;
    some.args.top_logits = NULL;
    some.args.all_logits = NULL;
    some.args.rows = rows;
    EMT_OK(dev->ops->head(dev, &some.args));
    emt_fetch(&some.logits);
    emt_fetch(&some.log_sum);
    emt_fetch(&some.best);
    emt_same(c->reaches, &s->log_sum, (size_t)from, &some.log_sum, 0, (size_t)rows);
    emt_same(c->reaches, &s->best, (size_t)from * n_top, &some.best, 0, (size_t)rows * n_top);
    emt_same(c->reaches, &s->logits, (size_t)base, &some.logits, 0, (size_t)n_wanted);
    emt_free(&some.x);
    emt_free(&some.wanted_begin);
    emt_free(&some.wanted);
    emt_free(&some.logits);
    emt_free(&some.log_sum);
    emt_free(&some.best);
    free(begin);
    free(x);
}

static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    const head_case *c = &cases[6];
    unsigned char first[130 * 4];

    for (int n_threads = 1; n_threads <= (kind->has_threads ? 3 : 1); n_threads++) {
        emc_device *dev = emt_open(kind, dtype, n_threads);
        step s = make_step(dev, c);
        s.args.batch_rows = c->rows;
        EMT_OK(dev->ops->head(dev, &s.args));
        fetch_step(&s);
        for (int r = 0; r < c->rows; r += 13)
            compare_rows(dev, c, &s, r, 1);
        compare_rows(dev, c, &s, 1, c->rows - 1);
        compare_rows(dev, c, &s, 50, 79);
        if (n_threads == 1)
            memcpy(first, s.log_sum.bytes, sizeof first);
        assert_memory_equal(first, s.log_sum.bytes, sizeof first);
        free_step(dev, &s);
        emt_close_device(dev);
    }
}

/* The same over several of a GPU's slabs, with an update. */
static void rows_alone_in_slabs(emc_device *dev)
{
    const head_case *c = &cases[15];
    step s = make_step(dev, c);

    s.args.batch_rows = c->rows;
    EMT_OK(dev->ops->head(dev, &s.args));
    fetch_step(&s);
    compare_rows(dev, c, &s, 0, 1);
    compare_rows(dev, c, &s, 1, c->rows - 1);
    free_step(dev, &s);
}

static void test_rows_alone(void **state)
{
    (void)state;
    emt_each_kind(rows_alone);
    emt_each_device(rows_alone_in_slabs);
}

static void limits(emc_device *dev)
{
    step s = make_step(dev, &cases[1]), other = make_step(dev, &cases[7]);
    emc_head_args args;

#define REFUSED(text, change)                                                                      \
    do {                                                                                           \
        args = s.args;                                                                             \
        change;                                                                                    \
        EMT_FAILS(EMC_ERR_ARG, text, dev->ops->head(dev, &args));                                  \
    } while (0)
    REFUSED("head: rows=0", args.rows = 0);
    REFUSED("head:", args.w = NULL);
    REFUSED("n_ids=0 of a vocabulary of 64", args.n_ids = 0);
    REFUSED("n_ids=65", args.n_ids = 65);
    REFUSED("n_top=0, need 1 to 32", args.n_top = 0);
    REFUSED("n_top=33", args.n_top = 33);
    REFUSED("16-byte", args.x = (const char *)args.x + 2);
    REFUSED("missing", args.wanted_begin = NULL);
    REFUSED("missing", args.log_sum = NULL);
    REFUSED("missing", args.top_ids = NULL);
    REFUSED("low-rank update [300, 64] for a matrix [64, 32]", args.lora = other.lora);
#undef REFUSED
    free_step(dev, &s);
    free_step(dev, &other);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(limits);
}

/* --- A vocabulary in slices --------------------------------------------------------------- */

#define SLICED_ROWS 5
#define SLICED_K    72
#define MOST_SLICES 4

/* What head gives for slices of the vocabulary, put together. */
typedef struct {
    emt_buf wanted[MOST_SLICES]; /* logits, of each slice */
    emt_buf slices;              /* of each slice log-sums, ids, logits */
    emt_buf log_sum, ids;
} merged;

static void run_slices(emc_device *dev, merged *m, const step *s, const emt_weights *part,
                       const int *ends, int n_slices, int n_ids)
{
    const size_t size = emc_dtype_bytes(part->part.dtype);
    const int stride = 3 * SLICED_ROWS + 1;
    emc_merge_heads_args args = {.stride = stride, .n_slices = n_slices, .rows = SLICED_ROWS};

    m->slices = emt_f32_poison(dev, (size_t)(n_slices * stride));
    m->log_sum = emt_f32_poison(dev, SLICED_ROWS);
    m->ids = emt_f32_poison(dev, SLICED_ROWS);
    float *at = m->slices.d;
    for (int i = 0, first = 0; i < n_slices; first = ends[i++], at += stride) {
        const emc_matrix_part slice = {(const char *)part->part.data +
                                           (size_t)first * SLICED_K * size,
                                       part->part.dtype, ends[i] - first};
        emc_head_args head = s->args;
        emc_matrix *w;

        m->wanted[i] = emt_f32_poison(dev, s->logits.n);
        EMT_OK(dev->ops->matrix_open(dev, &w, &slice, 1, SLICED_K));
        head.w = w;
        head.first_id = first;
        head.n_ids = n_ids < ends[i] ? n_ids : ends[i];
        head.wanted_logits = m->wanted[i].d;
        head.log_sum = at;
        head.top_ids = (int32_t *)(at + SLICED_ROWS);
        head.top_logits = at + 2 * SLICED_ROWS;
        head.all_logits = NULL;
        EMT_OK(dev->ops->head(dev, &head));
        EMT_OK(dev->ops->sync(dev));
        dev->ops->matrix_close(dev, w);
    }
    args.log_sum = m->log_sum.d;
    args.top_ids = m->ids.d;
    args.slice_log_sums = m->slices.d;
    args.slice_ids = (const int32_t *)m->slices.d + SLICED_ROWS;
    args.slice_logits = (const float *)m->slices.d + 2 * SLICED_ROWS;
    EMT_OK(dev->ops->merge_heads(dev, &args));
    emt_fetch(&m->log_sum);
    emt_fetch(&m->ids);
    for (int i = 0; i < n_slices; i++)
        emt_fetch(&m->wanted[i]);
}

/* Against the whole vocabulary's own results. Ids from n_ids on are in no slice's best. */
static void slices_on(emc_device *dev)
{
    static const struct {
        int vocab, n_ids, n_slices, ends[MOST_SLICES];
    } cuts[] = {
        {400, 400, 2, {200, 400}},           {400, 150, 2, {200, 400}}, /* the second has padding
                                                                           alone */
        {9000, 8990, 3, {8500, 8900, 9000}}, {401, 401, 4, {1, 100, 300, 401}}, {64, 64, 1, {64}},
    };

    for (size_t i = 0; i < EMC_COUNT(cuts); i++) {
        const head_case c = {.vocab = cuts[i].vocab,
                             .k = SLICED_K,
                             .rows = SLICED_ROWS,
                             .dtype = EMC_BF16,
                             .scale = 1.0,
                             .n_wanted = 7,
                             .n_top = 1,
                             .n_ids = cuts[i].n_ids,
                             .all = 1,
                             .reaches = "slices"};
        step s = make_step(dev, &c);
        merged m;

        EMT_OK(dev->ops->head(dev, &s.args));
        fetch_step(&s);
        run_slices(dev, &m, &s, &s.part, cuts[i].ends, cuts[i].n_slices, c.n_ids);
        for (int r = 0; r < SLICED_ROWS; r++) {
            assert_true(fabs(m.log_sum.value[r] - s.log_sum.value[r]) <=
                        0x1p-18 * (1 + fabs(s.log_sum.value[r])));
            assert_int_equal(emt_int(&m.ids, (size_t)r), emt_int(&s.best, (size_t)r));
        }
        for (size_t k = 0; k < s.logits.n; k++) {
            int n_given = 0;
            double sum = 0;

            for (int slice = 0; slice < cuts[i].n_slices; slice++) {
                n_given += m.wanted[slice].value[k] != 0;
                sum += m.wanted[slice].value[k];
            }
            assert_int_equal(n_given, 1);
            assert_true(fabs(sum - s.logits.value[k]) <= 1e-4);
        }
        for (int slice = 0; slice < cuts[i].n_slices; slice++)
            emt_free(&m.wanted[slice]);
        emt_free(&m.slices);
        emt_free(&m.log_sum);
        emt_free(&m.ids);
        free_step(dev, &s);
    }
}

static void test_slices(void **state)
{
    (void)state;
    emt_each_device(slices_on);
}

/* Ties go to the lowest id, a slice without any id is passed over, NaN and infinity stay. */
static void merge_on(emc_device *dev)
{
    static const double values[2][3] = {{1, 2, 0}, {NAN, -INFINITY, INFINITY}};
    const int32_t ids[2][3][1] = {{{3}, {50}, {90}}, {{-1}, {50}, {-1}}};
    const double logits[2][3] = {{7, 7, 6}, {9, -8, 9}};

    for (int i = 0; i < 2; i++) {
        emt_buf log_sums = emt_f32_values(dev, values[i], 3), best = emt_f32_poison(dev, 1);
        emt_buf slice_ids = emt_ints(dev, &ids[i][0][0], 3), log_sum = emt_f32_poison(dev, 1);
        emt_buf slice_logits = emt_f32_values(dev, logits[i], 3);
        const emc_merge_heads_args args = {.log_sum = log_sum.d,
                                           .top_ids = best.d,
                                           .slice_log_sums = log_sums.d,
                                           .slice_ids = slice_ids.d,
                                           .slice_logits = slice_logits.d,
                                           .stride = 1,
                                           .n_slices = 3,
                                           .rows = 1};
        emc_merge_heads_args bad = args;

        EMT_OK(dev->ops->merge_heads(dev, &args));
        emt_fetch(&log_sum);
        emt_fetch(&best);
        assert_int_equal(emt_int(&best, 0), i == 0 ? 3 : 50);
        if (i == 0)
            assert_true(fabs(log_sum.value[0] - log(exp(1) + exp(2) + 1)) < 1e-6);
        else
            assert_true(isnan(log_sum.value[0]));
        bad.stride = 0;
        assert_int_equal(dev->ops->merge_heads(dev, &bad), EMC_ERR_ARG);
        bad = args;
        bad.slice_ids = NULL;
        assert_int_equal(dev->ops->merge_heads(dev, &bad), EMC_ERR_ARG);
        emt_free(&log_sums);
        emt_free(&slice_ids);
        emt_free(&slice_logits);
        emt_free(&log_sum);
        emt_free(&best);
    }
}

static void test_merge(void **state)
{
    (void)state;
    emt_each_device(merge_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_ties),
        cmocka_unit_test(test_odd_logits), cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_limits),     cmocka_unit_test(test_slices),
        cmocka_unit_test(test_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
