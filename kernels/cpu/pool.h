#pragma once
/* Threads of a CPU device: items of an operation are taken one after the other by whoever is
 * free. An item runs on one thread, so nothing it computes depends on how many there are. */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cpu_pool cpu_pool;

/* worker is in [0, n_workers) and names the scratch that this call may use. */
typedef emc_status (*cpu_task)(void *context, int worker, int item);

/* n_workers >= 1. `start` runs once on each worker before its first item, or is NULL. */
emc_status cpu_pool_open(cpu_pool **out, int n_workers, void (*start)(void));
void cpu_pool_close(cpu_pool *pool);

int cpu_pool_workers(const cpu_pool *pool);

/* Runs items 0 to n_items - 1 on the workers, never on the caller, and waits for all of them.
 * After a failure no further item is started; its code and message are the caller's. One caller
 * at a time. */
emc_status cpu_pool_run(cpu_pool *pool, cpu_task task, void *context, int n_items);

#ifdef __cplusplus
}
#endif
