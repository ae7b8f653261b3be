#pragma once
/* Where the weights are that --model names: a folder, or a model in the local Hugging Face cache.
 */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The user's settings, as the environment has them; NULL or "" where unset. The first that is
 * set decides: hub_cache (HF_HUB_CACHE), hf_home/hub (HF_HOME), cache_home/huggingface/hub
 * (XDG_CACHE_HOME), home/.cache/huggingface/hub (HOME). */
typedef struct {
    const char *hub_cache;
    const char *hf_home;
    const char *cache_home;
    const char *home;
} emc_hub_dirs;

/*
 * An existing folder is returned as it is. Otherwise `name` is org/model or org/model@revision
 * (default main; a branch, a tag or a commit's full hash) and the snapshot's folder is returned.
 * *out_dir is the caller's, free().
 *
 * EMC_ERR_USAGE: neither a folder nor a name of a model (odd characters, ".."), or a file.
 * EMC_ERR_NOT_FOUND: not in the cache (the message has the command that downloads it), or the
 * snapshot there lacks config.json or weights.
 */
emc_status emc_hub_resolve(char **out_dir, const char *name, const emc_hub_dirs *dirs);

#ifdef __cplusplus
}
#endif
