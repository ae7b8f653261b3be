/* Are the counts right for kernels whose use of memory is known? */
#include <string.h>

#include "virtual_gpu/own_test.h"

static vg_kernel_counts counts_of(const char *kernel)
{
    vg_kernel_counts c;

    CUDA_OK(cudaDeviceSynchronize());
    assert_true(vg_kernel_stats(kernel, &c));
    return c;
}

/* A warp's floats, `stride` apart: sectors touched, and the 4 that 128 bytes need. */
static void strides_of(float *d, int from, int to, unsigned load, unsigned store)
{
    vg_kernel_counts c;

    vg_reset_counts();
    CUDA_OK(own_strided(d + 4096, d, from, to, NULL));
    c = counts_of("strided_kernel");
    assert_int_equal(c.launches, 1);
    assert_int_equal(c.blocks, 1);
    if (!vg_is_checking())
        return;
    assert_int_equal(c.load_sectors, load);
    assert_int_equal(c.least_load_sectors, from ? 4 : 1);
    assert_int_equal(c.store_sectors, store);
    assert_int_equal(c.least_store_sectors, 4);
}

static void sectors(void)
{
    float *d = to_device(NULL, 8192 * sizeof *d);

    CUDA_OK(cudaMemset(d, 0, 8192 * sizeof *d));
    strides_of(d, 1, 1, 4, 4);
    strides_of(d, 2, 1, 8, 4);
    strides_of(d, 1, 8, 4, 32);
    strides_of(d, 100, 3, 32, 12);
    strides_of(d, 0, 1, 1, 4);     /* all lanes read one */
    strides_of(d + 1, 1, 1, 5, 5); /* 4 bytes into a sector */
    CUDA_OK(cudaFree(d));
}

/* A chunk of 16 bytes counts as one access, however the compiler cuts it up. */
static void wide(void)
{
    unsigned char *d = to_device(NULL, 1024);
    vg_kernel_counts c;

    CUDA_OK(cudaMemset(d, 0, 1024));
    vg_reset_counts();
    CUDA_OK(own_wide(d + 512, d, NULL));
    c = counts_of("wide_kernel");
    if (vg_is_checking()) {
        assert_int_equal(c.load_sectors, 16);
        assert_int_equal(c.least_load_sectors, 16);
        assert_int_equal(c.store_sectors, 16);
        assert_int_equal(c.least_store_sectors, 16);
    }
    CUDA_OK(cudaFree(d));
}

static void banks_of(float *d, int stride, unsigned passes)
{
    vg_kernel_counts c;

    vg_reset_counts();
    CUDA_OK(own_shared_stride(d, stride, NULL));
    c = counts_of("shared_stride_kernel");
    if (!vg_is_checking())
        return;
    assert_int_equal(c.shared_passes, 2 * passes);
    assert_int_equal(c.least_shared_passes, 2);
}

static void banks(void)
{
    float *d = to_device(NULL, 32 * sizeof *d);

    banks_of(d, 1, 1);
    banks_of(d, 2, 2);
    banks_of(d, 32, 32);
    banks_of(d, 33, 1);
    CUDA_OK(cudaFree(d));
}

static void ldmatrix(void)
{
    unsigned char *d = to_device(NULL, 1024);
    vg_kernel_counts c;

    CUDA_OK(cudaMemset(d, 0, 1024));
    for (int bad = 0; bad < 2; bad++) {
        vg_reset_counts();
        CUDA_OK(own_ldmatrix(d + 512, d, 4, false, bad, NULL));
        c = counts_of(NULL);
        assert_int_equal(c.ldmatrix_rows, 4);
        assert_int_equal(c.ldmatrix_conflicts, bad ? 4 * 7 : 0);
    }
    CUDA_OK(cudaFree(d));
}

static void test_sectors(void **state)
{
    (void)state;
    each_schedule(sectors);
}

static void test_wide(void **state)
{
    (void)state;
    each_schedule(wide);
}

static void test_banks(void **state)
{
    (void)state;
    each_schedule(banks);
}

static void test_ldmatrix(void **state)
{
    (void)state;
    each_schedule(ldmatrix);
}

static void test_names(void **state)
{
    static const int zeros[4];
    int *x = to_device(zeros, sizeof zeros), *out = to_device(zeros, sizeof zeros);
    int *many = to_device(NULL, 64 * sizeof *many);
    vg_kernel_counts c;

    (void)state;
    CUDA_OK(cudaMemset(many, 0, 64 * sizeof *many));
    vg_reset_counts();
    assert_false(vg_kernel_stats("primitives_kernel", &c));
    CUDA_OK(own_primitives(x, 1, out, many, out + 1, out + 2, NULL));
    c = counts_of("primitives_kernel");
    assert_int_equal(c.launches, 2);
    assert_int_equal(counts_of("primitives_kernel<4>").launches, 1);
    assert_false(vg_kernel_stats("primitives", &c));
    assert_int_equal(counts_of(NULL).launches, 2);
    CUDA_OK(cudaFree(x));
    CUDA_OK(cudaFree(out));
    CUDA_OK(cudaFree(many));
}

static void test_host_calls(void **state)
{
    void *d, *pinned, *pageable;
    cudaStream_t stream;
    vg_counts c;

    (void)state;
    CUDA_OK(cudaStreamCreate(&stream));
    pageable = test_malloc(64);
    memset(pageable, 0, 64);
    vg_reset_counts();
    CUDA_OK(cudaMalloc(&d, 64));
    CUDA_OK(cudaMallocHost(&pinned, 64));
    c = vg_read_counts();
    assert_int_equal(c.allocations, 2);
    assert_int_equal(c.live_bytes, 64);
    assert_int_equal(c.live_host_allocations, 1);
    vg_reset_counts();
    CUDA_OK(cudaMemcpyAsync(d, pinned, 64, cudaMemcpyHostToDevice, stream));
    c = vg_read_counts();
    assert_int_equal(c.allocations + c.waits + c.pageable_copies, 0);
    assert_int_equal(c.copied_bytes, 64);
    CUDA_OK(cudaMemcpyAsync(pageable, d, 64, cudaMemcpyDeviceToHost, stream));
    assert_int_equal(vg_read_counts().pageable_copies, 1);
    CUDA_OK(cudaStreamSynchronize(stream));
    assert_int_equal(vg_read_counts().waits, 1);
    CUDA_OK(cudaFree(d));
    CUDA_OK(cudaFreeHost(pinned));
    CUDA_OK(cudaStreamDestroy(stream));
    c = vg_read_counts();
    assert_int_equal(c.live_allocations + c.live_host_allocations + c.live_streams, 0);
    assert_int_equal(c.peak_bytes, 64);
    test_free(pageable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sectors), cmocka_unit_test(test_wide),
        cmocka_unit_test(test_banks),   cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_host_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
