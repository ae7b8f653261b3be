#include "annotate/input_files.h"

#include <string.h>

#include "base/size.h"

/* What zarr arrays and groups describe themselves in, versions 2 and 3. */
static const char *const zarr_files[] = {".zgroup", ".zarray", ".zattrs", ".zmetadata",
                                         "zarr.json"};

/* Where anndata keeps matrices, cells and genes. */
static const char *const zarr_folders[] = {"X", "raw", "layers", "obs", "var"};

/* Ends of the files of an MTX folder; each may have a sample's name before it and .gz behind it. */
static const char *const table_ends[] = {
    ".mtx",      "barcodes.tsv", "barcode.tsv", "cells.tsv",    "features.tsv",
    "genes.tsv", "feature.tsv",  "gene.tsv",    "barcodes.txt", "barcode.txt",
    "cells.txt", "features.txt", "genes.txt",   "feature.txt",  "gene.txt"};

static bool ends_with(const char *name, size_t n, const char *ending)
{
    const size_t n_ending = strlen(ending);

    return n >= n_ending && memcmp(name + n - n_ending, ending, n_ending) == 0;
}

static bool is_table(const char *name)
{
    size_t n = strlen(name);

    if (ends_with(name, n, ".gz"))
        n -= 3;
    for (size_t i = 0; i < EMC_COUNT(table_ends); i++) {
        if (ends_with(name, n, table_ends[i]))
            return true;
    }
    return false;
}

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static bool counts(void *context, const char *name)
{
    (void)context;
    return is_table(name) || is_one_of(name, zarr_files, EMC_COUNT(zarr_files)) ||
           is_one_of(name, zarr_folders, EMC_COUNT(zarr_folders));
}

emc_status emc_input_fingerprint(emc_hash *out, const char *path)
{
    return emc_fingerprint_some(out, path, counts, NULL);
}
