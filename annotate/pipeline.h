#pragma once
/*
 * Cells through the model: a thread reads and prompts, a thread runs the engine, and the caller's
 * thread gets the answers in the order of the input.
 */

#include <signal.h>
#include <stdint.h>

#include "annotate/answer.h"
#include "annotate/input.h"
#include "annotate/prompt.h"
#include "base/status.h"
#include "base/text.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One cell on its way. */
typedef struct {
    int64_t row;
    emc_text cell_id;
    emc_cell_status status; /* ok: it was asked */
    const char *reason;     /* static */
    emc_text message;       /* of a failed cell: one line for people; else empty */
    int n_genes;            /* in the prompt */
    emc_rendered prompt;
    double *log_probs; /* [n_labels], full answers */
    emc_ids generated; /* generated answers */
    bool ended;
} emc_item;

/* All borrowed. */
typedef struct {
    emc_input *input;
    emc_prompter *prompter; /* its genes are the input's */
    emc_engine *engine;     /* with its choices set */
    emc_answer_mode answer;
    int max_tokens; /* generate */
    int max_prompt; /* tokens; a longer one fails with reason prompt_too_long */
    int n_labels;
    const volatile sig_atomic_t *cancel; /* may be NULL */
} emc_pipeline;

/*
 * Calls `each` once for every cell, in input order, on this thread; its failure ends the work. The
 * item is borrowed for the call. Memory: a fixed number of items.
 * EMC_ERR_CANCELLED: *cancel was set. Otherwise the first failure of any thread. After
 * EMC_ERR_DEVICE, cells that were answered before it have come, as far as no earlier one lacks.
 */
emc_status emc_pipeline_run(const emc_pipeline *pipeline,
                            emc_status (*each)(void *context, const emc_item *item), void *context);

#ifdef __cplusplus
}
#endif
