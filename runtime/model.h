#pragma once
/* A model on a device: matrices, norms and what the graph needs to know. For runtime/ only. */

#include "kernels/ops.h"
#include "runtime/devices.h"
#include "runtime/emcell.h"
#include "runtime/part.h"
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

/*
 * One rank's part of a model, on its device. Read-only once open, so engines may share it.
 *
 * Devices stand in replicas of part.n_ranks each: rank t of replica r is peers[r * part.n_ranks +
 * t]. The ranks of a replica hold the whole model between them; replicas are equal. The caller's
 * emc_model is the first of all, which owns the others.
 */
struct emc_model {
    const emc_weight_source *source; /* the device may point into its files */
    emc_device *dev;
    emc_device_choice choice;
    bool without_weights; /* then matrices are NULL, and so is d_norms */
    bool merges;          /* the adapter goes into the weights */
    emc_model_info info;  /* of the whole model */
    int32_t *eos;
    emc_model_part part; /* what this rank has of it */
    emc_comm *comm;      /* with the other ranks of its replica; NULL: it is alone */
    double deadline_s;   /* of what ranks do together */
    bool sums_f32;       /* sums over ranks are of f32 numbers */
    emc_model_layer *layers;
    emc_model_matrix embed; /* [vocab, hidden] */
    emc_model_matrix head;  /* [part.vocab, hidden]; w is embed's own where they are one */
    void **held;            /* host memory that the device still points into, n_held blocks of it */
    size_t n_held, held_capacity;
    void *norm;      /* T [hidden] */
    void *d_norms;   /* holds every norm above */
    float *inv_freq; /* [head_dim / 2] */
    float attention_factor;
    float rms_eps;

    /* The first rank's only. */
    emc_weight_source *own_source;
    emc_model **peers; /* [n_replicas * part.n_ranks]; peers[0] is this one */
    int n_replicas;
    char devices[160];     /* all their names, as --device takes them */
    char description[256]; /* of all */
};

/* Loads a rank's weights; the rank has its source, device and part. receives: matrices are only
 * made room for. Errors as emc_model_open. */
emc_status emc_model_load(emc_model *model, bool receives);

/* Copies the matrices of the group's first rank to the others'. After every rank has loaded: while
 * some wait in a collective no other may take memory, for which a GPU may wait for them. */
emc_status emc_model_copy(emc_model *model, emc_comm *copies);

/* All of a rank but the device and the source. */
void emc_model_unload(emc_model *model);

/*
 * Rows first .. first + n - 1 of the rotary table, f32 [n, head_dim / 2, 2]: cos and sin of
 * position * inv_freq, angles in f32, times attention_factor. For a bf16 device each value is
 * rounded to bf16, as the reference library casts them.
 */
void emc_model_rope_rows(const emc_model *model, float *out, int first, int n);

#ifdef __cplusplus
}
#endif
