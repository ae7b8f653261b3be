#pragma once
/* Sizes that come from outside: every product and sum is checked before it is used. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* false when the result does not fit; *out is then unchanged. */
bool emc_size_mul(size_t *out, size_t a, size_t b);
bool emc_size_add(size_t *out, size_t a, size_t b);

/* calloc and realloc of n * size bytes that fail with a message naming `what`. A count of zero
 * gives a pointer that may be freed and not read. emc_grow keeps *array on failure. */
emc_status emc_alloc(void *out, size_t n, size_t size, const char *what);
emc_status emc_grow(void *array, size_t n, size_t size, const char *what);

/* Makes room for `need` items: doubles *capacity as often as it takes. */
emc_status emc_reserve(void *array, size_t *capacity, size_t need, size_t size, const char *what);

/* A copy of n bytes with a NUL after them; of a C string. Owned by the caller, free(). */
emc_status emc_copy_bytes(char **out, const void *bytes, size_t n);
emc_status emc_copy_string(char **out, const char *text);

#ifdef __cplusplus
}
#endif
