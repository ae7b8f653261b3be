/*
 * Does a search that rides in packed steps find what all scores say, whatever its company, when it
 * needs more pages than it began with, when it is dropped half way, and when the device fails?
 */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime_case.h"

typedef struct {
    runtime_case c;
    emc_model *model;
    emc_engine *engine;
} fixture;

/* `queues`: the device takes a step while one runs, as a GPU does. */
static void set_up(fixture *f, const char *name, bool queues, const emc_engine_options *options)
{
    case_open(&f->c, name, name);
    f->model = case_model(&f->c, EMC_DTYPE_BFLOAT16, 1);
    if (queues)
        f->model->dev->at_once = false;
    f->engine = case_engine(f->model, options);
}

static void tear_down(fixture *f)
{
    emc_engine_close(f->engine);
    emc_model_close(f->model);
    case_close(&f->c);
}

static void set_choices(const fixture *f, const random_choices *set, const emc_scoring *scoring)
{
    EMT_OK(emc_engine_set_choices(f->engine, set->ids, set->begin, set->n));
    EMT_OK(emc_engine_set_scoring(f->engine, scoring));
}

/* A virtual GPU takes its time. */
static bool in_haste(void)
{
    return !case_on_cpu() && !case_full();
}

/* --- Many choices ------------------------------------------------------------------------------
 */

#define N_MANY 1000

typedef struct {
    int32_t ids[N_MANY * 5];
    int32_t begin[N_MANY + 1];
} many_choices;

/* Three tokens that none else begins with, and one that ends each: nearly as many inner nodes as
 * there are tokens. */
static void make_many(many_choices *out, int vocab)
{
    uint64_t random = 5;

    out->begin[0] = 0;
    for (int c = 0; c < N_MANY; c++) {
        int32_t *ids = out->ids + 5 * c;

        ids[0] = c % 40;
        ids[1] = c / 40;
        for (int i = 2; i < 5; i++)
            ids[i] = (int32_t)(emt_random(&random) % (uint64_t)vocab);
        out->begin[c + 1] = 5 * (c + 1);
    }
}

/* 4 * 4 ways: the greedy search has a round for each of a choice's three tokens. */
static void draw_branching(random_choices *out)
{
    memset(out, 0, sizeof *out);
    for (int c = 0; c < 16; c++) {
        const int32_t ids[] = {c % 4, 4 + c / 4, 12};

        memcpy(out->ids + 3 * c, ids, sizeof ids);
        out->begin[c + 1] = 3 * (c + 1);
    }
    out->n = 16;
}

/* --- What is found -----------------------------------------------------------------------------
 */

static int best_of(const double *scores, int n)
{
    int best = 0;

    for (int c = 1; c < n; c++)
        if (scores[c] > scores[best])
            best = c;
    return best;
}

static double share_of(const double *scores, int choice, int n, double temperature)
{
    double sum = 0;

    for (int c = 0; c < n; c++)
        sum += exp((scores[c] - scores[choice]) / temperature);
    return 1 / sum;
}

/* What is known is to the last bit what all scores are; the rest is bounded. */
static void assert_part_of(const kept_answer *part, const kept_answer *whole, int n,
                           const emc_scoring *scoring)
{
    const double t = scoring->temperature > 0 ? scoring->temperature : 1;
    const double share = share_of(whole->scores, part->found.choice, n, t);
    double outside = 1;
    int n_known = 0;

    for (int c = 0; c < n; c++) {
        outside -= exp(whole->log_probs[c]);
        if (isnan(part->scores[c]))
            continue;
        n_known++;
        assert_memory_equal(&part->scores[c], &whole->scores[c], sizeof(double));
        assert_memory_equal(&part->log_probs[c], &whole->log_probs[c], sizeof(double));
    }
    assert_false(isnan(part->scores[part->found.choice]));
    assert_int_equal(part->found.complete, n_known == n);
    assert_true(part->found.share_low <= share + 1e-12 && share <= part->found.share_high + 1e-12);
    assert_true(part->found.outside_low <= fmax(outside, 0) + 1e-12);
    assert_true(outside <= part->found.outside_high + 1e-12);
    assert_true(part->found.n_rows <= whole->found.n_rows);
}

/* The way of the likeliest tokens, from the table of all scores: the mass of a choice that begins
 * another stands at no branch, so sets without such pairs only. */
static void best_and_greedy_are_part_of_all(void **state)
{
    static const char *const names[] = {"group1", "group4", "group5", "wide64"};
    static const emc_scoring scorings[] = {{0},
                                           {.width = 0.02},
                                           {.width = 0.5, .outside = true},
                                           {.width = 1, .threshold = 0.5},
                                           {.rule = EMC_SCORING_MEAN, .width = 0.05},
                                           {.temperature = 0.3, .width = 0.02}};
    const size_t n_names = in_haste() ? 1 : EMC_COUNT(names);
    const size_t n_scorings = in_haste() ? 3 : EMC_COUNT(scorings);
    uint64_t random = 41;
    int n_saved = 0;

    (void)state;
    for (size_t i = 0; i < n_names; i++) {
        random_choices set;
        fixture f;

        set_up(&f, names[i], false, &(emc_engine_options){.n_pages = 32});
        const int vocab = emc_model_get_info(f.model)->vocab;

        for (size_t k = 0; k < n_scorings; k++) {
            kept_answer answers[3];
            emc_request requests[3];

            draw_choices(&set, vocab, k == 0 ? 2 : 8 * (int)(k + 1), &random);
            set_choices(&f, &set, &scorings[k]);
            for (int r = 0; r < 3; r++)
                requests[r] = (emc_request){
                    .ticket = (uint64_t)r,
                    .ids = f.c.ids[3] + k,
                    .n_ids = 20 + 30 * (int)k,
                    .ask = (emc_ask[]){EMC_ASK_CHOICES, EMC_ASK_BEST, EMC_ASK_GREEDY}[r]};
            run_requests(f.engine, requests, NULL, 3, set.n, answers);
            assert_true(answers[0].found.complete);
            assert_int_equal(answers[0].found.n_rows, f.engine->choices->n_inner);
            assert_int_equal(answers[0].found.choice, best_of(answers[0].scores, set.n));
            assert_int_equal(answers[1].found.choice, answers[0].found.choice);
            assert_true(answers[1].found.share_high - answers[1].found.share_low <=
                        scorings[k].width);
            for (int r = 0; r < 3; r++)
                assert_part_of(&answers[r], &answers[0], set.n, &scorings[k]);
            n_saved += answers[0].found.n_rows - answers[1].found.n_rows;
            free_answers(answers, 3);
        }
        assert_idle(f.engine);
        tear_down(&f);
    }
    assert_true(n_saved > 0);
}

/* --- Company -----------------------------------------------------------------------------------
 */

/* A search of hundreds of nodes through few readers, small steps, few pages, beside others and in
 * another order: the same bits each time. On a GPU a step of another size may have other ones. */
static void many_nodes_are_the_same_in_all_company(void **state)
{
    static const struct {
        bool queues;
        emc_engine_options options;
    } cases[] = {{false, {.max_num_batched_tokens = 1024, .n_pages = 64}},
                 {true, {.max_num_batched_tokens = 128, .n_pages = 64}},
                 {false, {.max_num_batched_tokens = 512, .max_num_readers = 128, .n_pages = 64}},
                 {true, {.max_num_batched_tokens = 384, .max_num_readers = 128, .n_pages = 1}}};
    static const emc_ask asks[] = {EMC_ASK_BEST,     EMC_ASK_GREEDY, EMC_ASK_BEST,
                                   EMC_ASK_GENERATE, EMC_ASK_BEST,   EMC_ASK_CHOICES};
    static const int mixed[] = {3, 1, 2, 0, 5, 4};
    const emc_scoring near_all = {.width = 0.01, .temperature = 4};
    const int n = in_haste() ? 4 : (int)EMC_COUNT(asks);
    kept_answer alone[EMC_COUNT(asks)], answers[EMC_COUNT(asks)];
    emc_request requests[EMC_COUNT(asks)];
    many_choices *set = malloc(sizeof *set);

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        fixture f;

        if (!case_on_cpu() && cases[i].options.max_num_batched_tokens != 128)
            continue;
        set_up(&f, "group4", cases[i].queues, &cases[i].options);
        make_many(set, 96);
        EMT_OK(emc_engine_set_choices(f.engine, set->ids, set->begin, in_haste() ? 16 : 200));
        EMT_OK(emc_engine_set_scoring(f.engine, &near_all));
        const int n_choices = f.engine->choices->n_choices;
        for (int r = 0; r < n; r++)
            requests[r] = (emc_request){.ticket = (uint64_t)r,
                                        .ids = f.c.ids[3] + r,
                                        .n_ids = 90 + 40 * r,
                                        .ask = asks[r],
                                        .max_tokens = 4};
        if (i == 0 || !case_on_cpu())
            for (int r = 0; r < n; r++) {
                emc_request request = requests[r];

                request.ticket = 0;
                run_requests(f.engine, &request, NULL, 1, n_choices, &alone[r]);
            }
        for (int order = 0; order < (in_haste() ? 1 : 2); order++) {
            run_requests(f.engine, requests, order ? NULL : mixed, n, n_choices, answers);
            assert_same_answers(alone, answers, n, n_choices, "in company");
            free_answers(answers, n);
        }
        assert_idle(f.engine);
        tear_down(&f);
    }
    /* Several rounds, and more readers than a step has. */
    assert_true(alone[0].found.n_rows > (in_haste() ? 30 : 128));
    assert_true(alone[1].found.n_rows <= 4);
    free_answers(alone, n);
    free(set);
}

/* --- Pages -------------------------------------------------------------------------------------
 */

/*
 * Several searches that each want pages for hundreds of nodes where there is one page a search:
 * they share what is free and the reserve, nobody waits for ever, and nothing shows.
 */
static void long_searches_share_few_pages(void **state)
{
    enum { MOST = 5 };
    const int n = in_haste() ? 3 : MOST;
    const emc_engine_options roomy = {.max_num_batched_tokens = 128, .n_pages = 64};
    const emc_engine_options tight = {.max_num_batched_tokens = 128, .n_pages = 2};
    const emc_scoring near_all = {.width = 1e-6, .temperature = 8};
    const int n_choices = case_on_cpu() ? N_MANY : 60;
    kept_answer plain[MOST];
    emc_request requests[MOST];
    many_choices *set = malloc(sizeof *set);
    int n_held = 0, n_short = 0, n_most_held = 0, n_waiting = 0, n_answered = 0;
    fixture f;

    (void)state;
    make_many(set, 96);
    for (int run = 0; run < 2; run++) {
        set_up(&f, "group4", true, run == 0 ? &roomy : &tight);
        EMT_OK(emc_engine_set_choices(f.engine, set->ids, set->begin, n_choices));
        EMT_OK(emc_engine_set_scoring(f.engine, &near_all));
        for (int r = 0; r < n; r++)
            requests[r] = (emc_request){
                .ticket = (uint64_t)r, .ids = f.c.ids[3] + r, .n_ids = 60, .ask = EMC_ASK_BEST};
        if (run == 0) {
            run_requests(f.engine, requests, NULL, n, n_choices, plain);
            assert_idle(f.engine);
            tear_down(&f);
        }
    }
    assert_int_equal(f.engine->n_reserve, emc_pages_for(f.engine->choices->n_inner));
    assert_int_equal(emc_pages_free(f.engine->cache->pages), 2);
    for (int r = 0; r < n; r++)
        EMT_OK(emc_engine_submit(f.engine, &requests[r]));
    while (n_answered < n) {
        bool launched = true;
        emc_answer answer;
        bool got;

        /* Step by step, so that the books can be looked at. */
        while (launched && f.engine->n_finished == 0)
            EMT_OK(emc_engine_launch(f.engine, &launched));
        n_held += f.engine->reserve_holder != NULL;
        n_short += f.engine->filling->short_of_pages;
        n_most_held =
            f.engine->n_reserve_held > n_most_held ? f.engine->n_reserve_held : n_most_held;
        for (int i = 0; i < f.engine->n_order; i++)
            n_waiting += f.engine->order[i]->state == EMC_SEQUENCE_RUNNING &&
                         f.engine->order[i] != f.engine->reserve_holder &&
                         emc_sequence_rows_ready(f.engine->order[i]) > 0;
        if (f.engine->n_finished == 0) {
            EMT_OK(emc_engine_read(f.engine));
            continue;
        }
        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        assert_true(got);
        n_answered++;
        assert_memory_equal(answer.scores, plain[answer.ticket].scores,
                            (size_t)n_choices * sizeof(double));
        assert_int_equal(answer.found.n_rows, plain[answer.ticket].found.n_rows);
        assert_true(60 + answer.found.n_rows > (case_on_cpu() ? 2 : 1) * EMC_PAGE_POSITIONS);
    }
    assert_true(n_held > 0 && n_short > 0 && n_waiting > 0);
    assert_in_range(n_most_held, 1, f.engine->n_reserve);
    assert_int_equal(f.engine->cache->n_pages, 2 + f.engine->n_reserve); /* nothing was taken */
    assert_idle(f.engine);

    /* With fewer choices there is no reserve, and with the old ones it is back. */
    EMT_OK(emc_engine_set_choices(f.engine, set->ids, set->begin, 3));
    assert_int_equal(f.engine->n_reserve, 0);
    assert_idle(f.engine);
    EMT_OK(emc_engine_set_choices(f.engine, set->ids, set->begin, n_choices));
    assert_int_equal(f.engine->n_reserve, emc_pages_for(f.engine->choices->n_inner));
    assert_idle(f.engine);
    free_answers(plain, n);
    free(set);
    tear_down(&f);
}

/* Most cells need no page beside their prompt's. */
static void nodes_stand_behind_the_prompt(void **state)
{
    static const struct {
        int n_own, n_pages;
    } cases[] = {{1, 1}, {112, 1}, {113, 2}, {128, 2}, {240, 2}, {241, 3}};
    many_choices *set = malloc(sizeof *set);
    bool launched;
    fixture f;

    (void)state;
    make_many(set, 96);
    set_up(&f, "group4", true, &(emc_engine_options){.max_num_batched_tokens = 256, .n_pages = 8});
    EMT_OK(emc_engine_set_choices(f.engine, set->ids, set->begin, 100));
    EMT_OK(emc_engine_set_scoring(f.engine, &(emc_scoring){.width = 0.02}));
    for (size_t i = 0; i < (in_haste() ? 3 : EMC_COUNT(cases)); i++) {
        EMT_OK(emc_engine_submit(
            f.engine,
            &(emc_request){.ids = f.c.ids[3], .n_ids = cases[i].n_own, .ask = EMC_ASK_BEST}));
        EMT_OK(emc_engine_launch(f.engine, &launched));
        assert_true(launched);
        assert_int_equal(f.engine->order[0]->n_pages, cases[i].n_pages);
        emc_engine_cancel(f.engine);
    }
    assert_idle(f.engine);
    free(set);
    tear_down(&f);
}

/* --- Half way ----------------------------------------------------------------------------------
 */

static struct {
    const emc_ops *real;
    emc_ops ops;
    const emc_engine *engine;
    int n_steps, n_not_full; /* launched */
    int64_t n_rows;
    int fail_wait_in; /* negative: never */
    bool in_search;   /* when it failed */
    bool ending;      /* nothing is submitted any more */
} spy;

static bool is_searching(const emc_sequence *sequence)
{
    return sequence->ask == EMC_ASK_BEST && sequence->round_begin > 0;
}

static bool anyone_searches(const emc_engine *engine)
{
    for (int i = 0; i < engine->n_order; i++)
        if (is_searching(engine->order[i]))
            return true;
    return false;
}

static emc_status spy_event_wait(emc_device *dev, emc_event *event)
{
    if (spy.fail_wait_in-- == 0) {
        spy.in_search = anyone_searches(spy.engine);
        return emc_fail(EMC_ERR_DEVICE, "the device is lost");
    }
    return spy.real->event_wait(dev, event);
}

static emc_status spy_embed(emc_device *dev, void *out, const emc_matrix *table,
                            const emc_lora *lora, const int32_t *ids, int rows)
{
    spy.n_steps++;
    spy.n_rows += rows;
    if (!spy.ending && !spy.engine->filling->full)
        spy.n_not_full++;
    return spy.real->embed(dev, out, table, lora, ids, rows);
}

static void start_spying(const fixture *f)
{
    memset(&spy, 0, sizeof spy);
    spy.real = f->model->dev->ops;
    spy.ops = *spy.real;
    spy.engine = f->engine;
    spy.fail_wait_in = -1;
    spy.ops.event_wait = spy_event_wait;
    spy.ops.embed = spy_embed;
    f->model->dev->ops = &spy.ops;
}

static void stop_spying(const fixture *f)
{
    f->model->dev->ops = spy.real;
}

/* A device that fails at the first, second, ... wait, and a cancel at the first, second, ... round:
 * what is asked again has the same bits, and no page is lost. */
static void searches_begin_anew(void **state)
{
    enum { N = 6 };
    const emc_engine_options options = {.max_num_batched_tokens = 128, .n_pages = 4};
    const emc_scoring narrow = {.width = 1e-4, .temperature = 4};
    kept_answer plain[N], again[N];
    emc_request requests[N];
    const int n_choices = in_haste() ? 20 : 60;
    many_choices *set = malloc(sizeof *set);
    int n_in_search = 0, n_cancelled = 0;
    fixture f;

    (void)state;
    make_many(set, 96);
    set_up(&f, "group5", true, &options);
    EMT_OK(emc_engine_set_choices(f.engine, set->ids, set->begin, n_choices));
    EMT_OK(emc_engine_set_scoring(f.engine, &narrow));
    for (int i = 0; i < N; i++)
        requests[i] = (emc_request){.ticket = (uint64_t)i,
                                    .ids = f.c.ids[3],
                                    .n_ids = 20 + 5 * i,
                                    .ask = i % 3 == 2 ? EMC_ASK_GENERATE : EMC_ASK_BEST,
                                    .max_tokens = 5};
    run_requests(f.engine, requests, NULL, N, n_choices, plain);
    for (int failing = 1; failing < (in_haste() ? 3 : 10); failing++) {
        int n_answered = 0, n_failed = 0;

        start_spying(&f);
        spy.fail_wait_in = in_haste() ? 2 * failing - 2 : failing - 1;
        for (int i = 0; i < N; i++)
            EMT_OK(emc_engine_submit(f.engine, &requests[i]));
        while (n_answered < N) {
            emc_answer answer;
            bool got;

            if (emc_engine_poll(f.engine, &answer, &got) != EMC_OK) {
                n_in_search += spy.in_search;
                n_failed++;
                assert_int_equal(f.engine->n_flights, 0);
                assert_false(anyone_searches(f.engine));
                assert_null(f.engine->reserve_holder);
                continue;
            }
            assert_true(got);
            n_answered++;
            if (answer.ask == EMC_ASK_BEST)
                assert_memory_equal(answer.scores, plain[answer.ticket].scores,
                                    (size_t)n_choices * sizeof(double));
            else
                assert_memory_equal(answer.ids, plain[answer.ticket].ids,
                                    (size_t)answer.n_ids * sizeof(int32_t));
        }
        assert_int_equal(n_failed, 1);
        stop_spying(&f);
        assert_idle(f.engine);
    }
    assert_true(n_in_search > 0);

    for (int steps = in_haste() ? 3 : 1; steps < (in_haste() ? 4 : 6); steps++) {
        for (int i = 0; i < N; i++)
            EMT_OK(emc_engine_submit(f.engine, &requests[i]));
        for (int i = 0; i < steps && f.engine->n_order > 0; i++) {
            bool launched;

            EMT_OK(emc_engine_launch(f.engine, &launched));
            EMT_OK(emc_engine_launch(f.engine, &launched));
            EMT_OK(emc_engine_read(f.engine));
        }
        n_cancelled += anyone_searches(f.engine);
        emc_engine_cancel(f.engine);
        assert_idle(f.engine);
        run_requests(f.engine, requests, NULL, N, n_choices, again);
        assert_same_answers(plain, again, N, n_choices, "after a cancel");
        free_answers(again, N);
    }
    assert_true(n_cancelled > 0);
    free_answers(plain, N);
    free(set);
    tear_down(&f);
}

/* --- Steps stay full ---------------------------------------------------------------------------
 */

/*
 * A long stream of searches of three rounds, with the pages that a GPU gets by default: every step
 * before the stream's end is full, and nobody waits for pages.
 */
static void steps_of_searches_are_full(void **state)
{
    const int rows = case_on_cpu() ? 1024 : 256, n_own = case_on_cpu() ? 600 : 200;
    const int n = case_on_cpu() ? 60 : 8, n_ids = n_own + n;
    const emc_engine_options options = {.max_num_batched_tokens = rows,
                                        .max_num_readers = 128,
                                        .n_pages = 8 * rows / EMC_PAGE_POSITIONS + 16};
    int32_t *ids = malloc((size_t)n_ids * sizeof *ids);
    emc_engine_stats before, after;
    int n_submitted = 0, n_answered = 0, n_short = 0;
    int64_t n_rows;
    random_choices set;
    uint64_t random = 8;
    fixture f;

    (void)state;
    set_up(&f, "group4", true, &options);
    draw_branching(&set);
    set_choices(&f, &set, &(emc_scoring){0});
    for (int i = 0; i < n_ids; i++)
        ids[i] = (int32_t)(emt_random(&random) % 96);
    emc_engine_get_stats(f.engine, &before);
    start_spying(&f);
    while (n_answered < n) {
        emc_answer answer;
        bool got;

        while (n_submitted < n && !emc_engine_is_full(f.engine)) {
            EMT_OK(emc_engine_submit(
                f.engine,
                &(emc_request){.ids = ids + n_submitted, .n_ids = n_own, .ask = EMC_ASK_GREEDY}));
            n_submitted++;
        }
        spy.ending = n_submitted == n;
        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        assert_true(got);
        assert_int_equal(answer.found.n_rows, 2);
        n_answered++;
        n_short += f.engine->filling->short_of_pages;
    }
    stop_spying(&f);
    emc_engine_get_stats(f.engine, &after);
    n_rows = after.n_rows - before.n_rows;
    assert_int_equal(after.n_choice_rows - before.n_choice_rows, 2 * n);
    assert_int_equal(n_rows, n * (n_own + 2));
    assert_int_equal(n_rows, spy.n_rows);
    assert_int_equal(n_short, 0);
    assert_int_equal(spy.n_not_full, 0);
    /* Less than a page is left of a full step. The last cells' two rounds come alone, and the steps
     * between them may carry the last but one's. */
    assert_true(spy.n_steps <= n_rows / (rows - EMC_PAGE_POSITIONS) + 1 + 4);
    assert_idle(f.engine);
    free(ids);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(best_and_greedy_are_part_of_all),
                                       cmocka_unit_test(many_nodes_are_the_same_in_all_company),
                                       cmocka_unit_test(long_searches_share_few_pages),
                                       cmocka_unit_test(nodes_stand_behind_the_prompt),
                                       cmocka_unit_test(searches_begin_anew),
                                       cmocka_unit_test(steps_of_searches_are_full)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
