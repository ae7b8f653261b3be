/* How do rows of results become a CSV, TSV or JSONL file? */
#include "cells/result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/decimal.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"
#include "cells/source.h"

#define GZIP_BYTES 65536

struct emc_table {
    emc_out_file *file;
    emc_table_format format;
    emc_column *columns;
    char **names;
    int n_columns;
    int at; /* the next column of the row */
    emc_text row;
    bool gzip;
    bool deflating;
    z_stream stream;
    unsigned char *packed;
};

static emc_status choose_format(emc_table_format *format, bool *gzip, const char *path)
{
    static const struct {
        const char *ending;
        emc_table_format format;
        bool gzip;
    } endings[] = {
        {".csv", EMC_TABLE_CSV, false},     {".tsv", EMC_TABLE_TSV, false},
        {".jsonl", EMC_TABLE_JSONL, false}, {".csv.gz", EMC_TABLE_CSV, true},
        {".tsv.gz", EMC_TABLE_TSV, true},   {".jsonl.gz", EMC_TABLE_JSONL, true},
    };

    *gzip = false;
    if (strcmp(path, "-") == 0) {
        if (*format == EMC_TABLE_BY_NAME)
            *format = EMC_TABLE_CSV;
        return EMC_OK;
    }
    for (size_t i = 0; i < EMC_COUNT(endings); i++) {
        if (!cells_path_ends(path, endings[i].ending))
            continue;
        *gzip = endings[i].gzip;
        if (*format == EMC_TABLE_BY_NAME)
            *format = endings[i].format;
        return EMC_OK;
    }
    *gzip = cells_path_ends(path, ".gz");
    if (*format != EMC_TABLE_BY_NAME)
        return EMC_OK;
    return emc_fail(EMC_ERR_USAGE,
                    "%s: cannot tell the kind of table from the name; wanted .csv, .tsv or "
                    ".jsonl, each also with .gz",
                    path);
}

emc_status emc_table_check(const char *path, emc_table_format format)
{
    bool gzip;

    return choose_format(&format, &gzip, path);
}

static emc_status copy_columns(emc_table *table, const emc_column *columns, int n)
{
    if (n < 1)
        return emc_fail(EMC_ERR_ARG, "a table of %d columns", n);
    EMC_TRY(emc_alloc(&table->columns, (size_t)n, sizeof *table->columns, "columns"));
    EMC_TRY(emc_alloc(&table->names, (size_t)n, sizeof *table->names, "columns"));
    table->n_columns = n;
    for (int i = 0; i < n; i++) {
        const char *name = columns[i].name;
        if (!name || !*name || emc_utf8_valid(name, strlen(name)) < strlen(name) ||
            columns[i].digits < 0 || columns[i].digits > 17 || columns[i].type < 0 ||
            columns[i].type > EMC_COLUMN_FLOAT)
            return emc_fail(EMC_ERR_ARG, "table column %d \"%s\": bad name, type or digits", i,
                            name ? name : "");
        for (int j = 0; j < i; j++)
            if (strcmp(table->names[j], name) == 0)
                return emc_fail(EMC_ERR_ARG, "table column \"%s\" comes twice", name);
        EMC_TRY(emc_copy_string(&table->names[i], name));
        table->columns[i] = columns[i];
        table->columns[i].name = table->names[i];
        if (columns[i].digits == 0)
            table->columns[i].digits = 6;
    }
    return EMC_OK;
}

/* Runs the compressor until it has taken all input. */
static emc_status deflate_bytes(emc_table *table, const void *bytes, size_t n, int flush)
{
    int code;

    table->stream.next_in = (unsigned char *)(uintptr_t)bytes;
    table->stream.avail_in = (uInt)n;
    do {
        table->stream.next_out = table->packed;
        table->stream.avail_out = GZIP_BYTES;
        code = deflate(&table->stream, flush);
        if (code == Z_STREAM_ERROR)
            return emc_fail(EMC_ERR_INTERNAL, "zlib refuses to compress");
        EMC_TRY(
            emc_out_file_write(table->file, table->packed, GZIP_BYTES - table->stream.avail_out));
    } while (table->stream.avail_out == 0);
    return EMC_OK;
}

static emc_status write_row(emc_table *table)
{
    const char *bytes = table->row.bytes;
    size_t left = table->row.n;

    if (!table->gzip)
        return emc_out_file_write(table->file, bytes, left);
    while (left > 0) {
        const size_t n = left < (1u << 30) ? left : 1u << 30; /* zlib counts in 32 bits */
        EMC_TRY(deflate_bytes(table, bytes, n, Z_NO_FLUSH));
        bytes += n;
        left -= n;
    }
    return EMC_OK;
}

static char separator(const emc_table *table)
{
    return table->format == EMC_TABLE_TSV ? '\t' : ',';
}

static emc_status write_header(emc_table *table)
{
    if (table->format == EMC_TABLE_JSONL)
        return EMC_OK;
    for (int i = 0; i < table->n_columns; i++) {
        const char between = separator(table);
        if (i > 0)
            EMC_TRY(emc_text_add(&table->row, &between, 1));
        EMC_TRY(emc_text_add_csv(&table->row, table->names[i], between));
    }
    EMC_TRY(emc_text_add(&table->row, "\n", 1));
    EMC_TRY(write_row(table));
    emc_text_clear(&table->row);
    return EMC_OK;
}

emc_status emc_table_open(emc_table **out, const char *path, emc_table_format format,
                          const emc_column *columns, int n_columns)
{
    emc_status status;
    emc_table *table = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&table, 1, sizeof *table, "a table"));
    table->format = format;
    status = choose_format(&table->format, &table->gzip, path);
    if (status == EMC_OK)
        status = copy_columns(table, columns, n_columns);
    if (status == EMC_OK)
        status = emc_out_file_open(&table->file, path);
    if (status == EMC_OK && table->gzip) {
        status = emc_alloc(&table->packed, GZIP_BYTES, 1, "a compressor");
        /* 16 more than the largest window asks for a gzip header, which zlib writes without time
         * or name, so that equal tables are equal files. */
        if (status == EMC_OK && deflateInit2(&table->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                             MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            status = emc_fail(EMC_ERR_NOMEM, "no memory for a compressor");
        table->deflating = status == EMC_OK;
    }
    if (status == EMC_OK)
        status = write_header(table);
    if (status == EMC_OK) {
        *out = table;
        table = NULL;
    }
    emc_table_close(table);
    return status;
}

void emc_table_close(emc_table *table)
{
    if (!table)
        return;
    if (table->deflating)
        deflateEnd(&table->stream);
    emc_out_file_close(table->file);
    for (int i = 0; table->names && i < table->n_columns; i++)
        free(table->names[i]);
    free(table->names);
    free(table->columns);
    free(table->packed);
    emc_text_free(&table->row);
    free(table);
}

/* Everything before a field's value. */
static emc_status begin_field(emc_table *table, int type)
{
    const bool is_json = table->format == EMC_TABLE_JSONL;
    const char between = separator(table);

    if (table->at == table->n_columns)
        return emc_fail(EMC_ERR_ARG, "a table row of more than %d fields", table->n_columns);
    if (type >= 0 && (int)table->columns[table->at].type != type)
        return emc_fail(EMC_ERR_ARG, "table column \"%s\" is of another type",
                        table->names[table->at]);
    if (table->at > 0 || is_json)
        EMC_TRY(emc_text_add(&table->row, table->at > 0 ? &between : "{", 1));
    if (is_json) {
        EMC_TRY(emc_text_add_json(&table->row, table->names[table->at],
                                  strlen(table->names[table->at])));
        EMC_TRY(emc_text_add(&table->row, ":", 1));
    }
    table->at++;
    return EMC_OK;
}

emc_status emc_table_missing(emc_table *table)
{
    EMC_TRY(begin_field(table, -1));
    return table->format == EMC_TABLE_JSONL ? emc_text_add_string(&table->row, "null") : EMC_OK;
}

emc_status emc_table_string(emc_table *table, const char *value)
{
    if (!value) {
        EMC_TRY(begin_field(table, EMC_COLUMN_STRING));
        return table->format == EMC_TABLE_JSONL ? emc_text_add_string(&table->row, "null") : EMC_OK;
    }
    const size_t n = strlen(value);
    if (emc_utf8_valid(value, n) < n)
        return emc_fail(EMC_ERR_ARG, "a table field that is not UTF-8");
    EMC_TRY(begin_field(table, EMC_COLUMN_STRING));
    if (table->format == EMC_TABLE_JSONL)
        return emc_text_add_json(&table->row, value, n);
    return emc_text_add_csv(&table->row, value, separator(table));
}

emc_status emc_table_int(emc_table *table, int64_t value)
{
    EMC_TRY(begin_field(table, EMC_COLUMN_INT));
    return emc_text_addf(&table->row, "%lld", (long long)value);
}

emc_status emc_table_float(emc_table *table, double value)
{
    char text[EMC_DECIMAL_BYTES];

    EMC_TRY(begin_field(table, EMC_COLUMN_FLOAT));
    if (!isfinite(value))
        return table->format == EMC_TABLE_JSONL ? emc_text_add_string(&table->row, "null") : EMC_OK;
    const size_t n = emc_decimal_write(text, value, table->columns[table->at - 1].digits);
    return emc_text_add(&table->row, text, n);
}

emc_status emc_table_end_row(emc_table *table)
{
    if (table->at < table->n_columns)
        return emc_fail(EMC_ERR_ARG, "a table row of %d fields, wanted %d", table->at,
                        table->n_columns);
    EMC_TRY(emc_text_add_string(&table->row, table->format == EMC_TABLE_JSONL ? "}\n" : "\n"));
    EMC_TRY(write_row(table));
    emc_text_clear(&table->row);
    table->at = 0;
    return EMC_OK;
}

emc_status emc_table_flush(emc_table *table)
{
    if (table->at > 0)
        return emc_fail(EMC_ERR_ARG, "a table row is unfinished");
    if (table->gzip)
        EMC_TRY(deflate_bytes(table, "", 0, Z_SYNC_FLUSH));
    return emc_out_file_flush(table->file);
}

emc_status emc_table_commit(emc_table *table)
{
    if (table->at > 0)
        return emc_fail(EMC_ERR_ARG, "a table row is unfinished");
    if (table->gzip)
        EMC_TRY(deflate_bytes(table, "", 0, Z_FINISH));
    return emc_out_file_commit(table->file);
}

const char *emc_table_temporary(const emc_table *table)
{
    return emc_out_file_temporary(table->file);
}
