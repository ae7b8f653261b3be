/* Which file do the columns go into: a copy, links, nothing but them, or the input itself? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

/* Objects are in the oldest form that holds them, which is the library's own default and does not
 * raise the version of a file. */
static emc_status open_to_write(emc_h5ad_out *out, bool lock)
{
    emc_status status = EMC_OK;

    /* A file of our own needs no lock, and some mounts have none. */
    out->disk.lock = lock;
    const hid_t access = cells_h5_disk_access(&out->disk);
    if (access >= 0)
        out->root = H5Fopen(out->opened, H5F_ACC_RDWR, access);
    if (out->root < 0 && lock && out->disk.error == EWOULDBLOCK)
        status = emc_fail(EMC_ERR_CREATE, "%s: another program has it open", out->path);
    else if (out->root < 0)
        status = cells_h5_disk_check(&out->disk, out->path);
    if (out->root < 0 && status == EMC_OK)
        status = cells_h5_broken(out->path, -1, "opening to write");
    if (access >= 0)
        H5Pclose(access);
    return status;
}

static emc_status create(emc_h5ad_out *out)
{
    const hid_t access = cells_h5_disk_access(&out->disk);
    emc_status status = EMC_OK;

    if (access >= 0)
        out->root = H5Fcreate(out->opened, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (out->root < 0)
        status = cells_h5_put_failed(out->path, -1, "making the file");
    if (access >= 0)
        H5Pclose(access);
    return status;
}

/* ---- the results alone ---- */

/* A group with its encoding, closed again. */
static emc_status put_plain(emc_h5ad_out *out, const char *name, const char *type,
                            const char *version)
{
    hid_t group;

    EMC_TRY(cells_h5_put_group(&group, out->root, name, out->path));
    const emc_status status = cells_h5_put_encoding(group, type, version, out->path);
    cells_h5_close(group);
    return status;
}

/* A data frame without columns; *index is the dataset of its names, closed by the caller. */
static emc_status put_frame(emc_h5ad_out *out, hid_t *index, const char *name, hsize_t n)
{
    const hid_t type = cells_h5_text_type();
    hid_t group;
    emc_status status = cells_h5_put_group(&group, out->root, name, out->path);

    *index = -1;
    if (status == EMC_OK)
        status = cells_h5_put_encoding(group, "dataframe", "0.2.0", out->path);
    if (status == EMC_OK)
        status = cells_h5_put_attribute(group, "_index", "_index", out->path);
    if (status == EMC_OK)
        status = cells_h5_put_names(group, "column-order", NULL, 0, out->path);
    if (status == EMC_OK)
        status = cells_h5_put_vector(index, group, "_index", type, n, out->path);
    if (status == EMC_OK)
        status = cells_h5_put_encoding(*index, "string-array", "0.2.0", out->path);
    if (type >= 0)
        H5Tclose(type);
    cells_h5_close(group);
    return status;
}

static emc_status make_alone(emc_h5ad_out *out)
{
    static const char *const groups[] = {"layers", "obsm", "obsp", "uns", "varm", "varp"};
    hid_t genes;

    EMC_TRY(create(out));
    EMC_TRY(cells_h5_put_encoding(out->root, "anndata", "0.1.0", out->path));
    EMC_TRY(put_frame(out, &out->index, "obs", (hsize_t)out->options.n_cells));
    EMC_TRY(put_frame(out, &genes, "var", 0));
    cells_h5_close(genes);
    for (size_t i = 0; i < EMC_COUNT(groups); i++)
        EMC_TRY(put_plain(out, groups[i], "dict", "0.1.0"));
    return emc_alloc(&out->ids, H5AD_BAND, sizeof *out->ids, "cell names");
}

/* ---- links ---- */

/* A group of the input that gets a group of its own here, with a link for each of its members. */
typedef struct {
    emc_h5ad_out *out;
    hid_t to;
    const char *file;  /* as the links name it */
    const char *place; /* of the group in the input, "" for its root */
    hid_t from;
} linking;

static emc_status link_all(emc_h5ad_out *out, hid_t from, hid_t to, const char *file,
                           const char *place);

/* obs and uns get new members, as do the categories of a flat frame, and obsm where asked for. */
static bool is_opened(const linking *at, const char *name)
{
    const emc_h5ad_out *out = at->out;

    if (strcmp(at->place, "/obs") == 0)
        return out->style == H5AD_FLAT && strcmp(name, "__categories") == 0;
    if (at->place[0])
        return false;
    return strcmp(name, "obs") == 0 || strcmp(name, "uns") == 0 ||
           (out->content->matrix && strcmp(name, "obsm") == 0);
}

static emc_status link_one(void *context, const char *name)
{
    const linking *at = context;
    emc_h5ad_out *out = at->out;
    hid_t from = -1, to = -1;
    emc_text place = {0};
    emc_status status;

    if (!at->place[0] && out->style == H5AD_COMPOUND && strcmp(name, "obs") == 0)
        return EMC_OK; /* written anew */
    status = emc_text_addf(&place, "%s/%s", at->place, name);
    if (status == EMC_OK && is_opened(at, name)) {
        status = cells_h5_open_group(&from, at->from, name, out->options.input_path);
        if (status == EMC_OK)
            status = cells_h5_put_group(&to, at->to, name, out->path);
        if (status == EMC_OK)
            status = link_all(out, from, to, at->file, place.bytes);
    } else if (status == EMC_OK && H5Lcreate_external(at->file, place.bytes, at->to, name,
                                                      H5P_DEFAULT, H5P_DEFAULT) < 0) {
        status = cells_h5_put_failed(out->path, at->to, "linking");
    }
    cells_h5_close(from);
    cells_h5_close(to);
    emc_text_free(&place);
    return status;
}

static emc_status link_all(emc_h5ad_out *out, hid_t from, hid_t to, const char *file,
                           const char *place)
{
    linking at = {out, to, file, place, from};

    EMC_TRY(cells_h5_copy_attributes(from, to, out->path));
    return cells_h5_each_link(from, out->options.input_path, link_one, &at);
}

/* How the links name the input: relative when it lies in the folder of the output or below, so that
 * the two can be moved together; else absolute. */
static emc_status name_target(char **out, const char *input, const char *output)
{
    char *real = realpath(input, NULL), *folder = NULL, *real_folder = NULL;
    const char *slash = strrchr(output, '/');
    emc_status status = EMC_OK;

    *out = NULL;
    if (slash)
        status = emc_copy_bytes(&folder, output, (size_t)(slash - output) + 1);
    else
        status = emc_copy_string(&folder, ".");
    if (status == EMC_OK)
        real_folder = realpath(folder, NULL);
    if (status == EMC_OK && (!real || !real_folder))
        status = emc_fail(EMC_ERR_IO, "%s: its place cannot be found", input);
    if (status == EMC_OK) {
        const size_t n = strlen(real_folder);
        const bool below = strncmp(real, real_folder, n) == 0 && real[n] == '/';
        status = emc_copy_string(out, below ? real + n + 1 : real);
    }
    free(folder);
    free(real_folder);
    free(real);
    return status;
}

static emc_status make_links(emc_h5ad_out *out)
{
    char *target = NULL;
    emc_status status;

    EMC_TRY(
        cells_h5_open_file_with(&out->input, out->options.input_path, out->options.allow_external));
    EMC_TRY(create(out));
    EMC_TRY(name_target(&target, out->options.input_path, out->options.path));
    status = link_all(out, out->input, out->root, target, "");
    if (status == EMC_OK && out->options.on_log) {
        emc_text line = {0};
        status = emc_text_addf(
            &line, "%s: links to %s (%s) and breaks when that moves", out->options.path, target,
            target[0] == '/' ? "an absolute path" : "beside or below it: move both together");
        if (status == EMC_OK)
            out->options.on_log(out->options.context, line.bytes);
        emc_text_free(&line);
    }
    free(target);
    return status;
}

/* ---- all kinds ---- */

static emc_status find_style(emc_h5ad_out *out)
{
    hid_t root, obs;
    emc_status status;

    if (out->options.kind == EMC_H5AD_OBS)
        return EMC_OK;
    EMC_TRY(cells_h5_open_file_with(&root, out->options.input_path, out->options.allow_external));
    status = cells_h5_open(&obs, root, "obs", out->options.input_path);
    if (status == EMC_OK)
        out->style = h5ad_style_of(obs);
    cells_h5_close(obs);
    cells_h5_close(root);
    return status;
}

emc_status h5ad_make(emc_h5ad_out *out)
{
    const emc_h5ad_out_options *options = &out->options;

    EMC_TRY(find_style(out));
    if (options->kind == EMC_H5AD_IN_PLACE) {
        out->path = out->opened = options->input_path;
        if (options->on_log)
            options->on_log(options->context,
                            "writing into the input: a kill or a full disk now can leave it "
                            "unreadable");
        return open_to_write(out, true);
    }
    EMC_TRY(emc_out_file_open(&out->file, options->path));
    out->opened = emc_out_file_temporary(out->file);
    if (options->kind == EMC_H5AD_OBS)
        return make_alone(out);
    if (options->kind == EMC_H5AD_LINK)
        return make_links(out);
    EMC_TRY(cells_copy_file(options->input_path, out->opened, options->cancel));
    return open_to_write(out, false);
}
