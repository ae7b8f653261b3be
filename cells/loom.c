/* Where does a loom file keep its cells, its genes and its matrix? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/size.h"
#include "base/str_map.h"
#include "cells/hdf5.h"

/* Names that loompy, velocyto, scanpy and SCope give, the most usual first; case does not matter.
 */
static const char *const cell_names[] = {"CellID",  "obs_names", "cell_id",      "cell_names",
                                         "barcode", "barcodes",  "cell_barcode", "cell",
                                         "cells",   "_index",    "index"};
static const char *const symbol_names[] = {
    "Gene",         "var_names",   "gene_names",   "gene_name", "GeneName",
    "feature_name", "gene_symbol", "gene_symbols", "symbol",    "name",
    "features",     "_index",      "index"};
static const char *const id_names[] = {"Accession",  "gene_ids",    "gene_id", "GeneID",
                                       "ensembl_id", "ensembl_ids", "ensembl", "ENSEMBL",
                                       "feature_id", "id"};

/* The first of cell_names hold names for certain. */
#define N_SURE_CELL_NAMES ((size_t)2)

bool cells_loom_is(hid_t root)
{
    return cells_h5_has(root, "matrix") && cells_h5_has(root, "row_attrs") &&
           cells_h5_has(root, "col_attrs");
}

/* The attributes of one value a row or column, by name. */
static emc_status list_attributes(cells_strings *out, hid_t group, const char *path)
{
    cells_strings names = {0};
    emc_status status = cells_h5_names(group, &names, path);

    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *name = cells_strings_at(&names, i);
        const hid_t object = H5Oopen(group, name, H5P_DEFAULT);
        const hid_t space =
            object >= 0 && H5Iget_type(object) == H5I_DATASET ? H5Dget_space(object) : -1;
        if (space >= 0 && H5Sget_simple_extent_ndims(space) == 1)
            status = cells_strings_add(out, name, strlen(name), path);
        if (space >= 0)
            H5Sclose(space);
        cells_h5_close(object);
    }
    cells_strings_free(&names);
    return status;
}

/* The list's spelling of a name, or NULL. */
static const char *find_name(const cells_strings *names, const char *wanted)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcasecmp(cells_strings_at(names, i), wanted) == 0)
            return cells_strings_at(names, i);
    return NULL;
}

static const char *find_one_of(const cells_strings *names, const char *const *wanted, size_t n)
{
    const char *found = NULL;

    for (size_t i = 0; i < n && !found; i++)
        found = find_name(names, wanted[i]);
    return found;
}

/* "what; there are: a, b". */
static emc_status fail_with_list(emc_status code, const char *path, const cells_strings *names,
                                 const char *place, const char *what)
{
    emc_text all = {0};
    emc_status status = cells_h5_list(&all, names);

    if (status == EMC_OK)
        status =
            emc_fail(code, "%s: %s; %s has: %s", path, what, place, all.n ? all.bytes : "nothing");
    emc_text_free(&all);
    return status;
}

/* The first usual column that holds symbols. */
static emc_status take_symbols(const char **name, cells_file *file, hid_t rows,
                               const cells_strings *names)
{
    const char *seen = NULL;

    *name = NULL;
    for (size_t i = 0; i < EMC_COUNT(symbol_names); i++) {
        const char *found = find_name(names, symbol_names[i]);
        if (!found)
            continue;
        EMC_TRY(cells_h5_column(&file->gene_names, rows, found, -1, file->path));
        *name = found;
        if (cells_name_kind_of(&file->gene_names) == CELLS_NAMES_SYMBOLS)
            return EMC_OK;
        seen = found;
        cells_column_free(&file->gene_names);
    }
    *name = NULL;
    return fail_with_list(EMC_ERR_FORMAT, file->path, names, "row_attrs",
                          seen ? "no symbols of genes were found, only ids; name a column with "
                                 "--gene-symbols, or take ids as they are with --gene-symbols "
                                 "gene_ids"
                               : "no names of genes; name a column with --gene-symbols");
}

static emc_status take_named(const char **name, cells_file *file, hid_t rows,
                             const cells_strings *names, const emc_cells_options *options)
{
    const char *wanted = options->gene_symbols;
    const bool is_index = !strcmp(wanted, "index");
    emc_status status;
    emc_text what = {0};

    *name = NULL;
    for (size_t i = 0; i < names->n && !*name; i++)
        if (strcmp(cells_strings_at(names, i), wanted) == 0)
            *name = cells_strings_at(names, i);
    /* A table of symbols wants ids. */
    if (!*name && (!strcmp(wanted, "gene_ids") || (is_index && options->gene_table)))
        *name = find_one_of(names, id_names, EMC_COUNT(id_names));
    if (!*name && (is_index || !strcmp(wanted, "gene_ids") || !strcmp(wanted, "gene_names")))
        *name = find_one_of(names, symbol_names, EMC_COUNT(symbol_names));
    if (*name)
        return cells_h5_column(&file->gene_names, rows, *name, -1, file->path);
    status = emc_text_addf(&what, "no column \"%s\" of genes", wanted);
    if (status == EMC_OK)
        status = fail_with_list(EMC_ERR_USAGE, file->path, names, "row_attrs", what.bytes);
    emc_text_free(&what);
    return status;
}

static emc_status read_genes(cells_file *file, hid_t root, const emc_cells_options *options)
{
    cells_strings names = {0};
    const char *name = NULL, *id = NULL;
    emc_status status;
    hid_t rows = -1;

    status = cells_h5_open_group(&rows, root, "row_attrs", file->path);
    if (status == EMC_OK)
        status = list_attributes(&names, rows, file->path);
    if (status == EMC_OK)
        status = options->gene_symbols ? take_named(&name, file, rows, &names, options)
                                       : take_symbols(&name, file, rows, &names);
    if (status == EMC_OK)
        id = find_one_of(&names, id_names, EMC_COUNT(id_names));
    if (status == EMC_OK && id && strcmp(id, name) != 0)
        status =
            cells_h5_column(&file->gene_ids, rows, id, (int64_t)file->gene_names.n, file->path);
    file->n_genes = (int)file->gene_names.n;
    file->from_symbols = true; /* Gene repeats, as symbols do */
    if (status == EMC_OK)
        status = emc_text_addf(&file->names, "row_attrs/%s", name);
    cells_strings_free(&names);
    cells_h5_close(rows);
    return status;
}

/* Without names the cells are numbered from 0, as scanpy does. */
static emc_status number_cells(cells_file *file, hid_t matrix)
{
    hsize_t dims[2];

    EMC_TRY(cells_h5_dims(dims, 2, matrix, file->path));
    if (dims[1] > INT32_MAX)
        return cells_h5_fail(EMC_ERR_FORMAT, file->path, matrix, "%llu cells; at most %d are read",
                             (unsigned long long)dims[1], INT32_MAX);
    for (hsize_t i = 0; i < dims[1]; i++) {
        char number[24];
        const int n = snprintf(number, sizeof number, "%llu", (unsigned long long)i);
        EMC_TRY(cells_strings_add(&file->cell_ids.values, number, (size_t)n, file->path));
    }
    file->cell_ids.n = (size_t)dims[1];
    file->n_cells = (int64_t)dims[1];
    return EMC_OK;
}

static emc_status is_unique(bool *unique, const cells_column *names)
{
    emc_str_map *map;
    emc_status status;

    *unique = true;
    EMC_TRY(emc_str_map_open(&map, names->n));
    status = EMC_OK;
    for (size_t i = 0; status == EMC_OK && *unique && i < names->n; i++) {
        const char *name = cells_column_at(names, i);
        bool existed = true;
        if (name)
            status = emc_str_map_put(map, name, strlen(name), 0, &existed);
        *unique = !existed;
    }
    emc_str_map_close(map);
    return status;
}

/* The first usual column of names. One that only may hold them does when no two are the same. */
static emc_status name_cells(cells_file *file, hid_t cells, hid_t matrix,
                             const cells_strings *names)
{
    for (size_t i = 0; i < EMC_COUNT(cell_names); i++) {
        const char *name = find_name(names, cell_names[i]);
        bool unique = true;
        if (!name)
            continue;
        if (i < N_SURE_CELL_NAMES)
            return cells_h5_ids_open(file, cells, name);
        EMC_TRY(cells_h5_column(&file->cell_ids, cells, name, -1, file->path));
        EMC_TRY(is_unique(&unique, &file->cell_ids));
        file->n_cells = (int64_t)file->cell_ids.n;
        if (unique)
            return EMC_OK;
        cells_column_free(&file->cell_ids);
    }
    return number_cells(file, matrix);
}

static emc_status read_cells(cells_file *file, hid_t root, hid_t matrix,
                             const emc_cells_options *options)
{
    cells_strings names = {0};
    emc_status status;
    hid_t cells = -1;

    status = cells_h5_open_group(&cells, root, "col_attrs", file->path);
    if (status == EMC_OK)
        status = list_attributes(&names, cells, file->path);
    if (status == EMC_OK)
        status = name_cells(file, cells, matrix, &names);
    for (int i = 0; status == EMC_OK && i < options->n_obs_columns; i++) {
        const char *name = options->obs_columns[i];
        emc_text what = {0};
        if (emc_is_plain_name(name) && cells_h5_has(cells, name)) {
            status = cells_h5_column(&file->obs[i], cells, name, file->n_cells, file->path);
            continue;
        }
        status = emc_text_addf(&what, "no column \"%s\" of cells", name);
        if (status == EMC_OK)
            status = fail_with_list(EMC_ERR_USAGE, file->path, &names, "col_attrs", what.bytes);
        emc_text_free(&what);
    }
    cells_strings_free(&names);
    cells_h5_close(cells);
    return status;
}

/* "X", and layers as options.layer takes them. */
static emc_status list_layers(cells_strings *out, hid_t root, const char *path)
{
    cells_strings names = {0};
    emc_status status = cells_strings_add(out, "X", 1, path);
    hid_t layers = -1;

    if (status == EMC_OK && cells_h5_has(root, "layers"))
        status = cells_h5_open_group(&layers, root, "layers", path);
    if (status == EMC_OK && layers >= 0)
        status = cells_h5_names(layers, &names, path);
    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *name = cells_strings_at(&names, i);
        emc_text full = {0};
        /* Words of the option that mean something else. */
        const bool is_taken = !strcmp(name, "X") || !strcmp(name, "raw") ||
                              !strcmp(name, "matrix") || !strcmp(name, "auto");
        status = emc_text_addf(&full, "%s%s", is_taken ? "layers/" : "", name);
        if (status == EMC_OK)
            status = cells_strings_add(out, full.bytes, full.n, path);
        emc_text_free(&full);
    }
    cells_strings_free(&names);
    cells_h5_close(layers);
    return status;
}

static emc_status open_layer(hid_t *out, cells_file *file, hid_t root, const char *layer)
{
    cells_strings all = {0};
    emc_text what = {0};
    emc_status status;
    hid_t layers = -1;

    if (!layer || !strcmp(layer, "X") || !strcmp(layer, "matrix")) {
        EMC_TRY(emc_text_add_string(&file->matrix_name, "matrix"));
        return cells_h5_open_dataset(out, root, "matrix", file->path);
    }
    if (strncmp(layer, "layers/", 7) == 0)
        layer += 7;
    EMC_TRY(emc_text_addf(&file->matrix_name, "layers/%s", layer));
    if (cells_h5_has(root, "layers"))
        EMC_TRY(cells_h5_open_group(&layers, root, "layers", file->path));
    if (layers >= 0 && emc_is_plain_name(layer) && cells_h5_has(layers, layer)) {
        status = cells_h5_open_dataset(out, layers, layer, file->path);
        cells_h5_close(layers);
        return status;
    }
    cells_h5_close(layers);
    status = list_layers(&all, root, file->path);
    if (status == EMC_OK)
        status = emc_text_addf(&what, "no layer \"%s\"", layer);
    if (status == EMC_OK)
        status = fail_with_list(EMC_ERR_USAGE, file->path, &all, "the file", what.bytes);
    cells_strings_free(&all);
    emc_text_free(&what);
    return status;
}

static emc_status advise(cells_file *file, hid_t root)
{
    cells_strings all = {0};
    emc_text list = {0};
    emc_status status = list_layers(&all, root, file->path);

    if (status == EMC_OK)
        status = cells_h5_list(&list, &all);
    if (status == EMC_OK && all.n > 1)
        status =
            emc_text_addf(&file->advice,
                          "choose counts or log-counts with --layer (the file has %s)", list.bytes);
    else if (status == EMC_OK)
        status = emc_text_add_string(&file->advice, "the file has no other layer: write one with "
                                                    "counts or log-counts");
    cells_strings_free(&all);
    emc_text_free(&list);
    return status;
}

emc_status cells_loom_open(cells_file *file, hid_t root, const emc_cells_options *options)
{
    emc_status status;
    hid_t matrix = -1;

    file->format = "loom";
    status = open_layer(&matrix, file, root, options->layer);
    if (status == EMC_OK)
        status = read_genes(file, root, options);
    if (status == EMC_OK)
        status = read_cells(file, root, matrix, options);
    if (status == EMC_OK)
        status = advise(file, root);
    if (status == EMC_OK && file->n_cells > 0 && file->n_genes > 0) {
        status = cells_loom_matrix_open(file, matrix, options);
        matrix = -1;
    }
    cells_h5_close(matrix);
    return status;
}

emc_status cells_loom_list(cells_catalog *catalog, hid_t root, const char *path)
{
    cells_strings names = {0};
    emc_status status;
    hid_t cells = -1;

    catalog->format = "loom";
    status = list_layers(&catalog->matrices, root, path);
    if (status == EMC_OK)
        status = cells_h5_open_group(&cells, root, "col_attrs", path);
    if (status == EMC_OK)
        status = list_attributes(&names, cells, path);
    const char *id = find_one_of(&names, cell_names, N_SURE_CELL_NAMES);
    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *name = cells_strings_at(&names, i);
        if (name != id)
            status = cells_strings_add(&catalog->columns, name, strlen(name), path);
    }
    cells_strings_free(&names);
    cells_h5_close(cells);
    return status;
}
