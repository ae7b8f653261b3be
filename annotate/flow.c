#include "annotate/flow.h"

#include <string.h>

/* A reader that costs as much a cell as the engine, within so much, is what the engine waits for:
 * an engine that were slower would let it run ahead. */
#define AS_SLOW 0.95

void emc_flow_begin(emc_flow *flow, double now)
{
    memset(flow, 0, sizeof(*flow));
    pthread_mutex_init(&flow->lock, NULL);
    flow->at = now;
    flow->seen.first_at = -1;
}

void emc_flow_end(emc_flow *flow)
{
    pthread_mutex_destroy(&flow->lock);
}

/* While the reader rests, who waits for what it might read rests, too. */
static void pass_time(emc_flow *flow, double now)
{
    const double seconds = now - flow->at;

    if (!(seconds > 0))
        return;
    for (int t = 0; t < EMC_N_THREADS; t++) {
        const bool idle = flow->deeds[t] == EMC_WAITS && flow->deeds[EMC_READER] == EMC_RESTS &&
                          (t == EMC_ASKER || flow->deeds[EMC_ASKER] != EMC_WORKS);
        flow->seen.seconds[t][idle ? EMC_RESTS : flow->deeds[t]] += seconds;
    }
    flow->at = now;
}

void emc_flow_does(emc_flow *flow, emc_flow_thread thread, emc_flow_deed deed, double now)
{
    if (!flow)
        return;
    pthread_mutex_lock(&flow->lock);
    pass_time(flow, now);
    flow->deeds[thread] = deed;
    pthread_mutex_unlock(&flow->lock);
}

static void count(emc_flow *flow, int64_t *n)
{
    if (!flow)
        return;
    pthread_mutex_lock(&flow->lock);
    ++*n;
    pthread_mutex_unlock(&flow->lock);
}

void emc_flow_read(emc_flow *flow)
{
    count(flow, flow ? &flow->seen.n_read : NULL);
}

void emc_flow_taken(emc_flow *flow)
{
    count(flow, flow ? &flow->seen.n_taken : NULL);
}

void emc_flow_answered(emc_flow *flow)
{
    count(flow, flow ? &flow->seen.n_answered : NULL);
}

void emc_flow_kept(emc_flow *flow, double now)
{
    if (!flow)
        return;
    pthread_mutex_lock(&flow->lock);
    if (flow->seen.n_kept++ == 0)
        flow->seen.first_at = now;
    pthread_mutex_unlock(&flow->lock);
}

void emc_flow_look(emc_flow *flow, double now, emc_flow_view *out)
{
    pthread_mutex_lock(&flow->lock);
    pass_time(flow, now);
    *out = flow->seen;
    pthread_mutex_unlock(&flow->lock);
}

static double seconds_of(const emc_flow_view *now, const emc_flow_view *then, int thread, int deed)
{
    return now->seconds[thread][deed] - (then ? then->seconds[thread][deed] : 0);
}

/* Seconds a cell; 0 while nothing has passed. */
static double cost(double seconds, int64_t n)
{
    return n > 0 ? seconds / (double)n : 0;
}

emc_limit emc_flow_limit(const emc_flow_view *now, const emc_flow_view *then)
{
    const double reading = seconds_of(now, then, EMC_READER, EMC_READS);
    const double prompting = seconds_of(now, then, EMC_READER, EMC_PROMPTS);
    const double reader = cost(reading + prompting, now->n_read - (then ? then->n_read : 0));
    const double engine = cost(seconds_of(now, then, EMC_ASKER, EMC_WORKS),
                               now->n_answered - (then ? then->n_answered : 0));
    const double keeper =
        cost(seconds_of(now, then, EMC_KEEPER, EMC_WORKS), now->n_kept - (then ? then->n_kept : 0));

    if (!(engine > 0))
        return EMC_LIMIT_UNKNOWN;
    if (keeper > engine && keeper > reader)
        return EMC_LIMIT_WRITING;
    if (!(reader > AS_SLOW * engine))
        return EMC_LIMIT_ENGINE;
    return reading >= prompting ? EMC_LIMIT_READING : EMC_LIMIT_PROMPTS;
}

double emc_flow_engine_waited(const emc_flow_view *now, const emc_flow_view *then)
{
    const double waited = seconds_of(now, then, EMC_ASKER, EMC_WAITS);
    const double worked = seconds_of(now, then, EMC_ASKER, EMC_WORKS);

    return waited > 0 ? waited / (waited + worked) : 0;
}

const char *emc_limit_name(emc_limit limit)
{
    static const char *const names[] = {"", "reading", "prompts", "engine", "writing"};

    return names[limit];
}
