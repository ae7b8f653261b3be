/* Is the kind of values told from the values, and the right matrix taken? */
#include "choice_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cells/catalog.h"
#include "cells/kinds.h"

#define N_CELLS 600 /* more than are looked at */

static void look(emc_kind_look *out, choice_values values, int n_cells)
{
    const char *path = emt_temp("kind.h5ad");
    const emc_cells_options options = {0};
    emc_cells *cells;

    const hid_t file = choice_create(path, n_cells, CHOICE_GENES, NULL);
    choice_matrix(file, "X", n_cells, CHOICE_GENES, values);
    assert_true(H5Fclose(file) >= 0);
    EMT_OK(emc_cells_open(&cells, path, &options));
    EMT_OK(emc_kind_look_at(out, cells));
    emc_cells_close(cells);
}

static const struct {
    const char *name;
    choice_values values;
    emc_kind kind;
    double base, sum;
    const char *reason;
} kinds[] = {
    {"counts", choice_counts, EMC_KIND_COUNTS, 0, 0, "all whole"},
    {"corrected counts", choice_corrected, EMC_KIND_COUNTS, 0, 0, "estimated or corrected"},
    {"log1p", choice_log1p, EMC_KIND_LOG, 2.718281828459045, 1e4, "e^x - 1"},
    {"log2", choice_log2, EMC_KIND_LOG, 2, 1e6, "2^x - 1"},
    {"logarithms without a sum", choice_free_log, EMC_KIND_LOG, 0, 0, "no sum is common"},
    {"TPM", choice_tpm, EMC_KIND_NORMALISED, 0, 1e6, "every row adds up"},
    {"scaled", choice_scaled, EMC_KIND_SCALED, 0, 0, "below zero, down to -1"},
    {"FPKM", choice_fpkm, EMC_KIND_UNKNOWN, 0, 0, "rows add up to anything"},
    {"ones", choice_ones, EMC_KIND_COUNTS, 0, 0, "present or not"},
    {"zeros", choice_zeros, EMC_KIND_EMPTY, 0, 0, "no value above zero"},
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(kinds); i++) {
        emc_kind_look got;
        look(&got, kinds[i].values, N_CELLS);
        if (got.kind != kinds[i].kind || !strstr(got.reason, kinds[i].reason))
            fail_msg("%s: %s: %s", kinds[i].name, emc_kind_name(got.kind), got.reason);
        assert_int_equal(got.n_rows, EMC_KIND_ROWS);
        if (!(fabs(got.log_base - kinds[i].base) <= 1e-9) ||
            !(fabs(got.target_sum - kinds[i].sum) <= 1e-3 * kinds[i].sum))
            fail_msg("%s: base %g, sum %g", kinds[i].name, got.log_base, got.target_sum);
    }
}

static double negative_at_end(int cell, int gene)
{
    return cell == N_CELLS - 1 && gene == 0 ? -3 : choice_counts(cell, gene);
}

static double not_finite(int cell, int gene)
{
    return gene == 0 ? NAN : choice_log1p(cell, gene);
}

static void test_sample(void **state)
{
    emc_kind_look got;
    (void)state;

    /* The places reach both ends of the file. */
    look(&got, negative_at_end, N_CELLS);
    assert_int_equal(got.kind, EMC_KIND_SCALED);
    assert_true(got.min == -3);
    /* A small file is looked at whole. */
    look(&got, choice_counts, 3);
    assert_int_equal(got.n_rows, 3);
    assert_int_equal(got.kind, EMC_KIND_COUNTS);
    /* NaN is measured, and judges nothing. */
    look(&got, not_finite, 100);
    assert_int_equal(got.kind, EMC_KIND_LOG);
    assert_true(got.not_finite_share > 1.0 / CHOICE_GENES && got.not_finite_share < 0.1);
    assert_non_null(strstr(got.reason, "NaN or infinite"));
}

/* A look leaves the reader as it was: at the first cell, and strict about negative values. */
static void test_leaves_reader(void **state)
{
    const char *path = emt_temp("reader.h5ad");
    const emc_cells_options options = {0};
    emc_kind_look got;
    emc_cell_block block;
    emc_cells *cells;
    (void)state;

    const hid_t file = choice_create(path, N_CELLS, CHOICE_GENES, NULL);
    choice_matrix(file, "X", N_CELLS, CHOICE_GENES, negative_at_end);
    assert_true(H5Fclose(file) >= 0);
    EMT_OK(emc_cells_open(&cells, path, &options));
    EMT_OK(emc_kind_look_at(&got, cells));
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.first_row, 0);
    assert_true(block.n_rows > 0 && block.n_rows < N_CELLS);
    EMT_FAILS(EMC_ERR_FORMAT, "scaled values do not say", emc_cells_next(cells, &block));
    EMT_OK(emc_kind_look_at(&got, cells));
    emc_cells_close(cells);
}

static const struct {
    const char *name;
    choice_values x, raw, layer;
    const char *layer_name;
    int n_x, n_raw; /* genes; 0: all */
    emc_negative negative;
    const char *want; /* NULL: refused */
    const char *text; /* of the reason or of the message */
} cases[] = {
    {"one matrix", .x = choice_log1p, .want = "X", .text = "matrix: X, log"},
    {"raw counts beside logarithms", .x = choice_log1p, .raw = choice_counts, .want = "raw",
     .text = "matrix: raw/X, counts (all whole"},
    {"scaled, and logarithms of more genes", .x = choice_scaled, .raw = choice_log1p, .n_x = 20,
     .want = "raw", .text = "raw/X, log"},
    {"logarithms, and logarithms of more genes", .x = choice_free_log, .raw = choice_log1p,
     .n_x = 20, .want = "raw", .text = "which shows more genes than X"},
    {"genes that were filtered are zeros", .x = choice_half_log, .raw = choice_log1p, .want = "raw",
     .text = "which shows more genes than X"},
    {"counts of few genes, logarithms of all", .x = choice_counts, .raw = choice_log1p, .n_x = 20,
     .want = "raw", .text = "which shows more genes than X"},
    {"a layer of counts of few genes", .x = choice_scaled, .raw = choice_log1p,
     .layer = choice_counts, .layer_name = "layers/counts", .n_x = 20, .want = "raw",
     .text = "raw/X, log"},
    {"raw shows more and is no expression", .x = choice_free_log, .raw = choice_fpkm, .n_x = 20,
     .want = "X", .text = "beware: raw/X shows 60 genes where this one shows 20, but is unknown"},
    {"counts in X", .x = choice_counts, .layer = choice_counts, .layer_name = "layers/counts",
     .want = "X", .text = "X, counts"},
    {"a layer of counts", .x = choice_log1p, .layer = choice_counts,
     .layer_name = "layers/raw_counts", .want = "raw_counts", .text = "layers/raw_counts, counts"},
    {"a layer called counts that holds none", .x = choice_log1p, .layer = choice_scaled,
     .layer_name = "layers/counts", .want = "X", .text = "X, log"},
    {"a layer of another name", .x = choice_log1p, .layer = choice_counts,
     .layer_name = "layers/spliced", .want = "X", .text = "X, log"},
    {"a layer is better than scaled", .x = choice_scaled, .layer = choice_tpm,
     .layer_name = "layers/norm", .want = "norm", .text = "layers/norm, normalised"},
    {"a layer called raw", .x = choice_scaled, .layer = choice_counts, .layer_name = "layers/raw",
     .want = "layers/raw", .text = "layers/raw, counts"},
    {"no X", .layer = choice_counts, .layer_name = "layers/counts", .want = "counts",
     .text = "layers/counts, counts"},
    {"no X but raw", .raw = choice_log1p, .want = "raw", .text = "raw/X, log"},
    {"ones beside counts", .x = choice_ones, .layer = choice_counts, .layer_name = "layers/umi",
     .want = "umi", .text = "layers/umi, counts"},
    {"ones alone", .x = choice_ones, .want = "X", .text = "present or not"},
    {"zeros", .x = choice_zeros, .want = "X", .text = "X, empty"},
    {"scaled alone", .x = choice_scaled, .text = "X is scaled ("},
    {"scaled everywhere", .x = choice_scaled, .raw = choice_scaled, .text = "; raw/X is scaled ("},
    {"scaled where that may be", .x = choice_scaled, .negative = EMC_NEGATIVE_PASS, .want = "X",
     .text = "X, scaled"},
    {"logarithms even where scaled may be", .x = choice_scaled, .layer = choice_free_log,
     .layer_name = "layers/a", .negative = EMC_NEGATIVE_PASS, .want = "a", .text = "layers/a, log"},
    {"neither", .x = choice_fpkm, .text = "say --layer X"},
};

static void run_case(size_t i)
{
    const char *path = emt_temp("choice.h5ad");
    const emc_cells_options options = {.negative = cases[i].negative};
    const int n_x = cases[i].n_x ? cases[i].n_x : CHOICE_GENES;
    emc_catalog *catalog;
    emc_text why = {0};
    int chosen = -2;

    const hid_t file = choice_create(path, 40, n_x, NULL);
    choice_matrix(file, "X", 40, n_x, cases[i].x);
    choice_matrix(file, "raw/X", 40, CHOICE_GENES, cases[i].raw);
    choice_matrix(file, cases[i].layer_name ? cases[i].layer_name : "", 40, n_x, cases[i].layer);
    assert_true(H5Fclose(file) >= 0);
    EMT_OK(emc_catalog_open(&catalog, path, &options));
    const emc_status status = emc_catalog_choose(catalog, &chosen, &why);
    if (!cases[i].want) {
        assert_int_equal(status, EMC_ERR_FORMAT);
        assert_int_equal(chosen, -1);
        if (!strstr(emc_message(), cases[i].text) || strchr(emc_message(), '\n'))
            fail_msg("%s: %s", cases[i].name, emc_message());
    } else {
        emc_cells *cells;
        if (status != EMC_OK)
            fail_msg("%s: %s", cases[i].name, emc_message());
        const char *name = emc_catalog_get(catalog, chosen)->name;
        if (strcmp(name, cases[i].want) != 0 || !strstr(why.bytes, cases[i].text))
            fail_msg("%s: %s: %s", cases[i].name, name, why.bytes);
        EMT_OK(emc_catalog_take(&cells, catalog, chosen));
        assert_int_equal(emc_cells_n_genes(cells), strcmp(name, "raw") ? n_x : CHOICE_GENES);
        emc_cells_close(cells);
    }
    emc_text_free(&why);
    emc_catalog_close(catalog);
}

static void test_choice(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        run_case(i);
}

/* A table has one matrix, which is opened once and read by the reader that was looked at. */
static void test_single(void **state)
{
    const char text[] = "cell,ACTB,GAPDH\nc1,1,0\nc2,3,4\n";
    const char *path = emt_write("single.csv", text, sizeof text - 1);
    emc_catalog *catalog;
    emc_text why = {0};
    emc_cells *cells;
    int chosen;
    (void)state;

    EMT_OK(emc_catalog_open(&catalog, path, NULL));
    assert_int_equal(emc_catalog_n_matrices(catalog), 1);
    assert_int_equal(emc_catalog_n_columns(catalog), 0);
    EMT_OK(emc_catalog_choose(catalog, &chosen, &why));
    assert_int_equal(chosen, 0);
    assert_int_equal(emc_catalog_get(catalog, 0)->look.kind, EMC_KIND_COUNTS);
    remove(path); /* nothing is opened again */
    EMT_OK(emc_catalog_take(&cells, catalog, chosen));
    assert_int_equal(emc_cells_n_cells(cells), 2);
    emc_cells_close(cells);
    emc_text_free(&why);
    emc_catalog_close(catalog);
}

static void test_unreadable(void **state)
{
    const char *path = emt_temp("broken.h5ad");
    emc_catalog *catalog;
    emc_text why = {0};
    int chosen;
    (void)state;

    EMT_FAILS(EMC_ERR_NOT_FOUND, "none.h5ad", emc_catalog_open(&catalog, "none.h5ad", NULL));
    assert_null(catalog);
    /* raw has other rows than obs names: X is taken, and the line tells. */
    hid_t file = choice_create(path, 40, CHOICE_GENES, NULL);
    choice_matrix(file, "X", 40, CHOICE_GENES, choice_log1p);
    choice_matrix(file, "raw/X", 39, CHOICE_GENES, choice_counts);
    assert_true(H5Fclose(file) >= 0);
    EMT_OK(emc_catalog_open(&catalog, path, NULL));
    EMT_OK(emc_catalog_choose(catalog, &chosen, &why));
    assert_string_equal(emc_catalog_get(catalog, chosen)->name, "X");
    assert_non_null(strstr(why.bytes, "raw cannot be read: "));
    emc_text_free(&why);
    emc_catalog_close(catalog);
    /* Nothing can be read: the first one's own failure. */
    file = choice_create(path, 40, CHOICE_GENES, NULL);
    choice_matrix(file, "X", 39, CHOICE_GENES, choice_log1p);
    assert_true(H5Fclose(file) >= 0);
    EMT_OK(emc_catalog_open(&catalog, path, NULL));
    EMT_FAILS(EMC_ERR_FORMAT, "is 39 x 60, but there are names for 40 cells",
              emc_catalog_choose(catalog, &chosen, &why));
    emc_text_free(&why);
    emc_catalog_close(catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),         cmocka_unit_test(test_sample),
        cmocka_unit_test(test_leaves_reader), cmocka_unit_test(test_choice),
        cmocka_unit_test(test_single),        cmocka_unit_test(test_unreadable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
