/* emcell status: how far a run is, who works on it and what failed. It changes nothing, so it may
 * be asked at any time, from any machine that sees the folder. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/ledger.h"
#include "annotate/part.h"
#include "annotate/plan.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/log.h"
#include "cli/options.h"

typedef struct {
    const char *dir;
    emc_plan plan;
    emc_ledger_state state;
    int64_t cells_done, cells_parked, cells_in_parts;
    double cells_per_s; /* of the workers that are alive */
    const char *word;   /* for the whole run */
} run_status;

/* The cells of a shard: the last one has fewer. */
static int64_t shard_cells(const emc_plan *plan, int64_t shard)
{
    emc_shard_head head;

    emc_plan_shard(plan, shard, &head);
    return head.n_cells;
}

static emc_status read_run(run_status *run, const char *dir)
{
    emc_ledger_state *state = &run->state;
    int n_alive = 0;

    run->dir = dir;
    EMC_TRY(emc_plan_read(&run->plan, dir));
    EMC_TRY(emc_ledger_look(state, dir, emc_plan_n_shards(&run->plan), run->plan.max_tries));
    EMC_TRY(emc_part_count(&run->cells_in_parts, dir, &run->plan, state->parts, state->n_parts));
    for (int64_t s = 0; s < state->n_shards; s++)
        if (state->done[s])
            run->cells_done += shard_cells(&run->plan, s);
    for (int i = 0; i < state->n_failed; i++)
        if (state->failed[i].parked)
            run->cells_parked += shard_cells(&run->plan, state->failed[i].shard);
    for (int i = 0; i < state->n_workers; i++)
        if (state->workers[i].alive) {
            n_alive++;
            if (isfinite(state->workers[i].cells_per_s))
                run->cells_per_s += state->workers[i].cells_per_s;
        }
    if (state->n_done + state->n_parked >= state->n_shards)
        run->word = state->n_parked > 0 ? "finished, with parked shards" : "finished";
    else
        run->word = n_alive > 0 ? "running" : "stopped";
    return EMC_OK;
}

/* Seconds; below 0 when nobody can tell. */
static double time_left(const run_status *run)
{
    const int64_t left =
        run->plan.n_cells - run->cells_done - run->cells_in_parts - run->cells_parked;

    if (left <= 0)
        return 0;
    return run->cells_per_s > 0 ? (double)left / run->cells_per_s : -1;
}

/* ---- for people ---- */

/* What a file says goes to a terminal: control characters stay out. */
static void print_plain(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < 0x20 || *text == 0x7F ? '?' : *text);
}

static void print_workers(const run_status *run)
{
    const emc_ledger_state *state = &run->state;

    for (int i = 0; i < state->n_workers; i++) {
        const emc_worker_state *w = &state->workers[i];
        char age[32];
        cli_duration(age, sizeof age, w->beat_age_s);
        printf("worker   ");
        print_plain(w->host);
        printf(" pid %" PRId64 ": ", w->pid);
        if (w->alive)
            printf("%" PRId64 " cells, %.*f cells/s, %d shard%s claimed, heard of %s ago\n",
                   w->cells_done, cli_rate_digits(w->cells_per_s), w->cells_per_s, w->n_claims,
                   w->n_claims == 1 ? "" : "s", age);
        else
            printf("%s; heard of %s ago, %d shard%s claimed\n",
                   w->here ? "dead" : "silent for longer than its lease", age, w->n_claims,
                   w->n_claims == 1 ? "" : "s");
    }
}

static void print_failed(const run_status *run)
{
    for (int i = 0; i < run->state.n_failed; i++) {
        const emc_failed_state *f = &run->state.failed[i];
        emc_shard_head head;
        emc_plan_shard(&run->plan, f->shard, &head);
        printf("%s   shard %" PRId64 ", cells %" PRId64 " to %" PRId64 ": %d tr%s: ",
               f->parked ? "parked" : "failed", f->shard, head.first, head.first + head.n_cells - 1,
               f->n_tries, f->n_tries == 1 ? "y" : "ies");
        print_plain(f->reason[0] ? f->reason : "no reason was noted");
        putchar('\n');
    }
}

static void print_text(const run_status *run)
{
    const emc_ledger_state *state = &run->state;
    const int64_t open =
        state->n_shards - state->n_done - state->n_parked - state->n_claimed - state->n_stale;
    const double left = time_left(run),
                 percent = run->plan.n_cells > 0
                               ? 100.0 * (double)run->cells_done / (double)run->plan.n_cells
                               : 100.0;

    printf("run      ");
    print_plain(run->dir);
    printf(": %s\n", run->word);
    /* Rounded down: 100 % is all of them. */
    printf("cells    %" PRId64 " of %" PRId64 " done (%.1f %%)\n", run->cells_done,
           run->plan.n_cells, floor(10 * percent) / 10);
    printf("shards   %" PRId64 " of %" PRId64 " done, %" PRId64 " claimed, %" PRId64
           " stale, %" PRId64 " parked, %" PRId64 " open; %" PRId64 " cells each\n",
           state->n_done, state->n_shards, state->n_claimed, state->n_stale, state->n_parked, open,
           run->plan.shard_cells);
    if (state->n_parts > 0)
        printf("parts    %" PRId64
               " cells of %d begun shard%s are kept: who does them goes on behind\n",
               run->cells_in_parts, state->n_parts, state->n_parts == 1 ? "" : "s");
    if (run->cells_per_s > 0 && left > 0) {
        char duration[32];
        cli_duration(duration, sizeof duration, left);
        printf("speed    %.*f cells/s, %s left\n", cli_rate_digits(run->cells_per_s),
               run->cells_per_s, duration);
    }
    print_workers(run);
    print_failed(run);
    if (strcmp(run->word, "stopped") == 0)
        printf("next     the same emcell annotate command with --resume goes on\n");
    else if (state->n_parked > 0)
        printf("next     with --resume, parked shards are tried again\n");
}

/* ---- for programs ---- */

static emc_status add_number(emc_text *text, const char *name, double value)
{
    if (!isfinite(value) || value < 0)
        return emc_text_addf(text, "\"%s\": null", name);
    return emc_text_addf(text, "\"%s\": %.6g", name, value);
}

static emc_status add_string(emc_text *text, const char *name, const char *value)
{
    EMC_TRY(emc_text_addf(text, "\"%s\": ", name));
    return emc_text_add_json(text, value, strlen(value));
}

static emc_status add_worker(emc_text *text, const emc_worker_state *w)
{
    EMC_TRY(emc_text_add_string(text, "{"));
    EMC_TRY(add_string(text, "name", w->name));
    EMC_TRY(emc_text_add_string(text, ", "));
    EMC_TRY(add_string(text, "host", w->host));
    EMC_TRY(emc_text_addf(text,
                          ", \"pid\": %" PRId64 ", \"alive\": %s, \"here\": %s, \"cells_done\": "
                          "%" PRId64 ", \"n_claims\": %d, ",
                          w->pid, w->alive ? "true" : "false", w->here ? "true" : "false",
                          w->cells_done, w->n_claims));
    EMC_TRY(add_number(text, "cells_per_s", w->cells_per_s));
    EMC_TRY(emc_text_add_string(text, ", "));
    EMC_TRY(add_number(text, "beat_age_s", w->beat_age_s));
    return emc_text_add_string(text, "}");
}

static emc_status add_run(emc_text *text, const run_status *run)
{
    const emc_ledger_state *state = &run->state;

    EMC_TRY(emc_text_add_string(text, "{"));
    EMC_TRY(add_string(text, "run", run->dir));
    EMC_TRY(emc_text_add_string(text, ", "));
    EMC_TRY(add_string(text, "state", run->word));
    EMC_TRY(emc_text_addf(
        text,
        ", \"cells\": %" PRId64 ", \"cells_done\": %" PRId64 ", \"shard_cells\": %" PRId64
        ",\n \"shards\": %" PRId64 ", \"done\": %" PRId64 ", \"claimed\": %" PRId64
        ", \"stale\": %" PRId64 ", \"parked\": %" PRId64
        ", \"parts\": %d, \"cells_in_parts\": %" PRId64 ",\n ",
        run->plan.n_cells, run->cells_done, run->plan.shard_cells, state->n_shards, state->n_done,
        state->n_claimed, state->n_stale, state->n_parked, state->n_parts, run->cells_in_parts));
    EMC_TRY(add_number(text, "cells_per_s", run->cells_per_s));
    EMC_TRY(emc_text_add_string(text, ", "));
    EMC_TRY(add_number(text, "seconds_left", time_left(run)));
    EMC_TRY(emc_text_add_string(text, ",\n \"workers\": ["));
    for (int i = 0; i < state->n_workers; i++) {
        EMC_TRY(emc_text_add_string(text, i == 0 ? "\n  " : ",\n  "));
        EMC_TRY(add_worker(text, &state->workers[i]));
    }
    EMC_TRY(emc_text_add_string(text, "],\n \"failed\": ["));
    for (int i = 0; i < state->n_failed; i++) {
        const emc_failed_state *f = &state->failed[i];
        EMC_TRY(emc_text_addf(text, "%s{\"shard\": %" PRId64 ", \"tries\": %d, \"parked\": %s, ",
                              i == 0 ? "\n  " : ",\n  ", f->shard, f->n_tries,
                              f->parked ? "true" : "false"));
        EMC_TRY(add_string(text, "reason", f->reason));
        EMC_TRY(emc_text_add_string(text, "}"));
    }
    return emc_text_add_string(text, "]}\n");
}

static emc_status print_json(const run_status *run)
{
    emc_text text = {0};
    const emc_status status = add_run(&text, run);

    if (status == EMC_OK)
        fwrite(text.bytes, 1, text.n, stdout);
    emc_text_free(&text);
    return status;
}

int cli_status(int argc, char **argv)
{
    const char *dir = NULL;
    bool json = false;
    cli_config *config = NULL;
    run_status run = {0};
    emc_status status;
    int exit_code;
    const cli_option options[] = {
        {CLI_FLAG, 0, "json", NULL, &json, "for programs: one object"},
    };
    const cli_spec spec = {
        .name = "status",
        .usage = "RUN [--json]",
        .summary = "Tells how far a run is, who works on it, and what failed. Changes nothing.",
        .epilogue = "RUN is the folder of an emcell annotate, as labels.csv.run. Works while it "
                    "runs, after a crash\nand on a finished run. Exit codes: 0, 66 no such run, 65 "
                    "its run.json is damaged.",
        .options = options,
        .n_options = EMC_COUNT(options),
        .max_words = 1,
        .words = &dir,
    };

    if (!cli_parse(&spec, argc, argv, &config, &exit_code))
        goto done;
    if (!dir) {
        exit_code = cli_usage("status", "a run folder is missing, as labels.csv.run");
        goto done;
    }
    status = read_run(&run, dir);
    if (status == EMC_OK && json)
        status = print_json(&run);
    else if (status == EMC_OK)
        print_text(&run);
    if (status == EMC_OK && fflush(stdout) != 0)
        status = emc_fail(EMC_ERR_IO, "standard output cannot be written");
    exit_code = status == EMC_OK ? 0 : cli_fail("status", status);

done:
    emc_ledger_state_free(&run.state);
    emc_plan_free(&run.plan);
    cli_config_close(config);
    return exit_code;
}
