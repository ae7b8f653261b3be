/* What do the threads of a team's ranks do? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/team_state.h"

/* --- Items -------------------------------------------------------------------------------- */

void team_push(item_list *list, item *i)
{
    i->next = NULL;
    if (list->last)
        list->last->next = i;
    else
        list->first = i;
    list->last = i;
    list->n++;
}

item *team_pop(item_list *list)
{
    item *i = list->first;

    if (!i)
        return NULL;
    list->first = i->next;
    if (!list->first)
        list->last = NULL;
    list->n--;
    return i;
}

static void take_out(item_list *list, item *wanted)
{
    item_list kept = {0};

    for (item *i; (i = team_pop(list));)
        if (i != wanted)
            team_push(&kept, i);
    *list = kept;
}

/* Puts a list before another. */
void team_put_first(item_list *list, item_list *first)
{
    for (item *i; (i = team_pop(list));)
        team_push(first, i);
    *list = *first;
    *first = (item_list){0};
}

void team_free_items(item_list *list)
{
    for (item *i; (i = team_pop(list));) {
        free(i->ids);
        free(i->log_probs);
        free(i->scores);
        free(i->answer_ids);
        free(i);
    }
}

static emc_status keep_doubles(double **to, size_t *capacity, const double **from, size_t n)
{
    if (!*from)
        return EMC_OK;
    EMC_TRY(emc_reserve(to, capacity, n, sizeof **to, "an answer"));
    memcpy(*to, *from, n * sizeof **to);
    *from = *to;
    return EMC_OK;
}

/* What an engine lends becomes the item's own. */
static emc_status keep_answer(item *i, const emc_answer *answer, int n_choices)
{
    i->answer = *answer;
    i->answer.ticket = i->request.ticket;
    EMC_TRY(keep_doubles(&i->log_probs, &i->log_probs_capacity, &i->answer.log_probs,
                         (size_t)n_choices));
    EMC_TRY(keep_doubles(&i->scores, &i->scores_capacity, &i->answer.scores, (size_t)n_choices));
    if (!answer->ids)
        return EMC_OK;
    EMC_TRY(emc_reserve(&i->answer_ids, &i->answer_ids_capacity, (size_t)answer->n_ids + 1,
                        sizeof *i->answer_ids, "an answer"));
    memcpy(i->answer_ids, answer->ids, (size_t)answer->n_ids * sizeof *answer->ids);
    i->answer.ids = i->answer_ids;
    return EMC_OK;
}

/* --- Turns -------------------------------------------------------------------------------- */

/* What a rank alone may have met, so that others would wait for it. */
static bool is_fault(emc_status status)
{
    return status == EMC_ERR_DEVICE || status == EMC_ERR_LOST || status == EMC_ERR_NOMEM ||
           status == EMC_ERR_INTERNAL;
}

static emc_status submit_new(member *m)
{
    for (int k = 0; k < m->of->n_new; k++) {
        item *i = m->of->new_items[k];
        emc_request request = i->request;

        request.ticket = (uint64_t)(uintptr_t)i;
        EMC_TRY(emc_rank_submit(m->engine, &request));
    }
    return EMC_OK;
}

static emc_status run_turn(member *m, turn_kind turn, const team_job *job)
{
    m->got = false;
    if (turn == TURN_JOB)
        return job->run(m, job->context);
    if (turn == TURN_SUBMIT)
        return m->rank > 0 ? submit_new(m) : EMC_OK;
    return emc_rank_poll(m->engine, &m->answer, &m->got);
}

/* Ends this rank's part of a turn. */
static void take_part(member *m, turn_kind turn, const team_job *job)
{
    if (m->status == EMC_OK)
        m->status = run_turn(m, turn, job);
    if (m->status != EMC_OK)
        snprintf(m->message, sizeof m->message, "%s", emc_message());
    if (is_fault(m->status) && m->model->comm)
        m->model->dev->ops->comm_abort(m->model->comm);
}

/* With the lock held: all ranks of the replica take part in a turn, which is over on return. */
static void lead(replica *r, turn_kind turn)
{
    emc_team *team = r->team;
    const team_job now = team->job;

    r->turn = turn;
    r->n_busy = team->n_ranks - 1;
    r->n_turns++;
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->lock);
    if (turn != TURN_END)
        take_part(&r->members[0], turn, &now);
    pthread_mutex_lock(&team->lock);
    while (r->n_busy > 0)
        pthread_cond_wait(&team->changed, &team->lock);
}

/* The error that explains the others, or NULL: what a rank gets when another fails is EMC_ERR_LOST.
 */
const member *team_find_cause(const replica *r)
{
    const member *lost = NULL;

    for (int t = 0; t < r->team->n_ranks; t++) {
        const member *m = &r->members[t];

        if (m->status != EMC_OK && m->status != EMC_ERR_LOST)
            return m;
        if (m->status == EMC_ERR_LOST && !lost)
            lost = m;
    }
    return lost;
}

/* With the lock held: nobody counts on this replica any more. */
static void fail_replica(replica *r, const member *cause)
{
    emc_team *team = r->team;

    r->failed = true;
    r->status = cause->status;
    snprintf(r->message, sizeof r->message, "%s", cause->message);
    for (const item *i = r->running.first; i; i = i->next)
        team->queued_rows += i->request.n_ids;
    team_put_first(&team->queue, &r->running);
}

/* With the lock held: what the last turn of the replica gave. */
void team_note_figures(replica *r)
{
    emc_rank_get_stats(r->members[0].engine, &r->stats);
    emc_rank_get_memory_plan(r->members[0].engine, &r->plan);
}

/* With the lock held. */
static void take_answer(replica *r)
{
    emc_team *team = r->team;
    member *leader = &r->members[0];
    item *i;

    if (!leader->got)
        return;
    i = (item *)(uintptr_t)leader->answer.ticket;
    leader->status = keep_answer(i, &leader->answer,
                                 leader->engine->choices ? leader->engine->choices->n_choices : 0);
    if (leader->status != EMC_OK) {
        snprintf(leader->message, sizeof leader->message, "%s", emc_message());
        return;
    }
    take_out(&r->running, i);
    team_push(&team->answered, i);
}

/* With the lock held: from the queue to the leader's engine, as many as it has room for. */
static void take_requests(replica *r)
{
    emc_team *team = r->team;
    member *leader = &r->members[0];

    r->n_new = 0;
    while (leader->status == EMC_OK && team->queue.first) {
        item *i;
        emc_request request;

        /* Nobody else calls this engine, so it may be asked without the lock. */
        if (emc_rank_is_full(leader->engine))
            return;
        leader->status = emc_reserve(&r->new_items, &r->new_capacity, (size_t)r->n_new + 1,
                                     sizeof *r->new_items, "requests");
        if (leader->status != EMC_OK)
            break;
        i = team_pop(&team->queue);
        team->queued_rows -= i->request.n_ids;
        team_push(&r->running, i);
        r->new_items[r->n_new++] = i;
        request = i->request;
        request.ticket = (uint64_t)(uintptr_t)i;
        pthread_mutex_unlock(&team->lock);
        leader->status = emc_rank_submit(leader->engine, &request);
        pthread_mutex_lock(&team->lock);
    }
    if (leader->status != EMC_OK)
        snprintf(leader->message, sizeof leader->message, "%s", emc_message());
}

/* With the lock held. */
static void work(replica *r)
{
    const member *cause;

    for (int t = 0; t < r->team->n_ranks; t++)
        r->members[t].status = EMC_OK;
    take_requests(r);
    if (r->running.n == 0)
        return;
    /* A turn of its own: to submit may take and give back memory, for which a GPU waits for what is
     * queued on all of them, and that may wait for this one. */
    if (r->n_new > 0 && r->team->n_ranks > 1)
        lead(r, TURN_SUBMIT);
    lead(r, TURN_POLL);
    cause = team_find_cause(r);
    if (!cause) {
        take_answer(r);
        cause = team_find_cause(r);
    }
    team_note_figures(r);
    if (cause)
        fail_replica(r, cause);
    pthread_cond_broadcast(&r->team->changed);
}

/* With the lock held. An error of a job is told by emc_team_run; one that a rank may have met alone
 * ends the replica. */
static void do_job(replica *r)
{
    const member *cause;

    for (int t = 0; t < r->team->n_ranks; t++)
        r->members[t].status = EMC_OK;
    lead(r, TURN_JOB);
    cause = team_find_cause(r);
    if (cause && is_fault(cause->status))
        fail_replica(r, cause);
    team_note_figures(r);
    r->n_jobs++;
    pthread_cond_broadcast(&r->team->changed);
}

void *team_lead(void *context)
{
    replica *r = ((member *)context)->of;
    emc_team *team = r->team;

    pthread_mutex_lock(&team->lock);
    while (!team->ending) {
        if (r->n_jobs < team->n_jobs && !r->failed)
            do_job(r);
        else if (r->n_jobs < team->n_jobs) {
            r->n_jobs++;
            pthread_cond_broadcast(&team->changed);
        } else if (!r->failed && (team->queue.first || r->running.first))
            work(r);
        else
            pthread_cond_wait(&team->changed, &team->lock);
    }
    lead(r, TURN_END);
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

void *team_follow(void *context)
{
    member *m = context;
    replica *r = m->of;
    emc_team *team = r->team;
    unsigned long n_turns = 0;
    turn_kind turn = TURN_POLL;

    pthread_mutex_lock(&team->lock);
    while (turn != TURN_END) {
        while (r->n_turns == n_turns)
            pthread_cond_wait(&team->changed, &team->lock);
        n_turns = r->n_turns;
        turn = r->turn;
        const team_job now = team->job;
        pthread_mutex_unlock(&team->lock);
        if (turn != TURN_END)
            take_part(m, turn, &now);
        pthread_mutex_lock(&team->lock);
        r->n_busy--;
        pthread_cond_broadcast(&team->changed);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}
