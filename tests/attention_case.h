#pragma once
/* Steps of attention for tests: sequences with prefix, own and path keys in scattered pages. */

#include "emt_device.h"

#define ATTENTION_MAX_SEQUENCES 4
#define ATTENTION_MAX_ITEMS     16

typedef struct {
    int n_rows, prefix, own, path; /* path: rows have 1 to `path` tokens, or none at all */
    int causal;                    /* then cut into items of EMC_MAX_ITEM_ROWS */
} sequence_case;

typedef struct {
    sequence_case
        sequences[ATTENTION_MAX_SEQUENCES]; /* up to one of no rows; the causal ones first */
    int n_heads, n_kv_heads, head_dim;
    double scale; /* of K: large ones make a weight dominate */
    const char *reaches;
} attention_case;

typedef struct {
    emc_attention_args args;
    emt_buf q, out, k_cache, v_cache, items, page_table, path_slots, path_lens;
    int32_t *pages, *slots, *lens;
    emc_attention_item item[ATTENTION_MAX_ITEMS]; /* as the engine cuts them */
    emc_attention_item
        whole[ATTENTION_MAX_SEQUENCES]; /* a sequence's rows in one: for reading only */
    double *k, *v;                      /* what lies in the cache; NaN where nothing should look */
    int n_items, n_sequences, rows, q_stride;
    int n_pages, shift; /* pages are numbered from `shift` on, round */
} attention_step;

/* Where a position of a page lies in k and v. */
size_t attention_cache_at(const attention_case *c, int page, int head, int position);

/* The same numbers at every call. Pages are numbered from `shift` on, round. */
attention_step attention_step_make(emc_device *dev, const attention_case *c, int shift);
void attention_step_free(attention_step *s);

/* What the host must know of items. */
void attention_describe_items(emc_attention_args *args, const emc_attention_item *items, int n);
