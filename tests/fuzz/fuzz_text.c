/* Text tables: plain, packed by us, and packed bytes that are anything. */
#include <zlib.h>

#include "fuzz_cells.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"x.csv", "x.tsv", "x.txt"};
    static const char *const packed[] = {"x.csv.gz", "x.tsv.gz", "x.txt.gz"};
    fuzz_input input = {data, n_bytes};
    const fuzz_input options = fuzz_take(&input, FUZZ_OPTION_BYTES);
    const int kind = fuzz_below(&input, 9);
    const char *path;

    if (kind < 3) {
        path = fuzz_write(names[kind], input.at, input.n);
    } else if (kind < 6) {
        path = fuzz_write(packed[kind - 3], input.at, input.n);
    } else {
        path = fuzz_path(packed[kind - 6]);
        gzFile file = gzopen(path, "wb1");
        fuzz_require(file && gzwrite(file, input.at, (unsigned)input.n) == (int)input.n &&
                         gzclose(file) == Z_OK,
                     "a file that is written");
    }
    fuzz_cells(path, options);
    return 0;
}
