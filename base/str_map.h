#pragma once
/* A hash map from byte strings to int32: vocabularies, gene names, tensor names. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_str_map emc_str_map;

/* `expected` entries take no regrowth. */
emc_status emc_str_map_open(emc_str_map **out, size_t expected);
void emc_str_map_close(emc_str_map *map);

/* Keeps its own copy of the key. An existing key keeps its value, and *existed says so
 * (may be NULL). */
emc_status emc_str_map_put(emc_str_map *map, const char *key, size_t n, int32_t value,
                           bool *existed);

/* The value, or `missing`. */
int32_t emc_str_map_get(const emc_str_map *map, const char *key, size_t n, int32_t missing);

size_t emc_str_map_count(const emc_str_map *map);

#ifdef __cplusplus
}
#endif
