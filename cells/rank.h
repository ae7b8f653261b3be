#pragma once
/*
 * Which genes does this cell express most?
 *
 * The values of a gene are added up, divided by its median when medians are given, and the n_top
 * largest are listed in falling order; equal ones in rising byte order of the gene's name, so the
 * list does not depend on how the file stores the row. Zeros are never listed.
 */

#include <stdint.h>

#include "base/status.h"
#include "cells/genes.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_NOT_FINITE_FAIL = 0, /* the cell fails */
    EMC_NOT_FINITE_DROP      /* NaN and infinity count as not expressed */
} emc_not_finite;

typedef struct {
    int n_top; /* >= 1 */
    /* A gene is listed only when its summed value, before any division, is at least this; >= 0,
     * and zeros are never listed. */
    double min_value;
    /* NULL, or one a gene (emc_medians_read), borrowed; a gene with a NaN median is not listed. */
    const double *medians;
    emc_not_finite not_finite;
} emc_rank_options;

/* genes and values are borrowed from the ranker and good until its next cell. */
typedef struct {
    int n_top;            /* <= the options' n_top */
    const int32_t *genes; /* column indices, best first */
    const double *values; /* what they were ranked by */
    int n_expressed;      /* genes above zero, before filters */
    int n_kept;           /* of these, genes that could be listed: filters, minimum, medians */
    double total;         /* sum of the values above zero, before filters; its last bits may
                             depend on the order in the file when values are no integers */
} emc_ranked;

typedef struct emc_ranker emc_ranker;

/* genes must outlive the ranker; a ranker is for one thread at a time, genes may be shared.
 * EMC_ERR_ARG: n_top < 1, or min_value is negative or not a number. */
emc_status emc_ranker_open(emc_ranker **out, const emc_genes *genes,
                           const emc_rank_options *options);
void emc_ranker_close(emc_ranker *ranker);

/*
 * Ranks row 0 <= row < block->n_rows. A value below zero counts as zero (after summing). Takes no
 * memory. EMC_ERR_FORMAT: a value is not finite and the options do not drop it; the message names
 * file, cell and gene, and the ranker is good for the next cell. EMC_ERR_ARG: no such row, or a
 * gene index that the ranker's genes do not have.
 */
emc_status emc_ranker_cell(emc_ranker *ranker, const emc_cell_block *block, int row,
                           emc_ranked *ranked);

#ifdef __cplusplus
}
#endif
