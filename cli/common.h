#pragma once
/* What commands have in common: words to choose from, the model's folder, what is said about the
 * device, Ctrl-C. */

#include <signal.h>

#include "cli/log.h"
#include "cli/options.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The index of `text` among `names` (ends with NULL), 0 for NULL; false after printing. */
bool cli_choice(const char *command, const char *option, const char *text, const char *const *names,
                int *out);

/* --gpu-memory-utilization, which begins as CLI_NO_SHARE: then it becomes 0, the engine's default.
 * False after printing for 0, which leaves nothing. */
#define CLI_NO_SHARE (-1.0)
bool cli_memory_share(const char *command, double *share);

/* "emcell annotate -i 'my cells.h5ad'": argv as a shell would take it; argv[0] is the subcommand.
 * Owned by the caller, free(). */
emc_status cli_command_line(char **out, int argc, char **argv);

/* Finds the folder of --model (a folder or a hub name). Owned by the caller, free(). */
emc_status cli_model_dir(char **out, const char *model);

/*
 * The file in the user's cache folder that remembers how products run on this machine's GPU; its
 * folder is made. *out is NULL where no GPU will be used ("cpu", or there is none) or where there
 * is no such folder: then nothing is remembered. Owned by the caller, free().
 */
emc_status cli_choices_path(char **out, const char *device);

/* FNV-1a, 64 bits: tells long texts apart for people. */
uint64_t cli_hash(const char *text);

/* Says where the model runs, and why there: `reason` is "" where it was asked for. */
void cli_log_device(cli_log *log, const char *device, const char *reason);

/* What the engine takes on a GPU; nothing on a device that has no memory of its own. */
void cli_log_memory_plan(cli_log *log, const emc_memory_plan *plan);

/*
 * From now on SIGINT and SIGTERM set the flag that is returned; a second one ends the program at
 * once. cli_interrupted gives 128 + the signal, or 0.
 */
const volatile sig_atomic_t *cli_catch_signals(void);

/* SIGUSR1, which Slurm's --signal sends ahead of the end, sets that flag, too. */
void cli_catch_warning(void);

int cli_interrupted(void);

#ifdef __cplusplus
}
#endif
