#pragma once
/* Operations on single rows, in double. */

/* out[i] = weight[i] x[i] / sqrt(mean(x^2) + eps); x and out may be one. */
void ref_rmsnorm(double *out, const double *x, const double *weight, int dim, double eps);

/* Turns pairs (i, i + dim/2) of x by the angles whose (cos, sin) are table[2i], table[2i + 1].
 * size[i] = the sum of the sizes of out[i]'s terms. */
void ref_rope(double *out, double *size, const double *x, const double *table, int dim);

double ref_silu(double g);
