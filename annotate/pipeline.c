#include "annotate/pipeline.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/queue.h"
#include "base/size.h"

/* Cells in flight: more than any engine has room for on a CPU, and little memory. Rows in flight
 * are neighbours, for the reader takes an item for each in turn, so row modulo this is a place. */
#define N_ITEMS 1024

/* The first failure of any thread; messages are kept a thread, so this one travels. */
typedef struct {
    pthread_mutex_t lock;
    emc_status status;
    char message[1024];
} failure;

typedef struct {
    const emc_pipeline *p;
    emc_item *items; /* [N_ITEMS] */
    emc_queue *unused, *ready, *done;
    failure failure;
} work;

static void stop_all(work *w)
{
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

static emc_status check_cancel(const work *w)
{
    if (w->p->cancel && *w->p->cancel)
        return emc_fail(EMC_ERR_CANCELLED, "interrupted");
    return EMC_OK;
}

static emc_status fill_item(const work *w, emc_item *item, const emc_input_cell *cell)
{
    item->row = cell->row;
    item->status = cell->status;
    item->reason = cell->reason;
    item->n_genes = cell->ranked.n_top;
    item->ended = false;
    emc_ids_clear(&item->generated);
    emc_ids_clear(&item->prompt.ids);
    emc_text_clear(&item->cell_id);
    EMC_TRY(emc_text_add_string(&item->cell_id, cell->cell_id));
    emc_text_clear(&item->message);
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

static emc_status read_cells(work *w)
{
    for (;;) {
        emc_input_cell cell;
        bool more;
        EMC_TRY(check_cancel(w));
        EMC_TRY(emc_input_next(w->p->input, &cell, &more));
        if (!more)
            return EMC_OK;
        emc_item *item = emc_queue_pop(w->unused);
        if (!item)
            return EMC_OK; /* stopped by another thread */
        EMC_TRY(fill_item(w, item, &cell));
        if (!emc_queue_push(w->ready, item))
            return EMC_OK;
    }
}

static void *reader_thread(void *context)
{
    work *w = context;
    const emc_status status = read_cells(w);

    if (status != EMC_OK)
        note_failure(w, status);
    emc_queue_finish(w->ready);
    return NULL;
}

static emc_status submit(work *w, emc_item *item, int *n_in_flight)
{
    const emc_request request = {
        .ticket = (uint64_t)(item - w->items),
        .ids = item->prompt.ids.ids,
        .n_ids = (int)item->prompt.ids.n,
        .ask = w->p->answer == EMC_ANSWER_FULL ? EMC_ASK_CHOICES : EMC_ASK_GENERATE,
        .max_tokens = w->p->max_tokens,
    };

    EMC_TRY(emc_engine_submit(w->p->engine, &request));
    ++*n_in_flight;
    return EMC_OK;
}

/* Gives the engine what it has room for. Waits for a cell only when the engine has none. */
static emc_status feed(work *w, int *n_in_flight)
{
    while (!emc_engine_is_full(w->p->engine)) {
        emc_item *item = *n_in_flight > 0 ? emc_queue_try_pop(w->ready) : emc_queue_pop(w->ready);
        if (!item)
            return EMC_OK;
        if (item->status == EMC_CELL_OK)
            EMC_TRY(submit(w, item, n_in_flight));
        else if (!emc_queue_push(w->done, item))
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
    if (answer->ask == EMC_ASK_CHOICES) {
        memcpy(item->log_probs, answer->log_probs,
               (size_t)w->p->n_labels * sizeof(*item->log_probs));
        return EMC_OK;
    }
    item->ended = answer->ended;
    return emc_ids_add(&item->generated, answer->ids, (size_t)answer->n_ids);
}

static emc_status run_engine(work *w)
{
    int n_in_flight = 0;

    for (;;) {
        emc_answer answer;
        bool got;
        EMC_TRY(check_cancel(w));
        EMC_TRY(feed(w, &n_in_flight));
        if (n_in_flight == 0)
            return EMC_OK; /* the reader has finished, or somebody stopped */
        EMC_TRY(emc_engine_poll(w->p->engine, &answer, &got));
        if (!got)
            return emc_fail(EMC_ERR_INTERNAL, "the engine lost %d cells", n_in_flight);
        emc_item *item = &w->items[answer.ticket];
        EMC_TRY(keep_answer(w, item, &answer));
        n_in_flight--;
        if (!emc_queue_push(w->done, item))
            return EMC_OK;
    }
}

static void *engine_thread(void *context)
{
    work *w = context;
    const emc_status status = run_engine(w);

    if (status == EMC_ERR_DEVICE) {
        /* What was answered before is still handed out. */
        keep_failure(w, status);
        emc_queue_stop(w->unused);
        emc_queue_stop(w->ready);
    } else if (status != EMC_OK) {
        note_failure(w, status);
    }
    emc_engine_cancel(w->p->engine);
    emc_queue_finish(w->done);
    return NULL;
}

/* Answers come as they are finished; each waits here for the rows before it. */
static emc_status hand_out(work *w, emc_status (*each)(void *context, const emc_item *item),
                           void *context)
{
    emc_item *waiting[N_ITEMS] = {NULL};
    int64_t next = 0;

    for (;;) {
        emc_item *item = emc_queue_pop(w->done);
        if (!item)
            return EMC_OK;
        waiting[item->row % N_ITEMS] = item;
        while ((item = waiting[next % N_ITEMS]) != NULL) {
            waiting[next % N_ITEMS] = NULL;
            next++;
            EMC_TRY(each(context, item));
            (void)emc_queue_push(w->unused, item); /* false: nobody needs it any more */
        }
    }
}

static emc_status open_items(work *w)
{
    EMC_TRY(emc_alloc(&w->items, N_ITEMS, sizeof(*w->items), "cells in flight"));
    EMC_TRY(emc_queue_open(&w->unused, N_ITEMS));
    EMC_TRY(emc_queue_open(&w->ready, N_ITEMS));
    EMC_TRY(emc_queue_open(&w->done, N_ITEMS));
    for (int i = 0; i < N_ITEMS; i++) {
        if (w->p->answer == EMC_ANSWER_FULL)
            EMC_TRY(emc_alloc(&w->items[i].log_probs, (size_t)w->p->n_labels,
                              sizeof(*w->items[i].log_probs), "cells in flight"));
        emc_queue_push(w->unused, &w->items[i]);
    }
    return EMC_OK;
}

static void close_items(work *w)
{
    for (int i = 0; w->items && i < N_ITEMS; i++) {
        emc_text_free(&w->items[i].cell_id);
        emc_text_free(&w->items[i].message);
        emc_rendered_free(&w->items[i].prompt);
        emc_ids_free(&w->items[i].generated);
        free(w->items[i].log_probs);
    }
    free(w->items);
    emc_queue_close(w->unused);
    emc_queue_close(w->ready);
    emc_queue_close(w->done);
    pthread_mutex_destroy(&w->failure.lock);
}

emc_status emc_pipeline_run(const emc_pipeline *pipeline,
                            emc_status (*each)(void *context, const emc_item *item), void *context)
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
    status = has_engine ? hand_out(&w, each, context)
                        : emc_fail(EMC_ERR_NOMEM, "a thread cannot be started");
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
