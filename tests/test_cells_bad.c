/* Is every broken file refused with one line that names the file and the place? */
#include "emt.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cells/reader.h"

#define H5(call) assert_true((call) >= 0)

/* ---- tools that break a copy ---- */

static const char *copy_golden(const char *name)
{
    char path[64];
    size_t n;
    snprintf(path, sizeof path, "cells/%s", name);
    char *bytes = emt_read(emt_golden(path), &n);
    const char *copy = emt_write(name, bytes, n);

    free(bytes);
    return copy;
}

static void set_int(hid_t file, const char *name, hsize_t at, int64_t value)
{
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const hid_t space = H5Dget_space(dataset);
    const hsize_t one = 1;
    const hid_t memory = H5Screate_simple(1, &one, NULL);

    H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL));
    const hid_t type = H5Dget_type(dataset);
    const int8_t small = (int8_t)value;
    /* An enumeration, as booleans are stored, takes its own type only. */
    if (H5Tget_class(type) == H5T_ENUM)
        H5(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, &small));
    else
        H5(H5Dwrite(dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &value));
    H5(H5Tclose(type));
    H5(H5Sclose(memory));
    H5(H5Sclose(space));
    H5(H5Dclose(dataset));
}

static void drop(hid_t file, const char *name)
{
    H5(H5Ldelete(file, name, H5P_DEFAULT));
}

static void put(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims,
                hid_t create)
{
    const hid_t space = H5Screate_simple(n_dims, dims, NULL);
    const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);

    H5(dataset);
    H5(H5Dclose(dataset));
    H5(H5Sclose(space));
}

/* A dataset of zeros in the place of whatever had the name. */
static void zeros(hid_t file, const char *name, hid_t type, int n_dims, hsize_t n, hsize_t m)
{
    const hsize_t dims[2] = {n, m};

    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        drop(file, name);
    put(file, name, type, n_dims, dims, H5P_DEFAULT);
}

/* Text of six bytes an entry, in the place of whatever had the name. */
static void texts(hid_t file, const char *name, const char *bytes, hsize_t n)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    hid_t dataset;

    H5(H5Tset_size(type, 6));
    zeros(file, name, type, 1, n, 0);
    if (n > 0) {
        dataset = H5Dopen2(file, name, H5P_DEFAULT);
        H5(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes));
        H5(H5Dclose(dataset));
    }
    H5(H5Tclose(type));
}

static void set_text_attribute(hid_t file, const char *object, const char *name, const char *value)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);

    H5(H5Tset_size(type, strlen(value) + 1));
    if (H5Aexists_by_name(file, object, name, H5P_DEFAULT) > 0)
        H5(H5Adelete_by_name(file, object, name, H5P_DEFAULT));
    const hid_t attribute =
        H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, type, value));
    H5(H5Aclose(attribute));
    H5(H5Sclose(space));
    H5(H5Tclose(type));
}

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

/* ---- what is broken; modern.h5ad has 7 cells x 12 genes ---- */

static void nothing(hid_t file)
{
    (void)file;
}

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

static void obs_external_link(hid_t file)
{
    drop(file, "obs");
    H5(H5Lcreate_external("other.h5", "/obs", file, "obs", H5P_DEFAULT, H5P_DEFAULT));
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

static void symbols_are_ids(hid_t file)
{
    drop(file, "var/Feature_Name");
    H5(H5Lcreate_hard(file, "var/_index", file, "var/feature_name", H5P_DEFAULT, H5P_DEFAULT));
}

static void no_symbols(hid_t file)
{
    drop(file, "var/Feature_Name");
}

#define FORMAT EMC_ERR_FORMAT
#define USAGE  EMC_ERR_USAGE

static const struct {
    const char *golden;
    void (*break_it)(hid_t file);
    const char *layer, *gene_symbols, *column;
    emc_status status;
    bool at_next; /* the file opens, and a block fails */
    const char *text;
} cases[] = {
    {"modern.h5ad", no_x, NULL, NULL, NULL, FORMAT, false,
     "no X; choose another with --layer: raw, "},
    {"modern.h5ad", no_matrix, NULL, NULL, NULL, FORMAT, false, "no matrix"},
    {"modern.h5ad", no_obs, NULL, NULL, NULL, FORMAT, false, "no obs; is it an .h5ad file?"},
    {"modern.h5ad", no_var, NULL, NULL, NULL, FORMAT, false, "no var; is it an .h5ad file?"},
    {"modern.h5ad", like_10x, NULL, NULL, NULL, FORMAT, false, "looks like a 10x or loom file"},
    {"modern.h5ad", no_index, NULL, NULL, NULL, FORMAT, false, "/var: no _index"},
    {"modern.h5ad", wrong_encoding, NULL, NULL, NULL, FORMAT, false,
     "/X: a group of encoding coo_matrix"},
    {"modern.h5ad", no_encoding, NULL, NULL, NULL, FORMAT, false,
     "/X: a group of encoding unknown"},
    {"modern.h5ad", no_shape, NULL, NULL, NULL, FORMAT, false, "/X: no attribute shape"},
    {"modern.h5ad", lying_shape, NULL, NULL, NULL, FORMAT, false, "/X: its shape is 7 x 13, but"},
    {"modern.h5ad", swapped_shape, NULL, NULL, NULL, FORMAT, false, "/X: its shape is 12 x 7, but"},
    {"modern.h5ad", long_shape, NULL, NULL, NULL, FORMAT, false,
     "attribute shape: wanted 2 integers"},
    {"modern.h5ad", indptr_starts_late, NULL, NULL, NULL, FORMAT, false, "/X/indptr: starts at 1"},
    {"modern.h5ad", indptr_falls, NULL, NULL, NULL, FORMAT, false,
     "to 0 at entry 2; the file is damaged"},
    {"modern.h5ad", indptr_negative, NULL, NULL, NULL, FORMAT, false, "from 0 to -5 at entry 1"},
    {"modern.h5ad", indptr_ends_late, NULL, NULL, NULL, FORMAT, false,
     "/X/indptr: ends at 1000000, but"},
    {"modern.h5ad", indptr_ends_early, NULL, NULL, NULL, FORMAT, false,
     "/X/indptr: ends at 7, but"},
    {"modern.h5ad", indptr_short, NULL, NULL, NULL, FORMAT, false, "has 7 entries, wanted 8"},
    {"modern.h5ad", indptr_flat, NULL, NULL, NULL, FORMAT, false, "wanted 1 dimensions, found 2"},
    {"modern.h5ad", indptr_float, NULL, NULL, NULL, FORMAT, false, "indices and indptr integers"},
    {"modern.h5ad", indptr_group, NULL, NULL, NULL, FORMAT, false,
     "/X/indptr: wanted a dataset, found a group"},
    {"modern.h5ad", no_data, NULL, NULL, NULL, FORMAT, false, "/X: no data"},
    {"modern.h5ad", data_short, NULL, NULL, NULL, FORMAT, false, "/X/data: 5 values for"},
    {"modern.h5ad", data_text, NULL, NULL, NULL, FORMAT, false, "data must be numbers"},
    {"modern.h5ad", index_high, NULL, NULL, NULL, FORMAT, true,
     "/X/indices: row 0: column index 12 of 12"},
    {"modern.h5ad", index_negative, NULL, NULL, NULL, FORMAT, true, "column index -1 of 12"},
    {"modern.h5ad", csc_index_high, "csc_int32", NULL, NULL, FORMAT, false, "row index 7 of 7"},
    {"modern.h5ad", dense_wide, "dense_int8", NULL, NULL, FORMAT, false,
     "is 7 x 13, but there are names for 7 cells x 12"},
    {"modern.h5ad", dense_flat, "dense_int8", NULL, NULL, FORMAT, false,
     "wanted 2 dimensions, found 1"},
    {"modern.h5ad", dense_text, "dense_int8", NULL, NULL, FORMAT, false,
     "its values are no numbers"},
    {"modern.h5ad", cells_twice, NULL, NULL, NULL, FORMAT, false,
     "two cells are called \"a2\" (2 and 5)"},
    {"modern.h5ad", cell_unnamed, NULL, NULL, NULL, FORMAT, false, "cell 3 has no name"},
    {"modern.h5ad", cell_latin1, NULL, NULL, NULL, FORMAT, false,
     "/obs/_index: entry 1: byte 0xef at offset 2 is not UTF-8"},
    {"modern.h5ad", cells_few, NULL, NULL, NULL, FORMAT, false, "names for 2 cells x 12 genes"},
    {"modern.h5ad", cells_none, NULL, NULL, NULL, FORMAT, false, "it has no cells"},
    {"modern.h5ad", genes_none, NULL, NULL, NULL, FORMAT, false, "it has no genes"},
    {"modern.h5ad", genes_numbered, NULL, NULL, NULL, FORMAT, false,
     "the index of var holds only numbers and no column of symbols was found"},
    {"modern.h5ad", index_is_a_matrix, NULL, NULL, NULL, FORMAT, false,
     "/obs/_index: wanted 1 dimensions"},
    {"modern.h5ad", column_short, NULL, NULL, "embryo", FORMAT, false,
     "/obs/embryo: has 2 entries, wanted 7"},
    {"modern.h5ad", column_matrix, NULL, NULL, "embryo", FORMAT, false,
     "/obs/embryo: wanted 1 dimensions"},
    {"modern.h5ad", column_opaque, NULL, NULL, "embryo", FORMAT, false,
     "/obs/embryo: neither text nor numbers"},
    {"modern.h5ad", column_empty_group, NULL, NULL, "embryo", FORMAT, false,
     "/obs/embryo: a column of encoding unknown"},
    {"modern.h5ad", code_high, NULL, NULL, "label", FORMAT, false,
     "/obs/label/codes: entry 1 is 3 of 3 categories"},
    {"modern.h5ad", codes_short, NULL, NULL, "label", FORMAT, false,
     "/obs/label/codes: has 6 codes, wanted 7"},
    {"modern.h5ad", codes_float, NULL, NULL, "label", FORMAT, false, "codes that are no integers"},
    {"modern.h5ad", mask_short, NULL, NULL, "n", FORMAT, false,
     "/obs/n/mask: not a mask of 7 entries"},
    {"old.h5ad", old_reference_lost, NULL, NULL, "label", FORMAT, false,
     "its attribute categories refers to no dataset"},
    {"nullable.h5ad", cell_masked, NULL, NULL, NULL, FORMAT, false, "cell 5 has no name"},
    {"modern.h5ad", x_soft_link, NULL, NULL, NULL, FORMAT, false,
     "X is a soft link, which is not followed"},
    {"modern.h5ad", x_external_link, NULL, NULL, NULL, FORMAT, false,
     "X is an external link, which is not followed"},
    {"modern.h5ad", obs_external_link, NULL, NULL, NULL, FORMAT, false, "obs is an external link"},
    {"modern.h5ad", dense_outside, "dense_int8", NULL, NULL, FORMAT, false,
     "its values lie in another file"},
    {"modern.h5ad", dense_virtual, "dense_int8", NULL, NULL, FORMAT, false,
     "its values lie in another file"},
    {"modern.h5ad", raw_null, "raw", NULL, NULL, USAGE, false, "raw is empty"},
    {"modern.h5ad", nothing, "count", NULL, NULL, USAGE, false,
     "no layer \"count\"; there are: X, raw, csc_"},
    {"modern.h5ad", nothing, "../X", NULL, NULL, USAGE, false, "no layer \"../X\""},
    {"ensembl.h5ad", nothing, "raw", NULL, NULL, USAGE, false, "no layer \"raw\"; there are: X"},
    {"modern.h5ad", nothing, NULL, "symbol", NULL, USAGE, false,
     "var has no column \"symbol\"; it has: none"},
    {"modern.h5ad", nothing, NULL, NULL, "cell_type", USAGE, false,
     "obs has no column \"cell_type\"; it has: day, embryo, label"},
    {"modern.h5ad", nothing, NULL, NULL, ".", USAGE, false, "obs has no column \".\""},
    {"ensembl.h5ad", no_symbols, NULL, NULL, NULL, FORMAT, false,
     "name one with --gene-symbols (columns: feature_biotype, plain)"},
    {"ensembl.h5ad", symbols_are_ids, NULL, NULL, NULL, FORMAT, false,
     "no column of symbols was found"},
    {"lzf.h5ad", nothing, NULL, NULL, NULL, FORMAT, false,
     "compressed with filter 32000 (lzf), which this HDF5 library cannot read; rewrite the file "
     "with h5repack"},
};

static void check_message(const char *path, const char *text)
{
    if (!strstr(emc_message(), text) || strncmp(emc_message(), path, strlen(path)) != 0)
        fail_msg("\"%s\" does not start with the file or lacks \"%s\"", emc_message(), text);
    assert_null(strchr(emc_message(), '\n'));
}

static void broken_h5ad(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *columns[] = {cases[i].column};
        const emc_cells_options options = {.layer = cases[i].layer,
                                           .gene_symbols = cases[i].gene_symbols,
                                           .obs_columns = columns,
                                           .n_obs_columns = cases[i].column != NULL};
        const char *path = copy_golden(cases[i].golden);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        emc_cells *cells;
        emc_cell_block block;
        H5(file);
        cases[i].break_it(file);
        H5(H5Fclose(file));
        emc_status status = emc_cells_open(&cells, path, &options);
        if (cases[i].at_next) {
            assert_int_equal(status, EMC_OK);
            status = emc_cells_next(cells, &block);
            assert_int_equal(block.n_rows, 0);
            emc_cells_close(cells);
        } else {
            assert_null(cells);
        }
        if (status != cases[i].status)
            fail_msg("case %zu (\"%s\"): %s, \"%s\"", i, cases[i].text, emc_status_name(status),
                     emc_message());
        check_message(path, cases[i].text);
    }
}

static void files_that_are_none(void **state)
{
    size_t n;
    char *good = emt_read(emt_golden("cells/modern.h5ad"), &n);
    const struct {
        const char *path;
        emc_status status;
        const char *text;
    } files[] = {
        {emt_temp("absent.h5ad"), EMC_ERR_NOT_FOUND, "No such file"},
        {emt_temp_dir(), EMC_ERR_FORMAT, "a folder"},
        {emt_write("empty.h5ad", "", 0), EMC_ERR_FORMAT, "the file is empty"},
        {emt_write("text.h5ad", "hello\n", 6), EMC_ERR_FORMAT, "not an HDF5 file"},
        {emt_write("cut.h5ad", good, n / 2), EMC_ERR_FORMAT, "cut short (truncated file"},
        {emt_write("head.h5ad", good, 8), EMC_ERR_FORMAT, "not an HDF5 file"},
        {emt_write("table.xlsx", "hello\n", 6), EMC_ERR_FORMAT,
         "unknown kind of file; wanted .h5ad"},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(files); i++) {
        emc_cells *cells;
        EMT_FAILS(files[i].status, files[i].text, emc_cells_open(&cells, files[i].path, NULL));
        assert_null(cells);
        check_message(files[i].path, files[i].text);
    }
    free(good);
    if (geteuid() != 0) { /* root reads everything */
        const char *path = copy_golden("modern.h5ad");
        emc_cells *cells;
        assert_int_equal(chmod(path, 0), 0);
        EMT_FAILS(EMC_ERR_IO, "Permission denied", emc_cells_open(&cells, path, NULL));
    }
}

/* A good file under a name that says nothing is known by its first bytes. */
static void known_by_its_bytes(void **state)
{
    size_t n;
    char *good = emt_read(emt_golden("cells/modern.h5ad"), &n);
    emc_cells *cells;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_write("cells.dat", good, n), NULL));
    assert_int_equal(emc_cells_n_cells(cells), 7);
    emc_cells_close(cells);
    free(good);
}

static void duplicate_genes(void **state)
{
    emc_cells_options options = {.duplicate_genes = EMC_DUPLICATES_REFUSE};
    emc_cells *cells;

    (void)state;
    EMT_FAILS(EMC_ERR_FORMAT, "two genes are called \"POU5F1\" (3 and 4)",
              emc_cells_open(&cells, emt_golden("cells/ensembl.h5ad"), &options));
    options.duplicate_genes = EMC_DUPLICATES_AUTO;
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/ensembl.h5ad"), &options));
    assert_non_null(strstr(emc_cells_description(cells), "1 genes added to another"));
    emc_cells_close(cells);
    options.max_rows = -1;
    EMT_FAILS(EMC_ERR_ARG, "max_rows=-1",
              emc_cells_open(&cells, emt_golden("cells/ensembl.h5ad"), &options));
}

static herr_t print_nothing(hid_t stack, void *data)
{
    (void)stack, (void)data;
    return 0;
}

/* A program's own use of HDF5 is as it was after every call. */
static void library_state_is_kept(void **state)
{
    emc_cells *cells;
    emc_cell_block block;
    H5E_auto2_t print;
    void *data;
    unsigned before, after;
    int mark;

    (void)state;
    H5(H5PLget_loading_state(&before));
    H5(H5Eset_auto2(H5E_DEFAULT, print_nothing, &mark));
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/modern.h5ad"), NULL));
    EMT_OK(emc_cells_next(cells, &block));
    emc_cells_close(cells);
    assert_int_not_equal(emc_cells_open(&cells, emt_golden("cells/lzf.h5ad"), NULL), EMC_OK);
    H5(H5Eget_auto2(H5E_DEFAULT, &print, &data));
    assert_true(print == print_nothing && data == &mark);
    H5(H5PLget_loading_state(&after));
    assert_int_equal(before, after);
    /* Nothing is left open either. */
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    H5(H5Eset_auto2(H5E_DEFAULT, NULL, NULL));
}

static void real_bad_files(void **state)
{
    static const struct {
        const char *name;
        emc_status status;
        const char *text;
    } files[] = {
        {"formats_h5ad/scp_bad.h5", EMC_ERR_FORMAT, "cut short (truncated file"},
        {"formats_h5ad/scp_dup_feature.h5ad", EMC_ERR_FORMAT, "two genes are called \"Baz\""},
        {"formats_h5ad/anndata_v0.11.4.h5ad", EMC_ERR_FORMAT, "no matrix"},
        {"formats_h5ad/anndata_v0.7.0.h5ad", EMC_ERR_FORMAT, "filter 32000 (lzf)"},
        {"formats_h5ad/cellxgene_schema_example_valid.h5ad", EMC_ERR_FORMAT, "Ensembl ids"},
        {"formats_text_loom/loompy_test.loom", EMC_ERR_FORMAT, "10x or loom"},
        {"formats_text_loom/scp/expression_matrix_bad_duplicate_gene.txt", EMC_ERR_FORMAT,
         "two genes are called \"Itm2a\" (1 and 2)"},
        {"formats_text_loom/scp/expression_matrix_non_unique.txt", EMC_ERR_FORMAT,
         "two cells are called \"CELL_0001\" (1 and 2)"},
    };

    (void)state;
    emt_need_shared("data/formats_h5ad/scp_bad.h5");
    for (size_t i = 0; i < EMC_COUNT(files); i++) {
        char name[256];
        emc_cells *cells;
        snprintf(name, sizeof name, "data/%s", files[i].name);
        EMT_FAILS(files[i].status, files[i].text, emc_cells_open(&cells, emt_shared(name), NULL));
        check_message(emt_shared(name), files[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_h5ad),           cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(known_by_its_bytes),    cmocka_unit_test(duplicate_genes),
        cmocka_unit_test(library_state_is_kept), cmocka_unit_test(real_bad_files),
    };

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
