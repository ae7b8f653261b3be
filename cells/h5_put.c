/* Which calls of the HDF5 library does a writer need, and how is each checked? */
#include "cells/h5_put.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define WORDS_BYTES 256

/* The system's message stands in one of the library's records as: error message = 'text'. */
static herr_t find_words(unsigned n, const H5E_error2_t *error, void *data)
{
    static const char mark[] = "error message = '";
    const char *begin = error->desc ? strstr(error->desc, mark) : NULL;
    const char *end = begin ? strchr(begin + sizeof mark - 1, '\'') : NULL;
    char *words = data;

    (void)n;
    if (end)
        snprintf(words, WORDS_BYTES, "%.*s", (int)(end - begin - (int)sizeof mark + 1),
                 begin + sizeof mark - 1);
    else if (!words[0] && error->desc)
        snprintf(words, WORDS_BYTES, "%s", error->desc);
    return 0;
}

emc_status cells_h5_put_failed(const char *path, hid_t at, const char *doing)
{
    char words[WORDS_BYTES] = "";

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, find_words, words);
    return cells_h5_fail(EMC_ERR_IO, path, at, "%s failed (%s)", doing,
                         words[0] ? words : "no reason given");
}

hid_t cells_h5_text_type(void)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    if (type >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0)
        return type;
    if (type >= 0)
        H5Tclose(type);
    return -1;
}

emc_status cells_h5_put_group(hid_t *out, hid_t parent, const char *name, const char *path)
{
    if (cells_h5_has(parent, name))
        return cells_h5_open_group(out, parent, name, path);
    const hid_t created = H5Pcreate(H5P_GROUP_CREATE);
    *out = -1;
    if (created >= 0 && H5Pset_obj_track_times(created, false) >= 0)
        *out = H5Gcreate2(parent, name, H5P_DEFAULT, created, H5P_DEFAULT);
    const emc_status status =
        *out < 0 ? cells_h5_put_failed(path, parent, "making a group") : EMC_OK;
    if (created >= 0)
        H5Pclose(created);
    return status;
}

/* An attribute in place of one of that name. */
static emc_status put_attribute(hid_t object, const char *name, hid_t type, hid_t space,
                                const void *value, const char *path)
{
    hid_t attribute = -1;
    emc_status status = EMC_OK;

    if (H5Aexists(object, name) > 0 && H5Adelete(object, name) < 0)
        return cells_h5_put_failed(path, object, "replacing an attribute");
    if (type >= 0 && space >= 0)
        attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || (value && H5Awrite(attribute, type, value) < 0))
        status = cells_h5_put_failed(path, object, "writing an attribute");
    if (attribute >= 0)
        H5Aclose(attribute);
    return status;
}

emc_status cells_h5_put_attribute(hid_t object, const char *name, const char *text,
                                  const char *path)
{
    const hid_t type = cells_h5_text_type(), space = H5Screate(H5S_SCALAR);
    const emc_status status = put_attribute(object, name, type, space, &text, path);

    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

emc_status cells_h5_put_encoding(hid_t object, const char *type, const char *version,
                                 const char *path)
{
    EMC_TRY(cells_h5_put_attribute(object, "encoding-type", type, path));
    return cells_h5_put_attribute(object, "encoding-version", version, path);
}

emc_status cells_h5_put_names(hid_t object, const char *name, const char *const *names, size_t n,
                              const char *path)
{
    const hsize_t dims = n;
    const hid_t type = cells_h5_text_type(), space = H5Screate_simple(1, &dims, NULL);
    const emc_status status = put_attribute(object, name, type, space, n ? names : NULL, path);

    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

emc_status cells_h5_put_bool(hid_t object, const char *name, bool value, const char *path)
{
    const int8_t no = 0, yes = 1;
    const hid_t type = H5Tenum_create(H5T_STD_I8LE), space = H5Screate(H5S_SCALAR);
    emc_status status;

    if (type < 0 || H5Tenum_insert(type, "FALSE", &no) < 0 ||
        H5Tenum_insert(type, "TRUE", &yes) < 0)
        status = cells_h5_put_failed(path, object, "writing an attribute");
    else
        status = put_attribute(object, name, type, space, value ? &yes : &no, path);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

static emc_status put_dataset(hid_t *out, hid_t parent, const char *name, hid_t type, hid_t space,
                              const char *path)
{
    const hid_t created = H5Pcreate(H5P_DATASET_CREATE);
    emc_status status = EMC_OK;

    *out = -1;
    if (created >= 0 && type >= 0 && space >= 0 && H5Pset_obj_track_times(created, false) >= 0)
        *out = H5Dcreate2(parent, name, type, space, H5P_DEFAULT, created, H5P_DEFAULT);
    if (*out < 0)
        status = cells_h5_put_failed(path, parent, "making a dataset");
    if (created >= 0)
        H5Pclose(created);
    return status;
}

emc_status cells_h5_put_string(hid_t parent, const char *name, const char *text, const char *path)
{
    const hid_t type = cells_h5_text_type(), space = H5Screate(H5S_SCALAR);
    hid_t dataset;
    emc_status status = put_dataset(&dataset, parent, name, type, space, path);

    if (status == EMC_OK &&
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, (const void *)&text) < 0)
        status = cells_h5_put_failed(path, dataset, "writing");
    if (status == EMC_OK)
        status = cells_h5_put_encoding(dataset, "string", "0.2.0", path);
    cells_h5_close(dataset);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

emc_status cells_h5_put_vector(hid_t *out, hid_t parent, const char *name, hid_t type, hsize_t n,
                               const char *path)
{
    const hid_t space = H5Screate_simple(1, &n, NULL);
    const emc_status status = put_dataset(out, parent, name, type, space, path);

    if (space >= 0)
        H5Sclose(space);
    return status;
}

emc_status cells_h5_put_slice(hid_t dataset, hsize_t start, hsize_t n, hid_t memory_type,
                              const void *values, const char *path)
{
    emc_status status = EMC_OK;
    hid_t to, in;

    if (n == 0)
        return EMC_OK;
    to = H5Dget_space(dataset);
    in = H5Screate_simple(1, &n, NULL);
    if (to < 0 || in < 0 || H5Sselect_hyperslab(to, H5S_SELECT_SET, &start, NULL, &n, NULL) < 0 ||
        H5Dwrite(dataset, memory_type, in, to, H5P_DEFAULT, values) < 0)
        status = cells_h5_put_failed(path, dataset, "writing");
    if (in >= 0)
        H5Sclose(in);
    if (to >= 0)
        H5Sclose(to);
    return status;
}

emc_status cells_h5_put_strings(hid_t *out, hid_t parent, const char *name,
                                const char *const *texts, size_t n, const char *path)
{
    const hid_t type = cells_h5_text_type();
    hid_t dataset;
    emc_status status = cells_h5_put_vector(&dataset, parent, name, type, n, path);

    if (status == EMC_OK)
        status = cells_h5_put_slice(dataset, 0, n, type, texts, path);
    if (type >= 0)
        H5Tclose(type);
    if (out && status == EMC_OK) {
        *out = dataset;
        return EMC_OK;
    }
    cells_h5_close(dataset);
    if (out)
        *out = -1;
    return status;
}

/* ---- what one file has, for another ---- */

typedef struct {
    hid_t to;
    const char *path;
    emc_status status;
} attribute_copy;

static emc_status copy_attribute(hid_t from, const char *name, const attribute_copy *copy)
{
    const hid_t attribute = H5Aopen(from, name, H5P_DEFAULT);
    const hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    const hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    const hssize_t n = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    emc_status status = EMC_OK;
    void *value = NULL;

    if (type < 0 || n < 0) {
        status = cells_h5_broken(copy->path, from, "reading an attribute");
    } else if (H5Tdetect_class(type, H5T_REFERENCE) <= 0) {
        status = emc_alloc(&value, (size_t)n + 1, H5Tget_size(type), "an attribute");
        if (status == EMC_OK && n > 0 && H5Aread(attribute, type, value) < 0)
            status = cells_h5_broken(copy->path, from, "reading an attribute");
        else if (status == EMC_OK)
            status = put_attribute(copy->to, name, type, space, n > 0 ? value : NULL, copy->path);
        if (n > 0)
            H5Dvlen_reclaim(type, space, H5P_DEFAULT, value);
    }
    free(value);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (attribute >= 0)
        H5Aclose(attribute);
    return status;
}

static herr_t each_attribute(hid_t from, const char *name, const H5A_info_t *info, void *context)
{
    attribute_copy *copy = context;

    (void)info;
    copy->status = copy_attribute(from, name, copy);
    return copy->status != EMC_OK;
}

emc_status cells_h5_copy_attributes(hid_t from, hid_t to, const char *path)
{
    attribute_copy copy = {to, path, EMC_OK};

    if (H5Aiterate2(from, H5_INDEX_NAME, H5_ITER_INC, NULL, each_attribute, &copy) < 0 &&
        copy.status == EMC_OK)
        return cells_h5_broken(path, from, "reading the attributes");
    return copy.status;
}

emc_status cells_h5_each_link(hid_t group, const char *path,
                              emc_status (*each)(void *context, const char *name), void *context)
{
    H5G_info_t info;

    if (H5Gget_info(group, &info) < 0)
        return cells_h5_broken(path, group, "listing a group");
    for (hsize_t i = 0; i < info.nlinks; i++) {
        const ssize_t n =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, NULL, 0, H5P_DEFAULT);
        char *name = NULL;
        emc_status status = n < 0 ? cells_h5_broken(path, group, "listing a group")
                                  : emc_alloc(&name, (size_t)n + 1, 1, "a name");
        if (status == EMC_OK && H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                                   (size_t)n + 1, H5P_DEFAULT) < 0)
            status = cells_h5_broken(path, group, "listing a group");
        if (status == EMC_OK)
            status = each(context, name);
        free(name);
        EMC_TRY(status);
    }
    return EMC_OK;
}
