/* From a file of cells to a file of labels, with the golden model. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/run.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "cells/reader.h"
#include "emt.h"

#define N_CELLS 40

/* What a run said on its way. */
typedef struct {
    int n_calls, n_logs;
    int64_t last_done;
    emc_stage last_stage;
    volatile sig_atomic_t cancel;
    int64_t cancel_at; /* cells; -1: never */
} watcher;

static void on_progress(void *context, const emc_progress *p)
{
    watcher *w = context;

    w->n_calls++;
    assert_true(p->stage >= w->last_stage);
    assert_true(p->n_done >= (p->stage == EMC_STAGE_CELLS ? w->last_done : 0));
    w->last_done = p->n_done;
    w->last_stage = p->stage;
    if (w->cancel_at >= 0 && p->stage == EMC_STAGE_CELLS && p->n_done >= w->cancel_at)
        w->cancel = 1;
}

static void on_log(void *context, const char *line)
{
    ((watcher *)context)->n_logs++;
    assert_null(strchr(line, '\n'));
}

/* Paths of emt.h are good for a few calls only. */
static const char *keep(const char *path)
{
    static char paths[64][512];
    static int n;
    char *kept = paths[n++ % 64];

    snprintf(kept, sizeof(paths[0]), "%s", path);
    return kept;
}

static emc_annotate_options defaults(const char *input, const char *output)
{
    emc_annotate_options o;

    emc_annotate_defaults(&o);
    o.input_path = keep(input);
    o.output_path = keep(output);
    o.model.model_dir = keep(emt_golden("annotate/model"));
    o.model.dtype = EMC_DTYPE_FLOAT32;
    o.model.n_threads = 1;
    o.max_num_batched_tokens = 512;
    return o;
}

static void annotate(const emc_annotate_options *o)
{
    emc_annotate_summary *summary;

    EMT_OK(emc_annotate(&summary, o));
    emc_annotate_summary_close(summary);
}

/* A line of a table cut at its tabs, in place. Quotes around a field go, doubled ones become
 * one; no tab stands inside any. */
#define MAX_FIELDS 40
static void unquote(char *field)
{
    char *to = field;

    for (const char *c = field + 1; *c; c++) {
        if (*c == '"')
            c++; /* the second of two, or the end */
        if (!*c)
            break;
        *to++ = *c;
    }
    *to = '\0';
}

static int split(char *line, char **fields)
{
    int n = 0;

    for (char *next = line; next && n < MAX_FIELDS; n++) {
        fields[n] = next;
        next = strchr(next, '\t');
        if (next)
            *next++ = '\0';
        if (fields[n][0] == '"')
            unquote(fields[n]);
    }
    return n;
}

static char *next_line(char **cursor)
{
    char *line = *cursor, *end = strchr(line, '\n');

    if (!end)
        return NULL;
    *end = '\0';
    *cursor = end + 1;
    return line;
}

static const cJSON *expected_of(const cJSON *expected, const char *profile)
{
    return cJSON_GetObjectItem(expected, profile)->child;
}

static cJSON *read_expected(void)
{
    cJSON *expected;

    EMT_OK(emc_json_read(&expected, emt_golden("annotate/expected.json"), 1 << 20));
    return expected;
}

/* Log-probabilities of about 10 tokens, each within 1e-4 of a logit range of about 20 (the bound
 * that the runtime is held to): 0.02 of a natural log in the worst case, and relative error of a
 * probability as much. They are in truth a thousand times closer; a tenth of that is asked. */
#define RTOL 0.002

static void check_probabilities(char *matrix, const cJSON *cells, double temperature)
{
    const cJSON *cell = cells;
    char *line = next_line(&matrix), *fields[MAX_FIELDS];
    const int n = split(line, fields) - 1;

    for (; cell; cell = cell->next) {
        line = next_line(&matrix);
        assert_non_null(line);
        assert_int_equal(split(line, fields), n + 1);
        assert_string_equal(fields[0], cJSON_GetObjectItem(cell, "cell_id")->valuestring);
        const cJSON *logs = cJSON_GetObjectItem(cell, "log_probs"), *value;
        if (!logs) {
            assert_string_equal(fields[1], "");
            continue;
        }
        assert_int_equal(cJSON_GetArraySize(logs), n);
        double most = -INFINITY, sum = 0;
        cJSON_ArrayForEach(value, logs) most = fmax(most, value->valuedouble);
        cJSON_ArrayForEach(value, logs) sum += exp((value->valuedouble - most) / temperature);
        int i = 0;
        cJSON_ArrayForEach(value, logs)
        {
            const double want = exp((value->valuedouble - most) / temperature) / sum;
            const double got = atof(fields[++i]);
            if (!(fabs(got - want) <= RTOL * want))
                fail_msg("%s, label %d: %g, wanted %g", fields[0], i, got, want);
        }
    }
    assert_null(next_line(&matrix));
}

static void check_results(char *table, const cJSON *cells)
{
    static const char *const columns[] = {
        "cell_id", "label",  "score",   "score_low", "score_high", "margin",
        "entropy", "status", "reason",  "cl_id",     "label_1",    "prob_1",
        "label_2", "prob_2", "label_3", "prob_3",    "n_genes",    "n_tokens"};
    const cJSON *cell = cells;
    char *line = next_line(&table), *fields[MAX_FIELDS];

    assert_int_equal(split(line, fields), EMC_COUNT(columns));
    for (size_t i = 0; i < EMC_COUNT(columns); i++)
        assert_string_equal(fields[i], columns[i]);
    for (; cell; cell = cell->next) {
        line = next_line(&table);
        assert_int_equal(split(line, fields), EMC_COUNT(columns));
        assert_string_equal(fields[0], cJSON_GetObjectItem(cell, "cell_id")->valuestring);
        assert_string_equal(fields[7], cJSON_GetObjectItem(cell, "status")->valuestring);
        assert_int_equal(atoi(fields[16]), cJSON_GetArraySize(cJSON_GetObjectItem(cell, "genes")));
        const cJSON *top = cJSON_GetObjectItem(cell, "top");
        if (!top) {
            assert_string_equal(fields[1], "");
            assert_string_equal(fields[2], "");
            assert_string_equal(fields[10], "");
            assert_int_equal(atoi(fields[17]), 0);
            continue;
        }
        assert_int_equal(atoi(fields[17]), cJSON_GetArraySize(cJSON_GetObjectItem(cell, "ids")));
        assert_string_equal(fields[1], cJSON_GetArrayItem(top, 0)->valuestring);
        assert_string_equal(fields[2], fields[3]);
        assert_string_equal(fields[2], fields[4]);
        assert_string_equal(fields[2], fields[11]);
        const cJSON *prob = cJSON_GetObjectItem(cell, "top_prob");
        for (int i = 0; i < 3; i++) {
            assert_string_equal(fields[10 + 2 * i], cJSON_GetArrayItem(top, i)->valuestring);
            const double want = cJSON_GetArrayItem(prob, i)->valuedouble;
            /* The golden values have nine digits. */
            assert_true(fabs(atof(fields[11 + 2 * i]) - want) <= RTOL * want + 1e-9);
        }
        assert_true(fabs(atof(fields[5]) - cJSON_GetObjectItem(cell, "margin")->valuedouble) <=
                    2 * RTOL);
        /* d(p log p) <= (|log p| + 1) dp, summed */
        assert_true(fabs(atof(fields[6]) - cJSON_GetObjectItem(cell, "entropy")->valuedouble) <=
                    10 * RTOL);
    }
    assert_null(next_line(&table));
}

static void answers_are_those_of_the_reference_library(void **state)
{
    static const struct {
        const char *profile, *path;
        double temperature;
    } runs[] = {{"embryo", NULL, 1}, {"think", "annotate/think.json", 2.5}};
    cJSON *expected = read_expected();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(runs); i++) {
        emc_annotate_options o =
            defaults(emt_golden("annotate/cells.h5ad"), emt_temp("reference.tsv"));
        o.probabilities_path = keep(emt_temp("matrix.tsv"));
        o.profile = runs[i].path ? keep(emt_golden(runs[i].path)) : NULL;
        annotate(&o);
        char *table = emt_read(o.output_path, NULL), *matrix = emt_read(o.probabilities_path, NULL);
        check_results(table, expected_of(expected, runs[i].profile));
        check_probabilities(matrix, expected_of(expected, runs[i].profile), runs[i].temperature);
        free(table);
        free(matrix);
    }
    cJSON_Delete(expected);
}

static void generated_text_is_the_reference_librarys(void **state)
{
    cJSON *expected = read_expected();
    emc_annotate_options o =
        defaults(emt_golden("annotate/cells.h5ad"), emt_temp("generated.jsonl"));
    int n = 0;

    (void)state;
    o.profile = keep(emt_golden("annotate/plain.json"));
    annotate(&o);
    char *text = emt_read(o.output_path, NULL), *cursor = text, *line;
    for (const cJSON *cell = expected_of(expected, "plain"); cell; cell = cell->next, n++) {
        cJSON *row;
        line = next_line(&cursor);
        EMT_OK(emc_json_parse(&row, line, strlen(line), "row"));
        const cJSON *want = cJSON_GetObjectItem(cell, "raw_text");
        const cJSON *got = cJSON_GetObjectItem(row, "raw_text");
        assert_true(cJSON_IsNull(got) == !want);
        if (want) {
            assert_string_equal(got->valuestring, want->valuestring);
            assert_string_equal(cJSON_GetObjectItem(row, "status")->valuestring, "invalid");
            assert_string_equal(cJSON_GetObjectItem(row, "reason")->valuestring, "cut_off");
        }
        assert_true(cJSON_IsNull(cJSON_GetObjectItem(row, "score")));
        cJSON_Delete(row);
    }
    assert_int_equal(n, N_CELLS);
    free(text);
    o.probabilities_path = keep(emt_temp("none.csv"));
    emc_annotate_summary *summary;
    EMT_FAILS(EMC_ERR_USAGE, "--probabilities: a generated answer has none",
              emc_annotate(&summary, &o));
    cJSON_Delete(expected);
}

/* Rows of the golden cells as a text table, in this order. */
static const char *write_cells(const char *name, const int *order, int n)
{
    emc_cells *cells;
    emc_cell_block block;
    emc_text text = {0};

    EMT_OK(emc_cells_open(&cells, emt_golden("annotate/cells.h5ad"), NULL));
    EMT_OK(emc_text_add_string(&text, "cell"));
    const int n_genes = emc_cells_n_genes(cells);
    for (int g = 0; g < n_genes; g++)
        EMT_OK(emc_text_addf(&text, "\t%s", emc_cells_gene_names(cells)[g]));
    EMT_OK(emc_text_add_string(&text, "\n"));
    for (int i = 0; i < n; i++) {
        double *values = calloc((size_t)n_genes, sizeof(*values));
        EMT_OK(emc_cells_seek(cells, order[i]));
        EMT_OK(emc_cells_next(cells, &block));
        for (int64_t k = block.indptr[0]; k < block.indptr[1]; k++)
            values[block.genes[k]] += block.values[k];
        EMT_OK(emc_text_add_csv(&text, block.cell_ids[0], '\t'));
        for (int g = 0; g < n_genes; g++)
            EMT_OK(emc_text_addf(&text, "\t%g", values[g]));
        EMT_OK(emc_text_add_string(&text, "\n"));
        free(values);
    }
    const char *path = emt_write(name, text.bytes, text.n);
    emc_text_free(&text);
    emc_cells_close(cells);
    return path;
}

/* The rows of a result, by cell. */
typedef struct {
    char *text;
    char *rows[N_CELLS];
    int n;
} rows;

static rows read_rows(const char *path)
{
    rows r = {.text = emt_read(path, NULL)};
    char *cursor = r.text;

    next_line(&cursor);
    while (r.n < N_CELLS && (r.rows[r.n] = next_line(&cursor)) != NULL)
        r.n++;
    return r;
}

static const char *find_row(const rows *r, const char *row)
{
    const size_t n = strcspn(row, "\t");

    for (int i = 0; i < r->n; i++) {
        if (strncmp(r->rows[i], row, n + 1) == 0)
            return r->rows[i];
    }
    fail_msg("no row for %.*s", (int)n, row);
    return NULL;
}

static void assert_same_rows(const rows *a, const rows *b)
{
    for (int i = 0; i < a->n; i++)
        assert_string_equal(a->rows[i], find_row(b, a->rows[i]));
}

#define N_MIXED 14 /* the odd ones are among the first */

/* One by one, packed, shuffled, with one and with two threads, in float32 and bfloat16. */
static void a_cells_bytes_depend_on_the_cell_alone(void **state)
{
    static const struct {
        int n_threads, batched;
        bool shuffled;
        const char *what;
    } ways[] = {
        {2, 512, false, "two threads"},
        {1, 128, false, "small steps"},
        {1, 512, true, "shuffled"},
        {2, 1024, true, "shuffled, large steps, two threads"},
    };
    const emc_dtype_choice dtypes[] = {EMC_DTYPE_FLOAT32, EMC_DTYPE_BFLOAT16};
    int order[N_MIXED], shuffled[N_MIXED];
    uint64_t random = 3;

    (void)state;
    for (int i = 0; i < N_MIXED; i++)
        order[i] = shuffled[i] = i;
    for (int i = N_MIXED - 1; i > 0; i--) {
        const int k = (int)(emt_random(&random) % (uint64_t)(i + 1)), kept = shuffled[i];
        shuffled[i] = shuffled[k];
        shuffled[k] = kept;
    }
    char *in_order, *mixed;
    EMT_OK(emc_copy_string(&in_order, write_cells("in_order.tsv", order, N_MIXED)));
    EMT_OK(emc_copy_string(&mixed, write_cells("shuffled.tsv", shuffled, N_MIXED)));
    for (size_t d = 0; d < 2; d++) {
        emc_annotate_options o = defaults(in_order, emt_temp("base.tsv"));
        o.model.dtype = dtypes[d];
        annotate(&o);
        const rows base = read_rows(o.output_path);
        assert_int_equal(base.n, N_MIXED);
        for (size_t i = 0; i < EMC_COUNT(ways); i++) {
            o.input_path = ways[i].shuffled ? mixed : in_order;
            o.output_path = keep(emt_temp("other.tsv"));
            o.model.n_threads = ways[i].n_threads;
            o.max_num_batched_tokens = ways[i].batched;
            annotate(&o);
            const rows other = read_rows(o.output_path);
            assert_int_equal(other.n, N_MIXED);
            /* Rows come in the order of the input. */
            for (int k = 0; k < N_MIXED; k++) {
                const char *want = base.rows[ways[i].shuffled ? shuffled[k] : k];
                assert_memory_equal(other.rows[k], want, strcspn(want, "\t"));
            }
            assert_same_rows(&base, &other);
            free(other.text);
        }
        for (int i = 0; i < N_MIXED; i += 6) {
            o.input_path = keep(write_cells("alone.tsv", &i, 1));
            annotate(&o);
            const rows alone = read_rows(o.output_path);
            assert_int_equal(alone.n, 1);
            assert_same_rows(&alone, &base);
            free(alone.text);
        }
        free(base.text);
    }
    free(in_order);
    free(mixed);
}

static void the_summary_counts(void **state)
{
    watcher w = {.cancel_at = -1};
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("summary.csv"));
    emc_annotate_summary *s;
    int64_t total = 0;

    (void)state;
    o.on_progress = on_progress;
    o.on_log = on_log;
    o.context = &w;
    o.unknown_below = 0.6;
    EMT_OK(emc_annotate(&s, &o));
    assert_int_equal(s->n_cells, N_CELLS);
    assert_int_equal(s->n_status[EMC_CELL_EMPTY], 1);
    assert_int_equal(s->n_status[EMC_CELL_TOO_FEW_GENES], 1);
    assert_true(s->n_status[EMC_CELL_UNKNOWN] > 0 && s->n_status[EMC_CELL_OK] > 0);
    for (int i = 0; i < EMC_N_CELL_STATUSES; i++)
        total += s->n_status[i];
    assert_int_equal(total, N_CELLS);
    assert_int_equal(s->n_labels, 27);
    assert_string_equal(s->labels[12], "STB");
    total = 0;
    for (int i = 0; i < s->n_labels; i++)
        total += s->n_label[i];
    assert_int_equal(total, s->n_status[EMC_CELL_OK]);
    assert_true(s->gene_match == 1 && s->n_genes_renamed == 3);
    assert_string_equal(s->profile_name, "embryo");
    assert_string_equal(s->output_path, o.output_path);
    assert_non_null(strstr(s->input_description, "40 cells"));
    assert_non_null(strstr(s->model_description, "2 layers"));
    assert_true(s->mean_score > 0.3 && s->mean_score < 1);
    assert_true(s->prefix_tokens > 50 && s->n_prompt_tokens > 38 * s->prefix_tokens);
    assert_true(s->engine.n_steps > 0 && s->cells_per_s > 0);
    emc_annotate_summary_close(s);
    emc_annotate_summary_close(NULL);
    assert_int_equal(w.last_stage, EMC_STAGE_WRITE);
    assert_int_equal(w.last_done, N_CELLS);
    assert_true(w.n_calls >= 4 && w.n_logs >= 2);
}

static void thresholds_and_places_are_written(void **state)
{
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("places.tsv"));
    char *fields[MAX_FIELDS];

    (void)state;
    o.unknown_below = 1;
    o.top_k = 1;
    o.input.limit = 3;
    annotate(&o);
    char *text = emt_read(o.output_path, NULL), *cursor = text;
    assert_int_equal(split(next_line(&cursor), fields), 14);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(split(next_line(&cursor), fields), 14);
        assert_string_equal(fields[1], "unknown");
        assert_string_equal(fields[7], "unknown");
        assert_string_equal(fields[8], "low_score");
        assert_string_equal(fields[9], "");
        assert_true(strlen(fields[10]) > 0);
    }
    assert_null(next_line(&cursor));
    free(text);
    o.unknown_below = -1;
    o.margin_below = 1;
    annotate(&o);
    text = emt_read(o.output_path, NULL);
    assert_non_null(strstr(text, "low_margin"));
    free(text);
}

static void a_users_labels_replace_the_profiles(void **state)
{
    static const char list[] = "T cell\tCL:0000084\nB cell\nTE\n";
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("own.jsonl"));
    emc_annotate_summary *s;

    (void)state;
    o.labels_path = keep(emt_write("own.txt", list, sizeof(list) - 1));
    EMT_OK(emc_annotate(&s, &o));
    assert_int_equal(s->n_labels, 3);
    assert_int_equal(s->n_label[0] + s->n_label[1] + s->n_label[2], 38);
    emc_annotate_summary_close(s);
}

/* A file that is a cell's fault only costs that cell. */
static void a_bad_cell_costs_its_status(void **state)
{
    static const char text[] = "cell\tGATA3\tKRT8\tACTB\nA\t1\t2\t3\nB\tnan\t1\t2\nC\t3\t2\t1\n";
    emc_annotate_options o =
        defaults(emt_write("nan.tsv", text, sizeof(text) - 1), emt_temp("nan_out.tsv"));
    char *fields[MAX_FIELDS];

    (void)state;
    o.input.min_genes = 1;
    annotate(&o);
    char *result = emt_read(o.output_path, NULL), *cursor = result;
    next_line(&cursor);
    split(next_line(&cursor), fields);
    assert_string_equal(fields[7], "ok");
    split(next_line(&cursor), fields);
    assert_string_equal(fields[0], "B");
    assert_string_equal(fields[7], "failed");
    assert_string_equal(fields[8], "bad_value");
    split(next_line(&cursor), fields);
    assert_string_equal(fields[7], "ok");
    free(result);
}

/* The golden model with another longest context. */
static const char *model_with_context(int n)
{
    static const char *const files[] = {"model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json"};
    const char *dir = keep(emt_temp("short_model"));
    char path[1024], target[1024];
    size_t size;
    emc_text config = {0};

    mkdir(dir, 0700);
    for (size_t i = 0; i < EMC_COUNT(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        snprintf(target, sizeof(target), "%s/%s", emt_golden("annotate/model"), files[i]);
        char *whole = realpath(target, NULL);
        unlink(path);
        assert_int_equal(symlink(whole, path), 0);
        free(whole);
    }
    char *text = emt_read(emt_golden("annotate/model/config.json"), &size);
    char *at = strstr(text, "\"max_position_embeddings\": 2048");
    assert_non_null(at);
    EMT_OK(emc_text_add(&config, text, (size_t)(at - text)));
    EMT_OK(emc_text_addf(&config, "\"max_position_embeddings\": %d", n));
    EMT_OK(emc_text_add_string(&config, at + strlen("\"max_position_embeddings\": 2048")));
    emt_write("short_model/config.json", config.bytes, config.n);
    emc_text_free(&config);
    free(text);
    return dir;
}

static void a_prompt_longer_than_the_context(void **state)
{
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("long.tsv"));
    emc_annotate_summary *s;

    (void)state;
    o.model.model_dir = model_with_context(265);
    EMT_OK(emc_annotate(&s, &o));
    assert_true(s->n_status[EMC_CELL_FAILED] > 0 && s->n_status[EMC_CELL_OK] > 0);
    emc_annotate_summary_close(s);
    char *text = emt_read(o.output_path, NULL);
    assert_non_null(strstr(text, "\tfailed\tprompt_too_long\t"));
    free(text);
    o.model.model_dir = model_with_context(120);
    EMT_FAILS(EMC_ERR_CONFIG, "the model's context is 120", emc_annotate(&s, &o));
    assert_null(s);
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

static void an_interrupted_run_leaves_no_result(void **state)
{
    static const int64_t stops[] = {0, 1, 20, 40};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(stops); i++) {
        watcher w = {.cancel_at = stops[i]};
        emc_annotate_options o =
            defaults(emt_golden("annotate/cells.h5ad"), emt_temp("stopped.csv"));
        emc_annotate_summary *s;
        o.probabilities_path = keep(emt_temp("stopped.matrix.csv"));
        o.on_progress = on_progress;
        o.context = &w;
        o.cancel = &w.cancel;
        EMT_FAILS(EMC_ERR_CANCELLED, "interrupted", emc_annotate(&s, &o));
        assert_null(s);
        assert_int_equal(count_files(emt_temp_dir(), "stopped"), 0);
    }
}

static void a_full_disk_leaves_no_result(void **state)
{
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("full.csv"));
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
    assert_int_equal(count_files(emt_temp_dir(), "full"), 0);
    o.output_path = "/none/x.csv";
    EMT_FAILS(EMC_ERR_CREATE, "/none/x.csv", emc_annotate(&s, &o));
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char mouse[] = "cell\tGata3\tKrt8\tActb\nA\t1\t2\t3\nB\t2\t1\t2\n";
    static const char ensembl[] = "cell\tENSG00000141510\tENSG00000075624\nA\t1\t2\nB\t2\t1\n";
    emc_annotate_options good = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("bad.csv"));
    emc_annotate_options o = good;
    emc_annotate_summary *s;

    (void)state;
    o.input_path = keep(emt_write("mouse.tsv", mouse, sizeof(mouse) - 1));
    EMT_FAILS(EMC_ERR_CONFIG, "0 % of the gene names are known human symbols",
              emc_annotate(&s, &o));
    assert_non_null(strstr(emc_message(), "Gata3, Krt8, Actb: they are written as mouse"));
    o.input.min_gene_match = 0;
    o.input.min_genes = 1;
    annotate(&o); /* the user insists */
    o = good;
    o.input_path = keep(emt_write("ensembl.tsv", ensembl, sizeof(ensembl) - 1));
    EMT_FAILS(EMC_ERR_FORMAT, "--gene-symbols", emc_annotate(&s, &o));
    o = good;
    o.input_path = "/none/cells.h5ad";
    EMT_FAILS(EMC_ERR_NOT_FOUND, "/none/cells.h5ad", emc_annotate(&s, &o));
    o = good;
    o.model.model_dir = "/none/model";
    EMT_FAILS(EMC_ERR_NOT_FOUND, "/none/model", emc_annotate(&s, &o));
    o = good;
    o.output_format = "xml";
    EMT_FAILS(EMC_ERR_USAGE, "wanted csv, tsv or jsonl", emc_annotate(&s, &o));
    o = good;
    o.top_k = 4;
    EMT_FAILS(EMC_ERR_USAGE, "--top-k 4", emc_annotate(&s, &o));
    o = good;
    o.probabilities_path = o.output_path;
    EMT_FAILS(EMC_ERR_USAGE, "named for the results and for", emc_annotate(&s, &o));
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
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("x.txt"));
    emc_annotate_summary *s;

    (void)state;
    o.input.limit = 2;
    EMT_FAILS(EMC_ERR_USAGE, "x.txt", emc_annotate(&s, &o));
    o.output_format = "tsv";
    annotate(&o);
    char *text = emt_read(o.output_path, NULL);
    assert_memory_equal(text, "cell_id\tlabel\t", 14);
    free(text);
}

/* Only speed may depend on it, but for the last bits. */
static void the_prefix_changes_no_answer(void **state)
{
    emc_annotate_options o = defaults(emt_golden("annotate/cells.h5ad"), emt_temp("prefix.tsv"));
    cJSON *expected = read_expected();

    (void)state;
    o.no_prefix_caching = true;
    annotate(&o);
    char *table = emt_read(o.output_path, NULL);
    check_results(table, expected_of(expected, "embryo"));
    free(table);
    cJSON_Delete(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_the_reference_library),
        cmocka_unit_test(generated_text_is_the_reference_librarys),
        cmocka_unit_test(a_cells_bytes_depend_on_the_cell_alone),
        cmocka_unit_test(the_summary_counts),
        cmocka_unit_test(thresholds_and_places_are_written),
        cmocka_unit_test(a_users_labels_replace_the_profiles),
        cmocka_unit_test(a_bad_cell_costs_its_status),
        cmocka_unit_test(a_prompt_longer_than_the_context),
        cmocka_unit_test(an_interrupted_run_leaves_no_result),
        cmocka_unit_test(a_full_disk_leaves_no_result),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(formats_can_be_named),
        cmocka_unit_test(the_prefix_changes_no_answer),
    };

    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
