/*
 * Is the best choice that the engine finds the one that all of them computed show, with bounds
 * that hold, whatever else is in flight?
 */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime_case.h"
#include "search_case.h"

#define MOST_PROMPTS 200
#define MOST_LENGTH  60

/* As in test_search: shares and probabilities of up to a thousand choices, summed in another way.
 */
#define TOLERANCE 1e-12

/* `model` is of the golden ones, or the demo's (NULL). Prompts that take part, when tests may take
 * minutes, and on a virtual GPU, which takes its time. */
static const struct {
    const char *model;
    emc_dtype_choice dtype;
    search_shape shape;
    int n_choices;
    int n_prompts;
    int n_full;
    int n_virtual;
} sets[] = {
    {"group1", EMC_DTYPE_FLOAT32, SHAPE_ENDED, 2, 60, 100, 0},
    {"group4", EMC_DTYPE_BFLOAT16, SHAPE_ENDED, 2, 60, 200, 6},
    {"group4", EMC_DTYPE_BFLOAT16, SHAPE_ENDED, 28, 20, 200, 2},
    {"group5", EMC_DTYPE_FLOAT32, SHAPE_SHORT, 28, 20, 200, 0},
    {"group4", EMC_DTYPE_BFLOAT16, SHAPE_CHAINS, 28, 3, 100, 0},
    {"group2", EMC_DTYPE_FLOAT32, SHAPE_SINGLES, 28, 20, 200, 0},
    {"group8", EMC_DTYPE_BFLOAT16, SHAPE_DEEP, 28, 6, 200, 0},
    {"group1", EMC_DTYPE_FLOAT32, SHAPE_NESTED, 28, 20, 200, 1},
    {"group4", EMC_DTYPE_BFLOAT16, SHAPE_ENDED, 1000, 1, 40, 0},
    {NULL, EMC_DTYPE_BFLOAT16, SHAPE_ENDED, 2, 10, 200, 0},
    {NULL, EMC_DTYPE_FLOAT32, SHAPE_ENDED, 28, 2, 100, 0},
    {NULL, EMC_DTYPE_BFLOAT16, SHAPE_SINGLES, 1000, 10, 200, 0},
    {NULL, EMC_DTYPE_BFLOAT16, SHAPE_ENDED, 1000, 0, 8, 0},
};

static const emc_scoring scorings[] = {
    {.rule = EMC_SCORING_JOINT, .width = 0.02, .threshold = 0.5},
    {.rule = EMC_SCORING_JOINT, .temperature = 2, .width = 0.5, .threshold = 0.3},
    {.rule = EMC_SCORING_MEAN, .temperature = 0.5, .width = 0.1},
    {.rule = EMC_SCORING_FIRST, .width = 0.02},
    {.rule = EMC_SCORING_PRIOR, .width = 0.02},
    {.rule = EMC_SCORING_JOINT, .width = 0.01, .outside = true},
    {.rule = EMC_SCORING_PRIOR, .temperature = 5, .width = 0},
};

typedef struct {
    search_case choices;
    emc_request requests[MOST_PROMPTS];
    int32_t ids[MOST_PROMPTS][MOST_LENGTH];
    int n;
} workload;

static void make_workload(workload *w, int n_prompts, int vocab, uint64_t *random)
{
    w->n = n_prompts;
    for (int r = 0; r < n_prompts; r++) {
        const int n = 1 + (int)(emt_random(random) % MOST_LENGTH);

        for (int i = 0; i < n; i++)
            w->ids[r][i] = (int32_t)(emt_random(random) % (uint64_t)vocab);
        w->requests[r] = (emc_request){.ticket = (uint64_t)r, .ids = w->ids[r], .n_ids = n};
    }
}

/* Every prompt of the workload, asked in one way. */
static void ask(emc_engine *engine, workload *w, const emc_scoring *scoring, emc_ask how,
                bool backwards, kept_answer *answers)
{
    emc_scoring with = *scoring;
    int order[MOST_PROMPTS];

    with.log_priors = w->choices.priors;
    EMT_OK(emc_engine_set_scoring(engine, &with));
    for (int r = 0; r < w->n; r++) {
        w->requests[r].ask = how;
        order[r] = backwards ? w->n - 1 - r : r;
    }
    run_requests(engine, w->requests, order, w->n, w->choices.n, answers);
}

/* What each score must be, from all log-probabilities; by the first token, from all scores. */
static void true_scores(double *scores, const workload *w, const kept_answer *all,
                        const emc_scoring *scoring)
{
    const search_case *c = &w->choices;

    for (int i = 0; i < c->n; i++) {
        scores[i] = all->log_probs[i];
        if (scoring->rule == EMC_SCORING_MEAN)
            scores[i] /= c->begin[i + 1] - c->begin[i];
        if (scoring->rule == EMC_SCORING_PRIOR)
            scores[i] -= c->priors[i];
        if (scoring->rule == EMC_SCORING_FIRST)
            scores[i] = all->scores[i];
    }
}

/* `all` is of EMC_SCORING_FIRST and knows everything. */
static void check_answer(const workload *w, const kept_answer *best, const kept_answer *all,
                         const emc_scoring *scoring)
{
    const double temperature = scoring->temperature == 0 ? 1 : scoring->temperature;
    const emc_found *found = &best->found;
    const int n = w->choices.n;
    double *scores = malloc((size_t)n * sizeof *scores), share, outside;

    assert_non_null(scores);
    true_scores(scores, w, all, scoring);
    assert_int_equal(found->choice, ref_search_best(scores, n));
    share = ref_search_share(scores, n, temperature, found->choice);
    outside = ref_search_outside(all->log_probs, n);
    assert_true(found->share_low <= share * (1 + TOLERANCE));
    assert_true(found->share_high >= share * (1 - TOLERANCE));
    assert_true(found->share_high - found->share_low <= scoring->width);
    assert_true(found->share_low >= scoring->threshold || found->share_high < scoring->threshold);
    assert_true(found->outside_low - TOLERANCE <= outside);
    assert_true(outside <= found->outside_high + TOLERANCE);
    if (scoring->outside)
        assert_true(found->outside_high - found->outside_low <= scoring->width);
    if (scoring->width == 0)
        assert_true(found->complete);
    for (int c = 0; c < n; c++) {
        assert_true(isnan(best->scores[c]) ? !found->complete : best->scores[c] == scores[c]);
        assert_true(isnan(best->log_probs[c]) || best->log_probs[c] == all->log_probs[c]);
    }
    assert_in_range(found->n_rows, 0, w->choices.choices->n_inner);
    free(scores);
}

static void check_scoring(emc_engine *large, emc_engine *small, workload *w,
                          const emc_scoring *scoring, const kept_answer *all)
{
    kept_answer *best = calloc(MOST_PROMPTS, sizeof *best);
    kept_answer *again = calloc(MOST_PROMPTS, sizeof *again);
    emc_engine_stats before, after;
    int64_t n_rows = 0;

    assert_true(best && again);
    emc_engine_get_stats(large, &before);
    ask(large, w, scoring, EMC_ASK_BEST, false, best);
    emc_engine_get_stats(large, &after);
    for (int r = 0; r < w->n; r++) {
        check_answer(w, &best[r], &all[r], scoring);
        n_rows += best[r].found.n_rows;
    }
    assert_int_equal(after.n_choice_rows - before.n_choice_rows, n_rows);
    ask(small, w, scoring, EMC_ASK_BEST, true, again);
    assert_same_answers(best, again, w->n, w->choices.n, "small steps, backwards");
    free_answers(again, w->n);

    /* The last one alone. */
    memset(again, 0, sizeof *again);
    w->requests[w->n - 1].ticket = 0;
    run_requests(large, &w->requests[w->n - 1], NULL, 1, w->choices.n, again);
    w->requests[w->n - 1].ticket = (uint64_t)(w->n - 1);
    assert_same_answers(&best[w->n - 1], again, 1, w->choices.n, "alone");
    free_answers(again, 1);
    free_answers(best, w->n);

    /* Every score known: bit by bit what EMC_ASK_CHOICES gives. */
    if (scoring->width == 0) {
        ask(large, w, scoring, EMC_ASK_BEST, false, best);
        ask(large, w, scoring, EMC_ASK_CHOICES, true, again);
        assert_same_answers(best, again, w->n, w->choices.n, "all choices");
        free_answers(best, w->n);
        free_answers(again, w->n);
    }
    free(best);
    free(again);
}

static void check_set(size_t s, int n_prompts, uint64_t *random)
{
    static workload w;
    static kept_answer all[MOST_PROMPTS];
    const emc_scoring by_first = {.rule = EMC_SCORING_FIRST};
    const emc_engine_options small_steps = {.max_num_batched_tokens = 128, .n_pages = 96};
    const emc_engine_options large_steps = {.max_num_batched_tokens = case_on_cpu() ? 512 : 256,
                                            .n_pages = 256};
    emc_engine *large, *small;
    emc_model *model;
    runtime_case c = {0};

    if (sets[s].model)
        case_open(&c, sets[s].model, sets[s].model);
    else
        snprintf(c.model_dir, sizeof c.model_dir, "%s", emt_golden("../../demo/model"));
    model = case_model(&c, sets[s].dtype, 1);
    large = case_engine(model, &large_steps);
    small = case_engine(model, &small_steps);
    search_case_draw(&w.choices, sets[s].shape, sets[s].n_choices, random);
    make_workload(&w, n_prompts, emc_model_get_info(model)->vocab, random);
    EMT_OK(emc_engine_set_choices(large, w.choices.ids, w.choices.begin, w.choices.n));
    EMT_OK(emc_engine_set_choices(small, w.choices.ids, w.choices.begin, w.choices.n));

    ask(large, &w, &by_first, EMC_ASK_CHOICES, false, all);
    for (size_t i = 0; i < EMC_COUNT(scorings); i += case_on_cpu() || case_full() ? 1 : 3)
        check_scoring(large, small, &w, &scorings[i], all);
    free_answers(all, w.n);

    search_case_close(&w.choices);
    emc_engine_close(large);
    emc_engine_close(small);
    emc_model_close(model);
    if (sets[s].model)
        case_close(&c);
}

static void the_best_is_that_of_all(void **state)
{
    uint64_t random = 5;

    (void)state;
    for (size_t s = 0; s < EMC_COUNT(sets); s++) {
        const int n_plain = case_on_cpu() ? sets[s].n_prompts : sets[s].n_virtual;
        const int n_full = case_on_cpu() ? sets[s].n_full : sets[s].n_prompts;
        const int n_prompts = case_full() ? n_full : n_plain;

        if (n_prompts > 0)
            check_set(s, n_prompts, &random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_is_that_of_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
