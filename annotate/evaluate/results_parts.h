#pragma once
/* Inside evaluate/: what is computed before evaluation.json is written. */

#include "annotate/evaluate/bootstrap.h"
#include "annotate/evaluate/calibration.h"
#include "annotate/evaluate/metrics.h"
#include "annotate/evaluate/results.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In the order of evaluation.json: metrics first, rates behind them. */
enum {
    METRIC_ACCURACY,
    METRIC_ACCURACY_VALID,
    METRIC_BALANCED_ACCURACY,
    METRIC_MACRO_F1,
    METRIC_WEIGHTED_F1,
    METRIC_MCC,
    METRIC_KAPPA,
    METRIC_SCTAB,
    METRIC_GRADED,
    METRIC_LINEAGE,
    METRIC_HIERARCHICAL_F1,
    METRIC_ECE_WIDTH,
    METRIC_ECE_MASS,
    METRIC_BRIER,
    METRIC_NLL,
    METRIC_AURC,
    METRIC_COVERAGE_80,
    METRIC_COVERAGE_90,
    METRIC_COVERAGE_95,
    N_METRICS,
    RATE_INVALID = N_METRICS,
    RATE_OFF_LIST,
    RATE_EMPTY,
    RATE_FORMAT_FAILURE,
    RATE_TRUNCATED,
    RATE_SEVERAL,
    N_FIGURES
};
extern const char *const figure_names[N_FIGURES];

/* The items of one pass, as the metrics want them. Arrays are [n]. */
typedef struct {
    int n, n_labels;
    int *gold, *answer; /* classes of metrics.h */
    emc_worth *worth;
    double *right;        /* 0 or 1 */
    double *brier, *nll;  /* NaN without probabilities, and where the right label is none */
    double *rate[6];      /* 0 or 1 each */
    int *order;           /* items by rising confidence */
    double *confidence;   /* in that order; -1 without a number */
    double *sorted_right; /* likewise */
    double *scratch;      /* likewise: weights */
    double *counts;       /* [n_labels + 1][n_labels + 2] */
    bool has_scores, has_probs;
    int n_bins;
    emc_bin *bins;
} scored;

/* held_out: a label whose items are right when they are called unknown; -1. EMC_ERR_CONFIG: an item
 * without a prediction. */
emc_status scored_make(scored *s, const emc_evaluation *e, const emc_predictions *predictions,
                       bool has_probs, int held_out);
void scored_free(scored *s);

/* All figures for these weights; NaN where one does not exist. */
void scored_figures(double out[N_FIGURES], scored *s, const double *weights);

typedef struct {
    double value, low, high;
} interval;

/* A system's plain pass and what came out. */
typedef struct {
    const emc_system *system;
    const emc_predictions *predictions;
    scored scored;
    interval figures[N_FIGURES];
    double *accuracies; /* [n_bootstrap] of the resamples */
    double seconds;
} system_result;

/* Both figures and intervals of all systems, over the same resamples. */
emc_status bootstrap_systems(system_result *results, int n, const emc_evaluation *e,
                             const double *ones);

/* {...} of one system, appended. */
emc_status results_add_system(emc_text *out, const emc_evaluation *e, const system_result *r);

/* Pieces of JSON. */
emc_status results_add_number(emc_text *out, const char *key, double value);
emc_status results_add_string(emc_text *out, const char *key, const char *value);
/* Embryos are told apart within a dataset. The number of different ones among the items. */
emc_status results_count(int *n_embryos, int *n_datasets, const emc_evaluation *e);
/* A number for each item's embryo, or for the item where none is told; how many. */
emc_status results_clusters(int **out, int *n_clusters, const emc_evaluation *e);

#ifdef __cplusplus
}
#endif
