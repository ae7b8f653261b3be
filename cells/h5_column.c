/* How does a column of a data frame become text, in each way that anndata has written one? */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/h5.h"

/* Text of a dataset, or of a member of a compound one. */
static emc_status read_plain(cells_strings *out, size_t *n_out, hid_t dataset, const char *member,
                             int64_t n, const char *path)
{
    cells_h5_values from;
    emc_status status = cells_h5_values_open(&from, dataset, member, path);

    if (status == EMC_OK)
        status = cells_h5_values_text(out, n_out, &from, n);
    cells_h5_values_close(&from);
    return status;
}

/* Codes into the categories that out->values holds already. */
static emc_status read_codes(cells_column *out, hid_t dataset, const char *member, int64_t n,
                             const char *path)
{
    cells_h5_values from;
    emc_status status = cells_h5_values_open(&from, dataset, member, path);

    if (status == EMC_OK)
        status = cells_h5_values_codes(&out->codes, &out->n, out->values.n, &from, n);
    cells_h5_values_close(&from);
    return status;
}

static emc_status read_nullable(cells_column *out, hid_t group, int64_t n, const char *path)
{
    hid_t values = -1, mask = -1;
    hsize_t length = 0;
    emc_status status = cells_h5_open_dataset(&values, group, "values", path);

    if (status == EMC_OK)
        status = read_plain(&out->values, &out->n, values, NULL, n, path);
    if (status == EMC_OK)
        status = cells_h5_open_dataset(&mask, group, "mask", path);
    if (status == EMC_OK)
        status = cells_h5_dims(&length, 1, mask, path);
    if (status == EMC_OK && (length != out->n || (cells_h5_class(mask) != H5T_ENUM &&
                                                  cells_h5_class(mask) != H5T_INTEGER)))
        status = cells_h5_fail(EMC_ERR_FORMAT, path, mask, "not a mask of %zu entries", out->n);
    if (status == EMC_OK)
        status = emc_alloc(&out->missing, out->n, 1, "a mask");
    if (status == EMC_OK)
        status = cells_h5_slice(out->missing, mask, 0, length, H5T_NATIVE_UINT8, path);
    cells_h5_close(values);
    cells_h5_close(mask);
    return status;
}

/* Categories may themselves be nullable strings; a missing category is then a missing value. */
static emc_status read_categories(cells_column *out, hid_t object, const char *path)
{
    cells_column categories = {0};
    emc_status status;

    if (H5Iget_type(object) == H5I_DATASET)
        return read_plain(&out->values, &(size_t){0}, object, NULL, -1, path);
    status = read_nullable(&categories, object, -1, path);
    if (status == EMC_OK) {
        out->values = categories.values;
        categories.values = (cells_strings){0};
    }
    cells_column_free(&categories);
    return status;
}

/* A group: categorical {codes, categories} or nullable {values, mask}. */
static emc_status read_group(cells_column *out, hid_t group, int64_t n, const char *path)
{
    hid_t codes = -1, categories = -1;
    emc_status status;

    if (cells_h5_has(group, "values") && cells_h5_has(group, "mask"))
        return read_nullable(out, group, n, path);
    if (!cells_h5_has(group, "codes") || !cells_h5_has(group, "categories")) {
        char *encoding = NULL;
        status = cells_h5_attribute(&encoding, group, "encoding-type", path);
        if (status == EMC_OK)
            status = cells_h5_fail(EMC_ERR_FORMAT, path, group,
                                   "a column of encoding %s, which holds no text",
                                   encoding ? encoding : "unknown");
        free(encoding);
        return status;
    }
    status = cells_h5_open(&categories, group, "categories", path);
    if (status == EMC_OK)
        status = read_categories(out, categories, path);
    if (status == EMC_OK)
        status = cells_h5_open_dataset(&codes, group, "codes", path);
    if (status == EMC_OK)
        status = read_codes(out, codes, NULL, n, path);
    cells_h5_close(codes);
    cells_h5_close(categories);
    return status;
}

/* anndata 0.7: an integer dataset whose attribute refers to the dataset of its categories. */
static emc_status open_referred(hid_t *out, hid_t dataset, const char *path)
{
    const hid_t attribute = H5Aopen(dataset, "categories", H5P_DEFAULT);
    const hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    const hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    hobj_ref_t reference;

    *out = -1;
    if (type >= 0 && space >= 0 && H5Tequal(type, H5T_STD_REF_OBJ) > 0 &&
        H5Sget_simple_extent_npoints(space) == 1 &&
        H5Aread(attribute, H5T_STD_REF_OBJ, &reference) >= 0)
        *out = H5Rdereference2(dataset, H5P_DEFAULT, H5R_OBJECT, &reference);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    if (*out >= 0 && H5Iget_type(*out) == H5I_DATASET)
        return cells_h5_check_dataset(*out, path);
    return cells_h5_fail(EMC_ERR_FORMAT, path, dataset,
                         "its attribute categories refers to no dataset");
}

static emc_status read_dataset(cells_column *out, hid_t dataset, int64_t n, const char *path)
{
    hid_t categories;
    emc_status status;

    if (H5Aexists(dataset, "categories") <= 0)
        return read_plain(&out->values, &out->n, dataset, NULL, n, path);
    status = open_referred(&categories, dataset, path);
    if (status == EMC_OK)
        status = read_plain(&out->values, &(size_t){0}, categories, NULL, -1, path);
    if (status == EMC_OK)
        status = read_codes(out, dataset, NULL, n, path);
    cells_h5_close(categories);
    return status;
}

/* ---- before anndata 0.7: one compound dataset, categories at uns/COLUMN_categories ---- */

static bool is_compound(hid_t frame)
{
    return H5Iget_type(frame) == H5I_DATASET && cells_h5_class(frame) == H5T_COMPOUND;
}

/* The name of a member, copied. *out is NULL when there is none. */
static emc_status member_name(char **out, hid_t frame, int at)
{
    const hid_t type = H5Dget_type(frame);
    emc_status status = EMC_OK;

    *out = NULL;
    if (type >= 0 && at < H5Tget_nmembers(type)) {
        char *name = H5Tget_member_name(type, (unsigned)at);
        if (name)
            status = emc_copy_string(out, name);
        H5free_memory(name);
    }
    if (type >= 0)
        H5Tclose(type);
    return status;
}

static bool has_member(hid_t frame, const char *name)
{
    const hid_t type = H5Dget_type(frame);
    const bool found = type >= 0 && H5Tget_member_index(type, name) >= 0;

    H5Eclear2(H5E_DEFAULT);
    if (type >= 0)
        H5Tclose(type);
    return found;
}

/* The dataset of a column's categories; -1 when the column is none. */
static emc_status open_old_categories(hid_t *out, hid_t frame, const char *name, const char *path)
{
    const hid_t file = H5Iget_file_id(frame);
    emc_status status = EMC_OK;
    emc_text key = {0};
    hid_t uns = -1;

    *out = -1;
    if (file >= 0 && cells_h5_has(file, "uns"))
        status = cells_h5_open(&uns, file, "uns", path);
    if (status == EMC_OK)
        status = emc_text_addf(&key, "%s_categories", name);
    if (status == EMC_OK && uns >= 0 && cells_h5_has(uns, key.bytes))
        status = cells_h5_open_dataset(out, uns, key.bytes, path);
    emc_text_free(&key);
    cells_h5_close(uns);
    cells_h5_close(file);
    return status;
}

static emc_status read_member(cells_column *out, hid_t frame, const char *name, int64_t n,
                              const char *path)
{
    emc_status status;
    hid_t categories;

    EMC_TRY(open_old_categories(&categories, frame, name, path));
    if (categories < 0)
        return read_plain(&out->values, &out->n, frame, name, n, path);
    status = read_plain(&out->values, &(size_t){0}, categories, NULL, -1, path);
    if (status == EMC_OK)
        status = read_codes(out, frame, name, n, path);
    cells_h5_close(categories);
    return status;
}

/* ---- either ---- */

static emc_status read_object(cells_column *out, hid_t frame, const char *name, int64_t n,
                              const char *path)
{
    emc_status status;
    hid_t object;

    EMC_TRY(cells_h5_open(&object, frame, name, path));
    status = H5Iget_type(object) == H5I_GROUP ? read_group(out, object, n, path)
                                              : read_dataset(out, object, n, path);
    cells_h5_close(object);
    return status;
}

emc_status cells_h5_column(cells_column *out, hid_t frame, const char *name, int64_t n,
                           const char *path)
{
    emc_status status;

    if (!emc_is_plain_name(name))
        return cells_h5_fail(EMC_ERR_FORMAT, path, frame, "\"%s\" is no name of a column", name);
    status = is_compound(frame) ? read_member(out, frame, name, n, path)
                                : read_object(out, frame, name, n, path);
    if (status != EMC_OK)
        cells_column_free(out);
    return status;
}

emc_status cells_h5_frame_index_name(char **name, hid_t frame, const char *path)
{
    *name = NULL;
    if (is_compound(frame)) {
        EMC_TRY(member_name(name, frame, 0));
    } else if (H5Iget_type(frame) == H5I_GROUP) {
        EMC_TRY(cells_h5_attribute(name, frame, "_index", path));
        if (!*name)
            EMC_TRY(emc_copy_string(name, cells_h5_has(frame, "_index") ? "_index" : "index"));
    }
    if (!*name)
        return cells_h5_fail(EMC_ERR_FORMAT, path, frame, "neither a group nor a compound dataset");
    return EMC_OK;
}

emc_status cells_h5_frame_index(cells_column *out, char **name, hid_t frame, const char *path)
{
    EMC_TRY(cells_h5_frame_index_name(name, frame, path));
    return cells_h5_column(out, frame, *name, -1, path);
}

bool cells_h5_frame_has(hid_t frame, const char *name)
{
    return emc_is_plain_name(name) &&
           (is_compound(frame) ? has_member(frame, name) : cells_h5_has(frame, name));
}

emc_status cells_h5_frame_columns(cells_strings *names, hid_t frame, const char *path)
{
    if (!is_compound(frame))
        return cells_h5_names(frame, names, path);
    for (int i = 0;; i++) {
        char *name;
        EMC_TRY(member_name(&name, frame, i));
        if (!name)
            return EMC_OK;
        const emc_status status = cells_strings_add(names, name, strlen(name), path);
        free(name);
        EMC_TRY(status);
    }
}
