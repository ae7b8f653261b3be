#pragma once
/* What an engine is made of. For runtime/ and its tests only. */

#include "runtime/choices.h"
#include "runtime/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_SEQUENCE_FREE = 0,
    EMC_SEQUENCE_WAITING, /* for pages, or for room in a step */
    EMC_SEQUENCE_RUNNING, /* holds every page it will ever need */
    EMC_SEQUENCE_DONE
} emc_sequence_state;

/*
 * One request. Its rows go through the model in a fixed order: the prompt after the prefix, then
 * the inner nodes of the choices, or one generated token after the other.
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
    bool finite;    /* no NaN or infinity came from the model */
    int own_done;   /* own rows whose K and V are stored: prompt, then generated */
    int nodes_done; /* inner nodes that were read */
    int own_taken;  /* of those, in the step being made */
    int nodes_taken;
    int32_t *pages; /* own ones, then those for paths */
    size_t pages_capacity;
    int n_own_pages;
    int n_path_pages;
    double *edges; /* EMC_ASK_CHOICES, as emc_choices_joint */
    size_t edges_capacity;
    double *log_probs;
    size_t log_probs_capacity;
} emc_sequence;

/* Whose reader it is, and of which node (0: the prompt's last row, or a generated one). */
typedef struct {
    emc_sequence *sequence;
    int node;
} emc_reader;

struct emc_engine {
    emc_model *model;
    emc_device *dev;
    emc_engine_options options; /* defaults filled in */
    int base_pages;             /* pages beside those of the prefix */
    emc_cache *cache;
    emc_graph *graph;
    emc_step *step;
    emc_reader *readers; /* [max_num_readers] of the step being made */
    float *rope_table;   /* device memory, rope_len positions */
    int rope_len;

    int32_t *prefix; /* [n_prefix] ids, or NULL */
    int n_prefix;
    int32_t *prefix_pages;
    int n_prefix_pages;
    int prefix_place; /* of its pages in the page table of the step being made, or -1 */

    emc_choices *choices; /* or NULL */
    double *joint;        /* [n_nodes], scratch */

    int max_sequences;
    emc_sequence *sequences; /* [max_sequences] */
    emc_sequence **order;    /* submitted and not finished: n_running running ones, then waiting */
    int n_order;
    int n_running;
    emc_sequence **finished; /* a ring: first_finished, then the later ones */
    int first_finished;
    int n_finished;
    emc_sequence *borrowed; /* its answer is with the caller */
    emc_engine_stats stats;
};

/* Room for a prompt: pages beside the prefix's, and positions. Takes memory where it must. */
emc_status emc_engine_make_room(emc_engine *engine, int n_pages, int n_positions);

/* EMC_ERR_ARG: an id outside the vocabulary; the message begins with `what`. */
emc_status emc_engine_check_ids(const emc_engine *engine, const char *what, const int32_t *ids,
                                int n);

/* Own pages and path pages that a sequence will need in all. */
void emc_sequence_count_pages(emc_sequence *sequence, const emc_choices *choices);

/* Runs one step of what is in flight. EMC_ERR_INTERNAL: nothing could go on. */
emc_status emc_engine_run_step(emc_engine *engine);

/* Gives back what a running sequence holds. */
void emc_engine_release_pages(emc_engine *engine, emc_sequence *sequence);

/* Computes K and V of ids into `pages`, as a sequence without a prefix; with `logits` not NULL,
 * f32 [n, vocab], also the logits of every row. */
emc_status emc_engine_run_ids(emc_engine *engine, const int32_t *ids, int n, const int32_t *pages,
                              float *logits);

/* Multiplies rows in two orders, and one alone; EMC_ERR_DEVICE when a row's bits differ. */
emc_status emc_engine_self_check(const emc_model *model);

#ifdef __cplusplus
}
#endif
