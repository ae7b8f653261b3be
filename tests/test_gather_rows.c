/* gather_rows on every device: a copy, so the bytes are the same. */
#include <stdlib.h>

#include "emt_device.h"

static const struct {
    int n, n_x, dim;
    const char *reaches;
} cases[] = {
    {1, 1, 1, "one value"},
    {33, 7, 3, "rows taken several times, a second item"},
    {31, 100, 1024, "width of the 0.6B model"},
    {3, 5, 511, "values, just under a block's piece"},
    {3, 5, 513, "values, just over a block's piece"},
    {2, 5, 4088, "16 bytes at a time, just under a block's piece"},
    {3, 5, 4096, "width of the 8B model: a block's piece"},
    {2, 5, 4104, "just over a block's piece"},
    {2, 3, 5120, "width of the 14B model"},
    {5, 3, 8, "rows of 16 bytes"},
};

static void on_device(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const size_t n = (size_t)cases[i].n, dim = (size_t)cases[i].dim;
        uint64_t seed = 1;
        emt_buf x = emt_normals(dev, (size_t)cases[i].n_x * dim, 1.0, &seed);
        emt_buf out = emt_poison(dev, n * dim);
        int32_t *index = calloc(n, sizeof *index);

        for (size_t j = 0; j < n; j++)
            index[j] = (int32_t)(emt_random(&seed) % (uint64_t)cases[i].n_x);
        index[0] = cases[i].n_x - 1;
        emt_buf d_index = emt_ints(dev, index, n);
        EMT_OK(dev->ops->gather_rows(dev, out.d, x.d, d_index.d, cases[i].n, cases[i].dim));
        emt_fetch(&out);
        for (size_t j = 0; j < n; j++)
            emt_same(cases[i].reaches, &out, j * dim, &x, (size_t)index[j] * dim, dim);
        emt_free(&x);
        emt_free(&out);
        emt_free(&d_index);
        free(index);
    }
}

static void test_bytes(void **state)
{
    (void)state;
    emt_each_device(on_device);
}

static void limits(emc_device *dev)
{
    const int32_t index[] = {0};
    emt_buf x = emt_poison(dev, 32), out = emt_poison(dev, 32), d = emt_ints(dev, index, 1);

    EMT_FAILS(EMC_ERR_ARG, "gather_rows: n=0", dev->ops->gather_rows(dev, out.d, x.d, d.d, 0, 8));
    EMT_FAILS(EMC_ERR_ARG, "dim=0", dev->ops->gather_rows(dev, out.d, x.d, d.d, 1, 0));
    EMT_FAILS(EMC_ERR_ARG, "16-byte",
              dev->ops->gather_rows(dev, (char *)out.d + 2, x.d, d.d, 1, 8));
    EMT_FAILS(EMC_ERR_ARG, "16-byte",
              dev->ops->gather_rows(dev, out.d, (char *)x.d + 4, d.d, 1, 8));
    EMT_FAILS(EMC_ERR_ARG, "missing", dev->ops->gather_rows(dev, out.d, x.d, NULL, 1, 8));
    emt_free(&x);
    emt_free(&out);
    emt_free(&d);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
