#include "ref/ref_search.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static int length(const ref_search_table *table, int c)
{
    return table->begin[c + 1] - table->begin[c];
}

static bool begins_with(const ref_search_table *table, int c, const int32_t *ids, int n)
{
    return length(table, c) >= n &&
           memcmp(table->ids + table->begin[c], ids, (size_t)n * sizeof *ids) == 0;
}

static double joint(const ref_search_table *table, int c, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += table->edges[table->begin[c] + i];
    return sum;
}

void ref_search_scores(double *log_probs, double *scores, const ref_search_table *table,
                       const emc_scoring *scoring)
{
    int common = 0;

    for (bool shared = true; shared;) {
        for (int c = 0; c < table->n; c++)
            shared = shared && length(table, c) > common &&
                     begins_with(table, c, table->ids, common + 1);
        common += shared ? 1 : 0;
    }
    for (int c = 0; c < table->n; c++) {
        const int n = length(table, c);

        log_probs[c] = joint(table, c, n);
        switch (scoring->rule) {
        case EMC_SCORING_JOINT:
            scores[c] = log_probs[c];
            break;
        case EMC_SCORING_MEAN:
            scores[c] = log_probs[c] / n;
            break;
        case EMC_SCORING_FIRST:
            scores[c] = joint(table, c, n < common + 1 ? n : common + 1);
            break;
        case EMC_SCORING_PRIOR:
            scores[c] = log_probs[c] - scoring->log_priors[c];
            break;
        }
    }
}

int ref_search_best(const double *scores, int n)
{
    int best = 0;

    for (int c = 1; c < n; c++)
        if (scores[c] > scores[best])
            best = c;
    return best;
}

double ref_search_share(const double *scores, int n, double temperature, int c)
{
    long double sum = 0;

    for (int i = 0; i < n; i++)
        sum += expl(((long double)scores[i] - scores[c]) / temperature);
    return (double)(1 / sum);
}

double ref_search_outside(const double *log_probs, int n)
{
    long double left = 1;

    for (int c = 0; c < n; c++)
        left -= expl((long double)log_probs[c]);
    return left > 0 ? (double)left : 0;
}

int ref_search_greedy(const ref_search_table *table)
{
    int at = -1; /* the lowest choice of the way so far, n tokens of it */

    for (int n = 0;; n++) {
        const int32_t *way = table->ids + (at < 0 ? 0 : table->begin[at]);
        int next = -1;

        for (int c = 0; c < table->n; c++)
            if (begins_with(table, c, way, n) && length(table, c) > n &&
                (next < 0 || joint(table, c, n + 1) > joint(table, next, n + 1)))
                next = c;
        if (next >= 0) {
            at = next;
            continue;
        }
        for (int c = 0; c < table->n; c++)
            if (length(table, c) == n && begins_with(table, c, way, n))
                return c;
    }
}

int ref_search_below(int *out, const ref_search_table *table, const int32_t *ids, int n)
{
    int n_below = 0;

    for (int c = 0; c < table->n; c++)
        if (length(table, c) > n && begins_with(table, c, ids, n))
            out[n_below++] = c;
    return n_below;
}
