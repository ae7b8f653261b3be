#pragma once
/*
 * Which part of a model does one rank of a tensor-parallel group hold?
 *
 * Heads of attention are dealt out in order, with the K/V heads that they use: where there are
 * fewer of these than ranks, several ranks hold the same one. Of the MLP a rank has its share of
 * the width, of the vocabulary its share of the ids. So q, k, v, gate, up and the head are cut by
 * rows, o and down by columns, whose products are then parts of a sum over ranks (Shoeybi et al.
 * 2019, arXiv:1909.08053). The embedding is whole on every rank: a row is looked up, not
 * multiplied.
 */

#include "base/status.h"
#include "loader/checkpoint.h"
#include "runtime/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All of a model where n_ranks is 1. */
typedef struct {
    int rank, n_ranks;
    int n_heads, first_head;
    int n_kv_heads, first_kv_head;
    int ffn, first_ffn;
    int vocab, first_id; /* rows of the head */
} emc_model_part;

/* EMC_ERR_USAGE: the model cannot be cut into n_ranks; the message says into how many it can. */
emc_status emc_model_part_of(emc_model_part *out, const emc_model_config *config, int rank,
                             int n_ranks);

/* The rows and columns of a matrix that a rank has. */
typedef struct {
    int first_row[EMC_MAX_PARTS]; /* of each part's tensor */
    int n_rows[EMC_MAX_PARTS];
    int n_parts;
    int first_column, n_columns;
    bool all_columns; /* then each part's rows lie one after the other in the tensor */
} emc_matrix_slice;

void emc_matrix_slice_of(emc_matrix_slice *out, const emc_model_part *part,
                         const emc_model_config *config, emc_matrix_role role);

/* A matrix's low-rank update becomes that of the slice, in its own memory. part_rows: rows of each
 * part's whole tensor. Not for the embedding, which is never cut. */
void emc_matrix_slice_update(const emc_matrix_slice *slice, const int *part_rows,
                             emc_low_rank *update);

#ifdef __cplusplus
}
#endif
