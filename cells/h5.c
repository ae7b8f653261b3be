/* Which calls of the HDF5 library does a reader need, and how is each checked? */
#include "cells/h5.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/filters.h"
#include "cells/frame.h"

#define NAME_BYTES 256

/* The switches are the whole process's, and not every HDF5 library may be called by two threads. An
 * opener that fails closes what it opened, inside: hence recursive. */
static pthread_mutex_t library_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void cells_h5_enter(cells_h5_guard *guard)
{
    pthread_mutex_lock(&library_lock);
    H5Eget_auto2(H5E_DEFAULT, &guard->print, &guard->print_data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    guard->has_plugins = H5PLget_loading_state(&guard->plugins) >= 0;
    if (guard->has_plugins)
        H5PLset_loading_state(0);
    cells_filters_register();
}

void cells_h5_leave(const cells_h5_guard *guard)
{
    if (guard->has_plugins)
        H5PLset_loading_state(guard->plugins);
    H5Eclear2(H5E_DEFAULT);
    H5Eset_auto2(H5E_DEFAULT, guard->print, guard->print_data);
    pthread_mutex_unlock(&library_lock);
}

emc_status cells_h5_fail(emc_status status, const char *path, hid_t at, const char *format, ...)
{
    char name[NAME_BYTES] = "", text[768];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (at < 0 || H5Iget_name(at, name, sizeof name) <= 0)
        return emc_fail(status, "%s: %s", path, text);
    return emc_fail(status, "%s: %s: %s", path, name, text);
}

/* The innermost record of the library's error stack is the cause. */
static herr_t keep_innermost(unsigned n, const H5E_error2_t *error, void *data)
{
    (void)n;
    if (error->desc)
        snprintf(data, NAME_BYTES, "%s", error->desc);
    return 0;
}

emc_status cells_h5_broken(const char *path, hid_t at, const char *doing)
{
    char words[NAME_BYTES] = "no reason given";

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, words);
    return cells_h5_fail(EMC_ERR_FORMAT, path, at, "%s failed (%s); the file is damaged", doing,
                         words);
}

emc_status cells_h5_open_file_with(hid_t *out, const char *path, bool allow_external)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);

    *out = -1;
    if (access < 0 || (allow_external && cells_h5_allow_external(access, path) != EMC_OK))
        return emc_fail(EMC_ERR_NOMEM, "%s: the HDF5 library cannot be set up", path);
#if (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 11, 0)) || H5_VERSION_GE(1, 12, 1)
    /* Network mounts without flock refuse the lock that a read-only open would take. */
    H5Pset_file_locking(access, 0, 1);
#endif
    char words[NAME_BYTES] = "no reason given";
    *out = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (*out < 0)
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, words);
    H5Pclose(access); /* which empties the error stack */
    if (*out >= 0)
        return EMC_OK;
    return emc_fail(EMC_ERR_FORMAT,
                    "%s: not an HDF5 file, or damaged or cut short (%s); fetch or write it again",
                    path, words);
}

emc_status cells_h5_open_file(hid_t *out, const char *path)
{
    return cells_h5_open_file_with(out, path, false);
}

bool cells_h5_has(hid_t group, const char *name)
{
    return H5Iget_type(group) != H5I_DATASET && H5Lexists(group, name, H5P_DEFAULT) > 0;
}

void cells_h5_close(hid_t id)
{
    if (id >= 0)
        H5Idec_ref(id);
}

emc_status cells_h5_check_dataset(hid_t dataset, const char *path)
{
    const hid_t created = H5Dget_create_plist(dataset);
    emc_status status;

    if (created < 0)
        return cells_h5_broken(path, dataset, "opening the dataset");
    if (H5Pget_layout(created) == H5D_VIRTUAL || H5Pget_external_count(created) > 0)
        status = cells_h5_fail(EMC_ERR_FORMAT, path, dataset,
                               "its values lie in another file, which is not followed; write a "
                               "file that holds them with adata.write");
    else
        status = cells_filters_check(dataset, created, path);
    H5Pclose(created);
    return status;
}

emc_status cells_h5_open_hard(hid_t *out, hid_t group, const char *name, const char *path)
{
    H5L_info_t link;
    emc_status status = EMC_OK;

    *out = -1;
    if (H5Lexists(group, name, H5P_DEFAULT) <= 0)
        return cells_h5_fail(EMC_ERR_FORMAT, path, group, "no %s", name);
    if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0)
        return cells_h5_broken(path, group, "reading a link");
    if (link.type != H5L_TYPE_HARD)
        return cells_h5_fail(EMC_ERR_FORMAT, path, group,
                             "%s is %s link, which is not followed; %s", name,
                             link.type == H5L_TYPE_SOFT ? "a soft" : "an external",
                             link.type == H5L_TYPE_SOFT
                                 ? "write a file that holds the data itself with adata.write"
                                 : "--allow-external follows a link to another file, one step");
    *out = H5Oopen(group, name, H5P_DEFAULT);
    if (*out < 0)
        return cells_h5_broken(path, group, "opening an object");
    if (H5Iget_type(*out) == H5I_DATASET)
        status = cells_h5_check_dataset(*out, path);
    else if (H5Iget_type(*out) != H5I_GROUP)
        status = cells_h5_fail(EMC_ERR_FORMAT, path, *out, "neither a group nor a dataset");
    if (status != EMC_OK) {
        cells_h5_close(*out);
        *out = -1;
    }
    return status;
}

emc_status cells_h5_open(hid_t *out, hid_t group, const char *name, const char *path)
{
    H5L_info_t link;

    if (H5Lexists(group, name, H5P_DEFAULT) > 0 &&
        H5Lget_info(group, name, &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_EXTERNAL &&
        cells_h5_may_follow(group))
        return cells_h5_open_external(out, group, name, path);
    return cells_h5_open_hard(out, group, name, path);
}

static emc_status open_kind(hid_t *out, hid_t group, const char *name, H5I_type_t kind,
                            const char *path)
{
    EMC_TRY(cells_h5_open(out, group, name, path));
    if (H5Iget_type(*out) == kind)
        return EMC_OK;
    const emc_status status = cells_h5_fail(EMC_ERR_FORMAT, path, *out, "wanted a %s, found a %s",
                                            kind == H5I_GROUP ? "group" : "dataset",
                                            kind == H5I_GROUP ? "dataset" : "group");
    cells_h5_close(*out);
    *out = -1;
    return status;
}

emc_status cells_h5_open_dataset(hid_t *out, hid_t group, const char *name, const char *path)
{
    return open_kind(out, group, name, H5I_DATASET, path);
}

emc_status cells_h5_open_group(hid_t *out, hid_t group, const char *name, const char *path)
{
    return open_kind(out, group, name, H5I_GROUP, path);
}

emc_status cells_h5_set_cache(hid_t *dataset, size_t cache_bytes, const char *path)
{
    const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    hid_t again;

    /* A prime near 100 slots a chunk is the library's advice; 12421 serves the sizes met here. */
    if (access < 0 || H5Pset_chunk_cache(access, 12421, cache_bytes, 1.0) < 0)
        return emc_fail(EMC_ERR_NOMEM, "%s: the HDF5 library cannot be set up", path);
    char name[NAME_BYTES];
    const ssize_t n = H5Iget_name(*dataset, name, sizeof name);
    again = n > 0 && n < (ssize_t)sizeof name ? H5Dopen2(*dataset, name, access) : -1;
    H5Pclose(access);
    if (again < 0)
        return EMC_OK; /* slower, not wrong */
    cells_h5_close(*dataset);
    *dataset = again;
    return EMC_OK;
}

emc_status cells_h5_dims(hsize_t *dims, int n_dims, hid_t dataset, const char *path)
{
    const hid_t space = H5Dget_space(dataset);
    int found;

    if (space < 0)
        return cells_h5_broken(path, dataset, "reading the shape");
    found = H5Sget_simple_extent_type(space) == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space) : 0;
    if (found == n_dims)
        H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    if (found != n_dims)
        return cells_h5_fail(EMC_ERR_FORMAT, path, dataset, "wanted %d dimensions, found %d",
                             n_dims, found);
    return EMC_OK;
}

void cells_h5_chunk(hsize_t *chunk, int n_dims, hid_t dataset)
{
    const hid_t created = H5Dget_create_plist(dataset);

    memset(chunk, 0, (size_t)n_dims * sizeof *chunk);
    if (created < 0)
        return;
    if (H5Pget_layout(created) != H5D_CHUNKED || H5Pget_chunk(created, n_dims, chunk) != n_dims)
        memset(chunk, 0, (size_t)n_dims * sizeof *chunk);
    H5Pclose(created);
}

emc_status cells_h5_slice(void *to, hid_t dataset, hsize_t start, hsize_t n, hid_t memory_type,
                          const char *path)
{
    emc_status status = EMC_OK;
    hid_t from, in;

    if (n == 0)
        return EMC_OK;
    cells_filters_expect(dataset);
    from = H5Dget_space(dataset);
    in = H5Screate_simple(1, &n, NULL);
    if (from < 0 || in < 0 ||
        H5Sselect_hyperslab(from, H5S_SELECT_SET, &start, NULL, &n, NULL) < 0 ||
        H5Dread(dataset, memory_type, in, from, H5P_DEFAULT, to) < 0)
        status = cells_h5_broken(path, dataset, "reading values");
    cells_filters_expect(-1);
    if (in >= 0)
        H5Sclose(in);
    if (from >= 0)
        H5Sclose(from);
    return status;
}

/* The one value of a text attribute, fixed or variable length. */
static emc_status read_text_attribute(char **out, hid_t attribute, hid_t type)
{
    const hid_t memory = H5Tcopy(type);
    emc_status status = EMC_OK;

    if (memory < 0)
        return emc_fail(EMC_ERR_NOMEM, "no memory for an attribute");
    if (H5Tis_variable_str(type) > 0) {
        char *text = NULL;
        if (H5Aread(attribute, memory, &text) >= 0 && text)
            status = emc_copy_string(out, text);
        if (text)
            H5free_memory(text);
    } else {
        const size_t n = H5Tget_size(type);
        char *text = NULL;
        if (n > 0 && n < 65536)
            status = emc_alloc(&text, n + 1, 1, "an attribute");
        if (text && H5Aread(attribute, memory, text) >= 0)
            status = emc_copy_string(out, text);
        free(text);
    }
    H5Tclose(memory);
    return status;
}

emc_status cells_h5_box(double *out, hid_t dataset, const hsize_t start[2], const hsize_t count[2],
                        const char *path)
{
    emc_status status = EMC_OK;
    hid_t from, in;

    cells_filters_expect(dataset);
    from = H5Dget_space(dataset);
    in = H5Screate_simple(2, count, NULL);
    if (from < 0 || in < 0 ||
        H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(dataset, H5T_NATIVE_DOUBLE, in, from, H5P_DEFAULT, out) < 0)
        status = cells_h5_broken(path, dataset, "reading values");
    cells_filters_expect(-1);
    if (in >= 0)
        H5Sclose(in);
    if (from >= 0)
        H5Sclose(from);
    return status;
}

emc_status cells_h5_attribute(char **out, hid_t object, const char *name, const char *path)
{
    emc_status status = EMC_OK;
    hid_t attribute, type = -1, space = -1;

    *out = NULL;
    if (H5Aexists(object, name) <= 0)
        return EMC_OK;
    attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return cells_h5_broken(path, object, "reading an attribute");
    type = H5Aget_type(attribute);
    space = H5Aget_space(attribute);
    if (type >= 0 && space >= 0 && H5Tget_class(type) == H5T_STRING &&
        H5Sget_simple_extent_npoints(space) == 1)
        status = read_text_attribute(out, attribute, type);
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    H5Aclose(attribute);
    return status;
}

emc_status cells_h5_attribute_ints(int64_t *out, int n, bool *found, hid_t object, const char *name,
                                   const char *path)
{
    hid_t attribute, type, space;
    bool fits;

    *found = false;
    if (H5Aexists(object, name) <= 0)
        return EMC_OK;
    attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return cells_h5_broken(path, object, "reading an attribute");
    type = H5Aget_type(attribute);
    space = H5Aget_space(attribute);
    fits = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_INTEGER &&
           H5Sget_simple_extent_npoints(space) == n &&
           H5Aread(attribute, H5T_NATIVE_INT64, out) >= 0;
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    H5Aclose(attribute);
    if (!fits)
        return cells_h5_fail(EMC_ERR_FORMAT, path, object, "attribute %s: wanted %d integers", name,
                             n);
    *found = true;
    return EMC_OK;
}

emc_status cells_h5_names(hid_t group, cells_strings *names, const char *path)
{
    H5G_info_t info;

    if (H5Gget_info(group, &info) < 0)
        return cells_h5_broken(path, group, "listing a group");
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[NAME_BYTES];
        const ssize_t n = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                             sizeof name, H5P_DEFAULT);
        if (n < 0)
            return cells_h5_broken(path, group, "listing a group");
        if (n < (ssize_t)sizeof name && emc_utf8_valid(name, (size_t)n) == (size_t)n)
            EMC_TRY(cells_strings_add(names, name, (size_t)n, path));
    }
    return EMC_OK;
}

emc_status cells_h5_list(emc_text *text, const cells_strings *names)
{
    return cells_list_names(text, names);
}

H5T_class_t cells_h5_class(hid_t dataset)
{
    const hid_t type = H5Dget_type(dataset);
    const H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);

    if (type >= 0)
        H5Tclose(type);
    return class;
}

const char *cells_h5_type_name(hid_t dataset)
{
    static const char *const names[3][4] = {
        {"int8", "int16", "int32", "int64"},
        {"uint8", "uint16", "uint32", "uint64"},
        {"float8", "float16", "float32", "float64"},
    };
    const hid_t type = H5Dget_type(dataset);
    const char *name = "other";

    if (type < 0)
        return name;
    const H5T_class_t class = H5Tget_class(type);
    const size_t n = H5Tget_size(type);
    const int log2 = n == 1 ? 0 : n == 2 ? 1 : n == 4 ? 2 : n == 8 ? 3 : -1;
    if (log2 >= 0 && class == H5T_FLOAT)
        name = names[2][log2];
    else if (log2 >= 0 && class == H5T_INTEGER)
        name = names[H5Tget_sign(type) == H5T_SGN_NONE][log2];
    H5Tclose(type);
    return name;
}
