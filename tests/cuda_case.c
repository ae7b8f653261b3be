#include "cuda_case.h"

#include <stdlib.h>
#include <string.h>

static vg_counts at_start;

void cuda_case_set(const vg_options *options)
{
    vg_set(options);
}

int cuda_case_set_up(void **state)
{
    const vg_options options = vg_defaults();
    const vg_lt_options products = vg_lt_defaults();

    (void)state;
    vg_set(&options);
    vg_lt_set(&products);
    vg_clear();
    vg_reset_counts();
    vg_lt_reset_counts();
    at_start = vg_read_counts();
    return 0;
}

int cuda_case_tear_down(void **state)
{
    const vg_options options = vg_defaults();
    const vg_counts now = vg_read_counts();

    (void)state;
    assert_string_equal(vg_error(), "");
    assert_int_equal(now.live_allocations, at_start.live_allocations);
    assert_int_equal(now.live_host_allocations, at_start.live_host_allocations);
    assert_int_equal(now.live_streams, at_start.live_streams);
    assert_int_equal(now.live_events, at_start.live_events);
    assert_int_equal(vg_lt_read_counts().live_handles, 0);
    assert_int_equal(vg_lt_read_counts().cut, 0);
    vg_set(&options);
    vg_clear();
    return 0;
}

emc_device *cuda_case_open(const char *chosen, const char *cache_path)
{
    const emc_cuda_options options = {
        .dtype = EMC_BF16, .chosen = chosen, .cache_path = cache_path};
    emc_device *dev;

    EMT_OK(emc_cuda_open(&dev, &options));
    return dev;
}

void cuda_case_close(emc_device *dev)
{
    dev->ops->close(dev);
}

emc_matrix *cuda_case_matrix(emc_device *dev, emt_weights *part, int n, int k)
{
    uint64_t seed = 11;
    emc_matrix *matrix;

    *part = emt_part(dev, n, k, EMC_BF16, 0, 1.0, &seed);
    EMT_OK(dev->ops->matrix_open(dev, &matrix, &part->part, 1, k));
    return matrix;
}

/* Seeded numbers, row (r + first) % rows in place r. */
static uint16_t *turned(int rows, int k, int first)
{
    const size_t width = (size_t)k;
    uint16_t *bits = calloc((size_t)rows * width, sizeof *bits);
    uint64_t seed = 12;

    for (int r = 0; r < rows; r++) {
        const size_t place = (size_t)((r + rows - first % rows) % rows);
        for (size_t i = 0; i < width; i++)
            bits[place * width + i] = emc_f32_to_bf16((float)emt_normal(&seed));
    }
    return bits;
}

emc_status cuda_case_product(emc_device *dev, uint16_t **out, int rows, int n, int k, int first)
{
    const size_t x_bytes = (size_t)rows * (size_t)k * 2, d_bytes = (size_t)rows * (size_t)n * 2;
    uint16_t *x = turned(rows, k, first);
    uint64_t seed = 11;
    emt_weights part = emt_part(dev, n, k, EMC_BF16, 0, 1.0, &seed);
    void *d_x = NULL, *d_out = NULL;
    emc_matrix *matrix = NULL;
    emc_status status;

    *out = calloc(1, d_bytes);
    status = dev->ops->matrix_open(dev, &matrix, &part.part, 1, k);
    if (status == EMC_OK)
        status = dev->ops->alloc(dev, &d_x, x_bytes, "x");
    if (status == EMC_OK)
        status = dev->ops->alloc(dev, &d_out, d_bytes, "out");
    if (status == EMC_OK)
        status = dev->ops->upload(dev, d_x, x, x_bytes);
    if (status == EMC_OK) {
        const emc_linear_args args = {.out = d_out, .x = d_x, .w = matrix, .n = n, .rows = rows};
        status = dev->ops->linear(dev, &args);
    }
    if (status == EMC_OK)
        status = dev->ops->download(dev, *out, d_out, d_bytes);
    dev->ops->release(dev, d_x);
    dev->ops->release(dev, d_out);
    dev->ops->matrix_close(dev, matrix);
    emt_free_weights(&part);
    free(x);
    if (status != EMC_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}
