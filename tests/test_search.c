/* Does the search find what brute force finds, and do its bounds hold at every moment? */
#include "search_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * A term exp(x) of a share matters for |x| < 50 only; x is a difference and a quotient, 2^-53 of
 * itself wrong each, so the term is wrong by 1.2e-14 of itself at most, and a sum of a thousand by
 * another 1.1e-13. The probabilities beside the set are one less such a sum, of at most 1.
 */
#define TOLERANCE 1e-12
/* One over a sum that is too large for a double. */
#define TINY 1e-300

static const double temperatures[] = {0.25, 0.5, 1, 2, 5};
static const double widths[] = {0, 0.001, 0.02, 0.5};
static const double thresholds[] = {0, 0.3, 0.5, 0.9, 1};
static const emc_scoring_rule scoring_rules[] = {EMC_SCORING_JOINT, EMC_SCORING_MEAN,
                                                 EMC_SCORING_FIRST, EMC_SCORING_PRIOR};

/* What is true of a case under a way of scoring. */
typedef struct {
    const emc_scoring *scoring;
    double *log_probs;
    double *scores;
    double outside;
    int best;
} truth;

static double temperature_of(const emc_scoring *scoring)
{
    return scoring->temperature == 0 ? 1 : scoring->temperature;
}

static truth find_truth(const search_case *c, const emc_scoring *scoring)
{
    const ref_search_table table = search_case_table(c);
    truth t = {.scoring = scoring,
               .log_probs = malloc((size_t)c->n * sizeof(double)),
               .scores = malloc((size_t)c->n * sizeof(double))};

    assert_true(t.log_probs && t.scores);
    ref_search_scores(t.log_probs, t.scores, &table, scoring);
    t.outside = ref_search_outside(t.log_probs, c->n);
    t.best = ref_search_best(t.scores, c->n);
    return t;
}

static void forget_truth(truth *t)
{
    free(t->log_probs);
    free(t->scores);
}

/* Numbers that are known are the true ones, to the last bit. Returns how many are not. */
static int check_known(const double *known, const double *true_ones, int n)
{
    int n_missing = 0;

    for (int c = 0; c < n; c++) {
        n_missing += isnan(known[c]);
        if (!isnan(known[c]) && known[c] != true_ones[c])
            fail_msg("choice %d: %.17g, should be %.17g", c, known[c], true_ones[c]);
    }
    return n_missing;
}

/* Whatever is known so far, the bounds hold. */
static void check_bounds(const search_case *c, const search_end *so_far, void *user)
{
    const truth *t = user;
    const emc_found *found = &so_far->found;
    const int n_unscored = check_known(so_far->scores, t->scores, c->n);
    const int n_unknown = check_known(so_far->log_probs, t->log_probs, c->n);

    assert_int_equal(found->complete, n_unscored == 0);
    assert_true(found->share_low >= 0 && found->share_high <= 1);
    assert_true(found->share_low <= found->share && found->share <= found->share_high);
    assert_true(found->outside_low >= 0 && found->outside_high <= 1);
    if (!(found->outside_low - TOLERANCE <= t->outside &&
          t->outside <= found->outside_high + TOLERANCE))
        fail_msg("beside the set: %.17g is not in [%.17g, %.17g]", t->outside, found->outside_low,
                 found->outside_high);
    if (n_unknown == 0)
        assert_true(found->outside_low == found->outside_high);
    if (found->choice >= 0) {
        const double share =
            ref_search_share(t->scores, c->n, temperature_of(t->scoring), found->choice);

        assert_false(isnan(so_far->scores[found->choice]));
        if (!(found->share_low <= share * (1 + TOLERANCE) + TINY &&
              share * (1 - TOLERANCE) <= found->share_high + TINY))
            fail_msg("share %.17g is not in [%.17g, %.17g]", share, found->share_low,
                     found->share_high);
    } else {
        assert_true(found->share_low == 0 && found->share_high == 1);
    }
    if (found->complete && found->choice >= 0)
        assert_true(found->share_low == found->share_high && found->share == found->share_low);
}

/* At its end the best search has found the best and knows what it was asked. */
static void check_best(const search_case *c, const search_end *end, const truth *t)
{
    const emc_found *found = &end->found;
    const emc_scoring *scoring = t->scoring;

    assert_int_equal(found->choice, t->best);
    if (!(found->share_high - found->share_low <= scoring->width))
        fail_msg("share in [%g, %g], wider than %g", found->share_low, found->share_high,
                 scoring->width);
    assert_true(found->share_low >= scoring->threshold || found->share_high < scoring->threshold);
    if (scoring->outside)
        assert_true(found->outside_high - found->outside_low <= scoring->width);
    if (scoring->width == 0)
        assert_true(found->complete);
    assert_in_range(found->n_rows, 0, c->choices->n_inner);
    if (scoring->rule != EMC_SCORING_FIRST)
        assert_false(isnan(end->log_probs[found->choice]));
}

/* Both hold the same bits. */
static void check_same(const search_end *a, const search_end *b, int n)
{
    const emc_found *x = &a->found, *y = &b->found;

    assert_int_equal(x->choice, y->choice);
    assert_int_equal(x->complete, y->complete);
    assert_int_equal(x->n_rows, y->n_rows);
    assert_int_equal(a->n_rounds, b->n_rounds);
    assert_true(x->share == y->share && x->share_low == y->share_low &&
                x->share_high == y->share_high);
    assert_true(x->outside_low == y->outside_low && x->outside_high == y->outside_high);
    assert_memory_equal(a->log_probs, b->log_probs, (size_t)n * sizeof(double));
    assert_memory_equal(a->scores, b->scores, (size_t)n * sizeof(double));
}

/* One way of scoring one case, by every policy. */
static void check_scoring(emc_search *search, const search_case *c, const emc_scoring *scoring,
                          uint64_t *random)
{
    const ref_search_table table = search_case_table(c);
    truth t = find_truth(c, scoring);
    search_end all, best, again, greedy;
    emc_search_rules *rules;

    EMT_OK(emc_search_rules_open(&rules, c->choices, scoring));
    search_case_run(&all, search, rules, EMC_SEARCH_ALL, c, check_bounds, &t, random, -1);
    assert_int_equal(all.found.choice, t.best);
    assert_true(all.found.complete);
    assert_int_equal(all.found.n_rows, c->choices->n_inner);
    assert_int_equal(all.n_rounds, 1);
    assert_int_equal(check_known(all.log_probs, t.log_probs, c->n), 0);

    search_case_run(&best, search, rules, EMC_SEARCH_BEST, c, check_bounds, &t, NULL, -1);
    check_best(c, &best, &t);
    search_case_run(&again, search, rules, EMC_SEARCH_BEST, c, NULL, NULL, random, -1);
    check_same(&best, &again, c->n);
    if (scoring->width == 0 && (scoring->outside || scoring->rule != EMC_SCORING_FIRST))
        check_same(&best, &all, c->n);
    if (best.found.complete)
        assert_true(best.found.share == all.found.share);

    search_case_run(&greedy, search, rules, EMC_SEARCH_GREEDY, c, check_bounds, &t, random, -1);
    assert_int_equal(greedy.found.choice, ref_search_greedy(&table));
    assert_in_range(greedy.found.n_rows, 0, c->choices->max_depth);

    search_end_close(&all);
    search_end_close(&best);
    search_end_close(&again);
    search_end_close(&greedy);
    emc_search_rules_close(rules);
    forget_truth(&t);
}

static void check_all_scorings(emc_search *search, const search_case *c, uint64_t *random)
{
    for (size_t r = 0; r < EMC_COUNT(scoring_rules); r++)
        for (size_t t = 0; t < EMC_COUNT(temperatures); t++)
            for (size_t w = 0; w < EMC_COUNT(widths); w++)
                for (size_t p = 0; p < EMC_COUNT(thresholds); p++) {
                    const emc_scoring scoring = {.rule = scoring_rules[r],
                                                 .temperature = temperatures[t],
                                                 .log_priors = c->priors,
                                                 .width = widths[w],
                                                 .threshold = thresholds[p],
                                                 .outside = emt_random(random) % 2 == 0};

                    check_scoring(search, c, &scoring, random);
                }
}

static void check_drawn_scoring(emc_search *search, const search_case *c, emc_scoring_rule rule,
                                uint64_t *random)
{
    const emc_scoring scoring = {
        .rule = rule,
        .temperature = temperatures[emt_random(random) % EMC_COUNT(temperatures)],
        .log_priors = c->priors,
        .width = widths[emt_random(random) % EMC_COUNT(widths)],
        .threshold = thresholds[emt_random(random) % EMC_COUNT(thresholds)],
        .outside = emt_random(random) % 4 == 0};

    check_scoring(search, c, &scoring, random);
}

/* Every shape with every style comes up; every 199th case is scored in every way. */
static void small_sets(void **state)
{
    const int n_cases = getenv("EMT_FULL") ? 100000 : 10000;
    emc_search *search;
    uint64_t random = 1;

    (void)state;
    EMT_OK(emc_search_open(&search));
    for (int i = 0; i < n_cases; i++) {
        const int n = i % 4 == 0 ? 2 : i % 4 == 1 ? 28 : 1 + (int)(emt_random(&random) % 28);
        search_case c;

        search_case_open(&c, (search_shape)(i % N_SHAPES), (search_style)(i / N_SHAPES % N_STYLES),
                         n, &random);
        if (i % 199 == 0)
            check_all_scorings(search, &c, &random);
        for (size_t r = 0; r < EMC_COUNT(scoring_rules); r++)
            check_drawn_scoring(search, &c, scoring_rules[r], &random);
        search_case_close(&c);
    }
    emc_search_close(search);
}

/* As many choices as the Cell Ontology has. */
static void large_sets(void **state)
{
    const int n_cases = N_SHAPES * N_STYLES * (getenv("EMT_FULL") ? 40 : 1);
    emc_search *search;
    uint64_t random = 2;

    (void)state;
    EMT_OK(emc_search_open(&search));
    for (int i = 0; i < n_cases; i++) {
        search_case c;

        search_case_open(&c, (search_shape)(i % N_SHAPES), (search_style)(i / N_SHAPES % N_STYLES),
                         SEARCH_MOST_CHOICES, &random);
        check_drawn_scoring(search, &c, scoring_rules[(i + i / N_SHAPES) % 4], &random);
        search_case_close(&c);
    }
    emc_search_close(search);
}

/* Temperatures at which powers overflow, or all scores look alike. */
static void extreme_temperatures(void **state)
{
    static const double extremes[] = {5e-324, 1e-300, 1e-3, 1e3, 1e300};
    emc_search *search;
    uint64_t random = 4;

    (void)state;
    EMT_OK(emc_search_open(&search));
    for (int i = 0; i < N_SHAPES * N_STYLES; i++) {
        search_case c;

        search_case_open(&c, (search_shape)(i % N_SHAPES), (search_style)(i / N_SHAPES), 28,
                         &random);
        for (size_t r = 0; r < EMC_COUNT(scoring_rules); r++)
            for (size_t t = 0; t < EMC_COUNT(extremes); t++) {
                const emc_scoring scoring = {.rule = scoring_rules[r],
                                             .temperature = extremes[t],
                                             .log_priors = c.priors,
                                             .width = widths[(i + t) % EMC_COUNT(widths)]};

                check_scoring(search, &c, &scoring, &random);
            }
        search_case_close(&c);
    }
    emc_search_close(search);
}

/* Numbers that are not finite end a search at the round they come in, wherever they come. */
static void broken_numbers(void **state)
{
    emc_search *search;
    uint64_t random = 3;

    (void)state;
    EMT_OK(emc_search_open(&search));
    for (int i = 0; i < 300; i++) {
        const emc_scoring scoring = {.width = i % 2 == 0 ? 0 : 0.02};
        emc_search_rules *rules;
        search_end end;
        search_case c;
        int bad;

        search_case_open(&c, SHAPE_ENDED, STYLE_FLAT, 12, &random);
        bad = i % 3 == 0 || c.choices->n_inner == 0
                  ? 0
                  : c.choices->inner[emt_random(&random) % (uint64_t)c.choices->n_inner];
        EMT_OK(emc_search_rules_open(&rules, c.choices, &scoring));
        search_case_run(&end, search, rules, EMC_SEARCH_BEST, &c, NULL, NULL, &random, bad);
        /* With a width above 0 the search may do without that node. */
        if (bad == 0 || scoring.width == 0)
            assert_false(end.finite);
        if (scoring.width == 0)
            assert_int_equal(end.n_rounds, 1);
        search_end_close(&end);

        /* The next cell finds nothing of it. */
        search_case_run(&end, search, rules, EMC_SEARCH_BEST, &c, NULL, NULL, NULL, -1);
        assert_true(end.finite);
        assert_in_range(end.found.choice, 0, c.n - 1);
        search_end_close(&end);
        emc_search_rules_close(rules);
        search_case_close(&c);
    }
    emc_search_close(search);
}

static void broken_log_sum(void **state)
{
    static const int32_t ids[] = {1, 2}, begin[] = {0, 1, 2};
    static const float logits[] = {1, 2};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    const emc_scoring scoring = {0};
    emc_search_rules *rules;
    emc_search *search;
    emc_choices *choices;

    (void)state;
    EMT_OK(emc_choices_open(&choices, ids, begin, 2, 4, 4));
    EMT_OK(emc_search_rules_open(&rules, choices, &scoring));
    EMT_OK(emc_search_open(&search));
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        const int32_t *nodes;
        int n;

        EMT_OK(emc_search_begin(search, rules, EMC_SEARCH_BEST));
        emc_search_next_round(search, &nodes, &n);
        assert_int_equal(n, 1);
        assert_true(emc_search_is_finite(search));
        emc_search_take(search, 0, logits, bad[i]);
        assert_false(emc_search_is_finite(search));
        emc_search_next_round(search, &nodes, &n);
        assert_int_equal(n, 0);
    }
    emc_search_close(search);
    emc_search_rules_close(rules);
    emc_choices_close(choices);
}

static void bad_scorings_are_refused(void **state)
{
    static const int32_t ids[] = {1, 2}, begin[] = {0, 1, 2};
    static const double priors[] = {-1, 0.5}, low[] = {-1, -INFINITY}, none[] = {-1, NAN};
    const struct {
        emc_scoring scoring;
        const char *message;
    } cases[] = {
        {{.rule = (emc_scoring_rule)4}, "rule 4"},
        {{.temperature = -1}, "temperature -1"},
        {{.temperature = NAN}, "temperature"},
        {{.temperature = INFINITY}, "temperature inf"},
        {{.width = -0.1}, "width -0.1"},
        {{.width = 1.5}, "width 1.5"},
        {{.width = NAN}, "width"},
        {{.threshold = -0.1}, "threshold -0.1"},
        {{.threshold = 1.5}, "threshold 1.5"},
        {{.threshold = NAN}, "threshold"},
        {{.rule = EMC_SCORING_PRIOR}, "no log-priors"},
        {{.rule = EMC_SCORING_PRIOR, .log_priors = priors}, "log-prior 0.5 of choice 1"},
        {{.rule = EMC_SCORING_PRIOR, .log_priors = low}, "log-prior -inf of choice 1"},
        {{.rule = EMC_SCORING_PRIOR, .log_priors = none}, "of choice 1"},
    };
    emc_search_rules *rules;
    emc_choices *choices;

    (void)state;
    EMT_OK(emc_choices_open(&choices, ids, begin, 2, 4, 4));
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        EMT_FAILS(EMC_ERR_ARG, cases[i].message,
                  emc_search_rules_open(&rules, choices, &cases[i].scoring));
        assert_null(rules);
    }
    emc_search_rules_close(NULL);
    emc_search_close(NULL);
    emc_choices_close(choices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_sets),           cmocka_unit_test(large_sets),
        cmocka_unit_test(extreme_temperatures), cmocka_unit_test(broken_numbers),
        cmocka_unit_test(broken_log_sum),       cmocka_unit_test(bad_scorings_are_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
