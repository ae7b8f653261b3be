/* Is every .h5ad file with broken names, columns or links refused with one line? */
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

static void nothing(hid_t file)
{
    (void)file;
}

static void no_obs(hid_t file)
{
    drop(file, "obs");
}

static void no_var(hid_t file)
{
    drop(file, "var");
}

static void like_10x(hid_t file)
{
    no_obs(file);
    zeros(file, "matrix", H5T_NATIVE_INT, 1, 1, 0);
}

static void no_index(hid_t file)
{
    drop(file, "var/_index");
}

static void cells_twice(hid_t file)
{
    texts(file, "obs/_index",
          "a1\0\0\0\0a2\0\0\0\0a3\0\0\0\0a4\0\0\0\0a2\0\0\0\0a6\0\0\0\0a7\0\0\0", 7);
}

static void cell_unnamed(hid_t file)
{
    texts(file, "obs/_index",
          "a1\0\0\0\0a2\0\0\0\0\0\0\0\0\0\0a4\0\0\0\0a5\0\0\0\0a6\0\0\0\0a7\0\0\0", 7);
}

static void cell_latin1(hid_t file)
{
    texts(file, "obs/_index",
          "a1\0\0\0\0na\xefve\0a3\0\0\0\0a4\0\0\0\0a5\0\0\0\0a6\0\0\0\0a7\0\0\0", 7);
}

static void cells_few(hid_t file)
{
    texts(file, "obs/_index", "a1\0\0\0\0a2\0\0\0\0", 2);
}

static void cells_none(hid_t file)
{
    texts(file, "obs/_index", "", 0);
    set_shape(file, 2, 0, 12);
}

static void genes_none(hid_t file)
{
    texts(file, "var/_index", "", 0);
    set_shape(file, 2, 7, 0);
}

static void genes_numbered(hid_t file)
{
    texts(file, "var/_index",
          "0\0\0\0\0\0"
          "1\0\0\0\0\0"
          "2\0\0\0\0\0"
          "3\0\0\0\0\0"
          "4\0\0\0\0\0"
          "5\0\0\0\0\0"
          "6\0\0\0\0\0"
          "7\0\0\0\0\0"
          "8\0\0\0\0\0"
          "9\0\0\0\0\0"
          "10\0\0\0\0"
          "11\0\0\0\0",
          12);
}

static void index_is_a_matrix(hid_t file)
{
    zeros(file, "obs/_index", H5T_NATIVE_INT, 2, 7, 2);
}

static void column_short(hid_t file)
{
    texts(file, "obs/embryo", "e1\0\0\0\0e2\0\0\0\0", 2);
}

static void column_matrix(hid_t file)
{
    zeros(file, "obs/embryo", H5T_NATIVE_INT, 2, 7, 2);
}

static void column_opaque(hid_t file)
{
    const hid_t type = H5Tcreate(H5T_OPAQUE, 4);

    zeros(file, "obs/embryo", type, 1, 7, 0);
    H5(H5Tclose(type));
}

static void column_empty_group(hid_t file)
{
    drop(file, "obs/embryo");
    H5(H5Gclose(H5Gcreate2(file, "obs/embryo", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
}

static void code_high(hid_t file)
{
    set_int(file, "obs/label/codes", 1, 3);
}

static void codes_short(hid_t file)
{
    zeros(file, "obs/label/codes", H5T_NATIVE_INT, 1, 6, 0);
}

static void codes_float(hid_t file)
{
    zeros(file, "obs/label/codes", H5T_NATIVE_FLOAT, 1, 7, 0);
}

static void mask_short(hid_t file)
{
    zeros(file, "obs/n/mask", H5T_NATIVE_INT8, 1, 6, 0);
}

static void old_reference_lost(hid_t file)
{
    H5(H5Adelete_by_name(file, "obs/label", "categories", H5P_DEFAULT));
    set_text_attribute(file, "obs/label", "categories", "obs/__categories/label");
}

static void cell_masked(hid_t file)
{
    set_int(file, "obs/_index/mask", 4, 1);
}

static void obs_external_link(hid_t file)
{
    drop(file, "obs");
    H5(H5Lcreate_external("other.h5", "/obs", file, "obs", H5P_DEFAULT, H5P_DEFAULT));
}

static void symbols_are_ids(hid_t file)
{
    drop(file, "var/Feature_Name");
    H5(H5Lcreate_hard(file, "var/_index", file, "var/feature_name", H5P_DEFAULT, H5P_DEFAULT));
}

static void no_symbols(hid_t file)
{
    drop(file, "var/Feature_Name");
}

static const broken_case cases[] = {
    REFUSED("modern.h5ad", no_obs, "no obs; is it an .h5ad file?"),
    REFUSED("modern.h5ad", no_var, "no var; is it an .h5ad file?"),
    REFUSED("modern.h5ad", like_10x, "looks like a 10x or loom file"),
    REFUSED("modern.h5ad", no_index, "/var: no _index"),
    REFUSED("modern.h5ad", cells_twice, "two cells are called \"a2\" (2 and 5)"),
    REFUSED("modern.h5ad", cell_unnamed, "cell 3 has no name"),
    REFUSED("modern.h5ad", cell_latin1, "/obs/_index: entry 1: byte 0xef at offset 2 is not UTF-8"),
    REFUSED("modern.h5ad", cells_few, "names for 2 cells x 12 genes"),
    REFUSED("modern.h5ad", cells_none, "it has no cells"),
    REFUSED("modern.h5ad", genes_none, "it has no genes"),
    REFUSED("modern.h5ad", genes_numbered,
            "the index of var holds only numbers and no column of symbols was found"),
    REFUSED("modern.h5ad", index_is_a_matrix, "/obs/_index: wanted 1 dimensions"),
    REFUSED("modern.h5ad", column_short, "/obs/embryo: has 2 entries, wanted 7",
            .column = "embryo"),
    REFUSED("modern.h5ad", column_matrix, "/obs/embryo: wanted 1 dimensions", .column = "embryo"),
    REFUSED("modern.h5ad", column_opaque, "/obs/embryo: neither text nor numbers",
            .column = "embryo"),
    REFUSED("modern.h5ad", column_empty_group, "/obs/embryo: a column of encoding unknown",
            .column = "embryo"),
    REFUSED("modern.h5ad", code_high, "/obs/label/codes: entry 1 is 3 of 3 categories",
            .column = "label"),
    REFUSED("modern.h5ad", codes_short, "/obs/label/codes: has 6 entries, wanted 7",
            .column = "label"),
    REFUSED("modern.h5ad", codes_float, "codes that are no integers", .column = "label"),
    REFUSED("modern.h5ad", mask_short, "/obs/n/mask: not a mask of 7 entries", .column = "n"),
    REFUSED("old.h5ad", old_reference_lost, "its attribute categories refers to no dataset",
            .column = "label"),
    REFUSED("nullable.h5ad", cell_masked, "cell 5 has no name"),
    REFUSED("modern.h5ad", obs_external_link, "obs is an external link"),
    NOT_THERE("modern.h5ad", nothing, "no layer \"count\"; there are: X, raw, csc_",
              .layer = "count"),
    NOT_THERE("modern.h5ad", nothing, "no layer \"../X\"", .layer = "../X"),
    NOT_THERE("old.h5ad", nothing, "no layer \"raw2\"; there are: X, raw, bare", .layer = "raw2"),
    NOT_THERE("modern.h5ad", nothing, "var has no column \"symbol\"; it has: none",
              .gene_symbols = "symbol"),
    NOT_THERE("modern.h5ad", nothing, "obs has no column \"cell_type\"; it has: day, embryo, label",
              .column = "cell_type"),
    NOT_THERE("modern.h5ad", nothing, "obs has no column \".\"", .column = "."),
    REFUSED("ensembl.h5ad", no_symbols,
            "name one with --gene-symbols (columns: feature_biotype, plain)"),
    REFUSED("ensembl.h5ad", symbols_are_ids, "no column of symbols was found"),
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
