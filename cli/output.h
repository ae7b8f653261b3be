#pragma once
/* The options on the results, which annotate and merge have in common. */

#include "annotate/results.h"
#include "cli/options.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the options on the results are parsed into, before cli_output makes sense of it. Give it
 * emc_results_defaults first. */
typedef struct {
    emc_results_options options;
    const char *h5ad;
    bool in_place;
} cli_output_arguments;

/* Rows of an option table about what is written. */
/* clang-format off */
#define CLI_OUTPUT_OPTIONS(output)                                                                 \
    {CLI_HEADING, 0, "Output", NULL, NULL, NULL},                                                  \
    {CLI_STRING, 'o', "output", "FILE", &(output).options.output_path,                             \
     ".csv, .tsv or .jsonl, each also .gz, or .h5ad (default: -, CSV on\n"                         \
     "standard output)"},                                                                          \
    {CLI_STRING, 0, "output-format", "NAME", &(output).options.output_format,                      \
     "csv, tsv, jsonl or h5ad, whatever the ending says"},                                         \
    {CLI_STRING, 0, "probabilities", "FILE", &(output).options.probabilities_path,                 \
     "a table of the probability of every label for every cell"},                                  \
    {CLI_COUNT, 0, "top-k", "N", &(output).options.top_k,                                          \
     "tables: the N likeliest labels with their probabilities (3)"},                               \
    {CLI_STRING, 0, "groupby", "COLUMN", &(output).options.groupby,                                \
     "column of obs with clusters: adds each one's majority label"},                               \
    {CLI_SHARE, 0, "min-prop", "SHARE", &(output).options.min_prop,                                \
     "a majority below SHARE is Heterogeneous (0)"},                                               \
    {CLI_STRING, 0, "h5ad", "copy|obs|link", &(output).h5ad,                                       \
     "copy: all of the input and the new columns (default); obs: the new\n"                        \
     "columns alone; link: the new columns, and links to the input"},                              \
    {CLI_FLAG, 0, "in-place", NULL, &(output).in_place,                                            \
     "write the columns into the input itself (a kill or a full disk\n"                            \
     "while it writes can damage the file: keep a copy)"},                                         \
    {CLI_STRING, 0, "key-added", "NAME", &(output).options.key_added,                              \
     "h5ad: columns are NAME_label, NAME_score, ... (emcell)"},                                    \
    {CLI_FLAG, 0, "overwrite-columns", NULL, &(output).options.overwrite_columns,                  \
     "h5ad: replace columns of these names"},                                                      \
    {CLI_FLAG, 0, "obsm-probabilities", NULL, &(output).options.obsm_probabilities,                \
     "h5ad: the probability of every label in obsm"},                                              \
    {CLI_FLAG, 0, "celltypist-names", NULL, &(output).options.celltypist_names,                    \
     "h5ad: also predicted_labels, conf_score, majority_voting"},                                  \
    {CLI_FLAG, 0, "cellxgene", NULL, &(output).options.cellxgene,                                  \
     "h5ad: also cell_type_ontology_term_id"}
/* clang-format on */

/* Checks the arguments and finishes output->options; false after printing what is wrong. */
bool cli_output(const char *command, cli_output_arguments *output);

#ifdef __cplusplus
}
#endif
