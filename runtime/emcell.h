#pragma once
/*
 * The one header another program needs to run a model: open it, open an engine on it, submit
 * prompts, poll answers.
 *
 * An answer depends on its own prompt, the prefix, the choices and their scoring alone, bit for
 * bit: not on what else was submitted, the order, the number of threads, or what ran on the machine
 * before.
 *
 * A model is read-only once open. Several engines may share one, each with pages of its own, but
 * they share its device, too: calls on them must not overlap, and with several devices there may be
 * one engine at a time. Neither reads the environment or prints.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_model emc_model;
typedef struct emc_engine emc_engine;

typedef enum { EMC_DTYPE_AUTO = 0, EMC_DTYPE_FLOAT32, EMC_DTYPE_BFLOAT16 } emc_dtype_choice;

typedef struct {
    const char *model_dir;    /* a Hugging Face checkpoint folder */
    const char *adapter_dir;  /* a PEFT LoRA folder, or NULL */
    const char *random;       /* "0.6b", "1.7b", "4b", "8b", "14b" or "32b": random weights of that
                                 official shape in place of a folder, for measurements; else NULL */
    const char *device;       /* "cpu", "cuda" (the first GPU), "cuda:N", several as "cuda:0,1",
                                 "cuda:all"; NULL or "auto": the first usable GPU if there is one,
                                 else the CPU; also for float32 */
    int tensor_parallel_size; /* devices that hold the model between them, all in step; 0: 1. With
                                 "cuda" or "auto" the first so many GPUs. Several devices more are
                                 replicas, which share the requests */
    int n_replicas;           /* CPU: so many, which share its threads; 0: 1. GPUs: as many as their
                                 number makes */
    bool sums_f32;            /* sums over tensor-parallel devices are of f32 numbers, not of the
                                 device's dtype: closer to one device's, twice the bytes */
    double deadline_s;        /* the longest that a device waits for another in a step; 0: 60 */
    emc_dtype_choice
        dtype;          /* auto: bfloat16 for a BF16 checkpoint and on every GPU, else float32 */
    int n_threads;      /* CPU device; 0: one for each core this process may use */
    bool merge_adapter; /* add the adapter to the weights at load; else it runs beside them */
    const char *chosen; /* GPU: what emc_model_chosen gave in an earlier run of the same kind of
                           machine: use that, or fail with EMC_ERR_CONFIG; NULL: choose */
    const char *choices_path; /* GPU: a file that remembers such choices; NULL: none */
    bool without_weights;     /* every check of the files, but no weight is read and the device gets
                                 none: for emc_model_measure and the section on estimates below. No
                                 engine opens on it, and a GPU that is not there is no error */
} emc_model_options;

typedef struct {
    int n_layers, n_heads, n_kv_heads, head_dim, hidden, ffn, vocab;
    int max_positions;  /* the longest prompt and answer together */
    const int32_t *eos; /* generation ends at any of these */
    int n_eos;
    int n_devices, tensor_parallel_size; /* n_devices / tensor_parallel_size replicas */
    emc_dtype dtype;
    int64_t n_parameters;      /* without the adapter */
    const char *device;        /* description, for people */
    const char *device_name;   /* "cpu", "cuda:0", "cuda:0,1": what --device would take */
    const char *device_reason; /* why that one, for people; "" where it was asked for */
    const char *device_absent; /* "": it is there. Else why not, for people; then its numbers are
                                  those of a GPU with 132 multiprocessors, and it cannot be
                                  measured. Models without weights only */
    size_t weight_bytes;       /* on one device, adapter included; without weights: as if */
    double load_seconds;       /* that emc_model_open took */
} emc_model_info;

typedef struct {
    char name[24]; /* what --device takes */
    bool present;
    char description[192]; /* what it is, or why it is absent */
} emc_device_info;

/* Fills *out with device `index`, counted from 0; false past the last. */
bool emc_device_list(int index, emc_device_info *out);

/* Maps the weights, checks every tensor, builds the device. Errors as the loader's; a tensor, file
 * or option is named. EMC_ERR_DEVICE: no such device, or it lacks memory. */
emc_status emc_model_open(emc_model **out, const emc_model_options *options);
void emc_model_close(emc_model *model); /* after its engines; NULL is fine */
const emc_model_info *emc_model_get_info(const emc_model *model); /* borrowed */

/* What the device chose by measuring so far and that bits depend on: one line of JSON, "{}" for
 * nothing. Borrowed until the next call on the model or an engine of it. */
const char *emc_model_chosen(const emc_model *model);

/* The fastest that this device does, measured now: takes a second and some memory. 2 * M * N * K of
 * a large product of random bf16 numbers, by the second; bytes read and written by a large copy,
 * by the second. */
typedef struct {
    double product_flops;
    double copy_bytes;
} emc_ceilings;

emc_status emc_model_measure(emc_model *model, emc_ceilings *out);

typedef struct {
    int max_num_batched_tokens;    /* rows of a step, a positive multiple of 128; 0: 1024 */
    int max_num_readers;           /* rows of a step whose logits are read, a positive multiple of
                                      128; surplus ones wait a step. 0: all of a step's rows */
    int max_answer_tokens;         /* the most that a request may ask to generate; 0: 256 */
    int n_ids;                     /* token ids in use; the vocabulary's padding is never generated.
                                      0: the model's vocab */
    int n_pages;                   /* pages of 128 positions for K and V. 0: three steps' worth, on
                                      a GPU eight, or from six on what there is room for; and as
                                      many as 256 MB hold, at most 1024 */
    double gpu_memory_utilization; /* the part of a GPU's memory that everything together may take,
                                      above 0 to 1: only a cap. 0: 0.9 */
} emc_engine_options;

/* What is taken on the device, in bytes. */
typedef struct {
    size_t weights;
    size_t activations; /* one step's, with the library's scratch memory */
    size_t steps;       /* what describes steps in flight */
    size_t pages;       /* K and V */
    size_t page_bytes;  /* of one */
    int n_pages;
    size_t device_free;  /* before the engine took anything; 0: nobody can tell */
    size_t device_whole; /* 0: nobody can tell */
} emc_memory_plan;

/*
 * Takes its memory now; a step allocates nothing. set_prefix, set_choices and submit take more
 * where the prefix, the choices or a prompt need it: the longest prompt that is admitted is
 * max_positions, but room for it is not taken before one comes.
 *
 * On a GPU the plan is made first: EMC_ERR_DEVICE, and nothing taken, when it does not fit under
 * gpu_memory_utilization; the message says what is missing and which option helps.
 *
 * Also runs one product with its rows permuted and fails with EMC_ERR_DEVICE if a row's bits
 * changed. options may be NULL: all defaults. EMC_ERR_ARG: an option out of range.
 */
emc_status emc_engine_open(emc_engine **out, emc_model *model, const emc_engine_options *options);
void emc_engine_close(emc_engine *engine); /* drops what is in flight; NULL is fine */

/*
 * Ids that every prompt may share, computed now, once. A prompt that does not begin with them, or
 * is not longer, is computed whole. n = 0 forgets it. Only while nothing is in flight (EMC_ERR_ARG
 * otherwise, and for an id out of range). EMC_ERR_CONFIG: max_positions ids or more. After an
 * error other than requests in flight there is no prefix.
 *
 * With and without a prefix an answer agrees to rounding only: sums over keys are cut at other
 * places. So it belongs to what a run must keep the same.
 */
emc_status emc_engine_set_prefix(emc_engine *engine, const int32_t *ids, int n);

/*
 * The closed set of answers: choice c is ids[begin[c]] .. ids[begin[c + 1]) (the token that ends
 * the answer included). begin has n_choices + 1 entries rising from 0; copied. A choice may be the
 * beginning of another. Only while nothing is in flight (EMC_ERR_ARG otherwise, and for an id out
 * of range). EMC_ERR_CONFIG: two choices of the same ids, an empty one, one longer than 64. After
 * an error the choices are as they were.
 */
emc_status emc_engine_set_choices(emc_engine *engine, const int32_t *ids, const int32_t *begin,
                                  int n_choices);

/* What makes a choice likely: its score s. q is the probability of its tokens one after the other
 * over the full vocabulary, n their number. */
typedef enum {
    EMC_SCORING_JOINT, /* log q */
    EMC_SCORING_MEAN,  /* log q / n */
    EMC_SCORING_FIRST, /* log q of its tokens up to the first behind those that all choices begin
                          with; choices may share it and so their score */
    EMC_SCORING_PRIOR  /* log q - log_priors[choice] */
} emc_scoring_rule;

/* The share of choice c among all is exp(s[c] / temperature) / sum over j of exp(s[j] /
 * temperature). Zero-initialised: joint, temperature 1, every score computed. */
typedef struct {
    emc_scoring_rule rule;
    double temperature;       /* above 0; 0: 1 */
    const double *log_priors; /* [n_choices], finite, at most 0; EMC_SCORING_PRIOR; copied */

    /* EMC_ASK_BEST goes on until all of this holds. */
    double width;     /* share_high - share_low of the best is at most this; 0: every score is
                         computed */
    double threshold; /* it is known whether the share of the best is below; 0: no matter */
    bool outside;     /* outside_high - outside_low is at most width, too */
} emc_scoring;

/*
 * How choices are scored from now on. set_choices sets it back to zeros. Only while nothing is in
 * flight. EMC_ERR_ARG: no choices are set; temperature, width or threshold are negative or not
 * finite, width or threshold above 1; a log-prior is missing, above 0 or not finite.
 */
emc_status emc_engine_set_scoring(emc_engine *engine, const emc_scoring *scoring);

typedef enum {
    EMC_ASK_CHOICES,  /* every choice */
    EMC_ASK_GENERATE, /* the likeliest token until an eos, the lowest id on a tie */
    EMC_ASK_BEST,  /* the choice of the highest score, exactly, the lowest on a tie; of the others
                      only what proves it and what emc_scoring wants known */
    EMC_ASK_GREEDY /* the choice that the likeliest token at every branch leads to: not always
                      the best. A choice that begins another is passed over */
} emc_ask;

/* What is known of the choices. The bounds always hold; where all scores are known they meet. */
typedef struct {
    int choice;
    bool complete; /* every score is known */
    double share;  /* the middle of the bounds */
    double share_low, share_high;
    double outside_low, outside_high; /* 1 - the sum of q over all choices, at least 0: what the
                                         model would say beside the set */
    int n_rows; /* rows that went through the model for it beside the prompt's */
} emc_found;

typedef struct {
    uint64_t ticket;    /* the caller's own name for it, comes back with the answer */
    const int32_t *ids; /* the prompt, copied */
    int n_ids;
    emc_ask ask;
    int max_tokens; /* EMC_ASK_GENERATE */
} emc_request;

typedef struct {
    uint64_t ticket;
    emc_ask ask;
    int n_prompt;
    emc_found found;         /* choices: all but EMC_ASK_GENERATE */
    const double *log_probs; /* [n_choices], choices: log q, the sum over a choice's tokens of the
                                natural log of their probability over the full vocabulary; NaN
                                where it was not computed */
    const double *scores;    /* [n_choices], choices: s; NaN where it was not computed */
    const int32_t *ids;      /* EMC_ASK_GENERATE: what was generated, the eos not included */
    int n_ids;
    bool ended;  /* EMC_ASK_GENERATE: by an eos, not by max_tokens */
    bool finite; /* false: the model gave NaN or infinity for this prompt, as broken weights do;
                    then the rest means nothing, and generation stopped there */
} emc_answer;

/* True when a submit would be refused for want of room; poll until it is not. */
bool emc_engine_is_full(const emc_engine *engine);

/* EMC_ERR_ARG: an id out of range, an empty prompt, no choices set, max_tokens below 1 or above
 * max_answer_tokens, a full engine. EMC_ERR_CONFIG: prompt and answer together are longer than the
 * model's max_positions. */
emc_status emc_engine_submit(emc_engine *engine, const emc_request *request);

/* Runs steps until an answer is ready, and gives it. A search takes several steps, so between two
 * polls submit until the engine is full. *answer is borrowed until the next call on
 * this engine. *got is false when nothing is in flight. Answers come as they are finished. After
 * an error everything is in flight as before: poll again, or cancel. */
emc_status emc_engine_poll(emc_engine *engine, emc_answer *answer, bool *got);

/* Forgets everything in flight. */
void emc_engine_cancel(emc_engine *engine);

/*
 * Replicas that have not failed. With several devices an error of poll that a device is the reason
 * of comes once for each replica: what it had in flight waits for the others, and while this is
 * above 0 further polls go on with them.
 */
int emc_engine_count_replicas(const emc_engine *engine);

typedef struct {
    int64_t n_steps;
    int64_t n_rows;        /* tokens that went through the model, the prefix included */
    int64_t n_readers;     /* rows whose logits were read */
    int64_t n_choice_rows; /* rows for choices, beside the prompts' */
    size_t kv_bytes;
    size_t activation_bytes;
    double device_ms; /* that steps took on the device, from the first operation to the last; of
                         several replicas the mean */
} emc_engine_stats;

void emc_engine_get_stats(const emc_engine *engine, emc_engine_stats *out);
void emc_engine_get_memory_plan(const emc_engine *engine, emc_memory_plan *out);

/*
 * What would a run take? For a model that was opened without weights, or with.
 *
 * A row is a token that goes through the model, a reader one whose logits are read, a pair a row
 * and a key that it sees. Counts are exact as long as what is added is, up to 2^53.
 */
typedef struct {
    double n_rows, n_readers, n_pairs, n_reader_pairs;
} emc_workload;

/* A prefix of n ids, computed once. */
void emc_workload_add_prefix(emc_workload *work, int n);

/* n_prompts prompts, each of n_own >= 1 ids after n_prefix that are there already; the last id of
 * each is read. */
void emc_workload_add_prompts(emc_workload *work, int n_prefix, int n_own, double n_prompts);

/* What one answer takes beside its prompt. */
typedef struct {
    double n_rows;   /* each of them is read */
    double n_keys;   /* ids of the answer that they see, themselves included, summed over them */
    bool is_assumed; /* it depends on what the model says: a guess */
} emc_answer_cost;

/*
 * Choices as emc_engine_set_choices; with none, an answer of max_tokens. EMC_ASK_CHOICES is exact.
 * Assumed are: for EMC_ASK_GREEDY the mean over choices of the way to one, for EMC_ASK_GENERATE the
 * same of all its ids, for EMC_ASK_BEST one and a half ways, at most everything. Errors as
 * emc_engine_set_choices.
 */
emc_status emc_estimate_answer(emc_answer_cost *out, emc_ask ask, const int32_t *ids,
                               const int32_t *begin, int n_choices, int max_tokens);

/* That answer to n_prompts prompts of n_prompt ids each. */
void emc_workload_add_answers(emc_workload *work, int n_prompt, const emc_answer_cost *answer,
                              double n_prompts);

/* Floating-point operations that this model needs for it. The last layer computes K and V of every
 * row and the rest for readers. */
typedef struct {
    double products;  /* of the layers' matrices */
    double attention; /* scores and sums over keys */
    double head;      /* logits of the readers */
    double adapter;   /* what runs beside the weights */
} emc_flop;

void emc_estimate_flop(const emc_model *model, const emc_workload *work, emc_flop *out);

/* What an engine will be told. */
typedef struct {
    emc_engine_options options;
    int n_prefix;           /* ids of emc_engine_set_prefix; 0: none */
    const int32_t *choices; /* of emc_engine_set_choices; NULL: none */
    const int32_t *begin;   /* [n_choices + 1] */
    int n_choices;
} emc_engine_wanted;

typedef struct {
    emc_engine_options options; /* defaults filled in */
    emc_memory_plan memory; /* as emc_engine_get_memory_plan gives it once prefix and choices are
                               set, without what a GPU's library takes for itself; device_free:
                               now, so with the weights in it where the model is without */
} emc_engine_estimate;

/*
 * What the engine would take, computed by what the engine itself computes it by. EMC_ERR_DEVICE: it
 * would not fit; the message says which option helps, and *out is filled all the same.
 * EMC_ERR_ARG, EMC_ERR_CONFIG: as emc_engine_open and emc_engine_set_choices.
 */
emc_status emc_estimate_engine(const emc_model *model, const emc_engine_wanted *wanted,
                               emc_engine_estimate *out);

/*
 * How long that work takes, once the model is open: a figure of the right size, for a plan. A part
 * of the ceilings is reached, each operation's by experience (runtime/estimate.c); on a GPU all
 * rows of a step are multiplied, real or not. Nothing is added for reading and writing cells, which
 * go on at the same time. Several GPUs share the work evenly; nothing is added for sums over them.
 */
typedef struct {
    double n_steps; /* full ones, of the engine's rows */
    double seconds; /* products, attention, head, adapter and other_seconds together */
    double product_seconds, attention_seconds, head_seconds, adapter_seconds;
    double other_seconds; /* operations that move bytes */
} emc_time_estimate;

void emc_estimate_time(const emc_model *model, const emc_engine_estimate *engine,
                       const emc_workload *work, const emc_ceilings *ceilings,
                       emc_time_estimate *out);

/* Time by operation. While it is on, the device marks the begin and end of every operation, which
 * costs a little. Switching it on starts from zero. */
typedef struct {
    const char *operation; /* "linear qkv", "attention": borrowed, constant */
    int64_t n_calls;
    double ms;
    double flop;  /* floating-point operations of all calls, padding rows not counted; 0: few */
    double bytes; /* that all calls must read and write at the least; 0 where flop counts */
} emc_trace_entry;

emc_status emc_engine_set_trace(emc_engine *engine, bool on);

/* Entry `index`, counted from 0; false past the last. */
bool emc_engine_get_trace(const emc_engine *engine, int index, emc_trace_entry *out);

/* f32 logits [n_ids, vocab] of every position of one prompt, computed from scratch, for tests and
 * comparisons: rows of generated tokens and of choices are computed in another way, so with answers
 * they agree to rounding. Only while nothing is in flight. */
emc_status emc_engine_logits(emc_engine *engine, const int32_t *ids, int n_ids, float *logits);

#ifdef __cplusplus
}
#endif
