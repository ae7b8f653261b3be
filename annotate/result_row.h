#pragma once
/* The result of one cell: what a shard keeps and every output is written from. */

#include <stdint.h>

#include "annotate/answer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Pointers are borrowed from whoever hands the row out, until its next one. */
typedef struct {
    int64_t row; /* in the input file */
    const char *cell_id;
    emc_verdict verdict;
    int n_genes, n_tokens; /* in the prompt; 0 for a cell that was not asked */
    const char *raw_text;  /* what the model wrote; NULL unless it generated */
    const float *probs;    /* [n_labels]; NULL where they were not asked for or do not exist */
} emc_result_row;

/* Rows one after the other in the order of the input, as often as it is rewound. */
typedef struct {
    void *context;
    emc_status (*rewind)(void *context);
    emc_status (*next)(void *context, emc_result_row *row, bool *more);
} emc_result_source;

#ifdef __cplusplus
}
#endif
