#pragma once
/*
 * Which cells of a file are wanted? Those that pass every filter on obs, of these the listed ones,
 * of these a random sample, of these the first.
 */

#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "column==value" or "column!=value". A missing value equals nothing. Values are compared as text,
 * numbers and booleans as pandas prints them. */
typedef struct {
    char *column, *value;
    bool is_equal;
} emc_obs_filter;

/* Cuts at the first == or !=, of which blanks beside it are no part; quotes are taken as they are.
 * EMC_ERR_USAGE: neither of them, or no column. Free it in any case. */
emc_status emc_obs_filter_parse(emc_obs_filter *out, const char *text);
void emc_obs_filter_free(emc_obs_filter *filter);

/* Zero-initialised: all cells. */
typedef struct {
    const emc_obs_filter *filters;
    int n_filters;
    int first_column;       /* filter i is about column first_column + i of the reader's options */
    const char *cells_path; /* ids, one a line, or the first column of a table of tabs, commas or
                               semicolons; a first line "cell_id", "barcode", "cell", "index" or
                               nothing that is no cell is a header. Plain or gzip. */
    int64_t sample;         /* so many, without replacement; 0: no drawing */
    uint64_t seed;
    int64_t limit; /* 0: none */
} emc_select_options;

/* Zero-initialise. rows [n_rows] rise; NULL: the rows 0 .. n_rows - 1. */
typedef struct {
    int64_t *rows;
    int64_t n_rows;
    emc_text note; /* a line for people, empty when all cells are taken */
} emc_selection;

/*
 * Memory: 8 bytes a chosen cell, and the listed ids while it works.
 *
 * The sample is Knuth's algorithm S (The Art of Computer Programming, 3.4.2) over splitmix64
 * (Steele, Lea and Flood 2014) from the seed: of t cells left and s wanted, the next is taken when
 * x mod t < s, x being the next number that is below the largest multiple of t. The same on every
 * machine.
 *
 * EMC_ERR_USAGE: no cell is left; the message says what took the last away, and examples of what
 * is there. EMC_ERR_FORMAT, EMC_ERR_NOT_FOUND, EMC_ERR_IO: the list cannot be read.
 */
emc_status emc_select(emc_selection *out, const emc_cells *cells,
                      const emc_select_options *options);
void emc_selection_free(emc_selection *selection);

#ifdef __cplusplus
}
#endif
