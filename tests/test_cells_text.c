/* Are text tables read as people write them, and refused where they are wrong? */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cells/reader.h"

static const char *write_gz(const char *name, const char *text)
{
    const char *path = emt_temp(name);
    gzFile file = gzopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), strlen(text));
    assert_int_equal(gzclose(file), Z_OK);
    return path;
}

/* The table as "cell:gene=value,gene=value;cell:..." in the order of the file. */
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

static const struct {
    const char *name, *text;
    emc_orientation orientation;
    const char *want, *describes;
} good[] = {
    {"cells.csv", "cell,ACTB,GAPDH,XYZ\nc1,1,0,2.5\nc2,0,3,0\n", EMC_ORIENTATION_AUTO,
     "c1:ACTB=1,XYZ=2.5;c2:GAPDH=3", "cells in rows (2 known genes in the header"},
    {"genes.tsv", "Gene\tc1\tc2\nACTB\t1\t0\nXYZ\t2\t4\nSOX2\t0\t5\n", EMC_ORIENTATION_AUTO,
     "c1:ACTB=1,XYZ=2;c2:XYZ=4,SOX2=5", "genes in rows (2 known genes in the first column"},
    {"r.txt", "c1 c2\n\"ACTB\" 1 0\n\"SOX2\" 2 4\n", EMC_ORIENTATION_AUTO,
     "c1:ACTB=1,SOX2=2;c2:SOX2=4", "genes in rows"},
    {"r_cells.tsv", "ACTB\tSOX2\nc1\t1\t2\nc2\t3\t4\n", EMC_ORIENTATION_AUTO,
     "c1:ACTB=1,SOX2=2;c2:ACTB=3,SOX2=4", "cells in rows"},
    {"commas.tsv", "Gene\tc,1\tc,2,3\tc,4,\nACTB\t1\t0\t2\nSOX2\t2\t4\t0\n", EMC_ORIENTATION_AUTO,
     "c,1:ACTB=1,SOX2=2;c,2,3:SOX2=4;c,4,:ACTB=2", "genes in rows"},
    {"decimals.csv", "x;c,1;c,2\nACTB;1;0\nSOX2;2;4\n", EMC_ORIENTATION_AUTO,
     "c,1:ACTB=1,SOX2=2;c,2:SOX2=4", "genes in rows"},
    {"semi.csv", "x;c1;c2\r\nACTB;1;0\r\nSOX2;2;4\r\n", EMC_ORIENTATION_AUTO,
     "c1:ACTB=1,SOX2=2;c2:SOX2=4", "genes in rows"},
    {"quotes.csv", "\"\",\"c,1\",\"c\"\"2\"\"\"\n\"ACTB\",\"1\",2\n\"SO\nX2\",3,4",
     EMC_ORIENTATION_AUTO, "c,1:ACTB=1,SO\nX2=3;c\"2\":ACTB=2,SO\nX2=4", "genes in rows"},
    {"bom.csv", "\xEF\xBB\xBFgene,c1\nZZ,7\n", EMC_ORIENTATION_AUTO, "c1:ZZ=7",
     "genes in rows (the header starts with gene"},
    {"barcode.csv", "barcode,ZZ,YY\nc1,7,8\n", EMC_ORIENTATION_AUTO, "c1:ZZ=7,YY=8",
     "cells in rows (the header starts with barcode"},
    {"said.csv", "a,b\nx,1\n", EMC_CELLS_IN_ROWS, "x:b=1", "as the options say"},
    {"said2.csv", "a,b\nx,1\n", EMC_GENES_IN_ROWS, "b:x=1", "as the options say"},
    {"blank_lines.csv", "\n\ngene,c1,c2\n\nA,1,2\n\n\nB,0,0\n\n", EMC_ORIENTATION_AUTO,
     "c1:A=1;c2:A=2", "genes in rows"},
    {"numbers.csv",
     "gene,c1,c2,c3,c4,c5,c6\nA,16777217,1e3,+5,-0.5E-1,9007199254740993,0.1\nB,0.0,-0,.5,5.,1e-"
     "320,"
     "123456789.123456789\n",
     EMC_ORIENTATION_AUTO,
     "c1:A=16777217;c2:A=1000;c3:A=5,B=0.5;c4:A=-0.050000000000000003,B=5;"
     "c5:A=9007199254740992,B=9.9998886718268301e-321;c6:A=0.10000000000000001,B=123456789."
     "12345679",
     "genes in rows"},
    {"wide_blanks.txt", "GENE   c1 c2 \n A  1   2\t\nB 3 4", EMC_ORIENTATION_AUTO,
     "c1:A=1,B=3;c2:A=2,B=4", "genes in rows"},
    {"utf8.csv", "gene,na\xC3\xAFve\nA,1\n", EMC_ORIENTATION_AUTO, "na\xC3\xAFve:A=1", "genes"},
};

static void good_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(good); i++) {
        for (int rows = 1; rows < 4; rows++) {
            const emc_cells_options options = {.orientation = good[i].orientation,
                                               .max_rows = rows,
                                               .negative = EMC_NEGATIVE_PASS};
            char out[1000], gz[64];
            emc_cells *cells;
            EMT_OK(emc_cells_open(
                &cells, emt_write(good[i].name, good[i].text, strlen(good[i].text)), &options));
            show(out, sizeof out, cells);
            assert_string_equal(out, good[i].want);
            assert_non_null(strstr(emc_cells_description(cells), good[i].describes));
            assert_string_equal(emc_cells_format(cells), "text");
            emc_cells_close(cells);
            snprintf(gz, sizeof gz, "%s.gz", good[i].name);
            EMT_OK(emc_cells_open(&cells, write_gz(gz, good[i].text), &options));
            show(out, sizeof out, cells);
            assert_string_equal(out, good[i].want);
            emc_cells_close(cells);
        }
    }
}

static void missing_numbers(void **state)
{
    static const char text[] = "gene,c1,c2,c3\nA,NA,NaN,nan\n";
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_write("na.csv", text, strlen(text)), NULL));
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.indptr[3], 3);
    for (int k = 0; k < 3; k++)
        assert_true(isnan(block.values[k]));
    emc_cells_close(cells);
}

static void negative_numbers(void **state)
{
    static const char text[] = "gene,c1,c2\nA,1,2\nB,1,-2\n";
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_write("neg.csv", text, strlen(text)), NULL));
    EMT_OK(emc_cells_next(cells, &block)); /* what stands before it is read */
    assert_int_equal(block.n_rows, 1);
    EMT_FAILS(EMC_ERR_FORMAT, "cell \"c2\", gene \"B\" is -2: scaled values",
              emc_cells_next(cells, &block));
    emc_cells_close(cells);
}

#define T(text) text, sizeof(text) - 1

static const struct {
    const char *name, *text;
    size_t n;
    emc_cells_options options;
    emc_status status;
    const char *message;
} bad[] = {
    {"a.csv", T("\n\n"), {0}, EMC_ERR_FORMAT, "the file holds no text"},
    {"b.csv", T("gene,c1,c2\n"), {0}, EMC_ERR_FORMAT, "a header and no rows"},
    {"c.csv", T("gene\nA\nB\n"), {0}, EMC_ERR_FORMAT, "a single column"},
    {"d.csv",
     T("gene,c1,c2\nA,1,2\nB,1\n"),
     {0},
     EMC_ERR_FORMAT,
     "line 3: 2 fields, but the header has 3;"},
    {"e.csv",
     T("gene,c1,c2\nA,1,2,3,4\n"),
     {0},
     EMC_ERR_FORMAT,
     "line 2: 5 fields, but the header has 3;"},
    {"f.csv",
     T("c1,c2\nA,1,2\nB,1\n"),
     {0},
     EMC_ERR_FORMAT,
     "line 3: 2 fields, but the header has 2 and the first row one more"},
    {"g.csv",
     T("gene,c1,c2\nA,1,2\n\nB,1,abc\n"),
     {0},
     EMC_ERR_FORMAT,
     "line 4 (\"B\"), column 3 (\"c2\"): \"abc\" is no number"},
    {"h.csv",
     T("gene,c1,c2\nA,,2\n"),
     {0},
     EMC_ERR_FORMAT,
     "column 2 (\"c1\"): \"\" is empty, wanted a number"},
    {"i.csv", T("gene,c1\nA,0x10\n"), {0}, EMC_ERR_FORMAT, "\"0x10\" is no number"},
    {"j.csv", T("gene,c1\nA,1.2.3\n"), {0}, EMC_ERR_FORMAT, "\"1.2.3\" is no number"},
    {"k.csv", T("gene,c1\nA,inf\n"), {0}, EMC_ERR_FORMAT, "\"inf\" is no number"},
    {"l.csv", T("gene,c1\nA, 1\n"), {0}, EMC_ERR_FORMAT, "\" 1\" is no number"},
    {"m.csv", T("gene,c1\nA,.\n"), {0}, EMC_ERR_FORMAT, "\".\" is no number"},
    {"n.csv", T("gene,c1\nA,1e\n"), {0}, EMC_ERR_FORMAT, "\"1e\" is no number"},
    {"o.csv", T("gene,c1\n\"A,1\n"), {0}, EMC_ERR_FORMAT, "line 2: a quote that is never closed"},
    {"p.csv", T("gene,c1\nA\0B,1\n"), {0}, EMC_ERR_FORMAT, "line 2: a NUL byte"},
    {"q.csv",
     T("gene,c1,c1\nA,1,2\n"),
     {0},
     EMC_ERR_FORMAT,
     "two cells are called \"c1\" (1 and 2)"},
    {"r.csv",
     T("gene,c1,c2\nA,1,2\nA,1,2\n"),
     {0},
     EMC_ERR_FORMAT,
     "two genes are called \"A\" (1 and 2)"},
    {"s.csv",
     T("gene,c1,c2\nA,1,2\nna\xefve,1,2\n"),
     {0},
     EMC_ERR_FORMAT,
     "line 3: byte 0xef at offset 2 is not UTF-8"},
    {"t.csv", T("gene,c1,\nA,1,2\n"), {0}, EMC_ERR_FORMAT, "cell 2 has no name"},
    {"u.csv", T("gene,c1\n,1\n"), {0}, EMC_ERR_FORMAT, "gene 1 has no name"},
    {"v.csv", T("foo,bar\nbaz,1\n"), {0}, EMC_ERR_FORMAT, "cannot tell cells from genes"},
    {"w.csv",
     T("x,c1\nENSG00000000001,1\nENSG00000000002.4,1\n"),
     {0},
     EMC_ERR_FORMAT,
     "the genes are Ensembl ids"},
    {"x.csv",
     T("gene,c1\nA,1\n"),
     {.layer = "counts"},
     EMC_ERR_USAGE,
     "a text table has no layer \"counts\""},
    {"y.csv",
     T("gene,c1\nA,1\n"),
     {.gene_symbols = "name"},
     EMC_ERR_USAGE,
     "no column \"name\" of symbols"},
    {"z.csv",
     T("gene,c1\nA,1\n"),
     {.obs_columns = (const char *const[]){"label"}, .n_obs_columns = 1},
     EMC_ERR_USAGE,
     "no column \"label\" beside the cells"},
    {"aa.csv.gz",
     T("\x1f\x8b\x08\0\0\0\0\0\0\3 this is no gzip"),
     {0},
     EMC_ERR_FORMAT,
     "damaged or cut short"},
};

static void bad_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        const char *path = emt_write(bad[i].name, bad[i].text, bad[i].n);
        emc_cells *cells;
        EMT_FAILS(bad[i].status, bad[i].message, emc_cells_open(&cells, path, &bad[i].options));
        assert_null(cells);
        assert_memory_equal(emc_message(), path, strlen(path));
    }
}

static void truncated_gzip(void **state)
{
    char text[20000] = "gene,c1,c2\n";
    size_t n;
    emc_cells *cells;
    uint64_t random = 7;

    (void)state;
    for (int i = 0; i < 1000; i++)
        sprintf(text + strlen(text), "G%d,%d,%d\n", i, (int)(emt_random(&random) % 100),
                (int)(emt_random(&random) % 100));
    char *packed = emt_read(write_gz("whole.csv.gz", text), &n);
    EMT_FAILS(EMC_ERR_FORMAT, "damaged or cut short",
              emc_cells_open(&cells, emt_write("cut.csv.gz", packed, n - 10), NULL));
    EMT_OK(emc_cells_open(&cells, emt_write("all.csv.gz", packed, n), NULL));
    assert_int_equal(emc_cells_n_genes(cells), 1000);
    emc_cells_close(cells);
    free(packed);
}

/* Names of an Ensembl table are taken as they are when asked; duplicates are added up when asked.
 */
static void options_of_tables(void **state)
{
    static const char ensembl[] = "x,c1\nENSG00000000001,1\nENSG00000000002.4,2\n";
    static const char twice[] = "gene,c1,c2\nA,1,2\nB,1,0\nA,3,0\n";
    emc_cells_options options = {.gene_symbols = "index"};
    char out[200];
    emc_cells *cells;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_write("e.csv", ensembl, strlen(ensembl)), &options));
    show(out, sizeof out, cells);
    assert_string_equal(out, "c1:ENSG00000000001=1,ENSG00000000002.4=2");
    emc_cells_close(cells);
    options = (emc_cells_options){.duplicate_genes = EMC_DUPLICATES_SUM};
    EMT_OK(emc_cells_open(&cells, emt_write("t.csv", twice, strlen(twice)), &options));
    show(out, sizeof out, cells);
    assert_string_equal(out, "c1:A=1,B=1,A=3;c2:A=2"); /* one index, twice */
    EMT_OK(emc_cells_seek(cells, 0));
    emc_cell_block block;
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.genes[0], block.genes[2]);
    emc_cells_close(cells);
}

/* A record longer than the reading buffer, and records cut by its end at every place. */
static void across_the_buffer(void **state)
{
    const size_t n_cells = 300000;
    char *text = malloc(40 * n_cells);
    size_t n = 0;
    emc_cells *cells;
    emc_cell_block block;
    double sum = 0;

    (void)state;
    n += (size_t)sprintf(text + n, "gene");
    for (size_t i = 0; i < n_cells; i++)
        n += (size_t)sprintf(text + n, ",c%zu", i);
    for (int g = 0; g < 2; g++) {
        n += (size_t)sprintf(text + n, "\n%s", g ? "\"SO\"\"X2\"" : "ACTB");
        for (size_t i = 0; i < n_cells; i++)
            n += (size_t)sprintf(text + n, i % 3 ? ",%zu" : ",\"%zu\"", i % 10);
    }
    EMT_OK(emc_cells_open(&cells, emt_write("long.csv", text, n), NULL));
    assert_int_equal(emc_cells_n_cells(cells), n_cells);
    assert_string_equal(emc_cells_id(cells, 299999), "c299999");
    assert_string_equal(emc_cells_gene_names(cells)[1], "SO\"X2");
    do {
        EMT_OK(emc_cells_next(cells, &block));
        for (int64_t k = 0; block.n_rows && k < block.indptr[block.n_rows]; k++)
            sum += block.values[k];
    } while (block.n_rows > 0);
    assert_true(sum == 2 * 4.5 * (double)n_cells);
    emc_cells_close(cells);
    free(text);
}

/* Decimals of every length, with and without exponent, are rounded as the C library rounds them. */
static void decimals(void **state)
{
    static char text[200000];
    static double want[4000];
    size_t n = (size_t)sprintf(text, "gene,c1");
    uint64_t random = 5;
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    for (int i = 0; i < 4000; i++) {
        char number[40];
        const int digits = 1 + (int)(emt_random(&random) % 20);
        const int point = (int)(emt_random(&random) % 24);
        int m = 0;
        for (int d = 0; d < digits; d++) {
            if (d == point)
                number[m++] = '.';
            number[m++] = (char)('0' + (d ? emt_random(&random) % 10 : 1));
        }
        number[m] = '\0';
        if (i % 5 == 0)
            sprintf(number + m, "e%d", (int)(emt_random(&random) % 40) - 20);
        want[i] = strtod(number, NULL);
        n += (size_t)sprintf(text + n, "\nG%d,%s", i, number);
    }
    EMT_OK(emc_cells_open(&cells, emt_write("decimals.csv", text, n), NULL));
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.indptr[1], 4000);
    for (int i = 0; i < 4000; i++)
        if (block.values[i] != want[i])
            fail_msg("row %d: %.17g, wanted %.17g", i, block.values[i], want[i]);
    emc_cells_close(cells);
}

/* Whatever the bytes, the reader ends with a table or a message. */
static void random_bytes(void **state)
{
    static const char pieces[][8] = {"gene",   ",", "\t",   "\n",       "\r\n", "\"", "1", "0",
                                     "-2.5e3", " ", "ACTB", "\xEF\xBB", "\0",   "NA", ";", "c1"};
    uint64_t random = 3;
    int n_good = 0;

    (void)state;
    for (int round = 0; round < 500; round++) {
        char text[400] = "gene,c1\nACTB,";
        size_t n = round % 2 ? strlen(text) : 0;
        const int n_pieces = (int)(emt_random(&random) % 30);
        emc_cells *cells;
        emc_cell_block block;
        for (int i = 0; i < n_pieces; i++) {
            const char *piece = pieces[emt_random(&random) % EMC_COUNT(pieces)];
            const size_t length = *piece ? strlen(piece) : 1;
            memcpy(text + n, piece, length);
            n += length;
        }
        if (emc_cells_open(&cells, emt_write("random.csv", text, n), NULL) == EMC_OK) {
            n_good += emc_cells_next(cells, &block) == EMC_OK;
            emc_cells_close(cells);
        } else {
            assert_non_null(strstr(emc_message(), "random.csv"));
        }
    }
    assert_true(n_good > 0);
}

static void count_lines(void *context, const char *line)
{
    assert_non_null(strstr(line, "convert it once"));
    ++*(int *)context;
}

/* A table that does not fit its budget, in both orientations, leaves cell by cell all the same. */
static void through_scratch(void **state)
{
    enum { CELLS = 40, GENES = 60 };
    static char text[200000];

    (void)state;
    for (int genes_in_rows = 0; genes_in_rows < 2; genes_in_rows++) {
        const int rows = genes_in_rows ? GENES : CELLS, columns = genes_in_rows ? CELLS : GENES;
        int n_lines = 0, n_rows = 0;
        const emc_cells_options options = {.orientation = genes_in_rows ? EMC_GENES_IN_ROWS
                                                                        : EMC_CELLS_IN_ROWS,
                                           .turn_bytes = 4096,
                                           .scratch_dir = emt_temp_dir(),
                                           .on_log = count_lines,
                                           .context = &n_lines,
                                           .max_rows = 7};
        emc_cells *cells;
        emc_cell_block block;
        size_t n = (size_t)sprintf(text, "x");
        for (int c = 0; c < columns; c++)
            n += (size_t)sprintf(text + n, "\t%c%d", genes_in_rows ? 'c' : 'g', c);
        for (int r = 0; r < rows; r++) {
            n += (size_t)sprintf(text + n, "\n%c%d", genes_in_rows ? 'g' : 'c', r);
            for (int c = 0; c < columns; c++)
                n += (size_t)sprintf(text + n, "\t%d",
                                     genes_in_rows ? c * 100 + r + 1 : r * 100 + c + 1);
        }
        EMT_OK(emc_cells_open(&cells, emt_write("large.tsv", text, n), &options));
        assert_int_equal(n_lines, 1);
        assert_int_equal(emc_cells_n_cells(cells), CELLS);
        do {
            EMT_OK(emc_cells_next(cells, &block));
            for (int r = 0; r < block.n_rows; r++, n_rows++) {
                assert_int_equal(block.indptr[r + 1] - block.indptr[r], GENES);
                for (int64_t k = block.indptr[r]; k < block.indptr[r + 1]; k++)
                    assert_true(block.values[k] == n_rows * 100 + block.genes[k] + 1);
            }
        } while (block.n_rows);
        assert_int_equal(n_rows, CELLS);
        emc_cells_close(cells);
    }
}

/* Files of other programs: Seurat's has a header one column short, the large one has quotes. Names
 * and sums as pandas reads them. */
static void real_tables(void **state)
{
    static const struct {
        const char *name;
        int n_cells, n_genes;
        const char *cell, *gene; /* the last ones */
        double sum;
    } tables[] = {
        {"seurat_pbmc_raw.txt", 80, 230, "CTTGATTGATCTTC", "S100B", 19633},
        {"scp/dense_matrix_19_genes_1000_cells.txt", 1000, 19, "Granuloma1_1955", "AAR2",
         1387.4338335405241},
        {"scp/dense_matrix_no_exp_data.txt", 4, 4, "CELL_0004", "Fam109a", 0},
    };
    static const struct {
        const char *name, *text;
    } refused[] = {
        {"scp/expression_matrix_bad_duplicate_gene.txt", "two genes are called \"Itm2a\""},
        {"scp/expression_matrix_non_unique.txt", "two cells are called \"CELL_0001\""},
    };
    char name[256];
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    emt_need_shared("data/formats_text_loom/seurat_pbmc_raw.txt");
    for (size_t i = 0; i < EMC_COUNT(tables); i++) {
        double sum = 0;
        snprintf(name, sizeof name, "data/formats_text_loom/%s", tables[i].name);
        EMT_OK(emc_cells_open(&cells, emt_shared(name), NULL));
        assert_int_equal(emc_cells_n_cells(cells), tables[i].n_cells);
        assert_int_equal(emc_cells_n_genes(cells), tables[i].n_genes);
        assert_string_equal(emc_cells_id(cells, tables[i].n_cells - 1), tables[i].cell);
        assert_string_equal(emc_cells_gene_names(cells)[tables[i].n_genes - 1], tables[i].gene);
        do {
            EMT_OK(emc_cells_next(cells, &block));
            for (int64_t k = 0; block.n_rows && k < block.indptr[block.n_rows]; k++)
                sum += block.values[k];
        } while (block.n_rows);
        assert_true(fabs(sum - tables[i].sum) <= 1e-9 * tables[i].sum);
        emc_cells_close(cells);
    }
    for (size_t i = 0; i < EMC_COUNT(refused); i++) {
        snprintf(name, sizeof name, "data/formats_text_loom/%s", refused[i].name);
        EMT_FAILS(EMC_ERR_FORMAT, refused[i].text, emc_cells_open(&cells, emt_shared(name), NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_tables),       cmocka_unit_test(missing_numbers),
        cmocka_unit_test(negative_numbers),  cmocka_unit_test(bad_tables),
        cmocka_unit_test(truncated_gzip),    cmocka_unit_test(options_of_tables),
        cmocka_unit_test(across_the_buffer), cmocka_unit_test(decimals),
        cmocka_unit_test(random_bytes),      cmocka_unit_test(through_scratch),
        cmocka_unit_test(real_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
