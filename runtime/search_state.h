#pragma once
/* One cell's search as it stands. For search.c, which keeps what is known, and search_next.c, which
 * says what is computed next. */

#include "runtime/search_rules.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { EMC_NODE_UNASKED = 0, EMC_NODE_ASKED, EMC_NODE_TAKEN } emc_node_state;

/* An open node and a bound on the mass below it. */
typedef struct {
    double mass; /* or its best score below, where that is what counts */
    int first_choice;
    int node;
} emc_heavy_node;

/*
 * A node is open when its own joint log-probability is known and those of its children are not:
 * the choices that are not known lie below the open nodes. Sums run over `open` and over the
 * choices in their order, never in that of emc_search_take, so that they are the same each time.
 */
struct emc_search {
    const emc_search_rules *rules;
    emc_search_policy policy;
    uint8_t *states; /* [n_nodes] an emc_node_state each */
    size_t states_capacity;
    double *edges; /* [n_nodes] of the children of nodes that were taken */
    size_t edges_capacity;
    double *joints; /* [n_nodes] NaN where not known */
    size_t joints_capacity;
    double *scores; /* [n_choices] NaN where not known */
    size_t scores_capacity;
    int32_t *open; /* nodes with children */
    size_t open_capacity;
    int32_t *round;
    size_t round_capacity;
    emc_heavy_node *heavy; /* scratch: the open nodes by falling mass */
    size_t heavy_capacity;
    int n_open;
    int n_round;
    int n_taken;
    int n_rows;
    int n_rounds;   /* EMC_SEARCH_BEST: after the first */
    int n_unscored; /* choices whose score is not known */
    int best;       /* the choice of the highest known score, or -1 */
    int winner;     /* the best, once it is certain; else -1 */
    int at;         /* EMC_SEARCH_GREEDY: the last node of the way so far */
    bool begun;     /* the first round was given out */
    bool finite;
};

/* What bounds a choice's share, and what the model would say beside the set. */
typedef struct {
    double known;         /* the sum of exp((s - s of the choice) / T) over the known scores */
    double open;          /* at most this much more */
    double known_outside; /* the sum of q over the choices that are known */
    double open_outside;
} emc_mass_sums;

/* Without a choice (-1) the shares mean nothing. */
emc_mass_sums emc_search_sums(const emc_search *search, int choice);

/* Fills share_low and share_high, outside_low and outside_high. */
void emc_search_bounds(const emc_mass_sums *sums, emc_found *found);

/* The most that is below an open node: of the mass, over that of a choice with the score `own`, and
 * of the probabilities. */
double emc_search_mass_below(const emc_search *search, int node, double own);
double emc_search_outside_below(const emc_search *search, int node);

#ifdef __cplusplus
}
#endif
