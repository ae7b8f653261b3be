#pragma once
/* What an engine is made of. For runtime/ and its tests only. */

#include "runtime/choices.h"
#include "runtime/graph.h"
#include "runtime/search.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Steps that were queued and not read: one that runs, and one that the device finds when it has
 * ended. */
#define EMC_STEPS_IN_FLIGHT 2

typedef enum {
    EMC_SEQUENCE_FREE = 0,
    EMC_SEQUENCE_WAITING, /* for pages, or for room in a step */
    EMC_SEQUENCE_RUNNING, /* holds every page it will ever need */
    EMC_SEQUENCE_QUEUED,  /* all its rows are queued, so its pages may go to later steps: the device
                             comes to those in order. Results are to come */
    EMC_SEQUENCE_DONE
} emc_sequence_state;

/*
 * One request. Its rows go through the model in a fixed order: the prompt after the prefix, then
 * the nodes of the choices as its search asks for them, or one generated token after the other.
 * What was queued runs ahead of what was read by the steps in flight.
 *
 * A search asks in rounds. The first is known before the prompt is computed and rides with it; each
 * later one is asked for when every node of the one before was read. It depends on the numbers of
 * this sequence alone, so how its rows were spread over steps shows nowhere.
 */
typedef struct {
    emc_sequence_state state;
    uint64_t ticket;
    emc_ask ask;
    int32_t *ids; /* the prompt, then what was generated */
    size_t ids_capacity;
    int n_prompt;
    int prefix_len;  /* positions taken from the engine's prefix: all of it, or 0 */
    int n_own;       /* prompt rows of its own */
    int n_generated; /* EMC_ASK_GENERATE */
    int max_tokens;
    bool ended;
    bool finite;      /* no NaN or infinity came from the model */
    int own_queued;   /* own rows: prompt, then generated */
    int nodes_queued; /* inner nodes of the search */
    int own_read;     /* of those, in steps that were read */
    int nodes_read;
    int32_t *pages; /* of own rows, and behind these of nodes in the order of their rows */
    size_t pages_capacity;
    int n_pages_first; /* that it gets when it begins to run */
    int n_pages;       /* that it holds */

    emc_search *search;   /* all but EMC_ASK_GENERATE */
    const int32_t *round; /* inner nodes of this round, borrowed from the search */
    int round_begin;      /* nodes of the rounds before */
    int round_end;
    int32_t *places; /* [n_inner] by emc_choice_node.inner: how many nodes came before it */
    size_t places_capacity;
    emc_found found;
    double *log_probs; /* [n_choices] */
    size_t log_probs_capacity;
    double *scores; /* [n_choices] */
    size_t scores_capacity;
} emc_sequence;

/* Nodes for whose K and V a sequence holds room when it begins to run: most searches end sooner. */
#define EMC_FIRST_NODES 16

/* Whose reader it is, and of which node (0: the prompt's last row, or a generated one). */
typedef struct {
    emc_sequence *sequence;
    int node;
} emc_reader;

/* What a step takes of a sequence. */
typedef struct {
    emc_sequence *sequence;
    int n_own;
    int n_nodes;
} emc_share;

/* A step with what is behind it. */
typedef struct {
    emc_step *step;
    emc_reader *readers; /* [max_num_readers] */
    emc_share *shares;   /* [max_sequences] */
    int n_shares;
    int prefix_place;    /* of the prefix's pages in the page table, or -1 */
    bool full;           /* rows that were ready had to stay out, for want of rows or readers */
    bool short_of_pages; /* a sequence did not find its pages */
} emc_flight;

typedef struct emc_team emc_team; /* team.h */

/* Of one device; or what the caller has of several, then nothing but team counts. */
struct emc_engine {
    emc_team *team; /* or NULL */
    emc_model *model;
    emc_device *dev;
    emc_engine_options options; /* defaults filled in */
    emc_cache *cache;
    emc_graph *graph;
    emc_trace *trace; /* the last one that was switched on, or NULL */
    bool tracing;
    void *d_logits;    /* device memory for the logits of a page of rows, or NULL */
    float *rope_table; /* device memory, rope_len positions */
    int rope_len;

    emc_flight flights[EMC_STEPS_IN_FLIGHT]; /* a ring: first_flight, then the later ones */
    int max_flights;                         /* that many of them are in use */
    int first_flight;
    int n_flights;       /* queued and not read */
    emc_flight *filling; /* the last one that was, or is being, filled */

    int32_t *prefix; /* [n_prefix] ids, or NULL */
    int n_prefix;
    int32_t *prefix_pages;
    int n_prefix_pages;

    emc_choices *choices;    /* or NULL */
    emc_search_rules *rules; /* of the choices */
    /* Pages for one search that finds no other ones, enough for all its nodes: its holder can
     * always go on, and so give back what others wait for. */
    int32_t *reserve;
    int n_reserve;
    emc_sequence *reserve_holder; /* or NULL */
    int n_reserve_held;

    int max_sequences;
    emc_sequence *sequences; /* [max_sequences] */
    emc_sequence **order;    /* submitted and not finished, in that order */
    int n_order;
    emc_sequence **finished; /* a ring: first_finished, then the later ones */
    int first_finished;
    int n_finished;
    emc_sequence *borrowed; /* its answer is with the caller */
    emc_engine_stats stats;
    emc_memory_plan plan; /* as it was made; activations with the library's scratch memory */
    int plan_positions;   /* rotary rows that it counts with */
    int least_pages;      /* of options.n_pages: fewer than these are refused, not planned */
};

/* One rank's engine: what emcell.h says of the functions that end alike, of one device. logits are
 * of the rank's slice of the vocabulary, f32 [n_ids, part.vocab]. */
emc_status emc_rank_open(emc_engine **out, emc_model *model, const emc_engine_options *options);
void emc_rank_close(emc_engine *engine);
emc_status emc_rank_set_prefix(emc_engine *engine, const int32_t *ids, int n);
emc_status emc_rank_set_choices(emc_engine *engine, const int32_t *ids, const int32_t *begin,
                                int n_choices);
emc_status emc_rank_set_scoring(emc_engine *engine, const emc_scoring *scoring);
bool emc_rank_is_full(const emc_engine *engine);
emc_status emc_rank_check_request(const emc_engine *engine, const emc_request *request);
emc_status emc_rank_submit(emc_engine *engine, const emc_request *request);
emc_status emc_rank_poll(emc_engine *engine, emc_answer *answer, bool *got);
void emc_rank_cancel(emc_engine *engine);
void emc_rank_get_stats(const emc_engine *engine, emc_engine_stats *out);
void emc_rank_get_memory_plan(const emc_engine *engine, emc_memory_plan *out);
emc_status emc_rank_set_trace(emc_engine *engine, bool on);
bool emc_rank_get_trace(const emc_engine *engine, int index, emc_trace_entry *out);
emc_status emc_rank_logits(emc_engine *engine, const int32_t *ids, int n_ids, float *logits);

/* The memory that the functions before would take, beforehand: ranks that compute together do so
 * before any of them queues a step. Errors that they would give are left to them. */
emc_status emc_rank_make_room_for_prefix(emc_engine *engine, int n);
emc_status emc_rank_make_room_for_logits(emc_engine *engine, int n_ids);

/* Room for a prompt: pages beside the prefix's and the reserve, and positions. Takes memory where
 * it must. */
emc_status emc_engine_make_room(emc_engine *engine, int n_pages, int n_positions);

/* EMC_ERR_ARG: an id outside the vocabulary; the message begins with `what`. */
emc_status emc_engine_check_ids(const emc_engine *engine, const char *what, const int32_t *ids,
                                int n);

/* Steps that are filled while a search lasts, for most searches: see engine.c. */
int emc_engine_search_steps(const emc_engine *engine);

/* Pages set aside for searches that need more than they began with. */
int emc_engine_reserve_for(const emc_choices *choices);

/* Begins, or begins anew, with the first row. EMC_ERR_NOMEM, never when it begins anew. */
emc_status emc_sequence_begin(const emc_engine *engine, emc_sequence *sequence);

/* No row will come that is not known now. What a search will ask for is not, but no search asks for
 * more than there is. */
bool emc_sequence_is_known(const emc_engine *engine, const emc_sequence *sequence);

/* Asks its search for the next round; false when the search is over. */
bool emc_sequence_next_round(const emc_engine *engine, emc_sequence *sequence);

/* Gives back what a running sequence holds. */
void emc_engine_release_pages(emc_engine *engine, emc_sequence *sequence);

/* Rows of a sequence that are to come and do not wait for a result. */
int emc_sequence_rows_ready(const emc_sequence *sequence);

/* Fills the next step, engine->filling, with what is ready, as far as it fits. Sequences may get
 * pages; nothing else of them changes. */
void emc_engine_fill(emc_engine *engine);

/*
 * Queues the next step if there is one and it should go now. While others are in flight it goes
 * only if no better one can come, for a step that is not full costs as much as one that is:
 * when ready rows had to stay out of it, or when pages are what a sequence waits for and no result
 * that is still to be read could end another and so give pages back. (Else what the caller submits
 * until the device is idle, or what such a result brings, goes with it.)
 */
emc_status emc_engine_launch(emc_engine *engine, bool *launched);

/* Waits for the oldest step in flight and takes its results to their sequences. */
emc_status emc_engine_read(emc_engine *engine);

/* Reads every step in flight. */
emc_status emc_engine_settle(emc_engine *engine);

/* Waits for the device and forgets the steps in flight; every sequence waits again, to start from
 * its first row. (Then it gets the bits that it would have got.) */
void emc_engine_start_over(emc_engine *engine);

/* Computes K and V of ids into `pages`, as a sequence without a prefix; with `logits` not NULL,
 * f32 [n, part.vocab], also the logits of every row, for which emc_rank_make_room_for_logits has
 * been called. Nothing may be in flight. */
emc_status emc_engine_run_ids(emc_engine *engine, const int32_t *ids, int n, const int32_t *pages,
                              float *logits);

/* Does a row's product depend on the row alone? EMC_ERR_DEVICE, the product named, when a row's
 * bits differ. Leaves the graph's memory in disorder. */
emc_status emc_engine_self_check(const emc_model *model, const emc_graph *graph);

/* Room that the plan leaves for what a device takes for itself when operations are prepared. */
#define EMC_SCRATCH_BYTES ((size_t)256 << 20)

/* Options with their defaults, and what follows from them. EMC_ERR_ARG: one out of range. */
emc_status emc_engine_set_up(emc_engine *engine, const emc_engine_options *given);

/* Of steps for the choices and pages there are; choices may be NULL. EMC_ERR_CONFIG: too many
 * logits are wanted. */
emc_status emc_engine_step_limits(const emc_engine *engine, int n_pages, const emc_choices *choices,
                                  emc_step_limits *out);

/* Rotary rows that it has, or grows to, for n positions. */
int emc_engine_rope_rows(const emc_engine *engine, int n_positions);

/* What an engine with these options, and no choices yet, takes. Where nobody asked for a number of
 * pages it becomes what there is room for, from least_pages on. EMC_ERR_DEVICE: more than the
 * device has, or than may be taken of it; the plan is filled all the same. */
emc_status emc_engine_make_plan(emc_engine *engine);

/* EMC_ERR_DEVICE: the plan does not fit under the options' gpu_memory_utilization. */
emc_status emc_engine_check_plan(const emc_engine *engine);

/* Adds to the plan what the device took beside it since. */
emc_status emc_engine_count_scratch(emc_engine *engine);

#ifdef __cplusplus
}
#endif
