/* How are columns, a matrix and facts written in the style of the file, band by band? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

hid_t h5ad_code_type(int n_categories)
{
    /* As pandas chooses it. */
    return n_categories < 127 ? H5T_STD_I8LE : n_categories < 32767 ? H5T_STD_I16LE : H5T_STD_I32LE;
}

/* ---- declaring ---- */

/* {codes, categories}, encoded. */
static emc_status stage_encoded(emc_h5ad_out *out, hid_t *codes, hid_t parent,
                                const emc_h5ad_column *column, hsize_t n)
{
    hid_t group = -1, categories = -1;
    emc_status status = cells_h5_put_group(&group, parent, column->name, out->path);

    if (status == EMC_OK)
        status = cells_h5_put_encoding(group, "categorical", "0.2.0", out->path);
    if (status == EMC_OK)
        status = cells_h5_put_bool(group, "ordered", false, out->path);
    if (status == EMC_OK)
        status = cells_h5_put_strings(&categories, group, "categories", column->categories,
                                      (size_t)column->n_categories, out->path);
    if (status == EMC_OK)
        status = cells_h5_put_encoding(categories, "string-array", "0.2.0", out->path);
    if (status == EMC_OK)
        status = cells_h5_put_vector(codes, group, "codes", h5ad_code_type(column->n_categories), n,
                                     out->path);
    if (status == EMC_OK)
        status = cells_h5_put_encoding(*codes, "array", "0.2.0", out->path);
    cells_h5_close(categories);
    cells_h5_close(group);
    return status;
}

/* An attribute that refers to the dataset of the categories, which keeps its address when it is
 * moved. */
static emc_status refer(hid_t codes, hid_t categories, const char *path)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = -1;
    emc_status status = EMC_OK;
    hobj_ref_t reference;

    if (space >= 0)
        attribute =
            H5Acreate2(codes, "categories", H5T_STD_REF_OBJ, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Rcreate(&reference, categories, ".", H5R_OBJECT, -1) < 0 ||
        H5Awrite(attribute, H5T_STD_REF_OBJ, &reference) < 0)
        status = cells_h5_put_failed(path, codes, "writing an attribute");
    if (attribute >= 0)
        H5Aclose(attribute);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

static emc_status stage_flat(emc_h5ad_out *out, hid_t *codes, hid_t parent,
                             const emc_h5ad_column *column, hsize_t n)
{
    hid_t group = -1, categories = -1;
    emc_status status = cells_h5_put_group(&group, out->stage, H5AD_STAGE_CATEGORIES, out->path);

    if (status == EMC_OK)
        status = cells_h5_put_strings(&categories, group, column->name, column->categories,
                                      (size_t)column->n_categories, out->path);
    if (status == EMC_OK)
        status = cells_h5_put_bool(categories, "ordered", false, out->path);
    if (status == EMC_OK)
        status = cells_h5_put_vector(codes, parent, column->name,
                                     h5ad_code_type(column->n_categories), n, out->path);
    if (status == EMC_OK)
        status = refer(*codes, categories, out->path);
    cells_h5_close(categories);
    cells_h5_close(group);
    return status;
}

static emc_status stage_numbers(emc_h5ad_out *out, hid_t *numbers, hid_t parent, const char *name,
                                hsize_t n)
{
    EMC_TRY(cells_h5_put_vector(numbers, parent, name, H5T_IEEE_F32LE, n, out->path));
    if (out->style != H5AD_ENCODED)
        return EMC_OK;
    return cells_h5_put_encoding(*numbers, "array", "0.2.0", out->path);
}

/* Of a compound: uns/COLUMN_categories, for now by the column's name. */
static emc_status stage_old_categories(emc_h5ad_out *out, const emc_h5ad_column *column)
{
    hid_t group;

    EMC_TRY(cells_h5_put_group(&group, out->stage, H5AD_STAGE_CATEGORIES, out->path));
    const emc_status status = cells_h5_put_strings(NULL, group, column->name, column->categories,
                                                   (size_t)column->n_categories, out->path);
    cells_h5_close(group);
    return status;
}

static emc_status stage_column(emc_h5ad_out *out, hid_t parent, int i)
{
    const emc_h5ad_column *column = &out->content->columns[i];
    const hsize_t n = (hsize_t)out->options.n_cells;

    if (out->style == H5AD_COMPOUND)
        return column->type == EMC_H5AD_CATEGORY ? stage_old_categories(out, column) : EMC_OK;
    if (column->type == EMC_H5AD_FLOAT)
        return stage_numbers(out, &out->columns[i], parent, column->name, n);
    return out->style == H5AD_FLAT ? stage_flat(out, &out->columns[i], parent, column, n)
                                   : stage_encoded(out, &out->columns[i], parent, column, n);
}

static emc_status stage_columns(emc_h5ad_out *out)
{
    hid_t parent;
    emc_status status;

    EMC_TRY(cells_h5_put_group(&parent, out->stage, H5AD_STAGE_OBS, out->path));
    status = EMC_OK;
    for (int i = 0; status == EMC_OK && i < out->content->n_columns; i++)
        status = stage_column(out, parent, i);
    cells_h5_close(parent);
    return status;
}

/* A data frame of its own; its index is the very one of obs, under a second link. */
static emc_status stage_matrix(emc_h5ad_out *out)
{
    const emc_h5ad_content *content = out->content;
    const bool encoded = out->style == H5AD_ENCODED;
    hid_t frame;
    emc_status status;

    if (!content->matrix)
        return EMC_OK;
    EMC_TRY(cells_h5_put_group(&frame, out->stage, H5AD_STAGE_MATRIX, out->path));
    status = cells_h5_put_encoding(frame, "dataframe", encoded ? "0.2.0" : "0.1.0", out->path);
    if (status == EMC_OK)
        status = cells_h5_put_attribute(frame, "_index", "_index", out->path);
    if (status == EMC_OK)
        status = cells_h5_put_names(frame, "column-order", content->matrix_names,
                                    (size_t)content->n_matrix, out->path);
    for (int i = 0; status == EMC_OK && i < content->n_matrix; i++)
        status = stage_numbers(out, &out->matrix[i], frame, content->matrix_names[i],
                               (hsize_t)out->options.n_cells);
    cells_h5_close(frame);
    return status;
}

static emc_status stage_facts(emc_h5ad_out *out)
{
    const emc_h5ad_content *content = out->content;
    hid_t group;
    emc_status status;

    if (!content->uns)
        return EMC_OK;
    EMC_TRY(cells_h5_put_group(&group, out->stage, H5AD_STAGE_UNS, out->path));
    status = cells_h5_put_encoding(group, "dict", "0.1.0", out->path);
    for (int i = 0; status == EMC_OK && i < content->n_facts; i++)
        status =
            cells_h5_put_string(group, content->facts[i].name, content->facts[i].value, out->path);
    cells_h5_close(group);
    return status;
}

emc_status h5ad_stage(emc_h5ad_out *out)
{
    hid_t uns;
    emc_status status = EMC_OK;

    const bool had = cells_h5_has(out->root, "uns");
    EMC_TRY(cells_h5_put_group(&uns, out->root, "uns", out->path));
    if (!had && out->style == H5AD_ENCODED)
        status = cells_h5_put_encoding(uns, "dict", "0.1.0", out->path);
    /* What a process left that died in place. */
    if (status == EMC_OK && cells_h5_has(uns, H5AD_STAGE) &&
        H5Ldelete(uns, H5AD_STAGE, H5P_DEFAULT) < 0)
        status = cells_h5_put_failed(out->path, uns, "removing what an earlier run left");
    if (status == EMC_OK)
        status = cells_h5_put_group(&out->stage, uns, H5AD_STAGE, out->path);
    cells_h5_close(uns);
    EMC_TRY(status);
    EMC_TRY(stage_columns(out));
    EMC_TRY(stage_matrix(out));
    EMC_TRY(stage_facts(out));
    return out->style == H5AD_COMPOUND ? h5ad_compound_open(out) : EMC_OK;
}

/* ---- bands ---- */

void h5ad_clear_band(emc_h5ad_out *out)
{
    const emc_h5ad_content *content = out->content;

    for (int i = 0; i < content->n_columns; i++) {
        const emc_h5ad_column *column = &content->columns[i];
        emc_h5ad_value missing = {.number = NAN};
        if (column->type == EMC_H5AD_CATEGORY)
            missing.code = column->first_is_missing ? 0 : -1;
        for (int r = 0; r < H5AD_BAND; r++)
            out->values[i][r] = missing;
    }
    for (int i = 0; i < content->n_matrix; i++) {
        for (int r = 0; r < H5AD_BAND; r++)
            out->numbers[i][r] = NAN;
    }
    for (int r = 0; out->ids && r < H5AD_BAND; r++) {
        free(out->ids[r]);
        out->ids[r] = NULL;
    }
}

static emc_status write_ids(emc_h5ad_out *out, hsize_t start, hsize_t n)
{
    const hid_t type = cells_h5_text_type();
    const emc_status status = cells_h5_put_slice(out->index, start, n, type, out->ids, out->path);

    if (type >= 0)
        H5Tclose(type);
    return status;
}

emc_status h5ad_write_band(emc_h5ad_out *out)
{
    const emc_h5ad_content *content = out->content;
    const int64_t left = out->options.n_cells - out->band;
    const hsize_t start = (hsize_t)out->band, n = (hsize_t)(left < H5AD_BAND ? left : H5AD_BAND);

    if (out->style == H5AD_COMPOUND)
        EMC_TRY(h5ad_compound_write(out, start, n));
    for (int i = 0; out->style != H5AD_COMPOUND && i < content->n_columns; i++)
        EMC_TRY(cells_h5_put_slice(out->columns[i], start, n,
                                   content->columns[i].type == EMC_H5AD_FLOAT ? H5T_NATIVE_FLOAT
                                                                              : H5T_NATIVE_INT32,
                                   out->values[i], out->path));
    for (int i = 0; i < content->n_matrix; i++)
        EMC_TRY(cells_h5_put_slice(out->matrix[i], start, n, H5T_NATIVE_FLOAT, out->numbers[i],
                                   out->path));
    if (out->index >= 0)
        EMC_TRY(write_ids(out, start, n));
    out->band += (int64_t)n;
    h5ad_clear_band(out);
    return cells_h5_disk_check(&out->disk, out->path);
}
