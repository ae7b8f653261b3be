#pragma once
/* Writes cell files of chosen storage on the spot, for tests and benches. What fails ends the
 * program: nothing here depends on what is tested. */

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { FILE_CSR = 0, FILE_CSC, FILE_DENSE } file_layout;

/* Zero-initialised but for the sizes, it is a plain CSR matrix of float32 with int32 indices. */
typedef struct {
    int64_t n_cells;
    int n_genes;
    int least, most; /* values of a cell that are not zero */
    uint64_t seed;
    file_layout layout;
    hid_t value_type, index_type, pointer_type; /* in the file; 0: F32LE, I32LE, I32LE */
    hsize_t chunk;                              /* values of a chunk; 0: contiguous */
    int gzip;                                   /* level; 0: not packed */
    bool shuffle, fletcher;
    bool szip;                     /* numbers in chunks; needs H5Zfilter_avail(H5Z_FILTER_SZIP) */
    bool unsorted;                 /* columns of a row in falling order */
    bool repeated;                 /* some columns twice in a row (not dense) */
    double ceiling;                /* of the values, for small types; 0: none */
    hsize_t user_block;            /* bytes before the file proper: 0, 512, 1024, ... */
    bool fixed_ids;                /* cell names of fixed length */
    int empty_every;               /* each so many rows, one without values; 0: none */
    const char *const *gene_names; /* [n_genes], of an .h5ad; NULL: "GENE<i>" */
} file_spec;

/* Row `row` of such a file, the same however it is stored: at most `most` + 1 entries; how many. */
int file_row(const file_spec *spec, int64_t row, int32_t *genes, double *values);

/* An .h5ad with obs/_index "cell-<row>" and var/_index of gene_names. */
void file_write_h5ad(const char *path, const file_spec *spec);

/* A 10x .h5 of version 3: int32 values, int64 indices, barcodes, features. */
void file_write_tenx(const char *path, const file_spec *spec);

/* matrix.mtx.gz, barcodes.tsv.gz and features.tsv.gz in a folder that is there. */
void file_write_mtx(const char *folder, const file_spec *spec);
