/* How do the rows of a CSR matrix leave HDF5? */
#include "base/size.h"
#include "cells/h5_matrix.h"

static int64_t csr_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const h5_matrix *matrix = source;
    const int64_t most = (int64_t)(max_bytes / (sizeof(int32_t) + sizeof(double)));
    int64_t n = 1;

    while (n < max_rows && first + n < matrix->n_cells &&
           matrix->indptr[first + n + 1] - matrix->indptr[first] <= most)
        n++;
    return n;
}

static emc_status read_csr(h5_matrix *matrix, int64_t first, int64_t n, cells_rows *rows)
{
    const int64_t *indptr = matrix->indptr + first;
    const hsize_t start = (hsize_t)indptr[0], n_values = (hsize_t)(indptr[n] - indptr[0]);

    EMC_TRY(cells_rows_reserve(rows, (size_t)n, (size_t)n_values));
    EMC_TRY(cells_h5_slice(rows->genes, matrix->indices, start, n_values, H5T_NATIVE_INT32,
                           matrix->path));
    EMC_TRY(cells_h5_slice(rows->values, matrix->data, start, n_values, H5T_NATIVE_DOUBLE,
                           matrix->path));
    for (int64_t i = 0; i <= n; i++)
        rows->indptr[i] = indptr[i] - indptr[0];
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = rows->indptr[i]; k < rows->indptr[i + 1]; k++)
            if (rows->genes[k] < 0 || rows->genes[k] >= matrix->n_genes)
                return cells_h5_fail(EMC_ERR_FORMAT, matrix->path, matrix->indices,
                                     "row %lld: column index %d of %d; the file is damaged",
                                     (long long)(first + i), rows->genes[k], matrix->n_genes);
    return EMC_OK;
}

static emc_status csr_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    cells_h5_guard guard;

    cells_h5_enter(&guard);
    const emc_status status = read_csr(source, first, n, rows);
    cells_h5_leave(&guard);
    return status;
}

const cells_source_ops h5_csr_ops = {csr_fit, csr_read, h5_matrix_close};
