/*
 * Does the device find its next step when it has ended one, is nothing wasted on it, and does
 * nothing in between wait or allocate? On the CPU the device is told that it queues.
 */
#include "emt.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime_case.h"

static const int32_t choice_ids[] = {10, 11, 5, 10, 12, 5, 10, 12, 13, 5, 20, 5};
static const int32_t choice_begin[] = {0, 3, 6, 10, 12};
#define N_CHOICES 4
#define N_NODES   5 /* inner ones: 10, 10-11, 10-12, 10-12-13 and 20 */

typedef struct {
    runtime_case c;
    emc_model *model;
    emc_engine *engine;
} fixture;

/* --- A device that tells what it is asked ------------------------------------------------------
 */

static struct {
    const emc_ops *real;
    emc_ops ops;
    const emc_engine *engine;
    int n_waits;
    int n_waits_with[EMC_STEPS_IN_FLIGHT + 1]; /* steps in flight */
    int n_steps;                               /* launched */
    int n_rows[1024];                          /* of each */
    int n_forbidden;
    int fail_wait_in; /* negative: never */
    bool dead;
} spy;

static emc_status spy_event_wait(emc_device *dev, emc_event *event)
{
    if (spy.dead || spy.fail_wait_in-- == 0)
        return emc_fail(EMC_ERR_DEVICE, "the device is lost");
    spy.n_waits++;
    spy.n_waits_with[spy.engine->n_flights]++;
    return spy.real->event_wait(dev, event);
}

static emc_status spy_embed(emc_device *dev, void *out, const emc_matrix *table,
                            const emc_lora *lora, const int32_t *ids, int rows)
{
    if (spy.dead)
        return emc_fail(EMC_ERR_DEVICE, "the device is lost");
    assert_true(spy.n_steps < (int)EMC_COUNT(spy.n_rows));
    spy.n_rows[spy.n_steps++] = rows;
    return spy.real->embed(dev, out, table, lora, ids, rows);
}

static emc_status spy_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    spy.n_forbidden++;
    return spy.real->alloc(dev, out, n_bytes, what);
}

static emc_status spy_alloc_host(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    spy.n_forbidden++;
    return spy.real->alloc_host(dev, out, n_bytes, what);
}

static void spy_release(emc_device *dev, void *memory)
{
    spy.n_forbidden++;
    spy.real->release(dev, memory);
}

static emc_status spy_upload(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    spy.n_forbidden++;
    return spy.real->upload(dev, d_dst, src, n_bytes);
}

static emc_status spy_download(emc_device *dev, void *dst, const void *d_src, size_t n_bytes)
{
    spy.n_forbidden++;
    return spy.real->download(dev, dst, d_src, n_bytes);
}

static emc_status spy_sync(emc_device *dev)
{
    spy.n_forbidden++;
    return spy.real->sync(dev);
}

static emc_status spy_event_open(emc_device *dev, emc_event **out)
{
    spy.n_forbidden++;
    return spy.real->event_open(dev, out);
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
    spy.ops.alloc = spy_alloc;
    spy.ops.alloc_host = spy_alloc_host;
    spy.ops.release = spy_release;
    spy.ops.upload = spy_upload;
    spy.ops.download = spy_download;
    spy.ops.sync = spy_sync;
    spy.ops.event_open = spy_event_open;
    f->model->dev->ops = &spy.ops;
}

static void stop_spying(const fixture *f)
{
    f->model->dev->ops = spy.real;
}

/* --- Fixture -----------------------------------------------------------------------------------
 */

static void set_up(fixture *f, const char *name, const emc_engine_options *options)
{
    case_open(&f->c, name, name);
    f->model = case_model(&f->c, EMC_DTYPE_BFLOAT16, 2);
    f->model->dev->at_once = false;
    f->engine = case_engine(f->model, options);
    assert_int_equal(f->engine->max_flights, EMC_STEPS_IN_FLIGHT);
    EMT_OK(emc_engine_set_choices(f->engine, choice_ids, choice_begin, N_CHOICES));
}

static void tear_down(fixture *f)
{
    emc_engine_close(f->engine);
    emc_model_close(f->model);
    case_close(&f->c);
}

static void submit(fixture *f, uint64_t ticket, int n_ids, int max_tokens)
{
    EMT_OK(emc_engine_submit(f->engine,
                             &(emc_request){.ticket = ticket,
                                            .ids = f->c.ids[3],
                                            .n_ids = n_ids,
                                            .ask = max_tokens ? EMC_ASK_GENERATE : EMC_ASK_CHOICES,
                                            .max_tokens = max_tokens}));
}

static int poll_all(fixture *f)
{
    emc_answer answer;
    bool got = true;
    int n = 0;

    for (; got; n += got)
        EMT_OK(emc_engine_poll(f->engine, &answer, &got));
    return n;
}

static void assert_all_pages_free(const emc_engine *engine)
{
    assert_int_equal(emc_pages_free(engine->cache->pages) + engine->n_prefix_pages,
                     emc_pages_count(engine->cache->pages));
}

/* --- When a step goes --------------------------------------------------------------------------
 */

/* While there is more than a step of work, two steps are in flight whenever the host waits, and
 * every one but the last is full: less than a page and its nodes is left of it. */
static void full_steps_are_launched_ahead(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 256, .max_num_readers = 128};
    const int n = case_on_cpu() ? 40 : 10;
    int n_submitted = 0, n_answered = 0;
    emc_answer answer;
    bool got;
    fixture f;

    (void)state;
    set_up(&f, "group4", &options);
    start_spying(&f);
    while (n_answered < n) {
        while (n_submitted < n && !emc_engine_is_full(f.engine))
            submit(&f, (uint64_t)n_submitted++, 100, 0);
        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        assert_true(got);
        assert_int_equal(answer.ticket, n_answered++);
        /* Busy while the answer is looked at. The first may have used up all that was there. */
        if (n_submitted < n)
            assert_int_equal(f.engine->n_flights, n_answered > 1 ? 2 : 1);
    }
    /* Two prompts of 100 with their nodes, or the rest of one's nodes before. */
    assert_true(spy.n_steps >= n * (100 + N_NODES) / 256);
    for (int i = 0; i + 1 < spy.n_steps; i++)
        assert_in_range(spy.n_rows[i], 200, 256);
    assert_int_equal(spy.n_waits, spy.n_steps);
    /* The last is not full, so it comes when the one before has ended. */
    assert_int_equal(spy.n_waits_with[2], spy.n_steps - 2);
    assert_int_equal(spy.n_forbidden, 0);
    stop_spying(&f);
    assert_all_pages_free(f.engine);
    tear_down(&f);
}

/* What does not fill a step goes when the device is idle, and what was submitted meanwhile goes
 * with it. */
static void short_steps_wait_for_company(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 256};
    bool launched;
    fixture f;

    (void)state;
    set_up(&f, "group4", &options);
    start_spying(&f);
    submit(&f, 0, 30, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_true(launched);
    submit(&f, 1, 30, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_false(launched);
    submit(&f, 2, 40, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_false(launched);
    assert_int_equal(poll_all(&f), 3);
    assert_int_equal(spy.n_steps, 2);
    assert_int_equal(spy.n_rows[0], 30 + N_NODES);
    assert_int_equal(spy.n_rows[1], 70 + 2 * N_NODES);

    /* Of a step and a half the half waits, until it is more. */
    spy.n_steps = 0;
    for (int i = 0; i < 4; i++)
        submit(&f, (uint64_t)i, 90, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_true(launched); /* two whole, and no page of the third fits */
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_false(launched);
    submit(&f, 4, 90, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_true(launched);
    assert_int_equal(f.engine->n_flights, 2);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_false(launched); /* never a third */
    assert_int_equal(poll_all(&f), 5);
    assert_int_equal(spy.n_steps, 3);
    stop_spying(&f);
    tear_down(&f);
}

/* Where pages are short and nothing can give one back but a step that is to come, it goes; a token
 * that may end its sequence is waited for. */
static void short_pages_launch_unless_a_token_may_free_some(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 512, .n_pages = 1};
    bool launched;
    fixture f;

    (void)state;
    set_up(&f, "group4", &options);
    for (int i = 0; i < 3; i++)
        submit(&f, (uint64_t)i, 30, 0); /* a page each, its nodes behind it */
    for (int i = 0; i < 2; i++) {
        EMT_OK(emc_engine_launch(f.engine, &launched));
        assert_true(launched);
    }
    assert_int_equal(f.engine->n_flights, 2);
    assert_int_equal(f.engine->order[0]->state, EMC_SEQUENCE_QUEUED);
    assert_int_equal(emc_pages_free(f.engine->cache->pages), 1); /* for the third, ahead of time */
    assert_int_equal(poll_all(&f), 3);

    EMT_OK(emc_engine_make_room(f.engine, 2, 100));
    submit(&f, 0, 30, 8); /* generates: holds a page until its end */
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_true(launched);
    submit(&f, 1, 30, 0); /* takes the other one */
    submit(&f, 2, 30, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_false(launched);
    assert_true(f.engine->filling->short_of_pages && f.engine->filling->step->n_rows > 0);
    assert_int_equal(poll_all(&f), 3);
    assert_all_pages_free(f.engine);
    tear_down(&f);
}

/* One that generates goes on as soon as its token is read, also between full steps; its pages come
 * back when its last row is queued, or at an eos. */
static void tokens_are_waited_for(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 128};
    kept_answer alone, among[9];
    emc_request requests[9];
    fixture f;

    (void)state;
    set_up(&f, "group4", &options);
    for (int i = 0; i < 9; i++)
        requests[i] = (emc_request){.ticket = (uint64_t)i,
                                    .ids = f.c.ids[2],
                                    .n_ids = 100 + i,
                                    .ask = i == 0 ? EMC_ASK_GENERATE : EMC_ASK_CHOICES,
                                    .max_tokens = 12};
    run_requests(f.engine, requests, NULL, 1, N_CHOICES, &alone);
    run_requests(f.engine, requests, NULL, 9, N_CHOICES, among);
    assert_same_answers(&alone, among, 1, N_CHOICES, "among prompts");
    assert_all_pages_free(f.engine);
    free_answers(&alone, 1);
    free_answers(among, 9);
    tear_down(&f);
}

/* --- Nothing waits or allocates ----------------------------------------------------------------
 */

static void steps_neither_wait_nor_allocate(void **state)
{
    int n = 0;
    fixture f;

    (void)state;
    set_up(&f, "group5", NULL);
    EMT_OK(emc_engine_set_prefix(f.engine, f.c.ids[3], 50));
    start_spying(&f);
    for (; n < 12 && !emc_engine_is_full(f.engine); n++)
        submit(&f, (uint64_t)n, 30 + 20 * n, n % 2 ? 20 : 0);
    assert_int_equal(poll_all(&f), n);
    assert_true(spy.n_steps >= 20);
    assert_int_equal(spy.n_waits, spy.n_steps); /* one event a step, and nothing else */
    assert_int_equal(spy.n_forbidden, 0);
    EMT_OK(f.model->dev->ops->sync(f.model->dev));
    assert_int_equal(spy.n_forbidden, 1); /* they are counted at all */
    stop_spying(&f);
    tear_down(&f);
}

/* --- Failures ----------------------------------------------------------------------------------
 */

/* A wait that fails with two steps in flight: everything starts over and gets the same bits. */
static void failed_wait_starts_over(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 256};
    kept_answer plain[8];
    emc_request requests[8];
    fixture f;

    (void)state;
    set_up(&f, "group5", &options);
    for (int i = 0; i < 8; i++)
        requests[i] = (emc_request){.ticket = (uint64_t)i,
                                    .ids = f.c.ids[3],
                                    .n_ids = 90 + 10 * i,
                                    .ask = i % 3 == 0 ? EMC_ASK_GENERATE : EMC_ASK_CHOICES,
                                    .max_tokens = 5};
    run_requests(f.engine, requests, NULL, 8, N_CHOICES, plain);
    for (int failing = 0; failing < (case_on_cpu() || case_full() ? 6 : 1); failing++) {
        int n_failed = 0;

        start_spying(&f);
        spy.fail_wait_in = failing;
        for (int i = 0; i < 8 && !emc_engine_is_full(f.engine); i++)
            EMT_OK(emc_engine_submit(f.engine, &requests[i]));
        const int n = f.engine->n_order;
        for (int answered = 0; answered < n;) {
            emc_answer answer;
            bool got;
            const emc_status status = emc_engine_poll(f.engine, &answer, &got);

            if (status != EMC_OK) {
                assert_int_equal(status, EMC_ERR_DEVICE);
                assert_string_equal(emc_message(), "the device is lost");
                assert_int_equal(f.engine->n_flights, 0);
                assert_all_pages_free(f.engine);
                for (int i = 0; i < f.engine->n_order; i++) {
                    assert_int_equal(
                        emc_sequence_rows_ready(f.engine->order[i]),
                        f.engine->order[i]->n_own +
                            (f.engine->order[i]->ask == EMC_ASK_CHOICES ? N_NODES : 0));
                }
                n_failed++;
                continue;
            }
            assert_true(got);
            answered++;
            const kept_answer *want = &plain[answer.ticket];
            if (answer.ask == EMC_ASK_CHOICES) {
                assert_memory_equal(answer.log_probs, want->log_probs, N_CHOICES * sizeof(double));
            } else {
                assert_int_equal(answer.n_ids, want->n_ids);
                assert_memory_equal(answer.ids, want->ids, (size_t)want->n_ids * sizeof(int32_t));
            }
        }
        assert_int_equal(n_failed, 1);
        stop_spying(&f);
        assert_all_pages_free(f.engine);
    }
    free_answers(plain, 8);
    tear_down(&f);
}

/* A device that is lost for good: what was finished before is given, then the error, again and
 * again; cancel forgets the rest. */
static void lost_device_keeps_finished_answers(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 512};
    emc_answer answer;
    bool got;
    fixture f;

    (void)state;
    set_up(&f, "group1", &options);
    start_spying(&f);
    for (int i = 0; i < 3; i++)
        submit(&f, (uint64_t)i, 30, 0);
    submit(&f, 3, 30, 20);
    EMT_OK(emc_engine_poll(f.engine, &answer, &got));
    spy.dead = true;
    for (int i = 1; i < 3; i++) {
        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        assert_true(got);
        assert_int_equal(answer.ticket, i);
    }
    for (int i = 0; i < 2; i++)
        EMT_FAILS(EMC_ERR_DEVICE, "the device is lost", emc_engine_poll(f.engine, &answer, &got));
    emc_engine_cancel(f.engine);
    EMT_OK(emc_engine_poll(f.engine, &answer, &got));
    assert_false(got);
    stop_spying(&f);
    assert_all_pages_free(f.engine);
    tear_down(&f);
}

/* Cancel, close and changes of prefix and choices with steps in flight. */
static void changes_wait_for_what_is_queued(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 128};
    kept_answer plain, again;
    emc_request request;
    bool launched;
    fixture f;

    (void)state;
    set_up(&f, "group2", &options);
    request = (emc_request){.ids = f.c.ids[3], .n_ids = 60};
    run_requests(f.engine, &request, NULL, 1, N_CHOICES, &plain);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++)
            submit(&f, (uint64_t)i, 200, 0);
        for (int i = 0; i < 2; i++)
            EMT_OK(emc_engine_launch(f.engine, &launched));
        assert_int_equal(f.engine->n_flights, 2);
        emc_engine_cancel(f.engine);
        assert_int_equal(f.engine->n_flights, 0);
        assert_all_pages_free(f.engine);
        EMT_OK(emc_engine_set_prefix(f.engine, f.c.ids[3] + 1, 150));
        EMT_OK(emc_engine_set_choices(f.engine, choice_ids, choice_begin, N_CHOICES));
        run_requests(f.engine, &request, NULL, 1, N_CHOICES, &again);
        assert_same_answers(&plain, &again, 1, N_CHOICES, "after a cancel");
        free_answers(&again, 1);
    }

    /* Room that grows with steps in flight: their answers are kept. */
    submit(&f, 0, 60, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_int_equal(f.engine->n_flights, 1);
    EMT_OK(emc_engine_make_room(f.engine, f.engine->cache->n_pages + 7, 100));
    assert_int_equal(f.engine->n_flights, 0);
    assert_int_equal(f.engine->n_finished, 1);
    assert_int_equal(poll_all(&f), 1);

    for (int i = 0; i < 2; i++)
        submit(&f, (uint64_t)i, 200, 0);
    EMT_OK(emc_engine_launch(f.engine, &launched)); /* closed with it in flight */
    free_answers(&plain, 1);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_steps_are_launched_ahead),
        cmocka_unit_test(short_steps_wait_for_company),
        cmocka_unit_test(short_pages_launch_unless_a_token_may_free_some),
        cmocka_unit_test(tokens_are_waited_for),
        cmocka_unit_test(steps_neither_wait_nor_allocate),
        cmocka_unit_test(failed_wait_starts_over),
        cmocka_unit_test(lost_device_keeps_finished_answers),
        cmocka_unit_test(changes_wait_for_what_is_queued)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
