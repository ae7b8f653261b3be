/* Which entries does a Matrix Market file hold, and does it keep what its header says? */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "cells/mtx.h"
#include "cells/record.h"

#define MOST_COMMENTS ((int64_t)1 << 20) /* bytes */

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* "%%MatrixMarket matrix coordinate FIELD general", in letters of either case. */
static emc_status read_banner(mtx_header *header, const cells_lines *at, const char *line)
{
    char words[5][24];
    const int n = line ? sscanf(line, "%23s %23s %23s %23s %23s", words[0], words[1], words[2],
                                words[3], words[4])
                       : 0;

    if (n < 1 || strcasecmp(words[0], "%%MatrixMarket") != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line 1: wanted \"%%%%MatrixMarket matrix coordinate ...\"; this is no "
                        "Matrix Market file",
                        at->path);
    if (n < 5 || strcasecmp(words[1], "matrix") != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line 1: wanted \"%%%%MatrixMarket matrix coordinate integer general\" "
                        "or the like",
                        at->path);
    if (strcasecmp(words[2], "coordinate") != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line 1: the form is %s; only coordinate is read: write a sparse "
                        "matrix, with scipy.io.mmwrite or Matrix::writeMM",
                        at->path, words[2]);
    if (strcasecmp(words[3], "integer") == 0)
        header->field = MTX_INTEGER;
    else if (strcasecmp(words[3], "pattern") == 0)
        header->field = MTX_PATTERN;
    else if (strcasecmp(words[3], "real") != 0 && strcasecmp(words[3], "double") != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line 1: the values are %s; wanted integer, real or pattern", at->path,
                        words[3]);
    if (strcasecmp(words[4], "general") != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line 1: a %s matrix, which is no matrix of genes and cells; wanted "
                        "general",
                        at->path, words[4]);
    return EMC_OK;
}

/* Digits alone, up to `most`. */
static bool parse_size(int64_t *out, const char **text, int64_t most)
{
    const char *p = *text;
    int64_t value = 0;

    while (is_blank((unsigned char)*p))
        p++;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (value > (most - (*p - '0')) / 10)
            return false;
        value = value * 10 + (*p - '0');
    }
    if (*p && !is_blank((unsigned char)*p))
        return false;
    *out = value;
    *text = p;
    return true;
}

static bool at_line_end(const char *text)
{
    while (is_blank((unsigned char)*text))
        text++;
    return !*text;
}

static emc_status read_sizes(mtx_header *header, const cells_lines *lines, const char *line)
{
    const char *text = line;

    if (!parse_size(&header->n_first, &text, INT32_MAX) ||
        !parse_size(&header->n_second, &text, INT32_MAX) ||
        !parse_size(&header->n_entries, &text, INT64_MAX / 16) || !at_line_end(text))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line %lld: \"%.40s\": wanted three numbers: rows, columns (each at "
                        "most %d) and entries",
                        lines->path, (long long)lines->number - 1, line, INT32_MAX);
    if (header->n_entries == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: the matrix has no entries", lines->path,
                        (long long)lines->number - 1);
    return EMC_OK;
}

emc_status cells_mtx_read_header(mtx_header *header, cells_lines *lines)
{
    char *line;
    size_t n;
    int64_t n_bytes = 0;

    *header = (mtx_header){0};
    EMC_TRY(cells_lines_next(lines, &line, &n));
    EMC_TRY(read_banner(header, lines, line));
    for (;;) {
        EMC_TRY(cells_lines_next(lines, &line, &n));
        if (!line)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: line %lld: the file ends before the line of sizes (rows, columns, "
                            "entries)",
                            lines->path, (long long)lines->number);
        n_bytes += (int64_t)n + 1;
        if (n_bytes > MOST_COMMENTS)
            return cells_lines_fail(lines, "over %lld bytes of comments and no line of sizes",
                                    (long long)MOST_COMMENTS);
        if (*line != '%' && !at_line_end(line))
            break;
    }
    EMC_TRY(read_sizes(header, lines, line));
    header->place = cells_lines_at(lines, lines->at, lines->number);
    return EMC_OK;
}

/* ---- entries ---- */

/* An index as it is written, 1 or more; 0 where there is none. The line ends in a line feed, so
 * that no digit loop leaves it. */
static inline uint64_t scan_index(const unsigned char **at)
{
    const unsigned char *p = *at;
    uint64_t value = 0;

    while (*p == ' ' || *p == '\t')
        p++;
    const unsigned char *const first = p;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    if (p - first > 10)
        value = UINT64_MAX;
    *at = p;
    return value;
}

/* A whole number of at most 15 digits. False for anything else. */
static inline bool scan_count(double *out, const unsigned char **at)
{
    const unsigned char *p = *at;
    uint64_t digits = 0;

    while (*p == ' ' || *p == '\t')
        p++;
    const unsigned char *const first = p;
    for (; *p >= '0' && *p <= '9'; p++)
        digits = digits * 10 + (uint64_t)(*p - '0');
    if (p == first || p - first > 15)
        return false;
    *out = (double)digits;
    *at = p;
    return true;
}

/* A number of at most 15 digits, with or without a point: exact, as digits below 2^53 over a power
 * of ten that a double holds. False for anything else. */
static inline bool scan_value(double *out, const unsigned char **at)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const unsigned char *p = *at;
    uint64_t digits = 0;

    while (*p == ' ' || *p == '\t')
        p++;
    const unsigned char *const first = p;
    for (; *p >= '0' && *p <= '9'; p++)
        digits = digits * 10 + (uint64_t)(*p - '0');
    if (*p != '.') {
        if (p == first || p - first > 15)
            return false;
        *out = (double)digits;
        *at = p;
        return true;
    }
    const unsigned char *const point = p++;
    for (; *p >= '0' && *p <= '9'; p++)
        digits = digits * 10 + (uint64_t)(*p - '0');
    if (p - first > 16 || p - first < 2)
        return false;
    *out = (double)digits / powers[p - point - 1];
    *at = p;
    return true;
}

/* The line at `at` as a message shows it. */
static emc_status refuse(const mtx_scanner *scanner, const unsigned char *at, const char *what)
{
    const unsigned char *feed = memchr(at, '\n', (size_t)(scanner->lines.end - at));
    char shown[41];
    size_t n = feed && feed - at < 40 ? (size_t)(feed - at) : 40;

    n -= n > 0 && at[n - 1] == '\r';
    memcpy(shown, at, n);
    shown[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)shown[i] < ' ' || (unsigned char)shown[i] > '~')
            shown[i] = shown[i] == '\t' ? ' ' : '?';
    return cells_lines_fail(&scanner->lines, "\"%s\": %s", shown, what);
}

/* A value that scan_value leaves alone: signs, exponents, many digits, NaN. */
static bool scan_any_value(double *out, const unsigned char **at)
{
    char text[64];
    size_t n = 0;

    while (is_blank(**at))
        (*at)++;
    while (n < sizeof text - 1 && (*at)[n] > ' ') {
        text[n] = (char)(*at)[n];
        n++;
    }
    text[n] = '\0';
    *at += n;
    return cells_parse_number(out, text);
}

/* The entry at lines.at, on its slow way: says what is wrong with it, if anything is. */
static emc_status scan_slowly(mtx_scanner *scanner, mtx_entry *entry)
{
    const mtx_header *header = &scanner->header;
    const unsigned char *const line = scanner->lines.at, *p = line;
    const uint64_t first = scan_index(&p), second = scan_index(&p);
    double value = 1;
    char what[128];

    if (first == 0 || second == 0)
        return refuse(scanner, line,
                      header->field == MTX_PATTERN ? "wanted row and column, from 1"
                                                   : "wanted row and column, from 1, and value");
    if (first > (uint64_t)header->n_first || second > (uint64_t)header->n_second) {
        snprintf(what, sizeof what, "outside of the %lld x %lld of the header",
                 (long long)header->n_first, (long long)header->n_second);
        return refuse(scanner, line, what);
    }
    if (header->field != MTX_PATTERN && !scan_any_value(&value, &p))
        return refuse(scanner, line, "the value is no number");
    if (header->field == MTX_INTEGER && value != floor(value))
        return refuse(scanner, line, "the header says integer, and the value is none");
    while (is_blank(*p))
        p++;
    if (*p != '\n')
        return refuse(scanner, line, "more than row, column and value");
    const uint64_t cell = scanner->cells_first ? first : second;
    const uint64_t column = scanner->cells_first ? second : first;
    *entry = (mtx_entry){(int64_t)cell - 1, (int32_t)(column - 1), value};
    scanner->lines.at += p + 1 - line;
    scanner->lines.number++;
    return EMC_OK;
}

/* The entry at lines.at, when nothing about it is unusual. */
static inline bool scan_quickly(mtx_scanner *scanner, mtx_entry *entry)
{
    const mtx_header *header = &scanner->header;
    const unsigned char *p = scanner->lines.at;
    const uint64_t first = scan_index(&p), second = scan_index(&p);

    if (first - 1 >= (uint64_t)header->n_first || second - 1 >= (uint64_t)header->n_second)
        return false;
    entry->value = 1;
    if (header->field == MTX_INTEGER ? !scan_count(&entry->value, &p)
                                     : header->field == MTX_REAL && !scan_value(&entry->value, &p))
        return false;
    p += *p == '\r';
    if (*p != '\n')
        return false;
    entry->cell = (int64_t)(scanner->cells_first ? first : second) - 1;
    entry->column = (int32_t)((scanner->cells_first ? second : first) - 1);
    scanner->lines.at += p + 1 - scanner->lines.at;
    scanner->lines.number++;
    return true;
}

/* Blank lines may follow the last entry, nothing else. */
static emc_status read_end(mtx_scanner *scanner)
{
    int64_t n_blank = 0;

    for (;;) {
        char *line;
        size_t n;
        EMC_TRY(cells_lines_next(&scanner->lines, &line, &n));
        if (!line)
            return EMC_OK;
        n_blank += (int64_t)n + 1;
        if (!at_line_end(line) || n_blank > MOST_COMMENTS)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: line %lld: more entries than the %lld of the header",
                            scanner->lines.path, (long long)scanner->lines.number - 1,
                            (long long)scanner->header.n_entries);
    }
}

static emc_status ends_early(const mtx_scanner *scanner)
{
    return cells_lines_fail(&scanner->lines,
                            "the file ends after %lld of %lld entries; it is cut short, or its "
                            "header is wrong",
                            (long long)scanner->n_read, (long long)scanner->header.n_entries);
}

emc_status cells_mtx_next(mtx_scanner *scanner, mtx_entry *entry, bool *more)
{
    cells_lines *lines = &scanner->lines;

    *more = true;
    if (scanner->has_ahead) {
        *entry = scanner->ahead;
        scanner->has_ahead = false;
        return EMC_OK;
    }
    if (scanner->n_read == scanner->header.n_entries) {
        *more = false;
        return read_end(scanner);
    }
    if (lines->at == lines->end)
        EMC_TRY(cells_lines_more(lines));
    if (lines->at == lines->end)
        return ends_early(scanner);
    scanner->ahead_place = cells_lines_at(lines, lines->at, lines->number);
    if (!scan_quickly(scanner, entry))
        EMC_TRY(scan_slowly(scanner, entry));
    scanner->n_read++;
    return EMC_OK;
}

emc_status cells_mtx_peek(mtx_scanner *scanner, int64_t *cell)
{
    bool more;

    *cell = -1;
    EMC_TRY(cells_mtx_next(scanner, &scanner->ahead, &more));
    scanner->has_ahead = more;
    if (more)
        *cell = scanner->ahead.cell;
    return EMC_OK;
}

static emc_status add_entry(const mtx_scanner *scanner, cells_rows *rows, int64_t n, int64_t n_row,
                            const mtx_entry *entry)
{
    if (n_row >= scanner->n_columns)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line %lld: cell %lld has more entries than the matrix has genes (%d)",
                        scanner->lines.path, (long long)scanner->lines.number - 1,
                        (long long)entry->cell + 1, scanner->n_columns);
    if ((size_t)n >= rows->genes_capacity || (size_t)n >= rows->values_capacity)
        EMC_TRY(cells_rows_reserve(rows, 0, (size_t)n + 1));
    rows->genes[n] = entry->column;
    rows->values[n] = entry->value;
    return EMC_OK;
}

/* The entries of a row that are plain to see, which is nearly all of them: this loop is what
 * reading a file costs beside unpacking it. */
static void scan_row(mtx_scanner *scanner, int64_t cell, cells_rows *rows, int64_t *n, int64_t most)
{
    cells_lines *lines = &scanner->lines;
    mtx_entry entry;

    while (lines->at < lines->end && *n < most && scanner->n_read < scanner->header.n_entries) {
        unsigned char *const at = lines->at;
        if (!scan_quickly(scanner, &entry))
            return;
        if (entry.cell != cell) { /* cells_mtx_next takes it again */
            lines->at = at;
            lines->number--;
            return;
        }
        rows->genes[*n] = entry.column;
        rows->values[(*n)++] = entry.value;
        scanner->n_read++;
    }
}

/* Entries that may stand in the row before something wants another look. */
static int64_t row_limit(const mtx_scanner *scanner, const cells_rows *rows, int64_t start)
{
    const size_t room =
        rows->genes_capacity < rows->values_capacity ? rows->genes_capacity : rows->values_capacity;

    return start + scanner->n_columns < (int64_t)room ? start + scanner->n_columns : (int64_t)room;
}

emc_status cells_mtx_row(mtx_scanner *scanner, int64_t cell, cells_rows *rows, int64_t *n,
                         bool *at_end)
{
    const int64_t start = *n;
    mtx_entry entry;
    bool more;

    *at_end = false;
    for (;;) {
        if (!scanner->has_ahead)
            scan_row(scanner, cell, rows, n, row_limit(scanner, rows, start));
        EMC_TRY(cells_mtx_next(scanner, &entry, &more));
        if (!more) {
            *at_end = true;
            return EMC_OK;
        }
        if (entry.cell != cell) {
            scanner->ahead = entry;
            scanner->has_ahead = true;
            return EMC_OK;
        }
        EMC_TRY(add_entry(scanner, rows, *n, *n - start, &entry));
        (*n)++;
    }
}

void cells_mtx_seek(mtx_scanner *scanner, cells_lines_place place, int64_t n_read)
{
    cells_lines_seek(&scanner->lines, place);
    scanner->n_read = n_read;
    scanner->has_ahead = false;
}
