/* How is a long text read while the one before is still being worked on? */
#include "cells/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/queue.h"
#include "base/size.h"

#define PIECE_BYTES  ((size_t)1 << 20)
#define N_PIECES     4
#define PACKED_BYTES ((size_t)1 << 18)
#define WINDOW_BYTES ((size_t)1 << 15) /* what deflate looks back on */
#define SPACING      ((int64_t)64 << 20)
#define MOST_POINTS  1024 /* 32 MiB of windows; beyond, every other one goes */

typedef struct {
    emc_status status;
    char message[256];
    size_t skip, n; /* of the bytes, those from skip on are handed out */
    unsigned char bytes[];
} stream_piece;

/* Where unpacking can start. */
typedef struct {
    int64_t unpacked, packed;
    int bits;              /* of the byte before `packed` that are still to be read */
    unsigned char *window; /* NULL at the start of a member of its own */
    unsigned n_window;
} stream_point;

struct cells_stream {
    int file;
    bool is_gzip;
    int64_t start; /* where the thread that runs, or the next one, begins */
    pthread_t thread;
    bool is_running;
    emc_queue *empty, *full;
    stream_piece *pieces[N_PIECES];
    stream_piece *lent; /* to the caller */
    /* The thread's. */
    unsigned char *packed;
    stream_point *points;
    size_t n_points;
    int64_t spacing;
};

/* What one thread keeps while it unpacks. */
typedef struct {
    cells_stream *stream;
    z_stream z;
    int64_t packed_at;   /* of the file, behind the bytes in the buffer */
    int64_t unpacked_at; /* of the text, behind the piece so far */
    bool is_raw;         /* started within a member: its header lies behind us */
    bool at_end;
} unpacking;

static emc_status read_some(cells_stream *stream, void *to, size_t wanted, int64_t at, size_t *n)
{
    ssize_t got;

    do
        got = pread(stream->file, to, wanted, at);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return emc_fail(EMC_ERR_IO, "%s", strerror(errno));
    *n = (size_t)got;
    return EMC_OK;
}

emc_status cells_stream_open(cells_stream **out, const char *path)
{
    unsigned char head[2];
    emc_status status;
    cells_stream *stream = NULL;
    size_t n = 0;

    *out = NULL;
    EMC_TRY(emc_alloc(&stream, 1, sizeof *stream, "a text reader"));
    stream->spacing = SPACING;
    stream->file = open(path, O_RDONLY | O_CLOEXEC);
    if (stream->file < 0) {
        status = emc_fail(errno == ENOENT || errno == ENOTDIR ? EMC_ERR_NOT_FOUND : EMC_ERR_IO,
                          "%s: %s", path, strerror(errno));
        goto done;
    }
    status = read_some(stream, head, sizeof head, 0, &n);
    if (status != EMC_OK) {
        status = emc_fail_in(status, "%s", path);
        goto done;
    }
    stream->is_gzip = n == 2 && head[0] == 0x1f && head[1] == 0x8b;
    for (int i = 0; status == EMC_OK && i < N_PIECES; i++)
        status = emc_alloc(&stream->pieces[i],
                           sizeof *stream->pieces[i] + CELLS_STREAM_ROOM + PIECE_BYTES + 1, 1,
                           "a text reader");
    if (status == EMC_OK && stream->is_gzip)
        status = emc_alloc(&stream->packed, PACKED_BYTES, 1, "a text reader");
    if (status == EMC_OK && stream->is_gzip)
        status = emc_alloc(&stream->points, MOST_POINTS, sizeof *stream->points, "a text reader");
    if (status != EMC_OK)
        goto done;
    *out = stream;
    stream = NULL;

done:
    cells_stream_close(stream);
    return status;
}

static void stop(cells_stream *stream)
{
    if (stream->is_running) {
        emc_queue_stop(stream->empty);
        emc_queue_stop(stream->full);
        pthread_join(stream->thread, NULL);
        stream->is_running = false;
    }
    emc_queue_close(stream->empty);
    emc_queue_close(stream->full);
    stream->empty = stream->full = NULL;
    stream->lent = NULL;
}

void cells_stream_close(cells_stream *stream)
{
    if (!stream)
        return;
    stop(stream);
    for (int i = 0; i < N_PIECES; i++)
        free(stream->pieces[i]);
    for (size_t i = 0; i < stream->n_points; i++)
        free(stream->points[i].window);
    free(stream->points);
    free(stream->packed);
    if (stream->file >= 0)
        close(stream->file);
    free(stream);
}

bool cells_stream_is_gzip(const cells_stream *stream)
{
    return stream->is_gzip;
}

void cells_stream_seek(cells_stream *stream, int64_t offset)
{
    stop(stream);
    stream->start = offset;
}

/* Every other point goes, so that there is room for later ones. */
static void thin_points(cells_stream *stream)
{
    size_t n = 0;

    for (size_t i = 0; i < stream->n_points; i++) {
        if (i % 2)
            free(stream->points[i].window);
        else
            stream->points[n++] = stream->points[i];
    }
    stream->n_points = n;
    stream->spacing *= 2;
}

/* Remembers this place when the last one is far enough behind. Without memory for it going back
 * takes longer, no more. */
static void keep_point(unpacking *from, bool is_member)
{
    cells_stream *stream = from->stream;
    const int64_t last =
        stream->n_points ? stream->points[stream->n_points - 1].unpacked : -stream->spacing;
    stream_point point = {.unpacked = from->unpacked_at,
                          .packed = from->packed_at - (int64_t)from->z.avail_in};

    if (point.unpacked - last < stream->spacing)
        return;
    if (!is_member) {
        point.bits = from->z.data_type & 7;
        point.window = malloc(WINDOW_BYTES);
        point.n_window = (unsigned)WINDOW_BYTES;
        if (!point.window ||
            inflateGetDictionary(&from->z, point.window, &point.n_window) != Z_OK) {
            free(point.window);
            return;
        }
    }
    if (stream->n_points == MOST_POINTS)
        thin_points(stream);
    stream->points[stream->n_points++] = point;
}

/* The last point at or before the offset; NULL for the start of the file. */
static const stream_point *find_point(const cells_stream *stream, int64_t offset)
{
    const stream_point *best = NULL;

    for (size_t i = 0; i < stream->n_points && stream->points[i].unpacked <= offset; i++)
        best = &stream->points[i];
    return best;
}

static emc_status start_unpacking(unpacking *from, int64_t offset)
{
    const stream_point *point = find_point(from->stream, offset);
    int done = inflateInit2(&from->z, point && point->window ? -15 : 31);

    if (done != Z_OK)
        return emc_fail(EMC_ERR_NOMEM, "no memory to unpack gzip");
    if (!point)
        return EMC_OK;
    from->packed_at = point->packed;
    from->unpacked_at = point->unpacked;
    if (!point->window)
        return EMC_OK;
    from->is_raw = true;
    if (point->bits > 0) {
        unsigned char before;
        size_t n;
        EMC_TRY(read_some(from->stream, &before, 1, point->packed - 1, &n));
        if (n != 1 || inflatePrime(&from->z, point->bits, before >> (8 - point->bits)) != Z_OK)
            return emc_fail(EMC_ERR_IO, "the file became shorter while it was read");
    }
    if (inflateSetDictionary(&from->z, point->window, point->n_window) != Z_OK)
        return emc_fail(EMC_ERR_INTERNAL, "gzip cannot be unpacked from within");
    return EMC_OK;
}

static emc_status fill_packed(unpacking *from)
{
    cells_stream *stream = from->stream;
    size_t n;

    EMC_TRY(read_some(stream, stream->packed, PACKED_BYTES, from->packed_at, &n));
    from->packed_at += (int64_t)n;
    from->z.next_in = stream->packed;
    from->z.avail_in = (unsigned)n;
    return EMC_OK;
}

/* After a member: another one, zeros that fill a block up, or the end. */
static emc_status next_member(unpacking *from)
{
    unsigned n_trailer = from->is_raw ? 8 : 0; /* checksum and size, which a raw start leaves */

    from->is_raw = false;
    for (;;) {
        if (from->z.avail_in == 0)
            EMC_TRY(fill_packed(from));
        if (from->z.avail_in == 0) {
            from->at_end = true;
            return EMC_OK;
        }
        if (n_trailer == 0 && *from->z.next_in != 0)
            break;
        n_trailer -= n_trailer > 0;
        from->z.next_in++;
        from->z.avail_in--;
    }
    if (*from->z.next_in != 0x1f)
        return emc_fail(EMC_ERR_FORMAT, "there are other bytes behind the gzip data");
    if (inflateReset2(&from->z, 31) != Z_OK)
        return emc_fail(EMC_ERR_INTERNAL, "gzip cannot be unpacked");
    keep_point(from, true);
    return EMC_OK;
}

/* One piece of text; n is 0 at the end. */
static emc_status unpack_piece(unpacking *from, stream_piece *piece)
{
    z_stream *z = &from->z;

    z->next_out = piece->bytes + CELLS_STREAM_ROOM;
    z->avail_out = (unsigned)PIECE_BYTES;
    while (!from->at_end && z->avail_out > 0) {
        if (z->avail_in == 0)
            EMC_TRY(fill_packed(from));
        const unsigned before = z->avail_out;
        const int done = inflate(z, Z_BLOCK);
        from->unpacked_at += before - z->avail_out;
        if (done == Z_STREAM_END) {
            EMC_TRY(next_member(from));
        } else if (done == Z_OK) {
            /* Between two blocks, neither within one nor after the last. */
            if ((z->data_type & 128) && !(z->data_type & 64))
                keep_point(from, false);
        } else if (done == Z_BUF_ERROR && z->avail_in == 0) {
            return emc_fail(EMC_ERR_FORMAT, "the gzip data are cut short");
        } else {
            return emc_fail(EMC_ERR_FORMAT, "the gzip data are damaged (%s)",
                            z->msg ? z->msg : "no reason given");
        }
    }
    piece->n = PIECE_BYTES - z->avail_out;
    return EMC_OK;
}

/* Pieces of a plain file. */
static void read_plain(cells_stream *stream)
{
    int64_t at = stream->start;
    stream_piece *piece;

    while ((piece = emc_queue_pop(stream->empty))) {
        piece->skip = piece->n = 0;
        piece->status =
            read_some(stream, piece->bytes + CELLS_STREAM_ROOM, PIECE_BYTES, at, &piece->n);
        if (piece->status != EMC_OK)
            snprintf(piece->message, sizeof piece->message, "%s", emc_message());
        at += (int64_t)piece->n;
        if (!emc_queue_push(stream->full, piece) || piece->status != EMC_OK || piece->n == 0)
            return;
    }
}

static void read_gzip(cells_stream *stream)
{
    unpacking from = {.stream = stream};
    emc_status status = start_unpacking(&from, stream->start);
    stream_piece *piece;

    while ((piece = emc_queue_pop(stream->empty))) {
        const int64_t begin = from.unpacked_at;
        piece->n = 0;
        if (status == EMC_OK)
            status = unpack_piece(&from, piece);
        piece->status = status;
        if (status != EMC_OK)
            snprintf(piece->message, sizeof piece->message, "%s", emc_message());
        const int64_t ahead = stream->start - begin;
        piece->skip = ahead <= 0 ? 0 : ahead < (int64_t)piece->n ? (size_t)ahead : piece->n;
        const bool is_last = status != EMC_OK || piece->n == 0;
        if (piece->skip == piece->n && !is_last) {
            if (!emc_queue_push(stream->empty, piece))
                break;
            continue;
        }
        if (!emc_queue_push(stream->full, piece) || is_last)
            break;
    }
    inflateEnd(&from.z);
}

static void *run(void *context)
{
    cells_stream *stream = context;

    if (stream->is_gzip)
        read_gzip(stream);
    else
        read_plain(stream);
    return NULL;
}

static emc_status start(cells_stream *stream)
{
    EMC_TRY(emc_queue_open(&stream->empty, N_PIECES));
    EMC_TRY(emc_queue_open(&stream->full, N_PIECES));
    for (int i = 0; i < N_PIECES; i++)
        emc_queue_push(stream->empty, stream->pieces[i]);
    if (pthread_create(&stream->thread, NULL, run, stream) != 0)
        return emc_fail(EMC_ERR_NOMEM, "no thread to read with");
    stream->is_running = true;
    return EMC_OK;
}

emc_status cells_stream_next(cells_stream *stream, unsigned char **bytes, size_t *n)
{
    *n = 0;
    if (!stream->is_running) {
        stop(stream);
        EMC_TRY(start(stream));
    }
    if (stream->lent && stream->lent->status != EMC_OK) /* the thread has ended */
        return emc_fail(stream->lent->status, "%s", stream->lent->message);
    if (stream->lent && stream->lent->n == 0)
        return EMC_OK;
    if (stream->lent)
        emc_queue_push(stream->empty, stream->lent);
    stream->lent = emc_queue_pop(stream->full);
    if (!stream->lent)
        return emc_fail(EMC_ERR_INTERNAL, "reading has ended early");
    stream_piece *piece = stream->lent;
    if (piece->status != EMC_OK)
        return emc_fail(piece->status, "%s", piece->message);
    *bytes = piece->bytes + CELLS_STREAM_ROOM + piece->skip;
    *n = piece->n - piece->skip;
    return EMC_OK;
}
