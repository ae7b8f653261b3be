#pragma once
/* Inside dataset/: what a build counts for its card. */

#include "annotate/dataset/build.h"
#include "annotate/dataset/example.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TOKEN_BIN  100 /* tokens; the histogram's bins */
#define TOKEN_BINS 100 /* the last holds all longer ones */

typedef struct {
    const emc_dataset *dataset;
    const emc_build_options *options;
    int64_t n_examples[EMC_N_PARTS];
    int64_t n_kind[4]; /* of example_kind */
    int64_t *n_label;  /* [(n_labels + 1) * EMC_N_PARTS] examples; the last label is unknown */
    int64_t tokens[TOKEN_BINS];
    int64_t n_tokens, most_tokens; /* of prompts and answers together */
} build_counts;

/* card.json and card.md, appended. */
emc_status build_card_json(emc_text *out, const build_counts *counts);
emc_status build_card_markdown(emc_text *out, const build_counts *counts);
/* dataset_info.json: what LLaMA-Factory's --dataset takes. */
emc_status build_dataset_info(emc_text *out, const emc_build_options *options);

#ifdef __cplusplus
}
#endif
