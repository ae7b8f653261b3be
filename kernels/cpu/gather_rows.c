/* out[i] = x[index[i]]: a copy of rows. */
#include <string.h>

#include "kernels/cpu/device.h"

#define ROWS_PER_ITEM 32

typedef struct {
    char *out;
    const char *x;
    const int32_t *index;
    int n;
    size_t row_bytes;
} job;

static emc_status gather(void *context, int worker, int item)
{
    const job *j = context;
    const int row0 = item * ROWS_PER_ITEM;

    (void)worker;
    for (int i = row0; i < row0 + ROWS_PER_ITEM && i < j->n; i++)
        memcpy(j->out + (size_t)i * j->row_bytes, j->x + (size_t)j->index[i] * j->row_bytes,
               j->row_bytes);
    return EMC_OK;
}

emc_status cpu_gather_rows(emc_device *dev, void *out, const void *x, const int32_t *index, int n,
                           int dim)
{
    job j = {out, x, index, n, (size_t)dim * emc_dtype_bytes(dev->dtype)};

    EMC_TRY(emc_check_gather_rows(out, x, index, n, dim));
    return cpu_pool_run(cpu_of(dev)->pool, gather, &j, cpu_items(n, ROWS_PER_ITEM));
}
