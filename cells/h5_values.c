/* How do the entries of a dataset become text, band by band? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/frame.h"
#include "cells/h5.h"

/* Strings are read in bands: the library allocates each of them by itself. */
#define BAND ((hsize_t)16384)

#define LONGEST_FIXED ((size_t)1 << 20)

/* Numbers that are turned into text at a time. */
#define NUMBERS 1024

/* A copy of the type to read into; of a member of a compound, a compound that holds it alone and
 * so lies in memory like the type itself. */
static emc_status wrapped(hid_t *out, const cells_h5_values *from, hid_t memory)
{
    if (!from->member) {
        *out = H5Tcopy(memory);
    } else {
        *out = H5Tcreate(H5T_COMPOUND, H5Tget_size(memory));
        if (*out >= 0 && H5Tinsert(*out, from->member, 0, memory) < 0) {
            H5Tclose(*out);
            *out = -1;
        }
    }
    if (*out < 0)
        return cells_h5_broken(from->path, from->dataset, "reading the type");
    return EMC_OK;
}

/* Strings of variable length; their character set must be the file's. */
static emc_status variable_type(hid_t *out, const cells_h5_values *from)
{
    const hid_t memory = H5Tcopy(H5T_C_S1);
    emc_status status;

    if (memory < 0 || H5Tset_cset(memory, H5Tget_cset(from->type)) < 0 ||
        H5Tset_size(memory, H5T_VARIABLE) < 0)
        status = cells_h5_broken(from->path, from->dataset, "reading the type");
    else
        status = wrapped(out, from, memory);
    if (memory >= 0)
        H5Tclose(memory);
    return status;
}

static void place_of(char *text, size_t n, const char *path, hid_t at, hsize_t row)
{
    char name[256] = "";

    if (H5Iget_name(at, name, sizeof name) <= 0)
        name[0] = '\0';
    snprintf(text, n, "%s: %s: entry %llu", path, name, (unsigned long long)row);
}

static emc_status add_at(cells_strings *out, const char *bytes, size_t n, hsize_t row,
                         const cells_h5_values *from)
{
    char place[1024];

    if (emc_utf8_valid(bytes, n) == n)
        return cells_strings_add(out, bytes, n, from->path);
    place_of(place, sizeof place, from->path, from->dataset, row);
    return cells_strings_add(out, bytes, n, place);
}

/* One band of variable-length strings; a NULL pointer is an empty string. */
static emc_status add_variable(cells_strings *out, const cells_h5_values *from, hid_t memory,
                               hsize_t start, hsize_t n, char **band)
{
    emc_status status;
    hid_t space;

    memset(band, 0, (size_t)n * sizeof *band);
    status = cells_h5_slice(band, from->dataset, start, n, memory, from->path);
    for (hsize_t i = 0; status == EMC_OK && i < n; i++)
        status =
            add_at(out, band[i] ? band[i] : "", band[i] ? strlen(band[i]) : 0, start + i, from);
    space = H5Screate_simple(1, &n, NULL);
    if (space >= 0) {
        H5Dvlen_reclaim(memory, space, H5P_DEFAULT, band);
        H5Sclose(space);
    }
    return status;
}

/* One band of fixed-length strings, padded with NULs or blanks. */
static emc_status add_fixed(cells_strings *out, const cells_h5_values *from, hid_t memory,
                            hsize_t start, hsize_t n, char *band)
{
    const size_t size = H5Tget_size(from->type);
    const bool blanks = H5Tget_strpad(from->type) == H5T_STR_SPACEPAD;

    EMC_TRY(cells_h5_slice(band, from->dataset, start, n, memory, from->path));
    for (hsize_t i = 0; i < n; i++) {
        const char *text = band + (size_t)i * size;
        size_t length = strnlen(text, size);
        while (blanks && length > 0 && text[length - 1] == ' ')
            length--;
        EMC_TRY(add_at(out, text, length, start + i, from));
    }
    return EMC_OK;
}

emc_status cells_h5_values_strings(cells_strings *out, const cells_h5_values *from, hsize_t first,
                                   hsize_t n)
{
    const bool variable = H5Tis_variable_str(from->type) > 0;
    const size_t size = variable ? sizeof(char *) : H5Tget_size(from->type);
    emc_status status;
    hid_t memory = -1;
    void *band = NULL;

    if (size == 0 || size > LONGEST_FIXED)
        return cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset, "strings of %zu bytes",
                             size);
    status = variable ? variable_type(&memory, from) : wrapped(&memory, from, from->type);
    const hsize_t step = variable || size <= 256 ? BAND : BAND / 4096;
    if (status == EMC_OK)
        status = emc_alloc(&band, (size_t)(n < step ? n : step), size, "a band of strings");
    for (hsize_t start = 0; status == EMC_OK && start < n; start += step) {
        const hsize_t count = n - start < step ? n - start : step;
        status = variable ? add_variable(out, from, memory, first + start, count, band)
                          : add_fixed(out, from, memory, first + start, count, band);
    }
    free(band);
    if (memory >= 0)
        H5Tclose(memory);
    return status;
}

static emc_status add_numbers(cells_strings *out, const cells_h5_values *from, hsize_t n)
{
    const H5T_class_t class = H5Tget_class(from->type);
    const bool is_float32 = class == H5T_FLOAT && H5Tget_size(from->type) == sizeof(float);
    emc_status status;
    double reals[NUMBERS];
    int64_t ints[NUMBERS];
    hid_t memory;

    status = wrapped(&memory, from, class == H5T_FLOAT ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64);
    for (hsize_t start = 0; status == EMC_OK && start < n; start += NUMBERS) {
        const hsize_t count = n - start < NUMBERS ? n - start : NUMBERS;
        void *to = class == H5T_FLOAT ? (void *)reals : (void *)ints;
        status = cells_h5_slice(to, from->dataset, start, count, memory, from->path);
        for (hsize_t i = 0; status == EMC_OK && i < count; i++) {
            char text[64];
            if (class == H5T_FLOAT)
                cells_print_double(text, sizeof text, reals[i], is_float32);
            else if (class == H5T_ENUM) /* how booleans are stored; as pandas prints them */
                snprintf(text, sizeof text, "%s", ints[i] ? "True" : "False");
            else
                snprintf(text, sizeof text, "%lld", (long long)ints[i]);
            status = cells_strings_add(out, text, strlen(text), from->path);
        }
    }
    if (memory >= 0)
        H5Tclose(memory);
    return status;
}

emc_status cells_h5_values_open(cells_h5_values *from, hid_t dataset, const char *member,
                                const char *path)
{
    *from = (cells_h5_values){.dataset = dataset, .type = -1, .member = member, .path = path};
    const hid_t type = H5Dget_type(dataset);
    if (type >= 0 && member) {
        const int at = H5Tget_class(type) == H5T_COMPOUND ? H5Tget_member_index(type, member) : -1;
        from->type = at < 0 ? -1 : H5Tget_member_type(type, (unsigned)at);
        H5Tclose(type);
    } else {
        from->type = type;
    }
    if (from->type < 0)
        return cells_h5_broken(path, dataset, "reading the type");
    return EMC_OK;
}

void cells_h5_values_close(cells_h5_values *from)
{
    if (from->type >= 0)
        H5Tclose(from->type);
    from->type = -1;
}

/* A file that is small may claim 2^31 entries which nobody ever wrote. Names and codes are packed
 * at most about this well: 1032 to 1 by gzip, and more by zstd when all are the same. */
#define MOST_PACKED ((hsize_t)65536)
#define FEW         ((hsize_t)1 << 20)

static emc_status check_is_held(const cells_h5_values *from, hsize_t length)
{
    const hsize_t stored = H5Dget_storage_size(from->dataset);

    if (length <= FEW || length / MOST_PACKED <= stored)
        return EMC_OK;
    return cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset,
                         "claims %llu entries and holds %llu bytes; write the file again",
                         (unsigned long long)length, (unsigned long long)stored);
}

emc_status cells_h5_values_count(hsize_t *length, const cells_h5_values *from, int64_t n)
{
    EMC_TRY(cells_h5_dims(length, 1, from->dataset, from->path));
    if (n >= 0 && *length != (hsize_t)n)
        return cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset,
                             "has %llu entries, wanted %lld", (unsigned long long)*length,
                             (long long)n);
    if (*length > INT32_MAX)
        return cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset,
                             "has %llu entries; at most %d are read", (unsigned long long)*length,
                             INT32_MAX);
    return check_is_held(from, *length);
}

emc_status cells_h5_values_text(cells_strings *out, size_t *n_out, const cells_h5_values *from,
                                int64_t n)
{
    const H5T_class_t class = H5Tget_class(from->type);
    hsize_t length;

    EMC_TRY(cells_h5_values_count(&length, from, n));
    *n_out = (size_t)length;
    if (class == H5T_STRING)
        return cells_h5_values_strings(out, from, 0, length);
    if (class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM)
        return add_numbers(out, from, length);
    return cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset, "neither text nor numbers");
}

emc_status cells_h5_values_codes(int32_t **out, size_t *n_out, size_t n_categories,
                                 const cells_h5_values *from, int64_t n)
{
    emc_status status;
    hsize_t length;
    hid_t memory;

    if (H5Tget_class(from->type) != H5T_INTEGER)
        return cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset,
                             "codes that are no integers");
    EMC_TRY(cells_h5_values_count(&length, from, n));
    EMC_TRY(emc_alloc(out, (size_t)length, sizeof **out, "codes"));
    EMC_TRY(wrapped(&memory, from, H5T_NATIVE_INT32));
    status = cells_h5_slice(*out, from->dataset, 0, length, memory, from->path);
    H5Tclose(memory);
    for (hsize_t i = 0; status == EMC_OK && i < length; i++)
        if ((*out)[i] >= (int64_t)n_categories)
            status = cells_h5_fail(EMC_ERR_FORMAT, from->path, from->dataset,
                                   "entry %llu is %d of %zu categories", (unsigned long long)i,
                                   (*out)[i], n_categories);
    *n_out = (size_t)length;
    return status;
}
