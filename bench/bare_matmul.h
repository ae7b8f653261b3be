#pragma once
/* A plain oneDNN product, the yardstick of bench_gemm_cpu: y[m, n] = x[m, k] w[n, k]^T with the
 * threads that OpenMP gives and weights packed as the library likes them best. */

#include <stdbool.h>

typedef struct bare_matmul bare_matmul;

/* Before the first open; 0 leaves it to OpenMP. */
void bare_matmul_threads(int n);

/* NULL when the library fails. */
bare_matmul *bare_matmul_open(int m, int n, int k, bool bf16);
bool bare_matmul_run(bare_matmul *matmul);
void bare_matmul_close(bare_matmul *matmul);
