/* The engine's life: its memory, its prefix, its choices. Requests: request.c. Steps: schedule.c
 * and flight.c. What it may take: plan.c. */
#include "runtime/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define DEFAULT_ANSWER_TOKENS 256
#define DEFAULT_CACHE_BYTES   ((size_t)256 << 20)
#define MOST_DEFAULT_PAGES    1024
#define MOST_ROWS             (1 << 20)
#define MOST_PAGES            (1 << 22) /* slots stay within int32 */
#define DEFAULT_UTILIZATION   0.9
/* Sequences in flight: enough to fill a step with short prompts, or some of it with generated
 * tokens; or eight with the prompts of searches, if these are 64 rows or longer. */
#define LEAST_SEQUENCES   256
#define ROWS_FOR_SEQUENCE 8

/* --- Memory ------------------------------------------------------------------------------- */

emc_status emc_engine_step_limits(const emc_engine *engine, int n_pages, const emc_choices *choices,
                                  emc_step_limits *out)
{
    const emc_engine_options *options = &engine->options;
    size_t n_wanted = 0;

    if (choices &&
        !emc_size_mul(&n_wanted, (size_t)options->max_num_readers, (size_t)choices->max_children))
        n_wanted = SIZE_MAX;
    if (n_wanted > INT32_MAX)
        return emc_fail(EMC_ERR_CONFIG,
                        "choices: %d tokens may follow one another's beginning, too many for %d "
                        "readers a step",
                        choices->max_children, options->max_num_readers);
    *out = (emc_step_limits){.max_rows = options->max_num_batched_tokens,
                             .max_readers = options->max_num_readers,
                             .max_wanted = (int)n_wanted,
                             .max_pages = n_pages};
    return EMC_OK;
}

/* Steps for the choices and pages there are, in place of the old ones. */
static emc_status renew_steps(emc_engine *engine, int n_pages, const emc_choices *choices)
{
    emc_step *steps[EMC_STEPS_IN_FLIGHT] = {NULL};
    emc_step_limits limits;
    emc_status status = EMC_OK;

    EMC_TRY(emc_engine_step_limits(engine, n_pages, choices, &limits));
    for (int i = 0; i < engine->max_flights && status == EMC_OK; i++)
        status = emc_step_open(&steps[i], engine->dev, &limits);
    for (int i = 0; i < engine->max_flights; i++) {
        if (status != EMC_OK) {
            emc_step_close(steps[i]);
            continue;
        }
        emc_step_close(engine->flights[i].step);
        engine->flights[i].step = steps[i];
    }
    return status;
}

static emc_status grow_cache(emc_engine *engine, int64_t n_pages)
{
    if (n_pages > MOST_PAGES)
        return emc_fail(EMC_ERR_NOMEM, "the K/V cache: %lld pages are too many",
                        (long long)n_pages);
    if (n_pages <= emc_pages_count(engine->cache->pages))
        return EMC_OK;
    EMC_TRY(emc_engine_settle(engine));
    EMC_TRY(renew_steps(engine, (int)n_pages, engine->choices));
    return emc_cache_grow(engine->cache, (int)n_pages);
}

int emc_engine_rope_rows(const emc_engine *engine, int n_positions)
{
    const int max_positions = engine->model->info.max_positions;

    if (n_positions <= engine->rope_len)
        return engine->rope_len;
    if (n_positions < 2 * engine->rope_len)
        n_positions = 2 * engine->rope_len;
    return n_positions < max_positions ? n_positions : max_positions;
}

static emc_status grow_rope(emc_engine *engine, int n_positions)
{
    const emc_model_info *info = &engine->model->info;
    const emc_ops *ops = engine->dev->ops;
    const size_t row = (size_t)info->head_dim; /* half of cos, half of sin */
    float *host = NULL;
    void *table = NULL;
    size_t n_bytes;
    emc_status status;

    if (n_positions <= engine->rope_len)
        return EMC_OK;
    n_positions = emc_engine_rope_rows(engine, n_positions);
    EMC_TRY(emc_engine_settle(engine));
    EMC_TRY(emc_graph_prepare(engine->graph, n_positions));
    n_bytes = (size_t)n_positions * row * sizeof(float);
    EMC_TRY(emc_alloc(&host, (size_t)n_positions, row * sizeof(float), "rotary tables"));
    emc_model_rope_rows(engine->model, host, 0, n_positions);
    status = ops->alloc(engine->dev, &table, n_bytes, "rotary tables");
    if (status == EMC_OK)
        status = ops->upload(engine->dev, table, host, n_bytes);
    free(host);
    if (status != EMC_OK) {
        ops->release(engine->dev, table);
        return status;
    }
    ops->release(engine->dev, engine->rope_table);
    engine->rope_table = table;
    engine->rope_len = n_positions;
    return EMC_OK;
}

emc_status emc_engine_make_room(emc_engine *engine, int n_pages, int n_positions)
{
    EMC_TRY(grow_cache(engine, (int64_t)n_pages + engine->n_prefix_pages + engine->n_reserve));
    return grow_rope(engine, n_positions);
}

/* --- Open and close ----------------------------------------------------------------------- */

static emc_status check_rows(const char *name, int rows)
{
    if (rows < EMC_PAGE_POSITIONS || rows % EMC_PAGE_POSITIONS != 0 || rows > MOST_ROWS)
        return emc_fail(EMC_ERR_ARG, "%s is %d, need a multiple of %d from %d to %d", name, rows,
                        EMC_PAGE_POSITIONS, EMC_PAGE_POSITIONS, MOST_ROWS);
    return EMC_OK;
}

/*
 * A search lasts from the step that takes its prompt until the one with its last round was read. A
 * round goes with the first step that is filled when the round before was read: the next one where
 * a step is awaited at once, else the next but one. So with R rounds behind the first a search
 * lasts, and holds its pages, while R + 1 steps are filled, or 2 R + 2. Most end with R = 2.
 */
#define SEARCH_ROUNDS 2

int emc_engine_search_steps(const emc_engine *engine)
{
    return engine->max_flights * (SEARCH_ROUNDS + 1);
}

/*
 * Pages for the steps that a search lasts. A step of n rows is n / 128 pages of prompts, and what
 * they leave empty of their last pages. A GPU computes a whole step however few rows are in it, so
 * there is a third more for that: prompts of 600 rows take 640 / 600 of their rows with the first
 * nodes, those of 200 take 256 / 200. And 16 pages for prompts that are cut between steps. At 8448
 * rows that is 8 * 66 + 16 = 544 pages, of which 600-row prompts hold 6 * (8448 / 600) * 5 = 423
 * and one that is cut. Of the 8B shape in bfloat16 they take 10.3 GB.
 *
 * Fewer do, where memory is short: a sequence that finds none waits.
 */
#define CPU_PAGE_STEPS       3
#define GPU_PAGE_STEPS       8
#define GPU_LEAST_PAGE_STEPS 6

static int default_pages(const emc_model *model, int rows, int n_steps)
{
    const size_t fit = DEFAULT_CACHE_BYTES / emc_cache_page_bytes(model);
    const size_t steps = (size_t)n_steps;
    const size_t least = steps * (size_t)rows / EMC_PAGE_POSITIONS + 16;
    const size_t most = least > MOST_DEFAULT_PAGES ? least : MOST_DEFAULT_PAGES;

    return (int)(fit < least ? least : fit > most ? most : fit);
}

static void set_pages(emc_engine *engine)
{
    const int rows = engine->options.max_num_batched_tokens;
    const bool at_once = engine->dev->at_once;

    engine->least_pages = engine->options.n_pages;
    if (engine->options.n_pages != 0)
        return;
    engine->options.n_pages =
        default_pages(engine->model, rows, at_once ? CPU_PAGE_STEPS : GPU_PAGE_STEPS);
    engine->least_pages =
        default_pages(engine->model, rows, at_once ? CPU_PAGE_STEPS : GPU_LEAST_PAGE_STEPS);
}

static emc_status set_options(emc_engine *engine, const emc_engine_options *given)
{
    const emc_model_info *info = &engine->model->info;
    emc_engine_options *options = &engine->options;

    if (given)
        *options = *given;
    if (options->max_num_batched_tokens == 0)
        options->max_num_batched_tokens = engine->dev->step_rows;
    EMC_TRY(check_rows("max_num_batched_tokens", options->max_num_batched_tokens));
    if (options->max_num_readers == 0)
        options->max_num_readers = engine->dev->reader_rows;
    if (options->max_num_readers == 0)
        options->max_num_readers = options->max_num_batched_tokens;
    EMC_TRY(check_rows("max_num_readers", options->max_num_readers));
    if (options->max_num_readers > options->max_num_batched_tokens)
        options->max_num_readers = options->max_num_batched_tokens;
    if (options->max_answer_tokens == 0)
        options->max_answer_tokens = DEFAULT_ANSWER_TOKENS;
    if (options->max_answer_tokens < 1)
        return emc_fail(EMC_ERR_ARG, "max_answer_tokens is %d, need at least 1",
                        options->max_answer_tokens);
    if (options->n_ids == 0)
        options->n_ids = info->vocab;
    if (options->n_ids < 1 || options->n_ids > info->vocab)
        return emc_fail(EMC_ERR_ARG, "n_ids is %d, the model has %d token ids", options->n_ids,
                        info->vocab);
    set_pages(engine);
    if (options->n_pages < 1 || options->n_pages > MOST_PAGES)
        return emc_fail(EMC_ERR_ARG, "n_pages is %d, need 1 to %d", options->n_pages, MOST_PAGES);
    if (options->gpu_memory_utilization == 0)
        options->gpu_memory_utilization = DEFAULT_UTILIZATION;
    if (!(options->gpu_memory_utilization > 0 && options->gpu_memory_utilization <= 1))
        return emc_fail(EMC_ERR_ARG, "gpu_memory_utilization is %g, need above 0 to 1",
                        options->gpu_memory_utilization);
    return EMC_OK;
}

static emc_status take_sequences(emc_engine *engine)
{
    const size_t n_readers = (size_t)engine->options.max_num_readers;
    const size_t n_sequences = (size_t)engine->max_sequences;

    EMC_TRY(emc_alloc(&engine->sequences, n_sequences, sizeof *engine->sequences, "sequences"));
    EMC_TRY(emc_alloc(&engine->order, n_sequences, sizeof *engine->order, "sequences"));
    EMC_TRY(emc_alloc(&engine->finished, n_sequences, sizeof *engine->finished, "sequences"));
    for (int i = 0; i < engine->max_flights; i++) {
        emc_flight *flight = &engine->flights[i];

        EMC_TRY(emc_alloc(&flight->readers, n_readers, sizeof *flight->readers, "readers"));
        EMC_TRY(emc_alloc(&flight->shares, n_sequences, sizeof *flight->shares, "sequences"));
    }
    return EMC_OK;
}

emc_status emc_engine_set_up(emc_engine *engine, const emc_engine_options *given)
{
    const emc_engine_options *options = &engine->options;

    EMC_TRY(set_options(engine, given));
    engine->max_sequences = options->max_num_batched_tokens / ROWS_FOR_SEQUENCE;
    if (engine->max_sequences < LEAST_SEQUENCES)
        engine->max_sequences = LEAST_SEQUENCES;
    engine->max_flights = engine->dev->at_once ? 1 : EMC_STEPS_IN_FLIGHT;
    return EMC_OK;
}

static emc_status open_engine(emc_engine *engine, const emc_engine_options *given)
{
    const emc_engine_options *options = &engine->options;

    if (engine->model->without_weights)
        return emc_fail(EMC_ERR_ARG, "the model was opened without weights: no engine can run it");
    EMC_TRY(emc_engine_set_up(engine, given));
    EMC_TRY(emc_engine_make_plan(engine));
    EMC_TRY(take_sequences(engine));
    EMC_TRY(emc_graph_open(&engine->graph, engine->model, options->max_num_batched_tokens,
                           options->max_num_readers));
    EMC_TRY(grow_rope(engine, engine->plan_positions));
    EMC_TRY(emc_engine_self_check(engine->model, engine->graph));
    EMC_TRY(emc_cache_open(&engine->cache, engine->model, options->n_pages));
    EMC_TRY(renew_steps(engine, options->n_pages, NULL));
    return emc_engine_count_scratch(engine);
}

emc_status emc_rank_open(emc_engine **out, emc_model *model, const emc_engine_options *options)
{
    emc_engine *engine = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&engine, 1, sizeof *engine, "the engine"));
    engine->model = model;
    engine->dev = model->dev;
    status = open_engine(engine, options);
    if (status != EMC_OK) {
        emc_rank_close(engine);
        return status;
    }
    *out = engine;
    return EMC_OK;
}

void emc_rank_close(emc_engine *engine)
{
    if (!engine)
        return;
    if (engine->n_flights > 0)
        (void)engine->dev->ops->sync(engine->dev);
    for (int i = 0; engine->sequences && i < engine->max_sequences; i++) {
        free(engine->sequences[i].ids);
        free(engine->sequences[i].pages);
        emc_search_close(engine->sequences[i].search);
        free(engine->sequences[i].places);
        free(engine->sequences[i].log_probs);
        free(engine->sequences[i].scores);
    }
    free(engine->sequences);
    free(engine->order);
    free(engine->finished);
    for (int i = 0; i < EMC_STEPS_IN_FLIGHT; i++) {
        emc_step_close(engine->flights[i].step);
        free(engine->flights[i].readers);
        free(engine->flights[i].shares);
    }
    emc_trace_close(engine->trace);
    free(engine->prefix);
    free(engine->prefix_pages);
    emc_search_rules_close(engine->rules);
    emc_choices_close(engine->choices);
    free(engine->reserve);
    engine->dev->ops->release(engine->dev, engine->rope_table);
    engine->dev->ops->release(engine->dev, engine->d_logits);
    emc_graph_close(engine->graph);
    emc_cache_close(engine->cache);
    free(engine);
}

/* --- Prefix and choices ------------------------------------------------------------------- */

emc_status emc_engine_check_ids(const emc_engine *engine, const char *what, const int32_t *ids,
                                int n)
{
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= engine->model->info.vocab)
            return emc_fail(EMC_ERR_ARG, "%s: id %d at place %d is not in [0, %d)", what,
                            (int)ids[i], i, engine->model->info.vocab);
    return EMC_OK;
}

static emc_status check_idle(const emc_engine *engine, const char *what)
{
    const int n = engine->n_order + engine->n_finished;

    if (n > 0)
        return emc_fail(EMC_ERR_ARG, "%s: %d requests are in flight, poll their answers first",
                        what, n);
    return EMC_OK;
}

static emc_status forget_prefix(emc_engine *engine)
{
    const int n_pages = engine->n_prefix_pages;

    engine->n_prefix = engine->n_prefix_pages = 0;
    return emc_pages_release(engine->cache->pages, engine->prefix_pages, n_pages);
}

emc_status emc_rank_make_room_for_prefix(emc_engine *engine, int n)
{
    if (n < 1 || n >= engine->model->info.max_positions)
        return EMC_OK;
    /* Beside the prefix there is as much room as without. */
    return emc_engine_make_room(engine, engine->options.n_pages + emc_pages_for(n), n);
}

emc_status emc_rank_set_prefix(emc_engine *engine, const int32_t *ids, int n)
{
    const int n_pages = n > 0 ? emc_pages_for(n) : 0;
    emc_status status;

    EMC_TRY(check_idle(engine, "prefix"));
    EMC_TRY(forget_prefix(engine));
    if (n < 0)
        return emc_fail(EMC_ERR_ARG, "prefix: %d ids", n);
    if (n == 0)
        return EMC_OK;
    EMC_TRY(emc_engine_check_ids(engine, "prefix", ids, n));
    if (n >= engine->model->info.max_positions)
        return emc_fail(EMC_ERR_CONFIG,
                        "prefix: %d tokens leave no room in the model's %d positions; shorten "
                        "it",
                        n, engine->model->info.max_positions);
    EMC_TRY(emc_rank_make_room_for_prefix(engine, n));
    EMC_TRY(emc_grow(&engine->prefix, (size_t)n, sizeof *ids, "the prefix"));
    EMC_TRY(emc_grow(&engine->prefix_pages, (size_t)n_pages, sizeof(int32_t), "the prefix"));
    memcpy(engine->prefix, ids, (size_t)n * sizeof *ids);
    EMC_TRY(emc_pages_take(engine->cache->pages, engine->prefix_pages, n_pages));
    engine->n_prefix_pages = n_pages;
    status = emc_engine_run_ids(engine, ids, n, engine->prefix_pages, NULL);
    if (status != EMC_OK) {
        (void)forget_prefix(engine);
        return status;
    }
    engine->n_prefix = n;
    return EMC_OK;
}

/* A reserve of n pages in place of the old one, which stays as it was after an error. */
static emc_status renew_reserve(emc_engine *engine, int n)
{
    emc_pages *pages = engine->cache->pages;
    const int more = n - engine->n_reserve;
    int32_t *reserve = NULL;

    assert(!engine->reserve_holder);
    if (more == 0)
        return EMC_OK;
    if (more < 0) {
        EMC_TRY(emc_pages_release(pages, engine->reserve + n, -more));
        engine->n_reserve = n;
        return EMC_OK;
    }
    EMC_TRY(emc_alloc(&reserve, (size_t)n, sizeof *reserve, "pages"));
    const emc_status status = emc_pages_take(pages, reserve + engine->n_reserve, more);
    if (status != EMC_OK) {
        free(reserve);
        return status;
    }
    if (engine->n_reserve > 0)
        memcpy(reserve, engine->reserve, (size_t)engine->n_reserve * sizeof *reserve);
    free(engine->reserve);
    engine->reserve = reserve;
    engine->n_reserve = n;
    return EMC_OK;
}

/* All that may fail for choices that are to be set. */
static emc_status prepare_choices(emc_engine *engine, const emc_choices *choices,
                                  emc_search_rules **rules)
{
    const int n_reserve = emc_engine_reserve_for(choices);

    EMC_TRY(emc_search_rules_open(rules, choices, &(emc_scoring){0}));
    /* Beside the reserve there is as much room as without. */
    EMC_TRY(
        grow_cache(engine, (int64_t)engine->options.n_pages + engine->n_prefix_pages + n_reserve));
    if (n_reserve > engine->n_reserve)
        EMC_TRY(renew_reserve(engine, n_reserve));
    EMC_TRY(renew_steps(engine, emc_pages_count(engine->cache->pages), choices));
    /* The last, since only giving back is left of it, which cannot fail. */
    return renew_reserve(engine, n_reserve);
}

emc_status emc_rank_set_choices(emc_engine *engine, const int32_t *ids, const int32_t *begin,
                                int n_choices)
{
    emc_choices *choices = NULL;
    emc_search_rules *rules = NULL;
    emc_status status;

    EMC_TRY(check_idle(engine, "choices"));
    EMC_TRY(
        emc_choices_open(&choices, ids, begin, n_choices, engine->model->info.vocab, EMC_MAX_PATH));
    status = prepare_choices(engine, choices, &rules);
    if (status != EMC_OK) {
        emc_search_rules_close(rules);
        emc_choices_close(choices);
        return status;
    }
    emc_search_rules_close(engine->rules);
    emc_choices_close(engine->choices);
    engine->choices = choices;
    engine->rules = rules;
    return EMC_OK;
}

emc_status emc_rank_set_scoring(emc_engine *engine, const emc_scoring *scoring)
{
    emc_search_rules *rules;

    EMC_TRY(check_idle(engine, "scoring"));
    if (!engine->choices)
        return emc_fail(EMC_ERR_ARG, "scoring: no choices are set");
    EMC_TRY(emc_search_rules_open(&rules, engine->choices, scoring));
    emc_search_rules_close(engine->rules);
    engine->rules = rules;
    return EMC_OK;
}

/* --- Figures ------------------------------------------------------------------------------ */

void emc_rank_get_stats(const emc_engine *engine, emc_engine_stats *out)
{
    emc_memory_plan plan;

    emc_rank_get_memory_plan(engine, &plan);
    *out = engine->stats;
    out->kv_bytes = plan.pages;
    out->activation_bytes = plan.activations + plan.steps;
}

emc_status emc_rank_set_trace(emc_engine *engine, bool on)
{
    EMC_TRY(emc_engine_settle(engine));
    engine->tracing = false;
    if (!on)
        return EMC_OK;
    emc_trace_close(engine->trace);
    EMC_TRY(emc_trace_open(&engine->trace, engine->dev, engine->max_flights,
                           emc_graph_marks(engine->model)));
    engine->tracing = true;
    return EMC_OK;
}

bool emc_rank_get_trace(const emc_engine *engine, int index, emc_trace_entry *out)
{
    return engine->trace && emc_trace_get(engine->trace, index, out);
}

emc_status emc_rank_make_room_for_logits(emc_engine *engine, int n_ids)
{
    const size_t row_bytes = (size_t)engine->model->part.vocab * sizeof(float);

    if (n_ids < 1 || n_ids > engine->model->info.max_positions)
        return EMC_OK;
    EMC_TRY(emc_engine_make_room(engine, emc_pages_for(n_ids), n_ids));
    if (engine->d_logits)
        return EMC_OK;
    return engine->dev->ops->alloc(engine->dev, &engine->d_logits, EMC_PAGE_POSITIONS * row_bytes,
                                   "the logits of a page");
}

emc_status emc_rank_logits(emc_engine *engine, const int32_t *ids, int n_ids, float *logits)
{
    int32_t *pages = NULL;
    int n_pages;
    emc_status status;

    EMC_TRY(check_idle(engine, "logits"));
    if (n_ids < 1 || n_ids > engine->model->info.max_positions)
        return emc_fail(EMC_ERR_CONFIG, "logits: %d tokens, need 1 to %d", n_ids,
                        engine->model->info.max_positions);
    EMC_TRY(emc_engine_check_ids(engine, "logits", ids, n_ids));
    n_pages = emc_pages_for(n_ids);
    EMC_TRY(emc_rank_make_room_for_logits(engine, n_ids));
    EMC_TRY(emc_alloc(&pages, (size_t)n_pages, sizeof *pages, "pages"));
    status = emc_pages_take(engine->cache->pages, pages, n_pages);
    if (status == EMC_OK) {
        status = emc_engine_run_ids(engine, ids, n_ids, pages, logits);
        if (emc_pages_release(engine->cache->pages, pages, n_pages) != EMC_OK && status == EMC_OK)
            status = emc_fail(EMC_ERR_INTERNAL, "logits: pages were lost");
    }
    free(pages);
    return status;
}
