/*
 * A checkpoint of ours answers: the same prompts, choices and verdicts as `emcell annotate`.
 *
 * Questions with the same wording and candidates share a prefix and are asked together. Choices are
 * always those of all labels; where only some are offered, every score is computed and the others
 * are left out of the sum.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/answer.h"
#include "annotate/evaluate/system.h"
#include "annotate/prompt.h"
#include "base/hash.h"
#include "base/size.h"

typedef struct {
    emc_system base; /* first: a pointer to it is one to the whole */
    emc_model_system_options options;
    char *name, *model_dir, *adapter_dir, *device, *description;
    emc_text settings;
    const emc_profile_info *info;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_thresholds thresholds;
    emc_scoring_rule scoring;
    int max_tokens, n_labels;

    /* From the first pass on. */
    emc_model *model;
    emc_engine *engine;
    double *log_priors;
    int max_prompt;

    /* Of a pass. */
    const emc_pass *pass;
    emc_prompter *prompter;
    int *order; /* questions by variant */
    emc_rendered rendered;
    emc_prompt chat;
    emc_ids chat_ids;
    emc_text raw, work;
    double *scores, *probs, *all_probs; /* [n_labels] */
    int *offered;                       /* [n_labels] */
} model_system;

static const emc_question *question_at(const model_system *s, int i)
{
    return &s->pass->questions[s->order[i]];
}

static const emc_bench_item *item_of(const model_system *s, const emc_question *q)
{
    return emc_benchmark_item(s->pass->benchmark, q->item);
}

/* --- variants --- */

static bool lists_labels(const model_system *s, int wording)
{
    const emc_profile_message *messages =
        wording == 0 ? s->info->messages : s->info->paraphrases[wording - 1].messages;
    const int n = wording == 0 ? s->info->n_messages : s->info->paraphrases[wording - 1].n_messages;

    for (int i = 0; i < n; i++)
        if (strstr(messages[i].content, "{labels}"))
            return true;
    return false;
}

/* Only what changes the prompt counts. */
static bool same_variant(const model_system *s, const emc_question *a, const emc_question *b)
{
    if (a->wording != b->wording)
        return false;
    if (!lists_labels(s, a->wording))
        return true;
    return a->n_candidates == b->n_candidates &&
           (a->n_candidates == 0 || memcmp(a->candidates, b->candidates,
                                           (size_t)a->n_candidates * sizeof *a->candidates) == 0);
}

/* Questions of one variant behind each other, otherwise in their order. */
static emc_status sort_questions(model_system *s)
{
    const int n = s->pass->n_questions;
    bool *taken = NULL;
    int at = 0;

    EMC_TRY(emc_alloc(&s->order, (size_t)n + 1, sizeof *s->order, "questions"));
    EMC_TRY(emc_alloc(&taken, (size_t)n + 1, sizeof *taken, "questions"));
    for (int i = 0; i < n; i++) {
        if (taken[i])
            continue;
        /* Walks the rest once a variant; candidates of many orders are asked one by one. */
        const emc_question *first = &s->pass->questions[i];
        int seen = 0;
        for (int j = i; j < n && seen < 1000; j++) {
            if (taken[j])
                continue;
            const bool same = same_variant(s, first, &s->pass->questions[j]);
            seen += !same;
            if (same) {
                taken[j] = true;
                s->order[at++] = j;
            }
        }
    }
    free(taken);
    return EMC_OK;
}

static emc_status set_variant(model_system *s, const emc_question *q)
{
    const bool lists = lists_labels(s, q->wording);
    const emc_prompt_variant variant = {
        .wording = q->wording,
        .candidates = lists && q->n_candidates > 0 ? q->candidates : NULL,
        .n_candidates = lists ? q->n_candidates : 0,
    };
    const int32_t *ids;
    int n;

    EMC_TRY(emc_prompter_set_variant(s->prompter, &variant));
    emc_prompter_prefix(s->prompter, &ids, &n);
    return emc_engine_set_prefix(s->engine, ids, n < s->max_prompt ? n : 0);
}

/* --- opening the engine --- */

static bool has_choices(const model_system *s)
{
    return s->options.answer != EMC_ANSWER_GENERATE;
}

static emc_status ask_priors(model_system *s)
{
    emc_answer answer;
    bool got;

    EMC_TRY(emc_prompter_render(s->prompter, NULL, 0, false, &s->rendered));
    EMC_TRY(emc_engine_submit(s->engine, &(emc_request){.ids = s->rendered.ids.ids,
                                                        .n_ids = (int)s->rendered.ids.n,
                                                        .ask = EMC_ASK_CHOICES}));
    EMC_TRY(emc_engine_poll(s->engine, &answer, &got));
    if (!got || !answer.finite)
        return emc_fail(EMC_ERR_CONFIG, "%s: the model gives no numbers for a cell without genes",
                        s->name);
    EMC_TRY(emc_alloc(&s->log_priors, (size_t)s->n_labels, sizeof *s->log_priors, "priors"));
    for (int i = 0; i < s->n_labels; i++)
        s->log_priors[i] = answer.log_probs[i];
    return EMC_OK;
}

static emc_status open_engine(model_system *s)
{
    const emc_engine_options options = {
        .max_num_batched_tokens = s->options.max_num_batched_tokens,
        .max_answer_tokens = has_choices(s) ? 0 : s->max_tokens,
        .n_ids = emc_tokenizer_n_tokens(s->tokenizer),
        .gpu_memory_utilization = s->options.gpu_memory_utilization,
    };
    const int32_t *ids, *begin;
    int n, longest = has_choices(s) ? 0 : s->max_tokens;

    EMC_TRY(emc_model_open(&s->model, &s->options.model));
    const emc_model_info *model = emc_model_get_info(s->model);
    if (emc_tokenizer_n_tokens(s->tokenizer) > model->vocab)
        return emc_fail(EMC_ERR_CONFIG, "%s: the tokenizer has %d tokens, the model %d",
                        s->model_dir, emc_tokenizer_n_tokens(s->tokenizer), model->vocab);
    emc_prompter_choices(s->prompter, &ids, &begin, &n);
    for (int i = 0; i < n && has_choices(s); i++)
        longest = begin[i + 1] - begin[i] > longest ? begin[i + 1] - begin[i] : longest;
    s->max_prompt = model->max_positions - longest;
    EMC_TRY(emc_engine_open(&s->engine, s->model, &options));
    if (!has_choices(s))
        return EMC_OK;
    EMC_TRY(emc_engine_set_choices(s->engine, ids, begin, n));
    if (s->scoring == EMC_SCORING_PRIOR)
        EMC_TRY(ask_priors(s));
    const emc_scoring scoring = {
        .rule = s->scoring,
        .temperature = s->thresholds.temperature,
        .log_priors = s->log_priors,
        .width = s->options.answer == EMC_ANSWER_EXACT ? s->options.probability_width : 0,
        .threshold = s->thresholds.unknown_below,
    };
    return emc_engine_set_scoring(s->engine, &scoring);
}

/* --- asking --- */

static emc_ask ask_of(const model_system *s, const emc_question *q)
{
    switch ((emc_answer_mode)s->options.answer) {
    case EMC_ANSWER_GENERATE:
        return EMC_ASK_GENERATE;
    case EMC_ANSWER_GREEDY:
        return q->n_candidates > 0 || s->pass->held_out >= 0 ? EMC_ASK_CHOICES : EMC_ASK_GREEDY;
    case EMC_ANSWER_EXACT:
        return q->n_candidates > 0 || s->pass->held_out >= 0 ? EMC_ASK_CHOICES : EMC_ASK_BEST;
    default:
        return EMC_ASK_CHOICES;
    }
}

/* Messages that are asked as they are: whoever made the benchmark wrote them, but nothing of them
 * becomes a special token. */
static emc_status render_messages(model_system *s, const emc_bench_item *item)
{
    emc_chat_message *messages = NULL;
    emc_chat_segment *segments = NULL;
    const size_t n = (size_t)item->n_messages;
    emc_status status = emc_alloc(&messages, n, sizeof *messages, "messages");

    if (status == EMC_OK)
        status = emc_alloc(&segments, n, sizeof *segments, "messages");
    for (size_t i = 0; i < n && status == EMC_OK; i++) {
        const emc_profile_message *m = &item->messages[i];
        segments[i] = (emc_chat_segment){.text = m->content, .n_bytes = strlen(m->content)};
        messages[i].content = (emc_chat_text){.segments = &segments[i], .n_segments = 1};
        status = emc_chat_role_of(&messages[i].role, m->role, strlen(m->role));
    }
    emc_prompt_clear(&s->chat);
    s->chat_ids.n = 0;
    if (status == EMC_OK)
        status =
            emc_chat_render(&(emc_chat_request){.messages = messages,
                                                .n_messages = n,
                                                .add_generation_prompt = true,
                                                .think = s->info->thinking == EMC_THINKING_PREFILL
                                                             ? EMC_THINK_OFF
                                                             : EMC_THINK_DEFAULT},
                            &s->chat);
    if (status == EMC_OK)
        status = emc_prompt_encode(s->tokenizer, &s->chat, &s->chat_ids);
    free(segments);
    free(messages);
    return status;
}

static emc_status tell(model_system *s, int index, emc_outcome outcome, const char *error)
{
    const emc_prediction prediction = {
        .outcome = outcome, .label = -1, .score = NAN, .error = error};

    return s->pass->on_prediction(s->pass->context, index, &prediction);
}

/* *asked is false where the question was answered without the model. */
static emc_status submit(model_system *s, int index, bool *asked)
{
    const emc_question *q = &s->pass->questions[index];
    const emc_bench_item *item = item_of(s, q);
    const emc_ids *ids = &s->rendered.ids;

    *asked = false;
    if (item->n_messages > 0) {
        EMC_TRY(render_messages(s, item));
        ids = &s->chat_ids;
    } else {
        const int most = q->n_listed > 0         ? q->n_listed
                         : s->pass->n_listed > 0 ? s->pass->n_listed
                                                 : s->info->n_genes;
        const int n = q->n_genes < most ? q->n_genes : most;
        const int least = s->info->min_genes < most ? s->info->min_genes : most;
        if (n < least)
            return tell(s, index, EMC_OUTCOME_UNKNOWN, NULL);
        EMC_TRY(emc_prompter_render_names(s->prompter, q->genes, n, &s->rendered));
    }
    if ((int)ids->n > s->max_prompt)
        return tell(s, index, EMC_OUTCOME_FAILED,
                    "the prompt is longer than the model's context allows");
    *asked = true;
    return emc_engine_submit(s->engine, &(emc_request){.ticket = (uint64_t)index,
                                                       .ids = ids->ids,
                                                       .n_ids = (int)ids->n,
                                                       .ask = ask_of(s, q),
                                                       .max_tokens = s->max_tokens});
}

/* The labels to choose from, rising; their number. */
static int offered_labels(model_system *s, const emc_question *q)
{
    int n = 0;

    for (int i = 0; i < s->n_labels; i++) {
        bool offered = q->n_candidates == 0;
        for (int c = 0; c < q->n_candidates && !offered; c++)
            offered = q->candidates[c] == i;
        if (offered && i != s->pass->held_out)
            s->offered[n++] = i;
    }
    return n;
}

static emc_status judge_scores(model_system *s, const emc_question *q, const emc_answer *answer,
                               emc_prediction *out)
{
    const int n = offered_labels(s, q);
    emc_verdict verdict;

    if (n == 0)
        return emc_fail(EMC_ERR_CONFIG, "item \"%s\": no label is left to choose",
                        item_of(s, q)->id);
    for (int i = 0; i < n; i++)
        s->scores[i] = answer->scores[s->offered[i]];
    emc_verdict_from_scores(&verdict, s->scores, n, &s->thresholds, s->probs);
    if (verdict.status == EMC_CELL_FAILED) {
        out->outcome = EMC_OUTCOME_FAILED;
        out->error = "the model gave no numbers";
        return EMC_OK;
    }
    memset(s->all_probs, 0, (size_t)s->n_labels * sizeof *s->all_probs);
    for (int i = 0; i < n; i++)
        s->all_probs[s->offered[i]] = s->probs[i];
    out->probs = s->all_probs;
    out->score = verdict.score;
    out->outcome = verdict.status == EMC_CELL_OK ? EMC_OUTCOME_LABEL : EMC_OUTCOME_UNKNOWN;
    out->label = verdict.status == EMC_CELL_OK ? s->offered[verdict.label] : -1;
    return EMC_OK;
}

static emc_status judge_found(model_system *s, const emc_answer *answer, emc_prediction *out)
{
    emc_verdict verdict;

    emc_verdict_from_found(&verdict, &answer->found, &s->thresholds);
    out->score = verdict.score;
    out->outcome = verdict.status == EMC_CELL_OK        ? EMC_OUTCOME_LABEL
                   : verdict.status == EMC_CELL_UNKNOWN ? EMC_OUTCOME_UNKNOWN
                                                        : EMC_OUTCOME_FAILED;
    out->label = verdict.status == EMC_CELL_OK ? verdict.label : -1;
    if (out->outcome == EMC_OUTCOME_FAILED)
        out->error = "the model gave no numbers";
    return EMC_OK;
}

static emc_status judge_text(model_system *s, const emc_question *q, const emc_answer *answer,
                             emc_prediction *out)
{
    emc_text_clear(&s->raw);
    EMC_TRY(emc_tokenizer_decode(s->tokenizer, answer->ids, (size_t)answer->n_ids, true, &s->raw));
    EMC_TRY(emc_text_add(&s->raw, "", 0));
    EMC_TRY(emc_prediction_from_text(out, &s->work, s->labels, q->candidates, q->n_candidates,
                                     s->raw.bytes, s->raw.n, answer->ended));
    out->n_answer_tokens = answer->n_ids;
    return EMC_OK;
}

static emc_status deliver(model_system *s, const emc_answer *answer)
{
    const int index = (int)answer->ticket;
    const emc_question *q = &s->pass->questions[index];
    emc_prediction prediction = {.label = -1, .score = NAN};

    if (!answer->finite) {
        prediction.outcome = EMC_OUTCOME_FAILED;
        prediction.error = "the model gave no numbers";
    } else if (answer->ask == EMC_ASK_GENERATE) {
        EMC_TRY(judge_text(s, q, answer, &prediction));
    } else if (answer->ask == EMC_ASK_CHOICES ||
               (answer->found.complete && answer->ask != EMC_ASK_GREEDY)) {
        EMC_TRY(judge_scores(s, q, answer, &prediction));
    } else {
        EMC_TRY(judge_found(s, answer, &prediction));
    }
    prediction.n_prompt_tokens = answer->n_prompt;
    prediction.n_tries = 1;
    return s->pass->on_prediction(s->pass->context, index, &prediction);
}

static emc_status poll_one(model_system *s, bool *got)
{
    emc_answer answer;

    EMC_TRY(emc_engine_poll(s->engine, &answer, got));
    return *got ? deliver(s, &answer) : EMC_OK;
}

static emc_status ask_all(model_system *s)
{
    const emc_pass *pass = s->pass;
    bool got = true;

    for (int i = 0; i < pass->n_questions; i++) {
        bool asked;
        if (pass->cancel && *pass->cancel)
            break;
        if (i == 0 || !same_variant(s, question_at(s, i - 1), question_at(s, i))) {
            for (got = true; got;) /* the prefix changes only while nothing is in flight */
                EMC_TRY(poll_one(s, &got));
            EMC_TRY(set_variant(s, question_at(s, i)));
        }
        while (emc_engine_is_full(s->engine))
            EMC_TRY(poll_one(s, &got));
        EMC_TRY(submit(s, s->order[i], &asked));
    }
    for (got = true; got;)
        EMC_TRY(poll_one(s, &got));
    return pass->cancel && *pass->cancel ? emc_fail(EMC_ERR_CANCELLED, "interrupted") : EMC_OK;
}

static emc_status open_prompter(model_system *s)
{
    int most = s->info->n_genes;

    most = s->pass->n_listed > most ? s->pass->n_listed : most;
    for (int i = 0; i < s->pass->n_questions; i++)
        if (s->pass->questions[i].n_listed > most)
            most = s->pass->questions[i].n_listed;
    return emc_prompter_open(&s->prompter, &(emc_prompter_options){.profile = s->options.profile,
                                                                   .labels = s->labels,
                                                                   .tokenizer = s->tokenizer,
                                                                   .n_genes = most});
}

static emc_status run(emc_system *system, const emc_pass *pass)
{
    model_system *s = (model_system *)system;
    emc_status status;

    s->pass = pass;
    status = open_prompter(s);
    if (status == EMC_OK && !s->engine)
        status = open_engine(s);
    if (status == EMC_OK)
        status = sort_questions(s);
    if (status == EMC_OK)
        status = ask_all(s);
    if (s->engine)
        emc_engine_cancel(s->engine);
    emc_prompter_close(s->prompter);
    s->prompter = NULL;
    free(s->order);
    s->order = NULL;
    return status;
}

static void close_system(emc_system *system)
{
    model_system *s = (model_system *)system;

    emc_engine_close(s->engine);
    emc_model_close(s->model);
    emc_tokenizer_close(s->tokenizer);
    emc_labels_close(s->labels);
    emc_rendered_free(&s->rendered);
    emc_prompt_free(&s->chat);
    emc_ids_free(&s->chat_ids);
    emc_text_free(&s->raw);
    emc_text_free(&s->work);
    emc_text_free(&s->settings);
    free(s->log_priors);
    free(s->scores);
    free(s->probs);
    free(s->all_probs);
    free(s->offered);
    free(s->name);
    free(s->model_dir);
    free(s->adapter_dir);
    free(s->device);
    free(s->description);
    free(s);
}

/* --- opening the system --- */

static emc_status add_hash(emc_text *out, const char *key, const char *path)
{
    char text[EMC_HASH_TEXT] = "none";
    emc_hash hash;

    if (path) {
        EMC_TRY(emc_fingerprint(&hash, path));
        emc_hash_text(text, &hash);
    }
    return emc_text_addf(out, "\"%s\": \"%s\", ", key, text);
}

static emc_status make_settings(model_system *s)
{
    static const char *const dtypes[] = {"auto", "float32", "bfloat16"};
    char text[EMC_HASH_TEXT];
    size_t n;
    const char *profile = emc_profile_text(s->options.profile, &n);
    const emc_hash hash = emc_hash_of(profile, n);
    const emc_model_system_options *o = &s->options;

    emc_hash_text(text, &hash);
    EMC_TRY(emc_text_add_string(&s->settings, "{"));
    EMC_TRY(add_hash(&s->settings, "model", s->model_dir));
    EMC_TRY(add_hash(&s->settings, "adapter", s->adapter_dir));
    EMC_TRY(emc_text_add_string(&s->settings, "\"profile\": "));
    EMC_TRY(emc_text_add_json(&s->settings, s->info->name, strlen(s->info->name)));
    return emc_text_addf(
        &s->settings,
        ", \"profile_hash\": \"%s\", \"answer\": \"%s\", \"scoring\": \"%s\", \"temperature\": "
        "%.17g, \"probability_width\": %.17g, \"unknown_below\": %.17g, \"margin_below\": %.17g, "
        "\"max_tokens\": %d, \"dtype\": \"%s\", \"merge_adapter\": %s, \"device\": \"%s\", "
        "\"max_num_batched_tokens\": %d}",
        text, emc_answer_mode_name((emc_answer_mode)o->answer), emc_scoring_rule_name(s->scoring),
        s->thresholds.temperature, o->probability_width, s->thresholds.unknown_below,
        s->thresholds.margin_below, has_choices(s) ? 0 : s->max_tokens, dtypes[o->model.dtype],
        o->model.merge_adapter ? "true" : "false", s->device ? s->device : "auto",
        o->max_num_batched_tokens);
}

static emc_status copy_optional(char **out, const char *text)
{
    return text ? emc_copy_string(out, text) : EMC_OK;
}

static emc_status fill(model_system *s)
{
    const emc_model_system_options *o = &s->options;
    emc_text description = {0};

    EMC_TRY(emc_copy_string(&s->name, o->name));
    EMC_TRY(copy_optional(&s->model_dir, o->model.model_dir));
    EMC_TRY(copy_optional(&s->adapter_dir, o->model.adapter_dir));
    EMC_TRY(copy_optional(&s->device, o->model.device));
    s->options.model.model_dir = s->model_dir;
    s->options.model.adapter_dir = s->adapter_dir;
    s->options.model.device = s->device;
    EMC_TRY(emc_labels_from_profile(&s->labels, o->profile));
    EMC_TRY(emc_tokenizer_open(&s->tokenizer, s->model_dir));
    s->n_labels = emc_labels_count(s->labels);
    const size_t n = (size_t)s->n_labels;
    EMC_TRY(emc_alloc(&s->scores, n, sizeof *s->scores, "scores"));
    EMC_TRY(emc_alloc(&s->probs, n, sizeof *s->probs, "scores"));
    EMC_TRY(emc_alloc(&s->all_probs, n, sizeof *s->all_probs, "scores"));
    EMC_TRY(emc_alloc(&s->offered, n, sizeof *s->offered, "labels"));
    EMC_TRY(make_settings(s));
    EMC_TRY(emc_text_addf(&description, "%s%s%s, %s, profile %s", s->model_dir,
                          s->adapter_dir ? " with " : "", s->adapter_dir ? s->adapter_dir : "",
                          emc_answer_mode_name((emc_answer_mode)o->answer), s->info->name));
    s->description = description.bytes;
    return EMC_OK;
}

emc_status emc_model_system_open(emc_system **out, const emc_model_system_options *options)
{
    model_system *s = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&s, 1, sizeof *s, "a system"));
    s->options = *options;
    s->info = emc_profile_get(options->profile);
    s->scoring = options->scoring < 0 ? s->info->scoring : (emc_scoring_rule)options->scoring;
    s->max_tokens = options->max_tokens > 0 ? options->max_tokens : s->info->max_tokens;
    s->thresholds =
        (emc_thresholds){s->info->temperature, s->info->unknown_below, s->info->margin_below};
    if (options->probability_width < 0)
        s->options.probability_width = 0;
    const emc_status status = fill(s);
    if (status != EMC_OK) {
        close_system(&s->base);
        return status;
    }
    s->base = (emc_system){
        .name = s->name,
        .kind = "model",
        .description = s->description,
        .settings = s->settings.bytes,
        .has_probs = options->answer == EMC_ANSWER_FULL ||
                     (options->answer == EMC_ANSWER_EXACT && s->options.probability_width == 0),
        .run = run,
        .close = close_system,
    };
    *out = &s->base;
    return EMC_OK;
}
