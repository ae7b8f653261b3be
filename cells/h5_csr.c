/* How do the rows of a CSR matrix leave HDF5? */
#include "base/size.h"
#include "cells/h5_matrix.h"

static int64_t csr_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    h5_matrix *matrix = (h5_matrix *)(uintptr_t)source; /* the window of pointers moves */
    const int64_t most = (int64_t)(max_bytes / (sizeof(int32_t) + sizeof(double)));
    cells_h5_guard guard;
    const int64_t *indptr;
    int64_t n = 1;

    if (max_rows > matrix->n_cells - first)
        max_rows = matrix->n_cells - first;
    cells_h5_enter(&guard);
    const emc_status status = h5_pointers_get(&matrix->pointers, first, max_rows, &indptr);
    cells_h5_leave(&guard);
    /* Reading fails alike, and says why. */
    while (status == EMC_OK && n < max_rows && indptr[n + 1] - indptr[0] <= most)
        n++;
    return n;
}

/* Names the first row with a column that is not there. */
static emc_status refuse_column(h5_matrix *matrix, int64_t first, int64_t n, const cells_rows *rows)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = rows->indptr[i]; k < rows->indptr[i + 1]; k++)
            if (rows->genes[k] < 0 || rows->genes[k] >= matrix->n_genes)
                return cells_h5_fail(EMC_ERR_FORMAT, matrix->path,
                                     h5_array_dataset(matrix->indices),
                                     "row %lld: column index %d of %d; the file is damaged",
                                     (long long)(first + i), rows->genes[k], matrix->n_genes);
    return EMC_OK;
}

static emc_status read_csr(h5_matrix *matrix, int64_t first, int64_t n, cells_rows *rows)
{
    h5_array *const arrays[] = {matrix->indices, matrix->data};
    const int64_t *indptr;

    EMC_TRY(h5_pointers_get(&matrix->pointers, first, n, &indptr));
    const int64_t start = indptr[0], n_values = indptr[n] - start;
    EMC_TRY(cells_rows_reserve(rows, (size_t)n, (size_t)n_values));
    for (int64_t i = 0; i <= n; i++)
        rows->indptr[i] = indptr[i] - start;
    void *const to[] = {rows->genes, rows->values};
    EMC_TRY(h5_arrays_read(matrix->unpacker, arrays, to, 2, (hsize_t)start, (hsize_t)n_values));
    /* All of them first, which is quick; which one is asked only when it matters. */
    uint32_t highest = 0;
    for (int64_t k = 0; k < n_values; k++)
        highest = (uint32_t)rows->genes[k] > highest ? (uint32_t)rows->genes[k] : highest;
    return highest < (uint32_t)matrix->n_genes ? EMC_OK : refuse_column(matrix, first, n, rows);
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
