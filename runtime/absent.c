/* A device that is not there, so that what a run would take on it can be told. */
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "runtime/devices.h"

/* What kernels/ choose: for the CPU, and for a GPU with 132 multiprocessors (H100, H200). */
#define CPU_STEP_ROWS   1024
#define GPU_STEP_ROWS   8448
#define GPU_READER_ROWS 512

static void absent_close(emc_device *dev)
{
    free(dev);
}

static void absent_release(emc_device *dev, void *memory)
{
    (void)dev;
    (void)memory;
}

static emc_status absent_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)dev;
    *n_free = *n_whole = 0;
    return EMC_OK;
}

static const char *absent_chosen(emc_device *dev)
{
    (void)dev;
    return "{}";
}

emc_status emc_absent_open(emc_device **out, bool gpu, emc_dtype dtype)
{
    static const emc_ops ops = {.close = absent_close,
                                .release = absent_release,
                                .memory = absent_memory,
                                .chosen = absent_chosen};

    EMC_TRY(emc_alloc(out, 1, sizeof **out, "a device"));
    **out = (emc_device){.ops = &ops,
                         .dtype = dtype,
                         .step_rows = gpu ? GPU_STEP_ROWS : CPU_STEP_ROWS,
                         .reader_rows = gpu ? GPU_READER_ROWS : 0,
                         .copies_weights = gpu,
                         .at_once = !gpu};
    snprintf((*out)->description, sizeof(*out)->description, "absent");
    return EMC_OK;
}
