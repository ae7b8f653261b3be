/* Which devices does this build know, and are they here? */
#include <stdio.h>

#include "kernels/cpu.h"
#include "runtime/emcell.h"

static void describe_cpu(emc_device_info *out)
{
    const emc_cpu_options options = {.dtype = EMC_BF16};
    emc_device *device;

    out->name = "cpu";
    out->present = emc_cpu_open(&device, &options) == EMC_OK;
    snprintf(out->description, sizeof out->description, "%s",
             out->present ? device->description : emc_message());
    if (out->present)
        device->ops->close(device);
}

bool emc_device_list(int index, emc_device_info *out)
{
    *out = (emc_device_info){0};
    if (index == 0) {
        describe_cpu(out);
    } else if (index == 1) {
        out->name = "cuda";
        snprintf(out->description, sizeof out->description, "this build has no CUDA device");
    }
    return index == 0 || index == 1;
}
