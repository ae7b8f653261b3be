/*
 * Is the memory that was planned the memory that is taken, is too much refused before anything is
 * taken, and a device whose products depend on the batch; and does a trace count what the model
 * computes?
 */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime_case.h"

static const int32_t choice_ids[] = {10, 11, 5, 10, 12, 5, 10, 12, 13, 5, 20, 5};
static const int32_t choice_begin[] = {0, 3, 6, 10, 12};
#define N_CHOICES 4
#define N_NODES   5 /* inner ones: 10, 10-11, 10-12, 10-12-13 and 20 */

/* --- Memory ------------------------------------------------------------------------------------
 */

#define MOST_TAKEN 512

/* A device that counts what is taken, and not given back, and says of its memory what it is told
 * to. */
static struct {
    const emc_ops *real;
    emc_ops ops;
    struct {
        const void *memory;
        size_t n_bytes;
    } live[MOST_TAKEN];
    size_t taken;
    size_t n_free;
    size_t n_whole;
    size_t n_less; /* that much is free less, each time it is asked */
} counter;

static emc_status counting_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    size_t i = 0;

    EMC_TRY(counter.real->alloc(dev, out, n_bytes, what));
    while (i < MOST_TAKEN && counter.live[i].memory)
        i++;
    assert_true(i < MOST_TAKEN);
    counter.live[i].memory = *out;
    counter.live[i].n_bytes = n_bytes;
    counter.taken += n_bytes;
    return EMC_OK;
}

static void counting_release(emc_device *dev, void *memory)
{
    for (size_t i = 0; memory && i < MOST_TAKEN; i++)
        if (counter.live[i].memory == memory) {
            counter.taken -= counter.live[i].n_bytes;
            counter.live[i].memory = NULL;
        }
    counter.real->release(dev, memory);
}

static emc_status told_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)dev;
    *n_free = counter.n_free;
    *n_whole = counter.n_whole;
    counter.n_free -= counter.n_less;
    return EMC_OK;
}

static void start_counting(emc_model *model)
{
    memset(&counter, 0, sizeof counter);
    counter.real = model->dev->ops;
    counter.ops = *counter.real;
    counter.ops.alloc = counting_alloc;
    counter.ops.release = counting_release;
    counter.ops.memory = told_memory;
    model->dev->ops = &counter.ops;
}

static void plan_is_what_is_taken(void **state)
{
    const emc_engine_options options = {
        .max_num_batched_tokens = 384, .max_num_readers = 256, .n_pages = 40};
    emc_memory_plan plan;
    emc_engine *engine;
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group5", "group5");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    for (int at_once = 0; at_once < 2; at_once++) {
        model->dev->at_once = at_once;
        start_counting(model);
        engine = case_engine(model, &options);
        emc_engine_get_memory_plan(engine, &plan);
        assert_int_equal(plan.weights, emc_model_get_info(model)->weight_bytes);
        assert_int_equal(plan.n_pages, 40);
        assert_int_equal(plan.page_bytes, emc_cache_page_bytes(model));
        assert_int_equal(plan.pages, 40 * plan.page_bytes);
        assert_int_equal(plan.activations + plan.steps + plan.pages, counter.taken);
        assert_int_equal(plan.device_free, 0);
        assert_int_equal(plan.device_whole, 0);

        /* What grows later is in it, too. */
        const emc_memory_plan before = plan;
        EMT_OK(emc_engine_set_choices(engine, choice_ids, choice_begin, N_CHOICES));
        EMT_OK(emc_engine_make_room(engine, 50, 1000));
        emc_engine_get_memory_plan(engine, &plan);
        assert_int_equal(plan.n_pages, 50);
        assert_int_equal(plan.pages, 50 * plan.page_bytes);
        assert_true(plan.steps > before.steps);
        assert_true(plan.activations >= before.activations);
        model->dev->ops = counter.real;
        emc_engine_close(engine);
    }
    emc_model_close(model);
    case_close(&c);
}

static void what_does_not_fit_is_refused(void **state)
{
    const emc_engine_options whole = {.max_num_batched_tokens = 128, .gpu_memory_utilization = 1};
    emc_memory_plan plan;
    emc_engine *engine;
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group2", "group2");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    start_counting(model); /* and nobody can tell how much there is */
    EMT_OK(emc_engine_open(&engine, model, &whole));
    emc_engine_get_memory_plan(engine, &plan);
    emc_engine_close(engine);
    model->dev->ops = counter.real;

    const size_t scratch = plan.activations + EMC_SCRATCH_BYTES;
    const size_t need = scratch + plan.steps + plan.pages;
    const struct {
        size_t n_free;
        double utilization;
        const char *message; /* NULL: it fits */
    } cases[] = {
        {need, 1, NULL},
        {need - 1, 1, "pages for K and V"},
        {scratch + plan.steps - 1, 1, "steps in flight"},
        {scratch - 1, 1, "activations and scratch memory"},
        {need + 100000, 0.999999, NULL},
        {need + 100000, 0.999, "A smaller --max-num-batched-tokens"},
        {need + 100000, 0.5, "Take a higher --gpu-memory-utilization, a smaller model"},
        {0, 1, "a smaller model, or free the GPU"},
    };
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_engine_options options = whole;

        options.gpu_memory_utilization = cases[i].utilization;

        start_counting(model);
        counter.n_free = cases[i].n_free;
        counter.n_whole = (size_t)10 << 30; /* the rest is taken: weights, others */
        if (!cases[i].message) {
            EMT_OK(emc_engine_open(&engine, model, &options));
            emc_engine_get_memory_plan(engine, &plan);
            assert_int_equal(plan.device_free, cases[i].n_free);
            assert_int_equal(plan.device_whole, (size_t)10 << 30);
            emc_engine_close(engine);
        } else {
            EMT_FAILS(EMC_ERR_DEVICE, cases[i].message, emc_engine_open(&engine, model, &options));
            assert_null(engine);
            assert_int_equal(counter.taken, 0);
            assert_non_null(strstr(emc_message(), "are missing"));
            assert_non_null(strstr(emc_message(), "--gpu-memory-utilization"));
        }
        model->dev->ops = counter.real;
    }

    /* What a device takes for itself is counted when it has. */
    start_counting(model);
    counter.n_whole = counter.n_free = (size_t)10 << 30;
    counter.n_less = need + 12345;
    EMT_OK(emc_engine_open(&engine, model, &whole));
    const size_t activations = plan.activations;
    emc_engine_get_memory_plan(engine, &plan);
    assert_int_equal(plan.activations, activations + EMC_SCRATCH_BYTES + 12345);
    model->dev->ops = counter.real;
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

/* Where nobody says how many pages, there are as many as there is room for, down to the least. */
static void fewer_pages_where_memory_is_short(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 384};
    const size_t whole = (size_t)10 << 30;
    emc_engine engine = {0};
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group2", "group2");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    model->dev->at_once = false;
    start_counting(model);
    engine.model = model;
    engine.dev = model->dev;
    EMT_OK(emc_engine_set_up(&engine, &options));
    /* Pages of a model this small are many, however few a step needs. */
    engine.options.n_pages = 8 * 3 + 16;
    engine.least_pages = 6 * 3 + 16;
    EMT_OK(emc_engine_make_plan(&engine)); /* nobody can tell how much there is */
    assert_int_equal(engine.options.n_pages, 40);

    const size_t beside = engine.plan.activations + EMC_SCRATCH_BYTES + engine.plan.steps;
    const struct {
        double n_pages; /* that there is room for */
        int n;          /* 0: refused */
    } cases[] = {{40, 40}, {39.5, 39}, {36, 36}, {34, 34}, {33.9, 0}, {2, 0}};

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        engine.options.n_pages = 40;
        engine.options.gpu_memory_utilization = 1;
        counter.n_whole = whole;
        counter.n_free = beside + (size_t)(cases[i].n_pages * (double)engine.plan.page_bytes);
        if (cases[i].n > 0) {
            EMT_OK(emc_engine_make_plan(&engine));
            assert_int_equal(engine.options.n_pages, cases[i].n);
            assert_int_equal(engine.plan.n_pages, cases[i].n);
            assert_int_equal(engine.plan.pages, (size_t)cases[i].n * engine.plan.page_bytes);
        } else {
            EMT_FAILS(EMC_ERR_DEVICE, "34 pages of", emc_engine_make_plan(&engine));
        }
    }
    /* Who says how many gets them or nothing. */
    engine.least_pages = engine.options.n_pages = 40;
    counter.n_free = beside + 39 * engine.plan.page_bytes;
    EMT_FAILS(EMC_ERR_DEVICE, "40 pages of", emc_engine_make_plan(&engine));
    model->dev->ops = counter.real;
    emc_model_close(model);
    case_close(&c);
}

/* The 8B shape in bfloat16 at a large GPU's step: less than 30 GB, and six steps' worth of cells of
 * 600 tokens have their pages at once. */
static void large_model_fits(void **state)
{
    const emc_model_options options = {
        .random = "8b", .device = "cuda", .dtype = EMC_DTYPE_BFLOAT16, .without_weights = true};
    emc_engine engine = {0};
    emc_model *model;
    double n_bytes;

    (void)state;
    if (!case_on_cpu()) /* a virtual GPU is not as large */
        skip();
    EMT_OK(emc_model_open(&model, &options));
    engine.model = model;
    engine.dev = model->dev;
    EMT_OK(emc_engine_set_up(
        &engine, &(emc_engine_options){.max_num_batched_tokens = 8448, .max_num_readers = 512}));
    EMT_OK(emc_engine_make_plan(&engine));
    const emc_memory_plan *plan = &engine.plan;

    n_bytes = (double)plan->weights + (double)plan->activations + EMC_SCRATCH_BYTES +
              (double)plan->steps + (double)plan->pages;
    assert_true(n_bytes < 30e9);
    assert_int_equal(engine.options.n_pages, 544);
    assert_int_equal(emc_engine_search_steps(&engine), 6);
    assert_true(6 * 8448 / 600 * emc_pages_for(600 + EMC_FIRST_NODES) + 5 <= plan->n_pages);
    emc_model_close(model);
}

/* --- The self-check ----------------------------------------------------------------------------
 */

/* A product whose rows depend on their place is found when the engine is opened. */
static int shifted_row;
static int shifted_n; /* of products of that width; 0: of all */

static emc_status shifting_linear(emc_device *dev, const emc_linear_args *args)
{
    unsigned char *d_first =
        (unsigned char *)args->out + (size_t)shifted_row * args->n * emc_dtype_bytes(dev->dtype);
    unsigned char first;

    EMC_TRY(counter.real->linear(dev, args));
    if (args->rows <= shifted_row || (shifted_n > 0 && args->n != shifted_n))
        return EMC_OK;
    EMC_TRY(counter.real->download(dev, &first, d_first, 1));
    first ^= 1;
    return counter.real->upload(dev, d_first, &first, 1);
}

static void self_check_finds_a_shifting_product(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 256, .max_num_readers = 128};
    const emc_engine_options large = {.max_num_batched_tokens = 1024, .max_num_readers = 128};
    static const int rows[] = {0, 5, 130, 255}, far_rows[] = {63, 500, 640, 960, 1023};
    static const char *const names[] = {"linear qkv of 256", "linear o of 256",
                                        "linear gate_up of 256"};
    emc_engine *engine;
    emc_ops ops;
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group5", "group5");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    const emc_model_info *info = emc_model_get_info(model);
    const int widths[] = {(info->n_heads + 2 * info->n_kv_heads) * info->head_dim, info->hidden,
                          2 * info->ffn};
    counter.real = model->dev->ops;
    ops = *counter.real;
    ops.linear = shifting_linear;
    model->dev->ops = &ops;
    shifted_n = 0;
    for (size_t i = 0; i < EMC_COUNT(rows); i++) {
        shifted_row = rows[i];
        EMT_FAILS(EMC_ERR_DEVICE, "self-check: linear qkv",
                  emc_engine_open(&engine, model, &options));
        assert_null(engine);
    }
    /* Where a product is of all the rows there is room for, every shape is looked at, and named. */
    model->dev->at_once = false;
    for (size_t i = 0; i < EMC_COUNT(widths); i++) {
        shifted_n = widths[i];
        EMT_FAILS(EMC_ERR_DEVICE, names[i], emc_engine_open(&engine, model, &options));
        assert_null(engine);
    }
    /* However many rows there are, there is none that it does not look at. */
    shifted_n = 0;
    for (size_t i = 0; i < EMC_COUNT(far_rows); i++) {
        shifted_row = far_rows[i];
        EMT_FAILS(EMC_ERR_DEVICE, "self-check: linear qkv of 1024",
                  emc_engine_open(&engine, model, &large));
        assert_null(engine);
    }
    model->dev->ops = counter.real;
    emc_model_close(model);
    case_close(&c);
}

/* One bit of a row's logits, or of the logarithm of their sum. */
static bool shifts_log_sum;

static emc_status shifting_head(emc_device *dev, const emc_head_args *args)
{
    float *d_value = args->log_sum + args->rows - 1;
    int32_t n_wanted;
    unsigned char first;

    EMC_TRY(counter.real->head(dev, args));
    EMC_TRY(
        counter.real->download(dev, &n_wanted, args->wanted_begin + args->rows, sizeof n_wanted));
    if (!shifts_log_sum)
        d_value = args->wanted_logits + n_wanted - 1;
    EMC_TRY(counter.real->download(dev, &first, d_value, 1));
    first ^= 1;
    return counter.real->upload(dev, d_value, &first, 1);
}

static void self_check_finds_a_shifting_head(void **state)
{
    const emc_engine_options options = {.max_num_batched_tokens = 256, .max_num_readers = 128};
    emc_engine *engine;
    emc_ops ops;
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group5", "group5");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    counter.real = model->dev->ops;
    ops = *counter.real;
    ops.head = shifting_head;
    model->dev->ops = &ops;
    model->dev->at_once = false;
    for (int i = 0; i < 2; i++) {
        shifts_log_sum = i == 1;
        EMT_FAILS(EMC_ERR_DEVICE,
                  "self-check: head of 128 rows gives a row other bits at place 127",
                  emc_engine_open(&engine, model, &options));
        assert_null(engine);
    }
    model->dev->ops = counter.real;
    emc_model_close(model);
    case_close(&c);
}

/* --- Trace -------------------------------------------------------------------------------------
 */

/* Pairs of a row and a key: n_own rows after a prefix, and readers at their end. */
static double pairs_of_rows(int prefix, int n_own)
{
    double n = 0;

    for (int i = 0; i < n_own; i++)
        n += prefix + i + 1;
    return n;
}

/* Nodes see the whole prompt and their path: 1 + 2 + 2 + 3 + 1 slots. */
static double pairs_of_nodes(int n_prompt)
{
    return N_NODES * n_prompt + 9.0;
}

static const emc_trace_entry *find(const emc_trace_entry *entries, int n, const char *operation)
{
    for (int i = 0; i < n; i++)
        if (strcmp(entries[i].operation, operation) == 0)
            return &entries[i];
    fail_msg("no entry %s", operation);
    return NULL;
}

static void check_products(const emc_trace_entry *entries, int n, const emc_model_info *info,
                           double rows, double readers)
{
    const double q = info->n_heads * info->head_dim, kv = info->n_kv_heads * info->head_dim;
    const double hidden = info->hidden, ffn = info->ffn, before = info->n_layers - 1;
    const struct {
        const char *operation;
        double flop;
        int n_calls;
    } want[] = {
        {"linear qkv", 2 * hidden * (before * rows * (q + 2 * kv) + rows * 2 * kv + readers * q),
         info->n_layers + 1},
        {"linear o", 2 * q * hidden * (before * rows + readers), info->n_layers},
        {"linear gate_up", 2 * hidden * 2 * ffn * (before * rows + readers), info->n_layers},
        {"linear down", 2 * ffn * hidden * (before * rows + readers), info->n_layers},
        {"head", 2 * hidden * info->vocab * readers, 1},
    };

    for (size_t i = 0; i < EMC_COUNT(want); i++) {
        const emc_trace_entry *entry = find(entries, n, want[i].operation);

        assert_int_equal(entry->n_calls, want[i].n_calls);
        assert_true(entry->flop == want[i].flop);
        assert_true(entry->bytes == 0);
    }
}

static void trace_counts_what_is_computed(void **state)
{
    static const char *const others[] = {"embed",  "rmsnorm",     "rope_store",
                                         "swiglu", "gather_rows", "copies"};
    const int n_prefix = 40, n_own = 260;
    emc_trace_entry entries[32], none;
    emc_engine_stats before, after;
    int n = 0;
    double ms = 0;
    emc_engine *engine;
    emc_model *model;
    kept_answer answer;
    runtime_case c;

    (void)state;
    case_open(&c, "group2", "group2");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    const emc_model_info *info = emc_model_get_info(model);
    engine = case_engine(model, &(emc_engine_options){.max_num_batched_tokens = 512});
    EMT_OK(emc_engine_set_choices(engine, choice_ids, choice_begin, N_CHOICES));
    EMT_OK(emc_engine_set_prefix(engine, c.ids[3], n_prefix));
    assert_false(emc_engine_get_trace(engine, 0, &none));
    EMT_OK(emc_engine_set_trace(engine, true));
    assert_false(emc_engine_get_trace(engine, 0, &none));
    emc_engine_get_stats(engine, &before);
    run_requests(engine, &(emc_request){.ids = c.ids[3], .n_ids = n_prefix + n_own}, NULL, 1,
                 N_CHOICES, &answer);
    free_answers(&answer, 1);
    emc_engine_get_stats(engine, &after);
    EMT_OK(emc_engine_set_trace(engine, false));
    for (; emc_engine_get_trace(engine, n, &entries[n]); n++)
        ms += entries[n].ms;
    assert_int_equal(n, EMC_TRACE_OPERATIONS - 1); /* no sums over ranks */
    assert_false(emc_engine_get_trace(engine, -1, &none));

    check_products(entries, n, info, n_own + N_NODES, 1 + N_NODES);
    const double nodes = pairs_of_nodes(n_prefix + n_own);
    const double pairs = (info->n_layers - 1) * (pairs_of_rows(n_prefix, n_own) + nodes) +
                         (n_prefix + n_own) + nodes;
    const emc_trace_entry *attention = find(entries, n, "attention");
    assert_int_equal(attention->n_calls, info->n_layers);
    assert_true(attention->flop == 4.0 * info->n_heads * info->head_dim * pairs);
    for (size_t i = 0; i < EMC_COUNT(others); i++) {
        assert_true(find(entries, n, others[i])->bytes > 0);
        assert_true(find(entries, n, others[i])->flop == 0);
    }
    assert_true(find(entries, n, "swiglu")->bytes ==
                3.0 * info->ffn * 2 * ((info->n_layers - 1) * (n_own + N_NODES) + 1 + N_NODES));
    /* Its parts take no longer than the whole, beside what f32 rounds. */
    assert_true(after.device_ms > before.device_ms);
    assert_true(ms > 0 && ms <= 1.001 * (after.device_ms - before.device_ms));

    /* Off nothing is added; on again it starts from zero. */
    run_requests(engine, &(emc_request){.ids = c.ids[3], .n_ids = 300}, NULL, 1, N_CHOICES,
                 &answer);
    free_answers(&answer, 1);
    assert_true(emc_engine_get_trace(engine, 0, &none));
    assert_int_equal(none.n_calls, entries[0].n_calls);
    EMT_OK(emc_engine_set_trace(engine, true));
    assert_false(emc_engine_get_trace(engine, 0, &none));
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

/* With two steps in flight, and one that is dropped, times stay with their step. */
static void trace_follows_steps_in_flight(void **state)
{
    emc_trace_entry entry;
    emc_answer answer;
    emc_engine_stats stats;
    bool got = true, launched;
    emc_engine *engine;
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group1", "group1");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    model->dev->at_once = false;
    engine = case_engine(model, &(emc_engine_options){.max_num_batched_tokens = 128});
    EMT_OK(emc_engine_set_trace(engine, true));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++)
            EMT_OK(emc_engine_submit(engine, &(emc_request){.ids = c.ids[3],
                                                            .n_ids = 100,
                                                            .ask = EMC_ASK_GENERATE,
                                                            .max_tokens = 2}));
        if (round == 0) {
            for (int i = 0; i < 2; i++)
                EMT_OK(emc_engine_launch(engine, &launched));
            emc_engine_cancel(engine);
        }
    }
    while (got)
        EMT_OK(emc_engine_poll(engine, &answer, &got));
    emc_engine_get_stats(engine, &stats);
    assert_true(emc_engine_get_trace(engine, 0, &entry));
    assert_string_equal(entry.operation, "embed");
    assert_int_equal(entry.n_calls, stats.n_steps); /* those that were read */
    emc_engine_close(engine);
    emc_model_close(model);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plan_is_what_is_taken),
                                       cmocka_unit_test(what_does_not_fit_is_refused),
                                       cmocka_unit_test(fewer_pages_where_memory_is_short),
                                       cmocka_unit_test(large_model_fits),
                                       cmocka_unit_test(self_check_finds_a_shifting_product),
                                       cmocka_unit_test(self_check_finds_a_shifting_head),
                                       cmocka_unit_test(trace_counts_what_is_computed),
                                       cmocka_unit_test(trace_follows_steps_in_flight)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
