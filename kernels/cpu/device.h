#pragma once
/* What the operations of a CPU device share: the device itself, weights, scratch. */

#include "kernels/check.h"
#include "kernels/cpu.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/variant.h"
#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* More threads than any machine has; a larger number is a mistake of the caller. */
#define CPU_MAX_THREADS 4096

/* Rows that one round of a product takes, enough for a step of 1024; more rows take more rounds. It
 * bounds the scratch. */
#define CPU_ROUND_ROWS (11 * CPU_TILE_ROWS)

/* Blocks of the vocabulary that one partial log-sum-exp covers, in their order. */
#define CPU_SLAB_BLOCKS 32

/* Query vectors, counted over rows and heads, that share the keys and values of a task. */
#define CPU_QUERIES 64

#define CPU_PIECE 64 /* keys or values that an inner loop takes side by side, at most */

/* An unfinished log-sum-exp and argmax of one row over one slab of the vocabulary. */
typedef struct {
    double sum; /* of exp(logit - max) */
    float max;  /* over the slab */
    int n_top;
    float top[EMC_MAX_TOP]; /* largest logits of ids in use, falling */
    int top_id[EMC_MAX_TOP];
} cpu_head_part;

typedef struct {
    float scores[CPU_QUERIES][EMC_PAGE_POSITIONS];
    /* Keys transposed, 64 side by side; values in pieces of 64: what an inner loop walks over has
     * no gaps, so that it fills every set of the cache. */
    float keys[EMC_PAGE_POSITIONS / CPU_PIECE][EMC_MAX_HEAD_DIM][CPU_PIECE];
    float values[EMC_MAX_HEAD_DIM / CPU_PIECE][EMC_PAGE_POSITIONS][CPU_PIECE];
    float queries[CPU_QUERIES][EMC_MAX_HEAD_DIM];
    float sums[CPU_QUERIES][EMC_MAX_HEAD_DIM];
    float max[CPU_QUERIES];
    float weight[CPU_QUERIES];
    int seen[CPU_QUERIES]; /* keys of the tile at hand that a query sees */
} cpu_attention_scratch;

/* Scratch of one thread. */
typedef struct {
    void *w;  /* product dtype [CPU_BLOCK, k] */
    float *y; /* [CPU_TILE_ROWS, CPU_BLOCK] */
    float *x; /* [k], a row for the low-rank update */
    cpu_attention_scratch *attention;
} cpu_worker;

typedef struct {
    emc_device device; /* first */
    emc_ops ops;
    cpu_pool *pool;
    cpu_gemm *gemm;
    emc_dtype product; /* dtype in which products of this device are taken */
    cpu_worker *workers;
    size_t w_bytes, x_bytes; /* of each worker's w and x */
    void *staged;            /* product dtype [CPU_ROUND_ROWS, k]: rows that need a copy */
    size_t staged_bytes;
    float *lora; /* [CPU_ROUND_ROWS, rank] */
    size_t lora_bytes;
    cpu_head_part *parts; /* [slabs, CPU_ROUND_ROWS] */
    size_t parts_bytes;
} cpu_device;

typedef struct {
    emc_matrix_part part;
    int first; /* its first row's place in the matrix */
} cpu_part;

struct emc_matrix {
    int n_rows;
    int k;
    int k_padded; /* to CPU_K_STEP */
    int plan;
    int n_parts;
    cpu_part parts[];
};

struct emc_lora {
    int n, k, rank;
    float *a;            /* [rank, k] */
    float *b;            /* [rank, n + CPU_BLOCK]: transposed, so that columns lie side by side */
    float *column_scale; /* [n + CPU_BLOCK] or NULL */
};

/* As emc_cpu_open, with the loops of a named variant ("avx512", "avx2", "base") or of the best one
 * for NULL. EMC_ERR_DEVICE: this machine cannot run them. */
emc_status cpu_open_variant(emc_device **out, const emc_cpu_options *options, const char *name);

static inline cpu_device *cpu_of(emc_device *dev)
{
    return (cpu_device *)dev;
}

/* The part that holds a row. */
const cpu_part *cpu_matrix_part(const emc_matrix *matrix, int row);

emc_status cpu_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                           int n_parts, int k);
void cpu_matrix_close(emc_device *dev, emc_matrix *matrix);
emc_status cpu_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec);
void cpu_lora_close(emc_device *dev, emc_lora *lora);

/* 64-byte aligned zeros, freed by cpu_free (NULL is fine). EMC_ERR_DEVICE: not enough memory. */
emc_status cpu_alloc(void **out, size_t n_bytes, const char *what);
void cpu_free(void *memory);

/* At least n_bytes at *memory, which holds *held now; what was there is lost when it grows. */
emc_status cpu_fit(void *memory, size_t *held, size_t n_bytes, const char *what);

/* Shapes for kernels/check.h. */
static inline emc_shape cpu_matrix_shape(const emc_matrix *matrix)
{
    const emc_shape shape = {matrix ? matrix->n_rows : 0, matrix ? matrix->k : 0};
    return shape;
}

static inline emc_shape cpu_lora_shape(const emc_lora *lora)
{
    const emc_shape shape = {lora ? lora->n : 0, lora ? lora->k : 0};
    return shape;
}

static inline const void *cpu_at(const void *tensor, emc_dtype dtype, size_t index)
{
    return (const char *)tensor + index * emc_dtype_bytes(dtype);
}

static inline void *cpu_at_mut(void *tensor, emc_dtype dtype, size_t index)
{
    return (char *)tensor + index * emc_dtype_bytes(dtype);
}

/* Items of `grain` rows that cover n rows. */
static inline int cpu_items(int n, int grain)
{
    return n / grain + (n % grain != 0);
}

/* comm.c */
emc_status cpu_comms_open(emc_comm **out, emc_device *const *devices, int n, double deadline_s);
void cpu_comm_close(emc_device *dev, emc_comm *comm);
void cpu_comm_abort(emc_comm *comm);
emc_status cpu_all_reduce(emc_device *dev, emc_comm *comm, void *x, size_t n, emc_dtype dtype);
emc_status cpu_all_gather(emc_device *dev, emc_comm *comm, void *out, const void *x,
                          size_t n_bytes);
emc_status cpu_broadcast(emc_device *dev, emc_comm *comm, void *x, size_t n_bytes);
emc_status cpu_matrix_broadcast(emc_device *dev, emc_comm *comm, emc_matrix *matrix);
emc_status cpu_merge_heads(emc_device *dev, const emc_merge_heads_args *args);
emc_status cpu_round(emc_device *dev, void *out, const float *x, size_t n);

/* The operations of one variant, for the device's table. */
emc_status cpu_embed(emc_device *dev, void *out, const emc_matrix *table, const emc_lora *lora,
                     const int32_t *ids, int rows);
emc_status cpu_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight, int rows,
                       int dim, float eps);
emc_status cpu_add_rmsnorm(emc_device *dev, void *out, void *x, const void *y, const void *weight,
                           int rows, int dim, float eps);
emc_status cpu_linear(emc_device *dev, const emc_linear_args *args);
emc_status cpu_rope_store(emc_device *dev, const emc_rope_args *args);
emc_status cpu_attention(emc_device *dev, const emc_attention_args *args);
emc_status cpu_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn);
emc_status cpu_gather_rows(emc_device *dev, void *out, const void *x, const int32_t *index, int n,
                           int dim);
emc_status cpu_head(emc_device *dev, const emc_head_args *args);

/* Puts the operations of this variant into a table. */
void cpu_fill(emc_ops *ops);

#ifdef __cplusplus
}
#endif
