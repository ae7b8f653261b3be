#include "annotate/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "annotate/merge.h"
#include "annotate/plan.h"
#include "annotate/progress.h"
#include "annotate/run_folder.h"
#include "annotate/session.h"
#include "annotate/trial.h"
#include "annotate/work.h"
#include "base/file.h"
#include "base/size.h"

#define MAX_REPAIRS 3 /* rounds of shards that are damaged as soon as they are written */

typedef struct {
    const emc_annotate_options *options;
    emc_annotate_summary *summary;
    emc_results_options results; /* the options', with this call's callbacks */
    emc_session session;
    emc_run_folder folder;
    emc_plan plan;
    emc_ledger *ledger;
    emc_survey survey;
    char *merged_before; /* what merged.json held when this process came; NULL: it was not there */
    bool complete;       /* every shard is done, as far as this process has seen */
    double begin;        /* of the call, emc_seconds() */
    bool keep;           /* the folder holds something worth going on with */
} run;

void emc_annotate_defaults(emc_annotate_options *options)
{
    memset(options, 0, sizeof(*options));
    options->input.min_gene_match = -1;
    emc_results_defaults(&options->results);
    options->answer = -1;
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

static void show_stage(const run *r, emc_stage stage, int64_t n_done)
{
    const emc_progress progress = {
        .stage = stage, .n_done = n_done, .n_total = r->plan.n_cells, .seconds_left = -1};

    if (r->options->on_progress)
        r->options->on_progress(r->options->context, &progress);
}

static emc_status check_cancel(const run *r)
{
    if (r->options->cancel && *r->options->cancel)
        return emc_fail(EMC_ERR_CANCELLED, "interrupted");
    return EMC_OK;
}

static emc_status spare(const char *option, const char *output, const char *read)
{
    if (!output || !read || strcmp(output, "-") == 0 || !emc_same_file(output, read))
        return EMC_OK;
    return emc_fail(EMC_ERR_USAGE, "--%s %s: would overwrite %s, which is read; name another file",
                    option, output, read);
}

/* No result may replace what the run reads, or the other result. */
static emc_status check_files(const emc_annotate_options *options)
{
    const char *const read[] = {options->input_path,       options->input.medians_path,
                                options->profile,          options->labels_path,
                                options->input.cells_path, options->input.gene_table};
    const emc_results_options *results = &options->results;
    const char *matrix = results->probabilities_path;

    if (matrix && emc_same_file(results->output_path, matrix))
        return emc_fail(EMC_ERR_USAGE, "%s: named for the results and for the probabilities",
                        matrix);
    for (size_t i = 0; i < EMC_COUNT(read); i++) {
        if (results->h5ad != EMC_H5AD_IN_PLACE)
            EMC_TRY(spare("output", results->output_path, read[i]));
        EMC_TRY(spare("probabilities", matrix, read[i]));
    }
    return EMC_OK;
}

/* ---- the run: its folder and its plan ---- */

static bool wants_probabilities(const run *r)
{
    return r->results.probabilities_path || r->results.obsm_probabilities;
}

static emc_status make_plan(run *r, emc_plan *plan)
{
    plan->probabilities = wants_probabilities(r);
    plan->shard_cells = r->options->shard_cells;
    plan->max_tries = r->options->ledger.max_tries > 0 ? r->options->ledger.max_tries : 3;
    return emc_session_pin(&r->session, plan);
}

static emc_status open_folder(run *r)
{
    const bool in_place = r->results.h5ad == EMC_H5AD_IN_PLACE;
    const emc_run_folder_options wanted = {
        .run_dir = r->options->run_dir,
        .beside = in_place ? r->options->input_path : r->results.output_path,
        .temporary_dir = r->options->temporary_dir,
        .resume = r->options->resume,
        .force = r->options->force,
    };

    return emc_run_folder_open(&r->folder, &wanted);
}

/* The plan of the folder, if what this process would do is the same. */
static emc_status adopt_plan(run *r, emc_plan *now)
{
    emc_plan was = {0};
    emc_status status = emc_plan_read(&was, r->folder.path);

    /* A run that keeps more than is asked for serves, too. */
    if (status == EMC_OK && was.probabilities && !now->generated)
        now->probabilities = true;
    if (status == EMC_OK)
        status = emc_plan_compare(&was, now, r->folder.path);
    emc_plan_free(now);
    r->plan = was;
    r->folder.begun = true;
    return status;
}

static emc_status read_merged(const run *r, char **out)
{
    char *path;

    *out = NULL;
    EMC_TRY(emc_path_join(&path, r->folder.path, "merged.json"));
    const emc_status status =
        emc_file_exists(path) ? emc_file_read(out, NULL, path, 1 << 20) : EMC_OK;
    free(path);
    return status == EMC_ERR_NOT_FOUND ? EMC_OK : status;
}

/* Damaged shards are moved out of the way, to be computed again. */
static emc_status reject_damaged(run *r)
{
    char line[600];

    snprintf(line, sizeof(line), "%lld damaged shard%s computed again: %s",
             (long long)r->survey.n_damaged, r->survey.n_damaged == 1 ? " is" : "s are",
             r->survey.message);
    emc_session_log(&r->session, line);
    for (int64_t i = 0; i < r->survey.n_shards; i++) {
        if (r->survey.state[i] == EMC_SHARD_DAMAGED)
            EMC_TRY(emc_ledger_reject(r->ledger, i));
    }
    return EMC_OK;
}

/* Waits while another process merges. */
static emc_status lock_ledger(run *r)
{
    const struct timespec second = {.tv_sec = 1};
    bool got = false;

    for (;;) {
        EMC_TRY(emc_ledger_lock_merge(r->ledger, &got));
        if (got)
            return EMC_OK;
        EMC_TRY(check_cancel(r));
        nanosleep(&second, NULL);
    }
}

/* Looked at again under the lock: another process may have mended them since. */
static emc_status mend(run *r)
{
    EMC_TRY(lock_ledger(r));
    emc_status status = emc_survey_make(&r->survey, r->folder.path, &r->plan);
    if (status == EMC_OK && r->survey.n_damaged > 0)
        status = reject_damaged(r);
    const emc_status unlocked = emc_ledger_unlock_merge(r->ledger);
    return status != EMC_OK ? status : unlocked;
}

static emc_status join(run *r)
{
    emc_ledger_options wanted = r->options->ledger;
    char line[256];

    wanted.max_tries = r->plan.max_tries;
    EMC_TRY(emc_ledger_open(&r->ledger, r->folder.path, emc_plan_n_shards(&r->plan), &wanted));
    r->keep = true;
    EMC_TRY(read_merged(r, &r->merged_before));
    EMC_TRY(emc_ledger_forgive(r->ledger));
    EMC_TRY(emc_survey_make(&r->survey, r->folder.path, &r->plan));
    if (r->survey.n_damaged > 0)
        EMC_TRY(mend(r));
    r->complete = r->survey.n_done == r->survey.n_shards;
    if (r->survey.n_done > 0) {
        snprintf(line, sizeof(line), "%lld of %lld cells are done already, in %lld of %lld shards",
                 (long long)r->survey.n_cells, (long long)r->plan.n_cells,
                 (long long)r->survey.n_done, (long long)r->survey.n_shards);
        emc_session_log(&r->session, line);
    }
    return EMC_OK;
}

/* ---- the model ---- */

static emc_status describe_model(run *r)
{
    const emc_model_info *m = emc_model_get_info(r->session.model);
    char line[512];

    snprintf(line, sizeof(line), "%.4g million parameters, %d layers, %s, %s",
             1e-6 * (double)m->n_parameters, m->n_layers, emc_dtype_name(m->dtype), m->device);
    emc_session_log(&r->session, line);
    free(r->summary->model_description);
    r->summary->model_description = NULL;
    return emc_copy_string(&r->summary->model_description, line);
}

static emc_status open_model(run *r, const char *chosen)
{
    EMC_TRY(emc_session_open_model(&r->session, chosen));
    return describe_model(r);
}

/* Shards of so many cells; and what a GPU chooses while the first cells go through it. */
static emc_status measure(run *r)
{
    const emc_pipeline pipeline = emc_session_pipeline(&r->session);
    const bool chooses = strcmp(emc_model_chosen(r->session.model), "{}") != 0;
    int64_t shard_cells = r->plan.shard_cells;

    if (r->plan.shard_cells == 0 || chooses)
        EMC_TRY(emc_trial(&shard_cells, &pipeline));
    if (r->plan.shard_cells == 0)
        r->plan.shard_cells = shard_cells;
    return EMC_OK;
}

/* Another process was first: then this one does as that one, bit for bit. */
static emc_status follow(run *r)
{
    emc_plan mine = r->plan;

    r->plan = (emc_plan){0};
    if (!r->options->resume) {
        emc_plan_free(&mine);
        return emc_fail(EMC_ERR_CREATE, "%s: another process began a run here; --resume shares it",
                        r->folder.path);
    }
    mine.shard_cells = r->options->shard_cells;
    EMC_TRY(adopt_plan(r, &mine));
    if (!r->plan.chosen || strcmp(r->plan.chosen, emc_model_chosen(r->session.model)) == 0)
        return EMC_OK;
    emc_session_close_model(&r->session);
    return open_model(r, r->plan.chosen);
}

static emc_status begin_run(run *r)
{
    bool first;

    EMC_TRY(measure(r));
    EMC_TRY(emc_session_pin_model(&r->session, &r->plan));
    EMC_TRY(emc_copy_string(&r->plan.chosen, emc_model_chosen(r->session.model)));
    EMC_TRY(check_cancel(r));
    EMC_TRY(emc_plan_write(&r->plan, r->folder.path, &first));
    r->folder.begun = true;
    if (!first)
        EMC_TRY(follow(r));
    return join(r);
}

/* A run goes on where it began: on this kind of processor or GPU. */
static emc_status check_device(run *r)
{
    emc_plan now = {.n_rows = r->plan.n_rows,
                    .n_cells = r->plan.n_cells,
                    .probabilities = r->plan.probabilities};
    emc_status status = emc_session_pin_model(&r->session, &now);

    if (status == EMC_OK)
        status = emc_plan_compare(&r->plan, &now, r->folder.path);
    emc_plan_free(&now);
    return status;
}

static emc_status need_model(run *r)
{
    if (r->session.model)
        return EMC_OK;
    const bool begun = r->folder.begun;

    EMC_TRY(open_model(r, begun ? r->plan.chosen : NULL));
    EMC_TRY(begun ? check_device(r) : begin_run(r));
    r->summary->seconds_load = emc_seconds() - r->begin;
    return EMC_OK;
}

/* ---- cells, then results ---- */

static emc_status do_cells(run *r)
{
    emc_annotate_summary *s = r->summary;
    emc_work work = {.session = &r->session,
                     .plan = &r->plan,
                     .ledger = r->ledger,
                     .n_done_before = r->survey.n_cells};
    const double begin = emc_seconds();

    show_stage(r, EMC_STAGE_CELLS, work.n_done_before);
    emc_status status = emc_work_run(&work);
    s->seconds_run += emc_seconds() - begin;
    s->n_answered += work.n_answered;
    s->n_prompt_tokens += work.n_prompt_tokens;
    s->cells_per_s = s->seconds_run > 0 ? (double)work.n_asked / s->seconds_run : 0;
    r->complete = status == EMC_OK;
    /* A device that fails at once would fail again. */
    if (status == EMC_ERR_DEVICE && work.n_answered > 0)
        status = EMC_ERR_LOST;
    return status;
}

/* Who wrote which results; unlike any other such line. */
static emc_status describe_merge(const run *r, emc_text *out)
{
    char host[64] = "";

    (void)gethostname(host, sizeof(host) - 1);
    EMC_TRY(emc_text_add_string(out, "{\"results\": "));
    EMC_TRY(emc_text_add_json(out, r->results.output_path, strlen(r->results.output_path)));
    EMC_TRY(emc_text_add_string(out, ", \"by\": "));
    EMC_TRY(emc_text_add_json(out, host, strlen(host)));
    return emc_text_addf(out, ", \"pid\": %ld, \"at\": %.9f}\n", (long)getpid(), emc_seconds());
}

static emc_status mark_merged(const run *r)
{
    emc_out_file *file = NULL;
    emc_text text = {0};
    char *path = NULL;
    emc_status status = emc_path_join(&path, r->folder.path, "merged.json");

    if (status == EMC_OK)
        status = describe_merge(r, &text);
    if (status == EMC_OK)
        status = emc_out_file_open(&file, path);
    if (status == EMC_OK)
        status = emc_out_file_write(file, text.bytes, text.n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    emc_text_free(&text);
    free(path);
    return status;
}

/* True when another process has written the same results since this one came. */
static emc_status is_merged(const run *r, bool *merged)
{
    char *now = NULL;
    emc_text name = {0};

    *merged = false;
    emc_status status = read_merged(r, &now);
    if (status == EMC_OK)
        status = emc_text_add_json(&name, r->results.output_path, strlen(r->results.output_path));
    if (status == EMC_OK && now)
        *merged = (!r->merged_before || strcmp(now, r->merged_before) != 0) &&
                  strstr(now, name.bytes) != NULL;
    emc_text_free(&name);
    free(now);
    return status;
}

/* Waits while another process writes the results; *merged when it did so. Otherwise the lock is
 * held. */
static emc_status lock_merge(run *r, bool *merged)
{
    EMC_TRY(lock_ledger(r));
    EMC_TRY(is_merged(r, merged));
    return *merged ? emc_ledger_unlock_merge(r->ledger) : EMC_OK;
}

/* *repair when a shard has to be computed again. The lock is held. */
static emc_status write_results(run *r, bool *repair)
{
    EMC_TRY(emc_survey_make(&r->survey, r->folder.path, &r->plan));
    *repair = r->survey.n_damaged > 0;
    if (*repair) {
        r->complete = false;
        return reject_damaged(r);
    }
    EMC_TRY(check_cancel(r));
    show_stage(r, EMC_STAGE_WRITE, r->survey.n_cells);
    EMC_TRY(
        emc_merge_write(&r->survey, r->folder.path, &r->plan, &r->results, r->options->input_path));
    r->summary->written = true;
    return mark_merged(r);
}

static emc_status work_and_write(run *r)
{
    for (int round = 0; round <= MAX_REPAIRS; round++) {
        bool merged = false, repair = false;
        if (!r->complete) {
            EMC_TRY(need_model(r));
            EMC_TRY(do_cells(r));
        }
        EMC_TRY(lock_merge(r, &merged));
        if (merged)
            return emc_survey_make(&r->survey, r->folder.path, &r->plan);
        const emc_status status = write_results(r, &repair);
        const emc_status unlocked = emc_ledger_unlock_merge(r->ledger);
        EMC_TRY(status);
        EMC_TRY(unlocked);
        if (!repair)
            return EMC_OK;
    }
    return emc_fail(EMC_ERR_IO, "%s: shards are damaged as soon as they are written: %s",
                    r->folder.path, r->survey.message);
}

/* ---- what was done ---- */

static emc_status describe_input(run *r)
{
    emc_annotate_summary *s = r->summary;
    const int n = emc_labels_count(r->session.labels);

    EMC_TRY(emc_alloc(&s->labels, (size_t)n, sizeof(*s->labels), "summary"));
    EMC_TRY(emc_alloc(&s->n_label, (size_t)n, sizeof(*s->n_label), "summary"));
    for (int i = 0; i < n; i++) {
        char *label;
        EMC_TRY(emc_copy_string(&label, emc_labels_get(r->session.labels, i)->label));
        s->labels[s->n_labels++] = label;
    }
    s->gene_match = emc_input_match(r->session.input)->rate;
    s->n_genes_renamed = emc_genes_n_renamed(emc_input_genes(r->session.input));
    EMC_TRY(emc_copy_string(&s->input_description,
                            emc_cells_description(emc_input_cells(r->session.input))));
    EMC_TRY(emc_copy_string(&s->profile_name, r->session.info->name));
    return emc_copy_string(&s->output_path, r->results.output_path);
}

static emc_status fill_summary(run *r)
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

static emc_status open_run(run *r)
{
    r->session.options = r->options;
    r->results = r->options->results;
    r->results.cancel = r->options->cancel;
    r->results.on_log = r->options->on_log;
    r->results.context = r->options->context;
    EMC_TRY(check_files(r->options));
    show_stage(r, EMC_STAGE_LOAD, 0);
    EMC_TRY(emc_session_open(&r->session));
    EMC_TRY(describe_input(r));
    EMC_TRY(make_plan(r, &r->plan));
    EMC_TRY(emc_merge_check(&r->plan, &r->results, r->options->input_path));
    EMC_TRY(open_folder(r));
    if (!r->folder.begun)
        return EMC_OK;
    emc_plan now = r->plan;
    r->plan = (emc_plan){0};
    EMC_TRY(adopt_plan(r, &now));
    return join(r);
}

/* Says how to go on. The message is this thread's last one. */
static emc_status tell_how_to_resume(const run *r, emc_status status)
{
    emc_ledger_state state = {0};
    char message[700];
    const int64_t n_shards = emc_plan_n_shards(&r->plan);

    snprintf(message, sizeof(message), "%s", emc_message());
    const bool looked =
        emc_ledger_look(&state, r->folder.path, n_shards, r->plan.max_tries) == EMC_OK;
    const long long n_done = looked ? (long long)state.n_done : 0;
    emc_ledger_state_free(&state);
    return emc_fail(status,
                    "%s; %lld of %lld shards are done in %s: the same command with --resume%s%s "
                    "goes on",
                    message, n_done, (long long)n_shards, r->folder.path,
                    r->folder.temporary ? " --run-dir " : "",
                    r->folder.temporary ? r->folder.path : "");
}

static bool is_resumable(emc_status status)
{
    return status == EMC_ERR_CANCELLED || status == EMC_ERR_LOST || status == EMC_ERR_IO ||
           status == EMC_ERR_CREATE || status == EMC_ERR_NOMEM || status == EMC_ERR_NOT_FOUND;
}

static void close_run(run *r)
{
    emc_ledger_close(r->ledger);
    emc_session_close(&r->session);
    emc_survey_free(&r->survey);
    emc_plan_free(&r->plan);
    free(r->merged_before);
    emc_run_folder_close(&r->folder);
}

/* A temporary folder goes when there is nothing in it that is worth another command. */
static void end_folder(run *r, emc_status status)
{
    if (!r->folder.temporary || (status != EMC_OK && r->keep && is_resumable(status)))
        return;
    emc_ledger_close(r->ledger);
    r->ledger = NULL;
    (void)emc_run_folder_remove(r->folder.path);
}

emc_status emc_annotate(emc_annotate_summary **out, const emc_annotate_options *options)
{
    run r = {.options = options, .begin = emc_seconds()};
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&r.summary, 1, sizeof(*r.summary), "summary"));
    status = open_run(&r);
    if (status == EMC_OK)
        status = work_and_write(&r);
    if (status == EMC_OK)
        status = fill_summary(&r);
    if (status != EMC_OK && r.keep && is_resumable(status))
        status = tell_how_to_resume(&r, status);
    end_folder(&r, status);
    close_run(&r);
    if (status != EMC_OK)
        emc_annotate_summary_close(r.summary);
    else
        *out = r.summary;
    return status;
}
