#pragma once
/* Who holds which page of the K/V cache. Only numbers: the memory itself is the cache's. */

#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_pages emc_pages;

/* Pages 0 .. n_pages - 1, all free. n_pages >= 1. */
emc_status emc_pages_open(emc_pages **out, int n_pages);
void emc_pages_close(emc_pages *pages);

/* More free pages, numbered on from the last. n_pages: how many there are then. */
emc_status emc_pages_grow(emc_pages *pages, int n_pages);

int emc_pages_count(const emc_pages *pages);
int emc_pages_free(const emc_pages *pages);

/* n free pages with one reference each, or none at all. EMC_ERR_ARG: fewer than n are free. */
emc_status emc_pages_take(emc_pages *pages, int32_t *out, int n);

/* One more, or one fewer, reference to each of n pages; a page without any is free again.
 * EMC_ERR_INTERNAL: a page that is not taken; those before it are done. */
emc_status emc_pages_retain(emc_pages *pages, const int32_t *which, int n);
emc_status emc_pages_release(emc_pages *pages, const int32_t *which, int n);

#ifdef __cplusplus
}
#endif
