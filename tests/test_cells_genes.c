/* Do genes get their current symbol, and are groups of them told apart? */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells/genes.h"

static void the_table(void **state)
{
    static const char *const known[][2] = {
        {"T", "TBXT"},          {"CGB", "CGB3"},       {"H1FOO", "H1-8"},
        {"ALPPL2", "ALPG"},     {"ERVWE1", "ERVW-1"},  {"MARCH1", "MARCHF1"},
        {"1-Mar", "MARCHF1"},   {"SEPT1", "SEPTIN1"},  {"1-Sep", "SEPTIN1"},
        {"1-Dec", "DELEC1"},    {"15-Sep", "SELENOF"}, {"SEPT14", "SEPTIN14"},
        {"C10orf10", "DEPP1"},  {"HIST1H4C", "H4C3"},  {"ATP5E", "ATP5F1E"},
        {"H3F3A", "H3-3A"},     {"FAM129A", "NIBAN1"}, {"HLA.G", "HLA-G"},
        {"C6orf221", "KHDC3L"}, {"KIAA0101", "PCLAF"}, {"GNB2L1", "RACK1"},
    };
    const int n = emc_gene_alias_count();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(known); i++)
        assert_string_equal(emc_gene_current(known[i][0]), known[i][1]);
    assert_null(emc_gene_current("TBXT"));
    assert_null(emc_gene_current(""));
    assert_null(emc_gene_current("t"));
    assert_true(n > 300);
    for (int i = 0; i < n; i++) {
        const char *previous, *current, *before, *ignored;
        emc_gene_alias(i, &previous, &current);
        assert_true(*previous && *current);
        /* Found by search, so sorted and unique; and no rename needs a second one. */
        assert_string_equal(emc_gene_current(previous), current);
        assert_null(emc_gene_current(current));
        if (i > 0) {
            emc_gene_alias(i - 1, &before, &ignored);
            assert_true(strcmp(before, previous) < 0);
        }
    }
}

static void renaming(void **state)
{
    /* Both SEPTIN1 names and a date: the first in byte order gets it. T stays where TBXT is. */
    static const char *const names[] = {"SEPT1", "T", "1-Sep", "CGB", "ACTB", "CGB3"};
    static const char *const with_t[] = {"T", "ACTB"};
    const emc_gene_options keep = {.keep_names = true};
    emc_genes *genes;

    (void)state;
    EMT_OK(emc_genes_open(&genes, names, 6, NULL));
    assert_int_equal(emc_genes_count(genes), 6);
    assert_string_equal(emc_genes_name(genes, 0), "SEPT1");
    assert_string_equal(emc_genes_name(genes, 1), "TBXT");
    assert_string_equal(emc_genes_name(genes, 2), "SEPTIN1");
    assert_string_equal(emc_genes_name(genes, 3), "CGB"); /* CGB3 is a gene of the file */
    assert_string_equal(emc_genes_names(genes)[5], "CGB3");
    assert_int_equal(emc_genes_n_renamed(genes), 2);
    assert_int_equal(emc_genes_find(genes, "TBXT"), 1);
    assert_int_equal(emc_genes_find(genes, "T"), 1);
    assert_int_equal(emc_genes_find(genes, "1-Sep"), 2);
    assert_int_equal(emc_genes_find(genes, "SEPT1"), 0);
    assert_int_equal(emc_genes_find(genes, "absent"), -1);
    /* ACTB CGB CGB3 SEPT1 SEPTIN1 TBXT */
    assert_int_equal(emc_genes_order(genes, 4), 0);
    assert_int_equal(emc_genes_order(genes, 3), 1);
    assert_int_equal(emc_genes_order(genes, 5), 2);
    assert_int_equal(emc_genes_order(genes, 1), 5);
    emc_genes_close(genes);
    EMT_OK(emc_genes_open(&genes, with_t, 2, &keep));
    assert_string_equal(emc_genes_name(genes, 0), "T");
    assert_int_equal(emc_genes_n_renamed(genes), 0);
    emc_genes_close(genes);
    EMT_FAILS(EMC_ERR_ARG, "0 genes", emc_genes_open(&genes, names, 0, NULL));
    assert_null(genes);
}

static void groups(void **state)
{
    static const struct {
        const char *symbol;
        unsigned groups;
    } cases[] = {
        {"MT-CO1", EMC_GENES_MITOCHONDRIAL},
        {"MT.ND1", EMC_GENES_MITOCHONDRIAL},
        {"MTOR", 0},
        {"MT1X", 0},
        {"MTRNR2L2", 0},
        {"RPL3", EMC_GENES_RIBOSOMAL},
        {"RPL13A", EMC_GENES_RIBOSOMAL},
        {"RPL36AL", EMC_GENES_RIBOSOMAL},
        {"RPL7L1", EMC_GENES_RIBOSOMAL},
        {"RPLP0", EMC_GENES_RIBOSOMAL},
        {"RPS4X", EMC_GENES_RIBOSOMAL},
        {"RPS4Y1", EMC_GENES_RIBOSOMAL},
        {"RPS27L", EMC_GENES_RIBOSOMAL},
        {"RPSA", EMC_GENES_RIBOSOMAL},
        {"RPS6KA1", 0},
        {"RPS6KB2", 0},
        {"RPS19BP1", 0},
        {"RPS10-NUDT3", 0},
        {"MRPL3", 0},
        {"MRPS12", 0},
        {"RPL", 0},
        {"RPTOR", 0},
        {"RPL10P6", EMC_GENES_PSEUDOGENE},
        {"RPS2P5", EMC_GENES_PSEUDOGENE},
        {"RPL3P", 0},
        {"MALAT1", EMC_GENES_NUCLEAR_RNA},
        {"NEAT1", EMC_GENES_NUCLEAR_RNA},
        {"AC012345.1", EMC_GENES_CLONE},
        {"RP11-34P13.7", EMC_GENES_CLONE},
        {"CTD-2023N9.1", EMC_GENES_CLONE},
        {"Z97634.1", EMC_GENES_CLONE},
        {"HLA-DRB1", 0},
        {"RPS10.1", 0},
        {"H1-8", 0},
        {"", 0},
        {"NKX2-5", 0},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        if (emc_gene_groups(cases[i].symbol) != cases[i].groups)
            fail_msg("%s is in %u", cases[i].symbol, emc_gene_groups(cases[i].symbol));
    for (unsigned group = 1; group <= EMC_GENES_CLONE; group *= 2) {
        unsigned parsed = 0;
        EMT_OK(emc_gene_group_parse(&parsed, emc_gene_group_name(group)));
        assert_int_equal(parsed, group);
    }
    unsigned parsed;
    assert_null(emc_gene_group_name(3));
    EMT_FAILS(EMC_ERR_CONFIG, "\"mito\"; there are mitochondrial",
              emc_gene_group_parse(&parsed, "mito"));
}

static void leaving_genes_out(void **state)
{
    static const char *const names[] = {"MT-CO1", "RPL3",  "ACTB", "ACTBP2", "POU5F1", "POU5F1P3",
                                        "T",      "BMP4",  "SSB",  "SSBP1",  "MALAT1", "TP53",
                                        "FABP5",  "CASP3", "ADA",  "ADAP1"};
    static const char *const listed[] = {"TBXT", "ACTB"}, *const old[] = {"T"};
    emc_gene_options options = {.exclude_groups = EMC_GENES_PSEUDOGENE | EMC_GENES_RIBOSOMAL};
    emc_genes *genes;

    (void)state;
    EMT_OK(emc_genes_open(&genes, names, EMC_COUNT(names), NULL));
    assert_int_equal(emc_genes_n_kept(genes), EMC_COUNT(names));
    emc_genes_close(genes);
    EMT_OK(emc_genes_open(&genes, names, EMC_COUNT(names), &options));
    for (int i = 0; i < (int)EMC_COUNT(names); i++)
        assert_int_equal(emc_genes_is_kept(genes, i), i != 1 && i != 3 && i != 5);
    emc_genes_close(genes);
    options = (emc_gene_options){.exclude = listed, .n_exclude = 2};
    EMT_OK(emc_genes_open(&genes, names, EMC_COUNT(names), &options));
    for (int i = 0; i < (int)EMC_COUNT(names); i++)
        assert_int_equal(emc_genes_is_kept(genes, i), i != 2 && i != 6);
    emc_genes_close(genes);
    options = (emc_gene_options){.only = listed, .n_only = 2, .exclude = old, .n_exclude = 1};
    EMT_OK(emc_genes_open(&genes, names, EMC_COUNT(names), &options));
    assert_int_equal(emc_genes_n_kept(genes), 1);
    assert_true(emc_genes_is_kept(genes, 2));
    emc_genes_close(genes);
}

static void telling_names(void **state)
{
    (void)state;
    assert_true(emc_gene_is_ensembl("ENSG00000141510"));
    assert_true(emc_gene_is_ensembl("ENSG00000141510.18"));
    assert_true(emc_gene_is_ensembl("ENSMUSG00000059552"));
    assert_false(emc_gene_is_ensembl("ENST00000269305"));
    assert_false(emc_gene_is_ensembl("ENSA"));
    assert_false(emc_gene_is_ensembl("ENSG"));
    assert_false(emc_gene_is_ensembl("ENSG00000141510."));
    assert_false(emc_gene_is_ensembl("ENSG00000141510x"));
    assert_true(emc_gene_is_known("ACTB"));
    assert_true(emc_gene_is_known("ZP3"));
    assert_true(emc_gene_is_known("XIST"));
    assert_false(emc_gene_is_known("actb"));
    assert_false(emc_gene_is_known("AAACCCAAGTACTGTC-1"));
}

static const char *const median_genes[] = {"ACTB", "T", "SOX2", "NANOG"};

static emc_status read_medians(double **out, int *n_found, const char *text)
{
    emc_genes *genes;
    emc_status status;

    EMT_OK(emc_genes_open(&genes, median_genes, 4, NULL));
    status = emc_medians_read(out, n_found, emt_write("medians.tsv", text, strlen(text)), genes);
    emc_genes_close(genes);
    return status;
}

static void medians(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"ACTB\t1\nSOX2\t0\n",
         "line 2 (\"SOX2\"): a median must be a finite number above zero, found 0"},
        {"ACTB\t1\nSOX2\t-1\n", "line 2 (\"SOX2\"): a median must"},
        {"ACTB\t1\nSOX2\tNaN\n", "line 2 (\"SOX2\"): a median must"},
        {"ACTB\t1\nSOX2\t1e999\n", "line 2 (\"SOX2\"): a median must"},
        {"ACTB\t1\nSOX2\tx\n", "line 2 (\"SOX2\"): \"x\" is no number"},
        {"ACTB\t1\nSOX2\n", "line 2: 1 fields, wanted gene<TAB>median"},
        {"ACTB\t1\nSOX2\t1\t2\n", "line 2: 3 fields"},
        {"T\t1\nTBXT\t2\n", "line 2: a second median for \"TBXT\""},
        {"FOO\t1\n", "a median for none of the 4 genes"},
        {"", "a median for none of the 4 genes"},
    };
    double *values;
    int n_found;

    (void)state;
    EMT_OK(read_medians(&values, &n_found, "gene\tmedian\nSOX2\t2.5\nABSENT\t3\nTBXT\t1e-3\n"));
    assert_int_equal(n_found, 2);
    assert_true(isnan(values[0]) && values[1] == 1e-3 && values[2] == 2.5 && isnan(values[3]));
    free(values);
    EMT_OK(read_medians(&values, NULL, "T\t4"));
    assert_true(values[1] == 4);
    free(values);
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        EMT_FAILS(EMC_ERR_FORMAT, bad[i].message, read_medians(&values, &n_found, bad[i].text));
        assert_null(values);
        assert_non_null(strstr(emc_message(), "medians.tsv"));
    }
    emc_genes *genes;
    EMT_OK(emc_genes_open(&genes, median_genes, 4, NULL));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "absent.tsv",
              emc_medians_read(&values, NULL, emt_temp("absent.tsv"), genes));
    emc_genes_close(genes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table),     cmocka_unit_test(renaming),
        cmocka_unit_test(groups),        cmocka_unit_test(leaving_genes_out),
        cmocka_unit_test(telling_names), cmocka_unit_test(medians),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
