/* From predictions to evaluation.json: on a benchmark so small that every figure can be counted by
 * hand, with labels that no page and no table may trust. */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/evaluate/results.h"
#include "base/json.h"

#define BAD "<script>alert(1)</script>"

static const char *folder(const char *name)
{
    static char paths[2][4096];
    static int at;

    at ^= 1;
    snprintf(paths[at], sizeof paths[at], "%s", emt_temp(name));
    mkdir(paths[at], 0755);
    return paths[at];
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[4300];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Three labels; six items of two embryos in one dataset, one of another, one that is unknown. */
static emc_benchmark *make_benchmark(void)
{
    static const char *const gold[] = {"TE", "TE", "CTB", "CTB", BAD, "TE", "unknown"};
    static const char *const embryo[] = {"e1", "e1", "e1", "e2", "e2", "e1", "e3"};
    static const char *const dataset[] = {"A", "A", "A", "A", "A", "B", "B"};
    const char *dir = folder("small");
    emc_text items = {0};
    emc_benchmark *b;

    put(dir, "manifest.json",
        "{\"format\": \"emcell benchmark\", \"version\": 1, \"name\": \"small\", \"release\": "
        "\"1\", \"description\": \"d\", \"source\": \"s\", \"licence\": \"l\", \"official\": "
        "false, \"items\": {\"path\": \"items.jsonl\"}, \"labels\": {\"path\": \"labels.json\"}}");
    put(dir, "labels.json",
        "{\"labels\": [{\"label\": \"TE\"}, {\"label\": \"CTB\", \"parent\": \"TE\"}, {\"label\": "
        "\"" BAD "\"}]}");
    for (int i = 0; i < 7; i++)
        EMT_OK(emc_text_addf(&items,
                             "{\"id\": \"i%d\", \"genes\": [\"GATA3\", \"CDX2\", \"KRT7\"], "
                             "\"label\": \"%s\", \"split\": \"test\", \"embryo\": \"%s\", "
                             "\"dataset\": \"%s\"}\n",
                             i, gold[i], embryo[i], dataset[i]));
    put(dir, "items.jsonl", items.bytes);
    emc_text_free(&items);
    EMT_OK(emc_benchmark_open(&b, dir));
    return b;
}

static void predict(emc_predictions *p, int item, emc_outcome outcome, int label, double score)
{
    double probs[3] = {0};

    if (label >= 0)
        probs[label] = score;
    EMT_OK(
        emc_predictions_put(p, item,
                            &(emc_prediction){.outcome = outcome,
                                              .label = label,
                                              .score = score,
                                              .probs = outcome == EMC_OUTCOME_LABEL ? probs : NULL,
                                              .n_prompt_tokens = 10,
                                              .n_tries = 1}));
}

static const cJSON *at(const cJSON *object, const char *key)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, key);

    if (!found)
        fail_msg("no key \"%s\"", key);
    return found;
}

static double figure(const cJSON *system, const char *key)
{
    return at(at(at(system, "metrics"), key), "value")->valuedouble;
}

static void expect(double got, double wanted)
{
    if (!(fabs(got - wanted) < 1e-9))
        fail_msg("%.12g, wanted %.12g", got, wanted);
}

static emc_system systems[2] = {
    {.name = "good", .kind = "csv", .description = "d", .settings = "{}", .has_probs = true},
    {.name = BAD, .kind = "baseline", .description = BAD, .settings = "{\"a\": 1}"},
};

typedef struct {
    emc_benchmark *benchmark;
    emc_predictions *predictions[2];
    int items[7];
    emc_system *list[2];
    emc_scored_pass passes[2];
    emc_evaluation evaluation;
} fixture;

/* good: right on 0, 1, 3, 6; CTB for 5 (a subtype), invalid for 2, off list for 4.
 * The other: TE always. */
static fixture open_fixture(void)
{
    fixture f = {.benchmark = make_benchmark()};

    for (int s = 0; s < 2; s++)
        EMT_OK(emc_predictions_open(&f.predictions[s], 7, 3));
    predict(f.predictions[0], 0, EMC_OUTCOME_LABEL, 0, 0.9);
    predict(f.predictions[0], 1, EMC_OUTCOME_LABEL, 0, 0.8);
    predict(f.predictions[0], 2, EMC_OUTCOME_INVALID, -1, NAN);
    predict(f.predictions[0], 3, EMC_OUTCOME_LABEL, 1, 0.7);
    predict(f.predictions[0], 4, EMC_OUTCOME_OFF_LIST, 1, NAN);
    predict(f.predictions[0], 5, EMC_OUTCOME_LABEL, 1, 0.6);
    predict(f.predictions[0], 6, EMC_OUTCOME_UNKNOWN, -1, 0.2);
    for (int i = 0; i < 7; i++)
        predict(f.predictions[1], i, EMC_OUTCOME_LABEL, 0, 1);
    return f;
}

static void link_fixture(fixture *f)
{
    for (int i = 0; i < 7; i++)
        f->items[i] = i;
    for (int s = 0; s < 2; s++) {
        f->list[s] = &systems[s];
        f->passes[s] = (emc_scored_pass){systems[s].name, NULL, "", f->predictions[s]};
    }
    f->evaluation = (emc_evaluation){.benchmark = f->benchmark,
                                     .items = f->items,
                                     .n_items = 7,
                                     .split = "test",
                                     .systems = f->list,
                                     .n_systems = 2,
                                     .passes = f->passes,
                                     .n_passes = 2,
                                     .seed = 1,
                                     .n_bootstrap = 200,
                                     .n_bins = 15,
                                     .version = "0"};
}

static void close_fixture(fixture *f)
{
    for (int s = 0; s < 2; s++)
        emc_predictions_close(f->predictions[s]);
    emc_benchmark_close(f->benchmark);
}

static cJSON *write_and_read(const emc_evaluation *e, const char *name)
{
    const char *dir = folder(name);
    char path[4300];
    cJSON *document;

    EMT_OK(emc_evaluation_write(e, dir));
    snprintf(path, sizeof path, "%s/evaluation.json", dir);
    EMT_OK(emc_json_read(&document, path, 1 << 24));
    return document;
}

static void test_figures(void **state)
{
    (void)state;
    fixture f = open_fixture();
    link_fixture(&f);
    cJSON *document = write_and_read(&f.evaluation, "figures");
    const cJSON *good = cJSON_GetArrayItem(at(document, "systems"), 0);
    const cJSON *other = cJSON_GetArrayItem(at(document, "systems"), 1);

    assert_string_equal(at(good, "name")->valuestring, "good"); /* by macro-F1 */
    assert_string_equal(at(other, "name")->valuestring, BAD);
    expect(figure(good, "accuracy"), 4.0 / 7);
    expect(figure(good, "accuracy_valid"), 4.0 / 5);
    /* F1: TE 2*2/(3+2), CTB 2*1/(2+2), the third 0, unknown 1. */
    expect(figure(good, "macro_f1"), (0.8 + 0.5 + 0 + 1) / 4);
    expect(figure(good, "weighted_f1"), (3 * 0.8 + 2 * 0.5 + 0 + 1) / 7);
    expect(figure(good, "balanced_accuracy"), (2.0 / 3 + 0.5 + 0 + 1) / 4);
    expect(figure(good, "sctab_accuracy"), 5.0 / 7); /* CTB for TE is a subtype */
    expect(figure(good, "graded"), (3 + 3 + 0 + 3 + 0 + 2 + 3) / 7.0);
    expect(figure(good, "lineage_accuracy"), 5.0 / 7);
    /* With probabilities are 0, 1, 3, 5: three right, and item 6 has a score, too: 0.2, right. */
    expect(figure(good, "brier"), (0.01 + 0.04 + 0.09 + (1 + 0.36)) / 4);
    expect(figure(good, "nll"), -(log(0.9) + log(0.8) + log(0.7) + log(1e-15)) / 4);
    expect(figure(good, "ece_width"), (0.1 + 0.2 + 0.3 + 0.6 + 0.8) / 5);
    /* Surest first: right right right wrong right, then two without a number, both wrong. */
    expect(figure(good, "aurc"), (0 + 0 + 0 + 1.0 / 4 + 1.0 / 5 + 2.0 / 6 + 3.0 / 7) / 7);
    const cJSON *outcomes = at(good, "outcomes");
    assert_int_equal(at(outcomes, "label")->valueint, 4);
    assert_int_equal(at(outcomes, "unknown")->valueint, 1);
    assert_int_equal(at(outcomes, "invalid")->valueint, 1);
    assert_int_equal(at(outcomes, "off_list")->valueint, 1);
    expect(at(at(at(good, "rates"), "off_list"), "value")->valuedouble, 1.0 / 7);
    /* Rows: TE, CTB, the third, unknown; columns: those, unknown, no label. */
    static const int confusion[4][5] = {
        {2, 1, 0, 0, 0}, {0, 1, 0, 0, 1}, {0, 0, 0, 0, 1}, {0, 0, 0, 1, 0}};
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 5; c++)
            assert_int_equal(
                cJSON_GetArrayItem(cJSON_GetArrayItem(at(good, "confusion"), r), c)->valueint,
                confusion[r][c]);
    /* Embryo e1 of A and e1 of B are two. */
    assert_int_equal(cJSON_GetArraySize(at(good, "embryos")), 4);
    assert_int_equal(at(at(document, "benchmark"), "n_embryos")->valueint, 4);
    assert_int_equal(at(cJSON_GetArrayItem(at(good, "datasets"), 0), "n_right")->valueint, 3);
    const cJSON *pair = cJSON_GetArrayItem(at(document, "paired"), 0);
    expect(at(pair, "difference")->valuedouble, 1.0 / 7);
    assert_int_equal(at(pair, "a_only")->valueint, 2);
    assert_int_equal(at(pair, "b_only")->valueint, 1);
    expect(at(pair, "p_mcnemar")->valuedouble, 1);
    assert_int_equal(at(at(good, "usage"), "n_prompt_tokens")->valueint, 70);
    const cJSON *mistake = cJSON_GetArrayItem(at(other, "mistakes"), 0);
    assert_string_equal(at(mistake, "gold")->valuestring, "CTB");
    assert_string_equal(at(mistake, "predicted")->valuestring, "TE");
    const cJSON *cell = cJSON_GetArrayItem(at(mistake, "cells"), 0);
    assert_string_equal(cJSON_GetArrayItem(at(cell, "speak_for"), 0)->valuestring, "GATA3");
    assert_string_equal(cJSON_GetArrayItem(at(cell, "speak_against"), 0)->valuestring, "KRT7");
    const cJSON *interval = at(at(good, "metrics"), "accuracy");
    assert_true(at(interval, "low")->valuedouble <= 4.0 / 7);
    assert_true(at(interval, "high")->valuedouble >= 4.0 / 7);
    assert_true(at(interval, "low")->valuedouble < at(interval, "high")->valuedouble);
    cJSON_Delete(document);
    close_fixture(&f);
}

/* The same bytes again; another seed gives other intervals and the same values. */
static void test_same_bytes(void **state)
{
    (void)state;
    fixture f = open_fixture();
    link_fixture(&f);
    cJSON *a = write_and_read(&f.evaluation, "first"), *b = write_and_read(&f.evaluation, "again");
    assert_true(cJSON_Compare(a, b, true));
    f.evaluation.seed = 2;
    cJSON *c = write_and_read(&f.evaluation, "other");
    assert_false(cJSON_Compare(a, c, true));
    expect(figure(cJSON_GetArrayItem(at(c, "systems"), 0), "macro_f1"), 2.3 / 4);
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(c);
    close_fixture(&f);
}

static void test_a_missing_prediction(void **state)
{
    (void)state;
    fixture f = open_fixture();
    link_fixture(&f);
    emc_predictions_close(f.predictions[1]);
    EMT_OK(emc_predictions_open(&f.predictions[1], 7, 3));
    f.passes[1].predictions = f.predictions[1];
    for (int i = 0; i < 6; i++)
        predict(f.predictions[1], i, EMC_OUTCOME_LABEL, 0, 1);
    EMT_FAILS(EMC_ERR_CONFIG, "item \"i6\" has no prediction",
              emc_evaluation_write(&f.evaluation, folder("missing")));
    f.evaluation.n_passes = 1;
    EMT_FAILS(EMC_ERR_CONFIG, "has no plain pass",
              emc_evaluation_write(&f.evaluation, folder("missing")));
    close_fixture(&f);
}

/* A label held out: its items are right when they are called unknown. */
static void test_open_set(void **state)
{
    (void)state;
    fixture f = open_fixture();
    emc_predictions *without;
    emc_scored_pass passes[2];

    link_fixture(&f);
    EMT_OK(emc_predictions_open(&without, 7, 3));
    static const double scores[] = {0.9, 0.8, 0.3, 0.4, 0.7, 0.95, 0.5};
    for (int i = 0; i < 7; i++)
        predict(without, i, i == 2 ? EMC_OUTCOME_UNKNOWN : EMC_OUTCOME_LABEL, i == 2 ? -1 : 0,
                scores[i]);
    passes[0] = f.passes[0];
    passes[1] = (emc_scored_pass){"good", "open_set", "CTB", without};
    f.evaluation.passes = passes;
    f.evaluation.n_systems = 1;
    cJSON *document = write_and_read(&f.evaluation, "open");
    const cJSON *row = cJSON_GetArrayItem(at(document, "open_set"), 0);
    /* Unknown: 2, 3 (CTB) and 6; known: 0, 1, 4, 5, whose scores all are higher. */
    assert_int_equal(at(row, "n_unknown")->valueint, 3);
    assert_int_equal(at(row, "n_known")->valueint, 4);
    expect(at(row, "auroc")->valuedouble, 1);
    expect(at(row, "fpr95")->valuedouble, 0);
    expect(at(row, "unknown_precision")->valuedouble, 1);
    expect(at(row, "unknown_recall")->valuedouble, 1.0 / 3);
    assert_string_equal(at(at(document, "settings"), "held_out")->valuestring, "CTB");
    cJSON_Delete(document);
    emc_predictions_close(without);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_a_missing_prediction),
        cmocka_unit_test(test_open_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
