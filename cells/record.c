/* What are the fields of the next record of a text table? */
#include "cells/record.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/size.h"

#define BUFFER_BYTES   ((size_t)1 << 20)
#define LONGEST_RECORD ((size_t)1 << 30)

struct cells_records {
    gzFile file; /* reads plain files as they are */
    char *path;
    char delimiter; /* ' ' stands for runs of blanks and tabs */
    unsigned char *buffer;
    size_t at, n;
    bool at_end;
    int64_t line, record_line;
    char *text;
    size_t n_text, text_capacity;
    size_t *fields;
    size_t n_fields, fields_capacity;
};

static emc_status fill(cells_records *records)
{
    int error;
    const int got = gzread(records->file, records->buffer, (unsigned)BUFFER_BYTES);
    const char *words = gzerror(records->file, &error);

    records->at = 0;
    records->n = got > 0 ? (size_t)got : 0;
    records->at_end = got <= 0;
    if (got < 0 || (got == 0 && error != Z_OK && error != Z_STREAM_END))
        return emc_fail(error == Z_ERRNO ? EMC_ERR_IO : EMC_ERR_FORMAT,
                        "%s: line %lld: %s; the file is damaged or cut short", records->path,
                        (long long)records->line, error == Z_ERRNO ? strerror(errno) : words);
    return EMC_OK;
}

static const char delimiters[] = {'\t', ',', ';'};
#define N_DELIMITERS sizeof delimiters

/* Counts each delimiter outside quotes in a line; the bytes up to the next line that is not empty.
 */
static size_t count_delimiters(size_t counts[N_DELIMITERS], const unsigned char *bytes, size_t n)
{
    bool quoted = false;
    size_t i = 0;

    for (; i < n && (quoted || (bytes[i] != '\n' && bytes[i] != '\r')); i++) {
        if (bytes[i] == '"')
            quoted = !quoted;
        for (size_t c = 0; c < N_DELIMITERS && !quoted; c++)
            counts[c] += bytes[i] == (unsigned char)delimiters[c];
    }
    while (i < n && (bytes[i] == '\n' || bytes[i] == '\r'))
        i++;
    return i;
}

/* Names may hold a delimiter of another kind. So one that the first row has as often as the header
 * (or once more) comes first, then the most frequent. */
static char find_delimiter(const unsigned char *bytes, size_t n)
{
    size_t header[N_DELIMITERS] = {0}, row[N_DELIMITERS] = {0}, best = 0, best_score = 0, at = 0;

    while (at < n && (bytes[at] == '\n' || bytes[at] == '\r'))
        at++;
    at += count_delimiters(header, bytes + at, n - at);
    count_delimiters(row, bytes + at, n - at);
    for (size_t c = 0; c < N_DELIMITERS; c++) {
        const bool agrees = header[c] && (row[c] == header[c] || row[c] == header[c] + 1);
        const size_t score = 2 * header[c] + (agrees ? 2 * n : 0);
        if (score > best_score) {
            best = c;
            best_score = score;
        }
    }
    return best_score ? delimiters[best] : ' ';
}

emc_status cells_records_open(cells_records **out, const char *path, char delimiter)
{
    emc_status status;
    cells_records *records = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&records, 1, sizeof *records, "a text reader"));
    records->line = 1;
    status = emc_copy_string(&records->path, path);
    if (status == EMC_OK)
        status = emc_alloc(&records->buffer, BUFFER_BYTES, 1, "a text reader");
    if (status != EMC_OK)
        goto done;
    errno = 0;
    records->file = gzopen(path, "rbe");
    if (!records->file) {
        status = emc_fail(errno == ENOENT ? EMC_ERR_NOT_FOUND : EMC_ERR_IO, "%s: %s", path,
                          errno ? strerror(errno) : "cannot be opened");
        goto done;
    }
    gzbuffer(records->file, 1 << 17);
    status = fill(records);
    if (status != EMC_OK)
        goto done;
    if (records->n >= 3 && memcmp(records->buffer, "\xEF\xBB\xBF", 3) == 0)
        records->at = 3;
    records->delimiter =
        delimiter ? delimiter
                  : find_delimiter(records->buffer + records->at, records->n - records->at);
    *out = records;
    records = NULL;

done:
    cells_records_close(records);
    return status;
}

void cells_records_close(cells_records *records)
{
    if (!records)
        return;
    if (records->file)
        gzclose(records->file);
    free(records->path);
    free(records->buffer);
    free(records->text);
    free(records->fields);
    free(records);
}

/* The next byte, or -1 at the end. */
static emc_status peek(cells_records *records, int *byte)
{
    if (records->at == records->n && !records->at_end)
        EMC_TRY(fill(records));
    *byte = records->at < records->n ? records->buffer[records->at] : -1;
    return EMC_OK;
}

static emc_status add_bytes(cells_records *records, const void *bytes, size_t n)
{
    if (n > LONGEST_RECORD - records->n_text)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: a record of over %zu bytes", records->path,
                        (long long)records->record_line, LONGEST_RECORD);
    EMC_TRY(emc_reserve(&records->text, &records->text_capacity, records->n_text + n + 1, 1,
                        "a record"));
    if (n)
        memcpy(records->text + records->n_text, bytes, n);
    records->n_text += n;
    return EMC_OK;
}

static emc_status start_field(cells_records *records)
{
    EMC_TRY(emc_reserve(&records->fields, &records->fields_capacity, records->n_fields + 1,
                        sizeof *records->fields, "a record"));
    records->fields[records->n_fields++] = records->n_text;
    return EMC_OK;
}

/* After an opening quote: up to and past the closing one; "" is a quote. */
static emc_status read_quoted(cells_records *records)
{
    int byte;

    for (;;) {
        EMC_TRY(peek(records, &byte));
        if (byte < 0)
            return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: a quote that is never closed",
                            records->path, (long long)records->record_line);
        records->at++;
        if (byte == '"') {
            EMC_TRY(peek(records, &byte));
            if (byte != '"')
                return EMC_OK;
            records->at++;
        }
        records->line += byte == '\n';
        const char c = (char)byte;
        EMC_TRY(add_bytes(records, &c, 1));
    }
}

/* Plain bytes up to a delimiter or line end. */
static emc_status read_plain(cells_records *records)
{
    const unsigned char delimiter = (unsigned char)records->delimiter;

    for (;;) {
        size_t i = records->at;
        while (i < records->n) {
            const unsigned char c = records->buffer[i];
            if (c == delimiter || c == '\n' || c == '\r' || (c == '\t' && delimiter == ' '))
                break;
            i++;
        }
        EMC_TRY(add_bytes(records, records->buffer + records->at, i - records->at));
        records->at = i;
        int byte;
        if (i < records->n)
            return EMC_OK;
        EMC_TRY(peek(records, &byte));
        if (byte < 0)
            return EMC_OK;
    }
}

/* One field with what ends it; *last says that the record ends, too. */
static emc_status read_field(cells_records *records, bool *last)
{
    const size_t start = records->n_text;
    int byte;

    EMC_TRY(start_field(records));
    EMC_TRY(peek(records, &byte));
    if (byte == '"') {
        records->at++;
        EMC_TRY(read_quoted(records));
    }
    EMC_TRY(read_plain(records));
    if (memchr(records->text + start, 0, records->n_text - start))
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: a NUL byte; is this a text file?",
                        records->path, (long long)records->record_line);
    EMC_TRY(add_bytes(records, "", 1));
    EMC_TRY(peek(records, &byte));
    *last = byte != records->delimiter && !(byte == '\t' && records->delimiter == ' ');
    if (byte < 0)
        return EMC_OK;
    records->at++;
    if (byte == '\r') {
        EMC_TRY(peek(records, &byte));
        records->at += byte == '\n';
    }
    records->line += *last;
    return EMC_OK;
}

static emc_status skip_blanks(cells_records *records)
{
    int byte;

    EMC_TRY(peek(records, &byte));
    while (records->delimiter == ' ' && (byte == ' ' || byte == '\t')) {
        records->at++;
        EMC_TRY(peek(records, &byte));
    }
    return EMC_OK;
}

emc_status cells_records_next(cells_records *records, size_t *n_fields)
{
    *n_fields = 0;
    for (;;) {
        bool last = false;
        int byte;
        records->n_text = records->n_fields = 0;
        EMC_TRY(skip_blanks(records));
        EMC_TRY(peek(records, &byte));
        if (byte < 0)
            return EMC_OK;
        records->record_line = records->line;
        while (!last) {
            EMC_TRY(read_field(records, &last));
            EMC_TRY(skip_blanks(records));
            EMC_TRY(peek(records, &byte));
            /* Blanks at the end of a line start no field. */
            if (!last && records->delimiter == ' ' && (byte < 0 || byte == '\n' || byte == '\r')) {
                last = true;
                records->line += byte >= 0;
                records->at += byte >= 0;
                if (byte == '\r') {
                    EMC_TRY(peek(records, &byte));
                    records->at += byte == '\n';
                }
            }
        }
        if (records->n_fields > 1 || records->text[0]) {
            *n_fields = records->n_fields;
            return EMC_OK;
        }
    }
}

const char *cells_records_field(const cells_records *records, size_t i)
{
    return records->text + records->fields[i];
}

int64_t cells_records_line(const cells_records *records)
{
    return records->record_line;
}

char cells_records_delimiter(const cells_records *records)
{
    return records->delimiter;
}

/* Digits with at most one point and no exponent, when the result is exact: an integer below 2^53
 * over a power of ten that a double holds. */
static bool parse_simple(double *out, const char *text)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    uint64_t digits = 0;
    int n_digits = 0, n_after = 0;
    bool point = false;
    const bool minus = *text == '-';

    for (text += minus; *text; text++) {
        if (*text == '.' && !point) {
            point = true;
        } else if (*text >= '0' && *text <= '9' && n_digits < 15) {
            digits = digits * 10 + (uint64_t)(*text - '0');
            n_digits++;
            n_after += point;
        } else {
            return false;
        }
    }
    if (n_digits == 0)
        return false;
    *out = (double)digits / powers[n_after];
    if (minus)
        *out = -*out;
    return true;
}

bool cells_parse_number(double *out, const char *text)
{
    char *end;

    if (parse_simple(out, text))
        return true;
    if (!strcmp(text, "NA") || !strcmp(text, "NaN") || !strcmp(text, "nan")) {
        *out = NAN;
        return true;
    }
    if (!*text || text[strspn(text, "0123456789+-.eE")] != '\0')
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}
