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
    h5_array_close(matrix->data);
    h5_array_close(matrix->indices);
    h5_pointers_close(&matrix->pointers);
    h5_unpacker_close(matrix->unpacker);
    cells_h5_close(matrix->dense);
    free(matrix->band);
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

emc_status h5_set_chunk_cache(hid_t *dataset, int n_dims, hsize_t n_columns, const char *path)
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

/* "gzip 4, shuffle": what a dataset was packed with, last step last. */
static emc_status list_filters(emc_text *text, hid_t dataset)
{
    const hid_t created = H5Dget_create_plist(dataset);
    const int n = created < 0 ? 0 : H5Pget_nfilters(created);
    emc_status status = EMC_OK;

    for (int i = 0; status == EMC_OK && i < n; i++) {
        unsigned flags, config, values[1] = {0};
        size_t n_values = 1;
        char name[64] = "";
        const H5Z_filter_t id = H5Pget_filter2(created, (unsigned)i, &flags, &n_values, values,
                                               sizeof name, name, &config);
        name[sizeof name - 1] = '\0';
        if (i > 0)
            status = emc_text_add_string(text, ", ");
        if (status == EMC_OK && id == H5Z_FILTER_DEFLATE)
            status = emc_text_addf(text, "gzip %u", values[0]);
        else if (status == EMC_OK && id == H5Z_FILTER_SHUFFLE)
            status = emc_text_add_string(text, "shuffle");
        else if (status == EMC_OK && *name)
            status = emc_text_add_string(text, name);
        else if (status == EMC_OK)
            status = emc_text_addf(text, "filter %d", (int)id);
    }
    if (created >= 0)
        H5Pclose(created);
    return status == EMC_OK && text->n == 0 ? emc_text_add_string(text, "none") : status;
}

emc_status h5_describe(cells_file *file, hid_t values, const char *storage, int64_t n_values)
{
    file->n_values = n_values;
    EMC_TRY(emc_text_add_string(&file->storage, storage));
    EMC_TRY(emc_text_add_string(&file->dtype, cells_h5_type_name(values)));
    return list_filters(&file->filters, values);
}

static emc_status open_dense(h5_matrix *matrix, cells_file *file, hid_t object)
{
    hsize_t dims[2], chunk[2];
    size_t n_values;

    matrix->dense = object;
    if (!is_numeric(object))
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, object, "its values are no numbers");
    EMC_TRY(cells_h5_dims(dims, 2, object, file->path));
    if (dims[0] != (hsize_t)file->n_cells || dims[1] != (hsize_t)matrix->n_genes ||
        !emc_size_mul(&n_values, (size_t)dims[0], (size_t)dims[1]))
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, object,
                             "is %llu x %llu, but there are names for %lld cells x %d genes",
                             (unsigned long long)dims[0], (unsigned long long)dims[1],
                             (long long)file->n_cells, matrix->n_genes);
    cells_h5_chunk(chunk, 2, object);
    matrix->chunk_rows = chunk[0] ? chunk[0] : 1;
    EMC_TRY(h5_set_chunk_cache(&matrix->dense, 2, dims[1], file->path));
    file->ops = &h5_dense_ops;
    file->source = matrix;
    return h5_describe(file, matrix->dense, "dense", (int64_t)n_values);
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

/* Nothing packs better than this; a dataset that nobody wrote costs no bytes and may claim any
 * length. */
#define MOST_PACKED ((hsize_t)65536)
#define FEW         ((hsize_t)1 << 20)

static emc_status check_is_held(const h5_array *array, const char *path)
{
    const hid_t dataset = h5_array_dataset(array);
    const hsize_t n = h5_array_length(array), stored = H5Dget_storage_size(dataset);

    if (n <= FEW || n / MOST_PACKED <= stored)
        return EMC_OK;
    return cells_h5_fail(EMC_ERR_FORMAT, path, dataset,
                         "claims %llu values and holds %llu bytes; write the file again",
                         (unsigned long long)n, (unsigned long long)stored);
}

/* Takes the three datasets over, checks that they agree, and makes them readable by rows or, when
 * they are stored by columns, by columns. */
static emc_status take_parts(h5_matrix *matrix, hid_t parts[3], bool is_csc,
                             const emc_cells_options *options)
{
    const char *path = matrix->path;
    hid_t *data = &parts[0], *indices = &parts[1], *indptr = &parts[2];
    const int64_t n_major = is_csc ? matrix->n_genes : matrix->n_cells;
    const int64_t n_minor = is_csc ? matrix->n_cells : matrix->n_genes;

    if (!is_numeric(*data) || cells_h5_class(*indices) != H5T_INTEGER ||
        cells_h5_class(*indptr) != H5T_INTEGER)
        return cells_h5_fail(EMC_ERR_FORMAT, path, *data,
                             "data must be numbers, indices and indptr integers");
    for (int i = 0; i < 3; i++)
        EMC_TRY(h5_set_chunk_cache(&parts[i], 1, 0, path));
    const hid_t taken[3] = {*data, *indices, *indptr};
    *data = -1;
    EMC_TRY(h5_array_open(&matrix->data, taken[0], false, path));
    *indices = -1;
    EMC_TRY(h5_array_open(&matrix->indices, taken[1], true, path));
    const hsize_t n_values = h5_array_length(matrix->data);
    if (n_values != h5_array_length(matrix->indices) || n_values > INT64_MAX)
        return cells_h5_fail(EMC_ERR_FORMAT, path, h5_array_dataset(matrix->data),
                             "%llu values for %llu indices", (unsigned long long)n_values,
                             (unsigned long long)h5_array_length(matrix->indices));
    EMC_TRY(check_is_held(matrix->data, path));
    EMC_TRY(check_is_held(matrix->indices, path));
    *indptr = -1;
    EMC_TRY(
        h5_pointers_open(&matrix->pointers, taken[2], n_major, n_minor, (int64_t)n_values, path));
    return h5_unpacker_open(&matrix->unpacker, options->n_threads);
}

static emc_status new_matrix(h5_matrix **out, const cells_file *file, int n_columns)
{
    EMC_TRY(emc_alloc(out, 1, sizeof **out, "a matrix"));
    **out = (h5_matrix){.path = file->path,
                        .n_cells = file->n_cells,
                        .n_genes = n_columns,
                        .dense = -1,
                        .pointers = {.dataset = -1}};
    return EMC_OK;
}

/* Compressed by rows or by columns; takes over the parts. */
static emc_status open_compressed(cells_file *file, hid_t parts[3], bool is_csc, int n_columns,
                                  const char *name, const emc_cells_options *options)
{
    emc_status status;
    h5_matrix *matrix = NULL;
    cells_turn *turn = NULL;

    status = new_matrix(&matrix, file, n_columns);
    if (status == EMC_OK)
        status = take_parts(matrix, parts, is_csc, options);
    if (status == EMC_OK)
        status = h5_describe(file, h5_array_dataset(matrix->data), is_csc ? "csc" : "csr",
                             matrix->pointers.n_values);
    if (status == EMC_OK && is_csc)
        status = h5_csc_turn(&turn, matrix, name, options);
    if (status != EMC_OK)
        goto done;
    file->ops = is_csc ? &cells_turn_ops : &h5_csr_ops;
    file->source = is_csc ? (void *)turn : (void *)matrix;
    if (!is_csc)
        matrix = NULL;

done:
    for (int i = 0; i < 3; i++)
        cells_h5_close(parts[i]);
    h5_matrix_close(matrix);
    return status;
}

emc_status cells_h5_rows_open(cells_file *file, const cells_h5_rows *rows,
                              const emc_cells_options *options)
{
    hid_t parts[3] = {rows->data, rows->indices, rows->indptr};

    return open_compressed(file, parts, false, rows->n_columns, "", options);
}

static emc_status open_sparse(cells_file *file, hid_t group, const char *name,
                              const emc_cells_options *options)
{
    static const char *const names[3] = {"data", "indices", "indptr"};
    hid_t parts[3] = {-1, -1, -1};
    emc_status status;
    bool is_csc = false;

    status = sparse_kind(&is_csc, file, group);
    for (int i = 0; status == EMC_OK && i < 3; i++)
        status = cells_h5_open_dataset(&parts[i], group, names[i], file->path);
    if (status == EMC_OK)
        return open_compressed(file, parts, is_csc, file->n_genes, name, options);
    for (int i = 0; i < 3; i++)
        cells_h5_close(parts[i]);
    return status;
}

emc_status cells_h5_matrix_open(cells_file *file, hid_t object, const char *name,
                                const emc_cells_options *options)
{
    emc_status status;

    if (H5Iget_type(object) == H5I_DATASET) {
        h5_matrix *matrix = NULL;
        status = new_matrix(&matrix, file, file->n_genes);
        if (status != EMC_OK)
            cells_h5_close(object);
        else
            status = open_dense(matrix, file, object);
        if (status != EMC_OK) {
            h5_matrix_close(matrix);
            file->ops = NULL;
            file->source = NULL;
        }
    } else {
        status = open_sparse(file, object, name, options);
        cells_h5_close(object);
    }
    EMC_TRY(status);
    EMC_TRY(emc_text_add_string(&file->matrix_name, name));
    return emc_text_addf(&file->matrix, "%s (%s, %s)", name, file->storage.bytes,
                         file->dtype.bytes);
}
