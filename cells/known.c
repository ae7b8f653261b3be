/* Which names does a table of human genes hold in any case? */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cells/genes.h"

/* Housekeeping genes and markers of common and embryonic cell types, sorted by their bytes. */
static const char *const known[] = {
    "ACTB",     "ACTG1",   "AFP",     "ALB",     "ALDOA",   "ANXA1",     "ANXA2",  "APOA1",
    "APOE",     "ATF3",    "ATP5F1B", "B2M",     "CALM1",   "CALM2",     "CALR",   "CCND1",
    "CD14",     "CD19",    "CD24",    "CD34",    "CD3D",    "CD3E",      "CD4",    "CD44",
    "CD63",     "CD74",    "CD79A",   "CD81",    "CD8A",    "CD9",       "CDH1",   "CDH2",
    "CDH5",     "CDKN1A",  "CDX2",    "CFL1",    "CGA",     "CGB3",      "CLDN6",  "COL1A1",
    "COL1A2",   "COL3A1",  "COL4A1",  "COX4I1",  "COX6C",   "DCN",       "DDX5",   "DNMT3B",
    "DNMT3L",   "DPPA3",   "DPPA4",   "DPPA5",   "EEF1A1",  "EEF2",      "EGR1",   "ENO1",
    "EOMES",    "EPCAM",   "ERVW-1",  "FCGR3A",  "FN1",     "FOS",       "FOXA2",  "FTH1",
    "FTL",      "GAPDH",   "GATA2",   "GATA3",   "GATA4",   "GATA6",     "GCG",    "GDF9",
    "GFAP",     "GNLY",    "GUSB",    "H2AZ1",   "H3-3A",   "H3-3B",     "HAND1",  "HBA1",
    "HBA2",     "HBB",     "HBE1",    "HBG1",    "HBG2",    "HBZ",       "HLA-A",  "HLA-B",
    "HLA-C",    "HLA-DRA", "HLA-E",   "HLA-G",   "HNRNPA1", "HNRNPA2B1", "HPRT1",  "HSP90AA1",
    "HSP90AB1", "HSPA1A",  "HSPA5",   "HSPA8",   "HSPD1",   "IER2",      "INS",    "ISL1",
    "JUN",      "KDR",     "KLF4",    "KRT18",   "KRT19",   "KRT7",      "KRT8",   "L1TD1",
    "LDHA",     "LDHB",    "LGALS1",  "LGALS3",  "LIN28A",  "LUM",       "LYZ",    "MALAT1",
    "MIXL1",    "MKI67",   "MS4A1",   "MT-ATP6", "MT-CO1",  "MT-CO2",    "MT-CO3", "MT-CYB",
    "MT-ND1",   "MT-ND4",  "MYC",     "MYL6",    "NANOG",   "NCL",       "NDUFA4", "NEAT1",
    "NES",      "NKG7",    "NPM1",    "OAZ1",    "OLIG2",   "PADI6",     "PAX6",   "PCNA",
    "PDGFRA",   "PECAM1",  "PF4",     "PFN1",    "PGK1",    "PKM",       "POU5F1", "PPBP",
    "PPIA",     "PPIB",    "PPY",     "PTGES3",  "PTMA",    "PTPRC",     "RPL10",  "RPL11",
    "RPL13",    "RPL13A",  "RPL19",   "RPL3",    "RPL32",   "RPL5",      "RPL7",   "RPLP0",
    "RPLP1",    "RPS12",   "RPS18",   "RPS2",    "RPS27A",  "RPS3",      "RPS4X",  "RPS6",
    "RPS8",     "S100A10", "S100A4",  "S100A6",  "SDHA",    "SERF2",     "SFRP2",  "SON",
    "SOX17",    "SOX2",    "SPARC",   "SRSF3",   "SST",     "STMN1",     "SUMO2",  "T",
    "TBP",      "TBXT",    "TDGF1",   "TFAP2A",  "TFAP2C",  "TMSB10",    "TMSB4X", "TOP2A",
    "TPI1",     "TPT1",    "TTR",     "TUBA1B",  "TUBB",    "UBA52",     "UBB",    "UBC",
    "UQCRB",    "UTF1",    "VIM",     "XIST",    "YBX1",    "ZP3",
};

static int compare_name(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

bool emc_gene_is_known(const char *name)
{
    return bsearch(name, known, EMC_COUNT(known), sizeof *known, compare_name) != NULL;
}
