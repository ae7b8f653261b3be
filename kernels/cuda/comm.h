#pragma once
/* Devices that compute together, and how one of them waits. */

#include "kernels/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

emc_status cuda_comms_open(emc_comm **out, emc_device *const *devices, int n, double deadline_s);
void cuda_comm_close(emc_device *dev, emc_comm *comm);
void cuda_comm_abort(emc_comm *comm);
emc_status cuda_all_reduce(emc_device *dev, emc_comm *comm, void *x, size_t n, emc_dtype dtype);
emc_status cuda_all_gather(emc_device *dev, emc_comm *comm, void *out, const void *x,
                           size_t n_bytes);
emc_status cuda_broadcast(emc_device *dev, emc_comm *comm, void *x, size_t n_bytes);
emc_status cuda_matrix_broadcast(emc_device *dev, emc_comm *comm, emc_matrix *matrix);

/* Waits for an event, or for all that is queued where it is NULL; never longer than the deadline of
 * a group that the device belongs to, and not when another rank has failed: EMC_ERR_LOST. */
emc_status cuda_await(cuda_device *cuda, cudaEvent_t event);

#ifdef __cplusplus
}
#endif
