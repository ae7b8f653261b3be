/* Does the device language mean in the virtual GPU what CUDA's manuals say? */
#include <math.h>
#include <string.h>

#include "virtual_gpu/own_test.h"

static uint64_t seed = 1;

static uint16_t random_bf16(double *value)
{
    const float f = (float)emt_uniform(&seed) - 0.5f;
    uint32_t bits;
    float back;

    memcpy(&bits, &f, sizeof bits);
    bits &= 0xffff0000u; /* towards zero is as good as any rounding here */
    memcpy(&back, &bits, sizeof back);
    *value = (double)back;
    return (uint16_t)(bits >> 16);
}

#define MOST4 1000
typedef struct {
    int sum, hist[16], max;
} totals;

static void primitives_of(int n4)
{
    static int x[4 * MOST4];
    int firsts[MOST4 / 32 + 1], want_firsts[MOST4 / 128 + 1];
    totals want = {.max = -1}, got;
    int *d_x, *d_firsts;
    totals *d_totals;

    memset(want_firsts, -1, sizeof want_firsts);
    for (int i = 0; i < 4 * n4; i++) {
        x[i] = (int)(emt_random(&seed) % 100000);
        want.sum += 2 * x[i];
        want.hist[x[i] & 15] += 2;
        want.max = x[i] > want.max ? x[i] : want.max;
        if (i % 4 == 0 && x[i] % 2 && want_firsts[i / 512] < 0)
            want_firsts[i / 512] = x[i];
    }
    d_x = to_device(x, (size_t)n4 * 16);
    d_totals = to_device(NULL, sizeof *d_totals);
    CUDA_OK(cudaMemset(d_totals, 0, sizeof *d_totals));
    d_firsts = to_device(NULL, sizeof firsts);
    CUDA_OK(
        own_primitives(d_x, n4, &d_totals->sum, d_totals->hist, &d_totals->max, d_firsts, NULL));
    from_device(&got, d_totals, sizeof got);
    assert_memory_equal(&got, &want, sizeof got);
    from_device(firsts, d_firsts, sizeof firsts);
    for (int b = 0; b < (n4 + 127) / 128; b++)
        assert_int_equal(firsts[b], want_firsts[b]);
    CUDA_OK(cudaFree(d_x));
    CUDA_OK(cudaFree(d_totals));
    CUDA_OK(cudaFree(d_firsts));
}

static void primitives(void)
{
    primitives_of(1);
    primitives_of(31);
    primitives_of(128);
    primitives_of(MOST4);
}

static int bits_of(int v)
{
    unsigned reversed = 0;

    for (int i = 0; i < 32; i++)
        reversed |= ((unsigned)v >> i & 1) << (31 - i);
    return (int)reversed ^ (v ? __builtin_clz((unsigned)v) : 32) ^ __builtin_popcount((unsigned)v);
}

static void exchange(void)
{
    int x[64], got[EXCHANGE_N][64], count = 0;
    int *d_x, *d_out;

    for (int i = 0; i < 64; i++) {
        x[i] = (int)(emt_random(&seed) % 2001) - 1000;
        if (x[i] == 7)
            x[i] = 8;
        count += x[i] > 0;
    }
    x[40] = 7; /* one lane, in the second warp */
    count = 0;
    for (int i = 0; i < 64; i++)
        count += x[i] > 0;
    d_x = to_device(x, sizeof x);
    d_out = to_device(NULL, sizeof got);
    CUDA_OK(own_exchange(d_x, d_out, NULL));
    from_device(got, d_out, sizeof got);
    for (int t = 0; t < 64; t++) {
        const int w = t / 32 * 32, from = t % 16 < 3 ? t : t - 3;
        int sum = 0, most = x[w], least = x[w], or = 0;
        for (int l = w; l < w + 32; l++) {
            sum += x[l];
            most = x[l] > most ? x[l] : most;
            least = x[l] < least ? x[l] : least;
            or |= x[l];
        }
        assert_int_equal(got[EXCHANGE_REDUCE_ADD][t], sum);
        assert_int_equal(got[EXCHANGE_REDUCE_MAX][t], most);
        assert_int_equal(got[EXCHANGE_REDUCE_MIN][t], least);
        assert_int_equal(got[EXCHANGE_REDUCE_OR][t], or);
        assert_int_equal(got[EXCHANGE_COUNT][t], count);
        assert_int_equal(got[EXCHANGE_ANY][t], 1 + (w ? 2 : 0));
        assert_int_equal(got[EXCHANGE_ALL][t], w ? 0 : 2);
        assert_int_equal(got[EXCHANGE_SHFL_FLOAT][t], x[from]);
        assert_int_equal(got[EXCHANGE_BITS][t], bits_of(x[t]));
        assert_int_equal(got[EXCHANGE_CAS][t], 1);
    }
    CUDA_OK(cudaFree(d_x));
    CUDA_OK(cudaFree(d_out));
}

static void copies(void)
{
    unsigned char x[4096], got[4096];
    void *d_x, *d_out;

    for (size_t i = 0; i < sizeof x; i++)
        x[i] = (unsigned char)(1 + i % 255);
    d_x = to_device(x, sizeof x);
    d_out = to_device(NULL, sizeof got);
    for (int width = 4; width <= 16; width *= 2)
        for (int n_valid = 0; n_valid <= 64; n_valid += 16) {
            CUDA_OK(own_cp_async(d_out, d_x, sizeof x, width, n_valid, NULL));
            from_device(got, d_out, sizeof got);
            for (int i = 0; i < (int)sizeof x; i++)
                assert_int_equal(got[i], i % 64 < n_valid ? x[i] : 0);
        }
    CUDA_OK(cudaFree(d_x));
    CUDA_OK(cudaFree(d_out));
}

static void matrices_of(int n, bool transposed)
{
    uint16_t x[4][8][8], got[4][32][2];
    void *d_x, *d_out;

    for (int i = 0; i < 256; i++)
        x[i / 64][i / 8 % 8][i % 8] = (uint16_t)(i + 1);
    d_x = to_device(x, (size_t)n * sizeof x[0]);
    d_out = to_device(NULL, (size_t)n * sizeof got[0]);
    CUDA_OK(own_ldmatrix(d_out, d_x, n, transposed, false, NULL));
    from_device(got, d_out, (size_t)n * sizeof got[0]);
    for (int i = 0; i < n; i++)
        for (int l = 0; l < 32; l++)
            for (int h = 0; h < 2; h++) {
                const int r = l / 4, c = l % 4 * 2 + h;
                assert_int_equal(got[i][l][h], transposed ? x[i][c][r] : x[i][r][c]);
            }
    CUDA_OK(cudaFree(d_x));
    CUDA_OK(cudaFree(d_out));
}

static void matrices(void)
{
    for (int n = 1; n <= 4; n *= 2) {
        matrices_of(n, false);
        matrices_of(n, true);
    }
}

typedef cudaError_t (*product)(float *c, const void *a, const void *b, cudaStream_t stream);

static void product_of(product launch, int m, int n, int k)
{
    static uint16_t a[64 * 64], b[64 * 64];
    static double a_value[64 * 64], b_value[64 * 64];
    static float c[64 * 64];
    void *d_a, *d_b;
    float *d_c;

    for (int i = 0; i < m * k; i++)
        a[i] = random_bf16(&a_value[i]);
    for (int i = 0; i < n * k; i++)
        b[i] = random_bf16(&b_value[i]);
    d_a = to_device(a, (size_t)(m * k) * 2);
    d_b = to_device(b, (size_t)(n * k) * 2);
    d_c = to_device(NULL, (size_t)(m * n) * 4);
    CUDA_OK(launch(d_c, d_a, d_b, NULL));
    from_device(c, d_c, (size_t)(m * n) * 4);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0, magnitude = 0;
            for (int x = 0; x < k; x++) {
                const double p = a_value[i * k + x] * b_value[j * k + x];
                sum += p;
                magnitude += fabs(p);
            }
            /* k / 16 cuts to f32, each at most 2^-23 of what was summed so far. */
            if (!(fabs((double)c[i * n + j] - sum) <= k / 16 * 0x1p-23 * magnitude))
                fail_msg("%dx%dx%d: %d,%d: got %g, want %g", m, n, k, i, j, (double)c[i * n + j],
                         sum);
        }
    CUDA_OK(cudaFree(d_a));
    CUDA_OK(cudaFree(d_b));
    CUDA_OK(cudaFree(d_c));
}

static void products(void)
{
    product_of(own_mma, 16, 8, 16);
    product_of(own_wgmma, 64, 64, 64);
}

static void test_primitives(void **state)
{
    (void)state;
    each_schedule(primitives);
}

static void test_exchange(void **state)
{
    (void)state;
    each_schedule(exchange);
}

static void test_copies(void **state)
{
    (void)state;
    each_schedule(copies);
}

static void test_matrices(void **state)
{
    (void)state;
    each_schedule(matrices);
}

static void test_products(void **state)
{
    (void)state;
    each_schedule(products);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_primitives), cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_copies),     cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_products),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
