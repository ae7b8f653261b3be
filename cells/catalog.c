/* Lists what a file has, and opens its matrices one at a time. */
#include "cells/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/source.h"

typedef struct {
    emc_catalog_matrix info;
    char *message, *title, *storage, *dtype, *filters;
} entry;

struct emc_catalog {
    const char *path;
    emc_cells_options options;
    cells_catalog names;
    entry *entries;
    int n;
    bool is_single; /* the format knows of no choice: no layer is asked for */
    emc_cells *cells;
    int opened; /* what `cells` reads; -1: nothing */
};

static emc_status list_names(emc_catalog *catalog)
{
    const cells_format *format;

    EMC_TRY(cells_format_of(&format, catalog->path));
    if (format->list)
        EMC_TRY(format->list(&catalog->names, catalog->path, &catalog->options));
    catalog->is_single = catalog->names.matrices.n == 0;
    if (catalog->is_single)
        EMC_TRY(cells_strings_add(&catalog->names.matrices, "X", 1, catalog->path));
    if (catalog->names.matrices.n > INT32_MAX || catalog->names.columns.n > INT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: too many matrices or columns", catalog->path);
    catalog->n = (int)catalog->names.matrices.n;
    EMC_TRY(emc_alloc(&catalog->entries, (size_t)catalog->n, sizeof *catalog->entries, "matrices"));
    for (int i = 0; i < catalog->n; i++)
        catalog->entries[i].info.name = cells_strings_at(&catalog->names.matrices, (size_t)i);
    return EMC_OK;
}

emc_status emc_catalog_open(emc_catalog **out, const char *path, const emc_cells_options *options)
{
    emc_status status;
    emc_catalog *catalog;

    *out = NULL;
    EMC_TRY(emc_alloc(&catalog, 1, sizeof *catalog, "a catalog"));
    catalog->path = path;
    catalog->opened = -1;
    if (options)
        catalog->options = *options;
    status = list_names(catalog);
    if (status != EMC_OK) {
        emc_catalog_close(catalog);
        return status;
    }
    *out = catalog;
    return EMC_OK;
}

void emc_catalog_close(emc_catalog *catalog)
{
    if (!catalog)
        return;
    emc_cells_close(catalog->cells);
    for (int i = 0; catalog->entries && i < catalog->n; i++) {
        entry *e = &catalog->entries[i];
        free(e->message);
        free(e->title);
        free(e->storage);
        free(e->dtype);
        free(e->filters);
    }
    free(catalog->entries);
    cells_strings_free(&catalog->names.matrices);
    cells_strings_free(&catalog->names.columns);
    free(catalog);
}

const char *emc_catalog_path(const emc_catalog *catalog)
{
    return catalog->path;
}

bool emc_catalog_takes_scaled(const emc_catalog *catalog)
{
    return catalog->options.negative == EMC_NEGATIVE_PASS;
}

int emc_catalog_n_matrices(const emc_catalog *catalog)
{
    return catalog->n;
}

const emc_catalog_matrix *emc_catalog_get(const emc_catalog *catalog, int i)
{
    return &catalog->entries[i].info;
}

int emc_catalog_n_columns(const emc_catalog *catalog)
{
    return (int)catalog->names.columns.n;
}

const char *emc_catalog_column(const emc_catalog *catalog, int i)
{
    return cells_strings_at(&catalog->names.columns, (size_t)i);
}

static emc_status open_matrix(emc_catalog *catalog, int i)
{
    emc_cells_options options = catalog->options;

    if (catalog->opened == i)
        return EMC_OK;
    emc_cells_close(catalog->cells);
    catalog->cells = NULL;
    catalog->opened = -1;
    options.layer = catalog->is_single ? NULL : catalog->entries[i].info.name;
    EMC_TRY(emc_cells_open(&catalog->cells, catalog->path, &options));
    catalog->opened = i;
    return EMC_OK;
}

static emc_status keep_matrix(entry *e, const emc_cells *cells)
{
    emc_cells_matrix matrix;

    emc_cells_get_matrix(cells, &matrix);
    EMC_TRY(emc_copy_string(&e->title, *matrix.name ? matrix.name : e->info.name));
    EMC_TRY(emc_copy_string(&e->storage, matrix.storage));
    EMC_TRY(emc_copy_string(&e->dtype, matrix.dtype));
    EMC_TRY(emc_copy_string(&e->filters, matrix.filters));
    e->info.title = e->title;
    e->info.storage = e->storage;
    e->info.dtype = e->dtype;
    e->info.filters = e->filters;
    e->info.n_values = matrix.n_values;
    e->info.n_cells = emc_cells_n_cells(cells);
    e->info.n_genes = emc_cells_n_genes(cells);
    return EMC_OK;
}

emc_status emc_catalog_look_at(emc_catalog *catalog, int i)
{
    entry *e = &catalog->entries[i];
    emc_status status;

    if (e->info.is_looked_at)
        return EMC_OK;
    e->info.title = e->info.name;
    e->info.message = e->info.storage = e->info.dtype = e->info.filters = "";
    status = open_matrix(catalog, i);
    if (status == EMC_OK)
        status = keep_matrix(e, catalog->cells);
    if (status == EMC_OK)
        status = emc_kind_look_at(&e->info.look, catalog->cells);
    e->info.is_looked_at = true;
    e->info.status = status;
    if (status == EMC_OK)
        return EMC_OK;
    if (catalog->opened == i) { /* after an error a reader is not used again */
        emc_cells_close(catalog->cells);
        catalog->cells = NULL;
        catalog->opened = -1;
    }
    EMC_TRY(emc_copy_string(&e->message, emc_message()));
    e->info.message = e->message;
    return status == EMC_ERR_NOMEM || status == EMC_ERR_IO ? status : EMC_OK;
}

emc_status emc_catalog_take(emc_cells **out, emc_catalog *catalog, int i)
{
    *out = NULL;
    EMC_TRY(open_matrix(catalog, i));
    *out = catalog->cells;
    catalog->cells = NULL;
    catalog->opened = -1;
    return EMC_OK;
}
