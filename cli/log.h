#pragma once
/* What a command tells people while it runs, on standard error. */

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

/* done of total cells (total < 0: not known). Drawn at most ten times a second on a terminal, a
 * line every ten seconds otherwise. A rate of 0 and seconds_left < 0 are not known yet. */
void cli_log_progress(cli_log *log, int64_t done, int64_t total, double cells_per_s,
                      double seconds_left);

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
