/* Are 10x matrix folders read, whatever their order and form, and refused where they lie? */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "cells/reader.h"

static void write_gz(const char *name, const char *text, size_t n)
{
    gzFile file = gzopen(emt_temp(name), "wb");

    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)n), n);
    assert_int_equal(gzclose(file), Z_OK);
}

static void write_text(const char *name, const char *text)
{
    const size_t n = strlen(name);

    if (n > 3 && strcmp(name + n - 3, ".gz") == 0)
        write_gz(name, text, strlen(text));
    else
        emt_write(name, text, strlen(text));
}

/* A folder of its own; its name, good until the next call. */
static const char *new_folder(void)
{
    static int n;
    static char name[32];

    snprintf(name, sizeof name, "folder%d", n++);
    assert_int_equal(mkdir(emt_temp(name), 0700), 0);
    return name;
}

static const char *in(const char *folder, const char *name)
{
    static char path[2][256];
    static int i;

    i = !i;
    snprintf(path[i], sizeof path[i], "%s/%s", folder, name);
    return path[i];
}

/* "cell:gene=value,...;..." in the order of the file. */
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
                snprintf(out + strlen(out), n - strlen(out), "%s%s=%.17g",
                         k > block.indptr[r] ? "," : "",
                         emc_cells_gene_names(cells)[block.genes[k]], block.values[k]);
        }
    }
}

#define BANNER   "%%MatrixMarket matrix coordinate integer general\n"
#define REAL     "%%MatrixMarket matrix coordinate real general\n"
#define BARCODES "c1\nc2\nc3\nc4\n"
#define GENES    "E1\tACTB\nE2\tSOX2\nE3\tNANOG\n"
#define FEATURES "E1\tACTB\tGene Expression\nA1\tCD3\tAntibody Capture\nE2\tSOX2\tGene Expression\n"

static const struct {
    const char *matrix_name, *barcodes_name, *features_name; /* files of the folder */
    const char *matrix, *barcodes, *features;
    const char *want, *describes;
} good[] = {
    {"matrix.mtx", "barcodes.tsv", "genes.tsv",
     BANNER "%\n3 4 5\n1 1 1\n3 1 2\n2 3 7\n1 4 1\n2 4 9\n", BARCODES, GENES,
     "c1:ACTB=1,NANOG=2;c2:;c3:SOX2=7;c4:ACTB=1,SOX2=9",
     "matrix.mtx (coordinates, integer, genes in rows), 4 cells x 3 genes, names from genes.tsv"},
    {"matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz",
     BANNER "%metadata_json: {}\n3 4 4\n2 1 100\n1 1 1\n3 2 2\n2 3 7\n", BARCODES, FEATURES,
     "c1:ACTB=1;c2:SOX2=2;c3:;c4:", "1 other features left out"},
    {"GSM12_matrix.mtx.gz", "GSM12_barcodes.tsv.gz", "GSM12_features.tsv.gz",
     REAL "3 4 2\n1 2 0.5\n1 3 1e3\n", BARCODES, GENES, "c1:;c2:ACTB=0.5;c3:ACTB=1000;c4:", "real"},
    {"x.matrix.mtx", "x.barcodes.tsv", "x.genes.tsv", BANNER "3 4 1\n1 2 5", BARCODES, GENES,
     "c1:;c2:ACTB=5;c3:;c4:", "genes.tsv"},
    {"one.mtx", "one.barcodes.txt", "one.genes.txt", BANNER "3 4 1\r\n1 2 5\r\n", BARCODES,
     "ACTB\nSOX2\nNANOG\n", "c1:;c2:ACTB=5;c3:;c4:", "the only column"},
    {"a.filtered.mtx", "a.barcodes.tsv", "a.features.tsv", BANNER "3 4 1\n1\t2\t5\n", BARCODES,
     GENES, "c1:;c2:ACTB=5;c3:;c4:", "symbols"},
    /* Not cell by cell: a line a gene first, and in no order at all. */
    {"matrix.mtx", "barcodes.tsv", "genes.tsv", BANNER "3 4 4\n1 1 1\n1 4 2\n2 1 3\n3 3 4\n",
     BARCODES, GENES, "c1:ACTB=1,SOX2=3;c2:;c3:NANOG=4;c4:ACTB=2", "not cell by cell"},
    {"matrix.mtx", "barcodes.tsv", "genes.tsv", BANNER "3 4 3\n1 4 1\n3 2 2\n2 4 3\n\n\n", BARCODES,
     GENES, "c1:;c2:NANOG=2;c3:;c4:ACTB=1,SOX2=3", "not cell by cell"},
    /* Cells in rows, by their number. */
    {"matrix.mtx", "barcodes.tsv", "genes.tsv", BANNER "4 3 3\n1 2 1\n1 3 2\n4 1 3\n", BARCODES,
     GENES, "c1:SOX2=1,NANOG=2;c2:;c3:;c4:ACTB=3", "cells in rows), 4 cells"},
    {"matrix.mtx", "barcodes.tsv", "genes.tsv", BANNER "4 3 3\n4 1 3\n1 2 1\n1 3 2\n", BARCODES,
     GENES, "c1:SOX2=1,NANOG=2;c2:;c3:;c4:ACTB=3", "cells in rows, not cell by cell"},
    {"matrix.mtx", "barcodes.tsv", "genes.tsv",
     "%%matrixmarket MATRIX Coordinate Pattern General\n3 4 2\n1 1\n3 1\n", BARCODES, GENES,
     "c1:ACTB=1,NANOG=1;c2:;c3:;c4:", "pattern"},
    {"matrix.mtx", "barcodes.tsv", "genes.tsv",
     REAL "%c\n\n3 4 6\n1 1 2.5\n2 1 .5\n3 1 5.\n1 2 0.1234567890123456\n2 2 +1E-2\n3 2 -3\n",
     "c1\tx\nc2\ty\n\"c3\"\nc4", "\xEF\xBB\xBF" GENES,
     "c1:ACTB=2.5,SOX2=0.5,NANOG=5;c2:ACTB=0.12345678901234559,SOX2=0.01,NANOG=-3;c3:;c4:", "real"},
    /* Two ids of one symbol are added up by the ranking, under the first. */
    {"matrix.mtx", "barcodes.tsv", "genes.tsv", BANNER "3 4 2\n1 1 1\n3 1 2\n", BARCODES,
     "E1\tACTB\nE2\tSOX2\nE3\tACTB\n", "c1:ACTB=1,ACTB=2;c2:;c3:;c4:", "1 genes added to another"},
};

static void good_folders(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(good); i++) {
        const char *folder = new_folder();
        char path[2][256];
        write_text(in(folder, good[i].matrix_name), good[i].matrix);
        write_text(in(folder, good[i].barcodes_name), good[i].barcodes);
        write_text(in(folder, good[i].features_name), good[i].features);
        snprintf(path[0], sizeof path[0], "%s", emt_temp(folder));
        snprintf(path[1], sizeof path[1], "%s", emt_temp(in(folder, good[i].matrix_name)));
        for (int p = 0; p < 2; p++)
            for (int rows = 1; rows < 6; rows += 2) {
                const emc_cells_options options = {.max_rows = rows,
                                                   .max_bytes = rows == 5 ? 24 : 0,
                                                   .negative = EMC_NEGATIVE_PASS};
                char out[1000];
                emc_cells *cells;
                emc_cells_matrix matrix;
                EMT_OK(emc_cells_open(&cells, path[p], &options));
                show(out, sizeof out, cells);
                assert_string_equal(out, good[i].want);
                EMT_OK(emc_cells_seek(cells, 0));
                show(out, sizeof out, cells);
                assert_string_equal(out, good[i].want);
                if (!strstr(emc_cells_description(cells), good[i].describes))
                    fail_msg("case %zu: %s", i, emc_cells_description(cells));
                assert_string_equal(emc_cells_format(cells), "10x mtx");
                emc_cells_get_matrix(cells, &matrix);
                assert_string_equal(matrix.name, good[i].matrix_name);
                assert_string_equal(matrix.storage, "coordinates");
                assert_string_equal(matrix.filters,
                                    strstr(good[i].matrix_name, ".gz") ? "gzip" : "none");
                assert_true(matrix.n_values > 0);
                emc_cells_close(cells);
            }
    }
}

static const struct {
    const char *matrix, *barcodes, *features, *genome;
    emc_status status;
    const char *file, *text; /* the file that is named, "" for the folder */
} bad[] = {
    {"hello\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "line 1: wanted \"%%Matrix"},
    {"%%MatrixMarket\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "or the like"},
    {"%%MatrixMarket matrix array real general\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT,
     "matrix.mtx", "line 1: the form is array; only coordinate"},
    {"%%MatrixMarket matrix coordinate complex general\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT,
     "matrix.mtx", "the values are complex"},
    {"%%MatrixMarket matrix coordinate real symmetric\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT,
     "matrix.mtx", "a symmetric matrix"},
    {BANNER "%\n%\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 4: the file ends before the line of sizes"},
    {BANNER "3 x 5\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 2: \"3 x 5\": wanted three numbers"},
    {BANNER "3 4\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "wanted three numbers"},
    {BANNER "3 4 5 6\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "wanted three numbers"},
    {BANNER "-3 4 5\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "three numbers"},
    {BANNER "99999999999 4 5\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "at most"},
    {BANNER "3 4 99999999999999999999999\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "three numbers"},
    {BANNER "3 4 0\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 2: the matrix has no entries"},
    {BANNER "3 5 1\n1 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 2: 3 x 5, but "},
    {BANNER "4 4 1\n1 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "genes.tsv names 3 genes and "},
    {BANNER "3 4 1\n1 1 1\n", "barcode\n" BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "barcodes.tsv over 4 cells; does a list begin with a heading?"},
    {BANNER "3 4 2\n1 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 4: the file ends after 1 of 2 entries"},
    {BANNER "3 4 1\n1 1 1\n2 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 4: more entries than the 1 of the header"},
    {BANNER "3 4 1\n4 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 3: \"4 1 1\": outside of the 3 x 4"},
    {BANNER "3 4 1\n1 5 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 3: \"1 5 1\": outside"},
    {BANNER "3 4 1\n0 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 3: \"0 1 1\": wanted row and column, from 1"},
    {BANNER "3 4 1\n-1 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "from 1"},
    {BANNER "3 4 1\n1.5 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "from 1"},
    {BANNER "3 4 1\n18446744073709551617 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT,
     "matrix.mtx", "outside of"},
    {BANNER "3 4 2\n1 1 1\n\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 4: \"\": wanted row"},
    {BANNER "3 4 1\n1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "line 3: \"1 1\": the value is no number"},
    {BANNER "3 4 1\n1 1 x\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "no number"},
    {BANNER "3 4 1\n1 1 1x\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "no number"},
    {BANNER "3 4 1\n1 1 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "more than row, column and value"},
    {BANNER "3 4 1\n1 1 1.5\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx",
     "the header says integer"},
    {BANNER "3 4 1\n1 1 nan\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "integer"},
    {REAL "3 4 1\n1 1 .\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT, "matrix.mtx", "no number"},
    {REAL "3 4 4\n1 1 1\n1 1 1\n1 1 1\n1 1 1\n", BARCODES, GENES, NULL, EMC_ERR_FORMAT,
     "matrix.mtx", "line 6: cell 1 has more entries than the matrix has genes (3)"},
    {BANNER "3 4 1\n1 1 1\n", "c1\nc2\n\nc4\n", GENES, NULL, EMC_ERR_FORMAT, "barcodes.tsv",
     "line 3: no barcode"},
    {BANNER "3 4 1\n1 1 1\n", "c1\nc2\nc1\nc4\n", GENES, NULL, EMC_ERR_FORMAT, "",
     "two cells are called \"c1\" (1 and 3)"},
    {BANNER "3 4 1\n1 1 1\n", "c1\nc\xFF\nc3\nc4\n", GENES, NULL, EMC_ERR_FORMAT, "barcodes.tsv",
     "line 2: byte 0xff"},
    {BANNER "3 4 1\n1 1 1\n", BARCODES, "E1\tACTB\nE2\nE3\tSOX2\n", NULL, EMC_ERR_FORMAT,
     "genes.tsv", "line 2: 1 columns, but line 1 has 2"},
    {BANNER "3 4 1\n1 1 1\n", BARCODES, "E1\tACTB\n\t\nE3\tSOX2\n", NULL, EMC_ERR_FORMAT,
     "genes.tsv", "line 2: no name of a gene"},
    {BANNER "3 4 1\n1 1 1\n", BARCODES, "E1\tA\tx\nE2\tB\ty\nE3\tC\tx\n", NULL, EMC_ERR_FORMAT, "",
     "no feature is of type \"Gene Expression\"; the types are: x, y"},
    {BANNER "3 4 1\n1 1 1\n", BARCODES, "ENSG00000141510\nENSG00000141511\nENSG00000141512\n", NULL,
     EMC_ERR_FORMAT, "", "genes.tsv holds Ensembl ids and no symbols"},
    {BANNER "3 4 1\n1 1 1\n", BARCODES, GENES, "mm10", EMC_ERR_USAGE, "", "no genome \"mm10\""},
};

static void bad_folders(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        const char *folder = new_folder();
        const emc_cells_options options = {.genome = bad[i].genome};
        emc_cells *cells = NULL;
        char want[256];
        emc_cell_block block;
        emc_status status;
        write_text(in(folder, "matrix.mtx"), bad[i].matrix);
        write_text(in(folder, "barcodes.tsv"), bad[i].barcodes);
        write_text(in(folder, "genes.tsv"), bad[i].features);
        status = emc_cells_open(&cells, emt_temp(folder), &options);
        if (status == EMC_OK)
            status = emc_cells_next(cells, &block);
        emc_cells_close(cells);
        if (status != bad[i].status)
            fail_msg("case %zu: status %d: %s", i, status, emc_message());
        snprintf(want, sizeof want, "%s%s%s: ", emt_temp(folder), *bad[i].file ? "/" : "",
                 bad[i].file);
        if (strncmp(emc_message(), want, strlen(want)) != 0 ||
            !strstr(emc_message(), bad[i].text) || strchr(emc_message(), '\n'))
            fail_msg("case %zu: \"%s\", wanted \"%s...%s\"", i, emc_message(), want, bad[i].text);
    }
}

static void missing_names(void **state)
{
    const char *folder = new_folder();

    (void)state;
    emc_cells *cells;
    EMT_FAILS(EMC_ERR_FORMAT, "a folder of an unknown kind",
              emc_cells_open(&cells, emt_temp(folder), NULL));
    write_text(in(folder, "matrix.mtx"), BANNER "3 4 1\n1 1 1\n");
    EMT_FAILS(EMC_ERR_NOT_FOUND, "no names of cells and genes beside it",
              emc_cells_open(&cells, emt_temp(folder), NULL));
    write_text(in(folder, "barcodes.tsv"), BARCODES);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "(or genes.tsv)", emc_cells_open(&cells, emt_temp(folder), NULL));
    write_text(in(folder, "genes.tsv"), GENES);
    EMT_OK(emc_cells_open(&cells, emt_temp(folder), NULL));
    emc_cells_close(cells);
    /* The one of Cell Ranger's name is taken from several; without it one must be named. */
    write_text(in(folder, "other.mtx"), BANNER "3 4 1\n1 1 1\n");
    EMT_OK(emc_cells_open(&cells, emt_temp(folder), NULL));
    emc_cells_close(cells);
    assert_int_equal(remove(emt_temp(in(folder, "matrix.mtx"))), 0);
    write_text(in(folder, "another.mtx"), BANNER "3 4 1\n1 1 1\n");
    EMT_FAILS(EMC_ERR_USAGE, "several matrices: ", emc_cells_open(&cells, emt_temp(folder), NULL));
    EMT_OK(emc_cells_open(&cells, emt_temp(in(folder, "other.mtx")), NULL));
    emc_cells_close(cells);
}

/* Cell Ranger 2 puts a folder for each genome around the three files. */
static void folder_of_a_genome(void **state)
{
    const char *outer = new_folder();
    char inner[2][64];
    emc_cells *cells;

    (void)state;
    for (int i = 0; i < 2; i++) {
        snprintf(inner[i], sizeof inner[i], "%s/%s", outer, i ? "mm10" : "hg19");
        assert_int_equal(mkdir(emt_temp(inner[i]), 0700), 0);
        if (i == 0)
            EMT_FAILS(EMC_ERR_FORMAT, "a folder of an unknown kind",
                      emc_cells_open(&cells, emt_temp(outer), NULL));
        write_text(in(inner[i], "matrix.mtx"), BANNER "3 4 1\n1 2 5\n");
        write_text(in(inner[i], "barcodes.tsv"), BARCODES);
        write_text(in(inner[i], "genes.tsv"), GENES);
        if (i == 0) {
            char out[200];
            EMT_OK(emc_cells_open(&cells, emt_temp(outer), NULL));
            show(out, sizeof out, cells);
            assert_string_equal(out, "c1:;c2:ACTB=5;c3:;c4:");
            emc_cells_close(cells);
        }
    }
    EMT_FAILS(EMC_ERR_USAGE, "/matrix.mtx; give the path of one of them",
              emc_cells_open(&cells, emt_temp(outer), NULL));
    EMT_OK(emc_cells_open(&cells, emt_temp(inner[1]), NULL));
    emc_cells_close(cells);
}

static void options_of_folders(void **state)
{
    const char *folder = new_folder();
    static const char *const columns[] = {"label"};
    emc_cells *cells;

    (void)state;
    write_text(in(folder, "matrix.mtx"), BANNER "3 4 1\n1 1 1\n");
    write_text(in(folder, "barcodes.tsv"), BARCODES);
    write_text(in(folder, "features.tsv"), "hs_E1\ths_ACTB\tGene Expression\nhs_E2\ths_SOX2\tGene "
                                           "Expression\nmm_E3\tmm_Nanog\tGene Expression\n");
    EMT_FAILS(EMC_ERR_USAGE, "no layer \"counts\"",
              emc_cells_open(&cells, emt_temp(folder), &(emc_cells_options){.layer = "counts"}));
    EMT_FAILS(EMC_ERR_USAGE, "no column \"label\" beside the cells",
              emc_cells_open(&cells, emt_temp(folder),
                             &(emc_cells_options){.obs_columns = columns, .n_obs_columns = 1}));
    EMT_FAILS(
        EMC_ERR_USAGE, "--gene-symbols takes gene_names or gene_ids",
        emc_cells_open(&cells, emt_temp(folder), &(emc_cells_options){.gene_symbols = "label"}));
    EMT_OK(emc_cells_open(&cells, emt_temp(folder), &(emc_cells_options){.genome = "hs"}));
    assert_int_equal(emc_cells_n_genes(cells), 2);
    assert_string_equal(emc_cells_gene_names(cells)[1], "SOX2");
    assert_string_equal(emc_cells_gene_ids(cells)[1], "E2");
    emc_cells_close(cells);
    EMT_OK(
        emc_cells_open(&cells, emt_temp(folder), &(emc_cells_options){.gene_symbols = "gene_ids"}));
    assert_int_equal(emc_cells_n_genes(cells), 3);
    assert_string_equal(emc_cells_gene_names(cells)[2], "mm_E3");
    assert_null(emc_cells_gene_ids(cells));
    emc_cells_close(cells);
}

/* ---- large files ---- */

enum { N_CELLS = 3000, N_GENES = 200 };

/* Entries of a cell: those genes g with (g * 7 + cell) % 11 < 4, of value 1 + (g + cell) % 99999.
 */
static bool has_gene(int cell, int gene)
{
    return cell % 17 != 3 && (gene * 7 + cell) % 11 < 4;
}

/* The folder, and where its text begins to be damaged when `late` is given. */
static const char *write_large(bool gz, const char *late)
{
    static char folder[32];
    size_t n = 0, n_names = 0, n_entries = 0;
    char *text = malloc((size_t)N_CELLS * N_GENES * 24);
    char *names = malloc((size_t)N_CELLS * 12);

    assert_non_null(text);
    assert_non_null(names);
    snprintf(folder, sizeof folder, "%s", new_folder());
    for (int c = 0; c < N_CELLS; c++)
        for (int g = 0; g < N_GENES; g++)
            n_entries += has_gene(c, g);
    n += (size_t)sprintf(text, "%s%d %d %zu\n", BANNER, N_GENES, N_CELLS, n_entries);
    for (int c = 0; c < N_CELLS; c++) {
        n_names += (size_t)sprintf(names + n_names, "cell%d\n", c);
        for (int g = 0; g < N_GENES; g++)
            if (has_gene(c, g))
                n += (size_t)sprintf(text + n, "%d %d %d\n", g + 1, c + 1, 1 + (g + c) % 99999);
    }
    if (late)
        memcpy(text + n - 60, late, strlen(late));
    if (gz)
        write_gz(in(folder, "matrix.mtx.gz"), text, n);
    else
        emt_write(in(folder, "matrix.mtx"), text, n);
    emt_write(in(folder, "barcodes.tsv"), names, n_names);
    n_names = 0;
    for (int g = 0; g < N_GENES; g++)
        n_names += (size_t)sprintf(names + n_names, "G%d\n", g);
    emt_write(in(folder, "genes.tsv"), names, n_names);
    free(text);
    free(names);
    return folder;
}

static void check_rows(const emc_cell_block *block)
{
    for (int r = 0; r < block->n_rows; r++) {
        const int cell = (int)block->first_row + r;
        int64_t k = block->indptr[r];
        for (int g = 0; g < N_GENES; g++) {
            if (!has_gene(cell, g))
                continue;
            assert_true(k < block->indptr[r + 1]);
            assert_int_equal(block->genes[k], g);
            assert_true(block->values[k] == 1 + (g + cell) % 99999);
            k++;
        }
        assert_int_equal(k, block->indptr[r + 1]);
    }
}

static void large_files_and_seeks(void **state)
{
    (void)state;
    for (int gz = 0; gz < 2; gz++) {
        const char *folder = write_large(gz, NULL);
        const emc_cells_options options = {.max_rows = 700, .max_bytes = 300000};
        uint64_t random = 5;
        emc_cells *cells;
        emc_cell_block block;
        int64_t n = 0;
        EMT_OK(emc_cells_open(&cells, emt_temp(folder), &options));
        for (;; n += block.n_rows) {
            EMT_OK(emc_cells_next(cells, &block));
            if (block.n_rows == 0)
                break;
            assert_int_equal(block.first_row, n);
            assert_true(block.n_rows <= 700);
            assert_true(block.n_rows == 1 || block.indptr[block.n_rows] * 12 <= 300000);
            check_rows(&block);
        }
        assert_int_equal(n, N_CELLS);
        for (int i = 0; i < 15; i++) {
            const int64_t row = (int64_t)(emt_random(&random) % N_CELLS);
            EMT_OK(emc_cells_seek(cells, row));
            EMT_OK(emc_cells_next(cells, &block));
            assert_int_equal(block.first_row, row);
            check_rows(&block);
        }
        EMT_OK(emc_cells_seek(cells, N_CELLS));
        EMT_OK(emc_cells_next(cells, &block));
        assert_int_equal(block.n_rows, 0);
        emc_cells_close(cells);
        /* A first seek ahead, of a reader that knows nothing of the file yet. */
        EMT_OK(emc_cells_open(&cells, emt_temp(folder), &options));
        EMT_OK(emc_cells_seek(cells, N_CELLS - 5));
        EMT_OK(emc_cells_next(cells, &block));
        assert_int_equal(block.n_rows, 5);
        check_rows(&block);
        emc_cells_close(cells);
    }
}

static void truncated_gzip(void **state)
{
    const char *folder = write_large(true, NULL);
    size_t n;
    char *bytes = emt_read(emt_temp(in(folder, "matrix.mtx.gz")), &n);
    emc_cells *cells;

    (void)state;
    emt_write(in(folder, "matrix.mtx.gz"), bytes, n / 2);
    EMT_FAILS(EMC_ERR_FORMAT, "the gzip data are cut short",
              emc_cells_open(&cells, emt_temp(folder), NULL));
    bytes[n / 2] ^= 0x55;
    emt_write(in(folder, "matrix.mtx.gz"), bytes, n);
    assert_int_not_equal(emc_cells_open(&cells, emt_temp(folder), NULL), EMC_OK);
    assert_non_null(strstr(emc_message(), "matrix.mtx.gz"));
    bytes[n / 2] ^= 0x55;
    bytes[n - 6] ^= 1; /* the checksum at its end */
    emt_write(in(folder, "matrix.mtx.gz"), bytes, n);
    EMT_FAILS(EMC_ERR_FORMAT, "the gzip data are damaged",
              emc_cells_open(&cells, emt_temp(folder), NULL));
    free(bytes);
}

/* What unpacks to far more than a file can hold is given up on where it stops making sense. */
static void bombs(void **state)
{
    static const struct {
        const char *name, *start, *more, *text;
    } cases[] = {
        {"matrix.mtx.gz", BANNER "%", "xxxxxxxxxxxxxxxx", "line 2: longer than 65536 bytes"},
        {"matrix.mtx.gz", BANNER, "%\n", "over 1048576 bytes of comments"},
        {"matrix.mtx.gz", BANNER, "\n", "over 1048576 bytes of comments"},
        {"matrix.mtx.gz", BANNER "3 4 1\n1 1 1\n", "\n", "more entries than the 1"},
        {"matrix.mtx.gz", BANNER "3 4 1\n", "1 1 1\n", "line 4: more entries than the 1"},
        {"barcodes.tsv.gz", "c0\n", "c\n", "over 4 cells"},
        {"barcodes.tsv.gz", "c", "cccccccccccccccc", "line 1: longer than 65536 bytes"},
        {"genes.tsv.gz", "", "E\tA\n", "over 4 genes"},
    };
    const size_t n = 4 << 20;
    char *text = malloc(n);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *folder = new_folder();
        size_t at = strlen(cases[i].start);
        emc_cells *cells;
        write_text(in(folder, "matrix.mtx.gz"), BANNER "3 4 1\n1 1 1\n");
        write_text(in(folder, "barcodes.tsv.gz"), BARCODES);
        write_text(in(folder, "genes.tsv.gz"), GENES);
        memcpy(text, cases[i].start, at);
        for (const size_t step = strlen(cases[i].more); at + step <= n; at += step)
            memcpy(text + at, cases[i].more, step);
        write_gz(in(folder, cases[i].name), text, at);
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].text, emc_cells_open(&cells, emt_temp(folder), NULL));
        assert_non_null(strstr(emc_message(), cases[i].name));
    }
    free(text);
}

/* Any bytes end with cells or with a message. */
static void random_bytes(void **state)
{
    static const char pieces[][24] = {"%%MatrixMarket", "%",  "\n",  "3 4 2\n", "1 1 1\n",
                                      "2 3 1.5\n",      " ",  "9",   "-",       "\r",
                                      "1 2\n",          "\0", "nan", "e5"};
    const char *folder = new_folder();
    uint64_t random = 9;
    int n_good = 0;

    (void)state;
    write_text(in(folder, "barcodes.tsv"), BARCODES);
    write_text(in(folder, "genes.tsv"), GENES);
    for (int round = 0; round < 400; round++) {
        char text[600] = REAL "3 4 2\n1 1 1\n";
        size_t n = round % 3 ? strlen(text) : strlen(REAL);
        emc_cells *cells;
        emc_cell_block block;
        for (int i = (int)(emt_random(&random) % 6); i > 0; i--) {
            const char *piece = pieces[emt_random(&random) % EMC_COUNT(pieces)];
            const size_t length = *piece ? strnlen(piece, sizeof pieces[0]) : 1;
            memcpy(text + n, piece, length);
            n += length;
        }
        emt_write(in(folder, "matrix.mtx"), text, n);
        if (emc_cells_open(&cells, emt_temp(folder), NULL) == EMC_OK) {
            n_good += emc_cells_next(cells, &block) == EMC_OK;
            emc_cells_close(cells);
        } else {
            assert_non_null(strstr(emc_message(), "matrix.mtx"));
        }
    }
    assert_true(n_good > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_folders),       cmocka_unit_test(bad_folders),
        cmocka_unit_test(missing_names),      cmocka_unit_test(folder_of_a_genome),
        cmocka_unit_test(options_of_folders), cmocka_unit_test(large_files_and_seeks),
        cmocka_unit_test(truncated_gzip),     cmocka_unit_test(bombs),
        cmocka_unit_test(random_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
