/* A ledger's beginning and end: folders, this worker's files, what dead ones left, the heartbeat.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"
#include "base/size.h"

#define HEARTBEAT_S 30.0
#define OLD_S       3600.0

static emc_status fail_create(const emc_ledger *ledger, ledger_folder folder, int error)
{
    return emc_fail(EMC_ERR_CREATE, "%s/%s: %s; a run folder must be writable", ledger->dir,
                    ledger_folder_names[folder], strerror(error));
}

static emc_status open_folders(emc_ledger *ledger)
{
    const int dir = open(ledger->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    emc_status status = EMC_OK;

    if (dir < 0)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", ledger->dir, strerror(errno));
    for (int i = 0; i < LEDGER_N_FOLDERS && status == EMC_OK; i++) {
        if (mkdirat(dir, ledger_folder_names[i], 0777) != 0 && errno != EEXIST)
            status = fail_create(ledger, (ledger_folder)i, errno);
        else {
            ledger->folders[i] =
                openat(dir, ledger_folder_names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (ledger->folders[i] < 0)
                status = fail_create(ledger, (ledger_folder)i, errno);
        }
    }
    close(dir);
    return status;
}

/* ---- the heartbeat ---- */

/* Readers see the last one or this one. It is no loss when a power cut takes it. */
int ledger_beat(emc_ledger *ledger)
{
    const int workers = ledger->folders[LEDGER_WORKERS];
    char name[LEDGER_NAME], temporary[LEDGER_NAME], text[LEDGER_BYTES], more[256];
    int error;

    pthread_mutex_lock(&ledger->beat_lock);
    const double rate = isfinite(ledger->cells_per_s) ? ledger->cells_per_s : 0;
    snprintf(more, sizeof more,
             ", \"beat\": %" PRId64 ", \"lease_s\": %.17g, \"cells_done\": %" PRId64
             ", \"cells_per_s\": %.6g",
             ++ledger->n_beats, ledger->options.lease_s, ledger->cells_done, rate);
    pthread_mutex_unlock(&ledger->beat_lock);
    snprintf(name, sizeof name, "%s.json", ledger->me.name);
    snprintf(temporary, sizeof temporary, "%s.tmp", ledger->me.name);
    if (ledger_owner_write(text, &ledger->me, more) != EMC_OK)
        return ENOMEM;
    unlinkat(workers, temporary, 0);
    error = ledger_create(workers, temporary, text, strlen(text), false);
    if (error == 0 && renameat(workers, temporary, workers, name) != 0)
        error = errno;
    /* A full disk is no death: the time of the old file says so without a byte. */
    if (error != 0)
        utimensat(workers, name, NULL, 0);
    return error;
}

static void *beat(void *context)
{
    emc_ledger *ledger = context;
    struct timespec until;

    pthread_mutex_lock(&ledger->beat_lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    while (!ledger->stop_beating) {
        const double whole = floor(ledger->options.heartbeat_s);
        until.tv_sec += (time_t)whole;
        until.tv_nsec += (long)(1e9 * (ledger->options.heartbeat_s - whole));
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        while (!ledger->stop_beating &&
               pthread_cond_timedwait(&ledger->beat_wake, &ledger->beat_lock, &until) != ETIMEDOUT)
            continue;
        if (ledger->stop_beating)
            break;
        pthread_mutex_unlock(&ledger->beat_lock);
        ledger_beat(ledger);
        pthread_mutex_lock(&ledger->beat_lock);
        /* After a long halt there is nothing to catch up on. */
        clock_gettime(CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&ledger->beat_lock);
    return NULL;
}

/* Signals are for the program's own threads. */
static emc_status start_beating(emc_ledger *ledger)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&ledger->beat_thread, NULL, beat, ledger);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return emc_fail(EMC_ERR_NOMEM, "no thread for the heartbeat: %s", strerror(error));
    ledger->beating = true;
    return EMC_OK;
}

void emc_ledger_report(emc_ledger *ledger, int64_t cells_done, double cells_per_s)
{
    pthread_mutex_lock(&ledger->beat_lock);
    ledger->cells_done = cells_done;
    ledger->cells_per_s = cells_per_s;
    pthread_mutex_unlock(&ledger->beat_lock);
}

/* ---- this worker's files ---- */

static double wall_s(const emc_ledger *ledger)
{
    struct timespec now;

    if (ledger->options.wall_s)
        return ledger->options.wall_s(ledger->options.context);
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* By the time of a file that was made just now. */
static void compare_clocks(emc_ledger *ledger, const char *name)
{
    struct stat file;

    if (fstatat(ledger->folders[LEDGER_WORKERS], name, &file, 0) == 0)
        ledger->clock_ahead =
            (double)file.st_mtim.tv_sec + 1e-9 * (double)file.st_mtim.tv_nsec - wall_s(ledger);
}

double emc_ledger_clock_ahead(const emc_ledger *ledger)
{
    return ledger->clock_ahead;
}

static emc_status make_files(emc_ledger *ledger)
{
    const int workers = ledger->folders[LEDGER_WORKERS];
    char id[LEDGER_NAME], probe[LEDGER_NAME];
    int error;

    EMC_TRY(ledger_owner_write(ledger->identity, &ledger->me, ""));
    snprintf(id, sizeof id, "%s.id", ledger->me.name);
    snprintf(probe, sizeof probe, "%s.tmp", ledger->me.name);
    error = ledger_create(workers, id, ledger->identity, strlen(ledger->identity), false);
    if (error != 0)
        return fail_create(ledger, LEDGER_WORKERS, error);
    compare_clocks(ledger, id);
    const int again = openat(workers, id, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (again >= 0) {
        close(again);
        return emc_fail(EMC_ERR_CREATE,
                        "%s: this file system makes an exclusive file twice, so that two workers "
                        "could not be kept apart; choose another --run-dir",
                        ledger->dir);
    }
    ledger->can_link = linkat(workers, id, workers, probe, 0) == 0;
    if (ledger->can_link)
        unlinkat(workers, probe, 0);
    error = ledger_beat(ledger);
    return error == 0 ? EMC_OK : fail_create(ledger, LEDGER_WORKERS, error);
}

/* Of a worker's files. The last one that goes is the one that says it was there. */
static const char *const endings[] = {".json", ".tmp", ".id"};

static void remove_files(emc_ledger *ledger, const char *worker)
{
    char name[LEDGER_NAME];

    for (size_t i = 0; i < EMC_COUNT(endings); i++) {
        snprintf(name, sizeof name, "%.150s%s", worker, endings[i]);
        unlinkat(ledger->folders[LEDGER_WORKERS], name, 0);
    }
}

/* ---- what dead workers left ---- */

/* True for a name that ledger_owner_self makes: 16 hexadecimal digits at its end. */
static bool is_worker_name(const char *name)
{
    const char *last = strrchr(name, '-');

    return last && strlen(last + 1) == 16 && strspn(last + 1, "0123456789abcdef") == 16;
}

/* Claims hold who made them, so the files in workers/ can go first. Any of the three may be alone:
 * a thread of a process that is being killed may still end what it was at. One that was killed
 * while it wrote who it is has claimed nothing; its file goes when it is old, and should the clock
 * be wrong and the worker alive, it writes out its claims instead of linking them. */
static emc_status sweep_worker(void *context, const char *name)
{
    emc_ledger *ledger = context;
    char worker[LEDGER_NAME], text[LEDGER_BYTES];
    emc_hash sign;
    ledger_owner owner;
    double age_s;
    bool ours = false;

    for (size_t i = 0; i < EMC_COUNT(endings) && !ours; i++)
        ours = ledger_stem(worker, name, endings[i]) && is_worker_name(worker);
    if (!ours || !ledger_read(ledger->folders[LEDGER_WORKERS], name, text, &sign, &age_s))
        return EMC_OK;
    if (!ledger_owner_parse(&owner, text) || strcmp(owner.name, worker) != 0) {
        if (age_s > OLD_S)
            unlinkat(ledger->folders[LEDGER_WORKERS], name, 0);
    } else if (ledger_owner_dead(&owner, &ledger->me)) {
        remove_files(ledger, worker);
    }
    return EMC_OK;
}

/* 000123.NAME.tmp of a worker that is gone, or of a shard that is done. */
static void sweep_temporary(emc_ledger *ledger, ledger_folder folder, const char *name)
{
    char stem[LEDGER_NAME], other[LEDGER_NAME];
    int64_t shard;

    if (!ledger_stem(stem, name, ".tmp") || !strchr(stem, '.'))
        return;
    const char *worker = strchr(stem, '.') + 1;
    *strchr(stem, '.') = '\0';
    snprintf(other, sizeof other, "%.150s.shard", stem);
    const bool is_done = ledger_parse_done(&shard, other, ledger->n_shards) && ledger->done[shard];
    snprintf(other, sizeof other, "%.150s.id", worker);
    if (is_done || !ledger_exists(ledger->folders[LEDGER_WORKERS], other))
        unlinkat(ledger->folders[folder], name, 0);
}

static emc_status sweep_done(void *context, const char *name)
{
    sweep_temporary(context, LEDGER_DONE, name);
    return EMC_OK;
}

/* A part of what is done was written by a worker that had lost its claim. */
static emc_status sweep_part(void *context, const char *name)
{
    emc_ledger *ledger = context;
    int64_t shard;

    if (ledger_parse_part(&shard, name, ledger->n_shards) && ledger->done[shard])
        unlinkat(ledger->folders[LEDGER_PARTS], name, 0);
    else
        sweep_temporary(ledger, LEDGER_PARTS, name);
    return EMC_OK;
}

static emc_status sweep_claim(void *context, const char *name)
{
    emc_ledger *ledger = context;
    char text[LEDGER_BYTES];
    emc_hash sign;
    ledger_owner owner;
    ledger_claim claim;

    if (ledger_parse_claim(&claim, name, ledger->n_shards) && claim.shard != LEDGER_MERGE &&
        ledger->done[claim.shard] &&
        ledger_read(ledger->folders[LEDGER_CLAIMS], name, text, &sign, NULL) &&
        ledger_owner_parse(&owner, text) && ledger_owner_dead(&owner, &ledger->me))
        unlinkat(ledger->folders[LEDGER_CLAIMS], name, 0);
    return EMC_OK;
}

static emc_status sweep(emc_ledger *ledger)
{
    static const struct {
        ledger_folder folder;
        emc_status (*each)(void *context, const char *name);
    } steps[] = {{LEDGER_WORKERS, sweep_worker},
                 {LEDGER_DONE, sweep_done},
                 {LEDGER_PARTS, sweep_part},
                 {LEDGER_CLAIMS, sweep_claim}};

    for (size_t i = 0; i < EMC_COUNT(steps); i++)
        EMC_TRY(ledger_list(ledger->folders[steps[i].folder], ledger->dir, steps[i].folder,
                            steps[i].each, ledger));
    return EMC_OK;
}

/* ---- open and close ---- */

static emc_status take_options(emc_ledger *ledger, const emc_ledger_options *options,
                               const ledger_owner *owner)
{
    const emc_ledger_options none = {0};
    emc_ledger_options *o = &ledger->options;

    *o = options ? *options : none;
    o->world = o->world ? o->world : 1;
    if (ledger->n_shards < 0 || o->world < 1 || o->rank < 0 || o->rank >= o->world)
        return emc_fail(EMC_ERR_ARG, "ledger: %" PRId64 " shards, rank %d of %d", ledger->n_shards,
                        o->rank, o->world);
    if (!(o->heartbeat_s > 0) || o->heartbeat_s > 1e6)
        o->heartbeat_s = HEARTBEAT_S;
    if (!(o->lease_s > 0))
        o->lease_s = 3 * o->heartbeat_s;
    if (o->max_tries < 1)
        o->max_tries = 3;
    if (owner)
        ledger->me = *owner;
    else
        ledger_owner_self(&ledger->me, o->job, o->restart);
    o->job = NULL; /* copied */
    /* n_shards * rank / world, without the overflow */
    ledger->next =
        ledger->n_shards / o->world * o->rank + ledger->n_shards % o->world * o->rank / o->world;
    return EMC_OK;
}

static void init_locks(emc_ledger *ledger)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&ledger->lock, NULL);
    pthread_mutex_init(&ledger->beat_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&ledger->beat_wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

emc_status ledger_open_as(emc_ledger **out, const char *dir, int64_t n_shards,
                          const emc_ledger_options *options, const ledger_owner *owner)
{
    emc_ledger *ledger = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&ledger, 1, sizeof *ledger, "a ledger"));
    for (int i = 0; i < LEDGER_N_FOLDERS; i++)
        ledger->folders[i] = -1;
    init_locks(ledger);
    ledger->n_shards = n_shards;
    status = take_options(ledger, options, owner);
    if (status == EMC_OK)
        status = emc_copy_string(&ledger->dir, dir);
    if (status == EMC_OK)
        status = emc_alloc(&ledger->done, (size_t)n_shards, 1, "the list of shards");
    if (status == EMC_OK)
        status = open_folders(ledger);
    if (status == EMC_OK)
        status = make_files(ledger);
    if (status == EMC_OK)
        status = ledger_list_done(ledger);
    if (status == EMC_OK)
        status = sweep(ledger);
    if (status == EMC_OK && !owner)
        status = start_beating(ledger);
    if (status != EMC_OK)
        goto done;
    *out = ledger;
    ledger = NULL;

done:
    emc_ledger_close(ledger);
    return status;
}

emc_status emc_ledger_open(emc_ledger **out, const char *dir, int64_t n_shards,
                           const emc_ledger_options *options)
{
    return ledger_open_as(out, dir, n_shards, options, NULL);
}

static void stop_beating(emc_ledger *ledger)
{
    if (!ledger->beating)
        return;
    pthread_mutex_lock(&ledger->beat_lock);
    ledger->stop_beating = true;
    pthread_cond_signal(&ledger->beat_wake);
    pthread_mutex_unlock(&ledger->beat_lock);
    pthread_join(ledger->beat_thread, NULL);
    ledger->beating = false;
}

void ledger_abandon(emc_ledger *ledger)
{
    if (!ledger)
        return;
    stop_beating(ledger);
    for (int i = 0; i < LEDGER_N_FOLDERS; i++)
        if (ledger->folders[i] >= 0)
            close(ledger->folders[i]);
    pthread_cond_destroy(&ledger->beat_wake);
    pthread_mutex_destroy(&ledger->beat_lock);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger->dir);
    free(ledger->done);
    free(ledger->claims);
    free(ledger->before);
    free(ledger->held);
    free(ledger->watches);
    free(ledger);
}

void emc_ledger_close(emc_ledger *ledger)
{
    if (!ledger)
        return;
    stop_beating(ledger);
    while (ledger->n_held > 0)
        ledger_end_claim(ledger, ledger->held[ledger->n_held - 1].shard);
    if (ledger->folders[LEDGER_WORKERS] >= 0 && ledger->me.name[0])
        remove_files(ledger, ledger->me.name);
    ledger_abandon(ledger);
}
