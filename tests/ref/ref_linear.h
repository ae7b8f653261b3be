#pragma once
/* Linear layers and the head in double, the plain way. */

#include <stddef.h>
#include <stdint.h>

/* A low-rank update; a NULL: none. */
typedef struct {
    const double *a;            /* [rank, k] */
    const double *b;            /* [w_rows, rank] */
    const double *column_scale; /* [w_rows] or NULL */
    int rank;
} ref_lora;

/* out[r][j] = (sum_i x[r][i] w[first + j][i] + lora) + residual[r][j], and in magnitude[r][j] the
 * same sums over absolute values, for tolerances. residual may be NULL. */
void ref_linear(double *out, double *magnitude, const double *x, const double *w, int first, int n,
                int k, const ref_lora *lora, const double *residual, int rows);

/*
 * Adds to slack[r][j] what the roundings beside the store may do to ref_linear's out[r][j] on a
 * device that multiplies in bf16 alone, u the relative error of one rounding: of a and b, of
 * t = x a^T, of t b^T (with the residual in it, where there is no column scale), and of y before
 * the scale. The first three are sums of independent errors, of which four times the root of the
 * sum of squares is allowed (with u the largest of each error, that is seven times the deviation);
 * the others are single errors.
 */
void ref_add_lora_roundings(double *slack, double u, const double *x, const double *w, int first,
                            int n, int k, const ref_lora *lora, const double *residual, int rows);

/* log of the sum of exp of n values. */
double ref_log_sum(const double *logits, int n);
