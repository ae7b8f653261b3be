#pragma once
/* Which input is it? By what a reader may read of it, so that results and runs which are written
 * into a folder of input files change nothing. */

#include "base/hash.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * As emc_fingerprint. Of a folder count matrices (.mtx), lists of cells and genes, and of a zarr
 * store its own metadata and X, raw, layers, obs and var; nothing else.
 */
emc_status emc_input_fingerprint(emc_hash *out, const char *path);

#ifdef __cplusplus
}
#endif
