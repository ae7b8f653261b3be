/* Are loom files of either age read, in bands of any width, and refused where they are wrong? */
#include "emt.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells/reader.h"
#include "cells/source.h"

#define H5(call) assert_true((call) >= 0)

enum { N_CELLS = 37, N_GENES = 11 };

/* What stands for gene g of cell c; a third of it is zero. */
static double value_of(int c, int g)
{
    return (c * 5 + g * 3) % 3 == 0 ? 0 : 1 + (c * 13 + g * 7) % 50;
}

static hid_t new_file(const char *name)
{
    const hid_t file = H5Fcreate(emt_temp(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    H5(file);
    static const char *const groups[] = {"row_attrs", "col_attrs", "layers", "row_graphs"};
    for (size_t i = 0; i < EMC_COUNT(groups); i++) {
        const hid_t group = H5Gcreate2(file, groups[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5(group);
        H5Gclose(group);
    }
    return file;
}

/* genes x cells, times `scale`; chunk 0: not chunked. */
static void put_matrix(hid_t file, const char *name, int n_genes, int n_cells, hsize_t chunk,
                       double scale)
{
    const hsize_t dims[2] = {(hsize_t)n_genes, (hsize_t)n_cells}, chunks[2] = {4, chunk};
    const hid_t space = H5Screate_simple(2, dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    double *values = calloc((size_t)n_genes * (size_t)n_cells, sizeof *values);

    assert_non_null(values);
    for (int g = 0; g < n_genes; g++)
        for (int c = 0; c < n_cells; c++)
            values[g * n_cells + c] = scale * value_of(c, g);
    if (chunk) {
        H5(H5Pset_chunk(create, 2, chunks));
        H5(H5Pset_deflate(create, 2));
    }
    const hid_t dataset =
        H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    H5Dclose(dataset);
    H5Pclose(create);
    H5Sclose(space);
    free(values);
}

/* n texts, each a prefix and its number (ENSG: with 11 digits); variable length as loom 3 has them,
 * or fixed as before. */
static void put_names(hid_t file, const char *name, const char *prefix, int n, bool variable)
{
    const hsize_t dims[1] = {(hsize_t)n};
    const hid_t space = H5Screate_simple(1, dims, NULL), type = H5Tcopy(H5T_C_S1);
    char *texts = calloc((size_t)n, 32), **pointers = calloc((size_t)n, sizeof *pointers);

    assert_true(texts && pointers);
    for (int i = 0; i < n; i++) {
        pointers[i] = texts + 32 * i;
        snprintf(pointers[i], 32, "%s%0*d", prefix, strcmp(prefix, "ENSG") ? 1 : 11, i);
    }
    H5(H5Tset_size(type, variable ? H5T_VARIABLE : 32));
    const hid_t dataset =
        H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                variable ? (void *)pointers : (void *)texts));
    H5Dclose(dataset);
    H5Tclose(type);
    H5Sclose(space);
    free(texts);
    free(pointers);
}

static void put_numbers(hid_t file, const char *name, int n, int modulo)
{
    const hsize_t dims[1] = {(hsize_t)n};
    const hid_t space = H5Screate_simple(1, dims, NULL);
    int *values = calloc((size_t)n, sizeof *values);

    assert_non_null(values);
    for (int i = 0; i < n; i++)
        values[i] = i % modulo;
    const hid_t dataset =
        H5Dcreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    H5Dclose(dataset);
    H5Sclose(space);
    free(values);
}

/* A good file: Gene, Accession, CellID, cluster, a layer and an embedding of two numbers a cell. */
static void write_good(const char *name, hsize_t chunk, bool variable)
{
    const hid_t file = new_file(name);

    put_matrix(file, "matrix", N_GENES, N_CELLS, chunk, 1);
    put_matrix(file, "layers/spliced", N_GENES, N_CELLS, chunk, 2);
    put_names(file, "row_attrs/Gene", "Gene", N_GENES, variable);
    put_names(file, "row_attrs/Accession", "ENSG", N_GENES, variable);
    put_names(file, "col_attrs/CellID", "run:cell", N_CELLS, variable);
    put_numbers(file, "col_attrs/cluster", N_CELLS, 4);
    put_matrix(file, "col_attrs/tsne", N_CELLS, 2, 0, 1);
    H5(H5Fclose(file));
}

static void check_cells(emc_cells *cells, int64_t first, double scale, int max_rows)
{
    int64_t row = first;
    emc_cell_block block;

    EMT_OK(emc_cells_seek(cells, first));
    for (;; row += block.n_rows) {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            break;
        assert_int_equal(block.first_row, row);
        assert_true(block.n_rows <= max_rows);
        for (int r = 0; r < block.n_rows; r++) {
            int64_t k = block.indptr[r];
            for (int g = 0; g < N_GENES; g++) {
                const double want = scale * value_of((int)row + r, g);
                if (want == 0)
                    continue;
                assert_true(k < block.indptr[r + 1]);
                assert_int_equal(block.genes[k], g);
                assert_true(block.values[k] == want);
                k++;
            }
            assert_int_equal(k, block.indptr[r + 1]);
        }
    }
    assert_int_equal(row, N_CELLS);
}

static void good_files(void **state)
{
    static const hsize_t chunks[] = {0, 1, 5, 16, 37};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(chunks); i++) {
        write_good("good.loom", chunks[i], i % 2);
        for (int rows = 1; rows < 60; rows += 11) {
            static const char *const columns[] = {"cluster"};
            emc_cells_options options = {.max_rows = rows,
                                         .max_bytes = rows == 23 ? 1500 : 0,
                                         .obs_columns = columns,
                                         .n_obs_columns = 1};
            emc_cells_matrix matrix;
            emc_cells *cells;
            EMT_OK(emc_cells_open(&cells, emt_temp("good.loom"), &options));
            assert_string_equal(emc_cells_format(cells), "loom");
            assert_string_equal(emc_cells_id(cells, 36), "run:cell36");
            assert_string_equal(emc_cells_obs(cells, 6, 0), "2");
            assert_string_equal(emc_cells_gene_names(cells)[10], "Gene10");
            assert_string_equal(emc_cells_gene_ids(cells)[10], "ENSG00000000010");
            emc_cells_get_matrix(cells, &matrix);
            assert_string_equal(matrix.name, "matrix");
            assert_string_equal(matrix.dtype, "float32");
            assert_string_equal(matrix.filters, chunks[i] ? "gzip 2" : "none");
            assert_int_equal(matrix.n_values, N_CELLS * N_GENES);
            check_cells(cells, 0, 1, rows);
            check_cells(cells, 18, 1, rows);
            emc_cells_close(cells);
            options.layer = rows % 2 ? "spliced" : "layers/spliced";
            EMT_OK(emc_cells_open(&cells, emt_temp("good.loom"), &options));
            check_cells(cells, 3, 2, rows);
            emc_cells_close(cells);
        }
    }
}

static void names_of_genes(void **state)
{
    emc_cells *cells;

    (void)state;
    write_good("names.loom", 16, true);
    EMT_OK(emc_cells_open(&cells, emt_temp("names.loom"),
                          &(emc_cells_options){.gene_symbols = "gene_ids"}));
    assert_string_equal(emc_cells_gene_names(cells)[2], "ENSG00000000002");
    emc_cells_close(cells);
    EMT_OK(emc_cells_open(&cells, emt_temp("names.loom"),
                          &(emc_cells_options){.gene_symbols = "index"}));
    assert_string_equal(emc_cells_gene_names(cells)[2], "Gene2");
    emc_cells_close(cells);
    EMT_FAILS(
        EMC_ERR_USAGE, "no column \"x\" of genes; row_attrs has: Accession, Gene",
        emc_cells_open(&cells, emt_temp("names.loom"), &(emc_cells_options){.gene_symbols = "x"}));
    /* scanpy's names, of which the first holds ids. */
    hid_t file = new_file("scanpy.loom");
    put_matrix(file, "matrix", N_GENES, N_CELLS, 8, 1);
    put_names(file, "row_attrs/var_names", "ENSG", N_GENES, true);
    put_names(file, "row_attrs/feature_name", "S", N_GENES, true);
    put_names(file, "col_attrs/obs_names", "o", N_CELLS, true);
    H5(H5Fclose(file));
    EMT_OK(emc_cells_open(&cells, emt_temp("scanpy.loom"), NULL));
    assert_string_equal(emc_cells_gene_names(cells)[3], "S3");
    assert_string_equal(emc_cells_id(cells, 3), "o3");
    check_cells(cells, 0, 1, 4096);
    emc_cells_close(cells);
    /* No names of cells: numbers, also where a column that might be them repeats. */
    for (int repeats = 0; repeats < 2; repeats++) {
        file = new_file("numbers.loom");
        put_matrix(file, "matrix", N_GENES, N_CELLS, 8, 1);
        put_names(file, "row_attrs/Gene", "S", N_GENES, true);
        if (repeats)
            put_numbers(file, "col_attrs/Cell", N_CELLS, 20);
        H5(H5Fclose(file));
        EMT_OK(emc_cells_open(&cells, emt_temp("numbers.loom"), NULL));
        assert_string_equal(emc_cells_id(cells, 36), "36");
        emc_cells_close(cells);
    }
}

static void list(void **state)
{
    cells_catalog catalog = {0};
    const emc_cells_options options = {0};

    (void)state;
    write_good("list.loom", 8, true);
    EMT_OK(cells_format_hdf5.list(&catalog, emt_temp("list.loom"), &options));
    assert_string_equal(catalog.format, "loom");
    assert_int_equal(catalog.matrices.n, 2);
    assert_string_equal(cells_strings_at(&catalog.matrices, 0), "X");
    assert_string_equal(cells_strings_at(&catalog.matrices, 1), "spliced");
    assert_int_equal(catalog.columns.n, 1);
    assert_string_equal(cells_strings_at(&catalog.columns, 0), "cluster");
    cells_strings_free(&catalog.matrices);
    cells_strings_free(&catalog.columns);
}

static void drop(hid_t file, const char *name)
{
    H5(H5Ldelete(file, name, H5P_DEFAULT));
}

static void no_genes(hid_t file)
{
    drop(file, "row_attrs/Gene");
    drop(file, "row_attrs/Accession");
}

static void only_ids(hid_t file)
{
    drop(file, "row_attrs/Gene");
    put_names(file, "row_attrs/Gene", "ENSG", N_GENES, true);
}

static void few_genes(hid_t file)
{
    no_genes(file);
    put_names(file, "row_attrs/Gene", "G", N_GENES - 1, true);
}

static void many_ids(hid_t file)
{
    drop(file, "row_attrs/Accession");
    put_names(file, "row_attrs/Accession", "E", N_GENES + 1, true);
}

static void few_cells(hid_t file)
{
    drop(file, "col_attrs/CellID");
    put_names(file, "col_attrs/CellID", "c", N_CELLS - 1, true);
}

static void same_cells(hid_t file)
{
    drop(file, "col_attrs/CellID");
    put_numbers(file, "col_attrs/CellID", N_CELLS, 1);
}

static void one_dimension(hid_t file)
{
    drop(file, "matrix");
    put_numbers(file, "matrix", N_CELLS, 3);
}

static void text_matrix(hid_t file)
{
    drop(file, "matrix");
    put_names(file, "matrix", "x", N_GENES, true);
}

static void no_attributes(hid_t file)
{
    drop(file, "row_attrs");
}

static void negative(hid_t file)
{
    drop(file, "matrix");
    put_matrix(file, "matrix", N_GENES, N_CELLS, 8, -1);
}

static void group_of_names(hid_t file)
{
    drop(file, "row_attrs");
    put_names(file, "row_attrs", "x", N_GENES, true);
}

static const struct {
    void (*break_it)(hid_t file);
    const char *text, *layer, *column;
    emc_status status;
} bad[] = {
    {no_genes, "no names of genes; name a column with --gene-symbols", NULL, NULL, EMC_ERR_FORMAT},
    {only_ids, "no symbols of genes were found, only ids", NULL, NULL, EMC_ERR_FORMAT},
    {few_genes, "is 11 x 37, but there are names for 10 genes x 37 cells", NULL, NULL,
     EMC_ERR_FORMAT},
    {many_ids, "has 12 entries, wanted 11", NULL, NULL, EMC_ERR_FORMAT},
    {few_cells, "names for 11 genes x 36 cells", NULL, NULL, EMC_ERR_FORMAT},
    {same_cells, "two cells are called \"0\" (1 and 2)", NULL, NULL, EMC_ERR_FORMAT},
    {one_dimension, "wanted 2 dimensions, found 1", NULL, NULL, EMC_ERR_FORMAT},
    {text_matrix, "its values are no numbers", NULL, NULL, EMC_ERR_FORMAT},
    {no_attributes, "HDF5 of an unknown kind, which holds col_attrs, layers, matrix, row_graphs",
     NULL, NULL, EMC_ERR_FORMAT},
    {group_of_names, "wanted a group, found a dataset", NULL, NULL, EMC_ERR_FORMAT},
    {negative, "choose counts or log-counts with --layer (the file has X, spliced)", NULL, NULL,
     EMC_ERR_FORMAT},
    {NULL, "no layer \"x\"; the file has: X, spliced", "x", NULL, EMC_ERR_USAGE},
    {NULL, "no column \"x\" of cells; col_attrs has: CellID, cluster", NULL, "x", EMC_ERR_USAGE},
    {NULL, "wanted 1 dimensions, found 2", NULL, "tsne", EMC_ERR_FORMAT},
};

static void bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        const emc_cells_options options = {.layer = bad[i].layer,
                                           .obs_columns = &bad[i].column,
                                           .n_obs_columns = bad[i].column != NULL};
        const char *path = emt_temp("bad.loom");
        emc_cells *cells = NULL;
        emc_cell_block block = {.n_rows = 1};
        emc_status status;
        write_good("bad.loom", 8, true);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        H5(file);
        if (bad[i].break_it)
            bad[i].break_it(file);
        H5(H5Fclose(file));
        status = emc_cells_open(&cells, path, &options);
        while (status == EMC_OK && block.n_rows > 0) /* cells before the bad one come first */
            status = emc_cells_next(cells, &block);
        emc_cells_close(cells);
        if (status != bad[i].status || !strstr(emc_message(), bad[i].text) ||
            strncmp(emc_message(), path, strlen(path)) != 0 || strchr(emc_message(), '\n'))
            fail_msg("case %zu: %d: %s", i, status, emc_message());
    }
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

/* Of loompy's own test: 20 genes x 200 cells, all zero, whose column Cell counts to 99 twice. */
static void real_file(void **state)
{
    int64_t n = 0;
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    emt_need_shared("data/formats_text_loom/loompy_test.loom");
    EMT_OK(emc_cells_open(&cells, emt_shared("data/formats_text_loom/loompy_test.loom"), NULL));
    assert_int_equal(emc_cells_n_cells(cells), 200);
    assert_int_equal(emc_cells_n_genes(cells), 20);
    assert_string_equal(emc_cells_id(cells, 199), "199");
    for (;;) {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            break;
        assert_int_equal(block.indptr[block.n_rows], 0);
        n += block.n_rows;
    }
    assert_int_equal(n, 200);
    emc_cells_close(cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files), cmocka_unit_test(names_of_genes), cmocka_unit_test(list),
        cmocka_unit_test(bad_files),  cmocka_unit_test(real_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
