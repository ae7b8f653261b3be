#pragma once
/* Which input is it? By what a reader may read of it, so that results and runs which are written
 * into a folder of input files change nothing. */

#include "base/hash.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * As emc_fingerprint, of a file, of a 10x matrix and its two lists, or of a zarr store's metadata,
 * X, raw, layers, obs and var; nothing else that lies there.
 */
emc_status emc_input_fingerprint(emc_hash *out, const char *path);

/* EMC_ERR_USAGE: output is the input, or a file of it that emc_input_fingerprint names. */
emc_status emc_input_spare(const char *path, const char *output);

#ifdef __cplusplus
}
#endif
