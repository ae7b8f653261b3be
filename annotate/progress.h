#pragma once
/* How fast is the run, and how long will it take? */

#include <stdint.h>

#include "annotate/flow.h"
#include "annotate/run.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_N_MARKS 16

/* Zero-initialise. The speed is that of the last marks, which are a second apart. */
typedef struct {
    double last_call;
    double mark_at[EMC_N_MARKS];
    int64_t mark_done[EMC_N_MARKS];
    emc_flow_view mark_flow[EMC_N_MARKS];
    int n_marks;
} emc_progress_meter;

/* Seconds of a clock that only goes forward. */
double emc_seconds(void);

/* Fills *out from what is done at `now`. True when it is worth showing: at the first cell, at the
 * last, and a fifth of a second after the last time. */
bool emc_progress_step(emc_progress_meter *meter, double now, int64_t n_done, int64_t n_total,
                       emc_progress *out);

/* After it: adds to *out what the threads did up to `now`, in a call that began at `begin`. */
void emc_progress_flow(emc_progress_meter *meter, double now, double begin,
                       const emc_flow_view *view, emc_progress *out);

#ifdef __cplusplus
}
#endif
