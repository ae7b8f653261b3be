#include "cli/gpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common.h"

/* Several devices, as far as the options tell. */
static bool are_several(const emc_model_options *model)
{
    const char *device = model->device ? model->device : "auto";

    return strcmp(device, "cpu") != 0 && (model->tensor_parallel_size > 1 || strchr(device, ',') ||
                                          strcmp(device, "cuda:all") == 0);
}

/* Sums come in the order of a ring, which is the same every time. */
static void fix_order(const char *command)
{
    static const struct {
        const char *name, *value;
    } wanted[] = {{"NCCL_ALGO", "Ring"}, {"NCCL_NVLS_ENABLE", "0"}};

    for (size_t i = 0; i < EMC_COUNT(wanted); i++) {
        const char *now = getenv(wanted[i].name);

        if (!now)
            (void)setenv(wanted[i].name, wanted[i].value, 0);
        else if (strcmp(now, wanted[i].value) != 0)
            fprintf(stderr,
                    "emcell %s: %s=%s is set: sums over GPUs may differ in their last bits from "
                    "run to run; %s does not\n",
                    command, wanted[i].name, now, wanted[i].value);
    }
}

bool cli_gpus(const char *command, const cli_gpu_options *gpus, emc_model_options *model)
{
    static const char *const dtypes[] = {"auto", "float32", NULL};
    int dtype;

    if (!cli_choice(command, "all-reduce-dtype", gpus->all_reduce_dtype, dtypes, &dtype))
        return false;
    model->sums_f32 = dtype == 1;
    model->tensor_parallel_size = gpus->tensor_parallel_size;
    model->deadline_s = gpus->device_timeout;
    if (are_several(model))
        fix_order(command);
    return true;
}
