/* Which table knows this label? */

#include "annotate/evaluate/markers.h"

#include <string.h>

#include "annotate/evaluate/markers_tables.h"
#include "annotate/labels.h"

const emc_marker_table *emc_marker_table_get(int index)
{
    return index >= 0 && index < N_MARKER_TABLES ? &markers_tables[index] : NULL;
}

/* Whether two names are the same in the form in which labels are compared. */
static bool same_name(const char *a, const char *b)
{
    emc_text x = {0}, y = {0};
    bool same = emc_label_normalise(&x, a, strlen(a), NULL) == EMC_OK &&
                emc_label_normalise(&y, b, strlen(b), NULL) == EMC_OK && x.n == y.n && x.n > 0 &&
                memcmp(x.bytes, y.bytes, x.n) == 0;

    emc_text_free(&x);
    emc_text_free(&y);
    return same;
}

static const emc_marker_entry *entry_named(const char *name)
{
    for (int t = 0; t < N_MARKER_TABLES; t++)
        for (int i = 0; i < markers_tables[t].n_entries; i++)
            if (same_name(markers_tables[t].entries[i].label, name))
                return &markers_tables[t].entries[i];
    return NULL;
}

const char *const *emc_markers_find(const emc_profile_label *label, int *n)
{
    const emc_marker_entry *entry = entry_named(label->label);

    for (int i = 0; i < label->n_synonyms && !entry; i++)
        entry = entry_named(label->synonyms[i]);
    *n = entry ? entry->n_genes : 0;
    return entry ? entry->genes : NULL;
}
