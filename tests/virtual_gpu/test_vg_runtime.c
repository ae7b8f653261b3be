/* Does the virtual GPU's runtime behave as CUDA's, several devices and faults included? */
#include <pthread.h>
#include <string.h>

#include "virtual_gpu/own_test.h"

#define N 300

static vg_options late_options(void)
{
    vg_options options = vg_defaults();

    options.order = VG_FORWARD;
    options.async = VG_LATE;
    return options;
}

static int set_up(void **state)
{
    const vg_options options = late_options();

    (void)state;
    vg_set(&options);
    (void)cudaSetDevice(0);
    (void)cudaGetLastError();
    return 0;
}

static int tear_down(void **state)
{
    const vg_options options = vg_defaults();

    (void)state;
    vg_set(&options);
    vg_clear();
    return 0;
}

static void test_properties(void **state)
{
    vg_options options = late_options();
    struct cudaDeviceProp p;
    int n, version;

    (void)state;
    options.n_devices = 3;
    options.n_sms = 7;
    options.compute_capability = 120;
    options.memory_bytes = 1 << 20;
    vg_set(&options);
    CUDA_OK(cudaGetDeviceCount(&n));
    assert_int_equal(n, 3);
    CUDA_OK(cudaGetDeviceProperties(&p, 2));
    assert_int_equal(p.multiProcessorCount, 7);
    assert_int_equal(p.major, 12);
    assert_int_equal(p.minor, 0);
    assert_int_equal(p.totalGlobalMem, 1 << 20);
    CUDA_FAILS(cudaErrorInvalidDevice, cudaGetDeviceProperties(&p, 3));
    CUDA_FAILS(cudaErrorInvalidDevice, cudaSetDevice(-1));
    CUDA_FAILS(cudaErrorInvalidDevice, cudaPeekAtLastError());
    CUDA_FAILS(cudaErrorInvalidDevice, cudaGetLastError());
    CUDA_OK(cudaGetLastError());
    CUDA_OK(cudaSetDevice(2));
    CUDA_OK(cudaGetDevice(&n));
    assert_int_equal(n, 2);
    CUDA_OK(cudaRuntimeGetVersion(&version));
    assert_int_equal(version, CUDART_VERSION);
    CUDA_OK(cudaDriverGetVersion(&version));
    assert_int_equal(version, options.driver_version);
}

static void test_no_device(void **state)
{
    vg_options options = late_options();
    int n = 5, version;
    void *d;

    (void)state;
    options.n_devices = 0;
    vg_set(&options);
    CUDA_FAILS(cudaErrorNoDevice, cudaGetDeviceCount(&n));
    assert_int_equal(n, 0);
    CUDA_FAILS(cudaErrorNoDevice, cudaSetDevice(0));
    CUDA_FAILS(cudaErrorNoDevice, cudaMalloc(&d, 16));
    assert_string_equal(cudaGetErrorString(cudaErrorNoDevice),
                        "no CUDA-capable device is detected");
    options.n_devices = 1;
    options.driver_version = 12080;
    vg_set(&options);
    CUDA_FAILS(cudaErrorInsufficientDriver, cudaGetDeviceCount(&n));
    CUDA_FAILS(cudaErrorInsufficientDriver, cudaMalloc(&d, 16));
    CUDA_OK(cudaDriverGetVersion(&version));
    assert_int_equal(version, 12080);
}

static void test_memory(void **state)
{
    vg_options options = late_options();
    size_t n_free, n_whole;
    void *a, *b;

    (void)state;
    options.memory_bytes = 10000;
    vg_set(&options);
    CUDA_OK(cudaMalloc(&a, 6000));
    CUDA_OK(cudaMemGetInfo(&n_free, &n_whole));
    assert_int_equal(n_free, 4000);
    assert_int_equal(n_whole, 10000);
    CUDA_FAILS(cudaErrorMemoryAllocation, cudaMalloc(&b, 4001));
    assert_null(b);
    CUDA_FAILS(cudaErrorMemoryAllocation, cudaGetLastError());
    CUDA_OK(cudaGetLastError()); /* not a lasting one */
    CUDA_OK(cudaMalloc(&b, 4000));
    CUDA_OK(cudaFree(a));
    CUDA_OK(cudaFree(b));
    CUDA_OK(cudaFree(NULL));
    CUDA_OK(cudaMemGetInfo(&n_free, &n_whole));
    assert_int_equal(n_free, 10000);
}

/* Large memory is filled by mapping: its bytes must be as those of small memory. */
static void test_large_memory(void **state)
{
    const size_t n = (size_t)100 << 20;
    unsigned char *d, *got = test_malloc(n);
    size_t other = 0;

    (void)state;
    CUDA_OK(cudaMalloc((void **)&d, n));
    from_device(got, d, n);
    for (size_t i = 0; i < n; i++)
        other += got[i] != 0xff;
    assert_int_equal(other, 0);
    CUDA_OK(cudaMemset(d + 3, 7, n - 5));
    from_device(got, d, n);
    for (size_t i = 3; i < n - 2; i++)
        other += got[i] != 7;
    assert_int_equal(other, 0);
    assert_int_equal(got[2], 0xff);
    assert_int_equal(got[n - 2], 0xff);
    CUDA_OK(cudaFree(d));
    test_free(got);
}

/* Nothing happens before something waits for it; and then only what it needs. */
static void test_lateness(void **state)
{
    int x[N], y[N] = {0}, *d_x, *d_y;
    cudaStream_t copies, work;
    cudaEvent_t ready, done;
    float ms;

    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = i;
    d_x = to_device(NULL, sizeof x);
    d_y = to_device(NULL, sizeof y);
    CUDA_OK(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking));
    CUDA_OK(cudaStreamCreateWithFlags(&work, cudaStreamNonBlocking));
    CUDA_OK(cudaEventCreate(&ready));
    CUDA_OK(cudaEventCreate(&done));
    CUDA_OK(cudaMemcpyAsync(d_x, x, sizeof x, cudaMemcpyHostToDevice, copies));
    CUDA_OK(cudaEventRecord(ready, copies));
    CUDA_OK(cudaStreamWaitEvent(work, ready, 0));
    CUDA_OK(own_increment(d_y, d_x, N, work));
    CUDA_OK(cudaMemcpyAsync(y, d_y, sizeof y, cudaMemcpyDeviceToHost, work));
    CUDA_OK(cudaEventRecord(done, work));
    assert_int_equal(y[5], 0);
    CUDA_FAILS(cudaErrorNotReady, cudaEventElapsedTime(&ms, ready, done));
    while (cudaEventQuery(done) == cudaErrorNotReady)
        ;
    for (int i = 0; i < N; i++)
        assert_int_equal(y[i], i + 1);
    CUDA_OK(cudaEventElapsedTime(&ms, ready, done));
    assert_true(ms >= 0);
    CUDA_OK(cudaEventDestroy(ready));
    CUDA_OK(cudaEventDestroy(done));
    CUDA_OK(cudaStreamDestroy(copies));
    CUDA_OK(cudaStreamDestroy(work));
    CUDA_OK(cudaFree(d_x));
    CUDA_OK(cudaFree(d_y));
}

/* A host buffer that is changed before the copy was awaited: late, the device gets the new bytes;
 * early, the old ones. */
static void test_both_extremes(void **state)
{
    vg_options options = late_options();

    (void)state;
    for (options.async = VG_LATE; options.async <= VG_EARLY; options.async++) {
        int x = 1, got, *d_x = to_device(NULL, sizeof x);
        vg_set(&options);
        CUDA_OK(cudaMemcpyAsync(d_x, &x, sizeof x, cudaMemcpyHostToDevice, NULL));
        x = 2;
        CUDA_OK(cudaStreamSynchronize(NULL));
        from_device(&got, d_x, sizeof got);
        assert_int_equal(got, options.async == VG_LATE ? 2 : 1);
        CUDA_OK(cudaFree(d_x));
    }
}

/* The null stream comes after what blocking streams have, and before what they get. */
static void test_null_stream(void **state)
{
    int x[N], y[N], *d_x, *d_y;
    cudaStream_t stream;

    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = i;
    CUDA_OK(cudaStreamCreate(&stream));
    d_x = to_device(NULL, sizeof x);
    d_y = to_device(NULL, sizeof y);
    CUDA_OK(cudaMemcpyAsync(d_x, x, sizeof x, cudaMemcpyHostToDevice, stream));
    CUDA_OK(own_increment(d_y, d_x, N, NULL));
    CUDA_OK(own_increment(d_x, d_y, N, stream));
    CUDA_OK(cudaMemcpyAsync(y, d_x, sizeof y, cudaMemcpyDeviceToHost, stream));
    CUDA_OK(cudaStreamSynchronize(stream));
    for (int i = 0; i < N; i++)
        assert_int_equal(y[i], i + 2);
    CUDA_OK(cudaStreamDestroy(stream));
    CUDA_OK(cudaFree(d_x));
    CUDA_OK(cudaFree(d_y));
}

static void test_2d(void **state)
{
    unsigned char x[4][16], y[4][16];
    unsigned char *d = to_device(NULL, sizeof x);

    (void)state;
    for (int i = 0; i < 64; i++)
        x[i / 16][i % 16] = (unsigned char)i;
    CUDA_OK(cudaMemset(d, 0, sizeof x));
    CUDA_OK(cudaMemcpy2DAsync(d + 4, 16, x, 16, 3, 4, cudaMemcpyHostToDevice, NULL));
    from_device(y, d, sizeof y);
    for (int i = 0; i < 64; i++)
        assert_int_equal(y[i / 16][i % 16], i % 16 >= 4 && i % 16 < 7 ? x[i / 16][i % 16 - 4] : 0);
    CUDA_FAILS(cudaErrorInvalidPitchValue,
               cudaMemcpy2DAsync(d, 2, x, 16, 3, 4, cudaMemcpyHostToDevice, NULL));
    CUDA_OK(cudaFree(d));
}

static void test_launch_limits(void **state)
{
    int *d = to_device(NULL, 16);
    float *y = to_device(NULL, 128);

    (void)state;
    CUDA_FAILS(cudaErrorInvalidConfiguration, own_increment(d, d, 0, NULL)); /* no block */
    CUDA_OK(own_shared_stride(y, 384, NULL));
    CUDA_FAILS(cudaErrorInvalidValue, own_shared_stride(y, 385, NULL)); /* over 48 KiB */
    CUDA_OK(cudaDeviceSynchronize());
    CUDA_OK(cudaFree(d));
    CUDA_OK(cudaFree(y));
}

/* After so many launches the device is lost for good. */
static void test_lost_device(void **state)
{
    vg_options options = late_options();
    int *d = to_device(NULL, N * sizeof *d), n;

    (void)state;
    CUDA_OK(cudaMemset(d, 0, N * sizeof *d));
    options.n_devices = 2;
    options.lost_device = 0;
    options.lost_after = 2;
    vg_set(&options);
    CUDA_OK(own_increment(d, d, N, NULL));
    CUDA_OK(own_increment(d, d, N, NULL));
    CUDA_OK(cudaDeviceSynchronize());
    CUDA_OK(own_increment(d, d, N, NULL));
    CUDA_FAILS(cudaErrorLaunchFailure, cudaDeviceSynchronize());
    CUDA_FAILS(cudaErrorLaunchFailure, own_increment(d, d, N, NULL));
    CUDA_FAILS(cudaErrorLaunchFailure, cudaMemcpy(&n, d, sizeof n, cudaMemcpyDeviceToHost));
    CUDA_FAILS(cudaErrorLaunchFailure, cudaGetLastError());
    CUDA_FAILS(cudaErrorLaunchFailure, cudaGetLastError());
    assert_string_equal(cudaGetErrorString(cudaErrorLaunchFailure), "unspecified launch failure");
    assert_string_equal(vg_error(), "");
    CUDA_OK(cudaSetDevice(1)); /* the other one lives */
    CUDA_OK(cudaDeviceSynchronize());
    CUDA_FAILS(cudaErrorLaunchFailure, cudaFree(d));
    vg_clear();
}

typedef struct {
    int device;
    bool good;
} worker;

static void *work_on_device(void *argument)
{
    worker *w = argument;
    int x[N], y[N], *d;
    cudaStream_t stream;

    w->good = cudaSetDevice(w->device) == cudaSuccess && cudaStreamCreate(&stream) == cudaSuccess &&
              cudaMalloc((void **)&d, sizeof x) == cudaSuccess;
    for (int round = 0; w->good && round < 20; round++) {
        for (int i = 0; i < N; i++)
            x[i] = i + round * w->device;
        w->good = cudaMemcpyAsync(d, x, sizeof x, cudaMemcpyHostToDevice, stream) == cudaSuccess &&
                  own_increment(d, d, N, stream) == cudaSuccess &&
                  cudaMemcpyAsync(y, d, sizeof y, cudaMemcpyDeviceToHost, stream) == cudaSuccess &&
                  cudaStreamSynchronize(stream) == cudaSuccess;
        for (int i = 0; i < N; i++)
            w->good = w->good && y[i] == x[i] + 1;
    }
    w->good = w->good && cudaFree(d) == cudaSuccess && cudaStreamDestroy(stream) == cudaSuccess;
    return NULL;
}

/* A thread for each device, all at once. */
static void test_threads(void **state)
{
    vg_options options = late_options();
    worker workers[4];
    pthread_t threads[4];

    (void)state;
    options.n_devices = 4;
    vg_set(&options);
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker){.device = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work_on_device, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_true(workers[i].good);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_properties),   TEST(test_no_device), TEST(test_memory),
        TEST(test_large_memory), TEST(test_lateness),  TEST(test_both_extremes),
        TEST(test_null_stream),  TEST(test_2d),        TEST(test_launch_limits),
        TEST(test_lost_device),  TEST(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
