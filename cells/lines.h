#pragma once
/*
 * Inside cells/: the lines of a text file, plain or gzip, where they lie, so that a scanner can run
 * over many of them without looking for their ends. A byte order mark at the start is left out.
 */

#include "cells/stream.h"

/* The whole lines that are at hand are at .. end, each with a line feed (also the last of the
 * file). A scanner moves `at` to the start of a later line and counts `number` up. */
typedef struct {
    const char *path; /* borrowed */
    cells_stream *stream;
    unsigned char *at, *end;
    int64_t number; /* of the line at `at`, from 1 */
    /* Ours. */
    unsigned char *tail, *tail_end; /* behind `end`: the start of a line that goes on */
    int64_t end_offset;             /* in the text, of tail_end */
    unsigned char *last;            /* the last line, when nothing ends it */
} cells_lines;

/* Errors as cells_stream_open. Close it in any case. */
emc_status cells_lines_open(cells_lines *lines, const char *path);
void cells_lines_close(cells_lines *lines);

/* Wants at == end: brings the next lines; at == end again at the end of the file. EMC_ERR_FORMAT: a
 * line of over 64 KiB, damaged gzip. EMC_ERR_IO. */
emc_status cells_lines_more(cells_lines *lines);

/* The next line, NUL-terminated and without what ends it; NULL at the end. Good until the next
 * call. May hold NULs: *n says how long it is. */
emc_status cells_lines_next(cells_lines *lines, char **line, size_t *n);

/* A place in the text, and back to it. */
typedef struct {
    int64_t offset, number;
} cells_lines_place;
cells_lines_place cells_lines_at(const cells_lines *lines, const unsigned char *at, int64_t number);
void cells_lines_seek(cells_lines *lines, cells_lines_place place);

/* "path: line N: text" */
emc_status cells_lines_fail(const cells_lines *lines, const char *format, ...) EMC_PRINTF(2, 3);
