/* What is known of the choices so far? What is computed next: search_next.c. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "runtime/search_state.h"

emc_status emc_search_open(emc_search **out)
{
    return emc_alloc(out, 1, sizeof **out, "a search");
}

void emc_search_close(emc_search *search)
{
    if (!search)
        return;
    free(search->states);
    free(search->edges);
    free(search->joints);
    free(search->scores);
    free(search->open);
    free(search->round);
    free(search->heavy);
    free(search);
}

static emc_status make_room(emc_search *search, const emc_choices *choices)
{
    const size_t n_nodes = (size_t)choices->n_nodes;

    EMC_TRY(emc_reserve(&search->states, &search->states_capacity, n_nodes, sizeof *search->states,
                        "a search"));
    EMC_TRY(
        emc_reserve(&search->edges, &search->edges_capacity, n_nodes, sizeof(double), "a search"));
    EMC_TRY(emc_reserve(&search->joints, &search->joints_capacity, n_nodes, sizeof(double),
                        "a search"));
    EMC_TRY(emc_reserve(&search->scores, &search->scores_capacity, (size_t)choices->n_choices,
                        sizeof(double), "a search"));
    EMC_TRY(emc_reserve(&search->open, &search->open_capacity, n_nodes, sizeof *search->open,
                        "a search"));
    EMC_TRY(emc_reserve(&search->round, &search->round_capacity, n_nodes, sizeof *search->round,
                        "a search"));
    return emc_reserve(&search->heavy, &search->heavy_capacity, n_nodes, sizeof *search->heavy,
                       "a search");
}

emc_status emc_search_begin(emc_search *search, const emc_search_rules *rules,
                            emc_search_policy policy)
{
    const emc_choices *choices = rules->choices;

    EMC_TRY(make_room(search, choices));
    search->rules = rules;
    search->policy = policy;
    for (int v = 0; v < choices->n_nodes; v++) {
        search->states[v] = EMC_NODE_UNASKED;
        search->joints[v] = NAN;
    }
    for (int c = 0; c < choices->n_choices; c++)
        search->scores[c] = NAN;
    search->joints[0] = 0;
    search->open[0] = 0;
    search->n_open = 1;
    search->n_round = search->n_taken = search->n_rows = search->n_rounds = 0;
    search->n_unscored = choices->n_choices;
    search->best = search->winner = -1;
    search->at = 0;
    search->begun = false;
    search->finite = true;
    return EMC_OK;
}

/* --- What is known ------------------------------------------------------------------------- */

static void keep_score(emc_search *search, int choice)
{
    const emc_search_rules *rules = search->rules;
    const double score =
        emc_search_score(rules, choice, search->joints[rules->score_nodes[choice]]);
    const int best = search->best;

    search->scores[choice] = score;
    search->n_unscored--;
    if (best < 0 || score > search->scores[best] ||
        (score == search->scores[best] && choice < best))
        search->best = choice;
}

/* The children of a node whose numbers came. */
static void know_children(emc_search *search, int v)
{
    const emc_choices *choices = search->rules->choices;
    const emc_choice_node *node = &choices->nodes[v];
    const bool by_end = search->rules->scoring.rule != EMC_SCORING_FIRST;

    for (int child = node->first_child; child < node->first_child + node->n_children; child++) {
        const emc_choice_node *below = &choices->nodes[child];

        search->joints[child] = search->joints[v] + search->edges[child];
        if (below->n_children > 0)
            search->open[search->n_open++] = child;
        if (by_end && below->choice >= 0)
            keep_score(search, below->choice);
    }
    if (!by_end && v == search->rules->decider)
        for (int c = 0; c < choices->n_choices; c++)
            keep_score(search, c);
}

/* A round is complete: in its own order, whatever the order in which its numbers came. */
static void settle(emc_search *search)
{
    int n_open = 0;

    for (int i = 0; i < search->n_round; i++)
        know_children(search, search->round[i]);
    for (int i = 0; i < search->n_open; i++)
        if (search->states[search->open[i]] != EMC_NODE_TAKEN)
            search->open[n_open++] = search->open[i];
    search->n_open = n_open;
}

void emc_search_take(emc_search *search, int node, const float *logits, float log_sum)
{
    const emc_choice_node *parent = &search->rules->choices->nodes[node];

    assert(search->states[node] == EMC_NODE_ASKED);
    search->states[node] = EMC_NODE_TAKEN;
    for (int i = 0; i < parent->n_children; i++) {
        const double edge = (double)logits[i] - (double)log_sum;

        if (!isfinite(edge))
            search->finite = false;
        search->edges[parent->first_child + i] = edge < 0 ? edge : 0;
    }
    if (++search->n_taken == search->n_round && search->finite)
        settle(search);
}

bool emc_search_is_finite(const emc_search *search)
{
    return search->finite;
}

double emc_search_mass_below(const emc_search *search, int v, double own)
{
    const emc_search_rules *rules = search->rules;
    const double bound = emc_search_bound(rules, v, search->joints[v]);

    return exp((bound - own) / rules->scoring.temperature + rules->below[v].log_spread);
}

double emc_search_outside_below(const emc_search *search, int v)
{
    return exp(search->joints[v] + search->rules->below[v].log_outside);
}

emc_mass_sums emc_search_sums(const emc_search *search, int choice)
{
    const emc_search_rules *rules = search->rules;
    const double own = choice < 0 ? 0 : search->scores[choice];
    const double rounding = (rules->choices->n_choices + 8) * 0x1p-52;
    emc_mass_sums sums = {0};

    for (int c = 0; c < rules->choices->n_choices; c++) {
        const double joint = search->joints[rules->choices->ends[c]];

        if (!isnan(joint))
            sums.known_outside += exp(joint);
        if (!isnan(search->scores[c]))
            sums.known += exp((search->scores[c] - own) / rules->scoring.temperature);
    }
    for (int i = 0; i < search->n_open; i++) {
        sums.open_outside += emc_search_outside_below(search, search->open[i]);
        if (search->n_unscored > 0)
            sums.open += emc_search_mass_below(search, search->open[i], own);
    }
    /* Once all is known it is added in another order. */
    if (search->n_unscored > 0)
        sums.open += rounding * (sums.known + sums.open);
    if (search->n_open > 0)
        sums.open_outside += rounding * (1 + sums.known_outside + sums.open_outside);
    return sums;
}

static double clamp_to_unit(double value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

void emc_search_bounds(const emc_mass_sums *sums, emc_found *found)
{
    found->share_high = clamp_to_unit(1 / sums->known);
    found->share_low = clamp_to_unit(1 / (sums->known + sums->open));
    found->outside_high = clamp_to_unit(1 - sums->known_outside);
    found->outside_low = clamp_to_unit(1 - sums->known_outside - sums->open_outside);
}

void emc_search_result(const emc_search *search, emc_found *found, double *log_probs,
                       double *scores)
{
    const emc_choices *choices = search->rules->choices;
    const bool greedy = search->policy == EMC_SEARCH_GREEDY;
    emc_mass_sums sums;

    *found = (emc_found){.choice = greedy ? choices->nodes[search->at].choice : search->best,
                         .complete = search->n_unscored == 0,
                         .n_rows = search->n_rows};
    if (greedy && choices->nodes[search->at].n_children > 0)
        found->choice = -1; /* not there yet */
    sums = emc_search_sums(search, found->choice);
    emc_search_bounds(&sums, found);
    if (found->choice < 0) {
        found->share_low = 0;
        found->share_high = 1;
    }
    found->share = (found->share_low + found->share_high) / 2;
    for (int c = 0; c < choices->n_choices; c++) {
        log_probs[c] = search->joints[choices->ends[c]];
        scores[c] = search->scores[c];
    }
}
