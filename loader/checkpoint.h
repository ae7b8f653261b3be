#pragma once
/* A Qwen3 checkpoint folder in the Hugging Face layout: its config and its weights, checked. */

#include "base/status.h"
#include "loader/config.h"
#include "loader/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Projections are [out, in], y = x W^T; norms are [dim]. Each tensor has a dtype of its own. */
typedef struct {
    const emc_tensor *input_norm; /* [hidden] */
    const emc_tensor *q;          /* [n_heads * head_dim, hidden] */
    const emc_tensor *k;          /* [n_kv_heads * head_dim, hidden] */
    const emc_tensor *v;          /* [n_kv_heads * head_dim, hidden] */
    const emc_tensor *q_norm;     /* [head_dim], shared by the heads */
    const emc_tensor *k_norm;     /* [head_dim], shared by the heads */
    const emc_tensor *o;          /* [hidden, n_heads * head_dim] */
    const emc_tensor *post_norm;  /* [hidden] */
    const emc_tensor *gate;       /* [ffn, hidden] */
    const emc_tensor *up;         /* [ffn, hidden] */
    const emc_tensor *down;       /* [hidden, ffn] */
} emc_layer_weights;

typedef struct {
    const emc_tensor *embed;         /* [vocab, hidden] */
    const emc_tensor *norm;          /* [hidden] */
    const emc_tensor *head;          /* [vocab, hidden]; NULL when tied: use embed */
    const emc_layer_weights *layers; /* n_layers of them */
} emc_weights;

typedef struct emc_checkpoint emc_checkpoint;

/*
 * Reads the config and maps model.safetensors or, where there is none, the shards that
 * model.safetensors.index.json names (plain file names inside the folder; symbolic links, as in
 * the Hugging Face cache, are followed). Nothing is copied into memory.
 *
 * Every tensor of the config must be there once, with the shape above. Two extras are ignored:
 * lm_head.weight of a tied model, a copy that some files carry (refused when its shape or the
 * values of rows spread over it differ from the embedding's), and "...rotary_emb.inv_freq"
 * buffers of old files (the config decides the frequencies). A tied model may have its embedding
 * under the name lm_head.weight alone, as some writers name a shared tensor.
 *
 * EMC_ERR_NOT_FOUND: no folder, config, weights or shard. EMC_ERR_FORMAT: as
 * emc_model_config_read and emc_safetensors_open; a missing, unexpected, doubled or wrongly
 * shaped tensor; an index that does not agree with its shards.
 */
emc_status emc_checkpoint_open(emc_checkpoint **out, const char *dir);
void emc_checkpoint_close(emc_checkpoint *checkpoint);

/* Borrowed until the close. */
const emc_model_config *emc_checkpoint_config(const emc_checkpoint *checkpoint);
const emc_weights *emc_checkpoint_weights(const emc_checkpoint *checkpoint);

/* Bytes of the weights in use, a tied head's copy left out. */
size_t emc_checkpoint_bytes(const emc_checkpoint *checkpoint);

/* The weight files, for fingerprints: i < count. */
size_t emc_checkpoint_file_count(const emc_checkpoint *checkpoint);
const char *emc_checkpoint_file(const emc_checkpoint *checkpoint, size_t i);

#ifdef __cplusplus
}
#endif
