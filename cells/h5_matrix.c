/* How do the rows of a matrix leave an .h5ad file, when it is CSR, CSC or dense? */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5.h"

/* Values that pass through memory at a time when a CSC matrix is turned. */
#define TURN_VALUES ((hsize_t)1 << 18)

/* More than this is not spent on the library's cache of one chunk or band. */
#define MOST_CACHE ((size_t)256 << 20)

typedef struct {
    const char *path;
    int64_t n_cells;
    int n_genes;
    hid_t data;         /* the values; for a dense matrix all of it */
    hid_t indices;      /* -1 for a dense matrix */
    int64_t *indptr;    /* [major + 1], of a sparse matrix */
    hsize_t chunk_rows; /* of a dense matrix; 1 when it is not chunked */
    double *band;       /* of a dense matrix */
    size_t band_capacity;
    cells_memory *turned; /* a CSC matrix */
} h5_matrix;

static void matrix_close(void *source)
{
    h5_matrix *matrix = source;
    cells_h5_guard guard;

    if (!matrix)
        return;
    cells_h5_enter(&guard);
    cells_h5_close(matrix->data);
    cells_h5_close(matrix->indices);
    free(matrix->indptr);
    free(matrix->band);
    cells_memory_close(matrix->turned);
    free(matrix);
    cells_h5_leave(&guard);
}

/* ---- CSR ---- */

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

static const cells_source_ops csr_ops = {csr_fit, csr_read, matrix_close};

/* ---- CSC: turned in memory once, when it is opened ---- */

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

static emc_status turn(h5_matrix *matrix)
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

static const cells_source_ops csc_ops = {csc_fit, csc_read, matrix_close};

/* ---- dense ---- */

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
    emc_status status = EMC_OK;
    hid_t from, in;

    from = H5Dget_space(matrix->data);
    in = H5Screate_simple(2, count, NULL);
    if (from < 0 || in < 0 ||
        H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(matrix->data, H5T_NATIVE_DOUBLE, in, from, H5P_DEFAULT, matrix->band) < 0)
        status = cells_h5_broken(matrix->path, matrix->data, "reading values");
    if (in >= 0)
        H5Sclose(in);
    if (from >= 0)
        H5Sclose(from);
    return status;
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

static const cells_source_ops dense_ops = {dense_fit, dense_read, matrix_close};

/* ---- opening ---- */

static bool is_numeric(hid_t dataset)
{
    const H5T_class_t class = cells_h5_class(dataset);

    return class == H5T_INTEGER || class == H5T_FLOAT;
}

static size_t element_bytes(hid_t dataset)
{
    const hid_t type = H5Dget_type(dataset);
    const size_t n = type < 0 ? 8 : H5Tget_size(type);

    if (type >= 0)
        H5Tclose(type);
    return n ? n : 8;
}

/* Lets the cache hold a chunk that two blocks share, or for a dense matrix one band of chunks. */
static emc_status set_cache(hid_t *dataset, int n_dims, hsize_t n_columns, const char *path)
{
    hsize_t chunk[2];
    size_t bytes = element_bytes(*dataset);

    cells_h5_chunk(chunk, n_dims, *dataset);
    for (int i = 0; i < n_dims; i++)
        if (chunk[i] == 0 || !emc_size_mul(&bytes, bytes, (size_t)chunk[i]))
            return EMC_OK;
    if (n_dims == 2 && !emc_size_mul(&bytes, bytes, (size_t)((n_columns - 1) / chunk[1] + 1)))
        return EMC_OK;
    if (bytes <= (size_t)1 << 20 || bytes > MOST_CACHE)
        return EMC_OK;
    return cells_h5_set_cache(dataset, bytes, path);
}

static emc_status open_dense(h5_matrix *matrix, cells_file *file, hid_t object)
{
    hsize_t dims[2], chunk[2];

    matrix->data = object;
    if (!is_numeric(object))
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, object, "its values are no numbers");
    EMC_TRY(cells_h5_dims(dims, 2, object, file->path));
    if (dims[0] != (hsize_t)file->n_cells || dims[1] != (hsize_t)file->n_genes)
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, object,
                             "is %llu x %llu, but there are names for %lld cells x %d genes",
                             (unsigned long long)dims[0], (unsigned long long)dims[1],
                             (long long)file->n_cells, file->n_genes);
    cells_h5_chunk(chunk, 2, object);
    matrix->chunk_rows = chunk[0] ? chunk[0] : 1;
    EMC_TRY(set_cache(&matrix->data, 2, dims[1], file->path));
    file->ops = &dense_ops;
    return EMC_OK;
}

/* "csr" or "csc", from the encoding of today or of before 0.7; the shape beside it. */
static emc_status sparse_kind(bool *is_csc, const cells_file *file, hid_t group)
{
    emc_status status;
    char *encoding = NULL, *old = NULL;
    int64_t shape[2];
    bool found = false;

    status = cells_h5_attribute(&encoding, group, "encoding-type", file->path);
    if (status == EMC_OK)
        status = cells_h5_attribute(&old, group, "h5sparse_format", file->path);
    if (status != EMC_OK)
        goto done;
    const char *kind = encoding ? encoding : old;
    const bool is_csr = kind && (!strcmp(kind, "csr_matrix") || !strcmp(kind, "csr"));
    *is_csc = kind && (!strcmp(kind, "csc_matrix") || !strcmp(kind, "csc"));
    if (!is_csr && !*is_csc) {
        status = cells_h5_fail(EMC_ERR_FORMAT, file->path, group,
                               "a group of encoding %s; wanted csr_matrix, csc_matrix or a dense "
                               "array",
                               kind ? kind : "unknown");
        goto done;
    }
    status = cells_h5_attribute_ints(shape, 2, &found, group, "shape", file->path);
    if (status == EMC_OK && !found)
        status = cells_h5_attribute_ints(shape, 2, &found, group, "h5sparse_shape", file->path);
    if (status != EMC_OK)
        goto done;
    if (!found)
        status = cells_h5_fail(EMC_ERR_FORMAT, file->path, group, "no attribute shape");
    else if (shape[0] != file->n_cells || shape[1] != file->n_genes)
        status = cells_h5_fail(EMC_ERR_FORMAT, file->path, group,
                               "its shape is %lld x %lld, but there are names for %lld cells x "
                               "%d genes",
                               (long long)shape[0], (long long)shape[1], (long long)file->n_cells,
                               file->n_genes);

done:
    free(encoding);
    free(old);
    return status;
}

/* Reads indptr whole and checks that it rises from 0 to the number of values. */
static emc_status read_indptr(h5_matrix *matrix, hid_t indptr, int64_t n_major)
{
    const char *path = matrix->path;
    hsize_t length, n_values, n_indices;

    EMC_TRY(cells_h5_dims(&length, 1, indptr, path));
    EMC_TRY(cells_h5_dims(&n_values, 1, matrix->data, path));
    EMC_TRY(cells_h5_dims(&n_indices, 1, matrix->indices, path));
    if (n_values != n_indices)
        return cells_h5_fail(EMC_ERR_FORMAT, path, matrix->data, "%llu values for %llu indices",
                             (unsigned long long)n_values, (unsigned long long)n_indices);
    if (length != (hsize_t)n_major + 1)
        return cells_h5_fail(EMC_ERR_FORMAT, path, indptr, "has %llu entries, wanted %lld",
                             (unsigned long long)length, (long long)n_major + 1);
    EMC_TRY(emc_alloc(&matrix->indptr, (size_t)length, sizeof *matrix->indptr, "row pointers"));
    EMC_TRY(cells_h5_slice(matrix->indptr, indptr, 0, length, H5T_NATIVE_INT64, path));
    if (matrix->indptr[0] != 0)
        return cells_h5_fail(EMC_ERR_FORMAT, path, indptr, "starts at %lld, wanted 0",
                             (long long)matrix->indptr[0]);
    for (int64_t i = 0; i < n_major; i++) {
        if (matrix->indptr[i + 1] < matrix->indptr[i] ||
            matrix->indptr[i + 1] - matrix->indptr[i] > INT32_MAX)
            return cells_h5_fail(EMC_ERR_FORMAT, path, indptr,
                                 "goes from %lld to %lld at entry %lld; the file is damaged",
                                 (long long)matrix->indptr[i], (long long)matrix->indptr[i + 1],
                                 (long long)i + 1);
    }
    if (matrix->indptr[n_major] < 0 || (hsize_t)matrix->indptr[n_major] != n_values)
        return cells_h5_fail(EMC_ERR_FORMAT, path, indptr,
                             "ends at %lld, but there are %llu values",
                             (long long)matrix->indptr[n_major], (unsigned long long)n_values);
    return EMC_OK;
}

static emc_status open_sparse(h5_matrix *matrix, cells_file *file, hid_t group)
{
    emc_status status;
    hid_t indptr = -1;
    bool is_csc;

    EMC_TRY(sparse_kind(&is_csc, file, group));
    status = cells_h5_open_dataset(&matrix->data, group, "data", file->path);
    if (status == EMC_OK)
        status = cells_h5_open_dataset(&matrix->indices, group, "indices", file->path);
    if (status == EMC_OK)
        status = cells_h5_open_dataset(&indptr, group, "indptr", file->path);
    if (status != EMC_OK)
        goto done;
    if (!is_numeric(matrix->data) || cells_h5_class(matrix->indices) != H5T_INTEGER ||
        cells_h5_class(indptr) != H5T_INTEGER) {
        status = cells_h5_fail(EMC_ERR_FORMAT, file->path, group,
                               "data must be numbers, indices and indptr integers");
        goto done;
    }
    status = read_indptr(matrix, indptr, is_csc ? file->n_genes : file->n_cells);
    if (status == EMC_OK)
        status = set_cache(&matrix->data, 1, 0, file->path);
    if (status == EMC_OK)
        status = set_cache(&matrix->indices, 1, 0, file->path);
    file->ops = is_csc ? &csc_ops : &csr_ops;
    if (status == EMC_OK && is_csc && matrix->indptr[file->n_genes] > CELLS_MEMORY_VALUES)
        status =
            cells_h5_fail(EMC_ERR_FORMAT, file->path, group,
                          "a CSC matrix of %lld values, more than the %lld that are turned in "
                          "memory; store it by rows: adata.X = adata.X.tocsr()",
                          (long long)matrix->indptr[file->n_genes], (long long)CELLS_MEMORY_VALUES);
    if (status == EMC_OK && is_csc)
        status = turn(matrix);

done:
    cells_h5_close(indptr);
    return status;
}

emc_status cells_h5_matrix_open(cells_file *file, hid_t object, const char *name)
{
    const bool is_dense = H5Iget_type(object) == H5I_DATASET;
    emc_status status;
    h5_matrix *matrix = NULL;

    status = emc_alloc(&matrix, 1, sizeof *matrix, "a matrix");
    if (status != EMC_OK) {
        cells_h5_close(object);
        return status;
    }
    *matrix = (h5_matrix){.path = file->path,
                          .n_cells = file->n_cells,
                          .n_genes = file->n_genes,
                          .data = -1,
                          .indices = -1};
    status = is_dense ? open_dense(matrix, file, object) : open_sparse(matrix, file, object);
    if (!is_dense)
        cells_h5_close(object);
    if (status == EMC_OK)
        status = emc_text_addf(&file->matrix, "%s (%s, %s)", name,
                               file->ops == &csr_ops   ? "csr"
                               : file->ops == &csc_ops ? "csc"
                                                       : "dense",
                               cells_h5_type_name(matrix->data));
    if (status != EMC_OK) {
        matrix_close(matrix);
        file->ops = NULL;
        return status;
    }
    file->source = matrix;
    return EMC_OK;
}
