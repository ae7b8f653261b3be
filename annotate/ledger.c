/*
 * Claims. Why a kill -9 or a power cut at any point loses nothing and stops nobody:
 *
 *   while a claim is made     It is a link to workers/NAME.id, whole at once. Where there are no
 *                             links it is made empty and then written: cut between the two, its
 *                             owner is unknown, and it is free after a lease without a change.
 *   with a claim held         The process is dead here (free at once), or its heartbeat stands
 *                             still (free after the lease). Nothing else was promised.
 *   while done/ is written    The temporary name counts for nothing. The next open on this host
 *                             removes it, and so does whoever finds its shard done.
 *   after the link into done/ The shard is done, whoever claims it. A claim that is left is never
 *                             asked about again: done/ is looked at first.
 *   before done/ is synced    After a power cut the name may be gone again. Then the shard is not
 *                             done, and is computed again. The content was synced before the link,
 *                             so a name never stands over half a file.
 *   while a claim is ended    Its files go from the first turn to the last, so what is left is the
 *                             dead worker's own: free as above.
 *   while a part is written   It gets its name when it is whole. Whoever reads it checks it all the
 *                             same, and asks its cells again where it is of no use.
 *   while a try is noted      A noted try counts by its name alone. Cut before the name: the try is
 *                             as if it had been killed. Cut after it: the claim is left, as above.
 *   while merging             The lock is a claim like any other; outputs appear whole.
 *
 * Why a shard is not computed twice as long as nobody is thought dead who lives. Whoever makes
 * turn N+1 judged turn N; then it looks again (may_keep): turn N must still be the file that was
 * judged, there must be no turn N+2, no file in done/ and no parking. One that ends its claim
 * removes the turns before its own first, and only when nobody took over, so whoever sees nothing
 * and makes turn 1 while another ends, finds that one's turn 2 or what it published. Two can hold a
 * shard only after a lease was lost by a worker that went on, and then their results are equal.
 */
#include "annotate/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"
#include "base/size.h"

/* The list of done/ is read again when it proved to be behind, but not more often than so; and only
 * when as many were met one by one as cost about as much as the list, which grows with the run. */
#define LIST_S     1.0
#define LIST_SHARE 64
#define LIST_LEAST 8

/* A claim of another machine's worker that lives is judged again after this share of the lease: by
 * then at the latest a death is seen that happened meanwhile. Without it the many that wait at a
 * run's end would each read all claims that are left, and their owners' files, every second. */
#define LOOK_SHARE 9

static double now_s(const emc_ledger *ledger)
{
    struct timespec now;

    if (ledger->options.now_s)
        return ledger->options.now_s(ledger->options.context);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- what is there ---- */

static emc_status note_done(void *context, const char *name)
{
    emc_ledger *ledger = context;
    int64_t shard;

    if (ledger_parse_done(&shard, name, ledger->n_shards)) {
        ledger->done[shard] = 1;
        ledger->n_listed++;
    }
    return EMC_OK;
}

emc_status ledger_list_done(emc_ledger *ledger)
{
    ledger->listed_s = now_s(ledger);
    ledger->n_listed = ledger->n_met = 0;
    return ledger_list(ledger->folders[LEDGER_DONE], ledger->dir, LEDGER_DONE, note_done, ledger);
}

/* One name, without the whole list; which is read when it is old. */
static emc_status look_at_done(emc_ledger *ledger, int64_t shard)
{
    char name[LEDGER_NAME];

    if (ledger->done[shard])
        return EMC_OK;
    ledger_done_name(name, shard);
    ledger->n_looks++;
    if (!ledger_exists(ledger->folders[LEDGER_DONE], name))
        return EMC_OK;
    ledger->done[shard] = 1;
    ledger->n_met++;
    const bool list = ledger->n_met >= LIST_LEAST + ledger->n_listed / LIST_SHARE &&
                      now_s(ledger) - ledger->listed_s >= LIST_S;
    return list ? ledger_list_done(ledger) : EMC_OK;
}

/* The tries are numbered from 1 without gaps, so the name of the last one that is allowed tells. */
static bool is_parked(emc_ledger *ledger, int64_t shard)
{
    char name[LEDGER_NAME];

    ledger->n_looks++;
    ledger_failed_name(name, shard, ledger->options.max_tries);
    return ledger_exists(ledger->folders[LEDGER_FAILED], name);
}

static emc_status note_claim(void *context, const char *name)
{
    emc_ledger *ledger = context;
    ledger_claim claim = {0};

    if (!ledger_parse_claim(&claim, name, ledger->n_shards))
        return EMC_OK;
    EMC_TRY(emc_reserve(&ledger->claims, &ledger->claims_capacity, ledger->n_claims + 1,
                        sizeof *ledger->claims, "claims"));
    ledger->claims[ledger->n_claims++] = claim;
    return EMC_OK;
}

/* Of one shard the last turn comes first. */
static int by_shard(const void *a, const void *b)
{
    const ledger_claim *x = a, *y = b;

    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return (x->turn < y->turn) - (x->turn > y->turn);
}

/* What was found out about claims that are still there. */
static void keep_judgements(emc_ledger *ledger)
{
    size_t k = 0;

    for (size_t i = 0; i < ledger->n_claims; i++) {
        ledger_claim *claim = &ledger->claims[i];
        while (k < ledger->n_before && ledger->before[k].shard < claim->shard)
            k++;
        if (k < ledger->n_before && ledger->before[k].shard == claim->shard &&
            ledger->before[k].turn == claim->turn)
            claim->until = ledger->before[k].until;
    }
}

static void swap_claims(emc_ledger *ledger)
{
    ledger_claim *const claims = ledger->claims;
    const size_t capacity = ledger->claims_capacity;

    ledger->claims = ledger->before;
    ledger->claims_capacity = ledger->before_capacity;
    ledger->before = claims;
    ledger->before_capacity = capacity;
    ledger->n_before = ledger->n_claims;
    ledger->n_claims = 0;
}

emc_status ledger_list_claims(emc_ledger *ledger)
{
    size_t n = 0;

    swap_claims(ledger);
    EMC_TRY(ledger_list(ledger->folders[LEDGER_CLAIMS], ledger->dir, LEDGER_CLAIMS, note_claim,
                        ledger));
    if (ledger->n_claims > 0)
        qsort(ledger->claims, ledger->n_claims, sizeof *ledger->claims, by_shard);
    for (size_t i = 0; i < ledger->n_claims; i++)
        if (n == 0 || ledger->claims[n - 1].shard != ledger->claims[i].shard)
            ledger->claims[n++] = ledger->claims[i];
    ledger->n_claims = n;
    keep_judgements(ledger);
    return EMC_OK;
}

const ledger_claim *ledger_find_claim(const emc_ledger *ledger, int64_t shard)
{
    size_t low = 0, high = ledger->n_claims;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ledger->claims[middle].shard < shard)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ledger->n_claims && ledger->claims[low].shard == shard ? &ledger->claims[low]
                                                                        : NULL;
}

static size_t held_index(const emc_ledger *ledger, int64_t shard)
{
    size_t i = 0;

    while (i < ledger->n_held && ledger->held[i].shard != shard)
        i++;
    return i;
}

bool ledger_holds(emc_ledger *ledger, int64_t shard)
{
    pthread_mutex_lock(&ledger->lock);
    const bool holds = held_index(ledger, shard) < ledger->n_held;
    pthread_mutex_unlock(&ledger->lock);
    return holds;
}

/* ---- whether a claim is free ---- */

static size_t watch_index(const emc_ledger *ledger, const char *key)
{
    size_t i = 0;

    while (i < ledger->n_watches && strcmp(ledger->watches[i].key, key) != 0)
        i++;
    return i;
}

/* True when the sign has stood for the lease. Only this process's clock is asked, and only for what
 * it saw itself. */
static bool stands_still(emc_ledger *ledger, const char *key, const emc_hash *sign)
{
    const double now = now_s(ledger);
    const size_t i = watch_index(ledger, key);

    if (i == ledger->n_watches) {
        /* Without memory for it, nobody is thought dead. */
        if (emc_reserve(&ledger->watches, &ledger->watches_capacity, i + 1, sizeof *ledger->watches,
                        "workers") != EMC_OK)
            return false;
        ledger->n_watches++;
        snprintf(ledger->watches[i].key, LEDGER_NAME, "%s", key);
    } else if (emc_hash_equal(&ledger->watches[i].sign, sign)) {
        const double free_at = ledger->watches[i].since + ledger->options.lease_s;
        ledger->watches[i].until = now + ledger->options.lease_s / LOOK_SHARE;
        if (ledger->watches[i].until > free_at)
            ledger->watches[i].until = free_at;
        return now - ledger->watches[i].since >= ledger->options.lease_s;
    }
    ledger->watches[i].sign = *sign;
    ledger->watches[i].since = now;
    ledger->watches[i].until = now + ledger->options.lease_s / LOOK_SHARE;
    return false;
}

/* By the heartbeat of a worker on another machine; one reading serves all its claims. */
static bool beat_stands_still(emc_ledger *ledger, const char *claim_name, const char *owner,
                              const emc_hash *claim_sign, double *judged_until)
{
    char name[LEDGER_NAME], text[LEDGER_BYTES];
    const char *key = owner;
    emc_hash sign;
    bool still = false;
    size_t i = watch_index(ledger, owner);

    if (i == ledger->n_watches || now_s(ledger) >= ledger->watches[i].until) {
        snprintf(name, sizeof name, "%s.json", owner);
        ledger->n_looks++;
        if (!ledger_read(ledger->folders[LEDGER_WORKERS], name, text, &sign, NULL)) {
            key = claim_name; /* its claims are all there is of it */
            sign = *claim_sign;
        }
        still = stands_still(ledger, key, &sign);
        i = watch_index(ledger, key);
    }
    if (judged_until && !still && i < ledger->n_watches)
        *judged_until = ledger->watches[i].until;
    return still;
}

/* *sign is the claim file's own, for ledger_take. */
bool ledger_is_free(emc_ledger *ledger, const ledger_claim *claim, emc_hash *sign,
                    double *judged_until)
{
    char name[LEDGER_NAME], text[LEDGER_BYTES];
    ledger_owner owner;

    ledger_claim_name(name, claim->shard, claim->turn);
    ledger->n_looks++;
    if (!ledger_read(ledger->folders[LEDGER_CLAIMS], name, text, sign, NULL))
        return false; /* just ended; the next list shows it */
    if (!ledger_owner_parse(&owner, text))
        return stands_still(ledger, name, sign);
    if (strcmp(owner.name, ledger->me.name) == 0)
        return held_index(ledger, claim->shard) == ledger->n_held;
    if (ledger_owner_dead(&owner, &ledger->me))
        return true;
    /* One whose death could be seen at once is looked at every time. */
    if (ledger_owner_here(&owner, &ledger->me))
        judged_until = NULL;
    return beat_stands_still(ledger, name, owner.name, sign, judged_until);
}

/* ---- taking and ending ---- */

static void remove_claim(emc_ledger *ledger, int64_t shard, int turn)
{
    char name[LEDGER_NAME];

    ledger_claim_name(name, shard, turn);
    unlinkat(ledger->folders[LEDGER_CLAIMS], name, 0);
}

static int create_claim(emc_ledger *ledger, const char *name)
{
    char id[LEDGER_NAME];
    const int claims = ledger->folders[LEDGER_CLAIMS];
    int error = EMLINK;

    snprintf(id, sizeof id, "%s.id", ledger->me.name);
    if (ledger->can_link)
        error = ledger_rename_new(ledger->folders[LEDGER_WORKERS], id, claims, name, true);
    /* Too many links, or somebody tidied the folder. */
    if (error == EMLINK || error == ENOENT || error == EPERM)
        error = ledger_create(claims, name, ledger->identity, strlen(ledger->identity), false);
    return error;
}

/* The second look, with the claim made: see the top of this file. */
static bool may_keep(emc_ledger *ledger, int64_t shard, int turn, const emc_hash *judged)
{
    char name[LEDGER_NAME], text[LEDGER_BYTES];
    emc_hash sign;

    ledger_claim_name(name, shard, turn + 1);
    if (ledger_exists(ledger->folders[LEDGER_CLAIMS], name))
        return false;
    if (judged) {
        ledger_claim_name(name, shard, turn - 1);
        if (!ledger_read(ledger->folders[LEDGER_CLAIMS], name, text, &sign, NULL) ||
            !emc_hash_equal(&sign, judged))
            return false;
    }
    if (shard == LEDGER_MERGE)
        return true;
    ledger_done_name(name, shard);
    return !ledger_exists(ledger->folders[LEDGER_DONE], name) && !is_parked(ledger, shard);
}

emc_status ledger_take(emc_ledger *ledger, int64_t shard, const ledger_claim *judged,
                       const emc_hash *sign, bool *got)
{
    const int turn = judged ? judged->turn + 1 : 1;
    char name[LEDGER_NAME];

    *got = false;
    EMC_TRY(emc_reserve(&ledger->held, &ledger->held_capacity, ledger->n_held + 1,
                        sizeof *ledger->held, "claims"));
    ledger_claim_name(name, shard, turn);
    const int error = create_claim(ledger, name);
    if (error == EEXIST)
        return EMC_OK; /* another was first */
    if (error != 0) {
        errno = error;
        return ledger_fail_io(ledger->dir, LEDGER_CLAIMS, name);
    }
    if (!may_keep(ledger, shard, turn, judged ? sign : NULL)) {
        remove_claim(ledger, shard, turn);
        return EMC_OK;
    }
    ledger->held[ledger->n_held++] = (ledger_claim){.shard = shard, .turn = turn};
    *got = true;
    return EMC_OK;
}

/* A worker that lost its claim to another has nothing to remove: that one does. */
static void remove_turns(emc_ledger *ledger, const ledger_claim *claim)
{
    char name[LEDGER_NAME], text[LEDGER_BYTES];
    emc_hash sign;
    ledger_owner owner;

    ledger_claim_name(name, claim->shard, claim->turn + 1);
    if (ledger_exists(ledger->folders[LEDGER_CLAIMS], name))
        return;
    ledger_claim_name(name, claim->shard, claim->turn);
    if (!ledger_read(ledger->folders[LEDGER_CLAIMS], name, text, &sign, NULL) ||
        !ledger_owner_parse(&owner, text) || strcmp(owner.name, ledger->me.name) != 0)
        return;
    for (int turn = 1; turn <= claim->turn; turn++)
        remove_claim(ledger, claim->shard, turn);
}

void ledger_end_claim(emc_ledger *ledger, int64_t shard)
{
    pthread_mutex_lock(&ledger->lock);
    const size_t i = held_index(ledger, shard);
    if (i < ledger->n_held) {
        remove_turns(ledger, &ledger->held[i]);
        ledger->held[i] = ledger->held[--ledger->n_held];
    }
    pthread_mutex_unlock(&ledger->lock);
}

emc_status emc_ledger_release(emc_ledger *ledger, int64_t shard)
{
    if (!ledger_holds(ledger, shard))
        return emc_fail(EMC_ERR_ARG, "shard %" PRId64 " is not claimed by this worker", shard);
    ledger_end_claim(ledger, shard);
    return EMC_OK;
}

/* One shard that the list does not have as done. *left: it is not this worker's, and neither done
 * nor parked. */
static emc_status try_shard(emc_ledger *ledger, int64_t shard, bool *got, bool *left)
{
    const ledger_claim *claim = ledger_find_claim(ledger, shard);
    double until = 0;
    emc_hash sign;

    *left = true;
    if (claim && now_s(ledger) < claim->until)
        return EMC_OK;
    if (held_index(ledger, shard) < ledger->n_held)
        return EMC_OK;
    const bool is_free = !claim || ledger_is_free(ledger, claim, &sign, &until);
    if (claim)
        ledger->claims[claim - ledger->claims].until = until;
    EMC_TRY(look_at_done(ledger, shard));
    if (ledger->done[shard]) {
        if (claim && is_free) /* left by a worker that was killed after it published */
            remove_claim(ledger, shard, claim->turn);
        *left = false;
        return EMC_OK;
    }
    if (is_parked(ledger, shard)) {
        *left = false;
        return EMC_OK;
    }
    return is_free ? ledger_take(ledger, shard, claim, &sign, got) : EMC_OK;
}

static emc_status search(emc_ledger *ledger, int64_t *shard, emc_claim *outcome)
{
    bool left = false;

    *outcome = EMC_CLAIM_FINISHED;
    EMC_TRY(ledger_list_claims(ledger));
    for (int64_t k = 0; k < ledger->n_shards; k++) {
        const int64_t s = (ledger->next + k) % ledger->n_shards;
        bool got = false, this_left;
        if (ledger->done[s])
            continue;
        EMC_TRY(try_shard(ledger, s, &got, &this_left));
        if (got) {
            *shard = s;
            *outcome = EMC_CLAIM_GOT;
            ledger->next = s + 1;
            return EMC_OK;
        }
        left = left || this_left;
    }
    if (left)
        *outcome = EMC_CLAIM_WAIT;
    return EMC_OK;
}

emc_status emc_ledger_claim(emc_ledger *ledger, int64_t *shard, emc_claim *outcome)
{
    pthread_mutex_lock(&ledger->lock);
    const emc_status status = search(ledger, shard, outcome);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
