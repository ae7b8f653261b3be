/* Is each node's bound one, and no looser than it may be? Which nodes are asked for? */
#include "search_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/search_rules.h"

/* Sums of up to 28 terms, each a few roundings wrong. */
#define TOLERANCE 1e-12

/* --- Each node's bounds -------------------------------------------------------------------- */

/* The most of these choices that end on one way. */
static int most_nested(const ref_search_table *table, const int *below, int n_below)
{
    int most = 0;

    for (int i = 0; i < n_below; i++) {
        const int32_t *ids = table->ids + table->begin[below[i]];
        int n = 0;

        for (int j = 0; j < n_below; j++) {
            const int length = table->begin[below[j] + 1] - table->begin[below[j]];

            n +=
                length <= table->begin[below[i] + 1] - table->begin[below[i]] &&
                memcmp(ids, table->ids + table->begin[below[j]], (size_t)length * sizeof *ids) == 0;
        }
        most = n > most ? n : most;
    }
    return most;
}

/* By the formulas, without what is allowed for rounding. */
static double log_spread(const emc_scoring *scoring, int n, int nested, int deepest)
{
    double power = 1 / scoring->temperature;

    if (scoring->rule == EMC_SCORING_MEAN)
        power /= deepest;
    if (power > 1)
        power = 1;
    return (1 - power) * log(n) + power * log(nested);
}

/* Node v lies `depth` tokens down choice `on`. */
static void check_node(const search_case *c, const emc_search_rules *rules, const double *scores,
                       const double *log_probs, int v, int depth, int on)
{
    const ref_search_table table = search_case_table(c);
    const emc_scoring *scoring = &rules->scoring;
    int below[SEARCH_MOST_CHOICES], n_below, deepest = 0, nested;
    double joint = 0, bound, mass = 0, probability = 0;

    n_below = ref_search_below(below, &table, c->ids + c->begin[on], depth);
    nested = most_nested(&table, below, n_below);
    for (int i = 0; i < depth; i++)
        joint += c->edges[c->begin[on] + i];
    bound = emc_search_bound(rules, v, joint);
    assert_int_equal(rules->below[v].n_choices, n_below);
    assert_int_equal(rules->below[v].first_choice, below[0]);
    for (int i = 0; i < n_below; i++) {
        const int length = c->begin[below[i] + 1] - c->begin[below[i]];

        deepest = length > deepest ? length : deepest;
        assert_true(scores[below[i]] <= bound);
        mass += exp((scores[below[i]] - bound) / scoring->temperature);
        probability += exp(log_probs[below[i]] - joint);
    }
    assert_true(mass <= exp(rules->below[v].log_spread) * (1 + TOLERANCE));
    assert_true(probability <= exp(rules->below[v].log_outside) * (1 + TOLERANCE));
    /* 2^-16 a level to the power of 4 at most */
    assert_true(rules->below[v].log_spread <=
                log_spread(scoring, n_below, nested, deepest) + 64 * 4 * 0x1p-16);
    assert_true(rules->below[v].log_outside <= log(nested) + 64 * 0x1p-16);
}

static void check_case(const search_case *c, const emc_scoring *scoring)
{
    const ref_search_table table = search_case_table(c);
    double *log_probs = malloc((size_t)c->n * sizeof(double));
    double *scores = malloc((size_t)c->n * sizeof(double));
    emc_search_rules *rules;

    assert_true(log_probs && scores);
    EMT_OK(emc_search_rules_open(&rules, c->choices, scoring));
    ref_search_scores(log_probs, scores, &table, scoring);
    for (int i = 0; i < c->n; i++) {
        int v = c->choices->ends[i];

        for (int depth = c->choices->nodes[v].depth; depth >= 0; depth--) {
            if (c->choices->nodes[v].n_children > 0)
                check_node(c, rules, scores, log_probs, v, depth, i);
            v = c->choices->nodes[v].parent;
        }
    }
    emc_search_rules_close(rules);
    free(log_probs);
    free(scores);
}

static void each_node_bounds_what_is_below(void **state)
{
    static const emc_scoring_rule scoring_rules[] = {EMC_SCORING_JOINT, EMC_SCORING_MEAN,
                                                     EMC_SCORING_PRIOR};
    static const double temperatures[] = {0.25, 0.5, 1, 2, 5};
    uint64_t random = 11;

    (void)state;
    for (int i = 0; i < N_SHAPES * N_STYLES * 3; i++) {
        search_case c;

        search_case_open(&c, (search_shape)(i % N_SHAPES), (search_style)(i / N_SHAPES % N_STYLES),
                         28, &random);
        for (size_t r = 0; r < EMC_COUNT(scoring_rules); r++)
            for (size_t t = 0; t < EMC_COUNT(temperatures); t++) {
                const emc_scoring scoring = {.rule = scoring_rules[r],
                                             .temperature = temperatures[t],
                                             .log_priors = c.priors};

                check_case(&c, &scoring);
            }
        search_case_close(&c);
    }
}

/* --- Which nodes are asked for ------------------------------------------------------------- */

#define MOST_TEXT 128

/* Choices as tokens of one digit each, with the probability of every token after those before it
 * in its choice. Nodes are counted level by level, on each in the order of their tokens. */
typedef struct {
    const char *what;
    const char *choices[8];
    double probabilities[8][6];
    emc_scoring scoring;
    emc_search_policy policy;
    const char *rounds;
    int choice;
} small_case;

static void open_small(search_case *out, const small_case *from)
{
    search_case c = {.ids = calloc(48, sizeof(int32_t)),
                     .begin = calloc(9, sizeof(int32_t)),
                     .edges = calloc(48, sizeof(double)),
                     .priors = calloc(8, sizeof(double))};

    assert_true(c.ids && c.begin && c.edges && c.priors);
    while (c.n < 8 && from->choices[c.n]) {
        int32_t end = c.begin[c.n];

        for (const char *digit = from->choices[c.n]; *digit; digit++)
            c.ids[end++] = *digit - '0';
        c.begin[++c.n] = end;
    }
    EMT_OK(emc_choices_open(&c.choices, c.ids, c.begin, c.n, 10, 6));
    c.logits = calloc((size_t)c.choices->n_nodes, sizeof(float));
    c.log_sums = calloc((size_t)c.choices->n_nodes, sizeof(float));
    assert_true(c.logits && c.log_sums);
    for (int i = 0; i < c.n; i++) {
        int v = c.choices->ends[i];

        for (int32_t k = c.begin[i + 1] - 1; k >= c.begin[i]; k--) {
            c.logits[v] = (float)log(from->probabilities[i][k - c.begin[i]]);
            c.edges[k] = c.logits[v];
            v = c.choices->nodes[v].parent;
        }
    }
    *out = c;
}

/* "0 1 2|3 5": what every round asked for. */
static void run_small(char *rounds, emc_found *found, const search_case *c,
                      const emc_scoring *scoring, emc_search_policy policy)
{
    double log_probs[8], scores[8];
    const int32_t *nodes;
    emc_search_rules *rules;
    emc_search *search;
    size_t used = 0;
    int n;

    EMT_OK(emc_search_rules_open(&rules, c->choices, scoring));
    EMT_OK(emc_search_open(&search));
    EMT_OK(emc_search_begin(search, rules, policy));
    emc_search_next_round(search, &nodes, &n);
    rounds[0] = '\0';
    while (n > 0) {
        for (int i = 0; i < n; i++) {
            const char *before = used == 0 ? "" : i == 0 ? "|" : " ";

            used += (size_t)snprintf(rounds + used, MOST_TEXT - used, "%s%d", before, nodes[i]);
            assert_true(used < MOST_TEXT);
        }
        for (int i = 0; i < n; i++)
            emc_search_take(search, nodes[i], c->logits + c->choices->nodes[nodes[i]].first_child,
                            0);
        emc_search_next_round(search, &nodes, &n);
    }
    emc_search_result(search, found, log_probs, scores);
    emc_search_close(search);
    emc_search_rules_close(rules);
}

/* Two ways behind a common one: 0 - 1 - 2, then 3 - 5 - 7 and 4 - 6 - 8. */
#define TWO_WAYS                                                                                   \
    .choices = {"12349", "12569"}, .probabilities = {{1, 1, 0.9, 1, 1}, {1, 1, 0.05, 1, 1}}

/* The likelier beginning, 1, splits up; 2 goes on alone. */
#define SPLIT .choices = {"13", "14", "25"}, .probabilities = {{0.5, 0.5}, {0.5, 0.5}, {0.4, 1}}

/* One that is known at once, and four ways of falling mass, nodes 2 .. 5. */
#define FALLING                                                                                    \
    .choices = {"1", "29", "39", "49", "59"},                                                      \
    .probabilities = {{0.5}, {0.2, 1}, {0.1, 1}, {0.05, 1}, {0.01, 1}}

/* Eight ways, nodes 1 .. 8, each of which may be the best until it is known. */
#define FLAT                                                                                       \
    .choices = {"19", "29", "39", "49", "59", "69", "79", "89"},                                   \
    .probabilities = {{0.12, 0.01}, {0.11, 0.01}, {0.1, 0.01},  {0.09, 0.01},                      \
                      {0.08, 0.01}, {0.07, 0.01}, {0.06, 0.01}, {0.05, 0.01}}

static const small_case small_cases[] = {
    {"the likelier way is enough", TWO_WAYS, {.width = 0.5}, EMC_SEARCH_BEST, "0 1 2|3 5", 0},
    {"both, for the width", TWO_WAYS, {.width = 0.02}, EMC_SEARCH_BEST, "0 1 2|3 5|4 6", 0},
    {"both, for the threshold",
     TWO_WAYS,
     {.width = 0.5, .threshold = 0.95},
     EMC_SEARCH_BEST,
     "0 1 2|3 5|4 6",
     0},
    {"the threshold is met",
     TWO_WAYS,
     {.width = 0.5, .threshold = 0.94},
     EMC_SEARCH_BEST,
     "0 1 2|3 5",
     0},
    {"both, for what lies beside the set",
     TWO_WAYS,
     {.rule = EMC_SCORING_MEAN, .temperature = 0.001, .width = 0.02, .outside = true},
     EMC_SEARCH_BEST,
     "0 1 2|3 5|4 6",
     0},
    {"without that, one",
     TWO_WAYS,
     {.rule = EMC_SCORING_MEAN, .temperature = 0.001, .width = 0.02},
     EMC_SEARCH_BEST,
     "0 1 2|3 5",
     0},
    {"all at once", TWO_WAYS, {.width = 0}, EMC_SEARCH_BEST, "0 1 2 3 4 5 6", 0},
    {"the first that differs", TWO_WAYS, {.rule = EMC_SCORING_FIRST}, EMC_SEARCH_BEST, "0 1 2", 0},
    {"the first that differs, and what lies beside the set",
     TWO_WAYS,
     {.rule = EMC_SCORING_FIRST, .width = 0.06, .outside = true},
     EMC_SEARCH_BEST,
     "0 1 2|3 5",
     0},
    {"all of them", TWO_WAYS, {.width = 1}, EMC_SEARCH_ALL, "0 1 2 3 4 5 6", 0},
    {"greedy", TWO_WAYS, {.width = 0}, EMC_SEARCH_GREEDY, "0 1 2|3 5", 0},
    {"the best is not where it begins best", SPLIT, {.width = 1}, EMC_SEARCH_BEST, "0|1|2", 2},
    {"greedy goes wrong", SPLIT, {.width = 1}, EMC_SEARCH_GREEDY, "0|1", 0},
    {"as few as may do", FALLING, {.width = 0.1}, EMC_SEARCH_BEST, "0|2 3", 0},
    {"fewer for a wider one", FALLING, {.width = 0.14}, EMC_SEARCH_BEST, "0|2", 0},
    {"none", FALLING, {.width = 0.5}, EMC_SEARCH_BEST, "0", 0},
    {"twice as many each round", FLAT, {.width = 1}, EMC_SEARCH_BEST, "0|1|2|3 4|5 6 7 8", 0},
    {"a tie with what may come first",
     .choices = {"29", "1"},
     .probabilities = {{0.4, 1}, {0.4}},
     {.width = 1},
     EMC_SEARCH_BEST,
     "0|2",
     0},
    {"a tie with what comes later",
     .choices = {"1", "29"},
     .probabilities = {{0.4}, {0.4, 1}},
     {.width = 1},
     EMC_SEARCH_BEST,
     "0",
     0},
    {"of two equal ways that of the lower choice",
     .choices = {"39", "29"},
     .probabilities = {{0.4, 1}, {0.4, 1}},
     {.width = 1},
     EMC_SEARCH_BEST,
     "0|2",
     0},
    {"a long choice gains by its length",
     .choices = {"1", "29", "2349"},
     .probabilities = {{0.3}, {0.25, 0.1}, {0.25, 0.9, 1, 1}},
     {.rule = EMC_SCORING_MEAN, .width = 1},
     EMC_SEARCH_BEST,
     "0|2|3 5",
     2},
    {"a choice that ends on the way is the best at once",
     .choices = {"1", "12"},
     .probabilities = {{0.7}, {0.7, 0.9}},
     {.width = 1},
     EMC_SEARCH_BEST,
     "0",
     0},
    {"greedy passes it over",
     .choices = {"1", "12"},
     .probabilities = {{0.7}, {0.7, 0.1}},
     {.width = 1},
     EMC_SEARCH_GREEDY,
     "0 1",
     1},
    {"by the first token both",
     .choices = {"1", "12"},
     .probabilities = {{0.7}, {0.7, 0.9}},
     {.rule = EMC_SCORING_FIRST, .width = 1},
     EMC_SEARCH_BEST,
     "0 1",
     0},
    {"one choice",
     .choices = {"123"},
     .probabilities = {{0.1, 0.2, 0.3}},
     {.rule = EMC_SCORING_FIRST, .width = 0.5},
     EMC_SEARCH_BEST,
     "0 1 2",
     0},
};

static void rounds_hold_what_is_needed(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(small_cases); i++) {
        const small_case *from = &small_cases[i];
        char rounds[MOST_TEXT];
        emc_found found;
        search_case c;

        open_small(&c, from);
        run_small(rounds, &found, &c, &from->scoring, from->policy);
        if (strcmp(rounds, from->rounds) != 0)
            fail_msg("%s: rounds %s, should be %s", from->what, rounds, from->rounds);
        if (found.choice != from->choice)
            fail_msg("%s: choice %d, should be %d", from->what, found.choice, from->choice);
        search_case_close(&c);
    }
}

/* By hand: 0.9 known, 0.05 open. */
static void bounds_by_hand(void **state)
{
    const small_case *from = &small_cases[0];
    char rounds[MOST_TEXT];
    emc_found found;
    search_case c;

    (void)state;
    open_small(&c, from);
    run_small(rounds, &found, &c, &from->scoring, from->policy);
    assert_false(found.complete);
    assert_int_equal(found.n_rows, 4);
    assert_true(found.share_high == 1);
    assert_true(fabs(found.share_low - 0.9 / 0.95) < 1e-6); /* logs of f32 */
    assert_true(fabs(found.share - (1 + 0.9 / 0.95) / 2) < 1e-6);
    assert_true(fabs(found.outside_high - 0.1) < 1e-6);
    assert_true(fabs(found.outside_low - 0.05) < 1e-6);
    search_case_close(&c);
}

/* Choices with a certain second token: the bound on each is its mass, so that the order in which
 * numbers are added is all that is left. */
static void bounds_hold_to_the_last_bit(void **state)
{
    enum { N = 24 };
    const emc_scoring scoring = {.width = 1e-12, .outside = true};
    uint32_t seed = 1;

    (void)state;
    for (int trial = 0; trial < 300; trial++) {
        int32_t ids[2 * N], begin[N + 1] = {0};
        float logits[N];
        const int32_t *round;
        emc_choices *choices;
        emc_search_rules *rules;
        emc_search *search;
        emc_found before, after;
        double log_probs[N], scores[N];
        int n;

        for (int i = 0; i < N; i++) {
            seed = seed * 1664525u + 1013904223u;
            logits[i] = i == 0 ? -1 : -4 - (float)(seed >> 8) * 0x1p-23f;
            begin[i + 1] = begin[i];
            ids[begin[i + 1]++] = i;
            if (i % 2 == 1)
                ids[begin[i + 1]++] = 0;
        }
        EMT_OK(emc_choices_open(&choices, ids, begin, N, N, 64));
        EMT_OK(emc_search_rules_open(&rules, choices, &scoring));
        EMT_OK(emc_search_open(&search));
        EMT_OK(emc_search_begin(search, rules, EMC_SEARCH_BEST));
        emc_search_next_round(search, &round, &n);
        assert_int_equal(n, 1);
        emc_search_take(search, 0, logits, 0);
        emc_search_result(search, &before, log_probs, scores);
        for (emc_search_next_round(search, &round, &n); n > 0;
             emc_search_next_round(search, &round, &n))
            for (int i = 0; i < n; i++)
                emc_search_take(search, round[i], (const float[]){0}, 0);
        emc_search_result(search, &after, log_probs, scores);
        assert_true(after.complete);
        assert_true(after.share_low == after.share_high);
        assert_true(before.share_low <= after.share && after.share <= before.share_high);
        assert_true(before.outside_low <= after.outside_low);
        assert_true(after.outside_high <= before.outside_high);
        emc_search_close(search);
        emc_search_rules_close(rules);
        emc_choices_close(choices);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bounds_hold_to_the_last_bit),
                                       cmocka_unit_test(each_node_bounds_what_is_below),
                                       cmocka_unit_test(rounds_hold_what_is_needed),
                                       cmocka_unit_test(bounds_by_hand)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
