/* How do rows leave a matrix that is stored by columns? It is turned once, when it is opened. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5_matrix.h"

/* Values that pass through memory at a time. */
#define PIECE ((int64_t)1 << 18)

/* Hands a piece of entries, in storage order, to `turn`. *column is that of the last one. */
static emc_status add_piece(cells_turn *turn, h5_matrix *matrix, int64_t start, int64_t n,
                            const int32_t *rows, const double *values, int32_t *column)
{
    const int64_t *indptr;

    EMC_TRY(h5_pointers_get(&matrix->pointers, *column, 1, &indptr));
    for (int64_t i = 0; i < n; i++) {
        while (start + i >= indptr[1])
            EMC_TRY(h5_pointers_get(&matrix->pointers, ++*column, 1, &indptr));
        if (rows[i] < 0 || rows[i] >= matrix->n_cells)
            return cells_h5_fail(EMC_ERR_FORMAT, matrix->path, h5_array_dataset(matrix->indices),
                                 "column %d: row index %d of %lld; the file is damaged", *column,
                                 rows[i], (long long)matrix->n_cells);
        EMC_TRY(cells_turn_add(turn, rows[i], *column, values[i]));
    }
    return EMC_OK;
}

static emc_status add_all(cells_turn *turn, h5_matrix *matrix)
{
    h5_array *const arrays[] = {matrix->indices, matrix->data};
    const int64_t n_values = matrix->pointers.n_values;
    emc_status status;
    int32_t *rows = NULL, column = 0;
    double *values = NULL;

    status = emc_alloc(&rows, (size_t)PIECE, sizeof *rows, "a band of a matrix");
    if (status == EMC_OK)
        status = emc_alloc(&values, (size_t)PIECE, sizeof *values, "a band of a matrix");
    for (int64_t start = 0; status == EMC_OK && start < n_values; start += PIECE) {
        const int64_t n = n_values - start < PIECE ? n_values - start : PIECE;
        void *const to[] = {rows, values};
        status = h5_arrays_read(matrix->unpacker, arrays, to, 2, (hsize_t)start, (hsize_t)n);
        if (status == EMC_OK)
            status = add_piece(turn, matrix, start, n, rows, values, &column);
    }
    free(rows);
    free(values);
    return status == EMC_OK ? cells_turn_end(turn) : status;
}

/* One line that stores the matrix by cells, once and for all. */
static emc_status write_advice(emc_text *text, const char *path, const char *name)
{
    const char *layer = strncmp(name, "layers/", 7) == 0 ? name + 7 : NULL;

    EMC_TRY(
        emc_text_addf(text, "python -c 'import scanpy as sc; a = sc.read_h5ad(\"%s\"); ", path));
    if (layer)
        EMC_TRY(emc_text_addf(text, "a.layers[\"%s\"] = a.layers[\"%s\"].tocsr()", layer, layer));
    else if (strcmp(name, "raw/X") == 0)
        EMC_TRY(emc_text_add_string(text, "a = a.raw.to_adata(); a.X = a.X.tocsr()"));
    else
        EMC_TRY(emc_text_add_string(text, "a.X = a.X.tocsr()"));
    return emc_text_add_string(text, "; a.write(\"by_cells.h5ad\")'");
}

emc_status h5_csc_turn(cells_turn **out, h5_matrix *matrix, const char *name,
                       const emc_cells_options *options)
{
    cells_turn_options turning;
    cells_turn *turn = NULL;
    emc_text advice = {0};

    *out = NULL;
    cells_turn_options_from(&turning, options);
    turning.path = matrix->path;
    turning.n_rows = matrix->n_cells;
    turning.n_columns = matrix->n_genes;
    turning.n_expected = matrix->pointers.n_values;
    emc_status status = write_advice(&advice, matrix->path, name);
    turning.advice = advice.bytes;
    if (status == EMC_OK)
        status = cells_turn_open(&turn, &turning);
    if (status == EMC_OK)
        status = add_all(turn, matrix);
    emc_text_free(&advice);
    if (status != EMC_OK) {
        cells_turn_close(turn);
        return status;
    }
    *out = turn;
    return EMC_OK;
}
