#pragma once
/* The options on the input, which annotate, prompt and inspect have in common. */

#include "annotate/run.h"
#include "cli/options.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the options on the input are parsed into, before cli_input makes sense of it. */
typedef struct {
    const char *path, *transpose, *duplicate_genes;
    emc_input_options options; /* what points into this struct is set by cli_input */
    cli_list obs_filters;
    int limit, sample;
    int64_t seed;
} cli_input_arguments;

/* Rows of an option table about which cells and genes are read. */
/* clang-format off */
#define CLI_INPUT_OPTIONS(input)                                                                   \
    {CLI_HEADING, 0, "Input", NULL, NULL, NULL},                                                   \
    {CLI_STRING, 'i', "input", "FILE", &(input).path,                                              \
     ".h5ad, .zarr, 10x .h5, a 10x folder or its .mtx(.gz), .loom, or a\n"                         \
     "table .csv .tsv .txt (.gz); what is inside decides, not the name"},                          \
    {CLI_STRING, 0, "layer", "NAME", &(input).options.layer,                                       \
     "auto (default: raw counts, else log-normalised values, by looking\n"                         \
     "at them), X, raw, or a layer's name"},                                                       \
    {CLI_STRING, 0, "genome", "NAME", &(input).options.genome,                                     \
     "10x files with several genomes: which one"},                                                 \
    {CLI_STRING, 0, "gene-symbols", "COLUMN", &(input).options.gene_symbols,                       \
     "column of var with the gene symbols (default: the index, or\n"                               \
     "feature_name and the like where the index holds Ensembl ids)"},                              \
    {CLI_STRING, 0, "gene-table", "FILE", &(input).options.gene_table,                             \
     "symbols for the file's gene ids: a TSV or CSV of id and symbol"},                            \
    {CLI_STRING, 0, "duplicate-genes", "auto|refuse|sum", &(input).duplicate_genes,                \
     "genes of the same name (auto: added up when the names come from a\n"                         \
     "column, refused in the index)"},                                                             \
    {CLI_STRING, 0, "transpose", "auto|yes|no", &(input).transpose,                                \
     "tables: yes when genes are in rows (default: auto)"},                                        \
    {CLI_FLAG, 0, "keep-gene-names", NULL, &(input).options.keep_gene_names,                       \
     "do not rename previous symbols to current ones (T to TBXT)"},                                \
    {CLI_STRING, 0, "medians", "FILE", &(input).options.medians_path,                              \
     "divide each gene by its median before ranking (TSV: gene, median)"},                         \
    {CLI_COUNT, 'n', "n-genes", "N", &(input).options.n_genes,                                     \
     "genes in a cell's sentence (default: the profile's)"},                                       \
    {CLI_COUNT, 0, "min-genes", "N", &(input).options.min_genes,                                   \
     "fewer expressed genes give status too_few_genes"},                                           \
    {CLI_SHARE, 0, "min-gene-match", "SHARE", &(input).options.min_gene_match,                    \
     "stop when fewer of the names are human gene symbols (0.5)"},                                 \
    {CLI_LIST, 0, "obs-filter", "TEST", &(input).obs_filters,                                      \
     "only cells with 'COLUMN==VALUE' or 'COLUMN!=VALUE'; given again,\n"                          \
     "all must hold"},                                                                             \
    {CLI_STRING, 0, "cells", "FILE", &(input).options.cells_path,                                  \
     "only these cells: ids, one a line or in a table's first column"},                            \
    {CLI_COUNT, 0, "sample", "N", &(input).sample, "only N cells, drawn at random"},               \
    {CLI_WHOLE, 0, "seed", "S", &(input).seed, "of the drawing (0)"},                              \
    {CLI_COUNT, 0, "limit", "N", &(input).limit, "only the first N cells of those"},               \
    {CLI_FLAG, 0, "allow-external", NULL, &(input).options.allow_external,                         \
     "follow links to other HDF5 files"},                                                          \
    {CLI_STRING, 0, "scratch-dir", "DIR", &(input).options.scratch_dir,                            \
     "for a matrix stored by genes that must be turned on disk (default:\n"                        \
     "$TMPDIR, else /tmp)"}
/* clang-format on */

/* Checks the arguments and finishes input->options; false after printing what is wrong. */
bool cli_input(const char *command, cli_input_arguments *input);

#ifdef __cplusplus
}
#endif
