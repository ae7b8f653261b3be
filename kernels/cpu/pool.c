/* How do the items of an operation get onto threads? */
#include "kernels/cpu/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define MESSAGE_BYTES 1024

typedef struct {
    cpu_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct cpu_pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a new round, or the end */
    pthread_cond_t idle; /* the last worker has left the round */
    unsigned round;
    int n_busy;
    bool closing;
    cpu_task task;
    void *context;
    int n_items;
    atomic_int next;
    emc_status failure;
    char message[MESSAGE_BYTES];
    void (*start)(void);
    int n_workers;
    worker workers[];
};

static void take_items(cpu_pool *pool, int index)
{
    int item;

    while ((item = atomic_fetch_add(&pool->next, 1)) < pool->n_items) {
        const emc_status status = pool->task(pool->context, index, item);
        if (status == EMC_OK)
            continue;
        pthread_mutex_lock(&pool->lock);
        if (pool->failure == EMC_OK) {
            pool->failure = status;
            snprintf(pool->message, sizeof pool->message, "%s", emc_message());
        }
        pthread_mutex_unlock(&pool->lock);
        atomic_store(&pool->next, pool->n_items);
    }
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    cpu_pool *pool = self->pool;
    unsigned seen = 0;

    if (pool->start)
        pool->start();
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == seen && !pool->closing)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (pool->closing)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->lock);
        take_items(pool, self->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_busy == 0)
            pthread_cond_signal(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

emc_status cpu_pool_open(cpu_pool **out, int n_workers, void (*start)(void))
{
    cpu_pool *pool = NULL;
    sigset_t all, old;
    int error = 0;

    *out = NULL;
    EMC_TRY(emc_alloc(&pool, 1, sizeof *pool + (size_t)n_workers * sizeof *pool->workers,
                      "the CPU device's threads"));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pool->start = start;
    /* Signals are for the program's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool->n_workers < n_workers && error == 0) {
        worker *next = &pool->workers[pool->n_workers];
        *next = (worker){.pool = pool, .index = pool->n_workers};
        error = pthread_create(&next->thread, NULL, worker_main, next);
        if (error == 0)
            pool->n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0) {
        const int started = pool->n_workers;
        cpu_pool_close(pool);
        return emc_fail(EMC_ERR_DEVICE, "cpu: thread %d of %d could not be started: %s",
                        started + 1, n_workers, strerror(error));
    }
    *out = pool;
    return EMC_OK;
}

void cpu_pool_close(cpu_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_workers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int cpu_pool_workers(const cpu_pool *pool)
{
    return pool->n_workers;
}

emc_status cpu_pool_run(cpu_pool *pool, cpu_task task, void *context, int n_items)
{
    pthread_mutex_lock(&pool->lock);
    pool->task = task;
    pool->context = context;
    pool->n_items = n_items;
    pool->failure = EMC_OK;
    atomic_store(&pool->next, 0);
    pool->n_busy = pool->n_workers;
    pool->round++;
    pthread_cond_broadcast(&pool->work);
    while (pool->n_busy > 0)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    if (pool->failure != EMC_OK)
        return emc_fail(pool->failure, "%s", pool->message);
    return EMC_OK;
}
