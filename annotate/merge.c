#include "annotate/merge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/input_files.h"
#include "annotate/ledger.h"
#include "annotate/results_parts.h"
#include "annotate/shard.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/size.h"
#include "base/text.h"

void emc_survey_free(emc_survey *survey)
{
    free(survey->state);
    free(survey->n_label);
    *survey = (emc_survey){0};
}

static emc_status open_shard(emc_shard **out, const char *dir, const emc_plan *plan, int64_t shard)
{
    emc_shard_head wanted;
    char *path;

    *out = NULL;
    emc_plan_shard(plan, shard, &wanted);
    EMC_TRY(emc_ledger_done_path(&path, dir, shard));
    const emc_status status = emc_shard_open(out, path, &wanted);
    free(path);
    return status;
}

static void count_row(emc_survey *s, const emc_result_row *row)
{
    s->n_cells++;
    s->n_status[row->verdict.status]++;
    if (row->verdict.status == EMC_CELL_OK && row->verdict.label >= 0)
        s->n_label[row->verdict.label]++;
    if (!isnan(row->verdict.score)) {
        s->sum_score += row->verdict.score;
        s->n_scores++;
    }
}

/* Rows rise within a shard, which its own check sees to; and from one to the next. */
static emc_status check_order(const emc_shard *shard, const emc_plan *plan, int64_t n,
                              int64_t *last_row)
{
    emc_result_row first, last;

    emc_shard_get(shard, 0, &first);
    emc_shard_get(shard, n - 1, &last);
    if (first.row <= *last_row || last.row >= plan->n_rows)
        return emc_fail(EMC_ERR_FORMAT, "rows %lld to %lld after row %lld, of %lld",
                        (long long)first.row, (long long)last.row, (long long)*last_row,
                        (long long)plan->n_rows);
    *last_row = last.row;
    return EMC_OK;
}

static emc_status look_at(emc_survey *s, const char *dir, const emc_plan *plan, int64_t i,
                          int64_t *last_row)
{
    emc_shard_head wanted;
    emc_shard *shard;
    emc_result_row row;
    emc_status status = open_shard(&shard, dir, plan, i);

    emc_plan_shard(plan, i, &wanted);
    if (status == EMC_OK) {
        status = check_order(shard, plan, wanted.n_cells, last_row);
        if (status != EMC_OK)
            emc_fail_in(status, "%s: shard %lld", dir, (long long)i);
    }
    if (status == EMC_OK) {
        s->state[i] = EMC_SHARD_DONE;
        s->n_done++;
        for (int64_t k = 0; k < wanted.n_cells; k++) {
            emc_shard_get(shard, k, &row);
            count_row(s, &row);
        }
    } else if (status == EMC_ERR_FORMAT) {
        if (s->n_damaged++ == 0)
            snprintf(s->message, sizeof(s->message), "%s", emc_message());
        s->state[i] = EMC_SHARD_DAMAGED;
        status = EMC_OK;
    } else if (status == EMC_ERR_NOT_FOUND) {
        s->state[i] = EMC_SHARD_MISSING;
        status = EMC_OK;
    }
    emc_shard_close(shard);
    return status;
}

emc_status emc_survey_make(emc_survey *out, const char *dir, const emc_plan *plan)
{
    int64_t last_row = -1;

    emc_survey_free(out);
    out->n_shards = emc_plan_n_shards(plan);
    EMC_TRY(emc_alloc(&out->state, (size_t)out->n_shards, 1, "shards"));
    EMC_TRY(emc_alloc(&out->n_label, (size_t)plan->n_labels, sizeof(*out->n_label), "labels"));
    for (int64_t i = 0; i < out->n_shards; i++)
        EMC_TRY(look_at(out, dir, plan, i, &last_row));
    return EMC_OK;
}

/* ---- rows of all shards, one after the other ---- */

typedef struct {
    const emc_survey *survey;
    const char *dir;
    const emc_plan *plan;
    emc_shard *shard;
    int64_t next_shard, n_rows, next_row;
} rows;

static emc_status rewind_rows(void *context)
{
    rows *r = context;

    emc_shard_close(r->shard);
    r->shard = NULL;
    r->next_shard = r->n_rows = r->next_row = 0;
    return EMC_OK;
}

static emc_status next_row(void *context, emc_result_row *row, bool *more)
{
    rows *r = context;

    *more = true;
    while (r->next_row == r->n_rows) {
        emc_shard_head head;
        emc_shard_close(r->shard);
        r->shard = NULL;
        while (r->next_shard < r->survey->n_shards &&
               r->survey->state[r->next_shard] != EMC_SHARD_DONE)
            r->next_shard++;
        *more = r->next_shard < r->survey->n_shards;
        if (!*more)
            return EMC_OK;
        EMC_TRY(open_shard(&r->shard, r->dir, r->plan, r->next_shard));
        emc_plan_shard(r->plan, r->next_shard++, &head);
        r->n_rows = head.n_cells;
        r->next_row = 0;
    }
    emc_shard_get(r->shard, r->next_row++, row);
    return EMC_OK;
}

/* ---- the results ---- */

/* What the run says of itself in an .h5ad. *facts is the caller's, free(). */
static emc_status list_facts(emc_fact **facts, int *n, const emc_plan *plan)
{
    const emc_pin_list *const lists[] = {&plan->pins, &plan->notes};

    *n = 0;
    EMC_TRY(emc_alloc(facts, plan->pins.n + plan->notes.n, sizeof(**facts), "facts"));
    for (size_t l = 0; l < EMC_COUNT(lists); l++) {
        for (size_t i = 0; i < lists[l]->n; i++) {
            const emc_pin *pin = &lists[l]->pins[i];
            const char *name = pin->name + (strncmp(pin->name, "--", 2) == 0 ? 2 : 0);
            (*facts)[(*n)++] = (emc_fact){.name = name, .value = pin->value};
        }
    }
    return EMC_OK;
}

/* Calls emc_results_write, or without rows emc_results_check. */
static emc_status with_run(const emc_plan *plan, const emc_results_options *results,
                           const char *input_path, const emc_result_source *source)
{
    emc_results_run run = {
        .input_path = input_path ? input_path : emc_plan_get(&plan->notes, "input_path"),
        .n_cells = plan->n_rows,
        .generated = plan->generated,
        .has_probabilities = plan->probabilities,
        .has_invalid_mass = plan->invalid_mass,
    };
    emc_labels *labels = NULL;
    emc_fact *facts = NULL;
    emc_status status = emc_labels_from_list(&labels, plan->labels, plan->n_labels);

    if (status == EMC_OK)
        status = list_facts(&facts, &run.n_facts, plan);
    run.labels = labels;
    run.facts = facts;
    if (status == EMC_OK)
        status =
            source ? emc_results_write(results, &run, source) : emc_results_check(results, &run);
    free(facts);
    emc_labels_close(labels);
    return status;
}

emc_status emc_merge_check(const emc_plan *plan, const emc_results_options *results,
                           const char *input_path)
{
    const char *path = input_path ? input_path : emc_plan_get(&plan->notes, "input_path");
    const char *const outputs[] = {results->h5ad == EMC_H5AD_IN_PLACE ? NULL : results->output_path,
                                   results->probabilities_path};

    for (size_t i = 0; i < EMC_COUNT(outputs); i++) {
        if (outputs[i] && path && emc_file_exists(path))
            EMC_TRY(emc_input_spare(path, outputs[i]));
    }
    return with_run(plan, results, input_path, NULL);
}

emc_status emc_merge_write(const emc_survey *survey, const char *dir, const emc_plan *plan,
                           const emc_results_options *results, const char *input_path)
{
    rows r = {.survey = survey, .dir = dir, .plan = plan};
    const emc_result_source source = {.context = &r, .rewind = rewind_rows, .next = next_row};
    const emc_status status = with_run(plan, results, input_path, &source);

    emc_shard_close(r.shard);
    return status;
}

/* ---- emcell merge ---- */

static emc_status check_whole(const emc_survey *survey, const emc_merge_options *options)
{
    const int64_t n_missing = survey->n_shards - survey->n_done - survey->n_damaged;
    int64_t first = 0;

    if (survey->n_done == survey->n_shards || options->allow_partial)
        return EMC_OK;
    while (survey->state[first] == EMC_SHARD_DONE)
        first++;
    if (survey->n_damaged > 0)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: %lld of %lld shards are damaged and %lld missing (%s); `emcell "
                        "annotate ... --resume` computes them again, --allow-partial leaves them "
                        "out",
                        options->run_dir, (long long)survey->n_damaged, (long long)survey->n_shards,
                        (long long)n_missing, survey->message);
    return emc_fail(EMC_ERR_CONFIG,
                    "%s: %lld of %lld shards are missing, the first is number %lld; `emcell "
                    "annotate ... --resume` computes them, --allow-partial leaves them out",
                    options->run_dir, (long long)n_missing, (long long)survey->n_shards,
                    (long long)first);
}

/* Only outputs that take something from the input need it. */
static bool takes_from_input(const emc_results_options *results)
{
    return results->groupby || (results_is_h5ad(results) && results->h5ad != EMC_H5AD_OBS);
}

/* The input may have changed since, by --in-place for one; what the run has found stays true of
 * what it read, and must not be locked away with it. */
static emc_status tell_changed(const emc_results_options *results, const char *path)
{
    emc_text line = {0};

    EMC_TRY(emc_text_addf(&line,
                          "%s has changed since the run read it; the results are of what it "
                          "was",
                          path));
    if (results->on_log)
        results->on_log(results->context, line.bytes);
    emc_text_free(&line);
    return EMC_OK;
}

static emc_status check_input(const emc_plan *plan, const emc_merge_options *options)
{
    const char *path =
        options->input_path ? options->input_path : emc_plan_get(&plan->notes, "input_path");
    const char *was = emc_plan_get(&plan->pins, "--input");
    char text[EMC_HASH_TEXT];
    emc_hash hash;

    const emc_status status = path ? emc_input_fingerprint(&hash, path) : EMC_ERR_NOT_FOUND;
    if (status == EMC_ERR_NOT_FOUND && !options->input_path) {
        if (!takes_from_input(&options->results))
            return EMC_OK;
        return emc_fail(EMC_ERR_NOT_FOUND,
                        "%s: the file that the run read is not there; say where it is with "
                        "--input, or write a table, or an .h5ad with --h5ad obs",
                        path ? path : options->run_dir);
    }
    EMC_TRY(status);
    emc_hash_text(text, &hash);
    if (was && strcmp(was, text) == 0)
        return EMC_OK;
    if (!options->input_path && !takes_from_input(&options->results))
        return tell_changed(&options->results, path);
    return emc_fail(EMC_ERR_CONFIG,
                    "%s: not the file that the run read; say where that is with --input, or write "
                    "a table, or an .h5ad with --h5ad obs",
                    path);
}

static emc_status merge(emc_merge_summary *out, const emc_merge_options *options,
                        const emc_plan *plan, emc_survey *survey)
{
    EMC_TRY(check_input(plan, options));
    EMC_TRY(emc_merge_check(plan, &options->results, options->input_path));
    EMC_TRY(emc_survey_make(survey, options->run_dir, plan));
    EMC_TRY(check_whole(survey, options));
    EMC_TRY(
        emc_merge_write(survey, options->run_dir, plan, &options->results, options->input_path));
    *out = (emc_merge_summary){.n_cells = survey->n_cells,
                               .n_missing_cells = plan->n_cells - survey->n_cells,
                               .n_shards = survey->n_shards,
                               .n_missing_shards = survey->n_shards - survey->n_done,
                               .n_failed_cells = survey->n_status[EMC_CELL_FAILED]};
    return EMC_OK;
}

emc_status emc_merge(emc_merge_summary *out, const emc_merge_options *options)
{
    emc_plan plan = {0};
    emc_survey survey = {0};
    emc_status status = emc_plan_read(&plan, options->run_dir);

    *out = (emc_merge_summary){0};
    if (status == EMC_OK)
        status = merge(out, options, &plan, &survey);
    emc_survey_free(&survey);
    emc_plan_free(&plan);
    return status;
}
