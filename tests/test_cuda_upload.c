/* Do weights reach the device as they are in the file: any dtype, address and size? */
#include <stdlib.h>
#include <string.h>

#include "cuda_case.h"

/* Rows of a matrix as the device has them, read back through embed; owned by the caller. */
static uint16_t *rows_of(emc_device *dev, const emc_matrix *matrix, int n, int k)
{
    const size_t n_bytes = (size_t)n * (size_t)k * 2;
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    uint16_t *rows = calloc(1, n_bytes);
    void *d_ids, *out;

    for (int i = 0; i < n; i++)
        ids[i] = i;
    EMT_OK(dev->ops->alloc(dev, &d_ids, (size_t)n * sizeof *ids, "ids"));
    EMT_OK(dev->ops->alloc(dev, &out, n_bytes, "rows"));
    EMT_OK(dev->ops->upload(dev, d_ids, ids, (size_t)n * sizeof *ids));
    EMT_OK(dev->ops->embed(dev, out, matrix, NULL, d_ids, n));
    EMT_OK(dev->ops->download(dev, rows, out, n_bytes));
    dev->ops->release(dev, d_ids);
    dev->ops->release(dev, out);
    free(ids);
    return rows;
}

typedef struct {
    int k;
    int n[4]; /* rows of each part */
    emc_dtype dtypes[4];
    size_t offset;
    const char *reaches;
} upload_case;

/* The buffers of a virtual GPU of 4 GiB hold 512 * 512 values (see kernels/cuda/upload.c). */
static const upload_case cases[] = {
    {1, {1}, {EMC_BF16}, 0, "one value"},
    {8, {3, 1, 2}, {EMC_BF16, EMC_F32, EMC_F16}, 0, "parts of every dtype"},
    {33, {5, 7}, {EMC_F32, EMC_F32}, 1, "f32 at odd addresses"},
    {33, {5, 7}, {EMC_F16, EMC_F16}, 1, "f16 at odd addresses"},
    {33, {5, 7}, {EMC_BF16, EMC_BF16}, 3, "bf16 at odd addresses"},
    {1024, {1, 1023}, {EMC_BF16, EMC_F32}, 0, "blocks of conversion, with an end"},
    {512, {512}, {EMC_BF16}, 0, "exactly one buffer"},
    {512, {513}, {EMC_BF16}, 5, "one buffer and a row"},
    {500, {1500, 37, 2100}, {EMC_F32, EMC_BF16, EMC_F16}, 1, "several buffers and threads"},
};

/* One case's parts; *want the bf16 values of all rows. */
static int make_parts(emc_device *dev, const upload_case *c, emt_weights *weights,
                      emc_matrix_part *parts, uint16_t **want)
{
    uint64_t seed = 21;
    int n_parts = 0, n_rows = 0;
    size_t at = 0;

    for (; n_parts < 4 && c->n[n_parts] > 0; n_parts++) {
        weights[n_parts] =
            emt_part(dev, c->n[n_parts], c->k, c->dtypes[n_parts], c->offset, 1.0, &seed);
        parts[n_parts] = weights[n_parts].part;
        n_rows += c->n[n_parts];
    }
    *want = calloc((size_t)n_rows * (size_t)c->k, sizeof **want);
    for (int p = 0; p < n_parts; p++)
        for (size_t i = 0; i < weights[p].n; i++)
            (*want)[at++] = emc_f32_to_bf16((float)weights[p].value[i]);
    return n_parts;
}

/* With a sync, after which the parts may go, and without one. */
static void run_case(emc_device *dev, const upload_case *c, bool synced)
{
    emt_weights weights[4] = {0};
    emc_matrix_part parts[4];
    emc_matrix *matrix;
    uint16_t *want, *got;
    const int n_parts = make_parts(dev, c, weights, parts, &want);
    int n = 0;

    EMT_OK(dev->ops->matrix_open(dev, &matrix, parts, n_parts, c->k));
    if (synced)
        EMT_OK(dev->ops->sync(dev));
    for (int p = 0; p < n_parts; p++) {
        n += c->n[p];
        if (synced)
            emt_free_weights(&weights[p]);
    }
    got = rows_of(dev, matrix, n, c->k);
    if (memcmp(got, want, (size_t)n * (size_t)c->k * sizeof *got) != 0)
        fail_msg("%s: other values arrived", c->reaches);
    dev->ops->matrix_close(dev, matrix);
    for (int p = 0; p < n_parts && !synced; p++)
        emt_free_weights(&weights[p]);
    free(want);
    free(got);
}

static void test_values(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        run_case(dev, &cases[i], true);
        run_case(dev, &cases[i], false);
    }
    cuda_case_close(dev);
}

/* Many matrices under way at once, closed in another order, some before they have arrived. */
static void test_many_at_once(void **state)
{
    enum { n_matrices = 40, n = 300, k = 256 };
    emc_device *dev = cuda_case_open(NULL, NULL);
    uint64_t seed = 22;
    emt_weights part = emt_part(dev, n, k, EMC_F32, 0, 1.0, &seed);
    emc_matrix *matrices[n_matrices];
    uint16_t *got;

    (void)state;
    for (int i = 0; i < n_matrices; i++)
        EMT_OK(dev->ops->matrix_open(dev, &matrices[i], &part.part, 1, k));
    dev->ops->matrix_close(dev, matrices[n_matrices / 2]);
    matrices[n_matrices / 2] = NULL;
    EMT_OK(dev->ops->sync(dev));
    got = rows_of(dev, matrices[n_matrices - 1], n, k);
    for (size_t i = 0; i < part.n; i++)
        assert_int_equal(got[i], emc_f32_to_bf16((float)part.value[i]));
    for (int i = n_matrices - 1; i >= 0; i--)
        dev->ops->matrix_close(dev, matrices[i]);
    emt_free_weights(&part);
    free(got);
    cuda_case_close(dev);
}

/* A step that uses weights which have been waited for waits for nothing. */
static void test_no_wait_after_sync(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);
    emt_weights part;
    emc_matrix *matrix = cuda_case_matrix(dev, &part, 64, 64);
    void *x, *out;

    (void)state;
    EMT_OK(dev->ops->alloc(dev, &x, 64 * 64 * 2, "x"));
    EMT_OK(dev->ops->alloc(dev, &out, 64 * 64 * 2, "out"));
    const emc_linear_args args = {.out = out, .x = x, .w = matrix, .n = 64, .rows = 64};
    EMT_OK(dev->ops->prepare_linear(dev, &args));
    EMT_OK(dev->ops->sync(dev));
    vg_reset_counts();
    EMT_OK(dev->ops->linear(dev, &args));
    assert_int_equal(vg_read_counts().waits, 0);
    assert_int_equal(vg_read_counts().pageable_copies, 0);
    EMT_OK(dev->ops->sync(dev));
    dev->ops->matrix_close(dev, matrix);
    dev->ops->release(dev, x);
    dev->ops->release(dev, out);
    emt_free_weights(&part);
    cuda_case_close(dev);
}

/* Waiting after every matrix, as for merged weights, pins memory once; the first operation gives it
 * back. */
static void test_buffers_stay_for_the_next(void **state)
{
    enum { n_matrices = 20, n = 64, k = 64 };
    emc_device *dev = cuda_case_open(NULL, NULL);
    uint64_t seed = 24;
    emt_weights part = emt_part(dev, n, k, EMC_BF16, 0, 1.0, &seed);
    emc_matrix *matrices[n_matrices];

    (void)state;
    vg_reset_counts();
    for (int i = 0; i < n_matrices; i++) {
        EMT_OK(dev->ops->matrix_open(dev, &matrices[i], &part.part, 1, k));
        EMT_OK(dev->ops->sync(dev));
    }
    assert_int_equal(vg_read_counts().allocations, n_matrices + 2); /* one thread's buffers */
    assert_int_equal(vg_read_counts().live_host_allocations, 2);
    free(rows_of(dev, matrices[0], n, k));
    assert_int_equal(vg_read_counts().live_host_allocations, 0);
    for (int i = 0; i < n_matrices; i++)
        dev->ops->matrix_close(dev, matrices[i]);
    emt_free_weights(&part);
    cuda_case_close(dev);
}

/* A device that is gone: told by sync, and by whoever needs the weights first. */
static void test_lost_underway(void **state)
{
    vg_options gpus = vg_defaults();
    emc_device *dev = cuda_case_open(NULL, NULL);
    uint64_t seed = 23;
    emt_weights part = emt_part(dev, 700, 1000, EMC_BF16, 0, 1.0, &seed);
    emc_matrix *matrix = NULL;
    uint16_t *out;

    (void)state;
    gpus.lost_after = 0;
    vg_set(&gpus);
    assert_int_equal(cuda_case_product(dev, &out, 8, 8, 8, 0), EMC_ERR_DEVICE);
    assert_int_equal(dev->ops->matrix_open(dev, &matrix, &part.part, 1, 1000), EMC_ERR_DEVICE);
    EMT_FAILS(EMC_ERR_DEVICE, "lost", dev->ops->sync(dev));
    dev->ops->matrix_close(dev, matrix);
    emt_free_weights(&part);
    cuda_case_close(dev);
    vg_clear();
}

static void test_limits(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);
    const uint16_t data[64] = {0};
    const float numbers[64] = {0};
    emc_matrix_part parts[2] = {{data, EMC_BF16, 2}, {data, EMC_BF16, 2}};
    emc_lora_spec spec = {numbers, numbers, NULL, 2, 4, 8};
    emc_matrix *matrix;
    emc_lora *lora;

    (void)state;
    EMT_FAILS(EMC_ERR_ARG, "n_parts=0", dev->ops->matrix_open(dev, &matrix, parts, 0, 8));
    EMT_FAILS(EMC_ERR_ARG, "k=0", dev->ops->matrix_open(dev, &matrix, parts, 2, 0));
    parts[1].n_rows = 0;
    EMT_FAILS(EMC_ERR_ARG, "part 1", dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    parts[1].n_rows = 2147483646;
    EMT_FAILS(EMC_ERR_ARG, "below 2^31", dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    parts[1] = (emc_matrix_part){data, (emc_dtype)9, 2};
    EMT_FAILS(EMC_ERR_ARG, "dtype 9", dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    assert_null(matrix);
    spec.rank = 0;
    EMT_FAILS(EMC_ERR_ARG, "rank=0", dev->ops->lora_open(dev, &lora, &spec));
    spec.rank = 2;
    spec.a = NULL;
    EMT_FAILS(EMC_ERR_ARG, "lora_open", dev->ops->lora_open(dev, &lora, &spec));
    assert_null(lora);
    dev->ops->matrix_close(dev, NULL);
    dev->ops->lora_close(dev, NULL);
    cuda_case_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CUDA_CASE(test_values),
        CUDA_CASE(test_many_at_once),
        CUDA_CASE(test_no_wait_after_sync),
        CUDA_CASE(test_buffers_stay_for_the_next),
        CUDA_CASE(test_lost_underway),
        CUDA_CASE(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
