#pragma once
/* NCCL, looked for when it is needed: a program that uses one GPU starts without it. */

#include <cuda_runtime_api.h>

#include "base/status.h"
#include "kernels/cuda/nccl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a Linux distribution and NVIDIA's packages call it. */
#define CUDA_NCCL_LIBRARY "libnccl.so.2"

/* Communicators that do not block, and ncclCommFinalize, came with 2.14; what creates several of
 * them in one process at once has been sound since 2.18. */
#define CUDA_NCCL_LEAST NCCL_VERSION(2, 18, 1)

typedef struct {
    int version;
    ncclResult_t (*get_version)(int *version);
    ncclResult_t (*get_unique_id)(ncclUniqueId *id);
    ncclResult_t (*init_rank)(ncclComm_t *comm, int n_ranks, ncclUniqueId id, int rank,
                              ncclConfig_t *config);
    ncclResult_t (*finalize)(ncclComm_t comm);
    ncclResult_t (*destroy)(ncclComm_t comm);
    ncclResult_t (*abort_comm)(ncclComm_t comm);
    ncclResult_t (*async_error)(ncclComm_t comm, ncclResult_t *error);
    const char *(*error_string)(ncclResult_t result);
    const char *(*last_error)(ncclComm_t comm);
    ncclResult_t (*all_reduce)(const void *send, void *recv, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*all_gather)(const void *send, void *recv, size_t send_count, ncclDataType_t type,
                               ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*broadcast)(const void *send, void *recv, size_t count, ncclDataType_t type,
                              int root, ncclComm_t comm, cudaStream_t stream);
    ncclResult_t (*group_start)(void);
    ncclResult_t (*group_end)(void);
} cuda_nccl;

/* The library stays loaded until the process ends: it has threads. EMC_ERR_DEVICE: it is absent,
 * lacks a function, or is older than CUDA_NCCL_LEAST; the message says what to do. `library`:
 * CUDA_NCCL_LIBRARY, or another for tests. */
emc_status cuda_nccl_load(cuda_nccl *out, const char *library);

#ifdef __cplusplus
}
#endif
