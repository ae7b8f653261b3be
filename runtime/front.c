/* The engine as callers have it: one device's, or a team of several. */
#include <stdlib.h>

#include "base/size.h"
#include "runtime/team.h"

emc_status emc_engine_open(emc_engine **out, emc_model *model, const emc_engine_options *options)
{
    emc_engine *engine = NULL;
    emc_status status;

    if (model->info.n_devices <= 1 || model->without_weights)
        return emc_rank_open(out, model, options);
    *out = NULL;
    EMC_TRY(emc_alloc(&engine, 1, sizeof *engine, "the engine"));
    engine->model = model;
    status = emc_team_open(&engine->team, model, options);
    if (status != EMC_OK) {
        free(engine);
        return status;
    }
    *out = engine;
    return EMC_OK;
}

void emc_engine_close(emc_engine *engine)
{
    if (!engine || !engine->team) {
        emc_rank_close(engine);
        return;
    }
    emc_team_close(engine->team);
    free(engine);
}

emc_status emc_engine_set_prefix(emc_engine *engine, const int32_t *ids, int n)
{
    return engine->team ? emc_team_set_prefix(engine->team, ids, n)
                        : emc_rank_set_prefix(engine, ids, n);
}

emc_status emc_engine_set_choices(emc_engine *engine, const int32_t *ids, const int32_t *begin,
                                  int n_choices)
{
    return engine->team ? emc_team_set_choices(engine->team, ids, begin, n_choices)
                        : emc_rank_set_choices(engine, ids, begin, n_choices);
}

emc_status emc_engine_set_scoring(emc_engine *engine, const emc_scoring *scoring)
{
    return engine->team ? emc_team_set_scoring(engine->team, scoring)
                        : emc_rank_set_scoring(engine, scoring);
}

bool emc_engine_is_full(const emc_engine *engine)
{
    return engine->team ? emc_team_is_full(engine->team) : emc_rank_is_full(engine);
}

emc_status emc_engine_submit(emc_engine *engine, const emc_request *request)
{
    return engine->team ? emc_team_submit(engine->team, request) : emc_rank_submit(engine, request);
}

emc_status emc_engine_poll(emc_engine *engine, emc_answer *answer, bool *got)
{
    return engine->team ? emc_team_poll(engine->team, answer, got)
                        : emc_rank_poll(engine, answer, got);
}

void emc_engine_cancel(emc_engine *engine)
{
    if (engine->team)
        emc_team_cancel(engine->team);
    else
        emc_rank_cancel(engine);
}

int emc_engine_count_replicas(const emc_engine *engine)
{
    return engine->team ? emc_team_count_alive(engine->team) : 1;
}

void emc_engine_get_stats(const emc_engine *engine, emc_engine_stats *out)
{
    if (engine->team)
        emc_team_get_stats(engine->team, out);
    else
        emc_rank_get_stats(engine, out);
}

void emc_engine_get_memory_plan(const emc_engine *engine, emc_memory_plan *out)
{
    if (engine->team)
        emc_team_get_memory_plan(engine->team, out);
    else
        emc_rank_get_memory_plan(engine, out);
}

emc_status emc_engine_set_trace(emc_engine *engine, bool on)
{
    return engine->team ? emc_team_set_trace(engine->team, on) : emc_rank_set_trace(engine, on);
}

bool emc_engine_get_trace(const emc_engine *engine, int index, emc_trace_entry *out)
{
    return engine->team ? emc_team_get_trace(engine->team, index, out)
                        : emc_rank_get_trace(engine, index, out);
}

emc_status emc_engine_logits(emc_engine *engine, const int32_t *ids, int n_ids, float *logits)
{
    return engine->team ? emc_team_logits(engine->team, ids, n_ids, logits)
                        : emc_rank_logits(engine, ids, n_ids, logits);
}
