#pragma once
/* What is in this file, and what would be made of it? The work behind `emcell inspect`. */

#include "annotate/run.h"
#include "base/status.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise, and min_gene_match as in emc_annotate_defaults. Borrowed for the call. */
typedef struct {
    const char *input_path;
    emc_input_options input; /* what chooses cells is not looked at */
    const char *profile;     /* built-in name or path; NULL: "embryo" */
    bool json;
} emc_inspect_options;

/*
 * Appends a report to *out: for people, or one JSON object and a line end. It tells format and
 * shape; every matrix with storage, dtype, filters, the kind of its values and why; the matrix that
 * would be ranked and why; the genes' identifiers and how many are human symbols; the columns of
 * obs; what memory reading takes; and what will be a problem. Genes are read even where annotate
 * would stop at their names: then that is one of the problems.
 *
 * The JSON's keys: path, profile, format, n_cells, n_genes, matrices (name title storage dtype
 * filters n_values n_cells n_genes kind reason whole_share negative_share not_finite_share min max
 * log_base target_sum genes_median n_genes_seen n_rows_seen, or name and error), auto (layer
 * reason, or error), genes (source n identifiers n_ensembl n_versioned n_duplicates n_renamed
 * n_from_table n_kept match_rate min_gene_match n_known unmatched), cells (first_id columns: name
 * type n_values n_values_is_least n_missing examples, or name and error), memory (names_bytes
 * matrix_bytes block_bytes scratch_bytes), problems.
 *
 * Errors as emc_cells_open, when nothing of the file can be read.
 */
emc_status emc_inspect(emc_text *out, const emc_inspect_options *options);

#ifdef __cplusplus
}
#endif
