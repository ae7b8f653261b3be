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

void cli_progress_line(char *out, size_t n_bytes, const cli_progress *p)
{
    char left[32] = "", of_total[32] = "", rate[64] = "", mean[64] = "";
    const int digits = cli_rate_digits(p->cells_per_s);

    if (p->total >= 0)
        snprintf(of_total, sizeof of_total, " of %lld", (long long)p->total);
    if (p->cells_per_s > 0)
        snprintf(rate, sizeof rate, ", %.*f cells/s", digits, p->cells_per_s);
    if (p->cells_per_s > 0 && p->cells_per_s_mean > 0)
        snprintf(mean, sizeof mean, " (mean %.*f)", digits, p->cells_per_s_mean);
    if (p->total >= 0 && p->seconds_left >= 0)
        cli_duration(left, sizeof left, p->seconds_left);
    snprintf(out, n_bytes, "%lld%s cells%s%s%s%s%s%s%s", (long long)p->done, of_total, rate, mean,
             left[0] ? ", " : "", left, left[0] ? " left" : "", p->limit[0] ? ", limit: " : "",
             p->limit);
}

static double known(double value)
{
    return value > 0 && isfinite(value) ? value : 0;
}

void cli_progress_json(char *out, size_t n_bytes, const cli_progress *p)
{
    char left[64] = "null", first[32] = "null", limit[32] = "null";

    if (p->seconds_left >= 0 && isfinite(p->seconds_left))
        snprintf(left, sizeof left, "%.1f", p->seconds_left);
    if (p->seconds_to_first >= 0)
        snprintf(first, sizeof first, "%.3f", p->seconds_to_first);
    if (p->limit[0])
        snprintf(limit, sizeof limit, "\"%.20s\"", p->limit);
    snprintf(out, n_bytes,
             "\"cells\": %lld, \"total\": %lld, \"cells_per_s\": %.3f, \"seconds_left\": %s, "
             "\"cells_per_s_mean\": %.3f, \"seconds_to_first\": %s, \"cells_ahead\": %d, "
             "\"cells_in_engine\": %d, \"cells_finished\": %d, \"engine_waited\": %.4f, "
             "\"limit\": %s",
             (long long)p->done, (long long)p->total, known(p->cells_per_s), left,
             known(p->cells_per_s_mean), first, p->n_ahead, p->n_engine, p->n_finished,
             known(p->engine_waited), limit);
}

void cli_log_progress(cli_log *log, const cli_progress *progress)
{
    const double now = cli_now_s();
    char text[512];

    if (log->quiet || now < log->next_s)
        return;
    log->next_s = now + (log->terminal ? TERMINAL_EVERY_S : PLAIN_EVERY_S);
    if (log->json) {
        cli_progress_json(text, sizeof text, progress);
        fprintf(stderr, "{\"event\": \"progress\", \"time\": %.3f, %s}\n", now - log->started_s,
                text);
        return;
    }
    cli_progress_line(text, sizeof text, progress);
    fprintf(stderr, "%s%s%s", log->terminal ? "\r\033[K" : "", text, log->terminal ? "" : "\n");
    log->line_open = log->terminal;
}

void cli_log_finish(cli_log *log)
{
    if (log->line_open)
        fputs("\r\033[K", stderr);
    log->line_open = false;
}
