#include "base/size.h"

#include <stdlib.h>
#include <string.h>

bool emc_size_mul(size_t *out, size_t a, size_t b)
{
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *out = a * b;
    return true;
}

bool emc_size_add(size_t *out, size_t a, size_t b)
{
    if (a > SIZE_MAX - b)
        return false;
    *out = a + b;
    return true;
}

static emc_status no_memory(size_t n, size_t size, const char *what)
{
    return emc_fail(EMC_ERR_NOMEM, "no memory for %s (%zu x %zu bytes)", what, n, size);
}

emc_status emc_alloc(void *out, size_t n, size_t size, const char *what)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    memcpy(out, &p, sizeof p);
    return p ? EMC_OK : no_memory(n, size, what);
}

emc_status emc_grow(void *array, size_t n, size_t size, const char *what)
{
    void *old, *p;
    size_t bytes;

    if (!emc_size_mul(&bytes, n, size))
        return no_memory(n, size, what);
    memcpy(&old, array, sizeof old);
    p = realloc(old, bytes ? bytes : 1);
    if (!p)
        return no_memory(n, size, what);
    memcpy(array, &p, sizeof p);
    return EMC_OK;
}

emc_status emc_reserve(void *array, size_t *capacity, size_t need, size_t size, const char *what)
{
    size_t n = *capacity ? *capacity : 16;

    if (need <= *capacity)
        return EMC_OK;
    while (n < need)
        if (!emc_size_mul(&n, n, 2))
            return no_memory(need, size, what);
    EMC_TRY(emc_grow(array, n, size, what));
    *capacity = n;
    return EMC_OK;
}

emc_status emc_copy_bytes(char **out, const void *bytes, size_t n)
{
    char *copy = n < SIZE_MAX ? malloc(n + 1) : NULL;

    *out = copy;
    if (!copy)
        return no_memory(n, 1, "a text");
    if (n)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return EMC_OK;
}

emc_status emc_copy_string(char **out, const char *text)
{
    return emc_copy_bytes(out, text, strlen(text));
}
