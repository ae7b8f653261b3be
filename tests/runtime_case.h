#pragma once
/* The golden models of make_runtime.py, with what the reference library says of them. */

#include "loader/safetensors.h"
#include "runtime/emcell.h"

#define CASE_PROMPTS 4

typedef struct {
    char model_dir[512];
    char adapter_dir[512]; /* "" where there is none */
    int32_t *ids[CASE_PROMPTS];
    int n_ids[CASE_PROMPTS];
    int32_t *positions[CASE_PROMPTS]; /* those whose logits are kept */
    int n_positions[CASE_PROMPTS];
    int32_t *greedy[CASE_PROMPTS];
    int n_greedy[CASE_PROMPTS];
    bool greedy_ended[CASE_PROMPTS];
    emc_safetensors *logits;
} runtime_case;

/* The most that a greedy continuation was allowed. */
#define CASE_MAX_NEW 24

/* `base` is the case whose model it is, `name` its own. */
void case_open(runtime_case *out, const char *name, const char *base);
void case_close(runtime_case *c);

/* f32 [n_positions, vocab] of a prompt, kind "f32" or "bf16". Owned by the caller. */
float *case_logits(const runtime_case *c, const char *kind, int prompt);

/* The device that these tests run on: EMT_ONLY_DEVICE, or the CPU. */
bool case_on_cpu(void);

/* Whether tests may take minutes: EMT_FULL is set. */
bool case_full(void);

/* On a GPU in bfloat16, whatever dtype says: there is no other. */
emc_model *case_model(const runtime_case *c, emc_dtype_choice dtype, int n_threads);

/* With steps of 128 rows where options, which may be NULL, leave their number open on a GPU: a
 * virtual one takes its time. */
emc_engine *case_engine(emc_model *model, const emc_engine_options *options);

/* emc_engine_logits of the whole prompt, f32 [n, vocab]. Owned by the caller. */
float *engine_logits(emc_engine *engine, const int32_t *ids, int n, int vocab);

/* What an answer said, kept. */
typedef struct {
    double *log_probs; /* [n_choices] or NULL */
    double *scores;    /* likewise */
    emc_found found;
    int32_t *ids;
    int n_ids;
    bool ended;
} kept_answer;

/* Into one that is all zeros: answered once. */
void keep_answer(kept_answer *kept, const emc_answer *answer, int n_choices);

/* Submits requests[order[0]], requests[order[1]], ... (order NULL: as they stand), polls, and
 * keeps the answer to requests[i] in out[i]. Tickets must be the indices. */
void run_requests(emc_engine *engine, const emc_request *requests, const int *order, int n,
                  int n_choices, kept_answer *out);
void free_answers(kept_answer *answers, int n);

/* Fails the test unless both hold the same bytes. */
void assert_same_answers(const kept_answer *a, const kept_answer *b, int n, int n_choices,
                         const char *what);

/* Nothing is in flight, and every page is free, or the prefix's or the reserve's. */
void assert_idle(const emc_engine *engine);

/* Random choices over [0, vocab): one token long and longer, some the beginning of others. */
#define MOST_CHOICES 64
#define MOST_TOKENS  6
typedef struct {
    int32_t ids[MOST_CHOICES * MOST_TOKENS];
    int32_t begin[MOST_CHOICES + 1];
    int n;
} random_choices;

void draw_choices(random_choices *out, int vocab, int n, uint64_t *random);
