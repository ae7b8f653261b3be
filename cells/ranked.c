/*
 * Which cells of a file come next, and what are their genes worth?
 *
 * One thread reads blocks ahead into a ring of slots, others rank a block each, and the caller is
 * given the cells of the oldest slot. Slots are counted, never renumbered: read >= taken >= given,
 * and slot i lies at i modulo the ring's length.
 */
#include "cells/ranked.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/source.h"
#include "cells/team.h"

/* Rows between two wanted ones that are read over: cheaper than to begin anew. */
#define MOST_GAP 16

/* Values of a block: few enough to stay in a core's cache until they are ranked. */
#define BLOCK_VALUES ((int64_t)1 << 18)
#define LEAST_ROWS   32

#define MOST_THREADS 64

/* What a cell was given; genes, values and message lie in its slot. */
typedef struct {
    emc_ranked ranked;
    emc_status status;
    size_t genes_at, message_at;
} outcome;

typedef struct {
    cells_buffers buffers;
    emc_cell_block block;
    int64_t first_position;
    int n; /* positions whose rows are in the block */
    outcome *outcomes;
    size_t outcomes_capacity;
    int32_t *genes; /* of all cells, one after the other */
    double *values; /* beside genes */
    size_t genes_capacity, values_capacity;
    emc_text messages;
    emc_status status; /* of reading or ranking the block as a whole */
    char message[1024];
    bool is_ranked;
} slot;

typedef struct {
    emc_ranked_cells *ranked;
    emc_ranker *ranker;
    pthread_t thread;
} worker;

struct emc_ranked_cells {
    emc_ranked_options options;
    int64_t n;          /* positions */
    int64_t next_read;  /* position that the next block begins with; changed under the lock */
    int64_t end;        /* past the last position to give */
    int64_t block_rows; /* 0: as many as the reader likes */
    slot *slots;
    int64_t n_slots;
    worker *workers;
    int n_workers;
    pthread_t reader;
    bool has_reader;
    int n_started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    int64_t n_read, n_taken, n_given;
    int n_busy; /* threads at work on a slot */
    bool stops, pauses;
    bool has_failed; /* reading has: nothing is read after it */
    /* The caller's. */
    int at; /* in the oldest slot */
    bool is_broken;
};

static int64_t row_of(const emc_ranked_cells *ranked, int64_t position)
{
    return ranked->options.rows ? ranked->options.rows[position] : position;
}

static slot *slot_of(const emc_ranked_cells *ranked, int64_t number)
{
    return &ranked->slots[number % ranked->n_slots];
}

/* ---- the reading thread ---- */

/* Reads the block that begins with the next wanted row, and no row after the last wanted one. */
static emc_status read_block(emc_ranked_cells *ranked, slot *s)
{
    const int64_t first = row_of(ranked, ranked->next_read);
    int64_t last = first, position = ranked->next_read + 1;
    emc_cells *cells = ranked->options.cells;

    if (!ranked->options.rows)
        last = ranked->end - 1;
    for (; ranked->options.rows && position < ranked->end; position++) {
        if (row_of(ranked, position) - last > MOST_GAP)
            break;
        last = row_of(ranked, position);
    }
    int64_t most = last - first + 1;
    if (ranked->block_rows && most > ranked->block_rows)
        most = ranked->block_rows;
    EMC_TRY(emc_cells_seek(cells, first));
    EMC_TRY(cells_next_into(cells, most, &s->buffers, &s->block));
    const int64_t end = s->block.first_row + s->block.n_rows;
    s->first_position = ranked->next_read;
    for (position = s->first_position; position < ranked->end && row_of(ranked, position) < end;)
        position++;
    s->n = (int)(position - s->first_position);
    return EMC_OK;
}

static void fail_slot(slot *s, emc_status status)
{
    s->status = status;
    strncpy(s->message, emc_message(), sizeof s->message - 1);
}

static void *reader_main(void *argument)
{
    emc_ranked_cells *ranked = argument;

    pthread_mutex_lock(&ranked->lock);
    while (!ranked->stops) {
        if (ranked->pauses || ranked->has_failed || ranked->next_read == ranked->end ||
            ranked->n_read - ranked->n_given == ranked->n_slots) {
            pthread_cond_wait(&ranked->changed, &ranked->lock);
            continue;
        }
        slot *s = slot_of(ranked, ranked->n_read);
        ranked->n_busy++;
        pthread_mutex_unlock(&ranked->lock);
        s->status = EMC_OK;
        s->n = 0;
        s->is_ranked = false;
        const emc_status status = read_block(ranked, s);
        if (status != EMC_OK)
            fail_slot(s, status);
        pthread_mutex_lock(&ranked->lock);
        ranked->has_failed = status != EMC_OK;
        ranked->next_read += s->n;
        ranked->n_read++;
        ranked->n_busy--;
        pthread_cond_broadcast(&ranked->changed);
    }
    pthread_mutex_unlock(&ranked->lock);
    return NULL;
}

/* ---- the ranking threads ---- */

/* Keeps what the ranker lends until its next cell. */
static emc_status keep(slot *s, outcome *o, size_t *n_genes)
{
    const size_t n = (size_t)o->ranked.n_top;

    EMC_TRY(
        emc_reserve(&s->genes, &s->genes_capacity, *n_genes + n, sizeof *s->genes, "ranked genes"));
    EMC_TRY(emc_reserve(&s->values, &s->values_capacity, *n_genes + n, sizeof *s->values,
                        "ranked genes"));
    if (n > 0) {
        memcpy(s->genes + *n_genes, o->ranked.genes, n * sizeof *s->genes);
        memcpy(s->values + *n_genes, o->ranked.values, n * sizeof *s->values);
    }
    o->genes_at = *n_genes;
    *n_genes += n;
    return EMC_OK;
}

static emc_status rank_slot(const emc_ranked_cells *ranked, emc_ranker *ranker, slot *s)
{
    size_t n_genes = 0;

    emc_text_clear(&s->messages);
    EMC_TRY(emc_reserve(&s->outcomes, &s->outcomes_capacity, (size_t)s->n, sizeof *s->outcomes,
                        "ranked cells"));
    for (int i = 0; i < s->n; i++) {
        outcome *o = &s->outcomes[i];
        const int row = (int)(row_of(ranked, s->first_position + i) - s->block.first_row);
        o->status = emc_ranker_cell(ranker, &s->block, row, &o->ranked);
        o->message_at = s->messages.n;
        if (o->status != EMC_OK) {
            o->ranked = (emc_ranked){0};
            EMC_TRY(emc_text_add(&s->messages, emc_message(), strlen(emc_message()) + 1));
        }
        EMC_TRY(keep(s, o, &n_genes));
    }
    return EMC_OK;
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    emc_ranked_cells *ranked = self->ranked;

    pthread_mutex_lock(&ranked->lock);
    while (!ranked->stops) {
        if (ranked->n_taken == ranked->n_read) {
            pthread_cond_wait(&ranked->changed, &ranked->lock);
            continue;
        }
        slot *s = slot_of(ranked, ranked->n_taken++);
        ranked->n_busy++;
        pthread_mutex_unlock(&ranked->lock);
        if (s->status == EMC_OK) {
            const emc_status status = rank_slot(ranked, self->ranker, s);
            if (status != EMC_OK)
                fail_slot(s, status);
        }
        pthread_mutex_lock(&ranked->lock);
        s->is_ranked = true;
        ranked->n_busy--;
        pthread_cond_broadcast(&ranked->changed);
    }
    pthread_mutex_unlock(&ranked->lock);
    return NULL;
}

/* ---- opening and closing ---- */

static emc_status check_rows(const emc_ranked_options *options)
{
    const int64_t n_cells = emc_cells_n_cells(options->cells);

    if (options->n_threads < 0)
        return emc_fail(EMC_ERR_ARG, "ranked cells: n_threads=%d, need >= 0", options->n_threads);
    if (!options->rows)
        return EMC_OK;
    if (options->n_rows < 0)
        return emc_fail(EMC_ERR_ARG, "ranked cells: n_rows=%lld", (long long)options->n_rows);
    for (int64_t i = 0; i < options->n_rows; i++) {
        const int64_t row = options->rows[i];
        if (row < 0 || row >= n_cells || (i > 0 && row <= options->rows[i - 1]))
            return emc_fail(EMC_ERR_ARG, "ranked cells: row %lld of %lld at position %lld",
                            (long long)row, (long long)n_cells, (long long)i);
    }
    return EMC_OK;
}

/* How many rows hold about BLOCK_VALUES; a dense matrix is read in bands of its own choice. */
static int64_t choose_block_rows(const emc_cells *cells)
{
    emc_cells_matrix matrix;

    emc_cells_get_matrix(cells, &matrix);
    if (strcmp(matrix.storage, "dense") == 0)
        return 0;
    if (matrix.n_values < 0)
        return 256;
    const int64_t mean = matrix.n_values / emc_cells_n_cells(cells) + 1;
    const int64_t rows = BLOCK_VALUES / mean;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows;
}

emc_status emc_ranked_cells_open(emc_ranked_cells **out, const emc_ranked_options *options)
{
    emc_status status;
    emc_ranked_cells *ranked = NULL;

    *out = NULL;
    EMC_TRY(check_rows(options));
    EMC_TRY(emc_alloc(&ranked, 1, sizeof *ranked, "ranked cells"));
    pthread_mutex_init(&ranked->lock, NULL);
    pthread_cond_init(&ranked->changed, NULL);
    ranked->options = *options;
    ranked->n = options->rows ? options->n_rows : emc_cells_n_cells(options->cells);
    ranked->end = ranked->n;
    ranked->block_rows = choose_block_rows(options->cells);
    ranked->n_workers = options->n_threads ? options->n_threads : cells_n_cores();
    if (ranked->n_workers > MOST_THREADS)
        ranked->n_workers = MOST_THREADS;
    ranked->n_slots = ranked->n_workers + 3; /* one being read, one given, one that waits */
    status =
        emc_alloc(&ranked->slots, (size_t)ranked->n_slots, sizeof *ranked->slots, "ranked cells");
    if (status == EMC_OK)
        status = emc_alloc(&ranked->workers, (size_t)ranked->n_workers, sizeof *ranked->workers,
                           "ranked cells");
    for (int i = 0; status == EMC_OK && i < ranked->n_workers; i++) {
        ranked->workers[i].ranked = ranked;
        status = emc_ranker_open(&ranked->workers[i].ranker, options->genes, &options->rank);
    }
    if (status != EMC_OK) {
        emc_ranked_cells_close(ranked);
        return status;
    }
    *out = ranked;
    return EMC_OK;
}

static void stop_threads(emc_ranked_cells *ranked)
{
    pthread_mutex_lock(&ranked->lock);
    ranked->stops = true;
    pthread_cond_broadcast(&ranked->changed);
    pthread_mutex_unlock(&ranked->lock);
    if (ranked->has_reader)
        pthread_join(ranked->reader, NULL);
    for (int i = 0; i < ranked->n_started; i++)
        pthread_join(ranked->workers[i].thread, NULL);
}

void emc_ranked_cells_close(emc_ranked_cells *ranked)
{
    if (!ranked)
        return;
    stop_threads(ranked);
    for (int64_t i = 0; ranked->slots && i < ranked->n_slots; i++) {
        cells_buffers_free(&ranked->slots[i].buffers);
        free(ranked->slots[i].outcomes);
        free(ranked->slots[i].genes);
        free(ranked->slots[i].values);
        emc_text_free(&ranked->slots[i].messages);
    }
    for (int i = 0; ranked->workers && i < ranked->n_workers; i++)
        emc_ranker_close(ranked->workers[i].ranker);
    pthread_cond_destroy(&ranked->changed);
    pthread_mutex_destroy(&ranked->lock);
    free(ranked->slots);
    free(ranked->workers);
    free(ranked);
}

/* The reader and one worker there must be. */
static emc_status start_threads(emc_ranked_cells *ranked)
{
    for (; ranked->n_started < ranked->n_workers; ranked->n_started++) {
        worker *w = &ranked->workers[ranked->n_started];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            break;
    }
    if (ranked->n_started > 0)
        ranked->has_reader = pthread_create(&ranked->reader, NULL, reader_main, ranked) == 0;
    if (!ranked->has_reader)
        return emc_fail(EMC_ERR_NOMEM, "ranked cells: the system gives no more threads");
    return EMC_OK;
}

/* ---- the caller's side ---- */

emc_status emc_ranked_cells_seek(emc_ranked_cells *ranked, int64_t first, int64_t n)
{
    if (first < 0 || n < 0 || first > ranked->n || n > ranked->n - first)
        return emc_fail(EMC_ERR_ARG, "ranked cells: positions %lld + %lld of %lld",
                        (long long)first, (long long)n, (long long)ranked->n);
    pthread_mutex_lock(&ranked->lock);
    ranked->pauses = true;
    ranked->n_taken = ranked->n_read; /* what waits is not ranked any more */
    while (ranked->n_busy > 0) {
        pthread_cond_wait(&ranked->changed, &ranked->lock);
        ranked->n_taken = ranked->n_read;
    }
    ranked->n_read = ranked->n_taken = ranked->n_given = 0;
    ranked->next_read = first;
    ranked->end = first + n;
    ranked->has_failed = false;
    ranked->pauses = false;
    pthread_cond_broadcast(&ranked->changed);
    pthread_mutex_unlock(&ranked->lock);
    ranked->at = 0;
    ranked->is_broken = false;
    return EMC_OK;
}

/* Waits for the oldest slot that has cells left; NULL past the last. */
static slot *wait_for_slot(emc_ranked_cells *ranked)
{
    slot *found = NULL;

    pthread_mutex_lock(&ranked->lock);
    for (;;) {
        slot *s = slot_of(ranked, ranked->n_given);
        if (ranked->n_given == ranked->n_read) {
            if (ranked->next_read == ranked->end && ranked->n_busy == 0)
                break; /* nothing is being read either */
        } else if (s->is_ranked && s->status == EMC_OK && ranked->at == s->n) {
            ranked->n_given++;
            ranked->at = 0;
            pthread_cond_broadcast(&ranked->changed);
            continue;
        } else if (s->is_ranked) {
            found = s;
            break;
        }
        pthread_cond_wait(&ranked->changed, &ranked->lock);
    }
    pthread_mutex_unlock(&ranked->lock);
    return found;
}

static void give(emc_ranked_cells *ranked, slot *s, emc_ranked_cell *cell)
{
    const outcome *o = &s->outcomes[ranked->at];
    const size_t n_obs = (size_t)s->block.n_obs_columns;

    cell->position = s->first_position + ranked->at++;
    cell->row = row_of(ranked, cell->position);
    const int64_t row = cell->row - s->block.first_row;
    cell->cell_id = s->block.cell_ids[row];
    cell->obs = n_obs ? s->block.obs + (size_t)row * n_obs : NULL;
    cell->status = o->status;
    cell->message = o->status == EMC_OK ? "" : s->messages.bytes + o->message_at;
    cell->ranked = o->ranked;
    if (o->status == EMC_OK) {
        cell->ranked.genes = s->genes + o->genes_at;
        cell->ranked.values = s->values + o->genes_at;
    }
}

emc_status emc_ranked_cells_next(emc_ranked_cells *ranked, emc_ranked_cell *cell, bool *more)
{
    *cell = (emc_ranked_cell){.message = ""};
    *more = false;
    if (ranked->is_broken)
        return emc_fail(EMC_ERR_ARG, "ranked cells: next after an error");
    if (!ranked->has_reader) {
        ranked->is_broken = true;
        EMC_TRY(start_threads(ranked));
        ranked->is_broken = false;
    }
    slot *s = wait_for_slot(ranked);
    if (!s)
        return EMC_OK;
    if (s->status != EMC_OK) {
        ranked->is_broken = true;
        return emc_fail(s->status, "%s", s->message);
    }
    give(ranked, s, cell);
    *more = true;
    return EMC_OK;
}
