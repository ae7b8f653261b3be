/* Splits of random cells against a naive check of our own, and leaks that are planted. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/dataset.h"
#include "annotate/dataset/dataset_parts.h"
#include "emt.h"

#define MOST 400

/* Random cells with the strings that they point to. */
typedef struct {
    emc_dataset_cell cells[MOST];
    emc_hash hashes[MOST];
    char ids[MOST][16], embryos[MOST][16], datasets[MOST][16], stages[MOST][16];
    int64_t n;
} world;

static int below(uint64_t *state, int n)
{
    return (int)(emt_random(state) % (uint64_t)n);
}

/* Embryos of several sizes, in datasets that use the same names; some cells are the same. */
static void draw_world(world *w, uint64_t *state, int n, int n_embryos, int n_labels)
{
    w->n = n;
    for (int i = 0; i < n; i++) {
        emc_dataset_cell *cell = &w->cells[i];
        const int embryo = below(state, 1 + below(state, n_embryos));
        snprintf(w->ids[i], sizeof(w->ids[i]), "c%d", i);
        snprintf(w->embryos[i], sizeof(w->embryos[i]), "E%d", embryo / 2);
        snprintf(w->datasets[i], sizeof(w->datasets[i]), "D%d", embryo % 2);
        snprintf(w->stages[i], sizeof(w->stages[i]), "S%d", below(state, 4));
        *cell = (emc_dataset_cell){.index = i,
                                   .cell_id = w->ids[i],
                                   .embryo = w->embryos[i],
                                   .dataset = w->datasets[i],
                                   .stage = w->stages[i],
                                   .label = below(state, n_labels + 1) - 1,
                                   .twin = i};
        cell->label = cell->label < 0 ? EMC_LABEL_UNKNOWN : cell->label;
        memset(&w->hashes[i], 0, sizeof(w->hashes[i]));
        memcpy(w->hashes[i].bytes, &i, sizeof(i));
        if (i > 0 && below(state, 40) == 0) {
            const int other = below(state, i);
            w->hashes[i] = w->hashes[other];
            cell->twin = w->cells[other].twin;
        }
    }
}

static bool same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Must a and b be on one side? Said once more, pair by pair. */
static bool must_stay(const world *w, int64_t i, int64_t j, emc_split_by by)
{
    const emc_dataset_cell *a = &w->cells[i], *b = &w->cells[j];

    if (memcmp(w->hashes[i].bytes, w->hashes[j].bytes, 16) == 0)
        return true;
    if (same_text(a->dataset, b->dataset) && same_text(a->cell_id, b->cell_id))
        return true;
    if (by != EMC_SPLIT_CELL && same_text(a->embryo, b->embryo) &&
        (same_text(a->dataset, b->dataset) || (!a->dataset && !b->dataset)))
        return true;
    return (by == EMC_SPLIT_DATASET && same_text(a->dataset, b->dataset)) ||
           (by == EMC_SPLIT_STAGE && same_text(a->stage, b->stage));
}

static bool leaks(const world *w, emc_split_by by)
{
    for (int64_t i = 0; i < w->n; i++)
        for (int64_t j = 0; j < i; j++)
            if (w->cells[i].part != w->cells[j].part && must_stay(w, i, j, by))
                return true;
    return false;
}

static void test_random(void **state)
{
    static world w;
    uint64_t random = 11;
    int n_done[4] = {0};
    (void)state;

    for (int round = 0; round < 200; round++) {
        const emc_split_by by = (emc_split_by)(round % 4);
        const emc_recipe_split split = {.by = by,
                                        .test = 0.1 + 0.3 * emt_uniform(&random),
                                        .validation = round % 3 ? 0.1 : 0,
                                        .stratify = round % 5 > 0};
        draw_world(&w, &random, 50 + below(&random, 150), 40, 6);
        const emc_status status =
            emc_split_assign(w.cells, w.n, &split, 6, (uint64_t)round, "random");
        if (status != EMC_OK) { /* datasets and stages may all hang together */
            assert_int_equal(status, EMC_ERR_CONFIG);
            assert_true(by != EMC_SPLIT_CELL);
            continue;
        }
        n_done[by]++;
        assert_false(leaks(&w, by));
        EMT_OK(emc_split_check(w.cells, w.hashes, w.n, by));
    }
    assert_true(n_done[EMC_SPLIT_EMBRYO] > 10 && n_done[EMC_SPLIT_CELL] == 50);
}

/* A cell that is put on the other side is found exactly when it must not be there. */
static void test_planted(void **state)
{
    static world w;
    uint64_t random = 5;
    int n_leaks = 0, n_fine = 0;
    (void)state;

    for (int round = 0; round < 300; round++) {
        const emc_split_by by = (emc_split_by)(round % 4);
        draw_world(&w, &random, 30, 60, 3);
        for (int64_t i = 0; i < w.n; i++)
            w.cells[i].part = EMC_PART_TRAIN;
        const int64_t moved = below(&random, (int)w.n);
        w.cells[moved].part = round % 2 ? EMC_PART_TEST : EMC_PART_VALIDATION;
        const emc_status status = emc_split_check(w.cells, w.hashes, w.n, by);
        assert_int_equal(status, leaks(&w, by) ? EMC_ERR_CONFIG : EMC_OK);
        n_leaks += status != EMC_OK;
        n_fine += status == EMC_OK;
    }
    assert_true(n_leaks > 50 && n_fine > 50);
}

static void test_named(void **state)
{
    emc_dataset_cell cells[3] = {
        {.cell_id = "a", .embryo = "E1", .dataset = "D", .stage = "S"},
        {.cell_id = "b", .embryo = "E1", .dataset = "D", .stage = "T", .part = EMC_PART_TEST},
        {.cell_id = "c", .embryo = "E2", .dataset = "D", .stage = "S"}};
    emc_hash hashes[3] = {{{1}}, {{2}}, {{3}}};
    (void)state;

    EMT_FAILS(EMC_ERR_CONFIG, "embryo \"E1\" is in train and in test; crossings by embryo: 1",
              emc_split_check(cells, hashes, 3, EMC_SPLIT_EMBRYO));
    EMT_OK(emc_split_check(cells, hashes, 3, EMC_SPLIT_CELL));
    cells[1].dataset = "Other";
    EMT_OK(emc_split_check(cells, hashes, 3, EMC_SPLIT_EMBRYO)); /* another embryo */
    EMT_OK(emc_split_check(cells, hashes, 3, EMC_SPLIT_DATASET));
    cells[1].dataset = "D";
    cells[1].embryo = "E3";
    EMT_FAILS(EMC_ERR_CONFIG, "dataset \"D\" is in train and in test",
              emc_split_check(cells, hashes, 3, EMC_SPLIT_DATASET));
    EMT_OK(emc_split_check(cells, hashes, 3, EMC_SPLIT_STAGE));
    cells[1].stage = "S";
    EMT_FAILS(EMC_ERR_CONFIG, "stage \"S\" is in train and in test",
              emc_split_check(cells, hashes, 3, EMC_SPLIT_STAGE));
    cells[1].cell_id = "c";
    EMT_FAILS(EMC_ERR_CONFIG, "cell \"c\" is in test and in train",
              emc_split_check(cells, hashes, 3, EMC_SPLIT_CELL));
    cells[1].cell_id = "b";
    hashes[1] = hashes[0];
    EMT_FAILS(EMC_ERR_CONFIG, "the expression of cell \"b\" is in train and in test",
              emc_split_check(cells, hashes, 3, EMC_SPLIT_CELL));
    cells[1].part = EMC_PART_TRAIN;
    EMT_OK(emc_split_check(cells, hashes, 3, EMC_SPLIT_CELL));
}

/* By cell nothing stands in the way: every label is divided as asked, to a cell or two. */
static void test_stratified(void **state)
{
    static world w;
    const emc_recipe_split split = {
        .by = EMC_SPLIT_CELL, .test = 0.2, .validation = 0.1, .stratify = true};
    const double share[EMC_N_PARTS] = {0.7, 0.1, 0.2};
    uint64_t random = 3;
    (void)state;

    for (int round = 0; round < 20; round++) {
        draw_world(&w, &random, 300, 30, 5);
        for (int64_t i = 0; i < w.n; i++)
            w.cells[i].twin = i;
        EMT_OK(emc_split_assign(w.cells, w.n, &split, 5, (uint64_t)round, "random"));
        for (int label = 0; label < 5; label++) {
            int n = 0, n_part[EMC_N_PARTS] = {0};
            for (int64_t i = 0; i < w.n; i++) {
                n += w.cells[i].label == label;
                n_part[w.cells[i].part] += w.cells[i].label == label;
            }
            for (int p = 0; p < EMC_N_PARTS; p++)
                if (!(fabs(n_part[p] - share[p] * n) <= 2))
                    fail_msg("label %d: %d of %d in %s", label, n_part[p], n,
                             emc_part_name((emc_part_of_split)p));
        }
    }
}

/* A label of two embryos is trained on one and tested on the other. */
static void test_few_embryos(void **state)
{
    static world w;
    const emc_recipe_split split = {.by = EMC_SPLIT_EMBRYO, .test = 0.2, .stratify = true};
    (void)state;

    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t random = seed;
        bool seen[10][EMC_N_PARTS] = {{false}};
        draw_world(&w, &random, 160, 20, 10);
        for (int i = 0; i < w.n; i++) {
            snprintf(w.embryos[i], sizeof(w.embryos[i]), "E%d", i / 8);
            w.cells[i].dataset = NULL;
            w.cells[i].label = i / 16;
            w.cells[i].twin = i;
        }
        EMT_OK(emc_split_assign(w.cells, w.n, &split, 10, seed, "random"));
        for (int i = 0; i < w.n; i++)
            seen[w.cells[i].label][w.cells[i].part] = true;
        for (int label = 0; label < 10; label++)
            assert_true(seen[label][EMC_PART_TRAIN] && seen[label][EMC_PART_TEST]);
    }
}

/* The same split however the cells are ordered; another for another seed. */
static void test_order(void **state)
{
    static world w, turned;
    const emc_recipe_split split = {
        .by = EMC_SPLIT_EMBRYO, .test = 0.25, .validation = 0.1, .stratify = true};
    uint64_t random = 8;
    int n_other = 0;
    (void)state;

    for (int round = 0; round < 10; round++) {
        draw_world(&w, &random, 200, 60, 4);
        for (int64_t i = 0; i < w.n; i++)
            w.cells[i].twin = i;
        turned = w;
        for (int64_t i = 0; i < w.n; i++) {
            turned.cells[i] = w.cells[w.n - 1 - i];
            turned.cells[i].twin = i;
        }
        EMT_OK(emc_split_assign(w.cells, w.n, &split, 4, 1, "random"));
        EMT_OK(emc_split_assign(turned.cells, w.n, &split, 4, 1, "random"));
        for (int64_t i = 0; i < w.n; i++)
            assert_int_equal(turned.cells[i].part, w.cells[w.n - 1 - i].part);
        EMT_OK(emc_split_assign(turned.cells, w.n, &split, 4, 2, "random"));
        for (int64_t i = 0; i < w.n; i++)
            n_other += turned.cells[i].part != w.cells[w.n - 1 - i].part;
    }
    assert_true(n_other > 100);
}

static void test_hold_out(void **state)
{
    static world w;
    const char *const names[] = {"D1"};
    const emc_recipe_split split = {.by = EMC_SPLIT_DATASET, .hold_out = names, .n_hold_out = 1};
    const emc_recipe_split none = {.by = EMC_SPLIT_DATASET};
    uint64_t random = 4;
    (void)state;

    draw_world(&w, &random, 100, 20, 3);
    for (int64_t i = 0; i < w.n; i++)
        w.cells[i].twin = i;
    EMT_OK(emc_split_assign(w.cells, w.n, &split, 3, 1, "random"));
    for (int64_t i = 0; i < w.n; i++)
        assert_int_equal(w.cells[i].part,
                         strcmp(w.cells[i].dataset, "D1") ? EMC_PART_TRAIN : EMC_PART_TEST);
    EMT_OK(emc_split_assign(w.cells, w.n, &none, 3, 1, "random"));
    for (int64_t i = 0; i < w.n; i++)
        assert_int_equal(w.cells[i].part, EMC_PART_TRAIN);
    /* A cell that stands in both joins them: nothing is left to hold out from. */
    w.cells[1].dataset = "D0";
    w.cells[0].dataset = "D1";
    w.cells[1].twin = 0;
    EMT_FAILS(EMC_ERR_CONFIG, "the split leaves train empty",
              emc_split_assign(w.cells, w.n, &split, 3, 1, "random"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),      cmocka_unit_test(test_planted),
        cmocka_unit_test(test_named),       cmocka_unit_test(test_stratified),
        cmocka_unit_test(test_few_embryos), cmocka_unit_test(test_order),
        cmocka_unit_test(test_hold_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
