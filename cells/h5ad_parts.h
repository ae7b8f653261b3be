#pragma once
/* Inside cells/: the pieces that emc_h5ad_out is made of. */

#include "base/file.h"
#include "cells/h5_disk.h"
#include "cells/h5_put.h"
#include "cells/h5ad_out.h"

/* How the data frames of a file are written. */
typedef enum {
    H5AD_ENCODED = 0, /* anndata 0.8 and later: dataframe 0.2.0, each column encoded */
    H5AD_FLAT,        /* 0.7: dataframe 0.1.0, plain datasets, categories by reference */
    H5AD_COMPOUND     /* before: obs is one compound dataset, categories in uns */
} h5ad_style;

h5ad_style h5ad_style_of(hid_t obs);

/* Rows that are held before they are written. */
#define H5AD_BAND 16384

/* Where new objects wait until all of them are whole: a group inside uns, which every reader takes
 * for a dictionary should a process die in between. */
#define H5AD_STAGE "__emcell_unfinished"

/* What is staged has these names. */
#define H5AD_STAGE_OBS        "obs"
#define H5AD_STAGE_CATEGORIES "categories"
#define H5AD_STAGE_MATRIX     "matrix"
#define H5AD_STAGE_UNS        "uns"
#define H5AD_STAGE_COMPOUND   "compound"

/* The compound obs that is written anew with more members. */
typedef struct {
    hid_t from, to;         /* datasets */
    hid_t old_members, all; /* types in memory, of the same size */
    size_t row_bytes;
    size_t *offsets; /* [n_columns] of the new members */
    char *rows;      /* [H5AD_BAND] */
} h5ad_compound;

struct emc_h5ad_out {
    emc_h5ad_out_options options;
    const emc_h5ad_content *content;
    emc_out_file *file; /* NULL in place */
    const char *path;   /* for messages: the output's, in place the input's */
    const char *opened; /* of what is written to */
    cells_h5_disk disk;
    hid_t root, stage;
    hid_t input; /* of a linked file: the input; else -1 */
    h5ad_style style;
    hid_t *columns; /* [n_columns] datasets; unused in a compound */
    hid_t *matrix;  /* [n_matrix] datasets */
    hid_t index;    /* of an obs-only file, else -1 */
    h5ad_compound compound;

    emc_h5ad_value **values; /* [n_columns][H5AD_BAND] */
    float **numbers;         /* [n_matrix][H5AD_BAND] */
    char **ids;              /* [H5AD_BAND], obs-only */
    int64_t band;            /* first row of the band */
    int64_t next;            /* the least row that may come */
    bool committed, failed;
};

/* ---- h5ad_check.c ---- */

/* What an input holds that a column may collide with. */
emc_status h5ad_check(const emc_h5ad_out_options *options, const emc_h5ad_content *content);

/* ---- h5ad_make.c ---- */

/* Makes out->root: a copy, a file of links, an empty file, or the input itself. */
emc_status h5ad_make(emc_h5ad_out *out);

/* ---- h5ad_columns.c ---- */

/* Declares all that is added, under the stage. */
emc_status h5ad_stage(emc_h5ad_out *out);

/* Empties the band of values; writes the rows it holds. */
void h5ad_clear_band(emc_h5ad_out *out);
emc_status h5ad_write_band(emc_h5ad_out *out);

/* The smallest type that codes of so many categories fit, in the file. */
hid_t h5ad_code_type(int n_categories);

/* ---- h5ad_publish.c ---- */

/* Moves what is staged to its place, and names the columns last. */
emc_status h5ad_publish(emc_h5ad_out *out);

/* ---- h5ad_compound.c ---- */

emc_status h5ad_compound_open(emc_h5ad_out *out);
void h5ad_compound_close(h5ad_compound *compound);
emc_status h5ad_compound_write(emc_h5ad_out *out, hsize_t start, hsize_t n);

/* ---- copy.c ---- */

/* The bytes of one file into another that is open, by the cheapest way the file system has. */
emc_status cells_copy_file(const char *from, const char *to, const volatile sig_atomic_t *cancel);

/* "NFS", ... for the type of a file system that is reached over a network or through a process;
 * NULL for others. */
const char *cells_network_name(long type);

/* The same for the file system that a path is on. */
const char *cells_network_of(const char *path);
