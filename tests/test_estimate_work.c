/* Are the rows and operations that are estimated those of a run, and those counted by hand; and how
 * does the time follow from them? */
#include "emt.h"

#include <math.h>
#include <string.h>

#include "estimate_case.h"
#include "runtime/engine.h"

/* --- Work --------------------------------------------------------------------------------------
 */

static void answers_cost_what_the_trie_says(void **state)
{
    static const int32_t one[] = {7, 8, 9}, begin_one[] = {0, 1, 2, 3};
    static const int32_t chain[] = {1, 2, 3, 4}, begin_chain[] = {0, 4};
    emc_answer_cost cost;

    (void)state;
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_CHOICES, choice_ids, choice_begin, N_CHOICES, 0));
    assert_true(cost.n_rows == N_NODES && cost.n_keys == N_KEYS && !cost.is_assumed);
    /* Ways of 2, 2, 3 and 1 nodes, which see 3, 3, 6 and 1 of their ids. */
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_GREEDY, choice_ids, choice_begin, N_CHOICES, 0));
    assert_true(cost.n_rows == 2 && cost.n_keys == 3.25 && cost.is_assumed);
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_GENERATE, choice_ids, choice_begin, N_CHOICES, 9));
    assert_true(cost.n_rows == 2 && cost.n_keys == 3.25 && cost.is_assumed);
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_BEST, choice_ids, choice_begin, N_CHOICES, 0));
    assert_true(cost.n_rows > 2 && cost.n_rows < N_NODES && cost.is_assumed);
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_BEST, one, begin_one, 3, 0));
    assert_true(cost.n_rows == 0 && cost.n_keys == 0 && !cost.is_assumed);
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_BEST, chain, begin_chain, 1, 0));
    assert_true(cost.n_rows == 3 && cost.n_keys == 6); /* there are no more */
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_GENERATE, NULL, NULL, 0, 8));
    assert_true(cost.n_rows == 7 && cost.n_keys == 28 && cost.is_assumed);
    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_GENERATE, NULL, NULL, 0, 1));
    assert_true(cost.n_rows == 0);
    EMT_FAILS(
        EMC_ERR_CONFIG, "",
        emc_estimate_answer(&cost, EMC_ASK_CHOICES, choice_ids, (const int32_t[]){0, 0, 3}, 2, 0));
}

/* A prefix, then prompts of these lengths, each with all choices. */
static void add_run(emc_workload *work, int n_prefix, const int *n_ids, int n)
{
    emc_answer_cost cost;

    EMT_OK(emc_estimate_answer(&cost, EMC_ASK_CHOICES, choice_ids, choice_begin, N_CHOICES, 0));
    emc_workload_add_prefix(work, n_prefix);
    for (int i = 0; i < n; i++) {
        emc_workload_add_prompts(work, n_prefix, n_ids[i] - n_prefix, 1);
        emc_workload_add_answers(work, n_ids[i], &cost, 1);
    }
}

/* Row by row: every product of every layer, every key a row sees. */
static void count_row(emc_flop *flop, const emc_model_info *m, int keys, bool read)
{
    const double q = m->n_heads * m->head_dim, kv = m->n_kv_heads * m->head_dim;

    for (int layer = 0; layer < m->n_layers; layer++) {
        flop->products += 2 * 2 * kv * m->hidden;
        if (layer == m->n_layers - 1 && !read)
            continue;
        flop->products += 2 * q * m->hidden + 2 * q * m->hidden + 3 * 2.0 * m->ffn * m->hidden;
        for (int head = 0; head < m->n_heads; head++)
            flop->attention += 2.0 * keys * m->head_dim + 2.0 * keys * m->head_dim;
    }
    if (read)
        flop->head += 2.0 * m->vocab * m->hidden;
}

static void count_run(emc_flop *flop, const emc_model_info *m, int n_prefix, const int *n_ids,
                      int n)
{
    static const int depths[] = {1, 2, 2, 3, 1};

    for (int i = 0; i < n_prefix; i++)
        count_row(flop, m, i + 1, false);
    for (int p = 0; p < n; p++) {
        for (int i = n_prefix; i < n_ids[p]; i++)
            count_row(flop, m, i + 1, i == n_ids[p] - 1);
        for (int k = 0; k < N_NODES; k++)
            count_row(flop, m, n_ids[p] + depths[k], true);
    }
}

static void flop_is_what_is_counted_row_by_row(void **state)
{
    static const int n_ids[] = {131, 150, 300};

    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        for (int n_prefix = 0; n_prefix <= 130; n_prefix += 130) {
            emc_flop flop, want = {0};
            emc_workload work = {0};
            emc_model *model;
            runtime_case c;

            case_open(&c, models[i].name, models[i].base);
            model = open_shape(options_of(&c, EMC_DTYPE_AUTO));
            add_run(&work, n_prefix, n_ids, 3);
            count_run(&want, emc_model_get_info(model), n_prefix, n_ids, 3);
            emc_estimate_flop(model, &work, &flop);
            assert_true(flop.products == want.products);
            assert_true(flop.attention == want.attention);
            assert_true(flop.head == want.head);
            assert_int_equal(flop.adapter > 0, strcmp(models[i].name, models[i].base) != 0);
            emc_model_close(model);
            case_close(&c);
        }
    }
}

/* The reference case of a published shape: 300 shared tokens, 600 of a cell's own. */
static void published_shape_costs_what_is_published(void **state)
{
    const emc_model_options options = {
        .random = "8b", .device = "cpu", .without_weights = true, .n_threads = 1};
    emc_workload work = {0};
    emc_flop flop;
    emc_model *model;

    (void)state;
    EMT_OK(emc_model_open(&model, &options));
    assert_int_equal(emc_model_get_info(model)->weight_bytes,
                     2 * emc_model_get_info(model)->n_parameters);
    emc_workload_add_prompts(&work, 300, 600, 1);
    emc_estimate_flop(model, &work, &flop);
    const double all = flop.products + flop.attention + flop.head + flop.adapter;
    assert_true(all > 8.30e12 && all < 8.34e12);
    emc_model_close(model);
}

/* What an adapter adds where it touches every matrix of the layers, by hand. */
static void adapter_is_counted(void **state)
{
    emc_workload work = {.n_rows = 10, .n_readers = 3};
    emc_low_rank update;
    emc_model *model;
    emc_model_options options;
    runtime_case c;
    emc_flop flop;
    double want = 0;

    (void)state;
    case_open(&c, "rslora", "group2");
    options = options_of(&c, EMC_DTYPE_AUTO);
    EMT_OK(emc_model_open(&model, &options));
    const emc_model_info *m = emc_model_get_info(model);
    const int q = m->n_heads * m->head_dim, kv = 2 * m->n_kv_heads * m->head_dim;
    for (int l = 0; l < m->n_layers; l++) {
        const bool last = l == m->n_layers - 1;

        for (int role = EMC_MATRIX_QKV; role <= EMC_MATRIX_DOWN; role++) {
            EMT_OK(emc_weight_source_low_rank(model->source, (emc_matrix_role)role, l, &update));
            if (role == EMC_MATRIX_QKV && last)
                want += 2.0 * update.rank * (10 * (m->hidden + kv) + 3 * (m->hidden + q));
            else
                want += (last ? 3 : 10) * 2.0 * update.rank * (update.k + update.n);
            emc_low_rank_free(&update);
        }
    }
    EMT_OK(emc_weight_source_low_rank(model->source, EMC_MATRIX_HEAD, 0, &update));
    want += 3 * 2.0 * update.rank * (update.k + update.n);
    emc_low_rank_free(&update);
    emc_estimate_flop(model, &work, &flop);
    assert_true(want > 0 && flop.adapter == want);
    emc_model_close(model);

    options.merge_adapter = true; /* then nothing runs beside the weights */
    model = open_shape(options);
    emc_estimate_flop(model, &work, &flop);
    assert_true(flop.adapter == 0);
    emc_model_close(model);
    case_close(&c);
}

/* The engine's own counts of a run are those of the estimate. */
static void a_run_takes_what_was_estimated(void **state)
{
    static const int n_ids[] = {131, 150, 300, 131};
    emc_request requests[4];
    kept_answer answers[4];
    emc_engine_stats stats;
    emc_trace_entry entry;
    emc_workload work = {0};
    emc_engine *engine;
    emc_model *model;
    emc_flop flop, ran = {0};
    runtime_case c;

    (void)state;
    case_open(&c, "group2", "group2");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    engine = case_engine(model, &(emc_engine_options){.max_num_batched_tokens = 256});
    EMT_OK(emc_engine_set_choices(engine, choice_ids, choice_begin, N_CHOICES));
    EMT_OK(emc_engine_set_trace(engine, true));
    EMT_OK(emc_engine_set_prefix(engine, c.ids[3], 130));
    for (int i = 0; i < 4; i++)
        requests[i] = (emc_request){.ticket = (uint64_t)i, .ids = c.ids[3], .n_ids = n_ids[i]};
    run_requests(engine, requests, NULL, 4, N_CHOICES, answers);
    free_answers(answers, 4);
    emc_engine_get_stats(engine, &stats);
    add_run(&work, 130, n_ids, 4);
    assert_true((double)stats.n_rows == work.n_rows);
    assert_true((double)stats.n_readers == work.n_readers);
    EMT_OK(emc_engine_set_trace(engine, false));
    for (int i = 0; emc_engine_get_trace(engine, i, &entry); i++) {
        if (strncmp(entry.operation, "linear ", 7) == 0)
            ran.products += entry.flop;
        else if (strcmp(entry.operation, "attention") == 0)
            ran.attention += entry.flop;
        else
            ran.head += entry.flop;
    }
    emc_estimate_flop(model, &work, &flop);
    assert_true(flop.products == ran.products);
    assert_true(flop.attention == ran.attention);
    assert_true(flop.head == ran.head);
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

/* --- Time --------------------------------------------------------------------------------------
 */

static emc_time_estimate time_of(const emc_model *model, double n_prompts, double flops,
                                 double bytes)
{
    const emc_engine_wanted wanted = {.options = {.max_num_batched_tokens = 1024}};
    const emc_ceilings ceilings = {.product_flops = flops, .copy_bytes = bytes};
    emc_engine_estimate engine;
    emc_workload work = {0};
    emc_time_estimate time;

    EMT_OK(emc_estimate_engine(model, &wanted, &engine));
    emc_workload_add_prompts(&work, 300, 512, n_prompts);
    emc_estimate_time(model, &engine, &work, &ceilings, &time);
    return time;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static void time_follows_work_and_ceilings(void **state)
{
    static const char *const devices[] = {"cpu", "cuda:900"};

    (void)state;
    for (size_t d = 0; d < EMC_COUNT(devices); d++) {
        const emc_model_options options = {
            .random = "0.6b", .device = devices[d], .without_weights = true, .n_threads = 1};
        emc_model *model;

        EMT_OK(emc_model_open(&model, &options));
        const emc_time_estimate one = time_of(model, 100, 1e14, 1e12);
        const emc_time_estimate two = time_of(model, 200, 1e14, 1e12);
        const emc_time_estimate fast = time_of(model, 100, 2e14, 2e12);
        const emc_time_estimate none = time_of(model, 100, 0, 0);
        assert_true(one.n_steps == 50 && two.n_steps == 100 && none.n_steps == 50);
        assert_true(one.seconds > 0 && near(two.seconds, 2 * one.seconds));
        assert_true(near(fast.seconds, one.seconds / 2));
        assert_true(none.seconds == 0);
        assert_true(one.product_seconds > 0 && one.attention_seconds > 0 && one.head_seconds > 0 &&
                    one.other_seconds > 0 && one.adapter_seconds == 0);
        /* Never faster than the ceilings. */
        emc_workload work = {0};
        emc_flop flop;
        emc_workload_add_prompts(&work, 300, 512, 100);
        emc_estimate_flop(model, &work, &flop);
        assert_true(one.seconds > (flop.products + flop.attention + flop.head) / 1e14);
        /* A step that is not full costs a GPU as much as one that is. */
        const emc_time_estimate little = time_of(model, 1, 1e14, 1e12);
        assert_true(little.n_steps == 1);
        if (d == 0)
            assert_true(near(little.product_seconds, one.product_seconds / 100));
        else
            assert_true(near(little.product_seconds, one.product_seconds / 50));
        emc_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_cost_what_the_trie_says),
        cmocka_unit_test(flop_is_what_is_counted_row_by_row),
        cmocka_unit_test(published_shape_costs_what_is_published),
        cmocka_unit_test(adapter_is_counted),
        cmocka_unit_test(a_run_takes_what_was_estimated),
        cmocka_unit_test(time_follows_work_and_ceilings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
