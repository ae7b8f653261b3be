#pragma once
/* Inside cells/: a few threads that share the items of a piece of work. */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cells_team cells_team;

/* n_threads 0: one a core this process may use. Threads start with the first work that is shared;
 * where the system gives none, the caller does all of it. */
emc_status cells_team_open(cells_team **out, int n_threads);
void cells_team_close(cells_team *team); /* NULL is fine */

/* Workers, the caller included; 1 without a team. */
int cells_team_size(const cells_team *team);

/* Calls work(context, item, worker) for each item 0 .. n - 1 in any order; returns when all are
 * done. The caller is worker 0. A team is for one caller at a time. */
void cells_team_run(cells_team *team, int n, void (*work)(void *context, int item, int worker),
                    void *context);

/* Cores this process may use, 1 or more. */
int cells_n_cores(void);

#ifdef __cplusplus
}
#endif
