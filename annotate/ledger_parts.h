#pragma once
/* What the files of the ledger share; and where tests look inside. */

#include <pthread.h>

#include "annotate/ledger.h"
#include "base/hash.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of any name in the folder, and of any file that is read here. */
#define LEDGER_NAME  192
#define LEDGER_BYTES 16384

/* In place of a shard's number: who merges. */
#define LEDGER_MERGE (-1)

typedef enum {
    LEDGER_CLAIMS,
    LEDGER_DONE,
    LEDGER_FAILED,
    LEDGER_PARTS,
    LEDGER_WORKERS,
    LEDGER_N_FOLDERS
} ledger_folder;
extern const char *const ledger_folder_names[LEDGER_N_FOLDERS];

/* ---- ledger_files.c: names, and small files that others write at the same time ---- */

typedef struct {
    int64_t shard; /* or LEDGER_MERGE */
    int turn;
    double until; /* in a ledger's list: another's, and nobody looks again before; 0: not judged */
} ledger_claim;

/* claims/000123.1, failed/000123.1.json, done/000123.shard, parts/000123.part; false for any other
 * name. */
void ledger_claim_name(char out[LEDGER_NAME], int64_t shard, int turn);
void ledger_failed_name(char out[LEDGER_NAME], int64_t shard, int n_try);
void ledger_done_name(char out[LEDGER_NAME], int64_t shard);
void ledger_part_name(char out[LEDGER_NAME], int64_t shard);
bool ledger_parse_claim(ledger_claim *out, const char *name, int64_t n_shards);
bool ledger_parse_failed(int64_t *shard, int *n_try, const char *name, int64_t n_shards);
bool ledger_parse_done(int64_t *shard, const char *name, int64_t n_shards);
bool ledger_parse_part(int64_t *shard, const char *name, int64_t n_shards);

/* True when `name` ends so and there is something before it, which goes to `stem`. */
bool ledger_stem(char stem[LEDGER_NAME], const char *name, const char *ending);

/* EMC_ERR_IO naming the file, with errno. */
emc_status ledger_fail_io(const char *dir, ledger_folder folder, const char *name);

bool ledger_exists(int folder_fd, const char *name);

/* Calls each(context, name) until it fails. The order is none. */
emc_status ledger_list(int folder_fd, const char *dir, ledger_folder folder,
                       emc_status (*each)(void *context, const char *name), void *context);

/*
 * Something under that name is there. sign: differs when another file or other content stands
 * there, or when it was touched. text: what it holds, cut at LEDGER_BYTES - 1; "" when that cannot
 * be read. age_s (may be NULL): by this machine's clock, never below 0.
 */
bool ledger_read(int folder_fd, const char *name, char text[LEDGER_BYTES], emc_hash *sign,
                 double *age_s);

/* One new file with O_EXCL; whole, or not there any more. Gives 0 or the errno. */
int ledger_create(int folder_fd, const char *name, const void *bytes, size_t n_bytes, bool sync);

/* Gives `from` a new name that nobody else has. Gives 0 or the errno. With can_link false: a
 * rename, which takes the old name away. */
int ledger_rename_new(int from_fd, const char *from, int to_fd, const char *to, bool can_link);

/* ---- ledger_owner.c: who a worker is, and whether it lives ---- */

typedef struct {
    char name[128]; /* of its files in workers/ */
    char host[64], boot[64], job[64];
    int64_t pid, start, pid_space; /* boot "": there is no /proc, nobody can look it up */
    int64_t restart;
} ledger_owner;

/* This process, with a name that no other has. */
void ledger_owner_self(ledger_owner *out, const char *job, int restart);

/* A JSON object and a line end. more: further members, each with ", " before it. */
emc_status ledger_owner_write(char out[LEDGER_BYTES], const ledger_owner *owner, const char *more);

/* False when text is not what ledger_owner_write writes. */
bool ledger_owner_parse(ledger_owner *out, const char *text);

/* True where `me` can look the owner's process up. */
bool ledger_owner_here(const ledger_owner *owner, const ledger_owner *me);

/* Dead for certain, as seen by `me`. */
bool ledger_owner_dead(const ledger_owner *owner, const ledger_owner *me);

/* ---- ledger_open.c: a worker that is played, by bench/cluster ---- */

/* As emc_ledger_open, for a worker of another machine: `owner` says who it is, with boot "". It has
 * no thread: ledger_beat is its heartbeat and gives 0 or the errno. */
emc_status ledger_open_as(emc_ledger **out, const char *dir, int64_t n_shards,
                          const emc_ledger_options *options, const ledger_owner *owner);
int ledger_beat(emc_ledger *ledger);

/* In place of emc_ledger_close: everything stays in the folder, as kill -9 leaves it. */
void ledger_abandon(emc_ledger *ledger);

/* ---- ledger.c ---- */

/* The last sign of life of a worker, and since when it stands. */
typedef struct {
    char key[LEDGER_NAME];
    emc_hash sign;
    double since;
    double until; /* of a worker: it lived, and nobody looks again before */
} ledger_watch;

struct emc_ledger {
    char *dir;
    int folders[LEDGER_N_FOLDERS]; /* descriptors */
    int64_t n_shards;
    emc_ledger_options options; /* the defaults are filled in */
    ledger_owner me;
    char identity[LEDGER_BYTES]; /* what workers/NAME.id and claims hold */
    bool can_link;
    double clock_ahead; /* of the folder */

    pthread_mutex_t lock; /* of what follows */
    unsigned char *done;  /* [n_shards]; may lag behind the folder */
    double listed_s;
    int64_t n_listed, n_met; /* done when it was read; found to be done one by one since */
    int64_t next;            /* where the next search begins */
    ledger_claim *claims, *held, *before;
    size_t n_claims, claims_capacity, n_held, held_capacity, n_before, before_capacity;
    int64_t n_looks; /* files asked for one by one: what a search costs others on a shared disk */
    ledger_watch *watches;
    size_t n_watches, watches_capacity;

    pthread_mutex_t beat_lock; /* of what follows */
    pthread_cond_t beat_wake;
    pthread_t beat_thread;
    bool beating, stop_beating;
    int64_t n_beats, cells_done;
    double cells_per_s;
};

/* With the lock held: reads claims/ anew; finds a shard's last turn; whether it is free (*sign is
 * then the claim file's own; else *judged_until, which may be NULL, is when to ask again, where
 * that is not at once); makes the next turn after the one that was judged (NULL: the first).
 * *got: the claim is this worker's now. */
emc_status ledger_list_claims(emc_ledger *ledger);
const ledger_claim *ledger_find_claim(const emc_ledger *ledger, int64_t shard);
bool ledger_is_free(emc_ledger *ledger, const ledger_claim *claim, emc_hash *sign,
                    double *judged_until);
emc_status ledger_take(emc_ledger *ledger, int64_t shard, const ledger_claim *judged,
                       const emc_hash *sign, bool *got);

/* Reads done/ anew. With the lock held, or before anybody else can take it. */
emc_status ledger_list_done(emc_ledger *ledger);

/* These take the lock. */
bool ledger_holds(emc_ledger *ledger, int64_t shard);
void ledger_end_claim(emc_ledger *ledger, int64_t shard);

#ifdef __cplusplus
}
#endif
