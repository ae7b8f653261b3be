#pragma once
/* Inside cells/: the best of many candidates, in order. Takes no memory. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    double value;  /* above zero */
    int32_t order; /* breaks ties: the lower comes first; no two are the same */
    int32_t gene;
} cells_candidate;

/* Moves the n_top best of n candidates to the front, best first; all of them when n <= n_top. The
 * rest is left in any order. */
void cells_top(cells_candidate *candidates, int n, int n_top);

#ifdef __cplusplus
}
#endif
