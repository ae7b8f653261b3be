#pragma once
/*
 * Inside cells/: the features of a 10x matrix become genes. Only features of type "Gene Expression"
 * are genes; where a file holds several genomes, those of one.
 */

#include "cells/source.h"

/* One entry a feature, in the order of the matrix. n is 0 for a list that the file does not have;
 * names or ids there must be. Zero-initialise. */
typedef struct {
    cells_column ids;
    cells_column names;
    cells_column types;
    cells_column genomes;
} cells_features;

void cells_features_free(cells_features *features);

/*
 * Fills n_columns, gene_of_column, n_genes, gene_names, gene_ids, from_symbols and names of the
 * file, by options->gene_symbols (NULL and "gene_names": the symbols; "gene_ids": the ids; "index":
 * the symbols, whatever they look like) and options->genome. `from` says where the features stand,
 * for people.
 *
 * EMC_ERR_USAGE: no such column or genome, or several genomes and none chosen. EMC_ERR_FORMAT: no
 * gene among the features, or ids where symbols are wanted.
 */
emc_status cells_features_apply(cells_file *file, const cells_features *features, const char *from,
                                const emc_cells_options *options);
