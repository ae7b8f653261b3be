/* Benchmarks: the one that is shipped, what is made of files, and one line for each thing that can
 * be wrong with a folder. */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/evaluate/benchmark.h"
#include "annotate/evaluate/benchmark_make.h"
#include "annotate/evaluate/markers.h"

static const char labels_json[] =
    "{\"labels\": [{\"label\": \"TE\", \"synonyms\": [\"trophectoderm\"]}, {\"label\": \"CTB\", "
    "\"parent\": \"TE\"}, {\"label\": \"PGC\"}], \"ambiguous\": [{\"term\": \"trophoblast\", "
    "\"labels\": [\"TE\", \"CTB\"]}]}";
static const char good_item[] =
    "{\"id\": \"a\", \"genes\": [\"CDX2\", \"GATA3\"], \"values\": [3, 2.5], \"total\": 9, "
    "\"label\": \"trophectoderm\", \"split\": \"test\", \"embryo\": \"e1\"}\n";

static const char *folder(void)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s", emt_temp("benchmark"));
    mkdir(path, 0755);
    return path;
}

static void put(const char *name, const char *text)
{
    char path[4300];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder(), name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void put_manifest(const char *more)
{
    char text[2000];

    snprintf(text, sizeof text,
             "{\"format\": \"emcell benchmark\", \"version\": 1, \"name\": \"n\", \"release\": "
             "\"1\", \"description\": \"d\", \"source\": \"s\", \"licence\": \"l\", \"official\": "
             "false, \"profile\": \"embryo\", \"items\": {\"path\": \"items.jsonl\"}, \"labels\": "
             "{\"path\": \"labels.json\"}%s}",
             more);
    put("manifest.json", text);
}

static void put_all(const char *items)
{
    put_manifest("");
    put("labels.json", labels_json);
    put("items.jsonl", items);
}

static void test_items(void **state)
{
    (void)state;
    emc_benchmark *b;
    char items[4000];

    snprintf(items, sizeof items,
             "%s\n{\"id\": \"b\", \"messages\": [{\"role\": \"user\", \"content\": \"which?\"}], "
             "\"candidates\": [\"CTB\", \"TE\"], \"label\": \"CTB\"}\n"
             "{\"id\": \"c\", \"genes\": [\"X\"], \"label\": \"unknown\", \"is_log\": true}",
             good_item);
    put_all(items);
    EMT_OK(emc_benchmark_open(&b, folder()));
    assert_int_equal(emc_benchmark_n_items(b), 3);
    const emc_bench_item *a = emc_benchmark_item(b, 0), *q = emc_benchmark_item(b, 1);
    const emc_bench_item *c = emc_benchmark_item(b, 2);
    assert_string_equal(a->id, "a");
    assert_int_equal(a->n_genes, 2);
    assert_string_equal(a->genes[1], "GATA3");
    assert_true(a->values[1] == 2.5 && a->total == 9 && !a->is_log);
    assert_int_equal(a->label, 0); /* by its synonym */
    assert_string_equal(a->gold, "trophectoderm");
    assert_string_equal(a->embryo, "e1");
    assert_null(a->stage);
    assert_int_equal(q->line, 3);
    assert_int_equal(q->n_messages, 1);
    assert_string_equal(q->messages[0].content, "which?");
    assert_int_equal(q->n_candidates, 2);
    assert_int_equal(q->candidates[0], 1);
    assert_null(q->split);
    assert_int_equal(c->label, -1);
    assert_true(isnan(c->total) && c->is_log && !c->values);
    /* Any wording with these labels. */
    emc_profile *profile;
    EMT_OK(emc_benchmark_profile(&profile, b, "choices"));
    assert_int_equal(emc_profile_get(profile)->n_labels, 3);
    assert_string_equal(emc_profile_get(profile)->name, "choices");
    emc_profile_close(profile);
    int n;
    const char *const *markers = emc_benchmark_markers(b, 0, &n);
    assert_true(n > 5);
    assert_string_equal(markers[0], "CDX2");
    emc_benchmark_close(b);
    /* Its own markers come first. */
    put("markers.json", "{\"source\": \"s\", \"markers\": {\"trophectoderm\": [\"A\", \"B\"]}}");
    put_manifest(", \"markers\": {\"path\": \"markers.json\"}");
    EMT_OK(emc_benchmark_open(&b, folder()));
    markers = emc_benchmark_markers(b, 0, &n);
    assert_int_equal(n, 2);
    assert_string_equal(markers[1], "B");
    emc_benchmark_close(b);
}

static void test_broken_items(void **state)
{
    (void)state;
    static const struct {
        const char *line, *wanted;
        emc_status status;
    } cases[] = {
        {"{\"id\": \"b\"", "items.jsonl: line 2", EMC_ERR_FORMAT},
        {"[]", "must be an object", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"gene\": [], \"label\": \"TE\"}", "\"gene\"", EMC_ERR_FORMAT},
        {"{\"genes\": [\"A\"], \"label\": \"TE\"}", "\"id\"", EMC_ERR_FORMAT},
        {"{\"id\": \"\", \"genes\": [\"A\"], \"label\": \"TE\"}", "\"id\" is empty",
         EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\"]}", "\"label\"", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"label\": \"TE\"}", "neither \"genes\" nor \"messages\"",
         EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [], \"label\": \"TE\"}", "neither", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": \"A\", \"label\": \"TE\"}", "must be a list", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\", 3], \"label\": \"TE\"}", "item 2 is no name",
         EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"values\": [1, 2], \"label\": \"TE\"}",
         "2 \"values\" for 1 \"genes\"", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"values\": [\"1\"], \"label\": \"TE\"}",
         "item 1 is no number", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"Neuron\"}",
         "label \"Neuron\" is no label of the benchmark", EMC_ERR_CONFIG},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"trophoblast\"}", "means several labels",
         EMC_ERR_CONFIG},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"TE\", \"candidates\": [\"CTB\", "
         "\"PGC\"]}",
         "is not among the candidates", EMC_ERR_CONFIG},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"TE\", \"candidates\": [\"TE\", \"TE\"]}",
         "comes twice", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"TE\", \"candidates\": [\"TE\", \"x\"]}",
         "candidate \"x\" is no label", EMC_ERR_CONFIG},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"TE\", \"split\": \"dev\"}",
         "split \"dev\"", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"messages\": [{\"role\": \"boss\", \"content\": \"\"}], \"label\": "
         "\"TE\"}",
         "no role \"boss\"", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"messages\": [{\"role\": \"assistant\", \"content\": \"\"}], \"label\": "
         "\"TE\"}",
         "must be the user's", EMC_ERR_FORMAT},
        {"{\"id\": \"a\", \"genes\": [\"A\"], \"label\": \"TE\"}",
         "line 2: id \"a\" a second time, first on line 1", EMC_ERR_FORMAT},
        {"{\"id\": \"b\", \"genes\": [\"A\"], \"label\": \"TE\", \"total\": \"9\"}", "\"total\"",
         EMC_ERR_FORMAT},
    };
    emc_benchmark *b;

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char items[2000];
        snprintf(items, sizeof items, "%s%s\n", good_item, cases[i].line);
        put_all(items);
        EMT_FAILS(cases[i].status, cases[i].wanted, emc_benchmark_open(&b, folder()));
        assert_null(b);
        if (!strstr(emc_message(), "line 2"))
            fail_msg("%s does not name the line", emc_message());
    }
    put_all("");
    EMT_FAILS(EMC_ERR_FORMAT, "no item", emc_benchmark_open(&b, folder()));
}

static void test_broken_folders(void **state)
{
    (void)state;
    emc_benchmark *b;

    put_all(good_item);
    put_manifest(", \"more\": 1");
    EMT_FAILS(EMC_ERR_FORMAT, "more", emc_benchmark_open(&b, folder()));
    put("manifest.json", "{\"format\": \"x\", \"version\": 1}");
    EMT_FAILS(EMC_ERR_FORMAT, "emcell benchmark", emc_benchmark_open(&b, folder()));
    put_manifest(", \"markers\": {\"path\": \"../markers.json\"}");
    EMT_FAILS(EMC_ERR_FORMAT, "no plain file name", emc_benchmark_open(&b, folder()));
    put_manifest(", \"markers\": {\"path\": \"items.jsonl\", \"hash\": "
                 "\"00000000000000000000000000000000\"}");
    EMT_FAILS(EMC_ERR_FORMAT, "changed or damaged", emc_benchmark_open(&b, folder()));
    put("markers.json", "{\"markers\": {\"Neuron\": [\"A\"]}}");
    put_manifest(", \"markers\": {\"path\": \"markers.json\"}");
    EMT_FAILS(EMC_ERR_CONFIG, "\"Neuron\" is no label", emc_benchmark_open(&b, folder()));
    put_manifest("");
    put("labels.json", "{\"labels\": [{\"label\": \"TE\"}]}");
    EMT_FAILS(EMC_ERR_FORMAT, "two labels or more", emc_benchmark_open(&b, folder()));
    put("labels.json", "{\"labels\": [{\"label\": \"TE\"}, {\"label\": \"te\"}]}");
    EMT_FAILS(EMC_ERR_CONFIG, "labels.json", emc_benchmark_open(&b, folder()));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "manifest.json", emc_benchmark_open(&b, emt_temp("absent")));
}

/* The shipped one is what its manifest says, and no embryo is on two sides. */
static void test_sim(void **state)
{
    (void)state;
    emc_benchmark *b;
    int n_test = 0, n_train = 0;

    EMT_OK(emc_benchmark_open(&b, EMT_BENCHMARKS "/emcellbench-sim"));
    assert_int_equal(emc_benchmark_n_items(b), 2940);
    for (int i = 0; i < 2940; i++) {
        const emc_bench_item *item = emc_benchmark_item(b, i);
        const bool is_test = strcmp(item->split, "test") == 0;
        n_test += is_test;
        n_train += strcmp(item->split, "train") == 0;
        assert_true(item->n_genes >= 100 && item->n_genes <= 200 && item->label >= 0);
        assert_true(is_test || strcmp(item->dataset, "sim-C") != 0);
        assert_non_null(strstr(item->embryo, item->split)); /* so no embryo has two splits */
        for (int g = 1; g < item->n_genes; g++)
            assert_true(item->values[g] < item->values[g - 1] ||
                        (item->values[g] == item->values[g - 1] &&
                         strcmp(item->genes[g - 1], item->genes[g]) < 0));
    }
    assert_int_equal(n_test, 1072);
    assert_int_equal(n_train, 1512);
    emc_benchmark_close(b);
}

static void test_markers(void **state)
{
    (void)state;
    emc_profile *profile;
    int n, n_entries = 0;

    for (int t = 0; emc_marker_table_get(t); t++) {
        const emc_marker_table *table = emc_marker_table_get(t);
        for (int i = 0; i < table->n_entries; i++, n_entries++)
            for (int g = 0; g < table->entries[i].n_genes; g++) {
                const char *gene = table->entries[i].genes[g];
                for (int k = 0; k < g; k++)
                    assert_string_not_equal(gene, table->entries[i].genes[k]);
                assert_true(gene[strspn(gene, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-orf")] == '\0');
            }
    }
    assert_true(n_entries > 45);
    EMT_OK(emc_profile_open(&profile, "embryo"));
    const emc_profile_info *info = emc_profile_get(profile);
    for (int i = 0; i < info->n_labels; i++) {
        emc_markers_find(&info->labels[i], &n);
        if (n < 5)
            fail_msg("%s has %d markers", info->labels[i].label, n);
    }
    const emc_profile_label nobody = {.label = "Nobody"};
    assert_null(emc_markers_find(&nobody, &n));
    assert_int_equal(n, 0);
    emc_profile_close(profile);
}

/* Real questions: every one is there, word for word. */
static void test_cellverse(void **state)
{
    (void)state;
    emt_need_shared("data/cellverse_cta/cta_scrna_full.json");
    const emc_benchmark_make_options options = {.output_dir = emt_temp("cellverse")};
    char dir[4096];
    int64_t n;
    emc_benchmark *b;

    snprintf(dir, sizeof dir, "%s", options.output_dir);
    const emc_benchmark_make_options kept = {.output_dir = dir};
    EMT_OK(emc_benchmark_import_cellverse(&n, emt_shared("data/cellverse_cta/cta_scrna_full.json"),
                                          &kept));
    assert_int_equal(n, 748);
    EMT_OK(emc_benchmark_open(&b, dir));
    assert_int_equal(emc_benchmark_n_items(b), 748);
    assert_int_equal(emc_labels_count(emc_benchmark_labels(b)), 18);
    const emc_bench_item *item = emc_benchmark_item(b, 0);
    assert_int_equal(item->n_messages, 2);
    assert_string_equal(item->messages[0].role, "system");
    assert_true(strncmp(item->messages[1].content, "Below is a list of {gene_names}", 31) == 0);
    assert_int_equal(item->n_candidates, 18);
    assert_string_equal(item->genes[0], "ATP1B1");
    emc_benchmark_close(b);
    EMT_FAILS(EMC_ERR_CREATE, "--force",
              emc_benchmark_import_cellverse(
                  &n, emt_shared("data/cellverse_cta/cta_scrna_full.json"), &kept));
}

static void test_broken_questions(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"{}", "a list of questions"},
        {"[]", "a list of questions"},
        {"[{}]", "question 1: no list \"messages\""},
        {"[{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"user\", "
         "\"content\": \"y\"}]}]",
         "not the assistant's"},
        {"[{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", "
         "\"content\": \"y\"}]}]",
         "no line \"{cell_types}: \""},
        {"[{\"messages\": [{\"role\": \"user\", \"content\": \"x\\n{cell_types}: 'a', 'b'.\"}, "
         "{\"role\": \"assistant\", \"content\": \"c\"}]}]",
         "not among the candidates"},
        {"[{\"messages\": [{\"role\": \"user\", \"content\": \"x\\n{cell_types}: 'a'.\"}, "
         "{\"role\": \"assistant\", \"content\": \"a\"}]}]",
         "fewer than two"},
        {"[{\"messages\": [{\"role\": \"user\", \"content\": \"x\\n{cell_types}: 'a, 'b\"}, "
         "{\"role\": \"assistant\", \"content\": \"a\"}]}]",
         "closing quote"},
    };
    int64_t n;

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char path[4096], dir[4096];
        snprintf(path, sizeof path, "%s",
                 emt_write("questions.json", cases[i].text, strlen(cases[i].text)));
        snprintf(dir, sizeof dir, "%s", emt_temp("questions"));
        const emc_benchmark_make_options options = {.output_dir = dir};
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].wanted,
                  emc_benchmark_import_cellverse(&n, path, &options));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_broken_items),
        cmocka_unit_test(test_broken_folders),
        cmocka_unit_test(test_sim),
        cmocka_unit_test(test_markers),
        cmocka_unit_test(test_cellverse),
        cmocka_unit_test(test_broken_questions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
