#pragma once
/* From claims to shards: the cells of a run's free shards through the model, each shard published
 * when it is whole. */

#include <stdint.h>

#include "annotate/flow.h"
#include "annotate/ledger.h"
#include "annotate/plan.h"
#include "annotate/session.h"
#include "annotate/stream.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const emc_session *session; /* with its model */
    const emc_plan *plan;
    emc_ledger *ledger;
    const char *run_dir;   /* its folder */
    emc_stream *stream;    /* gets the shards that are published; may be NULL */
    int64_t n_done_before; /* cells in shards that were finished; for the progress */
    double begin;          /* of the whole call, emc_seconds() */

    int64_t n_answered; /* out: cells that came back; those asked; tokens of their prompts */
    int64_t n_asked, n_prompt_tokens;
    emc_flow_view flow; /* out: what the threads did */
} emc_work;

/*
 * Returns when every shard is done or parked, by this process or another. What it claimed and did
 * not publish stays claimed until the ledger closes. Errors as emc_pipeline_run and emc_ledger;
 * EMC_ERR_IO, too, when the input is no longer the file that was opened, and when nobody reads the
 * stream any more.
 *
 * A shard with a part begins behind it. After an error that says nothing of the answers so far, the
 * answered beginning of the shard in work is kept as its part; that this fails is logged, and the
 * error stays the first one.
 */
emc_status emc_work_run(emc_work *work);

#ifdef __cplusplus
}
#endif
