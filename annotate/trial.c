#include "annotate/trial.h"

#include <math.h>
#include <string.h>

#include "annotate/progress.h"

#define SHARD_SECONDS 20.0 /* at most so much is lost by a kill, and 30 is promised */
#define TRIAL_SECONDS 0.5
#define MAX_CELLS     256
/* A device that queues computes a step in the time of its whole rows, so one cell alone takes as
 * long as many together: so many, unless one took longer than this. */
#define QUEUED_CELLS   64
#define QUEUED_SECONDS 4.0
#define DEFAULT_CELLS  500
/* A shard stands in memory when it is written and when it is merged: of 250 to 400 bytes a cell
 * with the probabilities of 28 labels. Whoever is so fast has shorter shards. */
#define LONGEST_SHARD 65000

static emc_status poll_one(const emc_pipeline *p, int *n_asked)
{
    emc_answer answer;
    bool got;

    EMC_TRY(emc_engine_poll(p->engine, &answer, &got));
    if (!got)
        return emc_fail(EMC_ERR_INTERNAL, "the engine lost %d cells", *n_asked);
    --*n_asked;
    return EMC_OK;
}

static emc_status ask(const emc_pipeline *p, const emc_input_cell *cell, emc_rendered *prompt,
                      int *n_asked)
{
    emc_ids_clear(&prompt->ids);
    EMC_TRY(
        emc_prompter_render(p->prompter, cell->ranked.genes, cell->ranked.n_top, false, prompt));
    if (prompt->ids.n > (size_t)p->max_prompt)
        return EMC_OK;
    const emc_request request = {
        .ids = prompt->ids.ids,
        .n_ids = (int)prompt->ids.n,
        .ask = p->ask,
        .max_tokens = p->max_tokens,
    };
    while (emc_engine_is_full(p->engine))
        EMC_TRY(poll_one(p, n_asked));
    EMC_TRY(emc_engine_submit(p->engine, &request));
    ++*n_asked;
    return EMC_OK;
}

/* *whole is false when the input ended, or could not be read. */
static emc_status ask_cells(const emc_pipeline *p, int64_t first, int64_t n, emc_rendered *prompt,
                            bool *whole)
{
    int n_asked = 0;

    *whole = emc_input_seek(p->input, first, n) == EMC_OK;
    for (int64_t i = 0; *whole && i < n; i++) {
        emc_input_cell cell;
        if (p->cancel && *p->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        *whole = emc_input_next(p->input, &cell, whole) == EMC_OK && *whole;
        if (*whole && cell.status == EMC_CELL_OK)
            EMC_TRY(ask(p, &cell, prompt, &n_asked));
    }
    while (n_asked > 0)
        EMC_TRY(poll_one(p, &n_asked));
    return EMC_OK;
}

/* Of one cell, at its best: the first one also waits for the file's first block and for what a
 * device does once. */
static emc_status time_one(const emc_pipeline *p, emc_rendered *prompt, double *seconds,
                           bool *whole)
{
    const int64_t n_cells = emc_input_n_cells(p->input);

    *seconds = INFINITY;
    for (int64_t i = 0; i < 2 && i<n_cells && * seconds> TRIAL_SECONDS; i++) {
        const double begin = emc_seconds();
        EMC_TRY(ask_cells(p, i, 1, prompt, whole));
        if (!*whole)
            return EMC_OK;
        *seconds = fmin(*seconds, emc_seconds() - begin);
    }
    return EMC_OK;
}

static emc_status measure(const emc_pipeline *p, bool queues, emc_rendered *prompt,
                          double *cells_per_s)
{
    const int64_t n_cells = emc_input_n_cells(p->input);
    double seconds;
    bool whole;

    *cells_per_s = 0;
    if (n_cells < 1)
        return EMC_OK;
    EMC_TRY(time_one(p, prompt, &seconds, &whole));
    if (!whole)
        return EMC_OK;
    *cells_per_s = 1 / (seconds + 1e-6);
    /* Together they are faster: then all of them are one shard in any case. */
    if (seconds > (queues ? QUEUED_SECONDS : TRIAL_SECONDS) ||
        *cells_per_s * SHARD_SECONDS >= (double)n_cells)
        return EMC_OK;
    /* Every replica of the model is to have its part of them. */
    const int64_t n_replicas = emc_engine_count_replicas(p->engine);
    const int64_t least = (queues ? QUEUED_CELLS : 1) * n_replicas, most = MAX_CELLS * n_replicas;
    int64_t n = (int64_t)(TRIAL_SECONDS * *cells_per_s);
    n = n < least ? least : n > most ? most : n;
    if (n > n_cells - 1)
        n = n_cells - 1;
    const double begin = emc_seconds();
    EMC_TRY(ask_cells(p, 1, n, prompt, &whole));
    if (whole)
        *cells_per_s = (double)n / (emc_seconds() - begin + 1e-6);
    return EMC_OK;
}

emc_status emc_trial(int64_t *shard_cells, const emc_pipeline *pipeline, bool queues)
{
    emc_rendered prompt = {0};
    double cells_per_s;
    const emc_status status = measure(pipeline, queues, &prompt, &cells_per_s);

    emc_engine_cancel(pipeline->engine);
    emc_rendered_free(&prompt);
    EMC_TRY(status);
    *shard_cells = cells_per_s > 0 ? (int64_t)(SHARD_SECONDS * cells_per_s) : DEFAULT_CELLS;
    if (*shard_cells > LONGEST_SHARD)
        *shard_cells = LONGEST_SHARD;
    int64_t unit = 1;
    while (*shard_cells / unit >= 100)
        unit *= 10;
    *shard_cells -= *shard_cells % unit;
    if (*shard_cells < 1)
        *shard_cells = 1;
    return EMC_OK;
}
