#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

#define MAX_DEPTH 100 /* cJSON recurses; a thread's stack need not be large */

static int line_of(const char *text, size_t offset)
{
    int line = 1;

    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n';
    return line;
}

/* The offset of the first bracket nested too deep, or n_bytes. */
static size_t find_too_deep(const char *text, size_t n_bytes)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n_bytes; i++) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return i;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return n_bytes;
}

emc_status emc_json_parse(cJSON **out, const char *text, size_t n_bytes, const char *name)
{
    const size_t valid = emc_utf8_valid(text, n_bytes);
    const char *end = text;
    size_t deep;

    *out = NULL;
    if (n_bytes == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: empty, wanted JSON", name);
    if (valid < n_bytes)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: not UTF-8", name, line_of(text, valid));
    deep = find_too_deep(text, n_bytes);
    if (deep < n_bytes)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: nested deeper than %d", name,
                        line_of(text, deep), MAX_DEPTH);
    cJSON *tree = cJSON_ParseWithLengthOpts(text, n_bytes, &end, false);
    if (!tree) {
        size_t at = end >= text && end <= text + n_bytes ? (size_t)(end - text) : 0;
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: not JSON", name, line_of(text, at));
    }
    while (end < text + n_bytes && strchr(" \t\r\n", *end) && *end)
        end++;
    if (end < text + n_bytes) {
        cJSON_Delete(tree);
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: text after the JSON value", name,
                        line_of(text, (size_t)(end - text)));
    }
    *out = tree;
    return EMC_OK;
}

emc_status emc_json_read(cJSON **out, const char *path, size_t limit)
{
    char *text;
    size_t n;

    *out = NULL;
    EMC_TRY(emc_file_read(&text, &n, path, limit));
    const emc_status status = emc_json_parse(out, text, n, path);
    free(text);
    return status;
}

const cJSON *emc_json_member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return item && !cJSON_IsNull(item) ? item : NULL;
}

/* The member, NULL when it is missing and may be, or an error. */
static emc_status find(const cJSON **item, const cJSON *object, const char *key, bool required,
                       const char *name)
{
    *item = emc_json_member(object, key);
    if (!*item && required)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is missing", name, key);
    return EMC_OK;
}

emc_status emc_json_get_string(const char **out, const cJSON *object, const char *key,
                               bool required, const char *name)
{
    const cJSON *item;

    EMC_TRY(find(&item, object, key, required, name));
    if (item && !cJSON_IsString(item))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is not a string", name, key);
    if (item)
        *out = item->valuestring;
    return EMC_OK;
}

emc_status emc_json_get_double(double *out, const cJSON *object, const char *key, bool required,
                               const char *name)
{
    const cJSON *item;

    EMC_TRY(find(&item, object, key, required, name));
    if (item && (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is not a number", name, key);
    if (item)
        *out = item->valuedouble;
    return EMC_OK;
}

emc_status emc_json_get_int(int64_t *out, const cJSON *object, const char *key, int64_t least,
                            int64_t most, bool required, const char *name)
{
    double value = (double)least;

    if (!required && !emc_json_member(object, key))
        return EMC_OK;
    EMC_TRY(emc_json_get_double(&value, object, key, required, name));
    if (value != floor(value) || value < (double)least || value > (double)most)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: \"%s\" is %.17g, wanted a whole number from %lld to "
                        "%lld",
                        name, key, value, (long long)least, (long long)most);
    *out = (int64_t)value;
    return EMC_OK;
}

emc_status emc_json_get_bool(bool *out, const cJSON *object, const char *key, bool required,
                             const char *name)
{
    const cJSON *item;

    EMC_TRY(find(&item, object, key, required, name));
    if (item && !cJSON_IsBool(item))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is not true or false", name, key);
    if (item)
        *out = cJSON_IsTrue(item);
    return EMC_OK;
}

emc_status emc_json_check_keys(const cJSON *object, const char *const *keys, const char *name)
{
    const cJSON *item, *other;

    if (!cJSON_IsObject(object))
        return emc_fail(EMC_ERR_FORMAT, "%s: not a JSON object", name);
    cJSON_ArrayForEach(item, object)
    {
        const char *const *key = keys;
        while (*key && strcmp(*key, item->string) != 0)
            key++;
        if (!*key)
            return emc_fail(EMC_ERR_FORMAT, "%s: unknown key \"%s\"", name, item->string);
        for (other = item->next; other; other = other->next)
            if (strcmp(other->string, item->string) == 0)
                return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" comes twice", name, item->string);
    }
    return EMC_OK;
}
