/* How do the rows of a Matrix Market file that goes cell by cell leave it? */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/mtx.h"

#define MARK_BYTES ((int64_t)4 << 20)

/* Where the first entry of a row, or of a later one when it has none, stands. */
typedef struct {
    int64_t row, n_read;
    cells_lines_place place;
} mtx_mark;

/* Rows that were read and not handed out wait in `rows`: how many fit into a block shows only when
 * one more is there. */
typedef struct {
    mtx_scanner scanner;
    char *path; /* of the matrix */
    cells_rows rows;
    int64_t first, n;  /* the rows that wait */
    int64_t next;      /* the next row to be read from the file */
    bool at_end;       /* no entries are left */
    emc_status status; /* what reading ahead ended with, told when rows are asked for */
    char *message;
    mtx_mark *marks;
    size_t n_marks, marks_capacity;
} mtx_rows;

static void rows_close(void *source)
{
    mtx_rows *rows = source;

    if (!rows)
        return;
    cells_lines_close(&rows->scanner.lines);
    cells_rows_free(&rows->rows);
    free(rows->marks);
    free(rows->message);
    free(rows->path);
    free(rows);
}

emc_status cells_mtx_rows_open(void **source, const mtx_scanner *scanner, const char *path)
{
    mtx_rows *rows = NULL;

    *source = NULL;
    EMC_TRY(emc_alloc(&rows, 1, sizeof *rows, "a matrix"));
    emc_status status = cells_rows_reserve(&rows->rows, 1, 1);
    if (status == EMC_OK)
        status = emc_copy_string(&rows->path, path);
    if (status != EMC_OK) {
        rows_close(rows);
        return status;
    }
    rows->rows.indptr[0] = 0;
    rows->scanner = *scanner;
    rows->scanner.lines.path = rows->path;
    *source = rows;
    return EMC_OK;
}

/* Remembers where a row begins, every few MiB. */
static emc_status keep_mark(mtx_rows *rows, int64_t row)
{
    const mtx_mark mark = {row, rows->scanner.n_read - 1, rows->scanner.ahead_place};
    const mtx_mark *last = rows->n_marks ? &rows->marks[rows->n_marks - 1] : NULL;

    if (last && mark.place.offset < last->place.offset + MARK_BYTES)
        return EMC_OK;
    EMC_TRY(emc_reserve(&rows->marks, &rows->marks_capacity, rows->n_marks + 1, sizeof *rows->marks,
                        "a matrix"));
    rows->marks[rows->n_marks++] = mark;
    return EMC_OK;
}

static void drop_waiting(mtx_rows *rows, int64_t n)
{
    const int64_t gone = rows->rows.indptr[n], left = rows->rows.indptr[rows->n] - gone;

    if (n == 0)
        return;
    memmove(rows->rows.genes, rows->rows.genes + gone, (size_t)left * sizeof *rows->rows.genes);
    memmove(rows->rows.values, rows->rows.values + gone, (size_t)left * sizeof *rows->rows.values);
    for (int64_t i = n; i <= rows->n; i++)
        rows->rows.indptr[i - n] = rows->rows.indptr[i] - gone;
    rows->first += n;
    rows->n -= n;
}

/* One more row to those that wait. */
static emc_status read_row(mtx_rows *rows)
{
    mtx_scanner *scanner = &rows->scanner;
    int64_t n = rows->rows.indptr[rows->n], cell;

    EMC_TRY(cells_rows_reserve(&rows->rows, (size_t)rows->n + 1, (size_t)n));
    if (!rows->at_end) {
        EMC_TRY(cells_mtx_peek(scanner, &cell));
        if (cell >= 0 && cell < rows->next)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: line %lld: an entry of cell %lld behind those of cell %lld, after "
                            "%lld entries in order; sort the entries by cell, or write the file "
                            "again with scipy.io.mmwrite or Matrix::writeMM",
                            scanner->lines.path, (long long)scanner->ahead_place.number,
                            (long long)cell + 1, (long long)rows->next,
                            (long long)scanner->n_read - 1);
        rows->at_end = cell < 0;
        if (cell == rows->next) {
            EMC_TRY(keep_mark(rows, cell));
            EMC_TRY(cells_mtx_row(scanner, cell, &rows->rows, &n, &rows->at_end));
        }
    }
    rows->rows.indptr[++rows->n] = n;
    rows->next++;
    return EMC_OK;
}

/* Reading begins again at the last mark that is not behind the row, unless it is there already. */
static emc_status go_to(mtx_rows *rows, int64_t row)
{
    const mtx_mark *best = NULL;

    if (row >= rows->first && row <= rows->first + rows->n) {
        drop_waiting(rows, row - rows->first);
        return EMC_OK;
    }
    for (size_t i = 0; i < rows->n_marks && rows->marks[i].row <= row; i++)
        best = &rows->marks[i];
    if (row < rows->next || (best && best->row > rows->next)) {
        const mtx_header *header = &rows->scanner.header;
        cells_mtx_seek(&rows->scanner, best ? best->place : header->place, best ? best->n_read : 0);
        rows->next = best ? best->row : 0;
        rows->at_end = false;
    }
    rows->n = 0;
    rows->first = rows->next;
    while (rows->next < row) {
        EMC_TRY(read_row(rows));
        drop_waiting(rows, rows->n);
    }
    return EMC_OK;
}

static emc_status fill(mtx_rows *rows, int64_t first, int64_t max_rows, int64_t most)
{
    EMC_TRY(go_to(rows, first));
    while (rows->n < max_rows && rows->next < rows->scanner.n_cells &&
           rows->rows.indptr[rows->n] <= most)
        EMC_TRY(read_row(rows));
    return EMC_OK;
}

static int64_t rows_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    mtx_rows *rows = (mtx_rows *)(uintptr_t)source;
    const int64_t most = (int64_t)(max_bytes / (sizeof(int32_t) + sizeof(double)));
    int64_t n = 1;

    free(rows->message);
    rows->message = NULL;
    rows->status = fill(rows, first, max_rows, most);
    if (rows->status != EMC_OK) {
        rows->message = strdup(emc_message());
        if (rows->first != first)
            return 1;
    }
    while (n < rows->n && n < max_rows && rows->rows.indptr[n + 1] <= most)
        n++;
    return n;
}

/* The first n of the rows that wait change hands; the others, rarely more than one, move over. */
static emc_status hand_out(mtx_rows *rows, int64_t n, cells_rows *out)
{
    const cells_rows taken = rows->rows;
    const int64_t gone = taken.indptr[n], left = rows->n - n;
    const size_t n_left = (size_t)(taken.indptr[rows->n] - gone);

    EMC_TRY(cells_rows_reserve(out, (size_t)left, n_left));
    for (int64_t i = 0; i <= left; i++)
        out->indptr[i] = taken.indptr[n + i] - gone;
    if (n_left) {
        memcpy(out->genes, taken.genes + gone, n_left * sizeof *out->genes);
        memcpy(out->values, taken.values + gone, n_left * sizeof *out->values);
    }
    rows->rows = *out;
    rows->first += n;
    rows->n = left;
    *out = taken;
    return EMC_OK;
}

/* What was read before an error is handed out first, so that a block depends on the cells in it
 * alone. */
static emc_status rows_read(void *source, int64_t first, int64_t n, cells_rows *out)
{
    mtx_rows *rows = source;

    if (rows->status != EMC_OK && (rows->first != first || rows->n < n)) {
        const emc_status status = rows->status;
        rows->n = 0; /* the next call begins at a mark */
        rows->first = rows->next = INT64_MAX;
        return emc_fail(status, "%s", rows->message ? rows->message : "no memory");
    }
    EMC_TRY(go_to(rows, first));
    while (rows->n < n)
        EMC_TRY(read_row(rows));
    return hand_out(rows, n, out);
}

const cells_source_ops cells_mtx_rows_ops = {rows_fit, rows_read, rows_close};
