#pragma once
/* The forward pass of Qwen3 (Qwen3ForCausalLM), for any device. */

#include "runtime/cache.h"
#include "runtime/step.h"
#include "runtime/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_graph emc_graph;

/* Takes the memory of every intermediate result of a step. max_readers <= max_rows. */
emc_status emc_graph_open(emc_graph **out, const emc_model *model, int max_rows, int max_readers);
void emc_graph_close(emc_graph *graph);

/* Bytes that it takes on the device. */
size_t emc_graph_bytes(const emc_model *model, int max_rows, int max_readers);

/* Prepares every operation that steps will run, of sequences up to n_positions long: from then on
 * a step allocates nothing. Again for longer ones. */
emc_status emc_graph_prepare(const emc_graph *graph, int n_positions);

/* Product `index`, counted from 0, of those that a step runs, as of a full step; false past the
 * last. Those of the first layer come first. */
typedef struct {
    emc_trace_operation operation;
    emc_linear_args args;
} emc_graph_product;

bool emc_graph_get_product(const emc_graph *graph, int index, emc_graph_product *out);

/* The head of a full step, without what belongs to a step: which logits are wanted, and where
 * results go. */
emc_head_args emc_graph_get_head(const emc_graph *graph);

/* Marks of a trace that emc_graph_run makes at most. */
int emc_graph_marks(const emc_model *model);

typedef struct {
    const emc_step *step;    /* uploaded */
    const emc_cache *cache;  /* K and V of the step's rows are stored in it, those before read */
    const float *rope_table; /* device memory, as emc_rope_args, as long as the positions need */
    float *all_logits;       /* device memory, f32 [n_readers, part.vocab], or NULL */
    int n_ids;               /* as emc_head_args */
    emc_trace *trace;        /* or NULL */
} emc_graph_args;

/*
 * Computes K and V of every row and, for the readers, wanted_logits, log_sums and best of the
 * step's device arrays. Queued, not awaited. Allocates nothing.
 */
emc_status emc_graph_run(const emc_graph *graph, const emc_graph_args *args);

#ifdef __cplusplus
}
#endif
