#pragma once
/* A shard file in memory; behind emc_shard_open, for it and for tests. */

#include "annotate/shard.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a file of this program says in its head. */
#define EMC_SHARD_VERSION 2

/* Bytes in front of the rows, bytes of the checksum behind them, and of a row with an empty
 * cell_id and neither text nor probabilities. */
#define EMC_SHARD_HEAD_BYTES 64
#define EMC_SHARD_HASH_BYTES 16
#define EMC_SHARD_ROW_BYTES  113

/*
 * As emc_shard_open, of bytes that are borrowed until close; `name` is for messages. Everything is
 * checked, also what a right checksum vouches for: whoever feeds it hostile bytes sets the last
 * EMC_SHARD_HASH_BYTES to the emc_hash_of all before them.
 */
emc_status emc_shard_parse(emc_shard **out, const void *bytes, size_t n_bytes, const char *name,
                           const emc_shard_head *wanted);

#ifdef __cplusplus
}
#endif
