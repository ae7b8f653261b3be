/* Which piece is one token? Open addressing; a slot holds all but the bytes themselves. */
#include "tokenizer/piece_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

emc_status emc_piece_map_open(emc_piece_map **out, size_t n, const char *bytes)
{
    emc_piece_map *map = NULL;
    int bits = 4;

    *out = NULL;
    /* At most three quarters full: a run of slots is mostly one cache line. */
    while (((size_t)3 << bits) / 4 < n + 1)
        bits++;
    EMC_TRY(emc_alloc(&map, 1, sizeof *map, "the pieces"));
    map->bits = bits;
    map->bytes = bytes;
    const emc_status status =
        emc_alloc(&map->slots, (size_t)1 << bits, sizeof *map->slots, "the pieces");
    if (status != EMC_OK) {
        free(map);
        return status;
    }
    for (size_t i = 0; i < (size_t)1 << bits; i++)
        map->slots[i].id = -1;
    *out = map;
    return EMC_OK;
}

void emc_piece_map_close(emc_piece_map *map)
{
    if (!map)
        return;
    free(map->slots);
    free(map);
}

/* Eight bytes at a time; a vocabulary that collides on purpose only slows itself down. */
static inline uint64_t hash_of(const char *piece, size_t n)
{
    uint64_t hash = n * 0x9E3779B97F4A7C15u, word;

    for (; n >= sizeof word; n -= sizeof word, piece += sizeof word) {
        memcpy(&word, piece, sizeof word);
        hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    word = 0;
    for (size_t i = 0; i < n; i++)
        word = word << 8 | (unsigned char)piece[i];
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    return hash ^ hash >> 32;
}

/* The slot of a piece, or the free one where it belongs. */
static inline emc_piece_slot *find(const emc_piece_map *map, const char *piece, size_t n,
                                   uint64_t hash)
{
    const size_t mask = ((size_t)1 << map->bits) - 1;

    for (size_t i = (size_t)(hash >> 20);; i++) {
        emc_piece_slot *s = &map->slots[i & mask];
        if (s->id < 0 || (s->hash == (uint32_t)hash && s->n == n &&
                          memcmp(map->bytes + s->offset, piece, n) == 0))
            return s;
    }
}

void emc_piece_map_put(emc_piece_map *map, uint32_t offset, uint32_t n, int32_t id)
{
    const char *piece = map->bytes + offset;
    const uint64_t hash = hash_of(piece, n);

    *find(map, piece, n, hash) = (emc_piece_slot){(uint32_t)hash, id, offset, n};
}

int32_t emc_piece_map_get(const emc_piece_map *map, const char *piece, size_t n)
{
    return find(map, piece, n, hash_of(piece, n))->id;
}
