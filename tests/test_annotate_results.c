/* Do rows of results reach every form of output, and what is refused before the work? */
#include "emt.h"
#include "results_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "cells/groups.h"
#include "cells/reader.h"

#define N_CELLS 7

typedef struct {
    emc_labels *labels;
    results_case rows;
    emc_results_options options;
    emc_results_run run;
    char line[512]; /* the last that was logged */
} fixture;

static const emc_fact facts[] = {{"version", "1.0"}};

static void on_log(void *context, const char *line)
{
    fixture *f = context;

    snprintf(f->line, sizeof f->line, "%s", line);
}

static void copy_input(char *path, size_t n, const char *golden)
{
    char name[64];
    size_t n_bytes;

    snprintf(name, sizeof name, "cells/%s", golden);
    char *bytes = emt_read(emt_golden(name), &n_bytes);
    snprintf(path, n, "%s", emt_write(golden, bytes, n_bytes));
    free(bytes);
}

static char input[4096];

static void open_fixture(fixture *f, const char *golden, const char *output)
{
    *f = (fixture){.rows = {.n_cells = N_CELLS}};
    EMT_OK(emc_labels_read(
        &f->labels, emt_write("labels.txt", results_case_labels, strlen(results_case_labels))));
    copy_input(input, sizeof input, golden);
    f->rows.labels = f->labels;
    emc_results_defaults(&f->options);
    f->options.output_path = output;
    f->options.on_log = on_log;
    f->options.context = f;
    f->run = (emc_results_run){.input_path = input,
                               .n_cells = N_CELLS,
                               .labels = f->labels,
                               .has_probabilities = true,
                               .facts = facts,
                               .n_facts = 1};
}

static void close_fixture(fixture *f)
{
    free(f->rows.probs);
    emc_labels_close(f->labels);
}

static emc_status write_all(fixture *f)
{
    const emc_result_source source = results_case_source(&f->rows);

    return emc_results_write(&f->options, &f->run, &source);
}

static void a_table(void **state)
{
    char *path = strdup(emt_temp("t.csv"));
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", path);
    f.options.top_k = 1;
    EMT_OK(write_all(&f));
    assert_int_equal(f.rows.n_passes, 2);
    char *text = emt_read(path, NULL);
    static const char want[] =
        "cell_id,label,score,score_low,score_high,margin,entropy,status,reason,cl_id,label_1,"
        "prob_1,n_genes,n_tokens\n"
        "cell_0,\"CD4-positive, alpha-beta T cell\",0.9,0.8999,0.9001,0.8,0.25,ok,,CL:0000624,"
        "\"CD4-positive, alpha-beta T cell\",0.9,1,3\n"
        "cell_1,\"cell \"\"quoted\"\"\",0.899,0.8989,0.8991,0.798,1.25,ok,,,"
        "\"cell \"\"quoted\"\"\",0.899,2,6\n";
    assert_int_equal(strncmp(text, want, sizeof want - 1), 0);
    assert_non_null(strstr(text, "\ncell_3,unknown,0.897,0.8969,0.8971,0.794,3.25,unknown,"
                                 "low_score,,epiblast,0.897,4,12\n"));
    assert_non_null(strstr(text, "\ncell_5,,,,,,,empty,no_genes,,,,0,0\n"));
    free(text);
    free(path);
    close_fixture(&f);
}

/* Behind the likeliest labels of a table, behind the numbers of an .h5ad; nowhere unless the run
 * has it. */
static void invalid_mass_has_a_column(void **state)
{
    char *path = strdup(emt_temp("m.csv")), *h5ad = strdup(emt_temp("m.h5ad"));
    emc_groups *groups;
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", path);
    for (int has = 0; has < 2; has++) {
        f.run.has_invalid_mass = has;
        f.options.output_path = path;
        EMT_OK(write_all(&f));
        char *text = emt_read(path, NULL);
        assert_true((strstr(text, ",label_3,prob_3,invalid_mass,n_genes,n_tokens\n") != NULL) ==
                    has);
        assert_true((strstr(text, ",,0.125,1,3\n") != NULL) == has);
        assert_true((strstr(text, "\ncell_5,,,,,,,empty,no_genes,,,,,,,,,0,0\n") != NULL) == has);
        free(text);
        f.options.output_path = h5ad;
        EMT_OK(write_all(&f));
        if (!has) {
            EMT_FAILS(EMC_ERR_USAGE, "no column \"emcell_invalid_mass\"",
                      emc_groups_open(&groups, h5ad, "emcell_invalid_mass", false));
            continue;
        }
        EMT_OK(emc_groups_open(&groups, h5ad, "emcell_invalid_mass", false));
        assert_int_equal(emc_groups_count(groups), 1);
        assert_string_equal(emc_groups_name(groups, 0), "0.125");
        assert_int_equal(emc_groups_of(groups, 0), 0);
        assert_int_equal(emc_groups_of(groups, 5), -1); /* it was not asked */
        emc_groups_close(groups);
    }
    free(path);
    free(h5ad);
    close_fixture(&f);
}

/* The group of each cell in the golden file, and what the pattern of results makes of it. */
static void groups_vote(void **state)
{
    char *path = strdup(emt_temp("t.jsonl"));
    int64_t votes[8][9] = {{0}};
    emc_groups *groups;
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", path);
    f.options.groupby = "embryo";
    for (int pass = 0; pass < 2; pass++) {
        f.options.min_prop = pass ? 0.6 : -1;
        EMT_OK(write_all(&f));
        EMT_OK(emc_groups_open(&groups, input, "embryo", false));
        assert_int_equal(emc_groups_n_cells(groups), N_CELLS);
        const emc_result_source source = results_case_source(&f.rows);
        emc_result_row row;
        bool more;
        memset(votes, 0, sizeof votes);
        EMT_OK(source.rewind(source.context));
        for (;;) {
            EMT_OK(source.next(source.context, &row, &more));
            if (!more)
                break;
            const int group = emc_groups_of(groups, row.row);
            if (group < 0)
                continue;
            if (row.verdict.status == EMC_CELL_OK)
                votes[group][row.verdict.label]++;
            else if (row.verdict.status == EMC_CELL_UNKNOWN)
                votes[group][7]++;
        }
        char *text = emt_read(path, NULL), *line = text;
        for (int64_t i = 0; i < N_CELLS; i++, line = strchr(line, '\n') + 1) {
            const int group = emc_groups_of(groups, i);
            char want[128] = "\"cluster_label\":null,\"cluster_score\":null}\n";
            int64_t total = 0, best = 0;
            for (int k = 0; group >= 0 && k < 8; k++) {
                total += votes[group][k];
                best = votes[group][k] > votes[group][best] ? k : best;
            }
            if (total > 0) {
                const double share = (double)votes[group][best] / (double)total;
                emc_text label = {0};
                const char *name =
                    best == 7 ? "unknown" : emc_labels_get(f.labels, (int)best)->label;
                if (pass && share < 0.6)
                    name = "Heterogeneous";
                EMT_OK(emc_text_add_json(&label, name, strlen(name)));
                snprintf(want, sizeof want, "\"cluster_label\":%s,\"cluster_score\":%.6g}\n",
                         label.bytes, share);
                emc_text_free(&label);
            }
            const char *found = strstr(line, "\"cluster_label\"");
            assert_non_null(found);
            assert_int_equal(strncmp(found, want, strlen(want)), 0);
        }
        free(text);
        emc_groups_close(groups);
    }
    free(path);
    close_fixture(&f);
}

static void probabilities(void **state)
{
    char *path = strdup(emt_temp("t.tsv")), *matrix = strdup(emt_temp("p.csv"));
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", path);
    f.options.probabilities_path = matrix;
    EMT_OK(write_all(&f));
    char *text = emt_read(matrix, NULL);
    assert_int_equal(strncmp(text,
                             "cell_id,\"CD4-positive, alpha-beta T cell\",\"cell "
                             "\"\"quoted\"\"\",Tropho\xC3\xA4",
                             strlen("cell_id,\"CD4-positive, alpha-beta T cell\",\"cell "
                                    "\"\"quoted\"\"\",Tropho\xC3\xA4")),
                     0);
    assert_non_null(strstr(text, "\ncell_0,0.9,0,0,0,0,0,0.1\n"));
    assert_non_null(strstr(text, "\ncell_5,,,,,,,\n"));
    free(text);
    f.run.generated = f.rows.generated = true;
    EMT_FAILS(EMC_ERR_USAGE, "--probabilities: a generated answer has none", write_all(&f));
    f.options.probabilities_path = NULL;
    EMT_OK(write_all(&f));
    text = emt_read(path, NULL);
    assert_non_null(strstr(text, "\traw_text\n"));
    assert_non_null(strstr(text, "\"answer, \"\"2\"\"\n\xC3\xA4\"\n"));
    free(text);
    free(path);
    free(matrix);
    close_fixture(&f);
}

/* The text of one column of each cell, as the reader of the project finds it. */
static void check_column(const char *path, const char *column, const char *const *want, int n)
{
    const emc_cells_options options = {.obs_columns = &column, .n_obs_columns = 1};
    emc_cells *cells;

    EMT_OK(emc_cells_open(&cells, path, &options));
    assert_int_equal(emc_cells_n_cells(cells), n);
    for (int i = 0; i < n; i++) {
        const char *got = emc_cells_obs(cells, i, 0);
        if (want[i] ? !got || strcmp(got, want[i]) != 0 : got != NULL)
            fail_msg("%s of cell %d: \"%s\", wanted \"%s\"", column, i, got ? got : "(missing)",
                     want[i] ? want[i] : "(missing)");
    }
    emc_cells_close(cells);
}

static void an_h5ad(void **state)
{
    static const char *const labels[] = {"CD4-positive, alpha-beta T cell",
                                         "cell \"quoted\"",
                                         NULL,
                                         "unknown",
                                         "late epiblast",
                                         NULL,
                                         "CD4-positive, alpha-beta T cell"};
    static const char *const cl[] = {"CL:0000624", NULL, NULL,        NULL,
                                     "CL:0000352", NULL, "CL:0000624"};
    static const char *const terms[] = {"CL:0000624", "unknown", "unknown",   "unknown",
                                        "CL:0000352", "unknown", "CL:0000624"};
    static const char *const statuses[] = {"ok", "ok", NULL, "unknown", "ok", "empty", "failed"};
    static const char *const reasons[] = {NULL, NULL,       NULL,       "low_score",
                                          NULL, "no_genes", "bad_value"};
    static const char *const goldens[] = {"modern.h5ad", "old.h5ad", "ancient.h5ad"};
    char *path = strdup(emt_temp("t.h5ad"));
    const char *last[N_CELLS];
    fixture f;

    (void)state;
    memcpy(last, labels, sizeof last);
    last[6] = NULL; /* row 6 failed */
    for (size_t i = 0; i < EMC_COUNT(goldens); i++) {
        open_fixture(&f, goldens[i], path);
        f.options.celltypist_names = f.options.cellxgene = true;
        f.rows.skip = 3; /* rows 2 and 5 do not come */
        EMT_OK(write_all(&f));
        const char *without[N_CELLS];
        memcpy(without, statuses, sizeof without);
        without[5] = NULL;
        check_column(path, "emcell_status", without, N_CELLS);
        check_column(path, "emcell_label", last, N_CELLS);
        check_column(path, "predicted_labels", last, N_CELLS);
        memcpy(without, reasons, sizeof without);
        without[5] = NULL;
        check_column(path, "emcell_reason", without, N_CELLS);
        memcpy(without, cl, sizeof without);
        without[6] = NULL;
        check_column(path, "emcell_cl_id", without, N_CELLS);
        memcpy(without, terms, sizeof without);
        without[6] = "unknown";
        check_column(path, "cell_type_ontology_term_id", without, N_CELLS);
        close_fixture(&f);
    }
    free(path);
}

static void other_inputs_get_the_results_alone(void **state)
{
    char *path = strdup(emt_temp("alone.h5ad"));
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", path);
    f.run.input_path = emt_write("table.csv", "cell,A,B\nc,1,2\n", 15);
    f.rows.skip = 2;
    EMT_OK(write_all(&f));
    assert_non_null(strstr(f.line, "holds the results alone"));
    emc_groups *groups;
    EMT_OK(emc_groups_open(&groups, path, "emcell_status", false));
    assert_int_equal(emc_groups_n_cells(groups), 4); /* those that came */
    emc_groups_close(groups);
    f.options.h5ad = EMC_H5AD_LINK;
    EMT_FAILS(EMC_ERR_USAGE, "nothing to link to; leave out --h5ad link", write_all(&f));
    f.options.h5ad = EMC_H5AD_IN_PLACE;
    f.options.output_path = "-";
    EMT_FAILS(EMC_ERR_USAGE, "nothing to write into; leave out --in-place", write_all(&f));
    free(path);
    close_fixture(&f);
}

/* A float column misses a value where it is NaN, as pandas has it. */
static void numbers_group(void **state)
{
    fixture f;
    emc_groups *groups;

    (void)state;
    open_fixture(&f, "modern.h5ad", "-");
    EMT_OK(emc_groups_open(&groups, input, "share", false));
    assert_int_equal(emc_groups_count(groups), 6);
    assert_int_equal(emc_groups_of(groups, 5), 5);
    assert_int_equal(emc_groups_of(groups, 6), -1);
    emc_groups_close(groups);
    close_fixture(&f);
}

/* A column of obsm cannot have a "/" in its name. */
static void labels_with_slashes(void **state)
{
    char *path = strdup(emt_temp("slash.h5ad"));
    size_t n_bytes;
    fixture f;

    (void)state;
    for (int both = 0; both < 2; both++) {
        emc_text text = {0};
        open_fixture(&f, "modern.h5ad", path);
        emc_labels_close(f.labels);
        EMT_OK(emc_text_addf(&text, "%s\nT/NK cell\n%s", results_case_labels,
                             both ? "T|NK cell\n" : ""));
        EMT_OK(emc_labels_read(&f.labels, emt_write("labels.txt", text.bytes, text.n)));
        emc_text_free(&text);
        f.run.labels = f.rows.labels = f.labels;
        f.options.obsm_probabilities = true;
        if (both) {
            EMT_FAILS(EMC_ERR_USAGE, "\"T/NK cell\" and \"T|NK cell\" would have the same column",
                      emc_results_check(&f.options, &f.run));
        } else {
            EMT_OK(write_all(&f));
            char *bytes = emt_read(path, &n_bytes);
            assert_non_null(memmem(bytes, n_bytes, "T|NK cell", strlen("T|NK cell")));
            free(bytes);
        }
        close_fixture(&f);
    }
    free(path);
}

static emc_status check(fixture *f)
{
    return emc_results_check(&f->options, &f->run);
}

static void refused_before_work(void **state)
{
    char *csv = strdup(emt_temp("r.csv")), *h5ad = strdup(emt_temp("r.h5ad"));
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", csv);
    f.options.output_format = "xlsx";
    EMT_FAILS(EMC_ERR_USAGE, "\"xlsx\": wanted csv, tsv, jsonl or h5ad", check(&f));
    f.options.output_format = "h5ad";
    f.options.output_path = "-";
    EMT_FAILS(EMC_ERR_USAGE, "standard output", check(&f));
    f.options.output_format = NULL;
    f.options.output_path = emt_temp("r.xlsx");
    EMT_FAILS(EMC_ERR_USAGE, "cannot tell the kind of table", check(&f));
    f.options.output_path = csv;
    f.options.probabilities_path = emt_temp("p.xlsx");
    EMT_FAILS(EMC_ERR_USAGE, "p.xlsx: cannot tell the kind of table", check(&f));
    f.options.probabilities_path = NULL;
    f.options.output_path = h5ad;
    f.options.h5ad = EMC_H5AD_IN_PLACE;
    EMT_FAILS(EMC_ERR_USAGE, "nothing to --output", check(&f));
    f.options.h5ad = EMC_H5AD_COPY;
    f.options.output_path = input;
    EMT_FAILS(EMC_ERR_USAGE, "would overwrite", check(&f));
    f.options.output_path = f.options.probabilities_path = csv;
    EMT_FAILS(EMC_ERR_USAGE, "named for the results and for the probabilities", check(&f));
    f.options.probabilities_path = input;
    EMT_FAILS(EMC_ERR_USAGE, "--probabilities", check(&f));
    f.options.probabilities_path = emt_temp("nowhere/p.csv");
    EMT_FAILS(EMC_ERR_CREATE, "no such folder", check(&f));
    f.options.probabilities_path = NULL;
    f.options.output_path = emt_temp("nowhere/r.csv");
    EMT_FAILS(EMC_ERR_CREATE, "no such folder", check(&f));
    f.options.output_path = csv;
    f.options.min_prop = 0.5;
    EMT_FAILS(EMC_ERR_USAGE, "--min-prop needs --groupby", check(&f));
    f.options.groupby = "nothing";
    EMT_FAILS(EMC_ERR_USAGE, "no column \"nothing\"; it has: day, embryo", check(&f));
    f.options.groupby = NULL;
    f.options.min_prop = -1;
    f.options.top_k = 4;
    EMT_FAILS(EMC_ERR_USAGE, "--top-k 4", check(&f));
    f.options.top_k = 3;
    f.options.celltypist_names = true;
    EMT_FAILS(EMC_ERR_USAGE, "--celltypist-names needs an .h5ad output", check(&f));
    f.options.output_path = h5ad;
    EMT_OK(check(&f));
    f.options.key_added = "a/b";
    EMT_FAILS(EMC_ERR_USAGE, "\"a/b_label\" cannot be the name of a column", check(&f));
    f.options.key_added = "conf";
    EMT_FAILS(EMC_ERR_USAGE, "two columns would be called \"conf_score\"", check(&f));
    f.options.key_added = "__x";
    EMT_FAILS(EMC_ERR_USAGE, "--key-added \"__x\"", check(&f));
    f.options.key_added = NULL;
    f.run.has_probabilities = false;
    f.options.obsm_probabilities = true;
    EMT_FAILS(EMC_ERR_USAGE, "this run has not kept them", check(&f));
    f.options.obsm_probabilities = false;
    EMT_OK(write_all(&f));
    f.run.input_path = h5ad;
    f.options.output_path = emt_temp("r2.h5ad");
    EMT_FAILS(EMC_ERR_USAGE, "obs has \"emcell_label\" already", check(&f));
    f.options.key_added = "two";
    EMT_FAILS(EMC_ERR_USAGE, "obs has \"predicted_labels\" already", check(&f));
    f.options.celltypist_names = false;
    EMT_OK(check(&f));
    assert_false(emc_file_exists(emt_temp("r2.h5ad")));
    free(csv);
    free(h5ad);
    close_fixture(&f);
}

static void rows_that_are_wrong(void **state)
{
    char *path = strdup(emt_temp("w.csv"));
    fixture f;

    (void)state;
    open_fixture(&f, "modern.h5ad", path);
    f.run.n_cells = 5; /* seven rows come */
    EMT_FAILS(EMC_ERR_INTERNAL, "row 5 of 5", write_all(&f));
    const volatile sig_atomic_t stop = 1;
    f.run.n_cells = N_CELLS;
    f.options.cancel = &stop;
    EMT_FAILS(EMC_ERR_CANCELLED, "stopped", write_all(&f));
    assert_false(emc_file_exists(path));
    free(path);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table),
        cmocka_unit_test(invalid_mass_has_a_column),
        cmocka_unit_test(groups_vote),
        cmocka_unit_test(numbers_group),
        cmocka_unit_test(labels_with_slashes),
        cmocka_unit_test(probabilities),
        cmocka_unit_test(an_h5ad),
        cmocka_unit_test(other_inputs_get_the_results_alone),
        cmocka_unit_test(refused_before_work),
        cmocka_unit_test(rows_that_are_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
