#include "annotate/evaluate/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void emc_bootstrap_draw(double *weights, int n, const int *cluster, int n_clusters, int *drawn,
                        emc_random *random)
{
    memset(drawn, 0, (size_t)n_clusters * sizeof *drawn);
    for (int i = 0; i < n_clusters; i++)
        drawn[emc_random_below(random, (uint64_t)n_clusters)]++;
    for (int i = 0; i < n; i++)
        weights[i] = drawn[cluster[i]];
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double emc_quantile(double *values, int n, double q)
{
    int kept = 0;

    for (int i = 0; i < n; i++)
        if (!isnan(values[i]))
            values[kept++] = values[i];
    if (kept == 0)
        return NAN;
    qsort(values, (size_t)kept, sizeof *values, by_value);
    const double place = q * (kept - 1);
    const int below = (int)floor(place);
    if (below + 1 >= kept)
        return values[kept - 1];
    return values[below] + (place - below) * (values[below + 1] - values[below]);
}

double emc_bootstrap_p(const double *differences, int n)
{
    int low = 0, high = 0;

    for (int i = 0; i < n; i++) {
        low += differences[i] <= 0;
        high += differences[i] >= 0;
    }
    const double p = 2.0 * (1 + (low < high ? low : high)) / (n + 1);
    return p < 1 ? p : 1;
}

double emc_mcnemar(int64_t a_only, int64_t b_only)
{
    const int64_t n = a_only + b_only, least = a_only < b_only ? a_only : b_only;
    double tail = 0;

    for (int64_t k = 0; k <= least; k++)
        tail += exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) -
                    (double)n * log(2));
    return 2 * tail < 1 ? 2 * tail : 1;
}

void emc_wilson(double n_right, double n, double *low, double *high)
{
    const double z = 1.959963984540054; /* the 97.5 % point of the normal distribution */

    *low = *high = NAN;
    if (!(n > 0))
        return;
    const double p = n_right / n, centre = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *low = centre - half > 0 ? centre - half : 0;
    *high = centre + half < 1 ? centre + half : 1;
}
