#pragma once
/* What would a run do, and take? Every cell is read, ranked and prompted; no weight is read, and
 * nothing is written. */

#include <stdint.h>

#include "annotate/run.h"
#include "base/status.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tokens of the prompts that would be asked, all zero where there are none. p50 and p95: the least
 * number that so many per cent of the prompts do not exceed. */
typedef struct {
    int64_t n_prompts;
    int64_t total;
    double mean;
    int min, p50, p95, max;
    int64_t *n_of_length; /* [max + 1], prompts of so many tokens; NULL without prompts */
} emc_token_counts;

/* Strings are owned by it. */
typedef struct {
    char *input_description; /* format, shape, matrix */
    int64_t n_rows, n_cells; /* of the file; chosen */
    int n_genes;             /* of the file */
    int n_genes_renamed;
    int n_genes_listed; /* of a cell, at most */
    double gene_match;  /* the share of names that are known */

    char *profile_name;
    emc_answer_mode answer;
    int max_tokens; /* generate */
    int n_labels;
    int n_choice_ids;  /* tokens of all labels, the ending of each included */
    int longest_label; /* tokens, the ending included */
    int n_inner;       /* beginnings that labels share or have, each counted once */
    int n_fixed;       /* tokens of a prompt without genes */
    int max_prompt;    /* tokens; a longer one would not be asked */

    /* Cells as a run would find them before it asks the model: ok ones are asked. */
    int64_t n_status[EMC_N_CELL_STATUSES];
    int64_t n_too_long;  /* of the failed ones */
    int64_t n_unread;    /* of shards that cannot be read and would be given up: left out */
    char *unread_reason; /* the first time; NULL: none */
    double seconds_read;

    emc_token_counts tokens;
    int prefix_tokens;     /* computed once; 0: none */
    int64_t n_with_prefix; /* prompts that begin with it */

    char *run_dir;                   /* NULL: a temporary one */
    bool begun;                      /* it has a run, which would be joined */
    int64_t n_shards, n_shards_done; /* of that run */

    char *device_name, *device, *device_reason; /* as emc_model_info */
    char *device_absent;                        /* "": it is there */
    emc_dtype dtype;
    int64_t n_parameters;
    int n_layers;
    int max_positions;

    emc_answer_cost answer_cost; /* of a cell */
    emc_workload work;
    emc_flop flop;
    emc_engine_estimate engine;
    bool fits;
    char *does_not_fit; /* why not, and which option helps; "" where it does */

    bool is_timed;          /* ceilings and seconds are known: the device is there */
    emc_ceilings ceilings;  /* measured now */
    emc_time_estimate time; /* n_steps in any case */
} emc_dry_run;

void emc_dry_run_close(emc_dry_run *dry); /* NULL is fine */

/*
 * Errors are those of emc_annotate up to the opening of the model, with the same lines. Outputs and
 * the run folder are checked, and nothing is left behind: an empty file beside an output's name
 * tries whether it can be written, and goes again; a file that must be turned on disk is, in
 * scratch_dir. A model that does not fit is no error, and neither is a GPU that is not there. With
 * options->resume everything is said of all cells, also those that are done. on_progress, on_log
 * and cancel of the options as there.
 */
emc_status emc_annotate_dry_run(emc_dry_run **out, const emc_annotate_options *options);

#ifdef __cplusplus
}
#endif
