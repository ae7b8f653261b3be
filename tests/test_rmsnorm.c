/* rmsnorm and add_rmsnorm on every device. */
#include <math.h>
#include <stdlib.h>

#include "emt_device.h"
#include "ref/ref_rows.h"

#define EPS 1e-6f

static const struct {
    int rows, dim;
    double scale;
    bool in_place; /* out is x; with an addition: out is y */
    const char *reaches;
} cases[] = {
    {1, 8, 1, false, "the smallest row"},
    {3, 16, 1, false, "one chunk"},
    {17, 24, 1, true, "an unfinished chunk, a second item, in place"},
    {5, 128, 1, false, "several chunks"},
    {7, 248, 1, true, "just under a chunk for each lane, and a warp for each row"},
    {8, 256, 1, false, "a chunk for each lane, and a warp for each row"},
    {9, 264, 1, false, "just over them"},
    {2, 1000, 1, true, "an odd number of chunks"},
    {3, 1016, 1, false, "just under what a warp holds"},
    {33, 1024, 1, false, "width of the 0.6B model: what a warp holds"},
    {3, 1032, 1, true, "just over it: a second warp"},
    {2, 2560, 1, false, "width of the 4B model"},
    {2, 4096, 100, false, "width of the 8B model, large values"},
    {3, 5120, 1, true, "width of the 14B model"},
    {1, 16384, 1, false, "sixteen warps"},
    {2, 32768, 1, false, "the largest row that is held"},
    {2, 32776, 1, true, "just over it"},
    {2, 64, 1e-4, false, "eps of the size of the mean square"},
};

/* Besides the store's rounding: the sum of squares by less than sqrt(dim) 2^-24 of itself (its
 * terms have one sign), half of that after the root, and five roundings. */
static double tolerance(const emc_device *dev, int dim)
{
    return 1.01 * emt_rounding(dev) + (0.5 * sqrt(dim) + 5.0) * 0x1p-24;
}

static void want_rows(double *want, const double *x, const double *weight, int rows, int dim)
{
    for (int r = 0; r < rows; r++)
        ref_rmsnorm(want + (size_t)r * (size_t)dim, x + (size_t)r * (size_t)dim, weight, dim, EPS);
}

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

        want_rows(want, x.value, weight.value, rows, dim);
        EMT_OK(dev->ops->rmsnorm(dev, target->d, x.d, weight.d, rows, dim, EPS));
        emt_fetch(target);
        emt_close(cases[i].reaches, target, want, tolerance(dev, dim), NULL);
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

/* The sum as it is stored: one f32 addition, one rounding. */
static double stored_sum(const emc_device *dev, double x, double y)
{
    const float sum = (float)x + (float)y;

    return dev->dtype == EMC_BF16 ? emc_bf16_to_f32(emc_f32_to_bf16(sum)) : sum;
}

static void adding(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const int rows = cases[i].rows, dim = cases[i].dim;
        const size_t n = (size_t)rows * (size_t)dim;
        uint64_t seed = 5;
        emt_buf x = emt_normals(dev, n, cases[i].scale, &seed);
        emt_buf y = emt_normals(dev, n, 0.3 * cases[i].scale, &seed);
        emt_buf weight = emt_normals(dev, (size_t)dim, 2.0, &seed);
        emt_buf out = emt_poison(dev, n);
        emt_buf *target = cases[i].in_place ? &y : &out;
        double *sum = calloc(n, sizeof *sum), *want = calloc(n, sizeof *want);

        for (size_t j = 0; j < n; j++)
            sum[j] = stored_sum(dev, x.value[j], y.value[j]);
        want_rows(want, sum, weight.value, rows, dim);
        EMT_OK(dev->ops->add_rmsnorm(dev, target->d, x.d, y.d, weight.d, rows, dim, EPS));
        emt_fetch(&x);
        emt_fetch(target);
        emt_close(cases[i].reaches, &x, sum, 0.0, NULL);
        emt_close(cases[i].reaches, target, want, tolerance(dev, dim), NULL);
        emt_free(&x);
        emt_free(&y);
        emt_free(&weight);
        emt_free(&out);
        free(sum);
        free(want);
    }
}

static void test_adding(void **state)
{
    (void)state;
    emt_each_device(adding);
}

/* Rows from the third on, alone, and with an addition that changes nothing: the same bytes. */
static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    static const int dims[] = {72, 1536};
    emc_device *dev = emt_open(kind, dtype, 3);

    for (size_t i = 0; i < EMC_COUNT(dims); i++) {
        uint64_t seed = 2;
        const int rows = 40, dim = dims[i];
        const size_t n = (size_t)rows * (size_t)dim, from = 3 * (size_t)dim;
        double *zeros = calloc(n - from, sizeof *zeros);
        emt_buf x = emt_normals(dev, n, 1.0, &seed);
        emt_buf weight = emt_normals(dev, (size_t)dim, 1.0, &seed);
        emt_buf some = emt_values(dev, x.value + from, n - from);
        emt_buf zero = emt_values(dev, zeros, n - from);
        emt_buf out = emt_poison(dev, n), out_some = emt_poison(dev, n - from);

        EMT_OK(dev->ops->rmsnorm(dev, out.d, x.d, weight.d, rows, dim, EPS));
        EMT_OK(dev->ops->rmsnorm(dev, out_some.d, some.d, weight.d, rows - 3, dim, EPS));
        emt_fetch(&out);
        emt_fetch(&out_some);
        emt_same("rmsnorm", &out, from, &out_some, 0, n - from);
        EMT_OK(dev->ops->add_rmsnorm(dev, zero.d, some.d, zero.d, weight.d, rows - 3, dim, EPS));
        emt_fetch(&zero);
        emt_same("add_rmsnorm", &out, from, &zero, 0, n - from);
        emt_free(&x);
        emt_free(&weight);
        emt_free(&some);
        emt_free(&zero);
        emt_free(&out);
        emt_free(&out_some);
        free(zeros);
    }
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

static void limits_of_adding(emc_device *dev)
{
    emt_buf x = emt_poison(dev, 64), y = emt_poison(dev, 64), weight = emt_poison(dev, 32);
    emt_buf out = emt_poison(dev, 64);
    char *shifted = (char *)out.d + 8;

#define REFUSED(text, out_, x_, y_, weight_, rows_, dim_)                                          \
    EMT_FAILS(EMC_ERR_ARG, text,                                                                   \
              dev->ops->add_rmsnorm(dev, out_, x_, y_, weight_, rows_, dim_, EPS))
    REFUSED("add_rmsnorm: rows=0 dim=32", out.d, x.d, y.d, weight.d, 0, 32);
    REFUSED("dim=0", out.d, x.d, y.d, weight.d, 1, 0);
    REFUSED("dim=12", out.d, x.d, y.d, weight.d, 1, 12);
    REFUSED("16-byte", shifted, x.d, y.d, weight.d, 1, 32);
    REFUSED("16-byte", out.d, shifted, y.d, weight.d, 1, 32);
    REFUSED("16-byte", out.d, x.d, shifted, weight.d, 1, 32);
    REFUSED("16-byte", out.d, x.d, y.d, shifted, 1, 32);
    REFUSED("x apart from", x.d, x.d, y.d, weight.d, 1, 32);
    REFUSED("x apart from", out.d, x.d, x.d, weight.d, 1, 32);
    REFUSED("x apart from", out.d, x.d, (char *)x.d + 48, weight.d, 1, 32);
    REFUSED("out to be y or apart", (char *)y.d + 16, x.d, y.d, weight.d, 1, 32);
#undef REFUSED
    emt_fetch(&out);
    assert_true(isnan(out.value[0]));
    emt_free(&x);
    emt_free(&y);
    emt_free(&weight);
    emt_free(&out);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(limits);
    emt_each_device(limits_of_adding);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_adding),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
