#include "annotate/dry_run.h"

#include <stdlib.h>
#include <string.h>

#include "annotate/progress.h"
#include "annotate/run_parts.h"
#include "base/size.h"

/* Where a part of the file cannot be read, a run gives up its shard. So many cells stand for one
 * where the run would measure how many it takes. */
#define RANGE_CELLS 4096

/* What was found of a range, until all of it was read. */
typedef struct {
    int64_t n_status[EMC_N_CELL_STATUSES];
    int64_t n_too_long;
    int *lengths; /* [range_cells] tokens of those that would be asked, below 0 with the prefix */
    int64_t n_lengths;
} found;

typedef struct {
    emc_run run;
    emc_dry_run *dry;
    const int32_t *prefix;
    int n_prefix;
    emc_rendered rendered;
    int64_t range_cells;
    found found;
    size_t n_lengths; /* of the two below: prompts of so many tokens */
    int64_t *n_own;   /* that do not begin with the prefix */
    int64_t *n_on;    /* that do */
    emc_progress_meter meter;
} scan;

void emc_dry_run_close(emc_dry_run *dry)
{
    if (!dry)
        return;
    free(dry->input_description);
    free(dry->profile_name);
    free(dry->unread_reason);
    free(dry->tokens.n_of_length);
    free(dry->run_dir);
    free(dry->device_name);
    free(dry->device);
    free(dry->device_reason);
    free(dry->device_absent);
    free(dry->does_not_fit);
    free(dry);
}

/* ---- cells ---- */

static bool begins_with_prefix(const scan *s)
{
    const emc_ids *ids = &s->rendered.ids;

    return s->n_prefix > 0 && ids->n > (size_t)s->n_prefix &&
           memcmp(ids->ids, s->prefix, (size_t)s->n_prefix * sizeof(*s->prefix)) == 0;
}

static emc_status look_at_cell(scan *s, const emc_input_cell *cell)
{
    found *f = &s->found;

    if (cell->status != EMC_CELL_OK) {
        f->n_status[cell->status]++;
        return EMC_OK;
    }
    EMC_TRY(emc_prompter_render(s->run.session.prompter, cell->ranked.genes, cell->ranked.n_top,
                                false, &s->rendered));
    if (s->rendered.ids.n > (size_t)s->dry->max_prompt) {
        f->n_status[EMC_CELL_FAILED]++;
        f->n_too_long++;
        return EMC_OK;
    }
    const int length = (int)s->rendered.ids.n;
    f->n_status[EMC_CELL_OK]++;
    f->lengths[f->n_lengths++] = begins_with_prefix(s) ? -length : length;
    return EMC_OK;
}

static void keep_found(scan *s)
{
    const found *f = &s->found;

    for (int i = 0; i < EMC_N_CELL_STATUSES; i++)
        s->dry->n_status[i] += f->n_status[i];
    s->dry->n_too_long += f->n_too_long;
    for (int64_t i = 0; i < f->n_lengths; i++) {
        if (f->lengths[i] < 0)
            s->n_on[-f->lengths[i]]++;
        else
            s->n_own[f->lengths[i]]++;
    }
}

static void show_progress(scan *s, int64_t n_done)
{
    const emc_annotate_options *o = s->run.options;
    emc_progress progress;

    if (emc_progress_step(&s->meter, emc_seconds(), n_done, s->dry->n_cells, &progress) &&
        o->on_progress)
        o->on_progress(o->context, &progress);
}

static emc_status look_at_range(scan *s, int64_t first, int64_t n)
{
    emc_input *input = s->run.session.input;
    int *lengths = s->found.lengths;

    s->found = (found){.lengths = lengths};
    EMC_TRY(emc_input_seek(input, first, n));
    for (int64_t i = 0; i < n; i++) {
        emc_input_cell cell;
        bool more;
        EMC_TRY(run_check_cancel(&s->run));
        EMC_TRY(emc_input_next(input, &cell, &more));
        if (!more)
            return emc_fail(EMC_ERR_INTERNAL, "the input ends before position %lld",
                            (long long)(first + i));
        EMC_TRY(look_at_cell(s, &cell));
        show_progress(s, first + i + 1);
    }
    keep_found(s);
    return EMC_OK;
}

static emc_status look_at_all(scan *s)
{
    const int shard_cells = s->run.options->shard_cells;
    emc_dry_run *dry = s->dry;
    const double begin = emc_seconds();

    s->range_cells = s->run.plan.shard_cells > 0 ? s->run.plan.shard_cells
                     : shard_cells > 0           ? shard_cells
                                                 : RANGE_CELLS;
    if (s->range_cells > dry->n_cells)
        s->range_cells = dry->n_cells;
    EMC_TRY(emc_alloc(&s->found.lengths, (size_t)s->range_cells, sizeof(*s->found.lengths),
                      "cells of a range"));
    for (int64_t first = 0; first < dry->n_cells; first += s->range_cells) {
        const int64_t left = dry->n_cells - first;
        const int64_t n = left < s->range_cells ? left : s->range_cells;
        const emc_status status = look_at_range(s, first, n);
        if (status == EMC_OK)
            continue;
        if (status != EMC_ERR_FORMAT && status != EMC_ERR_IO)
            return status;
        if (!dry->unread_reason)
            EMC_TRY(emc_copy_string(&dry->unread_reason, emc_message()));
        dry->n_unread += n;
    }
    dry->seconds_read = emc_seconds() - begin;
    return EMC_OK;
}

/* ---- tokens ---- */

/* The least length that `share` of the prompts do not exceed. */
static int quantile(const emc_token_counts *t, double share)
{
    int64_t n = 0;
    int length = t->min;

    while (length < t->max && (double)(n += t->n_of_length[length]) < share * (double)t->n_prompts)
        length++;
    return length;
}

static emc_status count_tokens(scan *s)
{
    emc_token_counts *t = &s->dry->tokens;

    for (size_t i = 0; i < s->n_lengths; i++) {
        const int64_t n = s->n_own[i] + s->n_on[i];
        if (n == 0)
            continue;
        if (t->n_prompts == 0)
            t->min = (int)i;
        t->max = (int)i;
        t->n_prompts += n;
        t->total += n * (int64_t)i;
        s->dry->n_with_prefix += s->n_on[i];
    }
    if (t->n_prompts == 0)
        return EMC_OK;
    EMC_TRY(emc_alloc(&t->n_of_length, (size_t)t->max + 1, sizeof(*t->n_of_length), "a histogram"));
    for (int i = 0; i <= t->max; i++)
        t->n_of_length[i] = s->n_own[i] + s->n_on[i];
    t->mean = (double)t->total / (double)t->n_prompts;
    t->p50 = quantile(t, 0.5);
    t->p95 = quantile(t, 0.95);
    return EMC_OK;
}

/* ---- work, memory, time ---- */

static emc_ask ask_of(const emc_run *run)
{
    const emc_ask ask = emc_session_ask(&run->session);

    return ask == EMC_ASK_BEST && emc_session_width(&run->session, &run->plan) == 0
               ? EMC_ASK_CHOICES
               : ask;
}

static void add_lengths(const scan *s, emc_workload *work)
{
    const emc_answer_cost *cost = &s->dry->answer_cost;

    if (s->n_prefix > 0)
        emc_workload_add_prefix(work, s->n_prefix);
    for (size_t i = 1; i < s->n_lengths; i++) {
        if (s->n_own[i] > 0)
            emc_workload_add_prompts(work, 0, (int)i, (double)s->n_own[i]);
        if (s->n_on[i] > 0)
            emc_workload_add_prompts(work, s->n_prefix, (int)i - s->n_prefix, (double)s->n_on[i]);
        if (s->n_own[i] + s->n_on[i] > 0)
            emc_workload_add_answers(work, (int)i, cost, (double)(s->n_own[i] + s->n_on[i]));
    }
}

static emc_status estimate(scan *s)
{
    const emc_session *session = &s->run.session;
    emc_engine_wanted wanted = {.n_prefix = s->n_prefix};
    emc_dry_run *dry = s->dry;
    const int32_t *ids, *begin;
    emc_answer_cost all;
    int n;

    emc_prompter_choices(session->prompter, &ids, &begin, &n);
    EMC_TRY(emc_estimate_answer(&all, EMC_ASK_CHOICES, ids, begin, n, 0));
    dry->n_inner = (int)all.n_rows;
    EMC_TRY(
        emc_estimate_answer(&dry->answer_cost, ask_of(&s->run), ids, begin, n, dry->max_tokens));
    emc_session_engine_options(session, &wanted.options);
    if (emc_session_has_choices(session)) {
        wanted.choices = ids;
        wanted.begin = begin;
        wanted.n_choices = n;
    }
    add_lengths(s, &dry->work);
    emc_estimate_flop(session->model, &dry->work, &dry->flop);
    const emc_status status = emc_estimate_engine(session->model, &wanted, &dry->engine);
    dry->fits = status == EMC_OK;
    if (status != EMC_OK && status != EMC_ERR_DEVICE)
        return status;
    return emc_copy_string(&dry->does_not_fit, dry->fits ? "" : emc_message());
}

/* A device that is nearly full cannot be measured: that is no reason to say nothing. */
static emc_status estimate_time(scan *s)
{
    const emc_session *session = &s->run.session;
    emc_dry_run *dry = s->dry;

    if (!*dry->device_absent) {
        EMC_TRY(run_check_cancel(&s->run));
        const emc_status status = emc_model_measure(session->model, &dry->ceilings);
        dry->is_timed = status == EMC_OK;
        if (status != EMC_OK && status != EMC_ERR_DEVICE)
            return status;
        if (!dry->is_timed) {
            dry->ceilings = (emc_ceilings){0};
            emc_session_log(session, emc_message());
        }
    }
    emc_estimate_time(session->model, &dry->engine, &dry->work, &dry->ceilings, &dry->time);
    return run_check_cancel(&s->run);
}

/* ---- what is known without a cell ---- */

static emc_status describe_run(scan *s)
{
    const emc_run *run = &s->run;
    const emc_annotate_summary *summary = run->summary;
    const emc_genes *genes = emc_input_genes(run->session.input);
    emc_dry_run *dry = s->dry;
    emc_ledger_state state = {0};

    EMC_TRY(emc_copy_string(&dry->input_description, summary->input_description));
    EMC_TRY(emc_copy_string(&dry->profile_name, summary->profile_name));
    dry->n_rows = emc_input_n_rows(run->session.input);
    dry->n_cells = emc_input_n_cells(run->session.input);
    dry->n_genes = emc_genes_count(genes);
    dry->n_genes_renamed = summary->n_genes_renamed;
    dry->n_genes_listed = emc_input_n_genes_listed(run->session.input);
    dry->gene_match = summary->gene_match;
    if (run->folder.path)
        EMC_TRY(emc_copy_string(&dry->run_dir, run->folder.path));
    dry->begun = run->folder.begun;
    if (!dry->begun)
        return EMC_OK;
    dry->n_shards = emc_plan_n_shards(&run->plan);
    const emc_status status =
        emc_ledger_look(&state, run->folder.path, dry->n_shards, run->plan.max_tries);
    dry->n_shards_done = status == EMC_OK ? state.n_done : 0;
    emc_ledger_state_free(&state);
    return status == EMC_ERR_NOT_FOUND ? EMC_OK : status; /* begun, and no shard yet */
}

static emc_status describe_question(scan *s)
{
    const emc_session *session = &s->run.session;
    emc_dry_run *dry = s->dry;
    const int32_t *ids, *begin;
    int n;

    dry->answer = session->answer;
    dry->max_tokens = session->max_tokens;
    dry->n_labels = emc_labels_count(session->labels);
    dry->n_fixed = emc_prompter_n_fixed(session->prompter);
    dry->max_prompt = session->max_prompt;
    emc_prompter_choices(session->prompter, &ids, &begin, &n);
    dry->n_choice_ids = n > 0 ? begin[n] : 0;
    for (int i = 0; i < n; i++) {
        if (begin[i + 1] - begin[i] > dry->longest_label)
            dry->longest_label = begin[i + 1] - begin[i];
    }
    emc_session_prefix(session, &s->prefix, &s->n_prefix);
    dry->prefix_tokens = s->n_prefix;
    return EMC_OK;
}

static emc_status describe_model(scan *s)
{
    const emc_model_info *model = emc_model_get_info(s->run.session.model);
    emc_dry_run *dry = s->dry;

    dry->dtype = model->dtype;
    dry->n_parameters = model->n_parameters;
    dry->n_layers = model->n_layers;
    dry->max_positions = model->max_positions;
    EMC_TRY(emc_copy_string(&dry->device_name, model->device_name));
    EMC_TRY(emc_copy_string(&dry->device, model->device));
    EMC_TRY(emc_copy_string(&dry->device_reason, model->device_reason));
    return emc_copy_string(&dry->device_absent, model->device_absent);
}

/* ---- from the start to the end ---- */

static emc_status dry_run(scan *s)
{
    emc_session *session = &s->run.session;

    EMC_TRY(run_look(&s->run));
    EMC_TRY(emc_session_open_shape(session));
    EMC_TRY(describe_run(s));
    EMC_TRY(describe_question(s));
    EMC_TRY(describe_model(s));
    s->n_lengths = (size_t)s->dry->max_prompt + 1;
    EMC_TRY(emc_alloc(&s->n_own, s->n_lengths, sizeof(*s->n_own), "a histogram"));
    EMC_TRY(emc_alloc(&s->n_on, s->n_lengths, sizeof(*s->n_on), "a histogram"));
    EMC_TRY(look_at_all(s));
    EMC_TRY(count_tokens(s));
    EMC_TRY(estimate(s));
    return estimate_time(s);
}

emc_status emc_annotate_dry_run(emc_dry_run **out, const emc_annotate_options *options)
{
    scan s = {.run = {.options = options, .begin = emc_seconds()}};
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&s.dry, 1, sizeof(*s.dry), "a dry run"));
    status = emc_alloc(&s.run.summary, 1, sizeof(*s.run.summary), "summary");
    if (status == EMC_OK)
        status = dry_run(&s);
    emc_rendered_free(&s.rendered);
    free(s.found.lengths);
    free(s.n_own);
    free(s.n_on);
    emc_session_close(&s.run.session);
    emc_plan_free(&s.run.plan);
    emc_run_folder_close(&s.run.folder);
    emc_annotate_summary_close(s.run.summary);
    if (status == EMC_OK)
        *out = s.dry;
    else
        emc_dry_run_close(s.dry);
    return status;
}
