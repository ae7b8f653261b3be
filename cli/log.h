#pragma once
/* What a command tells people while it runs, on standard error. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    bool quiet;     /* warnings and errors only */
    bool json;      /* one JSON object a line: {"event", "time", ...} */
    bool terminal;  /* a progress line that is drawn over */
    bool line_open; /* such a line stands unfinished */
    double next_s;  /* when the next plain progress line is due */
    double started_s;
} cli_log;

/* format: NULL, "text" or "json"; otherwise false. */
bool cli_log_open(cli_log *log, const char *format, bool quiet);

/* A line for people: what was found, chosen or done. */
void cli_log_info(cli_log *log, const char *message);

/* A line that is shown even when quiet. */
void cli_log_warn(cli_log *log, const char *message);

/* As cli_fail, in the log's format. */
int cli_log_fail(cli_log *log, const char *command, emc_status status);

/* How far a command is. A rate of 0, seconds below 0 and a limit "" are not known yet. */
typedef struct {
    int64_t done, total; /* cells; total < 0: not known */
    double cells_per_s, cells_per_s_mean;
    double seconds_left;
    double seconds_to_first;           /* until the first cell was finished */
    int n_ahead, n_engine, n_finished; /* cells on their way: before, in and behind the engine */
    double engine_waited;              /* share of the last seconds */
    const char *limit;                 /* the stage that sets the speed */
} cli_progress;

/* Drawn at most ten times a second on a terminal, a line every ten seconds otherwise. */
void cli_log_progress(cli_log *log, const cli_progress *progress);

/* That line, without a line end; as JSON, without the braces. */
void cli_progress_line(char *out, size_t n_bytes, const cli_progress *progress);
void cli_progress_json(char *out, size_t n_bytes, const cli_progress *progress);

/* Ends an open progress line. */
void cli_log_finish(cli_log *log);

/* Seconds on the monotonic clock. */
double cli_now_s(void);

/* Digits behind the point that a rate is shown with: a slow one needs more. */
int cli_rate_digits(double rate);

/* "1 h 02 min", "3 min 05 s", "12 s". */
void cli_duration(char *out, size_t n_bytes, double seconds);

#ifdef __cplusplus
}
#endif
