/* How do rows leave a matrix that is stored by columns? It is turned once, when it is opened. */
#include <stdlib.h>

#include "base/size.h"
#include "cells/h5_matrix.h"

/* Values that pass through memory at a time. */
#define TURN_VALUES ((hsize_t)1 << 18)

/* Visits all entries in storage order: without `next` counts each row's, with it places them. */
static emc_status turn_pass(h5_matrix *matrix, cells_memory *turned, int64_t *next)
{
    const hsize_t n_values = (hsize_t)matrix->indptr[matrix->n_genes];
    emc_status status;
    int32_t *rows = NULL, gene = 0;
    double *values = NULL;

    status = emc_alloc(&rows, TURN_VALUES, sizeof *rows, "a band of a matrix");
    if (status == EMC_OK)
        status = emc_alloc(&values, TURN_VALUES, sizeof *values, "a band of a matrix");
    for (hsize_t start = 0; status == EMC_OK && start < n_values; start += TURN_VALUES) {
        const hsize_t n = n_values - start < TURN_VALUES ? n_values - start : TURN_VALUES;
        status = cells_h5_slice(rows, matrix->indices, start, n, H5T_NATIVE_INT32, matrix->path);
        if (status == EMC_OK && next)
            status =
                cells_h5_slice(values, matrix->data, start, n, H5T_NATIVE_DOUBLE, matrix->path);
        for (hsize_t i = 0; status == EMC_OK && i < n; i++) {
            while ((int64_t)(start + i) >= matrix->indptr[gene + 1])
                gene++;
            if (rows[i] < 0 || rows[i] >= matrix->n_cells) {
                status = cells_h5_fail(EMC_ERR_FORMAT, matrix->path, matrix->indices,
                                       "column %d: row index %d of %lld; the file is damaged", gene,
                                       rows[i], (long long)matrix->n_cells);
            } else if (next) {
                const int64_t to = next[rows[i]]++;
                turned->genes[to] = gene;
                turned->values[to] = values[i];
            } else {
                turned->indptr[rows[i] + 1]++;
            }
        }
    }
    free(rows);
    free(values);
    return status;
}

emc_status h5_csc_prepare(h5_matrix *matrix)
{
    const size_t n_rows = (size_t)matrix->n_cells;
    const size_t n_values = (size_t)matrix->indptr[matrix->n_genes];
    emc_status status;
    cells_memory *turned = NULL;
    int64_t *next = NULL;

    status = emc_alloc(&turned, 1, sizeof *turned, "a matrix");
    if (status != EMC_OK)
        goto done;
    turned->n_rows = matrix->n_cells;
    status = emc_alloc(&turned->indptr, n_rows + 1, sizeof *turned->indptr, "a matrix");
    if (status == EMC_OK)
        status = emc_alloc(&turned->genes, n_values, sizeof *turned->genes, "a CSC matrix");
    if (status == EMC_OK)
        status = emc_alloc(&turned->values, n_values, sizeof *turned->values, "a CSC matrix");
    if (status == EMC_OK)
        status = emc_alloc(&next, n_rows, sizeof *next, "a matrix");
    if (status == EMC_OK)
        status = turn_pass(matrix, turned, NULL);
    if (status != EMC_OK)
        goto done;
    for (size_t i = 0; i < n_rows; i++) {
        turned->indptr[i + 1] += turned->indptr[i];
        next[i] = turned->indptr[i];
    }
    status = turn_pass(matrix, turned, next);
    if (status != EMC_OK)
        goto done;
    matrix->turned = turned;
    turned = NULL;

done:
    free(next);
    cells_memory_close(turned);
    return status;
}

static int64_t csc_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const h5_matrix *matrix = source;

    return cells_memory_ops.fit(matrix->turned, first, max_rows, max_bytes);
}

static emc_status csc_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    h5_matrix *matrix = source;

    return cells_memory_ops.read(matrix->turned, first, n, rows);
}

const cells_source_ops h5_csc_ops = {csc_fit, csc_read, h5_matrix_close};
