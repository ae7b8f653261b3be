/* The CUDA device of a build without CUDA. */
#include <stdio.h>

#include "kernels/cuda.h"

#define WHY "this build has no CUDA device"

emc_status emc_cuda_open(emc_device **out, const emc_cuda_options *options)
{
    (void)options;
    *out = NULL;
    return emc_fail(EMC_ERR_DEVICE, "cuda: " WHY "; configure with -DEMCELL_CUDA=ON");
}

const char *emc_cuda_architectures(void)
{
    return "";
}

void emc_cuda_describe_system(emc_cuda_system *out)
{
    *out = (emc_cuda_system){0};
    snprintf(out->why_not, sizeof out->why_not, WHY);
}

emc_status emc_cuda_describe_gpu(int index, emc_cuda_gpu *out)
{
    *out = (emc_cuda_gpu){0};
    return emc_fail(EMC_ERR_DEVICE, "cuda:%d: " WHY, index);
}

void emc_cuda_describe_nccl(char *out, size_t n_out)
{
    snprintf(out, n_out, "NCCL: not in this build");
}
