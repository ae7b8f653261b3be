#pragma once
/* Benchmarks from other things: from annotated files by a recipe, from published questions. */

#include "annotate/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *output_dir; /* made; manifest.json, labels.json and items.jsonl appear when whole */
    bool force;             /* what a benchmark consists of is replaced there */
    int n_genes;            /* an item lists at most so many; 0: 200, at least the profile's */
    const char *recipe, *input_dir; /* as emc_recipe_open */
    emc_dataset_options dataset;
} emc_benchmark_make_options;

/* An item for every cell of the recipe's files that is no twin of an earlier one, in the split that
 * the recipe makes; the label set is the recipe's. *n_items may be NULL. Errors as
 * emc_dataset_open; EMC_ERR_CREATE. */
emc_status emc_benchmark_build(int64_t *n_items, const emc_benchmark_make_options *options);

/*
 * The cell type questions of CellVerse (arXiv:2505.07865), a JSON list of chats, as they are: every
 * message of the asker word for word, the candidates in their order, the right one from the last
 * message. EMC_ERR_FORMAT names the question that is of another form; none is left out.
 */
emc_status emc_benchmark_import_cellverse(int64_t *n_items, const char *path,
                                          const emc_benchmark_make_options *options);

#ifdef __cplusplus
}
#endif
