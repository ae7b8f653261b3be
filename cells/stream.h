#pragma once
/*
 * Inside cells/: the bytes of a file, plain or gzip, read and unpacked on a thread of their own
 * while the caller works on what came before. Memory is a few pieces, whatever the bytes unpack
 * to. Of gzip, places to start again are kept every 64 MiB of text, so that going back costs the
 * unpacking of at most that much of what was read once.
 */

#include <stdint.h>

#include "base/status.h"

/* Before each piece the caller may write this many bytes, after it one. */
#define CELLS_STREAM_ROOM ((size_t)1 << 16)

typedef struct cells_stream cells_stream;

/* EMC_ERR_NOT_FOUND, EMC_ERR_IO: it cannot be opened. */
emc_status cells_stream_open(cells_stream **out, const char *path);
void cells_stream_close(cells_stream *stream); /* NULL is fine */
bool cells_stream_is_gzip(const cells_stream *stream);

/* The next bytes, the caller's to change until the next call; *n is 0 at the end. Messages tell
 * what went wrong, not in which file. EMC_ERR_FORMAT: the gzip data are damaged or cut short. */
emc_status cells_stream_next(cells_stream *stream, unsigned char **bytes, size_t *n);

/* The next bytes are those at this offset of the text, which has been read up to there before. */
void cells_stream_seek(cells_stream *stream, int64_t offset);
