#include "annotate/part.h"

#include <stdlib.h>

#include "annotate/ledger.h"

static emc_status check_rows(const emc_shard *part, int64_t n, const char *path,
                             const emc_shard_head *head, const emc_input *input)
{
    for (int64_t i = 0; i < n; i++) {
        emc_result_row row;
        emc_shard_get(part, i, &row);
        if (row.row != emc_input_row(input, head->first + i))
            return emc_fail(EMC_ERR_FORMAT, "%s: its cell %lld is row %lld, wanted row %lld", path,
                            (long long)i, (long long)row.row,
                            (long long)emc_input_row(input, head->first + i));
    }
    return EMC_OK;
}

emc_status emc_part_open(emc_shard **out, int64_t *n, const char *dir, const emc_plan *plan,
                         const emc_input *input, int64_t shard)
{
    emc_shard_head head;
    char *path;

    *out = NULL;
    emc_plan_shard(plan, shard, &head);
    EMC_TRY(emc_ledger_part_path(&path, dir, shard));
    emc_status status = emc_shard_open_part(out, n, path, &head);
    if (status == EMC_OK && input)
        status = check_rows(*out, *n, path, &head, input);
    if (status != EMC_OK) {
        emc_shard_close(*out);
        *out = NULL;
    }
    free(path);
    return status;
}

emc_status emc_part_count(int64_t *n_cells, const char *dir, const emc_plan *plan,
                          const int64_t *shards, int n_shards)
{
    *n_cells = 0;
    for (int i = 0; i < n_shards; i++) {
        emc_shard *part;
        int64_t n;
        const emc_status status = emc_part_open(&part, &n, dir, plan, NULL, shards[i]);
        if (status == EMC_ERR_NOMEM)
            return status;
        if (status == EMC_OK)
            *n_cells += n;
        emc_shard_close(part);
    }
    return EMC_OK;
}
