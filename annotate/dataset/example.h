#pragma once
/* What is asked of a cell in training, and how it is drawn. */

#include <stdint.h>

#include "annotate/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EXAMPLE_CELL,    /* "cell": the cell as it is, its label the answer */
    EXAMPLE_UNKNOWN, /* "unknown": a cell whose label is unknown by the label map */
    EXAMPLE_MIXED,   /* "mixed": its genes and another label's cell's, turn by turn: unknown */
    EXAMPLE_FEW      /* "few": its first three to nine genes alone: unknown */
} example_kind;
const char *example_kind_name(example_kind kind);

#define EXAMPLE_MOST_CANDIDATES 1024

/* One example of a cell, without its text. */
typedef struct {
    example_kind kind;
    int n_genes; /* at most so many are listed */
    int wording;
    int candidates[EXAMPLE_MOST_CANDIDATES]; /* labels in the order they are listed */
    int n_candidates;                        /* 0: all labels */
} example;

/*
 * Draws example `number` of a cell: it depends on the recipe's seed, the cell's dataset and id, and
 * the number alone. is_negative: one of the unknown_share. lists_labels [n_wordings]: wordings that
 * list labels; only these get candidates.
 */
void example_draw(example *out, const emc_recipe_info *recipe, const emc_dataset_cell *cell,
                  int number, bool is_negative, int n_labels, const bool *lists_labels,
                  int n_wordings, int n_genes_of_profile);

/* Which cells give examples: keep [n]: 1 for those that do. Twins never do; of the train part at
 * most the recipe's cap a label, drawn by seed, dataset and id. */
emc_status example_choose(unsigned char *keep, const emc_dataset *dataset);

/* Whether one more example, a negative one, is made of this cell. */
bool example_has_negative(const emc_recipe_info *recipe, const emc_dataset_cell *cell);

#ifdef __cplusplus
}
#endif
