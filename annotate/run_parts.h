#pragma once
/* Inside annotate/: the pieces that emc_annotate is made of. */

#include "annotate/ledger.h"
#include "annotate/merge.h"
#include "annotate/plan.h"
#include "annotate/run.h"
#include "annotate/run_folder.h"
#include "annotate/session.h"
#include "annotate/stream.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise with the options and the summary. */
typedef struct {
    const emc_annotate_options *options;
    emc_annotate_summary *summary;
    emc_results_options results; /* the options', with this call's callbacks */
    emc_session session;
    emc_run_folder folder;
    emc_plan plan;
    emc_ledger *ledger;
    emc_survey survey;
    emc_stream *stream;  /* EMC_ORDER_FINISHED, once it has begun; else NULL */
    char *merged_before; /* what merged.json held when this process came; NULL: it was not there */
    bool complete;       /* every shard is done, as far as this process has seen */
    double begin;        /* of the call, emc_seconds() */
    bool keep;           /* the folder holds something worth going on with */
} emc_run;

void run_show_stage(const emc_run *run, emc_stage stage, int64_t n_done);
emc_status run_check_cancel(const emc_run *run);

/* ---- run_open.c: which run, and may this process take part? ---- */

/* Everything but the model. When the folder has a run, it is joined, and run->complete says whether
 * there is work left. */
emc_status run_open(emc_run *run);

/* The same checks for a run that is not to be: the folder is looked at, and nothing is written.
 * When it has a run that would be joined, run->plan is that one's. */
emc_status run_look(emc_run *run);

/* The model, when it is not open; a run that nobody has begun is begun. */
emc_status run_need_model(emc_run *run);

/* ---- run_write.c: who writes the results? ---- */

/* What merged.json says; NULL when it is not there. Owned by the caller. */
emc_status run_read_merged(const emc_run *run, char **out);

/* Looks at all shards again, and has damaged ones computed again. */
emc_status run_mend(emc_run *run);

/* Writes the results, or waits until another process has. *repair when shards have to be computed
 * again before. */
emc_status run_write(emc_run *run, bool *repair);

#ifdef __cplusplus
}
#endif
