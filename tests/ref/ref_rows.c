#include "ref/ref_rows.h"

#include <math.h>

void ref_rmsnorm(double *out, const double *x, const double *weight, int dim, double eps)
{
    double squares = 0;

    for (int i = 0; i < dim; i++)
        squares += x[i] * x[i];
    for (int i = 0; i < dim; i++)
        out[i] = weight[i] * x[i] / sqrt(squares / dim + eps);
}

void ref_rope(double *out, double *size, const double *x, const double *table, int dim)
{
    for (int i = 0; i < dim; i++) {
        const int pair = i < dim / 2 ? i : i - dim / 2;
        const double c = table[2 * pair], s = table[2 * pair + 1];
        const double other = i < dim / 2 ? -x[i + dim / 2] : x[i - dim / 2];
        out[i] = x[i] * c + other * s;
        size[i] = fabs(x[i] * c) + fabs(other * s);
    }
}

double ref_silu(double g)
{
    return g / (1.0 + exp(-g));
}
