/* Which symbol does a table of the user's give each gene of the file? */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "base/str_map.h"
#include "cells/genes.h"
#include "cells/record.h"
#include "cells/source.h"

/* First fields of a line that is a header. */
static const char *const headers[] = {
    "id",         "ids",          "gene_id",         "gene_ids",       "geneid",    "ensembl",
    "ensembl_id", "ensembl_gene", "ensembl_gene_id", "gene stable id", "gene",      "feature_id",
    "gene.id",    "ensg",         "accession",       "gene name",      "gene_name", "initial_alias",
    "name",
};

typedef struct {
    const char *path;
    emc_str_map *ids; /* to the number of a symbol; ids as they are and without their version */
    cells_strings symbols;
} gene_table;

/* The length of an id without the version of an Ensembl id. */
static size_t bare_length(const char *id)
{
    const char *dot = emc_gene_is_ensembl(id) ? strchr(id, '.') : NULL;

    return dot ? (size_t)(dot - id) : strlen(id);
}

static bool is_header(const char *id)
{
    for (size_t i = 0; i < EMC_COUNT(headers); i++)
        if (strcasecmp(id, headers[i]) == 0)
            return true;
    return false;
}

/* One id of a line; the same id again must have the same symbol. */
static emc_status put(gene_table *table, const char *id, size_t n, int32_t symbol, long long line)
{
    bool existed;

    EMC_TRY(emc_str_map_put(table->ids, id, n, symbol, &existed));
    if (!existed)
        return EMC_OK;
    const int32_t before = emc_str_map_get(table->ids, id, n, symbol);
    const char *first = cells_strings_at(&table->symbols, (size_t)before);
    const char *second = cells_strings_at(&table->symbols, (size_t)symbol);
    if (strcmp(first, second) != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: \"%.*s\" is %s, and was %s before",
                        table->path, line, (int)n, id, second, first);
    return EMC_OK;
}

static emc_status read_line(gene_table *table, const cells_records *records, size_t n_fields)
{
    const long long line = (long long)cells_records_line(records);
    const char *id = cells_records_field(records, 0);

    if (n_fields < 2)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: one field, wanted an id and a symbol",
                        table->path, line);
    const char *symbol = cells_records_field(records, 1);
    if ((table->symbols.n == 0 && line == 1 && is_header(id)) || !*id || !*symbol)
        return EMC_OK; /* an id without a symbol keeps its name */
    if (table->symbols.n == INT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: more than %d lines", table->path, INT32_MAX);
    const int32_t at = (int32_t)table->symbols.n;
    const size_t n = strlen(id), n_bare = bare_length(id);
    EMC_TRY(cells_strings_add(&table->symbols, symbol, strlen(symbol), table->path));
    EMC_TRY(put(table, id, n, at, line));
    return n_bare < n ? put(table, id, n_bare, at, line) : EMC_OK;
}

static emc_status read_table(gene_table *table)
{
    cells_records *records = NULL;
    size_t n_fields = 1;
    emc_status status = cells_records_open(&records, table->path, 0);

    while (status == EMC_OK && n_fields > 0) {
        status = cells_records_next(records, &n_fields);
        if (status == EMC_OK && n_fields > 0)
            status = read_line(table, records, n_fields);
    }
    cells_records_close(records);
    if (status == EMC_OK && table->symbols.n == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: it names no gene: wanted lines of id and symbol",
                        table->path);
    return status;
}

static const char *symbol_of(const gene_table *table, const char *id)
{
    int32_t at = emc_str_map_get(table->ids, id, strlen(id), -1);

    if (at < 0)
        at = emc_str_map_get(table->ids, id, bare_length(id), -1);
    return at < 0 ? NULL : cells_strings_at(&table->symbols, (size_t)at);
}

static emc_status rename_genes(cells_file *file, const gene_table *table)
{
    cells_column names = {.n = file->gene_names.n};
    emc_status status = EMC_OK;

    file->n_named = 0;
    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *name = cells_column_at(&file->gene_names, i);
        const char *symbol = name ? symbol_of(table, name) : NULL;
        file->n_named += symbol != NULL;
        if (!symbol)
            symbol = name ? name : "";
        status = cells_strings_add(&names.values, symbol, strlen(symbol), table->path);
    }
    if (status == EMC_OK && file->n_named == 0)
        status =
            emc_fail(EMC_ERR_FORMAT, "%s: none of the %d genes of %s is in it, such as \"%s\"",
                     table->path, file->n_genes, file->path, cells_column_at(&file->gene_names, 0));
    if (status != EMC_OK) {
        cells_column_free(&names);
        return status;
    }
    if (file->gene_ids.n == 0)
        file->gene_ids = file->gene_names;
    else
        cells_column_free(&file->gene_names);
    file->gene_names = names;
    file->from_symbols = true;
    return emc_text_addf(&file->names, " by %s (%d of %d genes are in it)", table->path,
                         file->n_named, file->n_genes);
}

emc_status cells_gene_table_apply(cells_file *file, const char *path)
{
    gene_table table = {.path = path};
    emc_status status;

    if (file->gene_names.n == 0)
        return EMC_OK; /* refused by the caller */
    status = emc_str_map_open(&table.ids, 65536);
    if (status == EMC_OK)
        status = read_table(&table);
    if (status == EMC_OK)
        status = rename_genes(file, &table);
    emc_str_map_close(table.ids);
    cells_strings_free(&table.symbols);
    return status;
}
