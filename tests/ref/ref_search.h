#pragma once
/* The closed set of answers by brute force, from the ids alone. */

#include <stdint.h>

#include "runtime/emcell.h"

/* Choice c is ids[begin[c]] .. ids[begin[c + 1]); edges[i] is the log-probability of ids[i] after
 * those before it in its choice. */
typedef struct {
    const int32_t *ids;
    const int32_t *begin;
    const double *edges;
    int n;
} ref_search_table;

/* [n] each. */
void ref_search_scores(double *log_probs, double *scores, const ref_search_table *table,
                       const emc_scoring *scoring);

/* The highest score, the lowest choice on a tie. */
int ref_search_best(const double *scores, int n);

/* The share of choice c, and what is left of 1 by all probabilities. */
double ref_search_share(const double *scores, int n, double temperature, int c);
double ref_search_outside(const double *log_probs, int n);

/* Token by token the likeliest of those that a longer choice goes on with. */
int ref_search_greedy(const ref_search_table *table);

/* The choices that begin with ids[0] .. ids[n - 1] and are longer. Returns how many. */
int ref_search_below(int *out, const ref_search_table *table, const int32_t *ids, int n);
