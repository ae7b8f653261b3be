#pragma once
/* Who answers? A system takes questions and gives predictions; how is its own business. */

#include <signal.h>
#include <stdint.h>

#include "annotate/evaluate/benchmark.h"
#include "annotate/evaluate/prediction.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An item as it is asked: a sweep may have changed genes, candidates or wording. Borrowed. */
typedef struct {
    int item; /* of the benchmark */
    const char *const *genes;
    const double *values; /* NULL: unknown */
    int n_genes;
    const int *candidates; /* NULL: all */
    int n_candidates;
    int wording;  /* as emc_prompt_variant */
    int n_listed; /* genes that a prompt lists at most; 0: as many as the pass says */
} emc_question;

/* The questions of one pass and where answers go. */
typedef struct {
    const emc_benchmark *benchmark;
    const emc_question *questions;
    int n_questions;
    const int *train; /* [n_train] items that a system may learn from; never one of the questions */
    int n_train;
    int n_listed; /* genes that a prompt lists at most; 0: as many as the profile lists */
    int held_out; /* a label that must not be learnt or offered; -1: none */
    uint64_t seed;
    /* Once a question, in any order, on the thread of the call. A failure stops the pass. */
    emc_status (*on_prediction)(void *context, int question, const emc_prediction *prediction);
    /* One line for people; may be NULL. */
    void (*on_log)(void *context, const char *line);
    void *context;
    const volatile sig_atomic_t *cancel; /* may be NULL */
} emc_pass;

/* What asking over a network took, over all passes so far. */
typedef struct {
    int64_t n_requests;                       /* that were sent, further tries included */
    int64_t n_retries;                        /* of these, the further tries */
    int64_t n_answers;                        /* that came whole */
    int64_t n_cached;                         /* questions answered from the disk instead */
    int64_t n_failed;                         /* questions without an answer after all tries */
    int64_t n_thoughts;                       /* answers with thoughts apart, which are left out */
    int64_t n_untold;                         /* answers that came without counts of tokens */
    int64_t n_prompt_tokens, n_answer_tokens; /* of answers that came whole, as they were told */
    double cost;                              /* of these; NaN: no price is known */
    const char *currency;                     /* NULL: not told */
} emc_system_usage;

typedef struct emc_system emc_system;
struct emc_system {
    const char *name;        /* unique in an evaluation; a plain file name */
    const char *kind;        /* "model", "endpoint", "csv", "baseline" */
    const char *description; /* one line for the leaderboard */
    const char *settings;    /* a JSON object: all that its answers depend on, no secrets */
    bool has_probs;
    const emc_system_usage *usage; /* NULL: nothing was sent over a network */
    /* EMC_ERR_CANCELLED after cancel; what was answered has been handed over. */
    emc_status (*run)(emc_system *system, const emc_pass *pass);
    void (*close)(emc_system *system);
};

/* baselines.c: "majority", "stage", "markers", "centroid", "knn", "logistic". */
const char *emc_baseline_name(int index); /* NULL past the last */
emc_status emc_baseline_open(emc_system **out, const char *name);

/* csv_system.c: predictions of another tool: a table with a column of ids and one of labels, and
 * optional scores. Column names: NULL finds "cell_id" or "id", "label", "predicted_labels" or
 * "prediction", "score" or "conf_score". Items without a row are failed. */
typedef struct {
    const char *name, *path, *id_column, *label_column, *score_column;
} emc_csv_system_options;
emc_status emc_csv_system_open(emc_system **out, const emc_csv_system_options *options);

/* endpoint.c: any OpenAI-compatible endpoint; the options are a JSON file, docs/endpoints.md. The
 * key comes from an environment variable that the caller has read, or from a file, and is never
 * printed nor stored. cache_dir: answers on disk by the hash of what was sent; made with the first
 * pass, in a folder that is there then. profile asks and is borrowed. */
typedef struct {
    const char *path;
    const char *key;       /* NULL: the file of the options, or none */
    const char *cache_dir; /* NULL: none */
    const emc_profile *profile;
} emc_endpoint_options;
emc_status emc_endpoint_open(emc_system **out, const emc_endpoint_options *options);
/* The environment variable that the options want the key from; NULL: none. Owned, free(). */
emc_status emc_endpoint_key_variable(char **out, const char *path);

/* model_system.c: a checkpoint of ours through the engine; options as in emc_annotate_options. The
 * engine opens with the first pass. */
typedef struct {
    const char *name;
    const emc_profile *profile; /* of emc_benchmark_profile; borrowed */
    emc_model_options model;
    int answer;               /* an emc_answer_mode */
    int scoring;              /* an emc_scoring_rule; -1: the profile's */
    double probability_width; /* exact; < 0: 0, so that all probabilities are known */
    int max_tokens;           /* generate; 0: the profile's */
    int max_num_batched_tokens;
    double gpu_memory_utilization;
} emc_model_system_options;
emc_status emc_model_system_open(emc_system **out, const emc_model_system_options *options);

static inline void emc_system_close(emc_system *system)
{
    if (system)
        system->close(system);
}

#ifdef __cplusplus
}
#endif
