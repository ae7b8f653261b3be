/* What an endpoint is sent about one question: the profile's messages, or the item's own. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/endpoint_parts.h"
#include "annotate/prompt.h"
#include "base/size.h"

struct endpoint_writer {
    const endpoint_settings *settings;
    const emc_profile *profile;
    const emc_profile_info *info;
    const emc_pass *pass;
    const emc_labels *labels;
    emc_prompter *prompter; /* from the first question with genes on */
    int *offered;           /* [n_labels] */
    emc_text message;
};

/* Whether the messages of a wording hold a slot. */
static bool has_slot(const endpoint_writer *w, int wording, const char *slot)
{
    const emc_profile_message *messages =
        wording == 0 ? w->info->messages : w->info->paraphrases[wording - 1].messages;
    const int n = wording == 0 ? w->info->n_messages : w->info->paraphrases[wording - 1].n_messages;

    for (int i = 0; i < n; i++)
        if (strstr(messages[i].content, slot))
            return true;
    return false;
}

emc_status endpoint_writer_open(endpoint_writer **out, const endpoint_settings *settings,
                                const emc_profile *profile, const emc_pass *pass)
{
    endpoint_writer *w;

    *out = NULL;
    EMC_TRY(emc_alloc(&w, 1, sizeof *w, "prompts"));
    *w = (endpoint_writer){.settings = settings,
                           .profile = profile,
                           .info = emc_profile_get(profile),
                           .pass = pass,
                           .labels = emc_benchmark_labels(pass->benchmark)};
    const emc_status status = emc_alloc(&w->offered, (size_t)emc_labels_count(w->labels) + 1,
                                        sizeof *w->offered, "labels");
    if (status != EMC_OK)
        endpoint_writer_close(w);
    else
        *out = w;
    return status;
}

void endpoint_writer_close(endpoint_writer *writer)
{
    if (!writer)
        return;
    emc_prompter_close(writer->prompter);
    emc_text_free(&writer->message);
    free(writer->offered);
    free(writer);
}

const int *endpoint_offered(endpoint_writer *writer, int question, int *n)
{
    const emc_pass *pass = writer->pass;
    const emc_question *q = &pass->questions[question];
    const int n_labels = emc_labels_count(writer->labels);

    *n = q->n_candidates;
    if (pass->held_out < 0)
        return q->n_candidates > 0 ? q->candidates : NULL;
    *n = 0;
    for (int i = 0; i < (q->n_candidates > 0 ? q->n_candidates : n_labels); i++) {
        const int label = q->n_candidates > 0 ? q->candidates[i] : i;
        if (label != pass->held_out)
            writer->offered[(*n)++] = label;
    }
    return writer->offered;
}

/* --- messages --- */

static emc_status open_prompter(endpoint_writer *w)
{
    int most = w->info->n_genes;

    most = w->pass->n_listed > most ? w->pass->n_listed : most;
    for (int i = 0; i < w->pass->n_questions; i++)
        if (w->pass->questions[i].n_listed > most)
            most = w->pass->questions[i].n_listed;
    /* Each question fills in its own stage. */
    return emc_prompter_open(
        &w->prompter, &(emc_prompter_options){.profile = w->profile,
                                              .labels = w->labels,
                                              .n_genes = most,
                                              .stage = has_slot(w, 0, "{stage}") ? "-" : NULL});
}

static emc_status add_message(cJSON *list, const char *role, const char *content)
{
    cJSON *message = cJSON_CreateObject();

    if (!message || !cJSON_AddStringToObject(message, "role", role) ||
        !cJSON_AddStringToObject(message, "content", content) ||
        !cJSON_AddItemToArray(list, message)) {
        cJSON_Delete(message);
        return emc_fail(EMC_ERR_NOMEM, "no memory for a prompt");
    }
    return EMC_OK;
}

/* *made is false where no prompt can be made of this question. */
static emc_status add_rendered(endpoint_writer *w, cJSON *list, int question, int n_genes,
                               bool *made)
{
    const emc_question *q = &w->pass->questions[question];
    emc_prompt_variant variant = {.wording = q->wording};

    if (!w->prompter)
        EMC_TRY(open_prompter(w));
    if (q->wording < 0 || q->wording > w->info->n_paraphrases)
        return emc_fail(EMC_ERR_ARG, "profile \"%s\" has no wording %d", w->info->name, q->wording);
    if (has_slot(w, q->wording, "{labels}"))
        variant.candidates = endpoint_offered(w, question, &variant.n_candidates);
    if (has_slot(w, q->wording, "{stage}")) {
        variant.stage = emc_benchmark_item(w->pass->benchmark, q->item)->stage;
        if (!variant.stage) {
            *made = false;
            emc_fail(EMC_ERR_CONFIG, "the profile asks for a stage and the item has none");
            return EMC_OK;
        }
    }
    EMC_TRY(emc_prompter_set_variant(w->prompter, &variant));
    for (int i = 0; i < emc_prompter_n_messages(w->prompter); i++) {
        emc_text_clear(&w->message);
        EMC_TRY(emc_prompter_message(w->prompter, i, q->genes, n_genes, &w->message));
        EMC_TRY(emc_text_add(&w->message, "", 0));
        EMC_TRY(add_message(list, emc_prompter_role(w->prompter, i), w->message.bytes));
    }
    return EMC_OK;
}

static emc_status add_messages(endpoint_writer *w, cJSON *list, int question, endpoint_ask *ask)
{
    const emc_question *q = &w->pass->questions[question];
    const emc_bench_item *item = emc_benchmark_item(w->pass->benchmark, q->item);
    bool made = true;

    *ask = ENDPOINT_ASK;
    for (int i = 0; i < item->n_messages; i++)
        EMC_TRY(add_message(list, item->messages[i].role, item->messages[i].content));
    if (item->n_messages > 0)
        return EMC_OK;
    const int most = q->n_listed > 0         ? q->n_listed
                     : w->pass->n_listed > 0 ? w->pass->n_listed
                                             : w->info->n_genes;
    const int n = q->n_genes < most ? q->n_genes : most;
    if (n < (w->info->min_genes < most ? w->info->min_genes : most)) {
        *ask = ENDPOINT_TOO_FEW; /* as annotating does, and systems of our own */
        return EMC_OK;
    }
    EMC_TRY(add_rendered(w, list, question, n, &made));
    if (!made)
        *ask = ENDPOINT_CANNOT;
    return EMC_OK;
}

/* --- the body --- */

static cJSON *label_list(endpoint_writer *w, int question)
{
    cJSON *list = cJSON_CreateArray();
    int n;
    const int *offered = endpoint_offered(w, question, &n);

    for (int i = 0; list && i < (offered ? n : emc_labels_count(w->labels)); i++) {
        const char *label = emc_labels_get(w->labels, offered ? offered[i] : i)->label;
        cJSON *one = cJSON_CreateString(label);
        if (!one || !cJSON_AddItemToArray(list, one)) {
            cJSON_Delete(one);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

/* The form that strict schemas are documented with: an object, here of one member, which the
 * ladder reads. */
static const char schema_text[] =
    "{\"type\": \"json_schema\", \"json_schema\": {\"name\": \"answer\", \"strict\": true, "
    "\"schema\": {\"type\": \"object\", \"properties\": {\"answer\": {\"type\": \"string\"}}, "
    "\"required\": [\"answer\"], \"additionalProperties\": false}}}";

static bool add_structured(endpoint_writer *w, cJSON *tree, int question)
{
    cJSON *labels, *format = NULL, *at = tree;

    if (w->settings->structured == ENDPOINT_FREE)
        return true;
    labels = label_list(w, question);
    if (!labels)
        return false;
    if (w->settings->structured == ENDPOINT_GUIDED_CHOICE) {
        cJSON_AddItemToObject(tree, "guided_choice", labels);
        return true;
    }
    format = cJSON_Parse(schema_text);
    at = cJSON_GetObjectItem(cJSON_GetObjectItem(format, "json_schema"), "schema");
    at = cJSON_GetObjectItem(cJSON_GetObjectItem(at, "properties"), "answer");
    if (!at || !cJSON_AddItemToObject(at, "enum", labels)) {
        cJSON_Delete(labels);
        cJSON_Delete(format);
        return false;
    }
    cJSON_AddItemToObject(tree, "response_format", format);
    return true;
}

static bool add_members(endpoint_writer *w, cJSON *tree, int question)
{
    const endpoint_settings *s = w->settings;
    const cJSON *one;

    if (s->max_tokens > 0 && !cJSON_AddNumberToObject(tree, "max_tokens", (double)s->max_tokens))
        return false;
    if (!isnan(s->temperature) && !cJSON_AddNumberToObject(tree, "temperature", s->temperature))
        return false;
    cJSON_ArrayForEach(one, s->body)
    {
        cJSON *copy = cJSON_Duplicate(one, true);
        if (!copy)
            return false;
        cJSON_AddItemToObject(tree, one->string, copy);
    }
    return add_structured(w, tree, question);
}

emc_status endpoint_write(endpoint_writer *writer, int question, endpoint_ask *ask, emc_text *body)
{
    cJSON *tree = cJSON_CreateObject(), *messages = NULL;
    emc_status status = EMC_OK;
    char *printed = NULL;

    emc_text_clear(body);
    if (!cJSON_AddStringToObject(tree, "model", writer->settings->model) ||
        !(messages = cJSON_AddArrayToObject(tree, "messages")))
        status = emc_fail(EMC_ERR_NOMEM, "no memory for a request");
    if (status == EMC_OK)
        status = add_messages(writer, messages, question, ask);
    if (status == EMC_OK && *ask == ENDPOINT_ASK) {
        if (add_members(writer, tree, question))
            printed = cJSON_PrintUnformatted(tree);
        status = printed ? emc_text_add_string(body, printed)
                         : emc_fail(EMC_ERR_NOMEM, "no memory for a request");
    }
    cJSON_free(printed);
    cJSON_Delete(tree);
    return status;
}
