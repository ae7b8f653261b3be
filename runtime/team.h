#pragma once
/*
 * An engine of several devices: replicas of the model, which share the requests, and in each
 * replica ranks, which hold the model between them and compute in step.
 *
 * Every rank has an engine of its own and a thread that alone calls it. A replica's ranks get the
 * same calls in the same order, decide alike since they read the same results, and so queue the
 * same steps; the first one's answers are the replica's. Replicas take requests from one queue when
 * they have room, so a slow one takes fewer. What a failed replica had goes back to the queue.
 *
 * Functions do what those of emcell.h do that end alike, on the caller's one thread.
 */

#include "runtime/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

emc_status emc_team_open(emc_team **out, const emc_model *first, const emc_engine_options *options);
void emc_team_close(emc_team *team);

emc_status emc_team_set_prefix(emc_team *team, const int32_t *ids, int n);
emc_status emc_team_set_choices(emc_team *team, const int32_t *ids, const int32_t *begin,
                                int n_choices);
emc_status emc_team_set_scoring(emc_team *team, const emc_scoring *scoring);
emc_status emc_team_set_trace(emc_team *team, bool on);
emc_status emc_team_logits(emc_team *team, const int32_t *ids, int n_ids, float *logits);

bool emc_team_is_full(const emc_team *team);
emc_status emc_team_submit(emc_team *team, const emc_request *request);
emc_status emc_team_poll(emc_team *team, emc_answer *answer, bool *got);
void emc_team_cancel(emc_team *team);

/* How many replicas have not failed. */
int emc_team_count_alive(const emc_team *team);

void emc_team_get_stats(const emc_team *team, emc_engine_stats *out);
void emc_team_get_memory_plan(const emc_team *team, emc_memory_plan *out);
bool emc_team_get_trace(const emc_team *team, int index, emc_trace_entry *out);

#ifdef __cplusplus
}
#endif
