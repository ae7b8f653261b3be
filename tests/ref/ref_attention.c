#include "ref/ref_attention.h"

#include <math.h>
#include <stdlib.h>

void ref_attention(double *out, double *spread, double *steepness, const double *q,
                   const double *const *k, const double *const *v, int n_keys, int dim,
                   double scale)
{
    double *score = calloc((size_t)n_keys, sizeof *score);
    double largest = -INFINITY, total = 0;

    *steepness = 0;
    for (int j = 0; j < n_keys; j++) {
        double size = 0;
        for (int d = 0; d < dim; d++) {
            score[j] += scale * q[d] * k[j][d];
            size += fabs(scale * q[d] * k[j][d]);
        }
        largest = fmax(largest, score[j]);
        *steepness = fmax(*steepness, size);
    }
    for (int j = 0; j < n_keys; j++)
        total += exp(score[j] - largest);
    for (int d = 0; d < dim; d++) {
        out[d] = spread[d] = 0;
        for (int j = 0; j < n_keys; j++) {
            const double p = exp(score[j] - largest) / total;
            out[d] += p * v[j][d];
            spread[d] += p * fabs(v[j][d]);
        }
    }
    free(score);
}
