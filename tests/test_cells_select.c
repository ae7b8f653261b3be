/* Are the wanted cells chosen, and do a table's symbols reach the genes? */
#include "choice_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells/select.h"

#define N_CELLS 20

static const char *const kinds[] = {"a", "b", "T cell, CD4+"};

/* a b T a b T ..., and every fifth is missing. */
static int kind_of(int cell)
{
    return cell % 5 == 4 ? -1 : cell % 3;
}

/* Whole numbers come as "1", also those of a float column. */
static const char *const parts[] = {"1", "x1", "2.0"};

static int part_of(int cell)
{
    return cell % 3;
}

static int batch_of(int cell)
{
    return cell >= 10;
}

static emc_cells *open_cells(const char *const *columns, int n_columns)
{
    static const char *const batches[] = {"one", "two"};
    const char *path = emt_temp("select.h5ad");
    const emc_cells_options options = {.obs_columns = columns, .n_obs_columns = n_columns};
    emc_cells *cells;

    const hid_t file = choice_create(path, N_CELLS, CHOICE_GENES, NULL);
    choice_matrix(file, "X", N_CELLS, CHOICE_GENES, choice_counts);
    choice_column(file, "kind", N_CELLS, kinds, 3, kind_of);
    choice_column(file, "part", N_CELLS, parts, 3, part_of);
    choice_column(file, "batch", N_CELLS, batches, 2, batch_of);
    assert_true(H5Fclose(file) >= 0);
    EMT_OK(emc_cells_open(&cells, path, &options));
    return cells;
}

/* "0 3 6", "all 20" or "first 5". */
static void show(char *out, size_t n, const emc_selection *chosen)
{
    out[0] = '\0';
    if (!chosen->rows) {
        snprintf(out, n, "%s %d", chosen->n_rows == N_CELLS ? "all" : "first", (int)chosen->n_rows);
        return;
    }
    for (int64_t i = 0; i < chosen->n_rows; i++)
        snprintf(out + strlen(out), n - strlen(out), "%s%d", i > 0 ? " " : "",
                 (int)chosen->rows[i]);
}

static const struct {
    const char *filters[2];
    const char *list;
    int64_t sample;
    uint64_t seed;
    int64_t limit;
    const char *want, *note;
} good[] = {
    {.want = "all 20", .note = ""},
    {.limit = 5, .want = "first 5", .note = "cells: 5 of 20 chosen: the first 5"},
    {.limit = 20, .want = "all 20", .note = ""},
    {.limit = 99, .want = "all 20", .note = ""},
    {.filters = {"kind==a"}, .want = "0 3 6 12 15 18", .note = "6 with kind == a"},
    {.filters = {"kind == T cell, CD4+"}, .want = "2 5 8 11 17", .note = "5 with kind"},
    /* A missing value equals nothing. */
    {.filters = {"part==1.0"}, .want = "0 3 6 9 12 15 18", .note = "7 with part == 1.0"},
    {.filters = {"part==2.0"}, .want = "2 5 8 11 14 17", .note = "6 with part == 2.0"},
    {.filters = {"part!=x1.0"}, .want = "all 20", .note = "20 of 20 chosen"},
    {.filters = {"kind!=a"}, .want = "1 2 4 5 7 8 9 10 11 13 14 16 17 19", .note = "kind != a"},
    {.filters = {"batch!=three"}, .want = "all 20", .note = "20 of 20 chosen"},
    {.filters = {"kind==a", "batch==two"}, .want = "12 15 18", .note = "3 with batch == two"},
    {.filters = {"batch==two", "kind==a"}, .want = "12 15 18", .note = "3 with kind == a"},
    {.list = "cell3\ncell1\n", .want = "1 3", .note = "2 in "},
    {.list = "cell_id,other\ncell3,x\ncell3,y\n", .want = "3", .note = "1 in "},
    {.list = "Barcode\tx\ncell19\t1\n", .want = "19", .note = "1 in "},
    {.list = "\xef\xbb\xbf"
             "cell0\r\nno such\r\n",
     .want = "0",
     .note = "1 of 2 ids are no cells of the file: \"no such\""},
    {.filters = {"batch==two"},
     .list = "cell1\ncell12\nx\n",
     .want = "12",
     .note = "1 of 3 ids are no cells of the file: \"x\""},
    /* As an independent program draws them. */
    {.sample = 5, .seed = 7, .want = "2 5 14 15 19", .note = "5 drawn with seed 7"},
    {.sample = 5, .want = "2 3 5 6 18", .note = "5 drawn with seed 0"},
    {.sample = 5,
     .seed = 9223372036854775809u,
     .want = "1 4 7 10 12",
     .note = "seed 9223372036854775809"},
    {.sample = 20, .want = "all 20", .note = ""},
    {.sample = 5, .seed = 7, .limit = 2, .want = "2 5", .note = "5 drawn with seed 7, the first 2"},
    /* The sample is drawn from what the filter leaves, and cut after that. */
    {.filters = {"batch==two"},
     .sample = 3,
     .seed = 3,
     .limit = 2,
     .want = "12 13",
     .note = "10 with batch == two, 3 drawn with seed 3, the first 2"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(good); i++) {
        emc_obs_filter filters[2] = {0};
        const char *columns[2];
        emc_select_options options = {.filters = filters,
                                      .sample = good[i].sample,
                                      .seed = good[i].seed,
                                      .limit = good[i].limit};
        emc_selection chosen;
        char got[256];
        for (int f = 0; f < 2 && good[i].filters[f]; f++) {
            EMT_OK(emc_obs_filter_parse(&filters[f], good[i].filters[f]));
            columns[f] = filters[f].column;
            options.n_filters++;
        }
        if (good[i].list)
            options.cells_path = emt_write("list.txt", good[i].list, strlen(good[i].list));
        emc_cells *cells = open_cells(columns, options.n_filters);
        EMT_OK(emc_select(&chosen, cells, &options));
        show(got, sizeof got, &chosen);
        const char *note = chosen.note.n ? chosen.note.bytes : "";
        if ((good[i].want && strcmp(got, good[i].want) != 0) || !strstr(note, good[i].note) ||
            (*good[i].note == '\0' && *note))
            fail_msg("case %zu: \"%s\", \"%s\"", i, got, note);
        for (int64_t k = 1; chosen.rows && k < chosen.n_rows; k++)
            assert_true(chosen.rows[k] > chosen.rows[k - 1]);
        emc_selection_free(&chosen);
        emc_cells_close(cells);
        for (int f = 0; f < 2; f++)
            emc_obs_filter_free(&filters[f]);
    }
}

static const struct {
    const char *filters[2], *list;
    emc_status status;
    const char *text;
} bad[] = {
    {{"kind==c"},
     NULL,
     EMC_ERR_USAGE,
     "no cells left: none of 20 has kind == \"c\" (--obs-filter); the column holds \"a\", \"b\", "
     "\"T cell, CD4+\""},
    /* Quotes are part of the value; what is there shows why it is not found. */
    {{"kind=='a'"}, NULL, EMC_ERR_USAGE, "kind == \"'a'\""},
    {{"kind==a", "batch==x"}, NULL, EMC_ERR_USAGE, "none of 6 has batch == \"x\""},
    {{NULL},
     "x\ny\n",
     EMC_ERR_USAGE,
     "none of 20 is in LIST (--cells); 2 of 2 ids are no cells of the file: \"x\", \"y\""},
    {{"kind==a"}, "cell1\n", EMC_ERR_USAGE, "none of 6 is in LIST (--cells)"},
    {{NULL}, "cell_id\n", EMC_ERR_FORMAT, "LIST: it lists no cells"},
    {{NULL}, "cell_id,x\ncell1,2\n,3\n", EMC_ERR_FORMAT, "LIST: line 3: no cell id"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        emc_obs_filter filters[2] = {0};
        const char *columns[2];
        emc_select_options options = {.filters = filters};
        emc_selection chosen;
        char text[256], *list = strstr(strcpy(text, bad[i].text), "LIST");
        for (int f = 0; f < 2 && bad[i].filters[f]; f++) {
            EMT_OK(emc_obs_filter_parse(&filters[f], bad[i].filters[f]));
            columns[f] = filters[f].column;
            options.n_filters++;
        }
        if (bad[i].list)
            options.cells_path = emt_write("LIST", bad[i].list, strlen(bad[i].list));
        if (list && strlen(options.cells_path) < 100)
            snprintf(list, 200 - (size_t)(list - text), "%s%s", options.cells_path,
                     strstr(bad[i].text, "LIST") + 4);
        emc_cells *cells = open_cells(columns, options.n_filters);
        EMT_FAILS(bad[i].status, text, emc_select(&chosen, cells, &options));
        emc_selection_free(&chosen);
        emc_cells_close(cells);
        for (int f = 0; f < 2; f++)
            emc_obs_filter_free(&filters[f]);
    }
}

static void test_filters(void **state)
{
    emc_obs_filter filter;
    (void)state;

    EMT_OK(emc_obs_filter_parse(&filter, "a b != x==y "));
    assert_string_equal(filter.column, "a b");
    assert_string_equal(filter.value, "x==y ");
    assert_false(filter.is_equal);
    emc_obs_filter_free(&filter);
    EMT_OK(emc_obs_filter_parse(&filter, "a=="));
    assert_string_equal(filter.value, "");
    emc_obs_filter_free(&filter);
    EMT_FAILS(EMC_ERR_USAGE, "wanted 'COLUMN==VALUE'", emc_obs_filter_parse(&filter, "a=b"));
    emc_obs_filter_free(&filter);
    EMT_FAILS(EMC_ERR_USAGE, "no column before ==", emc_obs_filter_parse(&filter, " ==b"));
    emc_obs_filter_free(&filter);
}

/* Every cell is as likely: 1,000 samples of 5 of 20 take each 250 times; 5 deviations of
 * sqrt(1000 * 0.25 * 0.75) are 68. */
static void test_fair(void **state)
{
    int times[N_CELLS] = {0};
    (void)state;

    emc_cells *cells = open_cells(NULL, 0);
    for (uint64_t seed = 0; seed < 1000; seed++) {
        const emc_select_options options = {.sample = 5, .seed = seed};
        emc_selection chosen;
        EMT_OK(emc_select(&chosen, cells, &options));
        assert_int_equal(chosen.n_rows, 5);
        for (int i = 0; i < 5; i++)
            times[chosen.rows[i]]++;
        emc_selection_free(&chosen);
    }
    for (int i = 0; i < N_CELLS; i++)
        if (times[i] < 250 - 68 || times[i] > 250 + 68)
            fail_msg("cell %d: %d times", i, times[i]);
    emc_cells_close(cells);
}

static const char *const ensembl[] = {"ENSG00000075624.17", "ENSG00000111640", "ENSG00000107485.19",
                                      "ENSG00000999999.1"};

static double by_gene(int cell, int gene)
{
    (void)cell;
    return 1 << gene;
}

static emc_status open_named(emc_cells **cells, const char *table, const char *column)
{
    const char *path = emt_temp("ensembl.h5ad");
    const emc_cells_options options = {
        .gene_table = table ? emt_write("genes.tsv", table, strlen(table)) : NULL,
        .gene_symbols = column};

    const hid_t file = choice_create(path, 2, 4, ensembl);
    choice_var_column(file, "alias", 4, (const char *const[]){"one", "two", "three", "four"});
    choice_matrix(file, "X", 2, 4, by_gene);
    assert_true(H5Fclose(file) >= 0);
    return emc_cells_open(cells, path, &options);
}

static const struct {
    const char *table, *column, *names; /* of the four genes */
    int n_named;
} tables[] = {
    /* Versions count on neither side; a header; what is not there keeps its id. */
    {"gene_id\tsymbol\nENSG00000075624\tACTB\nENSG00000111640.2\tGAPDH\nENSG00000107485."
     "19\tGATA3\n",
     NULL, "ACTB GAPDH GATA3 ENSG00000999999.1", 3},
    {"ENSG00000075624,ACTB,x\nENSG00000000001,OTHER,y\n", NULL,
     "ACTB ENSG00000111640 ENSG00000107485.19 ENSG00000999999.1", 1},
    /* An id without a symbol is as if it were not listed. */
    {"ENSG00000075624\tACTB\nENSG00000111640\t\n", NULL,
     "ACTB ENSG00000111640 ENSG00000107485.19 ENSG00000999999.1", 1},
    /* Names of a column are looked up as the index is. */
    {"one\tACTB\ntwo\tGAPDH\n", "alias", "ACTB GAPDH three four", 2},
};

static void test_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(tables); i++) {
        char got[256] = "";
        emc_cells *cells;
        EMT_OK(open_named(&cells, tables[i].table, tables[i].column));
        for (int g = 0; g < 4; g++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", g > 0 ? " " : "",
                     emc_cells_gene_names(cells)[g]);
        assert_string_equal(got, tables[i].names);
        assert_int_equal(emc_cells_n_named(cells), tables[i].n_named);
        assert_string_equal(emc_cells_gene_ids(cells)[0], ensembl[0]);
        assert_non_null(strstr(emc_cells_description(cells), "genes.tsv ("));
        emc_cells_close(cells);
    }
}

/* Several ids of one symbol are one gene, whose values add up. */
static void test_table_sums(void **state)
{
    emc_cell_block block;
    emc_cells *cells;
    double sums[4] = {0};
    (void)state;

    EMT_OK(open_named(
        &cells, "ENSG00000075624\tACTB\nENSG00000111640\tGAPDH\nENSG00000107485\tACTB\n", NULL));
    EMT_OK(emc_cells_next(cells, &block));
    for (int64_t k = block.indptr[0]; k < block.indptr[1]; k++)
        sums[block.genes[k]] += block.values[k];
    assert_true(sums[0] == 1 + 4 && sums[1] == 2 && sums[2] == 0 && sums[3] == 8);
    emc_cells_close(cells);
}

static void test_bad_tables(void **state)
{
    static const struct {
        const char *table, *text;
    } broken[] = {
        {"gene\n", "one field, wanted an id and a symbol"},
        {"gene_id\tsymbol\n", "it names no gene: wanted lines of id and symbol"},
        {"x\tACTB\n", "none of the 4 genes of "},
        {"ENSG00000075624\tACTB\nENSG00000075624.9\tACTG1\n",
         "line 2: \"ENSG00000075624\" is ACTG1, and was ACTB before"},
    };
    emc_cells *cells;
    (void)state;

    for (size_t i = 0; i < EMC_COUNT(broken); i++) {
        EMT_FAILS(EMC_ERR_FORMAT, broken[i].text, open_named(&cells, broken[i].table, NULL));
        assert_null(cells);
    }
    /* Without a table the ids are refused, and the number of named genes is not known. */
    EMT_FAILS(EMC_ERR_FORMAT, "Ensembl ids", open_named(&cells, NULL, NULL));
    EMT_OK(open_named(&cells, NULL, "alias"));
    assert_int_equal(emc_cells_n_named(cells), -1);
    emc_cells_close(cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_bad),
        cmocka_unit_test(test_filters),    cmocka_unit_test(test_fair),
        cmocka_unit_test(test_tables),     cmocka_unit_test(test_table_sums),
        cmocka_unit_test(test_bad_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
