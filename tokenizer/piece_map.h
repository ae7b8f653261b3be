#pragma once
/*
 * The pieces that are one token, to its id: the look-up that nearly every piece of a text takes.
 * Made for few cache misses; bench/bench_tokenizer.c shows what it is worth against
 * base/str_map.h. Inside tokenizer/ only.
 */

#include "base/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t hash;
    int32_t id; /* -1: the slot is free */
    uint32_t offset, n;
} emc_piece_slot;

typedef struct {
    emc_piece_slot *slots;
    int bits;
    const char *bytes; /* borrowed; offsets count from here */
} emc_piece_map;

/* Room for n pieces, which lie in `bytes`, below 4 GiB. That outlives the map and stays put. */
emc_status emc_piece_map_open(emc_piece_map **out, size_t n, const char *bytes);
void emc_piece_map_close(emc_piece_map *map);

/* A piece that is not there yet. */
void emc_piece_map_put(emc_piece_map *map, uint32_t offset, uint32_t n, int32_t id);

/* The id, or -1. */
int32_t emc_piece_map_get(const emc_piece_map *map, const char *piece, size_t n);

#ifdef __cplusplus
}
#endif
