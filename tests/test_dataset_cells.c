/* The labelled cells of real files and of files made here: which are kept, with what, and which
 * are the same. Longer than 600 lines, for all of it asks the same made files through the same
 * few helpers. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/dataset/dataset.h"
#include "annotate/input.h"
#include "base/text.h"
#include "emt.h"

/* --- Real files ----------------------------------------------------------------------------- */

typedef struct {
    emc_recipe *recipe;
    emc_dataset *dataset;
    int64_t n_seen;
} opened;

static void close_opened(opened *o)
{
    emc_dataset_close(o->dataset);
    emc_recipe_close(o->recipe);
}

static emc_status count_each(void *context, const emc_dataset_genes *genes)
{
    opened *o = context;
    const int n = genes->n_genes;

    assert_ptr_equal(genes->cell, emc_dataset_get(o->dataset, o->n_seen));
    assert_true(n >= 10 && n <= 200);
    for (int i = 1; i < n; i++)
        assert_true(genes->values[i] <= genes->values[i - 1]);
    assert_true(genes->total >= genes->values[0]);
    o->n_seen++;
    return EMC_OK;
}

static void test_real(void **state)
{
    static const struct {
        const char *recipe, *file;
        int n_kept, n_dropped, n_poor, n_twins, n_labels;
    } cases[] = {
        {"yan2013", "yan2013/yan2013.h5ad", 60, 30, 0, 0, 27},
        {"yan2013-stages", "yan2013/yan2013.h5ad", 90, 0, 0, 0, 7},
        {"tyser2021-partial", "tyser2021_partial/tyser2021_partial.h5ad", 1195, 0, 0, 0, 27},
        {"pbmc68k", "formats_h5ad/scanpy_pbmc68k_reduced.h5ad", 700, 0, 0, 0, 10},
        {"liver-he2020", "human_liver_he2020/rna.h5ad", 20, 0, 0, 0, 5},
        {"headneck-chetah", "human_headneck_chetah/headneck_ref.h5ad", 180, 0, 0, 0, 9},
        {"pancreas", "human_pancreas_scclassify/pancreas_wang.h5ad", 501, 0, 0, 0, 7},
    };
    (void)state;

    emt_need_shared("data/yan2013/yan2013.h5ad");
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        opened o = {0};
        int64_t n_parts[EMC_N_PARTS] = {0};
        EMT_OK(emc_recipe_open(&o.recipe, cases[i].recipe, emt_shared("data")));
        EMT_OK(emc_dataset_open(&o.dataset, o.recipe, NULL));
        const emc_dataset_input *input = emc_dataset_get_input(o.dataset, 0);
        assert_non_null(strstr(input->path, cases[i].file));
        assert_int_equal(input->n_kept, cases[i].n_kept);
        assert_int_equal(input->n_dropped, cases[i].n_dropped);
        assert_int_equal(input->n_poor, cases[i].n_poor);
        assert_int_equal(input->n_twins, cases[i].n_twins);
        assert_int_equal(input->n_unlabelled, 0);
        assert_int_equal(emc_labels_count(emc_dataset_labels(o.dataset)), cases[i].n_labels);
        EMT_OK(emc_dataset_each(o.dataset, count_each, &o));
        assert_int_equal(o.n_seen, emc_dataset_count(o.dataset));
        for (int64_t k = 0; k < emc_dataset_count(o.dataset); k++)
            n_parts[emc_dataset_get(o.dataset, k)->part]++;
        assert_true(n_parts[EMC_PART_TRAIN] > n_parts[EMC_PART_VALIDATION]);
        assert_true(n_parts[EMC_PART_TEST] > 0);
        close_opened(&o);
    }
}

/* A table gives labels, embryo and day of cells whose file has no labels. */
static void test_real_table(void **state)
{
    static const char text[] =
        "{\"name\": \"r\", \"description\": \"d\", \"source\": \"s\", \"profile\": \"embryo\", "
        "\"seed\": 1, \"split\": {\"by\": \"embryo\", \"test\": 0.2}, \"inputs\": [{\"path\": "
        "\"petropoulos2016_fragment/petropoulos2016_fragment.h5ad\", \"table\": {\"path\": "
        "\"embryo_labels/petropoulos2016_labels.tsv\", \"id\": \"cell\"}, \"label\": {\"column\": "
        "\"lineage_petropoulos\"}, \"embryo\": {\"column\": \"embryo\"}, \"stage\": {\"column\": "
        "\"day\"}, \"dataset\": {\"column\": \"dataset\"}, \"count_unit\": \"reads\", \"source\": "
        "\"s\", \"licence\": \"l\", \"label_map\": \"petropoulos2016-lineage\"}]}";
    opened o = {0};
    int n_morulae = 0;
    (void)state;

    emt_need_shared("data/petropoulos2016_fragment/petropoulos2016_fragment.h5ad");
    EMT_OK(emc_recipe_open(&o.recipe, emt_write("p.json", text, strlen(text)), emt_shared("data")));
    EMT_OK(emc_dataset_open(&o.dataset, o.recipe, NULL));
    const emc_dataset_input *input = emc_dataset_get_input(o.dataset, 0);
    assert_int_equal(input->n_cells, 150);
    assert_int_equal(input->n_kept + input->n_dropped + input->n_unlabelled + input->n_poor, 150);
    assert_true(input->n_kept > 75);
    for (int64_t i = 0; i < emc_dataset_count(o.dataset); i++) {
        const emc_dataset_cell *cell = emc_dataset_get(o.dataset, i);
        const char *label = emc_labels_get(emc_dataset_labels(o.dataset), cell->label)->label;
        assert_string_equal(cell->source_label, "undefined");
        assert_string_equal(label, strcmp(cell->stage, "E3") == 0 ? "8 cell" : "Morula");
        assert_string_equal(cell->dataset, "Petropoulos 2016 E-MTAB-3929"); /* of obs */
        n_morulae += strcmp(label, "Morula") == 0;
    }
    assert_true(n_morulae > 0 && n_morulae < emc_dataset_count(o.dataset));
    close_opened(&o);
}

/* Copies a table of labels beside the recipe's input and makes a matrix of random counts for its
 * cells, as a user would bring one. */
static void make_matrix(const char *recipe)
{
    char name[128], *text, *line;
    emc_text matrix = {0};
    uint64_t random = 1;
    size_t n;

    snprintf(name, sizeof(name), "data/embryo_labels/%s_labels.tsv", recipe);
    text = emt_read(emt_shared(name), &n);
    emt_write(name + strlen("data/"), text, n);
    EMT_OK(emc_text_add_string(&matrix, "cell,ACTB,GAPDH,B2M,CD3D,CD14,CD19,FTL,LYZ,FTH1,ENO1"));
    for (line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
        EMT_OK(emc_text_addf(&matrix, "\n%.*s", (int)strcspn(line + 1, "\t"), line + 1));
        for (int g = 0; g < 10; g++)
            EMT_OK(emc_text_addf(&matrix, ",%d", 1 + (int)(emt_random(&random) % 1000)));
    }
    EMT_OK(emc_text_add(&matrix, "\n", 1));
    snprintf(name, sizeof(name), "%s.csv", recipe);
    emt_write(name, matrix.bytes, matrix.n);
    emc_text_free(&matrix);
    free(text);
}

/* A built-in recipe for a matrix in another format. */
static const char *for_csv(const char *recipe)
{
    size_t n;
    const char *text = emc_recipe_builtin_text(recipe, &n), *at;
    emc_text changed = {0};
    const char *path;

    while ((at = strstr(text, ".h5ad"))) {
        EMT_OK(emc_text_addf(&changed, "%.*s.csv", (int)(at - text), text));
        text = at + strlen(".h5ad");
    }
    EMT_OK(emc_text_add_string(&changed, text));
    path = emt_write("own.json", changed.bytes, changed.n);
    emc_text_free(&changed);
    return path;
}

/* The recipes for matrices that are not here, with the real tables of labels. */
static void test_own_matrix(void **state)
{
    static const struct {
        const char *recipe;
        int n_kept[2], n_dropped[2], n_unlabelled[2];
    } cases[] = {
        {"petropoulos2016", {1496, 0}, {0, 0}, {33, 0}},
        {"xiang2020", {333, 127}, {222, 95}, {0, 333}},
        {"zhou2019", {4151, 0}, {1191, 0}, {0, 0}},
    };
    char folder[256];
    (void)state;

    emt_need_shared("data/embryo_labels/zhou2019_labels.tsv");
    snprintf(folder, sizeof(folder), "%s/embryo_labels", emt_temp_dir());
    assert_int_equal(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        opened o = {0};
        make_matrix(cases[i].recipe);
        EMT_OK(emc_recipe_open(&o.recipe, for_csv(cases[i].recipe), NULL));
        EMT_OK(emc_dataset_open(&o.dataset, o.recipe, NULL));
        for (int k = 0; k < emc_dataset_n_inputs(o.dataset); k++) {
            const emc_dataset_input *input = emc_dataset_get_input(o.dataset, k);
            assert_int_equal(input->n_kept, cases[i].n_kept[k]);
            assert_int_equal(input->n_dropped, cases[i].n_dropped[k]);
            assert_int_equal(input->n_unlabelled, cases[i].n_unlabelled[k]);
            assert_int_equal(input->n_twins, 0);
            assert_non_null(strstr(input->table, "_labels.tsv"));
        }
        close_opened(&o);
    }
}

/* The genes are those that annotating the file lists. */
typedef struct {
    emc_input *input;
    emc_input_cell cell;
} annotating;

static emc_status same_as_annotating(void *context, const emc_dataset_genes *genes)
{
    annotating *a = context;
    bool more;

    do
        EMT_OK(emc_input_next(a->input, &a->cell, &more));
    while (more && a->cell.row < genes->cell->row);
    assert_true(more);
    assert_string_equal(a->cell.cell_id, genes->cell->cell_id);
    assert_int_equal(a->cell.ranked.n_top, genes->n_genes);
    for (int i = 0; i < genes->n_genes; i++) {
        assert_string_equal(emc_genes_name(emc_input_genes(a->input), a->cell.ranked.genes[i]),
                            genes->genes[i]);
        assert_true(a->cell.ranked.values[i] == genes->values[i]);
    }
    assert_true(a->cell.ranked.total == genes->total);
    return EMC_OK;
}

static void test_as_annotated(void **state)
{
    const emc_dataset_options options = {.max_genes = 100, .n_threads = 3};
    const emc_input_options wanted = {.layer = "X", .min_gene_match = -1};
    opened o = {0};
    annotating a = {0};
    emc_profile *profile;
    (void)state;

    emt_need_shared("data/yan2013/yan2013.h5ad");
    EMT_OK(emc_recipe_open(&o.recipe, "yan2013", emt_shared("data")));
    EMT_OK(emc_dataset_open(&o.dataset, o.recipe, &options));
    EMT_OK(emc_profile_open(&profile, "embryo"));
    EMT_OK(emc_input_open(&a.input, emt_shared("data/yan2013/yan2013.h5ad"), &wanted,
                          emc_profile_get(profile), NULL, 0));
    EMT_OK(emc_dataset_each(o.dataset, same_as_annotating, &a));
    emc_input_close(a.input);
    emc_profile_close(profile);
    close_opened(&o);
}

/* --- Files made here ------------------------------------------------------------------------ */

#define N_MADE 12
static const char *const made_genes[N_MADE] = {"ACTB", "GAPDH", "B2M",  "CD3D", "CD14", "CD19",
                                               "FTL",  "LYZ",   "FTH1", "ENO1", "PKM",  "PGK1"};

/* A table of n cells with ids PREFIX0, ...; cell i has the values of cell (i + first). The genes
 * stand from the first to the last, or the other way round. */
static const char *make_cells(const char *name, const char *prefix, int n, int first, bool reversed)
{
    static char text[1 << 16];
    size_t at = 0;

    at += (size_t)snprintf(text + at, sizeof(text) - at, "cell");
    for (int g = 0; g < N_MADE; g++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, ",%s",
                               made_genes[reversed ? N_MADE - 1 - g : g]);
    for (int i = 0; i < n; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "\n%s%d", prefix, i);
        for (int g = 0; g < N_MADE; g++) {
            const int gene = reversed ? N_MADE - 1 - g : g;
            at += (size_t)snprintf(text + at, sizeof(text) - at, ",%d",
                                   1 + (gene * 7 + (i + first) * 13 + gene * (i + first)) % 97);
        }
    }
    text[at++] = '\n';
    return emt_write(name, text, at);
}

/* cell, label, embryo, stage; two cells an embryo; labels in turn. */
static void make_table(const char *name, const char *prefix, int n, const char *embryo)
{
    char text[1 << 14];
    size_t at = (size_t)snprintf(text, sizeof(text), "id\tlabel\tembryo\tstage\n");

    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%d\t%s\t%s%d\tS%d\n", prefix, i,
                               i % 2 ? "alpha" : "beta", embryo, i / 2, i % 3);
    emt_write(name, text, at);
}

#define INPUT(path, table, dataset)                                                                \
    "{\"path\": \"" path "\", \"table\": {\"path\": \"" table "\", \"id\": \"id\"}, \"label\": "   \
    "{\"column\": \"label\"}, \"embryo\": {\"column\": \"embryo\"}, \"dataset\": {\"value\": "     \
    "\"" dataset "\"}, \"stage\": {\"column\": \"stage\"}, \"layer\": \"X\", \"count_unit\": "     \
    "\"UMI\", \"source\": \"s\", \"licence\": \"l\"}"
#define HEAD                                                                                       \
    "{\"name\": \"made\", \"description\": \"d\", \"source\": \"s\", \"profile\": \"choices\", "   \
    "\"seed\": 3, \"labels\": [{\"label\": \"Alpha\"}, {\"label\": \"Beta\"}], "
#define BY_EMBRYO "\"split\": {\"by\": \"embryo\", \"test\": 0.25}, "

static const char one[] = HEAD BY_EMBRYO "\"inputs\": [" INPUT("a.csv", "a.tsv", "A") "]}";
static const char two[] = HEAD BY_EMBRYO
    "\"inputs\": [" INPUT("a.csv", "a.tsv", "A") ", " INPUT("b.csv", "b.tsv", "B") "]}";

static void make_both(int first_of_b)
{
    make_cells("a.csv", "a", 16, 0, false);
    make_table("a.tsv", "a", 16, "E");
    make_cells("b.csv", "b", 16, first_of_b, true);
    make_table("b.tsv", "b", 16, "E");
}

static emc_status open_text(opened *o, const char *text, const emc_dataset_options *options)
{
    *o = (opened){0};
    EMT_OK(emc_recipe_open(&o->recipe, emt_write("made.json", text, strlen(text)), NULL));
    const emc_status status = emc_dataset_open(&o->dataset, o->recipe, options);
    if (status != EMC_OK) {
        assert_null(o->dataset);
        emc_recipe_close(o->recipe);
    }
    return status;
}

static void test_made(void **state)
{
    opened o;
    (void)state;

    make_both(16);
    EMT_OK(open_text(&o, two, NULL));
    assert_int_equal(emc_dataset_count(o.dataset), 32);
    for (int i = 0; i < 32; i++) {
        const emc_dataset_cell *cell = emc_dataset_get(o.dataset, i);
        char id[16];
        snprintf(id, sizeof(id), "%c%d", i < 16 ? 'a' : 'b', i % 16);
        assert_string_equal(cell->cell_id, id);
        assert_int_equal(cell->index, i);
        assert_int_equal(cell->input, i / 16);
        assert_int_equal(cell->row, i % 16);
        assert_string_equal(cell->dataset, i < 16 ? "A" : "B");
        assert_int_equal(cell->label, i % 2 ? 0 : 1);
        assert_int_equal(cell->twin, i);
        /* Both cells of an embryo on one side; E0 of A is another than E0 of B. */
        assert_int_equal(cell->part, emc_dataset_get(o.dataset, i ^ 1)->part);
    }
    EMT_OK(emc_dataset_each(o.dataset, count_each, &o));
    assert_int_equal(o.n_seen, 32);
    close_opened(&o);
}

/* The same cells under other names in another file, its genes the other way round: the last 4 of A
 * are the first 4 of B. */
static void test_twins(void **state)
{
    opened o;
    (void)state;

    make_both(12);
    EMT_OK(open_text(&o, two, NULL));
    assert_int_equal(emc_dataset_get_input(o.dataset, 0)->n_twins, 0);
    assert_int_equal(emc_dataset_get_input(o.dataset, 1)->n_twins, 4);
    for (int i = 0; i < 32; i++) {
        const emc_dataset_cell *cell = emc_dataset_get(o.dataset, i);
        assert_int_equal(cell->twin, i >= 16 && i < 20 ? i - 4 : i);
        assert_int_equal(cell->part, emc_dataset_get(o.dataset, cell->twin)->part);
        assert_int_equal(cell->part, emc_dataset_get(o.dataset, i ^ 1)->part);
    }
    close_opened(&o);
}

/* One dataset in two files that share ids: the same cells, whatever the values are. */
static void test_twin_ids(void **state)
{
    static const char text[] =
        HEAD "\"split\": {\"by\": \"cell\", \"test\": 0.25}, \"inputs\": [" INPUT(
            "a.csv", "a.tsv", "A") ", " INPUT("b.csv", "b.tsv", "A") "]}";
    opened o;
    (void)state;

    make_both(16);
    make_cells("b.csv", "a", 8, 16, false);
    make_table("b.tsv", "a", 8, "E");
    EMT_OK(open_text(&o, text, NULL));
    for (int i = 0; i < 24; i++) {
        assert_int_equal(emc_dataset_get(o.dataset, i)->twin, i % 16);
        assert_int_equal(emc_dataset_get(o.dataset, i)->part,
                         emc_dataset_get(o.dataset, i % 16)->part);
    }
    close_opened(&o);
    /* Of two datasets, they are not. */
    EMT_OK(open_text(&o, two, NULL));
    assert_int_equal(emc_dataset_get_input(o.dataset, 1)->n_twins, 0);
    close_opened(&o);
}

/* The same genes in the same order, but not the same values, or fewer of them: another cell. Cells
 * with too few genes, or none, are left out and counted. */
static void test_other_values(void **state)
{
    static const char cells[] = "cell,ACTB,GAPDH,B2M,CD3D,CD14,CD19,FTL,LYZ,FTH1,ENO1,PKM,PGK1\n"
                                "a0,12,11,10,9,8,7,6,5,4,3,2,1\n"
                                "a1,24,22,20,18,16,14,12,10,8,6,4,2\n"
                                "a2,12,11,10,9,8,7,6,5,4,3,2,0\n"
                                "a3,12,11,10,9,8,7,6,5,4,0,0,0\n"
                                "a4,0,0,0,0,0,0,0,0,0,0,0,0\n"
                                "a5,12,11,10,9,8,7,6,5,4,3,2,1\n"
                                "a6,12,11,10,9,8,7,6,5,4,3,2,1.5\n";
    opened o;
    (void)state;

    make_both(16);
    emt_write("a.csv", cells, strlen(cells));
    EMT_OK(open_text(&o, one, NULL));
    const emc_dataset_input *input = emc_dataset_get_input(o.dataset, 0);
    assert_int_equal(input->n_cells, 7);
    assert_int_equal(input->n_poor, 2);
    assert_int_equal(input->n_kept, 5);
    assert_int_equal(input->n_twins, 1);
    assert_string_equal(emc_dataset_get(o.dataset, 3)->cell_id, "a5");
    assert_int_equal(emc_dataset_get(o.dataset, 3)->twin, 0);
    EMT_OK(emc_dataset_each(o.dataset, count_each, &o));
    close_opened(&o);
}

/* --- What is refused ------------------------------------------------------------------------ */

static void replace(char *out, size_t n, const char *text, const char *old, const char *new_text)
{
    const char *at = strstr(text, old);

    assert_non_null(at);
    snprintf(out, n, "%.*s%s%s", (int)(at - text), text, new_text, at + strlen(old));
}

static void test_refused(void **state)
{
    static const struct {
        const char *old, *new_text, *message;
        emc_status status;
    } cases[] = {
        {"\"column\": \"label\"", "\"column\": \"lable\"", "lable", EMC_ERR_CONFIG},
        {"\"column\": \"embryo\"", "\"column\": \"donor\"", "donor", EMC_ERR_CONFIG},
        {"\"id\": \"id\"", "\"id\": \"cell\"", "a.tsv: no column \"cell\"", EMC_ERR_CONFIG},
        {"{\"label\": \"Beta\"}", "{\"label\": \"Gamma\"}",
         "a.csv: source label \"beta\" (cell \"a0\") means no one label of the set",
         EMC_ERR_CONFIG},
        {"{\"label\": \"Beta\"}", "{\"label\": \"Beta\"}, {\"label\": \"Gamma\"}",
         "its label \"Gamma\" has no cell in", EMC_ERR_CONFIG},
        {"\"layer\"",
         "\"label_map\": {\"entries\": [{\"source\": \"beta\", \"label\": "
         "\"Beta\"}]}, \"layer\"",
         "a.csv: source label \"alpha\" of stage \"S1\" (cell \"a1\") is not in the label map",
         EMC_ERR_CONFIG},
        {"\"layer\"",
         "\"label_map\": {\"unlisted\": \"drop\", \"entries\": [{\"source\": \"x\", \"label\": "
         "\"Beta\"}]}, \"layer\"",
         "no cell is left", EMC_ERR_CONFIG},
        {"\"column\": \"embryo\"", "\"value\": \"E\"", "all cells are of one embryo",
         EMC_ERR_CONFIG},
        {"\"by\": \"embryo\"", "\"by\": \"dataset\"", "all cells are of one dataset",
         EMC_ERR_CONFIG},
        {"\"test\": 0.25", "\"hold_out\": [\"E99\"]", "names \"E99\", which no cell is of",
         EMC_ERR_CONFIG},
        {"a.csv", "none.csv", "none.csv", EMC_ERR_NOT_FOUND},
        {"a.tsv", "none.tsv", "none.tsv", EMC_ERR_NOT_FOUND},
        {"a.tsv", "b.tsv", "none of its cells is in the table b.tsv", EMC_ERR_CONFIG},
        {"a.tsv", "twice.tsv", "twice.tsv: line 3: cell \"a0\" is listed already", EMC_ERR_FORMAT},
        {"a.tsv", "short.tsv", "short.tsv: line 2: 2 fields, the header has 4", EMC_ERR_FORMAT},
        {"a.tsv", "double.tsv", "column \"label\" comes twice", EMC_ERR_FORMAT},
        {"a.tsv", "missing.tsv", "a.csv: cell \"a1\" has no embryo, and the split is by embryo",
         EMC_ERR_CONFIG},
        {"a.csv", "ids.csv", "a1", EMC_ERR_FORMAT},
    };
    static const struct {
        const char *name, *text;
    } tables[] = {
        {"twice.tsv", "id\tlabel\tembryo\tstage\na0\talpha\tE1\tS\na0\tbeta\tE2\tS\n"},
        {"short.tsv", "id\tlabel\tembryo\tstage\na0\talpha\n"},
        {"double.tsv", "id\tlabel\tlabel\tembryo\tstage\na0\talpha\talpha\tE1\tS\n"},
        {"missing.tsv", "id\tlabel\tembryo\tstage\na0\tbeta\tE1\tS\na1\talpha\tNA\tS\n"},
    };
    char text[4096], *cells;
    opened o;
    (void)state;

    make_both(16);
    for (size_t i = 0; i < EMC_COUNT(tables); i++)
        emt_write(tables[i].name, tables[i].text, strlen(tables[i].text));
    cells = emt_read(emt_temp("a.csv"), NULL);
    *strstr(cells, "\na2,") = '\0';
    snprintf(text, sizeof(text), "%s%s\n", cells, strrchr(cells, '\n'));
    emt_write("ids.csv", text, strlen(text));
    free(cells);
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        replace(text, sizeof(text), one, cases[i].old, cases[i].new_text);
        EMT_FAILS(cases[i].status, cases[i].message, open_text(&o, text, NULL));
        if (strchr(emc_message(), '\n'))
            fail_msg("more than one line: %s", emc_message());
    }
}

/* Too few groups for the shares: an empty part is no split. */
static void test_empty_part(void **state)
{
    char text[4096];
    opened o;
    (void)state;

    make_cells("a.csv", "a", 4, 0, false);
    make_table("a.tsv", "a", 4, "E"); /* two embryos */
    replace(text, sizeof(text), one, "\"test\": 0.25", "\"test\": 0.3, \"validation\": 0.3");
    EMT_FAILS(EMC_ERR_CONFIG, "the split leaves validation empty", open_text(&o, text, NULL));
}

/* Values that are missing: no label, no stage; a stage that is not asked for is NULL. */
static void test_missing(void **state)
{
    static const char table[] = "id\tlabel\tembryo\tstage\na0\tbeta\tE1\tS\na1\tNA\tE1\tS\n"
                                "a2\talpha\tE2\t\na3\t\tE3\tNaN\na5\tbeta\tE3\tS\n";
    opened o;
    (void)state;

    make_both(16);
    emt_write("a.tsv", table, strlen(table));
    EMT_OK(open_text(&o, one, NULL));
    const emc_dataset_input *input = emc_dataset_get_input(o.dataset, 0);
    assert_int_equal(input->n_cells, 16);
    assert_int_equal(input->n_unlabelled, 13);
    assert_int_equal(input->n_kept, 3);
    assert_string_equal(input->dataset, "A");
    assert_string_equal(emc_dataset_get(o.dataset, 0)->stage, "S");
    assert_null(emc_dataset_get(o.dataset, 1)->stage);
    assert_string_equal(emc_dataset_get(o.dataset, 2)->cell_id, "a5");
    assert_int_equal(emc_dataset_get(o.dataset, 2)->row, 5);
    close_opened(&o);
}

/* Dropped, unknown and poor cells are counted, each as what it is. */
static void test_counts(void **state)
{
    static const char map[] =
        "\"label_map\": {\"entries\": [{\"source\": \"alpha\", \"label\": \"Alpha\"}, {\"source\": "
        "\"beta\", \"stage\": \"S0\", \"label\": null}, {\"source\": \"beta\", \"stage\": \"S1\", "
        "\"label\": \"unknown\"}, {\"source\": \"beta\", \"label\": \"Beta\"}]}, \"layer\"";
    char text[4096];
    opened o;
    int n_unknown = 0;
    (void)state;

    make_both(16);
    replace(text, sizeof(text), one, "\"layer\"", map);
    EMT_OK(open_text(&o, text, NULL));
    /* beta are the even cells; S0, S1 and S2 in turn. */
    assert_int_equal(emc_dataset_get_input(o.dataset, 0)->n_dropped, 3);
    assert_int_equal(emc_dataset_get_input(o.dataset, 0)->n_kept, 13);
    for (int64_t i = 0; i < 13; i++)
        n_unknown += emc_dataset_get(o.dataset, i)->label == EMC_LABEL_UNKNOWN;
    assert_int_equal(n_unknown, 2); /* cells 4 and 10 */
    close_opened(&o);
}

/* --- The second pass -------------------------------------------------------------------------- */

static emc_status fail_third(void *context, const emc_dataset_genes *genes)
{
    int *n = context;
    (void)genes;

    return ++*n == 3 ? emc_fail(EMC_ERR_IO, "the third") : EMC_OK;
}

static emc_status ignore(void *context, const emc_dataset_genes *genes)
{
    (void)context;
    (void)genes;
    return EMC_OK;
}

static void test_each(void **state)
{
    opened o;
    int n = 0;
    (void)state;

    make_both(16);
    EMT_OK(open_text(&o, two, NULL));
    EMT_FAILS(EMC_ERR_IO, "the third", emc_dataset_each(o.dataset, fail_third, &n));
    assert_int_equal(n, 3);
    EMT_OK(emc_dataset_each(o.dataset, ignore, NULL)); /* and again */
    make_cells("b.csv", "b", 16, 17, true);
    EMT_FAILS(EMC_ERR_FORMAT, "b.csv: cell \"b0\" changed while",
              emc_dataset_each(o.dataset, ignore, NULL));
    make_cells("b.csv", "b", 15, 16, true);
    EMT_FAILS(EMC_ERR_FORMAT, "b.csv: changed while", emc_dataset_each(o.dataset, ignore, NULL));
    close_opened(&o);
}

static emc_status check_few(void *context, const emc_dataset_genes *genes)
{
    (void)context;
    assert_int_equal(genes->n_genes, 3);
    return EMC_OK;
}

/* Fewer genes than the profile's least: then a full list is enough. */
static void test_few_genes(void **state)
{
    const emc_dataset_options options = {.max_genes = 3};
    opened o;
    (void)state;

    make_both(16);
    EMT_OK(open_text(&o, one, &options));
    assert_int_equal(emc_dataset_count(o.dataset), 16);
    EMT_OK(emc_dataset_each(o.dataset, check_few, NULL));
    close_opened(&o);
}

typedef struct {
    int64_t n_done, n_total;
    int n_calls;
} progress;

static void on_progress(void *context, int64_t n_done, int64_t n_total)
{
    progress *p = context;

    p->n_done = n_done;
    p->n_total = n_total;
    p->n_calls++;
}

static void test_progress(void **state)
{
    volatile sig_atomic_t cancel = 0;
    progress p = {0};
    const emc_dataset_options options = {
        .on_progress = on_progress, .context = &p, .cancel = &cancel};
    opened o;
    (void)state;

    make_both(16);
    EMT_OK(open_text(&o, one, &options));
    assert_int_equal(p.n_done, 16);
    assert_int_equal(p.n_total, 16);
    p = (progress){0};
    EMT_OK(emc_dataset_each(o.dataset, ignore, NULL));
    assert_int_equal(p.n_done, 16);
    assert_int_equal(p.n_total, 16);
    cancel = 1;
    EMT_FAILS(EMC_ERR_CANCELLED, "", emc_dataset_each(o.dataset, ignore, NULL));
    close_opened(&o);
    EMT_FAILS(EMC_ERR_CANCELLED, "", open_text(&o, one, &options));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real),       cmocka_unit_test(test_real_table),
        cmocka_unit_test(test_own_matrix), cmocka_unit_test(test_as_annotated),
        cmocka_unit_test(test_made),       cmocka_unit_test(test_twins),
        cmocka_unit_test(test_twin_ids),   cmocka_unit_test(test_other_values),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_empty_part),
        cmocka_unit_test(test_missing),    cmocka_unit_test(test_counts),
        cmocka_unit_test(test_each),       cmocka_unit_test(test_few_genes),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
