/* Numbers that are the same on every machine, and no value likelier than another. */
#include "emt.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"

/* The first numbers of seed 1234567, as the authors' own program prints them. */
static void test_known_values(void **state)
{
    (void)state;
    static const uint64_t wanted[] = {6457827717110365317u, 3203168211198807973u,
                                      9817491932198370423u, 4593380528125082431u,
                                      16408922859458223821u};
    emc_random random = {1234567};

    for (size_t i = 0; i < EMC_COUNT(wanted); i++)
        assert_true(emc_random_next(&random) == wanted[i]);
}

/* 5.4 standard deviations of a binomial: a fair generator fails one seed in ten million. */
static void expect_even(const int *counts, int n, int n_draws)
{
    const double p = 1.0 / n, mean = n_draws * p, width = 5.4 * 5.4 * mean * (1 - p);

    for (int i = 0; i < n; i++)
        assert_true((counts[i] - mean) * (counts[i] - mean) <= width);
}

static void test_below(void **state)
{
    (void)state;
    emc_random random = {7};
    int counts[7] = {0}, shares[8] = {0};

    for (int i = 0; i < 70000; i++)
        counts[emc_random_below(&random, 7)]++;
    expect_even(counts, 7, 70000);
    for (int i = 0; i < 80000; i++) {
        const double share = emc_random_share(&random);
        assert_true(share >= 0 && share < 1);
        shares[(int)(share * 8)]++;
    }
    expect_even(shares, 8, 80000);
    assert_true(emc_random_below(&random, 1) == 0);
    for (int i = 0; i < 100; i++)
        assert_true(emc_random_below(&random, UINT64_MAX) < UINT64_MAX);
}

/* All 24 orders of four values. */
static void test_shuffle(void **state)
{
    (void)state;
    emc_random random = {11};
    int counts[24] = {0};

    for (int i = 0; i < 48000; i++) {
        int32_t values[4] = {0, 1, 2, 3};
        int code = 0;
        emc_random_shuffle(&random, values, 4);
        for (int a = 0; a < 4; a++) { /* the number of the order, by Lehmer's code */
            int smaller = 0;
            for (int b = a + 1; b < 4; b++)
                smaller += values[b] < values[a];
            code = code * (4 - a) + smaller;
        }
        counts[code]++;
    }
    expect_even(counts, 24, 48000);
    emc_random_shuffle(&random, NULL, 0);
}

static void test_subjects(void **state)
{
    (void)state;
    emc_random a = emc_random_of(1, "cell_1", 6), same = emc_random_of(1, "cell_1", 6);
    emc_random other = emc_random_of(1, "cell_2", 6), seed = emc_random_of(2, "cell_1", 6);
    const uint64_t first = emc_random_next(&a);

    assert_true(emc_random_next(&same) == first);
    assert_true(emc_random_next(&other) != first);
    assert_true(emc_random_next(&seed) != first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_subjects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
