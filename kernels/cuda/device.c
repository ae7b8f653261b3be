/* How is a CUDA device opened, and what does it do beside computing: memory, copies, events. */
#include "kernels/cuda/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cuda/gemm.h"

/* --- Errors ------------------------------------------------------------------------------- */

emc_status cuda_check(cudaError_t error, const char *format, ...)
{
    char what[192];
    va_list args;

    if (error == cudaSuccess)
        return EMC_OK;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return emc_fail(EMC_ERR_DEVICE, "cuda: %s: %s", what, cudaGetErrorString(error));
}

cuda_device *cuda_use(emc_device *dev)
{
    cuda_device *cuda = (cuda_device *)dev;

    (void)cudaSetDevice(cuda->index);
    return cuda;
}

/* --- Memory ------------------------------------------------------------------------------- */

static emc_status take(cuda_device *cuda, void **out, size_t n_bytes, const char *what)
{
    cudaError_t error;

    *out = NULL;
    error = cudaMalloc(out, n_bytes > 0 ? n_bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* not a lasting one */
        return emc_fail(EMC_ERR_DEVICE, "cuda:%d: no memory for %s: %zu bytes", cuda->index, what,
                        n_bytes);
    }
    return cuda_check(error, "memory for %s: %zu bytes", what, n_bytes);
}

static emc_status device_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(take(cuda, out, n_bytes, what));
    return cuda_check(cudaMemsetAsync(*out, 0, n_bytes, cuda->stream), "zeros for %s: %zu bytes",
                      what, n_bytes);
}

static void device_release(emc_device *dev, void *memory)
{
    (void)cuda_use(dev);
    (void)cudaFree(memory);
}

emc_status cuda_fit(cuda_device *cuda, cuda_scratch *scratch, size_t n_bytes, const char *what)
{
    void *larger;

    if (n_bytes <= scratch->n_bytes)
        return EMC_OK;
    EMC_TRY(take(cuda, &larger, n_bytes, what));
    (void)cudaFree(scratch->d);
    scratch->d = larger;
    scratch->n_bytes = n_bytes;
    return EMC_OK;
}

static emc_status device_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)cuda_use(dev);
    return cuda_check(cudaMemGetInfo(n_free, n_whole), "free memory");
}

static emc_status device_alloc_host(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    (void)cuda_use(dev);
    *out = NULL;
    EMC_TRY(cuda_check(cudaMallocHost(out, n_bytes > 0 ? n_bytes : 1),
                       "pinned host memory for %s: %zu bytes", what, n_bytes));
    memset(*out, 0, n_bytes);
    return EMC_OK;
}

static void device_release_host(emc_device *dev, void *memory)
{
    (void)cuda_use(dev);
    if (memory)
        (void)cudaFreeHost(memory);
}

/* --- Copies and events -------------------------------------------------------------------- */

static emc_status device_sync(emc_device *dev)
{
    cuda_device *cuda = cuda_use(dev);

    return cuda_check(cudaStreamSynchronize(cuda->stream), "waiting for the device");
}

static emc_status device_upload_async(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    cuda_device *cuda = cuda_use(dev);

    return cuda_check(cudaMemcpyAsync(d_dst, src, n_bytes, cudaMemcpyHostToDevice, cuda->stream),
                      "copy to the device: %zu bytes", n_bytes);
}

static emc_status device_download_async(emc_device *dev, void *dst, const void *d_src,
                                        size_t n_bytes)
{
    cuda_device *cuda = cuda_use(dev);

    return cuda_check(cudaMemcpyAsync(dst, d_src, n_bytes, cudaMemcpyDeviceToHost, cuda->stream),
                      "copy from the device: %zu bytes", n_bytes);
}

static emc_status device_copy(emc_device *dev, void *d_dst, const void *d_src, size_t n_bytes)
{
    cuda_device *cuda = cuda_use(dev);

    return cuda_check(
        cudaMemcpyAsync(d_dst, d_src, n_bytes, cudaMemcpyDeviceToDevice, cuda->stream),
        "copy on the device: %zu bytes", n_bytes);
}

static emc_status device_upload(emc_device *dev, void *d_dst, const void *src, size_t n_bytes)
{
    EMC_TRY(device_upload_async(dev, d_dst, src, n_bytes));
    return device_sync(dev);
}

static emc_status device_download(emc_device *dev, void *dst, const void *d_src, size_t n_bytes)
{
    EMC_TRY(device_download_async(dev, dst, d_src, n_bytes));
    return device_sync(dev);
}

struct emc_event {
    cudaEvent_t event;
};

static void event_close(emc_device *dev, emc_event *event)
{
    if (!event)
        return;
    (void)cuda_use(dev);
    if (event->event)
        (void)cudaEventDestroy(event->event);
    free(event);
}

static emc_status event_open(emc_device *dev, emc_event **out)
{
    emc_event *event = NULL;
    emc_status status;

    *out = NULL;
    (void)cuda_use(dev);
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
    cuda_device *cuda = cuda_use(dev);

    return cuda_check(cudaEventRecord(event->event, cuda->stream), "marking the queue");
}

static emc_status event_wait(emc_device *dev, emc_event *event)
{
    (void)cuda_use(dev);
    return cuda_check(cudaEventSynchronize(event->event), "waiting for the device");
}

static emc_status event_ms(emc_device *dev, const emc_event *from, const emc_event *to, float *ms)
{
    (void)cuda_use(dev);
    return cuda_check(cudaEventElapsedTime(ms, from->event, to->event), "time between events");
}

/* --- Open and close ----------------------------------------------------------------------- */

static const char *device_chosen(emc_device *dev)
{
    return cuda_gemm_chosen(((cuda_device *)dev)->gemm);
}

static void device_close(emc_device *dev)
{
    cuda_device *cuda;

    if (!dev)
        return;
    cuda = cuda_use(dev);
    if (cuda->stream)
        (void)cudaStreamSynchronize(cuda->stream);
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
                     .chosen = device_chosen};
}

/* Whole waves of 128-row tiles on 132 SMs; see docs/design.md. */
#define STEP_ROWS   8448
#define READER_ROWS 512

static emc_status open_parts(cuda_device *cuda, const emc_cuda_options *options)
{
    struct cudaDeviceProp gpu;

    EMC_TRY(cuda_check(cudaSetDevice(cuda->index), "GPU %d", cuda->index));
    EMC_TRY(cuda_check(cudaGetDeviceProperties(&gpu, cuda->index), "GPU %d", cuda->index));
    cuda->n_sms = gpu.multiProcessorCount;
    cuda->compute_capability = gpu.major * 10 + gpu.minor;
    snprintf(cuda->device.description, sizeof cuda->device.description, "cuda:%d, %.96s, %d SMs",
             cuda->index, gpu.name, cuda->n_sms);
    EMC_TRY(cuda_check(cudaStreamCreate(&cuda->stream), "a stream"));
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
    cuda->device = (emc_device){.ops = &cuda->ops,
                                .dtype = EMC_BF16,
                                .step_rows = STEP_ROWS,
                                .reader_rows = READER_ROWS,
                                .copies_weights = true};
    status = open_parts(cuda, options);
    if (status != EMC_OK) {
        device_close(&cuda->device);
        return status;
    }
    *out = &cuda->device;
    return EMC_OK;
}
