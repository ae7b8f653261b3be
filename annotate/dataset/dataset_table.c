/* Columns that a file of cells lacks: a CSV or TSV with a line a cell, joined by cell id. */

#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/dataset_parts.h"
#include "base/size.h"
#include "cells/record.h"

#define MAX_COLUMNS 8

struct emc_dataset_table {
    emc_str_map *ids;    /* to rows */
    const char **values; /* [rows][n_columns] */
    size_t n_values, capacity;
    int n_columns;
    int place[MAX_COLUMNS]; /* field of each column; -1: not in the table */
};

static bool is_missing(const char *text)
{
    static const char *const words[] = {"", "NA", "NaN", "nan"};

    for (size_t i = 0; i < EMC_COUNT(words); i++)
        if (strcmp(words[i], text) == 0)
            return true;
    return false;
}

static emc_status read_header(emc_dataset_table *table, const cells_records *records,
                              size_t n_fields, const char *path, const char *id_column,
                              const char *const *columns, size_t *id_place)
{
    *id_place = n_fields;
    for (int c = 0; c < table->n_columns; c++)
        table->place[c] = -1;
    for (size_t f = 0; f < n_fields; f++) {
        const char *name = cells_records_field(records, f);
        if (strcmp(name, id_column) == 0) {
            if (*id_place < n_fields)
                return emc_fail(EMC_ERR_FORMAT, "%s: line 1: column \"%s\" comes twice", path,
                                name);
            *id_place = f;
        }
        for (int c = 0; c < table->n_columns; c++) {
            if (!columns[c] || strcmp(name, columns[c]) != 0)
                continue;
            if (table->place[c] >= 0)
                return emc_fail(EMC_ERR_FORMAT, "%s: line 1: column \"%s\" comes twice", path,
                                name);
            table->place[c] = (int)f;
        }
    }
    if (*id_place == n_fields)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: no column \"%s\", which the recipe's table names as "
                        "that of cell ids",
                        path, id_column);
    return EMC_OK;
}

static emc_status read_row(emc_dataset_table *table, emc_dataset_strings *strings,
                           const cells_records *records, size_t n_fields, size_t n_header,
                           size_t id_place, const char *path)
{
    const long long line = (long long)cells_records_line(records);
    const size_t row = emc_str_map_count(table->ids);
    const char *id;
    bool existed;

    if (n_fields != n_header)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: %zu fields, the header has %zu", path, line,
                        n_fields, n_header);
    if (row >= INT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: too many rows", path, line);
    id = cells_records_field(records, id_place);
    EMC_TRY(emc_str_map_put(table->ids, id, strlen(id), (int32_t)row, &existed));
    if (existed)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: cell \"%s\" is listed already", path, line,
                        id);
    EMC_TRY(emc_reserve(&table->values, &table->capacity,
                        table->n_values + (size_t)table->n_columns, sizeof(*table->values),
                        "table"));
    for (int c = 0; c < table->n_columns; c++) {
        const char **value = &table->values[table->n_values++];
        *value = NULL;
        if (table->place[c] < 0)
            continue;
        const char *text = cells_records_field(records, (size_t)table->place[c]);
        if (!is_missing(text))
            EMC_TRY(emc_dataset_word(strings, value, text));
    }
    return EMC_OK;
}

emc_status emc_dataset_table_open(emc_dataset_table **out, emc_dataset_strings *strings,
                                  const char *path, const char *id_column,
                                  const char *const *columns, int n_columns)
{
    emc_dataset_table *table;
    cells_records *records = NULL;
    size_t n_header = 0, n_fields = 0, id_place = 0;
    emc_status status;

    *out = NULL;
    if (n_columns > MAX_COLUMNS)
        return emc_fail(EMC_ERR_ARG, "table: %d columns, at most %d", n_columns, MAX_COLUMNS);
    EMC_TRY(emc_alloc(&table, 1, sizeof(*table), "table"));
    table->n_columns = n_columns;
    status = emc_str_map_open(&table->ids, 1024);
    if (status == EMC_OK)
        status = cells_records_open(&records, path, 0);
    if (status == EMC_OK)
        status = cells_records_next(records, &n_header);
    if (status == EMC_OK && n_header == 0)
        status = emc_fail(EMC_ERR_FORMAT, "%s: empty, wanted a table with a header", path);
    if (status == EMC_OK)
        status = read_header(table, records, n_header, path, id_column, columns, &id_place);
    while (status == EMC_OK) {
        status = cells_records_next(records, &n_fields);
        if (status != EMC_OK || n_fields == 0)
            break;
        status = read_row(table, strings, records, n_fields, n_header, id_place, path);
    }
    cells_records_close(records);
    if (status != EMC_OK)
        emc_dataset_table_close(table);
    else
        *out = table;
    return status;
}

void emc_dataset_table_close(emc_dataset_table *table)
{
    if (!table)
        return;
    emc_str_map_close(table->ids);
    free(table->values);
    free(table);
}

bool emc_dataset_table_has(const emc_dataset_table *table, int column)
{
    return table->place[column] >= 0;
}

bool emc_dataset_table_get(const emc_dataset_table *table, const char *cell_id, int column,
                           const char **value)
{
    const int32_t row = emc_str_map_get(table->ids, cell_id, strlen(cell_id), -1);

    *value =
        row < 0 ? NULL : table->values[(size_t)row * (size_t)table->n_columns + (size_t)column];
    return row >= 0;
}
