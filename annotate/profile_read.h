#pragma once
/* From the JSON tree of a profile to its plain struct; everything is checked here. */

#include "annotate/profile.h"
#include "base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The memory behind an emc_profile_info; its strings are borrowed from the JSON tree. */
typedef struct {
    void **blocks;
    size_t n_blocks, capacity;
} emc_profile_store;

void emc_profile_store_free(emc_profile_store *store);

/*
 * Fills *info. `name` is for messages; folder is where "medians" lies, NULL for a built-in. When
 * the profile says "labels_of", *labels_of is that name (borrowed from the tree), and labels,
 * groups and ambiguous are left empty for the caller to fill; otherwise it is NULL.
 */
emc_status emc_profile_read(emc_profile_info *info, emc_profile_store *store,
                            const char **labels_of, const cJSON *tree, const char *name,
                            const char *folder);

#ifdef __cplusplus
}
#endif
