#pragma once
/*
 * Which choice is the likeliest, and how likely, when few nodes of the trie have been computed?
 *
 * Best-first search with bounds. To compute a node is to send its token through the model, which
 * gives the log-probabilities of its children over the full vocabulary. The joint log-probability
 * of a node is then a bound on every choice below it, so the likeliest one is certain long before
 * all of the trie is computed. What is computed next depends on the numbers of the cell alone.
 *
 * Nothing here knows an engine: it is asked for nodes and told their children's numbers.
 */

#include "runtime/choices.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a trie and a way of scoring say about each node; read-only once open, shared by searches. */
typedef struct emc_search_rules emc_search_rules;

/* Borrows `choices`, copies the rest. EMC_ERR_ARG: see emc_engine_set_scoring. */
emc_status emc_search_rules_open(emc_search_rules **out, const emc_choices *choices,
                                 const emc_scoring *scoring);
void emc_search_rules_close(emc_search_rules *rules); /* NULL is fine */

typedef enum {
    EMC_SEARCH_ALL,   /* every node; the first round has them all */
    EMC_SEARCH_BEST,  /* until the scoring's width and threshold are met */
    EMC_SEARCH_GREEDY /* the likeliest child of each node */
} emc_search_policy;

/* One cell's search; its memory is kept from cell to cell. */
typedef struct emc_search emc_search;

emc_status emc_search_open(emc_search **out);
void emc_search_close(emc_search *search); /* NULL is fine */

/* Begins anew, whatever went before. EMC_ERR_NOMEM. `rules` is borrowed until the next begin. */
emc_status emc_search_begin(emc_search *search, const emc_search_rules *rules,
                            emc_search_policy policy);

/*
 * The nodes to compute now, parents before children, each inner or the root; *n is 0 when the
 * search is over. Borrowed until the next call. The first round always holds the root. Call it only
 * when every node of the round before was taken. A round holds the rest of an unbranched way with
 * its beginning, and all nodes that are known to be needed; from the fourth on also others that may
 * be, twice as many each round, so that the number of rounds is about the logarithm of the trie's
 * width however little the numbers say.
 */
void emc_search_next_round(emc_search *search, const int32_t **nodes, int *n);

/*
 * The numbers of one node of the round: f32 logits [n_children] of its children in their order,
 * and the log of the sum of exp over all logits. A child's log-probability is the difference, in
 * double, and at most 0. In any order within a round. The bounds count on log_sum to be right to
 * 2^-16.
 */
void emc_search_take(emc_search *search, int node, const float *logits, float log_sum);

/* False once a number was NaN or infinite: then the search is over and has no result. */
bool emc_search_is_finite(const emc_search *search);

/*
 * When it is over. log_probs and scores: f64 [n_choices] out, NaN where not known; see emc_answer.
 * Also before the first round and between two, when every node of the one before was taken: then
 * `choice` is the best of those known so far, or -1 (for the greedy policy always -1), and the
 * bounds hold for that one all the same; without one they are 0 and 1.
 */
void emc_search_result(const emc_search *search, emc_found *found, double *log_probs,
                       double *scores);

#ifdef __cplusplus
}
#endif
