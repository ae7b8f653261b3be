/* How is a CUDA device opened, and what does it do beside computing: memory, copies, events. */
#include "kernels/cuda/device.h"

#include <cublasLt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cuda/comm.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/upload.h"

/* Rows of a step for one SM: half a tile of 128. The products of a step are then whole waves of
 * tiles of 128 rows, whatever their n, as long as that is an even number of tiles. On the 132 SMs
 * of an H100 or H200 this gives 8448 rows, enough for products to run at the library's full rate.
 */
#define ROWS_OF_SM 64

/* Rows whose logits are read in a step: a prompt of a few hundred tokens ends on one of them. */
#define READER_ROWS       512
#define SMALL_READER_ROWS 128
#define SMALL_STEP_ROWS   2048 /* up to here */

/* --- Errors ------------------------------------------------------------------------------- */

/* After these nothing runs on the device any more, until the process ends. */
static bool is_lost(cudaError_t error)
{
    switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorMisalignedAddress:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorDevicesUnavailable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorExternalDevice:
    case cudaErrorMpsClientTerminated:
#if CUDART_VERSION >= 12080
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
#endif
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

emc_status cuda_check(cudaError_t error, const char *format, ...)
{
    char what[192];
    va_list args;

    if (error == cudaSuccess)
        return EMC_OK;
    (void)cudaGetLastError(); /* else it would be told again by the next call */
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (is_lost(error))
        return emc_fail(EMC_ERR_DEVICE,
                        "cuda: %s: %s; the GPU is lost to this process: what had been finished "
                        "stays, start again for the rest (the operation named here noticed it; "
                        "CUDA_LAUNCH_BLOCKING=1 shows which it was)",
                        what, cudaGetErrorString(error));
    return emc_fail(EMC_ERR_DEVICE, "cuda: %s: %s", what, cudaGetErrorString(error));
}

emc_status cuda_check_library(const char *library, const char *words, const char *format, ...)
{
    /* What a library is told by the driver is not the runtime's last error: a fault of earlier
     * work that the library was the first to notice is seen by waiting for it. */
    const cudaError_t faulted = cudaDeviceSynchronize();
    const cudaError_t behind = faulted != cudaSuccess ? faulted : cudaPeekAtLastError();
    char what[192];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (behind != cudaSuccess)
        return cuda_check(behind, "%s: %s: %s", what, library, words);
    return emc_fail(EMC_ERR_DEVICE, "cuda: %s: %s: %s", what, library, words);
}

cuda_device *cuda_current(emc_device *dev)
{
    cuda_device *cuda = (cuda_device *)dev;

    (void)cudaSetDevice(cuda->index);
    return cuda;
}

cuda_device *cuda_use(emc_device *dev)
{
    cuda_device *cuda = cuda_current(dev);

    cuda_upload_join(cuda->upload);
    return cuda;
}

/* --- Memory ------------------------------------------------------------------------------- */

emc_status cuda_take(cuda_device *cuda, void **out, size_t n_bytes, const char *what)
{
    size_t n_free = 0, n_whole = 0;
    cudaError_t error;

    *out = NULL;
    error = cudaMalloc(out, n_bytes > 0 ? n_bytes : 1);
    if (error != cudaErrorMemoryAllocation)
        return cuda_check(error, "memory for %s: %zu bytes", what, n_bytes);
    *out = NULL;
    (void)cudaGetLastError(); /* not a lasting one */
    (void)cudaMemGetInfo(&n_free, &n_whole);
    return emc_fail(EMC_ERR_DEVICE,
                    "cuda:%d: no memory for %s: %zu bytes are wanted, %zu of the GPU's %zu are "
                    "free",
                    cuda->index, what, n_bytes, n_free, n_whole);
}

static emc_status device_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    cuda_device *cuda = cuda_current(dev);
    emc_status status;

    EMC_TRY(cuda_take(cuda, out, n_bytes, what));
    status = cuda_check(cudaMemsetAsync(*out, 0, n_bytes > 0 ? n_bytes : 1, cuda->stream),
                        "zeros for %s: %zu bytes", what, n_bytes);
    if (status != EMC_OK) {
        (void)cudaFree(*out);
        *out = NULL;
    }
    return status;
}

static void device_release(emc_device *dev, void *memory)
{
    (void)cuda_current(dev);
    (void)cudaFree(memory);
}

emc_status cuda_fit(cuda_device *cuda, cuda_scratch *scratch, size_t n_bytes, const char *what)
{
    if (n_bytes <= scratch->n_bytes)
        return EMC_OK;
    /* First, since two of them may not fit. It waits for what uses it. */
    (void)cudaFree(scratch->d);
    *scratch = (cuda_scratch){0};
    EMC_TRY(cuda_take(cuda, &scratch->d, n_bytes, what));
    scratch->n_bytes = n_bytes;
    return EMC_OK;
}

static emc_status device_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)cuda_current(dev);
    return cuda_check(cudaMemGetInfo(n_free, n_whole), "free memory");
}

static emc_status device_alloc_host(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    (void)cuda_current(dev);
    *out = NULL;
    EMC_TRY(cuda_check(cudaMallocHost(out, n_bytes > 0 ? n_bytes : 1),
                       "pinned host memory for %s: %zu bytes", what, n_bytes));
    memset(*out, 0, n_bytes);
    return EMC_OK;
}

static void device_release_host(emc_device *dev, void *memory)
{
    (void)cuda_current(dev);
    if (memory)
        (void)cudaFreeHost(memory);
}

/* --- Copies and events -------------------------------------------------------------------- */

static emc_status wait_for_stream(emc_device *dev)
{
    return cuda_await(cuda_current(dev), NULL);
}

static emc_status device_sync(emc_device *dev)
{
    EMC_TRY(cuda_upload_wait(cuda_current(dev)->upload));
    return wait_for_stream(dev);
}

static emc_status device_upload_async(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    cuda_device *cuda = cuda_current(dev);

    return cuda_check(cudaMemcpyAsync(d_dst, src, n_bytes, cudaMemcpyHostToDevice, cuda->stream),
                      "copy to the device: %zu bytes", n_bytes);
}

static emc_status device_download_async(emc_device *dev, void *dst, const void *d_src,
                                        size_t n_bytes)
{
    cuda_device *cuda = cuda_current(dev);

    return cuda_check(cudaMemcpyAsync(dst, d_src, n_bytes, cudaMemcpyDeviceToHost, cuda->stream),
                      "copy from the device: %zu bytes", n_bytes);
}

static emc_status device_copy(emc_device *dev, void *d_dst, const void *d_src, size_t n_bytes)
{
    cuda_device *cuda = cuda_current(dev);

    return cuda_check(
        cudaMemcpyAsync(d_dst, d_src, n_bytes, cudaMemcpyDeviceToDevice, cuda->stream),
        "copy on the device: %zu bytes", n_bytes);
}

static emc_status device_upload(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    EMC_TRY(device_upload_async(dev, d_dst, src, n_bytes));
    return wait_for_stream(dev);
}

static emc_status device_download(emc_device *dev, void *dst, const void *d_src, size_t n_bytes)
{
    EMC_TRY(device_download_async(dev, dst, d_src, n_bytes));
    return wait_for_stream(dev);
}

struct emc_event {
    cudaEvent_t event;
};

static void event_close(emc_device *dev, emc_event *event)
{
    if (!event)
        return;
    (void)cuda_current(dev);
    if (event->event)
        (void)cudaEventDestroy(event->event);
    free(event);
}

static emc_status event_open(emc_device *dev, emc_event **out)
{
    emc_event *event = NULL;
    emc_status status;

    *out = NULL;
    (void)cuda_current(dev);
    EMC_TRY(emc_alloc(&event, 1, sizeof *event, "an event"));
    status = cuda_check(cudaEventCreate(&event->event), "an event");
    if (status != EMC_OK) {
        event_close(dev, event);
        return status;
    }
    *out = event;
    return EMC_OK;
}

static emc_status event_record(emc_device *dev, emc_event *event)
{
    cuda_device *cuda = cuda_current(dev);

    return cuda_check(cudaEventRecord(event->event, cuda->stream), "marking the queue");
}

static emc_status event_wait(emc_device *dev, emc_event *event)
{
    return cuda_await(cuda_current(dev), event->event);
}

static emc_status event_ms(emc_device *dev, const emc_event *from, const emc_event *to, float *ms)
{
    (void)cuda_current(dev);
    return cuda_check(cudaEventElapsedTime(ms, from->event, to->event), "time between events");
}

/* --- Open and close ----------------------------------------------------------------------- */

static const char *device_chosen(emc_device *dev)
{
    return cuda_gemm_chosen(((cuda_device *)dev)->gemm);
}

static emc_status device_adopt(emc_device *dev, const char *chosen)
{
    return cuda_gemm_adopt(((cuda_device *)dev)->gemm, chosen);
}

static void device_close(emc_device *dev)
{
    cuda_device *cuda;

    if (!dev)
        return;
    cuda = cuda_current(dev);
    if (cuda->stream)
        (void)cudaStreamSynchronize(cuda->stream);
    cuda_upload_close(cuda->upload);
    cuda_gemm_close(cuda->gemm);
    (void)cudaFree(cuda->attention.d);
    (void)cudaFree(cuda->head.d);
    (void)cudaFree(cuda->lora.d);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
    free(cuda);
}

static void fill_table(emc_ops *ops)
{
    *ops = (emc_ops){.close = device_close,
                     .alloc = device_alloc,
                     .release = device_release,
                     .memory = device_memory,
                     .upload = device_upload,
                     .download = device_download,
                     .sync = device_sync,
                     .alloc_host = device_alloc_host,
                     .release_host = device_release_host,
                     .upload_async = device_upload_async,
                     .download_async = device_download_async,
                     .copy = device_copy,
                     .event_open = event_open,
                     .event_close = event_close,
                     .event_record = event_record,
                     .event_wait = event_wait,
                     .event_ms = event_ms,
                     .matrix_open = cuda_matrix_open,
                     .matrix_close = cuda_matrix_close,
                     .lora_open = cuda_lora_open,
                     .lora_close = cuda_lora_close,
                     .embed = cuda_embed,
                     .rmsnorm = cuda_rmsnorm,
                     .add_rmsnorm = cuda_add_rmsnorm,
                     .linear = cuda_linear,
                     .rope_store = cuda_rope_store,
                     .attention = cuda_attention,
                     .swiglu = cuda_swiglu,
                     .gather_rows = cuda_gather_rows,
                     .head = cuda_head,
                     .prepare_linear = cuda_prepare_linear,
                     .prepare_attention = cuda_prepare_attention,
                     .prepare_head = cuda_prepare_head,
                     .chosen = device_chosen,
                     .adopt = device_adopt,
                     .comms_open = cuda_comms_open,
                     .comm_close = cuda_comm_close,
                     .comm_abort = cuda_comm_abort,
                     .all_reduce = cuda_all_reduce,
                     .all_gather = cuda_all_gather,
                     .broadcast = cuda_broadcast,
                     .matrix_broadcast = cuda_matrix_broadcast,
                     .merge_heads = cuda_merge_heads,
                     .round = cuda_round};
}

static void describe(cuda_device *cuda, const char *gpu)
{
    const size_t library = cublasLtGetVersion();
    int driver = 0;

    (void)cudaDriverGetVersion(&driver);
    (void)snprintf(cuda->device.description, sizeof cuda->device.description,
                   "cuda:%d, %.96s, %d SMs, CUDA %d.%d on a driver for %d.%d, cuBLASLt %zu.%zu.%zu",
                   cuda->index, gpu, cuda->n_sms, CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100,
                   driver / 1000, driver / 10 % 100, library / 10000, library / 100 % 100,
                   library % 100);
}

static emc_status open_parts(cuda_device *cuda, const emc_cuda_options *options)
{
    const int tile = EMC_PAGE_POSITIONS;
    struct cudaDeviceProp gpu;

    EMC_TRY(cuda_check_gpu(cuda->index));
    EMC_TRY(cuda_check(cudaSetDevice(cuda->index), "GPU %d cannot be used", cuda->index));
    EMC_TRY(cuda_check(cudaGetDeviceProperties(&gpu, cuda->index), "GPU %d", cuda->index));
    cuda->n_sms = gpu.multiProcessorCount;
    cuda->compute_capability = gpu.major * 10 + gpu.minor;
    cuda->device.step_rows = cuda_blocks(cuda->n_sms * ROWS_OF_SM, tile) * tile;
    cuda->device.reader_rows =
        cuda->device.step_rows > SMALL_STEP_ROWS ? READER_ROWS : SMALL_READER_ROWS;
    describe(cuda, gpu.name);
    EMC_TRY(
        cuda_check(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), "a stream"));
    EMC_TRY(cuda_upload_open(&cuda->upload, cuda));
    return cuda_gemm_open(&cuda->gemm, cuda, options);
}

emc_status emc_cuda_open(emc_device **out, const emc_cuda_options *options)
{
    cuda_device *cuda = NULL;
    emc_status status;

    *out = NULL;
    if (options->dtype != EMC_BF16)
        return emc_fail(EMC_ERR_ARG, "cuda: it computes in bfloat16, %s was asked for",
                        emc_dtype_name(options->dtype));
    EMC_TRY(emc_alloc(&cuda, 1, sizeof *cuda, "the CUDA device"));
    fill_table(&cuda->ops);
    cuda->index = options->index;
    cuda->device = (emc_device){.ops = &cuda->ops, .dtype = EMC_BF16, .copies_weights = true};
    status = open_parts(cuda, options);
    if (status != EMC_OK) {
        device_close(&cuda->device);
        return status;
    }
    *out = &cuda->device;
    return EMC_OK;
}
