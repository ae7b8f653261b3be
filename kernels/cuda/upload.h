#pragma once
/* Weights on their way to the device: read, converted and copied by threads of their own. */

#include "kernels/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

emc_status cuda_upload_open(cuda_upload **out, cuda_device *cuda);
void cuda_upload_close(cuda_upload *upload); /* gives up what has not begun; NULL is fine */

/* n values of any dtype at src (any alignment) to bf16 at d_dst, one rounding. Returns at once;
 * src must stay until cuda_upload_drain or cuda_upload_wait has returned. */
emc_status cuda_upload_add(cuda_upload *upload, void *d_dst, const void *src, emc_dtype dtype,
                           size_t n);

/* For an operation: waits until everything that was added has arrived, and gives back threads and
 * buffers. Free where that has been done. An error stays for cuda_upload_wait. */
void cuda_upload_join(cuda_upload *upload);

/* Waits in the same way; threads and buffers stay for what is added next. */
void cuda_upload_drain(cuda_upload *upload);

/* As cuda_upload_drain; returns the first error since the last time. */
emc_status cuda_upload_wait(cuda_upload *upload);

#ifdef __cplusplus
}
#endif
