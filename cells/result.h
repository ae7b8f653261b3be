#pragma once
/*
 * A table of results, row by row: .csv, .tsv or .jsonl by the file's ending, each also with .gz.
 * It appears under its name only when it is whole. The bytes depend on the values alone.
 */

#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_TABLE_BY_NAME = 0, /* by the ending; "-" is CSV */
    EMC_TABLE_CSV,
    EMC_TABLE_TSV,
    EMC_TABLE_JSONL
} emc_table_format;

typedef enum { EMC_COLUMN_STRING = 0, EMC_COLUMN_INT, EMC_COLUMN_FLOAT } emc_column_type;

typedef struct {
    const char *name; /* UTF-8, not empty, unique */
    emc_column_type type;
    int digits; /* of a FLOAT: significant digits, 1 to 17; 0 is 6. 9 keep any float32, 17 any
                   double. Trailing zeros are not written. */
} emc_column;

typedef struct emc_table emc_table;

/*
 * Writes the header (CSV and TSV). path "-" is standard output, never compressed. Columns are
 * copied. CSV and TSV by RFC 4180 with "\n" line ends; JSONL has one object a line with the
 * columns as keys.
 *
 * EMC_ERR_USAGE: an ending that is none of the above. EMC_ERR_CREATE: the file cannot be made.
 * EMC_ERR_ARG: no column, or one that breaks a limit above.
 */
emc_status emc_table_open(emc_table **out, const char *path, emc_table_format format,
                          const emc_column *columns, int n_columns);

/* EMC_ERR_USAGE where emc_table_open would say so of the name, before any work. */
emc_status emc_table_check(const char *path, emc_table_format format);

/* Removes what was written, unless it was committed. */
void emc_table_close(emc_table *table);

/* The next field of the row. A NULL string, and a number that is not finite, are missing: empty in
 * CSV and TSV, null in JSONL. EMC_ERR_ARG: the column is of another type, the row is full, or the
 * string is not UTF-8. */
emc_status emc_table_string(emc_table *table, const char *value);
emc_status emc_table_int(emc_table *table, int64_t value);
emc_status emc_table_float(emc_table *table, double value);
emc_status emc_table_missing(emc_table *table);

/* EMC_ERR_ARG: a field is not written yet. EMC_ERR_IO: disk full or a closed pipe; here, at a
 * later row or at the commit, never silently. */
emc_status emc_table_end_row(emc_table *table);

/* The rows so far go out, for who reads the other end of a pipe. EMC_ERR_ARG: a row is unfinished.
 * EMC_ERR_IO. */
emc_status emc_table_flush(emc_table *table);

/* Flushes and gives the file its name. EMC_ERR_ARG: a row is unfinished. After that, only close. */
emc_status emc_table_commit(emc_table *table);

/* The name being written to, for a signal handler that must remove it; "" for "-". */
const char *emc_table_temporary(const emc_table *table);

#ifdef __cplusplus
}
#endif
