/* Do entries in any order leave row by row, in memory and through scratch files alike? */
#include "emt.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cells/turn.h"

typedef struct {
    int64_t row;
    int32_t column;
    double value;
} entry;

static int n_lines;
static char last_line[1024];

static void keep_line(void *context, const char *line)
{
    (void)context;
    n_lines++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

/* Reads everything in blocks and compares each row with the entries of that row, in order. */
static void check_rows(cells_turn *turn, const entry *entries, size_t n, int64_t n_rows,
                       int64_t max_rows, size_t max_bytes)
{
    cells_rows rows = {0};

    for (int64_t first = 0; first < n_rows;) {
        const int64_t count = cells_turn_fit(turn, first, max_rows, max_bytes);
        assert_in_range(count, 1, max_rows);
        EMT_OK(cells_turn_read(turn, first, count, &rows));
        assert_int_equal(rows.indptr[0], 0);
        if (count > 1)
            assert_true((size_t)rows.indptr[count] * 12 <= max_bytes);
        for (int64_t r = 0; r < count; r++) {
            int64_t k = rows.indptr[r];
            for (size_t i = 0; i < n; i++) {
                if (entries[i].row != first + r)
                    continue;
                assert_true(k < rows.indptr[r + 1]);
                assert_int_equal(rows.genes[k], entries[i].column);
                assert_true(rows.values[k] == entries[i].value);
                k++;
            }
            assert_int_equal(k, rows.indptr[r + 1]);
        }
        first += count;
    }
    cells_rows_free(&rows);
}

static void any_order_any_budget(void **state)
{
    static const size_t budgets[] = {0, 1, 5000, 28 * 3000};
    enum { N = 3000, ROWS = 97 };
    entry *entries = malloc(N * sizeof *entries);
    uint64_t random = 5;

    (void)state;
    for (int i = 0; i < N; i++)
        entries[i] = (entry){(int64_t)(emt_random(&random) % (ROWS - 2)) + 1,
                             (int32_t)(emt_random(&random) % 50), emt_normal(&random)};
    for (size_t b = 0; b < EMC_COUNT(budgets); b++) {
        const cells_turn_options options = {.path = "some.h5ad",
                                            .n_rows = ROWS,
                                            .n_columns = 50,
                                            .memory_bytes = budgets[b],
                                            .scratch_dir = emt_temp_dir(),
                                            .on_log = keep_line,
                                            .advice = "convert it"};
        cells_turn *turn;
        n_lines = 0;
        EMT_OK(cells_turn_open(&turn, &options));
        for (int i = 0; i < N; i++)
            EMT_OK(cells_turn_add(turn, entries[i].row, entries[i].column, entries[i].value));
        EMT_OK(cells_turn_end(turn));
        assert_int_equal(cells_turn_count(turn), N);
        check_rows(turn, entries, N, ROWS, 10, 1 << 20);
        check_rows(turn, entries, N, ROWS, ROWS, 12 * 100);
        check_rows(turn, entries, N, ROWS, 1000, 1);
        cells_turn_close(turn);
        /* Announced once, with the way out, and only where a file was needed. */
        assert_int_equal(n_lines, budgets[b] == 1 || budgets[b] == 5000);
        if (n_lines)
            assert_non_null(strstr(last_line, "to avoid that: convert it"));
    }
    free(entries);
}

static void nothing_at_all(void **state)
{
    const cells_turn_options options = {.path = "some.h5ad", .n_rows = 5, .n_columns = 3};
    cells_turn *turn;

    (void)state;
    EMT_OK(cells_turn_open(&turn, &options));
    EMT_OK(cells_turn_end(turn));
    check_rows(turn, NULL, 0, 5, 2, 100);
    cells_turn_close(turn);
    EMT_OK(cells_turn_open(&turn, &options));
    cells_turn_close(turn); /* before its end */
    cells_turn_close(NULL);
}

static int count_files(const char *dir)
{
    DIR *listing = opendir(dir);
    int n = 0;

    assert_non_null(listing);
    while (readdir(listing))
        n++;
    closedir(listing);
    return n - 2;
}

static void scratch_folders(void **state)
{
    cells_turn_options options = {
        .path = "some.h5ad", .n_rows = 10, .n_columns = 3, .memory_bytes = 1};
    const char *dir = emt_temp("scratch");
    emc_status status = EMC_OK;
    cells_turn *turn;

    (void)state;
    mkdir(dir, 0700);
    options.scratch_dir = dir;
    EMT_OK(cells_turn_open(&turn, &options));
    for (int i = 0; i < 1000; i++)
        EMT_OK(cells_turn_add(turn, i % 10, i % 3, i));
    assert_int_equal(count_files(dir), 0); /* no name, so nothing stays after a kill */
    cells_turn_close(turn);
    options.scratch_dir = emt_temp("not there");
    EMT_OK(cells_turn_open(&turn, &options));
    for (int i = 0; i < 1000 && status == EMC_OK; i++)
        status = cells_turn_add(turn, i % 10, i % 3, i);
    EMT_FAILS(EMC_ERR_IO, "no scratch file can be made (No such file or directory); choose another",
              status);
    cells_turn_close(turn);
}

/* A limit on the size of files stands in for a full disk. */
static void full_disk(void **state)
{
    const cells_turn_options options = {.path = "some.h5ad",
                                        .n_rows = 10,
                                        .n_columns = 3,
                                        .memory_bytes = 28 * 3000,
                                        .n_expected = (int64_t)1 << 24,
                                        .scratch_dir = emt_temp_dir()};
    struct rlimit before, small;
    emc_status status = EMC_OK;
    cells_turn *turn;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 2 << 20;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    EMT_OK(cells_turn_open(&turn, &options));
    for (int i = 0; i < 1 << 20 && status == EMC_OK; i++)
        status = cells_turn_add(turn, i % 10, i % 3, i);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    EMT_FAILS(EMC_ERR_IO, "failed after 2 MiB of about 193 (File too large); make room, choose",
              status);
    cells_turn_close(turn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_any_budget),
        cmocka_unit_test(nothing_at_all),
        cmocka_unit_test(scratch_folders),
        cmocka_unit_test(full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
