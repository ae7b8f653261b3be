/* Where do names and rows live while a file is read? */
#include "cells/source.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "cells/genes.h"

emc_status cells_strings_add(cells_strings *strings, const char *bytes, size_t n_bytes,
                             const char *where)
{
    const size_t valid = emc_utf8_valid(bytes, n_bytes);

    if (valid < n_bytes)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: byte 0x%02x at offset %zu is not UTF-8; convert the text to UTF-8",
                        where, (unsigned char)bytes[valid], valid);
    if (n_bytes && memchr(bytes, 0, n_bytes))
        return emc_fail(EMC_ERR_FORMAT, "%s: holds a NUL byte", where);
    EMC_TRY(emc_reserve(&strings->offsets, &strings->capacity, strings->n + 1,
                        sizeof *strings->offsets, "names"));
    const size_t start = strings->pool.n;
    EMC_TRY(emc_text_add(&strings->pool, bytes, n_bytes));
    EMC_TRY(emc_text_add(&strings->pool, "", 1));
    strings->offsets[strings->n++] = start;
    return EMC_OK;
}

const char *cells_strings_at(const cells_strings *strings, size_t i)
{
    return strings->pool.bytes + strings->offsets[i];
}

void cells_strings_free(cells_strings *strings)
{
    emc_text_free(&strings->pool);
    free(strings->offsets);
    *strings = (cells_strings){0};
}

const char *cells_column_at(const cells_column *column, size_t i)
{
    if (column->missing && column->missing[i])
        return NULL;
    if (!column->codes)
        return cells_strings_at(&column->values, i);
    return column->codes[i] < 0 ? NULL
                                : cells_strings_at(&column->values, (size_t)column->codes[i]);
}

void cells_column_free(cells_column *column)
{
    cells_strings_free(&column->values);
    free(column->codes);
    free(column->missing);
    *column = (cells_column){0};
}

emc_status cells_rows_reserve(cells_rows *rows, size_t n_rows, size_t n_values)
{
    /* Lists of nothing are lists, too: a reader may add an offset of 0. */
    n_values += n_values == 0;
    EMC_TRY(emc_reserve(&rows->indptr, &rows->rows_capacity, n_rows + 1, sizeof *rows->indptr,
                        "the rows of a block"));
    EMC_TRY(emc_reserve(&rows->genes, &rows->genes_capacity, n_values, sizeof *rows->genes,
                        "the genes of a block"));
    return emc_reserve(&rows->values, &rows->values_capacity, n_values, sizeof *rows->values,
                       "the values of a block");
}

void cells_rows_free(cells_rows *rows)
{
    free(rows->indptr);
    free(rows->genes);
    free(rows->values);
    *rows = (cells_rows){0};
}

void cells_buffers_free(cells_buffers *buffers)
{
    cells_rows_free(&buffers->rows);
    cells_strings_free(&buffers->names);
    free(buffers->ids);
    free(buffers->obs);
    *buffers = (cells_buffers){0};
}

bool cells_path_ends(const char *path, const char *ending)
{
    const size_t n = strlen(path), m = strlen(ending);

    return n >= m && strcasecmp(path + n - m, ending) == 0;
}

static bool is_number(const char *name)
{
    return *name && name[strspn(name, "0123456789")] == '\0';
}

cells_name_kind cells_name_kind_of(const cells_column *names)
{
    size_t n_ensembl = 0, n_numbers = 0;

    for (size_t i = 0; i < names->n; i++) {
        const char *name = cells_column_at(names, i);
        n_ensembl += name && emc_gene_is_ensembl(name);
        n_numbers += name && is_number(name);
    }
    /* Most, not all: spike-ins and transgenes stand between Ensembl ids without one of their own.
     */
    if (2 * n_ensembl > names->n)
        return CELLS_NAMES_ENSEMBL;
    return n_numbers == names->n ? CELLS_NAMES_NUMBERS : CELLS_NAMES_SYMBOLS;
}
