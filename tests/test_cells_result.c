/* Are tables written byte for byte as stated, whole or not at all? */
#include "emt.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "cells/result.h"

static const emc_column columns[] = {
    {"cell_id", EMC_COLUMN_STRING, 0},
    {"n, \"genes\"", EMC_COLUMN_INT, 0},
    {"score", EMC_COLUMN_FLOAT, 9},
    {"reason", EMC_COLUMN_STRING, 0},
};

static void put_rows(emc_table *table)
{
    EMT_OK(emc_table_string(table, "plain"));
    EMT_OK(emc_table_int(table, -9223372036854775807 - 1));
    EMT_OK(emc_table_float(table, 0.1f));
    EMT_OK(emc_table_string(table, ""));
    EMT_OK(emc_table_end_row(table));
    EMT_OK(emc_table_string(table, "CD4-positive, \"x\"\ty\nz"));
    EMT_OK(emc_table_missing(table));
    EMT_OK(emc_table_float(table, NAN));
    EMT_OK(emc_table_string(table, NULL));
    EMT_OK(emc_table_end_row(table));
    EMT_OK(emc_table_string(table, "na\xC3\xAFve"));
    EMT_OK(emc_table_int(table, 7));
    EMT_OK(emc_table_float(table, 1e-10));
    EMT_OK(emc_table_string(table, "ok"));
    EMT_OK(emc_table_end_row(table));
}

static const char csv[] = "cell_id,\"n, \"\"genes\"\"\",score,reason\n"
                          "plain,-9223372036854775808,0.100000001,\n"
                          "\"CD4-positive, \"\"x\"\"\ty\nz\",,,\n"
                          "na\xC3\xAFve,7,1e-10,ok\n";
static const char tsv[] = "cell_id\t\"n, \"\"genes\"\"\"\tscore\treason\n"
                          "plain\t-9223372036854775808\t0.100000001\t\n"
                          "\"CD4-positive, \"\"x\"\"\ty\nz\"\t\t\t\n"
                          "na\xC3\xAFve\t7\t1e-10\tok\n";
static const char jsonl[] =
    "{\"cell_id\":\"plain\",\"n, \\\"genes\\\"\":-9223372036854775808,\"score\":0.100000001,"
    "\"reason\":\"\"}\n"
    "{\"cell_id\":\"CD4-positive, \\\"x\\\"\\ty\\nz\",\"n, \\\"genes\\\"\":null,\"score\":null,"
    "\"reason\":null}\n"
    "{\"cell_id\":\"na\xC3\xAFve\",\"n, \\\"genes\\\"\":7,\"score\":1e-10,\"reason\":\"ok\"}\n";

static void write_table(const char *path, emc_table_format format)
{
    emc_table *table;

    EMT_OK(emc_table_open(&table, path, format, columns, EMC_COUNT(columns)));
    put_rows(table);
    assert_false(emc_file_exists(path));
    assert_true(emc_file_exists(emc_table_temporary(table)));
    EMT_OK(emc_table_commit(table));
    emc_table_close(table);
}

static char *read_gz(const char *path)
{
    char *text = calloc(1, 65536);
    gzFile file = gzopen(path, "rb");

    assert_non_null(file);
    assert_int_equal(gzdirect(file), 0);
    assert_true(gzread(file, text, 65535) > 0);
    assert_int_equal(gzclose(file), Z_OK);
    return text;
}

static void the_bytes(void **state)
{
    static const struct {
        const char *name;
        emc_table_format format;
        const char *want;
    } cases[] = {
        {"a.csv", EMC_TABLE_BY_NAME, csv},        {"a.tsv", EMC_TABLE_BY_NAME, tsv},
        {"a.jsonl", EMC_TABLE_BY_NAME, jsonl},    {"a.CSV", EMC_TABLE_BY_NAME, csv},
        {"b.csv", EMC_TABLE_JSONL, jsonl},        {"a.out", EMC_TABLE_TSV, tsv},
        {"a.csv.gz", EMC_TABLE_BY_NAME, csv},     {"a.tsv.gz", EMC_TABLE_BY_NAME, tsv},
        {"a.jsonl.gz", EMC_TABLE_BY_NAME, jsonl}, {"a.out.gz", EMC_TABLE_CSV, csv},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *path = emt_temp(cases[i].name);
        write_table(path, cases[i].format);
        char *text = strstr(cases[i].name, ".gz") ? read_gz(path) : emt_read(path, NULL);
        assert_string_equal(text, cases[i].want);
        free(text);
    }
    /* Equal tables are equal files, compressed or not. */
    size_t n_first, n_second;
    write_table(emt_temp("second.csv.gz"), EMC_TABLE_BY_NAME);
    char *first = emt_read(emt_temp("a.csv.gz"), &n_first);
    char *second = emt_read(emt_temp("second.csv.gz"), &n_second);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    free(first);
    free(second);
}

/* Nine digits give every float32 again, seventeen every double. */
static void numbers_come_back(void **state)
{
    static const emc_column two[] = {{"f", EMC_COLUMN_FLOAT, 9}, {"d", EMC_COLUMN_FLOAT, 17}};
    uint64_t random = 11;
    emc_table *table;
    float floats[500];
    double doubles[500];

    (void)state;
    EMT_OK(emc_table_open(&table, emt_temp("n.csv"), EMC_TABLE_BY_NAME, two, 2));
    for (int i = 0; i < 500; i++) {
        floats[i] = (float)(emt_normal(&random) * pow(10, (double)(i % 60) - 30));
        doubles[i] = emt_normal(&random) * pow(10, (double)(i % 500) - 250);
        EMT_OK(emc_table_float(table, floats[i]));
        EMT_OK(emc_table_float(table, doubles[i]));
        EMT_OK(emc_table_end_row(table));
    }
    EMT_OK(emc_table_commit(table));
    emc_table_close(table);
    char *text = emt_read(emt_temp("n.csv"), NULL);
    char *p = strchr(text, '\n') + 1;
    for (int i = 0; i < 500; i++) {
        assert_true(strtof(p, &p) == floats[i]);
        assert_true(*p++ == ',' && strtod(p, &p) == doubles[i] && *p++ == '\n');
    }
    free(text);
}

static void wrong_use(void **state)
{
    static const emc_column unnamed[] = {{"", EMC_COLUMN_INT, 0}},
                            twice[] = {{"a", EMC_COLUMN_INT, 0}, {"a", EMC_COLUMN_INT, 0}},
                            precise[] = {{"a", EMC_COLUMN_FLOAT, 18}};
    emc_table *table;

    (void)state;
    EMT_FAILS(EMC_ERR_USAGE, "wanted .csv, .tsv or .jsonl",
              emc_table_open(&table, emt_temp("x.xlsx"), EMC_TABLE_BY_NAME, columns, 4));
    EMT_FAILS(EMC_ERR_CREATE, "nowhere",
              emc_table_open(&table, emt_temp("nowhere/x.csv"), EMC_TABLE_BY_NAME, columns, 4));
    EMT_FAILS(EMC_ERR_ARG, "0 columns",
              emc_table_open(&table, emt_temp("x.csv"), EMC_TABLE_BY_NAME, columns, 0));
    EMT_FAILS(EMC_ERR_ARG, "bad name", emc_table_open(&table, emt_temp("x.csv"), 0, unnamed, 1));
    EMT_FAILS(EMC_ERR_ARG, "comes twice", emc_table_open(&table, emt_temp("x.csv"), 0, twice, 2));
    EMT_FAILS(EMC_ERR_ARG, "digits", emc_table_open(&table, emt_temp("x.csv"), 0, precise, 1));
    assert_null(table);
    EMT_OK(emc_table_open(&table, emt_temp("x.csv"), 0, columns, 4));
    EMT_FAILS(EMC_ERR_ARG, "\"cell_id\" is of another type", emc_table_int(table, 1));
    EMT_FAILS(EMC_ERR_ARG, "not UTF-8", emc_table_string(table, "na\xEFve"));
    EMT_OK(emc_table_string(table, "c"));
    EMT_FAILS(EMC_ERR_ARG, "1 fields, wanted 4", emc_table_end_row(table));
    EMT_FAILS(EMC_ERR_ARG, "unfinished", emc_table_commit(table));
    for (int i = 0; i < 3; i++)
        EMT_OK(emc_table_missing(table));
    EMT_FAILS(EMC_ERR_ARG, "more than 4 fields", emc_table_missing(table));
    emc_table_close(table);
    assert_false(emc_file_exists(emt_temp("x.csv"))); /* never committed */
    emc_table_close(NULL);
}

static void an_old_result_stays_until_the_commit(void **state)
{
    const char *path = emt_write("old.csv", "old", 3);
    emc_table *table;

    (void)state;
    EMT_OK(emc_table_open(&table, path, EMC_TABLE_BY_NAME, columns, 4));
    put_rows(table);
    emc_table_close(table);
    char *text = emt_read(path, NULL);
    assert_string_equal(text, "old");
    free(text);
}

/* Fills whatever buffers there are, then commits; the first failure ends it. */
static emc_status fill(emc_table *table, int n_rows)
{
    for (int i = 0; i < n_rows; i++) {
        EMC_TRY(emc_table_string(table, "a cell with a name of some length"));
        EMC_TRY(emc_table_int(table, i));
        EMC_TRY(emc_table_float(table, 1.0 / (i + 1)));
        EMC_TRY(emc_table_string(table, "ok"));
        EMC_TRY(emc_table_end_row(table));
    }
    return emc_table_commit(table);
}

/* Standard output is replaced by a full disk, then by a pipe that nobody reads. */
static void full_disk_and_closed_pipe(void **state)
{
    const int saved = dup(STDOUT_FILENO);
    emc_table *table;
    int ends[2];

    (void)state;
    for (int n_rows = 1; n_rows < 100000; n_rows *= 300) {
        const int full = open("/dev/full", O_WRONLY);
        assert_true(full >= 0);
        fflush(stdout);
        dup2(full, STDOUT_FILENO);
        emc_status status = emc_table_open(&table, "-", EMC_TABLE_BY_NAME, columns, 4);
        if (status == EMC_OK)
            status = fill(table, n_rows);
        dup2(saved, STDOUT_FILENO);
        close(full);
        EMT_FAILS(EMC_ERR_IO, "standard output", status);
        emc_table_close(table);
    }
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    emc_status status = emc_table_open(&table, "-", EMC_TABLE_JSONL, columns, 4);
    if (status == EMC_OK)
        status = fill(table, 10);
    dup2(saved, STDOUT_FILENO);
    close(ends[1]);
    close(saved);
    EMT_FAILS(EMC_ERR_IO, "standard output", status);
    emc_table_close(table);
}

/* Who reads the other end has each row when it is flushed, also of a compressed table. */
static void rows_go_out_when_they_are_flushed(void **state)
{
    static const char *const names[] = {"rows.csv", "rows.csv.gz"};
    char bytes[4096];
    emc_table *table;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        const char *path = emt_temp(names[i]);
        assert_int_equal(mkfifo(path, 0600), 0);
        const int fd = open(path, O_RDONLY | O_NONBLOCK);
        assert_true(fd >= 0);
        EMT_OK(emc_table_open(&table, path, EMC_TABLE_BY_NAME, columns, 4));
        for (int k = 0; k < 3; k++) {
            assert_true(read(fd, bytes, sizeof bytes) < 0 && errno == EAGAIN); /* nothing yet */
            if (k > 0) {
                EMT_OK(emc_table_string(table, "c"));
                EMT_FAILS(EMC_ERR_ARG, "unfinished", emc_table_flush(table));
                EMT_OK(emc_table_int(table, k));
                EMT_OK(emc_table_missing(table));
                EMT_OK(emc_table_missing(table));
                EMT_OK(emc_table_end_row(table));
            }
            EMT_OK(emc_table_flush(table));
            const ssize_t n = read(fd, bytes, sizeof bytes);
            assert_true(n > 0);
            if (i == 0)
                assert_int_equal(bytes[n - 1], '\n');
        }
        EMT_OK(emc_table_commit(table));
        emc_table_close(table);
        close(fd);
    }
}

/* The same for a file: a limit on its size stands for the end of the disk. */
static void a_file_that_does_not_fit(void **state)
{
    static const char *const names[] = {"big.csv", "big.jsonl.gz"};
    struct rlimit before, low;

    (void)state;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = before;
    low.rlim_cur = 4096;
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        const char *path = emt_temp(names[i]);
        char temporary[4096];
        emc_table *table;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        emc_status status = emc_table_open(&table, path, EMC_TABLE_BY_NAME, columns, 4);
        if (status == EMC_OK)
            status = fill(table, 20000);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        EMT_FAILS(EMC_ERR_IO, names[i], status);
        snprintf(temporary, sizeof temporary, "%s", emc_table_temporary(table));
        emc_table_close(table);
        assert_false(emc_file_exists(path));
        assert_false(emc_file_exists(temporary));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes),
        cmocka_unit_test(numbers_come_back),
        cmocka_unit_test(wrong_use),
        cmocka_unit_test(an_old_result_stays_until_the_commit),
        cmocka_unit_test(full_disk_and_closed_pipe),
        cmocka_unit_test(rows_go_out_when_they_are_flushed),
        cmocka_unit_test(a_file_that_does_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
