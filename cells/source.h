#pragma once
/* Inside cells/: what a format's opener hands to the iterator, and the pieces openers share. */

#include "base/text.h"
#include "cells/reader.h"

/* Strings back to back in one piece of memory. Zero-initialise. */
typedef struct {
    emc_text pool;
    size_t *offsets;
    size_t n;
    size_t capacity;
} cells_strings;

/* Refuses bytes that are not UTF-8 or hold a NUL; `where` names the place in the message. */
emc_status cells_strings_add(cells_strings *strings, const char *bytes, size_t n_bytes,
                             const char *where);
const char *cells_strings_at(const cells_strings *strings, size_t i);
void cells_strings_free(cells_strings *strings);

/* A column of text: row i is values[codes[i]] when there are codes, else values[i]. A code below
 * zero, and a row marked missing, have no value. Zero-initialise. */
typedef struct {
    cells_strings values;
    int32_t *codes;
    uint8_t *missing;
    size_t n;
} cells_column;

const char *cells_column_at(const cells_column *column, size_t i);
void cells_column_free(cells_column *column);

/* Growing buffers for the rows of a block; indptr starts at 0. Zero-initialise. */
typedef struct {
    int64_t *indptr;
    int32_t *genes;
    double *values;
    size_t rows_capacity;
    size_t genes_capacity;
    size_t values_capacity;
} cells_rows;

emc_status cells_rows_reserve(cells_rows *rows, size_t n_rows, size_t n_values);
void cells_rows_free(cells_rows *rows);

/* What the lists of a block live in. Zero-initialise. */
typedef struct {
    cells_rows rows;
    cells_strings names; /* that ids point to, where they are read by windows */
    const char **ids;
    const char **obs;
} cells_buffers;

void cells_buffers_free(cells_buffers *buffers);

/* emc_cells_next of at most `most` rows, into the caller's buffers: a block is good until they are
 * used again, however often the reader is asked meanwhile. */
emc_status cells_next_into(emc_cells *cells, int64_t most, cells_buffers *into,
                           emc_cell_block *block);

/* What a format offers. Only `source` is passed around; the iterator checks ranges of arguments. */
typedef struct {
    /* How many rows, 1 or more, starting at `first` make a block within the limits. */
    int64_t (*fit)(const void *source, int64_t first, int64_t max_rows, size_t max_bytes);
    /* Fills rows->indptr[0 .. n], genes and values. Gene indices are checked already. */
    emc_status (*read)(void *source, int64_t first, int64_t n, cells_rows *rows);
    void (*close)(void *source);
} cells_source_ops;

/* Names of cells that are read when they are asked for. Zero: they are held. */
typedef struct {
    /* Adds n names to `out`. */
    emc_status (*read)(void *from, int64_t first, int64_t n, cells_strings *out);
    void (*close)(void *from);
    void *from;
} cells_id_source;

/* What an opener fills. Everything in it is freed by the iterator, also when the opener fails. */
typedef struct {
    const char *path;
    const char *format; /* static; for people */
    int64_t n_cells;
    int n_genes;
    int n_columns;           /* of the matrix as it is stored; 0: n_genes */
    int32_t *gene_of_column; /* [n_columns], -1: dropped; NULL: a column a gene */
    cells_column cell_ids;   /* held; empty when `ids` reads them */
    cells_id_source ids;
    cells_strings id_window; /* of names read last; id_first is the row of the first */
    int64_t id_first;
    cells_column gene_names;
    cells_column gene_ids; /* n = 0 when the names are the index */
    cells_column *obs;     /* [options->n_obs_columns], allocated by the iterator */
    int n_named;           /* genes that a table named; -1 without one */
    bool from_symbols;     /* the names come from a column, where duplicates are usual */
    emc_text matrix;       /* "X (csr, float32)" */
    emc_text matrix_name, storage, dtype, filters; /* see emc_cells_matrix */
    int64_t n_values;
    emc_text names;  /* "var column feature_name (the index holds Ensembl ids)" */
    emc_text advice; /* what to try when the values are no expression; may be empty */
    const cells_source_ops *ops;
    void *source;
} cells_file;

/* What a file offers to choose from, for people and for `layer`. Zero-initialise. */
typedef struct {
    cells_strings matrices; /* as emc_cells_options.layer takes them, the main one first */
    cells_strings columns;  /* of obs, without its index */
    const char *format;     /* static */
} cells_catalog;

/* The openers, in the order they are asked. `head` is the start of the file, n_head <= 512; 0 for
 * a folder. */
typedef struct {
    bool (*matches)(const char *path, const unsigned char *head, size_t n_head);
    emc_status (*open)(cells_file *file, const emc_cells_options *options);
    /* NULL: one matrix "X" and no columns. */
    emc_status (*list)(cells_catalog *catalog, const char *path, const emc_cells_options *options);
} cells_format;

/* The format of a file or folder by its start; errors as emc_cells_open. */
emc_status cells_format_of(const cells_format **out, const char *path);

/* Replaces the gene names by those of a table: emc_cells_n_named. */
emc_status cells_gene_table_apply(cells_file *file, const char *path);

/* What to do with negative values from now on; what it was. */
emc_negative cells_set_negative(emc_cells *cells, emc_negative negative);

extern const cells_format cells_format_hdf5;
extern const cells_format cells_format_mtx;
extern const cells_format cells_format_text;
extern const cells_format cells_format_zarr;

/* The names of n rows, into ids; `names` holds them where they are read. */
emc_status cells_ids_read(const cells_file *file, int64_t first, int64_t n, cells_strings *names,
                          const char **ids);

/* One name, good until the next call; "" when it cannot be read any more. NULL where missing. */
const char *cells_ids_at(cells_file *file, int64_t row);

/* EMC_ERR_FORMAT: a cell has no name, or two have the same. */
emc_status cells_ids_check(cells_file *file);
void cells_ids_free(cells_file *file);

/* True when path ends in `ending`, letters of either case. */
bool cells_path_ends(const char *path, const char *ending);

/* How the names of an index look. */
typedef enum { CELLS_NAMES_SYMBOLS = 0, CELLS_NAMES_ENSEMBL, CELLS_NAMES_NUMBERS } cells_name_kind;
cells_name_kind cells_name_kind_of(const cells_column *names);
