#pragma once
/* Inside cells/: a matrix in HDF5 and the ways its rows leave it. */

#include "cells/h5.h"

typedef struct {
    const char *path;
    int64_t n_cells;
    int n_genes;        /* columns as stored */
    hid_t data;         /* the values; for a dense matrix all of it */
    hid_t indices;      /* -1 for a dense matrix */
    int64_t *indptr;    /* [major + 1], of a sparse matrix */
    hsize_t chunk_rows; /* of a dense matrix; 1 when it is not chunked */
    double *band;       /* of a dense matrix */
    size_t band_capacity;
    cells_memory *turned; /* a CSC matrix */
} h5_matrix;

void h5_matrix_close(void *source);

extern const cells_source_ops h5_csr_ops;
extern const cells_source_ops h5_csc_ops;
extern const cells_source_ops h5_dense_ops;

/* Turns a CSC matrix, so that h5_csc_ops can read rows. */
emc_status h5_csc_prepare(h5_matrix *matrix);
