/* The options of an endpoint: a JSON file that holds no secret, and a key that lies elsewhere. */

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/evaluate/endpoint_parts.h"
#include "base/file.h"
#include "base/size.h"

#define MOST_OPTIONS ((size_t)1 << 20)
#define MOST_KEY     4096

static emc_status bad(const char *path, const char *key, const char *what)
{
    return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" %s", path, key, what);
}

static emc_status get_number(double *out, const cJSON *tree, const char *key, double least,
                             double most, const char *path)
{
    EMC_TRY(emc_json_get_double(out, tree, key, false, path));
    if (!isnan(*out) && !(*out >= least && *out <= most))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" is %g, wanted %g to %g", path, key, *out, least,
                        most);
    return EMC_OK;
}

/* Where the host ends and the path begins. */
static const char *path_of_url(const char *url)
{
    const char *host = strstr(url, "://") + 3;

    return host + strcspn(host, "/");
}

static emc_status check_url(const char *url, const char *path)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return bad(path, "url", "must begin with http:// or https://");
    for (const char *at = url; *at; at++)
        if (*at <= ' ' || *at > '~')
            return bad(path, "url", "holds a character that has no place in an address");
    const char *rest = path_of_url(url), *host = strstr(url, "://") + 3;
    if (rest == host)
        return bad(path, "url", "names no host");
    if (memchr(host, '@', (size_t)(rest - host)))
        return bad(path, "url", "must not hold a user or a password; use key_variable or key_file");
    if (strpbrk(url, "?#"))
        return bad(path, "url", "must end before any ? or #");
    return EMC_OK;
}

/* A bare host, a base such as .../v1, or the whole address. */
static emc_status whole_url(char **out, const char *url)
{
    static const char tail[] = "/chat/completions";
    const size_t n_tail = sizeof tail - 1;
    emc_text text = {0};
    size_t n = strlen(url);

    while (url[n - 1] == '/')
        n--;
    emc_status status = emc_text_add(&text, url, n);
    const bool bare = status == EMC_OK && *path_of_url(text.bytes) == '\0';
    const bool whole = n > n_tail && memcmp(url + n - n_tail, tail, n_tail) == 0;
    if (status == EMC_OK && !whole)
        status = emc_text_addf(&text, "%s%s", bare ? "/v1" : "", tail);
    if (status != EMC_OK)
        emc_text_free(&text);
    *out = text.bytes;
    return status;
}

static emc_status read_body(endpoint_settings *s, const char *path)
{
    static const char *const ours[] = {"model",      "messages",    "stream", "n",
                                       "max_tokens", "temperature", NULL};

    s->body = emc_json_member(s->tree, "body");
    if (s->body && !cJSON_IsObject(s->body))
        return bad(path, "body", "must be an object");
    for (int i = 0; s->body && ours[i]; i++)
        if (cJSON_GetObjectItemCaseSensitive(s->body, ours[i]))
            return emc_fail(EMC_ERR_CONFIG, "%s: \"body\" must not hold \"%s\", which is %s", path,
                            ours[i], i < 4 ? "emcell's to set" : "an option of its own");
    return EMC_OK;
}

static emc_status read_structured(endpoint_settings *s, const char *path)
{
    static const char *const names[] = {"none", "guided_choice", "json_schema"};
    const char *text = names[0];

    EMC_TRY(emc_json_get_string(&text, s->tree, "structured", false, path));
    for (int i = 0; i < 3; i++)
        if (strcmp(names[i], text) == 0) {
            s->structured = (endpoint_structured)i;
            return EMC_OK;
        }
    return bad(path, "structured", "must be \"none\", \"guided_choice\" or \"json_schema\"");
}

/* A key that was put where its variable's name belongs must not get into a message. */
static bool is_variable(const char *name)
{
    for (const char *at = name; *at; at++)
        if (!(*at == '_' || (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') ||
              (at > name && *at >= '0' && *at <= '9')))
            return false;
    return *name != '\0';
}

static emc_status read_tree(endpoint_settings *s, const char *path)
{
    static const char *const keys[] = {
        "name",       "url",         "model",        "key_variable",        "key_file",
        "structured", "concurrency", "timeout",      "max_tries",           "backoff",
        "body",       "max_tokens",  "longest_wait", "temperature",         "prompt_price",
        "currency",   "description", "answer_price", "requests_per_minute", NULL};
    const char *url = NULL, *comment = NULL;
    const cJSON *tree = s->tree;

    if (!cJSON_IsObject(tree))
        return emc_fail(EMC_ERR_FORMAT, "%s: wanted an object", path);
    EMC_TRY(emc_json_check_keys(tree, keys, path));
    EMC_TRY(emc_json_get_string(&s->name, tree, "name", true, path));
    EMC_TRY(emc_json_get_string(&url, tree, "url", true, path));
    EMC_TRY(emc_json_get_string(&s->model, tree, "model", true, path));
    EMC_TRY(emc_json_get_string(&comment, tree, "description", false, path));
    EMC_TRY(emc_json_get_string(&s->key_variable, tree, "key_variable", false, path));
    EMC_TRY(emc_json_get_string(&s->key_file, tree, "key_file", false, path));
    EMC_TRY(emc_json_get_string(&s->currency, tree, "currency", false, path));
    EMC_TRY(emc_json_get_int(&s->concurrency, tree, "concurrency", 1, 1000, false, path));
    EMC_TRY(emc_json_get_int(&s->max_tries, tree, "max_tries", 1, 100, false, path));
    EMC_TRY(emc_json_get_int(&s->max_tokens, tree, "max_tokens", 0, 1 << 20, false, path));
    EMC_TRY(get_number(&s->per_minute, tree, "requests_per_minute", 0, 1e7, path));
    EMC_TRY(get_number(&s->timeout, tree, "timeout", 0.01, 86400, path));
    EMC_TRY(get_number(&s->backoff, tree, "backoff", 0, 3600, path));
    EMC_TRY(get_number(&s->longest_wait, tree, "longest_wait", 0, 86400, path));
    EMC_TRY(get_number(&s->price_in, tree, "prompt_price", 0, 1e9, path));
    EMC_TRY(get_number(&s->price_out, tree, "answer_price", 0, 1e9, path));
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(tree, "temperature")))
        s->temperature = NAN;
    else
        EMC_TRY(get_number(&s->temperature, tree, "temperature", 0, 100, path));
    EMC_TRY(read_body(s, path));
    EMC_TRY(read_structured(s, path));
    if (!emc_is_plain_name(s->name))
        return bad(path, "name", "must be a plain name, for it names files");
    if (!*s->model)
        return bad(path, "model", "is empty");
    if (s->key_variable && s->key_file)
        return bad(path, "key_file", "and \"key_variable\" cannot both be there");
    if (s->key_variable && !is_variable(s->key_variable))
        return bad(path, "key_variable", "must be the name of an environment variable");
    if (isnan(s->price_in) != isnan(s->price_out))
        return bad(path, "prompt_price", "and \"answer_price\" go together");
    EMC_TRY(check_url(url, path));
    return whole_url(&s->url, url);
}

emc_status endpoint_settings_read(endpoint_settings *out, const char *path)
{
    *out = (endpoint_settings){.concurrency = 4,
                               .max_tries = 5,
                               .max_tokens = 512,
                               .timeout = 120,
                               .backoff = 1,
                               .longest_wait = 120,
                               .price_in = NAN,
                               .price_out = NAN};
    emc_status status = emc_json_read(&out->tree, path, MOST_OPTIONS);
    if (status == EMC_OK)
        status = read_tree(out, path);
    if (status != EMC_OK)
        endpoint_settings_free(out);
    return status;
}

void endpoint_settings_free(endpoint_settings *settings)
{
    cJSON_Delete(settings->tree);
    free(settings->url);
    *settings = (endpoint_settings){0};
}

/* --- the key --- */

emc_status endpoint_key_check(const char *key, const char *where)
{
    const size_t n = strlen(key);

    for (size_t i = 0; i < n; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return emc_fail(EMC_ERR_CONFIG,
                            "%s: the key holds a blank or another character that no key has",
                            where);
    if (n == 0 || n > MOST_KEY)
        return emc_fail(EMC_ERR_CONFIG, "%s: the key is %s", where, n ? "too long" : "empty");
    return EMC_OK;
}

emc_status endpoint_key_read(char **out, const char *path)
{
    struct stat st;
    size_t n = 0, begin = 0;
    char *text = NULL;

    *out = NULL;
    EMC_TRY(emc_file_read(&text, &n, path, MOST_KEY + 64));
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077)) {
        free(text);
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: others may read this key; chmod 600 makes it yours alone", path);
    }
    while (n > 0 && strchr(" \t\r\n", text[n - 1]))
        n--;
    while (begin < n && strchr(" \t\r\n", text[begin]))
        begin++;
    text[n] = '\0';
    memmove(text, text + begin, n - begin + 1);
    const bool has_nul = strlen(text) != n - begin;
    const emc_status status = has_nul ? emc_fail(EMC_ERR_CONFIG, "%s: the key holds a NUL", path)
                                      : endpoint_key_check(text, path);
    if (status != EMC_OK)
        free(text);
    else
        *out = text;
    return status;
}

emc_status emc_endpoint_key_variable(char **out, const char *path)
{
    endpoint_settings settings;

    *out = NULL;
    EMC_TRY(endpoint_settings_read(&settings, path));
    const emc_status status =
        settings.key_variable ? emc_copy_string(out, settings.key_variable) : EMC_OK;
    endpoint_settings_free(&settings);
    return status;
}
