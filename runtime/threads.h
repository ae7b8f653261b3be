#pragma once
/* The same work on several threads at once. */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * run(contexts[i]) for every i below n, each on a thread of its own, and waits for all; with n = 1
 * on this one. Returns the error that explains the others: the first that is not EMC_ERR_LOST,
 * which is what ranks get when another fails; its message becomes this thread's.
 */
emc_status emc_on_threads(emc_status (*run)(void *context), void *const *contexts, int n);

#ifdef __cplusplus
}
#endif
