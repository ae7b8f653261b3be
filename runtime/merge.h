#pragma once
/* Weights with a low-rank update added to them. For runtime/ only. */

#include "base/status.h"
#include "loader/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* row_scale[j] * (weight[j][i] + sum_r b[j][r] a[r][i]), in f32. */
typedef struct {
    const emc_tensor *weight; /* [n, k] */
    const float *a;           /* [rank, k] */
    const float *b;           /* [n, rank] at row stride b_stride */
    size_t b_stride;
    const float *row_scale; /* [n], or NULL: 1 */
    int rank;
} emc_update;

/* The whole of it in `out`, [n, k] in F32 or BF16, aligned as such: one rounding from f32. A row's
 * bits do not depend on n_threads >= 1. EMC_ERR_NOMEM. */
emc_status emc_update_merge(const emc_update *update, void *out, emc_dtype dtype, int n_threads);

/* norms[j] = 2-norm of row j, row_scale left out; summed in double. */
emc_status emc_update_norms(const emc_update *update, float *norms, int n_threads);

#ifdef __cplusplus
}
#endif
