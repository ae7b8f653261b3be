/*
 * `emcell` on the virtual GPU, with what a test of the command wants to be wrong with it:
 *
 *   EMT_VG_DEVICES     how many GPUs there are
 *   EMT_VG_DRIVER      the driver's version, as CUDA counts: 12040 is 12.4
 *   EMT_VG_MEMORY      bytes of each GPU's memory
 *   EMT_VG_LOST_AFTER  so many launches later a GPU is lost,
 *   EMT_VG_LOST        this one, or every one
 *   EMT_VG_HUNG_RANK   this rank never comes to a collective of its group ...
 *   EMT_VG_HUNG_AFTER  ... after so many
 *   EMT_VG_NCCL        NCCL's version, as it counts: 21800 is 2.18.0
 */
#include <stdlib.h>

#include "virtual_gpu/vg.h"
#include "virtual_gpu/vg_nccl.h"

static long long number(const char *name, long long otherwise)
{
    const char *value = getenv(name);

    return value ? atoll(value) : otherwise;
}

__attribute__((constructor)) static void set_up(void)
{
    vg_options options = vg_defaults();

    options.n_devices = (int)number("EMT_VG_DEVICES", options.n_devices);
    options.driver_version = (int)number("EMT_VG_DRIVER", options.driver_version);
    options.memory_bytes = (size_t)number("EMT_VG_MEMORY", (long long)options.memory_bytes);
    options.lost_after = number("EMT_VG_LOST_AFTER", options.lost_after);
    options.lost_device = (int)number("EMT_VG_LOST", options.lost_device);
    vg_set(&options);

    vg_nccl_options nccl = vg_nccl_defaults();
    nccl.hung_rank = (int)number("EMT_VG_HUNG_RANK", nccl.hung_rank);
    nccl.hung_after = number("EMT_VG_HUNG_AFTER", nccl.hung_after);
    nccl.version = (int)number("EMT_VG_NCCL", nccl.version);
    vg_nccl_set(&nccl);
}
