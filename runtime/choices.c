/* The choices are sorted; the trie is then read off, one level after the other. */
#include "runtime/choices.h"

#include <stdlib.h>

#include "base/size.h"

typedef struct {
    const int32_t *ids;
    int n;
    int choice;
} sorted_choice;

/* Choices first .. first + n - 1 of the sorted ones share the way to this node. */
typedef struct {
    int first;
    int n;
} node_range;

static int compare_choices(const void *left, const void *right)
{
    const sorted_choice *a = left, *b = right;

    for (int i = 0; i < a->n && i < b->n; i++)
        if (a->ids[i] != b->ids[i])
            return a->ids[i] < b->ids[i] ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return a->choice < b->choice ? -1 : a->choice > b->choice;
}

static emc_status check_arguments(const int32_t *ids, const int32_t *begin, int n_choices,
                                  int vocab, int max_tokens)
{
    if (n_choices < 1)
        return emc_fail(EMC_ERR_ARG, "choices: %d of them, need at least 1", n_choices);
    if (begin[0] != 0)
        return emc_fail(EMC_ERR_ARG, "choices: begin[0] is %d, not 0", (int)begin[0]);
    for (int c = 0; c < n_choices; c++) {
        int n;

        if (begin[c + 1] < begin[c])
            return emc_fail(EMC_ERR_ARG, "choices: begin[%d] falls", c + 1);
        n = begin[c + 1] - begin[c];
        if (n == 0)
            return emc_fail(EMC_ERR_CONFIG, "choice %d has no tokens", c);
        if (n > max_tokens)
            return emc_fail(EMC_ERR_CONFIG, "choice %d has %d tokens, the most is %d: shorten it",
                            c, n, max_tokens);
        for (int32_t i = begin[c]; i < begin[c + 1]; i++)
            if (ids[i] < 0 || ids[i] >= vocab)
                return emc_fail(EMC_ERR_ARG, "choice %d: token %d is not in [0, %d)", c,
                                (int)ids[i], vocab);
    }
    return EMC_OK;
}

static emc_status sort_choices(sorted_choice **out, const int32_t *ids, const int32_t *begin,
                               int n_choices)
{
    sorted_choice *sorted;

    EMC_TRY(emc_alloc(&sorted, (size_t)n_choices, sizeof *sorted, "choices"));
    *out = sorted;
    for (int c = 0; c < n_choices; c++)
        sorted[c] = (sorted_choice){ids + begin[c], begin[c + 1] - begin[c], c};
    qsort(sorted, (size_t)n_choices, sizeof *sorted, compare_choices);
    for (int i = 1; i < n_choices; i++) {
        const sorted_choice *a = &sorted[i - 1], *b = &sorted[i];
        int same = 0;

        while (same < a->n && same < b->n && a->ids[same] == b->ids[same])
            same++;
        if (same == a->n && same == b->n)
            return emc_fail(EMC_ERR_CONFIG,
                            "choices %d and %d have the same tokens: no answer could tell them "
                            "apart",
                            a->choice, b->choice);
    }
    return EMC_OK;
}

/* Appends the children of node `v` and the ranges that lead to them. */
static void add_children(emc_choices *choices, node_range *ranges, const sorted_choice *sorted,
                         int v)
{
    emc_choice_node *node = &choices->nodes[v];
    const int depth = node->depth;
    int i = ranges[v].first;
    const int end = i + ranges[v].n;

    node->first_child = choices->n_nodes;
    if (i < end && sorted[i].n == depth) {
        node->choice = sorted[i].choice;
        choices->ends[node->choice] = v;
        i++; /* the shortest comes first, and only one is that short */
    }
    while (i < end) {
        const int32_t token = sorted[i].ids[depth];
        const int child = choices->n_nodes++;
        const int first = i;

        while (i < end && sorted[i].ids[depth] == token)
            i++;
        ranges[child] = (node_range){first, i - first};
        choices->tokens[child] = token;
        choices->nodes[child] =
            (emc_choice_node){.parent = v, .depth = depth + 1, .choice = -1, .inner = -1};
        node->n_children++;
    }
    if (node->n_children > choices->max_children)
        choices->max_children = node->n_children;
    if (depth > choices->max_depth)
        choices->max_depth = depth;
}

static emc_status build(emc_choices *choices, const sorted_choice *sorted, int n_tokens)
{
    node_range *ranges;

    EMC_TRY(emc_alloc(&choices->nodes, (size_t)n_tokens + 1, sizeof *choices->nodes, "choices"));
    EMC_TRY(emc_alloc(&choices->tokens, (size_t)n_tokens + 1, sizeof(int32_t), "choices"));
    EMC_TRY(emc_alloc(&choices->inner, (size_t)n_tokens + 1, sizeof(int32_t), "choices"));
    EMC_TRY(emc_alloc(&choices->ends, (size_t)choices->n_choices, sizeof(int32_t), "choices"));
    EMC_TRY(emc_alloc(&ranges, (size_t)n_tokens + 1, sizeof *ranges, "choices"));
    choices->nodes[0] = (emc_choice_node){.parent = -1, .choice = -1, .inner = -1};
    choices->tokens[0] = -1;
    ranges[0] = (node_range){0, choices->n_choices};
    choices->n_nodes = 1;
    for (int v = 0; v < choices->n_nodes; v++) {
        add_children(choices, ranges, sorted, v);
        if (v > 0 && choices->nodes[v].n_children > 0) {
            choices->nodes[v].inner = choices->n_inner;
            choices->inner[choices->n_inner++] = v;
        }
    }
    free(ranges);
    return EMC_OK;
}

emc_status emc_choices_open(emc_choices **out, const int32_t *ids, const int32_t *begin,
                            int n_choices, int vocab, int max_tokens)
{
    emc_choices *choices = NULL;
    sorted_choice *sorted = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(check_arguments(ids, begin, n_choices, vocab, max_tokens));
    EMC_TRY(emc_alloc(&choices, 1, sizeof *choices, "choices"));
    choices->n_choices = n_choices;
    status = sort_choices(&sorted, ids, begin, n_choices);
    if (status == EMC_OK)
        status = build(choices, sorted, begin[n_choices]);
    free(sorted);
    if (status != EMC_OK) {
        emc_choices_close(choices);
        return status;
    }
    *out = choices;
    return EMC_OK;
}

void emc_choices_close(emc_choices *choices)
{
    if (!choices)
        return;
    free(choices->nodes);
    free(choices->tokens);
    free(choices->inner);
    free(choices->ends);
    free(choices);
}
