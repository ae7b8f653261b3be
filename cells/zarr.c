/* Where does a zarr store of anndata keep its cells, its genes and the matrix that was asked for?
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/zarr_frame.h"
#include "cells/zarr_matrix.h"

/* The matrix that was asked for and the frames that name its columns. */
typedef struct {
    char *key;       /* "X", "raw/X", "layers/counts"; people call it the same */
    const char *var; /* "var", "raw/var" */
    bool is_raw;
} zarr_choice;

static bool zarr_matches(const char *path, const unsigned char *head, size_t n_head)
{
    static const char *const markers[] = {".zgroup", "zarr.json", ".zmetadata", ".zattrs"};

    if (n_head >= 4 && memcmp(head, "PK\x03\x04", 4) == 0)
        return true;
    if (n_head > 0)
        return false;
    for (size_t i = 0; i < EMC_COUNT(markers); i++) {
        char *file;
        if (emc_path_join(&file, path, markers[i]) != EMC_OK)
            return false;
        const bool is = emc_file_exists(file);
        free(file);
        if (is)
            return true;
    }
    return cells_path_ends(path, ".zarr") || cells_path_ends(path, ".zarr/");
}

/* Metadata that is broken is there, too: who opens it next says what is wrong. */
static bool has_node(zarr_store *store, const char *key, const char *name)
{
    zarr_node node = {0};
    const bool is = zarr_node_open(&node, store, key, name) != EMC_OK || node.kind != ZARR_NOTHING;

    zarr_node_close(&node);
    return is;
}

/* A raw that is written as "there is none" is an array. */
static bool has_raw(zarr_store *store)
{
    return has_node(store, "raw", "X");
}

static emc_status list_matrices(cells_strings *names, zarr_store *store)
{
    emc_status status = EMC_OK;
    cells_strings layers = {0};

    if (has_node(store, "X", NULL))
        status = cells_strings_add(names, "X", 1, "X");
    if (status == EMC_OK && has_raw(store))
        status = cells_strings_add(names, "raw", 3, "raw");
    if (status == EMC_OK)
        status = zarr_store_list(&layers, store, "layers");
    for (size_t i = 0; status == EMC_OK && i < layers.n; i++) {
        const char *name = cells_strings_at(&layers, i);
        if (name[0] != '.' && has_node(store, "layers", name)) {
            /* Names that mean something else are told with their folder. */
            const bool clashes = strcmp(name, "X") == 0 || strcmp(name, "raw") == 0;
            emc_text text = {0};
            status = emc_text_addf(&text, "%s%s", clashes ? "layers/" : "", name);
            if (status == EMC_OK)
                status = cells_strings_add(names, text.bytes, text.n, "layers");
            emc_text_free(&text);
        }
    }
    cells_strings_free(&layers);
    return status;
}

static emc_status matrices_text(emc_text *text, zarr_store *store)
{
    cells_strings names = {0};
    emc_status status = list_matrices(&names, store);

    if (status == EMC_OK)
        status = cells_list_names(text, &names);
    cells_strings_free(&names);
    return status;
}

static emc_status no_such_matrix(zarr_store *store, const char *wanted)
{
    emc_text found = {0};
    emc_status status = matrices_text(&found, store);
    const char *path = zarr_store_path(store);

    if (status == EMC_OK && found.n == 0)
        status = emc_fail(EMC_ERR_FORMAT, "%s: no matrix: neither X nor raw nor a layer", path);
    else if (status == EMC_OK && strcmp(wanted, "X") == 0)
        status = emc_fail(EMC_ERR_FORMAT, "%s: no X; choose another with --layer: %s", path,
                          found.bytes);
    else if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: no layer \"%s\"; there are: %s", path, wanted,
                          found.bytes);
    emc_text_free(&found);
    return status;
}

static emc_status choose_matrix(zarr_choice *choice, zarr_store *store, const char *layer)
{
    choice->var = "var";
    if (!layer || strcmp(layer, "X") == 0) {
        if (!has_node(store, "X", NULL))
            return no_such_matrix(store, "X");
        return emc_copy_string(&choice->key, "X");
    }
    if (strcmp(layer, "raw") == 0) {
        if (!has_raw(store))
            return no_such_matrix(store, "raw");
        choice->is_raw = true;
        choice->var = "raw/var";
        return emc_copy_string(&choice->key, "raw/X");
    }
    if (strncmp(layer, "layers/", 7) == 0)
        layer += 7;
    if (!emc_is_plain_name(layer) || layer[0] == '.' || !has_node(store, "layers", layer))
        return no_such_matrix(store, layer);
    return emc_path_join(&choice->key, "layers", layer);
}

static emc_status no_such_column(const zarr_frame *obs, const char *name, const char *path)
{
    const cells_frame frame = zarr_frame_generic(obs, "obs");
    emc_text columns = {0};
    emc_status status = cells_frame_list(&columns, &frame, obs->index, path);

    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: obs has no column \"%s\"; it has: %s", path, name,
                          columns.bytes);
    emc_text_free(&columns);
    return status;
}

static emc_status read_obs(cells_file *file, zarr_store *store, const emc_cells_options *options)
{
    zarr_frame obs = {0};
    emc_status status = zarr_frame_open(&obs, store, "obs");

    if (status == EMC_OK)
        status = zarr_frame_column(&file->cell_ids, &obs, obs.index, -1);
    file->n_cells = (int64_t)file->cell_ids.n;
    for (int i = 0; status == EMC_OK && i < options->n_obs_columns; i++) {
        const char *name = options->obs_columns[i];
        status = zarr_frame_has(&obs, name)
                     ? zarr_frame_column(&file->obs[i], &obs, name, file->n_cells)
                     : no_such_column(&obs, name, file->path);
    }
    zarr_frame_close(&obs);
    return status;
}

static emc_status read_genes(cells_file *file, zarr_store *store, const zarr_choice *choice,
                             const char *wanted)
{
    zarr_frame var = {0}, main_var = {0};
    emc_status status = zarr_frame_open(&var, store, choice->var);

    if (status == EMC_OK && choice->is_raw && has_node(store, "var", NULL))
        status = zarr_frame_open(&main_var, store, "var");
    if (status == EMC_OK) {
        const cells_frame frame = zarr_frame_generic(&var, choice->var);
        const cells_frame other = zarr_frame_generic(&main_var, "var");
        status = cells_frame_genes(file, &frame, main_var.index ? &other : NULL, wanted);
    }
    zarr_frame_close(&var);
    zarr_frame_close(&main_var);
    return status;
}

/* What to try when the chosen matrix turns out to be no expression. */
static emc_status advise(cells_file *file, zarr_store *store)
{
    emc_text all = {0};
    emc_status status = matrices_text(&all, store);

    if (status == EMC_OK && all.n && strchr(all.bytes, ','))
        status = emc_text_addf(
            &file->advice, "choose counts or log-counts with --layer (the file has %s)", all.bytes);
    else if (status == EMC_OK)
        status = emc_text_add_string(&file->advice, "the file has no other layer: write one with "
                                                    "counts or log-counts");
    emc_text_free(&all);
    return status;
}

static emc_status check_root(zarr_store *store)
{
    zarr_node root = {0};
    emc_status status = zarr_node_open(&root, store, "", NULL);

    if (status == EMC_OK &&
        (root.kind == ZARR_ARRAY || !has_node(store, "obs", NULL) || !has_node(store, "var", NULL)))
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: no zarr store with obs and var%s; wanted a folder or zip file as "
                          "anndata writes it with write_zarr",
                          zarr_store_path(store),
                          root.kind == ZARR_NOTHING ? " (and no zarr metadata at all)" : "");
    zarr_node_close(&root);
    return status;
}

static emc_status zarr_open(cells_file *file, const emc_cells_options *options)
{
    zarr_choice choice = {0};
    zarr_store *store = NULL;
    emc_status status = zarr_store_open(&store, file->path, options->allow_external);

    file->format = "zarr";
    if (status == EMC_OK)
        status = check_root(store);
    if (status == EMC_OK)
        status = choose_matrix(&choice, store, options->layer);
    if (status == EMC_OK)
        status = read_obs(file, store, options);
    if (status == EMC_OK)
        status = read_genes(file, store, &choice, options->gene_symbols);
    if (status == EMC_OK)
        status = advise(file, store);
    if (status == EMC_OK && file->n_cells > 0 && file->n_genes > 0) {
        status = zarr_matrix_open(file, store, choice.key, choice.key, options);
        if (status == EMC_OK)
            store = NULL;
    }
    zarr_store_close(store);
    free(choice.key);
    return status;
}

static emc_status zarr_list(cells_catalog *catalog, const char *path,
                            const emc_cells_options *options)
{
    zarr_frame obs = {0};
    cells_strings columns = {0};
    zarr_store *store = NULL;
    emc_status status = zarr_store_open(&store, path, options->allow_external);

    catalog->format = "zarr";
    if (status == EMC_OK)
        status = check_root(store);
    if (status == EMC_OK)
        status = list_matrices(&catalog->matrices, store);
    if (status == EMC_OK && catalog->matrices.n == 0)
        status = no_such_matrix(store, "X");
    if (status == EMC_OK)
        status = zarr_frame_open(&obs, store, "obs");
    if (status == EMC_OK)
        status = zarr_frame_columns(&columns, &obs);
    for (size_t i = 0; status == EMC_OK && i < columns.n; i++) {
        const char *name = cells_strings_at(&columns, i);
        if (strcmp(name, obs.index) != 0)
            status = cells_strings_add(&catalog->columns, name, strlen(name), path);
    }
    cells_strings_free(&columns);
    zarr_frame_close(&obs);
    zarr_store_close(store);
    return status;
}

const cells_format cells_format_zarr = {zarr_matches, zarr_open, zarr_list};
