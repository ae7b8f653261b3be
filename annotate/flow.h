#pragma once
/*
 * Where are cells on their way through the pipeline, and which stage holds the others up?
 *
 * Three threads hand cells on: the reader (file, ranking, prompts), the engine's, and the keeper
 * (answers in order, shards, rows). Each says what it does whenever that changes; so its seconds
 * add up to the time that has passed. The stage that costs most seconds a cell is the one that
 * limits: the others wait for it at their queues.
 */

#include <pthread.h>
#include <stdint.h>

#include "annotate/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { EMC_READER, EMC_ASKER, EMC_KEEPER, EMC_N_THREADS } emc_flow_thread;

typedef enum {
    EMC_RESTS,   /* it has not begun, has ended, or what is left is with other processes */
    EMC_WAITS,   /* the reader for room, the engine for a cell, the keeper for an answer */
    EMC_READS,   /* the reader: the file, and the ranking of what it holds */
    EMC_PROMPTS, /* the reader: prompts and their ids */
    EMC_WORKS,   /* the engine, the keeper */
    EMC_N_DEEDS
} emc_flow_deed;

/* What has been by a moment. */
typedef struct {
    double seconds[EMC_N_THREADS][EMC_N_DEEDS];
    int64_t n_read, n_taken, n_answered, n_kept; /* cells that passed each place */
    double first_at;                             /* the first cell was kept; < 0: none was */
} emc_flow_view;

/* Zero-initialise, then emc_flow_begin. */
typedef struct {
    pthread_mutex_t lock;
    double at; /* of the last change */
    emc_flow_deed deeds[EMC_N_THREADS];
    emc_flow_view seen;
} emc_flow;

void emc_flow_begin(emc_flow *flow, double now);
void emc_flow_end(emc_flow *flow);

/* From any thread; `now` never goes back by more than a moment. NULL is fine. */
void emc_flow_does(emc_flow *flow, emc_flow_thread thread, emc_flow_deed deed, double now);

/* A cell has passed the thread: read, or answered. */
void emc_flow_read(emc_flow *flow);
void emc_flow_taken(emc_flow *flow);
void emc_flow_answered(emc_flow *flow);
void emc_flow_kept(emc_flow *flow, double now);

void emc_flow_look(emc_flow *flow, double now, emc_flow_view *out);

/* Of the time between two looks; `then` NULL: since the beginning. */
emc_limit emc_flow_limit(const emc_flow_view *now, const emc_flow_view *then);

/* The share of the engine's time in which it had no cell, though there were some to be read; 0 when
 * it had no time. */
double emc_flow_engine_waited(const emc_flow_view *now, const emc_flow_view *then);

#ifdef __cplusplus
}
#endif
