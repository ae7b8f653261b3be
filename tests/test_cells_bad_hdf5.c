/* Is every .h5ad file refused with one line whose container is sound and whose contents cannot be:
 * types that nobody writes, sizes that are claimed and not held, links in circles, damaged
 * chunks? */
#include "cells_break.h"

#include <math.h>
#include <string.h>

#define HUGE_SIZE ((hsize_t)1 << 56)

/* modern.h5ad has 7 cells x 12 genes. */

/* A chunked dataset of this shape in the place of the name; nothing is written. */
static void claim(hid_t file, const char *name, hid_t type, int n_dims, hsize_t n, hsize_t m,
                  hsize_t chunk)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t dims[2] = {n, m}, chunks[2] = {chunk, chunk};

    drop(file, name);
    H5(H5Pset_chunk(create, n_dims, chunks));
    put(file, name, type, n_dims, dims, create);
    H5(H5Pclose(create));
}

static void claim_text(hid_t file, const char *name, hsize_t n)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5(H5Tset_size(type, H5T_VARIABLE));
    claim(file, name, type, 1, n, 0, 1024);
    H5(H5Tclose(type));
}

static void cells_huge(hid_t file)
{
    claim_text(file, "obs/_index", HUGE_SIZE);
}

static void cells_many(hid_t file)
{
    claim_text(file, "obs/_index", INT32_MAX);
}

static void genes_huge(hid_t file)
{
    claim_text(file, "var/_index", HUGE_SIZE);
}

static void genes_many(hid_t file)
{
    claim_text(file, "var/_index", (hsize_t)1 << 31);
}

static void indptr_huge(hid_t file)
{
    claim(file, "X/indptr", H5T_NATIVE_INT64, 1, HUGE_SIZE, 0, 1024);
}

static void data_huge(hid_t file)
{
    claim(file, "X/data", H5T_NATIVE_FLOAT, 1, HUGE_SIZE, 0, 1024);
}

static void dense_huge(hid_t file)
{
    claim(file, "layers/dense_int8", H5T_NATIVE_INT8, 2, HUGE_SIZE, 7, 7);
}

static void shape_huge(hid_t file)
{
    const int64_t shape[2] = {INT64_MAX, INT64_MAX};
    const hsize_t n = 2;
    const hid_t space = H5Screate_simple(1, &n, NULL);

    H5(H5Adelete_by_name(file, "X", "shape", H5P_DEFAULT));
    const hid_t attribute = H5Acreate_by_name(file, "X", "shape", H5T_NATIVE_INT64, space,
                                              H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, H5T_NATIVE_INT64, shape));
    H5(H5Aclose(attribute));
    H5(H5Sclose(space));
}

static void shape_text(hid_t file)
{
    set_text_attribute(file, "X", "shape", "7, 12");
}

static void codes_huge(hid_t file)
{
    claim(file, "obs/label/codes", H5T_NATIVE_INT8, 1, HUGE_SIZE, 0, 1024);
}

static void categories_huge(hid_t file)
{
    claim_text(file, "obs/label/categories", HUGE_SIZE);
}

static void text_wide(hid_t file)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    H5(H5Tset_size(type, (size_t)1 << 30));
    claim(file, "obs/_index", type, 1, 7, 0, 1);
    H5(H5Tclose(type));
}

/* The values of X/data again, each chunk packed; then the bytes of the first are others. */
static void pack_data(hid_t file, const void *bytes, size_t n_bytes, H5Z_filter_t filter)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE), old = H5Dopen2(file, "X/data", H5P_DEFAULT);
    const hid_t space = H5Dget_space(old);
    const hsize_t n = (hsize_t)H5Sget_simple_extent_npoints(space), first = 0;

    H5(H5Sclose(space));
    H5(H5Dclose(old));
    drop(file, "X/data");
    H5(H5Pset_chunk(create, 1, &n));
    if (filter == H5Z_FILTER_DEFLATE)
        H5(H5Pset_deflate(create, 1));
    else
        H5(H5Pset_filter(create, filter, H5Z_FLAG_OPTIONAL, 0, NULL));
    put(file, "X/data", H5T_NATIVE_FLOAT, 1, &n, create);
    H5(H5Pclose(create));
    if (n_bytes > 0) {
        const hid_t data = H5Dopen2(file, "X/data", H5P_DEFAULT);
        H5(H5Dwrite_chunk(data, H5P_DEFAULT, 0, &first, n_bytes, bytes));
        H5(H5Dclose(data));
    }
}

static void chunk_damaged(hid_t file)
{
    pack_data(file, "these bytes are no deflate stream", 33, H5Z_FILTER_DEFLATE);
}

/* "hello", packed: far fewer bytes than the chunk has. */
static void chunk_short(hid_t file)
{
    pack_data(file, "x\x9c\xcbH\xcd\xc9\xc9\x07\x00\x06,\x02\x15", 13, H5Z_FILTER_DEFLATE);
}

static void filter_unknown(hid_t file)
{
    pack_data(file, "", 0, 399);
}

static void data_compound(hid_t file)
{
    const hid_t type = H5Tcreate(H5T_COMPOUND, 8);

    H5(H5Tinsert(type, "re", 0, H5T_NATIVE_FLOAT));
    H5(H5Tinsert(type, "im", 4, H5T_NATIVE_FLOAT));
    claim(file, "X/data", type, 1, 26, 0, 26);
    H5(H5Tclose(type));
}

static void indices_lists(hid_t file)
{
    const hid_t type = H5Tvlen_create(H5T_NATIVE_INT);

    claim(file, "X/indices", type, 1, 26, 0, 26);
    H5(H5Tclose(type));
}

static void index_references(hid_t file)
{
    claim(file, "obs/_index", H5T_STD_REF_OBJ, 1, 7, 0, 7);
}

static void x_is_a_type(hid_t file)
{
    const hid_t type = H5Tcopy(H5T_NATIVE_INT);

    drop(file, "X");
    H5(H5Tcommit2(file, "X", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5(H5Tclose(type));
}

static void link_hard(hid_t file, const char *to, const char *name)
{
    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        drop(file, name);
    H5(H5Lcreate_hard(file, to, file, name, H5P_DEFAULT, H5P_DEFAULT));
}

static void x_is_the_root(hid_t file)
{
    link_hard(file, "/", "X");
}

static void index_is_its_frame(hid_t file)
{
    link_hard(file, "obs", "obs/_index");
}

static void categories_are_their_column(hid_t file)
{
    link_hard(file, "obs/label", "obs/label/categories");
}

static void values_are_their_column(hid_t file)
{
    link_hard(file, "obs/n", "obs/n/values");
}

static void obs_soft_circle(hid_t file)
{
    drop(file, "obs");
    H5(H5Lcreate_soft("/obs", file, "obs", H5P_DEFAULT, H5P_DEFAULT));
}

static void index_named_dots(hid_t file)
{
    set_text_attribute(file, "obs", "_index", "..");
}

static void index_named_path(hid_t file)
{
    set_text_attribute(file, "obs", "_index", "../var/_index");
}

static void index_named_nothing(hid_t file)
{
    set_text_attribute(file, "obs", "_index", "absent");
}

static void obs_is_numbers(hid_t file)
{
    drop(file, "obs");
    zeros(file, "obs", H5T_NATIVE_INT, 1, 7, 0);
}

/* A categorical of anndata 0.7 whose reference names a group. */
static void old_reference_to_group(hid_t file)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    hobj_ref_t reference;

    H5(H5Adelete_by_name(file, "obs/label", "categories", H5P_DEFAULT));
    H5(H5Rcreate(&reference, file, "/obs", H5R_OBJECT, -1));
    const hid_t attribute = H5Acreate_by_name(file, "obs/label", "categories", H5T_STD_REF_OBJ,
                                              space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, H5T_STD_REF_OBJ, &reference));
    H5(H5Aclose(attribute));
    H5(H5Sclose(space));
}

/* Its categories are itself: codes become words, and its codes are checked against its length. */
static void old_reference_to_itself(hid_t file)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    hobj_ref_t reference;

    set_int(file, "obs/label", 0, 100);
    H5(H5Adelete_by_name(file, "obs/label", "categories", H5P_DEFAULT));
    H5(H5Rcreate(&reference, file, "/obs/label", H5R_OBJECT, -1));
    const hid_t attribute = H5Acreate_by_name(file, "obs/label", "categories", H5T_STD_REF_OBJ,
                                              space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, H5T_STD_REF_OBJ, &reference));
    H5(H5Aclose(attribute));
    H5(H5Sclose(space));
}

static void value_negative(hid_t file)
{
    set_int(file, "X/data", 2, -3);
}

static void value_minus_infinite(hid_t file)
{
    const hid_t data = H5Dopen2(file, "X/data", H5P_DEFAULT), all = H5Dget_space(data);
    const hsize_t at = 2, one = 1;
    const hid_t memory = H5Screate_simple(1, &one, NULL);
    const double value = -(double)INFINITY;

    H5(H5Sselect_hyperslab(all, H5S_SELECT_SET, &at, NULL, &one, NULL));
    H5(H5Dwrite(data, H5T_NATIVE_DOUBLE, memory, all, H5P_DEFAULT, &value));
    H5(H5Sclose(memory));
    H5(H5Sclose(all));
    H5(H5Dclose(data));
}

static const broken_case cases[] = {
    REFUSED("modern.h5ad", cells_huge, "/obs/_index: has 72057594037927936 entries; at most"),
    REFUSED("modern.h5ad", cells_many, "/obs/_index: claims 2147483647 entries"),
    REFUSED("modern.h5ad", genes_huge, "/var/_index: has 72057594037927936 entries; at most"),
    REFUSED("modern.h5ad", genes_many, "/var/_index: has 2147483648 entries; at most"),
    REFUSED("modern.h5ad", indptr_huge, "/X/indptr: has 72057594037927936 entries, wanted 8"),
    REFUSED("modern.h5ad", data_huge, "/X/data: 72057594037927936 values for"),
    REFUSED("modern.h5ad", dense_huge, "is 72057594037927936 x 7, but", .layer = "dense_int8"),
    REFUSED("modern.h5ad", shape_huge, "/X: its shape is 9223372036854775807 x"),
    REFUSED("modern.h5ad", shape_text, "/X: attribute shape: wanted 2 integers"),
    REFUSED("modern.h5ad", codes_huge, "/obs/label/codes: has 72057594037927936 entries, wanted",
            .column = "label"),
    REFUSED("modern.h5ad", categories_huge, "categories: has 72057594037927936 entries; at most",
            .column = "label"),
    REFUSED("modern.h5ad", text_wide, "/obs/_index: strings of 1073741824 bytes"),
    REFUSED_LATER("modern.h5ad", chunk_damaged, "/X/data"),
    REFUSED_LATER("modern.h5ad", chunk_short, "/X/data"),
    REFUSED("modern.h5ad", filter_unknown, "/X/data: compressed with filter 399"),
    REFUSED("modern.h5ad", data_compound, "data must be numbers"),
    REFUSED("modern.h5ad", indices_lists, "indices and indptr integers"),
    REFUSED("modern.h5ad", index_references, "/obs/_index: neither text nor numbers"),
    REFUSED("modern.h5ad", x_is_a_type, "/X: neither a group nor a dataset"),
    REFUSED("modern.h5ad", x_is_the_root, "a group of encoding"),
    REFUSED("modern.h5ad", index_is_its_frame, "a column of encoding dataframe"),
    REFUSED("modern.h5ad", categories_are_their_column, "no values", .column = "label"),
    REFUSED("modern.h5ad", values_are_their_column, "wanted a dataset, found a group",
            .column = "n"),
    REFUSED("modern.h5ad", obs_soft_circle, "obs is a soft link, which is not followed"),
    REFUSED("modern.h5ad", index_named_dots, "\"..\" is no name of a column"),
    REFUSED("modern.h5ad", index_named_path, "\"../var/_index\" is no name of a column"),
    REFUSED("modern.h5ad", index_named_nothing, "/obs: no absent"),
    REFUSED("modern.h5ad", obs_is_numbers, "/obs: neither a group nor a compound dataset"),
    REFUSED("old.h5ad", old_reference_to_group, "its attribute categories refers to no dataset",
            .column = "label"),
    REFUSED("old.h5ad", old_reference_to_itself, "entry 0 is 100 of 7 categories",
            .column = "label"),
    REFUSED_LATER("modern.h5ad", value_negative, "is -3: scaled values do not say which"),
    REFUSED_LATER("modern.h5ad", value_minus_infinite, "is -inf: scaled values"),
};

static void broken_files(void **state)
{
    (void)state;
    check_broken(cases, EMC_COUNT(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(broken_files)};

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
