/* What do the labels of a source mean? Maps that are built in, in files, or inside a recipe. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/recipe_parts.h"
#include "base/file.h"
#include "base/size.h"
#include "base/str_map.h"
#include "base/text.h"

#define FILE_LIMIT ((size_t)16 << 20)

const char *emc_label_map_builtin(int index)
{
    for (int i = 0; emc_builtin_label_maps[i].name; i++)
        if (i == index)
            return emc_builtin_label_maps[i].name;
    return NULL;
}

const char *emc_label_map_builtin_text(const char *name, size_t *n_bytes)
{
    const emc_builtin *b = emc_builtin_find(emc_builtin_label_maps, name);

    if (!b)
        return NULL;
    *n_bytes = b->n_bytes;
    return b->text;
}

static emc_status read_entry(emc_label_map_entry *entry, const cJSON *item, int index,
                             const char *where)
{
    static const char *const keys[] = {"source", "stage", "label", "note", NULL};
    char place[512];

    snprintf(place, sizeof(place), "%.400s: entry %d", where, index + 1);
    if (!cJSON_IsObject(item))
        return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", place);
    EMC_TRY(emc_json_check_keys(item, keys, place));
    EMC_TRY(emc_recipe_nonempty(&entry->source, item, "source", true, place));
    EMC_TRY(emc_recipe_nonempty(&entry->stage, item, "stage", false, place));
    if (!cJSON_GetObjectItemCaseSensitive(item, "label"))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"label\" is missing (null drops the cells)", place);
    EMC_TRY(emc_recipe_nonempty(&entry->label, item, "label", false, place));
    entry->note = "";
    return emc_json_get_string(&entry->note, item, "note", false, place);
}

/* source, and NUL and the stage where there is one. */
static emc_status entry_key(emc_text *key, const emc_label_map_entry *entry)
{
    emc_text_clear(key);
    EMC_TRY(emc_text_add(key, entry->source, strlen(entry->source) + (entry->stage != NULL)));
    return entry->stage ? emc_text_add_string(key, entry->stage) : EMC_OK;
}

/* An entry behind one that decides before it would never be looked at. */
static emc_status check_entries(const emc_label_map *map, const char *where)
{
    emc_str_map *seen = NULL;
    emc_text key = {0};
    emc_status status = emc_str_map_open(&seen, (size_t)map->n_entries);

    for (int i = 0; status == EMC_OK && i < map->n_entries; i++) {
        const emc_label_map_entry *e = &map->entries[i];
        bool again = emc_str_map_get(seen, e->source, strlen(e->source), -1) >= 0;
        status = entry_key(&key, e);
        if (status == EMC_OK && !again)
            status = emc_str_map_put(seen, key.bytes, key.n, i, &again);
        if (status == EMC_OK && again)
            status = emc_fail(EMC_ERR_CONFIG, "%s: entry %d: \"%s\" is listed already", where,
                              i + 1, e->source);
    }
    emc_text_free(&key);
    emc_str_map_close(seen);
    return status;
}

static emc_status read_map(emc_label_map *map, emc_recipe_store *store, const cJSON *tree,
                           const char *where, bool is_file)
{
    static const char *const keys[] = {"name", "paper", "source", "unlisted", "entries", NULL};
    static const char *const unlisted[] = {"error", "drop", NULL};
    emc_label_map_entry *entries;
    const cJSON *array, *item;
    int drop = 0, i = 0;

    if (!cJSON_IsObject(tree))
        return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
    EMC_TRY(emc_json_check_keys(tree, keys, where));
    map->name = map->paper = map->source = "";
    EMC_TRY(emc_recipe_nonempty(&map->name, tree, "name", is_file, where));
    EMC_TRY(emc_recipe_nonempty(&map->paper, tree, "paper", is_file, where));
    EMC_TRY(emc_recipe_nonempty(&map->source, tree, "source", is_file, where));
    EMC_TRY(emc_recipe_word(&drop, tree, "unlisted", unlisted, false, where));
    map->drop_unlisted = drop == 1;
    EMC_TRY(emc_recipe_list(&array, &map->n_entries, tree, "entries", where));
    if (map->n_entries == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"entries\" is missing or empty", where);
    EMC_TRY(emc_recipe_take(store, &entries, (size_t)map->n_entries, sizeof(*entries)));
    map->entries = entries;
    cJSON_ArrayForEach(item, array)
    {
        EMC_TRY(read_entry(&entries[i], item, i, where));
        i++;
    }
    return check_entries(map, where);
}

static emc_status read_text(emc_label_map *map, emc_recipe_store *store, const char *text, size_t n,
                            const char *name)
{
    const cJSON *tree;

    EMC_TRY(emc_recipe_tree(store, &tree, text, n, name));
    return read_map(map, store, tree, name, true);
}

emc_status emc_label_map_read(const emc_label_map **out, emc_recipe_store *store,
                              const cJSON *value, const char *folder, const char *where)
{
    emc_label_map *map;
    const emc_builtin *builtin;
    const char *path;
    char *text = NULL;
    size_t n = 0;
    char place[512];

    EMC_TRY(emc_recipe_take(store, &map, 1, sizeof(*map)));
    *out = map;
    snprintf(place, sizeof(place), "%.400s: label_map", where);
    if (cJSON_IsObject(value))
        return read_map(map, store, value, place, false);
    if (!cJSON_IsString(value) || value->valuestring[0] == '\0')
        return emc_fail(EMC_ERR_FORMAT, "%s: must be a name, a path or an object", place);
    builtin = emc_builtin_find(emc_builtin_label_maps, value->valuestring);
    if (builtin)
        return read_text(map, store, builtin->text, builtin->n_bytes, builtin->name);
    EMC_TRY(emc_recipe_path(store, &path, folder, value->valuestring));
    if (!emc_file_exists(path))
        return emc_fail(EMC_ERR_NOT_FOUND, "%s: \"%s\" is neither a file nor a built-in label map",
                        place, value->valuestring);
    EMC_TRY(emc_file_read(&text, &n, path, FILE_LIMIT));
    const emc_status status = read_text(map, store, text, n, path);
    free(text);
    return status;
}

const emc_label_map_entry *emc_label_map_find(const emc_label_map *map, const char *source,
                                              const char *stage)
{
    for (int i = 0; i < map->n_entries; i++) {
        const emc_label_map_entry *e = &map->entries[i];
        if (strcmp(e->source, source) == 0 &&
            (!e->stage || (stage && strcmp(e->stage, stage) == 0)))
            return e;
    }
    return NULL;
}
