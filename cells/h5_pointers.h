#pragma once
/*
 * Inside cells/: where the rows (or columns) of a compressed matrix begin, read in windows, so that
 * memory does not grow with the number of cells. All inside the library's guard.
 */

#include "cells/h5.h"

typedef struct {
    const char *path;
    hid_t dataset;
    int64_t n_major, n_values;
    int64_t most;    /* values of one row (or column) */
    int64_t *window; /* entries first .. first + n */
    int64_t first, n;
    size_t capacity;
} h5_pointers;

/* Takes over `dataset`, also on failure; then h5_pointers_close in any case. EMC_ERR_FORMAT: it has
 * not n_major + 1 integers that rise from 0 to n_values, each time by no more than a row may hold
 * of n_minor columns, some of which come twice. */
emc_status h5_pointers_open(h5_pointers *pointers, hid_t dataset, int64_t n_major, int64_t n_minor,
                            int64_t n_values, const char *path);
void h5_pointers_close(h5_pointers *pointers);

/* *out is entries first .. first + n, good until the next call; 0 <= first, first + n <= n_major.
 * They rise within 0 .. n_values, whatever became of the file since it was opened. */
emc_status h5_pointers_get(h5_pointers *pointers, int64_t first, int64_t n, const int64_t **out);
