/* Where does an .h5ad file keep its cells, its genes and the matrix that was asked for? */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/genes.h"
#include "cells/h5.h"

/* The matrix that was asked for and the frame that names its columns. */
typedef struct {
    hid_t matrix;
    char *matrix_name; /* "X", "raw/X", "layers/counts" */
    cells_h5_gene_frames genes;
} h5ad_choice;

/* What else the file offers: "raw", the layers. Empty when there is nothing. */
static emc_status list_matrices(emc_text *text, hid_t root, const char *path)
{
    emc_status status = EMC_OK;
    cells_strings names = {0};
    hid_t layers = -1;

    if (cells_h5_has(root, "X"))
        status = cells_strings_add(&names, "X", 1, path);
    if (status == EMC_OK && (cells_h5_has(root, "raw") || cells_h5_has(root, "raw.X")))
        status = cells_strings_add(&names, "raw", 3, path);
    if (status == EMC_OK && cells_h5_has(root, "layers"))
        status = cells_h5_open_group(&layers, root, "layers", path);
    if (status == EMC_OK && layers >= 0)
        status = cells_h5_names(layers, &names, path);
    if (status == EMC_OK)
        status = cells_h5_list(text, &names);
    cells_h5_close(layers);
    cells_strings_free(&names);
    return status;
}

static emc_status no_such_matrix(hid_t root, const char *wanted, const char *path)
{
    emc_text found = {0};
    emc_status status = list_matrices(&found, root, path);

    if (status == EMC_OK && found.n == 0)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: no matrix: neither X nor raw nor a layer; is it an "
                          ".h5ad file?",
                          path);
    else if (status == EMC_OK && strcmp(wanted, "X") == 0)
        status = emc_fail(EMC_ERR_FORMAT, "%s: no X; choose another with --layer: %s", path,
                          found.bytes);
    else if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: no layer \"%s\"; there are: %s", path, wanted,
                          found.bytes);
    emc_text_free(&found);
    return status;
}

static emc_status choose_raw(h5ad_choice *choice, hid_t root, const char *path)
{
    emc_status status;
    hid_t raw;

    choice->genes.name = "raw/var";
    EMC_TRY(emc_copy_string(&choice->matrix_name, "raw/X"));
    EMC_TRY(cells_h5_open(&choice->genes.other, root, "var", path));
    if (cells_h5_has(root, "raw.X")) { /* before anndata 0.7 */
        EMC_TRY(cells_h5_open(&choice->matrix, root, "raw.X", path));
        return cells_h5_open(&choice->genes.var, root, "raw.var", path);
    }
    if (!cells_h5_has(root, "raw"))
        return no_such_matrix(root, "raw", path);
    EMC_TRY(cells_h5_open(&raw, root, "raw", path));
    if (H5Iget_type(raw) != H5I_GROUP) { /* how a missing raw is written */
        cells_h5_close(raw);
        return emc_fail(EMC_ERR_USAGE, "%s: raw is empty; choose another --layer", path);
    }
    status = cells_h5_open(&choice->matrix, raw, "X", path);
    if (status == EMC_OK)
        status = cells_h5_open(&choice->genes.var, raw, "var", path);
    cells_h5_close(raw);
    return status;
}

static emc_status choose_layer(h5ad_choice *choice, hid_t root, const char *layer, const char *path)
{
    emc_status status;
    hid_t layers = -1;

    if (!cells_h5_has(root, "layers"))
        return no_such_matrix(root, layer, path);
    EMC_TRY(cells_h5_open_group(&layers, root, "layers", path));
    if (!emc_is_plain_name(layer) || !cells_h5_has(layers, layer))
        status = no_such_matrix(root, layer, path);
    else
        status = cells_h5_open(&choice->matrix, layers, layer, path);
    cells_h5_close(layers);
    if (status == EMC_OK)
        status = emc_path_join(&choice->matrix_name, "layers", layer);
    return status;
}

static emc_status choose_matrix(h5ad_choice *choice, hid_t root, const char *layer,
                                const char *path)
{
    if (!cells_h5_has(root, "obs") || !cells_h5_has(root, "var")) {
        const bool is_10x = cells_h5_has(root, "matrix");
        return emc_fail(EMC_ERR_FORMAT, "%s: no %s; %s", path,
                        cells_h5_has(root, "obs") ? "var" : "obs",
                        is_10x ? "this looks like a 10x or loom file: convert it to .h5ad"
                               : "is it an .h5ad file?");
    }
    if (layer && strcmp(layer, "raw") == 0)
        return choose_raw(choice, root, path);
    choice->genes.name = "var";
    if (!layer || strcmp(layer, "X") == 0) {
        if (!cells_h5_has(root, "X"))
            return no_such_matrix(root, "X", path);
        EMC_TRY(emc_copy_string(&choice->matrix_name, "X"));
        EMC_TRY(cells_h5_open(&choice->matrix, root, "X", path));
    } else {
        if (strncmp(layer, "layers/", 7) == 0)
            layer += 7;
        EMC_TRY(choose_layer(choice, root, layer, path));
    }
    return cells_h5_open(&choice->genes.var, root, "var", path);
}

static emc_status read_obs(cells_file *file, hid_t root, const emc_cells_options *options)
{
    emc_status status;
    char *index = NULL;
    hid_t obs;

    EMC_TRY(cells_h5_open(&obs, root, "obs", file->path));
    status = cells_h5_frame_index_name(&index, obs, file->path);
    if (status == EMC_OK)
        status = cells_h5_ids_open(file, obs, index);
    for (int i = 0; status == EMC_OK && i < options->n_obs_columns; i++) {
        const char *name = options->obs_columns[i];
        if (!cells_h5_frame_has(obs, name)) {
            emc_text columns = {0};
            status = cells_h5_list_columns(&columns, obs, index, file->path);
            if (status == EMC_OK)
                status = emc_fail(EMC_ERR_USAGE, "%s: obs has no column \"%s\"; it has: %s",
                                  file->path, name, columns.bytes);
            emc_text_free(&columns);
        } else {
            status = cells_h5_column(&file->obs[i], obs, name, file->n_cells, file->path);
        }
    }
    free(index);
    cells_h5_close(obs);
    return status;
}

/* What to try when the chosen matrix turns out to be no expression. */
static emc_status advise(cells_file *file, hid_t root)
{
    emc_text all = {0};
    emc_status status = list_matrices(&all, root, file->path);

    if (status == EMC_OK && strchr(all.bytes, ','))
        status = emc_text_addf(
            &file->advice, "choose counts or log-counts with --layer (the file has %s)", all.bytes);
    else if (status == EMC_OK)
        status = emc_text_add_string(&file->advice, "the file has no other layer: write one with "
                                                    "counts or log-counts");
    emc_text_free(&all);
    return status;
}

static emc_status h5ad_read_frame(cells_file *file, hid_t root, const emc_cells_options *options)
{
    h5ad_choice choice = {.matrix = -1, .genes = {.var = -1, .other = -1}};
    emc_status status = choose_matrix(&choice, root, options->layer, file->path);

    if (status == EMC_OK)
        status = read_obs(file, root, options);
    if (status == EMC_OK)
        status = cells_h5_genes(file, &choice.genes, options->gene_symbols);
    if (status == EMC_OK)
        status = advise(file, root);
    if (status == EMC_OK && file->n_cells > 0 && file->n_genes > 0) {
        status = cells_h5_matrix_open(file, choice.matrix, choice.matrix_name, options);
        choice.matrix = -1;
    }
    cells_h5_close(choice.matrix);
    cells_h5_close(choice.genes.var);
    cells_h5_close(choice.genes.other);
    free(choice.matrix_name);
    return status;
}

emc_status cells_h5ad_open(cells_file *file, hid_t root, const emc_cells_options *options)
{
    file->format = "h5ad";
    return h5ad_read_frame(file, root, options);
}
