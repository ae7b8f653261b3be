#pragma once
/* What annotate and prompt have in common: the options on the input, the model's folder, Ctrl-C. */

#include <signal.h>

#include "annotate/run.h"
#include "cli/options.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of an option table about which cells and genes are read. */
#define CLI_INPUT_OPTIONS(path, input, transpose, limit)                                           \
    {CLI_HEADING, 0, "Input", NULL, NULL, NULL},                                                   \
        {CLI_STRING, 'i', "input", "FILE", &(path), ".h5ad, or a table .csv .tsv .txt (.gz)"},     \
        {CLI_STRING,     0,                                                                        \
         "layer",        "NAME",                                                                   \
         &(input).layer, "X (default), raw, or a layer's name: counts or log-normalised values"},  \
        {CLI_STRING,                                                                               \
         0,                                                                                        \
         "gene-symbols",                                                                           \
         "COLUMN",                                                                                 \
         &(input).gene_symbols,                                                                    \
         "column of var with the gene symbols (default: the index, or\n"                           \
         "feature_name and the like where the index holds Ensembl ids)"},                          \
        {CLI_STRING,   0,                                                                          \
         "transpose",  "auto|yes|no",                                                              \
         &(transpose), "tables: yes when genes are in rows (default: auto)"},                      \
        {CLI_FLAG,                                                                                 \
         0,                                                                                        \
         "keep-gene-names",                                                                        \
         NULL,                                                                                     \
         &(input).keep_gene_names,                                                                 \
         "do not rename previous symbols to current ones (T to TBXT)"},                            \
        {CLI_STRING,                                                                               \
         0,                                                                                        \
         "medians",                                                                                \
         "FILE",                                                                                   \
         &(input).medians_path,                                                                    \
         "divide each gene by its median before ranking (TSV: gene, median)"},                     \
        {CLI_INT,          'n',                                                                    \
         "n-genes",        "N",                                                                    \
         &(input).n_genes, "genes in a cell's sentence (default: the profile's)"},                 \
        {CLI_INT,                                                                                  \
         0,                                                                                        \
         "min-genes",                                                                              \
         "N",                                                                                      \
         &(input).min_genes,                                                                       \
         "fewer expressed genes give status too_few_genes"},                                       \
        {CLI_NUMBER,                                                                               \
         0,                                                                                        \
         "min-gene-match",                                                                         \
         "SHARE",                                                                                  \
         &(input).min_gene_match,                                                                  \
         "stop when fewer of the names are human gene symbols (0.5)"},                             \
    {                                                                                              \
        CLI_INT, 0, "limit", "N", &(limit), "only the first N cells"                               \
    }

/* "auto", "yes", "no" or NULL to emc_input_options.transpose; false after printing. */
bool cli_transpose(const char *command, const char *text, int *out);

/* Finds the folder of --model (a folder or a hub name). Owned by the caller, free(). */
emc_status cli_model_dir(char **out, const char *model);

/*
 * From now on SIGINT and SIGTERM set the flag that is returned; a second one ends the program at
 * once. cli_interrupted gives 128 + the signal, or 0.
 */
const volatile sig_atomic_t *cli_catch_signals(void);
int cli_interrupted(void);

#ifdef __cplusplus
}
#endif
