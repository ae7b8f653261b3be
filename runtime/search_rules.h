#pragma once
/*
 * What a trie and a way of scoring say about each node. For runtime/ only.
 *
 * Bounds on the choices below a node v, those that end past it, from its joint probability q. Let
 * D be the depth of the deepest one, n their number, T the temperature.
 *
 * The best score below. Joint log-probabilities never rise on the way down (an edge is at most 0,
 * and rounding keeps order), so no choice below has more than log q; divided by its depth, at most
 * D and the joint at most 0, no more than log q / D; less its log-prior, no more than log q less
 * the smallest. Each step is one correctly rounded operation that keeps order, so this holds in
 * floating point as it stands, without a margin: ties are ties.
 *
 * The mass below, the sum of exp(s / T). A choice c below with joint q_c and depth d has q_c^(1 /
 * T) for the joint rule, and q_c^(1 / (T d)) <= q_c^(1 / (T D)) for the mean, as q_c <= 1. So with
 * p = 1 / T, or 1 / (T D) for the mean, the mass is at most the sum of q_c^p; times the smallest
 * prior to the power -p for the prior rule. Where no choice begins another their probabilities add
 * up to at most q, and
 *
 *     p >= 1: the sum of q_c^p is at most (the sum of q_c)^p <= q^p, as norms fall with p;
 *     p <  1: at most n (q / n)^p = n^(1 - p) q^p, as the mean of powers is at most the power of
 *             the mean.
 *
 * Where choices begin others, at most h on one way, they fall into h sets without such pairs (the
 * first on each way, the second, ...), of n_1 .. n_h choices. Each has its own bound: together h
 * q^p for p >= 1, and for p < 1 q^p times the sum of n_i^(1 - p), which is at most h^p n^(1 - p).
 * So the factor on q^p is n^(1 - r) h^r with r = min(p, 1). It is never more than n, the factor
 * that the best score alone gives.
 *
 * That children add up to at most their parent is true of the model, and of the numbers up to the
 * rounding of the f32 log of the sum: SLACK for each level is allowed for.
 */

#include "runtime/search.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int n_choices;      /* all of these: of the choices that end below, past the node itself */
    int first_choice;   /* the lowest index */
    int deepest;        /* the depth of the deepest end */
    double low_prior;   /* the smallest log-prior, 0 without priors */
    double log_spread;  /* log of the mass below over exp(best score below / T), at most */
    double log_outside; /* log of the sum of their q over the node's, at most */
} emc_search_below;

struct emc_search_rules {
    const emc_choices *choices;
    emc_scoring scoring;     /* temperature filled in; log_priors are the copy */
    double *log_priors;      /* [n_choices] or NULL */
    emc_search_below *below; /* [n_nodes] */
    int32_t *score_nodes;    /* [n_choices] whose joint log-probability gives the score */
    int decider; /* EMC_SCORING_FIRST: every score is known once this node is computed */
};

/* The score of a choice whose score node has this joint log-probability. */
double emc_search_score(const emc_search_rules *rules, int choice, double joint);

/* No choice below the node has a higher score. Not for EMC_SCORING_FIRST, where every score is
 * known with the children of one node. */
double emc_search_bound(const emc_search_rules *rules, int node, double joint);

#ifdef __cplusplus
}
#endif
