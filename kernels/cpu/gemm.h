#pragma once
/*
 * The one matrix product of the CPU device, by oneDNN: y[96, 64] = x[96, k] w[64, k]^T.
 *
 * The shape is fixed because the library picks its code and its order of sums from the shape: with
 * one shape a row's bits depend on that row alone. Where it stands in the tile must not matter
 * either, and for that 128 rows would be too many: the library's AVX2 code takes rows in sixes and
 * sums the two that are left over in another order. 96 is a multiple of 6, of 16 (AMX) and of 32.
 * test_linear compares the bits; it costs 1 to 2 % against 128 rows. Everything that knows oneDNN,
 * version 2 or 3, is in gemm.c.
 */

#include "base/dtype.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CPU_TILE_ROWS 96 /* rows of x and y in a product */
#define CPU_BLOCK     64 /* rows of w in a product */
#define CPU_K_STEP    32 /* k is a multiple of this: whole AMX rows; callers pad with zeros */

typedef struct cpu_gemm cpu_gemm;

/* For workers 0 to n_workers - 1. EMC_ERR_DEVICE: oneDNN failed or cannot be held to a thread. */
emc_status cpu_gemm_open(cpu_gemm **out, int n_workers);
void cpu_gemm_close(cpu_gemm *gemm);

/* Holds oneDNN to one thread on the calling thread, for good: for threads of our own only. */
void cpu_gemm_start_worker(void);

/* The dtype in which products of bf16 activations and weights are taken on this machine: BF16
 * where that is the faster, otherwise F32 (after an exact conversion). */
emc_dtype cpu_gemm_product(void);

/* "oneDNN 2.6.3 avx512_core_bf16" */
void cpu_gemm_describe(char *out, size_t n_bytes);

/* Finds or makes the product of dtype F32 or BF16 and this k, a multiple of CPU_K_STEP. To be
 * called on a worker. *plan names it in cpu_gemm_run. */
emc_status cpu_gemm_plan(cpu_gemm *gemm, int *plan, emc_dtype dtype, int k);

/* x, w in the plan's dtype, y f32; all without gaps, at any address that suits their dtype. */
emc_status cpu_gemm_run(cpu_gemm *gemm, int plan, int worker, const void *x, const void *w,
                        float *y);

#ifdef __cplusplus
}
#endif
