/* How do the rows of a dense matrix leave HDF5? In bands of whole chunks. */
#include "base/size.h"
#include "cells/h5_matrix.h"

static int64_t dense_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const h5_matrix *matrix = source;
    const int64_t chunk_rows = (int64_t)matrix->chunk_rows;
    /* The band, and its values again where none of them is zero. */
    const size_t row_bytes = (size_t)matrix->n_genes * (2 * sizeof(double) + sizeof(int32_t));
    int64_t n = (int64_t)(max_bytes / row_bytes);

    if (n > max_rows)
        n = max_rows;
    if (n < 1)
        n = 1;
    /* Whole chunks where they fit, so that each is unpacked once. */
    if (n >= chunk_rows) {
        const int64_t end = (first + n) / chunk_rows * chunk_rows;
        if (end > first)
            n = end - first;
    }
    return first + n > matrix->n_cells ? matrix->n_cells - first : n;
}

/* The band of rows, converted, into matrix->band. */
static emc_status read_band(h5_matrix *matrix, int64_t first, int64_t n)
{
    const hsize_t start[2] = {(hsize_t)first, 0};
    const hsize_t count[2] = {(hsize_t)n, (hsize_t)matrix->n_genes};

    return cells_h5_box(matrix->band, matrix->dense, start, count, matrix->path);
}

static emc_status dense_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    h5_matrix *matrix = source;
    cells_h5_guard guard;
    size_t n_band, n_values = 0;

    if (!emc_size_mul(&n_band, (size_t)n, (size_t)matrix->n_genes))
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory for a band", matrix->path);
    EMC_TRY(emc_reserve(&matrix->band, &matrix->band_capacity, n_band, sizeof *matrix->band,
                        "a band of a dense matrix"));
    cells_h5_enter(&guard);
    const emc_status status = read_band(matrix, first, n);
    cells_h5_leave(&guard);
    EMC_TRY(status);
    for (size_t i = 0; i < n_band; i++)
        n_values += matrix->band[i] != 0.0;
    EMC_TRY(cells_rows_reserve(rows, (size_t)n, n_values));
    n_values = 0;
    rows->indptr[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const double *row = matrix->band + (size_t)i * (size_t)matrix->n_genes;
        for (int g = 0; g < matrix->n_genes; g++) {
            if (row[g] != 0.0) {
                rows->genes[n_values] = g;
                rows->values[n_values++] = row[g];
            }
        }
        rows->indptr[i + 1] = (int64_t)n_values;
    }
    return EMC_OK;
}

const cells_source_ops h5_dense_ops = {dense_fit, dense_read, h5_matrix_close};
