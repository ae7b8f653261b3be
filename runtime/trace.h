#pragma once
/* How long each operation of the graph takes on the device, and what it has to do. */

#include "kernels/ops.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_TRACE_EMBED = 0,
    EMC_TRACE_RMSNORM,
    EMC_TRACE_QKV,
    EMC_TRACE_ROPE_STORE,
    EMC_TRACE_ATTENTION,
    EMC_TRACE_O,
    EMC_TRACE_GATE_UP,
    EMC_TRACE_SWIGLU,
    EMC_TRACE_DOWN,
    EMC_TRACE_GATHER_ROWS,
    EMC_TRACE_HEAD,
    EMC_TRACE_RANKS,
    EMC_TRACE_COPIES,
    EMC_TRACE_OPERATIONS
} emc_trace_operation;

/* "linear qkv": constant. */
const char *emc_trace_name(emc_trace_operation operation);

typedef struct emc_trace emc_trace;

/* Room for n_steps steps in flight of at most n_marks operations each. */
emc_status emc_trace_open(emc_trace **out, emc_device *dev, int n_steps, int n_marks);
void emc_trace_close(emc_trace *trace); /* NULL is fine */

/* The next four do nothing where trace is NULL. */

/* The next operation queued is the first of a step. */
emc_status emc_trace_begin(emc_trace *trace);

/* What was queued since the last mark belongs to `operation`. */
emc_status emc_trace_mark(emc_trace *trace, emc_trace_operation operation, double flop,
                          double bytes);

/* Adds up the oldest step that was begun and not read; the device must have ended it. */
emc_status emc_trace_read(emc_trace *trace);

/* Forgets the steps that were begun and not read. */
void emc_trace_drop(emc_trace *trace);

/* As emc_engine_get_trace: operations that were called, in the order of the enum. */
bool emc_trace_get(const emc_trace *trace, int index, emc_trace_entry *out);

#ifdef __cplusplus
}
#endif
