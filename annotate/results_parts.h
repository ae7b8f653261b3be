#pragma once
/* Inside annotate/: the pieces that emc_results_write is made of. */

#include "annotate/results.h"
#include "cells/groups.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RESULTS_UNKNOWN       "unknown"
#define RESULTS_HETEROGENEOUS "Heterogeneous"

/* True when the main output is an .h5ad. */
bool results_is_h5ad(const emc_results_options *options);

/* ---- what is known of all rows after the first pass ---- */

#define RESULTS_MAX_REASONS 100

typedef struct {
    int64_t n_rows;
    const char *reasons[RESULTS_MAX_REASONS]; /* static words of answer.h, by their bytes */
    int n_reasons;
    int n_labels;
    int64_t *n_label; /* [n_labels], cells with status ok */

    emc_groups *groups; /* NULL without groupby */
    int64_t *votes;     /* [n_groups][n_labels + 1], the last for "unknown" */
    int32_t *winner;    /* [n_groups], -1: none; n_labels: "unknown"; n_labels + 1: heterogeneous */
    double *share;      /* [n_groups], NaN without votes */
} results_survey;

/* Reads the groupby column, and all rows once. EMC_ERR_INTERNAL: rows that do not rise within the
 * input. Free it in any case. */
emc_status results_survey_make(results_survey *survey, const emc_results_options *options,
                               const emc_results_run *run, const emc_result_source *source);
void results_survey_free(results_survey *survey);

/* The winner of a row's group, as in `winner`, and its share; -1 and NaN where there is none. */
int results_survey_winner(const results_survey *survey, int64_t row, double *share);

/* The name of a winner; NULL for -1. */
const char *results_winner_name(const emc_labels *labels, int winner);

/* ---- tables ---- */

typedef struct results_tables results_tables;

/* Opens the result table unless the main output is an .h5ad, and the table of probabilities where
 * one is asked for. Errors as emc_table_open. */
emc_status results_tables_open(results_tables **out, const emc_results_options *options,
                               const emc_results_run *run, const results_survey *survey);
void results_tables_close(results_tables *tables); /* removes what was not committed */
emc_status results_tables_add(results_tables *tables, const emc_result_row *row);
emc_status results_tables_flush(results_tables *tables); /* of the result table */
emc_status results_tables_commit(results_tables *tables);

/* ---- .h5ad ---- */

typedef struct results_h5ad results_h5ad;

/* Errors as emc_h5ad_out_check; survey NULL: what is checked before there are rows. */
emc_status results_h5ad_check(const emc_results_options *options, const emc_results_run *run);
emc_status results_h5ad_open(results_h5ad **out, const emc_results_options *options,
                             const emc_results_run *run, const results_survey *survey);
void results_h5ad_close(results_h5ad *h5ad); /* removes what was not committed */
emc_status results_h5ad_add(results_h5ad *h5ad, const emc_result_row *row);
emc_status results_h5ad_commit(results_h5ad *h5ad);

#ifdef __cplusplus
}
#endif
