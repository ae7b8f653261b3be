/*
 * How are the bytes of a piece merged? (Sennrich, Haddow and Birch 2016, arXiv:1508.07909)
 *
 * Short pieces, nearly all there are, look through their pairs for every merge. Long ones keep
 * the pairs in a heap, so that a megabyte without a blank takes n log n steps.
 */
#include "tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define SHORT_PIECE 48

emc_status emc_bpe_open(emc_bpe **out, size_t n_merges)
{
    emc_bpe *bpe = NULL;
    int bits = 4;
    emc_status status;

    *out = NULL;
    while (((size_t)1 << bits) < 2 * n_merges)
        bits++;
    EMC_TRY(emc_alloc(&bpe, 1, sizeof *bpe, "the merges"));
    bpe->bits = bits;
    status = emc_alloc(&bpe->slots, (size_t)1 << bits, sizeof *bpe->slots, "the merges");
    if (status == EMC_OK)
        status = emc_alloc(&bpe->merged, n_merges, sizeof *bpe->merged, "the merges");
    if (status == EMC_OK)
        status = emc_alloc(&bpe->byte_ranks, 256 * 256, sizeof *bpe->byte_ranks, "the merges");
    if (status != EMC_OK)
        goto done;
    for (size_t i = 0; i < (size_t)1 << bits; i++)
        bpe->slots[i].rank = EMC_NO_RANK;
    *out = bpe;
    bpe = NULL;
done:
    emc_bpe_close(bpe);
    return status;
}

void emc_bpe_close(emc_bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->slots);
    free(bpe->merged);
    free(bpe->byte_ranks);
    free(bpe);
}

/* The slot of a pair, or the free one where it belongs. */
static inline emc_bpe_merge *find(const emc_bpe *bpe, uint32_t left, uint32_t right)
{
    const uint64_t key = (uint64_t)left << 32 | right;
    const size_t mask = ((size_t)1 << bpe->bits) - 1;
    size_t i = (size_t)(key * 0x9E3779B97F4A7C15u >> (64 - bpe->bits));

    for (;; i++) {
        emc_bpe_merge *m = &bpe->slots[i & mask];
        if (m->rank == EMC_NO_RANK || (m->left == left && m->right == right))
            return m;
    }
}

static inline uint32_t rank_of(const emc_bpe *bpe, int32_t left, int32_t right)
{
    return find(bpe, (uint32_t)left, (uint32_t)right)->rank;
}

void emc_bpe_put(emc_bpe *bpe, emc_bpe_merge merge, int32_t id, bool *existed)
{
    emc_bpe_merge *slot = find(bpe, merge.left, merge.right);

    *existed = slot->rank != EMC_NO_RANK;
    if (*existed)
        return;
    *slot = merge;
    bpe->merged[merge.rank] = id;
}

void emc_bpe_finish(emc_bpe *bpe)
{
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++)
            bpe->byte_ranks[a << 8 | b] = rank_of(bpe, bpe->byte_ids[a], bpe->byte_ids[b]);
}

static inline uint32_t byte_rank(const emc_bpe *bpe, const char *pair)
{
    return bpe->byte_ranks[(unsigned char)pair[0] << 8 | (unsigned char)pair[1]];
}

static emc_status encode_short(const emc_bpe *bpe, const char *piece, size_t n, emc_ids *out,
                               size_t *n_steps)
{
    int32_t ids[SHORT_PIECE];
    uint32_t ranks[SHORT_PIECE]; /* of the pair (i, i + 1) */

    for (size_t i = 0; i < n; i++)
        ids[i] = bpe->byte_ids[(unsigned char)piece[i]];
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = byte_rank(bpe, piece + i);
    *n_steps += n;
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        *n_steps += n;
        if (ranks[best] == EMC_NO_RANK)
            break;
        ids[best] = bpe->merged[ranks[best]];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best + 1 < n)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
    }
    return emc_ids_add(out, ids, n);
}

/* A symbol of a long piece, in a list. */
typedef struct {
    int32_t id;
    uint32_t rank; /* of the pair with the next one; EMC_NO_RANK for the last and for dead ones */
    uint32_t previous, next;
} symbol;

#define NONE UINT32_MAX

/* A heap of pairs, the lowest rank and then the leftmost on top: rank << 32 | place. */
typedef struct {
    uint64_t *keys;
    size_t n;
} heap;

static void heap_push(heap *h, uint64_t key)
{
    size_t i = h->n++;

    while (i > 0 && h->keys[(i - 1) / 2] > key) {
        h->keys[i] = h->keys[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->keys[i] = key;
}

static uint64_t heap_pop(heap *h)
{
    const uint64_t top = h->keys[0], key = h->keys[--h->n];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->keys[child + 1] < h->keys[child])
            child++;
        if (h->keys[child] >= key)
            break;
        h->keys[i] = h->keys[child];
        i = child;
    }
    h->keys[i] = key;
    return top;
}

static void rate_pair(const emc_bpe *bpe, symbol *symbols, heap *pairs, uint32_t i)
{
    symbol *s = &symbols[i];

    s->rank = s->next == NONE ? EMC_NO_RANK : rank_of(bpe, s->id, symbols[s->next].id);
    if (s->rank != EMC_NO_RANK)
        heap_push(pairs, (uint64_t)s->rank << 32 | i);
}

static void merge_all(const emc_bpe *bpe, symbol *symbols, heap *pairs, size_t *n_steps)
{
    while (pairs->n > 0) {
        const uint64_t key = heap_pop(pairs);
        const uint32_t at = (uint32_t)key;
        symbol *s = &symbols[at];
        ++*n_steps;
        if (s->rank != key >> 32)
            continue; /* one of the two has since become part of another token */
        symbol *right = &symbols[s->next];
        s->id = bpe->merged[s->rank];
        right->rank = EMC_NO_RANK;
        s->next = right->next;
        if (s->next != NONE)
            symbols[s->next].previous = at;
        rate_pair(bpe, symbols, pairs, at);
        if (s->previous != NONE)
            rate_pair(bpe, symbols, pairs, s->previous);
    }
}

static emc_status encode_long(const emc_bpe *bpe, const char *piece, size_t n, emc_ids *out,
                              size_t *n_steps)
{
    symbol *symbols = NULL;
    heap pairs = {NULL, 0};
    emc_status status;

    status = emc_alloc(&symbols, n, sizeof *symbols, "a long piece of text");
    if (status != EMC_OK)
        goto done;
    /* n - 1 pairs at first, and at most two for each of at most n - 1 merges. */
    status = emc_alloc(&pairs.keys, n, 3 * sizeof *pairs.keys, "a long piece of text");
    if (status != EMC_OK)
        goto done;
    for (size_t i = 0; i < n; i++)
        symbols[i] = (symbol){bpe->byte_ids[(unsigned char)piece[i]], EMC_NO_RANK,
                              i ? (uint32_t)(i - 1) : NONE, i + 1 < n ? (uint32_t)(i + 1) : NONE};
    for (size_t i = 0; i < n; i++)
        rate_pair(bpe, symbols, &pairs, (uint32_t)i);
    *n_steps += n;
    merge_all(bpe, symbols, &pairs, n_steps);
    for (uint32_t i = 0; i != NONE && status == EMC_OK; i = symbols[i].next)
        status = emc_ids_add(out, &symbols[i].id, 1);
done:
    free(symbols);
    free(pairs.keys);
    return status;
}

emc_status emc_bpe_encode(const emc_bpe *bpe, const char *piece, size_t n_bytes, emc_ids *out,
                          size_t *n_steps)
{
    size_t ignored = 0;

    if (!n_steps)
        n_steps = &ignored;
    if (n_bytes <= SHORT_PIECE)
        return encode_short(bpe, piece, n_bytes, out, n_steps);
    return encode_long(bpe, piece, n_bytes, out, n_steps);
}
