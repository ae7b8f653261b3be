/* From a file of cells to a file of labels: what is refused, and what a failure leaves behind. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate_case.h"
#include "base/file.h"
#include "base/text.h"
#include "emt.h"

/* A file that is a cell's fault only costs that cell. */
static void a_bad_cell_costs_its_status(void **state)
{
    static const char text[] = "cell\tGATA3\tKRT8\tACTB\nA\t1\t2\t3\nB\tnan\t1\t2\nC\t3\t2\t1\n";
    emc_annotate_options o =
        case_options(emt_write("nan.tsv", text, sizeof(text) - 1), emt_temp("nan_out.tsv"));
    char *fields[MAX_FIELDS];
    case_watcher w = {.cancel_at = -1};

    (void)state;
    o.input.min_genes = 1;
    o.on_log = watch_log;
    o.context = &w;
    case_annotate(&o);
    assert_non_null(strstr(w.last_log, "nan.tsv"));
    assert_non_null(strstr(w.last_log, "GATA3"));
    char *result = emt_read(o.results.output_path, NULL), *cursor = result;
    case_next_line(&cursor);
    case_split(case_next_line(&cursor), fields);
    assert_string_equal(fields[7], "ok");
    case_split(case_next_line(&cursor), fields);
    assert_string_equal(fields[0], "B");
    assert_string_equal(fields[7], "failed");
    assert_string_equal(fields[8], "bad_value");
    case_split(case_next_line(&cursor), fields);
    assert_string_equal(fields[7], "ok");
    free(result);
}

static void a_prompt_longer_than_the_context(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("long.tsv"));
    emc_annotate_summary *s;

    (void)state;
    o.model.model_dir = case_model_with_context(265);
    EMT_OK(emc_annotate(&s, &o));
    assert_true(s->n_status[EMC_CELL_FAILED] > 0 && s->n_status[EMC_CELL_OK] > 0);
    emc_annotate_summary_close(s);
    char *text = emt_read(o.results.output_path, NULL);
    assert_non_null(strstr(text, "\tfailed\tprompt_too_long\t"));
    free(text);
    o.model.model_dir = case_model_with_context(120);
    EMT_FAILS(EMC_ERR_CONFIG, "the model's context is 120", emc_annotate(&s, &o));
    assert_null(s);
}

/* Broken weights: the bytes of the last tensor, the final norm, are NaN. */
static void a_model_of_nan(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("nan.csv"));
    emc_annotate_summary *s;
    size_t n;

    (void)state;
    o.model.model_dir = case_model_with_context(2048);
    char *bytes = emt_read(emt_golden("annotate/model/model.safetensors"), &n);
    memset(bytes + n - 16, 0xFF, 16);
    unlink(emt_temp("short_model/model.safetensors"));
    emt_write("short_model/model.safetensors", bytes, n);
    free(bytes);
    for (int answer = EMC_ANSWER_FULL; answer <= EMC_ANSWER_GENERATE; answer++) {
        o.answer = answer;
        EMT_OK(emc_annotate(&s, &o));
        assert_true(s->n_status[EMC_CELL_FAILED] > 0);
        assert_int_equal(s->n_status[EMC_CELL_OK], 0);
        assert_int_equal(s->n_status[EMC_CELL_INVALID], 0);
        emc_annotate_summary_close(s);
        char *text = emt_read(o.results.output_path, NULL);
        assert_non_null(strstr(text, ",failed,not_a_number,"));
        free(text);
    }
}

/* How many files of the folder begin with this. */
static int count_files(const char *dir, const char *head)
{
    DIR *d = opendir(dir);
    int n = 0;

    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        n += strncmp(e->d_name, head, strlen(head)) == 0 ||
             (e->d_name[0] == '.' && strncmp(e->d_name + 1, head, strlen(head)) == 0);
    closedir(d);
    return n;
}

static void an_interrupted_run_goes_on(void **state)
{
    static const int64_t stops[] = {0, 1, 20, 40};
    emc_annotate_options whole =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("unstopped.csv"));
    whole.answer = EMC_ANSWER_FULL; /* what --probabilities makes of exact */

    (void)state;
    case_annotate(&whole);
    char *want = emt_read(whole.results.output_path, NULL);
    for (size_t i = 0; i < EMC_COUNT(stops); i++) {
        case_watcher w = {.cancel_at = stops[i]};
        emc_annotate_options o =
            case_options(emt_golden("annotate/cells.h5ad"), emt_temp("stopped.csv"));
        emc_annotate_summary *s;
        o.results.probabilities_path = case_keep(emt_temp("stopped.matrix.csv"));
        o.shard_cells = 7;
        o.on_progress = watch_progress;
        o.context = &w;
        o.cancel = &w.cancel;
        EMT_FAILS(EMC_ERR_CANCELLED, "interrupted", emc_annotate(&s, &o));
        assert_null(s);
        assert_false(emc_file_exists(o.results.output_path));
        assert_false(emc_file_exists(o.results.probabilities_path));
        o.on_progress = NULL;
        o.cancel = NULL;
        o.force = false;
        EMT_FAILS(EMC_ERR_CREATE, "--resume", emc_annotate(&s, &o));
        o.resume = true;
        EMT_OK(emc_annotate(&s, &o));
        assert_int_equal(s->n_cells, 40);
        assert_int_equal(s->n_missing, 0);
        /* What was finished is not done again. */
        assert_true(stops[i] < 20 || s->n_answered < 40);
        emc_annotate_summary_close(s);
        char *got = emt_read(o.results.output_path, NULL);
        assert_string_equal(got, want);
        free(got);
        unlink(o.results.output_path);
        unlink(o.results.probabilities_path);
    }
    free(want);
}

static void a_full_disk_leaves_no_result(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("full.csv"));
    struct rlimit before, small;
    emc_annotate_summary *s;

    (void)state;
    /* The system refuses to let a file grow, as a full disk does. */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const emc_status status = emc_annotate(&s, &o);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, EMC_ERR_IO);
    assert_non_null(strstr(emc_message(), "full.csv"));
    assert_int_equal(count_files(emt_temp_dir(), "full"), 0); /* nor a run folder */
    o.results.output_path = "/none/x.csv";
    EMT_FAILS(EMC_ERR_CREATE, "/none/x.csv", emc_annotate(&s, &o));
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char mouse[] = "cell\tGata3\tKrt8\tActb\nA\t1\t2\t3\nB\t2\t1\t2\n";
    static const char ensembl[] = "cell\tENSG00000141510\tENSG00000075624\nA\t1\t2\nB\t2\t1\n";
    emc_annotate_options good =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("bad.csv"));
    emc_annotate_options o = good;
    emc_annotate_summary *s;

    (void)state;
    o.input_path = case_keep(emt_write("mouse.tsv", mouse, sizeof(mouse) - 1));
    EMT_FAILS(EMC_ERR_CONFIG, "0 % of the gene names are known human symbols",
              emc_annotate(&s, &o));
    assert_non_null(strstr(emc_message(), "Gata3, Krt8, Actb: they are written as mouse"));
    o.input.min_gene_match = 0;
    o.input.min_genes = 1;
    case_annotate(&o); /* the user insists */
    o = good;
    o.input_path = case_keep(emt_write("ensembl.tsv", ensembl, sizeof(ensembl) - 1));
    EMT_FAILS(EMC_ERR_FORMAT, "--gene-symbols", emc_annotate(&s, &o));
    o = good;
    o.input_path = "/none/cells.h5ad";
    EMT_FAILS(EMC_ERR_NOT_FOUND, "/none/cells.h5ad", emc_annotate(&s, &o));
    o = good;
    o.model.model_dir = "/none/model";
    EMT_FAILS(EMC_ERR_NOT_FOUND, "/none/model", emc_annotate(&s, &o));
    o = good;
    o.results.output_format = "xml";
    EMT_FAILS(EMC_ERR_USAGE, "wanted csv, tsv, jsonl or h5ad", emc_annotate(&s, &o));
    o = good;
    o.results.top_k = 4;
    EMT_FAILS(EMC_ERR_USAGE, "--top-k 4", emc_annotate(&s, &o));
    o = good;
    o.results.probabilities_path = o.results.output_path;
    EMT_FAILS(EMC_ERR_USAGE, "named for the results and for", emc_annotate(&s, &o));
    o = good;
    o.results.output_path = o.input_path;
    EMT_FAILS(EMC_ERR_USAGE, "would overwrite", emc_annotate(&s, &o));
    assert_true(emc_file_exists(o.input_path));
    o = good;
    o.unknown_below = 2;
    EMT_FAILS(EMC_ERR_USAGE, "--unknown-below 2", emc_annotate(&s, &o));
    o = good;
    o.input.min_genes = 200;
    EMT_FAILS(EMC_ERR_USAGE, "--min-genes 200 is above", emc_annotate(&s, &o));
    o = good;
    o.profile = "none";
    EMT_FAILS(EMC_ERR_NOT_FOUND, "neither a file nor a built-in", emc_annotate(&s, &o));
}

static void formats_can_be_named(void **state)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("x.txt"));
    emc_annotate_summary *s;

    (void)state;
    o.input.limit = 2;
    EMT_FAILS(EMC_ERR_USAGE, "x.txt", emc_annotate(&s, &o));
    o.results.output_format = "tsv";
    case_annotate(&o);
    char *text = emt_read(o.results.output_path, NULL);
    assert_memory_equal(text, "cell_id\tlabel\t", 14);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_cell_costs_its_status),
        cmocka_unit_test(a_prompt_longer_than_the_context),
        cmocka_unit_test(a_model_of_nan),
        cmocka_unit_test(an_interrupted_run_goes_on),
        cmocka_unit_test(a_full_disk_leaves_no_result),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(formats_can_be_named),
    };

    return cmocka_run_group_tests_name("bad", tests, NULL, NULL);
}
