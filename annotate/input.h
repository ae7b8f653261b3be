#pragma once
/* The cells of a file as a profile sees them: one ranked list of genes after the other. */

#include <stdint.h>

#include "annotate/gene_match.h"
#include "annotate/profile.h"
#include "annotate/run.h"
#include "base/hash.h"
#include "base/status.h"
#include "cells/genes.h"
#include "cells/rank.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_input emc_input;

typedef struct {
    int64_t position; /* among the chosen cells */
    int64_t row;      /* in the file */
    const char *cell_id;
    emc_ranked ranked;      /* zero when status is failed */
    emc_cell_status status; /* ok, empty, too_few_genes or failed */
    const char *reason;     /* static; "" when ok */
    const char *message;    /* what went wrong with a failed cell; "" otherwise */
    const char *const *obs; /* [n_obs_columns] of the open */
} emc_input_cell;

/* The reader's options for these; layer and columns of obs are left out. Strings are borrowed. */
void emc_input_cells_options(emc_cells_options *out, const emc_input_options *options,
                             const emc_profile_info *profile);

/*
 * Opens the file, chooses the matrix and the cells, names the genes, and refuses it when too few of
 * the names are human symbols. Strings of the options and the profile are borrowed for the life of
 * *out. EMC_ERR_CONFIG: the share of known genes is below min_gene_match; the line gives the share,
 * examples and advice. Other errors as emc_cells_open, emc_catalog_choose, emc_select,
 * emc_genes_open and emc_medians_read.
 */
emc_status emc_input_open(emc_input **out, const char *path, const emc_input_options *options,
                          const emc_profile_info *profile, const char *const *obs_columns,
                          int n_obs_columns);
void emc_input_close(emc_input *input); /* NULL is fine */

int64_t emc_input_n_cells(const emc_input *input);    /* chosen */
int64_t emc_input_n_rows(const emc_input *input);     /* of the file */
int emc_input_n_genes_listed(const emc_input *input); /* of a cell, at most */
const emc_cells *emc_input_cells(const emc_input *input);
const emc_genes *emc_input_genes(const emc_input *input);
const emc_gene_match *emc_input_match(const emc_input *input);

/* The row of a chosen cell, 0 <= position < n_cells; the position of a row, -1 when it is not
 * chosen. */
int64_t emc_input_row(const emc_input *input, int64_t position);
int64_t emc_input_position(const emc_input *input, int64_t row);

/* The matrix that is read, as options.layer takes it: "X", "raw", "layers/NAME". A run that goes on
 * with this in the place of "auto" reads the same. */
const char *emc_input_layer(const emc_input *input);

/* Over everything about the input that changes what the model is asked, but for the bytes of the
 * file and the profile: cells chosen, names of genes, matrix, medians and options. */
emc_status emc_input_hash(emc_hash *out, const emc_input *input);

/* The next cells are positions first .. first + n - 1 of the chosen ones; after the open they are
 * all. EMC_ERR_ARG: no such positions. */
emc_status emc_input_seek(emc_input *input, int64_t first, int64_t n);

/* The next cell, borrowed until the next call; *more is false past the last. Errors are those of
 * the file as a whole; a cell's own are its status. After an error only seek and close. */
emc_status emc_input_next(emc_input *input, emc_input_cell *cell, bool *more);

#ifdef __cplusplus
}
#endif
