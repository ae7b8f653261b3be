/* Which steps make an .h5ad with results appear whole under its name? */
#include "cells/h5ad_out.h"

#include "cells/h5.h"

bool emc_h5ad_is(const char *path)
{
    cells_h5_guard guard;
    bool is = false;
    hid_t root;

    cells_h5_enter(&guard);
    if (cells_h5_open_file(&root, path) == EMC_OK) {
        is = cells_h5_has(root, "obs") && cells_h5_has(root, "var");
        cells_h5_close(root);
    }
    cells_h5_leave(&guard);
    return is;
}
