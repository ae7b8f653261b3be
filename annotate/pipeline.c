#include "annotate/pipeline.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "annotate/progress.h"
#include "base/queue.h"
#include "base/size.h"

/*
 * Cells on their way. An item is taken when its cell is read and comes back when its answer was
 * kept, which waits for all earlier ones: so these are the cells ahead of the engine, those in it,
 * and those that were answered and wait for one that is still in it. A cell whose choices are
 * searched stays for as many steps as its search is deep, while cells behind it come and go.
 *
 * The largest step in use has 16,896 rows: 19 cells of 900 tokens, or 28 of 600 behind a prefix.
 * Two steps are in flight and a third is filled, so with 2,048 items the engine never lacks a cell
 * as long as no search takes more than 2,048 / 28 - 3 = 70 steps longer than its neighbours'. A
 * search takes a round a step, and a round computes all that it is known to need, so that sets of
 * labels take a few; one that took more would be waited for, and nothing else would happen. Prompts
 * of 8 rows alone could fill such a step with 2,112 cells; of 9 rows, these do.
 *
 * Each holds a prompt's text and ids and a number a label: 20 KB, 40 MB in all; 16 MB more for
 * 1,000 labels. Sequence numbers on their way are neighbours, so one modulo this is a place.
 */
#define N_ITEMS 2048

/* More for each further replica of the model: what its engine holds, as much again in the queue
 * before it, and some for replicas that are not equally fast. */
#define N_REPLICA_ITEMS 1024

#define WAIT_NS 20000000L /* between two questions for a range while there is none */

/* The first failure of any thread; messages are kept a thread, so this one travels. */
typedef struct {
    pthread_mutex_t lock;
    emc_status status;
    char message[1024];
} failure;

/* A replica that failed while others go on; not yet told. */
typedef struct {
    char message[1024];
    int n_left;
    bool is_new;
} fallen;

typedef struct {
    const emc_pipeline *p;
    emc_item *items;    /* [n_items] */
    emc_item **waiting; /* [n_items] finished, by sequence number: for an earlier one */
    int n_items;
    emc_queue *unused, *ready, *done;
    int64_t n_read; /* the reader's: the next sequence number */
    atomic_bool stopped;
    failure failure;
    fallen fallen; /* under failure.lock */
} work;

static void stop_reading(work *w)
{
    atomic_store(&w->stopped, true);
    emc_queue_stop(w->unused);
    emc_queue_stop(w->ready);
}

static void stop_all(work *w)
{
    atomic_store(&w->stopped, true);
    emc_queue_stop(w->unused);
    emc_queue_stop(w->ready);
    emc_queue_stop(w->done);
}

/* Called on the thread that failed. */
static void keep_failure(work *w, emc_status status)
{
    pthread_mutex_lock(&w->failure.lock);
    if (w->failure.status == EMC_OK) {
        w->failure.status = status;
        snprintf(w->failure.message, sizeof(w->failure.message), "%s", emc_message());
    }
    pthread_mutex_unlock(&w->failure.lock);
}

static void note_failure(work *w, emc_status status)
{
    keep_failure(w, status);
    stop_all(w);
}

static bool is_cancelled(const work *w)
{
    return w->p->cancel && *w->p->cancel;
}

static emc_status check_cancel(const work *w)
{
    return is_cancelled(w) ? emc_fail(EMC_ERR_CANCELLED, "interrupted") : EMC_OK;
}

/* An item for the next place in the sequence; NULL when another thread has stopped the work. */
static emc_item *take_item(work *w, const emc_range *range, int64_t position)
{
    emc_flow *flow = w->p->flow;

    emc_flow_does(flow, EMC_READER, EMC_WAITS, emc_seconds());
    emc_item *item = emc_queue_pop(w->unused);
    emc_flow_does(flow, EMC_READER, EMC_PROMPTS, emc_seconds());
    if (!item)
        return NULL;
    item->range = *range;
    item->position = position;
    item->sequence = w->n_read++;
    item->broken = false;
    item->ended = false;
    emc_ids_clear(&item->generated);
    emc_ids_clear(&item->prompt.ids);
    emc_text_clear(&item->cell_id);
    emc_text_clear(&item->message);
    return item;
}

static emc_status fill_item(const work *w, emc_item *item, const emc_input_cell *cell)
{
    item->row = cell->row;
    item->status = cell->status;
    item->reason = cell->reason;
    item->n_genes = cell->ranked.n_top;
    EMC_TRY(emc_text_add_string(&item->cell_id, cell->cell_id));
    EMC_TRY(emc_text_add_string(&item->message, cell->message));
    if (cell->status != EMC_CELL_OK)
        return EMC_OK;
    EMC_TRY(emc_prompter_render(w->p->prompter, cell->ranked.genes, cell->ranked.n_top, false,
                                &item->prompt));
    if (item->prompt.ids.n > (size_t)w->p->max_prompt) {
        item->status = EMC_CELL_FAILED;
        item->reason = "prompt_too_long";
        return emc_text_addf(&item->message,
                             "cell \"%s\": its prompt has %zu tokens, %d fit; list fewer genes "
                             "with --n-genes",
                             cell->cell_id, item->prompt.ids.n, w->p->max_prompt);
    }
    return EMC_OK;
}

/* What may be wrong with a part of a file and leave the rest of it readable. A file of a folder
 * that went away is not: so would go every other range. */
static bool is_of_the_range(emc_status status)
{
    return status == EMC_ERR_FORMAT || status == EMC_ERR_IO;
}

/* The rest of the range is given up; its place in the sequence says so. */
static emc_status push_broken(work *w, const emc_range *range, int64_t position)
{
    char message[1024];
    emc_item *item;

    snprintf(message, sizeof(message), "%s", emc_message());
    item = take_item(w, range, position);
    if (!item)
        return EMC_OK;
    item->broken = true;
    item->status = EMC_CELL_FAILED;
    item->reason = "bad_value";
    EMC_TRY(emc_text_add_string(&item->message, message));
    emc_flow_read(w->p->flow);
    (void)emc_queue_push(w->ready, item);
    return EMC_OK;
}

static emc_status read_range(work *w, const emc_range *range)
{
    emc_flow *flow = w->p->flow;

    emc_flow_does(flow, EMC_READER, EMC_READS, emc_seconds());
    emc_status status = emc_input_seek(w->p->input, range->first, range->n);
    for (int64_t i = 0; status == EMC_OK && i < range->n; i++) {
        emc_input_cell cell;
        bool more;
        EMC_TRY(check_cancel(w));
        emc_flow_does(flow, EMC_READER, EMC_READS, emc_seconds());
        status = emc_input_next(w->p->input, &cell, &more);
        if (status != EMC_OK)
            break;
        if (!more)
            return emc_fail(EMC_ERR_INTERNAL, "the input ends before position %lld",
                            (long long)(range->first + i));
        emc_item *item = take_item(w, range, range->first + i);
        if (!item)
            return EMC_OK; /* stopped by another thread */
        EMC_TRY(fill_item(w, item, &cell));
        emc_flow_read(flow);
        if (!emc_queue_push(w->ready, item))
            return EMC_OK;
    }
    if (is_of_the_range(status))
        return push_broken(w, range, range->first);
    return status;
}

static emc_status read_cells(work *w)
{
    const struct timespec wait = {.tv_nsec = WAIT_NS};

    while (!atomic_load(&w->stopped)) {
        emc_range range;
        emc_range_outcome outcome;
        EMC_TRY(check_cancel(w));
        EMC_TRY(w->p->next(w->p->context, &range, &outcome));
        if (outcome == EMC_RANGE_END)
            return EMC_OK;
        if (outcome == EMC_RANGE_GOT) {
            EMC_TRY(read_range(w, &range));
            continue;
        }
        emc_flow_does(w->p->flow, EMC_READER, EMC_RESTS, emc_seconds());
        nanosleep(&wait, NULL);
    }
    return EMC_OK;
}

static void *reader_thread(void *context)
{
    work *w = context;
    const emc_status status = read_cells(w);

    emc_flow_does(w->p->flow, EMC_READER, EMC_RESTS, emc_seconds());
    if (status == EMC_ERR_CANCELLED)
        keep_failure(w, status); /* the engine finishes what it must */
    else if (status != EMC_OK)
        note_failure(w, status);
    emc_queue_finish(w->ready);
    return NULL;
}

/* *n: what the engine has. */
static emc_status submit(work *w, emc_item *item, int *n)
{
    const emc_request request = {
        .ticket = (uint64_t)(item - w->items),
        .ids = item->prompt.ids.ids,
        .n_ids = (int)item->prompt.ids.n,
        .ask = w->p->ask,
        .max_tokens = w->p->max_tokens,
    };

    EMC_TRY(emc_engine_submit(w->p->engine, &request));
    ++*n;
    return EMC_OK;
}

static emc_item *wait_for_cell(work *w)
{
    emc_flow_does(w->p->flow, EMC_ASKER, EMC_WAITS, emc_seconds());
    emc_item *item = emc_queue_pop(w->ready);
    emc_flow_does(w->p->flow, EMC_ASKER, EMC_WORKS, emc_seconds());
    return item;
}

static bool hand_on(work *w, emc_item *item)
{
    emc_flow_answered(w->p->flow);
    return emc_queue_push(w->done, item);
}

/* Gives the engine what it has room for. Waits for a cell only when the engine has none. */
static emc_status feed(work *w, int *n)
{
    while (!emc_engine_is_full(w->p->engine) && !is_cancelled(w)) {
        emc_item *item = *n > 0 ? emc_queue_try_pop(w->ready) : wait_for_cell(w);
        if (!item)
            return EMC_OK;
        emc_flow_taken(w->p->flow);
        if (item->status == EMC_CELL_OK)
            EMC_TRY(submit(w, item, n));
        else if (!hand_on(w, item))
            return EMC_OK;
    }
    return EMC_OK;
}

static emc_status keep_answer(const work *w, emc_item *item, const emc_answer *answer)
{
    if (!answer->finite) {
        item->status = EMC_CELL_FAILED;
        item->reason = "not_a_number";
        return EMC_OK;
    }
    item->found = answer->found;
    if (answer->ask != EMC_ASK_GENERATE) {
        if (item->found.complete)
            memcpy(item->scores, answer->scores, (size_t)w->p->n_labels * sizeof(*item->scores));
        return EMC_OK;
    }
    item->ended = answer->ended;
    return emc_ids_add(&item->generated, answer->ids, (size_t)answer->n_ids);
}

/* The next answer. Where that is wanted the other replicas go on for one that fails: they have what
 * it was asked. */
static emc_status poll_replicas(work *w, emc_answer *answer, bool *got)
{
    emc_status status;
    int n_left;

    for (;;) {
        status = emc_engine_poll(w->p->engine, answer, got);
        n_left = emc_engine_count_replicas(w->p->engine);
        if ((status != EMC_ERR_DEVICE && status != EMC_ERR_LOST) || !w->p->on_failed_replica ||
            n_left == 0)
            return status;
        pthread_mutex_lock(&w->failure.lock);
        snprintf(w->fallen.message, sizeof(w->fallen.message), "%s", emc_message());
        w->fallen.n_left = n_left;
        w->fallen.is_new = true;
        pthread_mutex_unlock(&w->failure.lock);
    }
}

/* On the caller's thread. */
static void tell_fallen(work *w)
{
    pthread_mutex_lock(&w->failure.lock);
    const fallen fell = w->fallen;
    w->fallen.is_new = false;
    pthread_mutex_unlock(&w->failure.lock);
    if (fell.is_new)
        w->p->on_failed_replica(w->p->context, fell.message, fell.n_left);
}

/* *more is false when nobody takes answers any more. */
static emc_status poll_engine(work *w, int *n, bool *more)
{
    emc_answer answer;
    bool got;

    EMC_TRY(poll_replicas(w, &answer, &got));
    if (!got)
        return emc_fail(EMC_ERR_INTERNAL, "the engine lost %d cells", *n);
    emc_item *item = &w->items[answer.ticket];
    EMC_TRY(keep_answer(w, item, &answer));
    --*n;
    *more = hand_on(w, item);
    return EMC_OK;
}

/* Cells are given to the engine in their order, so when it has finished what it holds, there is no
 * gap before any that was answered. A slow machine may hold hours of work: so not for ever. */
static emc_status run_engine(work *w)
{
    bool more = true;
    int n = 0;

    while (more && !is_cancelled(w)) {
        EMC_TRY(feed(w, &n));
        if (n == 0)
            break; /* the reader has finished, or somebody stopped */
        EMC_TRY(poll_engine(w, &n, &more));
    }
    const double until = emc_seconds() + w->p->finish_seconds;
    while (more && n > 0 && emc_seconds() < until)
        EMC_TRY(poll_engine(w, &n, &more));
    return check_cancel(w);
}

static void *engine_thread(void *context)
{
    work *w = context;
    emc_flow_does(w->p->flow, EMC_ASKER, EMC_WORKS, emc_seconds());
    const emc_status status = run_engine(w);
    emc_flow_does(w->p->flow, EMC_ASKER, EMC_RESTS, emc_seconds());
    if (status == EMC_ERR_DEVICE || status == EMC_ERR_LOST || status == EMC_ERR_CANCELLED) {
        /* What was answered before is still handed out. */
        keep_failure(w, status);
        stop_reading(w);
    } else if (status != EMC_OK) {
        note_failure(w, status);
    }
    emc_engine_cancel(w->p->engine);
    emc_queue_finish(w->done);
    return NULL;
}

/* Answers come as they are finished; each waits here for those that were read before it. */
static emc_status hand_out(work *w)
{
    emc_item **waiting = w->waiting;
    emc_flow *flow = w->p->flow;
    int64_t next = 0;

    for (;;) {
        emc_flow_does(flow, EMC_KEEPER, EMC_WAITS, emc_seconds());
        emc_item *item = emc_queue_pop(w->done);
        emc_flow_does(flow, EMC_KEEPER, EMC_WORKS, emc_seconds());
        tell_fallen(w);
        if (!item)
            return EMC_OK;
        waiting[item->sequence % w->n_items] = item;
        while ((item = waiting[next % w->n_items]) != NULL) {
            waiting[next % w->n_items] = NULL;
            next++;
            emc_flow_kept(flow, emc_seconds());
            EMC_TRY(w->p->each(w->p->context, item));
            (void)emc_queue_push(w->unused, item); /* false: nobody needs it any more */
        }
    }
}

static emc_status open_items(work *w)
{
    w->n_items = N_ITEMS + N_REPLICA_ITEMS * (emc_engine_count_replicas(w->p->engine) - 1);
    EMC_TRY(emc_alloc(&w->items, (size_t)w->n_items, sizeof(*w->items), "cells in flight"));
    EMC_TRY(emc_alloc(&w->waiting, (size_t)w->n_items, sizeof(*w->waiting), "cells in flight"));
    EMC_TRY(emc_queue_open(&w->unused, (size_t)w->n_items));
    EMC_TRY(emc_queue_open(&w->ready, (size_t)w->n_items));
    EMC_TRY(emc_queue_open(&w->done, (size_t)w->n_items));
    for (int i = 0; i < w->n_items; i++) {
        if (w->p->ask != EMC_ASK_GENERATE)
            EMC_TRY(emc_alloc(&w->items[i].scores, (size_t)w->p->n_labels,
                              sizeof(*w->items[i].scores), "cells in flight"));
        emc_queue_push(w->unused, &w->items[i]);
    }
    return EMC_OK;
}

static void close_items(work *w)
{
    for (int i = 0; w->items && i < w->n_items; i++) {
        emc_text_free(&w->items[i].cell_id);
        emc_text_free(&w->items[i].message);
        emc_rendered_free(&w->items[i].prompt);
        emc_ids_free(&w->items[i].generated);
        free(w->items[i].scores);
    }
    free(w->items);
    free(w->waiting);
    emc_queue_close(w->unused);
    emc_queue_close(w->ready);
    emc_queue_close(w->done);
    pthread_mutex_destroy(&w->failure.lock);
}

emc_status emc_pipeline_run(const emc_pipeline *pipeline)
{
    work w = {.p = pipeline};
    pthread_t reader, engine;
    bool has_reader = false, has_engine = false;
    emc_status status;

    pthread_mutex_init(&w.failure.lock, NULL);
    status = open_items(&w);
    if (status != EMC_OK)
        goto done;
    has_reader = pthread_create(&reader, NULL, reader_thread, &w) == 0;
    has_engine = has_reader && pthread_create(&engine, NULL, engine_thread, &w) == 0;
    status = has_engine ? hand_out(&w) : emc_fail(EMC_ERR_NOMEM, "a thread cannot be started");
    emc_flow_does(pipeline->flow, EMC_KEEPER, EMC_RESTS, emc_seconds());
    if (status != EMC_OK)
        note_failure(&w, status);
    if (has_reader)
        pthread_join(reader, NULL);
    if (has_engine)
        pthread_join(engine, NULL);
    status = w.failure.status;
    if (status != EMC_OK)
        emc_fail(status, "%s", w.failure.message);
done:
    close_items(&w);
    return status;
}
