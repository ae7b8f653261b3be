#pragma once
/* Genes that are known to speak for a cell type: built-in tables, from the literature. */

#include "annotate/profile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The genes of a label, looked up by its name, then by its synonyms, in the form in which labels
 * are compared; static. NULL and *n = 0 where none are known. */
const char *const *emc_markers_find(const emc_profile_label *label, int *n);

/* The tables: name, where they come from, their labels. NULL past the last. */
typedef struct {
    const char *label;
    const char *const *genes;
    int n_genes;
} emc_marker_entry;
typedef struct {
    const char *name, *source;
    const emc_marker_entry *entries;
    int n_entries;
} emc_marker_table;
const emc_marker_table *emc_marker_table_get(int index);

#ifdef __cplusplus
}
#endif
