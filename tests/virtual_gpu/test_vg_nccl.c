/* Do collectives of virtual GPUs give what they should, in the order of their streams? */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/dtype.h"
#include "virtual_gpu/nccl_test.h"

/* In a thread: cmocka's checks are for the main one. */
#define DO(rank, call)                                                                             \
    do {                                                                                           \
        if ((int)(call) != 0) {                                                                    \
            (rank)->failed = #call;                                                                \
            return;                                                                                \
        }                                                                                          \
    } while (0)

typedef enum { ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER } kind;

struct collective {
    kind kind;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
    bool in_place;
};

static size_t size_of(ncclDataType_t type)
{
    return type == ncclInt64                          ? 8
           : type == ncclInt32 || type == ncclFloat32 ? 4
           : type == ncclBfloat16                     ? 2
                                                      : 1;
}

static void put(void *at, size_t i, ncclDataType_t type, double value)
{
    switch (type) {
    case ncclInt8:
        ((int8_t *)at)[i] = (int8_t)value;
        break;
    case ncclUint8:
        ((uint8_t *)at)[i] = (uint8_t)value;
        break;
    case ncclInt32:
        ((int32_t *)at)[i] = (int32_t)value;
        break;
    case ncclInt64:
        ((int64_t *)at)[i] = (int64_t)value;
        break;
    case ncclFloat32:
        ((float *)at)[i] = (float)value;
        break;
    default:
        ((uint16_t *)at)[i] = emc_f32_to_bf16((float)value);
    }
}

/* Element i of what a rank sends. Sums of floats need rounding, and depend on the order. */
static double value_of(ncclDataType_t type, int r, size_t i)
{
    const double x = (double)((i * 7 + (size_t)r * 13) % 61);

    switch (type) {
    case ncclInt8:
        return x - 30;
    case ncclUint8:
        return x;
    case ncclInt32:
        return (x - 30) * 1e7;
    case ncclInt64:
        return (x - 30) * 0x1p40 + (double)i;
    case ncclFloat32:
        return r == 0 ? (float)(x * 1e8) : r == 2 ? (float)(-x * 1e8) : (float)((x - 30) * 0.37);
    default:
        return emc_bf16_to_f32(emc_f32_to_bf16((float)((x - 30) * 1.37)));
    }
}

static double reduced(const collective *c, int n_ranks, size_t i)
{
    const bool is_float = c->type == ncclFloat32 || c->type == ncclBfloat16;
    double x = value_of(c->type, 0, i);

    for (int r = 1; r < n_ranks; r++) {
        const double y = value_of(c->type, r, i);
        if (c->op == ncclSum)
            x = is_float ? (float)((float)x + (float)y) : x + y;
        else
            x = c->op == ncclMax ? (x > y ? x : y) : (x < y ? x : y);
    }
    return x;
}

/* What rank r must have received. */
static void expect(const rank *r, const collective *c, void *out)
{
    for (size_t i = 0; i < r->n_received / size_of(c->type); i++)
        put(out, i, c->type,
            c->kind == ALL_REDUCE   ? reduced(c, r->n_ranks, i)
            : c->kind == BROADCAST  ? value_of(c->type, c->root, i)
            : c->kind == ALL_GATHER ? value_of(c->type, (int)(i / N), i % N)
                                    : reduced(c, r->n_ranks, (size_t)r->rank * N + i));
}

static void before_case(rank *r, const collective *c)
{
    const size_t piece = N * size_of(c->type), whole = (size_t)r->n_ranks * piece;

    DO(r, cudaSetDevice(r->rank));
    r->n_sent = c->kind == REDUCE_SCATTER ? whole : piece;
    r->n_received = c->kind == ALL_GATHER ? whole : piece;
    for (size_t i = 0; i < r->n_sent / size_of(c->type); i++)
        put(r->send, i, c->type, value_of(c->type, r->rank, i));
    memset(r->recv, 0xee, sizeof r->recv);
    if (c->in_place) { /* the shorter buffer is this rank's piece of the longer one */
        const size_t at = (size_t)r->rank * piece;
        unsigned char *d;
        DO(r,
           cudaMalloc((void **)&d, c->kind == ALL_REDUCE || c->kind == BROADCAST ? piece : whole));
        r->d_send = c->kind == ALL_GATHER ? d + at : d;
        r->d_recv = c->kind == REDUCE_SCATTER ? d + at : d;
    } else {
        DO(r, cudaMalloc((void **)&r->d_send, r->n_sent));
        DO(r, cudaMalloc((void **)&r->d_recv, r->n_received));
    }
    DO(r, cudaMemcpyAsync(r->d_send, r->send, r->n_sent, cudaMemcpyHostToDevice, r->stream));
}

static ncclResult_t call_case(const rank *r, const collective *c)
{
    switch (c->kind) {
    case ALL_REDUCE:
        return ncclAllReduce(r->d_send, r->d_recv, N, c->type, c->op, r->comm, r->stream);
    case BROADCAST:
        return ncclBroadcast(c->root == r->rank || c->in_place ? r->d_send : NULL, r->d_recv, N,
                             c->type, c->root, r->comm, r->stream);
    case ALL_GATHER:
        return ncclAllGather(r->d_send, r->d_recv, N, c->type, r->comm, r->stream);
    default:
        return ncclReduceScatter(r->d_send, r->d_recv, N, c->type, c->op, r->comm, r->stream);
    }
}

static void after_case(rank *r, const collective *c)
{
    unsigned char want[sizeof r->recv];
    unsigned char *d = c->in_place && c->kind == ALL_GATHER ? r->d_recv : r->d_send;

    DO(r, cudaSetDevice(r->rank));
    DO(r, cudaMemcpyAsync(r->recv, r->d_recv, r->n_received, cudaMemcpyDeviceToHost, r->stream));
    DO(r, cudaStreamSynchronize(r->stream));
    expect(r, c, want);
    DO(r, memcmp(r->recv, want, r->n_received));
    DO(r, cudaFree(d));
    if (!c->in_place)
        DO(r, cudaFree(r->d_recv));
}

static int list_cases(collective *out)
{
    static const ncclDataType_t types[] = {ncclFloat32, ncclBfloat16, ncclInt32,
                                           ncclInt8,    ncclUint8,    ncclInt64};
    static const ncclRedOp_t ops[] = {ncclSum, ncclMax, ncclMin};
    int n = 0;

    for (int k = ALL_REDUCE; k <= REDUCE_SCATTER; k++)
        for (int t = 0; t < 6; t++)
            for (int o = 0; o < (k == ALL_REDUCE || k == REDUCE_SCATTER ? 3 : 1); o++)
                for (int in_place = 0; in_place < 2; in_place++)
                    out[n++] = (collective){(kind)k, types[t], ops[o], t % 2, in_place == 1};
    return n;
}

static void run_thread(rank *r)
{
    DO(r, cudaSetDevice(r->rank));
    DO(r, cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking));
    DO(r, ncclCommInitRank(&r->comm, r->n_ranks, r->id, r->rank));
    for (int i = 0; i < r->n_cases && !r->failed; i++) {
        before_case(r, &r->cases[i]);
        if (!r->failed)
            DO(r, call_case(r, &r->cases[i]));
        if (!r->failed)
            after_case(r, &r->cases[i]);
    }
    if (r->failed)
        return;
    DO(r, ncclCommFinalize(r->comm));
    DO(r, ncclCommDestroy(r->comm));
    DO(r, cudaStreamDestroy(r->stream));
}

static void *thread_main(void *argument)
{
    rank *r = argument;

    run_thread(r);
    if (r->failed) { /* the others would wait for this rank */
        fprintf(stderr, "rank %d: %s: %s\n", r->rank, r->failed, ncclGetLastError(NULL));
        _exit(1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    static rank ranks[MAX_RANKS];
    collective cases[200];
    const int n_cases = list_cases(cases);

    (void)state;
    for (int n = 1; n <= MAX_RANKS; n *= 2) {
        pthread_t threads[MAX_RANKS];
        ncclUniqueId id;
        NCCL_OK(ncclGetUniqueId(&id));
        for (int i = 0; i < n; i++) {
            ranks[i] = (rank){.rank = i, .n_ranks = n, .cases = cases, .n_cases = n_cases};
            for (int c = 0; n == 1 && c < n_cases; c++)
                cases[c].root = 0;
            memcpy(&ranks[i].id, &id, sizeof id);
            assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &ranks[i]), 0);
        }
        for (int i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < n; i++)
            assert_null(ranks[i].failed);
        (void)list_cases(cases);
    }
    assert_int_equal(vg_nccl_read_counts().live_comms, 0);
    assert_int_equal(vg_nccl_read_counts().collectives, 3 * n_cases);
}

static void test_one_thread(void **state)
{
    static rank ranks[MAX_RANKS];
    collective cases[200];
    const int n_cases = list_cases(cases);

    (void)state;
    for (int n = 2; n <= MAX_RANKS; n *= 2) {
        open_ranks(ranks, n);
        for (int c = 0; c < n_cases; c++) {
            for (int i = 0; i < n; i++)
                before_case(&ranks[i], &cases[c]);
            NCCL_OK(ncclGroupStart());
            for (int i = n; i-- > 0;)
                NCCL_OK(call_case(&ranks[i], &cases[c]));
            NCCL_OK(ncclGroupEnd());
            for (int i = 0; i < n; i++)
                after_case(&ranks[i], &cases[c]);
            for (int i = 0; i < n; i++)
                if (ranks[i].failed)
                    fail_msg("case %d, rank %d: %s", c, i, ranks[i].failed);
        }
        close_ranks(ranks, n);
    }
}

/* Each of two devices has x + 1 of its own, their sum, + 1, doubled on another stream, and
 * doubled again on the first. */
static void test_order(void **state)
{
    static rank ranks[2];
    int x[2][N], y[2][N], *d[2];
    cudaStream_t second[2];
    cudaEvent_t event;

    (void)state;
    open_ranks(ranks, 2);
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < N; j++)
            x[i][j] = 100 * i + j;
        CUDA_OK(cudaSetDevice(i));
        CUDA_OK(cudaStreamCreateWithFlags(&second[i], cudaStreamNonBlocking));
        d[i] = to_device(NULL, sizeof x[i]);
        CUDA_OK(cudaMemcpyAsync(d[i], x[i], sizeof x[i], cudaMemcpyHostToDevice, ranks[i].stream));
        CUDA_OK(own_increment(d[i], d[i], N, ranks[i].stream));
    }
    NCCL_OK(ncclGroupStart());
    for (int i = 0; i < 2; i++)
        NCCL_OK(ncclAllReduce(d[i], d[i], N, ncclInt32, ncclSum, ranks[i].comm, ranks[i].stream));
    NCCL_OK(ncclGroupEnd());
    for (int i = 0; i < 2; i++) {
        CUDA_OK(cudaSetDevice(i));
        CUDA_OK(own_increment(d[i], d[i], N, ranks[i].stream));
        CUDA_OK(cudaEventCreate(&event));
        CUDA_OK(cudaEventRecord(event, ranks[i].stream));
        CUDA_OK(cudaStreamWaitEvent(second[i], event, 0));
        CUDA_OK(cudaEventDestroy(event));
    }
    /* A communicator's calls come one after the other, whatever their streams. */
    NCCL_OK(ncclGroupStart());
    for (int i = 0; i < 2; i++) {
        NCCL_OK(ncclAllReduce(d[i], d[i], N, ncclInt32, ncclSum, ranks[i].comm, second[i]));
        NCCL_OK(ncclAllReduce(d[i], d[i], N, ncclInt32, ncclSum, ranks[i].comm, ranks[i].stream));
    }
    NCCL_OK(ncclGroupEnd());
    for (int i = 0; i < 2; i++) {
        CUDA_OK(cudaSetDevice(i));
        CUDA_OK(cudaMemcpyAsync(y[i], d[i], sizeof y[i], cudaMemcpyDeviceToHost, ranks[i].stream));
        CUDA_OK(cudaStreamSynchronize(ranks[i].stream));
        for (int j = 0; j < N; j++)
            assert_int_equal(y[i][j], 4 * (x[0][j] + 1 + x[1][j] + 1 + 1));
        CUDA_OK(cudaFree(d[i]));
        CUDA_OK(cudaStreamDestroy(second[i]));
    }
    close_ranks(ranks, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_threads),
        TEST(test_one_thread),
        TEST(test_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
