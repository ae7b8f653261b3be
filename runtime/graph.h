#pragma once
/* The forward pass of Qwen3 (Qwen3ForCausalLM), for any device. */

#include "runtime/cache.h"
#include "runtime/step.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_graph emc_graph;

/* Takes the memory of every intermediate result of a step. */
emc_status emc_graph_open(emc_graph **out, const emc_model *model, int max_rows, int max_readers);
void emc_graph_close(emc_graph *graph);

size_t emc_graph_bytes(const emc_graph *graph);

typedef struct {
    const emc_step *step;    /* uploaded */
    const emc_cache *cache;  /* K and V of the step's rows are stored in it, those before read */
    const float *rope_table; /* device memory, as emc_rope_args, as long as the positions need */
    float *all_logits;       /* device memory, f32 [n_readers, vocab], or NULL */
    int n_ids;               /* as emc_head_args */
} emc_graph_args;

/*
 * Computes K and V of every row and, for the readers, wanted_logits, log_sums and best of the
 * step's device arrays. Queued, not awaited. Allocates nothing.
 */
emc_status emc_graph_run(emc_graph *graph, const emc_graph_args *args);

#ifdef __cplusplus
}
#endif
