#pragma once
/* Which tensor is used where, and what an adapter adds to it: the loader's tables made ready for a
 * device. */

#include "base/status.h"
#include "loader/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_weight_source emc_weight_source;

typedef struct {
    const char *model_dir;          /* a checkpoint, or NULL */
    const emc_model_config *random; /* random weights of this shape where model_dir is NULL */
    const char *adapter_dir;        /* or NULL */
    int n_threads;                  /* for what is computed on the host, >= 1 */
    bool shapes;                    /* random weights have no data: only shapes are asked for */
} emc_weight_source_options;

/* Errors as the loader's. */
emc_status emc_weight_source_open(emc_weight_source **out,
                                  const emc_weight_source_options *options);
void emc_weight_source_close(emc_weight_source *source);

const emc_model_config *emc_weight_source_config(const emc_weight_source *source);

/*
 * The weights in use, an adapter's full replacements in their places. `head` is never NULL: where
 * head and embedding are one it is the same pointer as `embed`. (A tied model whose adapter
 * replaces one of the two keeps the base's for the other, as PEFT does.)
 */
const emc_weights *emc_weight_source_get(const emc_weight_source *source);

/* Weights of the model, each counted once, without the adapter. */
int64_t emc_weight_source_parameters(const emc_weight_source *source);

/* The matrices as the graph multiplies them, those that share an input stacked. */
typedef enum {
    EMC_MATRIX_QKV = 0, /* [q; k; v] */
    EMC_MATRIX_O,
    EMC_MATRIX_GATE_UP, /* [gate; up] */
    EMC_MATRIX_DOWN,
    EMC_MATRIX_EMBED,
    EMC_MATRIX_HEAD
} emc_matrix_role;

/* The tensors of a matrix, one below the other; returns how many, at most EMC_MAX_PARTS. `layer`
 * counts for the first four roles. */
#define EMC_MAX_PARTS 3
int emc_weight_source_parts(const emc_weight_source *source, emc_matrix_role role, int layer,
                            const emc_tensor **parts);

/*
 * What the adapter does to a matrix, in the terms of emc_lora_spec:
 *
 *   a             f32 [rank, k]  the parts' A, one below the other
 *   b             f32 [n, rank]  the parts' B along the diagonal, the scale in them
 *   column_scale  f32 [n]        magnitude / norm of the row of W + scale B A; 1 for a part
 *                                without DoRA; NULL when no part has it
 *
 * rank is 0 where the adapter leaves the matrix alone. Part p has the ranks from first_rank[p] to
 * below first_rank[p + 1].
 */
typedef struct {
    float *a;
    float *b;
    float *column_scale;
    int rank;
    int n;
    int k;
    int first_rank[EMC_MAX_PARTS + 1];
} emc_low_rank;

/* Its shape alone, which takes no weight to tell. */
typedef struct {
    int rank, n, k;
    bool scaled; /* there is a column_scale */
} emc_low_rank_shape;

/* EMC_ERR_FORMAT: DoRA of the embedding. */
emc_status emc_weight_source_shape(const emc_weight_source *source, emc_matrix_role role, int layer,
                                   emc_low_rank_shape *out);

/* Free with emc_low_rank_free. EMC_ERR_FORMAT: as emc_weight_source_shape. */
emc_status emc_weight_source_low_rank(const emc_weight_source *source, emc_matrix_role role,
                                      int layer, emc_low_rank *out);
void emc_low_rank_free(emc_low_rank *update);

/* Whether the adapter adds anything to a matrix. A replacement adds nothing. */
bool emc_weight_source_updates(const emc_weight_source *source, emc_matrix_role role, int layer);

/*
 * The parts of a matrix with the adapter's updates in them: computed in f32, rounded to `dtype`
 * (F32 or BF16) once. data[p] is NULL where the adapter leaves part p alone. Free with
 * emc_merged_free. EMC_ERR_FORMAT: as emc_weight_source_low_rank.
 */
typedef struct {
    void *data[EMC_MAX_PARTS]; /* in the shape of the part's tensor */
} emc_merged;

emc_status emc_weight_source_merge(const emc_weight_source *source, emc_matrix_role role, int layer,
                                   emc_dtype dtype, emc_merged *out);
void emc_merged_free(emc_merged *merged);

#ifdef __cplusplus
}
#endif
