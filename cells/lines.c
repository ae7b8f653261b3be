/* Where do the lines of a text begin and end? */
#include "cells/lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

emc_status cells_lines_open(cells_lines *lines, const char *path)
{
    *lines = (cells_lines){.path = path, .number = 1};
    return cells_stream_open(&lines->stream, path);
}

void cells_lines_close(cells_lines *lines)
{
    cells_stream_close(lines->stream);
    free(lines->last);
    *lines = (cells_lines){0};
}

emc_status cells_lines_fail(const cells_lines *lines, const char *format, ...)
{
    char text[768];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: %s", lines->path, (long long)lines->number,
                    text);
}

/* The file ends within a line. */
static emc_status end_last(cells_lines *lines, size_t n_tail)
{
    if (!lines->last)
        EMC_TRY(emc_alloc(&lines->last, CELLS_STREAM_ROOM + 2, 1, "a line"));
    memcpy(lines->last, lines->tail, n_tail);
    lines->last[n_tail] = '\n';
    lines->at = lines->last;
    lines->end = lines->tail = lines->tail_end = lines->last + n_tail + 1;
    lines->end_offset++; /* as if the line feed were there */
    return EMC_OK;
}

emc_status cells_lines_more(cells_lines *lines)
{
    for (;;) {
        const size_t n_tail = (size_t)(lines->tail_end - lines->tail);
        unsigned char kept[256];
        unsigned char *bytes, *feed;
        size_t n;
        emc_status status;

        if (n_tail > CELLS_STREAM_ROOM)
            return cells_lines_fail(lines, "longer than %zu bytes; is this a text file?",
                                    CELLS_STREAM_ROOM);
        /* The tail lies in a piece that the stream takes back. */
        unsigned char *tail = kept;
        if (n_tail > sizeof kept)
            EMC_TRY(emc_alloc(&tail, n_tail, 1, "a line"));
        if (n_tail)
            memcpy(tail, lines->tail, n_tail);
        status = cells_stream_next(lines->stream, &bytes, &n);
        if (status != EMC_OK)
            status =
                emc_fail_in(status, "%s: from line %lld on", lines->path, (long long)lines->number);
        if (status == EMC_OK && n > 0) {
            lines->tail = bytes - n_tail;
            lines->tail_end = bytes + n;
            memcpy(lines->tail, tail, n_tail);
            if (lines->end_offset == 0 && n >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
                lines->tail += 3;
            lines->end_offset += (int64_t)n;
        } else if (status == EMC_OK && n_tail) {
            lines->tail = tail;
            status = end_last(lines, n_tail);
        }
        if (tail != kept)
            free(tail);
        if (status != EMC_OK || n == 0) {
            if (status != EMC_OK || n_tail == 0)
                lines->at = lines->end = lines->tail = lines->tail_end = NULL;
            return status;
        }
        feed = memrchr(lines->tail, '\n', (size_t)(lines->tail_end - lines->tail));
        if (!feed)
            continue;
        lines->at = lines->tail;
        lines->end = lines->tail = feed + 1;
        return EMC_OK;
    }
}

emc_status cells_lines_next(cells_lines *lines, char **line, size_t *n)
{
    unsigned char *feed;

    *line = NULL;
    *n = 0;
    if (lines->at == lines->end)
        EMC_TRY(cells_lines_more(lines));
    if (lines->at == lines->end)
        return EMC_OK;
    feed = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    *line = (char *)lines->at;
    *n = (size_t)(feed - lines->at);
    if (*n > 0 && (*line)[*n - 1] == '\r')
        (*n)--;
    (*line)[*n] = '\0';
    lines->at = feed + 1;
    lines->number++;
    return EMC_OK;
}

cells_lines_place cells_lines_at(const cells_lines *lines, const unsigned char *at, int64_t number)
{
    return (cells_lines_place){lines->end_offset - (lines->tail_end - at), number};
}

void cells_lines_seek(cells_lines *lines, cells_lines_place place)
{
    cells_stream_seek(lines->stream, place.offset);
    lines->at = lines->end = lines->tail = lines->tail_end = NULL;
    lines->end_offset = place.offset;
    lines->number = place.number;
}
