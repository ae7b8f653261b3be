#pragma once
/* What is counted over all rows of a run, one shard in memory at a time. */

#include "annotate/merge.h"
#include "annotate/plan.h"
#include "annotate/report/report.h"
#include "cells/groups.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TALLY_BINS 1000 /* of the probability: quantiles are good to 0.001 */

/* A cell that the model was not sure of. Strings are owned. */
typedef struct {
    char *cell_id;
    int64_t row;
    int label, next; /* the likeliest and the one after it, -1: not known */
    double score, next_score;
    emc_cell_status status;
} tally_cell;

typedef struct {
    const char *reason; /* static */
    emc_cell_status status;
    int64_t n;
} tally_reason;

/* Zero-initialise; tally_free. */
typedef struct {
    int n_labels;
    int64_t n_cells;
    int64_t n_status[EMC_N_CELL_STATUSES];
    int64_t *n_label; /* [n_labels] with status ok */
    int64_t *bins;    /* [n_labels + 1][TALLY_BINS] of the score by the likeliest label; the last
                         row: of all */
    tally_reason reasons[32];
    int n_reasons;
    tally_cell *low; /* [n_low] by rising score */
    int n_low, low_room;
    emc_groups *groups; /* NULL: none wanted */
    double *by_group;   /* [n_groups][n_labels + 1] cells with status ok, last: all others */
} tally;

void tally_free(tally *t);
emc_status tally_run(tally *t, const emc_survey *survey, const char *dir, const emc_plan *plan,
                     const emc_report_run_options *options);

/* The q-quantile of a label's scores, or of all for n_labels; NaN without any. */
double tally_quantile(const tally *t, int label, double q);

#ifdef __cplusplus
}
#endif
