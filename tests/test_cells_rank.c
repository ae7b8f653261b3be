/* Does ranking list the right genes in the right order? */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells/rank.h"

#define MOST 400

static const char *const names[] = {"B", "A", "D", "C", "MT-CO1", "RPL3", "E"};

static double last_values[EMC_COUNT(names)]; /* of the last rank_row, best first */

/* One row; what ranking gives as "A C B". */
static emc_status rank_row(char *out, emc_ranked *ranked, const emc_rank_options *options,
                           const emc_gene_options *gene_options, const int32_t *genes,
                           const double *values, int n)
{
    const int64_t indptr[] = {0, n};
    const char *id = "cell 1";
    const emc_cell_block block = {.path = "some.h5ad",
                                  .n_rows = 1,
                                  .indptr = indptr,
                                  .genes = genes,
                                  .values = values,
                                  .cell_ids = &id};
    emc_genes *table;
    emc_ranker *ranker;
    emc_status status;

    EMT_OK(emc_genes_open(&table, names, EMC_COUNT(names), gene_options));
    EMT_OK(emc_ranker_open(&ranker, table, options));
    status = emc_ranker_cell(ranker, &block, 0, ranked);
    out[0] = '\0';
    for (int i = 0; status == EMC_OK && i < ranked->n_top; i++) {
        sprintf(out + strlen(out), "%s%s", i ? " " : "", emc_genes_name(table, ranked->genes[i]));
        last_values[i] = ranked->values[i];
    }
    ranked->genes = NULL; /* what they point to is gone */
    ranked->values = NULL;
    emc_ranker_close(ranker);
    emc_genes_close(table);
    return status;
}

static void order_and_ties(void **state)
{
    /* Columns in two orders; B, A, D tie, E is stored as zero, C comes in two parts. */
    static const int32_t one[] = {0, 1, 2, 3, 3, 6}, two[] = {3, 2, 6, 1, 3, 0};
    static const double one_values[] = {2, 2, 2, 1, 4, 0}, two_values[] = {4, 2, 0, 2, 1, 2};
    emc_rank_options options = {.n_top = 10};
    emc_ranked ranked;
    char out[100];

    (void)state;
    EMT_OK(rank_row(out, &ranked, &options, NULL, one, one_values, 6));
    assert_string_equal(out, "C A B D");
    assert_int_equal(ranked.n_expressed, 4);
    assert_int_equal(ranked.n_kept, 4);
    assert_true(ranked.total == 11);
    EMT_OK(rank_row(out, &ranked, &options, NULL, two, two_values, 6));
    assert_string_equal(out, "C A B D");
    options.n_top = 2;
    EMT_OK(rank_row(out, &ranked, &options, NULL, two, two_values, 6));
    assert_string_equal(out, "C A");
    assert_int_equal(ranked.n_kept, 4);
    EMT_OK(rank_row(out, &ranked, &options, NULL, one, one_values, 0));
    assert_string_equal(out, "");
    assert_int_equal(ranked.n_expressed, 0);
}

static void filters_minimum_and_medians(void **state)
{
    static const int32_t genes[] = {0, 1, 2, 4, 5};
    static const double values[] = {1, 2, 6, 50, 40};
    static const double medians[] = {0.1, 1, 2, 1000, NAN, 80, 1};
    const emc_gene_options no_mito = {.exclude_groups = EMC_GENES_MITOCHONDRIAL};
    emc_rank_options options = {.n_top = 10};
    emc_ranked ranked;
    char out[100];

    (void)state;
    EMT_OK(rank_row(out, &ranked, &options, NULL, genes, values, 5));
    assert_string_equal(out, "MT-CO1 RPL3 D A B");
    EMT_OK(rank_row(out, &ranked, &options, &no_mito, genes, values, 5));
    assert_string_equal(out, "RPL3 D A B");
    assert_int_equal(ranked.n_expressed, 5);
    assert_int_equal(ranked.n_kept, 4);
    assert_true(ranked.total == 99);
    options.min_value = 2;
    EMT_OK(rank_row(out, &ranked, &options, NULL, genes, values, 5));
    assert_string_equal(out, "MT-CO1 RPL3 D A");
    options = (emc_rank_options){.n_top = 10, .medians = medians};
    EMT_OK(rank_row(out, &ranked, &options, NULL, genes, values, 5));
    assert_string_equal(out, "B D A RPL3"); /* 10, 3, 2, 0.5; MT-CO1 has none */
    assert_true(last_values[0] == 10 && last_values[3] == 0.5);
}

static void bad_values(void **state)
{
    static const int32_t genes[] = {0, 1, 2}, outside[] = {0, 7};
    static const double with_nan[] = {1, NAN, 2}, with_inf[] = {1, 2, INFINITY},
                        negative[] = {-1, 3, 2};
    emc_rank_options options = {.n_top = 3};
    emc_ranked ranked;
    char out[100];

    (void)state;
    EMT_FAILS(EMC_ERR_FORMAT, "some.h5ad: cell \"cell 1\", gene \"A\" is NaN",
              rank_row(out, &ranked, &options, NULL, genes, with_nan, 3));
    EMT_FAILS(EMC_ERR_FORMAT, "gene \"D\" is infinite",
              rank_row(out, &ranked, &options, NULL, genes, with_inf, 3));
    options.not_finite = EMC_NOT_FINITE_DROP;
    EMT_OK(rank_row(out, &ranked, &options, NULL, genes, with_nan, 3));
    assert_string_equal(out, "D B");
    EMT_OK(rank_row(out, &ranked, &options, NULL, genes, with_inf, 3));
    assert_string_equal(out, "A B");
    EMT_OK(rank_row(out, &ranked, &options, NULL, genes, negative, 3));
    assert_string_equal(out, "A D");
    assert_int_equal(ranked.n_expressed, 2);
    assert_true(ranked.total == 5);
    EMT_FAILS(EMC_ERR_ARG, "gene 7 of 7",
              rank_row(out, &ranked, &options, NULL, outside, negative, 2));
    options.n_top = 0;
    emc_genes *table;
    emc_ranker *ranker;
    EMT_OK(emc_genes_open(&table, names, EMC_COUNT(names), NULL));
    EMT_FAILS(EMC_ERR_ARG, "n_top=0", emc_ranker_open(&ranker, table, &options));
    assert_null(ranker);
    options = (emc_rank_options){.n_top = 1, .min_value = NAN};
    EMT_FAILS(EMC_ERR_ARG, "min_value", emc_ranker_open(&ranker, table, &options));
    emc_genes_close(table);
}

/* A failed cell leaves nothing behind for the next. */
static void cells_after_a_failed_one(void **state)
{
    const int64_t indptr[] = {0, 3, 5};
    const int32_t genes[] = {0, 2, 1, 0, 3};
    const double values[] = {5, 6, NAN, 1, 2};
    const char *ids[] = {"x", "y"};
    const emc_cell_block block = {
        .n_rows = 2, .indptr = indptr, .genes = genes, .values = values, .cell_ids = ids};
    const emc_rank_options options = {.n_top = 7};
    emc_genes *table;
    emc_ranker *ranker;
    emc_ranked ranked;

    (void)state;
    EMT_OK(emc_genes_open(&table, names, EMC_COUNT(names), NULL));
    EMT_OK(emc_ranker_open(&ranker, table, &options));
    EMT_FAILS(EMC_ERR_FORMAT, "is NaN", emc_ranker_cell(ranker, &block, 0, &ranked));
    EMT_OK(emc_ranker_cell(ranker, &block, 1, &ranked));
    assert_int_equal(ranked.n_top, 2);
    assert_int_equal(ranked.genes[0], 3);
    assert_true(ranked.values[1] == 1 && ranked.total == 3);
    EMT_FAILS(EMC_ERR_ARG, "row 2 of 2", emc_ranker_cell(ranker, &block, 2, &ranked));
    emc_ranker_close(ranker);
    emc_genes_close(table);
}

/* The rule, written the slow way: look for the best remaining gene n times. */
static int reference(int *best, const double *dense, const char *const *gene_names, int n_genes,
                     int n_top)
{
    bool used[MOST] = {false};
    int n = 0;

    while (n < n_top) {
        int at = -1;
        for (int g = 0; g < n_genes; g++) {
            if (used[g] || !(dense[g] > 0))
                continue;
            if (at < 0 || dense[g] > dense[at] ||
                (dense[g] == dense[at] && strcmp(gene_names[g], gene_names[at]) < 0))
                at = g;
        }
        if (at < 0)
            break;
        used[at] = true;
        best[n++] = at;
    }
    return n;
}

static void against_the_slow_way(void **state)
{
    static char text[MOST][8];
    const char *gene_names[MOST];
    uint64_t random = 42;

    (void)state;
    for (int round = 0; round < 300; round++) {
        const int n_genes = 1 + (int)(emt_random(&random) % MOST);
        const int n_values = (int)(emt_random(&random) % (uint64_t)(2 * n_genes));
        const int n_top = 1 + (int)(emt_random(&random) % 60);
        const int levels = round % 2 ? 4 : 1000; /* many ties, or few */
        int32_t genes[2 * MOST];
        double values[2 * MOST], dense[MOST] = {0};
        int best[MOST];
        const int64_t indptr[] = {0, n_values};
        const char *id = "c";
        for (int g = 0; g < n_genes; g++) {
            /* Distinct, in no order. */
            snprintf(text[g], sizeof text[g], "%c%03d", 'a' + (g * 7) % 13, (g * 131) % 997);
            gene_names[g] = text[g];
        }
        for (int k = 0; k < n_values; k++) {
            genes[k] = (int32_t)(emt_random(&random) % (uint64_t)n_genes);
            values[k] = (double)((int)(emt_random(&random) % (uint64_t)levels) - levels / 8);
            dense[genes[k]] += values[k];
        }
        const emc_cell_block block = {
            .n_rows = 1, .indptr = indptr, .genes = genes, .values = values, .cell_ids = &id};
        const emc_rank_options options = {.n_top = n_top};
        emc_genes *table;
        emc_ranker *ranker;
        emc_ranked ranked;
        EMT_OK(emc_genes_open(&table, gene_names, n_genes, NULL));
        EMT_OK(emc_ranker_open(&ranker, table, &options));
        EMT_OK(emc_ranker_cell(ranker, &block, 0, &ranked));
        assert_int_equal(ranked.n_top, reference(best, dense, gene_names, n_genes, n_top));
        for (int i = 0; i < ranked.n_top; i++) {
            assert_int_equal(ranked.genes[i], best[i]);
            assert_true(ranked.values[i] == dense[best[i]]);
        }
        emc_ranker_close(ranker);
        emc_genes_close(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_ties),       cmocka_unit_test(filters_minimum_and_medians),
        cmocka_unit_test(bad_values),           cmocka_unit_test(cells_after_a_failed_one),
        cmocka_unit_test(against_the_slow_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
