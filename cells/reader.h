#pragma once
/*
 * Which cells are in this file? One iterator over every format that is read:
 *
 * - .h5ad of anndata of any age: X, raw/X or a layer; CSR, CSC or dense
 * - zarr stores of anndata, format 2, and 3 without shards: a folder, or a zip file of one
 * - 10x .h5 of version 2 (a group a genome) and 3 (features); 10x matrix folders, or their .mtx,
 *   also with .gz; loom
 * - .csv, .tsv, .txt, also with .gz: a table of numbers, cells or genes in rows
 *
 * Nothing that the file says is used before it is checked. Links that leave the file, external
 * storage, virtual datasets and filter plugins are not followed or loaded (allow_external follows
 * external links, and nothing else). What lies below that,
 * HDF5's own structures, is checked by the HDF5 library alone: releases of the 1.10 line can crash
 * on a file that was forged there, so files of strangers want a process of their own.
 *
 * A reader belongs to one thread at a time. Two readers in two threads need an HDF5 library that
 * was built thread-safe.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_cells emc_cells;

/* What the rows of a text table are. */
typedef enum {
    EMC_ORIENTATION_AUTO = 0, /* the axis with more known gene names holds the genes */
    EMC_CELLS_IN_ROWS,
    EMC_GENES_IN_ROWS
} emc_orientation;

/* What to do with two genes of one name. */
typedef enum {
    EMC_DUPLICATES_AUTO = 0, /* refuse them in the index; sum them in a symbol column, where they
                                are usual (several Ensembl ids of one symbol) */
    EMC_DUPLICATES_REFUSE,
    EMC_DUPLICATES_SUM /* all are counted under the first of them */
} emc_duplicates;

/* What to do with a value below zero: the sign of scaled data, whose ranks say nothing about
 * which genes are expressed. */
typedef enum {
    EMC_NEGATIVE_REFUSE = 0, /* its cell fails; the message names other layers if there are any */
    EMC_NEGATIVE_PASS        /* handed on; ranking counts it as not expressed */
} emc_negative;

/* Zero-initialised, every member has its default. Strings and arrays are read during open only. */
typedef struct {
    const char *layer;              /* NULL or "X"; "raw" is raw/X with its own genes; else the name
                                       of a layer (a layer called raw is "layers/raw") */
    const char *gene_symbols;       /* a column of var; "index" takes the index as it is; NULL takes
                                       the index, or a symbol column when it holds Ensembl ids or
                                       bare numbers */
    const char *gene_table;         /* NULL, or a text file (.gz too) of gene ids and their symbols:
                                       see emc_cells_n_named */
    const char *const *obs_columns; /* columns of obs to hand out beside the cells */
    int n_obs_columns;
    int max_rows;     /* of a block; 0 is 4096 */
    size_t max_bytes; /* of a block's values, indices and, for a dense matrix, its band, as near
                         as whole rows allow; 0 is 64 MiB */
    emc_orientation orientation;
    emc_duplicates duplicate_genes;
    emc_negative negative;
    const char *genome;      /* of a 10x file with several genomes; NULL: there must be one */
    bool allow_external;     /* external links of HDF5 are followed, one step, to regular files;
                               symbolic links in a zarr folder */
    int n_threads;           /* that unpack; 0: one a core this process may use */
    const char *scratch_dir; /* where a matrix is turned that does not fit turn_bytes; NULL: /tmp */
    size_t turn_bytes;       /* of memory to turn a matrix stored by genes; 0: 1 GiB */
    /* One line for people, during open: what takes long and how to avoid it. May be NULL. */
    void (*on_log)(void *context, const char *line);
    void *context;
} emc_cells_options;

/*
 * Some cells in a row. Everything is borrowed from the reader and good until its next call.
 *
 *   indptr    int64 [n_rows + 1], from 0; row r holds entries indptr[r] .. indptr[r + 1] - 1
 *   genes     int32 [indptr[n_rows]], 0 .. n_genes - 1; in any order, and a gene may come twice in
 *             a row (its values add up)
 *   values    double, beside genes; exact for integers up to 2^53 and every float type. May be
 *             zero, NaN or infinite where the file stores that
 *   cell_ids  [n_rows], UTF-8, unique in the file
 *   obs       [n_rows * n_obs_columns], row by row, in the order of the options; NULL where missing
 */
typedef struct {
    const char *path;
    int64_t first_row;
    int n_rows; /* 0 after the last cell */
    const int64_t *indptr;
    const int32_t *genes;
    const double *values;
    const char *const *cell_ids;
    const char *const *obs;
    int n_obs_columns;
} emc_cell_block;

/*
 * Opens a file, reads its names and checks its frame. options may be NULL.
 *
 * Memory: the names of genes, the wished columns of obs, one block; while it opens up to 64 MiB to
 * find names of cells that come twice. Names of cells are held where they are no plain text in
 * HDF5. A matrix that is not stored by cells is turned within turn_bytes, or through a file in
 * scratch_dir; a text table with genes in rows likewise.
 *
 * EMC_ERR_NOT_FOUND: no such file. EMC_ERR_IO: it cannot be read. EMC_ERR_USAGE: an option names a
 * layer or column that is not there (the message lists what is). EMC_ERR_FORMAT: the file is not
 * what it should be: unknown kind, damaged, no matrix, wrong encoding, sizes that do not agree,
 * a filter that cannot be read, no gene names, duplicate cells or genes, no cells, no genes, text
 * that is not UTF-8, a number that is none.
 */
emc_status emc_cells_open(emc_cells **out, const char *path, const emc_cells_options *options);
void emc_cells_close(emc_cells *cells);

int64_t emc_cells_n_cells(const emc_cells *cells);

/* Columns of the matrix; with summed duplicates the later ones stay, and never occur in a block. */
int emc_cells_n_genes(const emc_cells *cells);

/* [n_genes], UTF-8, never empty: symbols after the choice above. */
const char *const *emc_cells_gene_names(const emc_cells *cells);

/* [n_genes], the index of var when the names come from another column; NULL otherwise. */
const char *const *emc_cells_gene_ids(const emc_cells *cells);

/*
 * How many genes have their name from the options' table; -1 without one. The table's first two
 * fields are id and symbol, separated by tabs, commas or semicolons; a first line whose id is "id",
 * "gene_id", "ensembl" or the like is a header. The names that would be taken without the table
 * (the index, or the column gene_symbols) are looked up as they are, then without the version of an
 * Ensembl id, on both sides. A gene that is not in the table keeps its name, several of one symbol
 * are added up. EMC_ERR_FORMAT of the open: a line with fewer fields, an id with two symbols, a
 * table that names no gene of the file.
 */
int emc_cells_n_named(const emc_cells *cells);

/* The id of a cell, 0 <= row < n_cells, good until the next call ("" when the file has failed since
 * it was opened); its value in a column of the options, NULL if missing. */
const char *emc_cells_id(const emc_cells *cells, int64_t row);
const char *emc_cells_obs(const emc_cells *cells, int64_t row, int column);

/* Whether all names of cells are in memory; else they are read from the file by windows. */
bool emc_cells_holds_ids(const emc_cells *cells);

/* Whether the file stores that column as categories. */
bool emc_cells_obs_is_categorical(const emc_cells *cells, int column);

/* The row of a cell, or -1. Walks all names. */
int64_t emc_cells_find(const emc_cells *cells, const char *cell_id);

/* "h5ad", "10x h5", "10x mtx", "loom", "zarr", "text". */
const char *emc_cells_format(const emc_cells *cells);

/* One line for people: format, matrix, shape, where the names come from, what was merged. */
const char *emc_cells_description(const emc_cells *cells);

/* The matrix that is read, for people; strings are borrowed, "" where there is nothing to say. */
typedef struct {
    const char *name;    /* "X", "raw/X", "layers/counts", "matrix" */
    const char *storage; /* "csr", "csc", "dense", "coordinates", "table" */
    const char *dtype;   /* "float32", "int64", ... */
    const char *filters; /* "gzip 4, shuffle"; "none" when it is stored as it is */
    int64_t n_values;    /* stored; -1 when that is not known before the end */
} emc_cells_matrix;
void emc_cells_get_matrix(const emc_cells *cells, emc_cells_matrix *matrix);

/* The file's path as given. */
const char *emc_cells_path(const emc_cells *cells);

/*
 * The next cells in file order; *block is all zero after the last. Block borders depend on the
 * file, the options and where the last seek went.
 *
 * EMC_ERR_FORMAT: broken indices, a value that cannot be read, a negative value that is not
 * wanted (the cells before it are handed out first); the message names file, cell and gene.
 * EMC_ERR_IO: reading failed. After an error only seek and close are allowed.
 */
emc_status emc_cells_next(emc_cells *cells, emc_cell_block *block);

/* The next block starts at this row. EMC_ERR_ARG: not 0 <= row <= n_cells. */
emc_status emc_cells_seek(emc_cells *cells, int64_t row);

#ifdef __cplusplus
}
#endif
