#pragma once
/* Inside dataset/: from the JSON of recipes and label maps to their plain structs. */

#include "annotate/builtin.h"
#include "annotate/dataset/recipe.h"
#include "base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In the order of the build's lists; each ends with a NULL name. */
extern const emc_builtin emc_builtin_recipes[];
extern const emc_builtin emc_builtin_label_maps[];
const emc_builtin *emc_builtin_find(const emc_builtin *list, const char *name);

/* What a recipe's structs live in, and the trees that their strings are borrowed from. */
typedef struct {
    void **blocks;
    size_t n_blocks, capacity;
    cJSON **trees;
    size_t n_trees, trees_capacity;
} emc_recipe_store;
void emc_recipe_store_free(emc_recipe_store *store);

/* n zeroed items that live as long as the store; *out is a pointer to them. */
emc_status emc_recipe_take(emc_recipe_store *store, void *out, size_t n, size_t size);
emc_status emc_recipe_keep(emc_recipe_store *store, const char **out, const char *text);

/* JSON text to a tree of the store. Escaped and bare NULs are refused. */
emc_status emc_recipe_tree(emc_recipe_store *store, const cJSON **out, const char *text, size_t n,
                           const char *name);

/* A list that may be missing: *out is NULL then. At most a million items. */
emc_status emc_recipe_list(const cJSON **out, int *n, const cJSON *tree, const char *key,
                           const char *where);
emc_status emc_recipe_nonempty(const char **out, const cJSON *tree, const char *key, bool required,
                               const char *where);
/* One of the words, which end with NULL; *out is its place, left alone when it is missing. */
emc_status emc_recipe_word(int *out, const cJSON *tree, const char *key, const char *const *words,
                           bool required, const char *where);

/* "a" of dir in the store; path itself where it is absolute or dir is NULL. */
emc_status emc_recipe_path(emc_recipe_store *store, const char **out, const char *dir,
                           const char *path);

/*
 * The value of "label_map": the name of a built-in map, the path of a file (in the recipe's
 * folder), or the map itself. `where` names the input for messages.
 */
emc_status emc_label_map_read(const emc_label_map **out, emc_recipe_store *store,
                              const cJSON *value, const char *folder, const char *where);

/* Fills *info but for its labels and folder. own_folder: of the recipe itself; NULL: built-in. */
emc_status emc_recipe_read(emc_recipe_info *info, emc_recipe_store *store, const cJSON *tree,
                           const char *name, const char *own_folder);

/* The entry that decides what a source label means; NULL: none is listed. stage may be NULL. */
const emc_label_map_entry *emc_label_map_find(const emc_label_map *map, const char *source,
                                              const char *stage);

#ifdef __cplusplus
}
#endif
