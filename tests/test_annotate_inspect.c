/* Is every file told of as it is, real ones by many writers included? */
#include "choice_case.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/inspect.h"
#include "base/file.h"
#include "base/json.h"

static const char *const keys[] = {"path", "profile", "format", "n_cells", "n_genes",  "matrices",
                                   "auto", "genes",   "cells",  "memory",  "problems", NULL};
static const char *const matrix_keys[] = {"name",
                                          "title",
                                          "storage",
                                          "dtype",
                                          "filters",
                                          "n_values",
                                          "n_cells",
                                          "n_genes",
                                          "kind",
                                          "reason",
                                          "whole_share",
                                          "negative_share",
                                          "not_finite_share",
                                          "min",
                                          "max",
                                          "log_base",
                                          "target_sum",
                                          "genes_median",
                                          "n_genes_seen",
                                          "n_rows_seen",
                                          "error",
                                          NULL};
static const char *const gene_keys[] = {
    "source",         "n",         "identifiers",  "n_ensembl", "n_versioned",
    "n_duplicates",   "n_renamed", "n_from_table", "n_kept",    "match_rate",
    "min_gene_match", "n_known",   "unmatched",    NULL};

static emc_status inspect(emc_text *out, const char *path, const char *layer, bool json)
{
    const emc_inspect_options options = {
        .input_path = path,
        .input = {.layer = layer, .min_gene_match = -1, .scratch_dir = emt_temp_dir()},
        .json = json,
    };

    emc_text_clear(out);
    return emc_inspect(out, &options);
}

/* The report as JSON, with its keys checked. */
static cJSON *parse(const emc_text *report)
{
    cJSON *json = NULL;
    const cJSON *matrix;

    EMT_OK(emc_json_parse(&json, report->bytes, report->n, "report"));
    EMT_OK(emc_json_check_keys(json, keys, "report"));
    for (int k = 0; keys[k]; k++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(json, keys[k]));
    EMT_OK(emc_json_check_keys(emc_json_member(json, "genes"), gene_keys, "genes"));
    cJSON_ArrayForEach(matrix, emc_json_member(json, "matrices"))
    {
        EMT_OK(emc_json_check_keys(matrix, matrix_keys, "matrix"));
    }
    return json;
}

/* Either it is told of, or one line names the file and what is wrong: with an .mtx that may be that
 * its names are not beside it. */
static void check_file(const char *path, bool is_small, bool *told)
{
    emc_text report = {0};
    const emc_status status = inspect(&report, path, NULL, true);

    *told = status == EMC_OK;
    if (status == EMC_OK) {
        cJSON_Delete(parse(&report));
        if (!is_small) { /* twice would take seconds */
            emc_text_free(&report);
            return;
        }
        EMT_OK(inspect(&report, path, NULL, false));
        assert_non_null(strstr(report.bytes, "\nMatrices (* is what annotate ranks)\n"));
        assert_non_null(strstr(report.bytes, "\nMemory for reading\n"));
    } else if ((status != EMC_ERR_FORMAT && status != EMC_ERR_USAGE &&
                !(status == EMC_ERR_NOT_FOUND && strstr(path, ".mtx"))) ||
               strchr(emc_message(), '\n') || strncmp(emc_message(), path, strlen(path)) != 0 ||
               report.n > 0) {
        fail_msg("%s: %s: %s", path, emc_status_name(status), emc_message());
    }
    emc_text_free(&report);
}

static int n_told, n_refused;

static int visit(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    static const char *const endings[] = {".h5ad", ".h5",  ".loom", ".mtx",    ".mtx.gz",
                                          ".tsv",  ".csv", ".txt",  ".tsv.gz", ".zarr.zip"};
    bool told;

    (void)at;
    if (kind != FTW_F)
        return 0;
    if (strstr(path, "/qwen3-tokenizer/"))
        return 0;
    for (size_t i = 0; i < EMC_COUNT(endings); i++) {
        const size_t n = strlen(path), m = strlen(endings[i]);
        if (n < m || strcmp(path + n - m, endings[i]) != 0)
            continue;
        /* A packed table of 750 x 33,538 takes seconds to parse. */
        if (strstr(path, ".tsv.gz") && st->st_size > 1 << 20 && !getenv("EMT_FULL"))
            break;
        check_file(path, st->st_size < 1 << 20, &told);
        *(told ? &n_told : &n_refused) += 1;
        break;
    }
    return 0;
}

static void test_real_files(void **state)
{
    (void)state;
    emt_need_shared("data/formats_h5ad/README.md");
    assert_int_equal(nftw(emt_shared("data"), visit, 16, FTW_PHYS), 0);
    print_message("%d files told of, %d refused\n", n_told, n_refused);
    assert_true(n_told >= 30);
}

/* Files whose contents are known. */
static const struct {
    const char *path, *format, *layer, *kind;
    int64_t n_cells, n_genes;
} known[] = {
    {"data/formats_h5ad/anndata_v0.5.0.h5ad", "h5ad", "raw", "log", 700, 765},
    {"data/formats_h5ad/anndata_v0.7.0.h5ad", "h5ad", "raw", "counts", 30, 40},
    {"data/formats_h5ad/anndataR_example.h5ad", "h5ad", "counts", "counts", 50, 100},
    {"data/formats_h5ad/scanpy_t-cells.h5ad", "h5ad", "raw_counts", "counts", 8, 4},
    {"data/human_liver_he2020/rna.h5ad", "h5ad", "raw", "counts", 20, 17640},
    {"data/human_headneck_chetah/headneck_ref.h5ad", "h5ad", "X", "log", 180, 7943},
    {"data/petropoulos2016_fragment/petropoulos2016_fragment.h5ad", "h5ad", "X", "counts", 150,
     200},
    {"data/formats_text_loom/seurat_pbmc_raw.txt", "text", "X", "counts", 80, 230},
};

static void test_known(void **state)
{
    emc_text report = {0};
    (void)state;

    emt_need_shared("data/formats_h5ad/README.md");
    for (size_t i = 0; i < EMC_COUNT(known); i++) {
        const char *format = NULL, *layer = NULL, *kind = NULL;
        int64_t n_cells = 0, n_genes = 0;
        EMT_OK(inspect(&report, emt_shared(known[i].path), NULL, true));
        cJSON *json = parse(&report);
        EMT_OK(emc_json_get_string(&format, json, "format", true, "report"));
        EMT_OK(emc_json_get_int(&n_cells, json, "n_cells", 0, INT64_MAX / 2048, true, "report"));
        EMT_OK(emc_json_get_int(&n_genes, json, "n_genes", 0, INT32_MAX, true, "report"));
        EMT_OK(emc_json_get_string(&layer, emc_json_member(json, "auto"), "layer", true, "auto"));
        assert_string_equal(format, known[i].format);
        assert_string_equal(layer, known[i].layer);
        assert_int_equal(n_cells, known[i].n_cells);
        assert_int_equal(n_genes, known[i].n_genes);
        const cJSON *matrix;
        cJSON_ArrayForEach(matrix, emc_json_member(json, "matrices"))
        {
            const char *name = NULL;
            EMT_OK(emc_json_get_string(&name, matrix, "name", true, "matrix"));
            if (strcmp(name, layer) == 0)
                EMT_OK(emc_json_get_string(&kind, matrix, "kind", true, "matrix"));
        }
        assert_string_equal(kind, known[i].kind);
        cJSON_Delete(json);
    }
    emc_text_free(&report);
}

static int kind_of(int cell)
{
    return cell % 7 == 6 ? -1 : cell % 2;
}

static const char *make_file(const char *const *genes, choice_values x)
{
    static const char *const kinds[] = {"a", "\"b\", \xc3\xa9"};
    const char *path = emt_temp("inspect.h5ad");

    const hid_t file = choice_create(path, 70, CHOICE_GENES, genes);
    choice_matrix(file, "X", 70, CHOICE_GENES, x);
    choice_column(file, "kind", 70, kinds, 2, kind_of);
    assert_true(H5Fclose(file) >= 0);
    return path;
}

static void test_report(void **state)
{
    const char *path = make_file(NULL, choice_log1p);
    emc_text report = {0};
    (void)state;

    EMT_OK(inspect(&report, path, NULL, false));
    static const char *const lines[] = {
        ": h5ad, 70 cells x 60 genes\n",
        "\n* X              log: up to ",
        "dense of float32, filters: none, 4,200 values, 60 genes\n",
        "names from the index of var\n",
        "100.0 % of 60 names are human symbols (wanted: 50 %)",
        "\nCells, such as cell0\n",
        "  kind                     categorical, 2 values: a, \"b\", \xc3\xa9; 14.3 % missing\n",
        "  names 0.0 MiB, rows on their way at most ",
    };
    for (size_t i = 0; i < EMC_COUNT(lines); i++)
        if (!strstr(report.bytes, lines[i]))
            fail_msg("no \"%s\" in:\n%s", lines[i], report.bytes);
    assert_null(strstr(report.bytes, "Problems"));
    /* The JSON tells the same. */
    EMT_OK(inspect(&report, path, NULL, true));
    cJSON *json = parse(&report);
    const cJSON *column =
        cJSON_GetArrayItem(emc_json_member(emc_json_member(json, "cells"), "columns"), 0);
    int64_t n_missing = 0, n_values = 0;
    double sum = 0;
    EMT_OK(emc_json_get_int(&n_missing, column, "n_missing", 0, 100, true, "column"));
    EMT_OK(emc_json_get_int(&n_values, column, "n_values", 0, 100, true, "column"));
    assert_int_equal(n_missing, 10);
    assert_int_equal(n_values, 2);
    /* Symbols are under 16 bytes; names of cells, 30 each, are not held. */
    EMT_OK(emc_json_get_int(&n_values, emc_json_member(json, "memory"), "names_bytes", 1,
                            CHOICE_GENES * (16 + 16), true, "memory"));
    EMT_OK(emc_json_get_double(&sum, cJSON_GetArrayItem(emc_json_member(json, "matrices"), 0),
                               "target_sum", true, "matrix"));
    assert_true(sum > 9999 && sum < 10001);
    assert_int_equal(cJSON_GetArraySize(emc_json_member(json, "problems")), 0);
    cJSON_Delete(json);
    emc_text_free(&report);
}

/* What annotate stops at is a problem here, and the rest is told. */
static void test_problems(void **state)
{
    const char *names[CHOICE_GENES];
    char text[CHOICE_GENES][24];
    emc_text report = {0};
    (void)state;

    EMT_OK(inspect(&report, make_file(NULL, choice_scaled), NULL, false));
    assert_non_null(strstr(report.bytes, "  none would do: "));
    assert_non_null(strstr(report.bytes, "annotate stops here: "));
    EMT_OK(inspect(&report, make_file(NULL, choice_scaled), NULL, true));
    assert_non_null(strstr(report.bytes, "\"auto\": {\"error\": "));
    EMT_OK(inspect(&report, make_file(NULL, choice_zeros), NULL, false));
    assert_non_null(strstr(report.bytes, "70 of the 70 cells looked at have no value above zero"));
    for (int i = 0; i < CHOICE_GENES; i++) {
        snprintf(text[i], sizeof text[i], "ENSG%011d.3", i);
        names[i] = text[i];
    }
    EMT_OK(inspect(&report, make_file(names, choice_counts), NULL, false));
    assert_non_null(strstr(report.bytes, "Ensembl ids (60 Ensembl ids, 60 with a version)"));
    assert_non_null(strstr(report.bytes, "and no column of symbols was found"));
    assert_non_null(strstr(report.bytes, "0.0 % of the gene names are human symbols"));
    names[0] = names[1] = "ACTB";
    for (int i = 2; i < CHOICE_GENES; i++) {
        snprintf(text[i], sizeof text[i], "GENE%d", i);
        names[i] = text[i];
    }
    EMT_OK(inspect(&report, make_file(names, choice_counts), NULL, false));
    assert_non_null(strstr(report.bytes, "two genes are called \"ACTB\""));
    assert_non_null(strstr(report.bytes, "  1 share a name with another"));
    emc_text_free(&report);
}

static void test_refused(void **state)
{
    emc_text report = {0};
    (void)state;

    EMT_FAILS(EMC_ERR_NOT_FOUND, "none.h5ad", inspect(&report, "none.h5ad", NULL, false));
    const char *path = emt_write("x.h5ad", "nothing", 7);
    EMT_FAILS(EMC_ERR_FORMAT, "not an HDF5 file", inspect(&report, path, NULL, false));
    EMT_FAILS(EMC_ERR_USAGE, "no matrix \"counts\" that can be read",
              inspect(&report, make_file(NULL, choice_counts), "counts", false));
    EMT_OK(inspect(&report, make_file(NULL, choice_scaled), "X", false));
    assert_non_null(strstr(report.bytes, "named by --layer"));
    emc_text_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),     cmocka_unit_test(test_problems),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_known),
        cmocka_unit_test(test_real_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
