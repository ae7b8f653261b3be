/* Are the best found, in order, for candidates in any order, those that mislead pivots included? */
#include "emt.h"

#include <stdlib.h>
#include <string.h>

#include "cells/top.h"

#define MOST 3000

static int compare(const void *a, const void *b)
{
    const cells_candidate *x = a, *y = b;

    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

typedef enum {
    RISING,
    FALLING,
    ONE_VALUE,
    ONE_VALUE_SHUFFLED,
    FEW_VALUES,
    ORGAN_PIPE,
    KILLER, /* the middle of three is always next to the lowest */
    RANDOM,
    N_PATTERNS
} pattern;

static void fill(cells_candidate *c, int n, pattern p, uint64_t *random)
{
    for (int i = 0; i < n; i++) {
        double value = i + 1;
        if (p == FALLING)
            value = n - i;
        else if (p == ONE_VALUE || p == ONE_VALUE_SHUFFLED)
            value = 1;
        else if (p == FEW_VALUES)
            value = 1 + (double)(emt_random(random) % 4);
        else if (p == ORGAN_PIPE)
            value = i < n / 2 ? i + 1 : n - i;
        else if (p == KILLER)
            value = i < n / 2 ? (i % 2 ? n / 2 + i : i + 1) : 2 * (i - n / 2) + 2;
        else if (p == RANDOM)
            value = emt_uniform(random) + 0.5;
        c[i] = (cells_candidate){value, i, i * 3};
    }
    for (int i = n - 1; p == ONE_VALUE_SHUFFLED && i > 0; i--) {
        const int j = (int)(emt_random(random) % (uint64_t)(i + 1));
        const int32_t order = c[i].order;
        c[i].order = c[j].order;
        c[j].order = order;
    }
}

static void every_pattern(void **state)
{
    static const int sizes[] = {0, 1, 2, 3, 24, 25, 26, 100, 777, MOST};
    cells_candidate *c = malloc(MOST * sizeof *c), *sorted = malloc(MOST * sizeof *c);
    uint64_t random = 3;

    (void)state;
    for (int p = 0; p < N_PATTERNS; p++)
        for (size_t s = 0; s < EMC_COUNT(sizes); s++)
            for (int n_top = 1; n_top <= sizes[s] + 2; n_top = n_top * 3 + 1) {
                const int n = sizes[s];
                fill(c, n, (pattern)p, &random);
                memcpy(sorted, c, (size_t)n * sizeof *c);
                qsort(sorted, (size_t)n, sizeof *sorted, compare);
                /* With some of them known to be in, as the steps tell. */
                int n_in = 0;
                for (int i = 0; n > n_top && i < n; i++)
                    if (cells_step(c[i].value) > cells_step(sorted[n_top - 1].value)) {
                        const cells_candidate one = c[i];
                        c[i] = c[n_in];
                        c[n_in++] = one;
                    }
                assert_true(n_in <= n_top);
                cells_top(c, n, n_in, n_top);
                for (int i = 0; i < n && i < n_top; i++) {
                    assert_true(c[i].value == sorted[i].value);
                    assert_int_equal(c[i].order, sorted[i].order);
                    assert_int_equal(c[i].gene, sorted[i].gene);
                }
            }
    free(c);
    free(sorted);
}

static void steps_never_fall(void **state)
{
    int before = 0;

    (void)state;
    for (double value = 1e-300; value < 1e300; value *= 1.007) {
        const int step = cells_step(value);
        assert_in_range(step, before > 1 ? before : 1, CELLS_N_STEPS - 1);
        before = step;
    }
    assert_int_equal(cells_step(0x1p-1074), 1);
    assert_int_equal(before, CELLS_N_STEPS - 1);
    assert_true(cells_step(1) < cells_step(2) && cells_step(2) < cells_step(3));
    assert_true(cells_step(100) < cells_step(104));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern),
        cmocka_unit_test(steps_never_fall),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
