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

/* The first n GPUs that the build has code for, else the CPU. */
static void choose_best(emc_device_choices *out, int n)
{
    emc_device_choice *choice = &out->of[0];
    emc_cuda_gpu gpu, first = {0};
    emc_cuda_system cuda;
    int n_found = 0;

    choose_cpu(choice);
    out->n = 1;
    emc_cuda_describe_system(&cuda);
    if (cuda.n_gpus == 0) {
        snprintf(choice->reason, sizeof choice->reason, "auto: no GPU was found (%s)",
                 cuda.why_not);
        return;
    }
    for (int i = 0; i < cuda.n_gpus && n_found < n; i++) {
        if (emc_cuda_describe_gpu(i, &gpu) != EMC_OK)
            continue;
        if (gpu.usable) {
            choose_gpu(&out->of[n_found++], i);
            out->n = n_found;
        }
        if (!first.name[0] || (gpu.usable && n_found == 1))
            first = gpu;
    }
    if (n_found > 0)
        snprintf(choice->reason, sizeof choice->reason, "auto: %s (%s)", choice->name, first.name);
    else if (first.name[0])
        snprintf(choice->reason, sizeof choice->reason,
                 "auto: no usable GPU (%s has compute capability %d.%d, this build is for %s)",
                 first.name, first.compute_capability / 10, first.compute_capability % 10,
                 emc_cuda_architectures());
    else
        snprintf(choice->reason, sizeof choice->reason, "auto: no usable GPU (%s)", emc_message());
}

/* A GPU's number and where it ends; -1 where there is none. */
static int gpu_number(const char *text, const char **end)
{
    int n_digits = 0, number = 0;

    for (; n_digits < MAX_DIGITS && isdigit((unsigned char)text[n_digits]); n_digits++)
        number = 10 * number + (text[n_digits] - '0');
    *end = text + n_digits;
    return n_digits > 0 ? number : -1;
}

/* This thread's message says why. */
static void note_absent(emc_device_choice *choice)
{
    snprintf(choice->absent, sizeof choice->absent, "%s", emc_message());
}

static emc_status unknown_name(const char *device)
{
    return emc_fail(EMC_ERR_USAGE,
                    "no device is called \"%s\": take cpu, cuda, cuda:N for GPU number N, "
                    "cuda:0,1 for several, cuda:all, or auto",
                    device);
}

/* Whether GPU `gpu` is there. */
static emc_status check_gpu(const char *device, int gpu)
{
    emc_cuda_system cuda;

    emc_cuda_describe_system(&cuda);
    if (cuda.n_gpus == 0)
        return emc_fail(EMC_ERR_DEVICE, "device %s: no GPU was found (%s)", device, cuda.why_not);
    if (gpu >= cuda.n_gpus)
        return emc_fail(EMC_ERR_DEVICE, "device %s: the last of %d GPU%s here is cuda:%d", device,
                        cuda.n_gpus, cuda.n_gpus == 1 ? "" : "s", cuda.n_gpus - 1);
    return EMC_OK;
}

static emc_status add_gpu(emc_device_choices *out, const char *device, int gpu, bool may_be_absent)
{
    emc_status status;

    for (int i = 0; i < out->n; i++)
        if (out->of[i].gpu == gpu)
            return emc_fail(EMC_ERR_USAGE, "device %s: GPU %d is named twice", device, gpu);
    if (out->n == EMC_MOST_DEVICES)
        return emc_fail(EMC_ERR_USAGE, "device %s: more than %d GPUs", device, EMC_MOST_DEVICES);
    status = check_gpu(device, gpu);
    if (status != EMC_OK && !may_be_absent)
        return status;
    choose_gpu(&out->of[out->n], gpu);
    if (status != EMC_OK)
        note_absent(&out->of[out->n]);
    out->n++;
    return EMC_OK;
}

/* "cuda" (the first n), "cuda:all", "cuda:0", "cuda:0,3". */
static emc_status choose_named_gpus(emc_device_choices *out, const char *device, int n,
                                    bool may_be_absent)
{
    const char *at = device + strlen(GPU_PREFIX);
    emc_cuda_system cuda;

    if (strcmp(device, "cuda") == 0) {
        for (int i = 0; i < n; i++)
            EMC_TRY(add_gpu(out, device, i, may_be_absent));
        return EMC_OK;
    }
    if (strncmp(device, GPU_PREFIX, strlen(GPU_PREFIX)) != 0)
        return unknown_name(device);
    if (strcmp(at, "all") == 0) {
        emc_cuda_describe_system(&cuda);
        for (int i = 0; i == 0 || i < cuda.n_gpus; i++)
            EMC_TRY(add_gpu(out, device, i, may_be_absent));
        return EMC_OK;
    }
    for (;; at++) {
        const int gpu = gpu_number(at, &at);

        if (gpu < 0 || (*at && *at != ','))
            return unknown_name(device);
        EMC_TRY(add_gpu(out, device, gpu, may_be_absent));
        if (!*at)
            return EMC_OK;
    }
}

/* Bits depend on the kind of GPU, so replicas are of one. */
static emc_status check_kinds(const emc_device_choices *choices)
{
    emc_cuda_gpu first, other;

    if (choices->n < 2 || choices->of[0].absent[0] ||
        emc_cuda_describe_gpu(choices->of[0].gpu, &first) != EMC_OK)
        return EMC_OK;
    for (int i = 1; i < choices->n; i++)
        if (!choices->of[i].absent[0] &&
            emc_cuda_describe_gpu(choices->of[i].gpu, &other) == EMC_OK &&
            (strcmp(first.name, other.name) != 0 || first.n_sms != other.n_sms))
            return emc_fail(EMC_ERR_USAGE,
                            "%s is %s with %d SMs, %s is %s with %d: a cell's answer would depend "
                            "on the GPU; take GPUs of one kind",
                            choices->of[0].name, first.name, first.n_sms, choices->of[i].name,
                            other.name, other.n_sms);
    return EMC_OK;
}

/* As many CPU devices as are wanted, with the threads dealt out among them. */
static void split_cpu(emc_device_choices *out, const emc_model_options *options)
{
    const int n_threads = emc_device_threads(options);
    const int wanted = (options->n_replicas > 0 ? options->n_replicas : 1) * out->n_ranks;

    out->n = wanted < EMC_MOST_DEVICES ? wanted : EMC_MOST_DEVICES;
    for (int i = 0; i < out->n; i++) {
        out->of[i] = out->of[0];
        out->of[i].n_threads = out->n == 1              ? options->n_threads
                               : n_threads / out->n > 0 ? n_threads / out->n
                                                        : 1;
    }
}

static void write_name(emc_device_choices *out)
{
    size_t n = (size_t)snprintf(out->name, sizeof out->name, "%s", out->of[0].name);

    for (int i = 1; out->of[0].gpu >= 0 && i < out->n && n < sizeof out->name; i++)
        n += (size_t)snprintf(out->name + n, sizeof out->name - n, ",%d", out->of[i].gpu);
}

static emc_status check_ranks(const emc_device_choices *out)
{
    if (out->n_ranks < 1)
        return emc_fail(EMC_ERR_USAGE, "--tensor-parallel-size %d: need at least 1", out->n_ranks);
    if (out->n % out->n_ranks != 0)
        return emc_fail(EMC_ERR_USAGE,
                        "--tensor-parallel-size %d: %d GPU%s cannot be dealt out in groups of so "
                        "many; name a multiple of %d with --device cuda:0,1,...",
                        out->n_ranks, out->n, out->n == 1 ? "" : "s", out->n_ranks);
    return EMC_OK;
}

emc_status emc_devices_choose(emc_device_choices *out, const emc_model_options *options)
{
    const char *device = options->device ? options->device : "auto";
    const bool f32 = options->dtype == EMC_DTYPE_FLOAT32;
    const int n_ranks = options->tensor_parallel_size;

    *out = (emc_device_choices){.n_ranks = n_ranks == 0 ? 1 : n_ranks};
    if (n_ranks < 0 || n_ranks > EMC_MOST_DEVICES)
        return emc_fail(EMC_ERR_USAGE, "--tensor-parallel-size %d: need 1 to %d", n_ranks,
                        EMC_MOST_DEVICES);
    if (strcmp(device, "cpu") == 0)
        choose_cpu(&out->of[0]);
    else if (strcmp(device, "auto") == 0)
        choose_best(out, out->n_ranks);
    else
        EMC_TRY(choose_named_gpus(out, device, out->n_ranks, options->without_weights));
    if (f32 && out->of[0].gpu >= 0) {
        if (strcmp(device, "auto") != 0)
            return emc_fail(EMC_ERR_USAGE,
                            "device %s: GPUs compute in bfloat16; leave the dtype to auto, or "
                            "take the device cpu for float32",
                            out->of[0].name);
        choose_cpu(&out->of[0]);
        snprintf(out->of[0].reason, sizeof out->of[0].reason,
                 "auto: cpu (float32 was asked for, GPUs compute in bfloat16)");
    }
    if (out->of[0].gpu < 0)
        split_cpu(out, options);
    EMC_TRY(check_ranks(out));
    EMC_TRY(check_kinds(out));
    write_name(out);
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
