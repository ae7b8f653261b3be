#include "annotate/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/part.h"
#include "annotate/progress.h"
#include "annotate/run_parts.h"
#include "annotate/work.h"
#include "base/size.h"

#define MAX_REPAIRS 3 /* rounds of shards that are damaged as soon as they are written */

void emc_annotate_defaults(emc_annotate_options *options)
{
    memset(options, 0, sizeof(*options));
    options->input.min_gene_match = -1;
    emc_results_defaults(&options->results);
    options->answer = -1;
    options->scoring = -1;
    options->probability_width = -1;
    options->unknown_below = -1;
    options->margin_below = -1;
}

void emc_annotate_summary_close(emc_annotate_summary *summary)
{
    if (!summary)
        return;
    for (int i = 0; summary->labels && i < summary->n_labels; i++)
        free((char *)summary->labels[i]);
    free(summary->labels);
    free(summary->n_label);
    free(summary->input_description);
    free(summary->model_description);
    free(summary->device_name);
    free(summary->chosen);
    free(summary->profile_name);
    free(summary->output_path);
    free(summary->run_dir);
    free(summary);
}

void run_show_stage(const emc_run *r, emc_stage stage, int64_t n_done)
{
    const emc_progress progress = {
        .stage = stage, .n_done = n_done, .n_total = r->plan.n_cells, .seconds_left = -1};

    if (r->options->on_progress)
        r->options->on_progress(r->options->context, &progress);
}

emc_status run_check_cancel(const emc_run *r)
{
    if (r->options->cancel && *r->options->cancel)
        return emc_fail(EMC_ERR_CANCELLED, "interrupted");
    return EMC_OK;
}

/* ---- cells, then results ---- */

static void describe_flow(emc_run *r, const emc_flow_view *flow, double device_seconds)
{
    emc_annotate_summary *s = r->summary;
    const double seconds =
        flow->seconds[EMC_ASKER][EMC_WAITS] + flow->seconds[EMC_ASKER][EMC_WORKS];

    if (s->n_answered == 0) /* not of shards that had to be repaired */
        s->seconds_to_first = flow->first_at >= 0 ? flow->first_at - r->begin : -1;
    s->engine_waited = emc_flow_engine_waited(flow, NULL);
    s->device_busy = seconds > 0 ? device_seconds / seconds : 0;
    s->limit = emc_flow_limit(flow, NULL);
}

static emc_status do_cells(emc_run *r)
{
    emc_annotate_summary *s = r->summary;
    emc_engine_stats before, after;
    emc_work work = {.session = &r->session,
                     .plan = &r->plan,
                     .ledger = r->ledger,
                     .run_dir = r->folder.path,
                     .n_done_before = r->survey.n_cells,
                     .begin = r->begin,
                     .stream = r->stream};
    const double begin = emc_seconds();

    run_show_stage(r, EMC_STAGE_CELLS, work.n_done_before);
    emc_engine_get_stats(r->session.engine, &before);
    emc_status status = emc_work_run(&work);
    emc_engine_get_stats(r->session.engine, &after);
    describe_flow(r, &work.flow, 1e-3 * (after.device_ms - before.device_ms));
    s->seconds_run += emc_seconds() - begin;
    s->n_answered += work.n_answered;
    s->n_asked += work.n_asked;
    s->n_prompt_tokens += work.n_prompt_tokens;
    s->n_answer_rows += after.n_choice_rows - before.n_choice_rows;
    s->cells_per_s = s->seconds_run > 0 ? (double)work.n_asked / s->seconds_run : 0;
    r->complete = status == EMC_OK;
    /* A device that fails at once would fail again. */
    if (status == EMC_ERR_DEVICE && work.n_answered > 0)
        status = EMC_ERR_LOST;
    return status;
}

/* What is done already goes out first. */
static emc_status begin_stream(emc_run *r)
{
    if (r->options->order != EMC_ORDER_FINISHED)
        return EMC_OK;
    if (!r->stream)
        EMC_TRY(emc_stream_open(&r->stream, &r->results, &r->plan));
    return emc_stream_add_done(r->stream, &r->survey, r->folder.path);
}

static emc_status work_and_write(emc_run *r)
{
    for (int round = 0; round <= MAX_REPAIRS; round++) {
        bool repair;
        if (!r->complete) {
            EMC_TRY(run_need_model(r));
            EMC_TRY(begin_stream(r));
            EMC_TRY(do_cells(r));
        }
        EMC_TRY(begin_stream(r));
        EMC_TRY(run_write(r, &repair));
        if (!repair)
            return EMC_OK;
    }
    return emc_fail(EMC_ERR_IO, "%s: shards are damaged as soon as they are written: %s",
                    r->folder.path, r->survey.message);
}

/* ---- what was done ---- */

static emc_status fill_summary(emc_run *r)
{
    emc_annotate_summary *s = r->summary;
    const emc_survey *survey = &r->survey;

    s->n_cells = survey->n_cells;
    memcpy(s->n_status, survey->n_status, sizeof(s->n_status));
    memcpy(s->n_label, survey->n_label, (size_t)s->n_labels * sizeof(*s->n_label));
    s->mean_score = survey->n_scores > 0 ? survey->sum_score / (double)survey->n_scores : NAN;
    s->n_shards = survey->n_shards;
    s->n_shards_done = survey->n_done;
    s->n_missing = r->plan.n_cells - survey->n_cells;
    s->prefix_tokens = r->session.prefix_tokens;
    s->seconds_prefix = r->session.seconds_prefix;
    if (!r->folder.temporary)
        EMC_TRY(emc_copy_string(&s->run_dir, r->folder.path));
    if (!r->session.model)
        return EMC_OK;
    emc_engine_get_stats(r->session.engine, &s->engine);
    EMC_TRY(emc_copy_string(&s->device_name, emc_model_get_info(r->session.model)->device_name));
    return emc_copy_string(&s->chosen, emc_model_chosen(r->session.model));
}

/* ---- from the start to the end ---- */

/* Says how to go on. The message is this thread's last one. */
static emc_status tell_how_to_resume(const emc_run *r, emc_status status)
{
    emc_ledger_state state = {0};
    char message[700], parts[64] = "";
    int64_t n_cells = 0;
    const int64_t n_shards = emc_plan_n_shards(&r->plan);

    snprintf(message, sizeof(message), "%s", emc_message());
    const bool looked =
        emc_ledger_look(&state, r->folder.path, n_shards, r->plan.max_tries) == EMC_OK;
    const long long n_done = looked ? (long long)state.n_done : 0;
    if (looked &&
        emc_part_count(&n_cells, r->folder.path, &r->plan, state.parts, state.n_parts) == EMC_OK &&
        n_cells > 0)
        snprintf(parts, sizeof(parts), ", and %lld cell%s of others,", (long long)n_cells,
                 n_cells == 1 ? "" : "s");
    emc_ledger_state_free(&state);
    return emc_fail(status,
                    "%s; %lld of %lld shards are done%s in %s: the same command with --resume%s%s "
                    "%s",
                    message, n_done, (long long)n_shards, parts, r->folder.path,
                    r->folder.temporary ? " --run-dir " : "",
                    r->folder.temporary ? r->folder.path : "",
                    looked && n_done == n_shards ? "writes the results" : "goes on");
}

static bool is_resumable(emc_status status)
{
    return status == EMC_ERR_CANCELLED || status == EMC_ERR_LOST || status == EMC_ERR_IO ||
           status == EMC_ERR_CREATE || status == EMC_ERR_NOMEM || status == EMC_ERR_NOT_FOUND;
}

static void close_run(emc_run *r)
{
    emc_stream_close(r->stream);
    emc_ledger_close(r->ledger);
    emc_session_close(&r->session);
    emc_survey_free(&r->survey);
    emc_plan_free(&r->plan);
    free(r->merged_before);
    emc_run_folder_close(&r->folder);
}

/* A temporary folder goes when there is nothing in it that is worth another command. */
static void end_folder(emc_run *r, emc_status status)
{
    if (!r->folder.temporary || (status != EMC_OK && r->keep && is_resumable(status)))
        return;
    emc_ledger_close(r->ledger);
    r->ledger = NULL;
    (void)emc_run_folder_remove(r->folder.path);
}

emc_status emc_annotate(emc_annotate_summary **out, const emc_annotate_options *options)
{
    emc_run r = {.options = options, .begin = emc_seconds()};
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&r.summary, 1, sizeof(*r.summary), "summary"));
    r.summary->seconds_to_first = -1;
    status = run_open(&r);
    if (status == EMC_OK)
        status = work_and_write(&r);
    if (status == EMC_OK)
        status = fill_summary(&r);
    if (status != EMC_OK && r.keep && is_resumable(status))
        status = tell_how_to_resume(&r, status);
    else if (status == EMC_ERR_CANCELLED)
        status = emc_fail(status, "interrupted before the first shard was begun; nothing is kept: "
                                  "the same command starts anew");
    end_folder(&r, status);
    close_run(&r);
    if (status != EMC_OK)
        emc_annotate_summary_close(r.summary);
    else
        *out = r.summary;
    return status;
}
