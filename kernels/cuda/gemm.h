#pragma once
/* Products by cuBLASLt, each shape by one algorithm that was chosen for it. */

#include "kernels/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* d[r][j] = sum_i x[r][i] w[j][i] (+ c[r][j]), f32 sums, one rounding at the store. Addresses are
 * 16-byte aligned, or, where a row is no multiple of 16 bytes, as its rows are; multiples of 8 for
 * k and n are the fast ones. */
typedef struct {
    void *d;       /* bf16 or f32 [rows, n] at row stride d_stride */
    const void *x; /* bf16 [rows, k] */
    const void *w; /* bf16 [n, k] */
    const void *c; /* as d, or NULL; may be d itself */
    int rows, n, k;
    int d_stride;
    emc_dtype d_dtype; /* BF16 or F32 */
} cuda_product;

emc_status cuda_gemm_open(cuda_gemm **out, cuda_device *cuda, const emc_cuda_options *options);
void cuda_gemm_close(cuda_gemm *gemm); /* NULL is fine */

/* Queued. `name` begins messages ("linear"). */
emc_status cuda_gemm_run(cuda_gemm *gemm, const char *name, const cuda_product *product);

/* Chooses the algorithm of such a product, where that has not been done. Reads no tensor. */
emc_status cuda_gemm_prepare(cuda_gemm *gemm, const char *name, const cuda_product *product);

/* As emc_ops.adopt and emc_ops.chosen. */
emc_status cuda_gemm_adopt(cuda_gemm *gemm, const char *chosen);
const char *cuda_gemm_chosen(cuda_gemm *gemm);

#ifdef __cplusplus
}
#endif
