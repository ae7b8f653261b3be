#pragma once
/*
 * Inside cells/: the best of many candidates, in order. Takes no memory.
 *
 * Values are counted by step first. Those on a step above the edge, the step that the last of the
 * best stands on, are in for certain; only those on the edge are searched further. Counts have few
 * values, so that the edge is most often a single one and the order of names decides there.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    double value;  /* above zero */
    int32_t order; /* breaks ties: the lower comes first; no two are the same */
    int32_t gene;
} cells_candidate;

/* 32 steps to each doubling, from 2^-8 to 2^24; what lies beyond shares the first or last step.
 * Step 0 is nobody's. */
#define CELLS_STEP_BITS 5
#define CELLS_N_STEPS   1025

/* 1 .. CELLS_N_STEPS - 1, never falling as value rises; value > 0. */
static inline int cells_step(double value)
{
    int64_t bits;

    memcpy(&bits, &value, sizeof bits);
    bits = (bits >> (52 - CELLS_STEP_BITS)) - ((int64_t)(1023 - 8) << CELLS_STEP_BITS);
    return bits < 0 ? 1 : bits > CELLS_N_STEPS - 2 ? CELLS_N_STEPS - 1 : (int)bits + 1;
}

/* Moves the n_top best of n candidates to the front, best first; all of them when n <= n_top. The
 * first n_in <= n_top are among the best for certain. The rest is left in any order. */
void cells_top(cells_candidate *candidates, int n, int n_in, int n_top);

#ifdef __cplusplus
}
#endif
