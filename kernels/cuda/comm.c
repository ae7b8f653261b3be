/*
 * How do the GPUs of one process compute together?
 *
 * Communicators do not block: whatever is asked of NCCL, and whatever a rank waits for on its
 * device, it looks again and again whether NCCL has failed, another rank has, or the deadline is
 * over. ncclCommAbort is the only call that ends a collective whose other ranks never come; every
 * rank makes it for itself, on its own thread.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "kernels/cuda/comm.h"
#include "kernels/cuda/nccl.h"
#include "kernels/cuda/upload.h"

/* Looks that only give the core away; later ones sleep. */
#define SHORT_LOOKS 64
#define SLEEP_NS    20000

typedef struct {
    cuda_nccl nccl;
    int n;
    double deadline_s;
    atomic_bool broken; /* by one of the ranks, or from outside */
    atomic_int n_open;
    pthread_mutex_t lock; /* of what follows */
    char why[512];        /* the first reason */
} group;

struct emc_comm {
    group *group;
    cuda_device *cuda;
    emc_comm *next; /* of its device */
    int rank;
    ncclComm_t nccl; /* NULL when it has ended */
};

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void look_away(int n_looks)
{
    const struct timespec pause = {.tv_nsec = SLEEP_NS};

    if (n_looks < SHORT_LOOKS)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

/* --- Faults ------------------------------------------------------------------------------- */

/* The first reason stays. */
static void break_group(group *g, const char *why)
{
    pthread_mutex_lock(&g->lock);
    if (!atomic_exchange(&g->broken, true))
        snprintf(g->why, sizeof g->why, "%s", why);
    pthread_mutex_unlock(&g->lock);
}

/* Ends this rank's communicator, and so what it waits in. */
static void end(emc_comm *comm)
{
    if (comm->nccl)
        (void)comm->group->nccl.abort_comm(comm->nccl);
    comm->nccl = NULL;
}

/* Where the group is broken already. */
static emc_status fail_with_group(emc_comm *comm, const char *what)
{
    group *g = comm->group;
    char why[512];

    end(comm);
    pthread_mutex_lock(&g->lock);
    snprintf(why, sizeof why, "%s", g->why);
    pthread_mutex_unlock(&g->lock);
    return emc_fail(EMC_ERR_LOST, "cuda:%d: %s: %s", comm->cuda->index, what, why);
}

static emc_status fail(emc_comm *comm, const char *what, ncclResult_t result)
{
    const cuda_nccl *nccl = &comm->group->nccl;
    char why[512];

    (void)snprintf(why, sizeof why, "rank %d of %d: NCCL: %s (%.384s)", comm->rank, comm->group->n,
                   nccl->error_string(result), nccl->last_error(comm->nccl));
    break_group(comm->group, why);
    return fail_with_group(comm, what);
}

/* Whether it is still worth while to wait, since `begin`. */
static emc_status watch(emc_comm *comm, const char *what, double begin)
{
    ncclResult_t state = ncclSuccess, result;
    char why[128];

    if (atomic_load(&comm->group->broken))
        return fail_with_group(comm, what);
    result = comm->group->nccl.async_error(comm->nccl, &state);
    if (result != ncclSuccess || (state != ncclSuccess && state != ncclInProgress))
        return fail(comm, what, result != ncclSuccess ? result : state);
    if (seconds() - begin < comm->group->deadline_s)
        return EMC_OK;
    (void)snprintf(why, sizeof why, "rank %d of %d waited %g s for the others, and gave up",
                   comm->rank, comm->group->n, comm->group->deadline_s);
    break_group(comm->group, why);
    return fail_with_group(comm, what);
}

/* Until what was asked of the communicator has been taken. */
static emc_status settle(emc_comm *comm, const char *what, ncclResult_t result)
{
    const double begin = seconds();
    ncclResult_t state = result;

    for (int i = 0; state == ncclInProgress; i++) {
        EMC_TRY(watch(comm, what, begin));
        result = comm->group->nccl.async_error(comm->nccl, &state);
        if (result != ncclSuccess)
            state = result;
        else if (state == ncclInProgress)
            look_away(i);
    }
    return state == ncclSuccess ? EMC_OK : fail(comm, what, state);
}

emc_status cuda_await(cuda_device *cuda, cudaEvent_t event)
{
    static const char what[] = "waiting for the device";
    const double begin = seconds();

    if (!cuda->comms)
        return cuda_check(event ? cudaEventSynchronize(event) : cudaStreamSynchronize(cuda->stream),
                          what);
    for (int i = 0;; i++) {
        const cudaError_t error = event ? cudaEventQuery(event) : cudaStreamQuery(cuda->stream);

        if (error != cudaErrorNotReady)
            return cuda_check(error, what);
        (void)cudaGetLastError(); /* "not ready" is none that lasts */
        for (emc_comm *comm = cuda->comms; comm; comm = comm->next)
            EMC_TRY(watch(comm, what, begin));
        look_away(i);
    }
}

/* --- Collectives -------------------------------------------------------------------------- */

/* Weights that are to be sent must have come. Their buffers stay: giving host memory back waits for
 * all GPUs, and so for ranks that wait for this one. */
static emc_status begin(emc_device *dev, emc_comm *comm, const char *what)
{
    cuda_upload_drain(cuda_current(dev)->upload);
    return atomic_load(&comm->group->broken) ? fail_with_group(comm, what) : EMC_OK;
}

emc_status cuda_all_reduce(emc_device *dev, emc_comm *comm, void *x, size_t n, emc_dtype dtype)
{
    static const char what[] = "all_reduce";

    EMC_TRY(emc_check_all_reduce(x, n, dtype));
    EMC_TRY(begin(dev, comm, what));
    return settle(comm, what,
                  comm->group->nccl.all_reduce(x, x, n,
                                               dtype == EMC_F32 ? ncclFloat32 : ncclBfloat16,
                                               ncclSum, comm->nccl, comm->cuda->stream));
}

emc_status cuda_all_gather(emc_device *dev, emc_comm *comm, void *out, const void *x,
                           size_t n_bytes)
{
    static const char what[] = "all_gather";

    EMC_TRY(emc_check_all_gather(out, x, n_bytes, comm->rank, comm->group->n));
    EMC_TRY(begin(dev, comm, what));
    return settle(
        comm, what,
        comm->group->nccl.all_gather(x, out, n_bytes, ncclUint8, comm->nccl, comm->cuda->stream));
}

emc_status cuda_broadcast(emc_device *dev, emc_comm *comm, void *x, size_t n_bytes)
{
    static const char what[] = "broadcast";

    EMC_TRY(emc_check_broadcast(x, n_bytes));
    EMC_TRY(begin(dev, comm, what));
    return settle(
        comm, what,
        comm->group->nccl.broadcast(x, x, n_bytes, ncclUint8, 0, comm->nccl, comm->cuda->stream));
}

emc_status cuda_matrix_broadcast(emc_device *dev, emc_comm *comm, emc_matrix *matrix)
{
    return cuda_broadcast(dev, comm, matrix->d,
                          (size_t)matrix->n_rows * (size_t)matrix->k * sizeof(uint16_t));
}

/* --- Open and close ----------------------------------------------------------------------- */

/* Every rank of the group, together. */
static emc_status create(group *g, emc_comm *const *comms)
{
    static const char what[] = "creating a communicator";
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    ncclResult_t result = g->nccl.get_unique_id(&id);

    config.blocking = 0;
    if (result != ncclSuccess)
        return emc_fail(EMC_ERR_DEVICE, "cuda: NCCL, %s: %s (%s)", what,
                        g->nccl.error_string(result), g->nccl.last_error(NULL));
    result = g->nccl.group_start();
    for (int i = 0; i < g->n && (result == ncclSuccess || result == ncclInProgress); i++) {
        (void)cuda_current(&comms[i]->cuda->device);
        result = g->nccl.init_rank(&comms[i]->nccl, g->n, id, i, &config);
    }
    const ncclResult_t ended = g->nccl.group_end();
    if (result == ncclSuccess || result == ncclInProgress)
        result = ended;
    if (result != ncclSuccess && result != ncclInProgress)
        return emc_fail(EMC_ERR_DEVICE, "cuda: NCCL, %s: %s (%s)", what,
                        g->nccl.error_string(result), g->nccl.last_error(NULL));
    for (int i = 0; i < g->n; i++)
        EMC_TRY(settle(comms[i], what, ncclInProgress));
    return EMC_OK;
}

static void free_group(group *g)
{
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void join_device(emc_comm *comm)
{
    comm->next = comm->cuda->comms;
    comm->cuda->comms = comm;
}

static void leave_device(emc_comm *comm)
{
    emc_comm **link = &comm->cuda->comms;

    while (*link && *link != comm)
        link = &(*link)->next;
    if (*link)
        *link = comm->next;
}

emc_status cuda_comms_open(emc_comm **out, emc_device *const *devices, int n, double deadline_s)
{
    group *g = NULL;
    emc_status status;

    for (int i = 0; i < n; i++)
        out[i] = NULL;
    EMC_TRY(emc_check_comms(devices, n, deadline_s));
    EMC_TRY(emc_alloc(&g, 1, sizeof *g, "a group of GPUs"));
    g->n = n;
    g->deadline_s = deadline_s;
    pthread_mutex_init(&g->lock, NULL);
    status = cuda_nccl_load(&g->nccl, CUDA_NCCL_LIBRARY);
    for (int i = 0; i < n && status == EMC_OK; i++) {
        status = emc_alloc(&out[i], 1, sizeof *out[i], "a group of GPUs");
        if (status == EMC_OK) {
            *out[i] = (emc_comm){.group = g, .cuda = (cuda_device *)devices[i], .rank = i};
            atomic_fetch_add(&g->n_open, 1);
        }
    }
    if (status == EMC_OK)
        status = create(g, out);
    if (status == EMC_OK) {
        for (int i = 0; i < n; i++)
            join_device(out[i]);
        return EMC_OK;
    }
    break_group(g, "it was never whole");
    if (!out[0])
        free_group(g);
    for (int i = 0; i < n; i++) {
        cuda_comm_close(devices[i], out[i]);
        out[i] = NULL;
    }
    return status;
}

void cuda_comm_close(emc_device *dev, emc_comm *comm)
{
    group *g;

    if (!comm)
        return;
    g = comm->group;
    (void)cuda_current(dev);
    if (atomic_load(&g->broken) || cuda_await(comm->cuda, NULL) != EMC_OK ||
        settle(comm, "closing a communicator", g->nccl.finalize(comm->nccl)) != EMC_OK)
        end(comm);
    else
        (void)g->nccl.destroy(comm->nccl);
    leave_device(comm);
    free(comm);
    if (atomic_fetch_sub(&g->n_open, 1) == 1)
        free_group(g);
}

void cuda_comm_abort(emc_comm *comm)
{
    break_group(comm->group, "another rank of the group failed");
}
