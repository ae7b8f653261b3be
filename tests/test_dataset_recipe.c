/* Recipes and label maps: those that are built in, what they say of real labels, and what is
 * refused. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/recipe.h"
#include "annotate/dataset/recipe_parts.h"
#include "annotate/labels.h"
#include "emt.h"

static void test_builtin(void **state)
{
    int n = 0;
    (void)state;

    for (; emc_recipe_builtin(n); n++) {
        const char *name = emc_recipe_builtin(n);
        emc_recipe *recipe;
        size_t n_text, n_builtin;
        EMT_OK(emc_recipe_open(&recipe, name, "data"));
        const emc_recipe_info *info = emc_recipe_get(recipe);
        assert_string_equal(info->name, name);
        assert_string_equal(info->folder, "data");
        assert_true(info->n_inputs >= 1);
        assert_string_equal(emc_recipe_text(recipe, &n_text),
                            emc_recipe_builtin_text(name, &n_builtin));
        assert_int_equal(n_text, n_builtin);
        emc_recipe_close(recipe);
    }
    assert_int_equal(n, 11);
    assert_null(emc_recipe_builtin_text("no such", &(size_t){0}));
    assert_null(emc_label_map_builtin_text("no such", &(size_t){0}));
}

static void test_yan(void **state)
{
    emc_recipe *recipe;
    (void)state;

    EMT_OK(emc_recipe_open(&recipe, "yan2013", NULL));
    const emc_recipe_info *info = emc_recipe_get(recipe);
    assert_string_equal(info->folder, ".");
    assert_string_equal(info->profile, "embryo");
    assert_int_equal(info->n_labels, 0);
    assert_int_equal(info->n_inputs, 1);
    const emc_recipe_input *input = &info->inputs[0];
    assert_string_equal(input->path, "yan2013/yan2013.h5ad");
    assert_string_equal(input->label.column, "stage");
    assert_null(input->label.value);
    assert_string_equal(input->count_unit, "RPKM");
    assert_string_equal(input->layer, "X");
    assert_string_equal(input->map->name, "yan2013-stages");
    assert_int_equal(info->split.by, EMC_SPLIT_EMBRYO);
    assert_true(info->split.test == 0.3 && info->split.validation == 0 && info->split.stratify);
    assert_int_equal(info->examples.n_n_genes, 3);
    assert_int_equal(info->examples.n_genes[1], 100);
    assert_int_equal(info->examples.n_paraphrases, 4);
    assert_int_equal(info->examples.per_cell, 2);
    assert_true(info->examples.weights && !info->examples.stage);
    assert_true(info->examples.candidate_share == 0 && info->examples.unknown_share == 0);
    emc_recipe_close(recipe);
}

/* The recipe's labels stand in the place of the profile's, with ids and hierarchy. */
static void test_own_labels(void **state)
{
    emc_recipe *recipe;
    emc_labels *labels;
    emc_label_match match;
    const char *ancestors[4];
    static const char treg[] = "CD4+/CD25 T Reg";
    (void)state;

    EMT_OK(emc_recipe_open(&recipe, "pbmc68k", NULL));
    assert_int_equal(emc_recipe_get(recipe)->n_labels, 10);
    EMT_OK(emc_labels_from_profile(&labels, emc_recipe_profile(recipe)));
    assert_int_equal(emc_labels_count(labels), 10);
    EMT_OK(emc_labels_match(labels, treg, strlen(treg), &match));
    assert_int_equal(match.kind, EMC_MATCH_SYNONYM);
    assert_string_equal(emc_labels_get(labels, match.label)->label, "Regulatory T cell");
    assert_string_equal(emc_labels_get(labels, match.label)->cl, "CL:0000792");
    assert_int_equal(emc_labels_ancestors(labels, match.label, ancestors, 4), 3);
    assert_string_equal(ancestors[2], "Lymphocyte");
    emc_labels_close(labels);
    emc_recipe_close(recipe);
}

/* --- Label maps ---------------------------------------------------------------------------- */

static const char around_map[] =
    "{\"name\": \"r\", \"description\": \"d\", \"source\": \"s\", \"profile\": \"embryo\", "
    "\"seed\": 1, \"split\": {\"by\": \"cell\"}, \"inputs\": [{\"path\": \"x.h5ad\", "
    "\"label\": {\"column\": \"l\"}, \"stage\": {\"column\": \"s\"}, \"count_unit\": \"UMI\", "
    "\"source\": \"s\", \"licence\": \"l\", \"label_map\": \"%s\"}]}";

static emc_recipe *with_map(const char *map)
{
    char text[1024];
    emc_recipe *recipe;

    snprintf(text, sizeof(text), around_map, map);
    EMT_OK(emc_recipe_open(&recipe, emt_write("map.json", text, strlen(text)), NULL));
    return recipe;
}

/* Every built-in map leads into the labels of the profile embryo, and says why it drops. */
static void test_maps(void **state)
{
    int n = 0;
    (void)state;

    for (; emc_label_map_builtin(n); n++) {
        emc_recipe *recipe = with_map(emc_label_map_builtin(n));
        const emc_label_map *map = emc_recipe_get(recipe)->inputs[0].map;
        assert_string_equal(map->name, emc_label_map_builtin(n));
        assert_true(strlen(map->paper) > 10 && strlen(map->source) > 10);
        assert_false(map->drop_unlisted);
        for (int i = 0; i < map->n_entries; i++)
            if (!map->entries[i].label || strcmp(map->entries[i].label, "unknown") == 0)
                if (strlen(map->entries[i].note) < 5)
                    fail_msg("%s: \"%s\" is not kept, without a note", map->name,
                             map->entries[i].source);
        emc_recipe_close(recipe);
    }
    assert_int_equal(n, 13);
}

static void test_meanings(void **state)
{
    static const struct {
        const char *map, *source, *stage, *label; /* label NULL: dropped */
    } cases[] = {
        {"yan2013-stages", "oocyte (MII)", NULL, "unknown"},
        {"yan2013-stages", "late blastocyst", NULL, NULL},
        {"yan2013-sc3", "zygote", NULL, NULL}, /* oocytes and zygotes */
        {"yan2013-sc3", "16cell", NULL, "Morula"},
        {"tyser2021", "Advanced Mesoderm", NULL, "ExE mesoderm"},
        {"tyser2021", "NNE", NULL, "Amnion"},
        {"tyser2021", "Endoderm", NULL, NULL},
        {"petropoulos2016-lineage", "undefined", "E3", "8 cell"},
        {"petropoulos2016-lineage", "undefined", "E4", "Morula"},
        {"petropoulos2016-lineage", "undefined", "E7", NULL},
        {"petropoulos2016-lineage", "undefined", NULL, NULL},
        {"petropoulos2016-meistermann", "6.Epiblast", "E5", "Early epiblast"},
        {"petropoulos2016-castel", "TB.early", "E7", "TE"},
        {"petropoulos2016-stirparo", "PE", NULL, "Hypoblast"},
        {"xiang2020-lineage", "ICM", "D6", NULL},
        {"xiang2020-lineage", "CTB", "D7", "TE"},
        {"xiang2020-lineage", "CTB", "D8", "CTB"},
        {"xiang2020-epiblast", "PostEPI", "D14", "Late epiblast"},
        {"zhou2019-castel", "EPI", "D6", "Early epiblast"},
        {"zhou2019-castel", "EPI", "D12", "Late epiblast"},
        {"zhou2019-castel", "EPI", NULL, NULL},
        {"zhou2019-lineage", "TE", "D10", NULL},
        {"zhao2025", "AdvMes", NULL, "ExE mesoderm"},
        {"zhao2025", "low_cor", NULL, NULL},
        {"post-implantation", "Amniontic.epi", NULL, "Amnion"},
        {"post-implantation", "Somite", NULL, "unknown"},
    };
    (void)state;

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_recipe *recipe = with_map(cases[i].map);
        const emc_label_map_entry *entry = emc_label_map_find(emc_recipe_get(recipe)->inputs[0].map,
                                                              cases[i].source, cases[i].stage);
        assert_non_null(entry);
        if (cases[i].label && entry->label)
            assert_string_equal(entry->label, cases[i].label);
        else if (cases[i].label || entry->label)
            fail_msg("%s: %s: not as wanted", cases[i].map, cases[i].source);
        emc_recipe_close(recipe);
    }
}

/* The field `index` of a line of tabs, cut out of it. */
static char *field(char *line, int index)
{
    for (; index > 0 && line; index--) {
        line = strchr(line, '\t');
        line = line ? line + 1 : NULL;
    }
    return line;
}

static void cut(char *text)
{
    text[strcspn(text, "\t\r\n")] = '\0';
}

/* Every word that the published tables hold is listed, as a label or as dropped. */
static void test_published(void **state)
{
    static const struct {
        const char *file;
        int column, stage, n; /* stage -1: none; n: cells with a word */
        const char *map;
    } cases[] = {
        {"petropoulos2016_labels.tsv", 4, 1, 1463, "petropoulos2016-lineage"},
        {"petropoulos2016_labels.tsv", 5, 1, 1496, "petropoulos2016-meistermann"},
        {"petropoulos2016_labels.tsv", 6, 1, 1496, "petropoulos2016-castel"},
        {"xiang2020_labels.tsv", 3, 1, 555, "xiang2020-lineage"},
        {"xiang2020_labels.tsv", 5, 1, 222, "xiang2020-epiblast"},
        {"zhou2019_labels.tsv", 3, 1, 5342, "zhou2019-castel"},
        {"embryo_metadata.tsv", 6, 1, 2544, "zhou2019-lineage"},
        {"tyser2021_labels.tsv", 1, -1, 1195, "tyser2021"},
        {"tyser2021_labels.tsv", 2, -1, 1195, "tyser2021"},
    };
    (void)state;

    emt_need_shared("data/embryo_labels/zhou2019_labels.tsv");
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char path[256], *text, *next, word[128], stage[128] = "";
        emc_recipe *recipe = with_map(cases[i].map);
        const emc_label_map *map = emc_recipe_get(recipe)->inputs[0].map;
        int n = 0;
        snprintf(path, sizeof(path), "data/embryo_labels/%s", cases[i].file);
        text = emt_read(emt_shared(path), NULL);
        next = strchr(text, '\n');
        while (next && next[1]) {
            char *line = next + 1;
            next = strchr(line, '\n');
            snprintf(word, sizeof(word), "%.127s", field(line, cases[i].column));
            cut(word);
            if (cases[i].stage >= 0) {
                snprintf(stage, sizeof(stage), "%.127s", field(line, cases[i].stage));
                cut(stage);
            }
            if (word[0] == '\0')
                continue;
            n++;
            if (!emc_label_map_find(map, word, stage[0] ? stage : NULL))
                fail_msg("%s: \"%s\" (%s) is not in the map %s", path, word, stage, map->name);
        }
        assert_int_equal(n, cases[i].n);
        free(text);
        emc_recipe_close(recipe);
    }
}

/* --- What is refused ------------------------------------------------------------------------ */

/* A good recipe, in which one piece of text is put in the place of another. */
static const char good[] =
    "{\"name\": \"r\", \"description\": \"d\", \"source\": \"s\", \"profile\": \"choices\",\n"
    " \"labels\": [{\"label\": \"A\"}, {\"label\": \"B\", \"cl\": \"CL:0000236\"}],\n"
    " \"inputs\": [{\"path\": \"x.csv\", \"label\": {\"column\": \"l\"}, \"embryo\": {\"value\": "
    "\"e\"},\n"
    "  \"table\": {\"path\": \"t.tsv\", \"id\": \"cell\"}, \"count_unit\": \"UMI\", "
    "\"obs_filters\": "
    "[\"a==b\"],\n"
    "  \"label_map\": {\"entries\": [{\"source\": \"a\", \"label\": \"A\"}]},\n"
    "  \"source\": \"s\", \"licence\": \"l\"}],\n"
    " \"split\": {\"by\": \"embryo\", \"test\": 0.2, \"validation\": 0.1, \"hold_out\": [\"e\"]},\n"
    " \"examples\": {\"n_genes\": [5, 10], \"per_cell\": 2, \"candidates\": {\"share\": 0.5, "
    "\"least\": 2, \"most\": 3}},\n"
    " \"seed\": 7}";

static const char *variant(const char *old, const char *new_text)
{
    static char text[4096];
    const char *at = strstr(good, old);

    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, new_text, at + strlen(old));
    return text;
}

static void test_refused(void **state)
{
    static const struct {
        const char *old, *new_text, *message;
        emc_status status;
    } cases[] = {
        {"\"seed\": 7}", "\"seed\": 7", "bad.json", EMC_ERR_FORMAT},
        {"\"seed\": 7", "\"seed\": -1", "seed", EMC_ERR_FORMAT},
        {", \"source\": \"s\", \"profile\"", ", \"profile\"", "\"source\" is missing",
         EMC_ERR_FORMAT},
        {"\"description\": \"d\"", "\"description\": \"\"", "\"description\" is empty",
         EMC_ERR_FORMAT},
        {"\"seed\": 7", "\"seed\": 7, \"sed\": 1", "sed", EMC_ERR_FORMAT},
        {"\"d\"", "\"d\\u0000\"", "NUL", EMC_ERR_FORMAT},
        {"\"choices\"", "\"none-such\"", "\"profile\"", EMC_ERR_NOT_FOUND},
        {"\"label\": \"A\"}, {", "\"lable\": \"A\"}, {", "lable", EMC_ERR_FORMAT},
        {"{\"label\": \"A\"}, ", "", "at least two to choose from", EMC_ERR_CONFIG},
        {"{\"label\": \"A\"}, ", "{\"label\": \"b\"}, ", "bad.json", EMC_ERR_CONFIG},
        {"{\"label\": \"A\"}, ", "{\"label\": \"unknown\"}, ", "stands for none", EMC_ERR_CONFIG},
        {"CL:0000236", "CL:236", "CL: and seven digits", EMC_ERR_FORMAT},
        {"\"inputs\": [{", "\"inputs\": [], \"input\": [{", "input", EMC_ERR_FORMAT},
        {"\"path\": \"x.csv\", ", "", "input 1: \"path\" is missing", EMC_ERR_FORMAT},
        {"{\"column\": \"l\"}", "{\"column\": \"l\", \"value\": \"v\"}",
         "input 1: label: wanted either", EMC_ERR_CONFIG},
        {"{\"column\": \"l\"}", "\"l\"", "\"label\" must be an object", EMC_ERR_FORMAT},
        {"{\"column\": \"l\"}", "{\"colum\": \"l\"}", "colum", EMC_ERR_FORMAT},
        {"\"embryo\": {\"value\": \"e\"}", "\"dataset\": {\"value\": \"e\"}",
         "the split is by embryo, and \"embryo\" is missing", EMC_ERR_CONFIG},
        {", \"id\": \"cell\"", "", "table: \"id\" is missing", EMC_ERR_FORMAT},
        {"a==b", "a=b", "obs_filters", EMC_ERR_CONFIG},
        {"\"label\": \"A\"}]}", "\"label\": \"C\"}]}", "\"a\" becomes \"C\"", EMC_ERR_CONFIG},
        {"\"label\": \"A\"}]}", "\"note\": \"A\"}]}", "\"label\" is missing", EMC_ERR_FORMAT},
        {"\"label\": \"A\"}]}", "\"label\": \"A\"}, {\"source\": \"a\", \"label\": null}]}",
         "entry 2: \"a\" is listed already", EMC_ERR_CONFIG},
        {"\"label\": \"A\"}]}",
         "\"label\": \"A\"}, {\"source\": \"a\", \"stage\": \"E3\", \"label\": null}]}",
         "entry 2: \"a\" is listed already", EMC_ERR_CONFIG},
        {"{\"source\": \"a\",", "{\"source\": \"a\", \"stage\": \"E3\",",
         "its label map asks for a stage", EMC_ERR_CONFIG},
        {"{\"entries\": [{\"source\": \"a\", \"label\": \"A\"}]}", "\"none-such\"",
         "neither a file nor a built-in label map", EMC_ERR_NOT_FOUND},
        {"{\"entries\": [{\"source\": \"a\", \"label\": \"A\"}]}", "{\"entries\": []}",
         "\"entries\" is missing or empty", EMC_ERR_FORMAT},
        {"\"entries\": [{", "\"unlisted\": \"keep\", \"entries\": [{", "\"error\" or \"drop\"",
         EMC_ERR_FORMAT},
        {"\"by\": \"embryo\"", "\"by\": \"donor\"", "wanted \"embryo\", \"dataset\"",
         EMC_ERR_FORMAT},
        {"\"test\": 0.2", "\"test\": 0.9", "leave nothing to train on", EMC_ERR_CONFIG},
        {"\"test\": 0.2", "\"test\": 1.2", "\"test\" must be between", EMC_ERR_CONFIG},
        {"[5, 10]", "[5, 0]", "item 2 must be a whole number", EMC_ERR_FORMAT},
        {"[5, 10]", "[5.5]", "item 1 must be a whole number", EMC_ERR_FORMAT},
        {"\"per_cell\": 2", "\"per_cell\": 0", "per_cell", EMC_ERR_FORMAT},
        {"\"most\": 3", "\"most\": 1", "most", EMC_ERR_FORMAT},
        {"\"least\": 2", "\"least\": 4", "\"most\" is below \"least\"", EMC_ERR_CONFIG},
        {"\"per_cell\": 2", "\"stage\": true", "\"examples\" asks for a stage", EMC_ERR_CONFIG},
    };
    emc_recipe *recipe;
    (void)state;

    EMT_OK(emc_recipe_open(&recipe, emt_write("good.json", good, strlen(good)), NULL));
    assert_string_equal(emc_recipe_get(recipe)->folder, emt_temp_dir());
    assert_int_equal(emc_recipe_get(recipe)->examples.candidates_most, 3);
    emc_recipe_close(recipe);
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *text = variant(cases[i].old, cases[i].new_text);
        EMT_FAILS(cases[i].status, cases[i].message,
                  emc_recipe_open(&recipe, emt_write("bad.json", text, strlen(text)), NULL));
        assert_null(recipe);
        if (!strstr(emc_message(), "bad.json"))
            fail_msg("does not name the file: %s", emc_message());
    }
    EMT_FAILS(EMC_ERR_NOT_FOUND, "neither a file nor a built-in recipe",
              emc_recipe_open(&recipe, "yan2014", NULL));
}

/* A map in a file of its own, beside the recipe; a profile there, too. */
static void test_beside(void **state)
{
    static const char map[] = "{\"name\": \"m\", \"paper\": \"p\", \"source\": \"s\", "
                              "\"unlisted\": \"drop\", \"entries\": [{\"source\": \"a\", "
                              "\"label\": \"B\"}]}";
    const char *text =
        variant("{\"entries\": [{\"source\": \"a\", \"label\": \"A\"}]}", "\"map-file.json\"");
    emc_recipe *recipe;
    (void)state;

    emt_write("map-file.json", map, strlen(map));
    EMT_OK(emc_recipe_open(&recipe, emt_write("r.json", text, strlen(text)), "elsewhere"));
    const emc_label_map *found = emc_recipe_get(recipe)->inputs[0].map;
    assert_string_equal(found->name, "m");
    assert_true(found->drop_unlisted);
    assert_string_equal(emc_recipe_get(recipe)->folder, "elsewhere");
    emc_recipe_close(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin),    cmocka_unit_test(test_yan),
        cmocka_unit_test(test_own_labels), cmocka_unit_test(test_maps),
        cmocka_unit_test(test_meanings),   cmocka_unit_test(test_published),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
