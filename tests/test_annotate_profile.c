/* What is a profile, and what is refused as one? */
#include <stdlib.h>
#include <string.h>

#include "annotate/labels.h"
#include "annotate/profile.h"
#include "base/text.h"
#include "cells/genes.h"
#include "emt.h"

static const char *const embryo_labels[] = {
    "Zygote",
    "2-4 cell",
    "8 cell",
    "Morula",
    "Prelineage",
    "ICM",
    "Early epiblast",
    "Late epiblast",
    "Hypoblast",
    "AVE",
    "TE",
    "CTB",
    "STB",
    "EVT",
    "Amnion",
    "Primitive streak",
    "Nascent mesoderm",
    "Emergent mesoderm",
    "Advanced mesoderm",
    "Axial mesoderm",
    "ExE mesoderm",
    "DE",
    "YS endoderm",
    "HEP",
    "Erythroblast",
    "PGC",
    "Ectoderm",
};

static void builtins_are_listed_and_open(void **state)
{
    (void)state;
    assert_string_equal(emc_profile_builtin(0), "embryo");
    assert_string_equal(emc_profile_builtin(1), "c2s");
    assert_string_equal(emc_profile_builtin(2), "choices");
    assert_null(emc_profile_builtin(3));
    for (int i = 0; i < 3; i++) {
        emc_profile *profile;
        size_t n, n_text;
        EMT_OK(emc_profile_open(&profile, emc_profile_builtin(i)));
        const char *text = emc_profile_builtin_text(emc_profile_builtin(i), &n);
        assert_string_equal(emc_profile_get(profile)->name, emc_profile_builtin(i));
        assert_false(emc_profile_get(profile)->official);
        assert_string_equal(emc_profile_text(profile, &n_text), text);
        assert_int_equal(n_text, n);
        emc_profile_close(profile);
    }
    emc_profile_close(NULL);
}

/* Models are trained on these words: a change here makes them wrong. */
static void embryo_is_what_models_are_trained_on(void **state)
{
    emc_profile *profile;

    (void)state;
    EMT_OK(emc_profile_open(&profile, NULL));
    const emc_profile_info *p = emc_profile_get(profile);
    assert_string_equal(p->name, "embryo");
    assert_int_equal(p->n_messages, 1);
    assert_string_equal(p->messages[0].role, "user");
    assert_string_equal(p->messages[0].content,
                        "Task: name the cell type of one cell of a human embryo between zygote and "
                        "gastrulation. The genes below are its most expressed genes, highest "
                        "first.\nGenes: {genes}\nCell type:");
    assert_int_equal(p->n_genes, 100);
    assert_int_equal(p->min_genes, 10);
    assert_string_equal(p->gene_separator, " ");
    assert_true(p->min_value == 0);
    assert_int_equal(p->drop_groups,
                     EMC_GENES_MITOCHONDRIAL | EMC_GENES_RIBOSOMAL | EMC_GENES_NUCLEAR_RNA);
    assert_int_equal(p->thinking, EMC_THINKING_PREFILL);
    assert_int_equal(p->answer, EMC_ANSWER_EXACT);
    assert_int_equal(p->scoring, EMC_SCORING_JOINT);
    assert_true(p->probability_width == 0.02);
    assert_string_equal(p->answer_prefix, "");
    assert_string_equal(p->answer_suffix, "");
    assert_string_equal(p->answer_ending, "<|im_end|>");
    assert_true(p->temperature == 1);
    assert_int_equal(p->n_labels, EMC_COUNT(embryo_labels));
    for (int i = 0; i < p->n_labels; i++)
        assert_string_equal(p->labels[i].label, embryo_labels[i]);
    emc_profile_close(profile);
}

static void choices_takes_the_labels_of_embryo(void **state)
{
    emc_profile *profile;

    (void)state;
    EMT_OK(emc_profile_open(&profile, "choices"));
    const emc_profile_info *p = emc_profile_get(profile);
    assert_int_equal(p->n_labels, EMC_COUNT(embryo_labels));
    assert_string_equal(p->labels[26].label, "Ectoderm");
    assert_non_null(strstr(p->messages[0].content, "{labels}"));
    assert_string_equal(p->label_separator, "; ");
    emc_profile_close(profile);
}

static void c2s_lists_200_genes(void **state)
{
    emc_profile *profile;

    (void)state;
    EMT_OK(emc_profile_open(&profile, "c2s"));
    const emc_profile_info *p = emc_profile_get(profile);
    assert_int_equal(p->n_genes, 200);
    assert_string_equal(p->gene_separator, " ");
    assert_string_equal(p->answer_suffix, ".");
    assert_int_equal(p->drop_groups, 0);
    for (int i = 0; i < p->n_labels; i++)
        assert_non_null(p->labels[i].cl);
    emc_profile_close(profile);
}

static void a_file_is_read_with_its_medians(void **state)
{
    emc_profile *profile;

    (void)state;
    EMT_OK(emc_profile_open(&profile, emt_golden("annotate/think.json")));
    const emc_profile_info *p = emc_profile_get(profile);
    assert_string_equal(p->medians_path, emt_golden("annotate/medians.tsv"));
    assert_int_equal(p->thinking, EMC_THINKING_BY_MODEL);
    assert_int_equal(p->on_negative, EMC_VALUES_SKIP);
    assert_int_equal(p->on_not_finite, EMC_VALUES_SKIP);
    assert_int_equal(p->n_drop_genes, 1);
    assert_string_equal(p->drop_genes[0], "VIM");
    assert_true(p->temperature == 2.5 && p->unknown_below == 0.3 && p->margin_below == 0.05);
    assert_int_equal(p->answer, EMC_ANSWER_FULL);
    /* It says nothing of them. */
    assert_int_equal(p->scoring, EMC_SCORING_JOINT);
    assert_true(p->probability_width == EMC_PROBABILITY_WIDTH);
    emc_profile_close(profile);
}

/* The first `from` of the built-in profile embryo becomes `to`; then it must be refused. */
static const struct {
    const char *from, *to;
    emc_status status;
    const char *message;
} broken[] = {
    {"{\n", "[\n", EMC_ERR_FORMAT, "bad.json: line"},
    {"\"name\": \"embryo\"", "\"nmae\": \"embryo\"", EMC_ERR_FORMAT, "nmae"},
    {"\"name\": \"embryo\"", "\"name\": \"\"", EMC_ERR_FORMAT, "\"name\" is empty"},
    {"\"name\": \"embryo\"", "\"name\": 3", EMC_ERR_FORMAT, "name"},
    {"\"name\": \"embryo\",", "", EMC_ERR_FORMAT, "name"},
    {"\"description\"", "\"name\": \"x\", \"description\"", EMC_ERR_FORMAT, "name"},
    {"\"official\": false", "\"official\": \"no\"", EMC_ERR_FORMAT, "official"},
    {"\"official\": false", "\"officially\": false", EMC_ERR_FORMAT, "officially"},
    {"\"source\": \"", "\"source\": \"\\u0000", EMC_ERR_FORMAT, "\\u0000"},
    {"\"messages\": [", "\"messages\": 7, \"x\": [", EMC_ERR_FORMAT, "x"},
    {"\"role\": \"user\"", "\"role\": \"tool\"", EMC_ERR_FORMAT, "message 1: \"role\" is \"tool\""},
    {"\"role\": \"user\"", "\"rule\": \"user\"", EMC_ERR_FORMAT, "message 1"},
    {"\"role\": \"user\"", "\"role\": \"assistant\"", EMC_ERR_CONFIG,
     "{genes} must stand in a user"},
    {"{genes}", "{gene}", EMC_ERR_CONFIG, "unknown slot {gene}"},
    {"{genes}", "{genes", EMC_ERR_CONFIG, "'{' without '}'"},
    {"{genes}", "genes}", EMC_ERR_CONFIG, "'}' without '{'"},
    {"{genes}", "genes", EMC_ERR_CONFIG, "slot {genes} 0 times"},
    {"{genes}", "{genes}{genes}", EMC_ERR_CONFIG, "slot {genes} 2 times"},
    {"\"n_genes\": 100", "\"n_genes\": 0", EMC_ERR_FORMAT, "n_genes"},
    {"\"n_genes\": 100", "\"n_genes\": 1.5", EMC_ERR_FORMAT, "n_genes"},
    {"\"n_genes\": 100", "\"n_genes\": 9", EMC_ERR_CONFIG, "\"min_genes\" is 10, above"},
    {"\"min_genes\": 10", "\"min_genes\": -1", EMC_ERR_FORMAT, "min_genes"},
    {"\"separator\": \" \"", "\"separator\": \"\"", EMC_ERR_FORMAT, "\"separator\" is empty"},
    {"\"min_value\": 0", "\"min_value\": -1", EMC_ERR_CONFIG, "min_value"},
    {"\"negative\": \"refuse\"", "\"negative\": \"ignore\"", EMC_ERR_FORMAT,
     "\"negative\" is \"ignore\", wanted \"refuse\" or \"skip\""},
    {"\"not_finite\": \"refuse\"", "\"not_finite\": null", EMC_ERR_FORMAT, "not_finite"},
    {"\"medians\": null", "\"medians\": \"m.tsv\"", EMC_ERR_CONFIG, "plain name of a file"},
    {"[\"mitochondrial\"", "[\"mitochondria\"", EMC_ERR_CONFIG, "\"drop_groups\""},
    {"\"drop_genes\": []", "\"drop_genes\": [1]", EMC_ERR_FORMAT, "\"drop_genes\": item 1"},
    {"\"drop_genes\": []", "\"drop_genes\": \"VIM\"", EMC_ERR_FORMAT, "must be a list"},
    {"\"form\": \"qwen3\"", "\"form\": \"llama\"", EMC_ERR_FORMAT, "\"form\" is \"llama\""},
    {"empty-think-prefill", "off", EMC_ERR_FORMAT,
     "wanted \"plain\", \"empty-think-prefill\" or \"model-emits-think\""},
    {"{\"label\": \"Zygote\"", "{\"lable\": \"Zygote\"", EMC_ERR_FORMAT, "label 1"},
    {"{\"label\": \"Zygote\"", "{\"label\": \"\"", EMC_ERR_FORMAT, "label 1: \"label\" is empty"},
    {"{\"label\": \"Zygote\"", "{\"label\": \"Morula\"", EMC_ERR_CONFIG, "\"Morula\" comes twice"},
    {"{\"label\": \"Zygote\"", "{\"label\": \"morula cells\"", EMC_ERR_CONFIG, "means the same"},
    {"{\"label\": \"Zygote\"", "{\"label\": \"--\"", EMC_ERR_CONFIG, "holds no letter"},
    {"CL:0010017", "CL:10017", EMC_ERR_FORMAT, "label \"Zygote\": \"cl\" is \"CL:10017\""},
    {"UBERON:0000106", "CL:0000106", EMC_ERR_FORMAT, "UBERON:"},
    {"\"2PN\"", "\"TE\"", EMC_ERR_CONFIG, "means the same as one of \"TE\""},
    {"\"2PN\"", "\"epiblast\"", EMC_ERR_CONFIG, "means the same as one of"},
    {"\"parent\": \"Cleavage\"", "\"parent\": \"Cleaving\"", EMC_ERR_CONFIG,
     "\"Cleaving\", is neither label nor group"},
    {"{\"name\": \"Cleavage\", \"parent\": null", "{\"name\": \"Cleavage\", \"parent\": \"Zygote\"",
     EMC_ERR_CONFIG, "its own ancestor"},
    {"{\"name\": \"Cleavage\"", "{\"name\": \"TE\"", EMC_ERR_CONFIG,
     "group \"TE\": the name is taken"},
    {"\"term\": \"blood\", \"labels\": [\"HEP\"", "\"term\": \"blood\", \"labels\": [\"Hep\"",
     EMC_ERR_CONFIG, "ambiguous term \"blood\": no label \"Hep\""},
    {"\"term\": \"blood\"", "\"term\": \"gut\"", EMC_ERR_CONFIG, "means the same"},
    {"\"label\": \"Zygote\"", "\"label\": \"Zygote\", \"marker\": 1", EMC_ERR_FORMAT, "marker"},
    {"\"labels\": [\n", "\"labels_of\": \"c2s\", \"labels\": [\n", EMC_ERR_CONFIG,
     "exclude each other"},
    {"\"prefix\": \"\"", "\"prefix\": null", EMC_ERR_FORMAT, "prefix"},
    {"\"ending\": \"<|im_end|>\"", "\"ending\": \"\"", EMC_ERR_FORMAT, "\"ending\" is empty"},
    {"\"answer\": \"exact\"", "\"answer\": \"best\"", EMC_ERR_FORMAT,
     "\"answer\" is \"best\", wanted \"exact\", \"full\", \"greedy\" or \"generate\""},
    {"\"answer\": \"exact\",", "", EMC_ERR_FORMAT, "\"answer\" is missing"},
    {"\"scoring\": \"joint\"", "\"scoring\": \"sum\"", EMC_ERR_FORMAT,
     "\"scoring\" is \"sum\", wanted \"joint\", \"mean\", \"first\" or \"prior\""},
    {"\"scoring\": \"joint\"", "\"scoring\": 1", EMC_ERR_FORMAT, "scoring"},
    {"\"probability_width\": 0.02", "\"probability_width\": 2", EMC_ERR_CONFIG,
     "\"probability_width\" must be between 0 and 1"},
    {"\"probability_width\": 0.02", "\"probability_widht\": 0.02", EMC_ERR_FORMAT,
     "probability_widht"},
    {"\"max_tokens\": 32", "\"max_tokens\": 0", EMC_ERR_FORMAT, "max_tokens"},
    {"\"temperature\": 1", "\"temperature\": 0", EMC_ERR_CONFIG, "temperature"},
    {"\"unknown_below\": 0", "\"unknown_below\": 1.5", EMC_ERR_CONFIG, "unknown_below"},
    {"\"margin_below\": 0", "\"margin_below\": -0.1", EMC_ERR_CONFIG, "margin_below"},
};

static char *replaced(const char *text, const char *from, const char *to)
{
    emc_text out = {0};
    const char *at = strstr(text, from);

    if (!at)
        fail_msg("the profile does not hold %s", from);
    EMT_OK(emc_text_add(&out, text, (size_t)(at - text)));
    EMT_OK(emc_text_add_string(&out, to));
    EMT_OK(emc_text_add_string(&out, at + strlen(from)));
    return out.bytes;
}

static void each_check_has_a_broken_profile(void **state)
{
    size_t n;
    const char *text = emc_profile_builtin_text("embryo", &n);

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(broken); i++) {
        emc_profile *profile = (emc_profile *)state;
        char *bad = replaced(text, broken[i].from, broken[i].to);
        const emc_status status = emc_profile_parse(&profile, bad, strlen(bad), "bad.json");
        if (status != broken[i].status || !strstr(emc_message(), broken[i].message))
            fail_msg("%s -> %s: %s: %s", broken[i].from, broken[i].to, emc_status_name(status),
                     emc_message());
        if (strncmp(emc_message(), "bad.json", 8) != 0 || strchr(emc_message(), '\n'))
            fail_msg("the file is not named: %s", emc_message());
        assert_null(profile);
        free(bad);
    }
}

static void other_messages_and_names_are_refused(void **state)
{
    emc_profile *profile;
    size_t n;
    const char *text = emc_profile_builtin_text("plain", &n);

    (void)state;
    assert_null(text);
    char *plain = emt_read(emt_golden("annotate/plain.json"), &n);
    char *bad = replaced(plain, "\"role\": \"assistant\"", "\"role\": \"system\"");
    EMT_FAILS(EMC_ERR_CONFIG, "message 2: a system message must come first",
              emc_profile_parse(&profile, bad, strlen(bad), "x"));
    free(bad);
    bad = replaced(plain, "{\"role\": \"user\", \"content\": \"{genes}\"}",
                   "{\"role\": \"user\", \"content\": \"{genes}\"}, "
                   "{\"role\": \"assistant\", \"content\": \"?\"}");
    EMT_FAILS(EMC_ERR_CONFIG, "the last message must be the user's",
              emc_profile_parse(&profile, bad, strlen(bad), "x"));
    free(bad);
    bad = replaced(plain, "\"labels_of\": \"embryo\"", "\"labels_of\": \"mouse\"");
    EMT_FAILS(EMC_ERR_CONFIG, "\"mouse\", wanted a built-in",
              emc_profile_parse(&profile, bad, strlen(bad), "x"));
    free(bad);
    bad = replaced(plain, "\"medians\": null", "\"medians\": \"../m.tsv\"");
    const char *path = emt_write("up.json", bad, strlen(bad));
    EMT_FAILS(EMC_ERR_CONFIG, "plain name of a file", emc_profile_open(&profile, path));
    free(bad);
    free(plain);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "emcell profile list", emc_profile_open(&profile, "embrio"));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "/none/x.json", emc_profile_open(&profile, "/none/x.json"));
    EMT_FAILS(EMC_ERR_FORMAT, "empty", emc_profile_parse(&profile, "", 0, "x"));
    EMT_FAILS(EMC_ERR_FORMAT, "NUL", emc_profile_parse(&profile, "{\0}", 3, "x"));
    EMT_FAILS(EMC_ERR_FORMAT, "wanted a JSON object", emc_profile_parse(&profile, "3", 1, "x"));
}

/* Bytes changed, cut and doubled at random: read or refused, never more than that. */
static void mutated_profiles_do_no_harm(void **state)
{
    static const char spice[] = "{}[]\",:\\0-.eu\xC3\x01 <|";
    size_t n;
    const char *text = emc_profile_builtin_text("embryo", &n);
    uint64_t random = 5;
    int n_read = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        char *bad = malloc(2 * n);
        size_t length = n;
        memcpy(bad, text, n);
        for (int k = 1 + (int)(emt_random(&random) % 3); k > 0; k--) {
            const size_t at = emt_random(&random) % length;
            const size_t size = 1 + emt_random(&random) % 40;
            switch (emt_random(&random) % 3) {
            case 0:
                bad[at] = spice[emt_random(&random) % (sizeof(spice) - 1)];
                break;
            case 1: /* a hole */
                if (at + size < length) {
                    memmove(bad + at, bad + at + size, length - at - size);
                    length -= size;
                }
                break;
            default: /* a piece twice */
                if (at + size < length && length + size < 2 * n) {
                    memmove(bad + at + size, bad + at, length - at);
                    length += size;
                }
            }
        }
        emc_profile *profile;
        const emc_status status = emc_profile_parse(&profile, bad, length, "mutant");
        assert_true((status == EMC_OK) == (profile != NULL));
        assert_true(status == EMC_OK || strncmp(emc_message(), "mutant", 6) == 0);
        n_read += status == EMC_OK;
        emc_profile_close(profile);
        free(bad);
    }
    assert_true(n_read > 0 && n_read < 2000); /* both ways were gone */
}

static void modes_have_names(void **state)
{
    static const char *const modes[] = {"exact", "full", "greedy", "generate"};
    static const char *const rules[] = {"joint", "mean", "first", "prior"};
    emc_answer_mode mode;
    emc_scoring_rule rule;

    (void)state;
    for (int i = 0; i < 4; i++) {
        EMT_OK(emc_answer_mode_parse(&mode, modes[i]));
        assert_int_equal(mode, i);
        assert_string_equal(emc_answer_mode_name(mode), modes[i]);
        EMT_OK(emc_scoring_rule_parse(&rule, rules[i]));
        assert_int_equal(rule, i);
        assert_string_equal(emc_scoring_rule_name(rule), rules[i]);
    }
    assert_int_equal(EMC_ANSWER_EXACT, 0);
    assert_int_equal(EMC_ANSWER_GENERATE, 3);
    assert_int_equal(EMC_SCORING_PRIOR, 3);
    EMT_FAILS(EMC_ERR_USAGE, "\"foo\": wanted joint, mean, first or prior",
              emc_scoring_rule_parse(&rule, "foo"));
    assert_string_equal(emc_thinking_name(EMC_THINKING_BY_MODEL), "model-emits-think");
    EMT_FAILS(EMC_ERR_USAGE, "\"best\"", emc_answer_mode_parse(&mode, "best"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtins_are_listed_and_open),
        cmocka_unit_test(embryo_is_what_models_are_trained_on),
        cmocka_unit_test(choices_takes_the_labels_of_embryo),
        cmocka_unit_test(c2s_lists_200_genes),
        cmocka_unit_test(a_file_is_read_with_its_medians),
        cmocka_unit_test(each_check_has_a_broken_profile),
        cmocka_unit_test(other_messages_and_names_are_refused),
        cmocka_unit_test(mutated_profiles_do_no_harm),
        cmocka_unit_test(modes_have_names),
    };

    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
