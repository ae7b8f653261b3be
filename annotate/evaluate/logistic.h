#pragma once
/* Multinomial logistic regression with an L2 penalty, over sparse rows. */

#include <signal.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows [n_rows] of n_features, CSR: row r holds entries begin[r] .. begin[r + 1] - 1. */
typedef struct {
    int n_rows, n_features;
    const int64_t *begin;
    const int32_t *feature;
    const double *value;
} emc_sparse_rows;

typedef struct {
    int n_classes, n_features;
    double *weights;    /* [n_classes][n_features] */
    double *intercepts; /* [n_classes] */
    int n_iterations;
    double gradient; /* the largest part of it at the end, in absolute value */
} emc_logistic;

/*
 * Minimises  C * sum_r -log softmax(W x_r + b)[class[r]]  +  1/2 |W|^2  by L-BFGS (Liu and Nocedal
 * 1989, Math. Program. 45:503; ten pairs, backtracking by Armijo's rule) until the largest part of
 * the gradient is at most `tolerance`, after `most` steps, or when rounding leaves no better step;
 * `gradient` says where it ended. Intercepts are not penalised. Convex,
 * so where it starts (zero) does not matter. EMC_ERR_CANCELLED. Free *out in any case.
 */
emc_status emc_logistic_fit(emc_logistic *out, const emc_sparse_rows *rows, const int *classes,
                            int n_classes, double c, double tolerance, int most,
                            const volatile sig_atomic_t *cancel);
void emc_logistic_free(emc_logistic *model);

/* Probabilities [n_classes] of one row of n entries. */
void emc_logistic_predict(double *probs, const emc_logistic *model, const int32_t *feature,
                          const double *value, int64_t n);

#ifdef __cplusplus
}
#endif
