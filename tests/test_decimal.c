/* Numbers as text, beside what printf writes. */
#include "emt.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"

static void check(double value, int digits)
{
    char got[EMC_DECIMAL_BYTES], want[64];
    const int n = snprintf(want, sizeof want, "%.*g", digits, value);

    memset(got, '#', sizeof got);
    const size_t length = emc_decimal_write(got, value, digits);
    if (length != (size_t)n || strcmp(got, want) != 0)
        fail_msg("%a with %d digits: \"%s\", printf has \"%s\"", value, digits, got, want);
}

static void check_around(double value)
{
    for (int digits = 1; digits <= 17; digits++) {
        check(value, digits);
        check(-value, digits);
        check(nextafter(value, 0), digits);
        check(nextafter(value, INFINITY), digits);
    }
}

/* Where the number of digits before the point changes, and the notation; on both sides of what is
 * left to printf. */
static void test_powers(void **state)
{
    (void)state;
    char text[32];

    for (int i = -320; i <= 308; i++) {
        snprintf(text, sizeof text, "1e%d", i);
        check_around(strtod(text, NULL));
        snprintf(text, sizeof text, "5e%d", i);
        check_around(strtod(text, NULL));
        snprintf(text, sizeof text, "9.9999995e%d", i < 0 ? i : i - 1);
        check_around(strtod(text, NULL));
    }
}

/* Halves and their like lie exactly between two roundings: the even digit is taken. */
static void test_ties(void **state)
{
    (void)state;
    for (int i = 0; i < 4096; i++)
        for (int shift = 0; shift <= 24; shift++)
            for (int digits = 1; digits <= 9; digits++)
                check(ldexp(i, -shift), digits);
}

static void test_ends(void **state)
{
    (void)state;
    static const double values[] = {0.0, -0.0, DBL_MIN, DBL_TRUE_MIN, DBL_MAX, INFINITY, NAN};

    for (size_t i = 0; i < EMC_COUNT(values); i++)
        for (int digits = 1; digits <= 17; digits++)
            check(values[i], digits);
}

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state ^ *state >> 29;
}

/* Of every size alike, and probabilities, a float's among them. */
static void test_random(void **state)
{
    (void)state;
    uint64_t random = 1;

    for (int i = 0; i < 300000; i++) {
        const uint64_t bits = next(&random);
        const double share = (double)(next(&random) >> 11) * 0x1p-53;
        double any;

        memcpy(&any, &bits, sizeof any);
        check(any, 1 + (int)(next(&random) % 17));
        check(share, 6);
        check((double)(float)(share * share * share), 6);
        check(exp(-50 * share), 1 + (int)(next(&random) % 9));
        check(ldexp(share, (int)(next(&random) % 120) - 80), 1 + (int)(next(&random) % 9));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_powers),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
