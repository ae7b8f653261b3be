#pragma once
/*
 * The limits that ops.h states, as far as the arguments alone show them. Every device's operation
 * begins with its check, and adds what is a limit of that device only.
 *
 * Each returns EMC_ERR_ARG when a limit is broken; the message names the operation, the shape and
 * what is needed. Nothing that a tensor's address points to is read.
 */

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Values of a head in rope_store and attention. */
#define EMC_MAX_HEAD_DIM 256

/* Of an emc_matrix, or of the matrix that an emc_lora updates: they are the device's own.
 * {0, 0}: there is none. */
typedef struct {
    int n;
    int k;
} emc_shape;

/* *n_rows: of all parts together. may_lack_data: matrices are filled by matrix_broadcast, too. */
emc_status emc_check_matrix(const emc_matrix_part *parts, int n_parts, int k, bool may_lack_data,
                            int *n_rows);
emc_status emc_check_lora(const emc_lora_spec *spec);

/* has_scale: the update has a column_scale. */
emc_status emc_check_embed(const void *out, emc_shape table, emc_shape lora, bool has_scale,
                           const int32_t *ids, int rows);
emc_status emc_check_rmsnorm(emc_dtype dtype, const void *out, const void *x, const void *weight,
                             int rows, int dim);
emc_status emc_check_add_rmsnorm(emc_dtype dtype, const void *out, const void *x, const void *y,
                                 const void *weight, int rows, int dim);
emc_status emc_check_swiglu(emc_dtype dtype, const void *out, const void *gate_up, int rows,
                            int ffn);
emc_status emc_check_gather_rows(const void *out, const void *x, const int32_t *index, int n,
                                 int dim);

/* w and lora: the shapes of args->w and args->lora. */
emc_status emc_check_linear(emc_dtype dtype, const emc_linear_args *args, emc_shape w,
                            emc_shape lora);
emc_status emc_check_head(const emc_head_args *args, emc_shape w, emc_shape lora);

emc_status emc_check_merge_heads(const emc_merge_heads_args *args);
emc_status emc_check_round(emc_dtype dtype, const void *out, const float *x, size_t n);

emc_status emc_check_comms(emc_device *const *devices, int n, double deadline_s);
emc_status emc_check_all_reduce(const void *x, size_t n, emc_dtype dtype);
emc_status emc_check_all_gather(const void *out, const void *x, size_t n_bytes, int rank, int n);
emc_status emc_check_broadcast(const void *x, size_t n_bytes);

emc_status emc_check_rope_store(const emc_rope_args *args);

/* The sizes are what prepare_attention has; attention has tensors, too. */
emc_status emc_check_attention_sizes(const emc_attention_args *args);
emc_status emc_check_attention(emc_dtype dtype, const emc_attention_args *args);

#ifdef __cplusplus
}
#endif
