#pragma once
/*
 * Inside cells/: one compressed piece of a file becomes the bytes it was made of. Decoding only.
 * What the piece says of its own size is checked against the caller's before memory is written.
 */

#include <stddef.h>

#include "base/status.h"

typedef enum {
    CELLS_CODEC_NONE = 0,
    CELLS_CODEC_ZLIB,
    CELLS_CODEC_GZIP, /* any number of members, one after another */
    CELLS_CODEC_ZSTD,
    CELLS_CODEC_LZ4,      /* numcodecs: 4 bytes of size (little endian), then one block */
    CELLS_CODEC_LZ4_HDF5, /* filter 32004: 8 bytes of size, 4 of block size (big endian), blocks */
    CELLS_CODEC_BLOSC,    /* one frame of blosc 1; numcodecs' and filter 32001 */
    CELLS_CODEC_LZF,      /* a bare stream: its end is the end of the piece */
    CELLS_N_CODECS
} cells_codec;

/* "zlib", "zstd", "lz4", ... */
const char *cells_codec_name(cells_codec codec);

/* The library's version where it tells one, else "yes"; NULL when this build lacks it. Static. */
const char *cells_codec_version(cells_codec codec);

/*
 * Decodes from[0 .. n_from) into to[0 .. capacity); *n_to is what it gave, never more than
 * capacity. `where` names the place in messages.
 *
 * EMC_ERR_FORMAT: damaged, cut short, more than capacity bytes, or a codec that this build lacks
 * (the message names it). EMC_ERR_NOMEM.
 */
emc_status cells_codec_decode(cells_codec codec, void *to, size_t capacity, size_t *n_to,
                              const void *from, size_t n_from, const char *where);

/* The size that the piece claims for what it holds; false when it says nothing, or cannot be
 * read. Not to be trusted: a bound for a capacity, after a check against a limit. */
bool cells_codec_claim(size_t *n_bytes, cells_codec codec, const void *from, size_t n_from);
