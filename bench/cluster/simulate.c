#include "bench/cluster/simulate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/ledger_parts.h"
#include "base/random.h"
#include "base/size.h"
#include "bench/bench.h"

#define HELD_SHARDS 3   /* as annotate/work.c */
#define ASK_EVERY   1.0 /* the same */
#define HEARTBEAT_S 30.0
#define MAX_WORKERS 100000

typedef enum { AT_BEAT, AT_PUBLISH, AT_ASK, AT_LOSS, AT_RETURN } event_kind;

typedef struct {
    double at;
    int64_t order; /* of events of the same time */
    event_kind kind;
    int worker;
    int life; /* of the worker that it was made for */
} event;

typedef struct {
    emc_ledger *ledger; /* NULL: it is not there */
    int life;           /* rises when it is lost or leaves */
    double cells_per_s, since, begin_s;
    int64_t queue[HELD_SHARDS]; /* the first is being computed */
    int n_queue;
    bool asks; /* an AT_ASK is on its way */
} played;

typedef struct {
    const cluster_options *options;
    cluster_figures *figures;
    double now;
    emc_random random;
    played *workers;
    int n_there, n_starts;
    event *heap;
    size_t n_events, events_capacity;
    int64_t n_ordered;
    unsigned char *n_computed; /* [n_shards] */
    double could, gaps;        /* cells */
    double first_wait_s;
} simulation;

static double virtual_now(void *context)
{
    return ((const simulation *)context)->now;
}

/* Box and Muller 1958. */
static double normal(emc_random *random)
{
    const double radius = sqrt(-2 * log(1 - emc_random_share(random)));

    return radius * cos(6.283185307179586 * emc_random_share(random));
}

/* --- Events, the next one first --------------------------------------------------------------- */

static bool is_before(const event *a, const event *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static emc_status plan_event(simulation *s, double at, event_kind kind, int w)
{
    event new = {at, s->n_ordered++, kind, w, w >= 0 ? s->workers[w].life : 0};
    size_t i = s->n_events;

    EMC_TRY(emc_reserve(&s->heap, &s->events_capacity, i + 1, sizeof *s->heap, "events"));
    s->n_events++;
    for (; i > 0 && is_before(&new, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = new;
    return EMC_OK;
}

static event next_event(simulation *s)
{
    const event first = s->heap[0], last = s->heap[--s->n_events];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < s->n_events) {
        if (child + 1 < s->n_events && is_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!is_before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return first;
}

/* --- Workers ---------------------------------------------------------------------------------- */

static int64_t cells_of(const simulation *s, int64_t shard)
{
    const int64_t left = s->options->n_cells - shard * s->options->shard_cells;

    return left < s->options->shard_cells ? left : s->options->shard_cells;
}

static emc_status begin_shard(simulation *s, int w)
{
    played *worker = &s->workers[w];
    const double jitter = 1 + s->options->shard_spread * normal(&s->random);
    const double mean = (double)cells_of(s, worker->queue[0]) / worker->cells_per_s;

    worker->begin_s = s->now;
    return plan_event(s, s->now + mean * fmax(jitter, 0.1), AT_PUBLISH, w);
}

static void count_time(simulation *s, played *worker)
{
    s->could += worker->cells_per_s * (s->now - worker->since);
    worker->life++;
    worker->ledger = NULL;
    worker->n_queue = 0;
    worker->asks = false;
    s->n_there--;
    s->figures->end_s = s->now;
}

/* Whoever learns that nothing is left tries to merge, and goes. */
static emc_status leave(simulation *s, int w)
{
    emc_ledger *ledger = s->workers[w].ledger;
    bool got;

    EMC_TRY(emc_ledger_lock_merge(ledger, &got));
    if (!got)
        return emc_fail(EMC_ERR_INTERNAL, "worker %d cannot merge though nobody else does", w);
    EMC_TRY(emc_ledger_unlock_merge(ledger));
    emc_ledger_close(ledger);
    count_time(s, &s->workers[w]);
    return EMC_OK;
}

static emc_status ask(simulation *s, int w)
{
    played *worker = &s->workers[w];
    emc_claim outcome = EMC_CLAIM_GOT;

    while (worker->n_queue < HELD_SHARDS && outcome == EMC_CLAIM_GOT) {
        int64_t shard;
        const double begin = bench_thread_now();
        EMC_TRY(emc_ledger_claim(worker->ledger, &shard, &outcome));
        s->figures->claim_s += bench_thread_now() - begin;
        s->figures->n_asked++;
        if (outcome != EMC_CLAIM_GOT)
            break;
        worker->queue[worker->n_queue++] = shard;
        if (worker->n_queue == 1)
            EMC_TRY(begin_shard(s, w));
    }
    if (worker->n_queue == 0 && outcome == EMC_CLAIM_FINISHED)
        return leave(s, w);
    if (worker->n_queue == 0 && s->first_wait_s < 0)
        s->first_wait_s = s->now;
    if (outcome == EMC_CLAIM_WAIT && !worker->asks) {
        worker->asks = true;
        return plan_event(s, s->now + ASK_EVERY, AT_ASK, w);
    }
    return EMC_OK;
}

static emc_status start(simulation *s, int w)
{
    const emc_ledger_options options = {.heartbeat_s = HEARTBEAT_S,
                                        .rank = w,
                                        .world = s->options->n_workers,
                                        .now_s = virtual_now,
                                        .context = s};
    ledger_owner owner = {.pid = 1, .start = 1};

    snprintf(owner.host, sizeof owner.host, "node%05d", w);
    snprintf(owner.name, sizeof owner.name, "%s-1-%016x", owner.host, (unsigned)++s->n_starts);
    EMC_TRY(ledger_open_as(&s->workers[w].ledger, s->options->dir, s->figures->n_shards, &options,
                           &owner));
    s->workers[w].since = s->now;
    s->n_there++;
    /* Processes do not beat in step. */
    EMC_TRY(plan_event(s, s->now + HEARTBEAT_S * emc_random_share(&s->random), AT_BEAT, w));
    return ask(s, w);
}

static emc_status publish(simulation *s, int w)
{
    played *worker = &s->workers[w];
    const int64_t shard = worker->queue[0];
    const double begin = bench_thread_now();

    EMC_TRY(emc_ledger_publish(worker->ledger, shard, &shard, sizeof shard));
    s->figures->publish_s += bench_thread_now() - begin;
    if (s->n_computed[shard]++ > 0)
        s->figures->n_doubled++;
    worker->n_queue--;
    memmove(worker->queue, worker->queue + 1, (size_t)worker->n_queue * sizeof *worker->queue);
    if (worker->n_queue > 0)
        EMC_TRY(begin_shard(s, w));
    return ask(s, w);
}

static emc_status lose(simulation *s)
{
    if (s->n_there == 0)
        return EMC_OK;
    int w = 0;
    for (uint64_t left = emc_random_below(&s->random, (uint64_t)s->n_there);; w++)
        if (s->workers[w].ledger && left-- == 0)
            break;
    played *worker = &s->workers[w];
    if (worker->n_queue > 0)
        s->figures->lost_work_s += s->now - worker->begin_s;
    ledger_abandon(worker->ledger);
    count_time(s, worker);
    s->figures->n_lost++;
    if (s->options->back_after_s >= 0)
        EMC_TRY(plan_event(s, s->now + s->options->back_after_s, AT_RETURN, w));
    return plan_event(s, s->now + s->options->lost_every_s, AT_LOSS, -1);
}

static emc_status beat(simulation *s, int w)
{
    const double begin = bench_thread_now();

    if (ledger_beat(s->workers[w].ledger) != 0)
        return emc_fail(EMC_ERR_IO, "%s: no heartbeat could be written", s->options->dir);
    s->figures->beat_s += bench_thread_now() - begin;
    return plan_event(s, s->now + HEARTBEAT_S, AT_BEAT, w);
}

static emc_status take_event(simulation *s, const event *e)
{
    if (e->kind == AT_LOSS)
        return lose(s);
    if (e->life != s->workers[e->worker].life)
        return EMC_OK; /* made for one that is gone */
    switch (e->kind) {
    case AT_RETURN:
        s->gaps += s->workers[e->worker].cells_per_s * s->options->back_after_s;
        return start(s, e->worker);
    case AT_PUBLISH:
        return publish(s, e->worker);
    case AT_ASK:
        s->workers[e->worker].asks = false;
        return ask(s, e->worker);
    default:
        return beat(s, e->worker);
    }
}

/* --- The whole -------------------------------------------------------------------------------- */

static emc_status check_shard(const simulation *s, int64_t shard)
{
    char *path = NULL;
    int64_t found = -1;

    EMC_TRY(emc_ledger_done_path(&path, s->options->dir, shard));
    FILE *file = fopen(path, "rb");
    const bool whole =
        file && fread(&found, sizeof found, 1, file) == 1 && fgetc(file) == EOF && found == shard;
    if (file)
        (void)fclose(file);
    free(path);
    if (!whole || s->n_computed[shard] == 0)
        return emc_fail(EMC_ERR_INTERNAL, "shard %" PRId64 " is lost", shard);
    return EMC_OK;
}

/* Claims of lost workers that had published may be left; of others there must be none. */
static emc_status check_end(const simulation *s)
{
    emc_ledger_state state;

    for (int64_t i = 0; i < s->figures->n_shards; i++)
        EMC_TRY(check_shard(s, i));
    EMC_TRY(emc_ledger_look(&state, s->options->dir, s->figures->n_shards, 0));
    const bool fine = state.n_done == s->figures->n_shards && state.n_claimed == 0 &&
                      state.n_stale == 0 && state.n_parked == 0 && state.n_failed == 0;
    emc_ledger_state_free(&state);
    return fine ? EMC_OK : emc_fail(EMC_ERR_INTERNAL, "the folder is not at its end");
}

static emc_status run(simulation *s)
{
    const cluster_options *o = s->options;

    for (int w = 0; w < o->n_workers; w++)
        s->workers[w].cells_per_s = o->cells_per_s * fmax(0.1, 1 + o->spread * normal(&s->random));
    for (int w = 0; w < o->n_workers; w++)
        EMC_TRY(start(s, w));
    if (o->lost_every_s > 0)
        EMC_TRY(plan_event(s, o->lost_every_s, AT_LOSS, -1));
    while (s->n_events > 0) {
        const event e = next_event(s);
        if (s->n_there == 0 && e.kind != AT_RETURN)
            continue;
        s->now = e.at;
        EMC_TRY(take_event(s, &e));
    }
    s->figures->efficiency = (double)o->n_cells / s->could;
    s->figures->efficiency_with_gaps = (double)o->n_cells / (s->could + s->gaps);
    s->figures->tail_s = s->first_wait_s < 0 ? 0 : s->figures->end_s - s->first_wait_s;
    return check_end(s);
}

emc_status cluster_simulate(cluster_figures *out, const cluster_options *o)
{
    simulation s = {.options = o, .figures = out, .random = {o->seed}, .first_wait_s = -1};
    const double begin = bench_now();

    *out = (cluster_figures){0};
    if (o->n_workers < 1 || o->n_workers > MAX_WORKERS || o->n_cells < 1 || o->shard_cells < 1 ||
        !(o->cells_per_s > 0) || !(o->spread >= 0) || !(o->shard_spread >= 0) ||
        !(o->lost_every_s >= 0))
        return emc_fail(EMC_ERR_ARG, "simulation: workers, cells, shards or speeds are none");
    out->n_shards = o->n_cells / o->shard_cells + (o->n_cells % o->shard_cells > 0);
    emc_status status = emc_alloc(&s.workers, (size_t)o->n_workers, sizeof *s.workers, "workers");
    if (status == EMC_OK)
        status = emc_alloc(&s.n_computed, (size_t)out->n_shards, 1, "shards");
    if (status == EMC_OK)
        status = run(&s);
    out->real_s = bench_now() - begin;
    for (int w = 0; s.workers && w < o->n_workers; w++)
        emc_ledger_close(s.workers[w].ledger);
    free(s.workers);
    free(s.n_computed);
    free(s.heap);
    return status;
}
