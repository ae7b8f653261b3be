#pragma once
/* Inside cells/: the files of a 10x matrix folder, and the names in them. */

#include "cells/features.h"

/* Each owned by the caller, free(); of a failure, too. */
typedef struct {
    char *matrix, *barcodes, *features;
} mtx_paths;

/* True when `path` is a folder that holds a file called *.mtx or *.mtx.gz, or whose folders do. */
bool cells_mtx_is_folder(const char *path);

/* The matrix: `path` itself, or the one in that folder or, where it has none, in its folders.
 * EMC_ERR_FORMAT: none, or several of which none is called matrix.mtx. */
emc_status cells_mtx_find_matrix(mtx_paths *paths, const char *path);

/* The names beside paths->matrix: PREFIXbarcodes.tsv and PREFIXfeatures.tsv or PREFIXgenes.tsv,
 * also with .gz or .txt, where the matrix is PREFIXmatrix.mtx, PREFIX.mtx or lies among them.
 * EMC_ERR_NOT_FOUND: the message says what was looked for. */
emc_status cells_mtx_find_names(mtx_paths *paths);
void cells_mtx_paths_free(mtx_paths *paths);

/* One entry a line, at most `most` of them; more are counted as most + 1. EMC_ERR_FORMAT: an empty
 * name, bytes that are not UTF-8, a NUL. */
emc_status cells_mtx_read_barcodes(cells_column *out, const char *path, int64_t most);

/* Lines of "name", "id TAB name" or "id TAB name TAB type ...". */
emc_status cells_mtx_read_features(cells_features *out, const char *path, int64_t most);
