/* Is every .h5ad file with a broken matrix refused with one line that names file and place? */
#include "cells_break.h"

static void set_shape(hid_t file, hsize_t n, int64_t rows, int64_t columns)
{
    const int64_t shape[3] = {rows, columns, 1};
    const hid_t space = H5Screate_simple(1, &n, NULL);

    H5(H5Adelete_by_name(file, "X", "shape", H5P_DEFAULT));
    const hid_t attribute = H5Acreate_by_name(file, "X", "shape", H5T_NATIVE_INT64, space,
                                              H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, H5T_NATIVE_INT64, shape));
    H5(H5Aclose(attribute));
    H5(H5Sclose(space));
}

/* modern.h5ad has 7 cells x 12 genes. */

static void no_x(hid_t file)
{
    drop(file, "X");
}

static void no_matrix(hid_t file)
{
    drop(file, "X");
    drop(file, "raw");
    drop(file, "layers");
}

static void wrong_encoding(hid_t file)
{
    set_text_attribute(file, "X", "encoding-type", "coo_matrix");
}

static void no_encoding(hid_t file)
{
    H5(H5Adelete_by_name(file, "X", "encoding-type", H5P_DEFAULT));
}

static void no_shape(hid_t file)
{
    H5(H5Adelete_by_name(file, "X", "shape", H5P_DEFAULT));
}

static void lying_shape(hid_t file)
{
    set_shape(file, 2, 7, 13);
}

static void swapped_shape(hid_t file)
{
    set_shape(file, 2, 12, 7);
}

static void long_shape(hid_t file)
{
    set_shape(file, 3, 7, 12);
}

static void indptr_starts_late(hid_t file)
{
    set_int(file, "X/indptr", 0, 1);
}

static void indptr_falls(hid_t file)
{
    set_int(file, "X/indptr", 2, 0);
}

static void indptr_negative(hid_t file)
{
    set_int(file, "X/indptr", 1, -5);
}

static void indptr_ends_late(hid_t file)
{
    set_int(file, "X/indptr", 7, 1000000);
}

static void indptr_ends_early(hid_t file)
{
    for (hsize_t i = 0; i < 8; i++)
        set_int(file, "X/indptr", i, (int64_t)i);
}

static void indptr_short(hid_t file)
{
    zeros(file, "X/indptr", H5T_NATIVE_INT, 1, 7, 0);
}

static void indptr_flat(hid_t file)
{
    zeros(file, "X/indptr", H5T_NATIVE_INT, 2, 8, 1);
}

static void indptr_float(hid_t file)
{
    zeros(file, "X/indptr", H5T_NATIVE_FLOAT, 1, 8, 0);
}

static void indptr_group(hid_t file)
{
    drop(file, "X/indptr");
    H5(H5Gclose(H5Gcreate2(file, "X/indptr", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
}

static void no_data(hid_t file)
{
    drop(file, "X/data");
}

static void data_short(hid_t file)
{
    zeros(file, "X/data", H5T_NATIVE_FLOAT, 1, 5, 0);
}

static void data_text(hid_t file)
{
    texts(file, "X/data", "onlyxtonlyyt", 2);
}

static void index_high(hid_t file)
{
    set_int(file, "X/indices", 3, 12);
}

static void index_negative(hid_t file)
{
    set_int(file, "X/indices", 3, -1);
}

static void csc_index_high(hid_t file)
{
    set_int(file, "layers/csc_int32/indices", 2, 7);
}

static void dense_wide(hid_t file)
{
    zeros(file, "layers/dense_int8", H5T_NATIVE_INT, 2, 7, 13);
}

static void dense_flat(hid_t file)
{
    zeros(file, "layers/dense_int8", H5T_NATIVE_INT, 1, 84, 0);
}

static void dense_text(hid_t file)
{
    const hid_t type = H5Tcopy(H5T_C_S1);

    zeros(file, "layers/dense_int8", type, 2, 7, 12);
    H5(H5Tclose(type));
}

static void x_soft_link(hid_t file)
{
    drop(file, "X");
    H5(H5Lcreate_soft("/layers/csr_int64", file, "X", H5P_DEFAULT, H5P_DEFAULT));
}

static void x_external_link(hid_t file)
{
    drop(file, "X");
    H5(H5Lcreate_external("other.h5", "/X", file, "X", H5P_DEFAULT, H5P_DEFAULT));
}

static void dense_outside(hid_t file)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t dims[2] = {7, 12};

    drop(file, "layers/dense_int8");
    H5(H5Pset_external(create, "/etc/passwd", 0, 7 * 12));
    put(file, "layers/dense_int8", H5T_NATIVE_INT8, 2, dims, create);
    H5(H5Pclose(create));
}

static void dense_virtual(hid_t file)
{
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t dims[2] = {7, 12};
    const hid_t space = H5Screate_simple(2, dims, NULL);

    drop(file, "layers/dense_int8");
    H5(H5Pset_virtual(create, space, "other.h5", "X", space));
    put(file, "layers/dense_int8", H5T_NATIVE_INT8, 2, dims, create);
    H5(H5Sclose(space));
    H5(H5Pclose(create));
}

static void raw_null(hid_t file)
{
    drop(file, "raw");
    const hid_t space = H5Screate(H5S_NULL);
    H5(H5Dclose(
        H5Dcreate2(file, "raw", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
    H5(H5Sclose(space));
}

static const broken_case cases[] = {
    REFUSED("modern.h5ad", no_x, "no X; choose another with --layer: raw, "),
    REFUSED("modern.h5ad", no_matrix, "no matrix"),
    REFUSED("modern.h5ad", wrong_encoding, "/X: a group of encoding coo_matrix"),
    REFUSED("modern.h5ad", no_encoding, "/X: a group of encoding unknown"),
    REFUSED("modern.h5ad", no_shape, "/X: no attribute shape"),
    REFUSED("modern.h5ad", lying_shape, "/X: its shape is 7 x 13, but"),
    REFUSED("modern.h5ad", swapped_shape, "/X: its shape is 12 x 7, but"),
    REFUSED("modern.h5ad", long_shape, "attribute shape: wanted 2 integers"),
    REFUSED("modern.h5ad", indptr_starts_late, "/X/indptr: starts at 1"),
    REFUSED("modern.h5ad", indptr_falls, "to 0 at entry 2; the file is damaged"),
    REFUSED("modern.h5ad", indptr_negative, "from 0 to -5 at entry 1"),
    REFUSED("modern.h5ad", indptr_ends_late, "/X/indptr: ends at 1000000, but"),
    REFUSED("modern.h5ad", indptr_ends_early, "/X/indptr: ends at 7, but"),
    REFUSED("modern.h5ad", indptr_short, "has 7 entries, wanted 8"),
    REFUSED("modern.h5ad", indptr_flat, "wanted 1 dimensions, found 2"),
    REFUSED("modern.h5ad", indptr_float, "indices and indptr integers"),
    REFUSED("modern.h5ad", indptr_group, "/X/indptr: wanted a dataset, found a group"),
    REFUSED("modern.h5ad", no_data, "/X: no data"),
    REFUSED("modern.h5ad", data_short, "/X/data: 5 values for"),
    REFUSED("modern.h5ad", data_text, "data must be numbers"),
    REFUSED_LATER("modern.h5ad", index_high, "/X/indices: row 0: column index 12 of 12"),
    REFUSED_LATER("modern.h5ad", index_negative, "column index -1 of 12"),
    REFUSED("modern.h5ad", csc_index_high, "row index 7 of 7", .layer = "csc_int32"),
    REFUSED("modern.h5ad", dense_wide, "is 7 x 13, but there are names for 7 cells x 12",
            .layer = "dense_int8"),
    REFUSED("modern.h5ad", dense_flat, "wanted 2 dimensions, found 1", .layer = "dense_int8"),
    REFUSED("modern.h5ad", dense_text, "its values are no numbers", .layer = "dense_int8"),
    REFUSED("modern.h5ad", x_soft_link, "X is a soft link, which is not followed"),
    REFUSED("modern.h5ad", x_external_link, "X is an external link, which is not followed"),
    REFUSED("modern.h5ad", dense_outside, "its values lie in another file", .layer = "dense_int8"),
    REFUSED("modern.h5ad", dense_virtual, "its values lie in another file", .layer = "dense_int8"),
    NOT_THERE("modern.h5ad", raw_null, "raw is empty", .layer = "raw"),
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
