/* The CPU device of a build without it. */
#include "kernels/cpu/device.h"

#define WHY "cpu: this build has no CPU device; configure with oneDNN at hand"

emc_status emc_cpu_open(emc_device **out, const emc_cpu_options *options)
{
    (void)options;
    *out = NULL;
    return emc_fail(EMC_ERR_DEVICE, WHY);
}

/* Tests ask for the loops of lesser machines, too. */
emc_status cpu_open_variant(emc_device **out, const emc_cpu_options *options, const char *name)
{
    (void)name;
    return emc_cpu_open(out, options);
}
