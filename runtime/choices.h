#pragma once
/*
 * The closed set of answers as a trie of token ids.
 *
 * Node 0 is the root: the end of the prompt. Nodes come in breadth-first order, so a parent stands
 * before its children and the children of a node stand together, in rising order of their token.
 * The trie depends on the set of choices alone; their order shows only in `choice`.
 */

#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t parent;      /* -1 for the root */
    int32_t depth;       /* tokens from the root, 0 for the root */
    int32_t first_child; /* children are first_child .. first_child + n_children - 1 */
    int32_t n_children;
    int32_t choice; /* which one ends here, or -1; it may have children all the same */
    int32_t inner;  /* its place in `inner` below, or -1 */
} emc_choice_node;

/*
 * An inner node is one with children, other than the root: its token must go through the model so
 * that the logits of its children can be read. Read-only once open.
 */
typedef struct {
    int n_choices;
    int n_nodes;
    int n_inner;
    int max_depth;    /* tokens of the longest choice */
    int max_children; /* of any node */
    emc_choice_node *nodes;
    int32_t *tokens; /* [n_nodes] of the edge from the parent, so a node's children's stand
                        together; -1 for the root */
    int32_t *inner;  /* [n_inner] nodes, in rising order: parents first */
    int32_t *ends;   /* [n_choices] the node where each choice ends */
} emc_choices;

/*
 * Choice c is ids[begin[c]] .. ids[begin[c + 1]); both are copied. A choice may be the beginning
 * of another.
 *
 * EMC_ERR_ARG: n_choices < 1, begin[0] != 0 or falling, an id outside [0, vocab).
 * EMC_ERR_CONFIG: two choices of the same ids, an empty one, one longer than max_tokens.
 */
emc_status emc_choices_open(emc_choices **out, const int32_t *ids, const int32_t *begin,
                            int n_choices, int vocab, int max_tokens);
void emc_choices_close(emc_choices *choices);

#ifdef __cplusplus
}
#endif
