#include "attention_case.h"

#include <math.h>
#include <stdlib.h>

#define PAGE EMC_PAGE_POSITIONS

size_t attention_cache_at(const attention_case *c, int page, int head, int position)
{
    return (((size_t)page * (size_t)c->n_kv_heads + (size_t)head) * PAGE + (size_t)position) *
           (size_t)c->head_dim;
}

/* Where a slot lies when pages are numbered from s->shift on. */
static int moved(const attention_step *s, int slot)
{
    return (slot / PAGE + s->shift) % s->n_pages * PAGE + slot % PAGE;
}

static void fill_slot(attention_step *s, const attention_case *c, int slot, uint64_t *seed)
{
    for (int head = 0; head < c->n_kv_heads; head++) {
        const size_t at = attention_cache_at(c, slot / PAGE, head, slot % PAGE);
        for (int d = 0; d < c->head_dim; d++) {
            s->k[at + (size_t)d] = c->scale * emt_normal(seed);
            s->v[at + (size_t)d] = emt_normal(seed);
        }
    }
}

/* Pages for n positions, taken from the highest number down so that order shows. */
static int take_pages(attention_step *s, const attention_case *c, int *next_page, int *n_table,
                      int n, uint64_t *seed)
{
    const int first = *n_table;

    for (int i = 0; i < n; i++) {
        if (i % PAGE == 0)
            s->pages[(*n_table)++] = moved(s, --*next_page * PAGE) / PAGE;
        fill_slot(s, c, s->pages[*n_table - 1] * PAGE + i % PAGE, seed);
    }
    return first;
}

static int own_keys(const sequence_case *sequence)
{
    return sequence->own + (sequence->causal ? sequence->n_rows - 1 : 0);
}

/* The rows of a sequence as items: a prompt in pieces. */
static void cut(attention_step *s, const emc_attention_item *whole)
{
    const int most = whole->causal ? EMC_MAX_ITEM_ROWS : whole->n_rows;

    for (int row = 0; row < whole->n_rows; row += most) {
        emc_attention_item item = *whole;
        assert_true(s->n_items < ATTENTION_MAX_ITEMS);
        item.row0 += row;
        item.own_seen += item.causal ? row : 0;
        item.n_rows = whole->n_rows - row < most ? whole->n_rows - row : most;
        s->item[s->n_items++] = item;
    }
}

static void lay_out(attention_step *s, const attention_case *c, uint64_t *seed)
{
    int next_page = s->n_pages, n_table = 0, next_slot = 0;

    for (int i = 0; i < s->n_sequences; i++) {
        const sequence_case *sequence = &c->sequences[i];
        emc_attention_item whole = {.row0 = s->rows,
                                    .n_rows = sequence->n_rows,
                                    .prefix_len = sequence->prefix,
                                    .own_seen = sequence->own,
                                    .causal = sequence->causal};
        whole.prefix_page = take_pages(s, c, &next_page, &n_table, sequence->prefix, seed);
        whole.own_page = take_pages(s, c, &next_page, &n_table, own_keys(sequence), seed);
        for (int r = 0; r < sequence->n_rows; r++, s->rows++) {
            s->lens[s->rows] = sequence->path ? sequence->path - r % sequence->path : 0;
            if (sequence->causal && r % 3 == 1)
                s->lens[s->rows] = 0;
            for (int p = 0; p < s->lens[s->rows]; p++) {
                /* Every third slot of the first pages: paths lie scattered. */
                const int slot = moved(s, next_slot);
                s->slots[s->rows * EMC_MAX_PATH + p] = slot;
                fill_slot(s, c, slot, seed);
                next_slot += 3;
            }
        }
        s->whole[i] = whole;
        cut(s, &whole);
    }
    assert_true((next_slot + PAGE - 1) / PAGE <= next_page);
}

static int count_pages(const attention_case *c, int *rows, int *n_sequences)
{
    int n_pages = 0, paths = 0;

    *rows = *n_sequences = 0;
    for (int i = 0; i < ATTENTION_MAX_SEQUENCES && c->sequences[i].n_rows > 0;
         i++, ++*n_sequences) {
        const sequence_case *sequence = &c->sequences[i];
        n_pages += (sequence->prefix + PAGE - 1) / PAGE + (own_keys(sequence) + PAGE - 1) / PAGE;
        paths += sequence->n_rows * sequence->path;
        *rows += sequence->n_rows;
    }
    return n_pages + 3 * paths / PAGE + 2;
}

void attention_describe_items(emc_attention_args *args, const emc_attention_item *items, int n)
{
    args->n_items = n;
    args->n_causal_items = args->max_causal_rows = args->max_flat_rows = args->max_flat_keys = 0;
    for (int i = 0; i < n; i++) {
        int *most = items[i].causal ? &args->max_causal_rows : &args->max_flat_rows;
        const int keys = items[i].prefix_len + items[i].own_seen;
        *most = items[i].n_rows > *most ? items[i].n_rows : *most;
        args->n_causal_items += items[i].causal;
        if (!items[i].causal && keys > args->max_flat_keys)
            args->max_flat_keys = keys;
    }
}

attention_step attention_step_make(emc_device *dev, const attention_case *c, int shift)
{
    attention_step s = {.shift = shift};
    uint64_t seed = 5;
    int rows;

    s.n_pages = count_pages(c, &rows, &s.n_sequences);
    const size_t cache = attention_cache_at(c, s.n_pages, 0, 0),
                 width = (size_t)(c->n_heads * c->head_dim);
    s.q_stride = (int)width + 16;
    s.pages = calloc((size_t)s.n_pages, sizeof *s.pages);
    s.slots = calloc((size_t)rows * EMC_MAX_PATH, sizeof *s.slots);
    s.lens = calloc((size_t)rows, sizeof *s.lens);
    s.k = calloc(cache, sizeof *s.k);
    s.v = calloc(cache, sizeof *s.v);
    for (size_t i = 0; i < cache; i++)
        s.k[i] = s.v[i] = NAN;
    lay_out(&s, c, &seed);
    s.q = emt_normals(dev, (size_t)rows * (size_t)s.q_stride, 1.0, &seed);
    s.out = emt_poison(dev, (size_t)rows * width);
    s.k_cache = emt_values(dev, s.k, cache);
    s.v_cache = emt_values(dev, s.v, cache);
    s.items = emt_ints(dev, (const int32_t *)s.item,
                       (size_t)s.n_items * sizeof *s.item / sizeof(int32_t));
    s.page_table = emt_ints(dev, s.pages, (size_t)s.n_pages);
    s.path_slots = emt_ints(dev, s.slots, (size_t)rows * EMC_MAX_PATH);
    s.path_lens = emt_ints(dev, s.lens, (size_t)rows);
    s.args = (emc_attention_args){.out = s.out.d,
                                  .q = s.q.d,
                                  .q_stride = s.q_stride,
                                  .k_cache = s.k_cache.d,
                                  .v_cache = s.v_cache.d,
                                  .items = s.items.d,
                                  .page_table = s.page_table.d,
                                  .path_slots = s.path_slots.d,
                                  .path_lens = s.path_lens.d,
                                  .rows = rows,
                                  .n_heads = c->n_heads,
                                  .n_kv_heads = c->n_kv_heads,
                                  .head_dim = c->head_dim,
                                  .scale = (float)(1.0 / sqrt(c->head_dim))};
    attention_describe_items(&s.args, s.item, s.n_items);
    return s;
}

void attention_step_free(attention_step *s)
{
    emt_free(&s->q);
    emt_free(&s->out);
    emt_free(&s->k_cache);
    emt_free(&s->v_cache);
    emt_free(&s->items);
    emt_free(&s->page_table);
    emt_free(&s->path_slots);
    emt_free(&s->path_lens);
    free(s->pages);
    free(s->slots);
    free(s->lens);
    free(s->k);
    free(s->v);
}
