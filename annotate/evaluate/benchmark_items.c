/* The items of a benchmark, one a line of JSON. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/benchmark_parts.h"
#include "base/file.h"
#include "base/size.h"
#include "cells/stream.h"

#define MOST_ITEMS    10000000
#define MOST_LINE     ((size_t)1 << 24)
#define MOST_MESSAGES 64

void benchmark_free_items(emc_benchmark *b)
{
    for (size_t i = 0; i < b->n_blocks; i++)
        free(b->blocks[i]);
    for (size_t i = 0; i < b->n_names; i++)
        free(b->name_list[i]);
    free(b->blocks);
    free(b->name_list);
    free(b->items);
    emc_str_map_close(b->names);
}

/* n zeroed items that live as long as the benchmark. */
static emc_status take(emc_benchmark *b, void *out, size_t n, size_t size)
{
    void *block;

    EMC_TRY(emc_reserve(&b->blocks, &b->blocks_room, b->n_blocks + 1, sizeof *b->blocks, "items"));
    EMC_TRY(emc_alloc(&block, n > 0 ? n : 1, size, "items"));
    b->blocks[b->n_blocks++] = block;
    memcpy(out, &block, sizeof block);
    return EMC_OK;
}

/* Names of genes, embryos and stages come again and again: one copy of each. */
static emc_status name_of(const char **out, emc_benchmark *b, const char *text)
{
    bool existed = false;

    if (!b->names)
        EMC_TRY(emc_str_map_open(&b->names, 1024));
    const size_t n = strlen(text);
    const int32_t found = emc_str_map_get(b->names, text, n, -1);
    if (found >= 0) {
        *out = b->name_list[found];
        return EMC_OK;
    }
    EMC_TRY(
        emc_reserve(&b->name_list, &b->names_room, b->n_names + 1, sizeof *b->name_list, "names"));
    EMC_TRY(emc_copy_string(&b->name_list[b->n_names], text));
    *out = b->name_list[b->n_names++];
    return emc_str_map_put(b->names, text, n, (int32_t)(b->n_names - 1), &existed);
}

static emc_status get_name(const char **out, emc_benchmark *b, const cJSON *tree, const char *key,
                           bool required, const char *where)
{
    const char *text = NULL;

    EMC_TRY(emc_json_get_string(&text, tree, key, required, where));
    if (required && text && !*text)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is empty", where, key);
    return text && *text ? name_of(out, b, text) : EMC_OK;
}

static emc_status get_list(const cJSON **out, int *n, const cJSON *tree, const char *key,
                           const char *where)
{
    *n = 0;
    *out = emc_json_member(tree, key);
    if (!*out)
        return EMC_OK;
    if (!cJSON_IsArray(*out))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" must be a list", where, key);
    *n = cJSON_GetArraySize(*out);
    return EMC_OK;
}

static emc_status read_genes(emc_benchmark *b, emc_bench_item *item, const cJSON *tree,
                             const char *where)
{
    const cJSON *list, *one;
    const char **genes;
    double *values;
    int n, n_values, i = 0;

    EMC_TRY(get_list(&list, &n, tree, "genes", where));
    if (n > 0) {
        EMC_TRY(take(b, &genes, (size_t)n, sizeof *genes));
        cJSON_ArrayForEach(one, list)
        {
            if (!cJSON_IsString(one) || !one->valuestring[0])
                return emc_fail(EMC_ERR_FORMAT, "%s: \"genes\": item %d is no name", where, i + 1);
            EMC_TRY(name_of(&genes[i++], b, one->valuestring));
        }
        item->genes = genes;
        item->n_genes = n;
    }
    EMC_TRY(get_list(&list, &n_values, tree, "values", where));
    if (!list)
        return EMC_OK;
    if (n_values != n)
        return emc_fail(EMC_ERR_FORMAT, "%s: %d \"values\" for %d \"genes\"", where, n_values, n);
    EMC_TRY(take(b, &values, (size_t)n, sizeof *values));
    i = 0;
    cJSON_ArrayForEach(one, list)
    {
        if (!cJSON_IsNumber(one) || !isfinite(one->valuedouble))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"values\": item %d is no number", where, i + 1);
        values[i++] = one->valuedouble;
    }
    item->values = values;
    return EMC_OK;
}

static emc_status read_messages(emc_benchmark *b, emc_bench_item *item, const cJSON *tree,
                                const char *where)
{
    static const char *const keys[] = {"role", "content", NULL};
    static const char *const roles[] = {"system", "user", "assistant"};
    const cJSON *list, *one;
    emc_profile_message *messages;
    int n, i = 0;

    EMC_TRY(get_list(&list, &n, tree, "messages", where));
    if (n == 0)
        return EMC_OK;
    if (n > MOST_MESSAGES)
        return emc_fail(EMC_ERR_FORMAT, "%s: %d \"messages\", at most %d", where, n, MOST_MESSAGES);
    EMC_TRY(take(b, &messages, (size_t)n, sizeof *messages));
    cJSON_ArrayForEach(one, list)
    {
        const char *role = NULL, *content = NULL;
        if (!cJSON_IsObject(one))
            return emc_fail(EMC_ERR_FORMAT, "%s: message %d must be an object", where, i + 1);
        EMC_TRY(emc_json_check_keys(one, keys, where));
        EMC_TRY(emc_json_get_string(&role, one, "role", true, where));
        EMC_TRY(emc_json_get_string(&content, one, "content", true, where));
        for (size_t r = 0; r < EMC_COUNT(roles); r++)
            if (strcmp(roles[r], role) == 0)
                messages[i].role = roles[r];
        if (!messages[i].role)
            return emc_fail(EMC_ERR_FORMAT, "%s: message %d: no role \"%s\"", where, i + 1, role);
        EMC_TRY(name_of(&messages[i++].content, b, content));
    }
    if (strcmp(messages[n - 1].role, "user") != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: the last message must be the user's", where);
    item->messages = messages;
    item->n_messages = n;
    return EMC_OK;
}

static emc_status find_label(int *out, const emc_benchmark *b, const char *text, const char *what,
                             const char *where)
{
    emc_label_match match;

    EMC_TRY(emc_labels_match(b->labels, text, strlen(text), &match));
    *out = match.label;
    if (match.kind == EMC_MATCH_AMBIGUOUS)
        return emc_fail(EMC_ERR_CONFIG, "%s: %s \"%s\" means several labels", where, what, text);
    if (match.label < 0)
        return emc_fail(EMC_ERR_CONFIG, "%s: %s \"%s\" is no label of the benchmark", where, what,
                        text);
    return EMC_OK;
}

static emc_status read_candidates(emc_benchmark *b, emc_bench_item *item, const cJSON *tree,
                                  const char *where)
{
    const cJSON *list, *one;
    int *candidates, n, i = 0;

    EMC_TRY(get_list(&list, &n, tree, "candidates", where));
    if (n == 0)
        return EMC_OK;
    EMC_TRY(take(b, &candidates, (size_t)n, sizeof *candidates));
    cJSON_ArrayForEach(one, list)
    {
        if (!cJSON_IsString(one))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"candidates\": item %d is no text", where, i + 1);
        EMC_TRY(find_label(&candidates[i], b, one->valuestring, "candidate", where));
        for (int other = 0; other < i; other++)
            if (candidates[other] == candidates[i])
                return emc_fail(EMC_ERR_FORMAT, "%s: candidate \"%s\" comes twice", where,
                                one->valuestring);
        i++;
    }
    item->candidates = candidates;
    item->n_candidates = n;
    return EMC_OK;
}

static emc_status read_gold(emc_benchmark *b, emc_bench_item *item, const cJSON *tree,
                            const char *where)
{
    EMC_TRY(get_name(&item->gold, b, tree, "label", true, where));
    item->label = -1;
    if (strcmp(item->gold, "unknown") == 0)
        return EMC_OK;
    EMC_TRY(find_label(&item->label, b, item->gold, "label", where));
    for (int i = 0; i < item->n_candidates; i++)
        if (item->candidates[i] == item->label)
            return EMC_OK;
    if (item->n_candidates > 0)
        return emc_fail(EMC_ERR_CONFIG, "%s: the right label \"%s\" is not among the candidates",
                        where, item->gold);
    return EMC_OK;
}

static emc_status read_split(emc_benchmark *b, emc_bench_item *item, const cJSON *tree,
                             const char *where)
{
    static const char *const splits[] = {"train", "validation", "test"};

    EMC_TRY(get_name(&item->split, b, tree, "split", false, where));
    for (size_t i = 0; i < EMC_COUNT(splits) && item->split; i++)
        if (strcmp(splits[i], item->split) == 0)
            return EMC_OK;
    if (item->split)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: split \"%s\", wanted \"train\", \"validation\" or \"test\"", where,
                        item->split);
    return EMC_OK;
}

static emc_status read_item(emc_benchmark *b, emc_bench_item *item, const cJSON *tree,
                            const char *where)
{
    static const char *const keys[] = {"id",    "genes",      "values",   "total",   "is_log",
                                       "label", "split",      "embryo",   "dataset", "stage",
                                       "batch", "candidates", "messages", NULL};

    if (!cJSON_IsObject(tree))
        return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
    EMC_TRY(emc_json_check_keys(tree, keys, where));
    EMC_TRY(get_name(&item->id, b, tree, "id", true, where));
    EMC_TRY(read_genes(b, item, tree, where));
    EMC_TRY(read_messages(b, item, tree, where));
    if (item->n_genes == 0 && item->n_messages == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: neither \"genes\" nor \"messages\"", where);
    item->total = NAN;
    EMC_TRY(emc_json_get_double(&item->total, tree, "total", false, where));
    EMC_TRY(emc_json_get_bool(&item->is_log, tree, "is_log", false, where));
    EMC_TRY(read_candidates(b, item, tree, where));
    EMC_TRY(read_gold(b, item, tree, where));
    EMC_TRY(read_split(b, item, tree, where));
    EMC_TRY(get_name(&item->embryo, b, tree, "embryo", false, where));
    EMC_TRY(get_name(&item->dataset, b, tree, "dataset", false, where));
    EMC_TRY(get_name(&item->stage, b, tree, "stage", false, where));
    return get_name(&item->batch, b, tree, "batch", false, where);
}

static emc_status add_line(emc_benchmark *b, emc_str_map *ids, const char *path, int line,
                           const char *text, size_t n)
{
    emc_bench_item *item;
    cJSON *tree = NULL;
    bool existed = false;
    char where[600];

    snprintf(where, sizeof where, "%.500s: line %d", path, line);
    if (b->n_items >= MOST_ITEMS)
        return emc_fail(EMC_ERR_FORMAT, "%s: more than %d items", where, MOST_ITEMS);
    EMC_TRY(emc_reserve(&b->items, &b->room, b->n_items + 1, sizeof *b->items, "items"));
    item = &b->items[b->n_items];
    *item = (emc_bench_item){.line = line};
    emc_status status = emc_json_parse(&tree, text, n, where);
    if (status == EMC_OK)
        status = read_item(b, item, tree, where);
    cJSON_Delete(tree);
    EMC_TRY(status);
    EMC_TRY(emc_str_map_put(ids, item->id, strlen(item->id), (int32_t)b->n_items, &existed));
    if (existed) {
        const int first = emc_str_map_get(ids, item->id, strlen(item->id), -1);
        return emc_fail(EMC_ERR_FORMAT, "%s: id \"%s\" a second time, first on line %d", where,
                        item->id, b->items[first].line);
    }
    b->n_items++;
    return EMC_OK;
}

emc_status benchmark_read_items(emc_benchmark *b, const char *path)
{
    cells_stream *stream = NULL;
    emc_str_map *ids = NULL;
    emc_text line = {0};
    int number = 0;
    emc_status status = emc_str_map_open(&ids, 1024);

    if (status == EMC_OK)
        status = cells_stream_open(&stream, path);
    for (size_t n = 1; n > 0 && status == EMC_OK;) {
        unsigned char *bytes;
        if (cells_stream_next(stream, &bytes, &n) != EMC_OK) {
            status = emc_fail_in(EMC_ERR_FORMAT, "%s", path);
            break;
        }
        const char *chunk = (const char *)bytes;
        size_t at = 0;
        while (at < n && status == EMC_OK) {
            const char *end = memchr(chunk + at, '\n', n - at);
            const size_t length = end ? (size_t)(end - chunk) - at : n - at;
            status = emc_text_add(&line, chunk + at, length);
            at += length + (end != NULL);
            if (status == EMC_OK && line.n > MOST_LINE)
                status =
                    emc_fail(EMC_ERR_FORMAT, "%s: line %d is longer than 16 MiB", path, number + 1);
            if (!end || status != EMC_OK)
                continue;
            number++;
            if (line.n > 0)
                status = add_line(b, ids, path, number, line.bytes, line.n);
            emc_text_clear(&line);
        }
    }
    if (status == EMC_OK && line.n > 0)
        status = add_line(b, ids, path, number + 1, line.bytes, line.n);
    if (status == EMC_OK && b->n_items == 0)
        status = emc_fail(EMC_ERR_FORMAT, "%s: no item", path);
    cells_stream_close(stream);
    emc_str_map_close(ids);
    emc_text_free(&line);
    return status;
}
