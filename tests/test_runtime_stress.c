/*
 * Does a question get the bits that it gets alone, whatever else an engine is told: small steps and
 * few pages, other questions, prefixes, choices and scorings, refusals, cancels, a device that
 * fails now and then? And does every page come back, with no row computed twice?
 */
#include "emt.h"

#include <stdio.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime_case.h"
#include "search_case.h"

#define MOST_REQUESTS 24
#define MOST_PREFIX   200
#define MOST_OWN      300
#define MOST_ANSWER   5  /* generated tokens */
#define ROUNDS        10 /* of the same questions */
#define MOST_FAILURES 3  /* a round */
#define MOST_CANCELS  2

/* Sets of questions with tests of minutes, without, and on a virtual GPU. */
static const struct {
    const char *name, *base;
    emc_dtype_choice dtype;
    int n_full, n_plain, n_virtual;
} models[] = {{"group1", "group1", EMC_DTYPE_FLOAT32, 30, 7, 0},
              {"group4", "group4", EMC_DTYPE_BFLOAT16, 30, 7, 1},
              {"group5", "group5", EMC_DTYPE_FLOAT32, 15, 3, 0},
              {"lora", "group4", EMC_DTYPE_BFLOAT16, 15, 3, 0}};

typedef enum { PENDING, IN_FLIGHT, ANSWERED, DROPPED } request_state;

typedef struct {
    const char *name;
    runtime_case c;
    emc_model *model;
    uint64_t random;
    emc_engine *lone;   /* is asked one question at a time */
    emc_engine *engine; /* is asked all of them */

    int32_t prefix[MOST_PREFIX];
    int n_prefix;
    search_case choices;
    emc_scoring scoring;

    int32_t ids[MOST_REQUESTS][MOST_PREFIX + MOST_OWN];
    emc_request requests[MOST_REQUESTS];
    request_state states[MOST_REQUESTS];
    kept_answer plain[MOST_REQUESTS], answers[MOST_REQUESTS];
    bool tight; /* long searches that begin in the last rows of a page, and hardly any pages */
    int n;
    int first; /* where submitting begins */
    int n_in_flight;
    int n_rows_at_most; /* of all requests, computed once */
    int n_errors, n_cancels;
} stress;

/* What the rounds of all models reached: a mix without one of these would be no test of it. */
static struct {
    int failures, cancels, full, refusals, reserve, cut, prefixed, partial;
} reached;

/* A virtual GPU takes its time. */
static bool in_haste(void)
{
    return !case_on_cpu();
}

/* [0, n) */
static int draw(stress *s, int n)
{
    return (int)(emt_random(&s->random) % (uint64_t)n);
}

static bool one_in(stress *s, int n)
{
    return draw(s, n) == 0;
}

/* --- A device that fails ----------------------------------------------------------------------
 */

static struct {
    const emc_ops *real;
    emc_ops ops;
    const emc_engine *engine;
    int fail_in; /* calls; negative: never */
    int n_failed;
    int64_t n_steps, n_most_steps;
} spy;

static emc_status spy_call(void)
{
    if (spy.fail_in-- != 0)
        return EMC_OK;
    spy.n_failed++;
    return emc_fail(EMC_ERR_DEVICE, "the device is lost");
}

static emc_status spy_event_wait(emc_device *dev, emc_event *event)
{
    EMC_TRY(spy_call());
    return spy.real->event_wait(dev, event);
}

/* Every step embeds its rows. */
static emc_status spy_embed(emc_device *dev, void *out, const emc_matrix *table,
                            const emc_lora *lora, const int32_t *ids, int rows)
{
    EMC_TRY(spy_call());
    reached.reserve += spy.engine->reserve_holder != NULL;
    if (++spy.n_steps > spy.n_most_steps)
        return emc_fail(EMC_ERR_INTERNAL, "more steps than there are rows");
    return spy.real->embed(dev, out, table, lora, ids, rows);
}

static void start_spying(stress *s)
{
    memset(&spy, 0, sizeof spy);
    spy.real = s->model->dev->ops;
    spy.ops = *spy.real;
    spy.engine = s->engine;
    spy.fail_in = -1;
    spy.ops.event_wait = spy_event_wait;
    spy.ops.embed = spy_embed;
    s->model->dev->ops = &spy.ops;
}

static void stop_spying(const stress *s)
{
    s->model->dev->ops = spy.real;
}

/* --- What is drawn ----------------------------------------------------------------------------
 */

static void draw_ids(stress *s, int32_t *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = draw(s, s->model->info.vocab);
}

/* Mostly short, also about the edge of a page, also with just room for the first nodes of a search,
 * also longer than a step of 128 rows. */
static int draw_length(stress *s, int most)
{
    if (s->tight && !one_in(s, 4))
        return EMC_PAGE_POSITIONS - EMC_FIRST_NODES - draw(s, 3);
    switch (draw(s, 10)) {
    case 0:
        return EMC_PAGE_POSITIONS - 1 + draw(s, 3);
    case 1:
        return 1 + draw(s, most);
    case 2:
        return EMC_PAGE_POSITIONS - EMC_FIRST_NODES - draw(s, 3);
    default:
        return 1 + draw(s, 40);
    }
}

static void renew_engine(stress *s)
{
    static const int steps[] = {1, 1, 2, 3, 8};
    static const int pages[] = {1, 1, 2, 3, 5, 12, 64};
    const emc_engine_options options = {
        .max_num_batched_tokens = EMC_PAGE_POSITIONS * (case_on_cpu() ? steps[draw(s, 5)] : 1),
        .max_num_readers = EMC_PAGE_POSITIONS * (1 + draw(s, 2)),
        .max_answer_tokens = MOST_ANSWER,
        .n_pages = pages[draw(s, s->tight ? 3 : (int)EMC_COUNT(pages))]};

    emc_engine_close(s->engine);
    /* A device that takes a step while one runs, as a GPU does, or one that does not. */
    if (case_on_cpu())
        s->model->dev->at_once = one_in(s, 2);
    s->engine = case_engine(s->model, &options);
    EMT_OK(emc_engine_set_prefix(s->engine, s->prefix, s->n_prefix));
    EMT_OK(emc_engine_set_choices(s->engine, s->choices.ids, s->choices.begin, s->choices.n));
    EMT_OK(emc_engine_set_scoring(s->engine, &s->scoring));
}

static void renew_prefix(stress *s)
{
    s->n_prefix = one_in(s, 3) ? 0 : draw_length(s, MOST_PREFIX);
    draw_ids(s, s->prefix, s->n_prefix);
    EMT_OK(emc_engine_set_prefix(s->lone, s->prefix, s->n_prefix));
    EMT_OK(emc_engine_set_prefix(s->engine, s->prefix, s->n_prefix));
}

static void renew_scoring(stress *s)
{
    static const double temperatures[] = {0, 0.3, 1, 6};
    static const double widths[] = {0, 1e-4, 0.02, 0.5, 1};

    s->scoring = (emc_scoring){.rule = (emc_scoring_rule)draw(s, 4),
                               .temperature = temperatures[s->tight ? 3 : draw(s, 4)],
                               .width = widths[s->tight ? 1 : draw(s, 5)],
                               .threshold = one_in(s, 2) ? emt_uniform(&s->random) : 0,
                               .outside = one_in(s, 3)};
    if (s->scoring.rule == EMC_SCORING_PRIOR)
        s->scoring.log_priors = s->choices.priors;
    EMT_OK(emc_engine_set_scoring(s->lone, &s->scoring));
    EMT_OK(emc_engine_set_scoring(s->engine, &s->scoring));
}

/* Long chains have as many rows as tokens, so fewer of them. */
static void renew_choices(stress *s)
{
    const search_shape shape = (search_shape)draw(s, N_SHAPES);
    const int most = shape == SHAPE_CHAINS      ? 10
                     : in_haste()               ? 6
                     : s->tight || one_in(s, 3) ? 60
                                                : 12;

    search_case_close(&s->choices);
    search_case_draw(&s->choices, shape, 1 + draw(s, most), &s->random);
    EMT_OK(emc_engine_set_choices(s->lone, s->choices.ids, s->choices.begin, s->choices.n));
    EMT_OK(emc_engine_set_choices(s->engine, s->choices.ids, s->choices.begin, s->choices.n));
    renew_scoring(s);
}

static bool takes_prefix(const stress *s, const emc_request *request)
{
    return s->n_prefix > 0 && request->n_ids > s->n_prefix &&
           memcmp(request->ids, s->prefix, (size_t)s->n_prefix * sizeof *s->prefix) == 0;
}

static int own_rows(const stress *s, const emc_request *request)
{
    return request->n_ids - (takes_prefix(s, request) ? s->n_prefix : 0);
}

static void draw_requests(stress *s)
{
    s->n = in_haste() ? 4 : one_in(s, 6) ? MOST_REQUESTS : 1 + draw(s, 9);
    s->n_rows_at_most = 0;
    for (int r = 0; r < s->n; r++) {
        const int n_shared = s->n_prefix > 0 && !one_in(s, 3) ? s->n_prefix : 0;
        const int n_own =
            in_haste() || s->n == MOST_REQUESTS ? 1 + draw(s, 40) : draw_length(s, MOST_OWN);
        const int n_short = n_shared > 0 && one_in(s, 6) ? n_own : 0; /* the prefix alone */

        memcpy(s->ids[r], s->prefix, (size_t)n_shared * sizeof *s->prefix);
        draw_ids(s, s->ids[r] + n_shared, n_own);
        s->requests[r] =
            (emc_request){.ticket = (uint64_t)r,
                          .ids = s->ids[r],
                          .n_ids = n_shared + n_own - n_short,
                          .ask = s->tight && !one_in(s, 3) ? EMC_ASK_BEST : (emc_ask)draw(s, 4),
                          .max_tokens = 1 + draw(s, MOST_ANSWER)};
        s->states[r] = PENDING;
        s->n_rows_at_most +=
            own_rows(s, &s->requests[r]) + s->choices.choices->n_inner + MOST_ANSWER;
        reached.prefixed += takes_prefix(s, &s->requests[r]);
        reached.cut += own_rows(s, &s->requests[r]) > s->engine->options.max_num_batched_tokens;
    }
}

/* --- What is done -----------------------------------------------------------------------------
 */

/* Submitted and not answered, as the test and the engine see it. */
static void assert_in_flight(const stress *s)
{
    assert_int_equal(s->engine->n_order + s->engine->n_finished, s->n_in_flight);
}

/* An error that the device's failure explains. Every one is told at most once. */
static void assert_failed(stress *s, emc_status status)
{
    if (status != EMC_ERR_DEVICE || ++s->n_errors > spy.n_failed)
        fail_msg("%s: %s", emc_status_name(status), emc_message());
    assert_int_equal(s->engine->n_flights, 0);
}

static void poll(stress *s)
{
    emc_answer answer;
    emc_status status;
    bool got;

    status = emc_engine_poll(s->engine, &answer, &got);
    if (status != EMC_OK) {
        assert_failed(s, status);
        return;
    }
    assert_int_equal(got, s->n_in_flight > 0);
    if (!got)
        return;
    assert_in_range(answer.ticket, 0, s->n - 1);
    assert_int_equal(s->states[answer.ticket], IN_FLIGHT);
    assert_int_equal(answer.ask, s->requests[answer.ticket].ask);
    assert_int_equal(answer.n_prompt, s->requests[answer.ticket].n_ids);
    assert_true(answer.finite);
    keep_answer(&s->answers[answer.ticket], &answer, s->choices.n);
    s->states[answer.ticket] = ANSWERED;
    s->n_in_flight--;
}

static void submit(stress *s, int r)
{
    emc_status status;

    if (emc_engine_is_full(s->engine)) {
        EMT_FAILS(EMC_ERR_ARG, "full", emc_engine_submit(s->engine, &s->requests[r]));
        reached.full++;
        poll(s);
        return;
    }
    status = emc_engine_submit(s->engine, &s->requests[r]); /* it may wait for more memory */
    if (status != EMC_OK) {
        assert_failed(s, status);
        return;
    }
    s->states[r] = IN_FLIGHT;
    s->n_in_flight++;
}

/* Half of what is forgotten is asked again. */
static void cancel(stress *s)
{
    emc_engine_cancel(s->engine);
    assert_idle(s->engine);
    for (int r = 0; r < s->n; r++)
        if (s->states[r] == IN_FLIGHT)
            s->states[r] = one_in(s, 2) ? PENDING : DROPPED;
    s->n_in_flight = 0;
    s->n_cancels++;
}

/* What must be refused, and must leave no trace. */
static void try_refused(stress *s)
{
    const int32_t twice[] = {7, 8, 7, 8}, begin[] = {0, 2, 4}, outside[] = {3, -1};
    emc_request request = {.ids = s->ids[0], .n_ids = 1, .ask = EMC_ASK_GENERATE, .max_tokens = 1};
    const bool idle = s->n_in_flight == 0;
    float logits[1];

    if (emc_engine_is_full(s->engine))
        return;
    reached.refusals++;
    switch (draw(s, 6)) {
    case 0:
        request.n_ids = 0;
        EMT_FAILS(EMC_ERR_ARG, "empty", emc_engine_submit(s->engine, &request));
        break;
    case 1:
        request.ids = outside;
        request.n_ids = 2;
        EMT_FAILS(EMC_ERR_ARG, "id -1", emc_engine_submit(s->engine, &request));
        break;
    case 2:
        request.max_tokens = one_in(s, 2) ? 0 : MOST_ANSWER + 1;
        EMT_FAILS(EMC_ERR_ARG, "max_tokens", emc_engine_submit(s->engine, &request));
        break;
    case 3:
        EMT_FAILS(idle ? EMC_ERR_CONFIG : EMC_ERR_ARG, "choice",
                  emc_engine_set_choices(s->engine, twice, begin, 2));
        break;
    case 4:
        if (!idle)
            EMT_FAILS(EMC_ERR_ARG, "prefix", emc_engine_set_prefix(s->engine, twice, 2));
        break;
    default:
        if (!idle)
            EMT_FAILS(EMC_ERR_ARG, "logits", emc_engine_logits(s->engine, twice, 1, logits));
        break;
    }
}

/* --- A round ----------------------------------------------------------------------------------
 */

static void ask_alone(stress *s)
{
    for (int r = 0; r < s->n; r++) {
        emc_request request = s->requests[r];

        request.ticket = 0;
        run_requests(s->lone, &request, NULL, 1, s->choices.n, &s->plain[r]);
    }
}

/* Or -1. */
static int next_pending(const stress *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->states[(s->first + i) % s->n] == PENDING)
            return (s->first + i) % s->n;
    return -1;
}

/* `eager`: of ten chances, those at which something is submitted rather than polled. */
static void ask_together(stress *s, int eager, bool failing, bool cancelling)
{
    const int n_most_turns = 100 * (s->n + 10);
    int n_turns = 0;

    while (next_pending(s) >= 0 || s->n_in_flight > 0) {
        const int r = next_pending(s);

        if (++n_turns > n_most_turns)
            fail_msg("no end after %d turns, %d in flight", n_turns, s->n_in_flight);
        if (failing && spy.fail_in < 0 && spy.n_failed < MOST_FAILURES)
            spy.fail_in = draw(s, 12);
        if (cancelling && s->n_cancels < MOST_CANCELS && one_in(s, 6))
            cancel(s);
        if (one_in(s, 12))
            try_refused(s);
        if (r >= 0 && draw(s, 10) < eager)
            submit(s, r);
        else
            poll(s);
        assert_in_flight(s);
    }
    spy.fail_in = -1;
    poll(s); /* nothing is left */
    assert_idle(s->engine);
}

/* Beside an answer's own rows: nodes, or every token that was generated and gone on from. */
static int answer_rows(const emc_request *request, const kept_answer *answer)
{
    if (request->ask != EMC_ASK_GENERATE)
        return answer->found.n_rows;
    return answer->ended ? answer->n_ids : answer->n_ids - 1;
}

static void check_round(const stress *s, const emc_engine_stats *before, int round)
{
    emc_engine_stats after;
    int n_rows = 0, n_choice_rows = 0;
    char what[64];

    for (int r = 0; r < s->n; r++) {
        const emc_request *request = &s->requests[r];

        snprintf(what, sizeof what, "%s, round %d, request %d", s->name, round, r);
        if (s->states[r] == DROPPED)
            continue;
        assert_int_equal(s->states[r], ANSWERED);
        assert_same_answers(&s->plain[r], &s->answers[r], 1, s->choices.n, what);
        n_rows += own_rows(s, request) + answer_rows(request, &s->answers[r]);
        n_choice_rows += s->answers[r].found.n_rows;
        reached.partial += request->ask == EMC_ASK_BEST && !s->answers[r].found.complete;
    }
    emc_engine_get_stats(s->engine, &after);
    if (spy.n_failed == 0 && s->n_cancels == 0) {
        assert_int_equal(after.n_rows - before->n_rows, n_rows);
        assert_int_equal(after.n_choice_rows - before->n_choice_rows, n_choice_rows);
    }
}

/* Some of the questions, from any of them on. */
static void run_round(stress *s, int round)
{
    const bool failing = one_in(s, in_haste() ? 2 : 4), cancelling = one_in(s, in_haste() ? 2 : 6);
    emc_engine_stats before;

    memset(s->answers, 0, sizeof s->answers);
    s->n_errors = s->n_cancels = s->n_in_flight = 0;
    s->first = draw(s, s->n);
    for (int r = 0; r < s->n; r++)
        s->states[r] = one_in(s, 4) ? DROPPED : PENDING;
    emc_engine_get_stats(s->engine, &before);
    start_spying(s);
    /* Every step has a row, and what is begun anew is computed again. */
    spy.n_most_steps = (int64_t)s->n_rows_at_most * (1 + MOST_FAILURES + MOST_CANCELS);
    ask_together(s, one_in(s, 4) ? 3 : 7 + draw(s, 4), failing, cancelling);
    stop_spying(s);
    check_round(s, &before, round);
    reached.failures += s->n_errors;
    reached.cancels += s->n_cancels;
    free_answers(s->answers, s->n);
}

/* The engine lives on from one set of questions to the next, or makes place for another. */
static void run_questions(stress *s, int first_round)
{
    s->tight = one_in(s, 4) && !in_haste();
    if (one_in(s, 2))
        renew_prefix(s);
    if (!s->tight && one_in(s, 4))
        renew_scoring(s);
    else
        renew_choices(s);
    assert_idle(s->engine);
    draw_requests(s);
    ask_alone(s);
    for (int i = 0; i < (in_haste() ? 4 : ROUNDS); i++) {
        if (one_in(s, 3))
            renew_engine(s);
        run_round(s, first_round + i);
    }
    free_answers(s->plain, s->n);
}

static void run_model(size_t m, int n_sets)
{
    static stress s;

    memset(&s, 0, sizeof s);
    s.name = models[m].name;
    s.random = 100 + m;
    case_open(&s.c, models[m].name, models[m].base);
    s.model = case_model(&s.c, models[m].dtype, 1);
    s.lone = case_engine(s.model,
                         &(emc_engine_options){.max_answer_tokens = MOST_ANSWER, .n_pages = 64});
    s.engine = case_engine(s.model, &(emc_engine_options){.max_num_batched_tokens = 128,
                                                          .max_answer_tokens = MOST_ANSWER,
                                                          .n_pages = 1});
    renew_prefix(&s);
    renew_choices(&s);
    for (int i = 0; i < n_sets; i++)
        run_questions(&s, ROUNDS * i);
    assert_idle(s.lone);
    search_case_close(&s.choices);
    emc_engine_close(s.engine);
    emc_engine_close(s.lone);
    emc_model_close(s.model);
    case_close(&s.c);
}

static void a_mix_gets_what_each_gets_alone(void **state)
{
    (void)state;
    memset(&reached, 0, sizeof reached);
    for (size_t m = 0; m < EMC_COUNT(models); m++) {
        const int n_plain = case_on_cpu() ? models[m].n_plain : models[m].n_virtual;
        const int n_full = case_on_cpu() ? models[m].n_full : 6 * models[m].n_virtual;
        const int n_sets = case_full() ? n_full : n_plain;

        if (n_sets > 0)
            run_model(m, n_sets);
    }
    assert_true(reached.failures + reached.cancels > 0);
    if (case_on_cpu()) {
        assert_true(reached.failures > 0 && reached.cancels > 0);
        assert_true(reached.refusals > 0 && reached.full > 0 && reached.reserve > 0);
        assert_true(reached.cut > 0 && reached.prefixed > 0 && reached.partial > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_mix_gets_what_each_gets_alone)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
