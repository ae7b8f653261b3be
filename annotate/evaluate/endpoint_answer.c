/* What an endpoint sends: an answer, or why there is none. Nothing of it is believed. */

#include <string.h>

#include "annotate/evaluate/endpoint_parts.h"

#define MOST_TOKENS 100000000
#define MOST_ERROR  300
#define LEAST_KEY   8

void endpoint_answer_free(endpoint_answer *answer)
{
    emc_text_free(&answer->text);
    *answer = (endpoint_answer){0};
}

emc_status endpoint_blot(emc_text *text, const char *key)
{
    const size_t n_key = key ? strlen(key) : 0;
    emc_text clean = {0};
    size_t from = 0;

    if (n_key < LEAST_KEY || !text->bytes || !memmem(text->bytes, text->n, key, n_key))
        return EMC_OK;
    emc_status status = EMC_OK;
    while (status == EMC_OK) {
        const char *at = memmem(text->bytes + from, text->n - from, key, n_key);
        const size_t end = at ? (size_t)(at - text->bytes) : text->n;
        status = emc_text_add(&clean, text->bytes + from, end - from);
        if (!at)
            break;
        if (status == EMC_OK)
            status = emc_text_add_string(&clean, "[key]");
        from = end + n_key;
    }
    if (status != EMC_OK) {
        emc_text_free(&clean);
        return status;
    }
    emc_text_free(text);
    *text = clean;
    return EMC_OK;
}

/* --- errors --- */

/* "error": {"message": ...} or "error": ..., "message", "detail": what servers are seen to send. */
static const char *error_message(const cJSON *tree)
{
    static const char *const keys[] = {"error", "message", "detail"};

    for (size_t i = 0; i < EMC_COUNT(keys); i++) {
        const cJSON *one = emc_json_member(tree, keys[i]);
        const cJSON *inner = cJSON_IsObject(one) ? emc_json_member(one, "message") : one;
        if (cJSON_IsString(inner))
            return inner->valuestring;
    }
    return NULL;
}

/* One line of at most MOST_ERROR bytes of whole characters. */
static emc_status add_line(emc_text *out, const emc_text *text)
{
    size_t at = 0, n_added = 0;
    bool blank = true;

    while (at < text->n && n_added < MOST_ERROR) {
        uint32_t code;
        const int n = emc_utf8_decode(&code, text->bytes + at, text->n - at);
        const bool is_blank = n == 1 && (code <= ' ' || code == 0x7f);
        const bool is_bad = n == 0 || (n > 1 && (code < 0xa0 || code == 0x2028 || code == 0x2029));
        if (!is_blank || !blank) {
            EMC_TRY(emc_text_add(out,
                                 is_blank ? " "
                                 : is_bad ? "?"
                                          : text->bytes + at,
                                 is_blank || is_bad ? 1 : (size_t)n));
            n_added += n > 1 ? (size_t)n : 1;
        }
        blank = is_blank;
        at += n > 0 ? (size_t)n : 1;
    }
    return at < text->n ? emc_text_add_string(out, "...") : EMC_OK;
}

emc_status endpoint_error_text(emc_text *out, const char *body, size_t n, const char *key)
{
    emc_text text = {0};
    cJSON *tree = NULL;
    const char *message = NULL;
    emc_status status;

    if (n > 0 && emc_json_parse(&tree, body, n, "answer") == EMC_OK)
        message = error_message(tree);
    /* What is not JSON, a page of a proxy say, tells something at its beginning. The key is looked
     * for before anything is cut, for half a key is one too much. */
    status = message ? emc_text_add_string(&text, message) : emc_text_add(&text, body, n);
    if (status == EMC_OK)
        status = endpoint_blot(&text, key);
    if (status == EMC_OK)
        status = add_line(out, &text);
    if (status == EMC_OK)
        status = emc_text_add(out, "", 0);
    cJSON_Delete(tree);
    emc_text_free(&text);
    return status;
}

/* --- answers --- */

/* A text, or a list of parts of which those of type "text" count. */
static emc_status add_content(emc_text *out, const cJSON *content)
{
    const cJSON *part;

    if (cJSON_IsString(content))
        return emc_text_add_string(out, content->valuestring);
    if (!cJSON_IsArray(content))
        return EMC_OK;
    cJSON_ArrayForEach(part, content)
    {
        const cJSON *type = emc_json_member(part, "type"), *text = emc_json_member(part, "text");
        if (cJSON_IsString(type) && strcmp(type->valuestring, "text") == 0 && cJSON_IsString(text))
            EMC_TRY(emc_text_add_string(out, text->valuestring));
    }
    return EMC_OK;
}

static bool is_text(const cJSON *object, const char *key)
{
    const cJSON *one = emc_json_member(object, key);

    return cJSON_IsString(one) && one->valuestring[0];
}

static int count_of(const cJSON *usage, const char *key, bool *told)
{
    const cJSON *one = emc_json_member(usage, key);

    if (!cJSON_IsNumber(one) || !(one->valuedouble >= 0 && one->valuedouble <= MOST_TOKENS)) {
        *told = false;
        return 0;
    }
    return (int)one->valuedouble;
}

static emc_status read_tree(endpoint_answer *out, const cJSON *tree)
{
    const cJSON *choices = emc_json_member(tree, "choices");
    const cJSON *choice = cJSON_IsArray(choices) ? cJSON_GetArrayItem(choices, 0) : NULL;
    const cJSON *message = choice ? emc_json_member(choice, "message") : NULL;
    const cJSON *content = message ? emc_json_member(message, "content") : NULL;
    const cJSON *reason = choice ? emc_json_member(choice, "finish_reason") : NULL;
    const cJSON *usage = emc_json_member(tree, "usage");

    if (!cJSON_IsObject(message))
        return emc_fail(EMC_ERR_FORMAT, "the answer has no choices[0].message");
    if (content && !cJSON_IsString(content) && !cJSON_IsArray(content))
        return emc_fail(EMC_ERR_FORMAT, "the answer's content is neither text nor parts");
    if (cJSON_IsString(reason)) {
        out->truncated = strcmp(reason->valuestring, "length") == 0;
        out->refused = strcmp(reason->valuestring, "content_filter") == 0;
    }
    EMC_TRY(emc_text_add(&out->text, "", 0));
    EMC_TRY(add_content(&out->text, content));
    if (is_text(message, "refusal")) {
        out->refused = true;
        if (out->text.n == 0)
            EMC_TRY(
                emc_text_add_string(&out->text, emc_json_member(message, "refusal")->valuestring));
    }
    out->has_thoughts = is_text(message, "reasoning_content") || is_text(message, "reasoning");
    out->told = cJSON_IsObject(usage);
    if (out->told) {
        out->n_prompt_tokens = count_of(usage, "prompt_tokens", &out->told);
        out->n_answer_tokens = count_of(usage, "completion_tokens", &out->told);
    }
    return EMC_OK;
}

emc_status endpoint_answer_read(endpoint_answer *out, const char *body, size_t n, const char *key)
{
    emc_text text = {0};
    cJSON *tree = NULL;
    emc_status status;

    emc_text_clear(&out->text);
    *out = (endpoint_answer){.text = out->text};
    status = emc_json_parse(&tree, body, n, "the answer");
    if (status == EMC_OK && !cJSON_IsObject(tree))
        status = emc_fail(EMC_ERR_FORMAT, "the answer is no object");
    /* Some servers send an error with 200. */
    if (status == EMC_OK && emc_json_member(tree, "error")) {
        status = endpoint_error_text(&text, body, n, key);
        if (status == EMC_OK)
            status =
                emc_fail(EMC_ERR_FORMAT, "an error: %s", text.n ? text.bytes : "without words");
    }
    if (status == EMC_OK)
        status = read_tree(out, tree);
    if (status == EMC_OK)
        status = endpoint_blot(&out->text, key);
    cJSON_Delete(tree);
    emc_text_free(&text);
    return status;
}
