#pragma once
/* Attention of one query over a list of keys, and norm with rotation, in double. */

#include <stddef.h>

/* out[d] = sum_j softmax_j(scale * q . k_j) v_j[d]; key j's values at k[j] and v[j], [dim] each.
 * spread[d] = the same with |v_j[d]|, for tolerances; *steepness = the largest
 * |scale| * sum_d |q_d k_jd|. */
void ref_attention(double *out, double *spread, double *steepness, const double *q,
                   const double *const *k, const double *const *v, int n_keys, int dim,
                   double scale);
