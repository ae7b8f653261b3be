#pragma once
/* The yardstick of bench_linear on a GPU: the fastest of all the algorithms that cuBLASLt's
 * heuristic offers, those with split-K and its like included. */

#include <stdbool.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether the build has cuBLASLt. */
bool bare_cublaslt_is_there(void);

/* Seconds of y[rows, n] = x[rows, k] w[n, k]^T in bf16, on the calling thread's current GPU and in
 * its memory, with nothing else running. */
emc_status bare_cublaslt_best(void *y, const void *x, const void *w, int rows, int n, int k,
                              double *seconds);

#ifdef __cplusplus
}
#endif
