/*
 * Does a model on several devices say what it says on one?
 *
 * Tensor parallelism adds up the same products in another order and rounds in between, so its
 * logits are held to the reference library's with the tolerance of one device, widened by what the
 * sums round. Replicas compute what one device computes, to the last bit.
 */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime_case.h"

/* Every layout of heads: K/V heads dealt out, one for each rank, and several ranks with the same
 * one; heads tied and not, adapters of every matrix, DoRA, of embedding and head. */
static const struct {
    const char *name, *base;
    int n_ranks;
} cases[] = {
    {"group1", "group1", 2},    {"dora", "group1", 2},      {"group2", "group2", 2},
    {"group2", "group2", 4},    {"rslora", "group2", 2},    {"rslora", "group2", 4},
    {"group8", "group8", 2},    {"group8", "group8", 4},    {"group8", "group8", 8},
    {"embedding", "group8", 2}, {"embedding", "group8", 8}, {"untied", "group1", 2},
    {"wide128", "wide128", 2},  {"wide128", "wide128", 4},  {"wide64", "wide64", 2},
    {"wide64", "wide64", 4},    {"heads4", "heads4", 2},    {"heads4", "heads4", 4},
    {"heads4", "heads4", 8},
};

/* Those that every run of the tests takes; the others with EMT_FULL. */
static bool is_taken(size_t i)
{
    return case_full() || i % 5 == 0 || i == 16; /* group1 over 2, rslora and wide64 over 4, ... */
}

/* Devices of the kind that these tests run on. */
static emc_status open_on(emc_model **out, const runtime_case *c, int n_ranks, int n_replicas,
                          emc_dtype_choice dtype, bool sums_f32)
{
    static const char *const gpus[] = {
        "", "cuda:0", "cuda:0,1", "cuda:0,1,2", "cuda:0,1,2,3", "", "", "", "cuda:0,1,2,3,4,5,6,7"};
    const emc_model_options options = {.model_dir = c->model_dir,
                                       .adapter_dir = c->adapter_dir[0] ? c->adapter_dir : NULL,
                                       .device = case_on_cpu() ? "cpu" : gpus[n_ranks * n_replicas],
                                       .dtype = case_on_cpu() ? dtype : EMC_DTYPE_BFLOAT16,
                                       .n_threads = n_ranks * n_replicas,
                                       .n_replicas = n_replicas,
                                       .tensor_parallel_size = n_ranks,
                                       .sums_f32 = sums_f32};

    return emc_model_open(out, &options);
}

static emc_model *open_ranks(const runtime_case *c, int n_ranks, int n_replicas,
                             emc_dtype_choice dtype, bool sums_f32)
{
    emc_model *model;

    EMT_OK(open_on(&model, c, n_ranks, n_replicas, dtype, sums_f32));
    assert_int_equal(emc_model_get_info(model)->n_devices, n_ranks * n_replicas);
    assert_int_equal(emc_model_get_info(model)->tensor_parallel_size, n_ranks);
    return model;
}

static double rms(const float *a, const float *b, size_t n)
{
    double squares = 0;

    for (size_t i = 0; i < n; i++)
        squares +=
            ((double)a[i] - (b ? (double)b[i] : 0)) * ((double)a[i] - (b ? (double)b[i] : 0));
    return sqrt(squares / (double)n);
}

/* --- Tensor parallel ---------------------------------------------------------------------- */

/* In float32 within 1e-4 of the reference's range, as one device; in bfloat16 no further from the
 * exact logits than one device may be, with 2 n_ranks roundings of a sum more a layer. */
static void check_prompt(const char *name, const runtime_case *c, emc_engine *engine, int prompt,
                         const emc_model_info *info, int n_ranks)
{
    const size_t vocab = (size_t)info->vocab;
    float *want = case_logits(c, "f32", prompt);
    float *all = engine_logits(engine, c->ids[prompt], c->n_ids[prompt], info->vocab);
    double squares = 0, least = INFINITY, most = -INFINITY, worst = 0, size = 0;

    for (int i = 0; i < c->n_positions[prompt]; i++) {
        const float *got = all + (size_t)c->positions[prompt][i] * vocab;
        const float *exact = want + (size_t)i * vocab;

        squares += pow(rms(got, exact, vocab), 2);
        size += pow(rms(exact, NULL, vocab), 2);
        for (size_t k = 0; k < vocab; k++) {
            least = fmin(least, exact[k]);
            most = fmax(most, exact[k]);
            worst = fmax(worst, fabs((double)got[k] - exact[k]));
        }
    }
    if (info->dtype == EMC_F32) {
        if (!(worst <= 1e-4 * (most - least)))
            fail_msg("%s over %d: error %g in a range of %g", name, n_ranks, worst, most - least);
    } else {
        const int n_roundings = ((c->adapter_dir[0] ? 25 : 9) + 2 * n_ranks) * info->n_layers + 1;

        if (!(sqrt(squares) <= 4 * 0x1p-9 * 0.83 * sqrt(n_roundings) * sqrt(size)))
            fail_msg("%s over %d: error %g of logits of %g", name, n_ranks, sqrt(squares),
                     sqrt(size));
    }
    free(all);
    free(want);
}

static void check_case(size_t i, emc_dtype_choice dtype, bool sums_f32)
{
    runtime_case c;
    emc_model *model;
    emc_engine *engine;

    case_open(&c, cases[i].name, cases[i].base);
    model = open_ranks(&c, cases[i].n_ranks, 1, dtype, sums_f32);
    engine = case_engine(model, NULL);
    for (int p = 0; p < CASE_PROMPTS - (case_full() ? 0 : 1); p++)
        check_prompt(cases[i].name, &c, engine, p, emc_model_get_info(model), cases[i].n_ranks);
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

static void logits_are_the_reference_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        /* Eight virtual GPUs take their time. */
        if (!is_taken(i) || (!case_on_cpu() && !case_full() && cases[i].n_ranks > 4))
            continue;
        if (case_on_cpu())
            check_case(i, EMC_DTYPE_FLOAT32, false);
        check_case(i, EMC_DTYPE_BFLOAT16, i % 2 != 0);
    }
}

#define N_REQUESTS 16

/* Virtual GPUs take their time. */
static int count_requests(void)
{
    return case_on_cpu() || case_full() ? N_REQUESTS : N_REQUESTS / 2;
}

/* Prompts of the case cut to different lengths, all three kinds of search and generation. */
static void draw_requests(emc_request *requests, const runtime_case *c, int n)
{
    static const emc_ask asks[] = {EMC_ASK_BEST, EMC_ASK_CHOICES, EMC_ASK_GREEDY, EMC_ASK_GENERATE};

    for (int i = 0; i < n; i++) {
        const int prompt = 1 + i % (CASE_PROMPTS - 1);
        const int n_ids = c->n_ids[prompt] > 150 ? 150 - i : c->n_ids[prompt];

        requests[i] = (emc_request){.ticket = (uint64_t)i,
                                    .ids = c->ids[prompt],
                                    .n_ids = n_ids,
                                    .ask = asks[i % 4],
                                    .max_tokens = asks[i % 4] == EMC_ASK_GENERATE ? 5 : 0};
    }
}

/* Answers of the model on so many devices to the same requests. */
static void answer_all(const runtime_case *c, int n_ranks, int n_replicas,
                       const random_choices *choices, const emc_request *requests, int n,
                       kept_answer *out)
{
    emc_model *model = open_ranks(c, n_ranks, n_replicas, EMC_DTYPE_BFLOAT16, false);
    emc_engine *engine = case_engine(
        model, &(emc_engine_options){.max_num_batched_tokens = 256, .max_num_readers = 128});
    emc_engine_stats stats;

    EMT_OK(emc_engine_set_prefix(engine, c->ids[CASE_PROMPTS - 1], 9));
    EMT_OK(emc_engine_set_choices(engine, choices->ids, choices->begin, choices->n));
    EMT_OK(emc_engine_set_scoring(engine, &(emc_scoring){.width = 0.01}));
    run_requests(engine, requests, NULL, n, choices->n, out);
    emc_engine_get_stats(engine, &stats);
    assert_true(stats.n_steps > 0 && stats.n_rows > 0);
    assert_int_equal(emc_engine_count_replicas(engine), n_replicas);
    emc_engine_close(engine);
    emc_model_close(model);
}

/* The same bits again, whatever else was asked, for one number of ranks. */
static void answers_are_the_same_every_time(void **state)
{
    emc_request requests[N_REQUESTS];
    const int n = count_requests();
    kept_answer first[N_REQUESTS] = {{0}}, again[N_REQUESTS] = {{0}};
    uint64_t random = 5;
    random_choices choices;
    runtime_case c;

    (void)state;
    case_open(&c, "group2", "group2");
    draw_choices(&choices, 96, 9, &random);
    draw_requests(requests, &c, n);
    answer_all(&c, 4, 1, &choices, requests, n, first);
    answer_all(&c, 4, 1, &choices, requests, n / 2, again);
    assert_same_answers(first, again, n / 2, choices.n, "four ranks, in other company");
    free_answers(first, n);
    free_answers(again, n / 2);
    case_close(&c);
}

/* --- Data parallel ------------------------------------------------------------------------ */

static void replicas_answer_as_one_device(void **state)
{
    static const struct {
        int n_ranks, n_replicas;
    } layouts[] = {{2, 2}, {1, 8}};
    const int n = count_requests();
    emc_request requests[N_REQUESTS];
    uint64_t random = 6;
    random_choices choices;
    runtime_case c;

    (void)state;
    case_open(&c, "wide64", "wide64");
    draw_choices(&choices, 96, 9, &random);
    draw_requests(requests, &c, n);
    for (size_t i = 0; i < EMC_COUNT(layouts) - (case_on_cpu() || case_full() ? 0 : 1); i++) {
        kept_answer one[N_REQUESTS] = {{0}}, several[N_REQUESTS] = {{0}};

        answer_all(&c, layouts[i].n_ranks, 1, &choices, requests, n, one);
        answer_all(&c, layouts[i].n_ranks, layouts[i].n_replicas, &choices, requests, n, several);
        assert_same_answers(one, several, n, choices.n, "replicas");
        free_answers(one, n);
        free_answers(several, n);
    }
    case_close(&c);
}

/* Forgotten requests leave nothing behind, and the next ones are answered. */
static void cancel_forgets_all(void **state)
{
    const int n = count_requests();
    emc_request requests[N_REQUESTS];
    kept_answer kept[N_REQUESTS] = {{0}};
    uint64_t random = 7;
    random_choices choices;
    runtime_case c;
    emc_model *model;
    emc_engine *engine;
    emc_answer answer;
    bool got;

    (void)state;
    case_open(&c, "group2", "group2");
    draw_choices(&choices, 96, 5, &random);
    draw_requests(requests, &c, n);
    model = open_ranks(&c, 2, 2, EMC_DTYPE_BFLOAT16, false);
    engine = case_engine(model, &(emc_engine_options){.max_num_batched_tokens = 256});
    EMT_OK(emc_engine_poll(engine, &answer, &got));
    assert_false(got);
    EMT_OK(emc_engine_set_choices(engine, choices.ids, choices.begin, choices.n));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < n && !emc_engine_is_full(engine); i++)
            EMT_OK(emc_engine_submit(engine, &requests[i]));
        EMT_FAILS(EMC_ERR_ARG, "requests are in flight", emc_engine_set_prefix(engine, NULL, 0));
        if (round > 0) {
            EMT_OK(emc_engine_poll(engine, &answer, &got));
            assert_true(got);
        }
        emc_engine_cancel(engine);
        EMT_OK(emc_engine_poll(engine, &answer, &got));
        assert_false(got);
    }
    EMT_OK(emc_engine_set_prefix(engine, c.ids[2], 5));
    run_requests(engine, requests, NULL, n, choices.n, kept);
    free_answers(kept, n);
    EMT_OK(emc_engine_submit(engine, &requests[0])); /* and is dropped */
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

/* --- What is refused ---------------------------------------------------------------------- */

static void sizes_that_do_not_divide_are_refused(void **state)
{
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group8", "group8");
    EMT_FAILS(
        EMC_ERR_USAGE,
        "--tensor-parallel-size 3 does not divide this model (8 heads, 1 K/V heads, MLP width "
        "64, 96 token ids): take 1, 2, 4, 8",
        open_on(&model, &c, 3, 1, EMC_DTYPE_AUTO, false));
    case_close(&c);
}

static void bad_requests_are_refused(void **state)
{
    emc_model *model;
    emc_engine *engine;
    runtime_case c;

    (void)state;
    case_open(&c, "group2", "group2");
    model = open_ranks(&c, 1, 2, EMC_DTYPE_BFLOAT16, false);
    engine = case_engine(model, NULL);
    EMT_FAILS(EMC_ERR_ARG, "the prompt is empty",
              emc_engine_submit(engine, &(emc_request){.ids = c.ids[1]}));
    EMT_FAILS(EMC_ERR_ARG, "no choices are set",
              emc_engine_submit(engine, &(emc_request){.ids = c.ids[1], .n_ids = 2}));
    EMT_FAILS(EMC_ERR_ARG, "scoring: no choices are set",
              emc_engine_set_scoring(engine, &(emc_scoring){0}));
    EMT_FAILS(EMC_ERR_ARG, "token -1 is not in",
              emc_engine_set_choices(engine, (int32_t[]){-1}, (int32_t[]){0, 1}, 1));
    assert_int_equal(emc_engine_count_replicas(engine), 2);
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

/* What several GPUs would take, on a machine without any. */
static void plans_are_made_without_gpus(void **state)
{
    emc_model_options options = {
        .random = "8b", .device = "cuda:0", .dtype = EMC_DTYPE_BFLOAT16, .without_weights = true};
    const emc_ceilings ceilings = {1e15, 4e12};
    emc_workload work = {0};
    emc_engine_estimate alone, shared;
    emc_time_estimate slow, fast;
    emc_model *one, *four;

    (void)state;
    if (!case_on_cpu()) /* there, GPUs are too small for it */
        skip();
    emc_workload_add_prompts(&work, 300, 600, 1000);
    EMT_OK(emc_model_open(&one, &options));
    EMT_OK(emc_estimate_engine(one, &(emc_engine_wanted){0}, &alone));
    emc_estimate_time(one, &alone, &work, &ceilings, &slow);
    options.device = "cuda:0,1,2,3";
    options.tensor_parallel_size = 2;
    EMT_OK(emc_model_open(&four, &options));
    assert_int_equal(emc_model_get_info(four)->n_devices, 4);
    assert_string_equal(emc_model_get_info(four)->device_name, "cuda:0,1,2,3");
    EMT_OK(emc_estimate_engine(four, &(emc_engine_wanted){0}, &shared));
    emc_estimate_time(four, &shared, &work, &ceilings, &fast);
    /* Half of all but the embedding, which is whole on each. */
    const size_t embed = (size_t)151936 * 4096 * 2;
    assert_true(shared.memory.weights < (alone.memory.weights - embed) / 2 + embed + 1000000);
    assert_true(shared.memory.weights > alone.memory.weights / 2);
    assert_int_equal(shared.memory.page_bytes, alone.memory.page_bytes / 2);
    assert_true(fabs(slow.seconds / fast.seconds - 4) < 1e-9);
    emc_model_close(one);
    emc_model_close(four);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_reference_s),
        cmocka_unit_test(answers_are_the_same_every_time),
        cmocka_unit_test(replicas_answer_as_one_device),
        cmocka_unit_test(cancel_forgets_all),
        cmocka_unit_test(sizes_that_do_not_divide_are_refused),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(plans_are_made_without_gpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
