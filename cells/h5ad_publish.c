/* In which order does what is staged reach its place, so that a reader never sees a half column? */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

/* Moves one link, in place of one of that name. */
static emc_status move(const emc_h5ad_out *out, hid_t from, const char *name, hid_t to,
                       const char *as)
{
    if (cells_h5_has(to, as) && H5Ldelete(to, as, H5P_DEFAULT) < 0)
        return cells_h5_put_failed(out->path, to, "replacing a column");
    if (H5Lmove(from, name, to, as, H5P_DEFAULT, H5P_DEFAULT) < 0)
        return cells_h5_put_failed(out->path, to, "adding a column");
    return EMC_OK;
}

/* ---- the list of columns ---- */

static emc_status add_texts(cells_strings *names, hid_t attribute, size_t n, const char *path)
{
    const hid_t type = cells_h5_text_type(), space = H5Aget_space(attribute);
    emc_status status = EMC_OK;
    char **texts = NULL;

    if (type < 0 || space < 0)
        status = emc_fail(EMC_ERR_NOMEM, "%s: the HDF5 library cannot be set up", path);
    if (status == EMC_OK)
        status = emc_alloc(&texts, n, sizeof *texts, "the list of columns");
    const hid_t stored = H5Aget_type(attribute);
    if (stored >= 0)
        H5Tset_cset(type, H5Tget_cset(stored));
    if (status == EMC_OK && H5Aread(attribute, type, texts) < 0)
        status = cells_h5_broken(path, attribute, "reading the list of columns");
    for (size_t i = 0; status == EMC_OK && i < n; i++)
        status = cells_strings_add(names, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) : 0,
                                   path);
    if (texts && status == EMC_OK)
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, texts);
    free(texts);
    if (stored >= 0)
        H5Tclose(stored);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

/* Texts of one length each are read as they are: the library does not turn them into others. */
static emc_status add_fixed(cells_strings *names, hid_t attribute, hid_t type, size_t n,
                            const char *path)
{
    const size_t width = H5Tget_size(type);
    emc_status status = EMC_OK;
    char *bytes = NULL;

    EMC_TRY(emc_alloc(&bytes, n, width, "the list of columns"));
    if (H5Aread(attribute, type, bytes) < 0)
        status = cells_h5_broken(path, attribute, "reading the list of columns");
    for (size_t i = 0; status == EMC_OK && i < n; i++)
        status =
            cells_strings_add(names, bytes + i * width, strnlen(bytes + i * width, width), path);
    free(bytes);
    return status;
}

/* The names in the attribute; of a frame without one, its own links. */
static emc_status read_order(cells_strings *names, hid_t frame, const char *path)
{
    emc_status status = EMC_OK;

    if (H5Aexists(frame, "column-order") <= 0)
        return cells_h5_names(frame, names, path);
    const hid_t attribute = H5Aopen(frame, "column-order", H5P_DEFAULT);
    const hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    const hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    const hssize_t n = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    /* No columns at all are often written as an empty array of numbers. */
    if (type < 0 || n < 0 || (n > 0 && H5Tget_class(type) != H5T_STRING))
        status = cells_h5_fail(EMC_ERR_FORMAT, path, frame, "column-order is no list of names");
    else if (n > 0 && H5Tis_variable_str(type) > 0)
        status = add_texts(names, attribute, (size_t)n, path);
    else if (n > 0)
        status = add_fixed(names, attribute, type, (size_t)n, path);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    return status;
}

static bool listed(const cells_strings *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(cells_strings_at(names, i), name) == 0)
            return true;
    }
    return false;
}

/* A name that is there keeps its place; new ones follow. */
static emc_status write_order(const emc_h5ad_out *out, hid_t obs, const cells_strings *old,
                              const char *index)
{
    const emc_h5ad_content *content = out->content;
    const char **names = NULL;
    size_t n = 0;
    emc_status status;

    EMC_TRY(emc_alloc(&names, old->n + (size_t)content->n_columns, sizeof *names, "columns"));
    for (size_t i = 0; i < old->n; i++) {
        const char *name = cells_strings_at(old, i);
        if (strcmp(name, index) != 0 && strcmp(name, "__categories") != 0)
            names[n++] = name;
    }
    for (int i = 0; i < content->n_columns; i++) {
        if (!listed(old, content->columns[i].name))
            names[n++] = content->columns[i].name;
    }
    status = cells_h5_put_names(obs, "column-order", names, n, out->path);
    free(names);
    return status;
}

/* ---- moving ---- */

static emc_status flush(const emc_h5ad_out *out)
{
    if (H5Fflush(out->root, H5F_SCOPE_LOCAL) < 0)
        return cells_h5_put_failed(out->path, -1, "writing");
    return cells_h5_disk_check(&out->disk, out->path);
}

static emc_status move_columns(const emc_h5ad_out *out, hid_t staged, hid_t obs)
{
    const emc_h5ad_content *content = out->content;
    hid_t from = -1, to = -1;
    emc_status status = EMC_OK;

    if (out->style == H5AD_FLAT && cells_h5_has(out->stage, H5AD_STAGE_CATEGORIES)) {
        status = cells_h5_open_group(&from, out->stage, H5AD_STAGE_CATEGORIES, out->path);
        if (status == EMC_OK)
            status = cells_h5_put_group(&to, obs, "__categories", out->path);
    }
    for (int i = 0; status == EMC_OK && i < content->n_columns; i++) {
        const char *name = content->columns[i].name;
        if (to >= 0 && content->columns[i].type == EMC_H5AD_CATEGORY)
            status = move(out, from, name, to, name);
        else if (to >= 0 && cells_h5_has(to, name) && H5Ldelete(to, name, H5P_DEFAULT) < 0)
            status = cells_h5_put_failed(out->path, to, "replacing a column");
        if (status == EMC_OK)
            status = move(out, staged, name, obs, name);
    }
    cells_h5_close(from);
    cells_h5_close(to);
    return status;
}

/* A second link to the index of obs, whatever kind of link that is. */
static emc_status publish_matrix(const emc_h5ad_out *out, hid_t obs, const char *index)
{
    const char *name = out->content->matrix;
    hid_t frame, obsm = -1;
    emc_status status;

    if (!name)
        return EMC_OK;
    EMC_TRY(cells_h5_open_group(&frame, out->stage, H5AD_STAGE_MATRIX, out->path));
    status = H5Lcopy(obs, index, frame, "_index", H5P_DEFAULT, H5P_DEFAULT) < 0
                 ? cells_h5_put_failed(out->path, frame, "linking the index")
                 : EMC_OK;
    cells_h5_close(frame);
    EMC_TRY(status);
    const bool had = cells_h5_has(out->root, "obsm");
    EMC_TRY(cells_h5_put_group(&obsm, out->root, "obsm", out->path));
    status = EMC_OK;
    if (!had && out->style == H5AD_ENCODED)
        status = cells_h5_put_encoding(obsm, "dict", "0.1.0", out->path);
    if (status == EMC_OK)
        status = move(out, out->stage, H5AD_STAGE_MATRIX, obsm, name);
    cells_h5_close(obsm);
    return status;
}

/* Facts, the categories of a compound, and the end of the stage. */
static emc_status publish_uns(emc_h5ad_out *out)
{
    const emc_h5ad_content *content = out->content;
    hid_t uns, from = -1;
    emc_status status;

    EMC_TRY(cells_h5_open_group(&uns, out->root, "uns", out->path));
    status = content->uns ? move(out, out->stage, H5AD_STAGE_UNS, uns, content->uns) : EMC_OK;
    if (status == EMC_OK && out->style == H5AD_COMPOUND &&
        cells_h5_has(out->stage, H5AD_STAGE_CATEGORIES))
        status = cells_h5_open_group(&from, out->stage, H5AD_STAGE_CATEGORIES, out->path);
    for (int i = 0; status == EMC_OK && from >= 0 && i < content->n_columns; i++) {
        emc_text name = {0};
        if (content->columns[i].type != EMC_H5AD_CATEGORY)
            continue;
        status = emc_text_addf(&name, "%s_categories", content->columns[i].name);
        if (status == EMC_OK)
            status = move(out, from, content->columns[i].name, uns, name.bytes);
        emc_text_free(&name);
    }
    cells_h5_close(from);
    cells_h5_close(out->stage);
    out->stage = -1;
    if (status == EMC_OK && H5Ldelete(uns, H5AD_STAGE, H5P_DEFAULT) < 0)
        status = cells_h5_put_failed(out->path, uns, "tidying up");
    cells_h5_close(uns);
    return status;
}

/* The name of a frame's index. */
static emc_status index_name(char **out, hid_t frame, const char *path)
{
    EMC_TRY(cells_h5_attribute(out, frame, "_index", path));
    return *out ? EMC_OK : emc_copy_string(out, cells_h5_has(frame, "_index") ? "_index" : "index");
}

static emc_status publish_frame(emc_h5ad_out *out)
{
    cells_strings order = {0};
    hid_t staged = -1, obs = -1;
    char *index = NULL;
    emc_status status = cells_h5_open_group(&staged, out->stage, H5AD_STAGE_OBS, out->path);

    if (status == EMC_OK)
        status = cells_h5_open_group(&obs, out->root, "obs", out->path);
    if (status == EMC_OK)
        status = index_name(&index, obs, out->path);
    if (status == EMC_OK)
        status = read_order(&order, obs, out->path);
    if (status == EMC_OK)
        status = move_columns(out, staged, obs);
    cells_h5_close(staged);
    if (status == EMC_OK)
        status = publish_matrix(out, obs, index);
    if (status == EMC_OK)
        status = publish_uns(out);
    if (status == EMC_OK)
        status = flush(out);
    if (status == EMC_OK)
        status = write_order(out, obs, &order, index);
    cells_h5_close(obs);
    cells_strings_free(&order);
    free(index);
    return status;
}

/* A linked file has no obs yet; a copy has the old one, whose place the new one takes. */
static emc_status publish_compound(emc_h5ad_out *out)
{
    h5ad_compound_close(&out->compound);
    if (H5Ldelete(out->stage, H5AD_STAGE_OBS, H5P_DEFAULT) < 0)
        return cells_h5_put_failed(out->path, out->stage, "tidying up");
    EMC_TRY(move(out, out->stage, H5AD_STAGE_COMPOUND, out->root, "obs"));
    return publish_uns(out);
}

emc_status h5ad_publish(emc_h5ad_out *out)
{
    EMC_TRY(flush(out));
    EMC_TRY(out->style == H5AD_COMPOUND ? publish_compound(out) : publish_frame(out));
    return flush(out);
}
