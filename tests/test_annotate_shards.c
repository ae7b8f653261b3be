/* A run in shards: what is pinned, what a part of the file that cannot be read costs, and an input
 * that changes while it is read. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/input_files.h"
#include "annotate/merge.h"
#include "annotate/plan.h"
#include "annotate/run_folder.h"
#include "annotate_case.h"
#include "base/file.h"
#include "base/size.h"
#include "emt.h"

#define N_CELLS 40

static const char *copy_of_the_cells(const char *name)
{
    size_t n;
    char *bytes = emt_read(emt_golden("annotate/cells.h5ad"), &n);
    const char *path = case_keep(emt_write(name, bytes, n));

    free(bytes);
    return path;
}

/* The first entry of this row points to no gene. */
static void break_row(const char *path, hsize_t row)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t indptr = H5Dopen2(file, "X/indptr", H5P_DEFAULT);
    const hid_t indices = H5Dopen2(file, "X/indices", H5P_DEFAULT);
    const hid_t one = H5Screate_simple(1, &(hsize_t){1}, NULL);
    const hid_t rows = H5Dget_space(indptr), entries = H5Dget_space(indices);
    int64_t at, nowhere = 1 << 30;
    hsize_t begin;

    assert_true(file >= 0 && indptr >= 0 && indices >= 0);
    H5Sselect_hyperslab(rows, H5S_SELECT_SET, &row, NULL, &(hsize_t){1}, NULL);
    assert_true(H5Dread(indptr, H5T_NATIVE_INT64, one, rows, H5P_DEFAULT, &at) >= 0);
    begin = (hsize_t)at;
    H5Sselect_hyperslab(entries, H5S_SELECT_SET, &begin, NULL, &(hsize_t){1}, NULL);
    assert_true(H5Dwrite(indices, H5T_NATIVE_INT64, one, entries, H5P_DEFAULT, &nowhere) >= 0);
    H5Sclose(rows);
    H5Sclose(entries);
    H5Sclose(one);
    H5Dclose(indptr);
    H5Dclose(indices);
    H5Fclose(file);
}

static int count_lines(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void a_part_that_cannot_be_read_costs_its_shard(void **state)
{
    case_watcher w = {.cancel_at = -1};
    emc_annotate_options whole =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("whole.tsv"));
    emc_annotate_options o = case_options(copy_of_the_cells("broken.h5ad"), emt_temp("parts.tsv"));
    emc_annotate_summary *s;

    (void)state;
    case_annotate(&whole);
    break_row(o.input_path, 21);
    o.input.layer = "X"; /* not to be looked at before */
    o.shard_cells = 5;
    o.ledger.max_tries = 2;
    o.on_log = watch_log;
    o.context = &w;
    for (int i = 0; i < 2; i++) {
        EMT_OK(emc_annotate(&s, &o));
        assert_int_equal(s->n_shards, 8);
        assert_int_equal(s->n_shards_done, 7);
        assert_int_equal(s->n_missing, 5);
        assert_int_equal(s->n_cells, N_CELLS - 5);
        assert_int_equal(s->n_answered, i == 0 ? N_CELLS - 5 : 0);
        emc_annotate_summary_close(s);
        assert_non_null(strstr(w.last_log, "shard 4 failed for the last time"));
        assert_non_null(strstr(w.last_log, "broken.h5ad"));
        char *got = emt_read(o.results.output_path, NULL);
        char *want = emt_read(whole.results.output_path, NULL), *cursor = want, *rows = got;
        assert_int_equal(count_lines(got), 1 + N_CELLS - 5);
        for (int k = 0; k < 1 + N_CELLS; k++) {
            const char *line = case_next_line(&cursor);
            if (k < 21 || k > 25)
                assert_string_equal(case_next_line(&rows), line);
        }
        free(got);
        free(want);
        o.force = false;
        o.resume = true; /* the shard is tried again, and fails again */
    }
}

/* Lets the file go when some cells are done. */
typedef struct {
    const char *path;
    int n_calls;
} vandal;

static void cut_input(void *context, const emc_progress *progress)
{
    vandal *v = context;

    if (progress->stage == EMC_STAGE_CELLS && progress->n_done > 0 && v->n_calls++ == 0)
        assert_int_equal(truncate(v->path, 3000), 0);
}

static void an_input_that_is_cut_underway(void **state)
{
    emc_annotate_options o = case_options(copy_of_the_cells("cut.h5ad"), emt_temp("cut.tsv"));
    vandal v = {.path = o.input_path};
    emc_annotate_summary *s;

    (void)state;
    o.shard_cells = 1;
    o.max_num_batched_tokens = 128;
    o.input.n_threads = 1;
    o.on_progress = cut_input;
    o.context = &v;
    const emc_status status = emc_annotate(&s, &o);
    /* All may have been read before. */
    if (status == EMC_OK) {
        assert_int_equal(s->n_missing, 0);
        emc_annotate_summary_close(s);
        return;
    }
    assert_int_equal(status, EMC_ERR_IO);
    assert_non_null(strstr(emc_message(), "cut.h5ad: changed while it was read"));
    assert_non_null(strstr(emc_message(), "--resume"));
    copy_of_the_cells("cut.h5ad");
    o.on_progress = NULL;
    o.force = false;
    o.resume = true;
    EMT_OK(emc_annotate(&s, &o));
    assert_int_equal(s->n_cells, N_CELLS);
    assert_true(s->n_answered < N_CELLS);
    emc_annotate_summary_close(s);
}

/* ---- run.json ---- */

static emc_plan small_plan(void)
{
    emc_plan plan = {.n_rows = 10, .n_cells = 7, .shard_cells = 3, .max_tries = 3};
    emc_labels *labels;
    static const char list[] = "T cell\tCL:0000084\n\"B\" cell, \xC3\xA9\n";

    EMT_OK(emc_labels_read(&labels, emt_write("labels.txt", list, sizeof(list) - 1)));
    EMT_OK(emc_plan_set_labels(&plan, labels));
    emc_labels_close(labels);
    EMT_OK(emc_plan_pin(&plan, "--n-genes", "%d", 100));
    EMT_OK(emc_plan_pin(&plan, "profile", "\"%s\"\n", "mine"));
    EMT_OK(emc_plan_note(&plan, "input_path", "/data/%s", "x.h5ad"));
    EMT_OK(emc_copy_string(&plan.chosen, "{\"a\": [1]}"));
    return plan;
}

static const char *fresh_folder(const char *name)
{
    const char *dir = case_keep(emt_temp(name));

    mkdir(dir, 0700);
    char *path;
    EMT_OK(emc_path_join(&path, dir, "run.json"));
    unlink(path);
    free(path);
    return dir;
}

static void a_plan_is_read_as_it_was_written(void **state)
{
    const char *dir = fresh_folder("plan");
    emc_plan plan = small_plan(), other = small_plan(), got;
    emc_shard_head head;
    bool first;

    (void)state;
    EMT_FAILS(EMC_ERR_NOT_FOUND, "no run folder", emc_plan_read(&got, dir));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "nowhere", emc_plan_read(&got, emt_temp("nowhere")));
    EMT_OK(emc_plan_write(&plan, dir, &first));
    assert_true(first);
    EMT_OK(emc_plan_pin(&other, "--n-genes", "%d", 50));
    EMT_OK(emc_plan_write(&other, dir, &first));
    assert_false(first); /* the first stays */
    EMT_OK(emc_plan_read(&got, dir));
    assert_true(emc_hash_equal(&got.hash, &plan.hash));
    assert_false(emc_hash_equal(&got.hash, &other.hash));
    assert_string_equal(emc_plan_get(&got.pins, "profile"), "\"mine\"\n");
    assert_string_equal(emc_plan_get(&got.notes, "input_path"), "/data/x.h5ad");
    assert_null(emc_plan_get(&got.pins, "input_path"));
    assert_string_equal(got.chosen, plan.chosen);
    assert_int_equal(got.n_labels, 2);
    assert_string_equal(got.labels[0].cl, "CL:0000084");
    assert_string_equal(got.labels[1].label, "\"B\" cell, \xC3\xA9");
    assert_null(got.labels[1].cl);
    assert_int_equal(emc_plan_n_shards(&got), 3);
    emc_plan_shard(&got, 2, &head);
    assert_int_equal(head.first, 6);
    assert_int_equal(head.n_cells, 1);
    assert_int_equal(head.n_labels, 2);
    EMT_OK(emc_plan_compare(&got, &plan, dir));
    EMT_FAILS(EMC_ERR_CONFIG, "--n-genes was 100, is 50;", emc_plan_compare(&got, &other, dir));
    other.shard_cells = 4;
    other.n_cells = 6;
    EMT_FAILS(EMC_ERR_CONFIG,
              "--n-genes was 100, is 50; cells chosen was 7, is 6; --shard-cells was 3, is 4;",
              emc_plan_compare(&got, &other, dir));
    emc_plan_free(&got);
    emc_plan_free(&plan);
    emc_plan_free(&other);
}

static void every_change_of_a_plan_is_seen(void **state)
{
    const char *dir = fresh_folder("changed");
    emc_plan plan = small_plan(), got;
    bool first;
    size_t n;

    (void)state;
    EMT_OK(emc_plan_write(&plan, dir, &first));
    char *text = emt_read(emt_temp("changed/run.json"), &n);
    const size_t notes = (size_t)(strstr(text, "\"max_tries\"") - text);
    int n_seen = 0;
    for (size_t i = 0; i < n; i++) {
        const char was = text[i];
        text[i] = was == '7' ? '8' : '7';
        emt_write("changed/run.json", text, n);
        const emc_status status = emc_plan_read(&got, dir);
        if (status != EMC_OK)
            n_seen++;
        else if (i < notes && was != ' ' && was != '\n')
            fail_msg("byte %zu, '%c': not seen", i, was);
        emc_plan_free(&got);
        text[i] = was;
    }
    assert_true(n_seen > (int)notes / 2);
    emt_write("changed/run.json", text, n / 2);
    EMT_FAILS(EMC_ERR_FORMAT, "run.json", emc_plan_read(&got, dir));
    emc_plan_free(&got);
    free(text);
    emc_plan_free(&plan);
}

/* As a program before invalid_mass wrote it. It is never read as if it were of this version, and
 * only --force takes its place. */
static void a_folder_of_an_older_program_is_refused(void **state)
{
    static const char line[] = ",\n  \"invalid_mass\": false";
    const char *dir = fresh_folder("older");
    emc_run_folder folder;
    emc_run_folder_options o = {.run_dir = dir};
    emc_plan plan = small_plan(), got;
    bool first;
    size_t n;

    (void)state;
    EMT_OK(emc_plan_write(&plan, dir, &first));
    char *text = emt_read(emt_temp("older/run.json"), &n);
    char *version = strstr(text, "\"emcell_run\": 2"), *later = strstr(text, line);
    assert_non_null(version);
    assert_non_null(later);
    version[strlen("\"emcell_run\": ")] = '1';
    memmove(later, later + strlen(line), strlen(later + strlen(line)) + 1);
    emt_write("older/run.json", text, strlen(text));
    EMT_FAILS(EMC_ERR_FORMAT,
              "older/run.json: version 1 of run folders, this emcell knows 2: use the emcell that "
              "began the run, or --force for a new one",
              emc_plan_read(&got, dir));
    emc_plan_free(&got);
    EMT_FAILS(EMC_ERR_CREATE, "a run is there", emc_run_folder_open(&folder, &o));
    o.force = true;
    EMT_OK(emc_run_folder_open(&folder, &o));
    assert_false(folder.begun);
    emc_run_folder_close(&folder);
    free(text);
    emc_plan_free(&plan);
}

static void what_is_no_run_is_not_removed(void **state)
{
    const char *dir = fresh_folder("diary");
    emc_run_folder folder;
    emc_run_folder_options o = {.run_dir = dir, .force = true};

    (void)state;
    emt_write("diary/run.json", "{\"kilometres\": 12}", 18);
    EMT_FAILS(EMC_ERR_CREATE, "holds other things than a run", emc_run_folder_open(&folder, &o));
    assert_true(emc_file_exists(emt_temp("diary/run.json")));
    unlink(emt_temp("diary/run.json"));
    emt_write("diary/monday.txt", "rain", 4);
    EMT_FAILS(EMC_ERR_CREATE, "holds other things than a run", emc_run_folder_open(&folder, &o));
    unlink(emt_temp("diary/monday.txt"));
    EMT_OK(emc_run_folder_open(&folder, &o)); /* an empty folder is as good as none */
    assert_false(folder.begun);
    emc_run_folder_close(&folder);
    assert_true(emc_is_directory(dir)); /* it was there before */
}

/* ---- a folder of input files ---- */

static emc_hash input_hash(const char *dir)
{
    emc_hash hash;

    EMT_OK(emc_input_fingerprint(&hash, dir));
    return hash;
}

static void what_is_written_into_an_input_folder_is_no_input(void **state)
{
    static const char *const read[] = {
        "tenx/s1_matrix.mtx",    "tenx/s1_barcodes.tsv.gz", "tenx/s1_features.tsv",
        "tenx/.zattrs",          "tenx/zarr.json",          "tenx/X/0.0",
        "tenx/layers/counts/c0", "tenx/obs/_index",
    };
    static const char *const written[] = {"tenx/labels.csv",
                                          "tenx/labels.csv.run/run.json",
                                          "tenx/labels.csv.run/done/000000.shard",
                                          "tenx/s2_features.tsv",
                                          "tenx/.labels.csv.tmp",
                                          "tenx/labels.h5ad"};
    static const char *const folders[] = {
        "tenx", "tenx/X", "tenx/layers", "tenx/layers/counts", "tenx/obs", "tenx/labels.csv.run"};
    const char *dir = case_keep(emt_temp("tenx"));
    emc_hash before, after;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(folders); i++)
        mkdir(emt_temp(folders[i]), 0700);
    for (size_t i = 0; i < EMC_COUNT(read); i++)
        emt_write(read[i], "1", 1);
    before = input_hash(dir);
    mkdir(emt_temp("tenx/labels.csv.run/done"), 0700);
    for (size_t i = 0; i < EMC_COUNT(written); i++)
        emt_write(written[i], "1", 1);
    after = input_hash(dir);
    assert_true(emc_hash_equal(&before, &after));
    for (size_t i = 0; i < EMC_COUNT(read); i++) {
        emt_write(read[i], "12", 2);
        after = input_hash(dir);
        if (emc_hash_equal(&before, &after))
            fail_msg("%s: its change is not seen", read[i]);
        before = after;
        if (i < 3) /* the matrix and its lists */
            EMT_FAILS(EMC_ERR_USAGE, "which is read", emc_input_spare(dir, emt_temp(read[i])));
    }
    const char *matrix = case_keep(emt_temp(read[0]));
    before = input_hash(matrix);
    emt_write(read[1], "123", 3);
    after = input_hash(matrix); /* given by itself, it has the same lists */
    assert_false(emc_hash_equal(&before, &after));
    EMT_FAILS(EMC_ERR_USAGE, "which is read", emc_input_spare(matrix, emt_temp(read[1])));
    EMT_OK(emc_input_spare(dir, emt_temp("tenx/labels.csv")));
    EMT_OK(emc_input_spare(dir, "-"));
}

/* ---- stopped before there is a run ---- */

static void a_run_that_is_stopped_before_it_begins_leaves_nothing(void **state)
{
    const volatile sig_atomic_t stop = 1;
    emc_annotate_options o =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("stopped.csv"));
    emc_annotate_summary *s;

    (void)state;
    o.cancel = &stop;
    EMT_FAILS(EMC_ERR_CANCELLED, "before the first shard was begun; nothing is kept",
              emc_annotate(&s, &o));
    assert_false(emc_is_directory(emt_temp("stopped.csv.run")));
}

/* ---- rows of shards that overlap ---- */

static void write_shard(const char *dir, const emc_plan *plan, int64_t shard, int64_t a, int64_t b)
{
    const int64_t numbers[] = {a, b};
    emc_shard_writer *writer;
    emc_shard_head head;
    const void *bytes;
    size_t n;
    char *path;

    emc_plan_shard(plan, shard, &head);
    EMT_OK(emc_shard_writer_open(&writer, &head));
    for (int i = 0; i < 2; i++) {
        emc_result_row row = {.row = numbers[i], .cell_id = "c"};
        emc_verdict_not_asked(&row.verdict, EMC_CELL_EMPTY, "no_genes");
        EMT_OK(emc_shard_writer_add(writer, &row));
    }
    EMT_OK(emc_shard_writer_bytes(writer, &bytes, &n));
    EMT_OK(emc_ledger_done_path(&path, dir, shard));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    free(path);
    emc_shard_writer_close(writer);
}

/* Each shard is good by itself: length, checksum, plan and number. */
static void shards_that_overlap_are_not_merged(void **state)
{
    static const struct {
        int64_t first, last;
        const char *message; /* NULL: fine */
    } cases[] = {
        {6, 9, NULL},
        {5, 6, "shard 1: rows 5 to 6 after row 5, of 10"},
        {4, 9, "shard 1: rows 4 to 9 after row 5, of 10"},
        {0, 5, "shard 1: rows 0 to 5 after row 5, of 10"},
        {9, 10, "shard 1: rows 9 to 10 after row 5, of 10"},
    };
    const char *dir = fresh_folder("overlap");
    emc_plan plan = small_plan();
    emc_merge_options o = {.run_dir = dir};
    emc_merge_summary summary;
    bool first;

    (void)state;
    plan.n_cells = 4;
    plan.shard_cells = 2;
    EMT_OK(emc_plan_write(&plan, dir, &first));
    mkdir(emt_temp("overlap/done"), 0700);
    write_shard(dir, &plan, 0, 1, 5);
    emc_results_defaults(&o.results);
    o.results.output_path = case_keep(emt_temp("overlap.csv"));
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        write_shard(dir, &plan, 1, cases[i].first, cases[i].last);
        unlink(o.results.output_path);
        if (!cases[i].message) {
            EMT_OK(emc_merge(&summary, &o));
            assert_int_equal(summary.n_cells, 4);
            continue;
        }
        EMT_FAILS(EMC_ERR_CONFIG, cases[i].message, emc_merge(&summary, &o));
        assert_false(emc_file_exists(o.results.output_path));
    }
    emc_plan_free(&plan);
}

/* ---- the engine across borders ---- */

static int64_t steps_of(int shard_cells)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("steps.tsv"));
    emc_annotate_summary *s;

    o.shard_cells = shard_cells;
    o.max_num_batched_tokens = 1024;
    o.answer = EMC_ANSWER_FULL; /* a search takes its own steps, at the end of all others, too */
    EMT_OK(emc_annotate(&s, &o));
    const int64_t n = s->engine.n_steps;
    emc_annotate_summary_close(s);
    return n;
}

/* An engine that ran empty at each border would take at least a step for each shard, here of one
 * cell, whatever the machine does. How many it takes otherwise depends on how far the reader is
 * ahead, so the best of some tries counts. */
static void the_engine_stays_full_across_borders(void **state)
{
    const int64_t whole = steps_of(1000);
    int64_t best = INT64_MAX;

    (void)state;
    for (int i = 0; i < 5 && best > whole + 2; i++) {
        const int64_t n = steps_of(1);
        best = n < best ? n : best;
    }
    print_message("steps: %lld in one shard, %lld in %d\n", (long long)whole, (long long)best,
                  N_CELLS);
    assert_true(whole + 2 < N_CELLS);
    assert_true(best <= whole + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_that_cannot_be_read_costs_its_shard),
        cmocka_unit_test(an_input_that_is_cut_underway),
        cmocka_unit_test(a_plan_is_read_as_it_was_written),
        cmocka_unit_test(every_change_of_a_plan_is_seen),
        cmocka_unit_test(a_folder_of_an_older_program_is_refused),
        cmocka_unit_test(what_is_no_run_is_not_removed),
        cmocka_unit_test(what_is_written_into_an_input_folder_is_no_input),
        cmocka_unit_test(a_run_that_is_stopped_before_it_begins_leaves_nothing),
        cmocka_unit_test(shards_that_overlap_are_not_merged),
        cmocka_unit_test(the_engine_stays_full_across_borders),
    };

    return cmocka_run_group_tests_name("shards", tests, NULL, NULL);
}
