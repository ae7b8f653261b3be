/* Any OpenAI-compatible endpoint answers. Options, requests, answers, the cache and HTTP have files
 * of their own; here they are joined to a system. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/endpoint_parts.h"
#include "base/size.h"

typedef struct {
    emc_system base; /* first: a pointer to it is one to the whole */
    endpoint_settings settings;
    const emc_profile *profile;
    char *key, *cache_dir, *description;
    emc_text shown; /* settings of the system */
    emc_text work;
    emc_system_usage usage;
} endpoint_system;

emc_status endpoint_tell(const endpoint_run *run, int question, const endpoint_answer *answer,
                         int n_tries, double seconds)
{
    const emc_pass *pass = run->pass;
    emc_prediction prediction;
    int n;
    const int *offered = endpoint_offered(run->writer, question, &n);

    EMC_TRY(emc_prediction_from_text(&prediction, run->work, emc_benchmark_labels(pass->benchmark),
                                     offered, n, answer->text.bytes, answer->text.n,
                                     !answer->truncated));
    if (answer->refused) {
        /* The endpoint says so itself; a label that its excuse names is no answer. */
        prediction.outcome = EMC_OUTCOME_REFUSED;
        prediction.label = -1;
        prediction.extracted = NULL;
        prediction.step = "";
        prediction.match = EMC_MATCH_NONE;
        prediction.format_ok = prediction.several = prediction.is_like = false;
    }
    prediction.n_prompt_tokens = answer->n_prompt_tokens;
    prediction.n_answer_tokens = answer->n_answer_tokens;
    prediction.n_tries = n_tries;
    prediction.seconds = seconds;
    return pass->on_prediction(pass->context, question, &prediction);
}

emc_status endpoint_tell_failed(const endpoint_run *run, int question, int n_tries,
                                const char *error)
{
    const emc_prediction prediction = {.outcome = EMC_OUTCOME_FAILED,
                                       .label = -1,
                                       .score = NAN,
                                       .n_tries = n_tries,
                                       .error = error};

    run->usage->n_failed++;
    return run->pass->on_prediction(run->pass->context, question, &prediction);
}

/* A key on a wire that others may read. */
static void warn(const endpoint_system *s, const emc_pass *pass)
{
    static const char *const near[] = {"http://localhost", "http://127.", "http://[::1]"};
    emc_text line = {0};
    bool is_near = strncmp(s->settings.url, "https://", 8) == 0;

    for (size_t i = 0; i < EMC_COUNT(near); i++)
        is_near |= strncmp(s->settings.url, near[i], strlen(near[i])) == 0;
    if (s->key && !is_near && pass->on_log &&
        emc_text_addf(&line, "%s: the key goes to %s without encryption", s->settings.name,
                      s->settings.url) == EMC_OK)
        pass->on_log(pass->context, line.bytes);
    emc_text_free(&line);
}

static emc_status run(emc_system *system, const emc_pass *pass)
{
    endpoint_system *s = (endpoint_system *)system;
    endpoint_run r = {.settings = &s->settings,
                      .key = s->key,
                      .cache_dir = s->cache_dir,
                      .pass = pass,
                      .usage = &s->usage,
                      .work = &s->work};
    emc_status status = endpoint_writer_open(&r.writer, &s->settings, s->profile, pass);

    warn(s, pass);
    /* Not earlier: it may lie in a folder that the evaluation itself makes. */
    if (status == EMC_OK && s->cache_dir)
        status = endpoint_cache_make(s->cache_dir);
    if (status == EMC_OK)
        status = endpoint_ask_all(&r);
    endpoint_writer_close(r.writer);
    return status;
}

static void close_system(emc_system *system)
{
    endpoint_system *s = (endpoint_system *)system;

    if (s->key)
        explicit_bzero(s->key, strlen(s->key));
    free(s->key);
    free(s->cache_dir);
    free(s->description);
    emc_text_free(&s->shown);
    emc_text_free(&s->work);
    endpoint_settings_free(&s->settings);
    free(s);
}

/* All that answers depend on: not how fast they are asked for, nor what they cost. */
static emc_status show_settings(endpoint_system *s)
{
    static const char *const structured[] = {"none", "guided_choice", "json_schema"};
    const endpoint_settings *o = &s->settings;
    const emc_profile_info *info = emc_profile_get(s->profile);
    char text[EMC_HASH_TEXT];
    size_t n;
    const char *profile = emc_profile_text(s->profile, &n);
    const emc_hash hash = emc_hash_of(profile, n);
    char *body = o->body ? cJSON_PrintUnformatted(o->body) : NULL;

    emc_hash_text(text, &hash);
    if (o->body && !body)
        return emc_fail(EMC_ERR_NOMEM, "no memory for settings");
    emc_status status = emc_text_add_string(&s->shown, "{\"url\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(&s->shown, o->url, strlen(o->url));
    if (status == EMC_OK)
        status = emc_text_add_string(&s->shown, ", \"model\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(&s->shown, o->model, strlen(o->model));
    if (status == EMC_OK)
        status = emc_text_add_string(&s->shown, ", \"profile\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(&s->shown, info->name, strlen(info->name));
    if (status == EMC_OK)
        status = emc_text_addf(&s->shown, ", \"profile_hash\": \"%s\", \"max_tokens\": %d", text,
                               (int)o->max_tokens);
    if (status == EMC_OK)
        status = isnan(o->temperature)
                     ? emc_text_add_string(&s->shown, ", \"temperature\": null")
                     : emc_text_addf(&s->shown, ", \"temperature\": %.17g", o->temperature);
    if (status == EMC_OK)
        status = emc_text_addf(&s->shown, ", \"structured\": \"%s\", \"body\": %s}",
                               structured[o->structured], body ? body : "{}");
    cJSON_free(body);
    return status;
}

static emc_status fill(endpoint_system *s, const emc_endpoint_options *o)
{
    emc_text description = {0};

    s->profile = o->profile;
    EMC_TRY(endpoint_settings_read(&s->settings, o->path));
    if (o->key) {
        EMC_TRY(endpoint_key_check(o->key,
                                   s->settings.key_variable ? s->settings.key_variable : o->path));
        EMC_TRY(emc_copy_string(&s->key, o->key));
    } else if (s->settings.key_file) {
        EMC_TRY(endpoint_key_read(&s->key, s->settings.key_file));
    } else if (s->settings.key_variable) {
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: the environment variable %s, which holds the key, is "
                        "not set",
                        o->path, s->settings.key_variable);
    }
    if (o->cache_dir)
        EMC_TRY(emc_copy_string(&s->cache_dir, o->cache_dir));
    EMC_TRY(show_settings(s));
    EMC_TRY(emc_text_addf(&description, "%s at %s, profile %s", s->settings.model, s->settings.url,
                          emc_profile_get(o->profile)->name));
    s->description = description.bytes;
    s->usage.cost = isnan(s->settings.price_in) ? NAN : 0;
    s->usage.currency = s->settings.currency;
    return EMC_OK;
}

/* Someone may have written the key where it does not belong. */
static emc_status check_shown(const endpoint_system *s, const char *path)
{
    const char *const shown[] = {s->shown.bytes, s->description, s->settings.name,
                                 s->settings.currency};

    for (size_t i = 0; i < EMC_COUNT(shown) && s->key && strlen(s->key) >= 8; i++)
        if (shown[i] && strstr(shown[i], s->key))
            return emc_fail(EMC_ERR_CONFIG,
                            "%s: the key stands among the options, which results show", path);
    return EMC_OK;
}

emc_status emc_endpoint_open(emc_system **out, const emc_endpoint_options *options)
{
    endpoint_system *s;

    *out = NULL;
    EMC_TRY(emc_alloc(&s, 1, sizeof *s, "a system"));
    emc_status status = fill(s, options);
    if (status == EMC_OK)
        status = check_shown(s, options->path);
    if (status != EMC_OK) {
        close_system(&s->base);
        return status;
    }
    s->base = (emc_system){.name = s->settings.name,
                           .kind = "endpoint",
                           .description = s->description,
                           .settings = s->shown.bytes,
                           .has_probs = false,
                           .usage = &s->usage,
                           .run = run,
                           .close = close_system};
    *out = &s->base;
    return EMC_OK;
}
