#include "runtime/threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"

typedef struct {
    emc_status (*run)(void *context);
    void *context;
    pthread_t thread;
    bool started;
    emc_status status;
    char message[1024];
} task;

static void *run_task(void *context)
{
    task *t = context;

    t->status = t->run(t->context);
    if (t->status != EMC_OK)
        snprintf(t->message, sizeof t->message, "%s", emc_message());
    return NULL;
}

/* The error that explains the others, or NULL. */
static const task *find_cause(const task *tasks, int n)
{
    const task *lost = NULL;

    for (int i = 0; i < n; i++) {
        if (tasks[i].status != EMC_OK && tasks[i].status != EMC_ERR_LOST)
            return &tasks[i];
        if (tasks[i].status == EMC_ERR_LOST && !lost)
            lost = &tasks[i];
    }
    return lost;
}

emc_status emc_on_threads(emc_status (*run)(void *context), void *const *contexts, int n)
{
    task *tasks = NULL;
    emc_status status = EMC_OK;

    if (n == 1)
        return run(contexts[0]);
    EMC_TRY(emc_alloc(&tasks, (size_t)n, sizeof *tasks, "threads"));
    for (int i = 0; i < n; i++) {
        tasks[i] = (task){.run = run, .context = contexts[i]};
        tasks[i].started = pthread_create(&tasks[i].thread, NULL, run_task, &tasks[i]) == 0;
        if (!tasks[i].started) {
            tasks[i].status = EMC_ERR_NOMEM;
            snprintf(tasks[i].message, sizeof tasks[i].message, "no more threads can be started");
        }
    }
    for (int i = 0; i < n; i++)
        if (tasks[i].started)
            pthread_join(tasks[i].thread, NULL);
    const task *cause = find_cause(tasks, n);
    if (cause)
        status = emc_fail(cause->status, "%s", cause->message);
    free(tasks);
    return status;
}
