/* Every decoder of compressed pieces, into a buffer of exactly the size that is allowed. */
#include <stdlib.h>

#include "cells/codec.h"
#include "fuzz.h"

#define MOST_BYTES ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const cells_codec codec = (cells_codec)fuzz_below(&input, CELLS_N_CODECS);
    size_t capacity = (size_t)fuzz_u64(&input, 3), claim = 0, n = 0;

    if (cells_codec_claim(&claim, codec, input.at, input.n) && claim <= MOST_BYTES &&
        capacity % 2 == 0)
        capacity = claim;
    if (capacity > MOST_BYTES)
        capacity = MOST_BYTES;
    uint8_t *to = malloc(capacity ? capacity : 1);
    fuzz_require(to != NULL, "memory");
    fuzz_check(cells_codec_decode(codec, to, capacity, &n, input.at, input.n, "a piece"),
               "a piece");
    fuzz_require(n <= capacity, "no more than there is room for");
    free(to);
    return 0;
}
