/*
 * Which part is each cell of? Cells that must stay together (of one embryo, dataset or stage; the
 * same cell twice) make a block, and whole blocks are given to parts.
 *
 * Blocks are taken from the largest to the smallest, those of one size in a random order, and each
 * goes where it brings the counts closest to the wanted ones; then blocks are moved as long as that
 * brings them closer still. The distance is the sum over labels and parts of
 * ((n in the part - wanted) / n)^2, the same for all cells together, and a penalty where a part has
 * none of a label: a label of two embryos is then trained on one and tested on the other.
 * The result depends on names, counts and seed, and on the order of inputs only between blocks
 * that have the same names.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/dataset_parts.h"
#include "base/random.h"
#include "base/size.h"

#define MAX_PASSES 20
#define EMPTY_PART 100.0 /* worse than any distance */

/* Penalties for a label that a part has nothing of; a distance is at most 3. */
static const double missing[EMC_N_PARTS] = {
    [EMC_PART_TRAIN] = 4, [EMC_PART_VALIDATION] = 0.5, [EMC_PART_TEST] = 1};

typedef struct {
    int32_t label; /* the label set's; n_labels is unknown */
    int32_t n;
} label_count;

typedef struct {
    int64_t n;          /* cells */
    uint64_t order;     /* drawn by name */
    int64_t first;      /* its first cell */
    size_t counts, end; /* of splitting.counts */
    bool is_fixed;
    emc_part_of_split part;
} block;

typedef struct {
    emc_dataset_cell *cells;
    int64_t n;
    const emc_recipe_split *split;
    const char *name;
    uint64_t seed;
    int n_labels;    /* with unknown */
    int32_t *parent; /* [n] a union-find over cells; then the block of each */
    int32_t *sorted; /* [n] cells, by block and label */
    block *blocks;
    size_t n_blocks;
    label_count *counts;
    double share[EMC_N_PARTS];
    int64_t *of_label; /* [n_labels] */
    int64_t *in_part;  /* [EMC_N_PARTS][n_labels] */
    int64_t n_in_part[EMC_N_PARTS];
} splitting;

static int32_t root_of(int32_t *parent, int32_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static void join(int32_t *parent, int32_t a, int32_t b)
{
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

/* Joins cells that have the same value; *n_groups says how many values there are. */
static emc_status join_by(splitting *s, emc_split_by by, int64_t *n_groups)
{
    emc_str_map *first = NULL;
    emc_text key = {0};
    emc_status status = emc_str_map_open(&first, 64);

    for (int64_t i = 0; status == EMC_OK && i < s->n; i++) {
        bool has;
        status = emc_split_key(&key, &has, &s->cells[i], by);
        if (status != EMC_OK || !has)
            continue;
        join(s->parent, emc_str_map_get(first, key.bytes, key.n, (int32_t)i), (int32_t)i);
        status = emc_str_map_put(first, key.bytes, key.n, (int32_t)i, NULL);
    }
    if (n_groups && status == EMC_OK)
        *n_groups = (int64_t)emc_str_map_count(first);
    emc_text_free(&key);
    emc_str_map_close(first);
    return status;
}

static emc_status join_cells(splitting *s)
{
    static const char *const words[] = {"embryo", "dataset", "stage", "cell"};
    const emc_recipe_split *split = s->split;
    const bool divides = split->test > 0 || split->validation > 0 || split->n_hold_out > 0;
    int64_t n_groups = s->n;

    EMC_TRY(emc_alloc(&s->parent, (size_t)s->n, sizeof(*s->parent), "split"));
    for (int64_t i = 0; i < s->n; i++)
        s->parent[i] = (int32_t)i;
    for (int64_t i = 0; i < s->n; i++)
        join(s->parent, (int32_t)s->cells[i].twin, (int32_t)i);
    if (split->by != EMC_SPLIT_CELL) {
        EMC_TRY(join_by(s, EMC_SPLIT_EMBRYO, NULL));
        EMC_TRY(join_by(s, split->by, &n_groups));
    }
    if (divides && n_groups < 2)
        return emc_fail(EMC_ERR_CONFIG,
                        "recipe %s: the split is by %s, and all cells are of one %s; a split needs "
                        "two or more (split by something else, or give no shares)",
                        s->name, words[split->by], words[split->by]);
    return EMC_OK;
}

/* What the order of a block is drawn from. */
static emc_status draw(const splitting *s, emc_text *key, const emc_dataset_cell *cell,
                       uint64_t *order)
{
    bool has;

    EMC_TRY(emc_split_key(key, &has, cell, s->split->by));
    if (!has) {
        const char *dataset = cell->dataset ? cell->dataset : "";
        EMC_TRY(emc_text_add(key, dataset, strlen(dataset) + 1));
        EMC_TRY(emc_text_add_string(key, cell->cell_id));
    }
    emc_random random = emc_random_of(s->seed, key->bytes, key->n);
    *order = emc_random_next(&random);
    return EMC_OK;
}

/* The blocks, and parent[i] is then the block of cell i. The smallest draw of its names is a
 * block's. */
static emc_status make_blocks(splitting *s)
{
    emc_text key = {0};
    emc_status status = EMC_OK;
    size_t n = 0;

    for (int64_t i = 0; i < s->n; i++) {
        s->parent[i] = root_of(s->parent, (int32_t)i);
        n += s->parent[i] == i;
    }
    EMC_TRY(emc_alloc(&s->blocks, n, sizeof(*s->blocks), "split"));
    for (int64_t i = 0; status == EMC_OK && i < s->n; i++) {
        uint64_t order = 0;
        const int32_t root = s->parent[i];
        /* Roots come before the rest; once seen, a cell holds its block. */
        const bool is_root = root == i;
        const int32_t b = is_root ? (int32_t)s->n_blocks++ : s->parent[root];
        status = draw(s, &key, &s->cells[i], &order);
        if (is_root)
            s->blocks[b] = (block){.first = i, .order = order};
        s->parent[i] = b;
        s->blocks[b].n++;
        if (order < s->blocks[b].order)
            s->blocks[b].order = order;
    }
    emc_text_free(&key);
    return status;
}

static int label_of(const splitting *s, int64_t cell)
{
    const int label = s->cells[cell].label;

    return label < 0 ? s->n_labels - 1 : label;
}

static int compare_cells(const void *a, const void *b, void *context)
{
    const splitting *s = (const splitting *)context;
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    if (s->parent[x] != s->parent[y])
        return s->parent[x] < s->parent[y] ? -1 : 1;
    return label_of(s, x) - label_of(s, y);
}

/* How many cells of each label every block has. */
static emc_status count_labels(splitting *s)
{
    size_t n = 0;

    EMC_TRY(emc_alloc(&s->sorted, (size_t)s->n, sizeof(*s->sorted), "split"));
    EMC_TRY(emc_alloc(&s->counts, (size_t)s->n, sizeof(*s->counts), "split"));
    EMC_TRY(emc_alloc(&s->of_label, (size_t)s->n_labels, sizeof(*s->of_label), "split"));
    EMC_TRY(
        emc_alloc(&s->in_part, (size_t)s->n_labels * EMC_N_PARTS, sizeof(*s->in_part), "split"));
    for (int64_t i = 0; i < s->n; i++)
        s->sorted[i] = (int32_t)i;
    qsort_r(s->sorted, (size_t)s->n, sizeof(*s->sorted), compare_cells, s);
    for (int64_t i = 0; i < s->n; i++) {
        const int32_t cell = s->sorted[i];
        block *b = &s->blocks[s->parent[cell]];
        const int32_t label = label_of(s, cell);
        s->of_label[label]++;
        if (b->end == b->counts) /* its first */
            b->counts = b->end = n;
        if (b->end == b->counts || s->counts[n - 1].label != label) {
            s->counts[n++] = (label_count){.label = label};
            b->end = n;
        }
        s->counts[n - 1].n++;
    }
    return EMC_OK;
}

static double square(double x)
{
    return x * x;
}

/* By how much the distance changes when n cells come to (or, below 0, go from) `have` of `all`. */
static double step(int64_t have, int64_t n, int64_t all, double share, double penalty)
{
    const double before = (double)have / (double)all - share;
    const double after = (double)(have + n) / (double)all - share;

    return square(after) - square(before) + penalty * ((have + n == 0) - (have == 0));
}

static double change(const splitting *s, const block *b, emc_part_of_split part, int sign)
{
    const double share = s->share[part];
    const bool wanted = share > 0;
    double sum = step(s->n_in_part[part], sign * b->n, s->n, share, wanted ? EMPTY_PART : 0);

    for (size_t i = b->counts; s->split->stratify && i < b->end; i++) {
        const label_count *c = &s->counts[i];
        sum += step(s->in_part[(int)part * s->n_labels + c->label], sign * c->n,
                    s->of_label[c->label], share, wanted ? missing[part] : 0);
    }
    return sum;
}

static void put(splitting *s, block *b, emc_part_of_split part, int sign)
{
    s->n_in_part[part] += sign * b->n;
    for (size_t i = b->counts; i < b->end; i++)
        s->in_part[(int)part * s->n_labels + s->counts[i].label] += sign * s->counts[i].n;
    b->part = part;
}

static emc_part_of_split best_part(const splitting *s, const block *b)
{
    emc_part_of_split best = EMC_PART_TRAIN;
    double least = INFINITY;

    for (int p = 0; p < EMC_N_PARTS; p++) {
        if (!(s->share[p] > 0))
            continue;
        const double cost = change(s, b, (emc_part_of_split)p, 1);
        if (cost < least - 1e-12) {
            least = cost;
            best = (emc_part_of_split)p;
        }
    }
    return best;
}

static bool move_blocks(splitting *s, block **order)
{
    bool moved = false;

    for (size_t i = 0; i < s->n_blocks; i++) {
        block *b = order[i];
        if (b->is_fixed)
            continue;
        const emc_part_of_split old = b->part;
        put(s, b, old, -1);
        emc_part_of_split best = best_part(s, b);
        if (change(s, b, best, 1) > change(s, b, old, 1) - 1e-9)
            best = old;
        put(s, b, best, 1);
        moved = moved || best != old;
    }
    return moved;
}

static int compare_blocks(const void *a, const void *b)
{
    const block *x = *(block *const *)a, *y = *(block *const *)b;

    if (x->is_fixed != y->is_fixed)
        return x->is_fixed ? -1 : 1;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static emc_status give_out(splitting *s)
{
    block **order;

    EMC_TRY(emc_alloc(&order, s->n_blocks, sizeof(block *), "split"));
    for (size_t i = 0; i < s->n_blocks; i++)
        order[i] = &s->blocks[i];
    qsort(order, s->n_blocks, sizeof(block *), compare_blocks);
    for (size_t i = 0; i < s->n_blocks; i++)
        put(s, order[i], order[i]->is_fixed ? EMC_PART_TEST : best_part(s, order[i]), 1);
    for (int pass = 0; pass < MAX_PASSES && move_blocks(s, order); pass++)
        ;
    free(order);
    return EMC_OK;
}

/* Held out: named by embryo, dataset, stage or cell, as the split is. */
static emc_status hold_out(splitting *s)
{
    for (int h = 0; h < s->split->n_hold_out; h++) {
        const char *name = s->split->hold_out[h];
        bool found = false;
        for (int64_t i = 0; i < s->n; i++) {
            const emc_dataset_cell *c = &s->cells[i];
            const char *const values[] = {c->embryo, c->dataset, c->stage, c->cell_id};
            if (!values[s->split->by] || strcmp(values[s->split->by], name) != 0)
                continue;
            s->blocks[s->parent[i]].is_fixed = true;
            found = true;
        }
        if (!found)
            return emc_fail(EMC_ERR_CONFIG,
                            "recipe %s: \"hold_out\" names \"%s\", which no cell is of", s->name,
                            name);
    }
    return EMC_OK;
}

static emc_status check_parts(const splitting *s)
{
    for (int p = 0; p < EMC_N_PARTS; p++) {
        const bool wanted = s->share[p] > 0 || (p == EMC_PART_TEST && s->split->n_hold_out > 0);
        if (wanted && s->n_in_part[p] == 0)
            return emc_fail(EMC_ERR_CONFIG,
                            "recipe %s: the split leaves %s empty: what must stay together makes "
                            "%zu blocks of cells",
                            s->name, emc_part_name((emc_part_of_split)p), s->n_blocks);
    }
    return EMC_OK;
}

emc_status emc_split_assign(emc_dataset_cell *cells, int64_t n, const emc_recipe_split *split,
                            int n_labels, uint64_t seed, const char *name)
{
    splitting s = {
        .cells = cells,
        .n = n,
        .split = split,
        .name = name,
        .seed = seed,
        .n_labels = n_labels + 1,
        .share = {[EMC_PART_TRAIN] = 1 - split->test - split->validation,
                  [EMC_PART_VALIDATION] = split->validation,
                  [EMC_PART_TEST] = split->test},
    };
    emc_status status = join_cells(&s);

    if (status == EMC_OK)
        status = make_blocks(&s);
    if (status == EMC_OK)
        status = count_labels(&s);
    if (status == EMC_OK)
        status = hold_out(&s);
    if (status == EMC_OK)
        status = give_out(&s);
    if (status == EMC_OK)
        status = check_parts(&s);
    for (int64_t i = 0; status == EMC_OK && i < n; i++)
        cells[i].part = s.blocks[s.parent[i]].part;
    free(s.parent);
    free(s.sorted);
    free(s.blocks);
    free(s.counts);
    free(s.of_label);
    free(s.in_part);
    return status;
}
