/*
 * Which rows go into the next step?
 *
 * Running sequences first, in the order of their submission, so that one that generates is never
 * kept waiting by prompts behind it; then as many waiting ones as find their pages free. A
 * sequence is admitted only when every page it will ever need is free, so running ones never wait
 * for each other and there is no deadlock. A prompt that does not fit in what is left of a step
 * is cut at a multiple of EMC_PAGE_POSITIONS, the tile of attention.
 *
 * What an answer is does not depend on any of this: a row's numbers depend on its own inputs and
 * keys alone.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "runtime/engine.h"

void emc_sequence_count_pages(emc_sequence *sequence, const emc_choices *choices)
{
    if (sequence->ask == EMC_ASK_CHOICES) {
        sequence->n_own_pages = emc_pages_for(sequence->n_own);
        sequence->n_path_pages = emc_pages_for(choices->n_inner);
    } else {
        /* The last token generated is never an input. */
        sequence->n_own_pages = emc_pages_for(sequence->n_own + sequence->max_tokens - 1);
        sequence->n_path_pages = 0;
    }
}

static bool admit(emc_engine *engine, emc_sequence *sequence)
{
    emc_pages *pages = engine->cache->pages;
    const int need = sequence->n_own_pages + sequence->n_path_pages;

    if (need > emc_pages_free(pages) || emc_pages_take(pages, sequence->pages, need) != EMC_OK)
        return false;
    if (sequence->prefix_len > 0 &&
        emc_pages_retain(pages, engine->prefix_pages, engine->n_prefix_pages) != EMC_OK)
        return false;
    sequence->state = EMC_SEQUENCE_RUNNING;
    return true;
}

void emc_engine_release_pages(emc_engine *engine, emc_sequence *sequence)
{
    emc_status status = emc_pages_release(engine->cache->pages, sequence->pages,
                                          sequence->n_own_pages + sequence->n_path_pages);

    if (status == EMC_OK && sequence->prefix_len > 0)
        status =
            emc_pages_release(engine->cache->pages, engine->prefix_pages, engine->n_prefix_pages);
    assert(status == EMC_OK);
    (void)status;
}

static int32_t own_slot(const emc_sequence *sequence, int place)
{
    return sequence->pages[place / EMC_PAGE_POSITIONS] * EMC_PAGE_POSITIONS +
           place % EMC_PAGE_POSITIONS;
}

static int32_t path_slot(const emc_sequence *sequence, int inner)
{
    return sequence->pages[sequence->n_own_pages + inner / EMC_PAGE_POSITIONS] *
               EMC_PAGE_POSITIONS +
           inner % EMC_PAGE_POSITIONS;
}

/* An item of the sequence with its pages in the step's table, rows and what they see left open. */
static emc_attention_item start_item(emc_engine *engine, const emc_sequence *sequence)
{
    emc_attention_item item = {.prefix_len = sequence->prefix_len};

    if (sequence->prefix_len > 0) {
        if (engine->prefix_place < 0)
            engine->prefix_place =
                emc_step_add_pages(engine->step, engine->prefix_pages, engine->n_prefix_pages);
        item.prefix_page = engine->prefix_place;
    }
    item.own_page = emc_step_add_pages(engine->step, sequence->pages, sequence->n_own_pages);
    return item;
}

static void add_reader(emc_engine *engine, emc_sequence *sequence, int node)
{
    const emc_choices *choices = engine->choices;
    int reader;

    if (sequence->ask == EMC_ASK_CHOICES)
        reader =
            emc_step_add_reader(engine->step, choices->tokens + choices->nodes[node].first_child,
                                choices->nodes[node].n_children);
    else
        reader = emc_step_add_reader(engine->step, NULL, 0);
    engine->readers[reader] = (emc_reader){sequence, node};
}

static int rows_left(const emc_engine *engine)
{
    return engine->step->limits.max_rows - engine->step->n_rows;
}

static int readers_left(const emc_engine *engine)
{
    return engine->step->limits.max_readers - engine->step->n_readers;
}

/* How many of `rest` own rows go into this step; the last of them is read. */
static int own_rows_that_fit(const emc_engine *engine, int rest)
{
    int n = rest;

    if (n <= rows_left(engine) && readers_left(engine) > 0)
        return n;
    if (n > rows_left(engine))
        n = rows_left(engine);
    else
        n--; /* no room to read the last one */
    return n / EMC_PAGE_POSITIONS * EMC_PAGE_POSITIONS;
}

static void add_own_rows(emc_engine *engine, emc_sequence *sequence, emc_attention_item item, int n)
{
    const int n_stream = sequence->n_own + sequence->n_generated;
    const int first = sequence->own_done;

    item.row0 = engine->step->n_rows;
    item.n_rows = n;
    item.own_seen = first + 1;
    item.causal = 1;
    for (int i = first; i < first + n; i++)
        emc_step_add_row(engine->step, sequence->ids[sequence->prefix_len + i],
                         sequence->prefix_len + i, own_slot(sequence, i), NULL, 0);
    emc_step_add_item(engine->step, &item);
    sequence->own_taken = n;
    if (first + n == n_stream)
        add_reader(engine, sequence, 0);
}

/* A row for each of the next n inner nodes. Ancestors come before their descendants, so their K
 * and V are stored in an earlier step or in this one. */
static void add_node_rows(emc_engine *engine, emc_sequence *sequence, emc_attention_item item,
                          int n)
{
    const emc_choices *choices = engine->choices;
    int32_t path[EMC_MAX_PATH];

    item.row0 = engine->step->n_rows;
    item.n_rows = n;
    item.own_seen = sequence->n_own;
    item.causal = 0;
    for (int i = sequence->nodes_done; i < sequence->nodes_done + n; i++) {
        const int node = choices->inner[i], depth = choices->nodes[node].depth;

        for (int v = node, d = depth - 1; d >= 0; v = choices->nodes[v].parent, d--)
            path[d] = path_slot(sequence, choices->nodes[v].inner);
        emc_step_add_row(engine->step, choices->tokens[node], sequence->n_prompt + depth - 1,
                         path[depth - 1], path, depth);
        add_reader(engine, sequence, node);
    }
    emc_step_add_item(engine->step, &item);
    sequence->nodes_taken = n;
}

/* Puts as much of a sequence into the step as there is room for; false when that is nothing. */
static bool add_sequence(emc_engine *engine, emc_sequence *sequence)
{
    const int own_rest = sequence->n_own + sequence->n_generated - sequence->own_done;
    const int first_reader = engine->step->n_readers;
    int n_own = own_rest > 0 ? own_rows_that_fit(engine, own_rest) : 0;
    emc_attention_item item;
    int n_nodes = 0, n_readers;

    sequence->own_taken = sequence->nodes_taken = 0;
    if (own_rest > 0 && n_own == 0)
        return false;
    item = start_item(engine, sequence);
    if (n_own > 0)
        add_own_rows(engine, sequence, item, n_own);
    if (sequence->ask == EMC_ASK_CHOICES && n_own == own_rest) {
        n_nodes = engine->choices->n_inner - sequence->nodes_done;
        if (n_nodes > rows_left(engine))
            n_nodes = rows_left(engine);
        if (n_nodes > readers_left(engine))
            n_nodes = readers_left(engine);
        if (n_nodes > 0)
            add_node_rows(engine, sequence, item, n_nodes);
    }
    n_readers = engine->step->n_readers - first_reader;
    if (n_readers > 0) {
        item.row0 = first_reader;
        item.n_rows = n_readers;
        item.own_seen = sequence->own_done + n_own;
        item.causal = 0;
        emc_step_add_reader_item(engine->step, &item);
    }
    return n_own + n_nodes > 0;
}

static void fill_step(emc_engine *engine)
{
    emc_step_clear(engine->step);
    engine->prefix_place = -1;
    for (int i = 0; i < engine->n_running; i++)
        if (rows_left(engine) > 0)
            (void)add_sequence(engine, engine->order[i]);
        else
            engine->order[i]->own_taken = engine->order[i]->nodes_taken = 0;
    while (rows_left(engine) > 0 && engine->n_running < engine->n_order) {
        emc_sequence *next = engine->order[engine->n_running];

        if (!admit(engine, next))
            break;
        engine->n_running++;
        if (!add_sequence(engine, next))
            break;
    }
}

static void take_choice_logits(emc_engine *engine, const emc_reader *reader, int r)
{
    const emc_step_arrays *host = &engine->step->host;
    const emc_choice_node *node = &engine->choices->nodes[reader->node];
    const float *logits = host->wanted_logits + host->wanted_begin[r];

    for (int i = 0; i < node->n_children; i++) {
        reader->sequence->finite = reader->sequence->finite && isfinite(logits[i]);
        reader->sequence->edges[node->first_child + i] =
            (double)logits[i] - (double)host->log_sums[r];
    }
}

static void take_token(emc_engine *engine, emc_sequence *sequence, int32_t token)
{
    const emc_model_info *info = &engine->model->info;

    /* Where every logit is NaN none is the best. */
    sequence->finite = sequence->finite && token >= 0 && token < engine->options.n_ids;
    if (!sequence->finite)
        return;
    for (int i = 0; i < info->n_eos; i++)
        sequence->ended = sequence->ended || token == info->eos[i];
    if (!sequence->ended)
        sequence->ids[sequence->n_prompt + sequence->n_generated++] = token;
}

static bool is_finished(const emc_engine *engine, const emc_sequence *sequence)
{
    if (sequence->ask == EMC_ASK_GENERATE)
        return sequence->ended || !sequence->finite ||
               sequence->n_generated == sequence->max_tokens;
    return sequence->own_done == sequence->n_own &&
           sequence->nodes_done == engine->choices->n_inner;
}

static void finish(emc_engine *engine, emc_sequence *sequence)
{
    const int place = (engine->first_finished + engine->n_finished++) % engine->max_sequences;

    if (sequence->ask == EMC_ASK_CHOICES)
        emc_choices_joint(engine->choices, sequence->log_probs, sequence->edges, engine->joint);
    emc_engine_release_pages(engine, sequence);
    sequence->state = EMC_SEQUENCE_DONE;
    engine->finished[place] = sequence;
}

/* Takes the step's results to their sequences. */
static void take_results(emc_engine *engine)
{
    const int n_running = engine->n_running;
    int kept = 0;

    for (int r = 0; r < engine->step->n_readers; r++) {
        const emc_reader *reader = &engine->readers[r];

        reader->sequence->finite =
            reader->sequence->finite && isfinite(engine->step->host.log_sums[r]);
        if (reader->sequence->ask == EMC_ASK_CHOICES)
            take_choice_logits(engine, reader, r);
        else
            take_token(engine, reader->sequence, engine->step->host.best[r]);
    }
    for (int i = 0; i < engine->n_order; i++) {
        emc_sequence *sequence = engine->order[i];

        if (i < n_running) {
            sequence->own_done += sequence->own_taken;
            sequence->nodes_done += sequence->nodes_taken;
            if (is_finished(engine, sequence)) {
                finish(engine, sequence);
                engine->n_running--;
                continue;
            }
        }
        engine->order[kept++] = sequence;
    }
    engine->n_order = kept;
}

/* Sends the step that was filled through the model. */
static emc_status run_filled(emc_engine *engine, float *d_all_logits)
{
    const emc_graph_args args = {.step = engine->step,
                                 .cache = engine->cache,
                                 .rope_table = engine->rope_table,
                                 .all_logits = d_all_logits,
                                 .n_ids = engine->options.n_ids};

    EMC_TRY(emc_step_upload(engine->step));
    EMC_TRY(emc_graph_run(engine->graph, &args));
    EMC_TRY(emc_step_download(engine->step));
    engine->stats.n_steps++;
    engine->stats.n_rows += engine->step->n_rows;
    engine->stats.n_readers += engine->step->n_readers;
    return EMC_OK;
}

emc_status emc_engine_run_step(emc_engine *engine)
{
    fill_step(engine);
    if (engine->step->n_rows == 0)
        return emc_fail(EMC_ERR_INTERNAL, "engine: %d sequences in flight, none can go on",
                        engine->n_order);
    EMC_TRY(run_filled(engine, NULL));
    take_results(engine);
    return EMC_OK;
}

/* One stretch of emc_engine_run_ids; `first` is a multiple of EMC_PAGE_POSITIONS. */
static emc_status run_stretch(emc_engine *engine, const int32_t *ids, int first, int n,
                              const int32_t *pages, float *d_all_logits)
{
    const bool read = d_all_logits != NULL;
    emc_attention_item item = {.n_rows = n, .own_seen = first + 1, .causal = 1};

    emc_step_clear(engine->step);
    item.own_page = emc_step_add_pages(engine->step, pages, emc_pages_for(first + n));
    for (int i = first; i < first + n; i++) {
        emc_step_add_row(
            engine->step, ids[i], i,
            pages[i / EMC_PAGE_POSITIONS] * EMC_PAGE_POSITIONS + i % EMC_PAGE_POSITIONS, NULL, 0);
        if (read)
            emc_step_add_reader(engine->step, NULL, 0);
    }
    emc_step_add_item(engine->step, &item);
    if (read)
        emc_step_add_reader_item(engine->step, &item);
    return run_filled(engine, d_all_logits);
}

emc_status emc_engine_run_ids(emc_engine *engine, const int32_t *ids, int n, const int32_t *pages,
                              float *logits)
{
    const size_t row_bytes = (size_t)engine->model->info.vocab * sizeof(float);
    /* The logits of one page of rows at a time: a large vocabulary's are 600 kB a row. */
    const int most = logits ? EMC_PAGE_POSITIONS : engine->options.max_num_batched_tokens;
    void *d_logits = NULL;
    emc_status status = EMC_OK;

    if (logits)
        EMC_TRY(engine->dev->ops->alloc(engine->dev, &d_logits, row_bytes * (size_t)most,
                                        "the logits of a page"));
    for (int first = 0; first < n && status == EMC_OK; first += most) {
        const int rows = n - first < most ? n - first : most;

        status = run_stretch(engine, ids, first, rows, pages, d_logits);
        if (status == EMC_OK && logits)
            status =
                engine->dev->ops->download(engine->dev, (char *)logits + (size_t)first * row_bytes,
                                           d_logits, (size_t)rows * row_bytes);
    }
    engine->dev->ops->release(engine->dev, d_logits);
    return status;
}
