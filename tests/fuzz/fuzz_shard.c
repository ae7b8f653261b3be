/* A shard file with a checksum that is right, whatever it holds. */
#include <stdlib.h>
#include <string.h>

#include "annotate/shard_parse.h"
#include "fuzz.h"

static void put(uint8_t *at, uint64_t value, int n)
{
    for (int i = 0; i < n; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

/* The head that is wanted stands in front of the rows, unless the first byte says otherwise. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const uint8_t bits = fuzz_u8(&input);
    const emc_shard_head wanted = {.shard = 3,
                                   .first = 12,
                                   .n_cells = bits & 4 ? INT64_MAX : bits >> 4,
                                   .n_labels = fuzz_below(&input, 4)};
    const size_t n = EMC_SHARD_HEAD_BYTES + input.n + EMC_SHARD_HASH_BYTES;
    uint8_t *bytes = calloc(n, 1);
    emc_shard *shard;

    fuzz_require(bytes != NULL, "memory");
    memcpy(bytes, "EMCSHARD", 8);
    put(bytes + 8, EMC_SHARD_VERSION, 4);
    put(bytes + 12, (uint64_t)wanted.n_labels, 4);
    put(bytes + 16, n, 8);
    put(bytes + 24, (uint64_t)wanted.shard, 8);
    put(bytes + 32, (uint64_t)wanted.first, 8);
    put(bytes + 40, (uint64_t)wanted.n_cells, 8);
    memcpy(bytes + EMC_SHARD_HEAD_BYTES, input.at, input.n);
    if (bits & 1 && input.n > 8)
        memcpy(bytes + 8 + bits % 48, input.at, 8);
    const emc_hash hash = emc_hash_of(bytes, n - EMC_SHARD_HASH_BYTES);
    memcpy(bytes + n - EMC_SHARD_HASH_BYTES, hash.bytes, EMC_SHARD_HASH_BYTES);
    const emc_status status = emc_shard_parse(&shard, bytes, n, "s.shard", &wanted);
    fuzz_check(status, "s.shard");
    for (int64_t i = 0; status == EMC_OK && i < wanted.n_cells; i++) {
        emc_result_row row;
        emc_shard_get(shard, i, &row);
        fuzz_require(strlen(row.cell_id) < n && row.verdict.reason, "a row is whole");
        fuzz_require((unsigned)row.verdict.status < EMC_N_CELL_STATUSES &&
                         row.verdict.label >= -1 && row.verdict.label < wanted.n_labels,
                     "status and label are there");
        for (int k = 0; k < EMC_TOP; k++)
            fuzz_require(row.verdict.top[k] >= -1 && row.verdict.top[k] < wanted.n_labels,
                         "the likeliest labels are there");
        for (int k = 0; row.probs && k < wanted.n_labels; k++)
            fuzz_require(row.probs[k] >= 0 || !(row.probs[k] >= 0), "probabilities are there");
    }
    emc_shard_close(shard);
    free(bytes);
    return 0;
}
