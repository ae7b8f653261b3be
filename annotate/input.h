#pragma once
/* The cells of a file as a profile sees them: one ranked list of genes after the other. */

#include <stdint.h>

#include "annotate/gene_match.h"
#include "annotate/profile.h"
#include "annotate/run.h"
#include "base/status.h"
#include "cells/genes.h"
#include "cells/rank.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_input emc_input;

typedef struct {
    int64_t row;
    const char *cell_id;
    emc_ranked ranked;      /* zero when status is failed */
    emc_cell_status status; /* ok, empty, too_few_genes or failed */
    const char *reason;     /* static; "" when ok */
    const char *message;    /* what went wrong with a failed cell; "" otherwise */
    const char *const *obs; /* [n_obs_columns] of the open */
} emc_input_cell;

/*
 * Opens the file, names its genes, and refuses it when too few of the names are human symbols.
 * Strings of the options and the profile are borrowed for the life of *out.
 * EMC_ERR_CONFIG: the share of known genes is below min_gene_match; the line gives the share,
 * examples and advice. Other errors as emc_cells_open, emc_genes_open and emc_medians_read.
 */
emc_status emc_input_open(emc_input **out, const char *path, const emc_input_options *options,
                          const emc_profile_info *profile, const char *const *obs_columns,
                          int n_obs_columns);
void emc_input_close(emc_input *input); /* NULL is fine */

/* At most options.limit. */
int64_t emc_input_n_cells(const emc_input *input);
int emc_input_n_genes_listed(const emc_input *input); /* of a cell, at most */
const emc_cells *emc_input_cells(const emc_input *input);
const emc_genes *emc_input_genes(const emc_input *input);
const emc_gene_match *emc_input_match(const emc_input *input);

/* The next cell is this one. EMC_ERR_ARG: no such row. */
emc_status emc_input_seek(emc_input *input, int64_t row);

/* The next cell, borrowed until the next call; *more is false past the last. Errors are those of
 * the file as a whole; a cell's own are its status. */
emc_status emc_input_next(emc_input *input, emc_input_cell *cell, bool *more);

#ifdef __cplusplus
}
#endif
