/* One event stands between two operations, so a step of n operations takes n + 1. Events are opened
 * beforehand and stay with their step until it was read. */
#include "runtime/trace.h"

#include <assert.h>
#include <stdlib.h>

#include "base/size.h"

typedef struct {
    emc_trace_operation operation;
    double flop;
    double bytes;
} mark;

typedef struct {
    emc_event **events; /* [n_marks + 1] */
    mark *marks;        /* [n_marks]; mark i is between events i and i + 1 */
    int n;
} traced_step;

struct emc_trace {
    emc_device *dev;
    int n_marks;
    int n_steps;
    traced_step *steps; /* a ring: first, then those begun later */
    int first;
    int n_begun;
    emc_trace_entry entries[EMC_TRACE_OPERATIONS];
};

const char *emc_trace_name(emc_trace_operation operation)
{
    static const char *const names[EMC_TRACE_OPERATIONS] = {
        [EMC_TRACE_EMBED] = "embed",
        [EMC_TRACE_RMSNORM] = "rmsnorm",
        [EMC_TRACE_QKV] = "linear qkv",
        [EMC_TRACE_ROPE_STORE] = "rope_store",
        [EMC_TRACE_ATTENTION] = "attention",
        [EMC_TRACE_O] = "linear o",
        [EMC_TRACE_GATE_UP] = "linear gate_up",
        [EMC_TRACE_SWIGLU] = "swiglu",
        [EMC_TRACE_DOWN] = "linear down",
        [EMC_TRACE_GATHER_ROWS] = "gather_rows",
        [EMC_TRACE_HEAD] = "head",
        [EMC_TRACE_RANKS] = "sums over ranks",
        [EMC_TRACE_COPIES] = "copies",
    };

    return names[operation];
}

static emc_status open_step(emc_trace *trace, traced_step *step)
{
    const size_t n = (size_t)trace->n_marks;

    EMC_TRY(emc_alloc(&step->marks, n, sizeof *step->marks, "a trace"));
    EMC_TRY(emc_alloc(&step->events, n + 1, sizeof(emc_event *), "a trace"));
    for (size_t i = 0; i <= n; i++)
        EMC_TRY(trace->dev->ops->event_open(trace->dev, &step->events[i]));
    return EMC_OK;
}

emc_status emc_trace_open(emc_trace **out, emc_device *dev, int n_steps, int n_marks)
{
    emc_trace *trace = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&trace, 1, sizeof *trace, "a trace"));
    trace->dev = dev;
    trace->n_marks = n_marks;
    for (int o = 0; o < EMC_TRACE_OPERATIONS; o++)
        trace->entries[o].operation = emc_trace_name((emc_trace_operation)o);
    status = emc_alloc(&trace->steps, (size_t)n_steps, sizeof *trace->steps, "a trace");
    if (status == EMC_OK)
        trace->n_steps = n_steps;
    for (int s = 0; s < n_steps && status == EMC_OK; s++)
        status = open_step(trace, &trace->steps[s]);
    if (status != EMC_OK) {
        emc_trace_close(trace);
        return status;
    }
    *out = trace;
    return EMC_OK;
}

void emc_trace_close(emc_trace *trace)
{
    if (!trace)
        return;
    for (int s = 0; s < trace->n_steps; s++) {
        traced_step *step = &trace->steps[s];

        for (int i = 0; step->events && i <= trace->n_marks; i++)
            trace->dev->ops->event_close(trace->dev, step->events[i]);
        free(step->events);
        free(step->marks);
    }
    free(trace->steps);
    free(trace);
}

static traced_step *newest(emc_trace *trace)
{
    return &trace->steps[(trace->first + trace->n_begun - 1) % trace->n_steps];
}

emc_status emc_trace_begin(emc_trace *trace)
{
    if (!trace)
        return EMC_OK;
    assert(trace->n_begun < trace->n_steps);
    trace->n_begun++;
    newest(trace)->n = 0;
    return trace->dev->ops->event_record(trace->dev, newest(trace)->events[0]);
}

emc_status emc_trace_mark(emc_trace *trace, emc_trace_operation operation, double flop,
                          double bytes)
{
    traced_step *step;

    if (!trace)
        return EMC_OK;
    step = newest(trace);
    assert(step->n < trace->n_marks);
    step->marks[step->n++] = (mark){operation, flop, bytes};
    return trace->dev->ops->event_record(trace->dev, step->events[step->n]);
}

emc_status emc_trace_read(emc_trace *trace)
{
    const traced_step *step;

    if (!trace)
        return EMC_OK;
    assert(trace->n_begun > 0);
    step = &trace->steps[trace->first];
    for (int i = 0; i < step->n; i++) {
        const mark *m = &step->marks[i];
        emc_trace_entry *entry = &trace->entries[m->operation];
        float ms;

        EMC_TRY(trace->dev->ops->event_ms(trace->dev, step->events[i], step->events[i + 1], &ms));
        entry->n_calls++;
        entry->ms += (double)ms;
        entry->flop += m->flop;
        entry->bytes += m->bytes;
    }
    trace->first = (trace->first + 1) % trace->n_steps;
    trace->n_begun--;
    return EMC_OK;
}

void emc_trace_drop(emc_trace *trace)
{
    if (trace)
        trace->n_begun = 0;
}

bool emc_trace_get(const emc_trace *trace, int index, emc_trace_entry *out)
{
    for (int o = 0; o < EMC_TRACE_OPERATIONS && index >= 0; o++)
        if (trace->entries[o].n_calls > 0 && index-- == 0) {
            *out = trace->entries[o];
            return true;
        }
    return false;
}
