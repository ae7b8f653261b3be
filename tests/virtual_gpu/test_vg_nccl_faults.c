/* Does the virtual GPUs' NCCL refuse or report every mistake, and release who waits? */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "virtual_gpu/nccl_test.h"

/* A piece of every rank on its device, zeros, and the all-reduce of it on `n` of the ranks. */
static void all_reduce(rank *ranks, int n, int n_called)
{
    for (int i = 0; i < n; i++) {
        CUDA_OK(cudaSetDevice(i));
        if (!ranks[i].d_send) {
            ranks[i].d_send = to_device(NULL, N * sizeof(float));
            CUDA_OK(cudaMemset(ranks[i].d_send, 0, N * sizeof(float)));
        }
    }
    NCCL_OK(ncclGroupStart());
    for (int i = 0; i < n_called; i++)
        NCCL_OK(ncclAllReduce(ranks[i].d_send, ranks[i].d_send, N, ncclFloat32, ncclSum,
                              ranks[i].comm, ranks[i].stream));
    NCCL_OK(ncclGroupEnd());
    CUDA_OK(cudaSetDevice(0));
}

/* After an abort: the stream fails, the device does not. */
static void close_aborted(rank *ranks, int n)
{
    for (int i = 0; i < n; i++) {
        CUDA_OK(cudaSetDevice(i));
        CUDA_FAILS(cudaErrorLaunchFailure, cudaStreamSynchronize(ranks[i].stream));
        CUDA_FAILS(cudaErrorLaunchFailure, cudaStreamQuery(ranks[i].stream));
        CUDA_FAILS(cudaErrorLaunchFailure, cudaDeviceSynchronize());
        CUDA_FAILS(cudaErrorLaunchFailure, cudaStreamDestroy(ranks[i].stream));
        CUDA_OK(cudaDeviceSynchronize());
        CUDA_OK(cudaFree(ranks[i].d_send));
    }
    CUDA_OK(cudaSetDevice(0));
    assert_int_equal(vg_nccl_read_counts().live_comms, 0);
    assert_string_equal(vg_error(), "");
}

static atomic_bool is_going;

static void *wait_for_stream(void *argument)
{
    rank *r = argument;
    const cudaError_t error = cudaSetDevice(r->rank);

    atomic_store(&is_going, true);
    r->failed = cudaGetErrorName(error ? error : cudaStreamSynchronize(r->stream));
    return NULL;
}

/* One rank never comes: the other one waits until it is released. */
static void test_abort(void **state)
{
    static rank ranks[2];
    pthread_t thread;

    (void)state;
    open_ranks(ranks, 2);
    all_reduce(ranks, 2, 1);
    CUDA_FAILS(cudaErrorNotReady, cudaStreamQuery(ranks[0].stream));
    atomic_store(&is_going, false);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_stream, &ranks[0]), 0);
    while (!atomic_load(&is_going))
        sched_yield();
    usleep(20000); /* as good as surely it waits now; it must be released either way */
    for (int i = 0; i < 3; i++) {
        CUDA_FAILS(cudaErrorNotReady, cudaStreamQuery(ranks[0].stream));
        assert_null(ranks[0].failed);
    }
    CUDA_OK(cudaSetDevice(1));
    CUDA_OK(cudaDeviceSynchronize()); /* the other device is free */
    NCCL_OK(ncclCommAbort(ranks[0].comm));
    pthread_join(thread, NULL);
    assert_string_equal(ranks[0].failed, "cudaErrorLaunchFailure");
    /* A rank whose partner has left waits in its turn. */
    NCCL_OK(ncclAllReduce(ranks[1].d_send, ranks[1].d_send, N, ncclFloat32, ncclSum, ranks[1].comm,
                          ranks[1].stream));
    CUDA_FAILS(cudaErrorNotReady, cudaStreamQuery(ranks[1].stream));
    NCCL_OK(ncclCommAbort(ranks[1].comm));
    close_aborted(ranks, 2);
}

/* The ranks that a fault leaves waiting, each released by its own abort. */
static void abort_all(rank *ranks, int n)
{
    for (int i = 0; i < n; i++) {
        CUDA_OK(cudaSetDevice(i));
        for (int j = 0; j < 4; j++)
            CUDA_FAILS(cudaErrorNotReady, cudaStreamQuery(ranks[i].stream));
        NCCL_OK(ncclCommAbort(ranks[i].comm));
    }
    close_aborted(ranks, n);
}

static void test_faults(void **state)
{
    static rank ranks[4];
    vg_nccl_options options = vg_nccl_defaults();
    ncclResult_t error;

    (void)state;
    options.hung_rank = 3;
    options.hung_after = 2;
    vg_nccl_set(&options);
    open_ranks(ranks, 4);
    all_reduce(ranks, 4, 4);
    all_reduce(ranks, 4, 4);
    for (int i = 0; i < 4; i++)
        CUDA_OK(cudaStreamSynchronize(ranks[i].stream));
    all_reduce(ranks, 4, 4);
    NCCL_OK(ncclCommGetAsyncError(ranks[3].comm, &error));
    NCCL_OK(error);
    abort_all(ranks, 4);

    options = vg_nccl_defaults();
    options.failed_rank = 1;
    options.failed_after = 1;
    vg_nccl_set(&options);
    open_ranks(ranks, 2);
    all_reduce(ranks, 2, 2);
    NCCL_OK(ncclCommGetAsyncError(ranks[1].comm, &error));
    NCCL_OK(error);
    all_reduce(ranks, 2, 2);
    NCCL_OK(ncclCommGetAsyncError(ranks[0].comm, &error));
    NCCL_OK(error);
    NCCL_OK(ncclCommGetAsyncError(ranks[1].comm, &error));
    NCCL_IS(ncclRemoteError, error);
    NCCL_IS(ncclRemoteError, ncclAllReduce(ranks[1].d_send, ranks[1].d_send, N, ncclFloat32,
                                           ncclSum, ranks[1].comm, ranks[1].stream));
    CUDA_OK(cudaStreamQuery(ranks[0].stream) == cudaErrorNotReady ? cudaSuccess : cudaErrorUnknown);
    abort_all(ranks, 2);
}

/* A device dies under its rank: the other one waits, until it is released. */
static void test_lost_device(void **state)
{
    static rank ranks[2];
    vg_options options = vg_defaults();

    (void)state;
    open_ranks(ranks, 2);
    all_reduce(ranks, 2, 2);
    options.n_devices = 2;
    options.lost_device = 1;
    options.lost_after = 0;
    CUDA_OK(cudaStreamSynchronize(ranks[0].stream));
    vg_set(&options);
    all_reduce(ranks, 2, 2);
    for (int i = 0; i < 4; i++)
        CUDA_FAILS(cudaErrorNotReady, cudaStreamQuery(ranks[0].stream));
    CUDA_FAILS(cudaErrorLaunchFailure, cudaSetDevice(1));
    CUDA_OK(cudaSetDevice(0));
    NCCL_OK(ncclCommAbort(ranks[0].comm));
    CUDA_FAILS(cudaErrorLaunchFailure, cudaStreamSynchronize(ranks[0].stream));
    assert_string_equal(vg_error(), "");
    NCCL_OK(ncclCommAbort(ranks[1].comm));
    vg_clear();
}

static ncclResult_t open_config(rank *r, const ncclUniqueId *id, int n_ranks)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;

    config.blocking = 0;
    CUDA_OK(cudaSetDevice(r->rank));
    return ncclCommInitRankConfig(&r->comm, n_ranks, *id, r->rank, &config);
}

static ncclResult_t state_of(const rank *r)
{
    ncclResult_t error;

    NCCL_OK(ncclCommGetAsyncError(r->comm, &error));
    return error;
}

/* Creation that does not wait, of two ranks in one thread; one of them may never come. */
static void open_both(rank *ranks, int absent_rank)
{
    vg_nccl_options options = vg_nccl_defaults();
    ncclUniqueId id;
    int n;

    options.absent_rank = absent_rank;
    vg_nccl_set(&options);
    ranks[0] = (rank){.rank = 0};
    ranks[1] = (rank){.rank = 1};
    NCCL_OK(ncclGetUniqueId(&id));
    NCCL_IS(ncclInProgress, open_config(&ranks[0], &id, 2));
    for (int polls = 0; polls < 3; polls++)
        NCCL_IS(ncclInProgress, state_of(&ranks[0]));
    NCCL_IS(ncclInvalidArgument, ncclCommCount(ranks[0].comm, &n));
    const ncclResult_t second = open_config(&ranks[1], &id, 2);
    assert_true(second == ncclInProgress || (second == ncclSuccess && absent_rank < 0));
}

static void test_absent(void **state)
{
    static rank ranks[2];

    (void)state;
    open_both(ranks, 1);
    for (int i = 0; i < 2; i++) {
        NCCL_IS(ncclInProgress, state_of(&ranks[i]));
        NCCL_OK(ncclCommAbort(ranks[i].comm));
    }
    assert_int_equal(vg_nccl_read_counts().live_comms, 0);
    assert_string_equal(vg_error(), "");
}

/* Every call may be in progress, and then is queued only when one asks. */
static void test_no_waiting(void **state)
{
    static rank ranks[2];
    vg_options options = vg_defaults();
    float *d[2], x;

    (void)state;
    options.n_devices = 2;
    options.async = VG_LATE;
    vg_set(&options);
    open_both(ranks, -1);
    for (int i = 0; i < 2; i++) {
        NCCL_OK(state_of(&ranks[i]));
        CUDA_OK(cudaSetDevice(i));
        x = (float)i + 1;
        d[i] = to_device(&x, sizeof x);
    }
    NCCL_OK(ncclGroupStart());
    for (int i = 0; i < 2; i++)
        NCCL_OK(ncclAllReduce(d[i], d[i], 1, ncclFloat32, ncclSum, ranks[i].comm, NULL));
    NCCL_IS(ncclInProgress, ncclGroupEnd());
    CUDA_OK(cudaStreamQuery(NULL)); /* nothing is queued */
    NCCL_IS(ncclInvalidArgument,
            ncclAllReduce(d[1], d[1], 1, ncclFloat32, ncclSum, ranks[1].comm, NULL));
    for (int i = 0; i < 2; i++) {
        NCCL_IS(ncclInProgress, state_of(&ranks[i]));
        NCCL_OK(state_of(&ranks[i]));
    }
    NCCL_IS(ncclInProgress, ncclCommFinalize(ranks[0].comm));
    while (state_of(&ranks[0]) == ncclInProgress)
        ;
    for (int i = 0; i < 2; i++) {
        from_device(&x, d[i], sizeof x);
        assert_true(x == 3);
        CUDA_OK(cudaFree(d[i]));
        NCCL_OK(ncclCommDestroy(ranks[i].comm));
    }
    assert_int_equal(vg_nccl_read_counts().live_comms, 0);
    assert_string_equal(vg_error(), "");
}

/* What the library itself refuses, leaving the devices whole. */
static void test_refused(void **state)
{
    static const int twice[] = {0, 0};
    static rank ranks[2];
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id = {{0}};
    ncclComm_t comms[2];
    int version;

    (void)state;
    NCCL_OK(ncclGetVersion(&version));
    assert_int_equal(version, NCCL_VERSION_CODE);
    NCCL_IS(ncclInvalidArgument, ncclCommInitRank(comms, 1, id, 0));
    NCCL_OK(ncclGetUniqueId(&id));
    NCCL_IS(ncclInvalidArgument, ncclCommInitRank(comms, 2, id, 2));
    config.blocking = 7;
    NCCL_IS(ncclInvalidArgument, ncclCommInitRankConfig(comms, 1, id, 0, &config));
    memset(&config, 0, sizeof config);
    NCCL_IS(ncclInvalidArgument, ncclCommInitRankConfig(comms, 1, id, 0, &config));
    NCCL_IS(ncclInvalidUsage, ncclCommInitAll(comms, 2, twice));
    NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
    /* Two ranks on one device; one rank twice; another number of ranks; an id used again. */
    for (int i = 0; i < 3; i++) {
        NCCL_OK(ncclGetUniqueId(&id));
        CUDA_OK(cudaSetDevice(0));
        NCCL_OK(ncclGroupStart());
        NCCL_OK(ncclCommInitRank(&comms[0], 2, id, 0));
        CUDA_OK(cudaSetDevice(i == 0 ? 0 : 1));
        NCCL_OK(ncclCommInitRank(&comms[1], i == 2 ? 3 : 2, id, i == 1 ? 0 : 1));
        NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
        assert_non_null(strstr(ncclGetLastError(NULL), i == 0   ? "both on device 0"
                                                       : i == 1 ? "comes twice"
                                                                : "their number: 2 and 3"));
        assert_null(comms[0]);
    }
    NCCL_OK(ncclGetUniqueId(&id));
    NCCL_OK(ncclCommInitRank(&comms[0], 1, id, 0));
    NCCL_IS(ncclInvalidUsage, ncclCommInitRank(&comms[1], 1, id, 0));
    NCCL_OK(ncclCommFinalize(comms[0]));
    NCCL_IS(ncclInvalidUsage, ncclAllReduce(NULL, NULL, 0, ncclFloat32, ncclSum, comms[0], NULL));
    NCCL_OK(ncclCommDestroy(comms[0]));
    open_ranks(ranks, 2);
    NCCL_IS(ncclInvalidArgument,
            ncclAllReduce(NULL, NULL, 0, ncclFloat16, ncclSum, ranks[0].comm, ranks[0].stream));
    NCCL_IS(ncclInvalidArgument,
            ncclAllReduce(NULL, NULL, 0, ncclFloat32, ncclAvg, ranks[0].comm, ranks[0].stream));
    NCCL_IS(ncclInvalidArgument,
            ncclBroadcast(NULL, NULL, 0, ncclFloat32, 2, ranks[0].comm, ranks[0].stream));
    NCCL_IS(ncclInvalidArgument,
            ncclAllGather(NULL, NULL, SIZE_MAX / 4, ncclFloat32, ranks[0].comm, ranks[0].stream));
    close_ranks(ranks, 2);
}

typedef enum {
    OTHER_KIND,
    OTHER_COUNT,
    OTHER_TYPE,
    OTHER_OP,
    OTHER_ROOT,
    NO_GROUP,
    PAST_THE_END,
    HOST_MEMORY,
    OTHER_DEVICE,
    MISALIGNED,
    OVERLAP,
    OTHER_STREAM,
    FREED,
    NOT_WRITTEN,
    RING,
    N_MISTAKES
} mistake;

static const char *const texts[N_MISTAKES] = {
    "ncclAllReduce and ncclBroadcast",
    "counts 4 and 3",
    "types 7 and 2",
    "reductions 0 and 2",
    "roots 0 and 1",
    "no ncclGroupStart joins",
    "outside every allocation",
    "host memory",
    "memory of device 1 used on device 0",
    "not aligned",
    "overlap",
    "the stream is of device 1",
    "freed",
    "not all were written",
    "in a ring",
};

/* Two ranks with 8 floats each, of which the second one, or both, does something wrong. */
static void make(mistake m, rank *ranks, const ncclComm_t *others)
{
    ncclComm_t a = ranks[0].comm, b = ranks[1].comm;
    cudaStream_t s = ranks[0].stream, t = ranks[1].stream;
    float *x = (float *)ranks[0].d_send, *y = (float *)ranks[1].d_send, host[8];
    void *bad = m == PAST_THE_END   ? (void *)(x + 5)
                : m == HOST_MEMORY  ? (void *)host
                : m == OTHER_DEVICE ? (void *)y
                : m == MISALIGNED   ? (void *)((char *)x + 2)
                                    : x;

    if (m != NO_GROUP)
        (void)ncclGroupStart();
    if (m == OTHER_ROOT)
        (void)ncclBroadcast(x, x, 4, ncclFloat32, 0, a, s);
    else if (m == OTHER_STREAM)
        (void)ncclAllReduce(x, x, 4, ncclFloat32, ncclSum, a, t);
    else if (m == OVERLAP)
        (void)ncclAllReduce(x, x + 2, 4, ncclFloat32, ncclSum, a, s);
    else
        (void)ncclAllReduce(bad, bad, 4, ncclFloat32, ncclSum, a, s);
    if (m == RING) {
        (void)ncclAllReduce(x, x, 4, ncclFloat32, ncclSum, others[0], s);
        (void)ncclAllReduce(y, y, 4, ncclFloat32, ncclSum, others[1], t);
    }
    if (m == OTHER_KIND || m == OTHER_ROOT)
        (void)ncclBroadcast(y, y, 4, ncclFloat32, m == OTHER_ROOT, b, t);
    else
        (void)ncclAllReduce(y, y, m == OTHER_COUNT ? 3 : 4,
                            m == OTHER_TYPE ? ncclInt32 : ncclFloat32,
                            m == OTHER_OP ? ncclMax : ncclSum, b, t);
    if (m != NO_GROUP)
        (void)ncclGroupEnd();
}

/* What the library may let pass is found, on the devices of both ranks: neither waits. */
static void test_mistakes(void **state)
{
    static rank ranks[2];
    vg_options options = vg_defaults();

    (void)state;
    options.n_devices = 2;
    for (mistake m = OTHER_KIND; m < N_MISTAKES; m++) {
        ncclComm_t others[2];
        options.async = m == FREED ? VG_LATE : vg_defaults().async;
        vg_set(&options);
        if (m == NOT_WRITTEN && !vg_is_checking())
            continue;
        open_ranks(ranks, 2);
        NCCL_OK(ncclCommInitAll(others, 2, NULL));
        for (int i = 0; i < 2; i++) {
            CUDA_OK(cudaSetDevice(i));
            ranks[i].d_send = to_device(NULL, 8 * sizeof(float));
            if (m != NOT_WRITTEN)
                CUDA_OK(cudaMemset(ranks[i].d_send, 0, 8 * sizeof(float)));
        }
        CUDA_OK(cudaSetDevice(0));
        if (m == FREED)
            CUDA_OK(cudaFree(ranks[0].d_send));
        make(m, ranks, others);
        for (int i = 0; i < 2; i++) {
            (void)cudaSetDevice(i);
            if (cudaStreamSynchronize(ranks[i].stream) == cudaSuccess)
                fail_msg("nobody saw: %s", texts[m]);
        }
        if (!strstr(vg_error(), texts[m]))
            fail_msg("not '%s': %s", texts[m], vg_error());
        for (int i = 0; i < 2; i++) {
            NCCL_OK(ncclCommAbort(ranks[i].comm));
            NCCL_OK(ncclCommAbort(others[i]));
        }
        vg_clear();
    }
}

static void test_use_after_end(void **state)
{
    static rank ranks[2];

    (void)state;
    for (int aborted = 0; aborted < 2; aborted++) {
        open_ranks(ranks, 2);
        for (int i = 0; i < 2; i++)
            NCCL_OK(aborted ? ncclCommAbort(ranks[i].comm) : ncclCommDestroy(ranks[i].comm));
        NCCL_IS(ncclInvalidArgument,
                ncclAllReduce(NULL, NULL, 0, ncclFloat32, ncclSum, ranks[0].comm, NULL));
        assert_non_null(strstr(vg_error(), "used after"));
        vg_clear();
        NCCL_IS(ncclInvalidArgument, ncclCommDestroy(ranks[1].comm));
        assert_non_null(strstr(vg_error(), "used after"));
        vg_clear();
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_abort),      TEST(test_faults),  TEST(test_lost_device), TEST(test_absent),
        TEST(test_no_waiting), TEST(test_refused), TEST(test_mistakes),    TEST(test_use_after_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
