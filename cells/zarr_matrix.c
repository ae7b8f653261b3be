/* How do the rows of a matrix leave a zarr store? */
#include "cells/zarr_matrix.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/turn.h"

/* Entries that are read at a time where the order is not that of rows. */
#define PIECE ((int64_t)1 << 16)

typedef struct {
    zarr_store *store;
    int64_t n_cells;
    int n_genes;
    zarr_array *data, *indices; /* of a dense matrix, data alone */
    int64_t *indptr;            /* [cells or genes + 1] */
    int64_t *columns;           /* as they are read */
    size_t columns_capacity;
    double *band; /* of a dense matrix */
    size_t band_capacity;
    cells_turn *turn; /* of a matrix that is stored by genes */
} zarr_matrix;

static void matrix_close(void *source)
{
    zarr_matrix *matrix = source;

    if (!matrix)
        return;
    cells_turn_close(matrix->turn);
    zarr_array_close(matrix->data);
    zarr_array_close(matrix->indices);
    zarr_store_close(matrix->store);
    free(matrix->indptr);
    free(matrix->columns);
    free(matrix->band);
    free(matrix);
}

static int64_t csr_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const zarr_matrix *matrix = source;
    const int64_t most = (int64_t)(max_bytes / (sizeof(int32_t) + sizeof(double)));
    int64_t n = 1;

    while (n < max_rows && first + n < matrix->n_cells &&
           matrix->indptr[first + n + 1] - matrix->indptr[first] <= most)
        n++;
    return n;
}

/* Entries as the file has them; minor indices are checked against `limit`. */
static emc_status read_entries(zarr_matrix *matrix, int64_t start, int64_t n, int64_t limit,
                               double *values)
{
    EMC_TRY(emc_reserve(&matrix->columns, &matrix->columns_capacity, (size_t)n,
                        sizeof *matrix->columns, "a band of a matrix"));
    EMC_TRY(zarr_read_ints(matrix->columns, matrix->indices, start, n));
    EMC_TRY(zarr_read_doubles(values, matrix->data, start, n));
    for (int64_t i = 0; i < n; i++)
        if (matrix->columns[i] < 0 || matrix->columns[i] >= limit)
            return zarr_fail(EMC_ERR_FORMAT, matrix->store, matrix->indices->key,
                             "entry %lld is index %lld of %lld; the file is damaged",
                             (long long)(start + i), (long long)matrix->columns[i],
                             (long long)limit);
    return EMC_OK;
}

static emc_status csr_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    zarr_matrix *matrix = source;
    const int64_t *indptr = matrix->indptr + first;
    const int64_t n_values = indptr[n] - indptr[0];

    EMC_TRY(cells_rows_reserve(rows, (size_t)n, (size_t)n_values));
    EMC_TRY(read_entries(matrix, indptr[0], n_values, matrix->n_genes, rows->values));
    for (int64_t i = 0; i <= n; i++)
        rows->indptr[i] = indptr[i] - indptr[0];
    for (int64_t k = 0; k < n_values; k++)
        rows->genes[k] = (int32_t)matrix->columns[k];
    return EMC_OK;
}

static const cells_source_ops csr_ops = {csr_fit, csr_read, matrix_close};

static int64_t csc_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    return cells_turn_fit(((const zarr_matrix *)source)->turn, first, max_rows, max_bytes);
}

static emc_status csc_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    return cells_turn_read(((zarr_matrix *)source)->turn, first, n, rows);
}

static const cells_source_ops csc_ops = {csc_fit, csc_read, matrix_close};

static int64_t dense_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const zarr_matrix *matrix = source;
    const int64_t chunk_rows = matrix->data->chunk[0];
    /* The band, and its values again where none of them is zero. */
    const size_t row_bytes = (size_t)matrix->n_genes * (2 * sizeof(double) + sizeof(int32_t));
    int64_t n = (int64_t)(max_bytes / row_bytes);

    n = n < max_rows ? n : max_rows;
    n = n < 1 ? 1 : n;
    /* Whole chunks where they fit, so that each is unpacked once. */
    if (n >= chunk_rows && (first + n) / chunk_rows * chunk_rows > first)
        n = (first + n) / chunk_rows * chunk_rows - first;
    return first + n > matrix->n_cells ? matrix->n_cells - first : n;
}

static emc_status dense_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    zarr_matrix *matrix = source;
    size_t n_band, n_values = 0;

    if (!emc_size_mul(&n_band, (size_t)n, (size_t)matrix->n_genes))
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory for a band", zarr_store_path(matrix->store));
    EMC_TRY(emc_reserve(&matrix->band, &matrix->band_capacity, n_band, sizeof *matrix->band,
                        "a band of a dense matrix"));
    EMC_TRY(zarr_read_rows(matrix->band, matrix->data, first, n));
    for (size_t i = 0; i < n_band; i++)
        n_values += matrix->band[i] != 0.0;
    EMC_TRY(cells_rows_reserve(rows, (size_t)n, n_values));
    n_values = 0;
    rows->indptr[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const double *row = matrix->band + (size_t)i * (size_t)matrix->n_genes;
        for (int g = 0; g < matrix->n_genes; g++)
            if (row[g] != 0.0) {
                rows->genes[n_values] = g;
                rows->values[n_values++] = row[g];
            }
        rows->indptr[i + 1] = (int64_t)n_values;
    }
    return EMC_OK;
}

static const cells_source_ops dense_ops = {dense_fit, dense_read, matrix_close};

static emc_status check_shape(const cells_file *file, const zarr_node *node, int64_t n_rows,
                              int64_t n_columns)
{
    if (n_rows == file->n_cells && n_columns == file->n_genes)
        return EMC_OK;
    return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                     "its shape is %lld x %lld, but there are names for %lld cells x %d genes",
                     (long long)n_rows, (long long)n_columns, (long long)file->n_cells,
                     file->n_genes);
}

static emc_status open_dense(zarr_matrix *matrix, cells_file *file, const zarr_node *node)
{
    EMC_TRY(zarr_array_open(&matrix->data, node));
    const zarr_array *data = matrix->data;
    if (data->n_dims != 2 || data->type > ZARR_FLOAT)
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "%d dimensions of %s, wanted two of numbers", data->n_dims,
                         zarr_type_name(data));
    EMC_TRY(check_shape(file, node, data->shape[0], data->shape[1]));
    file->n_values = data->shape[0] * data->shape[1]; /* both below 2^31 now */
    file->ops = &dense_ops;
    return EMC_OK;
}

/* "csr" or "csc", and the shape beside it. */
static emc_status sparse_kind(bool *is_csc, const cells_file *file, const zarr_node *node)
{
    const char *encoding = zarr_node_text(node, "encoding-type");
    const cJSON *shape = node->attrs ? emc_json_member(node->attrs, "shape") : NULL;
    const cJSON *rows = cJSON_GetArrayItem(shape, 0), *columns = cJSON_GetArrayItem(shape, 1);

    *is_csc = encoding && strcmp(encoding, "csc_matrix") == 0;
    if (!*is_csc && (!encoding || strcmp(encoding, "csr_matrix") != 0))
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "a group of encoding %s; wanted csr_matrix, csc_matrix or a dense array",
                         encoding ? encoding : "unknown");
    if (cJSON_GetArraySize(shape) != 2 || !cJSON_IsNumber(rows) || !cJSON_IsNumber(columns))
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "no attribute shape");
    if (rows->valuedouble != (double)file->n_cells || columns->valuedouble != (double)file->n_genes)
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "its shape is %g x %g, but there are names for %lld cells x %d genes",
                         rows->valuedouble, columns->valuedouble, (long long)file->n_cells,
                         file->n_genes);
    return EMC_OK;
}

static emc_status open_part(zarr_array **out, const zarr_node *group, const char *name,
                            bool integers)
{
    zarr_node node = {0};
    emc_status status = zarr_node_want(&node, group->store, group->key, name, ZARR_ARRAY);

    if (status == EMC_OK)
        status = zarr_array_open(out, &node);
    if (status == EMC_OK &&
        ((*out)->n_dims != 1 || (*out)->type > (integers ? ZARR_UINT : ZARR_FLOAT)))
        status =
            zarr_fail(EMC_ERR_FORMAT, node.store, node.key, "%d dimensions of %s, wanted one of %s",
                      (*out)->n_dims, zarr_type_name(*out), integers ? "integers" : "numbers");
    zarr_node_close(&node);
    return status;
}

/* Reads indptr whole and checks that it rises from 0 to the number of values. */
static emc_status read_pointers(zarr_matrix *matrix, zarr_array *pointers, int64_t n_major,
                                int64_t n_minor)
{
    const int64_t n_values = matrix->data->shape[0];
    /* A column may come twice in a row; that it comes often is no matrix any more. */
    const int64_t longest = n_minor < INT32_MAX / 16 ? 16 * n_minor : INT32_MAX;

    if (matrix->indices->shape[0] != n_values)
        return zarr_fail(EMC_ERR_FORMAT, matrix->store, matrix->data->key,
                         "%lld values for %lld indices", (long long)n_values,
                         (long long)matrix->indices->shape[0]);
    if (pointers->shape[0] != n_major + 1)
        return zarr_fail(EMC_ERR_FORMAT, matrix->store, pointers->key,
                         "has %lld entries, wanted %lld", (long long)pointers->shape[0],
                         (long long)n_major + 1);
    EMC_TRY(
        emc_alloc(&matrix->indptr, (size_t)n_major + 1, sizeof *matrix->indptr, "row pointers"));
    EMC_TRY(zarr_read_ints(matrix->indptr, pointers, 0, n_major + 1));
    for (int64_t i = 0; i <= n_major; i++) {
        const int64_t before = i ? matrix->indptr[i - 1] : 0, here = matrix->indptr[i];
        if (here < before || here > n_values || here - before > longest || (i == 0 && here != 0))
            return zarr_fail(EMC_ERR_FORMAT, matrix->store, pointers->key,
                             "goes from %lld to %lld at entry %lld; the file is damaged",
                             (long long)before, (long long)here, (long long)i);
    }
    if (matrix->indptr[n_major] != n_values)
        return zarr_fail(EMC_ERR_FORMAT, matrix->store, pointers->key,
                         "ends at %lld, but there are %lld values",
                         (long long)matrix->indptr[n_major], (long long)n_values);
    return EMC_OK;
}

static emc_status add_entries(zarr_matrix *matrix)
{
    const int64_t n_values = matrix->data->shape[0];
    emc_status status;
    double *values = NULL;
    int32_t gene = 0;

    status = emc_alloc(&values, (size_t)PIECE, sizeof *values, "a band of a matrix");
    for (int64_t start = 0; status == EMC_OK && start < n_values; start += PIECE) {
        const int64_t n = n_values - start < PIECE ? n_values - start : PIECE;
        status = read_entries(matrix, start, n, matrix->n_cells, values);
        for (int64_t i = 0; status == EMC_OK && i < n; i++) {
            while (matrix->indptr[gene + 1] <= start + i)
                gene++;
            status = cells_turn_add(matrix->turn, matrix->columns[i], gene, values[i]);
        }
    }
    free(values);
    return status == EMC_OK ? cells_turn_end(matrix->turn) : status;
}

static emc_status turn(zarr_matrix *matrix, const emc_cells_options *options)
{
    cells_turn_options turning;

    cells_turn_options_from(&turning, options);
    turning.path = zarr_store_path(matrix->store);
    turning.n_rows = matrix->n_cells;
    turning.n_columns = matrix->n_genes;
    turning.n_expected = matrix->data->shape[0];
    turning.advice = "store it by cells: a = ad.read_zarr(...); a.X = a.X.tocsr()";
    EMC_TRY(cells_turn_open(&matrix->turn, &turning));
    return add_entries(matrix);
}

static emc_status open_sparse(zarr_matrix *matrix, cells_file *file, const zarr_node *node,
                              const emc_cells_options *options)
{
    zarr_array *pointers = NULL;
    emc_status status;
    bool is_csc;

    EMC_TRY(sparse_kind(&is_csc, file, node));
    const int64_t n_major = is_csc ? file->n_genes : file->n_cells;
    status = open_part(&matrix->data, node, "data", false);
    if (status == EMC_OK)
        status = open_part(&matrix->indices, node, "indices", true);
    if (status == EMC_OK)
        status = open_part(&pointers, node, "indptr", true);
    if (status == EMC_OK)
        status = read_pointers(matrix, pointers, n_major, is_csc ? file->n_cells : file->n_genes);
    zarr_array_close(pointers);
    if (status == EMC_OK && is_csc)
        status = turn(matrix, options);
    if (status == EMC_OK)
        file->n_values = matrix->data->shape[0];
    file->ops = is_csc ? &csc_ops : &csr_ops;
    return status;
}

static emc_status describe(cells_file *file, const zarr_matrix *matrix, const char *name)
{
    const char *storage = file->ops == &csr_ops ? "csr" : file->ops == &csc_ops ? "csc" : "dense";
    const char *type = zarr_type_name(matrix->data);

    EMC_TRY(emc_text_addf(&file->matrix, "%s (%s, %s)", name, storage, type));
    EMC_TRY(emc_text_add_string(&file->matrix_name, name));
    EMC_TRY(emc_text_add_string(&file->storage, storage));
    EMC_TRY(emc_text_add_string(&file->dtype, type));
    return zarr_array_codecs(&file->filters, matrix->data);
}

emc_status zarr_matrix_open(cells_file *file, zarr_store *store, const char *key, const char *name,
                            const emc_cells_options *options)
{
    zarr_node node = {0};
    zarr_matrix *matrix = NULL;
    emc_status status = emc_alloc(&matrix, 1, sizeof *matrix, "a matrix");

    if (status != EMC_OK)
        return status;
    *matrix = (zarr_matrix){.store = store, .n_cells = file->n_cells, .n_genes = file->n_genes};
    status = zarr_node_open(&node, store, key, NULL);
    if (status == EMC_OK)
        status = node.kind == ZARR_ARRAY ? open_dense(matrix, file, &node)
                                         : open_sparse(matrix, file, &node, options);
    zarr_node_close(&node);
    if (status == EMC_OK)
        status = describe(file, matrix, name);
    if (status == EMC_OK) {
        file->source = matrix;
        return EMC_OK;
    }
    file->ops = NULL;
    matrix->store = NULL; /* the caller's still */
    matrix_close(matrix);
    return status;
}
