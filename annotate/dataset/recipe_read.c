/* A recipe's JSON to its plain struct; everything is checked here. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/recipe_parts.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"
#include "cells/select.h"

#define MAX_ITEMS    1000000
#define MAX_GENES    100000             /* as a profile */
#define MAX_SEED     ((int64_t)1 << 53) /* JSON numbers are doubles */
#define MAX_PER_CELL 1000

void emc_recipe_store_free(emc_recipe_store *store)
{
    for (size_t i = 0; i < store->n_blocks; i++)
        free(store->blocks[i]);
    for (size_t i = 0; i < store->n_trees; i++)
        cJSON_Delete(store->trees[i]);
    free(store->blocks);
    free(store->trees);
    *store = (emc_recipe_store){0};
}

emc_status emc_recipe_take(emc_recipe_store *store, void *out, size_t n, size_t size)
{
    void *block;

    EMC_TRY(emc_reserve(&store->blocks, &store->capacity, store->n_blocks + 1,
                        sizeof(*store->blocks), "recipe"));
    EMC_TRY(emc_alloc(&block, n, size, "recipe"));
    store->blocks[store->n_blocks++] = block;
    memcpy(out, &block, sizeof(block));
    return EMC_OK;
}

emc_status emc_recipe_keep(emc_recipe_store *store, const char **out, const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy;

    EMC_TRY(emc_recipe_take(store, &copy, n, 1));
    memcpy(copy, text, n);
    *out = copy;
    return EMC_OK;
}

emc_status emc_recipe_tree(emc_recipe_store *store, const cJSON **out, const char *text, size_t n,
                           const char *name)
{
    cJSON *tree;

    /* cJSON cuts a string at an escaped NUL, so none is let in. */
    if (memchr(text, '\0', n) || memmem(text, n, "\\u0000", 6))
        return emc_fail(EMC_ERR_FORMAT, "%s: holds a NUL", name);
    EMC_TRY(emc_reserve(&store->trees, &store->trees_capacity, store->n_trees + 1, sizeof(cJSON *),
                        "recipe"));
    EMC_TRY(emc_json_parse(&tree, text, n, name));
    store->trees[store->n_trees++] = tree;
    *out = tree;
    return EMC_OK;
}

emc_status emc_recipe_list(const cJSON **out, int *n, const cJSON *tree, const char *key,
                           const char *where)
{
    *n = 0;
    *out = emc_json_member(tree, key);
    if (!*out)
        return EMC_OK;
    if (!cJSON_IsArray(*out))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" must be a list", where, key);
    *n = cJSON_GetArraySize(*out);
    if (*n > MAX_ITEMS)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" has %d items, at most %d are read", where, key,
                        *n, MAX_ITEMS);
    return EMC_OK;
}

emc_status emc_recipe_nonempty(const char **out, const cJSON *tree, const char *key, bool required,
                               const char *where)
{
    const char *text = NULL;

    EMC_TRY(emc_json_get_string(&text, tree, key, required, where));
    if (!text)
        return EMC_OK;
    if (text[0] == '\0')
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is empty", where, key);
    *out = text;
    return EMC_OK;
}

emc_status emc_recipe_word(int *out, const cJSON *tree, const char *key, const char *const *words,
                           bool required, const char *where)
{
    const char *word = NULL;
    emc_text wanted = {0};
    emc_status status = EMC_OK;

    EMC_TRY(emc_json_get_string(&word, tree, key, required, where));
    if (!word)
        return EMC_OK;
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], word) == 0) {
            *out = i;
            return EMC_OK;
        }
    }
    for (int i = 0; words[i] && status == EMC_OK; i++)
        status = emc_text_addf(&wanted, "%s\"%s\"",
                               i == 0         ? ""
                               : words[i + 1] ? ", "
                                              : " or ",
                               words[i]);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is \"%s\", wanted %s", where, key, word,
                          wanted.bytes);
    emc_text_free(&wanted);
    return status;
}

emc_status emc_recipe_path(emc_recipe_store *store, const char **out, const char *dir,
                           const char *path)
{
    char *joined = NULL;

    if (!dir || path[0] == '/')
        return emc_recipe_keep(store, out, path);
    EMC_TRY(emc_path_join(&joined, dir, path));
    const emc_status status = emc_recipe_keep(store, out, joined);
    free(joined);
    return status;
}

static emc_status get_strings(emc_recipe_store *store, const char *const **out, int *n,
                              const cJSON *tree, const char *key, const char *where)
{
    const cJSON *array, *item;
    const char **strings;
    int i = 0;

    EMC_TRY(emc_recipe_list(&array, n, tree, key, where));
    if (*n == 0)
        return EMC_OK;
    EMC_TRY(emc_recipe_take(store, &strings, (size_t)*n, sizeof(*strings)));
    cJSON_ArrayForEach(item, array)
    {
        if (!cJSON_IsString(item) || item->valuestring[0] == '\0')
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\": item %d must be a text, not empty", where,
                            key, i + 1);
        strings[i++] = item->valuestring;
    }
    *out = strings;
    return EMC_OK;
}

static emc_status get_share(double *out, const cJSON *tree, const char *key, const char *where)
{
    EMC_TRY(emc_json_get_double(out, tree, key, false, where));
    if (!(*out >= 0 && *out <= 1))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" must be between 0 and 1", where, key);
    return EMC_OK;
}

static emc_status get_object(const cJSON **out, const cJSON *tree, const char *key,
                             const char *where)
{
    *out = emc_json_member(tree, key);
    if (*out && !cJSON_IsObject(*out))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" must be an object", where, key);
    return EMC_OK;
}

static emc_status read_value(emc_recipe_value *value, const cJSON *tree, const char *key,
                             bool required, const char *where)
{
    static const char *const keys[] = {"column", "value", NULL};
    const cJSON *object;
    char place[512];

    EMC_TRY(get_object(&object, tree, key, where));
    if (!object) {
        if (required)
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is missing", where, key);
        return EMC_OK;
    }
    snprintf(place, sizeof(place), "%.400s: %s", where, key);
    EMC_TRY(emc_json_check_keys(object, keys, place));
    EMC_TRY(emc_recipe_nonempty(&value->column, object, "column", false, place));
    EMC_TRY(emc_recipe_nonempty(&value->value, object, "value", false, place));
    if (!value->column == !value->value)
        return emc_fail(EMC_ERR_CONFIG, "%s: wanted either \"column\" or \"value\"", place);
    return EMC_OK;
}

static emc_status read_table(emc_recipe_input *input, const cJSON *tree, const char *where)
{
    static const char *const keys[] = {"path", "id", NULL};
    const cJSON *table;
    char place[512];

    EMC_TRY(get_object(&table, tree, "table", where));
    if (!table)
        return EMC_OK;
    snprintf(place, sizeof(place), "%.400s: table", where);
    EMC_TRY(emc_json_check_keys(table, keys, place));
    EMC_TRY(emc_recipe_nonempty(&input->table, table, "path", true, place));
    return emc_recipe_nonempty(&input->table_id, table, "id", true, place);
}

static emc_status read_filters(emc_recipe_input *input, emc_recipe_store *store, const cJSON *tree,
                               const char *where)
{
    EMC_TRY(
        get_strings(store, &input->obs_filters, &input->n_obs_filters, tree, "obs_filters", where));
    for (int i = 0; i < input->n_obs_filters; i++) {
        emc_obs_filter filter;
        const emc_status status = emc_obs_filter_parse(&filter, input->obs_filters[i]);
        emc_obs_filter_free(&filter);
        if (status != EMC_OK)
            return emc_fail_in(EMC_ERR_CONFIG, "%s: \"obs_filters\"", where);
    }
    return EMC_OK;
}

static emc_status read_input(emc_recipe_input *input, emc_recipe_store *store, const cJSON *tree,
                             const char *own_folder, const char *where)
{
    static const char *const keys[] = {"path",         "label",      "embryo",      "dataset",
                                       "stage",        "table",      "count_unit",  "layer",
                                       "gene_symbols", "gene_table", "obs_filters", "label_map",
                                       "source",       "licence",    NULL};
    const cJSON *map;

    if (!cJSON_IsObject(tree))
        return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
    EMC_TRY(emc_json_check_keys(tree, keys, where));
    EMC_TRY(emc_recipe_nonempty(&input->path, tree, "path", true, where));
    EMC_TRY(read_value(&input->label, tree, "label", true, where));
    EMC_TRY(read_value(&input->embryo, tree, "embryo", false, where));
    EMC_TRY(read_value(&input->dataset, tree, "dataset", false, where));
    EMC_TRY(read_value(&input->stage, tree, "stage", false, where));
    EMC_TRY(read_table(input, tree, where));
    EMC_TRY(emc_recipe_nonempty(&input->count_unit, tree, "count_unit", true, where));
    EMC_TRY(emc_recipe_nonempty(&input->layer, tree, "layer", false, where));
    EMC_TRY(emc_recipe_nonempty(&input->gene_symbols, tree, "gene_symbols", false, where));
    EMC_TRY(emc_recipe_nonempty(&input->gene_table, tree, "gene_table", false, where));
    EMC_TRY(emc_recipe_nonempty(&input->source, tree, "source", true, where));
    EMC_TRY(emc_recipe_nonempty(&input->licence, tree, "licence", true, where));
    EMC_TRY(read_filters(input, store, tree, where));
    map = emc_json_member(tree, "label_map");
    return map ? emc_label_map_read(&input->map, store, map, own_folder, where) : EMC_OK;
}

static emc_status read_inputs(emc_recipe_info *info, emc_recipe_store *store, const cJSON *tree,
                              const char *own_folder, const char *name)
{
    emc_recipe_input *inputs;
    const cJSON *array, *item;
    int i = 0;
    char where[512];

    EMC_TRY(emc_recipe_list(&array, &info->n_inputs, tree, "inputs", name));
    if (info->n_inputs == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"inputs\" is missing or empty", name);
    EMC_TRY(emc_recipe_take(store, &inputs, (size_t)info->n_inputs, sizeof(*inputs)));
    info->inputs = inputs;
    cJSON_ArrayForEach(item, array)
    {
        snprintf(where, sizeof(where), "%.400s: input %d", name, i + 1);
        EMC_TRY(read_input(&inputs[i], store, item, own_folder, where));
        i++;
    }
    return EMC_OK;
}

static emc_status read_split(emc_recipe_info *info, emc_recipe_store *store, const cJSON *tree,
                             const char *name)
{
    static const char *const keys[] = {"by", "test", "validation", "hold_out", "stratify", NULL};
    static const char *const words[] = {"embryo", "dataset", "stage", "cell", NULL};
    emc_recipe_split *split = &info->split;
    const cJSON *object;
    int by = 0;
    char where[512];

    EMC_TRY(get_object(&object, tree, "split", name));
    if (!object)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"split\" is missing", name);
    snprintf(where, sizeof(where), "%.400s: split", name);
    EMC_TRY(emc_json_check_keys(object, keys, where));
    EMC_TRY(emc_recipe_word(&by, object, "by", words, true, where));
    split->by = (emc_split_by)by;
    split->stratify = true;
    EMC_TRY(get_share(&split->test, object, "test", where));
    EMC_TRY(get_share(&split->validation, object, "validation", where));
    EMC_TRY(emc_json_get_bool(&split->stratify, object, "stratify", false, where));
    EMC_TRY(get_strings(store, &split->hold_out, &split->n_hold_out, object, "hold_out", where));
    if (!(split->test + split->validation < 1))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"test\" and \"validation\" leave nothing to train on",
                        where);
    return EMC_OK;
}

static emc_status read_n_genes(emc_recipe_examples *examples, emc_recipe_store *store,
                               const cJSON *tree, const char *where)
{
    const cJSON *array, *item;
    int *values;
    int i = 0;

    EMC_TRY(emc_recipe_list(&array, &examples->n_n_genes, tree, "n_genes", where));
    if (examples->n_n_genes == 0)
        return EMC_OK;
    EMC_TRY(emc_recipe_take(store, &values, (size_t)examples->n_n_genes, sizeof(*values)));
    examples->n_genes = values;
    cJSON_ArrayForEach(item, array)
    {
        const double value = cJSON_IsNumber(item) ? item->valuedouble : 0;
        if (!(value >= 1 && value <= MAX_GENES && value == floor(value)))
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"n_genes\": item %d must be a whole number from 1 to %d", where,
                            i + 1, MAX_GENES);
        values[i++] = (int)value;
    }
    return EMC_OK;
}

static emc_status read_candidates(emc_recipe_examples *examples, const cJSON *tree,
                                  const char *where)
{
    static const char *const keys[] = {"share", "least", "most", NULL};
    const cJSON *object;
    int64_t least = 0, most = 0;
    char place[512];

    EMC_TRY(get_object(&object, tree, "candidates", where));
    if (!object)
        return EMC_OK;
    snprintf(place, sizeof(place), "%.400s: candidates", where);
    EMC_TRY(emc_json_check_keys(object, keys, place));
    EMC_TRY(get_share(&examples->candidate_share, object, "share", place));
    EMC_TRY(emc_json_get_int(&least, object, "least", 2, MAX_ITEMS, true, place));
    EMC_TRY(emc_json_get_int(&most, object, "most", 2, MAX_ITEMS, true, place));
    if (most < least)
        return emc_fail(EMC_ERR_CONFIG, "%s: \"most\" is below \"least\"", place);
    examples->candidates_least = (int)least;
    examples->candidates_most = (int)most;
    return EMC_OK;
}

static emc_status read_examples(emc_recipe_info *info, emc_recipe_store *store, const cJSON *tree,
                                const char *name)
{
    static const char *const keys[] = {"n_genes",    "paraphrases", "per_cell",
                                       "candidates", "stage",       "unknown_share",
                                       "cap",        "weights",     NULL};
    emc_recipe_examples *examples = &info->examples;
    const cJSON *object;
    int64_t paraphrases = 1, per_cell = 1, cap = 0;
    char where[512];

    examples->n_paraphrases = examples->per_cell = 1;
    EMC_TRY(get_object(&object, tree, "examples", name));
    if (!object)
        return EMC_OK;
    snprintf(where, sizeof(where), "%.400s: examples", name);
    EMC_TRY(emc_json_check_keys(object, keys, where));
    EMC_TRY(read_n_genes(examples, store, object, where));
    EMC_TRY(emc_json_get_int(&paraphrases, object, "paraphrases", 1, MAX_ITEMS, false, where));
    EMC_TRY(emc_json_get_int(&per_cell, object, "per_cell", 1, MAX_PER_CELL, false, where));
    EMC_TRY(emc_json_get_int(&cap, object, "cap", 0, INT32_MAX, false, where));
    EMC_TRY(read_candidates(examples, object, where));
    EMC_TRY(emc_json_get_bool(&examples->stage, object, "stage", false, where));
    EMC_TRY(get_share(&examples->unknown_share, object, "unknown_share", where));
    EMC_TRY(emc_json_get_bool(&examples->weights, object, "weights", false, where));
    examples->n_paraphrases = (int)paraphrases;
    examples->per_cell = (int)per_cell;
    examples->cap = (int)cap;
    return EMC_OK;
}

/* What the split and the examples take from every cell must have a place to come from. */
static emc_status check_sources(const emc_recipe_info *info, const char *name)
{
    static const char *const words[] = {"embryo", "dataset", "stage"};

    for (int i = 0; i < info->n_inputs; i++) {
        const emc_recipe_input *input = &info->inputs[i];
        const emc_recipe_value *values[] = {&input->embryo, &input->dataset, &input->stage};
        bool by_stage = info->examples.stage;
        if (info->split.by != EMC_SPLIT_CELL) {
            const emc_recipe_value *value = values[info->split.by];
            if (!value->column && !value->value)
                return emc_fail(
                    EMC_ERR_CONFIG, "%s: input %d (%s): the split is by %s, and \"%s\" is missing",
                    name, i + 1, input->path, words[info->split.by], words[info->split.by]);
        }
        for (int k = 0; input->map && k < input->map->n_entries; k++)
            by_stage = by_stage || input->map->entries[k].stage;
        if (by_stage && !input->stage.column && !input->stage.value)
            return emc_fail(
                EMC_ERR_CONFIG, "%s: input %d (%s): %s asks for a stage, and \"stage\" is missing",
                name, i + 1, input->path, info->examples.stage ? "\"examples\"" : "its label map");
    }
    return EMC_OK;
}

emc_status emc_recipe_read(emc_recipe_info *info, emc_recipe_store *store, const cJSON *tree,
                           const char *name, const char *own_folder)
{
    static const char *const keys[] = {"name",     "description", "source", "profile",
                                       "labels",   "groups",      "inputs", "split",
                                       "examples", "seed",        NULL};
    int64_t seed = 0;

    if (!cJSON_IsObject(tree))
        return emc_fail(EMC_ERR_FORMAT, "%s: wanted a JSON object", name);
    EMC_TRY(emc_json_check_keys(tree, keys, name));
    EMC_TRY(emc_recipe_nonempty(&info->name, tree, "name", true, name));
    EMC_TRY(emc_recipe_nonempty(&info->description, tree, "description", true, name));
    EMC_TRY(emc_recipe_nonempty(&info->source, tree, "source", true, name));
    EMC_TRY(emc_recipe_nonempty(&info->profile, tree, "profile", true, name));
    EMC_TRY(emc_json_get_int(&seed, tree, "seed", 0, MAX_SEED, true, name));
    info->seed = (uint64_t)seed;
    EMC_TRY(read_inputs(info, store, tree, own_folder, name));
    EMC_TRY(read_split(info, store, tree, name));
    EMC_TRY(read_examples(info, store, tree, name));
    return check_sources(info, name);
}
