#pragma once
/*
 * The CUDA device: NVIDIA GPUs from sm_80 on, our own kernels, products by cuBLASLt.
 *
 * In a build without CUDA the same functions are there: no GPU is ever found, and the message says
 * that the build is the reason.
 */

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    emc_dtype dtype; /* BF16, the only one it has */
    int index;       /* which GPU, as the CUDA runtime counts them */
    /*
     * Products are run by one of cuBLASLt's algorithms, chosen by measuring them once for every
     * shape; the choice decides bits.
     *
     *   chosen      what ops->chosen of an earlier device gave: these choices and no other are
     *               used. EMC_ERR_CONFIG at open when they are of another GPU model, number of
     *               SMs, driver or library version, and from a product that they do not name.
     *               NULL: choose
     *   cache_path  a file that choices are read from and added to, so that they are measured
     *               once on a machine. NULL: none. A damaged one, or of other versions, is
     *               measured again and replaced; one that cannot be written is left alone.
     *               Of devices that measure at the same time all take what is written first; a
     *               file cache_path.lock beside it sees to that, and stays
     */
    const char *chosen;
    const char *cache_path;
} emc_cuda_options;

/* Closed by dev->ops->close. EMC_ERR_ARG: another dtype. EMC_ERR_DEVICE: no such GPU, or it, its
 * driver or its library cannot be used; the message says why, and what is needed. */
emc_status emc_cuda_open(emc_device **out, const emc_cuda_options *options);

/* Kinds of GPU code in the build: "sm_80, sm_90a and PTX of sm_90", say. */
const char *emc_cuda_architectures(void);

typedef struct {
    int n_gpus;         /* 0 also where there is no driver */
    int driver_version; /* as CUDA counts: 13000 is 13.0; 0: there is none */
    int needed_version; /* the least that the build runs with; 0: the build has no CUDA */
    char why_not[192];  /* why n_gpus is 0, for people; else "" */
    char libraries[96]; /* versions of what it links, for people */
} emc_cuda_system;

void emc_cuda_describe_system(emc_cuda_system *out);

/* NCCL, which several GPUs need: "NCCL 2.28.9", or why it cannot be used, for people. */
void emc_cuda_describe_nccl(char *out, size_t n_out);

typedef struct {
    char name[96];
    int compute_capability; /* 90 is 9.0 */
    int n_sms;
    size_t memory; /* bytes */
    bool usable;   /* the build has code for it */
} emc_cuda_gpu;

/* EMC_ERR_DEVICE: no such GPU. */
emc_status emc_cuda_describe_gpu(int index, emc_cuda_gpu *out);

#ifdef __cplusplus
}
#endif
