/* Which of the formats that live in HDF5 is this file? */
#include <string.h>

#include "cells/h5.h"

static bool hdf5_matches(const char *path, const unsigned char *head, size_t n_head)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

    if (n_head == 0)
        return false;
    return (n_head >= sizeof signature && memcmp(head, signature, sizeof signature) == 0) ||
           cells_path_ends(path, ".h5ad") || cells_path_ends(path, ".h5");
}

static emc_status hdf5_open(cells_file *file, const emc_cells_options *options)
{
    cells_h5_guard guard;
    emc_status status;
    hid_t root;

    cells_h5_enter(&guard);
    status = cells_h5_open_file_with(&root, file->path, options->allow_external);
    if (status == EMC_OK)
        status = cells_h5ad_open(file, root, options);
    cells_h5_close(root); /* the matrix's own handles keep the file open */
    cells_h5_leave(&guard);
    return status;
}

const cells_format cells_format_hdf5 = {hdf5_matches, hdf5_open, NULL};
