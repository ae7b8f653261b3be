/* A run that is stopped keeps every answer it has, and the next one asks the others alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "annotate/ledger.h"
#include "annotate/part.h"
#include "annotate/plan.h"
#include "annotate_case.h"
#include "base/file.h"
#include "base/size.h"
#include "emt.h"

/* More cells than an engine of small steps holds, so that it is stopped with cells to come; and
 * shards of which it holds less than one. */
#define N_CELLS     600
#define SHARD_CELLS 500

static emc_annotate_options many_cells(const char *output)
{
    emc_annotate_options o = case_options(emt_golden("../../demo/cells.h5ad"), output);

    o.input.limit = N_CELLS;
    o.input.n_genes = 4;
    o.input.min_genes = 1;
    o.answer = EMC_ANSWER_EXACT; /* answers overtake each other */
    o.shard_cells = SHARD_CELLS;
    return o;
}

static char *undisturbed(void)
{
    static char path[512];

    if (!path[0]) {
        emc_annotate_options o = many_cells(emt_temp("undisturbed.csv"));
        case_annotate(&o);
        snprintf(path, sizeof path, "%s", o.results.output_path);
    }
    return emt_read(path, NULL);
}

typedef struct {
    int64_t n_shards_done, n_in_parts;
    int n_parts;
    int64_t first_part;
} left;

static left look(const emc_annotate_options *o)
{
    char dir[600];
    emc_plan plan;
    emc_ledger_state state;
    left l = {0};

    snprintf(dir, sizeof dir, "%s.run", o->results.output_path);
    EMT_OK(emc_plan_read(&plan, dir));
    EMT_OK(emc_ledger_look(&state, dir, emc_plan_n_shards(&plan), plan.max_tries));
    EMT_OK(emc_part_count(&l.n_in_parts, dir, &plan, state.parts, state.n_parts));
    l.n_shards_done = state.n_done;
    l.n_parts = state.n_parts;
    l.first_part = state.n_parts > 0 ? state.parts[0] : -1;
    emc_ledger_state_free(&state);
    emc_plan_free(&plan);
    return l;
}

/* Stops at the first progress at or after so many cells; gives how many were done by then. */
static int64_t stop_at(emc_annotate_options *o, int64_t n_cells)
{
    case_watcher w = {.cancel_at = n_cells};
    emc_annotate_summary *s;

    o->on_progress = watch_progress;
    o->context = &w;
    o->cancel = &w.cancel;
    EMT_FAILS(EMC_ERR_CANCELLED, "interrupted; ", emc_annotate(&s, o));
    assert_non_null(strstr(emc_message(), "with --resume goes on"));
    o->on_progress = NULL;
    o->cancel = NULL;
    o->force = false;
    o->resume = true;
    return w.last_done;
}

static void expect_same(const emc_annotate_options *o)
{
    char *got = emt_read(o->results.output_path, NULL), *want = undisturbed();

    assert_string_equal(got, want);
    free(got);
    free(want);
}

/* Stopped twice, then let go: the cells that the three processes asked are all cells. */
static void no_answer_is_lost(void **state)
{
    emc_annotate_options o = many_cells(emt_temp("stopped.csv"));
    emc_annotate_summary *s;

    (void)state;
    const int64_t first = stop_at(&o, 1);
    left l = look(&o);
    assert_true(first > 0 && first < SHARD_CELLS);
    assert_int_equal(l.n_shards_done, 0);
    assert_int_equal(l.n_parts, 1);
    assert_int_equal(l.first_part, 0);
    assert_int_equal(l.n_in_parts, first); /* every cell that was answered */
    const int64_t second = stop_at(&o, first + 1);
    l = look(&o);
    assert_true(second > first && second < N_CELLS);
    assert_int_equal(l.n_shards_done * SHARD_CELLS + l.n_in_parts, second);
    EMT_OK(emc_annotate(&s, &o));
    assert_int_equal(s->n_answered, N_CELLS - second);
    assert_int_equal(s->n_cells, N_CELLS);
    emc_annotate_summary_close(s);
    expect_same(&o);
    l = look(&o);
    assert_int_equal(l.n_parts, 0); /* published shards have none */
}

/* No time to finish what the engine holds: what was answered is kept all the same. */
static void without_time(void **state)
{
    emc_annotate_options o = many_cells(emt_temp("soon.csv"));
    emc_annotate_summary *s;

    (void)state;
    o.finish_seconds = 1e-9;
    const int64_t first = stop_at(&o, 1);
    const left l = look(&o);
    assert_true(first > 0);
    assert_int_equal(l.n_in_parts, first);
    EMT_OK(emc_annotate(&s, &o));
    assert_int_equal(s->n_answered, N_CELLS - first);
    emc_annotate_summary_close(s);
    expect_same(&o);
}

static char *part_path(const emc_annotate_options *o)
{
    char dir[600], *path;

    snprintf(dir, sizeof dir, "%s.run", o->results.output_path);
    EMT_OK(emc_ledger_part_path(&path, dir, 0));
    return path;
}

static void write_file(const char *path, const char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

typedef struct {
    case_watcher watcher;
    char told[1024]; /* the line about a part */
} part_watcher;

static void watch_parts(void *context, const char *line)
{
    part_watcher *w = context;

    if (strstr(line, "asked again") || strstr(line, "goes on behind"))
        snprintf(w->told, sizeof w->told, "%s", line);
}

static int64_t finish(emc_annotate_options *o, part_watcher *w)
{
    emc_annotate_summary *s;

    w->told[0] = '\0';
    o->on_log = watch_parts;
    o->context = w;
    EMT_OK(emc_annotate(&s, o));
    const int64_t n = s->n_answered;
    emc_annotate_summary_close(s);
    o->on_log = NULL;
    return n;
}

/* Breaks the part in the i-th way; gives its length. */
static size_t break_part(char *bytes, size_t n, size_t i)
{
    if (i == 0)
        n -= 7;
    if (i == 1)
        bytes[n / 2] ^= 1;
    if (i == 2)
        bytes[0] = 'e';
    if (i == 3)
        bytes[50] ^= 1; /* the plan's hash */
    if (i == 4)
        bytes[24] = 1; /* the shard's number */
    if (i == 5) {
        bytes[40] = (char)(SHARD_CELLS & 255); /* cells */
        bytes[41] = (char)(SHARD_CELLS >> 8);
    }
    if (i >= 3) {
        const emc_hash hash = emc_hash_of(bytes, n - sizeof hash.bytes);
        memcpy(bytes + n - sizeof hash.bytes, hash.bytes, sizeof hash.bytes);
    }
    return n;
}

static void parts_that_are_not_read(void **state)
{
    static const char *const messages[] = {
        "damaged: has",   "checksum is wrong",        "not a shard",
        "of another run", "its shard is 1, wanted 0", "a part of 500 cells of a shard of 500"};
    emc_annotate_options o = many_cells(emt_temp("broken.csv"));
    emc_plan plan;
    emc_shard *part;
    int64_t n_rows;
    size_t n;

    (void)state;
    stop_at(&o, 1);
    char *path = part_path(&o), *bytes = emt_read(path, &n), *good = emt_read(path, &n), dir[600];
    snprintf(dir, sizeof dir, "%s.run", o.results.output_path);
    EMT_OK(emc_plan_read(&plan, dir));
    for (size_t i = 0; i < EMC_COUNT(messages); i++) {
        memcpy(bytes, good, n);
        write_file(path, bytes, break_part(bytes, n, i));
        EMT_FAILS(EMC_ERR_FORMAT, messages[i], emc_part_open(&part, &n_rows, dir, &plan, NULL, 0));
        assert_null(part);
        assert_int_equal(look(&o).n_in_parts, 0);
    }
    write_file(path, good, n);
    EMT_OK(emc_part_open(&part, &n_rows, dir, &plan, NULL, 0));
    emc_shard_close(part);
    emc_plan_free(&plan);
    free(good);
    free(bytes);
    free(path);
}

/* The same cells, each a row further: bytes that prove themselves, of a worker that was wrong. */
static void move_part(const char *path, const char *dir)
{
    emc_plan plan;
    emc_shard *part;
    emc_shard_writer *writer;
    emc_shard_head head;
    const void *moved;
    int64_t n_rows;
    size_t n_bytes;

    EMT_OK(emc_plan_read(&plan, dir));
    EMT_OK(emc_part_open(&part, &n_rows, dir, &plan, NULL, 0));
    emc_plan_shard(&plan, 0, &head);
    EMT_OK(emc_shard_writer_open(&writer, &head));
    for (int64_t k = 0; k < n_rows; k++) {
        emc_result_row row;
        emc_shard_get(part, k, &row);
        row.row++;
        EMT_OK(emc_shard_writer_add(writer, &row));
    }
    EMT_OK(emc_shard_writer_cut(writer));
    EMT_OK(emc_shard_writer_bytes(writer, &moved, &n_bytes));
    write_file(path, moved, n_bytes);
    emc_shard_writer_close(writer);
    emc_shard_close(part);
    emc_plan_free(&plan);
}

/* Of no use: it is told of, removed, and its cells are asked again. */
static void a_part_that_is_damaged(void **state)
{
    static const char *const messages[] = {"checksum is wrong",
                                           "its cell 0 is row 1, wanted row 0"};
    emc_annotate_options o = many_cells(emt_temp("damaged.csv"));
    part_watcher w = {0};
    size_t n;

    (void)state;
    const int64_t n_first = stop_at(&o, 1);
    char *path = part_path(&o), *good = emt_read(path, &n), *bytes = emt_read(path, &n), dir[600];
    snprintf(dir, sizeof dir, "%s.run", o.results.output_path);
    for (size_t i = 0; i < 2; i++) {
        write_file(path, bytes, i == 0 ? break_part(bytes, n, 1) : n);
        memcpy(bytes, good, n);
        if (i == 1)
            move_part(path, dir);
        assert_int_equal(finish(&o, &w), N_CELLS);
        if (!strstr(w.told, messages[i]) ||
            !strstr(w.told, "it is removed, its cells are asked again"))
            fail_msg("\"%s\", wanted \"%s\"", w.told, messages[i]);
        assert_false(emc_file_exists(path));
        expect_same(&o);
        for (int64_t shard = 0; shard < 2; shard++) { /* as it was before */
            char *done;
            EMT_OK(emc_ledger_done_path(&done, dir, shard));
            assert_int_equal(unlink(done), 0);
            free(done);
        }
    }
    write_file(path, good, n);
    assert_int_equal(finish(&o, &w), N_CELLS - n_first);
    assert_non_null(strstr(w.told, "shard 0 goes on behind the "));
    expect_same(&o);
    free(bytes);
    free(good);
    free(path);
}

/* Another worker claims the shard and goes on behind the part; this one has nothing left to do. */
static void another_worker_goes_on(void **state)
{
    emc_annotate_options o = many_cells(emt_temp("shared.csv"));
    emc_annotate_options other;
    part_watcher w = {0};

    (void)state;
    const int64_t first = stop_at(&o, 1);
    other = o;
    other.results.output_path = case_keep(emt_temp("other.csv"));
    char dir[600];
    snprintf(dir, sizeof dir, "%s.run", o.results.output_path);
    other.run_dir = dir;
    other.ledger.rank = 1;
    other.ledger.world = 2; /* it begins with the second shard */
    assert_int_equal(finish(&other, &w), N_CELLS - first);
    assert_int_equal(finish(&o, &w), 0);
    expect_same(&o);
    expect_same(&other);
}

/* ---- a shard's file, cut ---- */

static void a_cut_shard(void **state)
{
    const emc_shard_head head = {.shard = 3, .first = 30, .n_cells = 3, .n_labels = 0};
    emc_result_row row = {.row = 30, .cell_id = "c"};
    emc_shard_writer *writer;
    emc_shard *part;
    const void *bytes;
    size_t n_bytes;
    int64_t n;

    (void)state;
    emc_verdict_not_asked(&row.verdict, EMC_CELL_EMPTY, "no_genes");
    EMT_OK(emc_shard_writer_open(&writer, &head));
    EMT_FAILS(EMC_ERR_ARG, "nothing to cut", emc_shard_writer_cut(writer));
    EMT_OK(emc_shard_writer_add(writer, &row));
    row.row = 31;
    EMT_OK(emc_shard_writer_add(writer, &row));
    EMT_FAILS(EMC_ERR_ARG, "2 rows of 3", emc_shard_writer_bytes(writer, &bytes, &n_bytes));
    EMT_OK(emc_shard_writer_cut(writer));
    row.row = 32;
    EMT_FAILS(EMC_ERR_ARG, "more rows than it has", emc_shard_writer_add(writer, &row));
    EMT_OK(emc_shard_writer_bytes(writer, &bytes, &n_bytes));
    EMT_FAILS(EMC_ERR_ARG, "nothing to cut", emc_shard_writer_cut(writer));
    const char *path = emt_write("cut.part", bytes, n_bytes);
    EMT_OK(emc_shard_open_part(&part, &n, path, &head));
    assert_int_equal(n, 2);
    emc_shard_get(part, 1, &row);
    assert_int_equal(row.row, 31);
    emc_shard_close(part);
    emc_shard_writer_close(writer);
    /* It is no shard; and a shard is no part. */
    EMT_FAILS(EMC_ERR_FORMAT, "number of cells is 2, wanted 3", emc_shard_open(&part, path, &head));
    emc_shard_head whole = head;
    whole.n_cells = 2;
    EMT_FAILS(EMC_ERR_FORMAT, "a part of 2 cells of a shard of 2",
              emc_shard_open_part(&part, &n, path, &whole));
    assert_null(part);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "none.part",
              emc_shard_open_part(&part, &n, emt_temp("none.part"), &head));
    EMT_FAILS(EMC_ERR_FORMAT, "cut after 20 bytes",
              emc_shard_open_part(&part, &n,
                                  emt_write("short.part", bytes ? "12345678901234567890" : "", 20),
                                  &head));
}

/* An engine that takes every cell at once, whatever its neighbours wait for. */
static void an_engine_of_many_cells(void **state)
{
    emc_annotate_options o = many_cells(emt_temp("many.csv"));

    (void)state;
    o.max_num_batched_tokens = 16384; /* 2,048 cells */
    o.shard_cells = 7;
    case_annotate(&o);
    expect_same(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_answer_is_lost),       cmocka_unit_test(without_time),
        cmocka_unit_test(parts_that_are_not_read), cmocka_unit_test(a_part_that_is_damaged),
        cmocka_unit_test(another_worker_goes_on),  cmocka_unit_test(a_cut_shard),
        cmocka_unit_test(an_engine_of_many_cells),
    };

    return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
