/* Which nodes are computed next, and when is enough known? Bounds: search_rules.h. */
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/search_state.h"

static void ask(emc_search *search, int v)
{
    assert(search->states[v] == EMC_NODE_UNASKED);
    search->states[v] = EMC_NODE_ASKED;
    search->round[search->n_round++] = v;
    search->n_rows += v > 0;
}

/* A node and, while there is but one way to go on, the nodes behind it. Returns the last. A choice
 * that ends is another way, but none that the greedy one takes. */
static int ask_way(emc_search *search, int v)
{
    const emc_choice_node *nodes = search->rules->choices->nodes;

    ask(search, v);
    while (nodes[v].n_children == 1) {
        const emc_choice_node *child = &nodes[nodes[v].first_child];

        if (child->n_children == 0 || (child->choice >= 0 && search->policy != EMC_SEARCH_GREEDY))
            break;
        v = nodes[v].first_child;
        ask(search, v);
    }
    return v;
}

static void ask_all(emc_search *search)
{
    const emc_choices *choices = search->rules->choices;

    ask(search, 0);
    for (int i = 0; i < choices->n_inner; i++)
        ask(search, choices->inner[i]);
}

static void ask_first(emc_search *search)
{
    const emc_search_rules *rules = search->rules;
    const emc_scoring *scoring = &rules->scoring;
    const bool by_first = scoring->rule == EMC_SCORING_FIRST;
    const bool best = search->policy == EMC_SEARCH_BEST;

    search->begun = true;
    if (search->policy == EMC_SEARCH_ALL ||
        (best && scoring->width == 0 && (scoring->outside || !by_first))) {
        ask_all(search);
        return;
    }
    search->at = ask_way(search, 0);
    /* Where a choice ends it may be the best without a look at what follows, but by this rule. */
    if (by_first && search->states[rules->decider] == EMC_NODE_UNASKED)
        ask(search, rules->decider);
}

static bool beats(const emc_search *search, int choice, double bound, int first_choice)
{
    const double score = search->scores[choice];

    return score > bound || (score == bound && choice < first_choice);
}

/*
 * Nodes that a round after the first may ask for without knowing that all are needed. One while
 * there is hope that it settles the matter; then twice as many each round, for a round takes a
 * step or two, and where no choice stands out most nodes are needed in the end.
 */
static int patience(const emc_search *search)
{
    const int doublings = search->n_rounds - 2;

    return doublings < 1 ? 1 : doublings < 30 ? 1 << doublings : INT_MAX;
}

static int compare_heavy(const void *left, const void *right)
{
    const emc_heavy_node *a = left, *b = right;

    if (a->mass != b->mass)
        return a->mass > b->mass ? -1 : 1;
    if (a->first_choice != b->first_choice)
        return a->first_choice < b->first_choice ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

/* Open nodes that may hold the best choice, the likeliest first. Returns how many. */
static int find_rivals(const emc_search *search)
{
    const emc_search_rules *rules = search->rules;
    int n = 0;

    for (int i = 0; i < search->n_open; i++) {
        const int v = search->open[i], first = rules->below[v].first_choice;
        const double bound = emc_search_bound(rules, v, search->joints[v]);

        if (search->best < 0 || !beats(search, search->best, bound, first))
            search->heavy[n++] = (emc_heavy_node){bound, first, v};
    }
    qsort(search->heavy, (size_t)n, sizeof *search->heavy, compare_heavy);
    return n;
}

static bool is_narrow(const emc_search *search, const emc_mass_sums *sums)
{
    emc_found found;

    emc_search_bounds(sums, &found);
    return found.share_high - found.share_low <= search->rules->scoring.width;
}

static bool is_decided(const emc_search *search, const emc_mass_sums *sums)
{
    const double threshold = search->rules->scoring.threshold;
    emc_found found;

    emc_search_bounds(sums, &found);
    return found.share_low >= threshold || found.share_high < threshold;
}

static bool is_outside_narrow(const emc_search *search, const emc_mass_sums *sums)
{
    emc_found found;

    emc_search_bounds(sums, &found);
    return !search->rules->scoring.outside ||
           found.outside_high - found.outside_low <= search->rules->scoring.width;
}

/*
 * Could it be enough to know what is below the first k? `left` is what is then still open. At the
 * best, what is below them has all of its mass, or, where the share is too low, none.
 */
static bool may_do_for_share(const emc_search *search, const emc_mass_sums *sums, double mass,
                             double left)
{
    const emc_mass_sums full = {.known = sums->known + mass, .open = left};
    const emc_mass_sums empty = {.known = sums->known, .open = left};

    return is_narrow(search, &full) && (is_decided(search, &full) || is_decided(search, &empty));
}

static bool may_do_for_outside(const emc_search *search, const emc_mass_sums *sums, double mass,
                               double left)
{
    const emc_mass_sums full = {.known_outside = sums->known_outside + mass, .open_outside = left};

    return is_outside_narrow(search, &full);
}

typedef bool may_do(const emc_search *search, const emc_mass_sums *sums, double mass, double left);

/* Asks for as many of the heavy nodes as it takes at the least, or as patience allows. */
static void ask_heavy(emc_search *search, const emc_mass_sums *sums, may_do *enough)
{
    emc_heavy_node *heavy = search->heavy;
    const int n = search->n_open;
    double whole = 0, mass = 0, left;

    qsort(heavy, (size_t)n, sizeof *heavy, compare_heavy);
    for (int i = n - 1; i >= 0; i--)
        whole += heavy[i].mass;
    left = whole;
    for (int k = 0; k < n; k++) {
        /* The first is needed: without it things are as they are, which is not enough. */
        if (k >= patience(search) && enough(search, sums, mass, left))
            return;
        mass += heavy[k].mass;
        left = fmax(0, left - heavy[k].mass);
        if (search->states[heavy[k].node] == EMC_NODE_UNASKED)
            ask_way(search, heavy[k].node);
    }
}

static emc_heavy_node weigh(const emc_search *search, int v, double mass)
{
    return (emc_heavy_node){mass, search->rules->below[v].first_choice, v};
}

static void ask_for_bounds(emc_search *search)
{
    const emc_mass_sums sums = emc_search_sums(search, search->winner);
    const double own = search->scores[search->winner];

    if (!is_narrow(search, &sums) || !is_decided(search, &sums)) {
        for (int i = 0; i < search->n_open; i++)
            search->heavy[i] =
                weigh(search, search->open[i], emc_search_mass_below(search, search->open[i], own));
        ask_heavy(search, &sums, may_do_for_share);
    }
    if (!is_outside_narrow(search, &sums)) {
        for (int i = 0; i < search->n_open; i++)
            search->heavy[i] =
                weigh(search, search->open[i], emc_search_outside_below(search, search->open[i]));
        ask_heavy(search, &sums, may_do_for_outside);
    }
}

static void ask_best(emc_search *search)
{
    search->n_rounds++;
    if (search->winner < 0) {
        const int n_rivals = search->n_unscored > 0 ? find_rivals(search) : 0;

        for (int i = 0; i < n_rivals && i < patience(search); i++)
            ask_way(search, search->heavy[i].node);
        if (n_rivals > 0)
            return;
        search->winner = search->best;
    }
    assert(search->winner == search->best);
    ask_for_bounds(search);
}

/* Down from the last node of the way so far. */
static void ask_greedily(emc_search *search)
{
    const emc_search_rules *rules = search->rules;
    const emc_choice_node *nodes = rules->choices->nodes, *node = &nodes[search->at];
    int next = -1, next_first = 0;

    if (node->n_children == 0)
        return; /* it is over */
    for (int v = node->first_child; v < node->first_child + node->n_children; v++) {
        const int ended = nodes[v].choice >= 0 ? nodes[v].choice : rules->choices->n_choices;
        const int below = rules->below[v].first_choice;
        const int first = nodes[v].n_children > 0 && below < ended ? below : ended;

        if (next < 0 || search->joints[v] > search->joints[next] ||
            (search->joints[v] == search->joints[next] && first < next_first)) {
            next = v;
            next_first = first;
        }
    }
    search->at = next;
    if (nodes[next].n_children > 0)
        search->at = ask_way(search, next);
}

void emc_search_next_round(emc_search *search, const int32_t **nodes, int *n)
{
    assert(!search->finite || search->n_taken == search->n_round);
    search->n_round = search->n_taken = 0;
    if (search->finite) {
        if (!search->begun)
            ask_first(search);
        else if (search->policy == EMC_SEARCH_BEST)
            ask_best(search);
        else if (search->policy == EMC_SEARCH_GREEDY)
            ask_greedily(search);
    }
    *nodes = search->round;
    *n = search->n_round;
}
