#pragma once
/*
 * What many workers make of one run folder, in one process and in time that is not lived through:
 * the files and the claims are real (annotate/ledger.h, one ledger a worker, each as if on a
 * machine of its own), only the clock and the devices are played.
 *
 * A worker does as annotate/work.c: it holds up to three shards, computes them one after the other,
 * publishes each when it is computed, asks for the next at once, and where others have what is left
 * asks again each second. Claiming and publishing take none of its time: they have a thread of
 * their own and two shards ahead (bench/cluster/run_claims measures them).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *dir; /* an empty folder */
    int n_workers;
    int64_t n_cells, shard_cells;
    double cells_per_s;  /* of a worker, on average over workers */
    double spread;       /* standard deviation of that among workers, as a share */
    double shard_spread; /* of the time of equal shards on one worker */
    double lost_every_s; /* so often one worker that is there is lost, its claims stay; 0: never */
    double back_after_s; /* so long after it a new one takes its place; below 0: never */
    uint64_t seed;       /* equal seeds give equal figures, but for the real seconds */
} cluster_options;

typedef struct {
    int64_t n_shards;
    double end_s; /* when the last worker left */
    /* Cells over those that the workers' speeds give in the time that they were there: from a
     * worker's start until it is lost, or learns that nothing is left. */
    double efficiency;
    double efficiency_with_gaps; /* as if a worker that is to be replaced were there meanwhile */
    double tail_s;               /* from the first worker that had to wait to the end */
    double lost_work_s;          /* computed by workers that were lost before they published */
    int n_lost;
    int64_t n_doubled; /* shards computed more often than once */
    int64_t n_asked;   /* calls of emc_ledger_claim */
    /* Of this machine. */
    double claim_s, publish_s, beat_s, real_s;
} cluster_figures;

/* At its end every shard has one whole file with its own number in it, no claim of a worker that
 * lives is left, and one worker got the merge lock. EMC_ERR_INTERNAL: not so. Else the errors of
 * the ledger; EMC_ERR_ARG for options outside of what is possible. */
emc_status cluster_simulate(cluster_figures *out, const cluster_options *options);

#ifdef __cplusplus
}
#endif
