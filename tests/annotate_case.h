#pragma once
/* Runs of `emcell annotate` on the golden model and cells of make_annotate.py. */

#include <signal.h>

#include "annotate/run.h"

/* What a run said on its way; zero-initialise but for cancel_at. */
typedef struct {
    int n_calls, n_logs;
    int64_t last_done;
    emc_stage last_stage;
    volatile sig_atomic_t cancel;
    int64_t cancel_at; /* cells; -1: never */
    char last_log[1024];
} case_watcher;

/* Callbacks of the options; the context is a case_watcher. They check the order of what comes, and
 * set `cancel` at `cancel_at`. */
void watch_progress(void *context, const emc_progress *p);
void watch_log(void *context, const char *line);

/* A copy that outlives what emt.h promises for its paths. */
const char *case_keep(const char *path);

/* One thread, small steps, float32. */
emc_annotate_options case_options(const char *input, const char *output);

/* The golden model with another longest context: a folder of links but for config.json, the same
 * one at every call. */
const char *case_model_with_context(int n);

/* Succeeds, or fails the test. */
void case_annotate(const emc_annotate_options *o);

#define MAX_FIELDS 40

/* A line of a table cut at its tabs, in place. Quotes around a field go, doubled ones become
 * one; no tab stands inside any. */
int case_split(char *line, char **fields);

/* The line at *cursor, cut at its end in place; NULL at the end of the text. */
char *case_next_line(char **cursor);
