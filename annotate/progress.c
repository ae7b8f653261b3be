#include "annotate/progress.h"

#include <time.h>

#define SHOW_EVERY 0.2 /* seconds; a terminal line that changes faster cannot be read */
#define MARK_EVERY 1.0

double emc_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The oldest mark makes room for a new one. */
static void add_mark(emc_progress_meter *meter, double now, int64_t n_done)
{
    if (meter->n_marks == EMC_N_MARKS) {
        for (int i = 1; i < EMC_N_MARKS; i++) {
            meter->mark_at[i - 1] = meter->mark_at[i];
            meter->mark_done[i - 1] = meter->mark_done[i];
            meter->mark_flow[i - 1] = meter->mark_flow[i];
        }
        meter->n_marks--;
    }
    meter->mark_at[meter->n_marks] = now;
    meter->mark_done[meter->n_marks++] = n_done;
}

bool emc_progress_step(emc_progress_meter *meter, double now, int64_t n_done, int64_t n_total,
                       emc_progress *out)
{
    if (meter->n_marks == 0 || now - meter->mark_at[meter->n_marks - 1] >= MARK_EVERY)
        add_mark(meter, now, n_done);
    const double seconds = now - meter->mark_at[0];
    const int64_t n = n_done - meter->mark_done[0];
    *out = (emc_progress){.stage = EMC_STAGE_CELLS,
                          .n_done = n_done,
                          .n_total = n_total,
                          .seconds_left = -1,
                          .seconds_to_first = -1};
    if (seconds > 0 && n > 0) {
        out->cells_per_s = (double)n / seconds;
        out->seconds_left = (double)(n_total - n_done) / out->cells_per_s;
    }
    if (n_done > 1 && n_done < n_total && now - meter->last_call < SHOW_EVERY)
        return false;
    meter->last_call = now;
    return true;
}

static double sum(const double *seconds)
{
    double all = 0;

    for (int i = 0; i < EMC_N_DEEDS; i++)
        all += seconds[i];
    return all;
}

void emc_progress_flow(emc_progress_meter *meter, double now, double begin,
                       const emc_flow_view *view, emc_progress *out)
{
    const double seconds = sum(view->seconds[EMC_KEEPER]);
    const emc_flow_view *then = meter->n_marks > 1 ? &meter->mark_flow[0] : NULL;

    if (meter->mark_at[meter->n_marks - 1] >= now)
        meter->mark_flow[meter->n_marks - 1] = *view;
    out->cells_per_s_mean = seconds > 0 ? (double)view->n_kept / seconds : 0;
    out->seconds_to_first = view->first_at >= 0 ? view->first_at - begin : -1;
    out->n_ahead = (int)(view->n_read - view->n_taken);
    out->n_engine = (int)(view->n_taken - view->n_answered);
    out->n_finished = (int)(view->n_answered - view->n_kept);
    out->engine_waited = emc_flow_engine_waited(view, then);
    out->limit = emc_flow_limit(view, then);
}
