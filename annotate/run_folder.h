#pragma once
/* Which folder is a run's, may it be used, and what may be removed of it? */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *path;
    bool temporary; /* of results that have no place beside which it could be */
    bool made;      /* by this open */
    bool begun;     /* run.json is there */
} emc_run_folder;

typedef struct {
    const char *run_dir;       /* NULL: `beside` with ".run" after it */
    const char *beside;        /* the results; "-", a device or a pipe: a temporary folder */
    const char *temporary_dir; /* where that is made; NULL: /tmp */
    bool resume, force;        /* not both */
} emc_run_folder_options;

/*
 * Finds or makes the folder. One with a run in it needs `resume`, or is emptied with `force`.
 * EMC_ERR_CREATE: it cannot be made, a run is there and neither is set, it holds other things than
 * a run, or with force: another process works in it.
 */
emc_status emc_run_folder_open(emc_run_folder *out, const emc_run_folder_options *options);

/* The same checks, and nothing is made or removed. out->path is NULL where a temporary folder would
 * be made. */
emc_status emc_run_folder_look(emc_run_folder *out, const emc_run_folder_options *options);

/* Frees the struct; removes the folder when this open made it and nothing is in it. */
void emc_run_folder_close(emc_run_folder *folder);

/* Removes a run's files, and the folder itself if nothing else is in it. */
emc_status emc_run_folder_remove(const char *path);

#ifdef __cplusplus
}
#endif
