#pragma once
/* The CPU device: oneDNN for products, plain C for the rest, threads of its own. */

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    emc_dtype dtype; /* F32 or BF16 */
    int n_threads;   /* 0: one for each core this process may use */
} emc_cpu_options;

/* EMC_ERR_ARG: another dtype, a negative number of threads. Closed by dev->ops->close. */
emc_status emc_cpu_open(emc_device **out, const emc_cpu_options *options);

#ifdef __cplusplus
}
#endif
