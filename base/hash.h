#pragma once
/* XXH3, 128 bits: tells contents apart and finds damage. It is no defence against forgery. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The canonical (big-endian) bytes of an XXH3-128 value. */
typedef struct {
    unsigned char bytes[16];
} emc_hash;

/* 32 hexadecimal digits and a NUL. */
#define EMC_HASH_TEXT 33

emc_hash emc_hash_of(const void *bytes, size_t n_bytes);
bool emc_hash_equal(const emc_hash *a, const emc_hash *b);
void emc_hash_text(char out[EMC_HASH_TEXT], const emc_hash *hash);
/* False when text is not 32 hexadecimal digits. */
bool emc_hash_parse(emc_hash *out, const char *text);

/* Piece by piece. */
typedef struct emc_hasher emc_hasher;
emc_status emc_hasher_open(emc_hasher **out);
void emc_hasher_add(emc_hasher *hasher, const void *bytes, size_t n_bytes);
emc_hash emc_hasher_end(const emc_hasher *hasher);
void emc_hasher_close(emc_hasher *hasher); /* NULL is fine */

/*
 * What identifies the content of a file, or of a folder's files (their names and contents, in byte
 * order of the names, links to files followed). A file of up to 64 MiB is hashed whole; a longer
 * one by its size and 256 pieces of 64 KiB spread evenly over it, first and last included, so that
 * a file of 100 GB costs no more than a small one. In folders of the folder (a zarr store has a
 * file a chunk) files longer than 4 KiB count by name and size alone; folders whose name begins
 * with a dot and links to folders do not count. Neither names of paths nor times count.
 * EMC_ERR_NOT_FOUND. EMC_ERR_IO: unreadable, or neither a file nor a folder.
 */
emc_status emc_fingerprint(emc_hash *out, const char *path);

/* The same of a folder of which only some files and folders count, by their names in it. Of a file
 * as above; nothing is asked then. */
typedef bool emc_entry_counts(void *context, const char *name);
emc_status emc_fingerprint_some(emc_hash *out, const char *path, emc_entry_counts *counts,
                                void *context);

#ifdef __cplusplus
}
#endif
