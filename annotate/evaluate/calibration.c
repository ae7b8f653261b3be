#include "annotate/evaluate/calibration.h"

#include <math.h>
#include <stdbool.h>

static double weight_of(const emc_confidences *c, int first, int last)
{
    double sum = 0;

    for (int i = first; i < last; i++)
        sum += c->weight[i];
    return sum;
}

/* The first item behind those with the confidence of `first`. */
static int end_of_tie(const emc_confidences *c, int first)
{
    int end = first + 1;

    while (end < c->n && c->confidence[end] == c->confidence[first])
        end++;
    return end;
}

static void add_to(emc_bin *bin, const emc_confidences *c, int i)
{
    if (c->weight[i] == 0)
        return;
    bin->n += c->weight[i];
    bin->confidence += c->weight[i] * c->confidence[i];
    bin->accuracy += c->weight[i] * c->right[i];
}

static void finish(emc_bin *bins, int n_bins)
{
    for (int b = 0; b < n_bins; b++) {
        bins[b].confidence = bins[b].n > 0 ? bins[b].confidence / bins[b].n : NAN;
        bins[b].accuracy = bins[b].n > 0 ? bins[b].accuracy / bins[b].n : NAN;
    }
}

void emc_bins_width(emc_bin *bins, int n_bins, const emc_confidences *c)
{
    for (int b = 0; b < n_bins; b++)
        bins[b] = (emc_bin){.low = (double)b / n_bins, .high = (double)(b + 1) / n_bins};
    for (int i = 0; i < c->n; i++) {
        if (c->confidence[i] < 0)
            continue;
        int b = (int)(c->confidence[i] * n_bins);
        b = b < n_bins ? b : n_bins - 1;
        /* The product may round over an edge. */
        if (b > 0 && c->confidence[i] < bins[b].low)
            b--;
        else if (b + 1 < n_bins && c->confidence[i] >= bins[b].high)
            b++;
        add_to(&bins[b], c, i);
    }
    finish(bins, n_bins);
}

void emc_bins_mass(emc_bin *bins, int n_bins, const emc_confidences *c)
{
    int first = 0;

    for (int b = 0; b < n_bins; b++)
        bins[b] = (emc_bin){.low = NAN, .high = NAN};
    while (first < c->n && c->confidence[first] < 0)
        first++;
    const double total = weight_of(c, first, c->n);
    double before = 0;
    while (first < c->n && total > 0) {
        const int end = end_of_tie(c, first);
        const double weight = weight_of(c, first, end);
        if (weight > 0) {
            int b = (int)floor(n_bins * before / total);
            b = b < n_bins ? b : n_bins - 1;
            for (int i = first; i < end; i++)
                add_to(&bins[b], c, i);
            if (isnan(bins[b].low))
                bins[b].low = c->confidence[first];
            bins[b].high = c->confidence[first];
        }
        before += weight;
        first = end;
    }
    finish(bins, n_bins);
}

double emc_ece(const emc_bin *bins, int n_bins)
{
    double sum = 0, total = 0;

    for (int b = 0; b < n_bins; b++) {
        if (bins[b].n > 0)
            sum += bins[b].n * fabs(bins[b].accuracy - bins[b].confidence);
        total += bins[b].n;
    }
    return total > 0 ? sum / total : NAN;
}

/* Calls with the surest ties first: weight and mistakes of each. */
typedef struct {
    const emc_confidences *c;
    int end;
    double weight, wrong;
} tie;

static bool next_tie(tie *t)
{
    while (t->end > 0) {
        int first = t->end - 1;
        while (first > 0 && t->c->confidence[first - 1] == t->c->confidence[t->end - 1])
            first--;
        t->weight = weight_of(t->c, first, t->end);
        t->wrong = 0;
        for (int i = first; i < t->end; i++)
            t->wrong += t->c->weight[i] * (1 - t->c->right[i]);
        t->end = first;
        if (t->weight > 0)
            return true;
    }
    return false;
}

double emc_aurc(const emc_confidences *c)
{
    double sum = 0, n = 0, wrong = 0;

    for (tie t = {c, c->n, 0, 0}; next_tie(&t);) {
        for (int k = 1; k <= (int)t.weight; k++)
            sum += (wrong + k * t.wrong / t.weight) / (n + k);
        n += t.weight;
        wrong += t.wrong;
    }
    return n > 0 ? sum / n : NAN;
}

double emc_accuracy_at(const emc_confidences *c, double coverage)
{
    const double total = weight_of(c, 0, c->n), wanted = ceil(coverage * total - 1e-9);
    double n = 0, wrong = 0;

    if (!(wanted > 0))
        return NAN;
    for (tie t = {c, c->n, 0, 0}; n < wanted && next_tie(&t);) {
        const double taken = t.weight < wanted - n ? t.weight : wanted - n;
        wrong += t.wrong * taken / t.weight;
        n += taken;
    }
    return 1 - wrong / n;
}

double emc_auroc(const double *known, int n_known, const double *unknown, int n_unknown)
{
    double wins = 0;

    if (n_known == 0 || n_unknown == 0)
        return NAN;
    for (int u = 0; u < n_unknown; u++)
        for (int k = 0; k < n_known; k++)
            wins += unknown[u] < known[k] ? 1 : unknown[u] == known[k] ? 0.5 : 0;
    return wins / ((double)n_known * n_unknown);
}

double emc_fpr95(const double *known, int n_known, const double *unknown, int n_unknown)
{
    double threshold = INFINITY;
    int caught = 0;

    if (n_known == 0 || n_unknown == 0)
        return NAN;
    for (int t = 0; t < n_unknown; t++) { /* the lowest value with enough at or below it */
        int n = 0;
        for (int u = 0; u < n_unknown; u++)
            n += unknown[u] <= unknown[t];
        if (n >= 0.95 * n_unknown - 1e-9 && unknown[t] < threshold)
            threshold = unknown[t];
    }
    for (int k = 0; k < n_known; k++)
        caught += known[k] <= threshold;
    return (double)caught / n_known;
}

double emc_brier(const double *probs, int n_labels, int gold)
{
    double sum = 0;

    for (int k = 0; k < n_labels; k++) {
        const double y = k == gold;
        sum += (probs[k] - y) * (probs[k] - y);
    }
    return sum;
}

double emc_nll(const double *probs, int gold)
{
    return -log(fmax(probs[gold], 1e-15));
}
