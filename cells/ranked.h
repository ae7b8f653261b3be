#pragma once
/*
 * Ranked cells of a file, one after the other: reading and ranking run ahead of the caller on
 * threads of their own. What a cell is given never depends on the number of threads, on where a
 * range begins or on the cells beside it.
 */

#include <stdint.h>

#include "base/status.h"
#include "cells/genes.h"
#include "cells/rank.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_ranked_cells emc_ranked_cells;

/* All borrowed for the life of the iterator; while it is open nobody else may use `cells`. */
typedef struct {
    emc_cells *cells;
    const emc_genes *genes;
    emc_rank_options rank;
    const int64_t *rows; /* [n_rows], rising rows of the file; NULL: all of them */
    int64_t n_rows;      /* without rows it is not looked at */
    int n_threads;       /* that rank; 0: one a core this process may use */
} emc_ranked_options;

/* A cell, borrowed until the next call. */
typedef struct {
    int64_t position; /* in the selection; equals row when all rows are taken */
    int64_t row;      /* in the file */
    const char *cell_id;
    const char *const *obs; /* [n_obs_columns] of the reader; NULL without columns */
    emc_ranked ranked;      /* zero when status is not EMC_OK */
    emc_status status;      /* EMC_ERR_FORMAT: this cell alone cannot be ranked */
    const char *message;    /* why; "" otherwise */
} emc_ranked_cell;

/* Begins at position 0 and ends after the last. Errors as emc_ranker_open; EMC_ERR_ARG: rows that
 * do not rise or are not in the file. */
emc_status emc_ranked_cells_open(emc_ranked_cells **out, const emc_ranked_options *options);
void emc_ranked_cells_close(emc_ranked_cells *ranked); /* NULL is fine */

/* The next cells are positions first .. first + n - 1, and nothing after them is read. EMC_ERR_ARG:
 * no such positions. */
emc_status emc_ranked_cells_seek(emc_ranked_cells *ranked, int64_t first, int64_t n);

/* The next cell; *more is false past the last. Errors are those of the file as a whole
 * (emc_cells_next); after one, only seek and close. */
emc_status emc_ranked_cells_next(emc_ranked_cells *ranked, emc_ranked_cell *cell, bool *more);

#ifdef __cplusplus
}
#endif
