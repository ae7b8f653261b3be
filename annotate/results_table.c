/* Which columns do the tables of a run have, and how does a row fill them? */
#include <stdlib.h>
#include <string.h>

#include "annotate/results_parts.h"
#include "base/size.h"
#include "cells/result.h"

struct results_tables {
    emc_table *table;  /* NULL: the main output is an .h5ad */
    emc_table *matrix; /* NULL unless asked for */
    const emc_labels *labels;
    const results_survey *survey;
    int top_k;
    bool generated, has_invalid_mass;
};

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
static const emc_column mass_column = {"invalid_mass", EMC_COLUMN_FLOAT, 0};
static const emc_column prompt_columns[] = {
    {"n_genes", EMC_COLUMN_INT, 0},
    {"n_tokens", EMC_COLUMN_INT, 0},
};
static const emc_column raw_column = {"raw_text", EMC_COLUMN_STRING, 0};
static const emc_column cluster_columns[] = {
    {"cluster_label", EMC_COLUMN_STRING, 0},
    {"cluster_score", EMC_COLUMN_FLOAT, 0},
};

#define MAX_COLUMNS                                                                                \
    (EMC_COUNT(first_columns) + EMC_COUNT(top_columns) + EMC_COUNT(prompt_columns) + 2 +           \
     EMC_COUNT(cluster_columns))

static emc_table_format format_of(const char *name)
{
    if (!name)
        return EMC_TABLE_BY_NAME;
    return strcmp(name, "csv") == 0   ? EMC_TABLE_CSV
           : strcmp(name, "tsv") == 0 ? EMC_TABLE_TSV
                                      : EMC_TABLE_JSONL;
}

static void append(emc_column *columns, int *n, const emc_column *from, size_t n_from)
{
    memcpy(columns + *n, from, n_from * sizeof(*from));
    *n += (int)n_from;
}

static emc_status open_table(results_tables *tables, const emc_results_options *options)
{
    emc_column columns[MAX_COLUMNS];
    int n = 0;

    append(columns, &n, first_columns, EMC_COUNT(first_columns));
    append(columns, &n, top_columns, (size_t)(2 * tables->top_k));
    if (tables->has_invalid_mass)
        append(columns, &n, &mass_column, 1);
    append(columns, &n, prompt_columns, EMC_COUNT(prompt_columns));
    if (tables->generated)
        append(columns, &n, &raw_column, 1);
    if (tables->survey->groups)
        append(columns, &n, cluster_columns, EMC_COUNT(cluster_columns));
    return emc_table_open(&tables->table, options->output_path, format_of(options->output_format),
                          columns, n);
}

static emc_status open_matrix(results_tables *tables, const char *path)
{
    const int n = emc_labels_count(tables->labels);
    emc_column *columns = NULL;
    emc_status status;

    EMC_TRY(emc_alloc(&columns, (size_t)n + 1, sizeof(*columns), "columns"));
    columns[0] = (emc_column){"cell_id", EMC_COLUMN_STRING, 0};
    for (int i = 0; i < n; i++)
        columns[i + 1] =
            (emc_column){emc_labels_get(tables->labels, i)->label, EMC_COLUMN_FLOAT, 0};
    status = emc_table_open(&tables->matrix, path, EMC_TABLE_BY_NAME, columns, n + 1);
    free(columns);
    return status;
}

emc_status results_tables_open(results_tables **out, const emc_results_options *options,
                               const emc_results_run *run, const results_survey *survey)
{
    results_tables *tables;
    emc_status status = EMC_OK;

    *out = NULL;
    EMC_TRY(emc_alloc(&tables, 1, sizeof(*tables), "results"));
    tables->labels = run->labels;
    tables->survey = survey;
    tables->top_k = options->top_k;
    tables->generated = run->generated;
    tables->has_invalid_mass = run->has_invalid_mass;
    if (!results_is_h5ad(options))
        status = open_table(tables, options);
    if (status == EMC_OK && options->probabilities_path)
        status = open_matrix(tables, options->probabilities_path);
    if (status != EMC_OK)
        results_tables_close(tables);
    else
        *out = tables;
    return status;
}

void results_tables_close(results_tables *tables)
{
    if (!tables)
        return;
    emc_table_close(tables->table);
    emc_table_close(tables->matrix);
    free(tables);
}

static const char *name_of(const emc_labels *labels, int label)
{
    return label >= 0 ? emc_labels_get(labels, label)->label : NULL;
}

static emc_status add_verdict(results_tables *tables, const emc_verdict *v)
{
    emc_table *t = tables->table;
    const emc_labels *labels = tables->labels;

    EMC_TRY(emc_table_string(t, v->label < 0 && v->status == EMC_CELL_UNKNOWN
                                    ? RESULTS_UNKNOWN
                                    : name_of(labels, v->label)));
    EMC_TRY(emc_table_float(t, v->score));
    EMC_TRY(emc_table_float(t, v->score_low));
    EMC_TRY(emc_table_float(t, v->score_high));
    EMC_TRY(emc_table_float(t, v->margin));
    EMC_TRY(emc_table_float(t, v->entropy));
    EMC_TRY(emc_table_string(t, emc_cell_status_name(v->status)));
    EMC_TRY(emc_table_string(t, v->reason && v->reason[0] ? v->reason : NULL));
    EMC_TRY(emc_table_string(t, v->label >= 0 ? emc_labels_get(labels, v->label)->cl : NULL));
    for (int i = 0; i < tables->top_k; i++) {
        EMC_TRY(emc_table_string(t, name_of(labels, v->top[i])));
        EMC_TRY(emc_table_float(t, v->top_prob[i]));
    }
    return tables->has_invalid_mass ? emc_table_float(t, v->invalid_mass) : EMC_OK;
}

static emc_status add_row(results_tables *tables, const emc_result_row *row)
{
    emc_table *t = tables->table;
    double share;

    EMC_TRY(emc_table_string(t, row->cell_id));
    EMC_TRY(add_verdict(tables, &row->verdict));
    EMC_TRY(emc_table_int(t, row->n_genes));
    EMC_TRY(emc_table_int(t, row->n_tokens));
    if (tables->generated)
        EMC_TRY(emc_table_string(t, row->raw_text));
    if (tables->survey->groups) {
        const int winner = results_survey_winner(tables->survey, row->row, &share);
        EMC_TRY(emc_table_string(t, results_winner_name(tables->labels, winner)));
        EMC_TRY(emc_table_float(t, share));
    }
    return emc_table_end_row(t);
}

emc_status results_tables_add(results_tables *tables, const emc_result_row *row)
{
    if (tables->table)
        EMC_TRY(add_row(tables, row));
    if (!tables->matrix)
        return EMC_OK;
    EMC_TRY(emc_table_string(tables->matrix, row->cell_id));
    for (int i = 0; i < emc_labels_count(tables->labels); i++)
        EMC_TRY(row->probs ? emc_table_float(tables->matrix, (double)row->probs[i])
                           : emc_table_missing(tables->matrix));
    return emc_table_end_row(tables->matrix);
}

emc_status results_tables_flush(results_tables *tables)
{
    return emc_table_flush(tables->table);
}

emc_status results_tables_commit(results_tables *tables)
{
    if (tables->matrix)
        EMC_TRY(emc_table_commit(tables->matrix));
    return tables->table ? emc_table_commit(tables->table) : EMC_OK;
}
