#pragma once
/* What can this build unpack? For people who ask before they wait for a file. */

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *name;    /* "zstd" */
    const char *version; /* of the library that is loaded, "" where it tells none; NULL: this build
                            lacks it */
    const char *where;   /* "HDF5 filter 32015, zarr" */
} emc_storage;

/* Fills entry `index`; false past the last. Strings are static. */
bool emc_storage_describe(int index, emc_storage *out);

/* Whether the HDF5 library was built so that several threads may call it. */
bool emc_storage_threads_hdf5(void);

#ifdef __cplusplus
}
#endif
