#pragma once
/* Inside annotate/: what an inspection found, between finding it and printing it. */

#include "annotate/gene_match.h"
#include "annotate/inspect.h"
#include "annotate/profile.h"
#include "cells/catalog.h"

#define INSPECT_EXAMPLES 5
#define INSPECT_VALUES   1000 /* different values of a column that are counted */
#define INSPECT_PROBLEMS 16

/* A column of obs. Strings are owned. */
typedef struct {
    char *name;
    char *error;      /* it cannot be read; NULL otherwise */
    const char *type; /* static: "categorical", "boolean", "number", "text", "empty" */
    int n_values;     /* different ones, at most INSPECT_VALUES */
    int64_t n_missing;
    char *examples[INSPECT_EXAMPLES];
    int n_examples;
} inspect_column;

typedef struct {
    const char *source; /* borrowed from the reader: its description */
    int n, n_ensembl, n_versioned, n_duplicates, n_renamed, n_kept;
    int n_from_table;        /* -1 without a table */
    const char *identifiers; /* static: of the file's own index */
    double least;            /* --min-gene-match */
    emc_gene_match match;
} inspect_genes;

typedef struct {
    int64_t names_bytes;   /* of cells and genes */
    int64_t matrix_bytes;  /* of a matrix that is held whole or turned */
    int64_t block_bytes;   /* rows on their way, at most */
    int64_t scratch_bytes; /* on disk, at most */
} inspect_memory;

/* Zero-initialise; free with inspect_free. */
typedef struct {
    const emc_inspect_options *options;
    emc_profile *profile;
    const emc_profile_info *info;
    emc_catalog *catalog;
    emc_cells *cells; /* on the matrix that would be ranked, else on the first that can be read */
    int chosen;       /* -1: none would do */
    int opened;       /* what `cells` reads */
    emc_text why;     /* of the choice, or of none */
    inspect_genes genes;
    inspect_column *columns;
    int n_columns;
    inspect_memory memory;
    char *problems[INSPECT_PROBLEMS];
    int n_problems;
} inspection;

/* More than fit are dropped. */
emc_status inspect_problem(inspection *i, const char *format, ...) EMC_PRINTF(2, 3);
emc_status inspect_columns(inspection *i);
void inspect_free(inspection *i);

emc_status inspect_print(emc_text *out, const inspection *i);
emc_status inspect_print_json(emc_text *out, const inspection *i);
