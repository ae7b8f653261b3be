#pragma once
/* Merging the bytes of one piece into tokens. Inside tokenizer/ only. */

#include "tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_NO_RANK UINT32_MAX

typedef struct {
    uint32_t left, right;
    uint32_t rank; /* EMC_NO_RANK: the slot is free */
} emc_bpe_merge;

/* Merges by their pair, open addressing. */
typedef struct {
    emc_bpe_merge *slots;
    int bits;             /* 2^bits slots, at most half of them taken */
    int32_t *merged;      /* by rank: the token that a merge makes */
    uint32_t *byte_ranks; /* [256 * 256] of pairs of bytes, which every piece starts with */
    int32_t byte_ids[256];
} emc_bpe;

emc_status emc_bpe_open(emc_bpe **out, size_t n_merges);
void emc_bpe_close(emc_bpe *bpe);

/* `id` is the merged token. *existed: the pair has a merge already, and keeps it. rank is below
 * the n_merges of open. */
void emc_bpe_put(emc_bpe *bpe, emc_bpe_merge merge, int32_t id, bool *existed);

/* Once byte_ids and all merges are there, before any encoding. */
void emc_bpe_finish(emc_bpe *bpe);

/*
 * Appends the ids of a piece: of all neighbours that have a merge the one of the lowest rank is
 * merged, the leftmost of several, until none is left. n_bytes >= 1 and below 2^32.
 * *n_steps (may be NULL) grows by the pairs looked at.
 */
emc_status emc_bpe_encode(const emc_bpe *bpe, const char *piece, size_t n_bytes, emc_ids *out,
                          size_t *n_steps);

#ifdef __cplusplus
}
#endif
