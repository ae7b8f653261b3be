/* A benchmark's folder: manifest, labels, markers; the items are read in benchmark_items.c. */

#include "annotate/evaluate/benchmark.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/benchmark_parts.h"
#include "base/file.h"
#include "base/size.h"

#define MOST_JSON ((size_t)1 << 26)

/* XXH3-128 of the bytes, as xxh128sum prints it. */
static emc_status check_hash(const char *path, const char *wanted)
{
    char text[EMC_HASH_TEXT];
    emc_map *map;

    EMC_TRY(emc_map_open(&map, path));
    const emc_hash hash = emc_hash_of(map->data ? (const void *)map->data : "", map->n_bytes);
    emc_map_close(map);
    emc_hash_text(text, &hash);
    if (wanted && strcmp(text, wanted) != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: its hash is %s, the manifest says %s: it was changed or damaged", path,
                        text, wanted);
    return EMC_OK;
}

/* "items": {"path": ..., "hash": ...}. The hash may be missing while a benchmark is made. */
static emc_status file_of(char **out, const emc_benchmark *b, const cJSON *manifest,
                          const char *key, bool required, const char *where)
{
    static const char *const keys[] = {"path", "hash", NULL};
    const cJSON *entry = emc_json_member(manifest, key);
    const char *name = NULL, *hash = NULL;
    char place[600];

    *out = NULL;
    if (!entry && !required)
        return EMC_OK;
    if (!cJSON_IsObject(entry))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" must be an object with \"path\" and \"hash\"",
                        where, key);
    snprintf(place, sizeof place, "%.500s: \"%s\"", where, key);
    EMC_TRY(emc_json_check_keys(entry, keys, place));
    EMC_TRY(emc_json_get_string(&name, entry, "path", true, place));
    EMC_TRY(emc_json_get_string(&hash, entry, "hash", false, place));
    if (!emc_is_plain_name(name))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is no plain file name", place, name);
    EMC_TRY(emc_path_join(out, b->folder, name));
    const emc_status status = check_hash(*out, hash);
    if (status != EMC_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static emc_status read_manifest(emc_benchmark *b, const char *where)
{
    static const char *const keys[] = {"format", "version", "name",     "release", "description",
                                       "source", "licence", "official", "profile", "items",
                                       "labels", "markers", "recipe",   "notes",   NULL};
    emc_benchmark_info *info = &b->info;
    const char *format = NULL;
    int64_t version = 0;

    EMC_TRY(emc_json_check_keys(b->manifest, keys, where));
    EMC_TRY(emc_json_get_string(&format, b->manifest, "format", true, where));
    EMC_TRY(emc_json_get_int(&version, b->manifest, "version", 1, 1000, true, where));
    if (strcmp(format, "emcell benchmark") != 0 || version != 1)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: wanted \"format\" \"emcell benchmark\" and \"version\" 1", where);
    EMC_TRY(emc_json_get_string(&info->name, b->manifest, "name", true, where));
    EMC_TRY(emc_json_get_string(&info->version, b->manifest, "release", true, where));
    EMC_TRY(emc_json_get_string(&info->description, b->manifest, "description", true, where));
    EMC_TRY(emc_json_get_string(&info->source, b->manifest, "source", true, where));
    EMC_TRY(emc_json_get_string(&info->licence, b->manifest, "licence", true, where));
    EMC_TRY(emc_json_get_bool(&info->official, b->manifest, "official", true, where));
    return emc_json_get_string(&info->profile, b->manifest, "profile", false, where);
}

/* A profile's text with the benchmark's labels in the place of its own. */
static emc_status merged_text(emc_text *out, const emc_benchmark *b, const emc_profile *profile)
{
    static const char *const moved[] = {"labels", "groups", "ambiguous"};
    size_t n;
    const char *text = emc_profile_text(profile, &n);
    cJSON *tree = NULL;
    emc_status status = emc_json_parse(&tree, text, n, emc_profile_get(profile)->name);

    if (status != EMC_OK)
        return status;
    cJSON_DeleteItemFromObjectCaseSensitive(tree, "labels_of");
    for (size_t i = 0; i < EMC_COUNT(moved); i++) {
        const cJSON *from = emc_json_member(b->labels_tree, moved[i]);
        cJSON_DeleteItemFromObjectCaseSensitive(tree, moved[i]);
        cJSON *copy = from ? cJSON_Duplicate(from, true) : NULL;
        if (copy)
            cJSON_AddItemToObject(tree, moved[i], copy);
    }
    char *printed = cJSON_PrintUnformatted(tree);
    cJSON_Delete(tree);
    if (!printed)
        return emc_fail(EMC_ERR_NOMEM, "no memory for a profile");
    status = emc_text_add_string(out, printed);
    cJSON_free(printed);
    return status;
}

emc_status emc_benchmark_profile(emc_profile **out, const emc_benchmark *benchmark,
                                 const char *name_or_path)
{
    const char *name = name_or_path ? name_or_path : benchmark->info.profile;
    emc_profile *wording = NULL;
    emc_text text = {0};
    char *inside = NULL;
    size_t n_builtin;

    *out = NULL;
    /* A profile of the benchmark's own lies in its folder. */
    if (!name_or_path && name && emc_is_plain_name(name) &&
        !emc_profile_builtin_text(name, &n_builtin))
        EMC_TRY(emc_path_join(&inside, benchmark->folder, name));
    emc_status status = emc_profile_open(&wording, inside ? inside : name);
    free(inside);
    if (status == EMC_OK)
        status = merged_text(&text, benchmark, wording);
    if (status == EMC_OK)
        status = emc_profile_parse(out, text.bytes, text.n, benchmark->info.name);
    emc_text_free(&text);
    emc_profile_close(wording);
    return status;
}

static emc_status read_labels(emc_benchmark *b, const char *path)
{
    static const char *const keys[] = {"labels", "groups", "ambiguous", "source", NULL};

    EMC_TRY(emc_json_read(&b->labels_tree, path, MOST_JSON));
    EMC_TRY(emc_json_check_keys(b->labels_tree, keys, path));
    if (cJSON_GetArraySize(emc_json_member(b->labels_tree, "labels")) < 2)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"labels\" must list two labels or more", path);
    if (emc_benchmark_profile(&b->profile, b, NULL) != EMC_OK ||
        emc_labels_from_profile(&b->labels, b->profile) != EMC_OK)
        return emc_fail_in(EMC_ERR_CONFIG, "%s", path);
    return EMC_OK;
}

static emc_status read_markers(emc_benchmark *b, const char *path)
{
    static const char *const keys[] = {"source", "markers", NULL};
    const cJSON *markers, *list, *gene;
    cJSON *tree = NULL;
    char where[600];

    EMC_TRY(emc_json_read(&b->markers_tree, path, MOST_JSON));
    tree = b->markers_tree;
    EMC_TRY(emc_json_check_keys(tree, keys, path));
    markers = emc_json_member(tree, "markers");
    if (!cJSON_IsObject(markers))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"markers\" must be an object", path);
    cJSON_ArrayForEach(list, markers)
    {
        emc_label_match match;
        const char **genes;
        int n = 0;
        EMC_TRY(emc_labels_match(b->labels, list->string, strlen(list->string), &match));
        if (match.label < 0)
            return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" is no label of the benchmark", path,
                            list->string);
        if (!cJSON_IsArray(list) || b->markers[match.label].genes)
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" %s", path, list->string,
                            cJSON_IsArray(list) ? "comes twice" : "must be a list of genes");
        snprintf(where, sizeof where, "%.500s: \"%.60s\"", path, list->string);
        EMC_TRY(emc_alloc(&genes, (size_t)cJSON_GetArraySize(list) + 1, sizeof *genes, "markers"));
        b->markers[match.label].genes = genes;
        cJSON_ArrayForEach(gene, list)
        {
            if (!cJSON_IsString(gene) || !gene->valuestring[0])
                return emc_fail(EMC_ERR_FORMAT, "%s: item %d is no gene", where, n + 1);
            genes[n++] = gene->valuestring;
        }
        b->markers[match.label].n = n;
    }
    return EMC_OK;
}

/* Over the contents of all files: an evaluation goes on only with the same benchmark. */
static emc_status hash_all(emc_benchmark *b, const char *const *paths, int n)
{
    emc_hasher *hasher;

    EMC_TRY(emc_hasher_open(&hasher));
    for (int i = 0; i < n; i++) {
        emc_hash hash;
        if (!paths[i])
            continue;
        const emc_status status = emc_fingerprint(&hash, paths[i]);
        if (status != EMC_OK) {
            emc_hasher_close(hasher);
            return status;
        }
        emc_hasher_add(hasher, hash.bytes, sizeof hash.bytes);
    }
    b->info.hash = emc_hasher_end(hasher);
    emc_hasher_close(hasher);
    return EMC_OK;
}

static emc_status open_all(emc_benchmark *b)
{
    char *manifest = NULL, *items = NULL, *labels = NULL, *markers = NULL;
    emc_status status = emc_path_join(&manifest, b->folder, "manifest.json");

    if (status == EMC_OK)
        status = emc_json_read(&b->manifest, manifest, MOST_JSON);
    if (status == EMC_OK)
        status = read_manifest(b, manifest);
    if (status == EMC_OK)
        status = file_of(&labels, b, b->manifest, "labels", true, manifest);
    if (status == EMC_OK)
        status = file_of(&items, b, b->manifest, "items", true, manifest);
    if (status == EMC_OK)
        status = file_of(&markers, b, b->manifest, "markers", false, manifest);
    if (status == EMC_OK)
        status = read_labels(b, labels);
    if (status == EMC_OK)
        status = emc_alloc(&b->markers, (size_t)emc_labels_count(b->labels) + 1, sizeof *b->markers,
                           "markers");
    if (status == EMC_OK && markers)
        status = read_markers(b, markers);
    if (status == EMC_OK)
        status = benchmark_read_items(b, items);
    if (status == EMC_OK) {
        const char *const paths[] = {manifest, items, labels, markers};
        status = hash_all(b, paths, 4);
    }
    free(markers);
    free(labels);
    free(items);
    free(manifest);
    return status;
}

emc_status emc_benchmark_open(emc_benchmark **out, const char *folder)
{
    emc_benchmark *b;

    *out = NULL;
    EMC_TRY(emc_alloc(&b, 1, sizeof *b, "a benchmark"));
    emc_status status = emc_copy_string(&b->folder, folder);
    if (status == EMC_OK) {
        b->info.path = b->folder;
        status = open_all(b);
    }
    if (status != EMC_OK)
        emc_benchmark_close(b);
    else
        *out = b;
    return status;
}

void emc_benchmark_close(emc_benchmark *benchmark)
{
    emc_benchmark *b = benchmark;

    if (!b)
        return;
    for (int i = 0; b->markers && i < emc_labels_count(b->labels); i++)
        free(b->markers[i].genes);
    free(b->markers);
    benchmark_free_items(b);
    emc_labels_close(b->labels);
    emc_profile_close(b->profile);
    cJSON_Delete(b->markers_tree);
    cJSON_Delete(b->labels_tree);
    cJSON_Delete(b->manifest);
    free(b->folder);
    free(b);
}

const emc_benchmark_info *emc_benchmark_get(const emc_benchmark *benchmark)
{
    return &benchmark->info;
}

int emc_benchmark_n_items(const emc_benchmark *benchmark)
{
    return (int)benchmark->n_items;
}

const emc_bench_item *emc_benchmark_item(const emc_benchmark *benchmark, int index)
{
    return &benchmark->items[index];
}

const emc_labels *emc_benchmark_labels(const emc_benchmark *benchmark)
{
    return benchmark->labels;
}

const char *const *emc_benchmark_markers(const emc_benchmark *benchmark, int label, int *n)
{
    *n = benchmark->markers[label].n;
    if (*n > 0)
        return benchmark->markers[label].genes;
    return emc_markers_find(emc_labels_get(benchmark->labels, label), n);
}
