/* Which matrices and columns of obs does an .h5ad file offer? */
#include <stdlib.h>
#include <string.h>

#include "cells/hdf5.h"

/* raw is a group with a matrix; a missing raw may be written as an empty dataset. */
static bool has_raw(hid_t root, const char *path)
{
    hid_t raw = -1;
    bool has;

    if (cells_h5_has(root, "raw.X")) /* before anndata 0.7 */
        return true;
    if (!cells_h5_has(root, "raw") || cells_h5_open_group(&raw, root, "raw", path) != EMC_OK)
        return false;
    has = cells_h5_has(raw, "X");
    cells_h5_close(raw);
    return has;
}

static emc_status list_layers(cells_strings *matrices, hid_t root, const char *path)
{
    cells_strings names = {0};
    emc_text name = {0};
    emc_status status;
    hid_t layers;

    EMC_TRY(cells_h5_open_group(&layers, root, "layers", path));
    status = cells_h5_names(layers, &names, path);
    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *layer = cells_strings_at(&names, i);
        /* Words of the option that mean something else. */
        const bool is_word = !strcmp(layer, "X") || !strcmp(layer, "raw") || !strcmp(layer, "auto");
        emc_text_clear(&name);
        status = emc_text_addf(&name, "%s%s", is_word ? "layers/" : "", layer);
        if (status == EMC_OK)
            status = cells_strings_add(matrices, name.bytes, name.n, path);
    }
    emc_text_free(&name);
    cells_strings_free(&names);
    cells_h5_close(layers);
    return status;
}

static emc_status list_columns(cells_strings *columns, hid_t root, const char *path)
{
    cells_column ids = {0};
    cells_strings all = {0};
    char *index = NULL;
    emc_status status;
    hid_t obs;

    EMC_TRY(cells_h5_open(&obs, root, "obs", path));
    /* The names of all cells are read only where nothing else tells which column they are. */
    status = cells_h5_attribute(&index, obs, "_index", path);
    if (status == EMC_OK && !index)
        status = cells_h5_frame_index(&ids, &index, obs, path);
    if (status == EMC_OK)
        status = cells_h5_frame_columns(&all, obs, path);
    for (size_t i = 0; status == EMC_OK && i < all.n; i++) {
        const char *name = cells_strings_at(&all, i);
        if (strcmp(name, index) != 0 && strcmp(name, "__categories") != 0)
            status = cells_strings_add(columns, name, strlen(name), path);
    }
    cells_strings_free(&all);
    cells_column_free(&ids);
    free(index);
    cells_h5_close(obs);
    return status;
}

emc_status cells_h5ad_list(cells_catalog *catalog, hid_t root, const char *path)
{
    catalog->format = "h5ad";
    if (cells_h5_has(root, "X"))
        EMC_TRY(cells_strings_add(&catalog->matrices, "X", 1, path));
    if (has_raw(root, path))
        EMC_TRY(cells_strings_add(&catalog->matrices, "raw", 3, path));
    if (cells_h5_has(root, "layers"))
        EMC_TRY(list_layers(&catalog->matrices, root, path));
    return cells_h5_has(root, "obs") ? list_columns(&catalog->columns, root, path) : EMC_OK;
}
