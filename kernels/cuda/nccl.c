/* Is NCCL there, and new enough? */
#include "kernels/cuda/nccl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda.h"

#ifdef EMC_VIRTUAL_GPU
#include <nccl.h>
#endif

#define HELP                                                                                       \
    "several GPUs need NCCL 2.18 or later (Debian and Ubuntu: libnccl2 of NVIDIA's packages); "    \
    "one "                                                                                         \
    "GPU alone, --device cuda:0, does not"

/* Functions and data are of one size here, as POSIX wants for dlsym. */
static emc_status find(void *library, const char *path, const char *name, void *function)
{
    void *const found = dlsym(library, name);

    if (!found)
        return emc_fail(EMC_ERR_DEVICE, "%s has no %s: %s", path, name, HELP);
    memcpy(function, &found, sizeof found);
    return EMC_OK;
}

#ifdef EMC_VIRTUAL_GPU
static emc_status find_all(cuda_nccl *out, void *library, const char *path)
{
    (void)library;
    (void)path;
    (void)find;
    *out = (cuda_nccl){.get_version = ncclGetVersion,
                       .get_unique_id = ncclGetUniqueId,
                       .init_rank = ncclCommInitRankConfig,
                       .finalize = ncclCommFinalize,
                       .destroy = ncclCommDestroy,
                       .abort_comm = ncclCommAbort,
                       .async_error = ncclCommGetAsyncError,
                       .error_string = ncclGetErrorString,
                       .last_error = ncclGetLastError,
                       .all_reduce = ncclAllReduce,
                       .all_gather = ncclAllGather,
                       .broadcast = ncclBroadcast,
                       .group_start = ncclGroupStart,
                       .group_end = ncclGroupEnd};
    return EMC_OK;
}
#else
static emc_status find_all(cuda_nccl *out, void *library, const char *path)
{
    EMC_TRY(find(library, path, "ncclGetVersion", &out->get_version));
    EMC_TRY(find(library, path, "ncclGetUniqueId", &out->get_unique_id));
    EMC_TRY(find(library, path, "ncclCommInitRankConfig", &out->init_rank));
    EMC_TRY(find(library, path, "ncclCommFinalize", &out->finalize));
    EMC_TRY(find(library, path, "ncclCommDestroy", &out->destroy));
    EMC_TRY(find(library, path, "ncclCommAbort", &out->abort_comm));
    EMC_TRY(find(library, path, "ncclCommGetAsyncError", &out->async_error));
    EMC_TRY(find(library, path, "ncclGetErrorString", &out->error_string));
    EMC_TRY(find(library, path, "ncclGetLastError", &out->last_error));
    EMC_TRY(find(library, path, "ncclAllReduce", &out->all_reduce));
    EMC_TRY(find(library, path, "ncclAllGather", &out->all_gather));
    EMC_TRY(find(library, path, "ncclBroadcast", &out->broadcast));
    EMC_TRY(find(library, path, "ncclGroupStart", &out->group_start));
    return find(library, path, "ncclGroupEnd", &out->group_end);
}
#endif

/* The stand-in's functions are in the program; but that a library is absent is seen in both. */
static emc_status open_library(void **out, const char *path)
{
#ifdef EMC_VIRTUAL_GPU
    if (strcmp(path, CUDA_NCCL_LIBRARY) == 0)
        return EMC_OK;
#endif
    *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!*out)
        return emc_fail(EMC_ERR_DEVICE, "NCCL cannot be loaded (%s): %s", dlerror(), HELP);
    return EMC_OK;
}

emc_status cuda_nccl_load(cuda_nccl *out, const char *library)
{
    void *opened = NULL;

    *out = (cuda_nccl){0};
    EMC_TRY(open_library(&opened, library));
    EMC_TRY(find_all(out, opened, library));
    const ncclResult_t result = out->get_version(&out->version);
    if (result != ncclSuccess)
        return emc_fail(EMC_ERR_DEVICE, "%s: ncclGetVersion: %s", library,
                        out->error_string(result));
    if (out->version < CUDA_NCCL_LEAST)
        return emc_fail(EMC_ERR_DEVICE, "%s is NCCL %d.%d.%d: %s", library, out->version / 10000,
                        out->version / 100 % 100, out->version % 100, HELP);
    return EMC_OK;
}

void emc_cuda_describe_nccl(char *out, size_t n_out)
{
    cuda_nccl nccl;

    if (cuda_nccl_load(&nccl, CUDA_NCCL_LIBRARY) == EMC_OK)
        (void)snprintf(out, n_out, "NCCL %d.%d.%d", nccl.version / 10000, nccl.version / 100 % 100,
                       nccl.version % 100);
    else
        (void)snprintf(out, n_out, "%s", emc_message());
}
