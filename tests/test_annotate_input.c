/* Does the input hand out the chosen cells of the right matrix, tell of it, and know itself again?
 */
#include "choice_case.h"

#include <stdio.h>
#include <string.h>

#include "annotate/input.h"

#define N_CELLS 40

static emc_profile *profile; /* the built-in one */
static const char *made;     /* the file of most tests */
static char said[4096];      /* lines of the last open */

static void keep_line(void *context, const char *line)
{
    (void)context;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

static int half_of(int cell)
{
    return cell % 4 == 3 ? -1 : cell % 2;
}

/* X is scaled, raw holds counts, and so does the layer "other", of other cells. */
static double other_counts(int cell, int gene)
{
    return choice_counts(cell + 1000, gene);
}

static int make_file(void **state)
{
    static const char *const halves[] = {"even", "odd"};
    static char path[512];
    (void)state;

    snprintf(path, sizeof path, "%s", emt_temp("input.h5ad"));
    made = path;
    const hid_t file = choice_create(path, N_CELLS, CHOICE_GENES, NULL);
    choice_matrix(file, "X", N_CELLS, CHOICE_GENES, choice_scaled);
    choice_matrix(file, "raw/X", N_CELLS, CHOICE_GENES, choice_counts);
    choice_matrix(file, "layers/other", N_CELLS, CHOICE_GENES, other_counts);
    choice_column(file, "half", N_CELLS, halves, 2, half_of);
    assert_true(H5Fclose(file) >= 0);
    return emc_profile_open(&profile, NULL) == EMC_OK ? 0 : -1;
}

static int close_profile(void **state)
{
    (void)state;
    emc_profile_close(profile);
    return 0;
}

static emc_status open_input(emc_input **out, emc_input_options options, const char *path)
{
    const char *column = "half";

    said[0] = '\0';
    options.on_log = keep_line;
    return emc_input_open(out, path, &options, emc_profile_get(profile), &column, 1);
}

/* The rows that come, each with its position, id, obs and a sum over its ranked genes. */
static int walk(emc_input *input, int64_t first, int64_t *rows, double *sums)
{
    emc_input_cell cell;
    bool more;
    int n = 0;

    for (;; n++) {
        char id[32];
        EMT_OK(emc_input_next(input, &cell, &more));
        if (!more)
            return n;
        snprintf(id, sizeof id, "cell%d", (int)cell.row);
        assert_string_equal(cell.cell_id, id);
        assert_int_equal(cell.position, first + n);
        assert_int_equal(emc_input_row(input, cell.position), cell.row);
        assert_int_equal(emc_input_position(input, cell.row), cell.position);
        assert_int_equal(cell.status, EMC_CELL_OK);
        const int half = half_of((int)cell.row);
        if (half < 0)
            assert_null(cell.obs[0]);
        else
            assert_string_equal(cell.obs[0], half ? "odd" : "even");
        rows[n] = cell.row;
        sums[n] = 0;
        for (int g = 0; g < cell.ranked.n_top; g++)
            sums[n] += cell.ranked.values[g] * (g + 1);
    }
}

static void test_all(void **state)
{
    const emc_input_options options = {.min_gene_match = -1};
    int64_t rows[N_CELLS];
    double sums[N_CELLS];
    emc_input *input;
    (void)state;

    EMT_OK(open_input(&input, options, made));
    assert_string_equal(emc_input_layer(input), "raw");
    assert_int_equal(emc_input_n_cells(input), N_CELLS);
    assert_int_equal(emc_input_n_rows(input), N_CELLS);
    assert_int_equal(walk(input, 0, rows, sums), N_CELLS);
    /* The file, the matrix and why, and the share of known names. */
    assert_non_null(strstr(said, "h5ad, raw/X (dense, float32), 40 cells x 60 genes"));
    assert_non_null(strstr(said, "\nmatrix: raw/X, counts (all whole"));
    assert_non_null(strstr(said, "\ngenes: 100.0 % of 60 names are human symbols\n"));
    assert_null(strstr(said, "chosen"));
    emc_input_close(input);
}

static void test_chosen(void **state)
{
    static const char *const filters[] = {"half==even"};
    const emc_input_options options = {
        .min_gene_match = -1, .obs_filters = filters, .n_obs_filters = 1, .limit = 7};
    int64_t all_rows[N_CELLS], rows[N_CELLS];
    double all_sums[N_CELLS], sums[N_CELLS];
    emc_input *all, *input;
    (void)state;

    EMT_OK(open_input(&all, (emc_input_options){.min_gene_match = -1}, made));
    walk(all, 0, all_rows, all_sums);
    EMT_OK(open_input(&input, options, made));
    assert_non_null(strstr(said, "\ncells: 7 of 40 chosen: 20 with half == even, the first 7\n"));
    assert_int_equal(emc_input_n_cells(input), 7);
    assert_int_equal(emc_input_n_rows(input), N_CELLS);
    assert_int_equal(walk(input, 0, rows, sums), 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(rows[i], 2 * i);
        assert_true(sums[i] == all_sums[rows[i]]);
    }
    assert_int_equal(emc_input_position(input, 1), -1);
    assert_int_equal(emc_input_position(input, 14), -1);
    /* A range of positions and nothing after it; then another, before it. */
    EMT_OK(emc_input_seek(input, 3, 2));
    assert_int_equal(walk(input, 3, rows, sums), 2);
    assert_int_equal(rows[0], 6);
    EMT_OK(emc_input_seek(input, 0, 1));
    assert_int_equal(walk(input, 0, rows, sums), 1);
    assert_true(sums[0] == all_sums[0]);
    EMT_OK(emc_input_seek(input, 7, 0));
    assert_int_equal(walk(input, 7, rows, sums), 0);
    EMT_FAILS(EMC_ERR_ARG, "cells 6 + 2 of 7", emc_input_seek(input, 6, 2));
    EMT_FAILS(EMC_ERR_ARG, "cells -1 + 1", emc_input_seek(input, -1, 1));
    emc_input_close(input);
    emc_input_close(all);
}

static emc_hash hash_of(emc_input_options options)
{
    emc_input *input;
    emc_hash hash;

    options.min_gene_match = -1;
    EMT_OK(open_input(&input, options, made));
    EMT_OK(emc_input_hash(&hash, input));
    emc_input_close(input);
    return hash;
}

/* What changes the questions changes the hash; what does not, does not. */
static void test_hash(void **state)
{
    static const char *const filters[] = {"half==even"};
    const char *medians =
        emt_write("medians.tsv", "GENE3\t2.5\nGENE7\t0.5\n", strlen("GENE3\t2.5\nGENE7\t0.5\n"));
    const char *list = emt_write("all.txt", "cell0\n", 6);
    const emc_input_options same[] = {{.layer = "auto"},
                                      {.layer = "raw"},
                                      {.limit = N_CELLS},
                                      {.sample = N_CELLS, .seed = 3},
                                      {.n_threads = 2}};
    const emc_input_options different[] = {
        {.layer = "other"},
        {.limit = 39},
        {.sample = 20},
        {.sample = 20, .seed = 1},
        {.obs_filters = filters, .n_obs_filters = 1},
        {.cells_path = list},
        {.n_genes = 20},
        {.min_genes = 3},
        {.medians_path = medians},
        {.duplicate_genes = EMC_DUPLICATES_SUM},
    };
    emc_hash seen[EMC_COUNT(different) + 1];
    (void)state;

    seen[0] = hash_of((emc_input_options){0});
    for (size_t i = 0; i < EMC_COUNT(same); i++) {
        const emc_hash hash = hash_of(same[i]);
        if (!emc_hash_equal(&hash, &seen[0]))
            fail_msg("same %zu", i);
    }
    for (size_t i = 0; i < EMC_COUNT(different); i++) {
        seen[i + 1] = hash_of(different[i]);
        for (size_t k = 0; k <= i; k++)
            if (emc_hash_equal(&seen[i + 1], &seen[k]))
                fail_msg("different %zu and %zu", i, k);
    }
}

static void test_refused(void **state)
{
    static const char *const missing[] = {"nowhere==x"};
    static const char *const broken[] = {"half=x"};
    const char *path = made;
    emc_input_options options = {.layer = "X", .min_gene_match = -1};
    emc_input_cell cell;
    emc_input *input;
    bool more;
    (void)state;

    /* Named, it is read as it was named, and refused at its first negative value. */
    EMT_OK(open_input(&input, options, path));
    EMT_FAILS(EMC_ERR_FORMAT, "scaled values do not say", emc_input_next(input, &cell, &more));
    emc_input_close(input);
    options = (emc_input_options){.min_gene_match = -1, .obs_filters = missing, .n_obs_filters = 1};
    EMT_FAILS(EMC_ERR_USAGE, "obs has no column \"nowhere\"; it has: half",
              open_input(&input, options, path));
    assert_null(input);
    options.obs_filters = broken;
    EMT_FAILS(EMC_ERR_USAGE, "wanted 'COLUMN==VALUE'", open_input(&input, options, path));
    options = (emc_input_options){.layer = "nowhere", .min_gene_match = -1};
    EMT_FAILS(EMC_ERR_USAGE, "no layer \"nowhere\"", open_input(&input, options, path));
}

/* The share of known names is told even where the run stops at it. */
static void test_gene_match(void **state)
{
    static const char *const names[] = {"gene_a", "gene_b", "gene_c", "ACTB"};
    const char *path = emt_temp("names.h5ad");
    const char table[] = "gene_a\tGAPDH\ngene_b\tGATA3\ngene_c\tSOX2\n";
    emc_input_options options = {.min_gene_match = -1};
    emc_input *input;
    (void)state;

    const hid_t file = choice_create(path, N_CELLS, 4, names);
    choice_matrix(file, "X", N_CELLS, 4, choice_counts);
    choice_column(file, "half", N_CELLS, names, 2, half_of);
    assert_true(H5Fclose(file) >= 0);
    EMT_FAILS(EMC_ERR_CONFIG, "such as gene_a, gene_b, gene_c", open_input(&input, options, path));
    assert_non_null(strstr(said, "genes: 25.0 % of 4 names are human symbols; not such as gene_a"));
    options.gene_table = emt_write("table.tsv", table, sizeof table - 1);
    EMT_OK(open_input(&input, options, path));
    assert_non_null(strstr(said, "genes: 100.0 % of 4 names are human symbols, 3 of them from "));
    emc_input_close(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),        cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_hash),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_gene_match),
    };

    return cmocka_run_group_tests(tests, make_file, close_profile);
}
