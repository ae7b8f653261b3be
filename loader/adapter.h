#pragma once
/* A LoRA adapter folder as PEFT writes it, checked against the model it is for. */

#include "base/status.h"
#include "loader/config.h"
#include "loader/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The seven projections of a layer, in the order of the forward pass. */
typedef enum {
    EMC_PROJ_Q = 0,
    EMC_PROJ_K,
    EMC_PROJ_V,
    EMC_PROJ_O,
    EMC_PROJ_GATE,
    EMC_PROJ_UP,
    EMC_PROJ_DOWN,
    EMC_N_PROJ
} emc_projection;

/* "q_proj", "k_proj", ... as in tensor names. */
const char *emc_projection_name(emc_projection projection);

/* Widths of a projection's weight [out, in]. */
void emc_projection_shape(const emc_model_config *config, emc_projection projection, int *out,
                          int *in);

/*
 * y = W x + scale * B (A x). With DoRA (magnitude not NULL) W' = m * (W + scale B A) / norm, norm
 * being each output row's 2-norm, so y = (m / norm) * (W x + scale * B (A x)).
 * a is NULL where the adapter leaves the module alone; then all of it is zero.
 */
typedef struct {
    const emc_tensor *a;         /* [rank, in] */
    const emc_tensor *b;         /* [out, rank] */
    const emc_tensor *magnitude; /* [out], or NULL */
    int rank;
    double scale; /* alpha / rank, or alpha / sqrt(rank) with rslora */
} emc_adapter_lora;

/* Full replacements (modules_to_save); NULL where the base's own stays. */
typedef struct {
    const emc_tensor *input_norm, *post_norm; /* [hidden] */
    const emc_tensor *q_norm, *k_norm;        /* [head_dim] */
    const emc_tensor *proj[EMC_N_PROJ];       /* [out, in] */
} emc_layer_replacement;

typedef struct {
    emc_adapter_lora proj[EMC_N_PROJ];
    emc_layer_replacement replace;
} emc_adapter_layer;

typedef struct {
    emc_adapter_lora embed; /* a [rank, vocab], b [hidden, rank]: x = E[t] + scale * B A[:, t] */
    emc_adapter_lora head;  /* a [rank, hidden], b [vocab, rank] */
    const emc_tensor *embed_weight;  /* [vocab, hidden] replacement, or NULL */
    const emc_tensor *head_weight;   /* [vocab, hidden] replacement, or NULL */
    const emc_tensor *norm_weight;   /* [hidden] replacement, or NULL */
    const emc_adapter_layer *layers; /* n_layers of them */
} emc_adapter_weights;

typedef struct emc_adapter emc_adapter;

/*
 * Reads dir/adapter_config.json and maps dir/adapter_model.safetensors. Shapes are checked
 * against the model's config, each tensor's own projection; every tensor is used exactly once.
 *
 * A tied model (config->tie_embeddings) comes apart as it does in PEFT: LoRA or a replacement
 * (modules_to_save) of the embedding or the head leaves the other as the base has it, so a head
 * without a change of its own is still the base's embedding. One case differs: an embedding that
 * PEFT stored unasked belongs to both, and head_weight is then embed_weight.
 *
 * EMC_ERR_NOT_FOUND: no folder, config or weights. EMC_ERR_FORMAT, with file and key or tensor:
 * pickled weights (.bin), peft_type other than LORA, bias tensors, and every other setting whose
 * arithmetic is not that of emc_adapter_lora, by name; a tensor that is unknown, doubled, without
 * its partner or wrongly shaped; a rank that disagrees with r or rank_pattern; a pattern that this
 * reader cannot represent.
 */
emc_status emc_adapter_open(emc_adapter **out, const char *dir, const emc_model_config *config);
void emc_adapter_close(emc_adapter *adapter);

/* Borrowed until the close. */
const emc_adapter_weights *emc_adapter_get(const emc_adapter *adapter);
const char *emc_adapter_dir(const emc_adapter *adapter);

/* base_model_name_or_path; "" when the folder does not say. For messages only. */
const char *emc_adapter_base(const emc_adapter *adapter);

#ifdef __cplusplus
}
#endif
