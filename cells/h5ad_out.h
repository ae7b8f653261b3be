#pragma once
/*
 * Results into an .h5ad: columns of obs, a data frame in obsm, facts in uns.
 *
 * What is added is written as the file's own age writes it: anndata 0.8 and later, 0.7, and the
 * compound obs of before 0.7. Text is `categorical` with `string-array` categories, which every
 * reader knows. All else in the file stays as it was, the version of its superblock included.
 * A new file appears under its name only when it is whole and synced.
 */

#include <signal.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of an .h5ad output. */
typedef enum {
    EMC_H5AD_COPY = 0, /* the input copied whole, columns added */
    EMC_H5AD_OBS,      /* the results alone: the annotated cells with their columns, no X */
    EMC_H5AD_LINK,     /* a small file whose other parts are external links to the input */
    EMC_H5AD_IN_PLACE  /* columns added to the input itself; the output path is not looked at */
} emc_h5ad_kind;

/* Zero-initialise. Strings are borrowed while the output is open. */
typedef struct {
    const char *path;       /* of the output; not "-" */
    const char *input_path; /* may be NULL with EMC_H5AD_OBS */
    emc_h5ad_kind kind;
    int64_t n_cells;     /* rows of the input; with EMC_H5AD_OBS rows that will come */
    bool overwrite;      /* columns of these names are replaced where they stand */
    bool allow_external; /* an input with external links is read through them */
    const volatile sig_atomic_t *cancel;             /* may be NULL */
    void (*on_log)(void *context, const char *line); /* may be NULL; one line for people */
    void *context;
} emc_h5ad_out_options;

typedef enum {
    EMC_H5AD_CATEGORY = 0, /* values are codes; -1 is missing */
    EMC_H5AD_FLOAT         /* float32; NaN is missing */
} emc_h5ad_type;

typedef struct {
    const char *name; /* UTF-8, no "/", unique */
    emc_h5ad_type type;
    const char *const *categories; /* [n_categories], distinct UTF-8 */
    int n_categories;
    bool first_is_missing; /* rows that do not come get category 0 */
} emc_h5ad_column;

typedef struct {
    const char *name, *value; /* name: no "/" */
} emc_h5ad_fact;

/* All that is added. Borrowed while the output is open. */
typedef struct {
    const emc_h5ad_column *columns; /* of obs, in this order after those there are */
    int n_columns;
    const char *matrix;              /* a data frame obsm/<matrix> of float32; NULL: none */
    const char *const *matrix_names; /* [n_matrix], its columns: distinct, no "/" */
    int n_matrix;
    const char *uns; /* a dictionary uns/<uns> of strings; NULL: none */
    const emc_h5ad_fact *facts;
    int n_facts;
} emc_h5ad_content;

typedef union {
    int32_t code; /* -1 .. n_categories - 1 */
    float number;
} emc_h5ad_value;

typedef struct emc_h5ad_out emc_h5ad_out;

/* True for an HDF5 file that has obs and var, so one that can be copied, linked or written into. */
bool emc_h5ad_is(const char *path);

/* The columns of obs whose names begin with "__", as "a, b"; *out is NULL when there are none.
 * CELLxGENE takes no file with them. Owned by the caller, free(). */
emc_status emc_h5ad_reserved(char **out, const char *path, bool allow_external);

/*
 * All that open would refuse, before any work and without making a file: EMC_ERR_USAGE for columns
 * that are there already, a kind that the input cannot serve, a network file system in place, the
 * input's own path as output; EMC_ERR_CREATE for a folder that is not there or not writable;
 * EMC_ERR_ARG for names that break a limit above; EMC_ERR_FORMAT for an input that is broken.
 */
emc_status emc_h5ad_out_check(const emc_h5ad_out_options *options, const emc_h5ad_content *content);

/* Makes the file beside its name and declares all columns. Errors as check, and EMC_ERR_IO,
 * EMC_ERR_CANCELLED. Memory: a band of rows, whatever n_cells is. */
emc_status emc_h5ad_out_open(emc_h5ad_out **out, const emc_h5ad_out_options *options,
                             const emc_h5ad_content *content);

/* Removes what was not committed. In place, what was written before the commit stays in the file
 * and is no column yet. */
void emc_h5ad_out_close(emc_h5ad_out *out);

/*
 * The values of one cell. Rows rise; those left out are missing values (with EMC_H5AD_OBS row i is
 * the i-th call, and none is left out).
 *
 *   cell_id   UTF-8; looked at with EMC_H5AD_OBS only
 *   values    [n_columns]
 *   matrix    [n_matrix]; NULL: a row of missing values
 *
 * EMC_ERR_ARG: a row that does not rise or is not 0 .. n_cells - 1, a code out of range.
 * EMC_ERR_IO: the disk is full, here or at the commit.
 */
emc_status emc_h5ad_out_row(emc_h5ad_out *out, int64_t row, const char *cell_id,
                            const emc_h5ad_value *values, const float *matrix);

/* Writes the list of columns last, syncs file and folder and gives the file its name. After that,
 * or its failure, only close. EMC_ERR_ARG: with EMC_H5AD_OBS, rows are missing. */
emc_status emc_h5ad_out_commit(emc_h5ad_out *out);

#ifdef __cplusplus
}
#endif
