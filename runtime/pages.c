/* A stack of free pages and a count of references to each: exact, and constant time a page. */
#include "runtime/pages.h"

#include <stdlib.h>

#include "base/size.h"

struct emc_pages {
    int n_pages;
    int n_free;
    int32_t *free_pages; /* [n_pages], the first n_free in use; the last is taken next */
    int32_t *references; /* [n_pages] */
};

emc_status emc_pages_open(emc_pages **out, int n_pages)
{
    emc_pages *pages = NULL;
    emc_status status;

    *out = NULL;
    if (n_pages < 1)
        return emc_fail(EMC_ERR_ARG, "pages: %d, need at least 1", n_pages);
    EMC_TRY(emc_alloc(&pages, 1, sizeof *pages, "the page table"));
    status = emc_pages_grow(pages, n_pages);
    if (status != EMC_OK) {
        emc_pages_close(pages);
        return status;
    }
    *out = pages;
    return EMC_OK;
}

void emc_pages_close(emc_pages *pages)
{
    if (!pages)
        return;
    free(pages->free_pages);
    free(pages->references);
    free(pages);
}

emc_status emc_pages_grow(emc_pages *pages, int n_pages)
{
    const int old = pages->n_pages;
    const int added = n_pages - old;

    if (added <= 0)
        return EMC_OK;
    EMC_TRY(emc_grow(&pages->free_pages, (size_t)n_pages, sizeof(int32_t), "the page table"));
    EMC_TRY(emc_grow(&pages->references, (size_t)n_pages, sizeof(int32_t), "the page table"));
    for (int i = pages->n_free - 1; i >= 0; i--)
        pages->free_pages[i + added] = pages->free_pages[i];
    /* The new ones go to the bottom, the highest first: low numbers are taken before them. */
    for (int i = 0; i < added; i++) {
        pages->free_pages[i] = n_pages - 1 - i;
        pages->references[old + i] = 0;
    }
    pages->n_free += added;
    pages->n_pages = n_pages;
    return EMC_OK;
}

int emc_pages_count(const emc_pages *pages)
{
    return pages->n_pages;
}

int emc_pages_free(const emc_pages *pages)
{
    return pages->n_free;
}

emc_status emc_pages_take(emc_pages *pages, int32_t *out, int n)
{
    if (n < 0 || n > pages->n_free)
        return emc_fail(EMC_ERR_ARG, "%d pages wanted, %d are free", n, pages->n_free);
    for (int i = 0; i < n; i++) {
        out[i] = pages->free_pages[--pages->n_free];
        pages->references[out[i]] = 1;
    }
    return EMC_OK;
}

static emc_status check_taken(const emc_pages *pages, int32_t page)
{
    if (page < 0 || page >= pages->n_pages || pages->references[page] < 1)
        return emc_fail(EMC_ERR_INTERNAL, "page %d of %d is not taken", (int)page, pages->n_pages);
    return EMC_OK;
}

emc_status emc_pages_retain(emc_pages *pages, const int32_t *which, int n)
{
    for (int i = 0; i < n; i++) {
        EMC_TRY(check_taken(pages, which[i]));
        pages->references[which[i]]++;
    }
    return EMC_OK;
}

emc_status emc_pages_release(emc_pages *pages, const int32_t *which, int n)
{
    for (int i = 0; i < n; i++) {
        EMC_TRY(check_taken(pages, which[i]));
        if (--pages->references[which[i]] == 0)
            pages->free_pages[pages->n_free++] = which[i];
    }
    return EMC_OK;
}
