/* Pages are numbered alike in all layers, so one page number stands for K and V of every layer. */
#include "runtime/cache.h"

#include <stdlib.h>

#include "base/size.h"

static size_t layer_page_bytes(const emc_model *model)
{
    return (size_t)model->part.n_kv_heads * EMC_PAGE_POSITIONS * model->info.head_dim *
           emc_dtype_bytes(model->dev->dtype);
}

size_t emc_cache_page_bytes(const emc_model *model)
{
    return layer_page_bytes(model) * 2 * (size_t)model->info.n_layers;
}

size_t emc_cache_bytes(const emc_cache *cache)
{
    return cache->page_bytes * 2 * (size_t)cache->n_layers * (size_t)cache->n_pages;
}

/* Moves one array into a larger one. */
static emc_status grow_array(emc_cache *cache, void **array, size_t old_bytes, size_t new_bytes)
{
    const emc_ops *ops = cache->dev->ops;
    void *larger = NULL;
    emc_status status = EMC_OK;

    EMC_TRY(ops->alloc(cache->dev, &larger, new_bytes, "the K/V cache"));
    if (old_bytes > 0) {
        status = ops->copy(cache->dev, larger, *array, old_bytes);
        if (status == EMC_OK)
            status = ops->sync(cache->dev); /* what is copied from goes next */
        if (status != EMC_OK) {
            ops->release(cache->dev, larger);
            return status;
        }
    }
    ops->release(cache->dev, *array);
    *array = larger;
    return EMC_OK;
}

emc_status emc_cache_grow(emc_cache *cache, int n_pages)
{
    const size_t old_bytes = cache->page_bytes * (size_t)cache->n_pages;
    size_t new_bytes;

    if (n_pages <= cache->n_pages)
        return EMC_OK;
    if (!emc_size_mul(&new_bytes, cache->page_bytes, (size_t)n_pages))
        return emc_fail(EMC_ERR_NOMEM, "the K/V cache: %d pages are too many", n_pages);
    /* Arrays that are larger than n_pages says do no harm, so a failure half way needs no undo. */
    for (int l = 0; l < cache->n_layers; l++) {
        EMC_TRY(grow_array(cache, &cache->k[l], old_bytes, new_bytes));
        EMC_TRY(grow_array(cache, &cache->v[l], old_bytes, new_bytes));
    }
    if (!cache->pages)
        EMC_TRY(emc_pages_open(&cache->pages, n_pages));
    else
        EMC_TRY(emc_pages_grow(cache->pages, n_pages));
    cache->n_pages = n_pages;
    return EMC_OK;
}

emc_status emc_cache_open(emc_cache **out, const emc_model *model, int n_pages)
{
    emc_cache *cache = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&cache, 1, sizeof *cache, "the K/V cache"));
    cache->dev = model->dev;
    cache->n_layers = model->info.n_layers;
    cache->page_bytes = layer_page_bytes(model);
    status = emc_alloc(&cache->k, (size_t)cache->n_layers, sizeof(void *), "the K/V cache");
    if (status == EMC_OK)
        status = emc_alloc(&cache->v, (size_t)cache->n_layers, sizeof(void *), "the K/V cache");
    if (status == EMC_OK)
        status = emc_cache_grow(cache, n_pages);
    if (status != EMC_OK) {
        emc_cache_close(cache);
        return status;
    }
    *out = cache;
    return EMC_OK;
}

void emc_cache_close(emc_cache *cache)
{
    if (!cache)
        return;
    for (int l = 0; l < cache->n_layers; l++) {
        if (cache->k)
            cache->dev->ops->release(cache->dev, cache->k[l]);
        if (cache->v)
            cache->dev->ops->release(cache->dev, cache->v[l]);
    }
    free(cache->k);
    free(cache->v);
    emc_pages_close(cache->pages);
    free(cache);
}
