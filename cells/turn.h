#pragma once
/*
 * Inside cells/: entries (row, column, value) that come in any order leave row by row, within a
 * memory budget. What does not fit goes through a scratch file that has no name, so that nothing
 * of it stays, whatever ends the process.
 *
 *     cells_turn_open, then cells_turn_add for every entry, then cells_turn_end once; from there
 *     on rows are read, by cells_turn_ops as a source or by cells_turn_read.
 *
 * Within a row the entries stand in the order in which they were added.
 */

#include "cells/source.h"

typedef struct cells_turn cells_turn;

typedef struct {
    const char *path; /* for messages; borrowed */
    int64_t n_rows;
    int n_columns;           /* at most INT32_MAX; columns are not looked at otherwise */
    size_t memory_bytes;     /* the budget; 0: 1 GiB */
    const char *scratch_dir; /* borrowed; NULL: /tmp */
    int64_t n_expected;      /* entries, where that is known; 0: not known */
    /* Told once, when the scratch file is made: a line for people. May be NULL. */
    void (*on_log)(void *context, const char *line);
    void *context;
    const char *advice; /* what to convert with, for that line; "" or NULL: nothing */
} cells_turn_options;

/* The budget of a reader's options, and its scratch folder and log. */
void cells_turn_options_from(cells_turn_options *out, const emc_cells_options *options);

emc_status cells_turn_open(cells_turn **out, const cells_turn_options *options);
void cells_turn_close(cells_turn *turn); /* NULL is fine */

/* 0 <= row < n_rows (the caller has checked what a file says). EMC_ERR_IO: the scratch file cannot
 * be made or is full; the message says where and how much. */
emc_status cells_turn_add(cells_turn *turn, int64_t row, int32_t column, double value);

/* No more entries. */
emc_status cells_turn_end(cells_turn *turn);

/* Entries that were added. */
int64_t cells_turn_count(const cells_turn *turn);

/* After the end: how many rows from `first` make a block, and the rows. As in cells_source_ops. */
int64_t cells_turn_fit(cells_turn *turn, int64_t first, int64_t max_rows, size_t max_bytes);
emc_status cells_turn_read(cells_turn *turn, int64_t first, int64_t n, cells_rows *rows);

/* A source whose `source` is a cells_turn. */
extern const cells_source_ops cells_turn_ops;
