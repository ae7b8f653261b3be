/* One pass over the shards of a run. */

#include "annotate/report/run_tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/ledger.h"
#include "base/size.h"

void tally_free(tally *t)
{
    for (int i = 0; i < t->n_low; i++)
        free(t->low[i].cell_id);
    free(t->low);
    free(t->n_label);
    free(t->bins);
    free(t->by_group);
    emc_groups_close(t->groups);
    *t = (tally){0};
}

/* Scores that are equal stand in the order of the input, so that the list has one form. */
static bool is_lower(double score, int64_t row, const tally_cell *than)
{
    return score < than->score || (score == than->score && row < than->row);
}

static emc_status keep_low(tally *t, const emc_result_row *row)
{
    const emc_verdict *v = &row->verdict;
    int at = t->n_low;

    if (isnan(v->score) || t->low_room == 0)
        return EMC_OK;
    if (t->n_low == t->low_room) {
        if (!is_lower(v->score, row->row, &t->low[t->n_low - 1]))
            return EMC_OK;
        free(t->low[--t->n_low].cell_id);
        at = t->n_low;
    }
    char *id;
    EMC_TRY(emc_copy_string(&id, row->cell_id));
    while (at > 0 && is_lower(v->score, row->row, &t->low[at - 1])) {
        t->low[at] = t->low[at - 1];
        at--;
    }
    t->low[at] =
        (tally_cell){id, row->row, v->top[0], v->top[1], v->score, v->top_prob[1], v->status};
    t->n_low++;
    return EMC_OK;
}

static void count_reason(tally *t, const emc_verdict *v)
{
    if (v->status == EMC_CELL_OK)
        return;
    for (int i = 0; i < t->n_reasons; i++)
        if (t->reasons[i].status == v->status && strcmp(t->reasons[i].reason, v->reason) == 0) {
            t->reasons[i].n++;
            return;
        }
    if (t->n_reasons < (int)EMC_COUNT(t->reasons))
        t->reasons[t->n_reasons++] = (tally_reason){v->reason, v->status, 1};
}

static emc_status count_row(tally *t, const emc_result_row *row)
{
    const emc_verdict *v = &row->verdict;
    const bool has_label = v->status == EMC_CELL_OK && v->label >= 0;

    t->n_cells++;
    t->n_status[v->status]++;
    count_reason(t, v);
    if (has_label)
        t->n_label[v->label]++;
    if (!isnan(v->score) && v->top[0] >= 0) {
        int bin = (int)(v->score * TALLY_BINS);
        bin = bin < 0 ? 0 : bin >= TALLY_BINS ? TALLY_BINS - 1 : bin;
        t->bins[(size_t)v->top[0] * TALLY_BINS + (size_t)bin]++;
        t->bins[(size_t)t->n_labels * TALLY_BINS + (size_t)bin]++;
    }
    if (t->groups && row->row < emc_groups_n_cells(t->groups)) {
        const int group = emc_groups_of(t->groups, row->row);
        if (group >= 0)
            t->by_group[(size_t)group * (size_t)(t->n_labels + 1) +
                        (size_t)(has_label ? v->label : t->n_labels)]++;
    }
    return keep_low(t, row);
}

static emc_status open_groups(tally *t, const emc_plan *plan, const char *column)
{
    const char *input = emc_plan_get(&plan->notes, "input_path");

    if (!input)
        return emc_fail(EMC_ERR_CONFIG, "--groupby: run.json does not say what file was read");
    EMC_TRY(emc_groups_open(&t->groups, input, column, false));
    if (emc_groups_n_cells(t->groups) != plan->n_rows)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: %lld cells; the run read %lld: it is not the file of the run", input,
                        (long long)emc_groups_n_cells(t->groups), (long long)plan->n_rows);
    return emc_alloc(&t->by_group, (size_t)emc_groups_count(t->groups) * (size_t)(t->n_labels + 1),
                     sizeof *t->by_group, "labels of groups");
}

emc_status tally_run(tally *t, const emc_survey *survey, const char *dir, const emc_plan *plan,
                     const emc_report_run_options *options)
{
    t->n_labels = plan->n_labels;
    t->low_room = options->n_low > 0 ? options->n_low : 20;
    EMC_TRY(emc_alloc(&t->n_label, (size_t)t->n_labels + 1, sizeof *t->n_label, "labels"));
    EMC_TRY(emc_alloc(&t->bins, (size_t)(t->n_labels + 1) * TALLY_BINS, sizeof *t->bins, "bins"));
    EMC_TRY(emc_alloc(&t->low, (size_t)t->low_room, sizeof *t->low, "cells of low confidence"));
    if (options->groupby)
        EMC_TRY(open_groups(t, plan, options->groupby));
    for (int64_t i = 0; i < survey->n_shards; i++) {
        emc_shard_head wanted;
        emc_shard *shard = NULL;
        char *path;
        if (options->cancel && *options->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        if (survey->state[i] != EMC_SHARD_DONE)
            continue;
        emc_plan_shard(plan, i, &wanted);
        EMC_TRY(emc_ledger_done_path(&path, dir, i));
        emc_status status = emc_shard_open(&shard, path, &wanted);
        free(path);
        for (int64_t r = 0; r < wanted.n_cells && status == EMC_OK; r++) {
            emc_result_row row;
            emc_shard_get(shard, r, &row);
            status = count_row(t, &row);
        }
        emc_shard_close(shard);
        EMC_TRY(status);
    }
    return EMC_OK;
}

double tally_quantile(const tally *t, int label, double q)
{
    const int64_t *bins = t->bins + (size_t)label * TALLY_BINS;
    int64_t n = 0, before = 0;

    for (int i = 0; i < TALLY_BINS; i++)
        n += bins[i];
    if (n == 0)
        return NAN;
    const double wanted = q * (double)n;
    for (int i = 0; i < TALLY_BINS; i++) {
        if (bins[i] > 0 && (double)(before + bins[i]) >= wanted)
            return (i + (wanted - (double)before) / (double)bins[i]) / TALLY_BINS;
        before += bins[i];
    }
    return 1;
}
