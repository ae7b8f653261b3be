/* Recipes: built in or in files, opened with their profile and label maps. */

#include "annotate/dataset/recipe.h"

#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/recipe_parts.h"
#include "annotate/labels.h"
#include "base/file.h"
#include "base/size.h"

#define FILE_LIMIT ((size_t)16 << 20)

struct emc_recipe {
    emc_recipe_info info;
    emc_recipe_store store;
    emc_profile *profile;
    char *text;
    size_t n_text;
};

const char *emc_part_name(emc_part_of_split part)
{
    static const char *const names[EMC_N_PARTS] = {"train", "validation", "test"};

    return (unsigned)part < EMC_N_PARTS ? names[part] : "";
}

const emc_builtin *emc_builtin_find(const emc_builtin *list, const char *name)
{
    for (const emc_builtin *b = list; b->name; b++)
        if (strcmp(b->name, name) == 0)
            return b;
    return NULL;
}

const char *emc_recipe_builtin(int index)
{
    for (int i = 0; emc_builtin_recipes[i].name; i++)
        if (i == index)
            return emc_builtin_recipes[i].name;
    return NULL;
}

const char *emc_recipe_builtin_text(const char *name, size_t *n_bytes)
{
    const emc_builtin *b = emc_builtin_find(emc_builtin_recipes, name);

    if (!b)
        return NULL;
    *n_bytes = b->n_bytes;
    return b->text;
}

/* The profile's JSON with the recipe's labels and groups: then they are checked, and used, as those
 * of any profile. */
static emc_status own_labels(emc_recipe *recipe, const cJSON *tree, const char *name)
{
    static const char *const theirs[] = {"labels", "labels_of", "groups", "ambiguous"};
    cJSON *profile = NULL, *labels, *groups;
    char *text = NULL;
    size_t n;
    const char *old = emc_profile_text(recipe->profile, &n);
    emc_status status = emc_json_parse(&profile, old, n, recipe->info.profile);

    if (status != EMC_OK)
        return status;
    for (size_t i = 0; i < EMC_COUNT(theirs); i++)
        cJSON_DeleteItemFromObjectCaseSensitive(profile, theirs[i]);
    labels = cJSON_Duplicate(emc_json_member(tree, "labels"), true);
    groups = emc_json_member(tree, "groups")
                 ? cJSON_Duplicate(emc_json_member(tree, "groups"), true)
                 : cJSON_CreateArray();
    if (cJSON_AddItemToObject(profile, "labels", labels))
        labels = NULL;
    if (cJSON_AddItemToObject(profile, "groups", groups))
        groups = NULL;
    if (!labels && !groups)
        text = cJSON_PrintUnformatted(profile);
    if (text) {
        emc_profile_close(recipe->profile);
        status = emc_profile_parse(&recipe->profile, text, strlen(text), name);
    } else {
        status = emc_fail(EMC_ERR_NOMEM, "%s: no memory for its labels", name);
    }
    cJSON_free(text);
    cJSON_Delete(labels);
    cJSON_Delete(groups);
    cJSON_Delete(profile);
    return status;
}

static emc_status open_profile(emc_recipe *recipe, const cJSON *tree, const char *name,
                               const char *own_folder)
{
    emc_recipe_info *info = &recipe->info;
    const char *path = info->profile;
    size_t n;

    if (!emc_profile_builtin_text(path, &n))
        EMC_TRY(emc_recipe_path(&recipe->store, &path, own_folder, path));
    const emc_status status = emc_profile_open(&recipe->profile, path);
    if (status != EMC_OK)
        return emc_fail_in(status, "%s: \"profile\"", name);
    if (emc_json_member(tree, "groups") && !emc_json_member(tree, "labels"))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"groups\" without \"labels\"", name);
    if (emc_json_member(tree, "labels")) {
        EMC_TRY(own_labels(recipe, tree, name));
        info->labels = emc_profile_get(recipe->profile)->labels;
        info->n_labels = emc_profile_get(recipe->profile)->n_labels;
    }
    if (emc_profile_get(recipe->profile)->n_labels == 0)
        return emc_fail(EMC_ERR_CONFIG, "%s: neither the recipe nor profile \"%s\" has labels",
                        name, info->profile);
    return EMC_OK;
}

/* Every label that a map leads to must be one of the set, written as there. */
static emc_status check_map(const emc_label_map *map, const emc_labels *labels, const char *name,
                            int input)
{
    for (int i = 0; map && i < map->n_entries; i++) {
        const char *label = map->entries[i].label;
        bool found = !label || strcmp(label, "unknown") == 0;
        for (int k = 0; !found && k < emc_labels_count(labels); k++)
            found = strcmp(emc_labels_get(labels, k)->label, label) == 0;
        if (!found)
            return emc_fail(EMC_ERR_CONFIG,
                            "%s: input %d: label map%s%s: \"%s\" becomes \"%s\", which is not in "
                            "the label set",
                            name, input + 1, map->name[0] ? " " : "", map->name,
                            map->entries[i].source, label);
    }
    return EMC_OK;
}

static emc_status check_labels(const emc_recipe *recipe, const char *name)
{
    const emc_recipe_info *info = &recipe->info;
    emc_labels *labels = NULL;
    emc_status status = emc_labels_from_profile(&labels, recipe->profile);

    if (status != EMC_OK)
        return emc_fail_in(status, "%s", name);
    for (int i = 0; status == EMC_OK && i < emc_labels_count(labels); i++)
        if (strcmp(emc_labels_get(labels, i)->label, "unknown") == 0)
            status =
                emc_fail(EMC_ERR_CONFIG,
                         "%s: a label is called \"unknown\", which stands for none of them", name);
    for (int i = 0; status == EMC_OK && i < info->n_inputs; i++)
        status = check_map(info->inputs[i].map, labels, name, i);
    emc_labels_close(labels);
    return status;
}

/* own_folder NULL: built in. */
static emc_status open_text(emc_recipe *recipe, const char *text, size_t n, const char *name,
                            const char *own_folder, const char *input_dir)
{
    const cJSON *tree;
    const char *folder = input_dir ? input_dir : own_folder ? own_folder : ".";

    EMC_TRY(emc_copy_bytes(&recipe->text, text, n));
    recipe->n_text = n;
    EMC_TRY(emc_recipe_tree(&recipe->store, &tree, text, n, name));
    EMC_TRY(emc_recipe_read(&recipe->info, &recipe->store, tree, name, own_folder));
    EMC_TRY(emc_recipe_keep(&recipe->store, &recipe->info.folder, folder));
    EMC_TRY(open_profile(recipe, tree, name, own_folder));
    return check_labels(recipe, name);
}

static emc_status open_file(emc_recipe *recipe, const char *path, const char *input_dir)
{
    const char *slash = strrchr(path, '/');
    char *text = NULL, *folder = NULL;
    size_t n = 0;
    emc_status status;

    if (!strchr(path, '/') && !emc_file_exists(path))
        return emc_fail(EMC_ERR_NOT_FOUND, "recipe \"%s\": neither a file nor a built-in recipe",
                        path);
    EMC_TRY(emc_file_read(&text, &n, path, FILE_LIMIT));
    status = slash ? emc_copy_bytes(&folder, path, slash == path ? 1 : (size_t)(slash - path))
                   : emc_copy_string(&folder, ".");
    if (status == EMC_OK)
        status = open_text(recipe, text, n, path, folder, input_dir);
    free(folder);
    free(text);
    return status;
}

emc_status emc_recipe_open(emc_recipe **out, const char *name_or_path, const char *input_dir)
{
    const emc_builtin *builtin = emc_builtin_find(emc_builtin_recipes, name_or_path);
    emc_recipe *recipe;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&recipe, 1, sizeof(*recipe), "recipe"));
    status = builtin
                 ? open_text(recipe, builtin->text, builtin->n_bytes, name_or_path, NULL, input_dir)
                 : open_file(recipe, name_or_path, input_dir);
    if (status != EMC_OK)
        emc_recipe_close(recipe);
    else
        *out = recipe;
    return status;
}

void emc_recipe_close(emc_recipe *recipe)
{
    if (!recipe)
        return;
    emc_profile_close(recipe->profile);
    emc_recipe_store_free(&recipe->store);
    free(recipe->text);
    free(recipe);
}

const emc_recipe_info *emc_recipe_get(const emc_recipe *recipe)
{
    return &recipe->info;
}

const emc_profile *emc_recipe_profile(const emc_recipe *recipe)
{
    return recipe->profile;
}

const char *emc_recipe_text(const emc_recipe *recipe, size_t *n_bytes)
{
    *n_bytes = recipe->n_text;
    return recipe->text;
}
