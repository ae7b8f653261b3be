/* How are the names of cells read by windows from HDF5? */
#include <stdlib.h>

#include "base/size.h"
#include "cells/h5.h"
#include "cells/h5_matrix.h"

typedef struct {
    hid_t dataset;
    cells_h5_values values;
} h5_ids;

static void ids_close(void *source)
{
    h5_ids *ids = source;
    cells_h5_guard guard;

    if (!ids)
        return;
    cells_h5_enter(&guard);
    cells_h5_values_close(&ids->values);
    cells_h5_close(ids->dataset);
    cells_h5_leave(&guard);
    free(ids);
}

static emc_status ids_read(void *source, int64_t first, int64_t n, cells_strings *out)
{
    h5_ids *ids = source;
    cells_h5_guard guard;

    cells_h5_enter(&guard);
    const emc_status status =
        cells_h5_values_strings(out, &ids->values, (hsize_t)first, (hsize_t)n);
    cells_h5_leave(&guard);
    return status;
}

/* A dataset of text: takes it over, also on failure. */
static emc_status take_dataset(cells_file *file, hid_t dataset)
{
    emc_status status;
    h5_ids *ids = NULL;
    hsize_t n = 0;

    status = emc_alloc(&ids, 1, sizeof *ids, "names of cells");
    if (status != EMC_OK) {
        cells_h5_close(dataset);
        return status;
    }
    *ids = (h5_ids){.dataset = dataset, .values = {.type = -1}};
    status = h5_set_chunk_cache(&ids->dataset, 1, 0, file->path);
    if (status == EMC_OK)
        status = cells_h5_values_open(&ids->values, ids->dataset, NULL, file->path);
    if (status == EMC_OK)
        status = cells_h5_values_count(&n, &ids->values, -1);
    if (status != EMC_OK) {
        ids_close(ids);
        return status;
    }
    file->ids = (cells_id_source){.read = ids_read, .close = ids_close, .from = ids};
    file->n_cells = (int64_t)n;
    return EMC_OK;
}

emc_status cells_h5_ids_open(cells_file *file, hid_t frame, const char *name)
{
    hid_t dataset = -1;

    /* One-dimensional text; all else is short enough, or old enough, to be held. */
    if (H5Iget_type(frame) == H5I_GROUP && cells_h5_has(frame, name)) {
        EMC_TRY(cells_h5_open(&dataset, frame, name, file->path));
        if (H5Iget_type(dataset) == H5I_DATASET && cells_h5_class(dataset) == H5T_STRING)
            return take_dataset(file, dataset);
        cells_h5_close(dataset);
    }
    EMC_TRY(cells_h5_column(&file->cell_ids, frame, name, -1, file->path));
    file->n_cells = (int64_t)file->cell_ids.n;
    return EMC_OK;
}
