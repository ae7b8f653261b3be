/* Are the .h5 files of Cell Ranger read, of either age, and refused where they are wrong? */
#include "emt.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells/reader.h"
#include "cells/source.h"

#define H5(call) assert_true((call) >= 0)

static void put_texts(hid_t file, const char *name, const char *const *texts, int n)
{
    const hsize_t dims[1] = {(hsize_t)n};
    const hid_t space = H5Screate_simple(1, dims, NULL), type = H5Tcopy(H5T_C_S1);
    char *bytes = calloc((size_t)n + 1, 24);

    assert_non_null(bytes);
    for (int i = 0; i < n; i++)
        snprintf(bytes + (size_t)i * 24, 24, "%s", texts[i]);
    H5(H5Tset_size(type, 24));
    const hid_t dataset =
        H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(dataset);
    H5(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes));
    H5Dclose(dataset);
    H5Tclose(type);
    H5Sclose(space);
    free(bytes);
}

static void put_ints(hid_t file, const char *name, const int64_t *values, int n)
{
    const hsize_t dims[1] = {(hsize_t)n}, chunk[1] = {n < 4 ? (hsize_t)n : 4};
    const hid_t space = H5Screate_simple(1, dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE);

    H5(H5Pset_chunk(create, 1, chunk));
    H5(H5Pset_deflate(create, 4));
    const hid_t dataset =
        H5Dcreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5(dataset);
    H5(H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    H5Dclose(dataset);
    H5Pclose(create);
    H5Sclose(space);
}

static void put_group(hid_t file, const char *name)
{
    const hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    H5(group);
    H5Gclose(group);
}

static void put_at(hid_t file, const char *group, const char *name, const int64_t *values, int n)
{
    char path[64];

    snprintf(path, sizeof path, "%s/%s", group, name);
    put_ints(file, path, values, n);
}

static const char *const barcodes[] = {"AAAC-1", "AAAG-1", "AAAT-1"};

/* 5 features x 3 cells: cell 1 has none. */
static void put_matrix(hid_t file, const char *group)
{
    static const int64_t data[] = {3, 1, 7, 2, 9}, indices[] = {4, 0, 2, 1, 0};
    static const int64_t indptr[] = {0, 3, 3, 5}, shape[] = {5, 3};
    char path[64];

    put_group(file, group);
    put_at(file, group, "data", data, 5);
    put_at(file, group, "indices", indices, 5);
    put_at(file, group, "indptr", indptr, 4);
    put_at(file, group, "shape", shape, 2);
    snprintf(path, sizeof path, "%s/barcodes", group);
    put_texts(file, path, barcodes, 3);
}

static const char *const ids[] = {"ENSG00000000001", "ENSG00000000002", "ADT1", "ENSG00000000003",
                                  "ENSG00000000004"};
static const char *const symbols[] = {"ACTB", "SOX2", "CD3", "NANOG", "ACTB"};
static const char *const types[] = {"Gene Expression", "Gene Expression", "Antibody Capture",
                                    "Gene Expression", "Gene Expression"};
static const char *const genomes[] = {"GRCh38", "GRCh38", "", "GRCh38", "GRCh38"};

static hid_t new_v3(const char *name)
{
    const hid_t file = H5Fcreate(emt_temp(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    H5(file);
    put_matrix(file, "matrix");
    put_group(file, "matrix/features");
    put_group(file, "metadata"); /* as other programs add */
    put_texts(file, "matrix/features/id", ids, 5);
    put_texts(file, "matrix/features/name", symbols, 5);
    put_texts(file, "matrix/features/feature_type", types, 5);
    put_texts(file, "matrix/features/genome", genomes, 5);
    put_texts(file, "matrix/features/_all_tag_keys", genomes, 1);
    return file;
}

static hid_t new_v2(const char *name)
{
    const hid_t file = H5Fcreate(emt_temp(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    static const char *const prefixed[] = {"mm10_ACTB", "mm10_SOX2", "mm10_CD3", "mm10_NANOG",
                                           "mm10_X"};

    H5(file);
    put_matrix(file, "hg19");
    put_texts(file, "hg19/genes", ids, 5);
    put_texts(file, "hg19/gene_names", symbols, 5);
    put_matrix(file, "mm10");
    put_texts(file, "mm10/genes", ids, 5);
    put_texts(file, "mm10/gene_names", prefixed, 5);
    return file;
}

static void show(char *out, size_t n, emc_cells *cells)
{
    emc_cell_block block;

    out[0] = '\0';
    for (;;) {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            return;
        for (int r = 0; r < block.n_rows; r++) {
            snprintf(out + strlen(out), n - strlen(out), "%s%s:", *out ? ";" : "",
                     block.cell_ids[r]);
            for (int64_t k = block.indptr[r]; k < block.indptr[r + 1]; k++)
                snprintf(out + strlen(out), n - strlen(out), "%s%s=%g",
                         k > block.indptr[r] ? "," : "",
                         emc_cells_gene_names(cells)[block.genes[k]], block.values[k]);
        }
    }
}

static void version_3(void **state)
{
    emc_cells *cells;
    emc_cells_matrix matrix;
    char out[256];

    (void)state;
    H5(H5Fclose(new_v3("v3.h5")));
    for (int rows = 1; rows < 5; rows++) {
        const emc_cells_options options = {.max_rows = rows};
        EMT_OK(emc_cells_open(&cells, emt_temp("v3.h5"), &options));
        assert_string_equal(emc_cells_format(cells), "10x h5");
        assert_int_equal(emc_cells_n_genes(cells), 4);
        assert_string_equal(emc_cells_gene_ids(cells)[2], "ENSG00000000003");
        /* CD3 is an antibody; both genes called ACTB count under the first. */
        show(out, sizeof out, cells);
        assert_string_equal(out, "AAAC-1:ACTB=3,ACTB=1;AAAG-1:;AAAT-1:SOX2=2,ACTB=9");
        EMT_OK(emc_cells_seek(cells, 2));
        show(out, sizeof out, cells);
        assert_string_equal(out, "AAAT-1:SOX2=2,ACTB=9");
        emc_cells_get_matrix(cells, &matrix);
        assert_string_equal(matrix.name, "matrix");
        assert_string_equal(matrix.storage, "csr");
        assert_string_equal(matrix.dtype, "int64");
        assert_string_equal(matrix.filters, "gzip 4");
        assert_int_equal(matrix.n_values, 5);
        emc_cells_close(cells);
    }
    static const struct {
        const char *wanted, *first, *id;
    } names[] = {{"gene_names", "ACTB", "ENSG00000000001"},
                 {"index", "ACTB", "ENSG00000000001"},
                 {"gene_ids", "ENSG00000000001", NULL}};
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        const emc_cells_options options = {.gene_symbols = names[i].wanted, .genome = "GRCh38"};
        EMT_OK(emc_cells_open(&cells, emt_temp("v3.h5"), &options));
        assert_string_equal(emc_cells_gene_names(cells)[0], names[i].first);
        if (names[i].id)
            assert_string_equal(emc_cells_gene_ids(cells)[0], names[i].id);
        else
            assert_null(emc_cells_gene_ids(cells));
        emc_cells_close(cells);
    }
}

static void version_2(void **state)
{
    emc_cells *cells;
    char out[256];

    (void)state;
    H5(H5Fclose(new_v2("v2.h5")));
    EMT_FAILS(EMC_ERR_USAGE, "several genomes: hg19, mm10; choose one with --genome",
              emc_cells_open(&cells, emt_temp("v2.h5"), NULL));
    EMT_FAILS(EMC_ERR_USAGE, "no genome \"hg38\"; there are: hg19, mm10",
              emc_cells_open(&cells, emt_temp("v2.h5"), &(emc_cells_options){.genome = "hg38"}));
    EMT_OK(emc_cells_open(&cells, emt_temp("v2.h5"), &(emc_cells_options){.genome = "hg19"}));
    show(out, sizeof out, cells);
    assert_string_equal(out, "AAAC-1:ACTB=3,ACTB=1,CD3=7;AAAG-1:;AAAT-1:SOX2=2,ACTB=9");
    emc_cells_close(cells);
    /* What all names begin with because of the genome is left out. */
    EMT_OK(emc_cells_open(&cells, emt_temp("v2.h5"), &(emc_cells_options){.genome = "mm10"}));
    show(out, sizeof out, cells);
    assert_string_equal(out, "AAAC-1:X=3,ACTB=1,CD3=7;AAAG-1:;AAAT-1:SOX2=2,ACTB=9");
    emc_cells_close(cells);
    const hid_t file = new_v2("v2_one.h5");
    H5(H5Ldelete(file, "hg19", H5P_DEFAULT));
    H5(H5Fclose(file));
    EMT_OK(emc_cells_open(&cells, emt_temp("v2_one.h5"), NULL));
    assert_int_equal(emc_cells_n_genes(cells), 5);
    emc_cells_close(cells);
}

static void mixed_genomes(void **state)
{
    static const char *const mixed[] = {"GRCh38", "mm10", "", "GRCh38", "mm10"};
    const hid_t file = new_v3("mixed.h5");
    emc_cells *cells;
    char out[256];

    (void)state;
    H5(H5Ldelete(file, "matrix/features/genome", H5P_DEFAULT));
    put_texts(file, "matrix/features/genome", mixed, 5);
    H5(H5Fclose(file));
    EMT_FAILS(EMC_ERR_USAGE, "several genomes: GRCh38, mm10; choose",
              emc_cells_open(&cells, emt_temp("mixed.h5"), NULL));
    EMT_FAILS(EMC_ERR_USAGE, "no genome \"x\"; there are: GRCh38, mm10",
              emc_cells_open(&cells, emt_temp("mixed.h5"), &(emc_cells_options){.genome = "x"}));
    EMT_OK(emc_cells_open(&cells, emt_temp("mixed.h5"), &(emc_cells_options){.genome = "mm10"}));
    show(out, sizeof out, cells);
    assert_string_equal(out, "AAAC-1:ACTB=3;AAAG-1:;AAAT-1:SOX2=2");
    emc_cells_close(cells);
}

static void replace_ints(hid_t file, const char *name, int n, int64_t last)
{
    int64_t values[8] = {0};

    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    H5(dataset);
    H5(H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    H5Dclose(dataset);
    H5(H5Ldelete(file, name, H5P_DEFAULT));
    values[n - 1] = last;
    put_ints(file, name, values, n);
}

static void replace_texts(hid_t file, const char *name, const char *const *texts, int n)
{
    H5(H5Ldelete(file, name, H5P_DEFAULT));
    put_texts(file, name, texts, n);
}

static void index_over(hid_t file)
{
    replace_ints(file, "matrix/indices", 5, 5);
}
static void index_negative(hid_t file)
{
    replace_ints(file, "matrix/indices", 5, -1);
}
static void indptr_falls(hid_t file)
{
    replace_ints(file, "matrix/indptr", 4, 2);
}
static void indptr_over(hid_t file)
{
    replace_ints(file, "matrix/indptr", 4, 6);
}
static void indptr_short(hid_t file)
{
    replace_ints(file, "matrix/indptr", 3, 5);
}
static void data_short(hid_t file)
{
    replace_ints(file, "matrix/data", 4, 1);
}
static void data_text(hid_t file)
{
    replace_texts(file, "matrix/data", symbols, 5);
}
static void data_gone(hid_t file)
{
    H5(H5Ldelete(file, "matrix/data", H5P_DEFAULT));
}
static void shape_wrong(hid_t file)
{
    replace_ints(file, "matrix/shape", 2, 4);
}
static void shape_long(hid_t file)
{
    replace_ints(file, "matrix/shape", 3, 4);
}
static void names_short(hid_t file)
{
    replace_texts(file, "matrix/features/name", symbols, 4);
}
static void no_names(hid_t file)
{
    H5(H5Ldelete(file, "matrix/features/name", H5P_DEFAULT));
    H5(H5Ldelete(file, "matrix/features/id", H5P_DEFAULT));
}
static void only_ids(hid_t file)
{
    H5(H5Ldelete(file, "matrix/features/name", H5P_DEFAULT));
}
static void no_gene_type(hid_t file)
{
    static const char *const other[] = {"Peaks", "Peaks", "Peaks", "Custom", "Peaks"};

    replace_texts(file, "matrix/features/feature_type", other, 5);
}
static void same_barcodes(hid_t file)
{
    static const char *const same[] = {"A", "B", "A"};

    replace_texts(file, "matrix/barcodes", same, 3);
}
static void no_barcodes(hid_t file)
{
    replace_texts(file, "matrix/barcodes", barcodes, 0);
}
static void not_utf8(hid_t file)
{
    static const char *const wrong[] = {"A", "B\xFF", "C", "D", "E"};

    replace_texts(file, "matrix/features/name", wrong, 5);
}
static void is_seurat(hid_t file)
{
    H5(H5Ldelete(file, "matrix", H5P_DEFAULT));
    put_group(file, "assays");
    put_group(file, "cell.names");
}
static void is_molecule_info(hid_t file)
{
    H5(H5Ldelete(file, "matrix", H5P_DEFAULT));
    put_group(file, "barcode_idx");
}
static void is_empty(hid_t file)
{
    H5(H5Ldelete(file, "matrix", H5P_DEFAULT));
    H5(H5Ldelete(file, "metadata", H5P_DEFAULT));
}
static void features_dataset(hid_t file)
{
    H5(H5Ldelete(file, "matrix/features", H5P_DEFAULT));
    put_texts(file, "matrix/features", symbols, 5);
}

static const struct {
    void (*break_it)(hid_t file);
    const char *text;
    emc_cells_options options;
    emc_status status;
} bad[] = {
    {index_over, "column index 5 of 5", {0}, EMC_ERR_FORMAT},
    {index_negative, "column index -1 of 5", {0}, EMC_ERR_FORMAT},
    {indptr_falls, "/matrix/indptr: ", {0}, EMC_ERR_FORMAT},
    {indptr_over, "/matrix/indptr: ", {0}, EMC_ERR_FORMAT},
    {indptr_short, "/matrix/indptr: has 3 entries, wanted 4", {0}, EMC_ERR_FORMAT},
    {data_short, "4 values for 5 indices", {0}, EMC_ERR_FORMAT},
    {data_text, "data must be numbers", {0}, EMC_ERR_FORMAT},
    {data_gone, "no data", {0}, EMC_ERR_FORMAT},
    {shape_wrong,
     "says 5 features x 4 barcodes, but there are names for 5 x 3",
     {0},
     EMC_ERR_FORMAT},
    {shape_long, "/matrix/shape: wanted two integers", {0}, EMC_ERR_FORMAT},
    {names_short, "/matrix/features/name: has 4 entries, wanted 5", {0}, EMC_ERR_FORMAT},
    {no_names, "/matrix/features: neither id nor name", {0}, EMC_ERR_FORMAT},
    {only_ids, "matrix/features holds Ensembl ids and no symbols", {0}, EMC_ERR_FORMAT},
    {no_gene_type,
     "no feature is of type \"Gene Expression\"; the types are: Peaks, Custom",
     {0},
     EMC_ERR_FORMAT},
    {same_barcodes, "two cells are called \"A\" (1 and 3)", {0}, EMC_ERR_FORMAT},
    {no_barcodes, "3 barcodes, but there are names for 5 x 0", {0}, EMC_ERR_FORMAT},
    {not_utf8, "/matrix/features/name: entry 1: byte 0xff", {0}, EMC_ERR_FORMAT},
    {is_seurat, "this is h5Seurat", {0}, EMC_ERR_FORMAT},
    {is_molecule_info, "molecule_info.h5; take filtered_feature_bc_matrix.h5", {0}, EMC_ERR_FORMAT},
    {is_empty, "HDF5 of an unknown kind, which holds nothing; wanted .h5ad", {0}, EMC_ERR_FORMAT},
    {features_dataset, "wanted a group, found a dataset", {0}, EMC_ERR_FORMAT},
    {NULL, "no layer \"counts\"", {.layer = "counts"}, EMC_ERR_USAGE},
    {NULL, "matrix/features has no column \"x\"", {.gene_symbols = "x"}, EMC_ERR_USAGE},
    {NULL, "no genome \"x\"; there are: GRCh38", {.genome = "x"}, EMC_ERR_USAGE},
};

static void bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        const hid_t file = new_v3("bad.h5");
        const char *path = emt_temp("bad.h5");
        emc_cells *cells = NULL;
        emc_cell_block block;
        emc_status status;
        if (bad[i].break_it)
            bad[i].break_it(file);
        H5(H5Fclose(file));
        status = emc_cells_open(&cells, path, &bad[i].options);
        if (status == EMC_OK)
            status = emc_cells_next(cells, &block);
        emc_cells_close(cells);
        if (status != bad[i].status || !strstr(emc_message(), bad[i].text) ||
            strncmp(emc_message(), path, strlen(path)) != 0 || strchr(emc_message(), '\n'))
            fail_msg("case %zu: %d: %s", i, status, emc_message());
    }
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

static void check_list(const char *path, const char *format, const char *matrices,
                       const char *columns)
{
    cells_catalog catalog = {0};
    const emc_cells_options options = {0};
    char out[2][512] = {"", ""};

    EMT_OK(cells_format_hdf5.list(&catalog, path, &options));
    assert_string_equal(catalog.format, format);
    for (size_t i = 0; i < catalog.matrices.n; i++)
        snprintf(out[0] + strlen(out[0]), sizeof out[0] - strlen(out[0]), "%s ",
                 cells_strings_at(&catalog.matrices, i));
    for (size_t i = 0; i < catalog.columns.n; i++)
        snprintf(out[1] + strlen(out[1]), sizeof out[1] - strlen(out[1]), "%s ",
                 cells_strings_at(&catalog.columns, i));
    assert_string_equal(out[0], matrices);
    assert_string_equal(out[1], columns);
    cells_strings_free(&catalog.matrices);
    cells_strings_free(&catalog.columns);
}

static void lists(void **state)
{
    (void)state;
    H5(H5Fclose(new_v3("list.h5")));
    check_list(emt_temp("list.h5"), "10x h5", "X ", "");
    check_list(emt_golden("cells/modern.h5ad"), "h5ad",
               "X raw csc_float32 csc_int32 csr_float64 csr_int64 csr_uint16 dense_float32 "
               "dense_float64 dense_int8 dense_uint32 ",
               "day embryo label n passed share share64 ");
}

/* Cells, genes and the sum of all values, as scanpy reads them. */
static const struct {
    const char *path, *genome;
    int n_cells, n_genes;
    double total;
} real[] = {
    {"3.0.0/filtered_feature_bc_matrix.h5", NULL, 1107, 507, 41549},
    {"3.0.0/filtered_feature_bc_matrix", NULL, 1107, 507, 41549},
    {"1.2.0/filtered_gene_bc_matrices_h5.h5", NULL, 12, 343, 12},
    {"1.2.0/filtered_gene_bc_matrices/hg19_chr21", NULL, 12, 343, 12},
    {"1.2.0/multiple_genomes.h5", "hg19_chr21", 12, 343, 12},
    {"1.2.0/multiple_genomes.h5", "another_genome", 12, 343, 13},
    {"../seurat/mtx", NULL, 80, 240, 23110},
    {"../seurat/mtx/cr3.0", NULL, 5, 3, 5610},
};

static void real_files(void **state)
{
    (void)state;
    emt_need_shared("data/formats_10x/scanpy/3.0.0/filtered_feature_bc_matrix.h5");
    for (size_t i = 0; i < EMC_COUNT(real); i++) {
        const emc_cells_options options = {.genome = real[i].genome};
        char path[128];
        double total = 0;
        emc_cells *cells;
        emc_cell_block block;
        snprintf(path, sizeof path, "data/formats_10x/scanpy/%s", real[i].path);
        EMT_OK(emc_cells_open(&cells, emt_shared(path), &options));
        assert_int_equal(emc_cells_n_cells(cells), real[i].n_cells);
        assert_int_equal(emc_cells_n_genes(cells), real[i].n_genes);
        for (;;) {
            EMT_OK(emc_cells_next(cells, &block));
            if (block.n_rows == 0)
                break;
            for (int64_t k = 0; k < block.indptr[block.n_rows]; k++)
                total += block.values[k];
        }
        assert_true(total == real[i].total);
        emc_cells_close(cells);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_3), cmocka_unit_test(version_2), cmocka_unit_test(mixed_genomes),
        cmocka_unit_test(bad_files), cmocka_unit_test(lists),     cmocka_unit_test(real_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
