#include "h5_same.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define H5(call) assert_true((call) >= 0)

typedef struct {
    hid_t after;
    int n_seen;
} comparison;

/* Two values of one type: texts by what they say, the rest by its bytes. */
static bool same_value(hid_t type, const char *a, const char *b)
{
    if (H5Tis_variable_str(type) > 0) {
        const char *x, *y;
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        return x && y ? strcmp(x, y) == 0 : x == y;
    }
    if (H5Tget_class(type) != H5T_COMPOUND)
        return memcmp(a, b, H5Tget_size(type)) == 0;
    bool same = true;
    for (int i = 0; i < H5Tget_nmembers(type); i++) {
        const hid_t member = H5Tget_member_type(type, (unsigned)i);
        const size_t at = H5Tget_member_offset(type, (unsigned)i);
        same = same && same_value(member, a + at, b + at);
        H5Tclose(member);
    }
    return same;
}

static void same_values(const char *name, hid_t type, hid_t space, char *a, char *b)
{
    const hssize_t n = H5Sget_simple_extent_npoints(space);

    for (hssize_t i = 0; i < n; i++) {
        const size_t at = (size_t)i * H5Tget_size(type);
        if (!same_value(type, a + at, b + at))
            fail_msg("%s: entry %lld differs", name, (long long)i);
    }
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, a);
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, b);
}

static char *room(hid_t type, hid_t space)
{
    char *bytes = calloc((size_t)H5Sget_simple_extent_npoints(space) + 1, H5Tget_size(type) + 1);

    assert_non_null(bytes);
    return bytes;
}

static herr_t same_attribute(hid_t before, const char *name, const H5A_info_t *info, void *context)
{
    const hid_t after = *(hid_t *)context;
    char place[256];

    (void)info;
    assert_true(H5Iget_name(before, place, sizeof place) > 0);
    if (strcmp(place, "/obs") == 0 && strcmp(name, "column-order") == 0)
        return 0;
    if (H5Aexists(after, name) <= 0)
        fail_msg("%s: attribute %s is gone", place, name);
    const hid_t a = H5Aopen(before, name, H5P_DEFAULT), b = H5Aopen(after, name, H5P_DEFAULT);
    const hid_t type = H5Aget_type(a), other = H5Aget_type(b), space = H5Aget_space(a);
    char *x = room(type, space), *y = room(type, space);
    assert_true(H5Tequal(type, other) > 0);
    assert_int_equal(H5Aget_storage_size(a), H5Aget_storage_size(b));
    if (H5Sget_simple_extent_npoints(space) > 0) {
        H5(H5Aread(a, type, x));
        H5(H5Aread(b, type, y));
        same_values(name, type, space, x, y);
    }
    free(x);
    free(y);
    H5Sclose(space);
    H5Tclose(type);
    H5Tclose(other);
    H5Aclose(a);
    H5Aclose(b);
    return 0;
}

/* The members of a compound that were there before. */
static void same_members(const char *name, hid_t before, hid_t after)
{
    const hid_t type = H5Dget_type(before), wider = H5Dget_type(after),
                space = H5Dget_space(before);

    for (int i = 0; i < H5Tget_nmembers(type); i++) {
        char *member = H5Tget_member_name(type, (unsigned)i), *other;
        const hid_t of = H5Tget_member_type(type, (unsigned)i),
                    now = H5Tget_member_type(wider, (unsigned)i);
        other = H5Tget_member_name(wider, (unsigned)i);
        assert_string_equal(member, other);
        assert_true(H5Tequal(of, now) > 0);
        const hid_t alone = H5Tcreate(H5T_COMPOUND, H5Tget_size(of));
        H5(H5Tinsert(alone, member, 0, of));
        char *x = room(alone, space), *y = room(alone, space);
        H5(H5Dread(before, alone, H5S_ALL, H5S_ALL, H5P_DEFAULT, x));
        H5(H5Dread(after, alone, H5S_ALL, H5S_ALL, H5P_DEFAULT, y));
        same_values(name, alone, space, x, y);
        free(x);
        free(y);
        H5Tclose(alone);
        H5Tclose(of);
        H5Tclose(now);
        H5free_memory(member);
        H5free_memory(other);
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Tclose(wider);
}

/* Chunks as they lie in the file, so that no filter is needed to compare them. */
static void same_chunks(hid_t before, hid_t after, hid_t space)
{
    hsize_t n, m, offset[8], other[8], bytes, bytes_after;
    unsigned skipped;
    uint32_t mask;
    haddr_t at;

    H5(H5Dget_num_chunks(before, space, &n));
    H5(H5Dget_num_chunks(after, space, &m));
    assert_int_equal(n, m);
    for (hsize_t i = 0; i < n; i++) {
        H5(H5Dget_chunk_info(before, space, i, offset, &skipped, &at, &bytes));
        H5(H5Dget_chunk_info(after, space, i, other, &skipped, &at, &bytes_after));
        assert_int_equal(bytes, bytes_after);
        char *x = malloc(bytes + 1), *y = malloc(bytes + 1);
        assert_true(x && y);
        H5(H5Dread_chunk(before, H5P_DEFAULT, offset, &mask, x));
        H5(H5Dread_chunk(after, H5P_DEFAULT, offset, &mask, y));
        assert_memory_equal(x, y, bytes);
        free(x);
        free(y);
    }
}

static void same_dataset(const char *name, hid_t before, hid_t after)
{
    const hid_t type = H5Dget_type(before), other = H5Dget_type(after),
                space = H5Dget_space(before), wide = H5Dget_space(after),
                made = H5Dget_create_plist(before), remade = H5Dget_create_plist(after);

    assert_true(H5Sextent_equal(space, wide) > 0);
    if (strcmp(name, "obs") == 0) {
        same_members(name, before, after);
    } else {
        const bool chunked = H5Pget_layout(made) == H5D_CHUNKED;
        char *x = room(type, space), *y = room(type, space);
        assert_true(H5Tequal(type, other) > 0);
        assert_true(H5Pequal(made, remade) > 0);
        assert_int_equal(H5Dget_storage_size(before), H5Dget_storage_size(after));
        if (chunked)
            same_chunks(before, after, space);
        else if (H5Sget_simple_extent_npoints(space) > 0) {
            H5(H5Dread(before, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, x));
            H5(H5Dread(after, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, y));
            same_values(name, type, space, x, y);
        }
        free(x);
        free(y);
    }
    H5Pclose(made);
    H5Pclose(remade);
    H5Sclose(space);
    H5Sclose(wide);
    H5Tclose(type);
    H5Tclose(other);
}

static herr_t same_object(hid_t before, const char *name, const H5O_info_t *info, void *context)
{
    comparison *c = context;

    c->n_seen++;
    if (strcmp(name, ".") != 0 && H5Oexists_by_name(c->after, name, H5P_DEFAULT) <= 0)
        fail_msg("%s is gone", name);
    const hid_t a = H5Oopen(before, name, H5P_DEFAULT), b = H5Oopen(c->after, name, H5P_DEFAULT);
    hid_t other = b;
    H5(a);
    H5(b);
    assert_int_equal(H5Iget_type(a), H5Iget_type(b));
    H5(H5Aiterate2(a, H5_INDEX_NAME, H5_ITER_INC, NULL, same_attribute, &other));
    if (info->type == H5O_TYPE_DATASET)
        same_dataset(name, a, b);
    H5Oclose(a);
    H5Oclose(b);
    return 0;
}

void h5_check_same(const char *before, const char *after)
{
    const hid_t from = H5Fopen(before, H5F_ACC_RDONLY, H5P_DEFAULT),
                to = H5Fopen(after, H5F_ACC_RDONLY, H5P_DEFAULT);
    comparison c = {.after = to};

    H5(from);
    H5(to);
    H5(H5Ovisit(from, H5_INDEX_NAME, H5_ITER_INC, same_object, &c));
    assert_true(c.n_seen > 3);
    H5(H5Fclose(from));
    H5(H5Fclose(to));
}

void h5_check_alone(const char *path, int64_t n_cells)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t index = H5Dopen2(file, "obs/_index", H5P_DEFAULT), type = H5Dget_type(index),
                space = H5Dget_space(index);
    char want[32];

    H5(file);
    assert_true(H5Lexists(file, "X", H5P_DEFAULT) == 0);
    assert_int_equal(H5Sget_simple_extent_npoints(space), n_cells);
    if (n_cells > 0) {
        char **ids = calloc((size_t)n_cells, sizeof *ids);
        H5(H5Dread(index, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids));
        for (int64_t i = 0; i < n_cells; i++) {
            snprintf(want, sizeof want, "cell %lld", (long long)i);
            assert_string_equal(ids[i], want);
        }
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, ids);
        free(ids);
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(index);
    H5(H5Fclose(file));
}

float *h5_floats(const char *path, const char *name, size_t n)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT),
                dataset = H5Dopen2(file, name, H5P_DEFAULT);
    float *values = calloc(n, sizeof *values);

    assert_non_null(values);
    assert_int_equal(H5Dget_storage_size(dataset), n * sizeof *values);
    H5(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    H5Dclose(dataset);
    H5(H5Fclose(file));
    return values;
}

char *h5_names_attribute(int64_t file, const char *object, const char *name)
{
    const hid_t attribute = H5Aopen_by_name((hid_t)file, object, name, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const size_t n = (size_t)H5Sget_simple_extent_npoints(space);
    char **names = calloc(n + 1, sizeof *names);
    emc_text text = {0};

    H5(H5Aread(attribute, type, names));
    for (size_t i = 0; i < n; i++)
        EMT_OK(emc_text_addf(&text, "%s%s", i ? "," : "", names[i]));
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, names);
    free(names);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return text.bytes;
}
