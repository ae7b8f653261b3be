#pragma once
/* Rows of results that nobody annotated: a pattern with every kind of verdict in it. */

#include "annotate/results.h"

/* Labels with commas, quotes, letters beyond ASCII, two of one ontology id and one of a forbidden
 * id; written to a file that emc_labels_read takes. */
extern const char results_case_labels[];

typedef struct {
    int64_t n_cells;
    int skip; /* every skip-th row does not come; 0: all come */
    bool generated;
    bool has_invalid_mass; /* for whoever describes the run; rows always have it */
    const emc_labels *labels;

    int64_t at; /* the rest is the source's own */
    char cell_id[32], raw_text[64];
    float *probs; /* [n_labels] */
    int n_passes;
} results_case;

/* The source; free(rows->probs) afterwards. */
emc_result_source results_case_source(results_case *rows);
