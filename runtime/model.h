#pragma once
/* A model on a device: matrices, norms and what the graph needs to know. For runtime/ only. */

#include "kernels/ops.h"
#include "runtime/devices.h"
#include "runtime/emcell.h"
#include "runtime/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix with what an adapter adds to it. */
typedef struct {
    emc_matrix *w;
    emc_lora *lora; /* or NULL */
} emc_model_matrix;

typedef struct {
    emc_model_matrix qkv;     /* [(n_heads + 2 n_kv_heads) head_dim, hidden]: q, k, v */
    emc_model_matrix o;       /* [hidden, n_heads * head_dim] */
    emc_model_matrix gate_up; /* [2 ffn, hidden]: gate, up */
    emc_model_matrix down;    /* [hidden, ffn] */
    void *input_norm;         /* T [hidden] */
    void *post_norm;          /* T [hidden] */
    void *q_norm;             /* T [head_dim] */
    void *k_norm;             /* T [head_dim] */
} emc_model_layer;

/* Read-only once open, so engines may share it. */
struct emc_model {
    emc_weight_source *source; /* the device may point into its files */
    emc_device *dev;
    emc_device_choice choice;
    bool without_weights; /* then matrices are NULL, and so is d_norms */
    emc_model_info info;
    int32_t *eos;
    emc_model_layer *layers;
    emc_model_matrix embed; /* [vocab, hidden] */
    emc_model_matrix head;  /* [vocab, hidden]; w is embed's own where they are one */
    emc_merged *merged;     /* what the device still points into, n_merged of them */
    int n_merged;
    void *norm;      /* T [hidden] */
    void *d_norms;   /* holds every norm above */
    float *inv_freq; /* [head_dim / 2] */
    float attention_factor;
    float rms_eps;
};

/*
 * Rows first .. first + n - 1 of the rotary table, f32 [n, head_dim / 2, 2]: cos and sin of
 * position * inv_freq, angles in f32, times attention_factor. For a bf16 device each value is
 * rounded to bf16, as the reference library casts them.
 */
void emc_model_rope_rows(const emc_model *model, float *out, int first, int n);

#ifdef __cplusplus
}
#endif
