/* Which devices are there, and which one does a model get? */
#include "runtime/devices.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/cuda.h"

#define GPU_PREFIX "cuda:"
#define MAX_DIGITS 4 /* of a GPU's number */

static void choose_cpu(emc_device_choice *out)
{
    out->gpu = -1;
    snprintf(out->name, sizeof out->name, "cpu");
}

static void choose_gpu(emc_device_choice *out, int gpu)
{
    out->gpu = gpu;
    snprintf(out->name, sizeof out->name, GPU_PREFIX "%d", gpu);
}

/* The first GPU that the build has code for, else the CPU. */
static void choose_best(emc_device_choice *out)
{
    emc_cuda_gpu gpu, first = {0};
    emc_cuda_system cuda;

    choose_cpu(out);
    emc_cuda_describe_system(&cuda);
    if (cuda.n_gpus == 0) {
        snprintf(out->reason, sizeof out->reason, "auto: no GPU was found (%s)", cuda.why_not);
        return;
    }
    for (int i = 0; i < cuda.n_gpus; i++) {
        if (emc_cuda_describe_gpu(i, &gpu) != EMC_OK)
            continue;
        if (gpu.usable) {
            choose_gpu(out, i);
            snprintf(out->reason, sizeof out->reason, "auto: %s (%s)", out->name, gpu.name);
            return;
        }
        if (!first.name[0])
            first = gpu;
    }
    if (first.name[0])
        snprintf(out->reason, sizeof out->reason,
                 "auto: no usable GPU (%s has compute capability %d.%d, this build is for %s)",
                 first.name, first.compute_capability / 10, first.compute_capability % 10,
                 emc_cuda_architectures());
    else
        snprintf(out->reason, sizeof out->reason, "auto: no usable GPU (%s)", emc_message());
}

/* The N of "cuda:N", -1 for anything else. */
static int gpu_number(const char *device)
{
    const char *digits = device + strlen(GPU_PREFIX);
    const size_t n = strncmp(device, GPU_PREFIX, strlen(GPU_PREFIX)) == 0 ? strlen(digits) : 0;

    if (n < 1 || n > MAX_DIGITS)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)digits[i]))
            return -1;
    return atoi(digits);
}

/* This thread's message says why. */
static void note_absent(emc_device_choice *choice)
{
    snprintf(choice->absent, sizeof choice->absent, "%s", emc_message());
}

static emc_status choose_named_gpu(emc_device_choice *out, const char *device)
{
    const int gpu = strcmp(device, "cuda") == 0 ? 0 : gpu_number(device);
    emc_cuda_system cuda;

    if (gpu < 0)
        return emc_fail(EMC_ERR_USAGE,
                        "no device is called \"%s\": take cpu, cuda, cuda:N for GPU number N, "
                        "or auto",
                        device);
    emc_cuda_describe_system(&cuda);
    if (cuda.n_gpus == 0)
        return emc_fail(EMC_ERR_DEVICE, "device %s: no GPU was found (%s)", device, cuda.why_not);
    if (gpu >= cuda.n_gpus)
        return emc_fail(EMC_ERR_DEVICE, "device %s: the last of %d GPU%s here is cuda:%d", device,
                        cuda.n_gpus, cuda.n_gpus == 1 ? "" : "s", cuda.n_gpus - 1);
    choose_gpu(out, gpu);
    return EMC_OK;
}

emc_status emc_device_choose(emc_device_choice *out, const emc_model_options *options)
{
    const char *device = options->device ? options->device : "auto";
    const bool f32 = options->dtype == EMC_DTYPE_FLOAT32;

    *out = (emc_device_choice){0};
    if (strcmp(device, "cpu") == 0) {
        choose_cpu(out);
        return EMC_OK;
    }
    if (strcmp(device, "auto") != 0) {
        const emc_status status = choose_named_gpu(out, device);

        if (status == EMC_ERR_DEVICE && options->without_weights) {
            choose_gpu(out, strcmp(device, "cuda") == 0 ? 0 : gpu_number(device));
            note_absent(out);
        } else if (status != EMC_OK) {
            return status;
        }
        if (f32)
            return emc_fail(EMC_ERR_USAGE,
                            "device %s: GPUs compute in bfloat16; leave the dtype to auto, or "
                            "take the device cpu for float32",
                            out->name);
        return EMC_OK;
    }
    choose_best(out);
    if (f32 && out->gpu >= 0) {
        choose_cpu(out);
        snprintf(out->reason, sizeof out->reason,
                 "auto: cpu (float32 was asked for, GPUs compute in bfloat16)");
    }
    return EMC_OK;
}

static emc_status open_chosen(emc_device **out, const emc_device_choice *choice,
                              const emc_model_options *options, emc_dtype dtype)
{
    if (choice->absent[0])
        return emc_absent_open(out, choice->gpu >= 0, dtype);
    if (choice->gpu >= 0) {
        const emc_cuda_options cuda = {.dtype = dtype,
                                       .index = choice->gpu,
                                       .chosen = options->chosen,
                                       .cache_path = options->choices_path};

        return emc_cuda_open(out, &cuda);
    }
    const emc_cpu_options cpu = {.dtype = dtype, .n_threads = options->n_threads};

    return emc_cpu_open(out, &cpu);
}

emc_status emc_device_open(emc_device **out, emc_device_choice *choice,
                           const emc_model_options *options, emc_dtype checkpoint)
{
    emc_dtype dtype;
    emc_status status;

    *out = NULL;
    switch (options->dtype) {
    case EMC_DTYPE_AUTO:
        dtype = choice->gpu >= 0 || checkpoint == EMC_BF16 ? EMC_BF16 : EMC_F32;
        break;
    case EMC_DTYPE_FLOAT32:
        dtype = EMC_F32;
        break;
    case EMC_DTYPE_BFLOAT16:
        dtype = EMC_BF16;
        break;
    default:
        return emc_fail(EMC_ERR_ARG, "no such dtype: %d", (int)options->dtype);
    }
    status = open_chosen(out, choice, options, dtype);
    if (status != EMC_ERR_DEVICE || !options->without_weights)
        return status;
    note_absent(choice);
    return open_chosen(out, choice, options, dtype);
}

int emc_device_threads(const emc_model_options *options)
{
    cpu_set_t set;

    if (options->n_threads > 0)
        return options->n_threads;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static void describe_cpu(emc_device_info *out)
{
    const emc_cpu_options options = {.dtype = EMC_BF16};
    emc_device *device;

    snprintf(out->name, sizeof out->name, "cpu");
    out->present = emc_cpu_open(&device, &options) == EMC_OK;
    snprintf(out->description, sizeof out->description, "%s",
             out->present ? device->description : emc_message());
    if (out->present)
        device->ops->close(device);
}

static void describe_gpu(emc_device_info *out, int index)
{
    emc_cuda_gpu gpu;

    snprintf(out->name, sizeof out->name, GPU_PREFIX "%d", index);
    if (emc_cuda_describe_gpu(index, &gpu) != EMC_OK) {
        snprintf(out->description, sizeof out->description, "%s", emc_message());
        return;
    }
    out->present = gpu.usable;
    snprintf(out->description, sizeof out->description,
             "%s, compute capability %d.%d, %d SMs, %.1f GB%s%s", gpu.name,
             gpu.compute_capability / 10, gpu.compute_capability % 10, gpu.n_sms,
             (double)gpu.memory * 1e-9, gpu.usable ? "" : "; this build is for ",
             gpu.usable ? "" : emc_cuda_architectures());
}

bool emc_device_list(int index, emc_device_info *out)
{
    emc_cuda_system cuda;

    *out = (emc_device_info){0};
    if (index < 0)
        return false;
    if (index == 0) {
        describe_cpu(out);
        return true;
    }
    emc_cuda_describe_system(&cuda);
    if (index <= cuda.n_gpus) {
        describe_gpu(out, index - 1);
        return true;
    }
    snprintf(out->name, sizeof out->name, "cuda");
    snprintf(out->description, sizeof out->description, "%s", cuda.why_not);
    return index == 1;
}
