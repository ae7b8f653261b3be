#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/team_state.h"
#include "runtime/threads.h"

/* --- Open and close ----------------------------------------------------------------------- */

typedef struct {
    member *m;
    const emc_engine_options *options;
    const char *chosen; /* what the first device chose */
} opening;

static emc_status open_member(void *context)
{
    const opening *o = context;
    emc_device *dev = o->m->model->dev;

    if (o->chosen)
        EMC_TRY(dev->ops->adopt(dev, o->chosen));
    return emc_rank_open(&o->m->engine, o->m->model, o->options);
}

/* The first engine alone, which decides what is left open; then the others as that one. */
static emc_status open_members(emc_team *team, const emc_engine_options *options)
{
    const int n = team->n_replicas * team->n_ranks;
    opening openings[EMC_MOST_DEVICES];
    void *contexts[EMC_MOST_DEVICES];
    member *first = &team->members[0];
    const char *chosen;

    openings[0] = (opening){.m = first, .options = options};
    EMC_TRY(open_member(&openings[0]));
    chosen = first->model->dev->ops->chosen(first->model->dev);
    for (int i = 1; i < n; i++) {
        openings[i] =
            (opening){.m = &team->members[i], .options = &first->engine->options, .chosen = chosen};
        contexts[i] = &openings[i];
    }
    return emc_on_threads(open_member, contexts + 1, n - 1);
}

/* Leaders come after their followers: one that runs has them all. */
static emc_status start_threads(emc_team *team)
{
    for (int i = team->n_replicas * team->n_ranks - 1; i >= 0; i--) {
        member *m = &team->members[i];

        m->started =
            pthread_create(&m->thread, NULL, m->rank == 0 ? team_lead : team_follow, m) == 0;
        if (!m->started)
            return emc_fail(EMC_ERR_NOMEM, "no more threads can be started");
    }
    return EMC_OK;
}

/* What a full step and those that answers wait for take, of every replica: as a lone engine wants
 * it. */
static void set_limits(emc_team *team)
{
    const emc_engine *engine = team->members[0].engine;
    const int64_t n_steps = EMC_STEPS_IN_FLIGHT + emc_engine_search_steps(engine);

    team->most_rows = team->n_replicas * n_steps * engine->options.max_num_batched_tokens;
    team->most_items = 2 * team->n_replicas * engine->max_sequences;
}

static emc_status open_team(emc_team *team, const emc_model *first,
                            const emc_engine_options *options)
{
    const int n = team->n_replicas * team->n_ranks;

    EMC_TRY(emc_alloc(&team->replicas, (size_t)team->n_replicas, sizeof *team->replicas,
                      "the replicas"));
    EMC_TRY(emc_alloc(&team->members, (size_t)n, sizeof *team->members, "the replicas"));
    for (int i = 0; i < n; i++)
        team->members[i] = (member){.of = &team->replicas[i / team->n_ranks],
                                    .rank = i % team->n_ranks,
                                    .model = first->peers[i]};
    for (int r = 0; r < team->n_replicas; r++) {
        team->replicas[r].team = team;
        team->replicas[r].members = &team->members[r * team->n_ranks];
    }
    EMC_TRY(open_members(team, options));
    for (int r = 0; r < team->n_replicas; r++)
        team_note_figures(&team->replicas[r]);
    set_limits(team);
    return start_threads(team);
}

emc_status emc_team_open(emc_team **out, const emc_model *first, const emc_engine_options *options)
{
    emc_team *team = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&team, 1, sizeof *team, "the engine"));
    team->n_replicas = first->n_replicas;
    team->n_ranks = first->part.n_ranks;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->changed, NULL);
    status = open_team(team, first, options);
    if (status != EMC_OK) {
        emc_team_close(team);
        return status;
    }
    *out = team;
    return EMC_OK;
}

void emc_team_close(emc_team *team)
{
    if (!team)
        return;
    pthread_mutex_lock(&team->lock);
    team->ending = true;
    /* Where a leader was never started, nobody ends its followers. */
    for (int r = 0; team->members && r < team->n_replicas; r++)
        if (!team->replicas[r].members[0].started) {
            team->replicas[r].turn = TURN_END;
            team->replicas[r].n_turns++;
        }
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; team->members && i < team->n_replicas * team->n_ranks; i++)
        if (team->members[i].started)
            pthread_join(team->members[i].thread, NULL);
    for (int i = 0; team->members && i < team->n_replicas * team->n_ranks; i++)
        emc_rank_close(team->members[i].engine);
    for (int r = 0; team->replicas && r < team->n_replicas; r++) {
        team_free_items(&team->replicas[r].running);
        free(team->replicas[r].new_items);
    }
    if (team->borrowed)
        team_push(&team->spare, team->borrowed);
    team_free_items(&team->queue);
    team_free_items(&team->answered);
    team_free_items(&team->spare);
    pthread_cond_destroy(&team->changed);
    pthread_mutex_destroy(&team->lock);
    free(team->members);
    free(team->replicas);
    free(team);
}

/* --- What all ranks do once --------------------------------------------------------------- */

/* Runs it on every rank of every replica that has not failed, and waits. The first error. */
static emc_status run_on_all(emc_team *team, emc_status (*run)(member *m, void *context),
                             void *context)
{
    const member *cause = NULL;
    emc_status status = EMC_OK;
    bool takes_part[EMC_MOST_DEVICES], any = false;

    pthread_mutex_lock(&team->lock);
    for (int r = 0; r < team->n_replicas; r++) {
        takes_part[r] = !team->replicas[r].failed;
        any = any || takes_part[r];
    }
    team->job = (team_job){run, context};
    team->n_jobs++;
    pthread_cond_broadcast(&team->changed);
    for (int r = 0; r < team->n_replicas; r++) {
        while (team->replicas[r].n_jobs < team->n_jobs)
            pthread_cond_wait(&team->changed, &team->lock);
        if (!cause && takes_part[r])
            cause = team_find_cause(&team->replicas[r]);
    }
    if (cause)
        status = emc_fail(cause->status, "%s", cause->message);
    else if (!any)
        status = emc_fail(team->replicas[0].status, "%s", team->replicas[0].message);
    pthread_mutex_unlock(&team->lock);
    return status;
}

static emc_status check_idle(emc_team *team, const char *what)
{
    pthread_mutex_lock(&team->lock);
    const int n = team->n_items - (team->borrowed ? 1 : 0);
    pthread_mutex_unlock(&team->lock);
    if (n > 0)
        return emc_fail(EMC_ERR_ARG, "%s: %d requests are in flight, poll their answers first",
                        what, n);
    return EMC_OK;
}

typedef struct {
    const int32_t *ids, *begin;
    int n;
    const emc_scoring *scoring;
    bool on;
    float **logits; /* [n_ranks], of each rank's slice */
} arguments;

static emc_status make_room_for_prefix(member *m, void *context)
{
    return emc_rank_make_room_for_prefix(m->engine, ((const arguments *)context)->n);
}

static emc_status set_prefix(member *m, void *context)
{
    const arguments *a = context;

    return emc_rank_set_prefix(m->engine, a->ids, a->n);
}

emc_status emc_team_set_prefix(emc_team *team, const int32_t *ids, int n)
{
    arguments a = {.ids = ids, .n = n};

    EMC_TRY(check_idle(team, "prefix"));
    EMC_TRY(run_on_all(team, make_room_for_prefix, &a));
    return run_on_all(team, set_prefix, &a);
}

static emc_status set_choices(member *m, void *context)
{
    const arguments *a = context;

    return emc_rank_set_choices(m->engine, a->ids, a->begin, a->n);
}

emc_status emc_team_set_choices(emc_team *team, const int32_t *ids, const int32_t *begin,
                                int n_choices)
{
    arguments a = {.ids = ids, .begin = begin, .n = n_choices};

    EMC_TRY(check_idle(team, "choices"));
    return run_on_all(team, set_choices, &a);
}

static emc_status set_scoring(member *m, void *context)
{
    return emc_rank_set_scoring(m->engine, ((const arguments *)context)->scoring);
}

emc_status emc_team_set_scoring(emc_team *team, const emc_scoring *scoring)
{
    arguments a = {.scoring = scoring};

    EMC_TRY(check_idle(team, "scoring"));
    return run_on_all(team, set_scoring, &a);
}

static emc_status set_trace(member *m, void *context)
{
    return emc_rank_set_trace(m->engine, ((const arguments *)context)->on);
}

emc_status emc_team_set_trace(emc_team *team, bool on)
{
    arguments a = {.on = on};

    return run_on_all(team, set_trace, &a);
}

static emc_status make_room_for_logits(member *m, void *context)
{
    return emc_rank_make_room_for_logits(m->engine, ((const arguments *)context)->n);
}

static emc_status compute_logits(member *m, void *context)
{
    const arguments *a = context;

    if (m->of != &m->of->team->replicas[0])
        return EMC_OK;
    return emc_rank_logits(m->engine, a->ids, a->n, a->logits[m->rank]);
}

/* Each rank's slice of the vocabulary goes to its columns. */
emc_status emc_team_logits(emc_team *team, const int32_t *ids, int n_ids, float *logits)
{
    const size_t width = (size_t)team->members[0].model->part.vocab;
    const size_t vocab = (size_t)team->members[0].model->info.vocab;
    const size_t rows = n_ids > 0 ? (size_t)n_ids : 1;
    float *slices[EMC_MOST_DEVICES] = {NULL};
    arguments a = {.ids = ids, .n = n_ids, .logits = slices};
    emc_status status = check_idle(team, "logits");

    for (int t = 0; t < team->n_ranks && status == EMC_OK; t++)
        status = emc_alloc(&slices[t], rows * width, sizeof(float), "logits");
    if (status == EMC_OK)
        status = run_on_all(team, make_room_for_logits, &a);
    if (status == EMC_OK)
        status = run_on_all(team, compute_logits, &a);
    for (int t = 0; t < team->n_ranks; t++) {
        for (size_t r = 0; status == EMC_OK && r < rows; r++)
            memcpy(logits + r * vocab + (size_t)t * width, slices[t] + r * width,
                   width * sizeof(float));
        free(slices[t]);
    }
    return status;
}

/* --- Requests ----------------------------------------------------------------------------- */

static void give_back_borrowed(emc_team *team)
{
    if (!team->borrowed)
        return;
    team_push(&team->spare, team->borrowed);
    team->borrowed = NULL;
    team->n_items--;
}

bool emc_team_is_full(const emc_team *team)
{
    emc_team *t = (emc_team *)team; /* for the lock */

    pthread_mutex_lock(&t->lock);
    const bool full = t->queued_rows >= t->most_rows || t->n_items >= t->most_items;
    pthread_mutex_unlock(&t->lock);
    return full;
}

/* An item with a copy of the request. */
static emc_status make_item(emc_team *team, item **out, const emc_request *request)
{
    item *i;
    emc_status status;

    pthread_mutex_lock(&team->lock);
    give_back_borrowed(team);
    i = team_pop(&team->spare);
    pthread_mutex_unlock(&team->lock);
    if (!i)
        EMC_TRY(emc_alloc(&i, 1, sizeof *i, "a request"));
    status =
        emc_reserve(&i->ids, &i->ids_capacity, (size_t)request->n_ids, sizeof *i->ids, "a request");
    if (status != EMC_OK) {
        team_free_items(&(item_list){i, i, 1});
        return status;
    }
    memcpy(i->ids, request->ids, (size_t)request->n_ids * sizeof *i->ids);
    i->request = *request;
    i->request.ids = i->ids;
    *out = i;
    return EMC_OK;
}

emc_status emc_team_submit(emc_team *team, const emc_request *request)
{
    item *i = NULL;

    if (emc_team_is_full(team))
        return emc_fail(EMC_ERR_ARG, "the engine is full: poll an answer before the next request");
    EMC_TRY(emc_rank_check_request(team->members[0].engine, request));
    EMC_TRY(make_item(team, &i, request));
    pthread_mutex_lock(&team->lock);
    team_push(&team->queue, i);
    team->queued_rows += i->request.n_ids;
    team->n_items++;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    return EMC_OK;
}

/* With the lock held: a failure that the caller has not been told of, or the last one where nobody
 * is left; else NULL. */
static replica *find_failure(emc_team *team)
{
    int n_failed = 0;

    for (int r = 0; r < team->n_replicas; r++) {
        if (team->replicas[r].failed && !team->replicas[r].told)
            return &team->replicas[r];
        n_failed += team->replicas[r].failed;
    }
    return n_failed == team->n_replicas ? &team->replicas[n_failed - 1] : NULL;
}

emc_status emc_team_poll(emc_team *team, emc_answer *answer, bool *got)
{
    emc_status status = EMC_OK;

    *got = false;
    pthread_mutex_lock(&team->lock);
    give_back_borrowed(team);
    while (team->n_items > 0) {
        replica *failed;

        if (team->answered.first) {
            team->borrowed = team_pop(&team->answered);
            *answer = team->borrowed->answer;
            *got = true;
            break;
        }
        failed = find_failure(team);
        if (failed) {
            failed->told = true;
            status = emc_fail(failed->status, "%s", failed->message);
            break;
        }
        pthread_cond_wait(&team->changed, &team->lock);
    }
    pthread_mutex_unlock(&team->lock);
    return status;
}

static emc_status cancel(member *m, void *context)
{
    (void)context;
    emc_rank_cancel(m->engine);
    return EMC_OK;
}

void emc_team_cancel(emc_team *team)
{
    item_list dropped = {0};

    pthread_mutex_lock(&team->lock);
    give_back_borrowed(team);
    team_put_first(&dropped, &team->queue);
    team->queued_rows = 0;
    pthread_mutex_unlock(&team->lock);
    (void)run_on_all(team, cancel, NULL); /* after the turns that go on */
    pthread_mutex_lock(&team->lock);
    team_put_first(&dropped, &team->queue); /* of a replica that failed meanwhile */
    for (int r = 0; r < team->n_replicas; r++)
        team_put_first(&dropped, &team->replicas[r].running);
    team_put_first(&dropped, &team->answered);
    team_put_first(&team->spare, &dropped);
    team->queued_rows = 0;
    team->n_items = 0;
    pthread_mutex_unlock(&team->lock);
}

/* --- Figures ------------------------------------------------------------------------------ */

int emc_team_count_alive(const emc_team *team)
{
    emc_team *t = (emc_team *)team;
    int n = 0;

    pthread_mutex_lock(&t->lock);
    for (int r = 0; r < t->n_replicas; r++)
        n += !t->replicas[r].failed;
    pthread_mutex_unlock(&t->lock);
    return n;
}

void emc_team_get_stats(const emc_team *team, emc_engine_stats *out)
{
    emc_team *t = (emc_team *)team;

    pthread_mutex_lock(&t->lock);
    *out = t->replicas[0].stats;
    for (int r = 1; r < t->n_replicas; r++) {
        const emc_engine_stats *stats = &t->replicas[r].stats;

        out->n_steps += stats->n_steps;
        out->n_rows += stats->n_rows;
        out->n_readers += stats->n_readers;
        out->n_choice_rows += stats->n_choice_rows;
        out->device_ms += stats->device_ms;
    }
    out->device_ms /= t->n_replicas;
    pthread_mutex_unlock(&t->lock);
}

void emc_team_get_memory_plan(const emc_team *team, emc_memory_plan *out)
{
    emc_team *t = (emc_team *)team;

    pthread_mutex_lock(&t->lock);
    *out = t->replicas[0].plan;
    pthread_mutex_unlock(&t->lock);
}

bool emc_team_get_trace(const emc_team *team, int index, emc_trace_entry *out)
{
    return emc_rank_get_trace(team->members[0].engine, index, out);
}
