/* How does a compound obs, whose type is fixed, get more members? It is written anew. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

static int find_column(const emc_h5ad_content *content, const char *name)
{
    for (int i = 0; i < content->n_columns; i++) {
        if (strcmp(content->columns[i].name, name) == 0)
            return i;
    }
    return -1;
}

static hid_t column_type(const emc_h5ad_column *column)
{
    return column->type == EMC_H5AD_FLOAT ? H5T_IEEE_F32LE : h5ad_code_type(column->n_categories);
}

/* Adds a member to the new type, and to the one that reads the old values into it. */
static emc_status lay_out(emc_h5ad_out *out, const char *name, hid_t type, int column)
{
    h5ad_compound *compound = &out->compound;

    if (H5Tinsert(compound->all, name, compound->row_bytes, type) < 0 ||
        (column < 0 && H5Tinsert(compound->old_members, name, compound->row_bytes, type) < 0))
        return cells_h5_put_failed(out->path, compound->from, "laying out the new obs");
    if (column >= 0)
        compound->offsets[column] = compound->row_bytes;
    compound->row_bytes += H5Tget_size(type);
    return EMC_OK;
}

static emc_status lay_out_all(emc_h5ad_out *out, hid_t old)
{
    const emc_h5ad_content *content = out->content;
    emc_status status = EMC_OK;

    for (int i = 0; status == EMC_OK && i < H5Tget_nmembers(old); i++) {
        char *name = H5Tget_member_name(old, (unsigned)i);
        const hid_t type = H5Tget_member_type(old, (unsigned)i);
        const int column = name ? find_column(content, name) : -1;
        if (!name || type < 0)
            status = cells_h5_broken(out->path, out->compound.from, "reading the type");
        else
            status = lay_out(out, name, column < 0 ? type : column_type(&content->columns[column]),
                             column);
        if (type >= 0)
            H5Tclose(type);
        H5free_memory(name);
    }
    for (int i = 0; status == EMC_OK && i < content->n_columns; i++) {
        if (H5Tget_member_index(old, content->columns[i].name) < 0)
            status = lay_out(out, content->columns[i].name, column_type(&content->columns[i]), i);
    }
    H5Eclear2(H5E_DEFAULT); /* of names that were asked for */
    return status;
}

/* Room for all members, before it is known where each goes. */
static emc_status open_types(emc_h5ad_out *out, hid_t old)
{
    h5ad_compound *compound = &out->compound;
    size_t room = H5Tget_size(old) + 8 * (size_t)out->content->n_columns;

    EMC_TRY(emc_alloc(&compound->offsets, (size_t)out->content->n_columns,
                      sizeof *compound->offsets, "columns"));
    compound->all = H5Tcreate(H5T_COMPOUND, room);
    compound->old_members = H5Tcreate(H5T_COMPOUND, room);
    if (compound->all < 0 || compound->old_members < 0)
        return cells_h5_put_failed(out->path, compound->from, "laying out the new obs");
    EMC_TRY(lay_out_all(out, old));
    if (H5Tset_size(compound->all, compound->row_bytes) < 0 ||
        H5Tset_size(compound->old_members, compound->row_bytes) < 0)
        return cells_h5_put_failed(out->path, compound->from, "laying out the new obs");
    return emc_alloc(&compound->rows, H5AD_BAND, compound->row_bytes, "rows of obs");
}

emc_status h5ad_compound_open(emc_h5ad_out *out)
{
    h5ad_compound *compound = &out->compound;
    const hid_t root = out->input >= 0 ? out->input : out->root;
    hid_t old = -1;
    emc_status status = cells_h5_open_dataset(&compound->from, root, "obs", out->path);

    if (status == EMC_OK) {
        old = H5Dget_type(compound->from);
        status = old < 0 ? cells_h5_broken(out->path, compound->from, "reading the type")
                         : open_types(out, old);
    }
    if (status == EMC_OK)
        status = cells_h5_put_vector(&compound->to, out->stage, H5AD_STAGE_COMPOUND, compound->all,
                                     (hsize_t)out->options.n_cells, out->path);
    if (status == EMC_OK)
        status = cells_h5_copy_attributes(compound->from, compound->to, out->path);
    if (old >= 0)
        H5Tclose(old);
    return status;
}

void h5ad_compound_close(h5ad_compound *compound)
{
    cells_h5_close(compound->from);
    cells_h5_close(compound->to);
    if (compound->all >= 0)
        H5Tclose(compound->all);
    if (compound->old_members >= 0)
        H5Tclose(compound->old_members);
    free(compound->offsets);
    free(compound->rows);
    *compound = (h5ad_compound){.from = -1, .to = -1, .old_members = -1, .all = -1};
}

/* Codes are narrowed here, for the rows hold them as the file does. */
static void put_value(char *to, const emc_h5ad_column *column, emc_h5ad_value value)
{
    const size_t size = column->type == EMC_H5AD_FLOAT ? 4 : H5Tget_size(column_type(column));

    for (size_t i = 0; i < size; i++) /* little-endian: the low bytes of two's complement */
        to[i] = (char)((uint32_t)value.code >> (8 * i) & 0xff);
}

emc_status h5ad_compound_write(emc_h5ad_out *out, hsize_t start, hsize_t n)
{
    const emc_h5ad_content *content = out->content;
    h5ad_compound *c = &out->compound;
    const hid_t in = H5Screate_simple(1, &n, NULL);
    emc_status status;

    if (in < 0)
        return cells_h5_put_failed(out->path, c->to, "writing");
    memset(c->rows, 0, H5AD_BAND * c->row_bytes);
    status = cells_h5_slice(c->rows, c->from, start, n, c->old_members, out->path);
    for (int i = 0; status == EMC_OK && i < content->n_columns; i++) {
        for (hsize_t r = 0; r < n; r++)
            put_value(c->rows + r * c->row_bytes + c->offsets[i], &content->columns[i],
                      out->values[i][r]);
    }
    if (status == EMC_OK)
        status = cells_h5_put_slice(c->to, start, n, c->all, c->rows, out->path);
    H5Dvlen_reclaim(c->old_members, in, H5P_DEFAULT, c->rows); /* texts the library allocated */
    H5Sclose(in);
    return status;
}
