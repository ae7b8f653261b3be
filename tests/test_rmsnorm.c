/* rmsnorm on every device. */
#include <math.h>
#include <stdlib.h>

#include "emt_device.h"
#include "ref/ref_rows.h"

#define EPS 1e-6f

static const struct {
    int rows, dim;
    double scale;
    bool in_place;
    const char *reaches;
} cases[] = {
    {1, 8, 1, false, "the smallest row"},
    {3, 16, 1, false, "one chunk"},
    {17, 24, 1, true, "an unfinished chunk, a second item, in place"},
    {5, 128, 1, false, "several chunks"},
    {2, 1000, 1, true, "an odd number of chunks"},
    {33, 1024, 1, false, "width of the 0.6B model"},
    {2, 4096, 100, false, "width of the 8B model, large values"},
    {2, 64, 1e-4, false, "eps of the size of the mean square"},
};

static void on_device(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const int rows = cases[i].rows, dim = cases[i].dim;
        const size_t n = (size_t)rows * (size_t)dim;
        uint64_t seed = 1;
        emt_buf x = emt_normals(dev, n, cases[i].scale, &seed);
        emt_buf weight = emt_normals(dev, (size_t)dim, 2.0, &seed);
        emt_buf out = emt_poison(dev, n);
        emt_buf *target = cases[i].in_place ? &x : &out;
        double *want = calloc(n, sizeof *want);

        for (int r = 0; r < rows; r++)
            ref_rmsnorm(want + (size_t)r * (size_t)dim, x.value + (size_t)r * (size_t)dim,
                        weight.value, dim, EPS);
        EMT_OK(dev->ops->rmsnorm(dev, target->d, x.d, weight.d, rows, dim, EPS));
        emt_fetch(target);
        /* Besides the store's rounding: the sum of squares by less than sqrt(dim) 2^-24 of itself
         * (its terms have one sign), half of that after the root, and five roundings. */
        const double inner = (0.5 * sqrt(dim) + 5.0) * 0x1p-24;
        emt_close(cases[i].reaches, target, want, 1.01 * emt_rounding(dev) + inner, NULL);
        emt_free(&x);
        emt_free(&weight);
        emt_free(&out);
        free(want);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    emt_each_device(on_device);
}

/* Rows from the third on, alone: the same bytes. */
static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    emc_device *dev = emt_open(kind, dtype, 3);
    uint64_t seed = 2;
    const int rows = 40, dim = 72;
    const size_t n = (size_t)rows * (size_t)dim, from = 3 * (size_t)dim;
    emt_buf x = emt_normals(dev, n, 1.0, &seed), weight = emt_normals(dev, (size_t)dim, 1.0, &seed);
    emt_buf some = emt_values(dev, x.value + from, n - from);
    emt_buf out = emt_poison(dev, n), out_some = emt_poison(dev, n - from);

    EMT_OK(dev->ops->rmsnorm(dev, out.d, x.d, weight.d, rows, dim, EPS));
    EMT_OK(dev->ops->rmsnorm(dev, out_some.d, some.d, weight.d, rows - 3, dim, EPS));
    emt_fetch(&out);
    emt_fetch(&out_some);
    emt_same("rmsnorm", &out, from, &out_some, 0, n - from);
    emt_free(&x);
    emt_free(&weight);
    emt_free(&some);
    emt_free(&out);
    emt_free(&out_some);
    emt_close_device(dev);
}

static void test_rows_alone(void **state)
{
    (void)state;
    emt_each_kind(rows_alone);
}

static void limits(emc_device *dev)
{
    emt_buf x = emt_poison(dev, 64), weight = emt_poison(dev, 32), out = emt_poison(dev, 64);
    char *shifted = (char *)out.d + 8;
    const emc_ops *ops = dev->ops;

    EMT_FAILS(EMC_ERR_ARG, "rmsnorm: rows=0 dim=32",
              ops->rmsnorm(dev, out.d, x.d, weight.d, 0, 32, EPS));
    EMT_FAILS(EMC_ERR_ARG, "dim=0", ops->rmsnorm(dev, out.d, x.d, weight.d, 1, 0, EPS));
    EMT_FAILS(EMC_ERR_ARG, "dim=-8", ops->rmsnorm(dev, out.d, x.d, weight.d, 1, -8, EPS));
    EMT_FAILS(EMC_ERR_ARG, "dim=12", ops->rmsnorm(dev, out.d, x.d, weight.d, 1, 12, EPS));
    EMT_FAILS(EMC_ERR_ARG, "16-byte", ops->rmsnorm(dev, shifted, x.d, weight.d, 1, 32, EPS));
    EMT_FAILS(EMC_ERR_ARG, "16-byte", ops->rmsnorm(dev, out.d, shifted, weight.d, 1, 32, EPS));
    EMT_FAILS(EMC_ERR_ARG, "16-byte", ops->rmsnorm(dev, out.d, x.d, shifted, 1, 32, EPS));
    EMT_FAILS(EMC_ERR_ARG, "apart from it",
              ops->rmsnorm(dev, (char *)x.d + 16, x.d, weight.d, 1, 32, EPS));
    emt_fetch(&out);
    assert_true(isnan(out.value[0]));
    emt_free(&x);
    emt_free(&weight);
    emt_free(&out);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
