/* From a file of cells to a file of labels: what the results hold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate_case.h"
#include "base/json.h"
#include "base/size.h"
#include "cells/reader.h"
#include "emt.h"

#define N_CELLS 40

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
    char *line = case_next_line(&matrix), *fields[MAX_FIELDS];
    const int n = case_split(line, fields) - 1;

    for (; cell; cell = cell->next) {
        line = case_next_line(&matrix);
        assert_non_null(line);
        assert_int_equal(case_split(line, fields), n + 1);
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
    assert_null(case_next_line(&matrix));
}

static void check_results(char *table, const cJSON *cells)
{
    static const char *const columns[] = {
        "cell_id", "label",  "score",   "score_low", "score_high", "margin",
        "entropy", "status", "reason",  "cl_id",     "label_1",    "prob_1",
        "label_2", "prob_2", "label_3", "prob_3",    "n_genes",    "n_tokens"};
    const cJSON *cell = cells;
    char *line = case_next_line(&table), *fields[MAX_FIELDS];

    assert_int_equal(case_split(line, fields), EMC_COUNT(columns));
    for (size_t i = 0; i < EMC_COUNT(columns); i++)
        assert_string_equal(fields[i], columns[i]);
    for (; cell; cell = cell->next) {
        line = case_next_line(&table);
        assert_int_equal(case_split(line, fields), EMC_COUNT(columns));
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
    assert_null(case_next_line(&table));
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
            case_options(emt_golden("annotate/cells.h5ad"), emt_temp("reference.tsv"));
        o.results.probabilities_path = case_keep(emt_temp("matrix.tsv"));
        o.profile = runs[i].path ? case_keep(emt_golden(runs[i].path)) : NULL;
        case_annotate(&o);
        char *table = emt_read(o.results.output_path, NULL),
             *matrix = emt_read(o.results.probabilities_path, NULL);
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
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("generated.jsonl"));
    int n = 0;

    (void)state;
    o.profile = case_keep(emt_golden("annotate/plain.json"));
    case_annotate(&o);
    char *text = emt_read(o.results.output_path, NULL), *cursor = text, *line;
    for (const cJSON *cell = expected_of(expected, "plain"); cell; cell = cell->next, n++) {
        cJSON *row;
        line = case_next_line(&cursor);
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
    o.results.probabilities_path = case_keep(emt_temp("none.csv"));
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

    case_next_line(&cursor);
    while (r.n < N_CELLS && (r.rows[r.n] = case_next_line(&cursor)) != NULL)
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
        emc_annotate_options o = case_options(in_order, emt_temp("base.tsv"));
        o.model.dtype = dtypes[d];
        case_annotate(&o);
        const rows base = read_rows(o.results.output_path);
        assert_int_equal(base.n, N_MIXED);
        for (size_t i = 0; i < EMC_COUNT(ways); i++) {
            o.input_path = ways[i].shuffled ? mixed : in_order;
            o.results.output_path = case_keep(emt_temp("other.tsv"));
            o.model.n_threads = ways[i].n_threads;
            o.max_num_batched_tokens = ways[i].batched;
            case_annotate(&o);
            const rows other = read_rows(o.results.output_path);
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
            o.input_path = case_keep(write_cells("alone.tsv", &i, 1));
            case_annotate(&o);
            const rows alone = read_rows(o.results.output_path);
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
    case_watcher w = {.cancel_at = -1};
    emc_annotate_options o =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("summary.csv"));
    emc_annotate_summary *s;
    int64_t total = 0;

    (void)state;
    o.on_progress = watch_progress;
    o.on_log = watch_log;
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
    assert_string_equal(s->output_path, o.results.output_path);
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
    emc_annotate_options o =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("places.tsv"));
    char *fields[MAX_FIELDS];

    (void)state;
    o.unknown_below = 1;
    o.results.top_k = 1;
    o.input.limit = 3;
    case_annotate(&o);
    char *text = emt_read(o.results.output_path, NULL), *cursor = text;
    assert_int_equal(case_split(case_next_line(&cursor), fields), 14);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(case_split(case_next_line(&cursor), fields), 14);
        assert_string_equal(fields[1], "unknown");
        assert_string_equal(fields[7], "unknown");
        assert_string_equal(fields[8], "low_score");
        assert_string_equal(fields[9], "");
        assert_true(strlen(fields[10]) > 0);
    }
    assert_null(case_next_line(&cursor));
    free(text);
    o.unknown_below = -1;
    o.margin_below = 1;
    case_annotate(&o);
    text = emt_read(o.results.output_path, NULL);
    assert_non_null(strstr(text, "low_margin"));
    free(text);
}

static void a_users_labels_replace_the_profiles(void **state)
{
    static const char list[] = "T cell\tCL:0000084\nB cell\nTE\n";
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp("own.jsonl"));
    emc_annotate_summary *s;

    (void)state;
    o.labels_path = case_keep(emt_write("own.txt", list, sizeof(list) - 1));
    EMT_OK(emc_annotate(&s, &o));
    assert_int_equal(s->n_labels, 3);
    assert_int_equal(s->n_label[0] + s->n_label[1] + s->n_label[2], 38);
    emc_annotate_summary_close(s);
}

/* Only speed may depend on it, but for the last bits. */
static void the_prefix_changes_no_answer(void **state)
{
    emc_annotate_options o =
        case_options(emt_golden("annotate/cells.h5ad"), emt_temp("prefix.tsv"));
    cJSON *expected = read_expected();

    (void)state;
    o.no_prefix_caching = true;
    o.answer = EMC_ANSWER_FULL;
    case_annotate(&o);
    char *table = emt_read(o.results.output_path, NULL);
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
        cmocka_unit_test(the_prefix_changes_no_answer),
    };

    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
