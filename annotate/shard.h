#pragma once
/*
 * A shard file: the results of a fixed run of cells, as bytes that prove themselves. Little-endian
 * on every machine: magic and version, the hash of the run's plan, shard number, first position,
 * number of cells and labels; the rows; the XXH3-128 of all before it.
 */

#include <stddef.h>
#include <stdint.h>

#include "annotate/result_row.h"
#include "base/hash.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a shard says of itself, and what is wanted of it. */
typedef struct {
    emc_hash plan; /* of run.json */
    int64_t shard; /* its number */
    int64_t first; /* position of its first cell in the selection */
    int64_t n_cells;
    int n_labels;
} emc_shard_head;

/* Collects rows in memory; the bytes depend on the rows alone. */
typedef struct emc_shard_writer emc_shard_writer;
emc_status emc_shard_writer_open(emc_shard_writer **out, const emc_shard_head *head);
void emc_shard_writer_close(emc_shard_writer *writer); /* NULL is fine */
/* probs has n_labels numbers. EMC_ERR_ARG: more rows than head.n_cells, rows that do not rise, a
 * status, label or reason that does not exist. */
emc_status emc_shard_writer_add(emc_shard_writer *writer, const emc_result_row *row);
int64_t emc_shard_writer_n(const emc_shard_writer *writer);
/* The rows so far are all that the file will have: the finished beginning of a shard, a part.
 * EMC_ERR_ARG: there are none. */
emc_status emc_shard_writer_cut(emc_shard_writer *writer);
/* The whole file, borrowed until close; nothing can be added after it. EMC_ERR_ARG: rows are
 * missing. */
emc_status emc_shard_writer_bytes(emc_shard_writer *writer, const void **bytes, size_t *n_bytes);

/*
 * Reads a shard file whole and checks it: length, checksum, version, and that it is the shard that
 * is wanted. EMC_ERR_FORMAT: it is damaged or another one's; the message names the file and what is
 * wrong. EMC_ERR_NOT_FOUND, EMC_ERR_IO.
 */
typedef struct emc_shard emc_shard;
emc_status emc_shard_open(emc_shard **out, const char *path, const emc_shard_head *wanted);
/* The same of a part: of 1 to wanted->n_cells - 1 cells, *n of them. */
emc_status emc_shard_open_part(emc_shard **out, int64_t *n, const char *path,
                               const emc_shard_head *wanted);
void emc_shard_close(emc_shard *shard); /* NULL is fine */
/* Row 0 <= i < n_cells; what it points to is borrowed from the shard. Reasons and statuses are the
 * static words of answer.h. */
void emc_shard_get(const emc_shard *shard, int64_t i, emc_result_row *row);

#ifdef __cplusplus
}
#endif
