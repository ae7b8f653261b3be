#pragma once
/*
 * Do probabilities mean what they say, and does a low score warn of a mistake? Items come sorted by
 * rising confidence with a weight each; what is computed does not depend on the order of items with
 * the same confidence.
 */

#ifdef __cplusplus
extern "C" {
#endif

/* Items [n] by rising confidence. Weights are whole numbers, 0 leaves an item out. */
typedef struct {
    int n;
    const double *confidence; /* probability of the answer, 0 to 1; -1: no number, the least sure */
    const double *right;      /* 0 or 1 */
    const double *weight;
} emc_confidences;

typedef struct {
    double low, high; /* of the confidences that fall into it: [low, high) by width, the last
                         closed; by mass, the least and the greatest in it */
    double n, confidence, accuracy; /* means; NaN in an empty one */
} emc_bin;

/* n_bins of equal width over 0 to 1, or of equal mass: an item with confidence c belongs to bin
 * floor(n_bins * W / N), W being the weight of items of lower confidence, N of all. Items without a
 * number take no part. bins [n_bins] out. */
void emc_bins_width(emc_bin *bins, int n_bins, const emc_confidences *c);
void emc_bins_mass(emc_bin *bins, int n_bins, const emc_confidences *c);

/* Expected calibration error: sum over bins of n / N * |accuracy - confidence|. NaN without items.
 * Naeini et al. 2015, AAAI; Guo et al. 2017, ICML. */
double emc_ece(const emc_bin *bins, int n_bins);

/* Area under the risk-coverage curve: the mean over k = 1 .. N of the share wrong among the k
 * surest. Within items of one confidence the expected value over all orders. Geifman and El-Yaniv
 * 2017, NeurIPS; Ding et al. 2020. */
double emc_aurc(const emc_confidences *c);

/* The share right among the ceil(coverage * N) surest; likewise. */
double emc_accuracy_at(const emc_confidences *c, double coverage);

/* Of one item with probs [n_labels]: the sum over labels of (p - y)^2, y being 1 for the right one
 * (Brier 1950, Mon. Weather Rev. 78:1); -log of the right one's, which counts as 1e-15 at least. */
double emc_brier(const double *probs, int n_labels, int gold);
double emc_nll(const double *probs, int gold);

/* How well low confidence tells unknown items from known ones. AUROC: the probability that an
 * unknown one has the lower confidence, half where equal. FPR95: the share of known ones at or
 * below the lowest confidence at which at least 95 % of the unknown are caught. NaN where one kind
 * is missing. */
double emc_auroc(const double *known, int n_known, const double *unknown, int n_unknown);
double emc_fpr95(const double *known, int n_known, const double *unknown, int n_unknown);

#ifdef __cplusplus
}
#endif
