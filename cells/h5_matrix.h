#pragma once
/* Inside cells/: a matrix in HDF5 and the ways its rows leave it. */

#include "cells/h5_array.h"
#include "cells/h5_pointers.h"
#include "cells/turn.h"

typedef struct {
    const char *path;
    int64_t n_cells;
    int n_genes; /* columns as stored */
    /* A compressed matrix. */
    h5_unpacker *unpacker;
    h5_array *data, *indices;
    h5_pointers pointers; /* of rows (CSR) or columns (CSC) */
    /* A dense one. */
    hid_t dense;
    hsize_t chunk_rows; /* 1 when it is not chunked */
    double *band;
    size_t band_capacity;
} h5_matrix;

void h5_matrix_close(void *source);

extern const cells_source_ops h5_csr_ops;
extern const cells_source_ops h5_dense_ops;

/* Lets the library's cache hold a chunk that two reads share, or for a dense matrix one band of
 * chunks. */
emc_status h5_set_chunk_cache(hid_t *dataset, int n_dims, hsize_t n_columns, const char *path);

/* The rows of a CSC matrix: reads all of it. `name` is the matrix's, for what is logged. */
emc_status h5_csc_turn(cells_turn **out, h5_matrix *matrix, const char *name,
                       const emc_cells_options *options);

/* Fills what emc_cells_get_matrix tells of the values, all but the name. */
emc_status h5_describe(cells_file *file, hid_t values, const char *storage, int64_t n_values);
