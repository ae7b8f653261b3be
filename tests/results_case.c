#include "results_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char results_case_labels[] = "CD4-positive, alpha-beta T cell\tCL:0000624\n"
                                   "cell \"quoted\"\n"
                                   "Tropho\xC3\xA4"
                                   "ktoderm \xE7\xB4\xB0\xE8\x83\x9E\tCL:0000351\n"
                                   "epiblast\tCL:0000352\n"
                                   "late epiblast\tCL:0000352\n"
                                   "some animal thing\tCL:0000548\n"
                                   "never seen\tCL:0000540\n";

static emc_status rewind_rows(void *context)
{
    results_case *rows = context;

    rows->at = 0;
    rows->n_passes++;
    if (rows->probs)
        return EMC_OK;
    rows->probs = calloc((size_t)emc_labels_count(rows->labels), sizeof *rows->probs);
    return rows->probs ? EMC_OK : emc_fail(EMC_ERR_NOMEM, "no memory");
}

/* The last label is never one's answer. */
static void answer(results_case *rows, emc_result_row *row)
{
    const int n = emc_labels_count(rows->labels), best = (int)(row->row % (n - 1)), second = n - 1;
    emc_verdict *v = &row->verdict;

    v->score = 0.9 - 0.001 * (double)(row->row % 300);
    v->margin = v->score - (1 - v->score);
    v->score_low = v->score - 0.0001;
    v->score_high = v->score + 0.0001;
    v->entropy = 0.25 + (double)(row->row % 7);
    v->invalid_mass = 0.125;
    for (int i = 0; i < n; i++)
        rows->probs[i] = 0;
    rows->probs[best] = (float)v->score;
    rows->probs[second] = (float)(1 - v->score);
    v->top[0] = best;
    v->top_prob[0] = v->score;
    v->top[1] = second;
    v->top_prob[1] = 1 - v->score;
    v->label = best;
    row->n_genes = (int)(row->row % 90) + 1;
    row->n_tokens = 3 * row->n_genes;
    row->probs = rows->generated ? NULL : rows->probs;
    if (row->row % 11 == 3) {
        v->status = EMC_CELL_UNKNOWN;
        v->reason = row->row % 2 ? "low_score" : "low_margin";
        v->label = -1;
    }
}

static emc_status next_row(void *context, emc_result_row *row, bool *more)
{
    results_case *rows = context;

    while (rows->skip > 0 && rows->at < rows->n_cells && rows->at % rows->skip == rows->skip - 1)
        rows->at++;
    *more = rows->at < rows->n_cells;
    if (!*more)
        return EMC_OK;
    memset(row, 0, sizeof *row);
    row->row = rows->at++;
    snprintf(rows->cell_id, sizeof rows->cell_id, "cell_%lld", (long long)row->row);
    row->cell_id = rows->cell_id;
    emc_verdict_not_asked(&row->verdict, EMC_CELL_OK, "");
    if (row->row % 13 == 5)
        emc_verdict_not_asked(&row->verdict, EMC_CELL_EMPTY, "no_genes");
    else if (row->row % 17 == 6)
        emc_verdict_not_asked(&row->verdict, EMC_CELL_FAILED, "bad_value");
    else
        answer(rows, row);
    if (rows->generated) {
        snprintf(rows->raw_text, sizeof rows->raw_text, "answer, \"%lld\"\n\xC3\xA4",
                 (long long)row->row);
        row->raw_text = rows->raw_text;
    }
    return EMC_OK;
}

emc_result_source results_case_source(results_case *rows)
{
    return (emc_result_source){rows, rewind_rows, next_row};
}
