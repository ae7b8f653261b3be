#pragma once
/* A bounded queue between two stages that run on threads of their own. */

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_queue emc_queue;

/* capacity >= 1. The queue holds pointers and owns none of what they point to. */
emc_status emc_queue_open(emc_queue **out, size_t capacity);
void emc_queue_close(emc_queue *queue);

/* Waits while full. False once the queue was stopped; the item is then still the caller's. */
bool emc_queue_push(emc_queue *queue, void *item);

/* Waits while empty. NULL once it is finished and empty, or stopped. */
void *emc_queue_pop(emc_queue *queue);

/* As pop, without waiting: NULL when nothing is there now. */
void *emc_queue_try_pop(emc_queue *queue);

/* No more pushes; pops give what is left, then NULL. */
void emc_queue_finish(emc_queue *queue);

/* Wakes everybody. Pushes and pops fail from now on; what is left is drained by emc_queue_drain. */
void emc_queue_stop(emc_queue *queue);

/* What a stopped queue still holds, one a call, so that its owner can free it; then NULL. */
void *emc_queue_drain(emc_queue *queue);

#ifdef __cplusplus
}
#endif
