#pragma once
/* How sure is a figure? Resampling of whole embryos, and tests between systems on the same items.
 */

#include <stdint.h>

#include "base/random.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One resample: as many clusters as there are, drawn with replacement; weights [n] out: how often
 * each item's cluster was drawn. cluster [n], 0 .. n_clusters - 1; drawn [n_clusters] is scratch.
 * Cells of an embryo are near-duplicates, so that embryos and not cells are drawn: Field and Welsh
 * 2007, J. R. Stat. Soc. B 69:369. */
void emc_bootstrap_draw(double *weights, int n, const int *cluster, int n_clusters, int *drawn,
                        emc_random *random);

/* The q-quantile of values, which are sorted here, NaN left out; between two by straight line, as
 * NumPy's default. NaN without any. */
double emc_quantile(double *values, int n, double q);

/* Two-sided, from differences: 2 (1 + the lesser count of those <= 0 and >= 0) / (n + 1), at
 * most 1. */
double emc_bootstrap_p(const double *differences, int n);

/* The exact test of McNemar: a_only and b_only items on which one alone is right; two-sided
 * binomial with p = 1/2, twice the lesser tail, at most 1. McNemar 1947, Psychometrika 12:153. */
double emc_mcnemar(int64_t a_only, int64_t b_only);

/* Wilson's 95 % interval of a share. Wilson 1927, J. Am. Stat. Assoc. 22:209. */
void emc_wilson(double n_right, double n, double *low, double *high);

#ifdef __cplusplus
}
#endif
