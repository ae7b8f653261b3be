#pragma once
/* What may a test ask of the virtual GPUs' NCCL? Process-wide, from any thread. */

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int version;            /* what ncclGetVersion gives */
    int absent_rank;        /* never comes to a communicator's creation: blocking creation waits for
                               good, the other kind is in progress until ncclCommAbort; -1: none */
    int hung_rank;          /* this rank, or -1 for none, ... */
    long long hung_after;   /* ... never comes to a collective of a communicator after so many */
    int failed_rank;        /* this rank's ncclCommGetAsyncError gives ncclRemoteError ... */
    long long failed_after; /* ... from its collective after so many on; that one never ends */
} vg_nccl_options;

/* Version 22809, nothing fails. */
vg_nccl_options vg_nccl_defaults(void);
void vg_nccl_set(const vg_nccl_options *options);

typedef struct {
    unsigned long long collectives; /* that ran, whatever the number of ranks, since the reset */
    unsigned long long bytes;       /* that came to a rank from others, of all ranks together */
    unsigned long long live_comms;  /* whatever was reset */
} vg_nccl_counts;

vg_nccl_counts vg_nccl_read_counts(void);
void vg_nccl_reset_counts(void);

#ifdef __cplusplus
}
#endif
