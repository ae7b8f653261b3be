#pragma once
/* Which device runs a model? For runtime/ only. */

#include "kernels/ops.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int gpu;          /* as the CUDA runtime counts them; -1: the CPU */
    int n_threads;    /* of a CPU device */
    char name[24];    /* "cpu", "cuda:0" */
    char reason[256]; /* as emc_model_info.device_reason */
    char absent[256]; /* as emc_model_info.device_absent */
} emc_device_choice;

/* Devices of one model. */
#define EMC_MOST_DEVICES 64

typedef struct {
    int n;          /* a multiple of n_ranks: replicas of so many, in order */
    int n_ranks;    /* options->tensor_parallel_size */
    char name[160]; /* all of them, as --device takes them */
    emc_device_choice of[EMC_MOST_DEVICES];
} emc_device_choices;

/*
 * options->device made devices. "auto" is the first n_ranks usable GPUs, or the CPU where there is
 * none, or where options->dtype is float32, which GPUs do not compute in. The CPU is as many
 * devices as are asked for, which share its threads.
 *
 * EMC_ERR_USAGE: neither "auto" nor names that devices can have, one of them twice, a number that
 * options->tensor_parallel_size does not divide, GPUs of several kinds; float32 on a GPU.
 * EMC_ERR_DEVICE: no such GPU here; with options->without_weights it is chosen as absent.
 */
emc_status emc_devices_choose(emc_device_choices *out, const emc_model_options *options);

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
