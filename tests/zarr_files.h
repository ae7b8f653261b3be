#pragma once
/* Zarr stores of anndata, made on the spot: 5 cells, 4 genes. */

#include "emt.h"

#include "cells/reader.h"

extern const double matrix[5][4];
extern const char *const cell_names[5];
extern const char *const gene_names[4];

/* Writes a piece below the store, with the folders on its way. */
void put_piece(const char *store, const char *key, const void *bytes, size_t n);
void put_text(const char *store, const char *key, const char *text);

/* The metadata of an array in format 2; more "": as it is, in C order. */
void put_array(const char *store, const char *key, const char *shape, const char *chunks,
               const char *dtype, const char *more);

/* `more` of an array of strings, and a chunk of one. */
#define STRINGS_ARRAY                                                                              \
    "\"order\": \"C\", \"compressor\": null, \"filters\": [{\"id\": \"vlen-utf8\"}]"
void put_strings(const char *store, const char *key, const char *const *texts, unsigned n);

/* `more` of an array of numbers, but for the compressor, which follows. */
#define ORDER_C "\"order\": \"C\", \"filters\": null, \"compressor\": "

/* An empty folder; a store with everything but X. Static storage, good for one more call. */
const char *make_folder(void);
const char *make_frames(void);

/* Values of rows r0.. and columns c0.. as a chunk, 0 past the edge; its bytes. */
size_t fill(unsigned char *to, int r0, int c0, int rows, int columns, bool columns_first,
            bool big_endian);

typedef size_t (*zarr_packer)(unsigned char *to, const unsigned char *from, size_t n);

/* X dense in chunks of 2 x 3, one of which is all zero and not written. */
void put_dense(const char *store, const char *more, bool columns_first, bool big_endian,
               char separator, zarr_packer pack);

/* At most 256 bytes. */
size_t with_zlib(unsigned char *to, const unsigned char *from, size_t n);

/* A CSR or CSC group in chunks of 3. */
void put_sparse(const char *store, const char *key, bool by_genes);

/* All cells, genes and values are read as they are above. */
void check_matrix(const char *path, const emc_cells_options *options);

/* False where this build cannot open zip files, as the message for this one says. */
bool has_zip(const char *path);
