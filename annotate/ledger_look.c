/* What a run folder shows to somebody who only looks. Others may work in it meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"
#include "base/json.h"
#include "base/size.h"

/* Of a worker whose own file does not say. */
#define LEASE_S 90.0

typedef struct {
    emc_ledger_state *state;
    const char *dir;
    int folder_fd; /* of the folder that is being listed */
    int max_tries;
    ledger_owner me;
    size_t workers_capacity, failed_capacity, claims_capacity, parts_capacity;
    /* Of each shard the last turn; the owner's place in state->workers, or -1. */
    struct look_claim {
        ledger_claim claim;
        int worker;
        bool alive;
    } * claims;
    size_t n_claims;
} look;

static emc_status add_done(void *context, const char *name)
{
    look *l = context;
    int64_t shard;

    if (ledger_parse_done(&shard, name, l->state->n_shards) && !l->state->done[shard]) {
        l->state->done[shard] = 1;
        l->state->n_done++;
    }
    return EMC_OK;
}

/* Listed behind done/, so that what is done has none. */
static emc_status add_part(void *context, const char *name)
{
    look *l = context;
    emc_ledger_state *state = l->state;
    int64_t shard;

    if (!ledger_parse_part(&shard, name, state->n_shards) || state->done[shard])
        return EMC_OK;
    EMC_TRY(emc_reserve(&state->parts, &l->parts_capacity, (size_t)state->n_parts + 1,
                        sizeof *state->parts, "parts of shards"));
    state->parts[state->n_parts++] = shard;
    return EMC_OK;
}

static void read_progress(emc_worker_state *worker, const char *text, double *lease_s)
{
    cJSON *json = NULL;

    if (emc_json_parse(&json, text, strlen(text), worker->name) == EMC_OK) {
        emc_json_get_int(&worker->cells_done, json, "cells_done", 0, (int64_t)1 << 52, false,
                         worker->name);
        emc_json_get_double(&worker->cells_per_s, json, "cells_per_s", false, worker->name);
        emc_json_get_double(lease_s, json, "lease_s", false, worker->name);
    }
    cJSON_Delete(json);
}

static emc_status add_worker(void *context, const char *name)
{
    look *l = context;
    emc_ledger_state *state = l->state;
    char stem[LEDGER_NAME], text[LEDGER_BYTES];
    emc_hash sign;
    ledger_owner owner;
    emc_worker_state worker = {0};
    double lease_s = LEASE_S;

    if (!ledger_stem(stem, name, ".json") ||
        !ledger_read(l->folder_fd, name, text, &sign, &worker.beat_age_s) ||
        !ledger_owner_parse(&owner, text) || strcmp(owner.name, stem) != 0)
        return EMC_OK;
    EMC_TRY(emc_reserve(&state->workers, &l->workers_capacity, (size_t)state->n_workers + 1,
                        sizeof *state->workers, "workers"));
    memcpy(worker.name, owner.name, sizeof worker.name);
    memcpy(worker.host, owner.host, sizeof worker.host);
    worker.pid = owner.pid;
    read_progress(&worker, text, &lease_s);
    worker.here = ledger_owner_here(&owner, &l->me);
    worker.alive = worker.here ? !ledger_owner_dead(&owner, &l->me) : worker.beat_age_s <= lease_s;
    state->workers[state->n_workers++] = worker;
    return EMC_OK;
}

static int worker_index(const emc_ledger_state *state, const char *name)
{
    int i = 0;

    while (i < state->n_workers && strcmp(state->workers[i].name, name) != 0)
        i++;
    return i < state->n_workers ? i : -1;
}

static emc_status add_claim(void *context, const char *name)
{
    look *l = context;
    struct look_claim found = {.worker = -1};
    char text[LEDGER_BYTES];
    emc_hash sign;
    ledger_owner owner;
    double age_s;

    if (!ledger_parse_claim(&found.claim, name, l->state->n_shards) ||
        !ledger_read(l->folder_fd, name, text, &sign, &age_s))
        return EMC_OK;
    EMC_TRY(
        emc_reserve(&l->claims, &l->claims_capacity, l->n_claims + 1, sizeof *l->claims, "claims"));
    if (!ledger_owner_parse(&owner, text)) {
        found.alive = age_s <= LEASE_S;
    } else {
        found.worker = worker_index(l->state, owner.name);
        if (found.worker >= 0)
            found.alive = l->state->workers[found.worker].alive;
        else
            found.alive = ledger_owner_here(&owner, &l->me) && !ledger_owner_dead(&owner, &l->me);
    }
    l->claims[l->n_claims++] = found;
    return EMC_OK;
}

static void read_reason(emc_failed_state *failed, const char *text)
{
    cJSON *json = NULL;
    const char *reason = NULL;

    failed->reason[0] = '\0';
    if (emc_json_parse(&json, text, strlen(text), "a failed try") == EMC_OK &&
        emc_json_get_string(&reason, json, "reason", false, "a failed try") == EMC_OK && reason)
        snprintf(failed->reason, sizeof failed->reason, "%s", reason);
    cJSON_Delete(json);
}

static emc_status add_failed(void *context, const char *name)
{
    look *l = context;
    emc_ledger_state *state = l->state;
    char text[LEDGER_BYTES];
    emc_hash sign;
    int64_t shard;
    int n_try, i = 0;

    if (!ledger_parse_failed(&shard, &n_try, name, state->n_shards) ||
        !ledger_read(l->folder_fd, name, text, &sign, NULL))
        return EMC_OK;
    while (i < state->n_failed && state->failed[i].shard != shard)
        i++;
    if (i == state->n_failed) {
        EMC_TRY(emc_reserve(&state->failed, &l->failed_capacity, (size_t)i + 1,
                            sizeof *state->failed, "failed shards"));
        state->failed[i] = (emc_failed_state){.shard = shard};
        state->n_failed++;
    }
    if (n_try > state->failed[i].n_tries) {
        state->failed[i].n_tries = n_try;
        read_reason(&state->failed[i], text);
    }
    return EMC_OK;
}

static int by_turn(const void *a, const void *b)
{
    const struct look_claim *x = a, *y = b;

    if (x->claim.shard != y->claim.shard)
        return x->claim.shard < y->claim.shard ? -1 : 1;
    return (x->claim.turn < y->claim.turn) - (x->claim.turn > y->claim.turn);
}

static int by_name(const void *a, const void *b)
{
    const emc_worker_state *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int by_number(const void *a, const void *b)
{
    const emc_failed_state *x = a, *y = b;

    return (x->shard > y->shard) - (x->shard < y->shard);
}

static int by_shard(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static bool is_parked(const emc_ledger_state *state, int64_t shard)
{
    const emc_failed_state key = {.shard = shard};
    const emc_failed_state *found =
        state->n_failed
            ? bsearch(&key, state->failed, (size_t)state->n_failed, sizeof key, by_number)
            : NULL;

    return found && found->parked;
}

static void count(look *l)
{
    emc_ledger_state *state = l->state;

    if (state->n_parts > 0)
        qsort(state->parts, (size_t)state->n_parts, sizeof *state->parts, by_shard);
    if (state->n_failed > 0)
        qsort(state->failed, (size_t)state->n_failed, sizeof *state->failed, by_number);
    for (int i = 0; i < state->n_failed; i++) {
        emc_failed_state *failed = &state->failed[i];
        failed->parked = failed->n_tries >= l->max_tries && !state->done[failed->shard];
        state->n_parked += failed->parked;
    }
    if (l->n_claims > 0)
        qsort(l->claims, l->n_claims, sizeof *l->claims, by_turn);
    for (size_t i = 0; i < l->n_claims; i++) {
        const struct look_claim *c = &l->claims[i];
        if (c->claim.shard == LEDGER_MERGE || (i > 0 && c[-1].claim.shard == c->claim.shard) ||
            state->done[c->claim.shard] || is_parked(state, c->claim.shard))
            continue;
        state->n_claimed += c->alive;
        state->n_stale += !c->alive;
        if (c->worker >= 0)
            state->workers[c->worker].n_claims++;
    }
}

/* A folder that is not there is an empty one. */
static emc_status look_into(look *l, int dir_fd, ledger_folder folder,
                            emc_status (*each)(void *context, const char *name))
{
    emc_status status;

    l->folder_fd = openat(dir_fd, ledger_folder_names[folder], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l->folder_fd < 0)
        return errno == ENOENT ? EMC_OK : ledger_fail_io(l->dir, folder, "");
    status = ledger_list(l->folder_fd, l->dir, folder, each, l);
    close(l->folder_fd);
    return status;
}

emc_status emc_ledger_look(emc_ledger_state *out, const char *dir, int64_t n_shards, int max_tries)
{
    look l = {.state = out, .dir = dir, .max_tries = max_tries > 0 ? max_tries : 3};
    const int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    emc_status status;

    *out = (emc_ledger_state){.n_shards = n_shards < 0 ? 0 : n_shards};
    if (dir_fd < 0)
        return emc_fail(EMC_ERR_NOT_FOUND, "%s: no run folder: %s", dir, strerror(errno));
    ledger_owner_self(&l.me, NULL, 0);
    status = emc_alloc(&out->done, (size_t)out->n_shards, 1, "the list of shards");
    /* Claims before done/: a shard that is published meanwhile is then seen as done. Claims are
     * matched with workers that are in order already. */
    if (status == EMC_OK)
        status = look_into(&l, dir_fd, LEDGER_WORKERS, add_worker);
    if (status == EMC_OK && out->n_workers > 0)
        qsort(out->workers, (size_t)out->n_workers, sizeof *out->workers, by_name);
    if (status == EMC_OK)
        status = look_into(&l, dir_fd, LEDGER_CLAIMS, add_claim);
    if (status == EMC_OK)
        status = look_into(&l, dir_fd, LEDGER_FAILED, add_failed);
    if (status == EMC_OK)
        status = look_into(&l, dir_fd, LEDGER_DONE, add_done);
    if (status == EMC_OK)
        status = look_into(&l, dir_fd, LEDGER_PARTS, add_part);
    if (status == EMC_OK)
        count(&l);
    free(l.claims);
    close(dir_fd);
    if (status != EMC_OK)
        emc_ledger_state_free(out);
    return status;
}

void emc_ledger_state_free(emc_ledger_state *state)
{
    free(state->done);
    free(state->parts);
    free(state->workers);
    free(state->failed);
    *state = (emc_ledger_state){0};
}
