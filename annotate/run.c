#include "annotate/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/input.h"
#include "annotate/labels.h"
#include "annotate/pipeline.h"
#include "annotate/progress.h"
#include "annotate/prompt.h"
#include "annotate/result_rows.h"
#include "base/file.h"
#include "base/size.h"

/* Everything that is open during a run, in the order of opening. */
typedef struct {
    const emc_annotate_options *options;
    const emc_profile_info *info;
    emc_profile *profile;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_input *input;
    emc_prompter *prompter;
    emc_result_rows *rows;
    emc_model *model;
    emc_engine *engine;
    emc_answer_mode answer;
    int max_tokens, max_prompt;
    emc_thresholds thresholds;

    emc_annotate_summary *summary;
    emc_progress_meter meter;
    double sum_score;
    int64_t n_scores, n_asked;
    double *probs;     /* [n_labels] of one cell */
    emc_text raw_text; /* of one cell */
} run;

void emc_annotate_defaults(emc_annotate_options *options)
{
    memset(options, 0, sizeof(*options));
    options->input.min_gene_match = -1;
    options->answer = -1;
    options->unknown_below = -1;
    options->margin_below = -1;
    options->top_k = EMC_TOP;
    options->output_path = "-";
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
    free(summary);
}

static void close_run(run *r)
{
    emc_engine_close(r->engine);
    emc_model_close(r->model);
    emc_result_rows_close(r->rows);
    emc_prompter_close(r->prompter);
    emc_input_close(r->input);
    emc_tokenizer_close(r->tokenizer);
    emc_labels_close(r->labels);
    emc_profile_close(r->profile);
    emc_text_free(&r->raw_text);
    free(r->probs);
}

static void log_line(const run *r, const char *line)
{
    if (r->options->on_log)
        r->options->on_log(r->options->context, line);
}

static void show_stage(const run *r, emc_stage stage, int64_t n_done)
{
    const emc_progress progress = {.stage = stage,
                                   .n_done = n_done,
                                   .n_total = r->input ? emc_input_n_cells(r->input) : 0,
                                   .seconds_left = -1};

    if (r->options->on_progress)
        r->options->on_progress(r->options->context, &progress);
}

static emc_status check_share(double value, const char *name)
{
    if (value > 1)
        return emc_fail(EMC_ERR_USAGE, "%s %g: wanted 0 to 1", name, value);
    return EMC_OK;
}

/* What the options leave open, the profile says. */
static emc_status settle(run *r)
{
    const emc_annotate_options *o = r->options;
    const emc_profile_info *info = r->info;

    EMC_TRY(check_share(o->unknown_below, "--unknown-below"));
    EMC_TRY(check_share(o->margin_below, "--margin-below"));
    r->answer = o->answer >= 0 ? (emc_answer_mode)o->answer : info->answer;
    r->max_tokens = o->max_tokens > 0 ? o->max_tokens : info->max_tokens;
    r->thresholds = (emc_thresholds){
        .temperature = info->temperature,
        .unknown_below = o->unknown_below >= 0 ? o->unknown_below : info->unknown_below,
        .margin_below = o->margin_below >= 0 ? o->margin_below : info->margin_below,
    };
    return EMC_OK;
}

static emc_status open_profile(run *r)
{
    EMC_TRY(emc_profile_open(&r->profile, r->options->profile));
    r->info = emc_profile_get(r->profile);
    EMC_TRY(settle(r));
    if (r->options->labels_path)
        return emc_labels_read(&r->labels, r->options->labels_path);
    return emc_labels_from_profile(&r->labels, r->profile);
}

static emc_status open_input(run *r)
{
    const emc_annotate_options *o = r->options;
    emc_input_options input = o->input;

    input.on_log = o->on_log;
    input.log_context = o->context;
    EMC_TRY(emc_input_open(&r->input, o->input_path, &input, r->info, NULL, 0));
    const emc_prompter_options wanted = {
        .profile = r->profile,
        .labels = r->labels,
        .tokenizer = r->tokenizer,
        .n_genes = emc_input_n_genes_listed(r->input),
    };
    EMC_TRY(emc_prompter_open(&r->prompter, &wanted));
    const emc_genes *genes = emc_input_genes(r->input);
    EMC_TRY(emc_prompter_set_genes(r->prompter, emc_genes_names(genes), emc_genes_count(genes)));
    if (!emc_prompter_is_fast(r->prompter))
        log_line(r, "prompts are tokenised whole: this profile's list cannot be cut into genes");
    return EMC_OK;
}

/* The most tokens that an answer may have. */
static int longest_answer(const run *r)
{
    const int32_t *ids, *begin;
    int n, longest = 0;

    if (r->answer == EMC_ANSWER_GENERATE)
        return r->max_tokens;
    emc_prompter_choices(r->prompter, &ids, &begin, &n);
    for (int i = 0; i < n; i++) {
        if (begin[i + 1] - begin[i] > longest)
            longest = begin[i + 1] - begin[i];
    }
    return longest;
}

/* Tokenizer, profile and model must fit together before the first cell is read. */
static emc_status check_model(run *r)
{
    const emc_model_info *model = emc_model_get_info(r->model);
    const int n_tokens = emc_tokenizer_n_tokens(r->tokenizer), longest = longest_answer(r);
    const int n_fixed = emc_prompter_n_fixed(r->prompter);

    if (n_tokens > model->vocab)
        return emc_fail(EMC_ERR_CONFIG, "%s: the tokenizer has %d tokens, the model %d",
                        r->options->model.model_dir, n_tokens, model->vocab);
    r->max_prompt = model->max_positions - longest;
    if (n_fixed > r->max_prompt)
        return emc_fail(EMC_ERR_CONFIG,
                        "profile \"%s\": the prompt without genes has %d tokens and an answer up "
                        "to %d, the model's context is %d; shorten the text "
                        "or the label list, or lower --max-tokens",
                        r->info->name, n_fixed, longest, model->max_positions);
    return EMC_OK;
}

static emc_status open_engine(run *r)
{
    const int32_t *ids, *begin;
    int n;
    const emc_engine_options wanted = {
        .max_num_batched_tokens = r->options->max_num_batched_tokens,
        .max_answer_tokens = r->answer == EMC_ANSWER_GENERATE ? r->max_tokens : 0,
        .n_ids = emc_tokenizer_n_tokens(r->tokenizer),
        .gpu_memory_utilization = r->options->gpu_memory_utilization,
    };
    emc_memory_plan plan;

    EMC_TRY(emc_engine_open(&r->engine, r->model, &wanted));
    emc_engine_get_memory_plan(r->engine, &plan);
    if (r->options->on_engine)
        r->options->on_engine(r->options->context, emc_model_get_info(r->model), &plan);
    if (r->answer == EMC_ANSWER_FULL) {
        emc_prompter_choices(r->prompter, &ids, &begin, &n);
        EMC_TRY(emc_engine_set_choices(r->engine, ids, begin, n));
    }
    emc_prompter_prefix(r->prompter, &ids, &n);
    if (r->options->no_prefix_caching || n == 0 || n >= r->max_prompt)
        return EMC_OK;
    const double begin_at = emc_seconds();
    EMC_TRY(emc_engine_set_prefix(r->engine, ids, n));
    r->summary->prefix_tokens = n;
    r->summary->seconds_prefix = emc_seconds() - begin_at;
    return EMC_OK;
}

static emc_status open_summary(run *r)
{
    emc_annotate_summary *s = r->summary;
    const int n = emc_labels_count(r->labels);

    EMC_TRY(emc_alloc(&s->labels, (size_t)n, sizeof(*s->labels), "summary"));
    EMC_TRY(emc_alloc(&s->n_label, (size_t)n, sizeof(*s->n_label), "summary"));
    EMC_TRY(emc_alloc(&r->probs, (size_t)n, sizeof(*r->probs), "probabilities"));
    for (int i = 0; i < n; i++) {
        char *label;
        EMC_TRY(emc_copy_string(&label, emc_labels_get(r->labels, i)->label));
        s->labels[s->n_labels++] = label;
    }
    s->gene_match = emc_input_match(r->input)->rate;
    s->n_genes_renamed = emc_genes_n_renamed(emc_input_genes(r->input));
    EMC_TRY(
        emc_copy_string(&s->input_description, emc_cells_description(emc_input_cells(r->input))));
    EMC_TRY(emc_copy_string(&s->profile_name, r->info->name));
    return emc_copy_string(&s->output_path, r->options->output_path);
}

static emc_status describe_model(run *r)
{
    const emc_model_info *m = emc_model_get_info(r->model);
    char line[512];

    snprintf(line, sizeof(line), "%.4g million parameters, %d layers, %s, %s",
             1e-6 * (double)m->n_parameters, m->n_layers, emc_dtype_name(m->dtype), m->device);
    log_line(r, line);
    return emc_copy_string(&r->summary->model_description, line);
}

/* Cheap things first, so that most mistakes are told before the weights are read. */
static emc_status open_run(run *r)
{
    EMC_TRY(open_profile(r));
    if (!r->info->official)
        log_line(r, "this profile is not a published model's own wording; see `emcell profile "
                    "show`");
    EMC_TRY(emc_tokenizer_open(&r->tokenizer, r->options->model.model_dir));
    EMC_TRY(open_input(r));
    EMC_TRY(open_summary(r));
    EMC_TRY(emc_result_rows_open(&r->rows, r->options, r->labels, r->answer));
    EMC_TRY(emc_model_open(&r->model, &r->options->model));
    EMC_TRY(check_model(r));
    EMC_TRY(describe_model(r));
    return open_engine(r);
}

/* A C string: a model may write NUL, which no table holds. */
static emc_status decode(run *r, const emc_item *item)
{
    emc_text_clear(&r->raw_text);
    EMC_TRY(emc_tokenizer_decode(r->tokenizer, item->generated.ids, item->generated.n, true,
                                 &r->raw_text));
    for (size_t i = 0; i < r->raw_text.n; i++) {
        if (r->raw_text.bytes[i] == '\0')
            r->raw_text.bytes[i] = ' ';
    }
    return emc_text_add(&r->raw_text, "", 0);
}

#define MAX_TOLD 5 /* failed cells; the table has them all */

static void tell_failure(const run *r, const emc_item *item)
{
    const int64_t n = r->summary->n_status[EMC_CELL_FAILED];

    if (item->message.n > 0 && n <= MAX_TOLD)
        log_line(r, item->message.bytes);
    if (item->message.n > 0 && n == MAX_TOLD)
        log_line(r, "further cells that fail stand in the results only");
}

static void count(run *r, const emc_item *item, const emc_verdict *verdict)
{
    emc_annotate_summary *s = r->summary;

    s->n_cells++;
    s->n_status[verdict->status]++;
    tell_failure(r, item);
    if (verdict->label >= 0)
        s->n_label[verdict->label]++;
    if (!isnan(verdict->score)) {
        r->sum_score += verdict->score;
        r->n_scores++;
    }
    if (item->status == EMC_CELL_OK) {
        r->n_asked++;
        s->n_prompt_tokens += (int64_t)item->prompt.ids.n;
    }
}

/* One answered cell, in input order. */
static emc_status finish_cell(void *context, const emc_item *item)
{
    run *r = context;
    const bool asked = item->status == EMC_CELL_OK, full = r->answer == EMC_ANSWER_FULL;
    const char *raw_text = NULL;
    emc_verdict verdict;
    emc_progress progress;

    if (!asked) {
        emc_verdict_not_asked(&verdict, item->status, item->reason);
    } else if (full) {
        emc_verdict_from_log_probs(&verdict, item->log_probs, emc_labels_count(r->labels),
                                   &r->thresholds, r->probs);
    } else {
        EMC_TRY(decode(r, item));
        raw_text = r->raw_text.n > 0 ? r->raw_text.bytes : "";
        EMC_TRY(emc_verdict_from_text(&verdict, r->labels, raw_text, r->raw_text.n, item->ended));
    }
    EMC_TRY(
        emc_result_rows_add(r->rows, item, &verdict, asked && full ? r->probs : NULL, raw_text));
    count(r, item, &verdict);
    if (emc_progress_step(&r->meter, emc_seconds(), r->summary->n_cells,
                          emc_input_n_cells(r->input), &progress) &&
        r->options->on_progress)
        r->options->on_progress(r->options->context, &progress);
    return EMC_OK;
}

static emc_status do_cells(run *r)
{
    const emc_pipeline pipeline = {
        .input = r->input,
        .prompter = r->prompter,
        .engine = r->engine,
        .answer = r->answer,
        .max_tokens = r->max_tokens,
        .max_prompt = r->max_prompt,
        .n_labels = emc_labels_count(r->labels),
        .cancel = r->options->cancel,
    };
    emc_annotate_summary *s = r->summary;
    const double begin = emc_seconds();

    show_stage(r, EMC_STAGE_CELLS, 0);
    EMC_TRY(emc_pipeline_run(&pipeline, finish_cell, r));
    s->seconds_run = emc_seconds() - begin;
    if (s->n_cells != emc_input_n_cells(r->input))
        return emc_fail(EMC_ERR_INTERNAL, "%lld of %lld cells came back", (long long)s->n_cells,
                        (long long)emc_input_n_cells(r->input));
    s->mean_score = r->n_scores > 0 ? r->sum_score / (double)r->n_scores : NAN;
    s->cells_per_s = s->seconds_run > 0 ? (double)r->n_asked / s->seconds_run : 0;
    emc_engine_get_stats(r->engine, &s->engine);
    EMC_TRY(emc_copy_string(&s->device_name, emc_model_get_info(r->model)->device_name));
    return emc_copy_string(&s->chosen, emc_model_chosen(r->model));
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
    const char *const read[] = {options->input_path, options->input.medians_path, options->profile,
                                options->labels_path};
    const char *matrix = options->probabilities_path;

    if (matrix && emc_same_file(options->output_path, matrix))
        return emc_fail(EMC_ERR_USAGE, "%s: named for the results and for the probabilities",
                        matrix);
    for (size_t i = 0; i < EMC_COUNT(read); i++) {
        EMC_TRY(spare("output", options->output_path, read[i]));
        EMC_TRY(spare("probabilities", matrix, read[i]));
    }
    return EMC_OK;
}

/* The finished rows are worth keeping: on a GPU they may be hours of work. */
static emc_status keep_finished(run *r)
{
    const char *path = r->options->output_path;
    const bool renamed = strcmp(path, "-") != 0;
    char message[768];

    if (r->summary->n_cells == 0)
        return EMC_ERR_DEVICE;
    snprintf(message, sizeof(message), "%s", emc_message());
    EMC_TRY(emc_result_rows_keep(r->rows));
    return emc_fail(EMC_ERR_LOST, "%s; the first %lld of %lld cells are in %s%s", message,
                    (long long)r->summary->n_cells, (long long)emc_input_n_cells(r->input),
                    renamed ? path : "the output", renamed ? EMC_INCOMPLETE : "");
}

emc_status emc_annotate(emc_annotate_summary **out, const emc_annotate_options *options)
{
    run r = {.options = options};
    const double begin = emc_seconds();
    emc_status status;

    *out = NULL;
    EMC_TRY(check_files(options));
    EMC_TRY(emc_alloc(&r.summary, 1, sizeof(*r.summary), "summary"));
    show_stage(&r, EMC_STAGE_LOAD, 0);
    status = open_run(&r);
    r.summary->seconds_load = emc_seconds() - begin;
    if (status == EMC_OK) {
        status = do_cells(&r);
        if (status == EMC_ERR_DEVICE)
            status = keep_finished(&r);
    }
    if (status == EMC_OK && options->cancel && *options->cancel)
        status = emc_fail(EMC_ERR_CANCELLED, "interrupted");
    if (status == EMC_OK) {
        show_stage(&r, EMC_STAGE_WRITE, r.summary->n_cells);
        status = emc_result_rows_commit(r.rows);
    }
    close_run(&r);
    if (status != EMC_OK)
        emc_annotate_summary_close(r.summary);
    else
        *out = r.summary;
    return status;
}
