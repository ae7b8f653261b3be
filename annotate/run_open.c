#include "annotate/run_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/progress.h"
#include "annotate/trial.h"
#include "base/file.h"
#include "base/size.h"

#define MOST_SHARD_BYTES ((int64_t)64 << 20)
#define CLOCKS_APART_S   60.0

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

static bool wants_probabilities(const emc_run *r)
{
    return r->results.probabilities_path || r->results.obsm_probabilities;
}

static emc_status make_plan(emc_run *r, emc_plan *plan)
{
    plan->probabilities = wants_probabilities(r);
    plan->invalid_mass = r->options->invalid_mass;
    plan->shard_cells = r->options->shard_cells;
    plan->max_tries = r->options->ledger.max_tries > 0 ? r->options->ledger.max_tries : 3;
    return emc_session_pin(&r->session, plan);
}

static emc_run_folder_options folder_options(const emc_run *r)
{
    const bool in_place = r->results.h5ad == EMC_H5AD_IN_PLACE;

    return (emc_run_folder_options){
        .run_dir = r->options->run_dir,
        .beside = in_place ? r->options->input_path : r->results.output_path,
        .temporary_dir = r->options->temporary_dir,
        .resume = r->options->resume,
        .force = r->options->force,
    };
}

/* The plan of the folder, if what this process would do is the same. */
static emc_status adopt_plan(emc_run *r, emc_plan *now)
{
    emc_plan was = {0};
    emc_status status = emc_plan_read(&was, r->folder.path);

    /* A run that keeps more than is asked for serves, too. */
    if (status == EMC_OK && !now->generated) {
        now->probabilities = now->probabilities || was.probabilities;
        now->invalid_mass = now->invalid_mass || was.invalid_mass;
    }
    if (status == EMC_OK)
        status = emc_plan_compare(&was, now, r->folder.path);
    emc_plan_free(now);
    r->plan = was;
    r->folder.begun = true;
    return status;
}

/* Clocks far apart do no harm but to the eye; but who sees one wrong wants to know. */
static void compare_clocks(emc_run *r)
{
    const double ahead = emc_ledger_clock_ahead(r->ledger);
    char line[512];

    if (fabs(ahead) < CLOCKS_APART_S)
        return;
    snprintf(
        line, sizeof(line),
        "%s: its file system's clock is %.0f s %s this machine's; results do not depend on it, "
        "the ages that emcell status shows do",
        r->folder.path, fabs(ahead), ahead > 0 ? "ahead of" : "behind");
    emc_session_log(&r->session, line);
}

static emc_status join(emc_run *r)
{
    emc_ledger_options wanted = r->options->ledger;
    char line[256];

    wanted.max_tries = r->plan.max_tries;
    EMC_TRY(emc_ledger_open(&r->ledger, r->folder.path, emc_plan_n_shards(&r->plan), &wanted));
    r->keep = true;
    compare_clocks(r);
    EMC_TRY(run_read_merged(r, &r->merged_before));
    EMC_TRY(emc_ledger_forgive(r->ledger));
    EMC_TRY(emc_survey_make(&r->survey, r->folder.path, &r->plan));
    if (r->survey.n_damaged > 0)
        EMC_TRY(run_mend(r));
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

static emc_status describe_model(emc_run *r)
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

static emc_status open_model(emc_run *r, const char *chosen)
{
    EMC_TRY(emc_session_open_model(&r->session, chosen));
    EMC_TRY(emc_session_score(&r->session, &r->plan));
    return describe_model(r);
}

/* Probabilities of many labels make a shard large, and one stands in memory whole. */
static int64_t most_cells(const emc_plan *plan)
{
    const int64_t n = MOST_SHARD_BYTES / (256 + (plan->probabilities ? 4 * plan->n_labels : 0));

    return n > 1 ? n : 1;
}

/* Shards of so many cells; and what a GPU chooses while the first cells go through it. */
static emc_status measure(emc_run *r)
{
    const emc_pipeline pipeline = emc_session_pipeline(&r->session);
    const bool queues = strcmp(emc_model_get_info(r->session.model)->device_name, "cpu") != 0;
    const bool chooses = strcmp(emc_model_chosen(r->session.model), "{}") != 0;
    int64_t shard_cells = r->plan.shard_cells;

    if (r->plan.shard_cells == 0 || chooses)
        EMC_TRY(emc_trial(&shard_cells, &pipeline, queues));
    if (shard_cells > most_cells(&r->plan))
        shard_cells = most_cells(&r->plan);
    if (r->plan.shard_cells == 0)
        r->plan.shard_cells = shard_cells;
    return EMC_OK;
}

/* Another process was first: then this one does as that one, bit for bit. */
static emc_status follow(emc_run *r)
{
    emc_plan mine = r->plan;

    r->plan = (emc_plan){0};
    r->keep = false; /* it is another's, until it is joined */
    if (!r->options->resume) {
        emc_plan_free(&mine);
        return emc_fail(EMC_ERR_CREATE, "%s: another process began a run here; --resume shares it",
                        r->folder.path);
    }
    mine.shard_cells = r->options->shard_cells;
    EMC_TRY(adopt_plan(r, &mine));
    if (!r->plan.chosen || strcmp(r->plan.chosen, emc_model_chosen(r->session.model)) == 0)
        return emc_session_score(&r->session, &r->plan); /* that one may keep more */
    emc_session_close_model(&r->session);
    return open_model(r, r->plan.chosen);
}

static emc_status begin_run(emc_run *r)
{
    bool first;

    EMC_TRY(measure(r));
    EMC_TRY(emc_session_pin_model(&r->session, &r->plan));
    EMC_TRY(emc_copy_string(&r->plan.chosen, emc_model_chosen(r->session.model)));
    EMC_TRY(run_check_cancel(r));
    EMC_TRY(emc_plan_write(&r->plan, r->folder.path, &first));
    r->folder.begun = r->keep = true;
    if (!first)
        EMC_TRY(follow(r));
    return join(r);
}

/* A run goes on where it began: on this kind of processor or GPU. */
static emc_status check_device(emc_run *r)
{
    emc_plan now = {.n_rows = r->plan.n_rows,
                    .n_cells = r->plan.n_cells,
                    .probabilities = r->plan.probabilities,
                    .invalid_mass = r->plan.invalid_mass};
    emc_status status = emc_session_pin_model(&r->session, &now);

    if (status == EMC_OK)
        status = emc_plan_compare(&r->plan, &now, r->folder.path);
    emc_plan_free(&now);
    return status;
}

emc_status run_need_model(emc_run *r)
{
    if (r->session.model)
        return EMC_OK;
    const bool begun = r->folder.begun;

    EMC_TRY(open_model(r, begun ? r->plan.chosen : NULL));
    EMC_TRY(begun ? check_device(r) : begin_run(r));
    r->summary->seconds_load = emc_seconds() - r->begin;
    return EMC_OK;
}

/* ---- open ---- */

static emc_status describe_input(emc_run *r)
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

/* All that comes before the folder. */
static emc_status open_session(emc_run *r)
{
    r->session.options = r->options;
    r->results = r->options->results;
    r->results.cancel = r->options->cancel;
    r->results.on_log = r->options->on_log;
    r->results.context = r->options->context;
    if (r->options->order == EMC_ORDER_FINISHED)
        EMC_TRY(emc_stream_check(&r->results));
    EMC_TRY(check_files(r->options));
    run_show_stage(r, EMC_STAGE_LOAD, 0);
    EMC_TRY(emc_session_open(&r->session));
    EMC_TRY(describe_input(r));
    EMC_TRY(make_plan(r, &r->plan));
    return emc_merge_check(&r->plan, &r->results, r->options->input_path);
}

static emc_status adopt_begun(emc_run *r)
{
    emc_plan now = r->plan;

    r->plan = (emc_plan){0};
    return adopt_plan(r, &now);
}

emc_status run_open(emc_run *r)
{
    EMC_TRY(open_session(r));
    const emc_run_folder_options wanted = folder_options(r);

    EMC_TRY(emc_run_folder_open(&r->folder, &wanted));
    if (!r->folder.begun)
        return EMC_OK;
    EMC_TRY(adopt_begun(r));
    return join(r);
}

emc_status run_look(emc_run *r)
{
    EMC_TRY(open_session(r));
    const emc_run_folder_options wanted = folder_options(r);

    EMC_TRY(emc_run_folder_look(&r->folder, &wanted));
    return r->folder.begun ? adopt_begun(r) : EMC_OK;
}
