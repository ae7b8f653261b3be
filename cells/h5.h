#pragma once
/*
 * Inside cells/: HDF5 with every step checked. Handles are closed by the caller; a negative handle
 * means none. `path` is the file's name, for messages.
 */

#include <hdf5.h>

#include "cells/source.h"

/* The library's switches that are off while we read: error printing and plugin loading. Every call
 * from outside enters, and leaves before it returns, so a program's own HDF5 use is as it was. One
 * thread at a time is inside; a thread may enter again. */
typedef struct {
    H5E_auto2_t print;
    void *print_data;
    unsigned plugins;
    bool has_plugins;
} cells_h5_guard;

void cells_h5_enter(cells_h5_guard *guard);
void cells_h5_leave(const cells_h5_guard *guard);

/* "path: /place: text". */
emc_status cells_h5_fail(emc_status status, const char *path, hid_t at, const char *format, ...)
    EMC_PRINTF(4, 5);

/* The same for a call of the library that failed: EMC_ERR_FORMAT with the library's own words. */
emc_status cells_h5_broken(const char *path, hid_t at, const char *doing);

/* EMC_ERR_FORMAT: not HDF5, damaged or cut short. */
emc_status cells_h5_open_file(hid_t *out, const char *path);

/* With allow_external, cells_h5_open follows an external link of this file: one step, to a regular
 * file and there along hard links. A relative name is one beside the file that holds the link. */
emc_status cells_h5_open_file_with(hid_t *out, const char *path, bool allow_external);
emc_status cells_h5_allow_external(hid_t access, const char *path);
bool cells_h5_may_follow(hid_t group);
emc_status cells_h5_open_external(hid_t *out, hid_t group, const char *name, const char *path);

/* True when the group has a link of this name, wherever it leads. */
bool cells_h5_has(hid_t group, const char *name);

/* Opens a group or dataset of this file: hard links only (but see cells_h5_open_file_with); a
 * dataset must have its bytes in the file and only filters that can be read. */
emc_status cells_h5_open(hid_t *out, hid_t group, const char *name, const char *path);
emc_status cells_h5_open_hard(hid_t *out, hid_t group, const char *name, const char *path);

/* cells_h5_open that wants a dataset, or a group. */
emc_status cells_h5_open_dataset(hid_t *out, hid_t group, const char *name, const char *path);
emc_status cells_h5_open_group(hid_t *out, hid_t group, const char *name, const char *path);
emc_status cells_h5_check_dataset(hid_t dataset, const char *path);

/* Reopens a dataset with a chunk cache of this many bytes. */
emc_status cells_h5_set_cache(hid_t *dataset, size_t cache_bytes, const char *path);
void cells_h5_close(hid_t id);

/* The sizes of a dataset; EMC_ERR_FORMAT when it has not n_dims dimensions. */
emc_status cells_h5_dims(hsize_t *dims, int n_dims, hid_t dataset, const char *path);

/* Chunk sizes; all zero when the dataset is not chunked. */
void cells_h5_chunk(hsize_t *chunk, int n_dims, hid_t dataset);

/* Entries start .. start + n - 1 of a one-dimensional dataset, converted to memory_type. */
emc_status cells_h5_slice(void *to, hid_t dataset, hsize_t start, hsize_t n, hid_t memory_type,
                          const char *path);

/* A box of a two-dimensional dataset of numbers: out is double [count[0]][count[1]]. */
emc_status cells_h5_box(double *out, hid_t dataset, const hsize_t start[2], const hsize_t count[2],
                        const char *path);

/* A text attribute of one value. *out is NULL when there is none of that name, or it is no text.
 * Owned by the caller, free(). */
emc_status cells_h5_attribute(char **out, hid_t object, const char *name, const char *path);

/* An attribute of n integers; *found is false when there is none. */
emc_status cells_h5_attribute_ints(int64_t *out, int n, bool *found, hid_t object, const char *name,
                                   const char *path);

/* The link names of a group, in byte order; ones that are too long or not UTF-8 are left out. */
emc_status cells_h5_names(hid_t group, cells_strings *names, const char *path);

/* "float32", "int64", ...; for people. */
const char *cells_h5_type_name(hid_t dataset);
H5T_class_t cells_h5_class(hid_t dataset);

/* The entries of a one-dimensional dataset, or of one member of a compound one. */
typedef struct {
    hid_t dataset; /* the caller's */
    hid_t type;    /* of an entry, in the file */
    const char *member;
    const char *path;
} cells_h5_values;

/* member NULL: the dataset itself. Close it in any case. */
emc_status cells_h5_values_open(cells_h5_values *from, hid_t dataset, const char *member,
                                const char *path);
void cells_h5_values_close(cells_h5_values *from);

/* How many there are; EMC_ERR_FORMAT when not n (n < 0: any number). */
emc_status cells_h5_values_count(hsize_t *length, const cells_h5_values *from, int64_t n);

/* Entries start .. start + n - 1 of text. */
emc_status cells_h5_values_strings(cells_strings *out, const cells_h5_values *from, hsize_t start,
                                   hsize_t n);

/* Strings as they are; numbers and booleans as pandas prints them. */
emc_status cells_h5_values_text(cells_strings *out, size_t *n_out, const cells_h5_values *from,
                                int64_t n);

/* Codes below n_categories; *out is the caller's to free, also on failure. */
emc_status cells_h5_values_codes(int32_t **out, size_t *n_out, size_t n_categories,
                                 const cells_h5_values *from, int64_t n);

/* A column of a data frame in any of its encodings, as text. n < 0: any length. */
emc_status cells_h5_column(cells_column *out, hid_t frame, const char *name, int64_t n,
                           const char *path);

/* obs or var: a group with one object a column, or (before anndata 0.7) one compound dataset. */
emc_status cells_h5_frame_index(cells_column *out, char **name, hid_t frame, const char *path);
/* The name of its index, owned by the caller, free(). */
emc_status cells_h5_frame_index_name(char **name, hid_t frame, const char *path);

/* The names of cells: a column of a frame or a dataset of a group. Fills file->n_cells, and ids
 * (read when asked for) where that can be, else cell_ids. */
emc_status cells_h5_ids_open(cells_file *file, hid_t frame, const char *name);
emc_status cells_h5_frame_columns(cells_strings *names, hid_t frame, const char *path);
bool cells_h5_frame_has(hid_t frame, const char *name);

/* "a, b, c" for a message, at most 20 of them; the columns of a frame without its index. */
emc_status cells_h5_list(emc_text *text, const cells_strings *names);
emc_status cells_h5_list_columns(emc_text *text, hid_t frame, const char *index, const char *path);

/* The frame that names the columns of the matrix; for raw also the file's main one, which is asked
 * for columns that raw/var lacks when it lists the same genes. */
typedef struct {
    hid_t var;
    hid_t other;      /* -1 when there is none */
    const char *name; /* "var", "raw/var" */
} cells_h5_gene_frames;

/* Gene names by the rule of emc_cells_options.gene_symbols. */
emc_status cells_h5_genes(cells_file *file, const cells_h5_gene_frames *frames, const char *wanted);

/* The values of one matrix: a group (CSR, CSC) or a dataset (dense). Fills file->ops, source and
 * all that is told of the matrix; takes over `object`, also on failure. n_cells and n_genes must be
 * what it holds. A CSC matrix is read whole, and turned as the options say. */
emc_status cells_h5_matrix_open(cells_file *file, hid_t object, const char *name,
                                const emc_cells_options *options);

/* A matrix compressed by cells in three datasets, whatever they are called: the values of cell i
 * and their columns are entries indptr[i] .. indptr[i + 1] - 1. */
typedef struct {
    hid_t data, indices, indptr; /* taken over, also on failure */
    int n_columns;               /* that the indices count; file->n_columns or n_genes */
} cells_h5_rows;

/* Fills file->ops, source, storage, dtype, filters and n_values; the names are the caller's.
 * file->n_cells must be known. */
emc_status cells_h5_rows_open(cells_file *file, const cells_h5_rows *rows,
                              const emc_cells_options *options);

/* The formats that live in HDF5, by what their root holds: fill the file from an open root. */
emc_status cells_h5ad_open(cells_file *file, hid_t root, const emc_cells_options *options);
