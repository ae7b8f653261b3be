/* What do the model's numbers or words say about a cell? */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "annotate/answer.h"
#include "annotate/gene_match.h"
#include "annotate/progress.h"
#include "emt.h"

static const emc_thresholds no_thresholds = {.temperature = 1};

/* exp, log and the sum round a few times each: far below this. */
#define TOL 1e-14

static void assert_close(double got, double want)
{
    if (!(fabs(got - want) <= TOL))
        fail_msg("%.17g, wanted %.17g", got, want);
}

/* Log-probabilities of 1/2, 1/4, 1/8, 1/8 times anything. */
static void probabilities_are_normalised_over_the_set(void **state)
{
    static const double offsets[] = {0, -3, -700, -1e6};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(offsets); i++) {
        const double off = offsets[i];
        const double log_probs[] = {log(0.125) + off, log(0.5) + off, log(0.125) + off,
                                    log(0.25) + off};
        double probs[4];
        emc_verdict v;
        emc_verdict_from_scores(&v, log_probs, 4, &no_thresholds, probs);
        /* Adding a large offset rounds the inputs themselves. */
        const double tol = TOL + 4 * 0x1p-52 * fabs(off);
        assert_true(fabs(probs[0] - 0.125) <= tol && fabs(probs[1] - 0.5) <= tol);
        assert_true(fabs(probs[2] - 0.125) <= tol && fabs(probs[3] - 0.25) <= tol);
        assert_int_equal(v.status, EMC_CELL_OK);
        assert_string_equal(v.reason, "");
        assert_int_equal(v.label, 1);
        assert_int_equal(v.top[0], 1);
        assert_int_equal(v.top[1], 3);
        assert_int_equal(v.top[2], 0); /* a tie with label 2 */
        assert_true(fabs(v.score - 0.5) <= tol && v.score_low == v.score &&
                    v.score_high == v.score);
        assert_true(fabs(v.margin - 0.25) <= 2 * tol);
        /* 1/2 log 2 + 1/4 log 4 + 2/8 log 8 */
        assert_true(fabs(v.entropy - 1.75 * log(2)) <= 8 * tol);
    }
}

static void ties_go_to_the_first_label(void **state)
{
    const double log_probs[] = {-5, -2, -2, -2, -5};
    emc_verdict v;

    (void)state;
    emc_verdict_from_scores(&v, log_probs, 5, &no_thresholds, NULL);
    assert_int_equal(v.label, 1);
    assert_int_equal(v.top[1], 2);
    assert_int_equal(v.top[2], 3);
    assert_true(v.margin == 0);
}

static void small_sets_leave_places_empty(void **state)
{
    const double log_probs[] = {-1, -INFINITY};
    emc_verdict v;

    (void)state;
    emc_verdict_from_scores(&v, log_probs, 2, &no_thresholds, NULL);
    assert_int_equal(v.label, 0);
    assert_true(v.score == 1 && v.margin == 1 && v.entropy == 0);
    assert_int_equal(v.top[1], 1);
    assert_true(v.top_prob[1] == 0);
    assert_int_equal(v.top[2], -1);
    assert_true(isnan(v.top_prob[2]));
    emc_verdict_from_scores(&v, log_probs, 1, &no_thresholds, NULL);
    assert_true(v.score == 1 && v.margin == 1);
}

static void temperature_flattens(void **state)
{
    const double log_probs[] = {log(0.8), log(0.2)};
    const emc_thresholds t = {.temperature = 2};
    emc_verdict v;

    (void)state;
    emc_verdict_from_scores(&v, log_probs, 2, &t, NULL);
    assert_close(v.score, 2.0 / 3); /* sqrt(0.8) : sqrt(0.2) = 2 : 1 */
    assert_close(v.margin, 1.0 / 3);
}

static const struct {
    double unknown_below, margin_below;
    emc_cell_status status;
    const char *reason;
} thresholds[] = {
    {0, 0, EMC_CELL_OK, ""},
    {0.59, 0.29, EMC_CELL_OK, ""},
    {0.61, 0, EMC_CELL_UNKNOWN, "low_score"},
    {0, 0.31, EMC_CELL_UNKNOWN, "low_margin"},
    {0.61, 0.31, EMC_CELL_UNKNOWN, "low_score"},
};

static void thresholds_make_unknown(void **state)
{
    const double log_probs[] = {log(0.6), log(0.3), log(0.1)};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(thresholds); i++) {
        const emc_thresholds t = {1, thresholds[i].unknown_below, thresholds[i].margin_below};
        emc_verdict v;
        emc_verdict_from_scores(&v, log_probs, 3, &t, NULL);
        assert_int_equal(v.status, thresholds[i].status);
        assert_string_equal(v.reason, thresholds[i].reason);
        assert_int_equal(v.label, thresholds[i].status == EMC_CELL_OK ? 0 : -1);
        assert_int_equal(v.top[0], 0); /* still told */
        assert_close(v.score, 0.6);
    }
}

static void a_score_at_the_threshold_passes(void **state)
{
    const double log_probs[] = {-1, -1};
    const emc_thresholds t = {1, 0.5, 0};
    emc_verdict v;

    (void)state;
    emc_verdict_from_scores(&v, log_probs, 2, &t, NULL);
    assert_int_equal(v.status, EMC_CELL_OK);
}

/* The better of two that round to one probability is the answer, as in a search. */
static void scores_decide_where_probabilities_are_equal(void **state)
{
    const double near[] = {-1, -0x1.fffffffffffffp-1, -1}, far[] = {-2000, -1500, 0, -1000};
    emc_verdict v;

    (void)state;
    emc_verdict_from_scores(&v, near, 3, &no_thresholds, NULL);
    assert_true(v.top_prob[0] == v.top_prob[1]);
    assert_int_equal(v.label, 1);
    assert_int_equal(v.top[1], 0);
    assert_int_equal(v.top[2], 2);
    emc_verdict_from_scores(&v, far, 4, &no_thresholds, NULL);
    assert_true(v.top_prob[1] == 0 && v.top_prob[2] == 0);
    assert_int_equal(v.top[0], 2);
    assert_int_equal(v.top[1], 3);
    assert_int_equal(v.top[2], 1);
}

static void scores_may_be_above_0(void **state)
{
    const double scores[] = {3, 1, 700}; /* with a prior */
    double probs[3];
    emc_verdict v;

    (void)state;
    emc_verdict_from_scores(&v, scores, 2, &no_thresholds, probs);
    assert_close(probs[0], 1 / (1 + exp(-2.0)));
    emc_verdict_from_scores(&v, scores, 3, &no_thresholds, probs);
    assert_int_equal(v.label, 2);
    assert_true(v.score == 1 && probs[0] > 0);
}

static void what_was_found_has_bounds(void **state)
{
    static const struct {
        double low, high, unknown_below;
        emc_cell_status status;
    } cases[] = {
        {0.5, 0.75, 0, EMC_CELL_OK},         {0.5, 0.75, 0.5, EMC_CELL_OK},
        {0.5, 0.75, 0.625, EMC_CELL_OK},     {0.5, 0.75, 0.6251, EMC_CELL_UNKNOWN},
        {0.5, 0.75, 0.76, EMC_CELL_UNKNOWN}, {1, 1, 1, EMC_CELL_OK},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const emc_found found = {.choice = 4,
                                 .share = (cases[i].low + cases[i].high) / 2,
                                 .share_low = cases[i].low,
                                 .share_high = cases[i].high};
        const emc_thresholds t = {1, cases[i].unknown_below, 0.9};
        emc_verdict v;
        emc_verdict_from_found(&v, &found, &t);
        assert_int_equal(v.status, cases[i].status);
        assert_string_equal(v.reason, v.status == EMC_CELL_OK ? "" : "low_score");
        assert_int_equal(v.label, v.status == EMC_CELL_OK ? 4 : -1);
        assert_true(v.score == found.share && v.top_prob[0] == found.share);
        assert_true(v.score_low == cases[i].low && v.score_high == cases[i].high);
        assert_true(isnan(v.margin) && isnan(v.entropy) && isnan(v.invalid_mass));
        assert_int_equal(v.top[0], 4);
        assert_true(v.top[1] == -1 && v.top[2] == -1 && isnan(v.top_prob[1]));
    }
}

static void what_is_no_number_fails(void **state)
{
    const double bad[][3] = {{-1, NAN, -1}, {INFINITY, -1, -1}, {-INFINITY, -INFINITY, -INFINITY}};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        double probs[3] = {9, 9, 9};
        emc_verdict v;
        emc_verdict_from_scores(&v, bad[i], 3, &no_thresholds, probs);
        assert_int_equal(v.status, EMC_CELL_FAILED);
        assert_string_equal(v.reason, "not_a_number");
        assert_int_equal(v.label, -1);
        assert_int_equal(v.top[0], -1);
        assert_true(isnan(v.score) && isnan(v.margin) && isnan(v.entropy) && isnan(probs[2]));
    }
}

static const struct {
    const char *text;
    bool ended;
    emc_cell_status status;
    const char *reason;
    int label;
} words[] = {
    {"TE", true, EMC_CELL_OK, "", 10},
    {"<think>\n\n</think>\n\nTE", true, EMC_CELL_OK, "", 10},
    {"TE and then on and on", false, EMC_CELL_OK, "", 10},
    {"TE or CTB", true, EMC_CELL_INVALID, "ambiguous_answer", -1},
    {"a neuron", true, EMC_CELL_INVALID, "no_label", -1},
    {"a neuro", false, EMC_CELL_INVALID, "cut_off", -1},
    {"<think>hm", false, EMC_CELL_INVALID, "cut_off", -1},
    {"<think>\n\n</think>\n\n", true, EMC_CELL_INVALID, "empty_answer", -1},
    {"", true, EMC_CELL_INVALID, "empty_answer", -1},
};

static void words_become_a_verdict(void **state)
{
    emc_profile *profile;
    emc_labels *labels;

    (void)state;
    EMT_OK(emc_profile_open(&profile, "embryo"));
    EMT_OK(emc_labels_from_profile(&labels, profile));
    for (size_t i = 0; i < EMC_COUNT(words); i++) {
        emc_verdict v;
        EMT_OK(emc_verdict_from_text(&v, labels, words[i].text, strlen(words[i].text),
                                     words[i].ended));
        if (v.status != words[i].status || strcmp(v.reason, words[i].reason) != 0)
            fail_msg("%s: %s %s", words[i].text, emc_cell_status_name(v.status), v.reason);
        assert_int_equal(v.label, words[i].label);
        assert_true(isnan(v.score));
    }
    emc_labels_close(labels);
    emc_profile_close(profile);
}

static void statuses_have_names(void **state)
{
    static const char *const names[] = {"ok",    "unknown", "invalid", "too_few_genes",
                                        "empty", "failed"};

    (void)state;
    for (int i = 0; i < EMC_N_CELL_STATUSES; i++)
        assert_string_equal(emc_cell_status_name((emc_cell_status)i), names[i]);
}

/* Names of a file, and the share that is taken for human symbols. */
static const struct {
    const char *names[6];
    double rate;
    const char *advice;
} matches[] = {
    {{"GATA3", "HLA-DRA", "C1orf43", "AC012345.1", "MT-CO1", "NKX2-1"}, 1, ""},
    {{"Gata3", "Actb", "mt-Nd1", "Tfap2a", "H2-K1", "Krt8"}, 1.0 / 6, "mouse"},
    {{"ENSG00000141510", "ENSG00000141510.18", "ENSMUSG00000059552", "ENSG00000000003",
      "ENSG00000000005", "ENSG00000000419"},
     0,
     "Ensembl"},
    {{"7157", "7158", "7159", "7160", "7161", "7162"}, 0, "numbers"},
    {{"GATA3", "KRT8", "ACTB", "gene_1", "1-Mar", "NM_001"}, 4.0 / 6, ""},
    {{"bc_1", "bc_2", "bc_3", "bc_4", "bc_5", "bc_6"}, 0, "symbols are wanted"},
};

static void gene_names_are_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(matches); i++) {
        emc_gene_match m;
        emc_gene_match_of(&m, matches[i].names, 6);
        assert_close(m.rate, matches[i].rate);
        assert_true(strstr(m.advice, matches[i].advice) != NULL);
        assert_int_equal(m.n_genes, 6);
        assert_true(m.rate == 1 || strlen(m.examples) > 0 || m.rate > 0);
    }
}

/* Thousands of capital names without one that every human file holds: another species. */
static void a_whole_file_must_hold_known_genes(void **state)
{
    static char text[5000][16];
    static const char *names[5000];
    static const char *const human[] = {"ACTB", "GAPDH", "VIM",  "B2M",  "EEF1A1",
                                        "TPT1", "FTL",   "FTH1", "KRT8", "KRT18"};
    emc_gene_match m;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        snprintf(text[i], sizeof(text[i]), "Y%04dC", i);
        names[i] = text[i];
    }
    emc_gene_match_of(&m, names, 4999);
    assert_close(m.rate, 1); /* a selection may hold none */
    emc_gene_match_of(&m, names, 5000);
    assert_close(m.rate, 0);
    assert_non_null(strstr(m.advice, "species"));
    for (size_t i = 0; i < EMC_COUNT(human); i++)
        names[i] = human[i];
    emc_gene_match_of(&m, names, 5000);
    assert_close(m.rate, 0.5);
}

/* A clock of our own: 10 cells a second, then 20. */
static void progress_measures_the_last_seconds(void **state)
{
    emc_progress_meter meter = {0};
    emc_progress p;
    int64_t done = 0;

    (void)state;
    assert_true(emc_progress_step(&meter, 100, done, 10000, &p));
    assert_true(p.cells_per_s == 0 && p.seconds_left < 0);
    for (int i = 1; i <= 300; i++)
        emc_progress_step(&meter, 100 + 0.1 * i, done += 1, 10000, &p);
    assert_true(fabs(p.cells_per_s - 10) < 1e-6);
    assert_true(fabs(p.seconds_left - (10000 - 300) / 10.0) < 1e-3);
    for (int i = 1; i <= 300; i++)
        emc_progress_step(&meter, 130 + 0.1 * i, done += 2, 10000, &p);
    assert_true(fabs(p.cells_per_s - 20) < 1e-6); /* the slow start is forgotten */
    assert_true(emc_progress_step(&meter, 161, done, 10000, &p));
    assert_false(emc_progress_step(&meter, 161.1, done + 1, 10000, &p)); /* too soon to show */
    assert_true(emc_progress_step(&meter, 161.11, 10000, 10000, &p));    /* but for the last */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_are_normalised_over_the_set),
        cmocka_unit_test(ties_go_to_the_first_label),
        cmocka_unit_test(small_sets_leave_places_empty),
        cmocka_unit_test(temperature_flattens),
        cmocka_unit_test(thresholds_make_unknown),
        cmocka_unit_test(a_score_at_the_threshold_passes),
        cmocka_unit_test(scores_decide_where_probabilities_are_equal),
        cmocka_unit_test(scores_may_be_above_0),
        cmocka_unit_test(what_was_found_has_bounds),
        cmocka_unit_test(what_is_no_number_fails),
        cmocka_unit_test(words_become_a_verdict),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(gene_names_are_judged),
        cmocka_unit_test(a_whole_file_must_hold_known_genes),
        cmocka_unit_test(progress_measures_the_last_seconds),
    };

    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
