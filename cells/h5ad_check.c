/* What keeps an .h5ad from taking the columns, told before any work? */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

static emc_status check_name(const char *name, const char *what)
{
    if (!name || !emc_is_plain_name(name) || emc_utf8_valid(name, strlen(name)) < strlen(name) ||
        strcmp(name, "_index") == 0 || strcmp(name, "__categories") == 0 ||
        strcmp(name, H5AD_STAGE) == 0)
        return emc_fail(EMC_ERR_USAGE,
                        "\"%s\" cannot be the name of %s in an .h5ad; wanted UTF-8 without \"/\"",
                        name ? name : "", what);
    return EMC_OK;
}

static emc_status check_column(const emc_h5ad_column *column)
{
    EMC_TRY(check_name(column->name, "a column"));
    if (column->type == EMC_H5AD_FLOAT)
        return EMC_OK;
    if (column->n_categories < 0 || (column->first_is_missing && column->n_categories < 1))
        return emc_fail(EMC_ERR_ARG, "column \"%s\": %d categories", column->name,
                        column->n_categories);
    for (int i = 0; i < column->n_categories; i++) {
        const char *text = column->categories[i];
        if (!text || emc_utf8_valid(text, strlen(text)) < strlen(text))
            return emc_fail(EMC_ERR_ARG, "column \"%s\": category %d is not UTF-8", column->name,
                            i);
    }
    return EMC_OK;
}

static emc_status check_content(const emc_h5ad_content *content)
{
    for (int i = 0; i < content->n_columns; i++) {
        EMC_TRY(check_column(&content->columns[i]));
        for (int j = 0; j < i; j++) {
            if (strcmp(content->columns[i].name, content->columns[j].name) == 0)
                return emc_fail(EMC_ERR_ARG, "column \"%s\" comes twice", content->columns[i].name);
        }
    }
    if (content->matrix)
        EMC_TRY(check_name(content->matrix, "a matrix"));
    for (int i = 0; content->matrix && i < content->n_matrix; i++)
        EMC_TRY(check_name(content->matrix_names[i], "a column of obsm"));
    if (content->uns)
        EMC_TRY(check_name(content->uns, "an entry of uns"));
    for (int i = 0; i < content->n_facts; i++)
        EMC_TRY(check_name(content->facts[i].name, "an entry of uns"));
    return EMC_OK;
}

h5ad_style h5ad_style_of(hid_t obs)
{
    h5ad_style style = H5AD_ENCODED;
    char *version = NULL;

    if (H5Iget_type(obs) == H5I_DATASET)
        return H5AD_COMPOUND;
    if (cells_h5_attribute(&version, obs, "encoding-version", "") != EMC_OK || !version)
        style = H5AD_FLAT;
    else if (strcmp(version, "0.1.0") == 0)
        style = H5AD_FLAT;
    free(version);
    return style;
}

/* ---- the input ---- */

/* Entries of the index, whatever encoding it has. */
static emc_status count_cells(hsize_t *n, hid_t obs, const char *index, const char *path)
{
    hid_t object, inner = -1;
    emc_status status;

    if (H5Iget_type(obs) == H5I_DATASET)
        return cells_h5_dims(n, 1, obs, path);
    EMC_TRY(cells_h5_open(&object, obs, index, path));
    if (H5Iget_type(object) == H5I_DATASET) {
        status = cells_h5_dims(n, 1, object, path);
    } else {
        status = cells_h5_open_dataset(&inner, object,
                                       cells_h5_has(object, "values") ? "values" : "codes", path);
        if (status == EMC_OK)
            status = cells_h5_dims(n, 1, inner, path);
    }
    cells_h5_close(inner);
    cells_h5_close(object);
    return status;
}

static emc_status taken(const emc_h5ad_out_options *options, const char *where, const char *name)
{
    if (options->overwrite)
        return EMC_OK;
    return emc_fail(EMC_ERR_USAGE,
                    "%s: %s has \"%s\" already; choose other names with --key-added, or replace it "
                    "with --overwrite-columns",
                    options->input_path, where, name);
}

static emc_status check_obs(const emc_h5ad_out_options *options, const emc_h5ad_content *content,
                            hid_t obs, const char *index)
{
    hsize_t n;

    EMC_TRY(count_cells(&n, obs, index, options->input_path));
    if (n != (hsize_t)options->n_cells)
        return emc_fail(EMC_ERR_FORMAT, "%s: obs has %llu cells, wanted %lld", options->input_path,
                        (unsigned long long)n, (long long)options->n_cells);
    for (int i = 0; i < content->n_columns; i++) {
        const char *name = content->columns[i].name;
        if (strcmp(name, index) == 0)
            return emc_fail(EMC_ERR_USAGE,
                            "%s: \"%s\" is the index of obs; choose another with --key-added",
                            options->input_path, name);
        if (cells_h5_frame_has(obs, name))
            EMC_TRY(taken(options, "obs", name));
    }
    return EMC_OK;
}

/* A group that takes an entry more. */
static emc_status check_group(const emc_h5ad_out_options *options, hid_t root, const char *group,
                              const char *name)
{
    const char *path = options->input_path;
    emc_status status = EMC_OK;
    hid_t at;

    if (!name || !cells_h5_has(root, group))
        return EMC_OK;
    EMC_TRY(cells_h5_open(&at, root, group, path));
    if (H5Iget_type(at) != H5I_GROUP)
        status =
            emc_fail(EMC_ERR_USAGE,
                     "%s: %s is one table, as anndata wrote it before 0.7, and takes no entry; "
                     "write the results alone with --h5ad obs",
                     path, group);
    else if (cells_h5_has(at, name))
        status = taken(options, group, name);
    cells_h5_close(at);
    return status;
}

/* The index of a frame by its name. */
static emc_status name_index(char **out, hid_t obs, const char *path)
{
    if (H5Iget_type(obs) == H5I_DATASET) {
        const hid_t type = H5Dget_type(obs);
        char *name = NULL;
        if (type >= 0 && H5Tget_class(type) == H5T_COMPOUND)
            name = H5Tget_member_name(type, 0);
        const emc_status status =
            name ? emc_copy_string(out, name)
                 : cells_h5_fail(EMC_ERR_FORMAT, path, obs, "neither a group nor a compound");
        H5free_memory(name);
        if (type >= 0)
            H5Tclose(type);
        return status;
    }
    EMC_TRY(cells_h5_attribute(out, obs, "_index", path));
    return *out ? EMC_OK : emc_copy_string(out, cells_h5_has(obs, "_index") ? "_index" : "index");
}

typedef struct {
    hid_t root;
    const emc_h5ad_out_options *options;
} link_check;

static emc_status check_link(void *context, const char *name)
{
    const link_check *at = context;
    const char *file, *place;
    emc_status status = EMC_OK;
    char *value = NULL;
    unsigned flags;
    H5L_info_t link;

    if (H5Lget_info(at->root, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_EXTERNAL)
        return EMC_OK;
    EMC_TRY(emc_alloc(&value, link.u.val_size + 1, 1, "a link"));
    if (H5Lget_val(at->root, name, value, link.u.val_size, H5P_DEFAULT) >= 0 &&
        H5Lunpack_elink_val(value, link.u.val_size, &flags, &file, &place) >= 0 && file[0] != '/')
        status = emc_fail(EMC_ERR_USAGE,
                          "%s: %s is a link to %s beside it, which a copy in another folder would "
                          "lose; write the output into the folder of the input",
                          at->options->input_path, name, file);
    free(value);
    return status;
}

/* A copy of a file of links keeps them, and relative ones lead on from where the copy lies. */
static emc_status check_links(const emc_h5ad_out_options *options, hid_t root)
{
    const char *in = strrchr(options->input_path, '/'), *out = strrchr(options->path, '/');
    link_check at = {root, options};
    emc_status status = EMC_OK;
    char *a = NULL, *b = NULL;

    status = emc_copy_bytes(&a, in ? options->input_path : "./",
                            in ? (size_t)(in - options->input_path) + 1 : 2);
    if (status == EMC_OK)
        status = emc_copy_bytes(&b, out ? options->path : "./",
                                out ? (size_t)(out - options->path) + 1 : 2);
    struct stat here, there;
    if (status == EMC_OK && (stat(a, &here) != 0 || stat(b, &there) != 0 ||
                             here.st_dev != there.st_dev || here.st_ino != there.st_ino))
        status = cells_h5_each_link(root, options->input_path, check_link, &at);
    free(a);
    free(b);
    return status;
}

static emc_status check_input(const emc_h5ad_out_options *options, const emc_h5ad_content *content,
                              hid_t root)
{
    const char *path = options->input_path;
    hid_t obs;
    char *index = NULL;
    emc_status status;

    EMC_TRY(cells_h5_open(&obs, root, "obs", path));
    const bool compound = h5ad_style_of(obs) == H5AD_COMPOUND;
    status = name_index(&index, obs, path);
    if (status == EMC_OK)
        status = check_obs(options, content, obs, index);
    if (status == EMC_OK && options->kind == EMC_H5AD_COPY)
        status = check_links(options, root);
    if (status == EMC_OK)
        status = check_group(options, root, "uns", content->uns ? content->uns : "");
    if (status == EMC_OK)
        status = check_group(options, root, "obsm", content->matrix);
    if (status == EMC_OK && compound && content->matrix)
        status =
            emc_fail(EMC_ERR_USAGE,
                     "%s: written by anndata before 0.7, whose obsm takes no data frame; leave "
                     "out --obsm-probabilities, or write the results alone with --h5ad obs",
                     path);
    if (status == EMC_OK && compound && options->kind == EMC_H5AD_IN_PLACE)
        status = emc_fail(EMC_ERR_USAGE,
                          "%s: written by anndata before 0.7, whose obs cannot take a column in "
                          "place; leave out --in-place",
                          path);
    free(index);
    cells_h5_close(obs);
    return status;
}

static emc_status check_in_place(const char *path)
{
    const char *network = cells_network_of(path);
    struct stat st;

    if (network)
        return emc_fail(EMC_ERR_USAGE,
                        "%s: lies on %s, where a write that breaks off can leave the file "
                        "unreadable; leave out --in-place",
                        path, network);
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || access(path, W_OK) != 0)
        return emc_fail(EMC_ERR_CREATE, "%s: cannot be written to; leave out --in-place", path);
    return EMC_OK;
}

static emc_status check_output(const emc_h5ad_out_options *options)
{
    const char *path = options->path;
    emc_out_file *file;
    struct stat st;

    if (!path || !*path || strcmp(path, "-") == 0 ||
        (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return emc_fail(EMC_ERR_USAGE, "%s: an .h5ad wants a file, no pipe or device",
                        path ? path : "");
    if (options->input_path && emc_same_file(path, options->input_path))
        return emc_fail(EMC_ERR_USAGE,
                        "%s: would replace the input; name another file, or use --in-place", path);
    EMC_TRY(emc_out_file_open(&file, path));
    emc_out_file_close(file);
    return EMC_OK;
}

emc_status h5ad_check(const emc_h5ad_out_options *options, const emc_h5ad_content *content)
{
    emc_status status;
    hid_t root;

    if (options->n_cells < 0)
        return emc_fail(EMC_ERR_ARG, "%lld cells", (long long)options->n_cells);
    EMC_TRY(check_content(content));
    if (options->kind == EMC_H5AD_IN_PLACE)
        EMC_TRY(check_in_place(options->input_path));
    else
        EMC_TRY(check_output(options));
    if (options->kind == EMC_H5AD_OBS)
        return EMC_OK;
    EMC_TRY(cells_h5_open_file_with(&root, options->input_path, options->allow_external));
    status = check_input(options, content, root);
    cells_h5_close(root);
    return status;
}
