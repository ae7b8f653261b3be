#pragma once
/* What do the kernels do that the virtual GPU is tried with? Launchers queue and return. */

#include <cuda_runtime_api.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* x is [4 * n4] values. *sum += their total, twice; hist[v & 15] += 2 for each; *max = the largest
 * of them and it; firsts[b] = the first odd one among the first of four in the 512 values of block
 * b, or -1; firsts has room for n4 / 32 + 1. */
cudaError_t own_primitives(const int *x, int n4, int *sum, int *hist, int *max, int *firsts,
                           cudaStream_t stream);

/* One block of 64 threads tries one exchange each; results as exchange.cu numbers them. */
enum {
    EXCHANGE_REDUCE_ADD,
    EXCHANGE_REDUCE_MAX,
    EXCHANGE_REDUCE_MIN,
    EXCHANGE_REDUCE_OR,
    EXCHANGE_COUNT,
    EXCHANGE_ANY,
    EXCHANGE_ALL,
    EXCHANGE_SHFL_FLOAT,
    EXCHANGE_BITS,
    EXCHANGE_CAS,
    EXCHANGE_N
};
cudaError_t own_exchange(const int *x, int *out /* [EXCHANGE_N, 64] */, cudaStream_t stream);

/* Copies n bytes, a multiple of 16, of x to out through shared memory by cp.async of 4, 8 or 16
 * bytes; of each 64 bytes only the first n_valid are read, the others become 0. n <= 4096. */
cudaError_t own_cp_async(void *out, const void *x, int n, int width, int n_valid,
                         cudaStream_t stream);

/* out is [n_matrices, 8, 8] 16-bit values as lane l's registers give them: the n 8x8 matrices of
 * x, transposed or not, by ldmatrix. n is 1, 2 or 4. conflicts: rows all in one group of banks. */
cudaError_t own_ldmatrix(void *out, const void *x, int n, bool transposed, bool conflicts,
                         cudaStream_t stream);

/* c[i][j] = sum_k a[i][k] b[j][k], bf16 in, f32 out: 16x8x16 by mma, 64x64x64 by wgmma. */
cudaError_t own_mma(float *c, const void *a, const void *b, cudaStream_t stream);
cudaError_t own_wgmma(float *c, const void *a, const void *b, cudaStream_t stream);

/* One warp copies 32 floats from x to y, lane l from x[l * from_stride] to y[l * to_stride]. */
cudaError_t own_strided(float *y, const float *x, int from_stride, int to_stride,
                        cudaStream_t stream);
/* One warp copies 32 times 16 bytes, one after the other. */
cudaError_t own_wide(void *y, const void *x, cudaStream_t stream);
/* One warp writes and reads shared floats, lane l at l * stride; y[l] = l. */
cudaError_t own_shared_stride(float *y, int stride, cudaStream_t stream);

/* y[i] = x[i] + 1 for n values. */
cudaError_t own_increment(int *y, const int *x, int n, cudaStream_t stream);

/* Mistakes, one each. p has n ints. */
typedef enum {
    MISTAKE_READ_PAST_END, /* by one int */
    MISTAKE_WRITE_FAR,     /* past the guard page */
    MISTAKE_RACE_BLOCKS,
    MISTAKE_RACE_THREADS,
    MISTAKE_UNWRITTEN_SHARED,
    MISTAKE_DIVERGENT_BARRIER,
    MISTAKE_ABSENT_LANE,
    MISTAKE_COPY_IN_FLIGHT,
    MISTAKE_MISALIGNED,
    MISTAKE_TOO_DEEP /* recursion without end */
} own_mistake;
cudaError_t own_make_mistake(own_mistake mistake, int *p, int n, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
