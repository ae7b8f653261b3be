/* How is work shared between the caller and a few threads? */
#include "cells/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/size.h"

#define MOST_THREADS 256

typedef struct {
    cells_team *team;
    pthread_t thread;
    int worker;
} member;

struct cells_team {
    pthread_mutex_t lock;
    pthread_cond_t begins, ends;
    int size;
    int n_started; /* members, without the caller */
    bool has_started, stops;
    unsigned round;
    int n_busy;
    int next, n;
    void (*work)(void *, int, int);
    void *context;
    member *members;
};

int cells_n_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

emc_status cells_team_open(cells_team **out, int n_threads)
{
    cells_team *team = NULL;

    *out = NULL;
    if (n_threads < 0)
        return emc_fail(EMC_ERR_ARG, "n_threads=%d, need >= 0", n_threads);
    EMC_TRY(emc_alloc(&team, 1, sizeof *team, "threads"));
    team->size = n_threads ? n_threads : cells_n_cores();
    if (team->size > MOST_THREADS)
        team->size = MOST_THREADS;
    const emc_status status =
        emc_alloc(&team->members, (size_t)team->size, sizeof *team->members, "threads");
    if (status != EMC_OK) {
        free(team);
        return status;
    }
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->begins, NULL);
    pthread_cond_init(&team->ends, NULL);
    *out = team;
    return EMC_OK;
}

void cells_team_close(cells_team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->stops = true;
    pthread_cond_broadcast(&team->begins);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->n_started; i++)
        pthread_join(team->members[i].thread, NULL);
    pthread_cond_destroy(&team->ends);
    pthread_cond_destroy(&team->begins);
    pthread_mutex_destroy(&team->lock);
    free(team->members);
    free(team);
}

int cells_team_size(const cells_team *team)
{
    return team ? team->size : 1;
}

/* Takes items until there are none; enters and leaves with the lock held. */
static void take_items(cells_team *team, int worker)
{
    while (team->next < team->n) {
        const int item = team->next++;
        pthread_mutex_unlock(&team->lock);
        team->work(team->context, item, worker);
        pthread_mutex_lock(&team->lock);
    }
}

static void *member_main(void *argument)
{
    const member *self = argument;
    cells_team *team = self->team;
    unsigned seen = 0;

    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (team->round == seen && !team->stops)
            pthread_cond_wait(&team->begins, &team->lock);
        if (team->stops)
            break;
        seen = team->round;
        team->n_busy++;
        take_items(team, self->worker);
        if (--team->n_busy == 0)
            pthread_cond_signal(&team->ends);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

static void start(cells_team *team)
{
    team->has_started = true;
    for (int i = 0; i + 1 < team->size; i++) {
        team->members[i] = (member){.team = team, .worker = i + 1};
        if (pthread_create(&team->members[i].thread, NULL, member_main, &team->members[i]) != 0)
            break;
        team->n_started++;
    }
}

void cells_team_run(cells_team *team, int n, void (*work)(void *context, int item, int worker),
                    void *context)
{
    if (!team || team->size == 1 || n <= 1) {
        for (int i = 0; i < n; i++)
            work(context, i, 0);
        return;
    }
    pthread_mutex_lock(&team->lock);
    if (!team->has_started)
        start(team);
    team->work = work;
    team->context = context;
    team->next = 0;
    team->n = n;
    team->round++;
    pthread_cond_broadcast(&team->begins);
    take_items(team, 0);
    while (team->n_busy > 0)
        pthread_cond_wait(&team->ends, &team->lock);
    pthread_mutex_unlock(&team->lock);
}
