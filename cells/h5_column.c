/* How does a column of a data frame become text, in each way that anndata has written one? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/h5.h"

/* Strings are read in bands: the library allocates each of them by itself. */
#define BAND ((hsize_t)16384)

#define LONGEST_FIXED ((size_t)1 << 20)

/* The type to read strings of this file type into; the character set must be the file's. */
static emc_status string_memory_type(hid_t *out, hid_t file_type, const char *path, hid_t at)
{
    *out = H5Tcopy(H5T_C_S1);
    if (*out < 0 || H5Tset_cset(*out, H5Tget_cset(file_type)) < 0 ||
        H5Tset_size(*out, H5T_VARIABLE) < 0)
        return cells_h5_broken(path, at, "reading the type");
    return EMC_OK;
}

static void place_of(char *text, size_t n, const char *path, hid_t at, hsize_t row)
{
    char name[256] = "";

    if (H5Iget_name(at, name, sizeof name) <= 0)
        name[0] = '\0';
    snprintf(text, n, "%s: %s: entry %llu", path, name, (unsigned long long)row);
}

static emc_status add_at(cells_strings *out, const char *bytes, size_t n, hid_t at, hsize_t row,
                         const char *path)
{
    char place[1024];

    if (emc_utf8_valid(bytes, n) == n)
        return cells_strings_add(out, bytes, n, path);
    place_of(place, sizeof place, path, at, row);
    return cells_strings_add(out, bytes, n, place);
}

/* One band of variable-length strings; a NULL pointer is an empty string. */
static emc_status add_variable(cells_strings *out, hid_t dataset, hid_t memory, hsize_t start,
                               hsize_t n, char **band, const char *path)
{
    emc_status status;
    hid_t space;

    memset(band, 0, (size_t)n * sizeof *band);
    status = cells_h5_slice(band, dataset, start, n, memory, path);
    for (hsize_t i = 0; status == EMC_OK && i < n; i++)
        status = add_at(out, band[i] ? band[i] : "", band[i] ? strlen(band[i]) : 0, dataset,
                        start + i, path);
    space = H5Screate_simple(1, &n, NULL);
    if (space >= 0) {
        H5Dvlen_reclaim(memory, space, H5P_DEFAULT, band);
        H5Sclose(space);
    }
    return status;
}

/* One band of fixed-length strings, padded with NULs or blanks. */
static emc_status add_fixed(cells_strings *out, hid_t dataset, hid_t type, hsize_t start, hsize_t n,
                            char *band, const char *path)
{
    const size_t size = H5Tget_size(type);
    const bool blanks = H5Tget_strpad(type) == H5T_STR_SPACEPAD;

    EMC_TRY(cells_h5_slice(band, dataset, start, n, type, path));
    for (hsize_t i = 0; i < n; i++) {
        const char *text = band + (size_t)i * size;
        size_t length = strnlen(text, size);
        while (blanks && length > 0 && text[length - 1] == ' ')
            length--;
        EMC_TRY(add_at(out, text, length, dataset, start + i, path));
    }
    return EMC_OK;
}

static emc_status add_strings(cells_strings *out, hid_t dataset, hsize_t n, const char *path)
{
    const hid_t type = H5Dget_type(dataset);
    const bool variable = type >= 0 && H5Tis_variable_str(type) > 0;
    const size_t size = variable ? sizeof(char *) : type >= 0 ? H5Tget_size(type) : 0;
    emc_status status = EMC_OK;
    hid_t memory = -1;
    void *band = NULL;

    if (size == 0 || size > LONGEST_FIXED) {
        status = cells_h5_fail(EMC_ERR_FORMAT, path, dataset, "strings of %zu bytes", size);
        goto done;
    }
    if (variable) {
        status = string_memory_type(&memory, type, path, dataset);
        if (status != EMC_OK)
            goto done;
    }
    const hsize_t step = variable || size <= 256 ? BAND : BAND / 4096;
    status = emc_alloc(&band, (size_t)(n < step ? n : step), size, "a band of strings");
    for (hsize_t start = 0; status == EMC_OK && start < n; start += step) {
        const hsize_t count = n - start < step ? n - start : step;
        status = variable ? add_variable(out, dataset, memory, start, count, band, path)
                          : add_fixed(out, dataset, type, start, count, band, path);
    }

done:
    free(band);
    if (memory >= 0)
        H5Tclose(memory);
    if (type >= 0)
        H5Tclose(type);
    return status;
}

/* The fewest digits that give the same number again. */
static void print_double(char *text, size_t n, double value, bool is_float32)
{
    for (int digits = is_float32 ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, n, "%.*g", digits, value);
        const double back = strtod(text, NULL);
        if (is_float32 ? (float)back == (float)value : back == value)
            return;
    }
}

static emc_status add_numbers(cells_strings *out, hid_t dataset, hsize_t n, const char *path)
{
    const H5T_class_t class = cells_h5_class(dataset);
    const bool is_float32 = strcmp(cells_h5_type_name(dataset), "float32") == 0;
    double reals[1024];
    int64_t ints[1024];

    for (hsize_t start = 0; start < n; start += 1024) {
        const hsize_t count = n - start < 1024 ? n - start : 1024;
        if (class == H5T_FLOAT)
            EMC_TRY(cells_h5_slice(reals, dataset, start, count, H5T_NATIVE_DOUBLE, path));
        else
            EMC_TRY(cells_h5_slice(ints, dataset, start, count, H5T_NATIVE_INT64, path));
        for (hsize_t i = 0; i < count; i++) {
            char text[64];
            if (class == H5T_FLOAT)
                print_double(text, sizeof text, reals[i], is_float32);
            else if (class == H5T_ENUM) /* how booleans are stored; as pandas prints them */
                snprintf(text, sizeof text, "%s", ints[i] ? "True" : "False");
            else
                snprintf(text, sizeof text, "%lld", (long long)ints[i]);
            EMC_TRY(cells_strings_add(out, text, strlen(text), path));
        }
    }
    return EMC_OK;
}

/* A one-dimensional dataset of strings or numbers. n < 0: any length. */
static emc_status read_plain(cells_strings *out, size_t *n_out, hid_t dataset, int64_t n,
                             const char *path)
{
    const H5T_class_t class = cells_h5_class(dataset);
    hsize_t length;

    EMC_TRY(cells_h5_dims(&length, 1, dataset, path));
    if (n >= 0 && length != (hsize_t)n)
        return cells_h5_fail(EMC_ERR_FORMAT, path, dataset, "has %llu entries, wanted %lld",
                             (unsigned long long)length, (long long)n);
    if (length > INT32_MAX)
        return cells_h5_fail(EMC_ERR_FORMAT, path, dataset, "has %llu entries; at most %d are read",
                             (unsigned long long)length, INT32_MAX);
    *n_out = (size_t)length;
    if (class == H5T_STRING)
        return add_strings(out, dataset, length, path);
    if (class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM)
        return add_numbers(out, dataset, length, path);
    return cells_h5_fail(EMC_ERR_FORMAT, path, dataset, "neither text nor numbers");
}

/* Codes into categories, checked against their number. */
static emc_status read_codes(cells_column *out, hid_t codes, int64_t n, const char *path)
{
    hsize_t length;

    if (cells_h5_class(codes) != H5T_INTEGER)
        return cells_h5_fail(EMC_ERR_FORMAT, path, codes, "codes that are no integers");
    EMC_TRY(cells_h5_dims(&length, 1, codes, path));
    if ((n >= 0 && length != (hsize_t)n) || length > INT32_MAX)
        return cells_h5_fail(EMC_ERR_FORMAT, path, codes, "has %llu codes, wanted %lld",
                             (unsigned long long)length, (long long)n);
    EMC_TRY(emc_alloc(&out->codes, (size_t)length, sizeof *out->codes, "codes"));
    EMC_TRY(cells_h5_slice(out->codes, codes, 0, length, H5T_NATIVE_INT32, path));
    for (hsize_t i = 0; i < length; i++)
        if (out->codes[i] >= (int64_t)out->values.n)
            return cells_h5_fail(EMC_ERR_FORMAT, path, codes, "entry %llu is %d of %zu categories",
                                 (unsigned long long)i, out->codes[i], out->values.n);
    out->n = (size_t)length;
    return EMC_OK;
}

static emc_status read_nullable(cells_column *out, hid_t group, int64_t n, const char *path)
{
    hid_t values = -1, mask = -1;
    hsize_t length = 0;
    emc_status status = cells_h5_open_dataset(&values, group, "values", path);

    if (status == EMC_OK)
        status = read_plain(&out->values, &out->n, values, n, path);
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
        return read_plain(&out->values, &(size_t){0}, object, -1, path);
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
        status = read_codes(out, codes, n, path);
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
        return read_plain(&out->values, &out->n, dataset, n, path);
    status = open_referred(&categories, dataset, path);
    if (status == EMC_OK)
        status = read_plain(&out->values, &(size_t){0}, categories, -1, path);
    if (status == EMC_OK)
        status = read_codes(out, dataset, n, path);
    cells_h5_close(categories);
    return status;
}

emc_status cells_h5_column(cells_column *out, hid_t frame, const char *name, int64_t n,
                           const char *path)
{
    emc_status status;
    hid_t object;

    if (!emc_is_plain_name(name))
        return cells_h5_fail(EMC_ERR_FORMAT, path, frame, "\"%s\" is no name of a column", name);
    EMC_TRY(cells_h5_open(&object, frame, name, path));
    status = H5Iget_type(object) == H5I_GROUP ? read_group(out, object, n, path)
                                              : read_dataset(out, object, n, path);
    cells_h5_close(object);
    if (status != EMC_OK)
        cells_column_free(out);
    return status;
}

emc_status cells_h5_frame_index(cells_column *out, char **name, hid_t frame, const char *path)
{
    *name = NULL;
    if (H5Iget_type(frame) != H5I_GROUP)
        return cells_h5_fail(EMC_ERR_FORMAT, path, frame,
                             "written by an anndata before 0.7; open it with a current anndata "
                             "and write it again");
    EMC_TRY(cells_h5_attribute(name, frame, "_index", path));
    if (!*name)
        EMC_TRY(emc_copy_string(name, cells_h5_has(frame, "_index") ? "_index" : "index"));
    return cells_h5_column(out, frame, *name, -1, path);
}

bool cells_h5_frame_has(hid_t frame, const char *name)
{
    return emc_is_plain_name(name) && cells_h5_has(frame, name);
}

emc_status cells_h5_frame_columns(cells_strings *names, hid_t frame, const char *path)
{
    return cells_h5_names(frame, names, path);
}
