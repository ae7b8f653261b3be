#pragma once
/* The K/V cache of an engine: one array of pages a layer, and who holds which. */

#include "runtime/model.h"
#include "runtime/pages.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    emc_device *dev;
    emc_pages *pages;
    int n_layers;
    int n_pages;       /* that every layer has room for */
    size_t page_bytes; /* K, or V, of one page of one layer */
    void **k;          /* [n_layers], each T [n_pages, n_kv_heads, EMC_PAGE_POSITIONS, head_dim] */
    void **v;
} emc_cache;

emc_status emc_cache_open(emc_cache **out, const emc_model *model, int n_pages);
void emc_cache_close(emc_cache *cache);

/* Room for n_pages at least; what is stored stays where it is. On failure the cache is as it was.
 * Waits for the device. */
emc_status emc_cache_grow(emc_cache *cache, int n_pages);

size_t emc_cache_bytes(const emc_cache *cache);

/* Bytes of K and V of one page of all layers. */
size_t emc_cache_page_bytes(const emc_model *model);

/* Pages that hold n positions. */
static inline int emc_pages_for(int n)
{
    return n / EMC_PAGE_POSITIONS + (n % EMC_PAGE_POSITIONS != 0);
}

#ifdef __cplusplus
}
#endif
