#pragma once
/* Files: mapped or read whole, and written so that a reader sees all of one or nothing. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A read-only mapping of a whole file. `data` is NULL for an empty file. */
typedef struct {
    const unsigned char *data;
    size_t n_bytes;
    char *path; /* as given, for messages */
} emc_map;

/* EMC_ERR_NOT_FOUND: no such file. EMC_ERR_IO: a directory, or it cannot be read. */
emc_status emc_map_open(emc_map **out, const char *path);
void emc_map_close(emc_map *map);

/* The whole file with a NUL after it; the text itself may hold NULs. EMC_ERR_FORMAT when it is
 * longer than `limit` bytes. *n_bytes may be NULL. Owned by the caller, free(). */
emc_status emc_file_read(char **out, size_t *n_bytes, const char *path, size_t limit);

bool emc_file_exists(const char *path);
bool emc_is_directory(const char *path);

/* "a/b": dir, one slash, name. Owned by the caller, free(). */
emc_status emc_path_join(char **out, const char *dir, const char *name);

/* True for a name that stays in its folder: not empty, no slash, not "." or "..". */
bool emc_is_plain_name(const char *name);

/*
 * True when two paths name one regular file, however they are written and through links; of files
 * that are not there yet, when they would be one. A device or a pipe is never the same file: it
 * may be written to twice.
 */
bool emc_same_file(const char *a, const char *b);

/*
 * A file that appears under its name only when it is whole: written to a temporary name in the
 * same folder, then flushed, synced and renamed by commit. Without a commit, close removes it.
 * The path "-" is standard output: nothing is renamed, commit flushes. So it is with a path that
 * is a device or a pipe, which is opened as it is. A symbolic link is followed, and the file that
 * it names is replaced.
 */
typedef struct emc_out_file emc_out_file;

/* EMC_ERR_CREATE: the folder is not there or not writable. */
emc_status emc_out_file_open(emc_out_file **out, const char *path);

/* Buffered. EMC_ERR_IO (disk full, closed pipe) here or at the commit, never silently. */
emc_status emc_out_file_write(emc_out_file *file, const void *bytes, size_t n_bytes);
emc_status emc_out_file_commit(emc_out_file *file);
/* What was written goes to the system; for who reads the other end of a pipe. */
emc_status emc_out_file_flush(emc_out_file *file);
void emc_out_file_close(emc_out_file *file);

/* The name being written to; for a signal handler that must remove it. "" where nothing is
 * renamed. */
const char *emc_out_file_temporary(const emc_out_file *file);

#ifdef __cplusplus
}
#endif
