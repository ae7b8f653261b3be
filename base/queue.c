#include "base/queue.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/size.h"

struct emc_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_full;
    pthread_cond_t not_empty;
    void **items; /* a ring */
    size_t capacity;
    size_t head;
    size_t count;
    bool finished;
    bool stopped;
};

emc_status emc_queue_open(emc_queue **out, size_t capacity)
{
    emc_queue *queue = NULL;

    *out = NULL;
    if (capacity < 1)
        return emc_fail(EMC_ERR_ARG, "a queue of capacity 0");
    EMC_TRY(emc_alloc(&queue, 1, sizeof *queue, "a queue"));
    const emc_status status = emc_alloc(&queue->items, capacity, sizeof *queue->items, "a queue");
    if (status != EMC_OK) {
        free(queue);
        return status;
    }
    queue->capacity = capacity;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->not_full, NULL);
    pthread_cond_init(&queue->not_empty, NULL);
    *out = queue;
    return EMC_OK;
}

void emc_queue_close(emc_queue *queue)
{
    if (!queue)
        return;
    pthread_cond_destroy(&queue->not_empty);
    pthread_cond_destroy(&queue->not_full);
    pthread_mutex_destroy(&queue->lock);
    free(queue->items);
    free(queue);
}

bool emc_queue_push(emc_queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->count == queue->capacity && !queue->stopped)
        pthread_cond_wait(&queue->not_full, &queue->lock);
    const bool taken = !queue->stopped && !queue->finished;
    if (taken) {
        queue->items[(queue->head + queue->count) % queue->capacity] = item;
        queue->count++;
        pthread_cond_signal(&queue->not_empty);
    }
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

/* The lock is held. */
static void *take(emc_queue *queue)
{
    if (queue->count == 0)
        return NULL;
    void *item = queue->items[queue->head];
    queue->head = (queue->head + 1) % queue->capacity;
    queue->count--;
    pthread_cond_signal(&queue->not_full);
    return item;
}

void *emc_queue_pop(emc_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->stopped && !queue->finished)
        pthread_cond_wait(&queue->not_empty, &queue->lock);
    void *item = queue->stopped ? NULL : take(queue);
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void *emc_queue_try_pop(emc_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    void *item = queue->stopped ? NULL : take(queue);
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void emc_queue_finish(emc_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->finished = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_mutex_unlock(&queue->lock);
}

void emc_queue_stop(emc_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->stopped = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_cond_broadcast(&queue->not_full);
    pthread_mutex_unlock(&queue->lock);
}

void *emc_queue_drain(emc_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    void *item = take(queue);
    pthread_mutex_unlock(&queue->lock);
    return item;
}
