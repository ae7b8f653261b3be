/* Which bounds does each node put on the choices below it? */
#include "runtime/search_rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

/* What the probabilities of a node's children may add up to above 1, as a logarithm: an f32 log of
 * the sum below 2^7 is rounded by 2^-18 at most, and four times that is left to how it was summed
 * up. */
#define SLACK 0x1p-16

static bool in_unit(double value)
{
    return value >= 0 && value <= 1;
}

static emc_status check_scoring(const emc_choices *choices, const emc_scoring *scoring)
{
    if (scoring->rule < EMC_SCORING_JOINT || scoring->rule > EMC_SCORING_PRIOR)
        return emc_fail(EMC_ERR_ARG, "scoring: rule %d is none", (int)scoring->rule);
    if (!(scoring->temperature >= 0 && isfinite(scoring->temperature)))
        return emc_fail(EMC_ERR_ARG, "scoring: temperature %g, need a number above 0",
                        scoring->temperature);
    if (!in_unit(scoring->width))
        return emc_fail(EMC_ERR_ARG, "scoring: width %g, need 0 to 1", scoring->width);
    if (!in_unit(scoring->threshold))
        return emc_fail(EMC_ERR_ARG, "scoring: threshold %g, need 0 to 1", scoring->threshold);
    if (scoring->rule != EMC_SCORING_PRIOR)
        return EMC_OK;
    if (!scoring->log_priors)
        return emc_fail(EMC_ERR_ARG, "scoring: no log-priors");
    for (int c = 0; c < choices->n_choices; c++)
        if (!(scoring->log_priors[c] <= 0 && isfinite(scoring->log_priors[c])))
            return emc_fail(EMC_ERR_ARG,
                            "scoring: log-prior %g of choice %d, need a finite number of at most 0",
                            scoring->log_priors[c], c);
    return EMC_OK;
}

static void find_score_nodes(emc_search_rules *rules)
{
    const emc_choices *choices = rules->choices;
    const emc_choice_node *nodes = choices->nodes;
    int fork = 0; /* the deepest node that every choice passes or ends at */

    while (nodes[fork].n_children == 1 && nodes[fork].choice < 0)
        fork = nodes[fork].first_child;
    rules->decider = nodes[fork].n_children > 0 ? fork : nodes[fork].parent;
    for (int c = 0; c < choices->n_choices; c++) {
        int v = choices->ends[c];

        if (rules->scoring.rule == EMC_SCORING_FIRST)
            while (nodes[v].depth > nodes[fork].depth + 1)
                v = nodes[v].parent;
        rules->score_nodes[c] = v;
    }
}

static int lower(int a, int b)
{
    return a < b ? a : b;
}

static int higher(int a, int b)
{
    return a > b ? a : b;
}

/* Children stand behind their parents: from the last to the first every node finds its own done.
 * nested: [n_nodes] out, the most choices that end on one way below. */
static void sum_up(emc_search_rules *rules, int32_t *nested)
{
    const emc_choices *choices = rules->choices;
    emc_search_below *below = rules->below;

    for (int v = 0; v < choices->n_nodes; v++)
        below[v].first_choice = choices->n_choices;
    for (int v = choices->n_nodes - 1; v > 0; v--) {
        const emc_choice_node *node = &choices->nodes[v];
        emc_search_below *up = &below[node->parent];
        const bool ends = node->choice >= 0;

        up->n_choices += below[v].n_choices + (ends ? 1 : 0);
        up->first_choice = lower(up->first_choice, below[v].first_choice);
        up->deepest = higher(up->deepest, higher(below[v].deepest, node->depth));
        up->low_prior = fmin(up->low_prior, below[v].low_prior);
        nested[node->parent] = higher(nested[node->parent], nested[v] + (ends ? 1 : 0));
        if (!ends)
            continue;
        up->first_choice = lower(up->first_choice, node->choice);
        if (rules->log_priors)
            up->low_prior = fmin(up->low_prior, rules->log_priors[node->choice]);
    }
}

/* The factors of the derivation in the header, as logarithms. */
static void find_factors(emc_search_rules *rules, const int32_t *nested)
{
    const emc_choices *choices = rules->choices;
    const double temperature = rules->scoring.temperature;

    for (int v = 0; v < choices->n_nodes; v++) {
        emc_search_below *below = &rules->below[v];
        double log_n, log_h, slack, power, part;

        if (below->n_choices == 0)
            continue;
        log_n = log(below->n_choices);
        log_h = log(nested[v]);
        slack = SLACK * (below->deepest - choices->nodes[v].depth);
        power = 1 / temperature;
        if (rules->scoring.rule == EMC_SCORING_MEAN)
            power /= below->deepest;
        part = fmin(power, 1);
        below->log_spread = fmin(log_n, (1 - part) * log_n + part * log_h + power * slack);
        below->log_outside = fmin(log_n, log_h + slack);
    }
}

static emc_status build(emc_search_rules *rules, const emc_scoring *scoring)
{
    const emc_choices *choices = rules->choices;
    const size_t n_nodes = (size_t)choices->n_nodes, n_choices = (size_t)choices->n_choices;
    int32_t *nested;

    rules->scoring = *scoring;
    if (scoring->temperature == 0)
        rules->scoring.temperature = 1;
    if (scoring->rule == EMC_SCORING_PRIOR) {
        EMC_TRY(emc_alloc(&rules->log_priors, n_choices, sizeof(double), "scoring"));
        memcpy(rules->log_priors, scoring->log_priors, n_choices * sizeof(double));
    }
    rules->scoring.log_priors = rules->log_priors;
    EMC_TRY(emc_alloc(&rules->below, n_nodes, sizeof *rules->below, "scoring"));
    EMC_TRY(emc_alloc(&rules->score_nodes, n_choices, sizeof(int32_t), "scoring"));
    EMC_TRY(emc_alloc(&nested, n_nodes, sizeof *nested, "scoring"));
    find_score_nodes(rules);
    sum_up(rules, nested);
    find_factors(rules, nested);
    free(nested);
    return EMC_OK;
}

emc_status emc_search_rules_open(emc_search_rules **out, const emc_choices *choices,
                                 const emc_scoring *scoring)
{
    emc_search_rules *rules;
    emc_status status;

    *out = NULL;
    EMC_TRY(check_scoring(choices, scoring));
    EMC_TRY(emc_alloc(&rules, 1, sizeof *rules, "scoring"));
    rules->choices = choices;
    status = build(rules, scoring);
    if (status != EMC_OK) {
        emc_search_rules_close(rules);
        return status;
    }
    *out = rules;
    return EMC_OK;
}

void emc_search_rules_close(emc_search_rules *rules)
{
    if (!rules)
        return;
    free(rules->log_priors);
    free(rules->below);
    free(rules->score_nodes);
    free(rules);
}

double emc_search_score(const emc_search_rules *rules, int choice, double joint)
{
    switch (rules->scoring.rule) {
    case EMC_SCORING_MEAN:
        return joint / rules->choices->nodes[rules->choices->ends[choice]].depth;
    case EMC_SCORING_PRIOR:
        return joint - rules->log_priors[choice];
    case EMC_SCORING_JOINT:
    case EMC_SCORING_FIRST:
        break;
    }
    return joint;
}

double emc_search_bound(const emc_search_rules *rules, int node, double joint)
{
    const emc_search_below *below = &rules->below[node];

    if (rules->scoring.rule == EMC_SCORING_MEAN)
        return joint / below->deepest;
    return joint - below->low_prior;
}
