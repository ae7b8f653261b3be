/* Answers on disk by what was asked: one small file each, so that no answer is paid for twice.
 *
 * {"hash": "HASH", "answer": {...}}: the hash is over the request's hash and the bytes of the inner
 * object, so that a damaged file, or one that was moved, is no answer. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/evaluate/endpoint_parts.h"
#include "base/file.h"

#define MOST_ENTRY ((size_t)1 << 26)

static const char head[] = "{\"hash\": \"", middle[] = "\", \"answer\": ", tail[] = "}\n";

emc_status endpoint_cache_make(const char *dir)
{
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", dir, strerror(errno));
    if (!emc_is_directory(dir))
        return emc_fail(EMC_ERR_CREATE, "%s: is no folder", dir);
    return EMC_OK;
}

emc_hash endpoint_request_hash(const endpoint_settings *settings, const emc_text *body)
{
    const emc_hash parts[2] = {emc_hash_of(settings->url, strlen(settings->url)),
                               emc_hash_of(body->bytes, body->n)};

    return emc_hash_of(parts, sizeof parts); /* the model stands in the body */
}

static void check_of(char out[EMC_HASH_TEXT], const emc_hash *request, const char *bytes, size_t n)
{
    const emc_hash parts[2] = {*request, emc_hash_of(bytes, n)};
    const emc_hash hash = emc_hash_of(parts, sizeof parts);

    emc_hash_text(out, &hash);
}

static emc_status path_of(char **out, const char *dir, const emc_hash *request)
{
    char name[EMC_HASH_TEXT + 8];

    emc_hash_text(name, request);
    strcat(name, ".json");
    return emc_path_join(out, dir, name);
}

static emc_status read_entry(endpoint_answer *out, const char *bytes, size_t n)
{
    cJSON *tree = NULL;
    const char *text = NULL;
    int64_t n_prompt = 0, n_answer = 0;
    emc_status status = emc_json_parse(&tree, bytes, n, "entry");

    if (status == EMC_OK)
        status = emc_json_get_string(&text, tree, "text", true, "entry");
    if (status == EMC_OK)
        status = emc_json_get_bool(&out->truncated, tree, "truncated", true, "entry");
    if (status == EMC_OK)
        status = emc_json_get_bool(&out->refused, tree, "refused", true, "entry");
    if (status == EMC_OK)
        status = emc_json_get_bool(&out->has_thoughts, tree, "thoughts", true, "entry");
    if (status == EMC_OK)
        status = emc_json_get_int(&n_prompt, tree, "prompt_tokens", 0, 1 << 30, true, "entry");
    if (status == EMC_OK)
        status = emc_json_get_int(&n_answer, tree, "answer_tokens", 0, 1 << 30, true, "entry");
    out->n_prompt_tokens = (int)n_prompt;
    out->n_answer_tokens = (int)n_answer;
    emc_text_clear(&out->text);
    if (status == EMC_OK)
        status = emc_text_add_string(&out->text, text);
    cJSON_Delete(tree);
    return status;
}

emc_status endpoint_cache_get(endpoint_answer *out, bool *found, const char *dir,
                              const emc_hash *request)
{
    const size_t n_head = sizeof head - 1, n_middle = sizeof middle - 1, n_tail = sizeof tail - 1;
    const size_t begin = n_head + EMC_HASH_TEXT - 1 + n_middle;
    char *path = NULL, *bytes = NULL, check[EMC_HASH_TEXT];
    size_t n = 0;

    *found = false;
    EMC_TRY(path_of(&path, dir, request));
    const emc_status status = emc_file_read(&bytes, &n, path, MOST_ENTRY);
    free(path);
    if (status == EMC_ERR_NOMEM)
        return status;
    if (status == EMC_OK && n > begin + n_tail && memcmp(bytes, head, n_head) == 0 &&
        memcmp(bytes + begin - n_middle, middle, n_middle) == 0 &&
        memcmp(bytes + n - n_tail, tail, n_tail) == 0) {
        const size_t n_inner = n - n_tail - begin;
        check_of(check, request, bytes + begin, n_inner);
        *found = memcmp(bytes + n_head, check, EMC_HASH_TEXT - 1) == 0 &&
                 read_entry(out, bytes + begin, n_inner) == EMC_OK;
    }
    free(bytes);
    return EMC_OK;
}

emc_status endpoint_cache_put(const char *dir, const emc_hash *request,
                              const endpoint_answer *answer)
{
    char *path = NULL, check[EMC_HASH_TEXT];
    emc_text inner = {0}, whole = {0};
    emc_out_file *file = NULL;
    emc_status status = path_of(&path, dir, request);

    if (status == EMC_OK)
        status = emc_text_add_string(&inner, "{\"text\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(&inner, answer->text.bytes, answer->text.n);
    if (status == EMC_OK)
        status =
            emc_text_addf(&inner,
                          ", \"truncated\": %s, \"refused\": %s, \"thoughts\": %s, "
                          "\"prompt_tokens\": %d, \"answer_tokens\": %d}",
                          answer->truncated ? "true" : "false", answer->refused ? "true" : "false",
                          answer->has_thoughts ? "true" : "false", answer->n_prompt_tokens,
                          answer->n_answer_tokens);
    if (status == EMC_OK) {
        check_of(check, request, inner.bytes, inner.n);
        status = emc_text_addf(&whole, "%s%s%s", head, check, middle);
    }
    if (status == EMC_OK)
        status = emc_text_add(&whole, inner.bytes, inner.n);
    if (status == EMC_OK)
        status = emc_text_add_string(&whole, tail);
    if (status == EMC_OK)
        status = emc_out_file_open(&file, path);
    if (status == EMC_OK)
        status = emc_out_file_write(file, whole.bytes, whole.n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    emc_text_free(&inner);
    emc_text_free(&whole);
    free(path);
    return status;
}

static emc_status mark_path(char **out, const char *dir, const endpoint_settings *settings)
{
    const emc_hash parts[2] = {emc_hash_of(settings->url, strlen(settings->url)),
                               emc_hash_of(settings->model, strlen(settings->model))};
    const emc_hash hash = emc_hash_of(parts, sizeof parts);
    char name[EMC_HASH_TEXT + 16];

    emc_hash_text(name, &hash);
    strcat(name, ".answered");
    return emc_path_join(out, dir, name);
}

emc_status endpoint_cache_mark(const char *dir, const endpoint_settings *settings)
{
    char *path = NULL;
    emc_out_file *file = NULL;
    emc_status status = mark_path(&path, dir, settings);

    if (status == EMC_OK)
        status = emc_out_file_open(&file, path);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    free(path);
    return status;
}

emc_status endpoint_cache_marked(bool *out, const char *dir, const endpoint_settings *settings)
{
    char *path = NULL;

    EMC_TRY(mark_path(&path, dir, settings));
    *out = emc_file_exists(path);
    free(path);
    return EMC_OK;
}
