#pragma once
/*
 * From finished rows to files where people work: a table, an .h5ad with new columns, a matrix of
 * probabilities. Every output is written from the same rows, as often as one likes, and appears
 * under its name only when it is whole.
 */

#include <signal.h>
#include <stdint.h>

#include "annotate/labels.h"
#include "annotate/result_row.h"
#include "base/status.h"
#include "cells/h5ad_out.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise, then emc_results_defaults. Strings are borrowed for the calls. */
typedef struct {
    const char *output_path;   /* .csv .tsv .jsonl (each also .gz) or .h5ad; "-": standard output */
    const char *output_format; /* "csv", "tsv", "jsonl", "h5ad"; NULL: by the ending */
    const char *probabilities_path; /* a table, cell_id and a column a label; NULL: none */
    int top_k;                      /* labels in the columns after the first; 1 to 3 */

    emc_h5ad_kind h5ad;
    const char *key_added;   /* prefix of the columns in h5ad, without "_"; NULL: "emcell" */
    bool obsm_probabilities; /* h5ad: obsm/<key_added>_probabilities, a data frame by label */
    bool overwrite_columns;
    const char *groupby;   /* a column of the input's obs: adds the majority label of each group */
    double min_prop;       /* a share below it is "Heterogeneous"; < 0: 0, as CellTypist's */
    bool celltypist_names; /* h5ad: also predicted_labels, conf_score and, with groupby,
                              over_clustering and majority_voting */
    bool cellxgene;      /* h5ad: also cell_type_ontology_term_id, "unknown" where there is none */
    bool allow_external; /* the input's columns may lie behind external links */
    const volatile sig_atomic_t *cancel; /* may be NULL */
    /* One line for people, without a line end: what was decided, what to beware of. May be NULL. */
    void (*on_log)(void *context, const char *line);
    void *context;
} emc_results_options;

void emc_results_defaults(emc_results_options *options);

/* What the run says of itself; goes to uns/<key_added>. Values are text; borrowed. */
typedef emc_h5ad_fact emc_fact;

/*
 * The majority label of a group: each cell with status ok votes for its label, each with status
 * unknown for "unknown", others do not vote; the most votes win, ties go to the label that stands
 * first ("unknown" last). Its share of the votes is cluster_score, and a share below min_prop makes
 * the label "Heterogeneous". Cells of a group without votes, or without a group, have neither.
 */

/* About the run that the rows are of. All borrowed. */
typedef struct {
    const char *input_path;
    int64_t n_cells; /* rows of the input file */
    const emc_labels *labels;
    bool generated;         /* rows have raw_text and no probabilities */
    bool has_probabilities; /* rows have probs */
    bool has_invalid_mass;  /* rows have it: a column more */
    const emc_fact *facts;
    int n_facts;
} emc_results_run;

/*
 * Before any work: formats, columns that are there already, files that would be overwritten while
 * they are read, a groupby column that is not there, an input that cannot take columns.
 * EMC_ERR_USAGE, EMC_ERR_CREATE, or the reader's errors; one line that says what to do.
 */
emc_status emc_results_check(const emc_results_options *options, const emc_results_run *run);

/* Writes all that the options name. Rows come from `source`, which is rewound for each pass; rows
 * of the input that it lacks are missing values in an .h5ad and no rows in a table. Memory does not
 * grow with the cells. Errors as emc_results_check, and EMC_ERR_IO, EMC_ERR_CANCELLED; after one
 * nothing new stands under the names. */
emc_status emc_results_write(const emc_results_options *options, const emc_results_run *run,
                             const emc_result_source *source);

#ifdef __cplusplus
}
#endif
