/*
 * Is what a dry run says what the run then does; is it refused where the run is, in the same words;
 * and does it leave everything as it was?
 */
#include <dirent.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/dry_run.h"
#include "annotate_case.h"
#include "base/hash.h"
#include "base/size.h"
#include "emt.h"

#define N_CELLS 40

static emc_dry_run *dry_run(const emc_annotate_options *o)
{
    emc_dry_run *dry;

    EMT_OK(emc_annotate_dry_run(&dry, o));
    assert_non_null(dry);
    return dry;
}

/* Names, sizes and bytes of everything below the test's folder. */
static emc_hash whole_folder(void)
{
    emc_hash hash;

    EMT_OK(emc_fingerprint(&hash, emt_temp_dir()));
    return hash;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* --- What a run does ------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* n_tokens of the cells of a run's results that were asked, rising. */
static int read_tokens(const char *path, int *tokens)
{
    char *text = emt_read(path, NULL), *cursor = text, *fields[MAX_FIELDS], *line;
    int n = 0, n_fields = case_split(case_next_line(&cursor), fields);
    int status = -1, n_tokens = -1;

    for (int i = 0; i < n_fields; i++) {
        status = strcmp(fields[i], "status") == 0 ? i : status;
        n_tokens = strcmp(fields[i], "n_tokens") == 0 ? i : n_tokens;
    }
    assert_true(status >= 0 && n_tokens >= 0);
    while ((line = case_next_line(&cursor)) != NULL && *line) {
        case_split(line, fields);
        if (strcmp(fields[status], "empty") != 0 && strcmp(fields[status], "failed") != 0 &&
            strcmp(fields[status], "too_few_genes") != 0)
            tokens[n++] = atoi(fields[n_tokens]);
    }
    free(text);
    qsort(tokens, (size_t)n, sizeof *tokens, compare_ints);
    return n;
}

static void check_tokens(const emc_token_counts *t, const int *tokens, int n)
{
    int64_t total = 0, counted = 0;

    assert_int_equal(t->n_prompts, n);
    for (int i = 0; i < n; i++)
        total += tokens[i];
    assert_int_equal(t->total, total);
    if (n == 0) {
        assert_null(t->n_of_length);
        return;
    }
    assert_int_equal(t->min, tokens[0]);
    assert_int_equal(t->max, tokens[n - 1]);
    assert_int_equal(t->p50, tokens[(n + 1) / 2 - 1]);
    assert_int_equal(t->p95, tokens[(95 * n + 99) / 100 - 1]);
    assert_true(t->mean == (double)total / n);
    for (int length = 0; length <= t->max; length++) {
        int of_length = 0;

        for (int i = 0; i < n; i++)
            of_length += tokens[i] == length;
        assert_int_equal(t->n_of_length[length], of_length);
        counted += of_length;
    }
    assert_int_equal(counted, n);
}

/* A device that is not there saves the time of measuring it. */
static void make_absent(emc_annotate_options *o)
{
    o->model.dtype = EMC_DTYPE_AUTO;
    o->model.device = "cuda:900";
}

/* A dry run beside the run; on the same device, or on none. */
static void check_run_on(const emc_annotate_options *o, bool there)
{
    int tokens[N_CELLS];
    emc_annotate_summary *s;
    emc_annotate_options other = *o;

    if (!there)
        make_absent(&other);
    emc_dry_run *dry = dry_run(&other);

    EMT_OK(emc_annotate(&s, o));
    /* What a model wrote may have line ends in it. */
    if (dry->answer != EMC_ANSWER_GENERATE) {
        const int n = read_tokens(o->results.output_path, tokens);

        check_tokens(&dry->tokens, tokens, n);
        assert_int_equal(dry->n_status[EMC_CELL_OK], n);
    }
    for (int i = 0; i < EMC_N_CELL_STATUSES; i++) {
        const bool asked = i == EMC_CELL_OK || i == EMC_CELL_UNKNOWN || i == EMC_CELL_INVALID;

        if (!asked)
            assert_int_equal(dry->n_status[i], s->n_status[i]);
    }
    assert_int_equal(dry->n_status[EMC_CELL_OK] + dry->n_status[EMC_CELL_EMPTY] +
                         dry->n_status[EMC_CELL_TOO_FEW_GENES] + dry->n_status[EMC_CELL_FAILED] +
                         dry->n_unread,
                     dry->n_cells);
    assert_int_equal(dry->n_cells - dry->n_unread, s->n_cells);
    assert_int_equal(dry->tokens.total, s->n_prompt_tokens);
    assert_int_equal(dry->n_labels, s->n_labels);
    assert_int_equal(dry->prefix_tokens, s->prefix_tokens);
    assert_true(dry->gene_match == s->gene_match);
    assert_string_equal(dry->input_description, s->input_description);
    assert_string_equal(dry->profile_name, s->profile_name);
    assert_string_equal(dry->run_dir, s->run_dir);
    assert_true(dry->fits && dry->is_timed == there);
    assert_int_equal(dry->time.seconds > 0, there);
    if (dry->answer == EMC_ANSWER_FULL) {
        assert_false(dry->answer_cost.is_assumed);
        assert_true(dry->work.n_rows == (double)s->engine.n_rows);
        assert_true(dry->work.n_readers == (double)s->engine.n_readers);
        assert_true(dry->answer_cost.n_rows == dry->n_inner);
    } else {
        assert_true(dry->answer_cost.is_assumed);
    }
    if (there) {
        assert_string_equal(dry->device_name, s->device_name);
        assert_true(dry->time.n_steps <= (double)s->engine.n_steps);
        assert_int_equal(dry->engine.memory.pages, s->engine.kv_bytes);
        assert_int_equal(dry->engine.memory.activations + dry->engine.memory.steps,
                         s->engine.activation_bytes);
    }
    emc_annotate_summary_close(s);
    emc_dry_run_close(dry);
}

static void check_run(const emc_annotate_options *o)
{
    check_run_on(o, false);
}

static void it_says_what_the_run_does(void **state)
{
    static const struct {
        const char *profile; /* NULL: built-in embryo */
        bool no_prefix;
        int answer, n_genes, limit;
    } runs[] = {
        {NULL, false, EMC_ANSWER_FULL, 0, 0},
        {NULL, true, EMC_ANSWER_FULL, 7, 0},
        {"annotate/think.json", false, EMC_ANSWER_FULL, 0, 0},
        {"annotate/plain.json", false, EMC_ANSWER_GENERATE, 0, 5},
        {"c2s", false, EMC_ANSWER_FULL, 0, 1},
        {NULL, false, EMC_ANSWER_EXACT, 0, 6},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(runs); i++) {
        emc_annotate_options o =
            case_options(emt_golden("annotate/cells.h5ad"), emt_temp("same.tsv"));
        const bool built_in = runs[i].profile && !strchr(runs[i].profile, '/');

        if (runs[i].profile)
            o.profile = built_in ? runs[i].profile : case_keep(emt_golden(runs[i].profile));
        o.no_prefix_caching = runs[i].no_prefix;
        o.answer = runs[i].answer;
        o.input.n_genes = runs[i].n_genes;
        o.input.limit = runs[i].limit;
        check_run_on(&o, i <= 2);
    }
}

/* Some cells have prompts that are too long, the prefix does not fit beside an answer. */
static void it_finds_prompts_that_are_too_long(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("long.tsv"));
    emc_dry_run *dry;

    (void)state;
    o.model.model_dir = case_model_with_context(265);
    o.answer = EMC_ANSWER_FULL;
    emc_annotate_options absent = o;
    make_absent(&absent);
    dry = dry_run(&absent);
    assert_true(dry->n_too_long > 0);
    assert_int_equal(dry->n_status[EMC_CELL_FAILED], dry->n_too_long);
    assert_true(dry->tokens.max <= dry->max_prompt);
    emc_dry_run_close(dry);
    check_run(&o);
}

static void it_finds_cells_that_are_not_asked(void **state)
{
    static const char text[] = "cell\tGATA3\tKRT8\tACTB\nA\t1\t2\t3\nB\tnan\t1\t2\nC\t0\t0\t0\n"
                               "D\t0\t1\t0\nE\t3\t2\t1\n";
    emc_annotate_options o =
        case_options(emt_write("kinds.tsv", text, sizeof(text) - 1), emt_temp("kinds_out.tsv"));
    emc_dry_run *dry;

    (void)state;
    o.input.min_genes = 2;
    o.answer = EMC_ANSWER_FULL;
    dry = dry_run(&o);
    assert_int_equal(dry->n_status[EMC_CELL_OK], 2);
    assert_int_equal(dry->n_status[EMC_CELL_FAILED], 1);
    assert_int_equal(dry->n_status[EMC_CELL_EMPTY], 1);
    assert_int_equal(dry->n_status[EMC_CELL_TOO_FEW_GENES], 1);
    assert_int_equal(dry->n_too_long, 0);
    emc_dry_run_close(dry);
    check_run(&o);
    o.input.min_genes = 3; /* still two */
    o.input.n_genes = 3;
    check_run(&o);

    static const char none[] = "cell\tGATA3\tKRT8\tACTB\nC\t0\t0\t0\n";
    o.input_path = case_keep(emt_write("none.tsv", none, sizeof(none) - 1));
    dry = dry_run(&o);
    assert_int_equal(dry->tokens.n_prompts, 0);
    assert_int_equal(dry->tokens.max, 0);
    assert_true(dry->work.n_readers == 0);
    emc_dry_run_close(dry);
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

static void a_part_that_cannot_be_read_is_said(void **state)
{
    size_t n;
    char *bytes = emt_read(emt_golden("annotate/cells.h5ad"), &n);
    emc_annotate_options o =
        case_options(emt_write("broken.h5ad", bytes, n), emt_temp("broken.tsv"));
    emc_dry_run *dry;

    (void)state;
    free(bytes);
    break_row(o.input_path, 21);
    o.input.layer = "X"; /* not to be looked at before */
    o.shard_cells = 5;
    o.ledger.max_tries = 1;
    dry = dry_run(&o);
    assert_int_equal(dry->n_unread, 5);
    assert_non_null(strstr(dry->unread_reason, "broken.h5ad"));
    emc_dry_run_close(dry);
    check_run(&o);
}

/* --- What it leaves -------------------------------------------------------------------------- */

static void nothing_is_written(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("no.h5ad"));
    emc_annotate_summary *s;
    emc_dry_run *dry;

    (void)state;
    emt_write("before.txt", "as it was", 9);
    make_absent(&o);
    o.results.probabilities_path = case_keep(emt_temp("no_probabilities.csv"));
    o.force = false;
    for (int resume = 0; resume < 2; resume++) {
        const int n_before = count_entries(emt_temp_dir());
        const emc_hash before = whole_folder();

        o.resume = resume;
        dry = dry_run(&o);
        assert_false(dry->begun);
        emc_dry_run_close(dry);
        const emc_hash after = whole_folder();
        assert_memory_equal(&before, &after, sizeof before);
        assert_int_equal(count_entries(emt_temp_dir()), n_before);
    }
    o.resume = false;
    o.model.device = "cpu";
    EMT_OK(emc_annotate(&s, &o));
    o.model.device = "cuda:900";
    assert_true(s->n_shards == 3);
    emc_annotate_summary_close(s);
    EMT_FAILS(EMC_ERR_CREATE, "a run is there", emc_annotate_dry_run(&dry, &o));

    /* A run that is there is looked at, and not removed. */
    const emc_hash before = whole_folder();
    o.resume = true;
    dry = dry_run(&o);
    assert_true(dry->begun);
    assert_int_equal(dry->n_shards, 3);
    assert_int_equal(dry->n_shards_done, 3);
    assert_int_equal(dry->tokens.n_prompts, dry->n_status[EMC_CELL_OK]);
    emc_dry_run_close(dry);
    o.resume = false;
    o.force = true;
    dry = dry_run(&o);
    assert_false(dry->begun);
    emc_dry_run_close(dry);
    const emc_hash after = whole_folder();
    assert_memory_equal(&before, &after, sizeof before);

    /* Results on standard output have a temporary folder, which is not made. */
    o.results.output_path = "-";
    o.results.probabilities_path = NULL;
    o.temporary_dir = case_keep(emt_temp_dir());
    const int n_before = count_entries(emt_temp_dir());
    dry = dry_run(&o);
    assert_null(dry->run_dir);
    emc_dry_run_close(dry);
    assert_int_equal(count_entries(emt_temp_dir()), n_before);
}

static void it_can_be_stopped(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("stop.tsv"));
    case_watcher w = {.cancel_at = -1};
    emc_dry_run *dry;

    (void)state;
    make_absent(&o);
    o.on_progress = watch_progress;
    o.on_log = watch_log;
    o.context = &w;
    o.cancel = &w.cancel;
    dry = dry_run(&o);
    assert_true(w.n_calls >= 2 && w.last_done == N_CELLS);
    assert_int_equal(w.last_stage, EMC_STAGE_CELLS);
    emc_dry_run_close(dry);
    w = (case_watcher){.cancel_at = 1};
    EMT_FAILS(EMC_ERR_CANCELLED, "interrupted", emc_annotate_dry_run(&dry, &o));
    assert_null(dry);
    assert_true(w.last_done < N_CELLS);
}

/* --- What is refused ------------------------------------------------------------------------- */

static emc_annotate_options good(void)
{
    emc_annotate_options o =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("refused.tsv"));

    o.answer = EMC_ANSWER_FULL;
    return o;
}

/* The run and the dry run fail alike. */
#define refused(options, status) refused_at(options, status, __LINE__)
static void refused_at(const emc_annotate_options *o, emc_status status, int line)
{
    emc_annotate_summary *s;
    emc_dry_run *dry;
    char wanted[1024];
    const emc_status got = emc_annotate(&s, o);

    snprintf(wanted, sizeof wanted, "%s", emc_message());
    if (got != status)
        fail_msg("line %d: %s: %s", line, emc_status_name(got), wanted);
    EMT_FAILS(status, wanted, emc_annotate_dry_run(&dry, o));
    assert_string_equal(emc_message(), wanted);
    assert_null(dry);
}

static void outputs_are_checked(void **state)
{
    emc_annotate_options o = good();

    (void)state;
    o.results.output_path = o.input_path;
    refused(&o, EMC_ERR_USAGE);
    o = good();
    o.results.output_path = case_keep(emt_temp("no_folder/out.tsv"));
    refused(&o, EMC_ERR_CREATE);
    o = good();
    o.run_dir = case_keep(emt_temp("no_folder/run"));
    refused(&o, EMC_ERR_CREATE);
    o.run_dir = case_keep(emt_write("a_file", "x", 1));
    refused(&o, EMC_ERR_CREATE);
    o.run_dir = case_keep(emt_temp("others"));
    mkdir(o.run_dir, 0700);
    emt_write("others/thesis.txt", "x", 1);
    refused(&o, EMC_ERR_CREATE);
    o = good();
    o.results.output_path = "-";
    o.temporary_dir = case_keep(emt_temp("no_folder"));
    refused(&o, EMC_ERR_CREATE);
    o = good();
    o.results.output_path = case_keep(emt_temp("refused.xlsx"));
    refused(&o, EMC_ERR_USAGE);
    o = good();
    o.results.groupby = "no_such_column";
    refused(&o, EMC_ERR_USAGE);
    o = good();
    o.results.probabilities_path = o.results.output_path;
    refused(&o, EMC_ERR_USAGE);
}

static void inputs_are_checked(void **state)
{
    static const char unknown[] = "cell\tGata3\tKrt8\nA\t1\t2\n";
    const char *const filters[] = {"no_such_column==1"};
    emc_annotate_options o = good();

    (void)state;
    o.input_path = case_keep(emt_temp("absent.h5ad"));
    refused(&o, EMC_ERR_NOT_FOUND);
    o.input_path = case_keep(emt_write("unknown.tsv", unknown, sizeof unknown - 1));
    refused(&o, EMC_ERR_CONFIG);
    o = good();
    o.input.obs_filters = filters;
    o.input.n_obs_filters = 1;
    refused(&o, EMC_ERR_USAGE);
    o = good();
    o.input.layer = "layers/none";
    refused(&o, EMC_ERR_USAGE);
    o = good();
    o.profile = "no_such_profile";
    refused(&o, EMC_ERR_NOT_FOUND);
    o = good();
    o.labels_path = case_keep(emt_write("twice.txt", "A\nA\n", 4));
    refused(&o, EMC_ERR_CONFIG);
    o = good();
    o.unknown_below = 2;
    refused(&o, EMC_ERR_USAGE);
}

static void models_are_checked(void **state)
{
    emc_annotate_options o = good();
    size_t n;

    (void)state;
    o.model.model_dir = case_keep(emt_temp("no_model"));
    refused(&o, EMC_ERR_NOT_FOUND);
    o = good();
    o.model.adapter_dir = case_keep(emt_temp("no_adapter"));
    refused(&o, EMC_ERR_NOT_FOUND);
    o = good();
    o.model.device = "tpu";
    refused(&o, EMC_ERR_USAGE);
    o = good();
    o.model.model_dir = case_model_with_context(120);
    refused(&o, EMC_ERR_CONFIG);
    /* Weights of which the end lacks, as after a download that was cut off. */
    o.model.model_dir = case_model_with_context(2048);
    char *bytes = emt_read(emt_golden("annotate/model/model.safetensors"), &n);
    unlink(emt_temp("short_model/model.safetensors"));
    emt_write("short_model/model.safetensors", bytes, n - 1);
    refused(&o, EMC_ERR_FORMAT);
    /* Zeros in the place of all weights are no matter: none is looked at. */
    uint64_t header;
    memcpy(&header, bytes, sizeof header);
    memset(bytes + 8 + header, 0, n - 8 - (size_t)header);
    emt_write("short_model/model.safetensors", bytes, n);
    free(bytes);
    check_run(&o);
}

static void other_settings_are_refused(void **state)
{
    emc_annotate_options o = good();

    (void)state;
    case_annotate(&o);
    o.force = false;
    refused(&o, EMC_ERR_CREATE);
    o.resume = true;
    o.input.n_genes = 11;
    refused(&o, EMC_ERR_CONFIG);
}

/* A device that is not there: all but the time. */
static void absent_gpu_is_no_error(void **state)
{
    emc_annotate_options o = good();
    emc_dry_run *dry;

    (void)state;
    make_absent(&o);
    o.max_num_batched_tokens = 0;
    dry = dry_run(&o);
    assert_string_equal(dry->device_name, "cuda:900");
    assert_true(strlen(dry->device_absent) > 0);
    assert_false(dry->is_timed);
    assert_true(dry->fits && dry->time.seconds == 0);
    assert_true(dry->time.n_steps >= 1 &&
                dry->time.n_steps < 1 + dry->work.n_rows / 8448 + dry->work.n_readers / 512);
    assert_int_equal(dry->dtype, EMC_BF16);
    assert_true(dry->engine.memory.weights > 0 && dry->flop.products > 0);
    emc_dry_run_close(dry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_the_run_does),
        cmocka_unit_test(it_finds_prompts_that_are_too_long),
        cmocka_unit_test(it_finds_cells_that_are_not_asked),
        cmocka_unit_test(a_part_that_cannot_be_read_is_said),
        cmocka_unit_test(nothing_is_written),
        cmocka_unit_test(it_can_be_stopped),
        cmocka_unit_test(outputs_are_checked),
        cmocka_unit_test(inputs_are_checked),
        cmocka_unit_test(models_are_checked),
        cmocka_unit_test(other_settings_are_refused),
        cmocka_unit_test(absent_gpu_is_no_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
