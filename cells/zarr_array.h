#pragma once
/*
 * Inside cells/: arrays and groups of a zarr store, format 2 and 3. Everything that the metadata
 * says is checked when an array is opened; chunks are decoded as they are needed, one at a time
 * (of a matrix: one row of chunks, where that is not too large).
 */

#include "base/json.h"
#include "cells/codec.h"
#include "cells/zarr_store.h"

typedef enum { ZARR_NOTHING = 0, ZARR_GROUP, ZARR_ARRAY } zarr_node_kind;

/* What stands under a key: its metadata. */
typedef struct {
    zarr_store *store;
    char *key;   /* "" for the root */
    char *place; /* the store's path and the key, for messages */
    zarr_node_kind kind;
    int format; /* 2 or 3 */
    cJSON *meta;
    cJSON *attributes;  /* of format 2, a tree of its own */
    const cJSON *attrs; /* an object, or NULL */
} zarr_node;

/* kind is ZARR_NOTHING when nothing is there. Close it in any case. `name` NULL: the key alone. */
emc_status zarr_node_open(zarr_node *node, zarr_store *store, const char *key, const char *name);
void zarr_node_close(zarr_node *node);

/* zarr_node_open of what must be a group, or an array. */
emc_status zarr_node_want(zarr_node *node, zarr_store *store, const char *key, const char *name,
                          zarr_node_kind kind);

/* An attribute that is text; NULL when there is none. Borrowed. */
const char *zarr_node_text(const zarr_node *node, const char *name);

/* "path: key: text" */
emc_status zarr_fail(emc_status status, const zarr_store *store, const char *key,
                     const char *format, ...) EMC_PRINTF(4, 5);

typedef enum {
    ZARR_BOOL = 0,
    ZARR_INT,
    ZARR_UINT,
    ZARR_FLOAT,
    ZARR_UTF32, /* item_bytes / 4 characters */
    ZARR_BYTES, /* item_bytes bytes */
    ZARR_STRINGS
} zarr_type;

/* The last step of decoding comes last. */
typedef enum { ZARR_UNPACK = 0, ZARR_UNSHUFFLE, ZARR_CHECKSUM } zarr_step_kind;
typedef struct {
    zarr_step_kind kind;
    cells_codec codec;
    size_t element; /* bytes, of a shuffle */
} zarr_step;

#define ZARR_MOST_STEPS 4

/* Filled by zarr_array_open; read-only otherwise. */
typedef struct {
    zarr_store *store;
    char *key;
    int format;
    int n_dims; /* 1 or 2 */
    int64_t shape[2];
    int64_t chunk[2];
    zarr_type type;
    size_t item_bytes;
    size_t chunk_bytes; /* decoded; 0 for strings */
    bool big_endian;
    bool columns_first; /* within a chunk */
    bool keys_begin_with_c;
    char separator;
    double fill;
    int n_steps;
    zarr_step steps[ZARR_MOST_STEPS];
    /* The chunk decoded last, of a one-dimensional array; a row of chunks of a matrix. */
    int64_t cached; /* -1: none */
    bool *is_there;
    unsigned char *cache;
    size_t cache_bytes;
    emc_text packed, scratch;
} zarr_array;

/* Reads shape, type and codecs out of a node, which stays the caller's. */
emc_status zarr_array_open(zarr_array **out, const zarr_node *node);
void zarr_array_close(zarr_array *array); /* NULL is fine */

/* Checks and fills what the metadata says, no chunk is touched. */
emc_status zarr_array_parse(zarr_array *array, const zarr_node *node);

/* "float32", "int64", "text", ...; "blosc (zstd)", "gzip", "none". For people. */
const char *zarr_type_name(const zarr_array *array);
emc_status zarr_array_codecs(emc_text *text, const zarr_array *array);

/* The decoded bytes of one chunk into `to` (chunk_bytes of room; for strings NULL: they are then
 * in array->scratch). *found is false for a chunk that was never written. */
emc_status zarr_chunk_read(zarr_array *array, int64_t row, int64_t column, unsigned char *to,
                           bool *found);

/* Entries start .. start + n - 1 of a one-dimensional array of numbers. */
emc_status zarr_read_doubles(double *to, zarr_array *array, int64_t start, int64_t n);
emc_status zarr_read_ints(int64_t *to, zarr_array *array, int64_t start, int64_t n);

/* Rows of a matrix, to[row][column]. */
emc_status zarr_read_rows(double *to, zarr_array *array, int64_t first, int64_t n);

/* A one-dimensional array as text; numbers as pandas prints them. With may_lack, chunks that were
 * never written give empty text (or the fill value); else they are refused. */
emc_status zarr_read_text(cells_strings *out, zarr_array *array, bool may_lack);
