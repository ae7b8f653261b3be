#pragma once
/* From a run's shards to its results: every shard is checked, rows come in the order of the input,
 * and one shard is in memory at a time. */

#include <stdint.h>

#include "annotate/plan.h"
#include "annotate/results.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { EMC_SHARD_MISSING, EMC_SHARD_DONE, EMC_SHARD_DAMAGED } emc_shard_state;

/* What a run folder holds. Zero-initialise; then emc_survey_free. */
typedef struct {
    unsigned char *state; /* [n_shards] of emc_shard_state */
    int64_t n_shards, n_done, n_damaged;
    char message[512]; /* about the first damaged shard; "" */

    /* Of the rows of whole shards. */
    int64_t n_cells;
    int64_t n_status[EMC_N_CELL_STATUSES];
    int64_t *n_label; /* [n_labels], cells with status ok and this label */
    double sum_score;
    int64_t n_scores;
} emc_survey;

void emc_survey_free(emc_survey *survey);

/*
 * Reads every shard there is: its length, checksum, that it is this plan's, and that rows rise from
 * each to the next. One that is not so is damaged, which is no error. EMC_ERR_IO.
 */
emc_status emc_survey_make(emc_survey *out, const char *dir, const emc_plan *plan);

/* Writes the results of the shards that the survey found whole. input_path NULL: where the plan's
 * note says. Errors as emc_results_write; EMC_ERR_FORMAT: a shard was damaged since. */
emc_status emc_merge_write(const emc_survey *survey, const char *dir, const emc_plan *plan,
                           const emc_results_options *results, const char *input_path);

/* The same checks before there are rows. */
emc_status emc_merge_check(const emc_plan *plan, const emc_results_options *results,
                           const char *input_path);

/* `emcell merge`. Zero-initialise. */
typedef struct {
    const char *run_dir;
    const char *input_path; /* where the input is now; NULL: where it was */
    bool allow_partial;     /* write what is there */
    emc_results_options results;
} emc_merge_options;

typedef struct {
    int64_t n_cells, n_missing_cells, n_shards, n_missing_shards;
    int64_t n_failed_cells;
} emc_merge_summary;

/*
 * Without a model. EMC_ERR_CONFIG: shards are missing or damaged and allow_partial is not set; the
 * line names the first and says how to get them. EMC_ERR_CONFIG: an output needs the input, and it
 * is not the file that the run read. Other errors as emc_plan_read and emc_results_write.
 */
emc_status emc_merge(emc_merge_summary *out, const emc_merge_options *options);

#ifdef __cplusplus
}
#endif
