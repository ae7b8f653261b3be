#pragma once
/* adapter_config.json: what of it changes the arithmetic. Internal to loader/. */

#include "base/status.h"
#include "loader/pattern.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One entry of rank_pattern or alpha_pattern. */
typedef struct {
    emc_pattern *pattern;
    double value;
} emc_pattern_value;

typedef struct {
    int r;
    double alpha;
    bool use_rslora;
    bool use_dora;
    bool ensure_weight_tying;
    emc_pattern_value *ranks, *alphas; /* the first that matches counts */
    size_t n_ranks, n_alphas;
    char **modules_to_save;
    size_t n_modules_to_save;
    char *base; /* base_model_name_or_path, or "" */
} emc_adapter_config;

/* Zero-initialise before; emc_adapter_config_free after, also when it fails. */
emc_status emc_adapter_config_read(emc_adapter_config *out, const char *path);
void emc_adapter_config_free(emc_adapter_config *config);

/* The rank and the scale of the module at `path`, e.g. "model.layers.0.self_attn.q_proj". */
void emc_adapter_config_module(const emc_adapter_config *config, const char *path, int *rank,
                               double *scale);

/* True when modules_to_save names the module at `path`, or one that it is part of. */
bool emc_adapter_config_saves(const emc_adapter_config *config, size_t i, const char *path);

#ifdef __cplusplus
}
#endif
