/* A 10x matrix folder, plain or packed, or a matrix with its names beside it. */
#include <limits.h>
#include <stdio.h>

#include "fuzz_cells.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"matrix.mtx",     "barcodes.tsv",  "features.tsv",
                                        "genes.tsv",      "matrix.mtx.gz", "barcodes.tsv.gz",
                                        "features.tsv.gz"};
    fuzz_input input = {data, n_bytes};
    const fuzz_input options = fuzz_take(&input, FUZZ_OPTION_BYTES);
    const int kind = fuzz_below(&input, 4);
    const char *dir = fuzz_files(input, "mtx", names, EMC_COUNT(names), false);
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s%s", dir,
             kind == 2   ? "/matrix.mtx"
             : kind == 3 ? "/matrix.mtx.gz"
                         : "");
    fuzz_cells(path, options);
    return 0;
}
