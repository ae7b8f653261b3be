#pragma once
/* Inside cells/: the values of one matrix of a zarr store. */

#include "cells/zarr_array.h"

/* Fills ops, source and the matrix lines of the file, whose n_cells and n_genes it must have.
 * name: "X", "raw/X", "layers/counts". Takes over `store` when it succeeds. */
emc_status zarr_matrix_open(cells_file *file, zarr_store *store, const char *key, const char *name,
                            const emc_cells_options *options);
