#pragma once
/* Which cluster is each cell in? One column of a file's cell metadata, as codes. */

#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_MAX_GROUPS 65536

typedef struct emc_groups emc_groups;

/*
 * Reads a column of obs. Of an .h5ad nothing else is read, so that its matrix may be anything.
 * Memory: 4 bytes a cell and the names; while a column of plain text is read, its text.
 * EMC_ERR_USAGE: no such column (the message lists what there is), or more than EMC_MAX_GROUPS
 * values. Other errors as emc_cells_open.
 */
emc_status emc_groups_open(emc_groups **out, const char *path, const char *column,
                           bool allow_external);
void emc_groups_close(emc_groups *groups); /* NULL is fine */

int64_t emc_groups_n_cells(const emc_groups *groups);
int emc_groups_count(const emc_groups *groups);
const char *emc_groups_name(const emc_groups *groups, int group); /* borrowed */

/* The group of a cell, 0 <= row < n_cells; -1 where the column has no value, or NaN. */
int emc_groups_of(const emc_groups *groups, int64_t row);

#ifdef __cplusplus
}
#endif
