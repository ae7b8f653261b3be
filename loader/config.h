#pragma once
/* What a Qwen3 checkpoint folder says about its model: config.json and generation_config.json. */

#include "base/dtype.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_MAX_EOS 16

typedef enum { EMC_ROPE_PLAIN = 0, EMC_ROPE_YARN } emc_rope_kind;

/* YaRN: Peng et al. 2023, arXiv:2309.00071. All zero when kind is EMC_ROPE_PLAIN. */
typedef struct {
    emc_rope_kind kind;
    bool truncate;           /* the corrected range is rounded outwards to whole dimensions */
    int original_positions;  /* context length before scaling, >= 1 */
    double factor;           /* >= 1 */
    double beta_fast;        /* > 0 */
    double beta_slow;        /* > 0 */
    double attention_factor; /* cos and sin are multiplied by it; 0: 0.1 ln(factor) + 1 */
} emc_rope_scaling;

/* What the makers suggest for free generation. The reference library's defaults where silent. */
typedef struct {
    bool do_sample;
    int top_k;          /* 0: off */
    double temperature; /* >= 0 */
    double top_p;       /* (0, 1] */
} emc_generation_defaults;

typedef struct {
    int n_layers;
    int n_heads;
    int n_kv_heads; /* divides n_heads */
    int head_dim;   /* even; a field of its own, not hidden / n_heads */
    int hidden;
    int ffn;
    int vocab; /* rows of the embedding, padding rows included */
    int max_positions;
    double rope_theta;
    double rms_eps;
    emc_rope_scaling rope;
    bool tie_embeddings;
    bool dtype_known; /* false: config.json names no dtype; emc_checkpoint_open then sets it */
    emc_dtype dtype;  /* what the checkpoint was saved as; single tensors may differ */
    int n_eos;        /* generation ends at any of them; may be 0 */
    int eos_ids[EMC_MAX_EOS];
    int bos_id; /* -1 when there is none */
    int pad_id; /* -1 when there is none */
    emc_generation_defaults generation;
} emc_model_config;

/*
 * Reads dir/config.json and, where there is one, dir/generation_config.json, whose token ids win.
 *
 * Old and new key names are read: rope_theta, rope_scaling (with "type" or "rope_type") and
 * torch_dtype, or rope_parameters and dtype. Where a key is absent, as the reference library
 * does: head_dim 128, num_key_value_heads 32 (null: the number of heads), hidden_act silu,
 * tie_word_embeddings, attention_bias and use_sliding_window false. Everything else that the
 * sizes or the arithmetic need must be there, rope_theta and rms_norm_eps included.
 *
 * EMC_ERR_NOT_FOUND: no config.json. EMC_ERR_FORMAT: not JSON, a key missing or of the wrong
 * type, a size out of range or that does not divide, or a model that this engine does not
 * compute, each named: model_type other than qwen3, an architecture other than
 * Qwen3ForCausalLM, another activation, biases, a sliding window, another rope_type or an
 * unknown rope key, any quantization_config.
 */
emc_status emc_model_config_read(emc_model_config *out, const char *dir);

/* Positions that a prompt and its answer may use: max_positions, or with YaRN
 * factor * original_positions where that is more. */
int emc_model_context(const emc_model_config *config);

/*
 * Rotary frequencies, in f32 throughout as the reference library computes them:
 *
 *   inv_freq          f32 [head_dim / 2]  f_i = rope_theta^(-2i / head_dim); with YaRN
 *                     (1 - ramp_i) f_i + ramp_i f_i / factor
 *   attention_factor  cos and sin are multiplied by it; 1 without YaRN
 */
void emc_rope_frequencies(const emc_model_config *config, float *inv_freq, float *attention_factor);

#ifdef __cplusplus
}
#endif
