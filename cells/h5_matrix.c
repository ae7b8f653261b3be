/* What kind of matrix is this, and do its sizes agree? */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5_matrix.h"

/* More than this is not spent on the library's cache of one chunk or band. */
#define MOST_CACHE ((size_t)256 << 20)

void h5_matrix_close(void *source)
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
    file->ops = &h5_dense_ops;
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
    file->ops = is_csc ? &h5_csc_ops : &h5_csr_ops;
    if (status == EMC_OK && is_csc && matrix->indptr[file->n_genes] > CELLS_MEMORY_VALUES)
        status =
            cells_h5_fail(EMC_ERR_FORMAT, file->path, group,
                          "a CSC matrix of %lld values, more than the %lld that are turned in "
                          "memory; store it by rows: adata.X = adata.X.tocsr()",
                          (long long)matrix->indptr[file->n_genes], (long long)CELLS_MEMORY_VALUES);
    if (status == EMC_OK && is_csc)
        status = h5_csc_prepare(matrix);

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
                               file->ops == &h5_csr_ops   ? "csr"
                               : file->ops == &h5_csc_ops ? "csc"
                                                          : "dense",
                               cells_h5_type_name(matrix->data));
    if (status != EMC_OK) {
        h5_matrix_close(matrix);
        file->ops = NULL;
        return status;
    }
    file->source = matrix;
    return EMC_OK;
}
