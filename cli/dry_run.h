#pragma once
/* `emcell annotate --dry-run`: what a run would do, as text or JSON on standard output. */

#include "annotate/run.h"
#include "cli/log.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Gives the exit code; errors are printed. */
int cli_dry_run(const emc_annotate_options *options, cli_log *log);

#ifdef __cplusplus
}
#endif
