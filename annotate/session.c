#include "annotate/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/input_files.h"
#include "annotate/progress.h"
#include "base/hash.h"
#include "base/size.h"
#include "base/text.h"

/* Less than the 30 s after which Slurm, systemd and others kill what they told to end. */
#define FINISH_S 20.0

void emc_session_log(const emc_session *session, const char *line)
{
    if (session->options->on_log)
        session->options->on_log(session->options->context, line);
}

static emc_status check_share(double value, const char *name)
{
    if (value > 1)
        return emc_fail(EMC_ERR_USAGE, "%s %g: wanted 0 to 1", name, value);
    return EMC_OK;
}

/* An option that this way of answering cannot follow is not ignored in silence. */
static emc_status check_meant(const emc_session *s)
{
    const emc_annotate_options *o = s->options;
    const emc_results_options *results = &o->results;
    const bool generate = s->answer == EMC_ANSWER_GENERATE, greedy = s->answer == EMC_ANSWER_GREEDY;
    const struct {
        bool is_wrong;
        const char *option, *why;
    } options[] = {
        {generate && o->scoring >= 0, "--scoring", "has no labels to score"},
        {generate && o->invalid_mass, "--invalid-mass", "has no probabilities"},
        {generate && o->unknown_below > 0, "--unknown-below", "has no probabilities"},
        {generate && o->margin_below > 0, "--margin-below", "has no probabilities"},
        {generate && s->thresholds.unknown_below > 0, "the profile's unknown_below",
         "has no probabilities"},
        {generate && s->thresholds.margin_below > 0, "the profile's margin_below",
         "has no probabilities"},
        {s->answer != EMC_ANSWER_EXACT && o->probability_width >= 0, "--probability-width",
         "does not search until so much is known"},
        {greedy && results->probabilities_path, "--probabilities", "computes one label"},
        {greedy && results->obsm_probabilities, "--obsm-probabilities", "computes one label"},
        {greedy && o->invalid_mass, "--invalid-mass", "computes one label"},
        {greedy && s->thresholds.margin_below > 0, "--margin-below above 0 (or the profile's)",
         "computes one label"},
        {!generate && o->max_tokens > 0, "--max-tokens", "writes no text"},
    };

    for (size_t i = 0; i < EMC_COUNT(options); i++) {
        if (options[i].is_wrong)
            return emc_fail(EMC_ERR_USAGE, "%s: --answer %s %s; leave it out, or use --answer %s",
                            options[i].option, emc_answer_mode_name(s->answer), options[i].why,
                            strcmp(options[i].option, "--max-tokens") == 0 ? "generate" : "exact");
    }
    return EMC_OK;
}

/* What the options leave open, the profile says. */
static emc_status settle(emc_session *s)
{
    const emc_annotate_options *o = s->options;
    const emc_profile_info *info = s->info;

    EMC_TRY(check_share(o->unknown_below, "--unknown-below"));
    EMC_TRY(check_share(o->margin_below, "--margin-below"));
    EMC_TRY(check_share(o->probability_width, "--probability-width"));
    s->answer = o->answer >= 0 ? (emc_answer_mode)o->answer : info->answer;
    s->max_tokens = o->max_tokens > 0 ? o->max_tokens : info->max_tokens;
    s->scoring = o->scoring >= 0 ? (emc_scoring_rule)o->scoring : info->scoring;
    s->probability_width =
        o->probability_width >= 0 ? o->probability_width : info->probability_width;
    s->thresholds = (emc_thresholds){
        .temperature = info->temperature,
        .unknown_below = o->unknown_below >= 0 ? o->unknown_below : info->unknown_below,
        .margin_below = o->margin_below >= 0 ? o->margin_below : info->margin_below,
    };
    return check_meant(s);
}

static emc_status open_profile(emc_session *s)
{
    EMC_TRY(emc_profile_open(&s->profile, s->options->profile));
    s->info = emc_profile_get(s->profile);
    EMC_TRY(settle(s));
    if (s->options->labels_path)
        return emc_labels_read(&s->labels, s->options->labels_path);
    return emc_labels_from_profile(&s->labels, s->profile);
}

static emc_status open_input(emc_session *s)
{
    const emc_annotate_options *o = s->options;
    emc_input_options input = o->input;

    input.on_log = o->on_log;
    input.log_context = o->context;
    EMC_TRY(emc_input_open(&s->input, o->input_path, &input, s->info, NULL, 0));
    const emc_prompter_options wanted = {
        .profile = s->profile,
        .labels = s->labels,
        .tokenizer = s->tokenizer,
        .n_genes = emc_input_n_genes_listed(s->input),
    };
    EMC_TRY(emc_prompter_open(&s->prompter, &wanted));
    const emc_genes *genes = emc_input_genes(s->input);
    EMC_TRY(emc_prompter_set_genes(s->prompter, emc_genes_names(genes), emc_genes_count(genes)));
    if (!emc_prompter_is_fast(s->prompter))
        emc_session_log(s, "prompts are tokenised whole: this profile's list cannot be cut into "
                           "genes");
    return EMC_OK;
}

emc_status emc_session_open(emc_session *session)
{
    EMC_TRY(open_profile(session));
    if (!session->info->official)
        emc_session_log(session, "this profile is not a published model's own wording; see "
                                 "`emcell profile show`");
    EMC_TRY(emc_tokenizer_open(&session->tokenizer, session->options->model.model_dir));
    return open_input(session);
}

/* The most tokens that an answer may have. */
static int longest_answer(const emc_session *s)
{
    const int32_t *ids, *begin;
    int n, longest = 0;

    if (s->answer == EMC_ANSWER_GENERATE)
        return s->max_tokens;
    emc_prompter_choices(s->prompter, &ids, &begin, &n);
    for (int i = 0; i < n; i++) {
        if (begin[i + 1] - begin[i] > longest)
            longest = begin[i + 1] - begin[i];
    }
    return longest;
}

/* Tokenizer, profile and model must fit together before the first cell is read. */
static emc_status check_model(emc_session *s)
{
    const emc_model_info *model = emc_model_get_info(s->model);
    const int n_tokens = emc_tokenizer_n_tokens(s->tokenizer), longest = longest_answer(s);
    const int n_fixed = emc_prompter_n_fixed(s->prompter);

    if (n_tokens > model->vocab)
        return emc_fail(EMC_ERR_CONFIG, "%s: the tokenizer has %d tokens, the model %d",
                        s->options->model.model_dir, n_tokens, model->vocab);
    s->max_prompt = model->max_positions - longest;
    if (n_fixed > s->max_prompt)
        return emc_fail(EMC_ERR_CONFIG,
                        "profile \"%s\": the prompt without genes has %d tokens and an answer up "
                        "to %d, the model's context is %d; shorten the text "
                        "or the label list, or lower --max-tokens",
                        s->info->name, n_fixed, longest, model->max_positions);
    return EMC_OK;
}

void emc_session_prefix(const emc_session *session, const int32_t **ids, int *n)
{
    emc_prompter_prefix(session->prompter, ids, n);
    if (session->options->no_prefix_caching || *n >= session->max_prompt)
        *n = 0;
}

static emc_status set_prefix(emc_session *s)
{
    const int32_t *ids;
    int n;

    emc_session_prefix(s, &ids, &n);
    if (n == 0)
        return EMC_OK;
    const double begin_at = emc_seconds();
    EMC_TRY(emc_engine_set_prefix(s->engine, ids, n));
    s->prefix_tokens = n;
    s->seconds_prefix = emc_seconds() - begin_at;
    return EMC_OK;
}

void emc_session_engine_options(const emc_session *session, emc_engine_options *out)
{
    *out = (emc_engine_options){
        .max_num_batched_tokens = session->options->max_num_batched_tokens,
        .max_answer_tokens = session->answer == EMC_ANSWER_GENERATE ? session->max_tokens : 0,
        .n_ids = emc_tokenizer_n_tokens(session->tokenizer),
        .gpu_memory_utilization = session->options->gpu_memory_utilization,
    };
}

bool emc_session_has_choices(const emc_session *session)
{
    return session->answer != EMC_ANSWER_GENERATE;
}

emc_ask emc_session_ask(const emc_session *session)
{
    static const emc_ask asks[] = {[EMC_ANSWER_EXACT] = EMC_ASK_BEST,
                                   [EMC_ANSWER_FULL] = EMC_ASK_CHOICES,
                                   [EMC_ANSWER_GREEDY] = EMC_ASK_GREEDY,
                                   [EMC_ANSWER_GENERATE] = EMC_ASK_GENERATE};

    return asks[session->answer];
}

double emc_session_width(const emc_session *session, const emc_plan *plan)
{
    const bool every = plan->probabilities || session->thresholds.margin_below > 0;

    return session->answer == EMC_ANSWER_EXACT && !every ? session->probability_width : 0;
}

emc_status emc_session_score(emc_session *session, const emc_plan *plan)
{
    const emc_scoring scoring = {
        .rule = session->scoring,
        .temperature = session->thresholds.temperature,
        .log_priors = session->log_priors,
        .width = emc_session_width(session, plan),
        .threshold = session->thresholds.unknown_below,
        .outside = plan->invalid_mass,
    };

    return emc_session_has_choices(session) ? emc_engine_set_scoring(session->engine, &scoring)
                                            : EMC_OK;
}

/* What the model says of each label when it is told of no gene. */
static emc_status ask_priors(emc_session *s, emc_rendered *empty)
{
    const int n = emc_labels_count(s->labels);
    emc_answer answer;
    bool got;

    EMC_TRY(emc_prompter_render(s->prompter, NULL, 0, false, empty));
    EMC_TRY(emc_engine_submit(
        s->engine,
        &(emc_request){.ids = empty->ids.ids, .n_ids = (int)empty->ids.n, .ask = EMC_ASK_CHOICES}));
    EMC_TRY(emc_engine_poll(s->engine, &answer, &got));
    if (!got)
        return emc_fail(EMC_ERR_INTERNAL, "the engine lost the cell without genes");
    if (!answer.finite)
        return emc_fail(EMC_ERR_CONFIG,
                        "--scoring prior: the model gives no numbers for a cell without genes");
    EMC_TRY(emc_alloc(&s->log_priors, (size_t)n, sizeof(*s->log_priors), "priors"));
    for (int i = 0; i < n; i++)
        s->log_priors[i] = answer.log_probs[i];
    return EMC_OK;
}

static emc_status set_priors(emc_session *s)
{
    emc_rendered empty = {0};

    if (!emc_session_has_choices(s) || s->scoring != EMC_SCORING_PRIOR)
        return EMC_OK;
    const emc_status status = ask_priors(s, &empty);
    emc_rendered_free(&empty);
    return status;
}

static emc_status open_engine(emc_session *s)
{
    const int32_t *ids, *begin;
    int n;
    emc_engine_options wanted;
    emc_memory_plan plan;

    emc_session_engine_options(s, &wanted);
    EMC_TRY(emc_engine_open(&s->engine, s->model, &wanted));
    emc_engine_get_memory_plan(s->engine, &plan);
    if (s->options->on_engine)
        s->options->on_engine(s->options->context, emc_model_get_info(s->model), &plan);
    if (emc_session_has_choices(s)) {
        emc_prompter_choices(s->prompter, &ids, &begin, &n);
        EMC_TRY(emc_engine_set_choices(s->engine, ids, begin, n));
    }
    EMC_TRY(set_prefix(s));
    return set_priors(s);
}

emc_status emc_session_open_model(emc_session *session, const char *chosen)
{
    emc_model_options wanted = session->options->model;

    /* "{}" is a device that chooses nothing. */
    if (chosen && strcmp(chosen, "{}") != 0)
        wanted.chosen = chosen;
    EMC_TRY(emc_model_open(&session->model, &wanted));
    EMC_TRY(check_model(session));
    return open_engine(session);
}

emc_status emc_session_open_shape(emc_session *session)
{
    emc_model_options wanted = session->options->model;

    wanted.without_weights = true;
    wanted.choices_path = NULL;
    EMC_TRY(emc_model_open(&session->model, &wanted));
    return check_model(session);
}

void emc_session_close_model(emc_session *session)
{
    emc_engine_close(session->engine);
    emc_model_close(session->model);
    free(session->log_priors);
    session->engine = NULL;
    session->model = NULL;
    session->log_priors = NULL;
}

void emc_session_close(emc_session *session)
{
    emc_session_close_model(session);
    emc_prompter_close(session->prompter);
    emc_input_close(session->input);
    emc_tokenizer_close(session->tokenizer);
    emc_labels_close(session->labels);
    emc_profile_close(session->profile);
}

emc_pipeline emc_session_pipeline(const emc_session *session)
{
    return (emc_pipeline){
        .input = session->input,
        .prompter = session->prompter,
        .engine = session->engine,
        .ask = emc_session_ask(session),
        .max_tokens = session->max_tokens,
        .max_prompt = session->max_prompt,
        .n_labels = emc_labels_count(session->labels),
        .cancel = session->options->cancel,
        .finish_seconds =
            session->options->finish_seconds > 0 ? session->options->finish_seconds : FINISH_S,
    };
}

/* ---- what results depend on ---- */

static emc_status pin_hash(emc_plan *plan, const char *name, const emc_hash *hash)
{
    char text[EMC_HASH_TEXT];

    emc_hash_text(text, hash);
    return emc_plan_pin(plan, name, "%s", text);
}

static emc_status pin_file(emc_plan *plan, const char *name, const char *path)
{
    emc_hash hash;

    if (!path)
        return emc_plan_pin(plan, name, "none");
    EMC_TRY(emc_fingerprint(&hash, path));
    return pin_hash(plan, name, &hash);
}

/* Labels and their ids, in order: a list of another order has other ties. */
static emc_status pin_labels(emc_plan *plan, const emc_labels *labels)
{
    emc_text text = {0};
    emc_hash hash;
    emc_status status = EMC_OK;

    for (int i = 0; i < emc_labels_count(labels) && status == EMC_OK; i++) {
        const emc_profile_label *label = emc_labels_get(labels, i);
        status = emc_text_addf(&text, "%s\t%s\n", label->label, label->cl ? label->cl : "");
    }
    if (status == EMC_OK) {
        hash = emc_hash_of(text.bytes, text.n);
        status = pin_hash(plan, "labels", &hash);
    }
    emc_text_free(&text);
    return status == EMC_OK ? emc_plan_set_labels(plan, labels) : status;
}

static emc_status pin_profile(const emc_session *s, emc_plan *plan)
{
    char text[EMC_HASH_TEXT];
    size_t n;
    const char *json = emc_profile_text(s->profile, &n);
    const emc_hash hash = emc_hash_of(json, n);

    emc_hash_text(text, &hash);
    return emc_plan_pin(plan, "profile", "%s %s", s->info->name, text);
}

/* The shortest text that reads back as the same number. */
static emc_status pin_number(emc_plan *plan, const char *name, double value)
{
    char text[32];

    snprintf(text, sizeof(text), "%.15g", value);
    return emc_plan_pin(plan, name, strtod(text, NULL) == value ? "%.15g" : "%.17g", value);
}

static emc_status pin_answers(const emc_session *s, emc_plan *plan)
{
    EMC_TRY(pin_profile(s, plan));
    EMC_TRY(pin_labels(plan, s->labels));
    EMC_TRY(emc_plan_pin(plan, "--answer", "%s", emc_answer_mode_name(s->answer)));
    if (emc_session_has_choices(s))
        EMC_TRY(emc_plan_pin(plan, "--scoring", "%s", emc_scoring_rule_name(s->scoring)));
    if (s->answer == EMC_ANSWER_EXACT)
        EMC_TRY(pin_number(plan, "--probability-width",
                           s->thresholds.margin_below > 0 ? 0 : s->probability_width));
    EMC_TRY(pin_number(plan, "temperature", s->thresholds.temperature));
    EMC_TRY(pin_number(plan, "--unknown-below", s->thresholds.unknown_below));
    EMC_TRY(pin_number(plan, "--margin-below", s->thresholds.margin_below));
    if (s->answer == EMC_ANSWER_GENERATE)
        EMC_TRY(emc_plan_pin(plan, "--max-tokens", "%d", s->max_tokens));
    plan->generated = s->answer == EMC_ANSWER_GENERATE;
    return EMC_OK;
}

static emc_status pin_input(const emc_session *s, emc_plan *plan)
{
    emc_hash hash;

    EMC_TRY(emc_input_fingerprint(&hash, s->options->input_path));
    EMC_TRY(pin_hash(plan, "--input", &hash));
    EMC_TRY(emc_plan_pin(plan, "--layer", "%s", emc_input_layer(s->input)));
    EMC_TRY(emc_plan_pin(plan, "--n-genes", "%d", emc_input_n_genes_listed(s->input)));
    EMC_TRY(emc_input_hash(&hash, s->input));
    EMC_TRY(pin_hash(plan, "cells_and_genes", &hash));
    plan->n_rows = emc_input_n_rows(s->input);
    plan->n_cells = emc_input_n_cells(s->input);
    return EMC_OK;
}

static emc_status note_path(emc_plan *plan, const char *name, const char *path)
{
    char *whole = path ? realpath(path, NULL) : NULL;
    const emc_status status = path ? emc_plan_note(plan, name, "%s", whole ? whole : path) : EMC_OK;

    free(whole);
    return status;
}

emc_status emc_session_pin(const emc_session *session, emc_plan *plan)
{
    const emc_annotate_options *o = session->options;
    static const char *const dtypes[] = {"auto", "float32", "bfloat16"};

    EMC_TRY(emc_plan_pin(plan, "emcell", "%s", o->version ? o->version : "unknown"));
    EMC_TRY(pin_input(session, plan));
    EMC_TRY(pin_file(plan, "--model", o->model.model_dir));
    EMC_TRY(pin_file(plan, "--adapter", o->model.adapter_dir));
    EMC_TRY(emc_plan_pin(plan, "--merge-adapter", "%s", o->model.merge_adapter ? "yes" : "no"));
    EMC_TRY(emc_plan_pin(plan, "--dtype", "%s", dtypes[o->model.dtype]));
    EMC_TRY(emc_plan_pin(plan, "--tensor-parallel-size", "%d",
                         o->model.tensor_parallel_size > 0 ? o->model.tensor_parallel_size : 1));
    EMC_TRY(emc_plan_pin(plan, "--all-reduce-dtype", "%s", o->model.sums_f32 ? "float32" : "auto"));
    EMC_TRY(emc_plan_pin(plan, "--max-num-batched-tokens", "%d", o->max_num_batched_tokens));
    EMC_TRY(emc_plan_pin(plan, "prefix_caching", "%s", o->no_prefix_caching ? "no" : "yes"));
    EMC_TRY(pin_answers(session, plan));
    if (o->command)
        EMC_TRY(emc_plan_note(plan, "command", "%s", o->command));
    const emc_gene_match *match = emc_input_match(session->input);
    EMC_TRY(emc_plan_note(plan, "gene_match", "%.1f %% of %d names are human symbols",
                          100 * match->rate, match->n_genes));
    EMC_TRY(note_path(plan, "input_path", o->input_path));
    EMC_TRY(note_path(plan, "model_path", o->model.model_dir));
    EMC_TRY(note_path(plan, "adapter_path", o->model.adapter_dir));
    EMC_TRY(note_path(plan, "labels_path", o->labels_path));
    return emc_plan_note(plan, "profile_name", "%s", o->profile ? o->profile : session->info->name);
}

/* Without the number of threads, of replicas or of the GPU, which change no bits; a GPU's kind,
 * library and driver stand in what it chose. */
emc_status emc_session_pin_model(const emc_session *session, emc_plan *plan)
{
    const emc_model_info *model = emc_model_get_info(session->model);
    const char *threads = strrchr(model->device, ',');

    if (strcmp(model->device_name, "cpu") == 0)
        EMC_TRY(emc_plan_pin(plan, "device", "%.*s",
                             (int)(threads ? threads - model->device : 1 << 10), model->device));
    else
        EMC_TRY(emc_plan_pin(plan, "device", "%.*s", (int)strcspn(model->device_name, ":"),
                             model->device_name));
    return emc_plan_pin(plan, "arithmetic", "%s", emc_dtype_name(model->dtype));
}
