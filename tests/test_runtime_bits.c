/*
 * Do a row's bits depend on the row alone? Logits are compared between one pass, cached decoding
 * and packed batches; answers between one by one, packed, shuffled, threads, sizes of steps, and
 * pages that are short.
 */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime_case.h"

static const struct {
    const char *names[2];
    emc_dtype_choice dtype;
} cases[] = {
    {{"group1", "group1"}, EMC_DTYPE_FLOAT32},  {{"group4", "group4"}, EMC_DTYPE_BFLOAT16},
    {{"group5", "group5"}, EMC_DTYPE_BFLOAT16}, {{"group8", "group8"}, EMC_DTYPE_FLOAT32},
    {{"rslora", "group2"}, EMC_DTYPE_BFLOAT16}, {{"embedding", "group8"}, EMC_DTYPE_BFLOAT16},
};

/* --- Logits of every reader ---------------------------------------------------------------- */

#define MOST_RECORDS 4096

typedef struct {
    uint64_t ticket;
    int node;
    int position;
    float *logits; /* [vocab] */
} record;

/* What the head of the device under test was asked, in between. cmocka runs one test at a time. */
static struct {
    const emc_ops *real;
    emc_ops ops;
    const emc_engine *engine;
    float *all_logits;
    record records[MOST_RECORDS];
    int n;
} recorder;

static emc_status recording_head(emc_device *dev, const emc_head_args *args)
{
    const int vocab = recorder.engine->model->info.vocab;
    emc_head_args with = *args;

    with.all_logits = recorder.all_logits;
    EMC_TRY(recorder.real->head(dev, &with));
    for (int r = 0; r < args->rows; r++) {
        const emc_reader *reader = &recorder.engine->filling->readers[r];
        record *to = &recorder.records[recorder.n++];

        assert_true(recorder.n < MOST_RECORDS);
        to->ticket = reader->sequence->ticket;
        to->node = reader->node;
        to->position = recorder.engine->filling->step->host.reader_positions[r];
        to->logits = malloc((size_t)vocab * sizeof(float));
        EMC_TRY(recorder.real->download(dev, to->logits, recorder.all_logits + (size_t)r * vocab,
                                        (size_t)vocab * sizeof(float)));
    }
    return EMC_OK;
}

/* Prompts are cut at multiples of a page only: attention's tiles are anchored there. (This device
 * would give the same bits for any cut; not every one need.) */
static emc_status checking_attention(emc_device *dev, const emc_attention_args *args)
{
    for (int i = 0; i < args->n_items; i++) {
        emc_attention_item item;

        EMC_TRY(recorder.real->download(dev, &item, &args->items[i], sizeof item));
        if (item.causal && item.n_rows > 1)
            assert_int_equal((item.own_seen - 1) % EMC_PAGE_POSITIONS, 0);
    }
    return recorder.real->attention(dev, args);
}

static void start_recording(emc_engine *engine)
{
    const size_t n = (size_t)engine->options.max_num_readers * engine->model->info.vocab;

    recorder.real = engine->dev->ops;
    recorder.ops = *engine->dev->ops;
    recorder.ops.head = recording_head;
    recorder.ops.attention = checking_attention;
    recorder.engine = engine;
    recorder.n = 0;
    EMT_OK(engine->dev->ops->alloc(engine->dev, (void **)&recorder.all_logits, n * sizeof(float),
                                   "recorded logits"));
    engine->dev->ops = &recorder.ops;
}

static void stop_recording(emc_engine *engine)
{
    engine->dev->ops = recorder.real;
    engine->dev->ops->release(engine->dev, recorder.all_logits);
    for (int i = 0; i < recorder.n; i++)
        free(recorder.records[i].logits);
    recorder.n = 0;
}

/* --- Requests ----------------------------------------------------------------------------- */

#define N_REQUESTS   24
#define N_CHOICES    24
#define LONG_REQUEST 2 /* a token, then more than a page of them, one a step */

typedef struct {
    emc_request requests[N_REQUESTS];
    int32_t *ids[N_REQUESTS];
    random_choices choices;
} workload;

/* Every third one generates, the others choose in all the ways there are. */
static emc_ask ask_of(int request)
{
    static const emc_ask searches[] = {EMC_ASK_CHOICES, EMC_ASK_BEST, EMC_ASK_BEST, EMC_ASK_GREEDY};

    return request % 3 == 2 ? EMC_ASK_GENERATE : searches[request / 3 % 2 * 2 + request % 3];
}

static void set_choices(emc_engine *engine, const random_choices *set)
{
    EMT_OK(emc_engine_set_choices(engine, set->ids, set->begin, set->n));
    EMT_OK(emc_engine_set_scoring(engine, &(emc_scoring){.width = 0.05}));
}

/* Prompts of 1 to 300 tokens; the first 100 tokens of half of them are the same. */
static void make_workload(workload *w, int vocab, uint64_t seed)
{
    uint64_t random = seed;
    int32_t common[100];

    for (int i = 0; i < 100; i++)
        common[i] = (int32_t)(emt_random(&random) % (uint64_t)vocab);
    draw_choices(&w->choices, vocab, N_CHOICES, &random);
    for (int r = 0; r < N_REQUESTS; r++) {
        /* The first is long enough to take a prefix from. */
        const int n = r == 0 ? 200
                      : r == LONG_REQUEST
                          ? 1
                          : 1 + (int)(emt_random(&random) % (r % 4 == 0 ? 300 : 140));

        w->ids[r] = malloc((size_t)n * sizeof(int32_t));
        for (int i = 0; i < n; i++)
            w->ids[r][i] = r % 2 == 0 && i < 100 ? common[i]
                                                 : (int32_t)(emt_random(&random) % (uint64_t)vocab);
        w->requests[r] = (emc_request){
            .ticket = r,
            .ids = w->ids[r],
            .n_ids = n,
            .ask = ask_of(r),
            .max_tokens = r == LONG_REQUEST ? 150 : 1 + (int)(emt_random(&random) % 12)};
    }
}

static void free_workload(workload *w)
{
    for (int r = 0; r < N_REQUESTS; r++)
        free(w->ids[r]);
}

static void shuffle(int *order, int n, uint64_t *random)
{
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)(emt_random(random) % (uint64_t)(i + 1)), other = order[j];

        order[j] = order[i];
        order[i] = other;
    }
}

/* --- One pass, one token at a time, packed -------------------------------------------------- */

/* Logits of the prompt and what was generated after it, all in one pass. */
static float *one_pass(emc_engine *engine, const emc_request *request, const kept_answer *answer)
{
    const int n = request->n_ids + answer->n_ids;
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    float *logits;

    memcpy(ids, request->ids, (size_t)request->n_ids * sizeof *ids);
    memcpy(ids + request->n_ids, answer->ids, (size_t)answer->n_ids * sizeof *ids);
    logits = engine_logits(engine, ids, n, engine->model->info.vocab);
    free(ids);
    return logits;
}

/*
 * Every reader of a prompt's last row and of a generated token, from packed steps in which other
 * sequences are at other points, has the bits that its position has when the whole sequence goes
 * through in one pass.
 */
static void packed_and_cached_logits_are_those_of_one_pass(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 256};

    int longest = 0;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        kept_answer answers[N_REQUESTS];
        int n_compared = 0, n_expected = 0, vocab;
        emc_engine *packed, *whole;
        emc_model *model;
        runtime_case c;
        workload w;

        case_open(&c, cases[i].names[0], cases[i].names[1]);
        model = case_model(&c, cases[i].dtype, 2);
        vocab = emc_model_get_info(model)->vocab;
        make_workload(&w, vocab, 100 + i);
        packed = case_engine(model, &options);
        whole = case_engine(model, NULL);
        set_choices(packed, &w.choices);
        start_recording(packed);
        run_requests(packed, w.requests, NULL, N_REQUESTS, N_CHOICES, answers);
        const emc_ops *recording = packed->dev->ops;
        packed->dev->ops = recorder.real;
        for (int r = 0; r < N_REQUESTS; r++) {
            float *want = one_pass(whole, &w.requests[r], &answers[r]);

            for (int k = 0; k < recorder.n; k++) {
                const record *got = &recorder.records[k];

                if (got->ticket != (uint64_t)r || got->node != 0)
                    continue;
                if (memcmp(got->logits, want + (size_t)got->position * vocab,
                           (size_t)vocab * sizeof(float)) != 0)
                    fail_msg("%s: request %d, position %d has other bits", cases[i].names[0], r,
                             got->position);
                n_compared++;
            }
            n_expected +=
                w.requests[r].ask == EMC_ASK_GENERATE ? answers[r].n_ids + answers[r].ended : 1;
            free(want);
        }
        assert_int_equal(n_compared, n_expected);
        longest = answers[LONG_REQUEST].n_ids > longest ? answers[LONG_REQUEST].n_ids : longest;
        packed->dev->ops = recording;
        stop_recording(packed);
        free_answers(answers, N_REQUESTS);
        free_workload(&w);
        emc_engine_close(packed);
        emc_engine_close(whole);
        emc_model_close(model);
        case_close(&c);
    }
    assert_int_equal(longest, 150); /* at least one went on over the edge of a page */
}

/* --- Answers ------------------------------------------------------------------------------- */

typedef struct {
    const char *what;
    int n_threads;
    emc_engine_options options;
    bool one_by_one;
    bool shuffled;
} company;

static const company companies[] = {
    {"one by one", 1, {0}, true, false}, /* what the others are compared with */
    {"packed", 1, {0}, false, false},
    {"shuffled", 1, {0}, false, true},
    {"two threads", 2, {0}, false, true},
    {"three threads", 3, {0}, false, true},
    {"small steps", 2, {.max_num_batched_tokens = 128}, false, true},
    {"other steps", 1, {.max_num_batched_tokens = 384}, false, false},
    {"few readers", 2, {.max_num_batched_tokens = 512, .max_num_readers = 128}, false, true},
    {"few pages", 1, {.n_pages = 5}, false, true},
    {"one page, more when needed", 2, {.n_pages = 1}, false, false},
};

static void answer_in_company(const runtime_case *c, emc_dtype_choice dtype, const workload *w,
                              int prefix_len, const company *with, kept_answer *out)
{
    emc_model *model = case_model(c, dtype, with->n_threads);
    int order[N_REQUESTS];
    emc_engine *engine;
    uint64_t random = 3;

    engine = case_engine(model, &with->options);
    EMT_OK(emc_engine_set_prefix(engine, w->ids[0], prefix_len));
    set_choices(engine, &w->choices);
    shuffle(order, N_REQUESTS, &random);
    if (with->one_by_one) {
        for (int r = 0; r < N_REQUESTS; r++) {
            emc_request request = w->requests[r];

            request.ticket = 0;
            run_requests(engine, &request, NULL, 1, N_CHOICES, &out[r]);
        }
    } else {
        run_requests(engine, w->requests, with->shuffled ? order : NULL, N_REQUESTS, N_CHOICES,
                     out);
    }
    emc_engine_close(engine);
    emc_model_close(model);
}

static void answers_do_not_depend_on_company(void **state)
{
    static const struct {
        int i; /* of cases */
        int prefix_len;
    } runs[] = {{0, 0}, {1, 70}, {2, 0}, {4, 70}};

    (void)state;
    for (size_t r = 0; r < (case_on_cpu() ? EMC_COUNT(runs) : 2); r++) {
        const int i = runs[r].i;
        kept_answer alone[N_REQUESTS];
        runtime_case c;
        workload w;

        case_open(&c, cases[i].names[0], cases[i].names[1]);
        make_workload(&w, 96, 200 + r);
        w.requests[LONG_REQUEST].max_tokens = 5;
        answer_in_company(&c, cases[i].dtype, &w, runs[r].prefix_len, &companies[0], alone);
        for (size_t k = 1; k < EMC_COUNT(companies); k++) {
            kept_answer answers[N_REQUESTS];

            /* A GPU's products may have other bits for other numbers of rows, and it has no
             * threads of ours. */
            if (!case_on_cpu() &&
                (companies[k].options.max_num_batched_tokens > 0 || companies[k].n_threads > 1))
                continue;
            answer_in_company(&c, cases[i].dtype, &w, runs[r].prefix_len, &companies[k], answers);
            assert_same_answers(alone, answers, N_REQUESTS, N_CHOICES, companies[k].what);
            free_answers(answers, N_REQUESTS);
        }
        free_answers(alone, N_REQUESTS);
        free_workload(&w);
        case_close(&c);
    }
}

/* --- Many --------------------------------------------------------------------------------------
 */

/* Sequences of random lengths, in random order in packed steps, get what each gets alone. */
static void many_in_random_order_are_as_one_by_one(void **state)
{
    enum { MOST = 300 };
    const int n = case_on_cpu() || case_full() ? MOST : 14;
    static kept_answer alone[MOST], packed[MOST];
    static emc_request requests[MOST];
    static int order[MOST];
    uint64_t random = 23;
    random_choices set;
    emc_engine *one_by_one, *together;
    emc_model *model;
    int32_t ids[400];
    runtime_case c;

    (void)state;
    case_open(&c, "group4", "group4");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 2);
    draw_choices(&set, 96, N_CHOICES, &random);
    for (size_t i = 0; i < EMC_COUNT(ids); i++)
        ids[i] = (int32_t)(emt_random(&random) % 96);
    for (int r = 0; r < n; r++) {
        const int n_ids = 1 + (int)(emt_random(&random) % (r % 10 == 0 ? 300 : 90));

        requests[r] =
            (emc_request){.ticket = (uint64_t)r,
                          .ids = r % 4 == 3 ? ids + 50 : ids, /* some without the prefix */
                          .n_ids = n_ids,
                          .ask = ask_of(r),
                          .max_tokens = 1 + (int)(emt_random(&random) % 4)};
    }
    shuffle(order, n, &random);
    one_by_one = case_engine(model, NULL);
    together =
        case_engine(model, &(emc_engine_options){.max_num_batched_tokens = case_on_cpu() ? 512 : 0,
                                                 .n_pages = case_on_cpu() ? 0 : 8});
    EMT_OK(emc_engine_set_prefix(one_by_one, ids, 40));
    EMT_OK(emc_engine_set_prefix(together, ids, 40));
    set_choices(one_by_one, &set);
    set_choices(together, &set);
    for (int r = 0; r < n; r++) {
        emc_request request = requests[r];

        request.ticket = 0;
        run_requests(one_by_one, &request, NULL, 1, N_CHOICES, &alone[r]);
    }
    run_requests(together, requests, order, n, N_CHOICES, packed);
    assert_same_answers(alone, packed, n, N_CHOICES, "many");
    free_answers(alone, n);
    free_answers(packed, n);
    emc_engine_close(one_by_one);
    emc_engine_close(together);
    emc_model_close(model);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_and_cached_logits_are_those_of_one_pass),
        cmocka_unit_test(answers_do_not_depend_on_company),
        cmocka_unit_test(many_in_random_order_are_as_one_by_one)};
    /* There a generated token's row is not computed as the same row of a prompt would be. */
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(many_in_random_order_are_as_one_by_one),
                                        cmocka_unit_test(answers_do_not_depend_on_company)};
    const struct CMUnitTest in_haste[] = {cmocka_unit_test(many_in_random_order_are_as_one_by_one)};

    return case_on_cpu() ? cmocka_run_group_tests(tests, NULL, NULL)
           : case_full() ? cmocka_run_group_tests(on_gpu, NULL, NULL)
                         : cmocka_run_group_tests(in_haste, NULL, NULL);
}
