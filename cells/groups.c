#include "cells/groups.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/str_map.h"
#include "cells/h5.h"
#include "cells/h5ad_out.h"

struct emc_groups {
    cells_strings names;
    int32_t *of;
    int64_t n;
};

void emc_groups_close(emc_groups *groups)
{
    if (!groups)
        return;
    cells_strings_free(&groups->names);
    free(groups->of);
    free(groups);
}

int64_t emc_groups_n_cells(const emc_groups *groups)
{
    return groups->n;
}

int emc_groups_count(const emc_groups *groups)
{
    return (int)groups->names.n;
}

const char *emc_groups_name(const emc_groups *groups, int group)
{
    return cells_strings_at(&groups->names, (size_t)group);
}

int emc_groups_of(const emc_groups *groups, int64_t row)
{
    return groups->of[row];
}

/* The names in the order in which they come first. */
static emc_status collect(emc_groups *groups, const cells_column *column, const char *name,
                          const char *path)
{
    emc_str_map *map = NULL;
    emc_status status = emc_str_map_open(&map, 64);

    groups->n = (int64_t)column->n;
    if (status == EMC_OK)
        status = emc_alloc(&groups->of, column->n, sizeof *groups->of, "groups");
    for (size_t i = 0; status == EMC_OK && i < column->n; i++) {
        const char *text = cells_column_at(column, i);
        groups->of[i] = -1;
        if (!text || strcmp(text, "nan") == 0) /* how a missing number comes */
            continue;
        const int32_t next = (int32_t)groups->names.n,
                      at = emc_str_map_get(map, text, strlen(text), -1);
        groups->of[i] = at < 0 ? next : at;
        if (at >= 0)
            continue;
        if (next == EMC_MAX_GROUPS)
            status = emc_fail(EMC_ERR_USAGE,
                              "%s: column \"%s\" has more than %d values; name one of clusters",
                              path, name, EMC_MAX_GROUPS);
        if (status == EMC_OK)
            status = emc_str_map_put(map, text, strlen(text), next, NULL);
        if (status == EMC_OK)
            status = cells_strings_add(&groups->names, text, strlen(text), path);
    }
    emc_str_map_close(map);
    return status;
}

/* The column of an .h5ad's obs. */
static emc_status read_h5ad(cells_column *column, const char *path, const char *name,
                            bool allow_external)
{
    hid_t root = -1, obs = -1;
    cells_column index = {0};
    cells_h5_guard guard;
    char *index_name = NULL;
    emc_text columns = {0};

    cells_h5_enter(&guard);
    emc_status status = cells_h5_open_file_with(&root, path, allow_external);
    if (status == EMC_OK)
        status = cells_h5_open(&obs, root, "obs", path);
    if (status == EMC_OK && cells_h5_frame_has(obs, name)) {
        status = cells_h5_column(column, obs, name, -1, path);
    } else if (status == EMC_OK) {
        status = cells_h5_frame_index(&index, &index_name, obs, path);
        if (status == EMC_OK)
            status = cells_h5_list_columns(&columns, obs, index_name, path);
        if (status == EMC_OK)
            status = emc_fail(EMC_ERR_USAGE, "%s: obs has no column \"%s\"; it has: %s", path, name,
                              columns.n ? columns.bytes : "none");
    }
    emc_text_free(&columns);
    free(index_name);
    cells_column_free(&index);
    cells_h5_close(obs);
    cells_h5_close(root);
    cells_h5_leave(&guard);
    return status;
}

/* The column of any other file, through its reader. */
static emc_status read_other(emc_groups *groups, const char *path, const char *name,
                             bool allow_external)
{
    const emc_cells_options options = {
        .obs_columns = &name,
        .n_obs_columns = 1,
        .duplicate_genes = EMC_DUPLICATES_SUM,
        .negative = EMC_NEGATIVE_PASS,
        .allow_external = allow_external,
    };
    cells_column column = {0};
    emc_cells *cells;

    EMC_TRY(emc_cells_open(&cells, path, &options));
    const int64_t n = emc_cells_n_cells(cells);
    emc_status status = EMC_OK;
    column.n = (size_t)n;
    status = emc_alloc(&column.missing, column.n, 1, "groups");
    for (int64_t i = 0; status == EMC_OK && i < n; i++) {
        const char *text = emc_cells_obs(cells, i, 0);
        column.missing[i] = !text;
        status = cells_strings_add(&column.values, text ? text : "", text ? strlen(text) : 0, path);
    }
    if (status == EMC_OK)
        status = collect(groups, &column, name, path);
    cells_column_free(&column);
    emc_cells_close(cells);
    return status;
}

emc_status emc_groups_open(emc_groups **out, const char *path, const char *column,
                           bool allow_external)
{
    cells_column values = {0};
    emc_groups *groups;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&groups, 1, sizeof *groups, "groups"));
    if (emc_h5ad_is(path)) {
        status = read_h5ad(&values, path, column, allow_external);
        if (status == EMC_OK)
            status = collect(groups, &values, column, path);
        cells_column_free(&values);
    } else {
        status = read_other(groups, path, column, allow_external);
    }
    if (status == EMC_OK)
        *out = groups;
    else
        emc_groups_close(groups);
    return status;
}
