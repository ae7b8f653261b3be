#pragma once
/*
 * Who does which shard of a run, and which are done: plain files in the run folder, so that
 * processes on one or many machines share a run and none can lose or double a shard.
 *
 *   claims/000123.1      who has the shard. Made so that one process alone can make it; the last
 *                        number is the claim's turn: a claim is taken over by making the next turn
 *   claims/merge.lock.1  the same for who merges
 *   workers/NAME.id      who a worker is: host, boot, pid and its start, job and restart
 *   workers/NAME.json    the same and how far it is; rewritten every heartbeat
 *   done/000123.shard    written under another name, synced, then linked: it exists when it is
 *                        whole, and the first one stays
 *   parts/000123.part    the finished beginning of a shard whose worker was stopped; whoever claims
 *                        the shard next goes on behind it. The last one that is written stays
 *   failed/000123.1.json one a failed try; after max_tries the shard is parked
 *   failed/000123.damaged-1  a finished file that turned out to be damaged
 *
 * A claim is free at once when its worker is dead on this host (same boot, pid gone or started at
 * another time) or is an earlier start of this worker's own Slurm job. Any other claim is free when
 * its worker's heartbeat has not changed for lease_s of this process's monotonic clock (looked at
 * every ninth of the lease, for many may wait): clocks of other machines and jumps of this one's do
 * not matter. Work done twice is harmless: results are
 * equal and done/ takes the first.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_ledger emc_ledger;

/* Zero-initialised: the defaults. */
typedef struct {
    double heartbeat_s; /* 0: 30 */
    double lease_s;     /* 0: three heartbeats */
    int max_tries;      /* 0: 3 */
    /* Where this worker begins to look: rank of world, so that each reads a run of its own. */
    int rank, world;
    /* The batch system's job, and how often it was started anew; NULL or "": none. A claim of the
     * same job with a lower restart is free at once. Copied; cut at 63 bytes. */
    const char *job;
    int restart;
    /* Seconds on a monotonic clock; NULL: the system's. For tests. */
    double (*now_s)(void *context);
    /* Seconds since 1970 on this machine's clock; NULL: the system's. For tests. */
    double (*wall_s)(void *context);
    void *context;
} emc_ledger_options;

typedef enum {
    EMC_CLAIM_GOT,     /* *shard is this worker's */
    EMC_CLAIM_WAIT,    /* others, or this worker, have what is left: ask again in a second */
    EMC_CLAIM_FINISHED /* every shard is done or parked */
} emc_claim;

/*
 * The folder is there; what lies in it is made where it lacks, and what dead workers left half
 * written is removed. Starts this worker's heartbeat on a thread of its own. Where there are no
 * hard links, files are made exclusively and renamed instead. EMC_ERR_ARG: n_shards < 0, or a rank
 * outside world. EMC_ERR_CREATE: the folder cannot be written to, or makes an exclusive file twice.
 *
 * All functions may be called from any thread; but close comes last.
 */
emc_status emc_ledger_open(emc_ledger **out, const char *dir, int64_t n_shards,
                           const emc_ledger_options *options);

/* Gives back what is claimed and not published, removes the worker's file. NULL is fine. */
void emc_ledger_close(emc_ledger *ledger);

/* Seconds by which the folder's file system was ahead of this machine's clock when the ledger was
 * opened; below 0: behind. Claims and leases do not depend on it, the ages that people see do. */
double emc_ledger_clock_ahead(const emc_ledger *ledger);

/* A worker may hold several claims. EMC_ERR_IO: disk full or the folder is gone; nothing is
 * claimed. EMC_ERR_ARG, here and below: the shard is not this worker's. */
emc_status emc_ledger_claim(emc_ledger *ledger, int64_t *shard, emc_claim *outcome);
emc_status emc_ledger_release(emc_ledger *ledger, int64_t shard);

/* Writes, syncs and links the shard's file, removes its part, and ends the claim; fine when another
 * was first.
 * EMC_ERR_IO: disk full or the folder is gone; nothing stands under the name, the claim is kept. */
emc_status emc_ledger_publish(emc_ledger *ledger, int64_t shard, const void *bytes, size_t n_bytes);

/* Writes the part of a shard that is claimed, in the place of one that is there; the claim stays.
 * EMC_ERR_IO: disk full or the folder is gone; the part that was there is still there. */
emc_status emc_ledger_keep_part(emc_ledger *ledger, int64_t shard, const void *bytes,
                                size_t n_bytes);

/* Removes the part of a shard that is claimed; fine when there is none. */
emc_status emc_ledger_drop_part(emc_ledger *ledger, int64_t shard);

/* Notes a failed try with its reason and ends the claim; *parked (may be NULL) when it was the last
 * one. EMC_ERR_IO: it could not be noted, the claim is kept. */
emc_status emc_ledger_fail(emc_ledger *ledger, int64_t shard, const char *reason, bool *parked);

/* Moves a finished file that turned out to be damaged to failed/, to be computed again. Fine when
 * it is gone. For who holds the merge lock. */
emc_status emc_ledger_reject(emc_ledger *ledger, int64_t shard);

/* Parked shards are tried again: removes what failed/ says. A resume does so. */
emc_status emc_ledger_forgive(emc_ledger *ledger);

/* One process at a time merges. *got is false while another lives that does. */
emc_status emc_ledger_lock_merge(emc_ledger *ledger, bool *got);
emc_status emc_ledger_unlock_merge(emc_ledger *ledger);

/* What the heartbeat tells others; from any thread. */
void emc_ledger_report(emc_ledger *ledger, int64_t cells_done, double cells_per_s);

/* The path of a shard's file or part, whether it is there or not. Owned by the caller, free(). */
emc_status emc_ledger_done_path(char **out, const char *dir, int64_t shard);
emc_status emc_ledger_part_path(char **out, const char *dir, int64_t shard);

/* ---- looking on, also without a ledger of one's own ---- */

typedef struct {
    char name[128], host[64];
    int64_t pid;
    bool here;         /* on this host, where its process can be looked up */
    bool alive;        /* here: its process lives; else: its file is younger than its lease */
    double beat_age_s; /* since its file was written, by this machine's clock: for people */
    int64_t cells_done;
    double cells_per_s;
    int n_claims;
} emc_worker_state;

typedef struct {
    int64_t shard;
    int n_tries;
    bool parked;
    char reason[512]; /* of the last try */
} emc_failed_state;

typedef struct {
    /* No shard is in two of these. Claimed: by a worker that is alive; stale: by one that is not.
     */
    int64_t n_shards, n_done, n_claimed, n_stale, n_parked;
    unsigned char *done; /* [n_shards] 1 where there is a file */
    int64_t *parts;      /* shards that are not done and have a part, rising */
    int n_parts;
    emc_worker_state *workers;
    int n_workers;
    emc_failed_state *failed;
    int n_failed;
} emc_ledger_state;

/* Reads the folder and changes nothing; files that are none of its own are passed over. max_tries
 * as the run's, 0: 3. EMC_ERR_NOT_FOUND: no run folder. */
emc_status emc_ledger_look(emc_ledger_state *out, const char *dir, int64_t n_shards, int max_tries);
void emc_ledger_state_free(emc_ledger_state *state);

#ifdef __cplusplus
}
#endif
