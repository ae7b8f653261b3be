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

#ifdef __cplusplus
}
#endif
