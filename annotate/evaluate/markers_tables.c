/* Genes that speak for a cell type. Facts with their source; edited by hand. */

#include "annotate/evaluate/markers_tables.h"

static const char *const embryo_0[] = {"GDF9",   "BMP15", "ZP1",   "ZP2",   "ZP3",   "ZP4",
                                       "FIGLA",  "NLRP5", "NLRP7", "PADI6", "TUBB8", "OOEP",
                                       "KHDC3L", "ZAR1",  "H1-8",  "DAZL"};
static const char *const embryo_1[] = {"GDF9",  "BMP15", "ZP2",   "ZP3",    "ZAR1", "NLRP5",
                                       "PADI6", "TUBB8", "OOEP",  "KHDC3L", "H1-8", "BTG4",
                                       "WEE2",  "MOS",   "AURKC", "NPM2"};
static const char *const embryo_2[] = {"PADI6", "NLRP5", "ZAR1", "BTG4",   "WEE2",
                                       "GDF9",  "TUBB8", "OOEP", "KHDC3L", "DPPA3",
                                       "H1-8",  "DUX4",  "DUXA", "KHDC1L", "RFPL4A"};
static const char *const embryo_3[] = {
    "ZSCAN4", "LEUTX",    "TPRX1",   "KDM4E",  "TRIM43", "MBD3L2", "MBD3L3", "H3Y1",
    "CCNA1",  "PRAMEF12", "SLC34A2", "KLF17",  "TPRX2",  "DUXA",   "DUXB",   "ARGFX",
    "DPRX",   "PRAMEF1",  "PRAMEF2", "TRIM49", "RFPL2",  "ZNF280A"};
static const char *const embryo_4[] = {"ARGFX", "DPRX",   "KLF17", "TFAP2C", "GATA3",
                                       "KRT8",  "KRT18",  "SOX15", "GDF15",  "DPPA3",
                                       "DPPA5", "POU5F1", "TDGF1", "DNMT3L", "HSPB1"};
static const char *const embryo_5[] = {"POU5F1", "TFAP2C", "GATA3",  "GATA6", "KRT8",
                                       "KRT18",  "DPPA5",  "KLF17",  "IFI16", "PDGFRA",
                                       "SOX2",   "CDX2",   "DNMT3L", "TDGF1"};
static const char *const embryo_6[] = {"LAMA4", "SPIC",  "PRSS3", "POU5F1",  "NANOG",
                                       "SOX2",  "TDGF1", "GDF3",  "PDGFRA",  "ARGFX",
                                       "KLF17", "KLF4",  "DPPA5", "TFCP2L1", "IFITM1"};
static const char *const embryo_7[] = {
    "SOX2",  "NANOG",   "POU5F1", "KLF17", "NODAL",  "GDF3",  "LEFTY1", "TDGF1", "PRDM14",
    "DPPA5", "TFCP2L1", "KLF4",   "UTF1",  "ESRG",   "MT1X",  "MT1G",   "MT1H",  "KHDC3L",
    "DPPA2", "DPPA4",   "FGF4",   "VENTX", "IFITM1", "SUSD2", "ARGFX"};
static const char *const embryo_8[] = {"POU5F1", "NANOG", "SOX2", "GDF3",   "SFRP2", "OTX2", "ZIC2",
                                       "ZEB2",   "VIM",   "ZIC3", "DNMT3B", "FGF2",  "CD24", "THY1",
                                       "SALL2",  "SOX11", "ETV5", "L1TD1",  "TDGF1"};
static const char *const embryo_9[] = {"CDX2",  "GATA2",   "GATA3",  "KRT8",  "KRT18",   "HAND1",
                                       "DLX3",  "CD24",    "FABP5",  "CCR7",  "CYP19A1", "MUC15",
                                       "KRT19", "TFAP2A",  "TFAP2C", "TEAD3", "DAB2",    "CLDN4",
                                       "PPARG", "TACSTD2", "ENPEP",  "EMP2",  "NR2F2",   "OVOL1"};
static const char *const embryo_10[] = {"KRT19", "PEG10", "LGALS3", "TPM1",    "FABP5", "GCSH",
                                        "GABRP", "PAGE4", "OVOL1",  "SIGLEC6", "NR2F2", "KRT7",
                                        "CCKBR", "TEAD4", "ITGA6",  "TP63",    "CDH1",  "ELF5",
                                        "VGLL1", "BCAM",  "TFAP2A", "TFAP2C",  "EGFR",  "XAGE3"};
static const char *const embryo_11[] = {
    "CGB2",  "CGB3",  "CGB5",     "CGB7",   "CGB8",  "ERVW-1", "SDC1",    "CPM",   "GADD45G",
    "DEPP1", "TREM1", "HOPX",     "HEXIM1", "HSPB8", "ADAM12", "SORBS1",  "RAI14", "ATF3",
    "ANXA1", "CGA",   "ERVFRD-1", "ERVV-1", "GCM1",  "HSD3B1", "CYP19A1", "INSL4"};
static const char *const embryo_12[] = {"HLA-G",  "MMP2",  "EPAS1", "ITGA1", "CSH1",  "ERBB2",
                                        "ASCL2",  "NOTUM", "SNAI1", "FN1",   "FSTL1", "FSTL3",
                                        "VIM",    "ITGA5", "LAIR2", "PLAC8", "HTRA4", "DIO2",
                                        "TCF7L2", "MCAM",  "PRG2",  "HPGD"};
static const char *const embryo_13[] = {
    "GATA4", "GATA6",  "PDGFRA", "SOX17", "FOXA2",  "HNF1B",  "COL4A1", "NID2",   "RSPO3",
    "FN1",   "IGF1",   "FLRT3",  "PITX2", "FGG",    "SPINK1", "CDH2",   "RNASE1", "APOA1",
    "APOC3", "LGALS2", "SOAT2",  "KLB",   "MARCKS", "S100A4", "APOE",   "BMP2",   "LINC00261"};
static const char *const embryo_14[] = {"CER1", "DKK1",   "LHX1",  "LEFTY1", "LEFTY2",
                                        "HHEX", "OTX2",   "NODAL", "EOMES",  "GSC",
                                        "FZD5", "SHISA2", "SFRP1", "FOXA2",  "SOX17"};
static const char *const embryo_15[] = {"TTR",   "APOB",  "GSTA1", "APOA1", "LINC00261", "SOX17",
                                        "AFP",   "APOA2", "APOA4", "APOC3", "ALB",       "SERPINA1",
                                        "HNF4A", "HNF1B", "FGA",   "FGB",   "FGG",       "RBP4",
                                        "CUBN",  "GATA4", "TF"};
static const char *const embryo_16[] = {"ISL1",   "GABRP",  "VTCN1",   "TFAP2A", "TFAP2C", "GATA3",
                                        "IGFBP3", "IGFBP5", "PRKD1",   "KCNMA1", "WNT6",   "BAMBI",
                                        "HEY1",   "LRRN1",  "RARRES2", "ITGB6",  "MUC16",  "KRT24",
                                        "TNMD",   "BMP4",   "MSX2",    "HAND1",  "ID1"};
static const char *const embryo_17[] = {"TBXT",  "MIXL1", "MESP1", "EOMES", "WNT8A", "SNAI2",
                                        "SP5",   "FST",   "FGF8",  "FGF4",  "CDX1",  "GSC",
                                        "NODAL", "WNT3",  "SNAI1", "TBX6",  "LHX1",  "POU5F1"};
static const char *const embryo_18[] = {"MESP1",  "MESP2",  "TBX6",  "EOMES", "MIXL1",
                                        "LHX1",   "LEFTY2", "SNAI1", "SNAI2", "APLNR",
                                        "PDGFRA", "DLL3",   "HES7",  "CDX2",  "FOXC1"};
static const char *const embryo_19[] = {"OTX2",  "MESP2",  "LEFTY2", "MESP1", "LHX1",
                                        "GATA6", "PDGFRA", "FOXC1",  "FOXC2", "TWIST1",
                                        "SNAI2", "APLNR",  "HAS2"};
static const char *const embryo_20[] = {"HAND1",  "HAND2", "FOXF1", "PDGFRA", "TWIST1", "MEIS2",
                                        "BMP4",   "TBX20", "OSR1",  "HAS2",   "APLNR",  "ITGA5",
                                        "TMEM88", "PMP22", "LIX1",  "VIM"};
static const char *const embryo_21[] = {"TBXT",  "NOTO", "CHRD", "NOG",   "SHH",   "FOXA2",
                                        "FOXJ1", "GSC",  "CER1", "LMX1A", "FOXA1", "SOX9"};
static const char *const embryo_22[] = {"FOXF1",  "VIM",  "POSTN",  "BST2",   "GATA6",  "HAND2",
                                        "TBX4",   "HGF",  "COL1A1", "COL1A2", "COL3A1", "COL6A1",
                                        "COL6A2", "LUM",  "DCN",    "SPARC",  "HAND1",  "GATA4",
                                        "TBX20",  "BMP4", "COL6A3"};
static const char *const embryo_23[] = {"SOX17", "FOXA2", "CXCR4", "CDH2",  "GSC",   "EOMES",
                                        "CER1",  "HHEX",  "LHX1",  "KIT",   "PRDM1", "FOXA1",
                                        "FRZB",  "GATA6", "EPCAM", "SHISA2"};
static const char *const embryo_24[] = {"PECAM1", "KDR",  "CDH5", "TEK",   "TAL1",  "LMO2",
                                        "ETV2",   "FLI1", "ERG",  "RUNX1", "GATA2", "GFI1",
                                        "CD34",   "SPI1", "ESAM", "EGFL7", "ICAM2", "MEF2C"};
static const char *const embryo_25[] = {"HBZ",  "HBE1",   "HBA1",  "HBA2",  "HBG1",  "HBG2",
                                        "GYPA", "GYPB",   "GATA1", "KLF1",  "ALAS2", "NFE2",
                                        "TAL1", "SLC4A1", "AHSP",  "HEMGN", "EPOR",  "TFRC"};
static const char *const embryo_26[] = {"NANOS3", "SOX17",  "DND1",  "LAMA4",  "DPPA5", "TFAP2C",
                                        "PRDM1",  "POU5F1", "NANOG", "TFAP2A", "KLF4",  "KIT",
                                        "UTF1",   "PDPN",   "ALPL",  "DPPA3",  "CXCR4", "TFCP2L1"};
static const char *const embryo_27[] = {"DLX5",  "DLX6",  "TFAP2A", "TFAP2B", "TFAP2C",
                                        "GATA3", "KRT18", "SOX2",   "MSX1",   "ID3"};
static const char *const embryo_28[] = {"ITGA2B", "GP9", "PF4", "PPBP", "ITGB3", "TUBB1", "GP1BB"};
static const char *const embryo_29[] = {"PTPRC", "LYVE1", "SPI1", "CSF1R", "CD33", "LYZ", "MPO"};
static const emc_marker_entry embryo_entries[] = {
    {"Oocyte", embryo_0, EMC_COUNT(embryo_0)},
    {"Zygote", embryo_1, EMC_COUNT(embryo_1)},
    {"2-4 cell", embryo_2, EMC_COUNT(embryo_2)},
    {"8 cell", embryo_3, EMC_COUNT(embryo_3)},
    {"Morula", embryo_4, EMC_COUNT(embryo_4)},
    {"Prelineage", embryo_5, EMC_COUNT(embryo_5)},
    {"ICM", embryo_6, EMC_COUNT(embryo_6)},
    {"Early epiblast", embryo_7, EMC_COUNT(embryo_7)},
    {"Late epiblast", embryo_8, EMC_COUNT(embryo_8)},
    {"TE", embryo_9, EMC_COUNT(embryo_9)},
    {"CTB", embryo_10, EMC_COUNT(embryo_10)},
    {"STB", embryo_11, EMC_COUNT(embryo_11)},
    {"EVT", embryo_12, EMC_COUNT(embryo_12)},
    {"Hypoblast", embryo_13, EMC_COUNT(embryo_13)},
    {"AVE", embryo_14, EMC_COUNT(embryo_14)},
    {"YS endoderm", embryo_15, EMC_COUNT(embryo_15)},
    {"Amnion", embryo_16, EMC_COUNT(embryo_16)},
    {"Primitive streak", embryo_17, EMC_COUNT(embryo_17)},
    {"Nascent mesoderm", embryo_18, EMC_COUNT(embryo_18)},
    {"Emergent mesoderm", embryo_19, EMC_COUNT(embryo_19)},
    {"Advanced mesoderm", embryo_20, EMC_COUNT(embryo_20)},
    {"Axial mesoderm", embryo_21, EMC_COUNT(embryo_21)},
    {"ExE mesoderm", embryo_22, EMC_COUNT(embryo_22)},
    {"DE", embryo_23, EMC_COUNT(embryo_23)},
    {"HEP", embryo_24, EMC_COUNT(embryo_24)},
    {"Erythroblast", embryo_25, EMC_COUNT(embryo_25)},
    {"PGC", embryo_26, EMC_COUNT(embryo_26)},
    {"Ectoderm", embryo_27, EMC_COUNT(embryo_27)},
    {"Megakaryocyte", embryo_28, EMC_COUNT(embryo_28)},
    {"Myeloid progenitor", embryo_29, EMC_COUNT(embryo_29)},
};

static const char *const adult_0[] = {"CD3D",  "CD3E",  "CD3G", "CD2", "CD247", "TRAC",
                                      "TRBC1", "TRBC2", "IL7R", "LCK", "CD6",   "CD7"};
static const char *const adult_1[] = {"CD3D", "CD3E",   "CD4", "IL7R",
                                      "TRAC", "CD40LG", "LTB", "MAL"};
static const char *const adult_2[] = {"CD3D", "CD3E", "CD8A", "CD8B",
                                      "GZMK", "GZMA", "CCL5", "NKG7"};
static const char *const adult_3[] = {"FOXP3",    "IL2RA", "CTLA4", "IKZF2", "TIGIT",
                                      "TNFRSF18", "CD4",   "CD3D",  "RTKN2"};
static const char *const adult_4[] = {"IL7R", "CD4",    "CD3D", "S100A4",
                                      "LTB",  "GPR183", "AQP3", "IL32"};
static const char *const adult_5[] = {"CCR7", "SELL", "LEF1", "TCF7",
                                      "CD4",  "CD3D", "MAL",  "NOSIP"};
static const char *const adult_6[] = {"CD8A", "CD8B", "GZMA", "GZMB", "GZMH",
                                      "GZMK", "NKG7", "CCL5", "PRF1", "CST7"};
static const char *const adult_7[] = {"CD8A", "CD8B", "CCR7", "SELL",
                                      "LEF1", "TCF7", "CD3D", "LINC02446"};
static const char *const adult_8[] = {"NCAM1", "KLRD1",  "KLRF1", "NKG7", "GNLY",  "PRF1",
                                      "GZMB",  "FCGR3A", "KLRC1", "XCL1", "TYROBP"};
static const char *const adult_9[] = {"MS4A1", "CD19",  "CD79A",  "CD79B", "CD22",
                                      "BANK1", "TCL1A", "VPREB3", "CD37",  "HLA-DRA"};
static const char *const adult_10[] = {"CD14", "LYZ",  "S100A8", "S100A9",
                                       "VCAN", "FCN1", "CST3",   "S100A12"};
static const char *const adult_11[] = {"CD14", "LYZ",  "S100A8",  "S100A9", "VCAN",
                                       "FCN1", "CST3", "S100A12", "FCGR3A"};
static const char *const adult_12[] = {"CD68", "CD163", "MSR1",  "C1QA", "C1QB",
                                       "C1QC", "MRC1",  "MARCO", "APOE", "AIF1"};
static const char *const adult_13[] = {"FCER1A",   "CST3",   "CLEC10A", "CD1C",   "HLA-DQA1",
                                       "HLA-DPB1", "CLEC9A", "IRF8",    "LILRA4", "GZMB"};
static const char *const adult_14[] = {"CD34",  "SPINK2", "PRSS57", "AVP",
                                       "CRHBP", "SOX4",   "STMN1",  "CYTL1"};
static const char *const adult_15[] = {"TPSAB1", "TPSB2", "CPA3",  "KIT",
                                       "MS4A2",  "HDC",   "GATA2", "HPGDS"};
static const char *const adult_16[] = {"PECAM1", "VWF",  "CDH5",  "CLDN5", "KDR",
                                       "ESAM",   "EMCN", "PLVAP", "RAMP2", "ENG"};
static const char *const adult_17[] = {"COL1A1", "COL1A2", "COL3A1", "DCN",    "LUM",
                                       "FAP",    "PDGFRA", "THY1",   "COL6A1", "POSTN"};
static const char *const adult_18[] = {"GCG",   "TTR",    "ARX",   "IRX2",
                                       "LOXL4", "CRYBA2", "PCSK2", "GC"};
static const char *const adult_19[] = {"INS",    "IAPP",    "MAFA",  "PDX1", "DLK1",
                                       "NKX6-1", "ADCYAP1", "PCSK1", "HADH"};
static const char *const adult_20[] = {"SST", "HHEX", "LEPR", "RBP4", "PRG4", "LY6H"};
static const char *const adult_21[] = {"PPY", "SERTM1", "ETV1", "AQP3", "ARX", "ISL1"};
static const char *const adult_22[] = {"KRT19", "CFTR", "SOX9",  "KRT7",
                                       "SPP1",  "MMP7", "ANXA4", "SLC4A4"};
static const char *const adult_23[] = {"PRSS1", "CPA1",  "CTRB1", "CTRB2", "CELA3A",
                                       "REG1A", "PNLIP", "AMY2A", "CPB1"};
static const char *const adult_24[] = {"COL1A1", "COL1A2", "PDGFRB", "RGS5",
                                       "ACTA2",  "SPARC",  "COL3A1", "TIMP1"};
static const emc_marker_entry adult_entries[] = {
    {"T cell", adult_0, EMC_COUNT(adult_0)},
    {"CD4 T cell", adult_1, EMC_COUNT(adult_1)},
    {"CD8 T cell", adult_2, EMC_COUNT(adult_2)},
    {"Regulatory T cell", adult_3, EMC_COUNT(adult_3)},
    {"CD4+ memory T cell", adult_4, EMC_COUNT(adult_4)},
    {"CD4+ naive T cell", adult_5, EMC_COUNT(adult_5)},
    {"CD8+ cytotoxic T cell", adult_6, EMC_COUNT(adult_6)},
    {"CD8+ naive cytotoxic T cell", adult_7, EMC_COUNT(adult_7)},
    {"NK cell", adult_8, EMC_COUNT(adult_8)},
    {"B cell", adult_9, EMC_COUNT(adult_9)},
    {"CD14+ monocyte", adult_10, EMC_COUNT(adult_10)},
    {"Monocyte", adult_11, EMC_COUNT(adult_11)},
    {"Macrophage", adult_12, EMC_COUNT(adult_12)},
    {"Dendritic cell", adult_13, EMC_COUNT(adult_13)},
    {"CD34+ progenitor", adult_14, EMC_COUNT(adult_14)},
    {"Mast cell", adult_15, EMC_COUNT(adult_15)},
    {"Endothelial cell", adult_16, EMC_COUNT(adult_16)},
    {"Fibroblast", adult_17, EMC_COUNT(adult_17)},
    {"Alpha cell", adult_18, EMC_COUNT(adult_18)},
    {"Beta cell", adult_19, EMC_COUNT(adult_19)},
    {"Delta cell", adult_20, EMC_COUNT(adult_20)},
    {"Gamma cell", adult_21, EMC_COUNT(adult_21)},
    {"Ductal cell", adult_22, EMC_COUNT(adult_22)},
    {"Acinar cell", adult_23, EMC_COUNT(adult_23)},
    {"Stellate cell", adult_24, EMC_COUNT(adult_24)},
};

const emc_marker_table markers_tables[N_MARKER_TABLES] = {
    {"embryo",
     "Gene lists of published analyses of human embryos and embryo models (Blakeley 2015, Oldak "
     "2023 "
     "and others) with standard literature knowledge; for prompts, rules and checks, no signatures "
     "derived from data",
     embryo_entries, EMC_COUNT(embryo_entries)},
    {"adult",
     "Standard literature knowledge of blood, liver, pancreas and tumour cells; not derived "
     "from data",
     adult_entries, EMC_COUNT(adult_entries)},
};
