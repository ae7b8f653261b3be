#pragma once
/* Which of a job's processes is this one, and who says so? */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An environment: getenv, or a test's. NULL where there is no such variable. */
typedef const char *(*cli_lookup)(void *context, const char *name);

typedef struct {
    int rank, world;             /* 0 of 1 where nobody says anything */
    int local_rank, local_world; /* among those on this machine; -1 and 0: nobody says */
    char job[64];                /* of the batch system, "" for none: one that is started anew has
                                    the same. Tasks of an array are jobs of their own */
    int restart;                 /* how often that job was started anew */
    char source[96];             /* who said so, for people: "Slurm step 12.0", "alone" */
    char ignored[160];           /* what was passed over, for people; "" for nothing */
} cli_ranks;

/*
 * Asked in this order: rank and world (--rank, --world-size; both below 0: not given), torchrun's
 * names (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE), a Slurm step (SLURM_PROCID,
 * SLURM_STEP_NUM_TASKS, SLURM_LOCALID), Open MPI (OMPI_COMM_WORLD_*), PMI (PMI_RANK, PMI_SIZE), a
 * Slurm job array (SLURM_ARRAY_TASK_ID and its limits). A rank only decides where a process begins
 * to look for work, so what an environment says and cannot be is passed over, in `ignored`; what an
 * option says is EMC_ERR_USAGE.
 *
 * Slurm sets SLURM_PROCID and SLURM_NTASKS in a batch script, too, where there is one process: only
 * a step's number of tasks counts.
 */
emc_status cli_ranks_find(cli_ranks *out, int rank, int world, cli_lookup lookup, void *context);

/* The GPU of a process that may share n_gpus visible ones with others of its machine: its local
 * rank, round and round; -1 where it is alone there, or has no local rank, or sees one GPU at most.
 */
int cli_ranks_gpu(const cli_ranks *ranks, int n_gpus);

#ifdef __cplusplus
}
#endif
