/* Does the CUDA device say what is missing, give back what it took, survive what fails? */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_case.h"

#define MIB ((size_t)1 << 20)

static void refuse(const emc_cuda_options *options, emc_status status, const char *text)
{
    emc_device *dev;

    EMT_FAILS(status, text, emc_cuda_open(&dev, options));
    assert_null(dev);
}

/* --- What there is ---------------------------------------------------------------------------- */

static void test_absent(void **state)
{
    emc_cuda_options options = {.dtype = EMC_BF16};
    vg_options gpus = vg_defaults();
    emc_cuda_system system;
    emc_cuda_gpu gpu;

    (void)state;
    gpus.n_devices = 0;
    vg_set(&gpus);
    refuse(&options, EMC_ERR_DEVICE, "cuda:0: no NVIDIA GPU is visible");
    emc_cuda_describe_system(&system);
    assert_int_equal(system.n_gpus, 0);
    assert_non_null(strstr(system.why_not, "no NVIDIA GPU is visible"));
    gpus.driver_version = 12040;
    vg_set(&gpus);
    refuse(&options, EMC_ERR_DEVICE, "is for CUDA 12.4, this build needs");
    emc_cuda_describe_system(&system);
    assert_int_equal(system.driver_version, 12040);
    assert_non_null(strstr(system.why_not, "or later"));
    gpus.driver_version = 0;
    vg_set(&gpus);
    refuse(&options, EMC_ERR_DEVICE, "no NVIDIA driver");
    EMT_FAILS(EMC_ERR_DEVICE, "no NVIDIA driver", emc_cuda_describe_gpu(0, &gpu));
    gpus = vg_defaults();
    vg_set(&gpus);
    options.index = 1;
    refuse(&options, EMC_ERR_DEVICE, "cuda:1: no such GPU: there is 1");
    options.index = -1;
    refuse(&options, EMC_ERR_DEVICE, "cuda:-1: no such GPU");
    options.index = 0;
    options.dtype = EMC_F32;
    refuse(&options, EMC_ERR_ARG, "bfloat16, F32 was asked for");
}

static void test_too_old(void **state)
{
    const emc_cuda_options options = {.dtype = EMC_BF16};
    vg_options gpus = vg_defaults();
    emc_cuda_gpu gpu;

    (void)state;
    gpus.compute_capability = 75;
    vg_set(&gpus);
    refuse(&options, EMC_ERR_DEVICE, "compute capability 7.5, needed is 8.0");
    EMT_OK(emc_cuda_describe_gpu(0, &gpu));
    assert_false(gpu.usable);
    gpus.compute_capability = 120;
    vg_set(&gpus);
    EMT_OK(emc_cuda_describe_gpu(0, &gpu));
    assert_true(gpu.usable);
}

static void test_description(void **state)
{
    vg_options gpus = vg_defaults();
    emc_cuda_system system;
    emc_cuda_gpu gpu;
    emc_device *dev;

    (void)state;
    emc_cuda_describe_system(&system);
    assert_int_equal(system.n_gpus, 1);
    assert_string_equal(system.why_not, "");
    assert_true(system.needed_version > 0 && system.needed_version <= system.driver_version);
    assert_non_null(strstr(system.libraries, "cuBLASLt 13.1.0"));
    assert_true(strlen(emc_cuda_architectures()) > 0);
    gpus.n_sms = 132;
    vg_set(&gpus);
    EMT_OK(emc_cuda_describe_gpu(0, &gpu));
    assert_string_equal(gpu.name, "virtual GPU");
    assert_int_equal(gpu.n_sms, 132);
    assert_int_equal(gpu.compute_capability, 90);
    assert_true(gpu.memory == gpus.memory_bytes && gpu.usable);
    dev = cuda_case_open(NULL, NULL);
    assert_non_null(strstr(dev->description, "cuda:0, virtual GPU, 132 SMs"));
    assert_non_null(strstr(dev->description, "cuBLASLt 13.1.0"));
    assert_int_equal(dev->step_rows, 8448);
    assert_int_equal(dev->reader_rows, 512);
    cuda_case_close(dev);
    gpus.n_sms = 5;
    vg_set(&gpus);
    dev = cuda_case_open(NULL, NULL);
    assert_int_equal(dev->step_rows, 384);
    assert_int_equal(dev->reader_rows, 128);
    cuda_case_close(dev);
}

/* --- Memory, copies, events ------------------------------------------------------------------- */

static void test_copies(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);
    const emc_ops *ops = dev->ops;
    emc_event *from, *to;
    char *host, back[64];
    void *a, *b;
    float ms = -1;

    (void)state;
    EMT_OK(ops->alloc(dev, &a, 64, "a"));
    EMT_OK(ops->alloc(dev, &b, 64, "b"));
    EMT_OK(ops->alloc_host(dev, (void **)&host, 128, "host"));
    for (size_t i = 0; i < 128; i++)
        assert_int_equal(host[i], 0);
    EMT_OK(ops->download(dev, back, a, 64));
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(back[i], 0);
    EMT_OK(ops->event_open(dev, &from));
    EMT_OK(ops->event_open(dev, &to));
    memset(host, 7, 64);
    EMT_OK(ops->event_record(dev, from));
    EMT_OK(ops->upload_async(dev, a, host, 64));
    EMT_OK(ops->copy(dev, b, a, 64));
    EMT_OK(ops->download_async(dev, host + 64, b, 64));
    EMT_OK(ops->event_record(dev, to));
    EMT_OK(ops->event_wait(dev, to));
    assert_memory_equal(host, host + 64, 64);
    EMT_OK(ops->event_ms(dev, from, to, &ms));
    assert_true(ms >= 0);
    /* upload: the source may be used again at once. */
    memset(back, 9, sizeof back);
    EMT_OK(ops->upload(dev, a, back, 64));
    memset(back, 0, sizeof back);
    EMT_OK(ops->download(dev, back, a, 64));
    assert_int_equal(back[63], 9);
    ops->event_close(dev, from);
    ops->event_close(dev, to);
    ops->event_close(dev, NULL);
    ops->release_host(dev, host);
    ops->release_host(dev, NULL);
    ops->release(dev, a);
    ops->release(dev, b);
    ops->release(dev, NULL);
    cuda_case_close(dev);
}

static void test_no_memory_is_named(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);
    size_t n_free, n_whole;
    void *memory;

    (void)state;
    EMT_OK(dev->ops->memory(dev, &n_free, &n_whole));
    assert_true(n_free < n_whole && n_whole == vg_defaults().memory_bytes);
    EMT_FAILS(EMC_ERR_DEVICE,
              "no memory for pages: ", dev->ops->alloc(dev, &memory, n_whole, "pages"));
    assert_null(memory);
    assert_non_null(strstr(emc_message(), " bytes are wanted, "));
    EMT_OK(dev->ops->alloc(dev, &memory, n_free / 2, "half")); /* and goes on */
    dev->ops->release(dev, memory);
    cuda_case_close(dev);
}

/* All that takes memory: a matrix, an update, tensors, an algorithm's measurement, scratch. */
static emc_status use_memory(emc_device *dev)
{
    enum { rows = 130, n = 96, k = 64, rank = 5 };
    static float a[rank * k], b[n * rank], scale[n];
    const emc_lora_spec spec = {a, b, scale, rank, n, k};
    uint64_t seed = 5;
    emt_weights part = emt_part(dev, n, k, EMC_BF16, 0, 1.0, &seed);
    emc_matrix *matrix = NULL;
    emc_lora *lora = NULL;
    void *x = NULL, *out = NULL;
    emc_status status = dev->ops->matrix_open(dev, &matrix, &part.part, 1, k);

    if (status == EMC_OK)
        status = dev->ops->lora_open(dev, &lora, &spec);
    if (status == EMC_OK)
        status = dev->ops->alloc(dev, &x, (size_t)rows * k * 2, "x");
    if (status == EMC_OK)
        status = dev->ops->alloc(dev, &out, (size_t)rows * n * 2, "out");
    if (status == EMC_OK) {
        const emc_linear_args args = {
            .out = out, .x = x, .w = matrix, .n = n, .lora = lora, .rows = rows};
        status = dev->ops->linear(dev, &args);
    }
    if (status == EMC_OK)
        status = dev->ops->sync(dev);
    dev->ops->release(dev, x);
    dev->ops->release(dev, out);
    dev->ops->lora_close(dev, lora);
    dev->ops->matrix_close(dev, matrix);
    emt_free_weights(&part);
    return status;
}

/* With so many bytes free, from none to enough, every allocation is the first to fail once. */
static void test_no_memory_anywhere(void **state)
{
    const emc_cuda_options options = {.dtype = EMC_BF16};
    const vg_counts before = vg_read_counts();
    vg_options gpus = vg_defaults();
    char names[16][40];
    size_t n_names = 0;
    emc_status status = EMC_ERR_DEVICE;

    (void)state;
    gpus.memory_bytes = 4 * MIB; /* and so a workspace of 4 KiB */
    for (size_t room = 0; status != EMC_OK; room += 2048) {
        emc_device *dev;
        assert_true(room < MIB);
        gpus.memory_bytes = room;
        vg_set(&gpus);
        status = emc_cuda_open(&dev, &options);
        if (status == EMC_OK) {
            status = use_memory(dev);
            cuda_case_close(dev);
        }
        if (status != EMC_OK) {
            char name[40] = "";
            assert_int_equal(status, EMC_ERR_DEVICE);
            assert_int_equal(sscanf(emc_message(), "cuda:0: no memory for %39[^:]", name), 1);
            if (n_names == 0 || strcmp(names[n_names - 1], name) != 0)
                memcpy(names[n_names++], name, sizeof name);
            assert_true(n_names < EMC_COUNT(names));
        }
        assert_int_equal(vg_read_counts().live_allocations, before.live_allocations);
        assert_int_equal(vg_read_counts().live_host_allocations, before.live_host_allocations);
    }
    assert_true(n_names >= 5);
}

/* --- Steps ------------------------------------------------------------------------------------ */

typedef struct {
    emc_matrix *matrix;
    emc_lora *lora;
    emt_weights part;
    void *x, *out, *residual;
    emc_linear_args args;
} layer;

static layer open_layer(emc_device *dev, bool with_lora, bool scaled)
{
    enum { rows = 100, n = 96, k = 64, rank = 70 };
    float *a = calloc((size_t)rank * k, sizeof *a), *b = calloc((size_t)n * rank, sizeof *b);
    float scale[n];
    const emc_lora_spec spec = {a, b, scaled ? scale : NULL, rank, n, k};
    layer l = {0};

    for (int i = 0; i < n; i++)
        scale[i] = 1.5f;
    l.matrix = cuda_case_matrix(dev, &l.part, n, k);
    if (with_lora)
        EMT_OK(dev->ops->lora_open(dev, &l.lora, &spec));
    EMT_OK(dev->ops->alloc(dev, &l.x, (size_t)128 * k * 2, "x"));
    EMT_OK(dev->ops->alloc(dev, &l.out, (size_t)128 * n * 2, "out"));
    EMT_OK(dev->ops->alloc(dev, &l.residual, (size_t)128 * n * 2, "residual"));
    l.args = (emc_linear_args){.out = l.out,
                               .x = l.x,
                               .w = l.matrix,
                               .n = n,
                               .lora = l.lora,
                               .residual = l.residual,
                               .rows = rows,
                               .batch_rows = 128};
    free(a);
    free(b);
    return l;
}

static void close_layer(emc_device *dev, layer *l)
{
    dev->ops->release(dev, l->x);
    dev->ops->release(dev, l->out);
    dev->ops->release(dev, l->residual);
    dev->ops->lora_close(dev, l->lora);
    dev->ops->matrix_close(dev, l->matrix);
    emt_free_weights(&l->part);
}

/* What was prepared neither allocates nor waits, nor asks the library; fewer rows neither. */
static void test_prepared(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        layer l = open_layer(dev, kind > 0, kind > 1);
        emc_linear_args sizes = l.args;
        vg_counts counts;

        sizes.rows = 128;
        sizes.out = NULL;
        sizes.x = NULL;
        sizes.residual = &sizes; /* that there is one counts */
        EMT_OK(dev->ops->prepare_linear(dev, &sizes));
        EMT_OK(dev->ops->sync(dev));
        vg_reset_counts();
        vg_lt_reset_counts();
        for (l.args.rows = 128; l.args.rows > 0; l.args.rows -= 50)
            EMT_OK(dev->ops->linear(dev, &l.args));
        counts = vg_read_counts();
        assert_int_equal(counts.allocations, 0);
        assert_int_equal(counts.waits, 0);
        assert_int_equal(counts.copied_bytes, 0);
        assert_int_equal(vg_lt_read_counts().heuristics, 0);
        assert_true(vg_lt_read_counts().products >= 3);
        EMT_OK(dev->ops->sync(dev));
        close_layer(dev, &l);
    }
    EMT_FAILS(EMC_ERR_ARG, "prepare_linear",
              dev->ops->prepare_linear(dev, &(emc_linear_args){.rows = 1}));
    cuda_case_close(dev);
}

/* The device goes at the n-th launch, for many n: errors that say so, no crash, no leak. */
static void test_lost(void **state)
{
    vg_options gpus = vg_defaults();
    const emc_cuda_options options = {.dtype = EMC_BF16};
    bool ended = false;

    (void)state;
    /* How many launches there are depends on how often products are measured. */
    for (int n = 0; !ended; n += n < 40 ? 1 : n / 2) {
        emc_device *dev;
        emc_status status;
        char byte;

        assert_true(n < 1000000);
        vg_clear();
        gpus.lost_after = n;
        vg_set(&gpus);
        EMT_OK(emc_cuda_open(&dev, &options));
        status = use_memory(dev);
        ended = status == EMC_OK;
        if (!ended) {
            assert_int_equal(status, EMC_ERR_DEVICE);
            assert_non_null(strstr(emc_message(), "the GPU is lost to this process"));
            EMT_FAILS(EMC_ERR_DEVICE, "lost", dev->ops->sync(dev));
            EMT_FAILS(EMC_ERR_DEVICE, "lost", dev->ops->download(dev, &byte, &byte, 1));
        }
        cuda_case_close(dev);
        vg_clear();
    }
}

/* An operation breaks the device, and the library is the first to notice. */
static void test_lost_to_the_library(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);
    layer l = open_layer(dev, false, false);
    vg_options gpus = vg_defaults();
    vg_lt_options products = vg_lt_defaults();

    (void)state;
    EMT_OK(dev->ops->prepare_linear(dev, &l.args));
    EMT_OK(dev->ops->sync(dev));
    gpus.async = VG_LATE;
    gpus.lost_after = 0;
    vg_set(&gpus);
    EMT_OK(dev->ops->linear(dev, &l.args));
    products.fails_after = 0;
    vg_lt_set(&products);
    EMT_FAILS(EMC_ERR_DEVICE, "the GPU is lost to this process", dev->ops->linear(dev, &l.args));
    assert_non_null(strstr(emc_message(), "CUBLAS_STATUS_EXECUTION_FAILED"));
    assert_non_null(strstr(emc_message(), "CUDA_LAUNCH_BLOCKING=1"));
    close_layer(dev, &l);
    cuda_case_close(dev);
    vg_clear();
}

/* --- Several GPUs ----------------------------------------------------------------------------- */

typedef struct {
    int index;
    uint16_t *out;
    emc_status status;
} job;

static void *run_job(void *context)
{
    job *j = context;
    const emc_cuda_options options = {.dtype = EMC_BF16, .index = j->index};
    emc_device *dev;

    j->status = emc_cuda_open(&dev, &options);
    for (int i = 0; i < 3 && j->status == EMC_OK; i++) {
        free(j->out);
        j->status = cuda_case_product(dev, &j->out, 40, 72, 64, 0);
    }
    if (dev)
        dev->ops->close(dev);
    return NULL;
}

static void test_two_devices(void **state)
{
    vg_options gpus = vg_defaults();
    job jobs[2] = {{.index = 0}, {.index = 1}};
    pthread_t threads[2];

    (void)state;
    gpus.n_devices = 2;
    vg_set(&gpus);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(jobs[0].status, EMC_OK);
    assert_int_equal(jobs[1].status, EMC_OK);
    assert_memory_equal(jobs[0].out, jobs[1].out, (size_t)40 * 72 * 2);
    free(jobs[0].out);
    free(jobs[1].out);
}

/* One thread with two devices in turn: each call makes its own current. */
static void test_devices_in_turn(void **state)
{
    vg_options gpus = vg_defaults();
    emc_device *devs[2];

    (void)state;
    gpus.n_devices = 2;
    vg_set(&gpus);
    for (int i = 0; i < 2; i++) {
        const emc_cuda_options options = {.dtype = EMC_BF16, .index = i};
        EMT_OK(emc_cuda_open(&devs[i], &options));
    }
    for (int i = 0; i < 4; i++) {
        uint16_t *out;
        EMT_OK(cuda_case_product(devs[i % 2], &out, 10, 16, 24, i));
        free(out);
    }
    cuda_case_close(devs[0]);
    cuda_case_close(devs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CUDA_CASE(test_absent),
        CUDA_CASE(test_too_old),
        CUDA_CASE(test_description),
        CUDA_CASE(test_copies),
        CUDA_CASE(test_no_memory_is_named),
        CUDA_CASE(test_no_memory_anywhere),
        CUDA_CASE(test_prepared),
        CUDA_CASE(test_lost),
        CUDA_CASE(test_lost_to_the_library),
        CUDA_CASE(test_two_devices),
        CUDA_CASE(test_devices_in_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
