#include "annotate/input_files.h"

#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/mtx_names.h"
#include "cells/source.h"

/* What zarr arrays and groups describe themselves in, versions 2 and 3; and where anndata keeps
 * matrices, cells and genes. */
static const char *const zarr_names[] = {".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json",
                                         "X",       "raw",     "layers",  "obs",        "var"};

static bool is_part_of_zarr(void *context, const char *name)
{
    (void)context;
    for (size_t i = 0; i < EMC_COUNT(zarr_names); i++) {
        if (strcmp(name, zarr_names[i]) == 0)
            return true;
    }
    return false;
}

/* All NULL when it is no 10x matrix. */
static emc_status find_tables(mtx_paths *tables, const char *path)
{
    *tables = (mtx_paths){0};
    if (emc_is_directory(path)
            ? !cells_mtx_is_folder(path)
            : !cells_path_ends(path, ".mtx") && !cells_path_ends(path, ".mtx.gz"))
        return EMC_OK;
    EMC_TRY(cells_mtx_find_matrix(tables, path));
    return cells_mtx_find_names(tables);
}

emc_status emc_input_fingerprint(emc_hash *out, const char *path)
{
    emc_hash hashes[4] = {0};
    mtx_paths tables;
    emc_status status = find_tables(&tables, path);
    const char *const files[] = {tables.matrix, tables.barcodes, tables.features};

    if (status == EMC_OK)
        status = emc_fingerprint_some(&hashes[0], path, is_part_of_zarr, NULL);
    for (size_t i = 0; i < EMC_COUNT(files) && status == EMC_OK; i++) {
        if (files[i])
            status = emc_fingerprint(&hashes[1 + i], files[i]);
    }
    if (status == EMC_OK)
        *out = tables.matrix ? emc_hash_of(hashes, sizeof hashes) : hashes[0];
    cells_mtx_paths_free(&tables);
    return status;
}

emc_status emc_input_spare(const char *path, const char *output)
{
    mtx_paths tables;
    emc_status status = find_tables(&tables, path);
    const char *const files[] = {path, tables.matrix, tables.barcodes, tables.features};

    for (size_t i = 0; i < EMC_COUNT(files) && status == EMC_OK; i++) {
        if (files[i] && strcmp(output, "-") != 0 && emc_same_file(output, files[i]))
            status =
                emc_fail(EMC_ERR_USAGE, "%s: would overwrite %s, which is read; name another file",
                         output, files[i]);
    }
    cells_mtx_paths_free(&tables);
    return status;
}
