/*
 * What do CPU devices of one process do together?
 *
 * They share memory, so a collective is two meetings with work between them: at the first everybody
 * has shown where its numbers are, at the second everybody has done its part. Sums are made in the
 * order of the ranks, so they do not depend on who came first.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "kernels/cpu/device.h"

/* Elements of a sum that are widened at a time. */
#define STRETCH 256

typedef struct {
    int n;
    double deadline_s;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t met;
    int n_here;
    unsigned long meetings;
    int n_open;  /* places that are not closed */
    bool broken; /* for good */
    char why[192];
    void *x[]; /* [n] what each rank shows */
} group;

struct emc_comm {
    group *group;
    int rank;
};

/* --- Meetings ----------------------------------------------------------------------------- */

/* With the lock held. The first reason stays. */
static void break_group(group *g, const char *why)
{
    if (!g->broken)
        snprintf(g->why, sizeof g->why, "%s", why);
    g->broken = true;
    pthread_cond_broadcast(&g->met);
}

static struct timespec deadline_of(const group *g)
{
    struct timespec at;
    double whole;

    clock_gettime(CLOCK_MONOTONIC, &at);
    const double fraction = modf(g->deadline_s, &whole) * 1e9;
    at.tv_sec += (time_t)whole;
    at.tv_nsec += (long)fraction;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

/* Waits until every rank is here. */
static emc_status meet(const emc_comm *comm, const char *what)
{
    group *g = comm->group;
    const struct timespec deadline = deadline_of(g);
    char why[192];

    pthread_mutex_lock(&g->lock);
    const unsigned long meeting = g->meetings;
    if (!g->broken && ++g->n_here == g->n) {
        g->n_here = 0;
        g->meetings++;
        pthread_cond_broadcast(&g->met);
    }
    while (!g->broken && g->meetings == meeting)
        if (pthread_cond_timedwait(&g->met, &g->lock, &deadline) != 0) {
            snprintf(why, sizeof why, "%s: rank %d waited %g s, %d of %d ranks came", what,
                     comm->rank, g->deadline_s, g->n_here, g->n);
            break_group(g, why);
        }
    const bool met = g->meetings != meeting;
    snprintf(why, sizeof why, "%s", g->why);
    pthread_mutex_unlock(&g->lock);
    return met ? EMC_OK : emc_fail(EMC_ERR_LOST, "cpu: %s", why);
}

/* Shows x and waits until all are to be seen. */
static emc_status show(const emc_comm *comm, const char *what, void *x)
{
    comm->group->x[comm->rank] = x;
    return meet(comm, what);
}

/* --- Collectives -------------------------------------------------------------------------- */

/* Elements first .. first + n - 1 of everybody's x become their sum. */
static void add_stretch(const group *g, size_t first, size_t n, emc_dtype dtype)
{
    float sum[STRETCH], other[STRETCH];

    for (int r = 0; r < g->n; r++) {
        emc_to_f32(r == 0 ? sum : other, cpu_at(g->x[r], dtype, first), dtype, n);
        for (size_t i = 0; r > 0 && i < n; i++)
            sum[i] += other[i];
    }
    for (int r = 0; r < g->n; r++)
        emc_from_f32(cpu_at_mut(g->x[r], dtype, first), dtype, sum, n);
}

emc_status cpu_all_reduce(emc_device *dev, emc_comm *comm, void *x, size_t n, emc_dtype dtype)
{
    const group *g = comm->group;
    const size_t share = n / (size_t)g->n + 1, first = share * (size_t)comm->rank;
    const size_t end = first + share < n ? first + share : n;

    (void)dev;
    EMC_TRY(emc_check_all_reduce(x, n, dtype));
    EMC_TRY(show(comm, "all_reduce", x));
    for (size_t i = first; i < end; i += STRETCH)
        add_stretch(g, i, end - i < STRETCH ? end - i : STRETCH, dtype);
    return meet(comm, "all_reduce");
}

emc_status cpu_all_gather(emc_device *dev, emc_comm *comm, void *out, const void *x, size_t n_bytes)
{
    const group *g = comm->group;
    void *mine = (char *)out + (size_t)comm->rank * n_bytes;

    (void)dev;
    EMC_TRY(emc_check_all_gather(out, x, n_bytes, comm->rank, g->n));
    if (mine != x)
        memcpy(mine, x, n_bytes);
    EMC_TRY(show(comm, "all_gather", mine));
    for (int r = 0; r < g->n; r++)
        if (r != comm->rank)
            memcpy((char *)out + (size_t)r * n_bytes, g->x[r], n_bytes);
    return meet(comm, "all_gather");
}

emc_status cpu_broadcast(emc_device *dev, emc_comm *comm, void *x, size_t n_bytes)
{
    (void)dev;
    EMC_TRY(emc_check_broadcast(x, n_bytes));
    EMC_TRY(show(comm, "broadcast", x));
    if (comm->rank > 0)
        memcpy(x, comm->group->x[0], n_bytes);
    return meet(comm, "broadcast");
}

/* --- Open and close ----------------------------------------------------------------------- */

static void release_group(group *g)
{
    pthread_mutex_lock(&g->lock);
    const bool last = --g->n_open == 0;
    pthread_mutex_unlock(&g->lock);
    if (!last)
        return;
    pthread_cond_destroy(&g->met);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static emc_status open_group(group **out, int n, double deadline_s)
{
    pthread_condattr_t monotonic;
    group *g = NULL;

    EMC_TRY(emc_alloc(&g, 1, sizeof *g + (size_t)n * sizeof *g->x, "a group of devices"));
    g->n = g->n_open = n;
    g->deadline_s = deadline_s;
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&g->met, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = g;
    return EMC_OK;
}

emc_status cpu_comms_open(emc_comm **out, emc_device *const *devices, int n, double deadline_s)
{
    group *g = NULL;
    emc_status status;

    for (int i = 0; i < n; i++)
        out[i] = NULL;
    EMC_TRY(emc_check_comms(devices, n, deadline_s));
    EMC_TRY(open_group(&g, n, deadline_s));
    for (int i = 0; i < n; i++) {
        status = emc_alloc(&out[i], 1, sizeof *out[i], "a group of devices");
        if (status != EMC_OK) {
            for (int k = 0; k < n; k++) {
                free(out[k]);
                out[k] = NULL;
                release_group(g);
            }
            return status;
        }
        *out[i] = (emc_comm){.group = g, .rank = i};
    }
    return EMC_OK;
}

void cpu_comm_close(emc_device *dev, emc_comm *comm)
{
    (void)dev;
    if (!comm)
        return;
    release_group(comm->group);
    free(comm);
}

void cpu_comm_abort(emc_comm *comm)
{
    pthread_mutex_lock(&comm->group->lock);
    break_group(comm->group, "another rank of the group failed");
    pthread_mutex_unlock(&comm->group->lock);
}

/* --- What belongs to it ------------------------------------------------------------------- */

emc_status cpu_matrix_broadcast(emc_device *dev, emc_comm *comm, emc_matrix *matrix)
{
    (void)dev;
    (void)comm;
    (void)matrix;
    return emc_fail(EMC_ERR_ARG, "matrix_broadcast: a CPU device has no copies of weights");
}

emc_status cpu_round(emc_device *dev, void *out, const float *x, size_t n)
{
    EMC_TRY(emc_check_round(dev->dtype, out, x, n));
    emc_from_f32(out, dev->dtype, x, n);
    return EMC_OK;
}

emc_status cpu_merge_heads(emc_device *dev, const emc_merge_heads_args *args)
{
    (void)dev;
    EMC_TRY(emc_check_merge_heads(args));
    for (int r = 0; r < args->rows; r++) {
        float max = -INFINITY, best = -INFINITY;
        double sum = 0.0;
        int id = -1;

        for (int s = 0; s < args->n_slices; s++) {
            const size_t at = (size_t)s * (size_t)args->stride + (size_t)r;

            if (args->slice_log_sums[at] > max)
                max = args->slice_log_sums[at];
            if (args->slice_ids[at] >= 0 && (id < 0 || args->slice_logits[at] > best)) {
                best = args->slice_logits[at];
                id = args->slice_ids[at];
            }
        }
        const double base = max > -INFINITY ? (double)max : 0.0;
        for (int s = 0; s < args->n_slices; s++)
            sum += exp((double)args->slice_log_sums[(size_t)s * (size_t)args->stride + (size_t)r] -
                       base);
        args->log_sum[r] = (float)(base + log(sum));
        args->top_ids[r] = id;
    }
    return EMC_OK;
}
