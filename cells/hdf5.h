#pragma once
/* Inside cells/: the formats that live in HDF5 beside .h5ad. Each fills the file from an open root
 * (see cells_format.open), or lists what the root offers (see cells_format.list). */

#include "cells/h5.h"

emc_status cells_h5ad_list(cells_catalog *catalog, hid_t root, const char *path);

/* A group "matrix" with features (Cell Ranger 3 and later), or a group a genome before. */
bool cells_tenx_is(hid_t root);
emc_status cells_tenx_open(cells_file *file, hid_t root, const emc_cells_options *options);
emc_status cells_tenx_list(cells_catalog *catalog, hid_t root, const char *path);

bool cells_loom_is(hid_t root);
emc_status cells_loom_open(cells_file *file, hid_t root, const emc_cells_options *options);
emc_status cells_loom_list(cells_catalog *catalog, hid_t root, const char *path);

/* The values of a loom matrix, genes x cells; takes over `dataset`, also on failure. n_cells,
 * n_genes and matrix_name of the file must be known. */
emc_status cells_loom_matrix_open(cells_file *file, hid_t dataset,
                                  const emc_cells_options *options);
