/* Pages: well formed whatever the words in them, complete, and one line for a file that is not what
 * it should be. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/report/report.h"
#include "annotate_case.h"
#include "base/file.h"
#include "base/json.h"

#define MAX_DEPTH 64

/* Every tag that opens is closed, in order; attributes are quoted; no script, nothing is fetched.
 */
static void expect_well_formed(const char *page)
{
    char stack[MAX_DEPTH][32];
    int depth = 0;
    const char *at = page;

    assert_true(strncmp(at, "<!DOCTYPE html>\n", 16) == 0);
    at += 16;
    while ((at = strchr(at, '<'))) {
        const bool closes = at[1] == '/';
        const char *name = at + 1 + closes, *end = name;
        const size_t n = strcspn(name, " />\n");
        assert_true(n > 0 && n < 32);
        for (bool quoted = false; *end && (quoted || *end != '>'); end++) {
            quoted ^= *end == '"';
            assert_true(*end != '<');
        }
        assert_true(*end == '>');
        if (closes) {
            assert_true(depth > 0);
            assert_true(strlen(stack[depth - 1]) == n && memcmp(stack[depth - 1], name, n) == 0);
            depth--;
        } else if (end[-1] != '/') {
            assert_true(depth < MAX_DEPTH);
            snprintf(stack[depth++], 32, "%.*s", (int)n, name);
        }
        at = end + 1;
    }
    assert_int_equal(depth, 0);
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<i>other"));
    assert_null(strstr(page, "<link"));
    assert_null(strstr(page, "url("));
    for (at = page; (at = strstr(at, "http")); at += 4) /* namespaces and words alone */
        assert_true(strncmp(at, "http://www.w3.org/", 18) == 0 ||
                    strncmp(at, "http://127.0.0.1/&lt;v1&gt;", 27) == 0);
}

static void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static const char *evaluation_dir(const cJSON *document)
{
    static char dir[4096];
    char path[4200], *text = cJSON_PrintUnformatted(document);

    snprintf(dir, sizeof dir, "%s", emt_temp("evaluation"));
    mkdir(dir, 0755);
    snprintf(path, sizeof path, "%s/evaluation.json", dir);
    put_file(path, text ? text : "{");
    cJSON_free(text);
    return dir;
}

static cJSON *golden(void)
{
    cJSON *document;
    EMT_OK(emc_json_read(&document, emt_golden("report/evaluation.json"), 1 << 24));
    return document;
}

static void test_evaluation(void **state)
{
    (void)state;
    cJSON *document = golden();
    const char *output = case_keep(emt_temp("page.html"));

    EMT_OK(emc_report_evaluation(evaluation_dir(document), output));
    char *page = emt_read(output, NULL);
    expect_well_formed(page);
    static const char *const wanted[] = {
        "emcellbench-test &lt;script&gt;",
        "a &quot;quoted&quot; &amp; &#39;other&#39; label",
        "&lt;i&gt;other&lt;/i&gt;",
        "cell&amp;1",
        "id=\"leaderboard\"",
        "id=\"pairs\"",
        "id=\"sweeps\"",
        "id=\"open-set\"",
        "0.870",
        "0.820\u20130.920", /* macro-F1 of the model */
        "<code>00000000000000000000000000000000</code>",
        "GENE2 GENE3",
        "0.0123 USD",
        "few cells",
        "&lt;b&gt;MT-CO1&lt;/b&gt;",
        "For research use only",
        "Reliability",
    };
    for (size_t i = 0; i < EMC_COUNT(wanted); i++)
        if (!strstr(page, wanted[i]))
            fail_msg("the page lacks %s", wanted[i]);
    free(page);
    /* Nothing to compare: one system, nothing swept, no probabilities. */
    cJSON *systems = cJSON_GetObjectItem(document, "systems");
    cJSON_DeleteItemFromArray(systems, 2);
    cJSON_DeleteItemFromArray(systems, 0);
    static const char *const lists[] = {"paired", "sweeps", "open_set", "notes"};
    for (size_t i = 0; i < EMC_COUNT(lists); i++)
        cJSON_ReplaceItemInObject(document, lists[i], cJSON_CreateArray());
    EMT_OK(emc_report_evaluation(evaluation_dir(document), output));
    page = emt_read(output, NULL);
    expect_well_formed(page);
    assert_null(strstr(page, "id=\"pairs\""));
    assert_null(strstr(page, "Reliability"));
    free(page);
    cJSON_ReplaceItemInObject(document, "systems", cJSON_CreateArray());
    EMT_OK(emc_report_evaluation(evaluation_dir(document), output));
    page = emt_read(output, NULL);
    expect_well_formed(page);
    free(page);
    cJSON_Delete(document);
}

/* Sixty labels, all confused. */
static void test_many_labels(void **state)
{
    (void)state;
    cJSON *document = golden(), *labels = cJSON_CreateArray(), *confusion = cJSON_CreateArray();
    const char *output = case_keep(emt_temp("many.html"));

    for (int i = 0; i < 60; i++) {
        char name[32];
        cJSON *label =
            cJSON_Duplicate(cJSON_GetArrayItem(cJSON_GetObjectItem(document, "labels"), 0), true);
        cJSON *row = cJSON_CreateArray();
        snprintf(name, sizeof name, "label %d", i);
        cJSON_ReplaceItemInObject(label, "label", cJSON_CreateString(name));
        cJSON_AddItemToArray(labels, label);
        for (int c = 0; c < 62; c++)
            cJSON_AddItemToArray(row, cJSON_CreateNumber(c == i ? 12345 : 1));
        cJSON_AddItemToArray(confusion, row);
    }
    cJSON_ReplaceItemInObject(document, "labels", labels);
    cJSON *systems = cJSON_GetObjectItem(document, "systems");
    cJSON_DeleteItemFromArray(systems, 2);
    cJSON_DeleteItemFromArray(systems, 1);
    cJSON_ReplaceItemInObject(cJSON_GetArrayItem(systems, 0), "confusion", confusion);
    EMT_OK(emc_report_evaluation(evaluation_dir(document), output));
    char *page = emt_read(output, NULL);
    expect_well_formed(page);
    assert_non_null(strstr(page, "label 59 \u2192 label 0: 1<"));
    assert_non_null(strstr(page, "label 7 \u2192 label 7: 12,345<"));
    free(page);
    /* More rows than there are labels. */
    cJSON_DeleteItemFromArray(labels, 0);
    cJSON_DeleteItemFromArray(labels, 0);
    EMT_FAILS(EMC_ERR_FORMAT, "\"confusion\" has 60 rows for 58 labels",
              emc_report_evaluation(evaluation_dir(document), output));
    cJSON_Delete(document);
}

/* Each member of an object is taken away, then made another type: one line, or a page. */
static void break_members(cJSON *document, cJSON *object, const char *output, bool is_needed)
{
    for (int i = 0; i < cJSON_GetArraySize(object); i++) {
        cJSON *member = cJSON_GetArrayItem(object, i);
        const int type = member->type;
        char key[64];
        snprintf(key, sizeof key, "%s", member->string);
        member->string[0] = '!';
        const emc_status status = emc_report_evaluation(evaluation_dir(document), output);
        member->string[0] = key[0];
        if (is_needed && strcmp(key, "official") != 0) {
            char wanted[80];
            snprintf(wanted, sizeof wanted, "\"%s\" is missing", key);
            if (status != EMC_ERR_FORMAT || !strstr(emc_message(), wanted))
                fail_msg("without %s: status %d, %s", key, (int)status, emc_message());
        } else if (status != EMC_OK) {
            assert_int_equal(status, EMC_ERR_FORMAT);
        }
        member->type = cJSON_True;
        const emc_status other = emc_report_evaluation(evaluation_dir(document), output);
        member->type = type;
        assert_true(other == EMC_OK || other == EMC_ERR_FORMAT);
    }
}

static void test_broken_evaluations(void **state)
{
    (void)state;
    cJSON *document = golden();
    const char *output = case_keep(emt_temp("broken.html"));

    break_members(document, document, output, false);
    break_members(document, cJSON_GetObjectItem(document, "benchmark"), output, true);
    cJSON *system = cJSON_GetArrayItem(cJSON_GetObjectItem(document, "systems"), 0);
    break_members(document, system, output, false);
    break_members(document, cJSON_GetObjectItem(system, "usage"), output, false);
    break_members(document, cJSON_GetArrayItem(cJSON_GetObjectItem(system, "classes"), 0), output,
                  false);
    static const char *const needed[] = {"benchmark", "systems", "labels", "paired", "settings"};
    for (size_t i = 0; i < EMC_COUNT(needed); i++) {
        cJSON *member = cJSON_GetObjectItem(document, needed[i]);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "\"%s\" is missing", needed[i]);
        member->string[0] = '!';
        EMT_FAILS(EMC_ERR_FORMAT, wanted, emc_report_evaluation(evaluation_dir(document), output));
        member->string[0] = needed[i][0];
    }
    cJSON_ReplaceItemInObject(document, "version", cJSON_CreateNumber(2));
    EMT_FAILS(EMC_ERR_FORMAT, "not an evaluation of this version",
              emc_report_evaluation(evaluation_dir(document), output));
    cJSON_Delete(document);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "evaluation.json",
              emc_report_evaluation(emt_temp("absent"), output));
    EMT_FAILS(EMC_ERR_FORMAT, "evaluation.json",
              emc_report_evaluation(evaluation_dir(NULL), output));
}

static void test_run(void **state)
{
    (void)state;
    emc_annotate_options o =
        case_options(case_keep(emt_golden("annotate/cells.h5ad")), case_keep(emt_temp("l.csv")));
    const char *output = case_keep(emt_temp("run.html")), *dir = case_keep(emt_temp("a <run>"));
    emc_report_run_options report = {.n_low = 3};

    o.run_dir = dir;
    o.shard_cells = 2;
    o.command = "emcell annotate -i '<b>'";
    case_annotate(&o);
    EMT_OK(emc_report_run(dir, output, &report));
    char *page = emt_read(output, NULL);
    expect_well_formed(page);
    assert_non_null(strstr(page, "emcell annotate -i &#39;&lt;b&gt;&#39;"));
    assert_non_null(strstr(page, "id=\"labels\""));
    assert_non_null(strstr(page, "id=\"low\""));
    assert_non_null(strstr(page, "names are human symbols"));
    assert_null(strstr(page, "not finished"));
    free(page);
    EMT_FAILS(EMC_ERR_CREATE, "--force", emc_report_run(dir, output, &report));
    report.force = true;
    report.groupby = "no such column";
    EMT_FAILS(EMC_ERR_USAGE, "no such column", emc_report_run(dir, output, &report));
    report.groupby = NULL;
    /* One shard is gone, another damaged. */
    char path[4200];
    snprintf(path, sizeof path, "%s/done/000000.shard", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/done/000001.shard", dir);
    put_file(path, "half");
    EMT_OK(emc_report_run(dir, output, &report));
    page = emt_read(output, NULL);
    expect_well_formed(page);
    assert_non_null(strstr(page, "not finished"));
    assert_non_null(strstr(page, "1 shard files are damaged"));
    free(page);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "run.json", emc_report_run(emt_temp("none"), output, &report));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_many_labels),
        cmocka_unit_test(test_broken_evaluations),
        cmocka_unit_test(test_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
