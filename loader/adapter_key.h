#pragma once
/* Which module a tensor of an adapter file belongs to. Internal to loader/. */

#include "base/status.h"
#include "loader/adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_MODULE_PROJ = 0,
    EMC_MODULE_INPUT_NORM,
    EMC_MODULE_POST_NORM,
    EMC_MODULE_Q_NORM,
    EMC_MODULE_K_NORM,
    EMC_MODULE_EMBED,
    EMC_MODULE_HEAD,
    EMC_MODULE_NORM
} emc_module_kind;

typedef enum {
    EMC_PART_A = 0,
    EMC_PART_B,
    EMC_PART_MAGNITUDE,
    EMC_PART_WEIGHT, /* a full replacement */
    EMC_PART_BASE    /* the base's own weight, stored along */
} emc_module_part;

typedef struct {
    emc_module_kind kind;
    int layer;                 /* of PROJ and the norms of a layer; else 0 */
    emc_projection projection; /* of PROJ */
    emc_module_part part;
    const char *path; /* "model.layers.0.self_attn.q_proj", n_path bytes inside the name */
    size_t n_path;
} emc_adapter_key;

/*
 * Takes a tensor's name apart. Read are the names of PEFT ("base_model.model." + the module's
 * path + the part), the same with fewer or more of the wrappers base_model, model and
 * language_model in front, and with the adapter's name "default" inside. False: no such module.
 */
bool emc_adapter_key_parse(emc_adapter_key *out, const char *name);

#ifdef __cplusplus
}
#endif
