/* What an engine is asked, and what it answers. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/engine.h"

static void release_borrowed(emc_engine *engine)
{
    if (engine->borrowed)
        engine->borrowed->state = EMC_SEQUENCE_FREE;
    engine->borrowed = NULL;
}

/*
 * Rows for the steps that come next beside those in flight are enough, if answers come with every
 * step. Answers that take several steps come first after these, and until then nobody submits: so
 * there must be rows for all the steps that such an answer takes.
 */
bool emc_rank_is_full(const emc_engine *engine)
{
    const int64_t step = engine->options.max_num_batched_tokens;
    const int64_t whole = EMC_STEPS_IN_FLIGHT + emc_engine_search_steps(engine);
    int64_t n_ready = 0, n_rows = 0;
    bool lasting = false;

    for (int i = 0; i < engine->n_order; i++) {
        n_ready += emc_sequence_rows_ready(engine->order[i]);
        n_rows += engine->order[i]->n_own;
        lasting = lasting || !emc_sequence_is_known(engine, engine->order[i]);
    }
    return engine->n_order + engine->n_finished >= engine->max_sequences ||
           (n_ready >= EMC_STEPS_IN_FLIGHT * step && (!lasting || n_rows >= whole * step));
}

emc_status emc_rank_check_request(const emc_engine *engine, const emc_request *request)
{
    const int max_positions = engine->model->info.max_positions;
    int n_answer;

    if (request->n_ids < 1)
        return emc_fail(EMC_ERR_ARG, "the prompt is empty");
    EMC_TRY(emc_engine_check_ids(engine, "prompt", request->ids, request->n_ids));
    switch (request->ask) {
    case EMC_ASK_CHOICES:
    case EMC_ASK_BEST:
    case EMC_ASK_GREEDY:
        if (!engine->choices)
            return emc_fail(EMC_ERR_ARG, "no choices are set");
        n_answer = engine->choices->max_depth;
        break;
    case EMC_ASK_GENERATE:
        n_answer = request->max_tokens;
        if (n_answer < 1 || n_answer > engine->options.max_answer_tokens)
            return emc_fail(EMC_ERR_ARG, "max_tokens is %d, need 1 to %d", n_answer,
                            engine->options.max_answer_tokens);
        break;
    default:
        return emc_fail(EMC_ERR_ARG, "no such question: %d", (int)request->ask);
    }
    if (request->n_ids > max_positions - n_answer)
        return emc_fail(EMC_ERR_CONFIG,
                        "the prompt has %d tokens and the answer up to %d, the model takes %d in "
                        "all; shorten the prompt",
                        request->n_ids, n_answer, max_positions);
    return EMC_OK;
}

static bool begins_with_prefix(const emc_engine *engine, const emc_request *request)
{
    return engine->n_prefix > 0 && request->n_ids > engine->n_prefix &&
           memcmp(request->ids, engine->prefix,
                  (size_t)engine->n_prefix * sizeof *engine->prefix) == 0;
}

/* What a search and its result need. */
static emc_status make_room_for_choices(emc_sequence *sequence, const emc_choices *choices)
{
    const size_t n_choices = (size_t)choices->n_choices;

    if (!sequence->search)
        EMC_TRY(emc_search_open(&sequence->search));
    EMC_TRY(emc_reserve(&sequence->places, &sequence->places_capacity, (size_t)choices->n_inner,
                        sizeof *sequence->places, "an answer"));
    EMC_TRY(emc_reserve(&sequence->log_probs, &sequence->log_probs_capacity, n_choices,
                        sizeof(double), "an answer"));
    return emc_reserve(&sequence->scores, &sequence->scores_capacity, n_choices, sizeof(double),
                       "an answer");
}

/* A free sequence that takes the request; the memory of its last use is kept. */
static emc_status set_up(emc_engine *engine, emc_sequence *sequence, const emc_request *request)
{
    const bool searches = request->ask != EMC_ASK_GENERATE;
    const int n_answer = searches ? engine->choices->max_depth : request->max_tokens;
    int n_most;

    sequence->ticket = request->ticket;
    sequence->ask = request->ask;
    sequence->n_prompt = request->n_ids;
    sequence->prefix_len = begins_with_prefix(engine, request) ? engine->n_prefix : 0;
    sequence->n_own = request->n_ids - sequence->prefix_len;
    sequence->max_tokens = searches ? 0 : n_answer;
    if (searches)
        EMC_TRY(make_room_for_choices(sequence, engine->choices));
    EMC_TRY(emc_sequence_begin(engine, sequence));
    EMC_TRY(emc_reserve(&sequence->ids, &sequence->ids_capacity,
                        (size_t)request->n_ids + (size_t)sequence->max_tokens,
                        sizeof *sequence->ids, "a prompt"));
    memcpy(sequence->ids, request->ids, (size_t)request->n_ids * sizeof *request->ids);
    n_most = searches ? emc_pages_for(sequence->n_own + engine->choices->n_inner)
                      : sequence->n_pages_first;
    EMC_TRY(emc_reserve(&sequence->pages, &sequence->pages_capacity, (size_t)n_most,
                        sizeof *sequence->pages, "a prompt"));
    return emc_engine_make_room(engine, sequence->n_pages_first, request->n_ids + n_answer);
}

emc_status emc_rank_submit(emc_engine *engine, const emc_request *request)
{
    emc_sequence *sequence = engine->sequences;

    release_borrowed(engine);
    if (emc_rank_is_full(engine))
        return emc_fail(EMC_ERR_ARG, "the engine is full: poll an answer before the next request");
    EMC_TRY(emc_rank_check_request(engine, request));
    while (sequence->state != EMC_SEQUENCE_FREE)
        sequence++; /* there is one: the engine is not full */
    EMC_TRY(set_up(engine, sequence, request));
    sequence->state = EMC_SEQUENCE_WAITING;
    engine->order[engine->n_order++] = sequence;
    return EMC_OK;
}

/* Queues steps as far as that is good, so that the device is busy while an answer is looked at. */
static emc_status keep_busy(emc_engine *engine)
{
    bool launched = true;

    /* A device that queues nothing would only keep the answer waiting. */
    if (engine->dev->at_once && engine->n_finished > 0)
        return EMC_OK;
    while (launched)
        EMC_TRY(emc_engine_launch(engine, &launched));
    return EMC_OK;
}

emc_status emc_rank_poll(emc_engine *engine, emc_answer *answer, bool *got)
{
    emc_sequence *sequence;
    emc_status status;

    release_borrowed(engine);
    *got = false;
    status = keep_busy(engine);
    /* What was finished before a device fails is given all the same: the next poll fails again. */
    if (status != EMC_OK && engine->n_finished == 0)
        return status;
    while (engine->n_finished == 0) {
        if (engine->n_order == 0)
            return EMC_OK;
        if (engine->n_flights == 0)
            return emc_fail(EMC_ERR_INTERNAL, "engine: %d sequences in flight, none can go on",
                            engine->n_order);
        EMC_TRY(emc_engine_read(engine));
        status = keep_busy(engine);
        if (status != EMC_OK && engine->n_finished == 0)
            return status;
    }
    sequence = engine->finished[engine->first_finished];
    engine->first_finished = (engine->first_finished + 1) % engine->max_sequences;
    engine->n_finished--;
    engine->borrowed = sequence;
    *answer = (emc_answer){.ticket = sequence->ticket,
                           .ask = sequence->ask,
                           .n_prompt = sequence->n_prompt,
                           .ended = sequence->ended,
                           .finite = sequence->finite};
    if (sequence->ask != EMC_ASK_GENERATE) {
        answer->found = sequence->found;
        answer->log_probs = sequence->log_probs;
        answer->scores = sequence->scores;
    } else {
        answer->ids = sequence->ids + sequence->n_prompt;
        answer->n_ids = sequence->n_generated;
    }
    *got = true;
    return EMC_OK;
}

void emc_rank_cancel(emc_engine *engine)
{
    release_borrowed(engine);
    emc_engine_start_over(engine);
    for (int i = 0; i < engine->n_order; i++)
        engine->order[i]->state = EMC_SEQUENCE_FREE;
    for (int i = 0; i < engine->n_finished; i++)
        engine->finished[(engine->first_finished + i) % engine->max_sequences]->state =
            EMC_SEQUENCE_FREE;
    engine->n_order = engine->n_finished = 0;
}
