#pragma once
/*
 * Cells through the model: a thread reads and prompts, a thread runs the engine, and the caller's
 * thread gets the answers in the order in which they were read. Cells come in ranges, one after
 * the other without a pause between them, so that the engine stays full across their borders.
 */

#include <signal.h>
#include <stdint.h>

#include "annotate/answer.h"
#include "annotate/flow.h"
#include "annotate/input.h"
#include "annotate/prompt.h"
#include "base/status.h"
#include "base/text.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Cells of the input that belong together: a shard. */
typedef struct {
    int64_t shard;    /* its number */
    int64_t first, n; /* positions among the chosen cells; n >= 1 */
} emc_range;

typedef enum {
    EMC_RANGE_GOT,  /* *range is to be read */
    EMC_RANGE_WAIT, /* none now: ask again in a moment */
    EMC_RANGE_END   /* no more */
} emc_range_outcome;

/* One cell on its way. */
typedef struct {
    emc_range range;  /* that it is of */
    int64_t position; /* among the chosen cells */
    int64_t sequence; /* counts the cells as they are read */
    int64_t row;      /* in the file */
    bool broken;      /* no cell: the rest of the range cannot be read; message says why */
    emc_text cell_id;
    emc_cell_status status; /* ok: it was asked */
    const char *reason;     /* static */
    emc_text message;       /* of a failed cell: one line for people; else empty */
    int n_genes;            /* in the prompt */
    emc_rendered prompt;
    emc_found found;   /* answers that choose a label */
    double *scores;    /* [n_labels] of the same where all of them are known: found.complete */
    emc_ids generated; /* generated answers */
    bool ended;
} emc_item;

/* All borrowed. */
typedef struct {
    emc_input *input;
    emc_prompter *prompter; /* its genes are the input's */
    emc_engine *engine;     /* with its choices set */
    emc_ask ask;
    int max_tokens; /* EMC_ASK_GENERATE */
    int max_prompt; /* tokens; a longer one fails with reason prompt_too_long */
    int n_labels;
    const volatile sig_atomic_t *cancel; /* may be NULL */
    double finish_seconds;               /* after *cancel was set, for what the engine holds */
    emc_flow *flow;                      /* begun; is told what happens; may be NULL */

    /* What to read next; called on the thread that reads. */
    emc_status (*next)(void *context, emc_range *range, emc_range_outcome *outcome);
    /* Every cell once, and a broken range once after the cells of it that could be read; in the
     * order of reading, on the caller's thread. The item is borrowed for the call. */
    emc_status (*each)(void *context, const emc_item *item);
    /* A replica of the model has failed and n_left others go on; on the caller's thread, the
     * message is borrowed. NULL: such a failure ends the work. */
    void (*on_failed_replica)(void *context, const char *message, int n_left);
    void *context;
} emc_pipeline;

/*
 * Reads and answers until `next` says that there is no more. A failure of a callback ends the work.
 * Memory: a fixed number of items.
 * EMC_ERR_CANCELLED: *cancel was set. Then nothing more is read or asked, what the engine holds is
 * finished, as far as finish_seconds allow, and all of it has come: the beginning of the cells that
 * were to be read. When they did not suffice, and after EMC_ERR_DEVICE or EMC_ERR_LOST, cells that
 * were answered have come as far as no earlier one lacks. Otherwise the first failure of any
 * thread.
 */
emc_status emc_pipeline_run(const emc_pipeline *pipeline);

#ifdef __cplusplus
}
#endif
