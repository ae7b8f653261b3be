#pragma once
/* How many cells are about 20 seconds of work here? */

#include <stdbool.h>
#include <stdint.h>

#include "annotate/pipeline.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Answers the first cells of the input and forgets the answers: one (two where the first took more
 * than half a second), then as many as take half a second, unless one took longer or the whole
 * input is less than a shard. queues: of the device; then at least 64, unless one took four
 * seconds. What cannot be read or asked is left for the run to tell: then a default is given.
 * *shard_cells is 1 to 65,000, of two digits. Callbacks of the pipeline are not called.
 * EMC_ERR_DEVICE, EMC_ERR_CANCELLED.
 */
emc_status emc_trial(int64_t *shard_cells, const emc_pipeline *pipeline, bool queues);

#ifdef __cplusplus
}
#endif
