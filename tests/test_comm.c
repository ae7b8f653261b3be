/* Collectives between the devices of one process: what they give, and that nobody waits for good.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emt_device.h"
#include "kernels/cuda.h"

#define MAX_RANKS 8
#define DEADLINE  60.0 /* of what must not fail, on a busy machine */

typedef struct rank rank;

typedef struct {
    int n;
    emc_device *devices[MAX_RANKS];
    emc_comm *comms[MAX_RANKS];
    size_t n_values; /* of what the test does */
    emc_dtype dtype;
} group;

struct rank {
    group *g;
    int rank;
    void (*run)(rank *r);
    emc_status status;
    char message[256];
    unsigned char *bytes; /* what the rank got, owned */
    size_t n_bytes;
};

static bool is_cuda(const emt_device_kind *kind)
{
    return strcmp(kind->name, "cuda") == 0;
}

static int most_ranks(const emt_device_kind *kind)
{
    emc_cuda_system cuda;

    if (!is_cuda(kind))
        return MAX_RANKS;
    emc_cuda_describe_system(&cuda);
    return cuda.n_gpus < MAX_RANKS ? cuda.n_gpus : MAX_RANKS;
}

static void open_devices(group *g, const emt_device_kind *kind, emc_dtype dtype, int n)
{
    *g = (group){.n = n};
    for (int i = 0; i < n; i++) {
        const emc_cuda_options cuda = {.dtype = dtype, .index = i};

        if (is_cuda(kind))
            EMT_OK(emc_cuda_open(&g->devices[i], &cuda));
        else
            g->devices[i] = emt_open(kind, dtype, 1);
    }
}

static void open_group(group *g, const emt_device_kind *kind, emc_dtype dtype, int n,
                       double deadline_s)
{
    open_devices(g, kind, dtype, n);
    EMT_OK(g->devices[0]->ops->comms_open(g->comms, g->devices, n, deadline_s));
}

static void close_group(group *g)
{
    for (int i = 0; i < g->n; i++)
        g->devices[i]->ops->comm_close(g->devices[i], g->comms[i]);
    for (int i = 0; i < g->n; i++)
        emt_close_device(g->devices[i]);
}

static void *on_thread(void *context)
{
    rank *r = context;

    r->run(r);
    snprintf(r->message, sizeof r->message, "%s", r->status == EMC_OK ? "" : emc_message());
    return NULL;
}

/* All ranks but the last n_absent, each on a thread of its own. */
static void run_ranks(group *g, rank *ranks, void (*run)(rank *r), int n_absent)
{
    pthread_t threads[MAX_RANKS];

    for (int i = 0; i < g->n - n_absent; i++) {
        ranks[i] = (rank){.g = g, .rank = i, .run = run};
        assert_int_equal(pthread_create(&threads[i], NULL, on_thread, &ranks[i]), 0);
    }
    for (int i = 0; i < g->n - n_absent; i++)
        pthread_join(threads[i], NULL);
}

/* Puts values on the rank's device, runs `collective` on them and keeps n_out bytes of what comes.
 */
static emc_status exchange(rank *r, const void *in, size_t n_in, size_t n_out,
                           emc_status (*collective)(rank *r, void *d_out, void *d_in))
{
    emc_device *dev = r->g->devices[r->rank];
    const emc_ops *ops = dev->ops;
    void *d_in = NULL, *d_out = NULL;
    emc_status status = ops->alloc(dev, &d_in, n_in, "a test");

    r->bytes = malloc(n_out);
    r->n_bytes = n_out;
    if (status == EMC_OK)
        status = ops->alloc(dev, &d_out, n_out, "a test");
    if (status == EMC_OK)
        status = ops->upload(dev, d_in, in, n_in);
    if (status == EMC_OK)
        status = collective(r, d_out, d_in);
    if (status == EMC_OK)
        status = ops->download(dev, r->bytes, d_out, n_out);
    ops->release(dev, d_in);
    ops->release(dev, d_out);
    return status;
}

/* --- Sums --------------------------------------------------------------------------------- */

static float value_of(int r, size_t i)
{
    uint64_t seed = 1000 * i + (uint64_t)r + 1;

    return (float)emt_normal(&seed);
}

static emc_status reduce(rank *r, void *d_out, void *d_in)
{
    emc_device *dev = r->g->devices[r->rank];
    const size_t n = r->g->n_values;

    EMC_TRY(dev->ops->all_reduce(dev, r->g->comms[r->rank], d_in, n, r->g->dtype));
    return dev->ops->copy(dev, d_out, d_in, n * emc_dtype_bytes(r->g->dtype));
}

static void run_reduce(rank *r)
{
    const size_t n = r->g->n_values, n_bytes = n * emc_dtype_bytes(r->g->dtype);
    float *value = malloc(n * sizeof *value);
    void *stored = malloc(n_bytes);

    for (size_t i = 0; i < n; i++)
        value[i] = value_of(r->rank, i);
    emc_from_f32(stored, r->g->dtype, value, n);
    r->status = exchange(r, stored, n_bytes, n_bytes, reduce);
    free(stored);
    free(value);
}

/* Every element within `n` roundings of the sum of what was stored; the same bits on all ranks. */
static void check_sums(const group *g, const rank *ranks)
{
    const double rounding = g->dtype == EMC_BF16 ? 0x1p-8 : 0x1p-23;
    float got, stored;
    char one[4];

    for (int r = 0; r < g->n; r++) {
        EMT_OK(ranks[r].status);
        assert_memory_equal(ranks[r].bytes, ranks[0].bytes, ranks[0].n_bytes);
    }
    for (size_t i = 0; i < g->n_values; i++) {
        double want = 0, size = 0;

        for (int r = 0; r < g->n; r++) {
            const float value = value_of(r, i);
            emc_from_f32(one, g->dtype, &value, 1);
            emc_to_f32(&stored, one, g->dtype, 1);
            want += stored;
            size += fabs(stored);
        }
        emc_to_f32(&got, ranks[0].bytes + i * emc_dtype_bytes(g->dtype), g->dtype, 1);
        if (!(fabs(got - want) <= g->n * rounding * size))
            fail_msg("element %zu of %zu over %d ranks is %.9g, wanted %.9g", i, g->n_values, g->n,
                     (double)got, want);
    }
}

static void reduce_on(const emt_device_kind *kind, emc_dtype dtype)
{
    static const size_t sizes[] = {1, 7, 300, 4096, 12345};
    rank ranks[MAX_RANKS], again[MAX_RANKS];
    group g;

    for (int n = 1; n <= most_ranks(kind); n = n < 3 ? n + 1 : n + 5) {
        open_group(&g, kind, dtype, n, DEADLINE);
        for (size_t i = 0; i < 2 * EMC_COUNT(sizes); i++) {
            g.n_values = sizes[i / 2];
            g.dtype = i % 2 ? EMC_F32 : EMC_BF16;
            run_ranks(&g, ranks, run_reduce, 0);
            run_ranks(&g, again, run_reduce, 0);
            check_sums(&g, ranks);
            for (int r = 0; r < n; r++) {
                assert_memory_equal(again[r].bytes, ranks[r].bytes, ranks[r].n_bytes);
                free(ranks[r].bytes);
                free(again[r].bytes);
            }
        }
        close_group(&g);
    }
}

static void test_all_reduce(void **state)
{
    (void)state;
    emt_each_kind(reduce_on);
}

/* --- Copies ------------------------------------------------------------------------------- */

static emc_status gather(rank *r, void *d_out, void *d_in)
{
    emc_device *dev = r->g->devices[r->rank];

    return dev->ops->all_gather(dev, r->g->comms[r->rank], d_out, d_in, r->g->n_values);
}

/* Where the result lies its own part may be there already. */
static emc_status gather_in_place(rank *r, void *d_out, void *d_in)
{
    emc_device *dev = r->g->devices[r->rank];
    char *mine = (char *)d_out + (size_t)r->rank * r->g->n_values;

    EMC_TRY(dev->ops->copy(dev, mine, d_in, r->g->n_values));
    return dev->ops->all_gather(dev, r->g->comms[r->rank], d_out, mine, r->g->n_values);
}

static emc_status broadcast(rank *r, void *d_out, void *d_in)
{
    emc_device *dev = r->g->devices[r->rank];

    EMC_TRY(dev->ops->broadcast(dev, r->g->comms[r->rank], d_in, r->g->n_values));
    return dev->ops->copy(dev, d_out, d_in, r->g->n_values);
}

static unsigned char byte_of(int r, size_t i)
{
    return (unsigned char)(31 * (size_t)r + 7 * i + 1);
}

static void exchange_bytes(rank *r, size_t n_out,
                           emc_status (*collective)(rank *r, void *d_out, void *d_in))
{
    unsigned char *bytes = malloc(r->g->n_values);

    for (size_t i = 0; i < r->g->n_values; i++)
        bytes[i] = byte_of(r->rank, i);
    r->status = exchange(r, bytes, r->g->n_values, n_out, collective);
    free(bytes);
}

static void run_gather(rank *r)
{
    exchange_bytes(r, r->g->n_values * (size_t)r->g->n, gather);
}

static void run_gather_in_place(rank *r)
{
    exchange_bytes(r, r->g->n_values * (size_t)r->g->n, gather_in_place);
}

static void run_broadcast(rank *r)
{
    exchange_bytes(r, r->g->n_values, broadcast);
}

/* Rank `from` of each stretch of n_values bytes. */
static void check_bytes(group *g, void (*run)(rank *r), int n_stretches)
{
    rank ranks[MAX_RANKS];

    run_ranks(g, ranks, run, 0);
    for (int r = 0; r < g->n; r++) {
        EMT_OK(ranks[r].status);
        for (int from = 0; from < n_stretches; from++)
            for (size_t i = 0; i < g->n_values; i++)
                assert_int_equal(ranks[r].bytes[(size_t)from * g->n_values + i], byte_of(from, i));
        free(ranks[r].bytes);
    }
}

static void copy_on(const emt_device_kind *kind, emc_dtype dtype)
{
    static const size_t sizes[] = {16, 48, 4096};
    group g;

    for (int n = 1; n <= most_ranks(kind); n = n < 3 ? n + 1 : n + 5) {
        open_group(&g, kind, dtype, n, DEADLINE);
        for (size_t i = 0; i < EMC_COUNT(sizes); i++) {
            g.n_values = sizes[i];
            check_bytes(&g, run_gather, n);
            check_bytes(&g, run_gather_in_place, n);
            check_bytes(&g, run_broadcast, 1);
        }
        close_group(&g);
    }
}

static void test_copies(void **state)
{
    (void)state;
    emt_each_kind(copy_on);
}

/* --- Weights ------------------------------------------------------------------------------ */

#define W_ROWS 48
#define W_K    64

/* x W^T of one row, on a rank whose matrix came from the first. */
static void run_matrix(rank *r)
{
    emc_device *dev = r->g->devices[r->rank];
    const emc_ops *ops = dev->ops;
    uint16_t numbers[W_ROWS * W_K], x[W_K];
    emc_matrix_part parts[2] = {{numbers, EMC_BF16, 16}, {numbers + 16 * W_K, EMC_BF16, 32}};
    emc_linear_args args = {.n = W_ROWS, .rows = 1};
    emc_matrix *matrix = NULL;
    void *d_x = NULL, *d_out = NULL;

    for (size_t i = 0; i < W_ROWS * W_K; i++)
        numbers[i] =
            emc_f32_to_bf16(value_of(r->rank, i)); /* of its own, but only rank 0's count */
    for (size_t i = 0; i < W_K; i++)
        x[i] = emc_f32_to_bf16(value_of(7, i));
    if (r->rank > 0)
        parts[0].data = parts[1].data = NULL;
    r->n_bytes = W_ROWS * sizeof(uint16_t);
    r->bytes = calloc(1, r->n_bytes);
    r->status = ops->matrix_open(dev, &matrix, parts, 2, W_K);
    if (r->status == EMC_OK)
        r->status = ops->matrix_broadcast(dev, r->g->comms[r->rank], matrix);
    if (r->status == EMC_OK)
        r->status = ops->alloc(dev, &d_x, sizeof x, "a test");
    if (r->status == EMC_OK)
        r->status = ops->alloc(dev, &d_out, r->n_bytes, "a test");
    if (r->status == EMC_OK)
        r->status = ops->upload(dev, d_x, x, sizeof x);
    args.out = d_out;
    args.x = d_x;
    args.w = matrix;
    if (r->status == EMC_OK)
        r->status = ops->linear(dev, &args);
    if (r->status == EMC_OK)
        r->status = ops->download(dev, r->bytes, d_out, r->n_bytes);
    ops->release(dev, d_x);
    ops->release(dev, d_out);
    ops->matrix_close(dev, matrix);
}

static void matrix_on(const emt_device_kind *kind, emc_dtype dtype)
{
    const int n = most_ranks(kind) < 3 ? most_ranks(kind) : 3;
    const uint16_t numbers[8] = {0};
    const emc_matrix_part part = {numbers, EMC_BF16, 1}, empty = {NULL, EMC_BF16, 1};
    rank ranks[MAX_RANKS];
    emc_matrix *matrix;
    group g;

    open_group(&g, kind, dtype, n, DEADLINE);
    if (!g.devices[0]->copies_weights) {
        emc_device *dev = g.devices[0];

        assert_int_equal(dev->ops->matrix_open(dev, &matrix, &empty, 1, 8), EMC_ERR_ARG);
        EMT_OK(dev->ops->matrix_open(dev, &matrix, &part, 1, 8));
        assert_int_equal(dev->ops->matrix_broadcast(dev, g.comms[0], matrix), EMC_ERR_ARG);
        dev->ops->matrix_close(dev, matrix);
    } else {
        run_ranks(&g, ranks, run_matrix, 0);
        for (int r = 0; r < n; r++) {
            EMT_OK(ranks[r].status);
            assert_memory_equal(ranks[r].bytes, ranks[0].bytes, ranks[0].n_bytes);
        }
        assert_true(ranks[0].bytes[1] != 0);
        for (int r = 0; r < n; r++)
            free(ranks[r].bytes);
    }
    close_group(&g);
}

static void test_matrix(void **state)
{
    (void)state;
    emt_each_kind(matrix_on);
}

/* --- Faults ------------------------------------------------------------------------------- */

static void free_ranks(rank *ranks, int n)
{
    for (int i = 0; i < n; i++)
        free(ranks[i].bytes);
}

/* A rank that never comes ends the others' wait at the deadline, and the group with it. */
static void deadline_on(const emt_device_kind *kind, emc_dtype dtype)
{
    rank ranks[MAX_RANKS];
    group g;

    if (most_ranks(kind) < 2)
        return;
    open_group(&g, kind, dtype, most_ranks(kind) < 3 ? 2 : 3, 0.2);
    g.n_values = 40;
    g.dtype = EMC_F32;
    run_ranks(&g, ranks, run_reduce, 1);
    for (int r = 0; r < g.n - 1; r++)
        assert_int_equal(ranks[r].status, EMC_ERR_LOST);
    free_ranks(ranks, g.n - 1);
    /* Too late; a virtual GPU whose collective was aborted does not even copy. */
    run_ranks(&g, ranks, run_reduce, 0);
    for (int r = 0; r < g.n; r++)
        assert_true(ranks[r].status == EMC_ERR_LOST || ranks[r].status == EMC_ERR_DEVICE);
    free_ranks(ranks, g.n);
    close_group(&g);
}

static void test_deadline(void **state)
{
    (void)state;
    emt_each_kind(deadline_on);
}

/* The last rank aborts in place of coming. */
static void run_or_abort(rank *r)
{
    if (r->rank < r->g->n - 1) {
        run_reduce(r);
        return;
    }
    r->g->devices[r->rank]->ops->comm_abort(r->g->comms[r->rank]);
    run_reduce(r);
}

static void abort_on(const emt_device_kind *kind, emc_dtype dtype)
{
    rank ranks[MAX_RANKS];
    group g;

    if (most_ranks(kind) < 2)
        return;
    open_group(&g, kind, dtype, 2, DEADLINE);
    g.n_values = 40;
    g.dtype = EMC_F32;
    run_ranks(&g, ranks, run_or_abort, 0);
    for (int r = 0; r < g.n; r++) {
        assert_int_equal(ranks[r].status, EMC_ERR_LOST);
        assert_non_null(strstr(ranks[r].message, "another rank of the group failed"));
    }
    free_ranks(ranks, g.n);
    close_group(&g);
}

static void test_abort(void **state)
{
    (void)state;
    emt_each_kind(abort_on);
}

static void limits_on(const emt_device_kind *kind, emc_dtype dtype)
{
    void *d = NULL;
    emc_comm *comms[2];
    group g;

    open_group(&g, kind, dtype, 1, DEADLINE);
    emc_device *dev = g.devices[0], *twice[] = {dev, dev};
    const emc_ops *ops = dev->ops;
    EMT_OK(ops->alloc(dev, &d, 64, "a test"));
    assert_int_equal(ops->comms_open(comms, twice, 2, 1.0), EMC_ERR_ARG);
    assert_int_equal(ops->comms_open(comms, twice, 1, 0.0), EMC_ERR_ARG);
    assert_int_equal(ops->comms_open(comms, twice, 0, 1.0), EMC_ERR_ARG);
    assert_int_equal(ops->all_reduce(dev, g.comms[0], d, 0, EMC_F32), EMC_ERR_ARG);
    assert_int_equal(ops->all_reduce(dev, g.comms[0], (char *)d + 4, 1, EMC_F32), EMC_ERR_ARG);
    assert_int_equal(ops->all_reduce(dev, g.comms[0], d, 1, EMC_F16), EMC_ERR_ARG);
    assert_int_equal(ops->all_gather(dev, g.comms[0], d, (char *)d + 8, 16), EMC_ERR_ARG);
    assert_int_equal(ops->broadcast(dev, g.comms[0], NULL, 16), EMC_ERR_ARG);
    ops->release(dev, d);
    close_group(&g);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_kind(limits_on);
}

/* --- Rounding ----------------------------------------------------------------------------- */

static void round_on(emc_device *dev)
{
    static const size_t sizes[] = {1, 7, 8, 9, 300, 4097};
    uint64_t seed = 3;

    for (size_t i = 0; i < EMC_COUNT(sizes); i++) {
        const size_t n = sizes[i];
        double *values = malloc(n * sizeof *values);
        emt_buf x, out;

        for (size_t k = 0; k < n; k++)
            values[k] = (float)emt_normal(&seed);
        x = emt_f32_values(dev, values, n);
        out = emt_poison(dev, n);
        EMT_OK(dev->ops->round(dev, out.d, x.d, n));
        emt_fetch(&out);
        for (size_t k = 0; k < n; k++) {
            const float value = (float)values[k];
            float want;
            char one[4];

            emc_from_f32(one, dev->dtype, &value, 1);
            emc_to_f32(&want, one, dev->dtype, 1);
            assert_true(out.value[k] == (double)want);
        }
        assert_int_equal(dev->ops->round(dev, x.d, x.d, n), EMC_ERR_ARG);
        emt_free(&x);
        emt_free(&out);
        free(values);
    }
}

static void test_round(void **state)
{
    (void)state;
    emt_each_device(round_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_reduce), cmocka_unit_test(test_copies),
        cmocka_unit_test(test_matrix),     cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_abort),      cmocka_unit_test(test_limits),
        cmocka_unit_test(test_round),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
