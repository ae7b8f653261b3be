#pragma once
/* Helpers of the virtual GPU's own tests. */

#include <cuda_runtime_api.h>

#include "emt.h"
#include "virtual_gpu/own_kernels.h"
#include "virtual_gpu/vg.h"

#define CUDA_OK(call)                                                                              \
    do {                                                                                           \
        const cudaError_t own_error_ = (call);                                                     \
        if (own_error_ != cudaSuccess)                                                             \
            fail_msg("%s: %s", #call, cudaGetErrorString(own_error_));                             \
    } while (0)

#define CUDA_FAILS(code, call) assert_string_equal(cudaGetErrorName(call), #code)

/* n bytes on the device, holding those at `bytes` where it is not NULL. */
static inline void *to_device(const void *bytes, size_t n)
{
    void *d;

    CUDA_OK(cudaMalloc(&d, n));
    if (bytes)
        CUDA_OK(cudaMemcpy(d, bytes, n, cudaMemcpyHostToDevice));
    return d;
}

static inline void from_device(void *bytes, const void *d, size_t n)
{
    CUDA_OK(cudaMemcpy(bytes, d, n, cudaMemcpyDeviceToHost));
}

/* Calls `test` under nine schedules. */
static inline void each_schedule(void (*test)(void))
{
    vg_options options = vg_defaults();

    for (int order = VG_FORWARD; order <= VG_RANDOM; order++)
        for (int async = VG_LATE; async <= VG_COIN; async++) {
            options.order = (vg_order)order;
            options.async = (vg_async)async;
            vg_set(&options);
            test();
        }
    options = vg_defaults();
    vg_set(&options);
}
