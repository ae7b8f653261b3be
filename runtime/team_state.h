#pragma once
/* What a team is made of. For team.c and team_turns.c only. */

#include <pthread.h>

#include "runtime/team.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A request on its way, and its answer. */
typedef struct item item;
struct item {
    item *next;
    emc_request request; /* ids are its own */
    int32_t *ids;
    size_t ids_capacity;
    emc_answer answer; /* arrays are its own */
    double *log_probs, *scores;
    size_t log_probs_capacity, scores_capacity;
    int32_t *answer_ids;
    size_t answer_ids_capacity;
};

typedef struct {
    item *first, *last;
    int n;
} item_list;

typedef struct member member;

/* What all ranks of a replica do next. */
typedef enum {
    TURN_SUBMIT, /* what the leader has submitted */
    TURN_POLL,   /* once */
    TURN_JOB,    /* the team's job */
    TURN_END
} turn_kind;

typedef struct {
    emc_team *team;
    member *members; /* [n_ranks]; the first leads */

    /* Under the team's lock. */
    turn_kind turn;
    unsigned long n_turns; /* begun */
    int n_busy;            /* ranks that have not ended this one */
    item **new_items;      /* [n_new] of this turn */
    int n_new;
    size_t new_capacity;
    unsigned long n_jobs; /* done */
    item_list running;
    bool failed, told; /* the caller knows of it */
    emc_status status; /* why */
    char message[1024];
    emc_engine_stats stats; /* as of the last turn */
    emc_memory_plan plan;
} replica;

struct member {
    replica *of;
    int rank;
    emc_model *model;
    emc_engine *engine;
    pthread_t thread;
    bool started;
    emc_status status; /* of this turn */
    char message[1024];
    emc_answer answer; /* of this turn, the leader's; borrowed from its engine */
    bool got;
};

/* What every rank is to do once. */
typedef struct {
    emc_status (*run)(member *m, void *context);
    void *context;
} team_job;

struct emc_team {
    int n_replicas, n_ranks;
    replica *replicas;
    member *members; /* [n_replicas * n_ranks] */
    int64_t most_rows;
    int most_items;

    pthread_mutex_t lock; /* of all that follows, and of what replicas have under it */
    pthread_cond_t changed;
    bool ending;
    team_job job;
    unsigned long n_jobs; /* begun */
    item_list queue, answered, spare;
    int64_t queued_rows;
    int n_items; /* in none of the spare */
    item *borrowed;
};

/* --- team_turns.c: lists of requests, and what the threads of ranks do --- */

void team_push(item_list *list, item *i);
item *team_pop(item_list *list);
/* Puts a list before another, which is empty then. */
void team_put_first(item_list *list, item_list *first);
void team_free_items(item_list *list);

/* With the lock held: what the last turn of the replica gave. */
void team_note_figures(replica *r);

/* The error of the last turn that explains the others, or NULL: what a rank gets when another fails
 * is EMC_ERR_LOST. */
const member *team_find_cause(const replica *r);

/* The threads of a replica's first rank, and of each other one; context: the member. */
void *team_lead(void *context);
void *team_follow(void *context);

#ifdef __cplusplus
}
#endif
