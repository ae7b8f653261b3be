#pragma once
/* Weights that nobody trained, for measurements: a model of any size with no files. For runtime/
 * only. */

#include "base/status.h"
#include "loader/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The config of an official model, "0.6b" to "32b". EMC_ERR_USAGE, naming them all: another. */
emc_status emc_official_config(emc_model_config *out, const char *name);

typedef struct emc_random_weights emc_random_weights;

/*
 * BF16 weights of that shape, the same ones each time: matrices even around 0 with a standard
 * deviation of 0.02, norms around 1. Tensors are windows into one block of host memory, each at a
 * place of its own, so that the whole takes little more than the largest tensor. EMC_ERR_NOMEM.
 */
emc_status emc_random_weights_open(emc_random_weights **out, const emc_model_config *config);

/* The same tensors, with no data behind them. */
emc_status emc_random_weights_open_shapes(emc_random_weights **out, const emc_model_config *config);
void emc_random_weights_close(emc_random_weights *weights);

/* Borrowed until the close. */
const emc_model_config *emc_random_weights_config(const emc_random_weights *weights);
const emc_weights *emc_random_weights_get(const emc_random_weights *weights);

#ifdef __cplusplus
}
#endif
