#include "annotate/result_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

struct emc_result_rows {
    emc_table *table;
    emc_table *matrix; /* NULL unless asked for */
    const emc_labels *labels;
    int top_k;
    bool generates;
};

static emc_status parse_format(emc_table_format *out, const char *name)
{
    static const struct {
        const char *name;
        emc_table_format format;
    } formats[] = {{"csv", EMC_TABLE_CSV}, {"tsv", EMC_TABLE_TSV}, {"jsonl", EMC_TABLE_JSONL}};

    *out = EMC_TABLE_BY_NAME;
    if (!name)
        return EMC_OK;
    for (size_t i = 0; i < EMC_COUNT(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            *out = formats[i].format;
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_USAGE, "output format \"%s\": wanted csv, tsv or jsonl", name);
}

static const emc_column first_columns[] = {
    {"cell_id", EMC_COLUMN_STRING, 0},   {"label", EMC_COLUMN_STRING, 0},
    {"score", EMC_COLUMN_FLOAT, 0},      {"score_low", EMC_COLUMN_FLOAT, 0},
    {"score_high", EMC_COLUMN_FLOAT, 0}, {"margin", EMC_COLUMN_FLOAT, 0},
    {"entropy", EMC_COLUMN_FLOAT, 0},    {"status", EMC_COLUMN_STRING, 0},
    {"reason", EMC_COLUMN_STRING, 0},    {"cl_id", EMC_COLUMN_STRING, 0},
};
static const emc_column top_columns[2 * EMC_TOP] = {
    {"label_1", EMC_COLUMN_STRING, 0}, {"prob_1", EMC_COLUMN_FLOAT, 0},
    {"label_2", EMC_COLUMN_STRING, 0}, {"prob_2", EMC_COLUMN_FLOAT, 0},
    {"label_3", EMC_COLUMN_STRING, 0}, {"prob_3", EMC_COLUMN_FLOAT, 0},
};
static const emc_column last_columns[] = {
    {"n_genes", EMC_COLUMN_INT, 0},
    {"n_tokens", EMC_COLUMN_INT, 0},
    {"raw_text", EMC_COLUMN_STRING, 0},
};

static emc_status open_table(emc_result_rows *rows, const emc_annotate_options *options)
{
    emc_column columns[EMC_COUNT(first_columns) + EMC_COUNT(top_columns) + EMC_COUNT(last_columns)];
    emc_table_format format;
    int n = 0;

    EMC_TRY(parse_format(&format, options->output_format));
    for (size_t i = 0; i < EMC_COUNT(first_columns); i++)
        columns[n++] = first_columns[i];
    for (int i = 0; i < 2 * rows->top_k; i++)
        columns[n++] = top_columns[i];
    for (size_t i = 0; i < EMC_COUNT(last_columns) - !rows->generates; i++)
        columns[n++] = last_columns[i];
    return emc_table_open(&rows->table, options->output_path, format, columns, n);
}

static emc_status open_matrix(emc_result_rows *rows, const char *path)
{
    const int n = emc_labels_count(rows->labels);
    emc_column *columns = NULL;
    emc_status status;

    EMC_TRY(emc_alloc(&columns, (size_t)n + 1, sizeof(*columns), "columns"));
    columns[0] = (emc_column){"cell_id", EMC_COLUMN_STRING, 0};
    for (int i = 0; i < n; i++)
        columns[i + 1] = (emc_column){emc_labels_get(rows->labels, i)->label, EMC_COLUMN_FLOAT, 0};
    status = emc_table_open(&rows->matrix, path, EMC_TABLE_BY_NAME, columns, n + 1);
    free(columns);
    return status;
}

emc_status emc_result_rows_open(emc_result_rows **out, const emc_annotate_options *options,
                                const emc_labels *labels, emc_answer_mode answer)
{
    const char *matrix = options->probabilities_path;
    emc_result_rows *rows;
    emc_status status;

    *out = NULL;
    if (options->top_k < 1 || options->top_k > EMC_TOP)
        return emc_fail(EMC_ERR_USAGE, "--top-k %d: wanted 1 to %d", options->top_k, EMC_TOP);
    if (matrix && answer != EMC_ANSWER_FULL)
        return emc_fail(EMC_ERR_USAGE,
                        "--probabilities: a generated answer has none; use --answer full");
    EMC_TRY(emc_alloc(&rows, 1, sizeof(*rows), "results"));
    rows->labels = labels;
    rows->top_k = options->top_k;
    rows->generates = answer == EMC_ANSWER_GENERATE;
    status = open_table(rows, options);
    if (status == EMC_OK && matrix)
        status = open_matrix(rows, matrix);
    if (status != EMC_OK)
        emc_result_rows_close(rows);
    else
        *out = rows;
    return status;
}

void emc_result_rows_close(emc_result_rows *rows)
{
    if (!rows)
        return;
    emc_table_close(rows->table);
    emc_table_close(rows->matrix);
    free(rows);
}

static const char *label_name(const emc_result_rows *rows, const emc_verdict *verdict)
{
    if (verdict->label >= 0)
        return emc_labels_get(rows->labels, verdict->label)->label;
    return verdict->status == EMC_CELL_UNKNOWN ? "unknown" : NULL;
}

static emc_status add_verdict(emc_result_rows *rows, const emc_verdict *v)
{
    emc_table *t = rows->table;

    EMC_TRY(emc_table_string(t, label_name(rows, v)));
    EMC_TRY(emc_table_float(t, v->score));
    EMC_TRY(emc_table_float(t, v->score_low));
    EMC_TRY(emc_table_float(t, v->score_high));
    EMC_TRY(emc_table_float(t, v->margin));
    EMC_TRY(emc_table_float(t, v->entropy));
    EMC_TRY(emc_table_string(t, emc_cell_status_name(v->status)));
    EMC_TRY(emc_table_string(t, v->reason[0] ? v->reason : NULL));
    EMC_TRY(emc_table_string(t, v->label >= 0 ? emc_labels_get(rows->labels, v->label)->cl : NULL));
    for (int i = 0; i < rows->top_k; i++) {
        EMC_TRY(emc_table_string(t, v->top[i] >= 0 ? emc_labels_get(rows->labels, v->top[i])->label
                                                   : NULL));
        EMC_TRY(emc_table_float(t, v->top_prob[i]));
    }
    return EMC_OK;
}

emc_status emc_result_rows_add(emc_result_rows *rows, const emc_item *item,
                               const emc_verdict *verdict, const double *probs,
                               const char *raw_text)
{
    emc_table *t = rows->table;
    const char *cell_id = item->cell_id.bytes;

    EMC_TRY(emc_table_string(t, cell_id));
    EMC_TRY(add_verdict(rows, verdict));
    EMC_TRY(emc_table_int(t, item->n_genes));
    EMC_TRY(emc_table_int(t, (int64_t)item->prompt.ids.n));
    if (rows->generates)
        EMC_TRY(emc_table_string(t, raw_text));
    EMC_TRY(emc_table_end_row(t));
    if (!rows->matrix)
        return EMC_OK;
    EMC_TRY(emc_table_string(rows->matrix, cell_id));
    for (int i = 0; i < emc_labels_count(rows->labels); i++)
        EMC_TRY(probs ? emc_table_float(rows->matrix, probs[i]) : emc_table_missing(rows->matrix));
    return emc_table_end_row(rows->matrix);
}

static emc_status keep(emc_result_rows *rows, const char *ending)
{
    if (rows->matrix)
        EMC_TRY(emc_table_keep(rows->matrix, ending));
    return emc_table_keep(rows->table, ending);
}

emc_status emc_result_rows_commit(emc_result_rows *rows)
{
    return keep(rows, "");
}

emc_status emc_result_rows_keep(emc_result_rows *rows)
{
    return keep(rows, EMC_INCOMPLETE);
}
