/* A zarr store of an annotated matrix: the good one, with pieces replaced. */
#include "fuzz_cells.h"

static const char *const names[] = {
    ".zgroup",
    ".zattrs",
    "obs/.zgroup",
    "obs/.zattrs",
    "obs/_index/.zarray",
    "obs/_index/.zattrs",
    "obs/_index/0",
    "obs/label/.zgroup",
    "obs/label/.zattrs",
    "obs/label/codes/.zarray",
    "obs/label/codes/0",
    "obs/label/categories/.zarray",
    "obs/label/categories/0",
    "var/.zgroup",
    "var/.zattrs",
    "var/_index/.zarray",
    "var/_index/.zattrs",
    "var/_index/0",
    "X/.zgroup",
    "X/.zattrs",
    "X/.zarray",
    "X/data/.zarray",
    "X/data/0",
    "X/data/1",
    "X/indices/.zarray",
    "X/indices/0",
    "X/indices/1",
    "X/indptr/.zarray",
    "X/indptr/0",
    "X/0.0",
    "X/1.0",
    ".zmetadata",
    "zarr.json",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const fuzz_input options = fuzz_take(&input, FUZZ_OPTION_BYTES);
    const int kind = fuzz_below(&input, 4);

    if (kind == 3) { /* one file, which says that it is a zip file */
        fuzz_cells(fuzz_write("x.zarr.zip", input.at, input.n), options);
        return 0;
    }
    fuzz_cells(fuzz_files(input, "x.zarr", names, EMC_COUNT(names), false), options);
    return 0;
}
