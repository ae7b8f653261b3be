/* Open addressing with linear probing; keys lie in one growing buffer. */
#include "base/str_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

typedef struct {
    size_t offset; /* of the key in `keys` */
    uint32_t n;
    uint32_t hash;
    int32_t value;
    bool used;
} entry;

struct emc_str_map {
    entry *entries;
    size_t n_slots; /* a power of two */
    size_t count;
    char *keys;
    size_t n_keys;
    size_t keys_capacity;
};

/* FNV-1a, 32 bits: short keys, and no attacker gains from collisions in a file of his own. */
static uint32_t hash_of(const char *key, size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)key[i]) * 16777619u;
    return h ^ h >> 15;
}

emc_status emc_str_map_open(emc_str_map **out, size_t expected)
{
    emc_str_map *map = NULL;
    size_t n_slots = 16;

    *out = NULL;
    while (n_slots / 2 < expected)
        if (!emc_size_mul(&n_slots, n_slots, 2))
            return emc_fail(EMC_ERR_NOMEM, "no memory for a map of %zu", expected);
    EMC_TRY(emc_alloc(&map, 1, sizeof *map, "a map"));
    map->n_slots = n_slots;
    const emc_status status = emc_alloc(&map->entries, n_slots, sizeof *map->entries, "a map");
    if (status != EMC_OK) {
        free(map);
        return status;
    }
    *out = map;
    return EMC_OK;
}

void emc_str_map_close(emc_str_map *map)
{
    if (!map)
        return;
    free(map->entries);
    free(map->keys);
    free(map);
}

/* The entry that holds the key, or the free one where it belongs. */
static entry *find(const emc_str_map *map, const char *key, size_t n, uint32_t hash)
{
    for (size_t i = hash;; i++) {
        entry *e = &map->entries[i & (map->n_slots - 1)];
        if (!e->used || (e->hash == hash && e->n == n &&
                         (n == 0 || memcmp(map->keys + e->offset, key, n) == 0)))
            return e;
    }
}

static emc_status grow(emc_str_map *map)
{
    entry *old = map->entries;
    const size_t n_old = map->n_slots;

    EMC_TRY(emc_alloc(&map->entries, 2 * n_old, sizeof *old, "a map"));
    map->n_slots = 2 * n_old;
    for (size_t i = 0; i < n_old; i++) {
        if (!old[i].used)
            continue;
        size_t j = old[i].hash;
        while (map->entries[j & (map->n_slots - 1)].used)
            j++;
        map->entries[j & (map->n_slots - 1)] = old[i];
    }
    free(old);
    return EMC_OK;
}

emc_status emc_str_map_put(emc_str_map *map, const char *key, size_t n, int32_t value,
                           bool *existed)
{
    const uint32_t hash = hash_of(key, n);
    entry *e = find(map, key, n, hash);

    if (existed)
        *existed = e->used;
    if (e->used)
        return EMC_OK;
    if (n > UINT32_MAX)
        return emc_fail(EMC_ERR_ARG, "a key of %zu bytes", n);
    if (2 * (map->count + 1) > map->n_slots) {
        entry *before = map->entries;
        const emc_status status = grow(map);
        if (status != EMC_OK) {
            map->entries = before;
            return status;
        }
        e = find(map, key, n, hash);
    }
    EMC_TRY(emc_reserve(&map->keys, &map->keys_capacity, map->n_keys + n, 1, "a map"));
    if (n)
        memcpy(map->keys + map->n_keys, key, n);
    *e = (entry){map->n_keys, (uint32_t)n, hash, value, true};
    map->n_keys += n;
    map->count++;
    return EMC_OK;
}

int32_t emc_str_map_get(const emc_str_map *map, const char *key, size_t n, int32_t missing)
{
    const entry *e = find(map, key, n, hash_of(key, n));

    return e->used ? e->value : missing;
}

size_t emc_str_map_count(const emc_str_map *map)
{
    return map->count;
}
