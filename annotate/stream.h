#pragma once
/* Rows of a table as their shards finish: on standard output or a pipe, each once. */

#include <stdint.h>

#include "annotate/merge.h"
#include "annotate/plan.h"
#include "annotate/results.h"
#include "annotate/shard.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_stream emc_stream;

/* EMC_ERR_USAGE: results that cannot come in pieces, an .h5ad, a file, or what needs all cells. */
emc_status emc_stream_check(const emc_results_options *results);

/* Writes the header, so that whoever reads sees it at once. results and plan are borrowed for the
 * life of *out. Errors as emc_table_open; EMC_ERR_IO, here and below: nobody reads any more. */
emc_status emc_stream_open(emc_stream **out, const emc_results_options *results,
                           const emc_plan *plan);
void emc_stream_close(emc_stream *stream); /* NULL is fine */

/* All rows of the shard go out, unless they did before. */
emc_status emc_stream_add(emc_stream *stream, int64_t shard, const emc_shard *rows);

/* So do those of every whole shard of the run's folder, in the order of the input. */
emc_status emc_stream_add_done(emc_stream *stream, const emc_survey *survey, const char *dir);

#ifdef __cplusplus
}
#endif
