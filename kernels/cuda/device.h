#pragma once
/* What the files of the CUDA device share: the device itself, weights, scratch. Plain C,
 * for .c and .cu files alike. */

#include <cuda_runtime_api.h>

#include "kernels/check.h"
#include "kernels/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sequences of values that kernels load at once: 16 bytes. */
#define CUDA_CHUNK 8

/* Blocks that a grid may have in y. */
#define CUDA_MAX_GRID_Y 65535

typedef struct cuda_gemm cuda_gemm;     /* gemm.h */
typedef struct cuda_upload cuda_upload; /* upload.h */

/* Memory of the device that an operation keeps for itself and that only grows. */
typedef struct {
    void *d;
    size_t n_bytes;
} cuda_scratch;

typedef struct {
    emc_device device; /* first */
    emc_ops ops;
    int index;
    int n_sms;
    int compute_capability; /* 90 is 9.0 */
    cudaStream_t stream;    /* all work, in order */
    cuda_gemm *gemm;
    cuda_upload *upload;
    emc_comm *comms;        /* its places in groups, a list */
    cuda_scratch attention; /* partial results of split contexts */
    cuda_scratch head;      /* logits of a slab of the vocabulary, partial results */
    cuda_scratch lora;      /* x A^T, and y before a column scale */
} cuda_device;

struct emc_matrix {
    int n_rows;
    int k;
    void *d; /* bf16 [n_rows, k], device memory */
};

/* Ranks are padded with zeros to a multiple of this, so that few shapes of products occur. */
#define CUDA_RANK_MULTIPLE 64

struct emc_lora {
    int n, k, rank;
    int padded;          /* rank, padded */
    emc_matrix a;        /* bf16 [padded, k] */
    emc_matrix b;        /* bf16 [n, padded] */
    float *column_scale; /* device memory, [n], or NULL */
};

/* The device, made the calling thread's current one, for an operation: weights that are still on
 * their way are there before what is queued next. */
cuda_device *cuda_use(emc_device *dev);

/* The same without the weights: for what they have nothing to do with. */
cuda_device *cuda_current(emc_device *dev);

/* system.c: EMC_ERR_DEVICE with what is needed, where GPU `index` cannot be used. */
emc_status cuda_check_gpu(int index);

/* EMC_OK for cudaSuccess; else EMC_ERR_DEVICE, the message "cuda: ", what the format says
 * ("rmsnorm: rows=3 dim=8"), and CUDA's own words. */
emc_status cuda_check(cudaError_t error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a library's error, in the library's own words, and CUDA's where the device is at
 * fault. Always EMC_ERR_DEVICE. Waits for the device. */
emc_status cuda_check_library(const char *library, const char *words, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Memory of the device with anything in it, for cudaFree. The message names `what`, how much was
 * wanted and how much is free. */
emc_status cuda_take(cuda_device *cuda, void **out, size_t n_bytes, const char *what);

/* At least n_bytes; what was there is lost when it grows. Waits for the device when it grows. */
emc_status cuda_fit(cuda_device *cuda, cuda_scratch *scratch, size_t n_bytes, const char *what);

/* Shapes for kernels/check.h. */
static inline emc_shape cuda_matrix_shape(const emc_matrix *matrix)
{
    const emc_shape shape = {matrix ? matrix->n_rows : 0, matrix ? matrix->k : 0};
    return shape;
}

static inline emc_shape cuda_lora_shape(const emc_lora *lora)
{
    const emc_shape shape = {lora ? lora->n : 0, lora ? lora->k : 0};
    return shape;
}

/* Blocks of `grain` that cover n. */
static inline int cuda_blocks(int n, int grain)
{
    return n / grain + (n % grain != 0);
}

/* weights.c */

emc_status cuda_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                            int n_parts, int k);
void cuda_matrix_close(emc_device *dev, emc_matrix *matrix);
emc_status cuda_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec);
void cuda_lora_close(emc_device *dev, emc_lora *lora);

/* gather_rows.cu: out[i] = x[index[i]], dim values each; x's rows 16-byte aligned if dim is a
 * multiple of 8. `name` begins messages. */
emc_status cuda_copy_rows(cuda_device *cuda, const char *name, void *out, const void *x,
                          const int32_t *index, int n, int dim);

/* One operation a file; contracts in kernels/ops.h. */
emc_status cuda_embed(emc_device *dev, void *out, const emc_matrix *table, const emc_lora *lora,
                      const int32_t *ids, int rows);
emc_status cuda_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight, int rows,
                        int dim, float eps);
emc_status cuda_add_rmsnorm(emc_device *dev, void *out, void *x, const void *y, const void *weight,
                            int rows, int dim, float eps);
emc_status cuda_linear(emc_device *dev, const emc_linear_args *args);
emc_status cuda_rope_store(emc_device *dev, const emc_rope_args *args);
emc_status cuda_attention(emc_device *dev, const emc_attention_args *args);
emc_status cuda_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn);
emc_status cuda_gather_rows(emc_device *dev, void *out, const void *x, const int32_t *index, int n,
                            int dim);
emc_status cuda_head(emc_device *dev, const emc_head_args *args);
emc_status cuda_merge_heads(emc_device *dev, const emc_merge_heads_args *args);
emc_status cuda_round(emc_device *dev, void *out, const float *x, size_t n);
emc_status cuda_prepare_linear(emc_device *dev, const emc_linear_args *args);
emc_status cuda_prepare_attention(emc_device *dev, const emc_attention_args *args);
emc_status cuda_prepare_head(emc_device *dev, const emc_head_args *args);

#ifdef __cplusplus
}
#endif
