/* attention on every device: prefix, own and path keys, grouped heads, bits of a row alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_case.h"
#include "ref/ref_attention.h"

#define MAX_KEYS 4096
#define PAGE     EMC_PAGE_POSITIONS

/* The tiles of the CUDA device: 64 keys and 32 rows of a warp where causal; else 16 keys, 4 warps
 * of them, 16 or 32 rows times heads, and a split at 1024 keys. */
static const attention_case cases[] = {
    {{{1, 0, 1, 0, 1}}, 1, 1, 8, 1, "one key"},
    {{{5, 0, 1, 0, 1}}, 2, 1, 8, 1, "causal from the start"},
    {{{1, 127, 1, 0, 1}}, 2, 2, 16, 1, "a prefix just under a tile"},
    {{{1, 128, 1, 0, 1}}, 2, 2, 16, 1, "a prefix of one tile"},
    {{{1, 129, 1, 0, 1}}, 2, 2, 16, 1, "a prefix just over a tile"},
    {{{130, 0, 1, 0, 1}}, 4, 4, 24, 1, "own keys over a tile, several tasks"},
    {{{128, 0, 1, 0, 1}}, 4, 2, 64, 1, "own keys of one tile"},
    {{{300, 140, 1, 0, 1}}, 4, 2, 128, 1, "prefix and own"},
    {{{3, 0, 200, 0, 1}}, 4, 1, 128, 1, "a prompt continued"},
    {{{3, 0, 127, 0, 1}}, 4, 1, 40, 1, "rows that end in two tiles"},
    {{{7, 20, 30, 5, 0}}, 4, 1, 32, 1, "paths, without a mask"},
    {{{1, 9, 1, 0, 1}, {2, 3, 0, 3, 0}}, 2, 1, 8, 1, "no own keys, for some"},
    {{{3, 5, 260, 64, 0}}, 5, 1, 128, 1, "the longest path, five heads a group"},
    {{{1, 0, 3, 0, 1}, {40, 130, 1, 0, 1}, {33, 0, 1, 0, 1}, {2, 130, 140, 7, 0}},
     8,
     1,
     128,
     1,
     "four items, eight heads a group"},
    {{{4, 3, 5, 2, 0}}, 80, 1, 8, 1, "a group larger than a task"},
    {{{4, 30, 5, 2, 0}}, 16, 8, 128, 1, "heads of the 0.6B model"},
    {{{9, 130, 1, 0, 1}}, 2, 1, 256, 1, "the largest head"},
    {{{9, 130, 1, 0, 1}}, 2, 1, 72, 1, "a head of an odd size"},
    {{{20, 200, 1, 0, 1}}, 2, 1, 64, 8, "steep scores"},
    {{{9, 200, 90, 3, 0}}, 4, 1, 128, 8, "steep scores, without a mask"},
    {{{1, 0, 1, 0, 1}, {1, 1, 0, 0, 0}}, 1, 1, 128, 1, "one key of 128 values"},
    {{{63, 0, 1, 0, 1}}, 1, 1, 128, 1, "just under a tile of keys"},
    {{{64, 1, 1, 0, 1}}, 2, 1, 128, 1, "a tile of keys behind a prefix of one"},
    {{{65, 128, 1, 0, 1}}, 1, 1, 128, 1, "just over a tile of keys"},
    {{{127, 64, 1, 0, 1}}, 1, 1, 128, 1, "just under an item"},
    {{{129, 300, 1, 0, 1}}, 1, 1, 128, 1, "just over an item"},
    {{{129, 65, 0, 0, 1}}, 2, 2, 64, 1, "rows that see their prefix alone"},
    {{{70, 0, 1, 3, 1}, {5, 130, 100, 0, 1}}, 5, 1, 128, 1, "causal rows with paths"},
    {{{33, 0, 40, 2, 1}, {9, 20, 30, 5, 0}}, 8, 2, 64, 1, "both kinds, heads of 64"},
    {{{28, 300, 40, 3, 0}, {1, 16, 16, 0, 0}}, 4, 1, 128, 1, "28 choices of a cell"},
    {{{13, 0, 15, 0, 0}, {4, 17, 0, 1, 0}}, 5, 1, 128, 1, "five heads a group over a tile"},
    {{{2, 15, 1, 0, 0}, {1, 0, 65, 0, 0}}, 16, 2, 128, 1, "few rows, groups of keys"},
    {{{1, 300, 724, 0, 0}, {1, 300, 725, 0, 0}}, 2, 1, 128, 1, "just over and under a split"},
    {{{3, 40, 2100, 2, 0}, {2, 40, 30, 2, 0}}, 4, 2, 128, 1, "three splits beside none"},
    {{{20, 1030, 30, 5, 0}}, 2, 1, 64, 1, "a split in a long prefix, heads of 64"},
};

/* The slots that row i of an item sees, in order. */
static int seen_slots(const attention_step *s, const emc_attention_item *item, int i, int *slots)
{
    const int row = item->row0 + i, own = item->own_seen + (item->causal ? i : 0);
    int n = 0;

    for (int p = 0; p < item->prefix_len; p++)
        slots[n++] = s->pages[item->prefix_page + p / PAGE] * PAGE + p % PAGE;
    for (int p = 0; p < own; p++)
        slots[n++] = s->pages[item->own_page + p / PAGE] * PAGE + p % PAGE;
    for (int p = 0; p < s->lens[row]; p++)
        slots[n++] = s->slots[row * EMC_MAX_PATH + p];
    return n;
}

static void want_row(const attention_step *s, const attention_case *c,
                     const emc_attention_item *item, int i, double weight_rounding, double *want,
                     double *atol)
{
    int slots[MAX_KEYS];
    const double *k[MAX_KEYS], *v[MAX_KEYS];
    const int n = seen_slots(s, item, i, slots), row = item->row0 + i;

    assert_true(n >= 1 && n <= MAX_KEYS);
    for (int head = 0; head < c->n_heads; head++) {
        const size_t at = ((size_t)row * (size_t)c->n_heads + (size_t)head) * (size_t)c->head_dim;
        double steepness;
        for (int j = 0; j < n; j++) {
            const size_t from = attention_cache_at(
                c, slots[j] / PAGE, head / (c->n_heads / c->n_kv_heads), slots[j] % PAGE);
            k[j] = s->k_cache.value + from;
            v[j] = s->v_cache.value + from;
        }
        ref_attention(want + at, atol + at, &steepness,
                      s->q.value + (size_t)row * (size_t)s->q_stride +
                          (size_t)head * (size_t)c->head_dim,
                      k, v, n, c->head_dim, s->args.scale);
        /* A score is off by about sqrt(head_dim) 2^-24 of the sizes of its terms, its exponential
         * by that much and 2^-22 more, relatively, in numerator and denominator; the sum over the
         * keys adds sqrt(keys) 2^-24. Four times that, of sum p |v|. Where weights are rounded to
         * bf16 (and tensor cores cut sums off), each is off by at most 2^-8 of itself. */
        for (int d = 0; d < c->head_dim; d++)
            atol[at + (size_t)d] *=
                4.0 * 0x1p-24 * (2.0 * (sqrt(c->head_dim) * steepness + 4.0) + sqrt(n) + 2.0) +
                weight_rounding;
    }
}

static void run_case(emc_device *dev, const attention_case *c)
{
    attention_step s = attention_step_make(dev, c, 0);
    double *want = calloc(s.out.n, sizeof *want), *atol = calloc(s.out.n, sizeof *atol);
    const bool rounds_weights = strncmp(dev->description, "cuda", 4) == 0;

    for (int i = 0; i < s.n_items; i++)
        for (int r = 0; r < s.item[i].n_rows; r++)
            want_row(&s, c, &s.item[i], r, rounds_weights ? 0x1p-8 : 0.0, want, atol);
    EMT_OK(dev->ops->attention(dev, &s.args));
    emt_fetch(&s.out);
    emt_close(c->reaches, &s.out, want, 1.01 * emt_rounding(dev), atol);
    free(want);
    free(atol);
    attention_step_free(&s);
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

/* Rows [first, first + n) of a sequence as one item: the same bytes as in full company. */
static void compare_part(emc_device *dev, const attention_case *c, const attention_step *s, int i,
                         int first, int n)
{
    emc_attention_item item = s->whole[i];
    const size_t width = (size_t)(c->n_heads * c->head_dim), row = (size_t)(item.row0 + first);

    item.own_seen += item.causal ? first : 0;
    item.row0 = 0;
    item.n_rows = n;
    emt_buf q =
        emt_values(dev, s->q.value + row * (size_t)s->q_stride, (size_t)n * (size_t)s->q_stride);
    emt_buf out = emt_poison(dev, (size_t)n * width);
    emt_buf items = emt_ints(dev, (const int32_t *)&item, sizeof item / sizeof(int32_t));
    emt_buf slots = emt_ints(dev, s->slots + row * EMC_MAX_PATH, (size_t)n * EMC_MAX_PATH);
    emt_buf lens = emt_ints(dev, s->lens + row, (size_t)n);
    emc_attention_args args = s->args;
    args.out = out.d;
    args.q = q.d;
    args.items = items.d;
    args.path_slots = slots.d;
    args.path_lens = lens.d;
    args.rows = n;
    attention_describe_items(&args, &item, 1);
    EMT_OK(dev->ops->attention(dev, &args));
    emt_fetch(&out);
    emt_same(c->reaches, &s->out, row * width, &out, 0, out.n);
    emt_free(&q);
    emt_free(&out);
    emt_free(&items);
    emt_free(&slots);
    emt_free(&lens);
}

static void compare_parts(emc_device *dev, const attention_case *c, const attention_step *s)
{
    for (int i = 0; i < s->n_sequences; i++) {
        const int n_rows = s->whole[i].n_rows;
        for (int r = 0; r < n_rows; r += r < 3 ? 1 : 41)
            compare_part(dev, c, s, i, r, 1);
        for (int r = 1; r < n_rows; r += 37)
            compare_part(dev, c, s, i, r,
                         n_rows - r < EMC_MAX_ITEM_ROWS ? n_rows - r : EMC_MAX_ITEM_ROWS);
    }
}

static unsigned char *step_bytes(const emt_device_kind *kind, emc_dtype dtype, int n_threads,
                                 const attention_case *c, int shift, size_t *n_bytes)
{
    emc_device *dev = emt_open(kind, dtype, n_threads);
    attention_step s = attention_step_make(dev, c, shift);

    EMT_OK(dev->ops->attention(dev, &s.args));
    emt_fetch(&s.out);
    if (n_threads < 2 && shift == 0)
        compare_parts(dev, c, &s);
    *n_bytes = s.out.n * s.out.size;
    unsigned char *bytes = malloc(*n_bytes);
    memcpy(bytes, s.out.bytes, *n_bytes);
    attention_step_free(&s);
    emt_close_device(dev);
    return bytes;
}

static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    /* Some of the cases are enough for the loops of other CPUs, which are the same code. */
    const bool other_loops = kind->may_be_absent && kind->has_threads;

    for (size_t i = 0; i < EMC_COUNT(cases); i += other_loops ? 4 : 1) {
        size_t n_bytes;
        unsigned char *first = step_bytes(kind, dtype, 1, &cases[i], 0, &n_bytes);
        for (int n_threads = 2; kind->has_threads && n_threads <= 3; n_threads++) {
            unsigned char *other = step_bytes(kind, dtype, n_threads, &cases[i], 0, &n_bytes);
            if (memcmp(first, other, n_bytes) != 0)
                fail_msg("%s: %d threads give other bits than one", cases[i].reaches, n_threads);
            free(other);
        }
        unsigned char *elsewhere = step_bytes(kind, dtype, 1, &cases[i], 1, &n_bytes);
        if (memcmp(first, elsewhere, n_bytes) != 0)
            fail_msg("%s: other pages give other bits", cases[i].reaches);
        free(elsewhere);
        free(first);
    }
}

static void test_rows_alone(void **state)
{
    (void)state;
    emt_each_kind(rows_alone);
}

/* A NaN in a row's key and value reaches that row and later ones, and no earlier one. */
static void poison_row(emc_device *dev, const attention_case *c, int bad)
{
    attention_step clean = attention_step_make(dev, c, 0), s = attention_step_make(dev, c, 0);
    const size_t width = (size_t)(c->n_heads * c->head_dim);
    const int slot = s.pages[s.whole[0].own_page + bad / PAGE] * PAGE + bad % PAGE;

    EMT_OK(dev->ops->attention(dev, &clean.args));
    emt_fetch(&clean.out);
    emt_free(&s.v_cache);
    emt_free(&s.k_cache);
    s.v[attention_cache_at(c, slot / PAGE, 0, slot % PAGE)] = NAN;
    s.k[attention_cache_at(c, slot / PAGE, 0, slot % PAGE)] = NAN;
    s.k_cache = emt_values(dev, s.k, attention_cache_at(c, s.n_pages, 0, 0));
    s.v_cache = emt_values(dev, s.v, s.k_cache.n);
    s.args.k_cache = s.k_cache.d;
    s.args.v_cache = s.v_cache.d;
    EMT_OK(dev->ops->attention(dev, &s.args));
    emt_fetch(&s.out);
    emt_same(c->reaches, &clean.out, 0, &s.out, 0, (size_t)bad * width);
    for (int row = bad; row < s.rows; row++)
        assert_true(isnan(s.out.value[(size_t)row * width]));
    attention_step_free(&clean);
    attention_step_free(&s);
}

static void poisoned_row(emc_device *dev)
{
    static const attention_case poisoned[] = {
        {{{70, 10, 1, 0, 1}}, 4, 2, 64, 1, "a poisoned row"},
        {{{100, 70, 1, 0, 1}}, 2, 1, 128, 1, "a poisoned row of 128 values"},
        {{{50, 70, 1, 2, 1}}, 2, 1, 128, 1, "a poisoned row among paths"},
    };

    for (size_t i = 0; i < EMC_COUNT(poisoned); i++)
        poison_row(dev, &poisoned[i], 37);
}

static void test_poisoned_row(void **state)
{
    (void)state;
    emt_each_device(poisoned_row);
}

static void limits(emc_device *dev)
{
    static const attention_case c = {{{3, 4, 1, 0, 1}}, 4, 2, 16, 1, "limits"};
    attention_step s = attention_step_make(dev, &c, 0);
    emc_attention_args args;

#define REFUSED(text, change)                                                                      \
    do {                                                                                           \
        args = s.args;                                                                             \
        change;                                                                                    \
        EMT_FAILS(EMC_ERR_ARG, text, dev->ops->attention(dev, &args));                             \
    } while (0)
    REFUSED("attention: rows=0", args.rows = 0);
    REFUSED("n_items=0", args.n_items = 0);
    REFUSED("head_dim=0", args.head_dim = 0);
    REFUSED("head_dim=12", args.head_dim = 12);
    REFUSED("head_dim=264", args.head_dim = 264);
    REFUSED("n_kv_heads=3", args.n_kv_heads = 3);
    REFUSED("n_kv_heads=0", args.n_kv_heads = 0);
    REFUSED("n_heads=0", args.n_heads = 0);
    REFUSED("q_stride=63", args.q_stride = 63);
    REFUSED("n_causal_items=-1 of n_items=1", args.n_causal_items = -1);
    REFUSED("n_causal_items=2 of n_items=1", args.n_causal_items = 2);
    REFUSED("max_causal_rows=0", args.max_causal_rows = 0);
    REFUSED("max_causal_rows=129", args.max_causal_rows = 129);
    REFUSED("max_flat_rows=0", args.n_causal_items = 0);
    REFUSED("max_flat_rows=129",
            (args.n_causal_items = 0, args.max_flat_rows = 129, args.max_flat_keys = 1));
    REFUSED("max_flat_keys=0", (args.n_causal_items = 0, args.max_flat_rows = 1));
    REFUSED("scale=0", args.scale = 0.0f);
    REFUSED("scale=-1", args.scale = -1.0f);
    REFUSED("scale=nan", args.scale = NAN);
    REFUSED("16-byte aligned", args.q = (char *)s.q.d + 2);
    REFUSED("16-byte aligned", args.out = (char *)s.out.d + 4);
    REFUSED("16-byte aligned", args.k_cache = (char *)s.k_cache.d + 8);
    REFUSED("16-byte aligned", args.v_cache = (char *)s.v_cache.d + 8);
    REFUSED("missing", args.items = NULL);
    REFUSED("missing", args.page_table = NULL);
    REFUSED("missing", args.path_slots = NULL);
    REFUSED("missing", args.path_lens = NULL);
    REFUSED("out overlaps q", args.out = s.q.d);
#undef REFUSED
    attention_step_free(&s);
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
        cmocka_unit_test(test_poisoned_row),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
