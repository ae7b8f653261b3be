#pragma once
/*
 * GPUs that are only said to be there: what kernels/cuda.h declares, answered as a test wants it.
 * A device that is opened computes on the CPU, counts what is taken of it, fails when told to,
 * and copies weights as late as the contract lets it: at the next sync.
 */

#include "kernels/cuda.h"

#define FAKE_GPUS 4

typedef struct {
    int n_gpus;
    const char *why_not;
    bool usable[FAKE_GPUS];
    bool alike;             /* all of one kind */
    size_t n_free, n_whole; /* what the device says of its memory */
    int fail_at;            /* the n-th taking or sync from now on fails; 0: none */

    /* What was seen. */
    int index;
    emc_dtype dtype;
    char chosen[64], cache_path[64]; /* "" for NULL */
    int n_live; /* devices, memory, matrices and updates that nobody gave back */
} fake_gpus;

extern fake_gpus fake;

#define FAKE_CHOSEN "{\"fake\": 1}"
