#pragma once
/*
 * Inside cells/: the entries of a Matrix Market file in coordinate form, in the order of the file
 * or, where that goes cell by cell, as rows.
 */

#include "cells/lines.h"
#include "cells/source.h"

typedef enum { MTX_REAL = 0, MTX_INTEGER, MTX_PATTERN } mtx_field;

typedef struct {
    mtx_field field;
    int64_t n_first, n_second; /* rows and columns of the file */
    int64_t n_entries;
    cells_lines_place place; /* of the first entry */
} mtx_header;

/* Leaves the lines at the first entry. EMC_ERR_FORMAT: another form, or sizes that cannot be. */
emc_status cells_mtx_read_header(mtx_header *header, cells_lines *lines);

typedef struct {
    int64_t cell; /* from 0 */
    int32_t column;
    double value;
} mtx_entry;

/* Entries one after the other, each checked to be within the header's sizes. */
typedef struct {
    mtx_header header;
    bool cells_first; /* a line is cell, gene, value; else gene, cell, value */
    int64_t n_cells;
    int32_t n_columns;
    cells_lines lines;
    int64_t n_read;  /* entries so far */
    mtx_entry ahead; /* read but not taken, when has_ahead */
    bool has_ahead;
    cells_lines_place ahead_place; /* of its line */
} mtx_scanner;

/* *more is false after the last. EMC_ERR_FORMAT: no entry, out of range, fewer or more than the
 * header says. */
emc_status cells_mtx_next(mtx_scanner *scanner, mtx_entry *entry, bool *more);

/* All further entries of this cell, behind the n that are there already; stops at the first of
 * another cell, which stays ahead, or at the end (*at_end). EMC_ERR_FORMAT also: more entries than
 * genes. */
emc_status cells_mtx_row(mtx_scanner *scanner, int64_t cell, cells_rows *rows, int64_t *n,
                         bool *at_end);

/* The cell of the next entry; -1 at the end. */
emc_status cells_mtx_peek(mtx_scanner *scanner, int64_t *cell);

/* Back to a place before which n_read entries lie. */
void cells_mtx_seek(mtx_scanner *scanner, cells_lines_place place, int64_t n_read);

/* The rows of a file that goes cell by cell. Takes over what the scanner holds, unless it fails;
 * `path` is the scanner's, of which a copy is kept. */
emc_status cells_mtx_rows_open(void **source, const mtx_scanner *scanner, const char *path);
extern const cells_source_ops cells_mtx_rows_ops;
