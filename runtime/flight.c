/*
 * How does a step get to the device and back?
 *
 * Queued and read are two things, so that the device finds its next step when it has ended one:
 * while a step runs, the host fills and queues the next from rows that do not wait for its results,
 * those of prompts and of nodes that are asked for. A token that was generated must be read before
 * its row can go on, a round of nodes before the next.
 * Everything a step reads and writes on the device is in one queue, so the next may use the memory
 * of the one before, its pages as well.
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "runtime/engine.h"

/* --- Queue ------------------------------------------------------------------------------------ */

static emc_trace *trace_of(const emc_engine *engine)
{
    return engine->tracing ? engine->trace : NULL;
}

/* Queues the step that was filled. */
static emc_status queue_step(emc_engine *engine, float *d_all_logits)
{
    emc_step *step = engine->filling->step;
    emc_trace *trace = trace_of(engine);
    const emc_ops *ops = engine->dev->ops;
    const emc_graph_args args = {.step = step,
                                 .cache = engine->cache,
                                 .rope_table = engine->rope_table,
                                 .all_logits = d_all_logits,
                                 .n_ids = engine->options.n_ids,
                                 .trace = trace};
    double sent;

    EMC_TRY(ops->event_record(engine->dev, step->begin));
    EMC_TRY(emc_trace_begin(trace));
    EMC_TRY(emc_step_upload(step));
    sent = step->copied;
    EMC_TRY(emc_trace_mark(trace, EMC_TRACE_COPIES, 0, sent));
    EMC_TRY(emc_graph_run(engine->graph, &args));
    EMC_TRY(emc_step_download(step));
    EMC_TRY(emc_trace_mark(trace, EMC_TRACE_COPIES, 0, step->copied - sent));
    EMC_TRY(ops->event_record(engine->dev, step->end));
    engine->n_flights++;
    return EMC_OK;
}

/* Every row that the sequence can ever have is queued. */
static bool all_queued(const emc_engine *engine, const emc_sequence *sequence)
{
    return emc_sequence_rows_ready(sequence) == 0 && emc_sequence_is_known(engine, sequence);
}

static void count_queued(emc_engine *engine)
{
    for (int i = 0; i < engine->filling->n_shares; i++) {
        const emc_share *share = &engine->filling->shares[i];

        share->sequence->own_queued += share->n_own;
        share->sequence->nodes_queued += share->n_nodes;
        if (all_queued(engine, share->sequence)) {
            emc_engine_release_pages(engine, share->sequence);
            share->sequence->state = EMC_SEQUENCE_QUEUED;
        }
    }
}

/* A token or a round that is to be read may end its sequence, whose pages are then free, or go on
 * with it. */
static bool awaits_a_result(const emc_engine *engine)
{
    for (int i = 0; i < engine->n_order; i++)
        if (engine->order[i]->state == EMC_SEQUENCE_RUNNING &&
            emc_sequence_rows_ready(engine->order[i]) == 0)
            return true;
    return false;
}

/* After an error: everything starts over, the message stays. */
static emc_status give_up(emc_engine *engine, emc_status status)
{
    char message[512];

    snprintf(message, sizeof message, "%s", emc_message());
    emc_engine_start_over(engine);
    return emc_fail(status, "%s", message);
}

emc_status emc_engine_launch(emc_engine *engine, bool *launched)
{
    emc_status status;

    *launched = false;
    if (engine->n_flights >= engine->max_flights)
        return EMC_OK;
    emc_engine_fill(engine);
    if (engine->filling->step->n_rows == 0)
        return EMC_OK;
    if (engine->n_flights > 0 && !engine->filling->full &&
        (!engine->filling->short_of_pages || awaits_a_result(engine)))
        return EMC_OK;
    status = queue_step(engine, NULL);
    if (status != EMC_OK)
        return give_up(engine, status);
    count_queued(engine);
    *launched = true;
    return EMC_OK;
}

/* --- Read ------------------------------------------------------------------------------------- */

static void take_token(emc_engine *engine, emc_sequence *sequence, int32_t token, float log_sum)
{
    const emc_model_info *info = &engine->model->info;

    /* Where every logit is NaN none is the best. */
    sequence->finite = isfinite(log_sum) && token >= 0 && token < engine->options.n_ids;
    if (!sequence->finite)
        return;
    for (int i = 0; i < info->n_eos; i++)
        sequence->ended = sequence->ended || token == info->eos[i];
    if (!sequence->ended)
        sequence->ids[sequence->n_prompt + sequence->n_generated++] = token;
}

/* Whether more is to be computed or read of it; its search says what, once a round is read. */
static bool goes_on(const emc_engine *engine, emc_sequence *sequence)
{
    if (sequence->ask == EMC_ASK_GENERATE)
        return !sequence->ended && sequence->finite && sequence->n_generated < sequence->max_tokens;
    return sequence->own_read < sequence->n_own || sequence->nodes_read < sequence->round_end ||
           emc_sequence_next_round(engine, sequence);
}

static void take_found(const emc_engine *engine, emc_sequence *sequence)
{
    sequence->finite = emc_search_is_finite(sequence->search);
    if (sequence->finite) {
        emc_search_result(sequence->search, &sequence->found, sequence->log_probs,
                          sequence->scores);
        return;
    }
    sequence->found = (emc_found){0};
    for (int c = 0; c < engine->choices->n_choices; c++)
        sequence->log_probs[c] = sequence->scores[c] = NAN;
}

static void finish(emc_engine *engine, emc_sequence *sequence)
{
    const int place = (engine->first_finished + engine->n_finished++) % engine->max_sequences;

    if (sequence->ask != EMC_ASK_GENERATE)
        take_found(engine, sequence);
    if (sequence->state == EMC_SEQUENCE_RUNNING)
        emc_engine_release_pages(engine, sequence);
    sequence->state = EMC_SEQUENCE_DONE;
    engine->finished[place] = sequence;
}

/* Takes a step's results to their sequences. */
static void take_results(emc_engine *engine, const emc_flight *flight)
{
    const emc_step_arrays *host = &flight->step->host;
    int kept = 0;

    for (int i = 0; i < flight->n_shares; i++) {
        flight->shares[i].sequence->own_read += flight->shares[i].n_own;
        flight->shares[i].sequence->nodes_read += flight->shares[i].n_nodes;
        engine->stats.n_choice_rows += flight->shares[i].n_nodes;
    }
    for (int r = 0; r < flight->step->n_readers; r++) {
        const emc_reader *reader = &flight->readers[r];

        if (reader->sequence->ask == EMC_ASK_GENERATE)
            take_token(engine, reader->sequence, host->best[r], host->log_sums[r]);
        else
            emc_search_take(reader->sequence->search, reader->node,
                            host->wanted_logits + host->wanted_begin[r], host->log_sums[r]);
    }
    for (int i = 0; i < engine->n_order; i++) {
        if (goes_on(engine, engine->order[i]))
            engine->order[kept++] = engine->order[i];
        else
            finish(engine, engine->order[i]);
    }
    engine->n_order = kept;
}

/* Waits for the oldest step in flight, which is none any more then. */
static emc_status await_step(emc_engine *engine)
{
    const emc_step *step = engine->flights[engine->first_flight].step;
    const emc_ops *ops = engine->dev->ops;
    float ms;

    EMC_TRY(ops->event_wait(engine->dev, step->end));
    EMC_TRY(ops->event_ms(engine->dev, step->begin, step->end, &ms));
    EMC_TRY(emc_trace_read(trace_of(engine)));
    engine->stats.n_steps++;
    engine->stats.n_rows += step->n_rows;
    engine->stats.n_readers += step->n_readers;
    engine->stats.device_ms += (double)ms;
    engine->first_flight = (engine->first_flight + 1) % engine->max_flights;
    engine->n_flights--;
    return EMC_OK;
}

emc_status emc_engine_read(emc_engine *engine)
{
    const emc_flight *flight = &engine->flights[engine->first_flight];
    const emc_status status = await_step(engine);

    if (status != EMC_OK)
        return give_up(engine, status);
    take_results(engine, flight);
    return EMC_OK;
}

emc_status emc_engine_settle(emc_engine *engine)
{
    while (engine->n_flights > 0)
        EMC_TRY(emc_engine_read(engine));
    return EMC_OK;
}

void emc_engine_start_over(emc_engine *engine)
{
    (void)engine->dev->ops->sync(engine->dev); /* a device that failed has nothing to wait for */
    emc_trace_drop(trace_of(engine));
    engine->n_flights = 0;
    for (int i = 0; i < engine->n_order; i++) {
        emc_sequence *sequence = engine->order[i];
        emc_status status;

        if (sequence->state == EMC_SEQUENCE_RUNNING)
            emc_engine_release_pages(engine, sequence);
        sequence->state = EMC_SEQUENCE_WAITING;
        status = emc_sequence_begin(engine, sequence);
        assert(status == EMC_OK); /* it has its memory */
        (void)status;
    }
}

/* --- Ids without a request -------------------------------------------------------------------- */

/* One stretch of emc_engine_run_ids; `first` is a multiple of EMC_PAGE_POSITIONS. */
static emc_status run_stretch(emc_engine *engine, const int32_t *ids, int first, int n,
                              const int32_t *pages, float *d_all_logits)
{
    const bool read = d_all_logits != NULL;
    emc_attention_item item = {.n_rows = n, .own_seen = first + 1, .causal = 1};
    emc_step *step;

    engine->filling = &engine->flights[engine->first_flight];
    step = engine->filling->step;
    emc_step_clear(step);
    item.own_page = emc_step_add_pages(step, pages, emc_pages_for(first + n));
    for (int i = first; i < first + n; i++) {
        emc_step_add_row(
            step, ids[i], i,
            pages[i / EMC_PAGE_POSITIONS] * EMC_PAGE_POSITIONS + i % EMC_PAGE_POSITIONS, NULL, 0);
        if (read)
            emc_step_add_reader(step, NULL, 0);
    }
    emc_step_add_items(step, &item);
    if (read)
        emc_step_add_reader_items(step, &item);
    EMC_TRY(queue_step(engine, d_all_logits));
    return await_step(engine);
}

emc_status emc_engine_run_ids(emc_engine *engine, const int32_t *ids, int n, const int32_t *pages,
                              float *logits)
{
    const size_t row_bytes = (size_t)engine->model->part.vocab * sizeof(float);
    /* The logits of one page of rows at a time: a large vocabulary's are 600 kB a row. */
    const int most = logits ? EMC_PAGE_POSITIONS : engine->options.max_num_batched_tokens;
    void *d_logits = logits ? engine->d_logits : NULL;
    emc_status status = EMC_OK;

    assert(engine->n_flights == 0);
    for (int first = 0; first < n && status == EMC_OK; first += most) {
        const int rows = n - first < most ? n - first : most;

        status = run_stretch(engine, ids, first, rows, pages, d_logits);
        if (status == EMC_OK && logits)
            status =
                engine->dev->ops->download(engine->dev, (char *)logits + (size_t)first * row_bytes,
                                           d_logits, (size_t)rows * row_bytes);
    }
    if (status != EMC_OK)
        status = give_up(engine, status);
    return status;
}
