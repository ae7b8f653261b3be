/* How do the cells of a loom file leave it, which are the columns of its matrix? In bands of whole
 * chunks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5_matrix.h"
#include "cells/hdf5.h"

/* More than this is not spent on the library's cache of one band of chunks. */
#define MOST_CACHE ((size_t)256 << 20)

typedef struct {
    const char *path;
    hid_t dataset;
    int64_t n_cells;
    int n_genes;
    hsize_t chunk_cells; /* 1 when it is not chunked */
    double *band;        /* [n_genes][cells of a block] */
    size_t band_capacity;
} loom_matrix;

static void loom_close(void *source)
{
    loom_matrix *matrix = source;
    cells_h5_guard guard;

    if (!matrix)
        return;
    cells_h5_enter(&guard);
    cells_h5_close(matrix->dataset);
    cells_h5_leave(&guard);
    free(matrix->band);
    free(matrix);
}

static int64_t loom_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const loom_matrix *matrix = source;
    const int64_t width = (int64_t)matrix->chunk_cells;
    /* The band, and its values again where none of them is zero. */
    const size_t cell_bytes = (size_t)matrix->n_genes * (2 * sizeof(double) + sizeof(int32_t));
    int64_t n = (int64_t)(max_bytes / cell_bytes);

    if (n > max_rows)
        n = max_rows;
    if (n < 1)
        n = 1;
    /* Whole chunks where they fit, so that each is unpacked once. */
    const int64_t end = (first + n) / width * width;
    if (end > first)
        n = end - first;
    return first + n > matrix->n_cells ? matrix->n_cells - first : n;
}

static emc_status read_band(loom_matrix *matrix, int64_t first, int64_t n)
{
    const hsize_t start[2] = {0, (hsize_t)first};
    const hsize_t count[2] = {(hsize_t)matrix->n_genes, (hsize_t)n};

    return cells_h5_box(matrix->band, matrix->dataset, start, count, matrix->path);
}

/* Columns of the band become rows: their sizes first, then their values. */
static emc_status turn_band(const loom_matrix *matrix, int64_t n, cells_rows *rows)
{
    const double *band = matrix->band;
    const size_t n_band = (size_t)n * (size_t)matrix->n_genes;

    EMC_TRY(cells_rows_reserve(rows, (size_t)n + 1, 0));
    memset(rows->indptr, 0, ((size_t)n + 2) * sizeof *rows->indptr);
    for (size_t k = 0; k < n_band;)
        for (int64_t i = 0; i < n; i++, k++)
            rows->indptr[i + 2] += band[k] != 0;
    for (int64_t i = 0; i < n; i++)
        rows->indptr[i + 2] += rows->indptr[i + 1];
    EMC_TRY(cells_rows_reserve(rows, (size_t)n + 1, (size_t)rows->indptr[n + 1]));
    /* Shifted by one, so that filling a row leaves indptr as it should be. */
    for (int gene = 0; gene < matrix->n_genes; gene++)
        for (int64_t i = 0; i < n; i++, band++)
            if (*band != 0) {
                const int64_t to = rows->indptr[i + 1]++;
                rows->genes[to] = gene;
                rows->values[to] = *band;
            }
    return EMC_OK;
}

static emc_status loom_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    loom_matrix *matrix = source;
    cells_h5_guard guard;
    size_t n_band;
    emc_status status;

    if (!emc_size_mul(&n_band, (size_t)n, (size_t)matrix->n_genes))
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory for a band", matrix->path);
    EMC_TRY(emc_reserve(&matrix->band, &matrix->band_capacity, n_band, sizeof *matrix->band,
                        "a band of a loom matrix"));
    cells_h5_enter(&guard);
    status = read_band(matrix, first, n);
    cells_h5_leave(&guard);
    return status == EMC_OK ? turn_band(matrix, n, rows) : status;
}

static const cells_source_ops loom_ops = {loom_fit, loom_read, loom_close};

/* Lets the library's cache hold a band of chunks, as blocks may be narrower than chunks. Where it
 * cannot, each chunk is unpacked for many blocks: said once. */
static emc_status set_cache(loom_matrix *matrix, const hsize_t *chunk,
                            const emc_cells_options *options)
{
    const size_t limit = options->max_bytes ? options->max_bytes : (size_t)64 << 20;
    size_t bytes = sizeof(double);
    char line[512];

    if (chunk[0] == 0 || chunk[1] == 0)
        return EMC_OK;
    const size_t n_chunks = (size_t)(((hsize_t)matrix->n_genes - 1) / chunk[0] + 1);
    const bool fits = emc_size_mul(&bytes, bytes, n_chunks) &&
                      emc_size_mul(&bytes, bytes, (size_t)chunk[0]) &&
                      emc_size_mul(&bytes, bytes, (size_t)chunk[1]) && bytes <= MOST_CACHE;
    if (fits)
        return cells_h5_set_cache(&matrix->dataset, bytes, matrix->path);
    const size_t cells = limit / ((size_t)matrix->n_genes * 20) + 1;
    if (options->on_log && chunk[1] > cells) {
        snprintf(line, sizeof line,
                 "%s: its chunks are of %llu cells each, so that every block of %zu cells unpacks "
                 "them anew; to avoid that, write it again with chunks of 64 x 64, as loompy does",
                 matrix->path, (unsigned long long)chunk[1], cells);
        options->on_log(options->context, line);
    }
    return EMC_OK;
}

emc_status cells_loom_matrix_open(cells_file *file, hid_t dataset, const emc_cells_options *options)
{
    const H5T_class_t class = cells_h5_class(dataset);
    emc_status status;
    hsize_t dims[2], chunk[2];
    loom_matrix *matrix = NULL;

    status = emc_alloc(&matrix, 1, sizeof *matrix, "a matrix");
    if (status != EMC_OK) {
        cells_h5_close(dataset);
        return status;
    }
    *matrix = (loom_matrix){file->path, dataset, file->n_cells, file->n_genes, 1, NULL, 0};
    file->ops = &loom_ops;
    file->source = matrix; /* closed by the iterator, also on failure */
    if (class != H5T_INTEGER && class != H5T_FLOAT)
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, dataset, "its values are no numbers");
    EMC_TRY(cells_h5_dims(dims, 2, dataset, file->path));
    if (dims[0] != (hsize_t)file->n_genes || dims[1] != (hsize_t)file->n_cells)
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, dataset,
                             "is %llu x %llu, but there are names for %d genes x %lld cells",
                             (unsigned long long)dims[0], (unsigned long long)dims[1],
                             file->n_genes, (long long)file->n_cells);
    cells_h5_chunk(chunk, 2, dataset);
    matrix->chunk_cells = chunk[1] ? chunk[1] : 1;
    EMC_TRY(set_cache(matrix, chunk, options));
    EMC_TRY(
        h5_describe(file, matrix->dataset, "dense",
                    dims[0] > (hsize_t)INT64_MAX / dims[1] ? -1 : (int64_t)(dims[0] * dims[1])));
    return emc_text_addf(&file->matrix, "%s (dense, %s, genes in rows)", file->matrix_name.bytes,
                         file->dtype.bytes);
}
