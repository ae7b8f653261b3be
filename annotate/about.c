#include "annotate/about.h"

#include <cjson/cJSON.h>
#include <hdf5.h>
#include <stdio.h>
#include <zlib.h>

#include "cells/storage.h"

bool emc_about_library(int index, emc_library_version *out)
{
    unsigned major = 0, minor = 0, release = 0;

    *out = (emc_library_version){0};
    switch (index) {
    case 0:
        out->name = "HDF5";
        out->what = "reads .h5ad";
        H5get_libversion(&major, &minor, &release);
        snprintf(out->version, sizeof(out->version), "%u.%u.%u", major, minor, release);
        return true;
    case 1:
        out->name = "zlib";
        out->what = "reads and writes .gz";
        snprintf(out->version, sizeof(out->version), "%s", zlibVersion());
        return true;
    case 2:
        out->name = "cJSON";
        out->what = "reads JSON";
        snprintf(out->version, sizeof(out->version), "%s", cJSON_Version());
        return true;
    case 3:
        /* Of the tables that tokenizer/ was generated from. */
        out->name = "Unicode";
        out->what = "splits text; normal form C is that of 9.0, as the reference tokenizer's";
        snprintf(out->version, sizeof(out->version), "16.0");
        return true;
    default:
        return false;
    }
}

bool emc_about_codec(int index, emc_codec_version *out)
{
    emc_storage storage;
    const bool is = emc_storage_describe(index, &storage);

    *out = (emc_codec_version){storage.name, storage.version, storage.where};
    return is;
}

bool emc_about_hdf5_threads(void)
{
    return emc_storage_threads_hdf5();
}
