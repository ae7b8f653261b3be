#pragma once
/* What every bench needs: a clock, the median of a few runs with their spread, and --quick. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_MAX_RUNS 64

/* Seconds since some moment. */
static inline double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that this thread has had a core to itself: for work on one core, on a machine that has
 * other work, too. */
static inline double bench_thread_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* CTest runs benches with --quick: small sizes and few runs, for correctness only. */
static inline bool bench_is_quick(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--quick") == 0)
            return true;
    return false;
}

typedef struct {
    double seconds[BENCH_MAX_RUNS];
    int n;
} bench_runs;

static inline void bench_add(bench_runs *runs, double seconds)
{
    if (runs->n < BENCH_MAX_RUNS)
        runs->seconds[runs->n++] = seconds;
}

static inline int bench_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The middle run; sorts them. */
static inline double bench_median(bench_runs *runs)
{
    qsort(runs->seconds, (size_t)runs->n, sizeof runs->seconds[0], bench_compare);
    return runs->n ? runs->seconds[runs->n / 2] : 0.0;
}

/* Slowest less fastest, as a share of the median. */
static inline double bench_spread(bench_runs *runs)
{
    const double median = bench_median(runs);

    return median > 0.0 ? (runs->seconds[runs->n - 1] - runs->seconds[0]) / median : 0.0;
}
