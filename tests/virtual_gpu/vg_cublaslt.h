#pragma once
/* What may a test ask of the virtual GPU's cuBLASLt? Process-wide, from any thread. */

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    VG_LT_SOUND,    /* a row's bits depend on the row alone */
    VG_LT_BY_PLACE, /* ... on its place among the rows, too */
    VG_LT_BY_COUNT  /* ... on the number of rows, too */
} vg_lt_fault;

typedef struct {
    vg_lt_fault fault;
    bool own_bits;    /* every algorithm has bits of its own, as a GPU's have; else those that sum
                         in one piece agree, so that tests may open devices without a plan */
    size_t version;   /* what cublasLtGetVersion gives */
    bool refuses_all; /* the heuristic knows no algorithm that sums in one piece */
    int fails_after;  /* cublasLtMatmul fails after so many more that succeed; -1: never */
    bool no_handle;   /* cublasLtCreate fails */
    bool no_check;    /* cublasLtMatmulAlgoCheck refuses every algorithm */
} vg_lt_options;

/* Sound bits of all, version 130100, nothing fails. */
vg_lt_options vg_lt_defaults(void);
void vg_lt_set(const vg_lt_options *options);

/* Since the last reset. */
typedef struct {
    unsigned long long heuristics;   /* questions about a shape */
    unsigned long long products;     /* cublasLtMatmul that were queued */
    unsigned long long cut;          /* ... by algorithms that cut the sum over k */
    unsigned long long live_handles; /* whatever was reset */
    unsigned long long algorithms;   /* bit i: algorithm i was queued */
} vg_lt_counts;

vg_lt_counts vg_lt_read_counts(void);
void vg_lt_reset_counts(void);

#ifdef __cplusplus
}
#endif
