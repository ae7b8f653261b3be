/* What can this build unpack? */
#include "cells/storage.h"

#include "cells/codec.h"
#include "cells/h5.h"

#ifdef EMCELL_HAVE_ZIP
#include <zip.h>
#endif

static const char *zip_version(void)
{
#ifdef EMCELL_HAVE_ZIP
    return zip_libzip_version();
#else
    return NULL;
#endif
}

/* A filter that is in the HDF5 library itself, or not. */
static const char *built_in(H5Z_filter_t id)
{
    cells_h5_guard guard;

    cells_h5_enter(&guard);
    const bool is = H5Zfilter_avail(id) > 0;
    cells_h5_leave(&guard);
    return is ? "" : NULL;
}

static const char *version_of(cells_codec codec)
{
    const char *version = cells_codec_version(codec);

    return version && version[0] >= '0' && version[0] <= '9' ? version : version ? "" : NULL;
}

bool emc_storage_describe(int index, emc_storage *out)
{
    *out = (emc_storage){0};
    switch (index) {
    case 0:
        *out = (emc_storage){"gzip", version_of(CELLS_CODEC_GZIP), "HDF5 filter 1, zarr, text"};
        return true;
    case 1:
        *out = (emc_storage){"szip", built_in(H5Z_FILTER_SZIP), "HDF5 filter 4"};
        return true;
    case 2:
        *out = (emc_storage){"LZF", version_of(CELLS_CODEC_LZF), "HDF5 filter 32000"};
        return true;
    case 3:
        *out = (emc_storage){"blosc", version_of(CELLS_CODEC_BLOSC), "HDF5 filter 32001, zarr"};
        return true;
    case 4:
        *out = (emc_storage){"LZ4", version_of(CELLS_CODEC_LZ4), "HDF5 filter 32004, zarr"};
        return true;
    case 5:
        *out = (emc_storage){"zstd", version_of(CELLS_CODEC_ZSTD), "HDF5 filter 32015, zarr"};
        return true;
    case 6:
        *out = (emc_storage){"zip", zip_version(), ".zarr.zip"};
        return true;
    default:
        return false;
    }
}

bool emc_storage_threads_hdf5(void)
{
    hbool_t is = false;

    return H5is_library_threadsafe(&is) >= 0 && is;
}
