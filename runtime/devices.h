#pragma once
/* Which device runs a model? For runtime/ only. */

#include "kernels/ops.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int gpu;          /* as the CUDA runtime counts them; -1: the CPU */
    char name[24];    /* "cpu", "cuda:0" */
    char reason[256]; /* as emc_model_info.device_reason */
    char absent[256]; /* as emc_model_info.device_absent */
} emc_device_choice;

/*
 * options->device made one device. Where that is "auto" and options->dtype float32, which GPUs do
 * not compute in, it is the CPU.
 *
 * EMC_ERR_USAGE: neither "auto" nor a name that a device can have; float32 on a GPU.
 * EMC_ERR_DEVICE: no such GPU here; with options->without_weights it is chosen as absent.
 */
emc_status emc_device_choose(emc_device_choice *out, const emc_model_options *options);

/* `checkpoint` is the dtype of the model's files. EMC_ERR_ARG: no such options->dtype. Else errors
 * as emc_cpu_open and emc_cuda_open; with options->without_weights a device that cannot be used
 * becomes an absent one. */
emc_status emc_device_open(emc_device **out, emc_device_choice *choice,
                           const emc_model_options *options, emc_dtype checkpoint);

/* Threads that options->n_threads stands for, at least 1. */
int emc_device_threads(const emc_model_options *options);

/* A device that is not there: it has the numbers of such a one (of a GPU with 132
 * multiprocessors), nobody can tell its memory, and it does nothing else. */
emc_status emc_absent_open(emc_device **out, bool gpu, emc_dtype dtype);

#ifdef __cplusplus
}
#endif
