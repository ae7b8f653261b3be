/* Which GPUs, driver and libraries does this machine have, and will the build run on them? */
#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"

/* "sm_80, sm_90a, PTX of sm_90", from CMake. */
#ifndef EMC_CUDA_ARCHITECTURES
#define EMC_CUDA_ARCHITECTURES "PTX of sm_80"
#endif

/* The kernels use what came with it (bf16 tensor cores, cp.async). */
#define LEAST_CAPABILITY 80

/* Any driver of the runtime's major version runs it. */
#define NEEDED_VERSION (CUDART_VERSION / 1000 * 1000)

#if CUDART_VERSION >= 13000
#define NEEDED_DRIVER "580"
#else
#define NEEDED_DRIVER "525"
#endif

const char *emc_cuda_architectures(void)
{
    return EMC_CUDA_ARCHITECTURES;
}

/* Machine code runs on its own major version from its minor one on ("90a": on 9.0 alone), PTX on
 * every later GPU. */
static bool has_code_for(int capability)
{
    const char *at = EMC_CUDA_ARCHITECTURES;

    while ((at = strstr(at, "sm_")) != NULL) {
        static const char ptx[] = "PTX of ";
        const size_t n_ptx = sizeof ptx - 1;
        const bool is_ptx =
            (size_t)(at - EMC_CUDA_ARCHITECTURES) >= n_ptx && memcmp(at - n_ptx, ptx, n_ptx) == 0;
        char *end;
        const int number = (int)strtol(at + 3, &end, 10);
        if (*end == 'a' ? capability == number
                        : capability >= number && (is_ptx || capability / 10 == number / 10))
            return true;
        at = end;
    }
    return false;
}

/* The number of GPUs; 0 with the reason. */
static int count_gpus(int driver, char *why, size_t n_why)
{
    int n = 0;
    const cudaError_t error = cudaGetDeviceCount(&n);

    why[0] = '\0';
    if (error == cudaSuccess && n > 0)
        return n;
    (void)cudaGetLastError();
    if (driver == 0)
        (void)snprintf(why, n_why, "no NVIDIA driver; driver " NEEDED_DRIVER " or later is needed");
    else if (error == cudaErrorInsufficientDriver || driver < NEEDED_VERSION)
        (void)snprintf(
            why, n_why,
            "the NVIDIA driver is for CUDA %d.%d, this build needs %d.%d: driver " NEEDED_DRIVER
            " or later",
            driver / 1000, driver / 10 % 100, NEEDED_VERSION / 1000, NEEDED_VERSION / 10 % 100);
    else if (error == cudaErrorNoDevice || error == cudaSuccess)
        (void)snprintf(why, n_why,
                       "no NVIDIA GPU is visible (nvidia-smi lists them; CUDA_VISIBLE_DEVICES "
                       "hides them)");
    else
        (void)snprintf(why, n_why, "%s", cudaGetErrorString(error));
    return 0;
}

static int driver_version(void)
{
    int version = 0;

    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

void emc_cuda_describe_system(emc_cuda_system *out)
{
    const size_t library = cublasLtGetVersion();

    *out = (emc_cuda_system){.driver_version = driver_version(), .needed_version = NEEDED_VERSION};
    out->n_gpus = count_gpus(out->driver_version, out->why_not, sizeof out->why_not);
    (void)snprintf(out->libraries, sizeof out->libraries, "CUDA %d.%d, cuBLASLt %zu.%zu.%zu",
                   CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100, library / 10000,
                   library / 100 % 100, library % 100);
}

emc_status emc_cuda_describe_gpu(int index, emc_cuda_gpu *out)
{
    char why[sizeof((emc_cuda_system *)0)->why_not];
    const int n_gpus = count_gpus(driver_version(), why, sizeof why);
    struct cudaDeviceProp gpu;

    *out = (emc_cuda_gpu){0};
    if (n_gpus == 0)
        return emc_fail(EMC_ERR_DEVICE, "cuda:%d: %s", index, why);
    if (index < 0 || index >= n_gpus)
        return emc_fail(EMC_ERR_DEVICE, "cuda:%d: no such GPU: there %s %d, counted from 0", index,
                        n_gpus == 1 ? "is" : "are", n_gpus);
    EMC_TRY(cuda_check(cudaGetDeviceProperties(&gpu, index), "GPU %d", index));
    (void)snprintf(out->name, sizeof out->name, "%.95s", gpu.name);
    out->compute_capability = gpu.major * 10 + gpu.minor;
    out->n_sms = gpu.multiProcessorCount;
    out->memory = gpu.totalGlobalMem;
    out->usable =
        out->compute_capability >= LEAST_CAPABILITY && has_code_for(out->compute_capability);
    return EMC_OK;
}

emc_status cuda_check_gpu(int index)
{
    emc_cuda_gpu gpu;

    EMC_TRY(emc_cuda_describe_gpu(index, &gpu));
    if (gpu.compute_capability < LEAST_CAPABILITY)
        return emc_fail(EMC_ERR_DEVICE,
                        "cuda:%d: %s has compute capability %d.%d, needed is %d.%d or later (an "
                        "A100 or newer)",
                        index, gpu.name, gpu.compute_capability / 10, gpu.compute_capability % 10,
                        LEAST_CAPABILITY / 10, LEAST_CAPABILITY % 10);
    if (!gpu.usable)
        return emc_fail(EMC_ERR_DEVICE,
                        "cuda:%d: %s has compute capability %d.%d, this build has code for "
                        "%s alone; configure with -DCMAKE_CUDA_ARCHITECTURES=%d",
                        index, gpu.name, gpu.compute_capability / 10, gpu.compute_capability % 10,
                        EMC_CUDA_ARCHITECTURES, gpu.compute_capability);
    return EMC_OK;
}
