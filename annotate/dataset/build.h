#pragma once
/* Instruction data from labelled cells: the work behind `emcell dataset build`. */

#include "annotate/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_FORM_MESSAGES, /* {"messages": [{"role", "content"}, ...]} */
    EMC_FORM_ALPACA,   /* {"instruction", "input", "output"} */
    EMC_FORM_SHAREGPT  /* {"conversations": [{"from", "value"}, ...]} */
} emc_form;
#define EMC_N_FORMS 3
const char *emc_form_name(emc_form form); /* "messages", "alpaca", "sharegpt" */

typedef struct {
    const char *recipe;        /* built-in name or path */
    const char *input_dir;     /* as emc_recipe_open */
    const char *output_dir;    /* made; PART.FORM.jsonl, card.md and card.json appear when whole */
    unsigned forms;            /* 1 << emc_form; 0: all */
    const char *tokenizer_dir; /* for the histogram of tokens; NULL: none is made */
    bool force;                /* what stands in output_dir of an earlier build is replaced */
    emc_dataset_options dataset;
} emc_build_options;

/* Strings belong to the summary. */
typedef struct {
    int64_t n_cells, n_examples[EMC_N_PARTS], n_unknown;
    char *output_dir;
} emc_build_summary;
void emc_build_summary_close(emc_build_summary *summary);

/* EMC_ERR_CREATE: the folder is not empty and no force was given. Else as emc_dataset_open. The
 * files depend on recipe, inputs and version alone: not on threads or time. */
emc_status emc_dataset_build(emc_build_summary *out, const emc_build_options *options);

#ifdef __cplusplus
}
#endif
