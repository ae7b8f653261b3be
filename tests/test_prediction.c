/* From words and numbers to an outcome, and predictions on disk. */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/prediction.h"

static emc_labels *open_labels(emc_profile **profile)
{
    emc_labels *labels;

    EMT_OK(emc_profile_open(profile, "embryo"));
    EMT_OK(emc_labels_from_profile(&labels, *profile));
    return labels;
}

static void test_ladder(void **state)
{
    (void)state;
    static const struct {
        const char *text, *label, *step;
        emc_outcome outcome;
        bool format_ok, several;
    } cases[] = {
        {"TE", "TE", "whole", EMC_OUTCOME_LABEL, true, false},
        {"**TE**.", "TE", "whole", EMC_OUTCOME_LABEL, true, false},
        {"3. Trophectoderm", "TE", "whole", EMC_OUTCOME_LABEL, true, false},
        {"<think>It could be STB.</think>\n\nEVT", "EVT", "whole", EMC_OUTCOME_LABEL, true, false},
        {"{\"answer\": \"STB\", \"confidence\": 0.9}", "STB", "json", EMC_OUTCOME_LABEL, false,
         false},
        {"So it is \\boxed{PGC}", "PGC", "json", EMC_OUTCOME_LABEL, false, false},
        {"Not CTB.\nFinal Answer: STB", "STB", "cue", EMC_OUTCOME_LABEL, false, false},
        {"HEP\nbecause of KDR and CTB genes", "HEP", "first_line", EMC_OUTCOME_LABEL, false, false},
        {"I think these genes point to the amnion of the embryo.", "Amnion", "inside",
         EMC_OUTCOME_LABEL, false, false},
        {"CTB or STB", NULL, "inside", EMC_OUTCOME_INVALID, false, true},
        {"epiblast", NULL, "whole", EMC_OUTCOME_INVALID, true, false},
        {"Neuron", NULL, "", EMC_OUTCOME_INVALID, false, false},
        {"", NULL, "", EMC_OUTCOME_EMPTY, false, false},
        {" \n ", NULL, "", EMC_OUTCOME_EMPTY, false, false},
        {"<think>never ends", NULL, "", EMC_OUTCOME_EMPTY, false, false},
        {"Unknown.", NULL, "", EMC_OUTCOME_UNKNOWN, true, false},
        {"I'm sorry, but I cannot tell.", NULL, "", EMC_OUTCOME_REFUSED, false, false},
        {"As an AI model I do not know cells.", NULL, "", EMC_OUTCOME_REFUSED, false, false},
        {"I cannot be sure, but it is most likely an Erythroblast.", "Erythroblast", "inside",
         EMC_OUTCOME_LABEL, false, false},
        {"\xff\xfe", NULL, "", EMC_OUTCOME_INVALID, false, false},
    };
    emc_profile *profile;
    emc_labels *labels = open_labels(&profile);
    emc_text work = {0};

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_prediction p;
        EMT_OK(emc_prediction_from_text(&p, &work, labels, NULL, 0, cases[i].text,
                                        strlen(cases[i].text), true));
        const char *label = p.label >= 0 ? emc_labels_get(labels, p.label)->label : "none";
        if (p.outcome != cases[i].outcome || strcmp(p.step, cases[i].step) != 0 ||
            strcmp(label, cases[i].label ? cases[i].label : "none") != 0 ||
            p.format_ok != cases[i].format_ok || p.several != cases[i].several)
            fail_msg("\"%s\": %s, %s by \"%s\", format %d, several %d", cases[i].text,
                     emc_outcome_name(p.outcome), label, p.step, p.format_ok, p.several);
        assert_string_equal(p.raw, cases[i].text);
        assert_false(p.truncated);
        assert_true(isnan(p.score) && !p.probs);
    }
    emc_text_free(&work);
    emc_labels_close(labels);
    emc_profile_close(profile);
}

/* Every synonym of the profile means its label, and is off the list where it was not offered. */
static void test_synonyms(void **state)
{
    (void)state;
    emc_profile *profile;
    emc_labels *labels = open_labels(&profile);
    emc_text work = {0};
    emc_prediction p;

    for (int i = 0; i < emc_labels_count(labels); i++) {
        const emc_profile_label *label = emc_labels_get(labels, i);
        const int other = (i + 1) % emc_labels_count(labels);
        for (int s = 0; s < label->n_synonyms; s++) {
            const char *text = label->synonyms[s];
            EMT_OK(emc_prediction_from_text(&p, &work, labels, NULL, 0, text, strlen(text), true));
            if (p.outcome != EMC_OUTCOME_LABEL || p.label != i)
                fail_msg("%s is not %s", text, label->label);
            EMT_OK(
                emc_prediction_from_text(&p, &work, labels, &other, 1, text, strlen(text), false));
            assert_int_equal(p.outcome, EMC_OUTCOME_OFF_LIST);
            assert_int_equal(p.label, i);
            assert_true(p.truncated);
        }
    }
    emc_text_free(&work);
    emc_labels_close(labels);
    emc_profile_close(profile);
}

static void test_probs(void **state)
{
    (void)state;
    const double probs[] = {0.2, 0.4, 0.4}, none[] = {0, 0, 0};
    emc_prediction p;

    emc_prediction_from_probs(&p, probs, 3, 0);
    assert_int_equal(p.outcome, EMC_OUTCOME_LABEL);
    assert_int_equal(p.label, 1); /* ties to the lower label */
    assert_true(p.score == 0.4 && p.probs == probs);
    emc_prediction_from_probs(&p, probs, 3, 0.5);
    assert_int_equal(p.outcome, EMC_OUTCOME_UNKNOWN);
    assert_int_equal(p.label, -1);
    emc_prediction_from_probs(&p, none, 3, 0);
    assert_int_equal(p.outcome, EMC_OUTCOME_FAILED);
}

static emc_benchmark *sim(void)
{
    emc_benchmark *b;

    EMT_OK(emc_benchmark_open(&b, EMT_BENCHMARKS "/emcellbench-sim"));
    return b;
}

static void test_on_disk(void **state)
{
    (void)state;
    emc_benchmark *b = sim();
    const int n = emc_labels_count(emc_benchmark_labels(b));
    double probs[64] = {0.25, 0.75};
    const emc_prediction written[] = {
        {.outcome = EMC_OUTCOME_LABEL, .label = 1, .score = 0.75, .probs = probs, .n_tries = 1},
        {.outcome = EMC_OUTCOME_INVALID,
         .label = -1,
         .score = NAN,
         .raw = "a \"b\"\n<c>",
         .stripped = "a",
         .extracted = NULL,
         .step = "",
         .match = EMC_MATCH_AMBIGUOUS,
         .several = true,
         .truncated = true,
         .n_prompt_tokens = 12,
         .n_answer_tokens = 3,
         .n_tries = 2,
         .seconds = 1.5},
        {.outcome = EMC_OUTCOME_FAILED, .label = -1, .score = NAN, .error = "no answer"},
    };
    emc_predictions *read;
    emc_text text = {0};
    char path[4096];

    EMT_OK(emc_text_add_string(&text, "{\"emcell_predictions\": 1}\n"));
    for (int i = 0; i < 3; i++) {
        EMT_OK(emc_prediction_write(&text, b, 10 * i, &written[i]));
        EMT_OK(emc_text_add_string(&text, "\n"));
    }
    snprintf(path, sizeof path, "%s", emt_write("p.jsonl", text.bytes, text.n));
    EMT_OK(emc_predictions_open(&read, emc_benchmark_n_items(b), n));
    EMT_OK(emc_predictions_read(read, b, path));
    assert_int_equal(emc_predictions_count(read), 3);
    assert_null(emc_predictions_get(read, 1));
    for (int i = 0; i < 3; i++) {
        emc_text again = {0}, first = {0};
        EMT_OK(emc_prediction_write(&again, b, 10 * i, emc_predictions_get(read, 10 * i)));
        EMT_OK(emc_prediction_write(&first, b, 10 * i, &written[i]));
        assert_string_equal(again.bytes, first.bytes);
        emc_text_free(&again);
        emc_text_free(&first);
    }
    emc_predictions_close(read);
    emc_text_free(&text);
    /* Lines that are none. */
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"{\"id\": \"x\"", "p.jsonl: line 1"},
        {"{\"id\": \"nobody\", \"outcome\": \"empty\"}", "no item of the benchmark"},
        {"{\"id\": \"sim-A_train_E1_01_000\", \"outcome\": \"maybe\"}", "no outcome"},
        {"{\"id\": \"sim-A_train_E1_01_000\", \"outcome\": \"label\", \"label\": \"x\"}",
         "no label of the benchmark"},
        {"{\"id\": \"sim-A_train_E1_01_000\", \"outcome\": \"label\"}", "without a label"},
        {"{\"id\": \"sim-A_train_E1_01_000\", \"outcome\": \"empty\", \"label\": \"TE\"}",
         "with a label"},
        {"{\"id\": \"sim-A_train_E1_01_000\", \"outcome\": \"empty\", \"probs\": [1]}",
         "must have 27 numbers"},
    };
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        EMT_OK(emc_predictions_open(&read, emc_benchmark_n_items(b), n));
        snprintf(path, sizeof path, "%s",
                 emt_write("p.jsonl", cases[i].line, strlen(cases[i].line)));
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].wanted, emc_predictions_read(read, b, path));
        emc_predictions_close(read);
    }
    emc_benchmark_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ladder),
        cmocka_unit_test(test_synonyms),
        cmocka_unit_test(test_probs),
        cmocka_unit_test(test_on_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
