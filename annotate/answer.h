#pragma once
/* What do the model's numbers or words say about a cell? Probabilities, label, status, reason. */

#include <stddef.h>
#include <stdint.h>

#include "annotate/labels.h"
#include "base/status.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a cell ended. The names are the values of the column `status`. */
typedef enum {
    EMC_CELL_OK,            /* "ok" */
    EMC_CELL_UNKNOWN,       /* "unknown": the best label is below a threshold */
    EMC_CELL_INVALID,       /* "invalid": the generated text means no label */
    EMC_CELL_TOO_FEW_GENES, /* "too_few_genes": not asked */
    EMC_CELL_EMPTY,         /* "empty": no gene is expressed; not asked */
    EMC_CELL_FAILED         /* "failed": it could not be asked */
} emc_cell_status;
#define EMC_N_CELL_STATUSES 6
const char *emc_cell_status_name(emc_cell_status status);

#define EMC_TOP 3

/* The verdict on one cell. Numbers that do not exist are NaN, labels that do not are -1. */
typedef struct {
    emc_cell_status status;
    const char *reason; /* a short word, static: "low_score", ...; "" when ok */
    int label;          /* the answer; -1 unless ok */
    int top[EMC_TOP];   /* the best labels, likeliest first, whatever the status */
    double top_prob[EMC_TOP];
    double score;                 /* probability of top[0] over the label set, or the middle of */
    double score_low, score_high; /* the bounds on it; all three are equal when it is known */
    double margin;                /* top_prob[0] - top_prob[1] */
    double entropy;      /* of the whole distribution, natural logarithm: 0 to log(n_labels) */
    double invalid_mass; /* what the model would say beside the label set; NaN unless asked for */
} emc_verdict;

typedef struct {
    double temperature;   /* > 0 */
    double unknown_below; /* 0: never */
    double margin_below;  /* 0: never; scores alone tell a margin */
} emc_thresholds;

/*
 * From the scores of all labels, as emc_answer has them: probs[i] = exp(scores[i] / T) / sum_j
 * exp(scores[j] / T), in double. The higher score comes first whatever rounding makes of the
 * probabilities, and ties go to the lower index, so to the order of the labels. A probability of
 * the best below unknown_below is unknown with reason "low_score"; else a margin below margin_below
 * is unknown with reason "low_margin".
 *
 *   scores [n]; -inf is a probability of 0
 *   probs  [n] out, or NULL
 *
 * n >= 1. A NaN, +inf, or nothing but -inf gives failed with reason "not_a_number".
 */
void emc_verdict_from_scores(emc_verdict *out, const double *scores, int n,
                             const emc_thresholds *thresholds, double *probs);

/*
 * From the label that was found and bounds on its probability, where not every score is known: the
 * numbers of other labels, the margin and the entropy are NaN. The middle of the bounds is what
 * unknown_below is compared with; where emc_scoring.threshold was the same number, both bounds lie
 * on its side of it. margin_below is not looked at.
 */
void emc_verdict_from_found(emc_verdict *out, const emc_found *found,
                            const emc_thresholds *thresholds);

/*
 * From a model's own words. ok: they mean one label; else invalid with reason "ambiguous_answer"
 * (several labels), "cut_off" (max_tokens came before an end), "empty_answer" or
 * "no_label". There is no probability: the numbers are NaN.
 */
emc_status emc_verdict_from_text(emc_verdict *out, const emc_labels *labels, const char *text,
                                 size_t n, bool ended);

/* A cell that was not asked: status and reason, numbers NaN. reason is static. */
void emc_verdict_not_asked(emc_verdict *out, emc_cell_status status, const char *reason);

#ifdef __cplusplus
}
#endif
