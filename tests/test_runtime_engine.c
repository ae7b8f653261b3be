/*
 * Does the engine keep its books? Pages, room, allocations, order of calls, and every refusal
 * with its code and message.
 */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "runtime/engine.h"
#include "runtime_case.h"

/* --- Allocations are counted: the linker sends these calls here (tests/runtime.cmake) -------- */

static long n_allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t n);
void *__real_mmap(void *p, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n);
void *__wrap_mmap(void *p, size_t n, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t n)
{
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    return __real_aligned_alloc(alignment, n);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t n)
{
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    return __real_posix_memalign(out, alignment, n);
}

void *__wrap_mmap(void *p, size_t n, int protection, int flags, int fd, off_t offset)
{
    __atomic_fetch_add(&n_allocations, 1, __ATOMIC_RELAXED);
    return __real_mmap(p, n, protection, flags, fd, offset);
}

/* --- A model and an engine ------------------------------------------------------------------ */

static const int32_t choice_ids[] = {10, 11, 5, 10, 12, 5, 10, 12, 13, 5, 20, 5};
static const int32_t choice_begin[] = {0, 3, 6, 10, 12};
#define N_CHOICES 4

typedef struct {
    runtime_case c;
    emc_model *model;
    emc_engine *engine;
    int vocab;
} fixture;

static void set_up(fixture *f, const char *name, emc_dtype_choice dtype,
                   const emc_engine_options *options)
{
    case_open(&f->c, name, name);
    f->model = case_model(&f->c, dtype, 2);
    f->vocab = emc_model_get_info(f->model)->vocab;
    f->engine = case_engine(f->model, options);
    EMT_OK(emc_engine_set_choices(f->engine, choice_ids, choice_begin, N_CHOICES));
}

static void tear_down(fixture *f)
{
    emc_engine_close(f->engine);
    emc_model_close(f->model);
    case_close(&f->c);
}

/* Every page is free, or held by the prefix or by a running sequence, and counted once. */
static void check_pages(const emc_engine *engine)
{
    int held = engine->n_prefix_pages + engine->n_reserve - engine->n_reserve_held;

    for (int i = 0; i < engine->n_order; i++)
        if (engine->order[i]->state == EMC_SEQUENCE_RUNNING)
            held += engine->order[i]->n_pages;
    assert_int_equal(emc_pages_free(engine->cache->pages) + held,
                     emc_pages_count(engine->cache->pages));
    assert_int_equal(emc_pages_count(engine->cache->pages), engine->cache->n_pages);
}

/* --- Tests ----------------------------------------------------------------------------------- */

/* Submits, polls and cancels in a random order, with pages so few that sequences must wait. */
static void random_schedules_lose_no_page(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 128, .n_pages = 6};
    const bool in_haste = !case_on_cpu() && !case_full(); /* a virtual GPU takes its time */
    const int n_rounds = in_haste ? 3 : 12, n_actions = in_haste ? 16 : 60;
    uint64_t random = 17;
    uint64_t ticket = 0, answered = 0;
    fixture f;

    (void)state;
    set_up(&f, "group2", EMC_DTYPE_FLOAT32, &options);
    for (int round = 0; round < n_rounds; round++) {
        const int n_prefix = (int)(emt_random(&random) % 3) * 60;

        emc_engine_cancel(f.engine);
        check_pages(f.engine);
        assert_int_equal(f.engine->n_order + f.engine->n_finished, 0);
        EMT_OK(emc_engine_set_prefix(f.engine, f.c.ids[3], n_prefix));
        for (int action = 0; action < n_actions; action++) {
            emc_answer answer;
            bool got;

            if (emt_random(&random) % 3 > 0 && !emc_engine_is_full(f.engine)) {
                const emc_request request = {
                    .ticket = ticket++,
                    .ids = f.c.ids[3],
                    .n_ids = 1 + (int)(emt_random(&random) % 200),
                    .ask = (emc_ask)(emt_random(&random) % 4),
                    .max_tokens = 1 + (int)(emt_random(&random) % (in_haste ? 4 : 140))};

                EMT_OK(emc_engine_submit(f.engine, &request));
            } else {
                EMT_OK(emc_engine_poll(f.engine, &answer, &got));
                answered += got;
            }
            check_pages(f.engine);
        }
    }
    /* What is left is answered, however few the pages are, and leaves all of them. */
    for (bool got = true; got; answered += got) {
        emc_answer answer;

        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
    }
    assert_int_equal(emc_pages_free(f.engine->cache->pages) + f.engine->n_prefix_pages,
                     f.engine->cache->n_pages);
    assert_true(answered > (in_haste ? 10 : 100));
    tear_down(&f);
}

/* Everything submitted is answered once, and a full engine says so. */
static void full_engine_refuses_and_recovers(void **state)
{
    emc_request request;
    int n = 0, n_answered = 0;
    emc_answer answer;
    bool got;
    fixture f;

    (void)state;
    set_up(&f, "group1", EMC_DTYPE_FLOAT32, NULL);
    request = (emc_request){.ids = f.c.ids[2], .n_ids = f.c.n_ids[2]};
    while (!emc_engine_is_full(f.engine)) {
        request.ticket = (uint64_t)n++;
        EMT_OK(emc_engine_submit(f.engine, &request));
    }
    assert_true(n >= 2 * 1024 / 140 && n < 256); /* two steps' worth of rows */
    EMT_FAILS(EMC_ERR_ARG, "the engine is full", emc_engine_submit(f.engine, &request));
    for (;;) {
        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        if (!got)
            break;
        assert_int_equal(answer.ticket, n_answered); /* equal ones in the order submitted */
        assert_int_equal(answer.n_prompt, request.n_ids);
        n_answered++;
    }
    assert_int_equal(n_answered, n);

    /* Short prompts: as many as there are places. */
    request.n_ids = 1;
    for (n = 0; !emc_engine_is_full(f.engine); n++)
        EMT_OK(emc_engine_submit(f.engine, &request));
    assert_int_equal(n, f.engine->max_sequences);
    EMT_OK(emc_engine_poll(f.engine, &answer, &got));
    assert_false(emc_engine_is_full(f.engine));
    EMT_OK(emc_engine_submit(f.engine, &request)); /* takes the place of the answer just given */
    emc_engine_cancel(f.engine);
    EMT_OK(emc_engine_poll(f.engine, &answer, &got));
    assert_false(got);
    check_pages(f.engine);
    tear_down(&f);
}

/* Polling allocates nothing: not the engine, and not the device underneath. */
static void steps_allocate_nothing(void **state)
{
    static const emc_dtype_choice dtypes[] = {EMC_DTYPE_FLOAT32, EMC_DTYPE_BFLOAT16};

    (void)state;
    for (size_t d = 0; d < EMC_COUNT(dtypes); d++) {
        emc_engine_stats before, after;
        fixture f;

        set_up(&f, "group4", dtypes[d], NULL);
        EMT_OK(emc_engine_set_prefix(f.engine, f.c.ids[3], 50));
        for (int i = 0; i < 12; i++)
            EMT_OK(emc_engine_submit(f.engine, &(emc_request){.ids = f.c.ids[3],
                                                              .n_ids = 30 + 20 * i,
                                                              .ask = (emc_ask)(i % 4),
                                                              .max_tokens = 20}));
        emc_engine_get_stats(f.engine, &before);
        const long allocations = n_allocations;
        for (bool got = true; got;) {
            emc_answer answer;

            EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        }
        assert_int_equal(n_allocations - allocations, 0);
        emc_engine_get_stats(f.engine, &after);
        assert_true(after.n_steps - before.n_steps >= 20);
        tear_down(&f);
    }
    assert_true(n_allocations > 0); /* they are counted at all */
}

/* Rows and readers are what the requests add up to. */
static void stats_count_rows(void **state)
{
    emc_engine_stats stats;
    kept_answer answer;
    fixture f;

    (void)state;
    set_up(&f, "group1", EMC_DTYPE_FLOAT32, NULL);
    EMT_OK(emc_engine_set_prefix(f.engine, f.c.ids[3], 40));
    run_requests(f.engine, &(emc_request){.ids = f.c.ids[3], .n_ids = 300}, NULL, 1, N_CHOICES,
                 &answer);
    emc_engine_get_stats(f.engine, &stats);
    /* 40 of the prefix, 260 own, and the nodes 10, 10-11, 10-12, 10-12-13 and 20. */
    assert_int_equal(stats.n_rows, 40 + 260 + 5);
    assert_int_equal(stats.n_readers, 1 + 5);
    assert_int_equal(stats.n_choice_rows, 5);
    assert_int_equal(stats.n_steps, 2);
    assert_true(stats.kv_bytes == (size_t)f.engine->cache->n_pages * emc_cache_page_bytes(f.model));
    assert_true(stats.activation_bytes > 0);
    free_answers(&answer, 1);
    tear_down(&f);
}

/* A longer prompt than there are pages and rotary rows for makes room when it is submitted, and
 * those in flight keep what they have. */
static void room_grows_at_submit(void **state)
{
    const emc_engine_options large = {.max_num_batched_tokens = 256};
    const emc_engine_options small = {.max_num_batched_tokens = 256, .n_pages = 2};
    bool launched;
    emc_request requests[3];
    kept_answer grown[3], plain[3];
    fixture f;

    (void)state;
    set_up(&f, "group1", EMC_DTYPE_BFLOAT16, &large);
    for (int i = 0; i < 3; i++)
        requests[i] = (emc_request){.ticket = i,
                                    .ids = f.c.ids[3],
                                    .n_ids = i == 2 ? 300 : 20 + i,
                                    .ask = i == 0 ? EMC_ASK_GENERATE : EMC_ASK_CHOICES,
                                    .max_tokens = 40};
    run_requests(f.engine, requests, NULL, 3, N_CHOICES, plain);
    tear_down(&f);

    set_up(&f, "group1", EMC_DTYPE_BFLOAT16, &small);
    for (int i = 0; i < 3; i++)
        requests[i].ids = f.c.ids[3];
    EMT_OK(emc_engine_submit(f.engine, &requests[0]));
    EMT_OK(emc_engine_launch(f.engine, &launched));
    assert_true(launched);
    assert_int_equal(f.engine->order[0]->state, EMC_SEQUENCE_RUNNING); /* it holds a page now */
    assert_int_equal(f.engine->cache->n_pages, 2);
    EMT_OK(emc_engine_submit(f.engine, &requests[2]));
    assert_int_equal(f.engine->cache->n_pages, 3); /* its nodes stand behind it */
    EMT_OK(emc_engine_submit(f.engine, &requests[1]));
    memset(grown, 0, sizeof grown);
    for (int i = 0; i < 3; i++) {
        emc_answer answer;
        bool got;

        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        assert_true(got);
        if (answer.ask == EMC_ASK_CHOICES)
            assert_memory_equal(answer.log_probs, plain[answer.ticket].log_probs,
                                N_CHOICES * sizeof(double));
        else
            assert_memory_equal(answer.ids, plain[answer.ticket].ids,
                                (size_t)plain[answer.ticket].n_ids * sizeof(int32_t));
    }
    check_pages(f.engine);
    free_answers(plain, 3);
    tear_down(&f);
}

/* A device that fails once: the error comes through, and the next poll goes on where it was. */
static const emc_ops *real_ops;
static int fail_in;

static emc_status failing_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn)
{
    if (fail_in-- == 0)
        return emc_fail(EMC_ERR_DEVICE, "the device stumbled");
    return real_ops->swiglu(dev, out, gate_up, rows, ffn);
}

static void failed_step_can_be_repeated(void **state)
{
    kept_answer plain[2];
    emc_request requests[2];
    emc_ops ops;
    fixture f;

    (void)state;
    set_up(&f, "group5", EMC_DTYPE_FLOAT32, NULL);
    for (int i = 0; i < 2; i++)
        requests[i] = (emc_request){
            .ticket = i, .ids = f.c.ids[2], .n_ids = 100, .ask = (emc_ask)i, .max_tokens = 4};
    run_requests(f.engine, requests, NULL, 2, N_CHOICES, plain);
    real_ops = f.model->dev->ops;
    ops = *real_ops;
    ops.swiglu = failing_swiglu;
    f.model->dev->ops = &ops;
    for (int failing = 0; failing < (case_on_cpu() ? 8 : 2); failing++) {
        emc_answer answer;
        bool got = false;

        fail_in = failing;
        EMT_OK(emc_engine_submit(f.engine, &requests[0]));
        EMT_OK(emc_engine_submit(f.engine, &requests[1]));
        for (int i = 0; i < 2;) {
            const emc_status status = emc_engine_poll(f.engine, &answer, &got);

            check_pages(f.engine);
            if (status != EMC_OK) {
                assert_int_equal(status, EMC_ERR_DEVICE);
                assert_string_equal(emc_message(), "the device stumbled");
                continue;
            }
            assert_true(got);
            i++;
            if (answer.ask == EMC_ASK_CHOICES)
                assert_memory_equal(answer.log_probs, plain[0].log_probs,
                                    N_CHOICES * sizeof(double));
            else
                assert_memory_equal(answer.ids, plain[1].ids,
                                    (size_t)plain[1].n_ids * sizeof(int32_t));
        }
        assert_true(fail_in < 0); /* it did fail */
    }
    fail_in = 1;
    EMT_FAILS(EMC_ERR_DEVICE, "stumbled", emc_engine_set_prefix(f.engine, f.c.ids[3], 200));
    assert_int_equal(f.engine->n_prefix, 0);
    check_pages(f.engine);
    f.model->dev->ops = real_ops;
    free_answers(plain, 2);
    tear_down(&f);
}

/* A model that gives NaN, as one with broken weights does: each answer says so, and the engine goes
 * on. Here every third head. */
static int nan_in;

static emc_status nan_head(emc_device *dev, const emc_head_args *args)
{
    EMC_TRY(real_ops->head(dev, args));
    if (nan_in++ % 3 != 2)
        return EMC_OK;
    for (int r = 0; r < args->rows; r++) {
        const float nan_value = nanf("");
        const int32_t none = -1;

        EMC_TRY(dev->ops->upload(dev, args->log_sum + r, &nan_value, sizeof nan_value));
        EMC_TRY(dev->ops->upload(dev, args->top_ids + r, &none, sizeof none));
    }
    return EMC_OK;
}

static void nan_is_told(void **state)
{
    int n_answers[4][2] = {{0}}; /* [ask][finite] */
    emc_ops ops;
    fixture f;

    (void)state;
    set_up(&f, "group2", EMC_DTYPE_FLOAT32, NULL);
    real_ops = f.model->dev->ops;
    ops = *real_ops;
    ops.head = nan_head;
    f.model->dev->ops = &ops;
    nan_in = 0;
    for (int i = 0; i < 40; i++) {
        const emc_request request = {
            .ids = f.c.ids[2], .n_ids = 20, .ask = (emc_ask)(i % 4), .max_tokens = 1 + i % 5};
        emc_answer answer;
        bool got;

        EMT_OK(emc_engine_submit(f.engine, &request));
        EMT_OK(emc_engine_poll(f.engine, &answer, &got));
        assert_true(got);
        n_answers[answer.ask][answer.finite]++;
        assert_false(answer.ended && !answer.finite);
        for (int k = 0; k < answer.n_ids; k++)
            assert_in_range(answer.ids[k], 0, f.vocab - 1);
        for (int k = 0; k < N_CHOICES && answer.scores && !answer.finite; k++)
            assert_true(isnan(answer.scores[k]) && isnan(answer.log_probs[k]));
        check_pages(f.engine);
    }
    for (int ask = 0; ask < 4; ask++)
        for (int finite = 0; finite < 2; finite++)
            assert_true(n_answers[ask][finite] > 0);
    f.model->dev->ops = real_ops;
    tear_down(&f);
}

static void bad_requests_are_refused(void **state)
{
    static const int32_t high[] = {1, 96}, low[] = {-1}, fine[] = {1, 2, 3};
    const emc_request generate = {
        .ids = fine, .n_ids = 3, .ask = EMC_ASK_GENERATE, .max_tokens = 257};
    emc_request request = {.ids = fine, .n_ids = 3};
    int32_t *longest = calloc(1025, sizeof *longest);
    float logits[96];
    kept_answer answer;
    fixture f;

    (void)state;
    case_open(&f.c, "group1", "group1");
    f.model = case_model(&f.c, EMC_DTYPE_AUTO, 1);
    f.engine = case_engine(f.model, NULL);
    EMT_FAILS(EMC_ERR_ARG, "no choices are set", emc_engine_submit(f.engine, &request));
    EMT_FAILS(EMC_ERR_CONFIG, "same tokens",
              emc_engine_set_choices(f.engine, (int32_t[]){4, 4}, (int32_t[]){0, 1, 2}, 2));
    EMT_FAILS(EMC_ERR_ARG, "token 96 is not in [0, 96)",
              emc_engine_set_choices(f.engine, high, (int32_t[]){0, 2}, 1));
    EMT_FAILS(EMC_ERR_CONFIG, "the most is 64",
              emc_engine_set_choices(f.engine, longest, (int32_t[]){0, 65}, 1));
    EMT_FAILS(EMC_ERR_ARG, "no choices are set", emc_engine_submit(f.engine, &request));
    EMT_OK(emc_engine_set_choices(f.engine, choice_ids, choice_begin, N_CHOICES));

    EMT_FAILS(EMC_ERR_ARG, "the prompt is empty",
              emc_engine_submit(f.engine, &(emc_request){.ids = fine}));
    EMT_FAILS(EMC_ERR_ARG, "prompt: id 96 at place 1 is not in [0, 96)",
              emc_engine_submit(f.engine, &(emc_request){.ids = high, .n_ids = 2}));
    EMT_FAILS(EMC_ERR_ARG, "prompt: id -1 at place 0",
              emc_engine_submit(f.engine, &(emc_request){.ids = low, .n_ids = 1}));
    EMT_FAILS(
        EMC_ERR_ARG, "no such question",
        emc_engine_submit(f.engine, &(emc_request){.ids = fine, .n_ids = 3, .ask = (emc_ask)7}));
    EMT_FAILS(EMC_ERR_ARG, "max_tokens is 257, need 1 to 256",
              emc_engine_submit(f.engine, &generate));
    EMT_FAILS(EMC_ERR_ARG, "max_tokens is 0",
              emc_engine_submit(f.engine,
                                &(emc_request){.ids = fine, .n_ids = 3, .ask = EMC_ASK_GENERATE}));
    EMT_FAILS(EMC_ERR_CONFIG,
              "the prompt has 1021 tokens and the answer up to 4, the model takes 1024",
              emc_engine_submit(f.engine, &(emc_request){.ids = longest, .n_ids = 1021}));
    EMT_FAILS(EMC_ERR_CONFIG, "the prompt has 1000 tokens and the answer up to 25",
              emc_engine_submit(f.engine, &(emc_request){.ids = longest,
                                                         .n_ids = 1000,
                                                         .ask = EMC_ASK_GENERATE,
                                                         .max_tokens = 25}));
    run_requests(f.engine, &(emc_request){.ids = longest, .n_ids = 1020}, NULL, 1, N_CHOICES,
                 &answer); /* the longest there is */
    free_answers(&answer, 1);

    EMT_OK(emc_engine_submit(f.engine, &request));
    EMT_FAILS(EMC_ERR_ARG, "prefix: 1 requests are in flight",
              emc_engine_set_prefix(f.engine, fine, 2));
    EMT_FAILS(EMC_ERR_ARG, "choices: 1 requests are in flight",
              emc_engine_set_choices(f.engine, choice_ids, choice_begin, N_CHOICES));
    EMT_FAILS(EMC_ERR_ARG, "logits: 1 requests are in flight",
              emc_engine_logits(f.engine, fine, 1, logits));
    emc_engine_cancel(f.engine);
    EMT_FAILS(EMC_ERR_ARG, "prefix: id 96 at place 1", emc_engine_set_prefix(f.engine, high, 2));
    EMT_FAILS(EMC_ERR_ARG, "prefix: -1 ids", emc_engine_set_prefix(f.engine, fine, -1));
    EMT_FAILS(EMC_ERR_CONFIG, "prefix: 1024 tokens leave no room",
              emc_engine_set_prefix(f.engine, longest, 1024));
    EMT_FAILS(EMC_ERR_CONFIG, "logits: 1025 tokens, need 1 to 1024",
              emc_engine_logits(f.engine, longest, 1025, logits));
    EMT_FAILS(EMC_ERR_ARG, "logits: id 96", emc_engine_logits(f.engine, high, 2, logits));
    check_pages(f.engine);
    free(longest);
    tear_down(&f);
}

static void bad_options_are_refused(void **state)
{
    static const struct {
        emc_engine_options options;
        const char *message;
    } bad[] = {
        {{.max_num_batched_tokens = 100}, "max_num_batched_tokens is 100, need a multiple of 128"},
        {{.max_num_batched_tokens = -128}, "max_num_batched_tokens is -128"},
        {{.max_num_batched_tokens = 1 << 21}, "max_num_batched_tokens is 2097152"},
        {{.max_num_readers = 127}, "max_num_readers is 127"},
        {{.max_answer_tokens = -1}, "max_answer_tokens is -1"},
        {{.n_ids = 97}, "n_ids is 97, the model has 96"},
        {{.n_ids = -1}, "n_ids is -1"},
        {{.n_pages = -1}, "n_pages is -1"},
    };
    emc_engine *engine;
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group1", "group1");
    model = case_model(&c, EMC_DTYPE_AUTO, 1);
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        EMT_FAILS(EMC_ERR_ARG, bad[i].message, emc_engine_open(&engine, model, &bad[i].options));
        assert_null(engine);
    }
    emc_engine_close(NULL);
    emc_model_close(model);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_schedules_lose_no_page),
                                       cmocka_unit_test(full_engine_refuses_and_recovers),
                                       cmocka_unit_test(steps_allocate_nothing),
                                       cmocka_unit_test(stats_count_rows),
                                       cmocka_unit_test(room_grows_at_submit),
                                       cmocka_unit_test(failed_step_can_be_repeated),
                                       cmocka_unit_test(nan_is_told),
                                       cmocka_unit_test(bad_requests_are_refused),
                                       cmocka_unit_test(bad_options_are_refused)};
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(random_schedules_lose_no_page),
                                        cmocka_unit_test(room_grows_at_submit),
                                        cmocka_unit_test(failed_step_can_be_repeated)};

    return case_on_cpu() ? cmocka_run_group_tests(tests, NULL, NULL)
                         : cmocka_run_group_tests(on_gpu, NULL, NULL);
}
