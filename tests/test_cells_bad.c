/* Is what is no cells file at all refused, and is the HDF5 library left as it was? */
#include "cells_break.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
        {emt_write("page.h5ad", "<html><body>Not Found</body></html>", 35), EMC_ERR_FORMAT,
         "not an HDF5 file"},
        {emt_write("zeros.h5ad", "\0\0\0\0\0\0\0\0", 8), EMC_ERR_FORMAT, "not an HDF5 file"},
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

/* Wherever a download stopped, the file is refused. */
static void cut_anywhere(void **state)
{
    size_t n;
    char *good = emt_read(emt_golden("cells/modern.h5ad"), &n);

    (void)state;
    for (size_t cut = 0; cut < n; cut += 1 + n / 97) {
        const char *path = emt_write("cut.h5ad", good, cut);
        emc_cells *cells;
        assert_int_equal(emc_cells_open(&cells, path, NULL), EMC_ERR_FORMAT);
        assert_null(cells);
        check_message(path, cut == 0 ? "empty" : "an HDF5 file, or damaged or cut short");
    }
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
    H5(H5PLset_loading_state(H5PL_ALL_PLUGIN));
    H5(H5PLget_loading_state(&before));
    H5(H5Eset_auto2(H5E_DEFAULT, print_nothing, &mark));
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/modern.h5ad"), NULL));
    EMT_OK(emc_cells_next(cells, &block));
    emc_cells_close(cells);
    EMT_FAILS(EMC_ERR_FORMAT, "not an HDF5 file",
              emc_cells_open(&cells, emt_write("text.h5ad", "hello\n", 6), NULL));
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
        {"formats_h5ad/cellxgene_schema_example_valid.h5ad", EMC_ERR_FORMAT, "Ensembl ids"},
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
        cmocka_unit_test(files_that_are_none),   cmocka_unit_test(known_by_its_bytes),
        cmocka_unit_test(cut_anywhere),          cmocka_unit_test(duplicate_genes),
        cmocka_unit_test(library_state_is_kept), cmocka_unit_test(real_bad_files),
    };

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
