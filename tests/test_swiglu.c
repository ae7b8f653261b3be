/* swiglu on every device. */
#include <math.h>
#include <stdlib.h>

#include "emt_device.h"
#include "ref/ref_rows.h"

static const struct {
    int rows, ffn;
    double scale;
    const char *reaches;
} cases[] = {
    {1, 8, 1, "the smallest row"},
    {3, 64, 1, "one piece"},
    {9, 72, 1, "just over a piece"},
    {17, 56, 5, "just under a piece, a third item"},
    {3, 1016, 1, "just under a block's threads"},
    {3, 1032, 1, "just over a block's threads"},
    {2, 3064, 1, "just under a block's piece"},
    {2, 3072, 3, "ffn of the 0.6B model: a block's piece"},
    {3, 3080, 1, "just over a block's piece"},
    {2, 12288, 1, "ffn of the 8B model"},
    {1, 17408, 1, "ffn of the 14B model, an unfinished piece"},
    {65537, 8, 1, "more rows than a GPU's grid is high"},
    {2, 128, 60, "exp(-g) over- and underflows"},
};

static void on_device(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const size_t rows = (size_t)cases[i].rows, ffn = (size_t)cases[i].ffn;
        uint64_t seed = 1;
        emt_buf x = emt_normals(dev, rows * 2 * ffn, cases[i].scale, &seed);
        emt_buf out = emt_poison(dev, rows * ffn);
        double *want = calloc(rows * ffn, sizeof *want), *atol = calloc(rows * ffn, sizeof *atol);

        for (size_t r = 0; r < rows; r++) {
            for (size_t j = 0; j < ffn; j++) {
                const double up = x.value[(2 * r + 1) * ffn + j];
                want[r * ffn + j] = ref_silu(x.value[2 * r * ffn + j]) * up;
                /* Past g = -88 the exponential is infinite in f32 and silu(g) is 0, and a GPU's
                 * fast division gives 0 from 2^126 on: off by at most 88 * 2^-126 of up. */
                atol[r * ffn + j] = 88 * 0x1p-126 * fabs(up);
            }
        }
        EMT_OK(dev->ops->swiglu(dev, out.d, x.d, cases[i].rows, cases[i].ffn));
        emt_fetch(&out);
        /* Besides the store's rounding: exp by 2 ulp (2^-22), and three roundings. A GPU's fast
         * exp(g) is off by 2 + 1.2 |g| ulp: for |g| < 88 less than a hundredth of a bf16's. */
        emt_close(cases[i].reaches, &out, want, 1.01 * emt_rounding(dev) + 7 * 0x1p-24, atol);
        emt_free(&x);
        emt_free(&out);
        free(want);
        free(atol);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    emt_each_device(on_device);
}

static void special_values(emc_device *dev)
{
    const double g[8] = {-INFINITY, INFINITY, NAN, 0, -0.0, -1e30, 1e30, 1};
    double x[16];

    for (int i = 0; i < 8; i++) {
        x[i] = g[i];
        x[8 + i] = 1;
    }
    emt_buf in = emt_values(dev, x, 16), out = emt_poison(dev, 8);
    EMT_OK(dev->ops->swiglu(dev, out.d, in.d, 1, 8));
    emt_fetch(&out);
    assert_true(isnan(out.value[0])); /* -inf / inf, as the formula has it */
    assert_true(out.value[1] == INFINITY && isnan(out.value[2]));
    assert_true(out.value[3] == 0 && out.value[4] == 0 && out.value[5] == 0);
    assert_true(out.value[6] == in.value[6]);
    emt_free(&in);
    emt_free(&out);
}

static void test_special_values(void **state)
{
    (void)state;
    emt_each_device(special_values);
}

static void rows_alone(const emt_device_kind *kind, emc_dtype dtype)
{
    emc_device *dev = emt_open(kind, dtype, 3);
    uint64_t seed = 2;
    const size_t rows = 30, ffn = 72, from = 5;
    emt_buf x = emt_normals(dev, rows * 2 * ffn, 1.0, &seed);
    emt_buf some = emt_values(dev, x.value + from * 2 * ffn, (rows - from) * 2 * ffn);
    emt_buf out = emt_poison(dev, rows * ffn), out_some = emt_poison(dev, (rows - from) * ffn);

    EMT_OK(dev->ops->swiglu(dev, out.d, x.d, (int)rows, (int)ffn));
    EMT_OK(dev->ops->swiglu(dev, out_some.d, some.d, (int)(rows - from), (int)ffn));
    emt_fetch(&out);
    emt_fetch(&out_some);
    emt_same("swiglu", &out, from * ffn, &out_some, 0, out_some.n);
    emt_free(&x);
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
    emt_buf x = emt_poison(dev, 64), out = emt_poison(dev, 64);

    EMT_FAILS(EMC_ERR_ARG, "swiglu: rows=0 ffn=32", dev->ops->swiglu(dev, out.d, x.d, 0, 32));
    EMT_FAILS(EMC_ERR_ARG, "ffn=0", dev->ops->swiglu(dev, out.d, x.d, 1, 0));
    EMT_FAILS(EMC_ERR_ARG, "ffn=12", dev->ops->swiglu(dev, out.d, x.d, 1, 12));
    EMT_FAILS(EMC_ERR_ARG, "16-byte", dev->ops->swiglu(dev, (char *)out.d + 8, x.d, 1, 16));
    EMT_FAILS(EMC_ERR_ARG, "16-byte", dev->ops->swiglu(dev, out.d, (char *)x.d + 8, 1, 16));
    EMT_FAILS(EMC_ERR_ARG, "overlap", dev->ops->swiglu(dev, x.d, x.d, 1, 32));
    EMT_FAILS(EMC_ERR_ARG, "overlap", dev->ops->swiglu(dev, (char *)x.d + 48, x.d, 1, 32));
    emt_free(&x);
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
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_rows_alone),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
