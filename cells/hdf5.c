/* Which of the formats that live in HDF5 is this file? */
#include "cells/hdf5.h"

#include <string.h>

typedef enum { KIND_H5AD, KIND_TENX, KIND_LOOM, KIND_OTHER } hdf5_kind;

static bool hdf5_matches(const char *path, const unsigned char *head, size_t n_head)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

    if (n_head == 0)
        return false;
    return (n_head >= sizeof signature && memcmp(head, signature, sizeof signature) == 0) ||
           cells_path_ends(path, ".h5ad") || cells_path_ends(path, ".h5") ||
           cells_path_ends(path, ".loom");
}

/* What the root holds decides, not the file's name. */
static hdf5_kind kind_of(hid_t root)
{
    if (cells_h5_has(root, "obs") || cells_h5_has(root, "var") || cells_h5_has(root, "X"))
        return KIND_H5AD;
    if (cells_tenx_is(root))
        return KIND_TENX;
    if (cells_loom_is(root))
        return KIND_LOOM;
    return KIND_OTHER;
}

/* What is there, and what to do about files that are often taken for one of ours. */
static emc_status unknown(hid_t root, const char *path)
{
    emc_status status;
    cells_strings names = {0};
    emc_text found = {0};
    const char *advice = "wanted .h5ad (obs, var, X), 10x (matrix, or a group a genome) or loom "
                         "(matrix, row_attrs, col_attrs)";

    if (cells_h5_has(root, "assays") && cells_h5_has(root, "cell.names"))
        advice = "this is h5Seurat: convert it to .h5ad, or write the counts with "
                 "DropletUtils::write10xCounts";
    else if (cells_h5_has(root, "molecule_info") || cells_h5_has(root, "barcode_idx"))
        advice = "this is Cell Ranger's molecule_info.h5; take filtered_feature_bc_matrix.h5 from "
                 "the same folder";
    status = cells_h5_names(root, &names, path);
    if (status == EMC_OK)
        status = cells_h5_list(&found, &names);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT, "%s: HDF5 of an unknown kind, which holds %s; %s", path,
                          found.n ? found.bytes : "nothing", advice);
    cells_strings_free(&names);
    emc_text_free(&found);
    return status;
}

static emc_status hdf5_open(cells_file *file, const emc_cells_options *options)
{
    cells_h5_guard guard;
    emc_status status;
    hid_t root;

    cells_h5_enter(&guard);
    status = cells_h5_open_file_with(&root, file->path, options->allow_external);
    if (status == EMC_OK) {
        const hdf5_kind kind = kind_of(root);
        status = kind == KIND_H5AD   ? cells_h5ad_open(file, root, options)
                 : kind == KIND_TENX ? cells_tenx_open(file, root, options)
                 : kind == KIND_LOOM ? cells_loom_open(file, root, options)
                                     : unknown(root, file->path);
    }
    cells_h5_close(root); /* the matrix's own handles keep the file open */
    cells_h5_leave(&guard);
    return status;
}

static emc_status hdf5_list(cells_catalog *catalog, const char *path,
                            const emc_cells_options *options)
{
    cells_h5_guard guard;
    emc_status status;
    hid_t root;

    cells_h5_enter(&guard);
    status = cells_h5_open_file_with(&root, path, options->allow_external);
    if (status == EMC_OK) {
        const hdf5_kind kind = kind_of(root);
        status = kind == KIND_H5AD   ? cells_h5ad_list(catalog, root, path)
                 : kind == KIND_TENX ? cells_tenx_list(catalog, root, path)
                 : kind == KIND_LOOM ? cells_loom_list(catalog, root, path)
                                     : unknown(root, path);
    }
    cells_h5_close(root);
    cells_h5_leave(&guard);
    return status;
}

const cells_format cells_format_hdf5 = {hdf5_matches, hdf5_open, hdf5_list};
