#pragma once
/* The finished beginning of a shard, kept in the run folder when its worker was stopped. */

#include <stdint.h>

#include "annotate/input.h"
#include "annotate/plan.h"
#include "annotate/shard.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Reads and checks the part of a shard: *n cells, fewer than the shard has. input, which may be
 * NULL, also tells that the rows are those of the shard's first cells. EMC_ERR_NOT_FOUND: there is
 * none. EMC_ERR_FORMAT: it is damaged, or not of this run; EMC_ERR_IO.
 */
emc_status emc_part_open(emc_shard **out, int64_t *n, const char *dir, const emc_plan *plan,
                         const emc_input *input, int64_t shard);

/* Cells in the parts of these shards, as far as they can be used. EMC_ERR_NOMEM. */
emc_status emc_part_count(int64_t *n_cells, const char *dir, const emc_plan *plan,
                          const int64_t *shards, int n_shards);

#ifdef __cplusplus
}
#endif
