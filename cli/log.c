#include "cli/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/options.h"

#define TERMINAL_EVERY_S 0.1
#define PLAIN_EVERY_S    10.0

double cli_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

bool cli_log_open(cli_log *log, const char *format, bool quiet)
{
    *log = (cli_log){.quiet = quiet, .started_s = cli_now_s()};
    log->json = format && strcmp(format, "json") == 0;
    log->terminal = !log->json && isatty(STDERR_FILENO);
    log->next_s = log->started_s + (log->terminal ? 0 : PLAIN_EVERY_S);
    return !format || log->json || strcmp(format, "text") == 0;
}

static void print_json(const cli_log *log, const char *level, const char *message)
{
    emc_text text = {0};

    if (emc_text_add_json(&text, message, strlen(message)) == EMC_OK)
        fprintf(stderr, "{\"event\": \"%s\", \"time\": %.3f, \"message\": %s}\n", level,
                cli_now_s() - log->started_s, text.bytes);
    emc_text_free(&text);
}

static void line(cli_log *log, const char *level, const char *message)
{
    if (log->json) {
        print_json(log, level, message);
        return;
    }
    cli_log_finish(log);
    fprintf(stderr, "%s\n", message);
}

void cli_log_info(cli_log *log, const char *message)
{
    if (!log->quiet)
        line(log, "info", message);
}

void cli_log_warn(cli_log *log, const char *message)
{
    line(log, "warning", message);
}

int cli_log_fail(cli_log *log, const char *command, emc_status status)
{
    cli_log_finish(log);
    if (!log->json)
        return cli_fail(command, status);
    print_json(log, "error", emc_message());
    return emc_status_exit_code(status);
}

void cli_duration(char *out, size_t n_bytes, double seconds)
{
    const long s = seconds > 0 && isfinite(seconds) ? (long)(seconds + 0.5) : 0;

    if (s >= 3600)
        snprintf(out, n_bytes, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, n_bytes, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(out, n_bytes, "%ld s", s);
}

int cli_rate_digits(double rate)
{
    return rate < 10 ? 2 : 1;
}

void cli_log_progress(cli_log *log, int64_t done, int64_t total, double cells_per_s,
                      double seconds_left)
{
    const double now = cli_now_s();
    char left[32] = "", of_total[32] = "", rate[48] = "";

    if (log->quiet || now < log->next_s)
        return;
    log->next_s = now + (log->terminal ? TERMINAL_EVERY_S : PLAIN_EVERY_S);
    if (log->json) {
        fprintf(stderr,
                "{\"event\": \"progress\", \"time\": %.3f, \"cells\": %lld, \"total\": %lld, "
                "\"cells_per_s\": %.3f, \"seconds_left\": %.1f}\n",
                now - log->started_s, (long long)done, (long long)total, cells_per_s,
                seconds_left > 0 && isfinite(seconds_left) ? seconds_left : 0.0);
        return;
    }
    if (total >= 0)
        snprintf(of_total, sizeof of_total, " of %lld", (long long)total);
    if (cells_per_s > 0)
        snprintf(rate, sizeof rate, ", %.*f cells/s", cli_rate_digits(cells_per_s), cells_per_s);
    if (total >= 0 && seconds_left >= 0)
        cli_duration(left, sizeof left, seconds_left);
    fprintf(stderr, "%s%lld%s cells%s%s%s%s%s", log->terminal ? "\r\033[K" : "", (long long)done,
            of_total, rate, left[0] ? ", " : "", left, left[0] ? " left" : "",
            log->terminal ? "" : "\n");
    log->line_open = log->terminal;
}

void cli_log_finish(cli_log *log)
{
    if (log->line_open)
        fputs("\r\033[K", stderr);
    log->line_open = false;
}
