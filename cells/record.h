#pragma once
/* The records of a delimited text file, plain or gzip, by RFC 4180: matrices, and tables of what is
 * known of cells. */

#include "base/text.h"

typedef struct cells_records cells_records;

/* delimiter 0: found from the first two lines: the one of tab, comma and semicolon outside quotes
 * that both have as often (or the second once more), else the most frequent in the first, else runs
 * of blanks. A byte order mark is skipped. Errors as emc_cells_open. */
emc_status cells_records_open(cells_records **out, const char *path, char delimiter);
void cells_records_close(cells_records *records);

/* The next record that is not an empty line; *n_fields is 0 at the end. Fields are NUL-terminated
 * and good until the next call. EMC_ERR_FORMAT: a NUL byte, an open quote, damaged gzip, a record
 * over 1 GiB. */
emc_status cells_records_next(cells_records *records, size_t *n_fields);
const char *cells_records_field(const cells_records *records, size_t i);

/* The line that the last record starts on, from 1. */
int64_t cells_records_line(const cells_records *records);
char cells_records_delimiter(const cells_records *records);

/* A decimal number; "NA", "NaN" and "nan" are NaN. False for anything else. */
bool cells_parse_number(double *out, const char *text);
