#pragma once
/*
 * What do the values of a matrix mean? Judged from a sample of rows, by what can be measured: a
 * count is whole, a scaled value can be negative, a normalised cell has the sum of every other.
 */

#include <stdint.h>

#include "base/status.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_KIND_COUNTS,     /* whole numbers, whatever the dtype; or mostly, as estimated counts */
    EMC_KIND_LOG,        /* logarithms of 1 + something */
    EMC_KIND_NORMALISED, /* every cell has the same sum: CPM, TPM */
    EMC_KIND_SCALED,     /* values below zero: ranks say nothing about expression */
    EMC_KIND_UNKNOWN,    /* none of these */
    EMC_KIND_EMPTY,      /* nothing but zeros in the sample */
    EMC_N_KINDS
} emc_kind;

/* "counts", "log", "normalised", "scaled", "unknown", "empty". */
const char *emc_kind_name(emc_kind kind);

/* What was measured. A row's sum is over its finite values. */
typedef struct {
    emc_kind kind;
    int64_t n_rows, n_values;                /* looked at; values that are not zero, NaN included */
    int64_t n_empty_rows;                    /* without a value above zero */
    double whole_share;                      /* of the finite values that are not zero */
    double negative_share, not_finite_share; /* of n_values */
    double min, max;                         /* finite ones, without zeros; 0 without any */
    double genes_median;                     /* values above zero in a row */
    int n_genes_seen;                        /* genes with a value above zero in some row */
    double log_base;   /* of EMC_KIND_LOG where sums of b^value - 1 agree: e, 2 or 10; else 0 */
    double target_sum; /* that sum, or the one of EMC_KIND_NORMALISED; 0: none */
    char reason[240];  /* one line with the numbers that decided */
} emc_kind_look;

/* Rows of a sample, spread over the file in so many places. */
#define EMC_KIND_ROWS   512
#define EMC_KIND_PLACES 32

/*
 * Looks at EMC_KIND_ROWS rows in EMC_KIND_PLACES places, all of a small file, or the first rows of
 * a format that is read from its start on ("coordinates"); then the next block is the first.
 * Negative values are looked at whatever the reader was told to do with them. Cost: those rows and
 * the chunks they are in.
 *
 * EMC_KIND_SCALED: a value is below zero. EMC_KIND_COUNTS: all are whole; or at least half, with
 * values above 30, where logarithms are not whole by chance. EMC_KIND_LOG: for 80 % of the rows the
 * sum of b^value - 1 is within 2 % of their median (b = e, 2, 10), or no such sum agrees, as after
 * leaving genes out, and no value is above 20, which is log2 of a million. EMC_KIND_NORMALISED: the
 * same for the plain sum. Sums of fewer than five rows count only at a power of ten, 1e3 to 1e6.
 *
 * Errors as emc_cells_next.
 */
emc_status emc_kind_look_at(emc_kind_look *out, emc_cells *cells);

#ifdef __cplusplus
}
#endif
