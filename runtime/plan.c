/*
 * Does everything fit on the device, and if not, what helps?
 *
 * Weights are there already, unless the model is without. What a device's library takes for itself
 * when operations are prepared is known only afterwards, so the plan leaves room for it.
 */
#include <stdio.h>

#include "base/size.h"
#include "runtime/engine.h"

#define FIRST_POSITIONS 4096
#define GB              1e9

/* What is needed up to here does not fit any more: says so. */
static emc_status refuse(const emc_engine *engine, const char *what, size_t n_bytes, double missing,
                         bool even_empty)
{
    const emc_engine_options *options = &engine->options;
    const emc_memory_plan *plan = &engine->plan;
    char pages[96] = "";

    if (plan->n_pages > 1)
        snprintf(pages, sizeof pages, "%d pages of %.1f MB for K and V, ", plan->n_pages,
                 (double)plan->page_bytes * 1e-6);
    return emc_fail(
        EMC_ERR_DEVICE,
        "GPU memory: %s (%.2f GB) do not fit, %.2f GB are missing: %.2f of %.2f GB are free, "
        "--gpu-memory-utilization %.2f leaves %.2f GB of them. The plan: weights %.2f GB%s, "
        "activations %.2f GB, %ssteps %.2f GB. %s",
        what, (double)n_bytes / GB, missing / GB, (double)plan->device_free / GB,
        (double)plan->device_whole / GB, options->gpu_memory_utilization,
        /* negative: others take more than the whole part already */
        ((double)plan->device_free -
         (1 - options->gpu_memory_utilization) * (double)plan->device_whole) /
            GB,
        (double)plan->weights / GB, engine->model->without_weights ? "" : " (loaded)",
        (double)plan->activations / GB, pages, (double)plan->steps / GB,
        even_empty ? "Take a higher --gpu-memory-utilization, a smaller model, or free the GPU"
                   : "A smaller --max-num-batched-tokens takes less of everything but weights; or "
                     "take a higher --gpu-memory-utilization");
}

emc_status emc_engine_check_plan(const emc_engine *engine)
{
    const emc_memory_plan *plan = &engine->plan;
    const double allowed = engine->options.gpu_memory_utilization * (double)plan->device_whole;
    const struct {
        const char *what;
        size_t n_bytes;
    } parts[] = {{"weights", engine->model->without_weights ? plan->weights : 0},
                 {"activations and scratch memory", plan->activations + EMC_SCRATCH_BYTES},
                 {"steps in flight", plan->steps},
                 {"pages for K and V", plan->pages}};
    double taken = (double)plan->device_whole - (double)plan->device_free;

    for (size_t i = 0; i < EMC_COUNT(parts); i++) {
        const bool even_empty = taken >= allowed;
        double missing = 0;

        taken += (double)parts[i].n_bytes;
        if (taken <= allowed || parts[i].n_bytes == 0)
            continue;
        for (size_t k = i + 1; k < EMC_COUNT(parts); k++)
            missing += (double)parts[k].n_bytes;
        return refuse(engine, parts[i].what, parts[i].n_bytes, taken + missing - allowed,
                      i == 0 || (i == 1 && even_empty));
    }
    return EMC_OK;
}

/* Plans n pages. */
static emc_status plan_pages(emc_engine *engine, int n)
{
    emc_memory_plan *plan = &engine->plan;
    emc_step_limits limits;

    EMC_TRY(emc_engine_step_limits(engine, n, NULL, &limits));
    plan->steps = (size_t)engine->max_flights * emc_step_bytes(&limits);
    plan->n_pages = n;
    if (!emc_size_mul(&plan->pages, plan->page_bytes, (size_t)n))
        return emc_fail(EMC_ERR_NOMEM, "the K/V cache: %d pages are too many", n);
    return EMC_OK;
}

/* Fewer pages where more than the least do not fit. */
static emc_status shrink(emc_engine *engine)
{
    const emc_memory_plan *plan = &engine->plan;
    double room = engine->options.gpu_memory_utilization * (double)plan->device_whole -
                  ((double)plan->device_whole - (double)plan->device_free) -
                  (double)(plan->activations + EMC_SCRATCH_BYTES + plan->steps);

    if (engine->model->without_weights)
        room -= (double)plan->weights;
    if (engine->options.n_pages <= engine->least_pages || room >= (double)plan->pages)
        return EMC_OK;
    engine->options.n_pages = room < (double)engine->least_pages * (double)plan->page_bytes
                                  ? engine->least_pages
                                  : (int)(room / (double)plan->page_bytes);
    return plan_pages(engine, engine->options.n_pages);
}

emc_status emc_engine_make_plan(emc_engine *engine)
{
    const emc_engine_options *options = &engine->options;
    const emc_model_info *info = &engine->model->info;
    emc_memory_plan *plan = &engine->plan;

    engine->plan_positions =
        info->max_positions < FIRST_POSITIONS ? info->max_positions : FIRST_POSITIONS;
    plan->weights = info->weight_bytes;
    plan->activations =
        emc_graph_bytes(engine->model, options->max_num_batched_tokens, options->max_num_readers) +
        (size_t)engine->plan_positions * (size_t)info->head_dim * sizeof(float);
    plan->page_bytes = emc_cache_page_bytes(engine->model);
    EMC_TRY(plan_pages(engine, options->n_pages));
    EMC_TRY(engine->dev->ops->memory(engine->dev, &plan->device_free, &plan->device_whole));
    if (plan->device_whole == 0)
        return EMC_OK;
    EMC_TRY(shrink(engine));
    return emc_engine_check_plan(engine);
}

emc_status emc_engine_count_scratch(emc_engine *engine)
{
    emc_memory_plan *plan = &engine->plan;
    const size_t planned = plan->activations + plan->steps + plan->pages;
    size_t n_free, n_whole;

    EMC_TRY(engine->dev->ops->memory(engine->dev, &n_free, &n_whole));
    /* Others may have taken or given back some meanwhile: a figure for people. */
    if (n_whole > 0 && n_free < plan->device_free && plan->device_free - n_free > planned)
        plan->activations += plan->device_free - n_free - planned;
    return EMC_OK;
}

void emc_rank_get_memory_plan(const emc_engine *engine, emc_memory_plan *out)
{
    *out = engine->plan;
    out->activations += ((size_t)engine->rope_len - (size_t)engine->plan_positions) *
                        (size_t)engine->model->info.head_dim * sizeof(float);
    out->steps = 0;
    for (int i = 0; i < engine->max_flights; i++)
        out->steps += emc_step_bytes(&engine->flights[i].step->limits);
    out->n_pages = engine->cache->n_pages;
    out->pages = emc_cache_bytes(engine->cache);
}
