#pragma once
/*
 * Inside cells/: the bytes of an HDF5 file that is written. The library does not survive a write
 * that fails: an object whose last bytes cannot be written never closes, and at the program's exit
 * memory is read that was freed. So it is told of no failure. The first one is kept here, nothing
 * reaches the file after it, and the writer asks after each step.
 */

#include <hdf5.h>

#include "base/status.h"

/* Zero-initialise; must stay where it is until the file is closed. */
typedef struct {
    bool lock; /* refuse a file that another program has open */
    int error; /* errno of the first failure; 0: none */
    hid_t driver;
} cells_h5_disk;

/* An access property list for H5Fopen and H5Fcreate, closed by the caller; -1 on failure. */
hid_t cells_h5_disk_access(cells_h5_disk *disk);

/* After the file is closed. */
void cells_h5_disk_close(cells_h5_disk *disk);

/* EMC_ERR_IO when a write has failed: "path: No space left on device". */
emc_status cells_h5_disk_check(const cells_h5_disk *disk, const char *path);
