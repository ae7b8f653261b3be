#pragma once
/* Which libraries and devices does this program run with? For `emcell doctor` and run records. */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *name;  /* "HDF5" */
    char version[128]; /* "1.10.8"; of the library that is loaded, not of its headers */
    const char *what;  /* what it is used for */
} emc_library_version;

/* Fills entry `index`; false past the last. */
bool emc_about_library(int index, emc_library_version *out);

typedef struct {
    const char *name;    /* "zstd" */
    const char *version; /* "" where the library tells none; NULL: this build lacks it */
    const char *where;   /* where it occurs: "HDF5 filter 32015, zarr" */
} emc_codec_version;

/* What this build can unpack: entry `index`; false past the last. Strings are static. */
bool emc_about_codec(int index, emc_codec_version *out);

/* Whether several threads may call the HDF5 library that is loaded. */
bool emc_about_hdf5_threads(void);

#ifdef __cplusplus
}
#endif
