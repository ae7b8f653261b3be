#include "annotate/dataset/example.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"

const char *example_kind_name(example_kind kind)
{
    static const char *const names[] = {"cell", "unknown", "mixed", "few"};

    return (unsigned)kind < EMC_COUNT(names) ? names[kind] : "";
}

static emc_random random_of(const emc_recipe_info *recipe, const emc_dataset_cell *cell,
                            const char *purpose, int number)
{
    const char *dataset = cell->dataset ? cell->dataset : "";
    emc_random a = emc_random_of(recipe->seed, dataset, strlen(dataset));
    emc_random b = emc_random_of(emc_random_next(&a), cell->cell_id, strlen(cell->cell_id));
    emc_random c = emc_random_of(emc_random_next(&b), purpose, strlen(purpose));

    c.state += (uint64_t)number * 0x9e3779b97f4a7c15u;
    emc_random_next(&c);
    return c;
}

/* The right label and others drawn without replacement, in random order. */
static void draw_candidates(example *out, const emc_recipe_examples *e,
                            const emc_dataset_cell *cell, int n_labels, emc_random *random)
{
    int32_t order[EXAMPLE_MOST_CANDIDATES];
    int most = e->candidates_most < n_labels ? e->candidates_most : n_labels;

    most = most < EXAMPLE_MOST_CANDIDATES ? most : EXAMPLE_MOST_CANDIDATES;
    const int least = e->candidates_least < most ? e->candidates_least : most;
    const int wanted = least + (int)emc_random_below(random, (uint64_t)(most - least + 1));
    int n = 0;

    for (int i = 0; i < n_labels && i < EXAMPLE_MOST_CANDIDATES; i++)
        if (i != cell->label)
            order[n++] = i;
    emc_random_shuffle(random, order, (size_t)n);
    n = cell->label >= 0 ? wanted - 1 : wanted;
    if (cell->label >= 0)
        order[n++] = cell->label;
    emc_random_shuffle(random, order, (size_t)n);
    for (int i = 0; i < n; i++)
        out->candidates[i] = order[i];
    out->n_candidates = n;
}

void example_draw(example *out, const emc_recipe_info *recipe, const emc_dataset_cell *cell,
                  int number, bool is_negative, int n_labels, const bool *lists_labels,
                  int n_wordings, int n_genes_of_profile)
{
    const emc_recipe_examples *e = &recipe->examples;
    emc_random random = random_of(recipe, cell, is_negative ? "negative" : "example", number);
    int n_used = e->n_paraphrases > 0 ? e->n_paraphrases : 1;

    n_used = n_used < n_wordings ? n_used : n_wordings;
    out->n_candidates = 0;
    out->n_genes = e->n_n_genes > 0 ? e->n_genes[emc_random_below(&random, (uint64_t)e->n_n_genes)]
                                    : n_genes_of_profile;
    out->wording = (int)emc_random_below(&random, (uint64_t)n_used);
    out->kind = cell->label < 0 ? EXAMPLE_UNKNOWN : EXAMPLE_CELL;
    if (is_negative)
        out->kind = emc_random_below(&random, 2) ? EXAMPLE_MIXED : EXAMPLE_FEW;
    if (out->kind == EXAMPLE_FEW)
        out->n_genes = 3 + (int)emc_random_below(&random, 7);
    const bool wants = emc_random_share(&random) < e->candidate_share;
    if (wants && lists_labels[out->wording] && e->candidates_most > 1)
        draw_candidates(out, e, cell, n_labels, &random);
}

bool example_has_negative(const emc_recipe_info *recipe, const emc_dataset_cell *cell)
{
    const double share = recipe->examples.unknown_share;
    emc_random random = random_of(recipe, cell, "has negative", 0);

    /* `share` of all examples: so many beside each of the others. */
    return cell->label >= 0 && share > 0 && share < 1 &&
           emc_random_share(&random) <
               share / (1 - share) *
                   (recipe->examples.per_cell > 0 ? recipe->examples.per_cell : 1);
}

/* --- balancing --- */

typedef struct {
    uint64_t key;
    int64_t index;
} drawn;

static int by_key(const void *a, const void *b)
{
    const drawn *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static emc_status cap_label(unsigned char *keep, const emc_dataset *dataset, int label, int most)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(dataset);
    const int64_t n = emc_dataset_count(dataset);
    drawn *cells;
    int64_t count = 0;

    EMC_TRY(emc_alloc(&cells, (size_t)n + 1, sizeof *cells, "cells of a label"));
    for (int64_t i = 0; i < n; i++) {
        const emc_dataset_cell *cell = emc_dataset_get(dataset, i);
        if (!keep[i] || cell->label != label || cell->part != EMC_PART_TRAIN)
            continue;
        emc_random random = random_of(recipe, cell, "cap", 0);
        cells[count++] = (drawn){emc_random_next(&random), i};
    }
    if (count > most) {
        qsort(cells, (size_t)count, sizeof *cells, by_key);
        for (int64_t i = most; i < count; i++)
            keep[cells[i].index] = 0;
    }
    free(cells);
    return EMC_OK;
}

emc_status example_choose(unsigned char *keep, const emc_dataset *dataset)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(dataset);
    const int64_t n = emc_dataset_count(dataset);
    const int n_labels = emc_labels_count(emc_dataset_labels(dataset));
    const int per_cell = recipe->examples.per_cell > 0 ? recipe->examples.per_cell : 1;

    for (int64_t i = 0; i < n; i++)
        keep[i] = emc_dataset_get(dataset, i)->twin == i;
    if (recipe->examples.cap <= 0)
        return EMC_OK;
    const int most = (recipe->examples.cap + per_cell - 1) / per_cell;
    for (int label = EMC_LABEL_UNKNOWN; label < n_labels; label++)
        if (label != EMC_LABEL_DROPPED)
            EMC_TRY(cap_label(keep, dataset, label, most));
    return EMC_OK;
}
