/* Does the virtual GPU find the mistakes it is there for, and does nobody get away with one? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virtual_gpu/own_test.h"

#define N 100

static int set_up(void **state)
{
    vg_options options = vg_defaults();

    (void)state;
    options.async = VG_LATE;
    options.n_devices = 2;
    vg_set(&options);
    CUDA_OK(cudaSetDevice(0));
    return 0;
}

static int tear_down(void **state)
{
    const vg_options options = vg_defaults();

    (void)state;
    vg_clear();
    vg_set(&options);
    return 0;
}

/* The error says all of these; then the device is broken until it is cleared. */
static void expect_error(const char *kernel, const char *what, const char *where)
{
    const cudaError_t error = cudaDeviceSynchronize();
    const char *text = cudaGetErrorString(error);

    assert_int_not_equal(error, cudaSuccess);
    if (!strstr(text, kernel) || !strstr(text, what) || !strstr(text, where))
        fail_msg("wanted \"%s\", \"%s\" and \"%s\" in: %s", kernel, what, where, text);
    assert_non_null(strstr(text, vg_error()));
    assert_int_equal(cudaDeviceSynchronize(), error);
    assert_int_equal(cudaGetLastError(), error);
    vg_clear();
    assert_string_equal(vg_error(), "");
    CUDA_OK(cudaDeviceSynchronize());
}

static void test_kernels(void **state)
{
    static const struct {
        own_mistake mistake;
        bool fast_too; /* the fast build finds it as well */
        const char *says;
    } cases[] = {
        {MISTAKE_READ_PAST_END, false, "global read of 4 bytes outside every allocation"},
        {MISTAKE_WRITE_FAR, true, ""},
        {MISTAKE_RACE_BLOCKS, false, "race: global write, block"},
        {MISTAKE_RACE_THREADS, false, "without a barrier since"},
        {MISTAKE_UNWRITTEN_SHARED, false, "bytes nobody wrote"},
        {MISTAKE_DIVERGENT_BARRIER, true, "deadlock"},
        {MISTAKE_ABSENT_LANE, true, "which does not take part"},
        {MISTAKE_COPY_IN_FLIGHT, false, "in flight"},
        {MISTAKE_MISALIGNED, false, "misaligned"},
        {MISTAKE_TOO_DEEP, true, "invalid address"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int *d = to_device(NULL, N * sizeof *d);
        CUDA_OK(cudaMemset(d, 0, N * sizeof *d));
        if (!vg_is_checking() && !cases[i].fast_too) {
            CUDA_OK(cudaFree(d));
            continue;
        }
        CUDA_OK(own_make_mistake(cases[i].mistake, d, N, NULL));
        expect_error("mistake_kernel, block (", cases[i].says, "memory_use.cu:");
        CUDA_OK(cudaFree(d));
    }
}

static void test_memory_of_kernels(void **state)
{
    int on_host[N] = {0}, *d, *other;

    (void)state;
    if (!vg_is_checking()) /* nothing that the fast build could see */
        return;
    d = to_device(NULL, N * sizeof *d);
    CUDA_OK(own_increment(d, on_host, N, NULL));
    expect_error("increment_kernel", "kernel read of host memory", "memory_use.cu:");
    CUDA_OK(own_increment(d, d, N, NULL));
    expect_error("increment_kernel", "global read of bytes nobody wrote", "memory_use.cu:");
    CUDA_OK(cudaSetDevice(1));
    other = to_device(on_host, sizeof on_host);
    CUDA_OK(cudaSetDevice(0));
    CUDA_OK(own_increment(d, other, N, NULL));
    expect_error("increment_kernel", "memory of device 1 by a kernel on device 0", "");
    CUDA_OK(cudaFree(other));
    CUDA_OK(cudaMemset(d, 0, N * sizeof *d));
    CUDA_OK(cudaFree(d));
    CUDA_OK(own_increment(d, d, N, NULL));
    expect_error("increment_kernel", "freed", "");
}

static void expect_found(const char *says)
{
    if (!strstr(vg_error(), says))
        fail_msg("wanted \"%s\" in: %s", says, vg_error());
    vg_clear();
}

static void test_host(void **state)
{
    char bytes[64] = {0}, *d = to_device(bytes, sizeof bytes), *other;
    cudaStream_t stream, gone;
    cudaEvent_t event;

    (void)state;
    CUDA_FAILS(cudaErrorInvalidValue, cudaMemcpy(d + 1, bytes, 64, cudaMemcpyHostToDevice));
    expect_found("copy to: 64 bytes outside every allocation");
    CUDA_FAILS(cudaErrorInvalidValue, cudaMemcpy(d, bytes, 64, cudaMemcpyDeviceToHost));
    expect_found("device memory");
    CUDA_FAILS(cudaErrorInvalidValue, cudaFree(d + 16));
    expect_found("not the start of an allocation");
    CUDA_FAILS(cudaErrorInvalidValue, cudaFree(bytes));
    expect_found("host memory");
    CUDA_OK(cudaStreamCreate(&gone));
    CUDA_OK(cudaStreamDestroy(gone));
    CUDA_FAILS(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(gone));
    expect_found("after cudaStreamDestroy");
    CUDA_OK(cudaEventCreate(&event));
    CUDA_OK(cudaSetDevice(1));
    CUDA_OK(cudaStreamCreate(&stream));
    CUDA_FAILS(cudaErrorInvalidResourceHandle, cudaEventRecord(event, stream));
    expect_found("event of device 0 is recorded in a stream of device 1");
    CUDA_OK(cudaSetDevice(0));
    CUDA_FAILS(cudaErrorInvalidResourceHandle, own_increment((int *)d, (int *)d, 4, stream));
    expect_found("the stream is of device 1, device 0 is current");
    CUDA_OK(cudaEventDestroy(event));
    CUDA_OK(cudaStreamDestroy(stream));
    /* A copy that is still queued when its memory goes is carried out first. */
    CUDA_OK(cudaMalloc((void **)&other, 64));
    CUDA_OK(cudaMemcpyAsync(other, d, 64, cudaMemcpyDeviceToDevice, NULL));
    CUDA_OK(cudaFree(other));
    CUDA_OK(cudaFree(d));
    CUDA_FAILS(cudaErrorInvalidValue, cudaFree(d));
    expect_found("was freed before");
}

/* A process that ignores every answer ends with status 1 and the text. */
static void test_unread(void **state)
{
    char text[4000];
    size_t n;
    int ends[2], status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int *d;
        alarm(30);
        dup2(ends[1], STDERR_FILENO);
        (void)cudaMalloc((void **)&d, N * sizeof *d);
        (void)own_make_mistake(MISTAKE_WRITE_FAR, d, N, NULL);
        (void)cudaDeviceSynchronize();
        exit(0);
    }
    close(ends[1]);
    n = 0;
    for (ssize_t got; (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_non_null(strstr(text, "an error that nobody asked for: mistake_kernel"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_kernels),
        TEST(test_memory_of_kernels),
        TEST(test_host),
        TEST(test_unread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
