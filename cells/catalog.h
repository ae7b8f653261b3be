#pragma once
/*
 * What does a file offer: which matrices with what kind of values, and which of them would be
 * ranked?
 */

#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "cells/kinds.h"
#include "cells/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_catalog emc_catalog;

/* Strings are owned by the catalog. Below `name` everything is zero until it was looked at. */
typedef struct {
    const char *name; /* as emc_cells_options.layer takes it */
    bool is_looked_at;
    emc_status status;                     /* EMC_ERR_FORMAT and the like: it cannot be read */
    const char *message;                   /* why */
    const char *title;                     /* "raw/X" */
    const char *storage, *dtype, *filters; /* see emc_cells_matrix */
    int64_t n_values;
    int64_t n_cells;
    int n_genes;
    emc_kind_look look;
} emc_catalog_matrix;

/* Lists the matrices and the columns of obs. path and options (which may be NULL) are borrowed for
 * the life of *out; of the options, layer is not looked at. Errors as emc_cells_open. */
emc_status emc_catalog_open(emc_catalog **out, const char *path, const emc_cells_options *options);
void emc_catalog_close(emc_catalog *catalog); /* NULL is fine */

const char *emc_catalog_path(const emc_catalog *catalog);

/* Whether the options let negative values pass. */
bool emc_catalog_takes_scaled(const emc_catalog *catalog);

int emc_catalog_n_matrices(const emc_catalog *catalog); /* at least 1 */
const emc_catalog_matrix *emc_catalog_get(const emc_catalog *catalog, int i);
int emc_catalog_n_columns(const emc_catalog *catalog);
const char *emc_catalog_column(const emc_catalog *catalog, int i);

/* Opens matrix i and looks at its values, once. A matrix that cannot be read is not a failure of
 * the call but its status; EMC_ERR_NOMEM and EMC_ERR_IO are both. */
emc_status emc_catalog_look_at(emc_catalog *catalog, int i);

/*
 * The matrix to rank, and why, as a line for people. Looks at no more than it takes:
 *
 * 1. raw, when it holds counts
 * 2. X, when it holds counts
 * 3. a layer with "count" or "umi" in its name, or of the name raw, when it holds counts
 * 4. X, when it holds logarithms or is normalised; raw, when that does; any other layer that holds
 *    counts, then logarithms or normalised values
 *
 * In place of 2 to 4, raw when it holds logarithms or normalised values and the same rows show more
 * genes there: X has often lost genes, or has them as zeros. Where raw shows more and cannot be
 * taken, the line says so. Counts of which none is above one say little and are taken when there is
 * nothing else, then a matrix without a value above zero, then a scaled one where options->negative
 * is EMC_NEGATIVE_PASS.
 *
 * EMC_ERR_FORMAT: nothing of that kind; the message tells what each matrix holds. When none can be
 * read, the first one's failure.
 */
emc_status emc_catalog_choose(emc_catalog *catalog, int *chosen, emc_text *why);

/* A reader on matrix i, before its first cell; the one that was last looked at costs nothing. */
emc_status emc_catalog_take(emc_cells **out, emc_catalog *catalog, int i);

#ifdef __cplusplus
}
#endif
