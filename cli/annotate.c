/* emcell annotate: arguments in, summary out; the work is in annotate/run.c. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/dry_run.h"
#include "cli/gpus.h"
#include "cli/input.h"
#include "cli/log.h"
#include "cli/output.h"
#include "cli/ranks.h"
#include "kernels/cuda.h"

typedef struct {
    emc_annotate_options run;
    cli_input_arguments input;
    cli_output_arguments output;
    const char *model, *answer, *scoring, *dtype, *log_format, *device, *order;
    cli_gpu_options gpus;
    int64_t rank, world; /* -1: not given */
    cli_ranks ranks;
    char own_gpu[24];
    bool quiet, dry_run;
} arguments;

static void on_progress(void *context, const emc_progress *progress)
{
    cli_log *log = context;
    const cli_progress shown = {
        .done = progress->n_done,
        .total = progress->n_total,
        .cells_per_s = progress->cells_per_s,
        .cells_per_s_mean = progress->cells_per_s_mean,
        .seconds_left = progress->seconds_left,
        .seconds_to_first = progress->seconds_to_first,
        .n_ahead = progress->n_ahead,
        .n_engine = progress->n_engine,
        .n_finished = progress->n_finished,
        .engine_waited = progress->engine_waited,
        .limit = emc_limit_name(progress->limit),
    };

    if (progress->stage == EMC_STAGE_CELLS)
        cli_log_progress(log, &shown);
    else
        cli_log_finish(log);
}

static void on_log(void *context, const char *line)
{
    cli_log_info(context, line);
}

static void on_engine(void *context, const emc_model_info *model, const emc_memory_plan *plan)
{
    cli_log_device(context, model->device_name, model->device_reason);
    cli_log_memory_plan(context, plan);
}

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    emc_annotate_options *run = &a->run;
    const cli_option options[] = {
        CLI_INPUT_OPTIONS(a->input),
        {CLI_HEADING, 0, "Model", NULL, NULL, NULL},
        {CLI_STRING, 'm', "model", "DIR", &a->model,
         "Qwen3 checkpoint folder, or a name in the local Hugging Face cache"},
        {CLI_STRING, 0, "adapter", "DIR", &run->model.adapter_dir, "PEFT LoRA adapter folder"},
        {CLI_FLAG, 0, "merge-adapter", NULL, &run->model.merge_adapter,
         "add the adapter to the weights at load (faster, rounds once more)"},
        {CLI_STRING, 'p', "profile", "NAME|FILE", &run->profile,
         "how the model is asked (default: embryo; emcell profile list)"},
        {CLI_STRING, 0, "labels", "FILE", &run->labels_path,
         "the labels, one a line, in place of the profile's"},
        {CLI_STRING, 0, "answer", "exact|full|greedy|generate", &a->answer,
         "exact: the best label of the set, and its probability as far as\n"
         "--probability-width asks (default in the built-in profiles); full:\n"
         "every label's probability; greedy: the likeliest token at every\n"
         "branch, not always the best label; generate: free text, read back"},
        {CLI_STRING, 0, "scoring", "joint|mean|first|prior", &a->scoring,
         "what makes a label likely: joint, the probability of its tokens;\n"
         "mean, a token; first, of its first own token; prior, divided by\n"
         "what it is for a cell without genes (default: the profile's, joint)"},
        {CLI_SHARE, 0, "probability-width", "W", &run->probability_width,
         "exact: search until score_high - score_low is at most W (default:\n"
         "the profile's, 0.02); 0 computes every label, as --probabilities,\n"
         "--obsm-probabilities and a margin-below above 0 do by themselves"},
        {CLI_FLAG, 0, "invalid-mass", NULL, &run->invalid_mass,
         "exact, full: add the column invalid_mass, the probability that the\n"
         "model gives to what is no label, known within --probability-width"},
        {CLI_SHARE, 0, "unknown-below", "P", &run->unknown_below,
         "a score below P is unknown (default: the profile's); exact searches\n"
         "until that is certain"},
        {CLI_SHARE, 0, "margin-below", "M", &run->margin_below,
         "a margin below M is unknown (default: the profile's)"},
        {CLI_COUNT, 0, "max-tokens", "N", &run->max_tokens, "generate: at most N tokens"},
        CLI_OUTPUT_OPTIONS(a->output),
        {CLI_STRING, 0, "order", "input|finished", &a->order,
         "of the rows. finished: as soon as their shard is, for tables on\n"
         "standard output or a pipe"},
        {CLI_HEADING, 0, "Run", NULL, NULL, NULL},
        {CLI_FLAG, 0, "dry-run", NULL, &a->dry_run,
         "read every cell and say what a run would do and take: tokens, steps,\n"
         "memory, time; no weight is read, nothing is written"},
        {CLI_STRING, 0, "run-dir", "DIR", &run->run_dir,
         "where finished shards are kept (default: the output's name and .run;\n"
         "with -o - a folder in $TMPDIR that is removed at the end)"},
        {CLI_FLAG, 0, "resume", NULL, &run->resume,
         "start the run, share it with others, or go on with it"},
        {CLI_FLAG, 0, "force", NULL, &run->force, "remove the run that is there and begin anew"},
        {CLI_COUNT, 0, "shard-cells", "N", &run->shard_cells,
         "cells that are kept, and lost, together (default: measured, about\n"
         "20 s of work)"},
        {CLI_COUNT, 0, "max-tries", "N", &run->ledger.max_tries,
         "give a shard up when it cannot be read N times (3)"},
        {CLI_WHOLE, 0, "rank", "N", &a->rank,
         "which process of several this is, from 0: where it begins to look\n"
         "(default: as torchrun, Slurm, mpirun say)"},
        {CLI_WHOLE, 0, "world-size", "N", &a->world, "how many they are"},
        {CLI_HEADING, 0, "Engine", NULL, NULL, NULL},
        {CLI_STRING, 0, "device", "auto|cpu|cuda|cuda:LIST", &a->device,
         "where the model runs (default: auto, the first usable GPU, else\n"
         "the CPU); cuda:0,2 and cuda:all are several GPUs, each with a model"},
        CLI_GPU_OPTIONS(a->gpus),
        {CLI_FLAG, 0, "keep-going", NULL, &run->keep_going,
         "when one of several GPUs fails, its cells go to the others"},
        {CLI_COUNT, 't', "threads", "N", &run->model.n_threads,
         "CPU threads (default: one for each core)"},
        {CLI_STRING, 0, "dtype", "NAME", &a->dtype,
         "auto (default: the checkpoint's), bfloat16, float32"},
        {CLI_COUNT, 0, "max-num-batched-tokens", "N", &run->max_num_batched_tokens,
         "tokens of a step, a multiple of 128"},
        {CLI_SHARE, 0, "gpu-memory-utilization", "SHARE", &run->gpu_memory_utilization,
         "the part of a GPU's memory to use at most (0.9)"},
        {CLI_FLAG, 0, "no-enable-prefix-caching", NULL, &run->no_prefix_caching,
         "compute the common prefix again for every cell"},
        {CLI_HEADING, 0, "Messages", NULL, NULL, NULL},
        {CLI_STRING, 0, "log-format", "text|json", &a->log_format,
         "of what goes to stderr, and of --dry-run's report"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "annotate",
        .usage = "--input FILE --model DIR [--output FILE] [OPTIONS]",
        .summary = "Names the cell type of every cell of a file.",
        .epilogue =
            "Results have a row a cell, in the input's order: cell_id, label, score and its "
            "bounds,\nmargin, entropy, status, reason, cl_id, the three likeliest labels, "
            "n_genes, n_tokens.\nscore is the label's probability among the labels of the "
            "set, as the model gives it;\nwhere not every label's is computed, margin, entropy "
            "and the labels after the first are\nempty. Ctrl-C, SIGTERM and SIGUSR1 keep every "
            "answer and end with exit code 75; the same\ncommand with --resume goes on. A second "
            "Ctrl-C or SIGTERM ends at once; finished shards\nstay. Exit codes: 0 done, 3 done "
            "but some cells failed, 75 to be resumed; emcell --help\nhas the rest.\n"
            "For research use only; not for clinical use or the selection of embryos.",
        .options = options,
        .n_options = EMC_COUNT(options),
    };

    emc_annotate_defaults(run);
    emc_results_defaults(&a->output.options);
    run->gpu_memory_utilization = CLI_NO_SHARE;
    a->input.options = run->input;
    if (!cli_parse(&spec, argc, argv, config, exit_code))
        return false;
    *exit_code = 2;
    return true;
}

/* Checks what belongs together; false after printing. */
static bool check(arguments *a)
{
    static const char *const dtypes[] = {"auto", "float32", "bfloat16", NULL};
    static const char *const orders[] = {"input", "finished", NULL}; /* as emc_order */
    emc_annotate_options *run = &a->run;
    emc_answer_mode mode;
    emc_scoring_rule rule;
    int dtype, order;

    if (!cli_input("annotate", &a->input) || !cli_output("annotate", &a->output))
        return false;
    if (run->resume && run->force) {
        cli_usage("annotate", "--resume goes on with a run, --force removes it: give one of them");
        return false;
    }
    if (!a->model) {
        cli_usage("annotate", "--model is missing");
        return false;
    }
    if (run->max_num_batched_tokens % 128 != 0 || run->max_num_batched_tokens > 1 << 20) {
        cli_usage("annotate", "--max-num-batched-tokens %d: wanted a multiple of 128 up to %d",
                  run->max_num_batched_tokens, 1 << 20);
        return false;
    }
    if (run->model.merge_adapter && !run->model.adapter_dir) {
        cli_usage("annotate", "--merge-adapter needs --adapter");
        return false;
    }
    run->model.device = a->device;
    if (!cli_memory_share("annotate", &run->gpu_memory_utilization) ||
        !cli_gpus("annotate", &a->gpus, &run->model))
        return false;
    if (!cli_choice("annotate", "dtype", a->dtype, dtypes, &dtype))
        return false;
    if (!cli_choice("annotate", "order", a->order, orders, &order))
        return false;
    if (a->answer) {
        if (emc_answer_mode_parse(&mode, a->answer) != EMC_OK) {
            cli_usage("annotate", "--answer: \"%s\" is not exact, full, greedy or generate",
                      a->answer);
            return false;
        }
        run->answer = (int)mode;
    }
    if (a->scoring) {
        if (emc_scoring_rule_parse(&rule, a->scoring) != EMC_OK) {
            cli_usage("annotate", "--scoring: \"%s\" is not joint, mean, first or prior",
                      a->scoring);
            return false;
        }
        run->scoring = (int)rule;
    }
    run->input_path = a->input.path;
    run->input = a->input.options;
    run->results = a->output.options;
    run->results.allow_external = run->input.allow_external;
    run->order = (emc_order)order;
    run->model.dtype = (emc_dtype_choice)dtype;
    return true;
}

/* The labels by falling count; ties in label order. */
static void print_labels(const emc_annotate_summary *summary)
{
    int64_t last_count = INT64_MAX;
    int last = -1;

    for (int row = 0; row < summary->n_labels; row++) {
        int best = -1;
        for (int i = 0; i < summary->n_labels; i++) {
            const int64_t n = summary->n_label[i];
            if ((n < last_count || (n == last_count && i > last)) &&
                (best < 0 || n > summary->n_label[best]))
                best = i;
        }
        if (best < 0 || summary->n_label[best] == 0)
            return;
        last = best;
        last_count = summary->n_label[best];
        fprintf(stderr, "  %-28s %8lld\n", summary->labels[best], (long long)last_count);
    }
}

/* The most memory this process has held, mapped weights that are in use included. */
static double peak_megabytes(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss / 1024.0 : 0.0;
}

/* How well the device was fed. */
static void print_flow(cli_log *log, const emc_annotate_summary *summary)
{
    char line[256], busy[64] = "";

    if (log->json && !log->quiet)
        fprintf(stderr,
                "{\"event\": \"summary\", \"time\": %.3f, \"cells_per_s\": %.3f, "
                "\"seconds_to_first\": %.3f, \"engine_waited\": %.4f, \"device_busy\": %.4f, "
                "\"limit\": \"%s\"}\n",
                cli_now_s() - log->started_s, summary->cells_per_s, summary->seconds_to_first,
                summary->engine_waited, summary->device_busy, emc_limit_name(summary->limit));
    if (summary->device_busy > 0)
        snprintf(busy, sizeof busy, ", steps took %.1f %% of the time", 100 * summary->device_busy);
    snprintf(line, sizeof line,
             "first label after %.1f s; the host made the device wait %.1f %%%s; limit: %s",
             summary->seconds_to_first, 100 * summary->engine_waited, busy,
             emc_limit_name(summary->limit));
    cli_log_info(log, line);
}

/* What this process did; nothing when every shard was there. */
static void print_work(cli_log *log, const emc_annotate_summary *summary)
{
    const emc_engine_stats *engine = &summary->engine;
    char line[512], took[32];

    if (!summary->chosen)
        return;
    cli_duration(took, sizeof took, summary->seconds_run);
    snprintf(line, sizeof line,
             "%lld cells in %s, %.*f cells/s (%.0f prompt tokens/s); loading took %.1f s",
             (long long)summary->n_answered, took, cli_rate_digits(summary->cells_per_s),
             summary->cells_per_s,
             summary->seconds_run > 0 ? (double)summary->n_prompt_tokens / summary->seconds_run : 0,
             summary->seconds_load);
    cli_log_info(log, line);
    snprintf(line, sizeof line,
             "%lld steps, %lld rows through the model, %lld read; peak memory %.0f MB",
             (long long)engine->n_steps, (long long)engine->n_rows, (long long)engine->n_readers,
             peak_megabytes());
    cli_log_info(log, line);
    if (summary->n_answer_rows > 0 && summary->n_asked > 0) {
        snprintf(line, sizeof line, "%.1f answer rows a cell",
                 (double)summary->n_answer_rows / (double)summary->n_asked);
        cli_log_info(log, line);
    }
    if (summary->limit != EMC_LIMIT_UNKNOWN && summary->n_asked > 0)
        print_flow(log, summary);
    if (strcmp(summary->chosen, "{}") != 0) {
        snprintf(line, sizeof line, "same bits: %s, products %016llx", summary->device_name,
                 (unsigned long long)cli_hash(summary->chosen));
        cli_log_info(log, line);
    }
}

static void print_summary(cli_log *log, const arguments *a, const emc_annotate_summary *summary)
{
    char line[512];

    cli_log_finish(log);
    print_work(log, summary);
    snprintf(line, sizeof line, "%lld cells have results", (long long)summary->n_cells);
    if (summary->n_answered != summary->n_cells)
        cli_log_info(log, line);
    if (summary->n_missing > 0) {
        snprintf(line, sizeof line,
                 "%lld cells have none: %lld of %lld shards failed (emcell status tells why)",
                 (long long)summary->n_missing,
                 (long long)(summary->n_shards - summary->n_shards_done),
                 (long long)summary->n_shards);
        cli_log_warn(log, line);
    }
    for (int i = 0; i < EMC_N_CELL_STATUSES; i++) {
        if (summary->n_status[i] == 0)
            continue;
        snprintf(line, sizeof line, "  %-14s %lld", emc_cell_status_name((emc_cell_status)i),
                 (long long)summary->n_status[i]);
        cli_log_info(log, line);
    }
    if (!log->quiet && !log->json && summary->n_status[EMC_CELL_OK] > 0) {
        fprintf(stderr, "labels:\n");
        print_labels(summary);
    }
    if (!summary->written)
        cli_log_info(log, "another process of this run wrote the results");
    if (strcmp(a->run.results.output_path, "-") != 0) {
        snprintf(line, sizeof line, "results: %s; run folder: %s",
                 a->run.results.h5ad == EMC_H5AD_IN_PLACE ? a->run.input_path
                                                          : a->run.results.output_path,
                 summary->run_dir ? summary->run_dir : "removed");
        cli_log_info(log, line);
    }
}

static const char *environment(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

/* Processes that share a GPU node, each with a model, take one GPU each, where no option says
 * which. */
static void share_gpus(arguments *a, const cli_ranks *ranks)
{
    const char *device = a->run.model.device;
    emc_cuda_system cuda;
    emc_cuda_gpu gpu;

    if (a->run.model.tensor_parallel_size > 1 ||
        (device && strcmp(device, "auto") != 0 && strcmp(device, "cuda") != 0))
        return;
    emc_cuda_describe_system(&cuda);
    const int index = cli_ranks_gpu(ranks, cuda.n_gpus);
    if (index < 0 || emc_cuda_describe_gpu(index, &gpu) != EMC_OK || !gpu.usable)
        return;
    snprintf(a->own_gpu, sizeof a->own_gpu, "cuda:%d", index);
    a->run.model.device = a->own_gpu;
}

/* Processes of a job begin at different places of the run; a job that was started anew takes over
 * what it had. */
static emc_status find_place(arguments *a, cli_log *log)
{
    cli_ranks *ranks = &a->ranks;
    emc_ledger_options *ledger = &a->run.ledger;
    char line[384];

    if (a->rank > INT_MAX || a->world > INT_MAX)
        return emc_fail(EMC_ERR_USAGE, "--rank and --world-size: at most %d", INT_MAX);
    EMC_TRY(cli_ranks_find(ranks, (int)a->rank, (int)a->world, environment, NULL));
    ledger->rank = ranks->rank;
    ledger->world = ranks->world;
    ledger->job = ranks->job;
    ledger->restart = ranks->restart;
    if (ranks->ignored[0]) {
        snprintf(line, sizeof line, "%s; passed over", ranks->ignored);
        cli_log_warn(log, line);
    }
    if (ranks->world > 1) {
        snprintf(line, sizeof line, "rank %d of %d (%s)", ranks->rank, ranks->world, ranks->source);
        cli_log_info(log, line);
    }
    share_gpus(a, ranks);
    return EMC_OK;
}

int cli_annotate(int argc, char **argv)
{
    static arguments a;
    emc_annotate_summary *summary = NULL;
    cli_config *config = NULL;
    char *model_dir = NULL, *choices_path = NULL, *command = NULL;
    cli_log log;
    emc_status status;
    int exit_code;

    a = (arguments){.rank = -1, .world = -1};
    const volatile sig_atomic_t *cancel = cli_catch_signals();
    cli_catch_warning();
    if (!parse(&a, argc, argv, &config, &exit_code) || !check(&a))
        goto done;
    if (!cli_log_open(&log, a.log_format, a.quiet)) {
        cli_usage("annotate", "--log-format: \"%s\" is not text or json", a.log_format);
        goto done;
    }
    status = cli_command_line(&command, argc, argv);
    if (status == EMC_OK)
        status = cli_model_dir(&model_dir, a.model);
    if (status == EMC_OK && !a.dry_run)
        status = cli_choices_path(&choices_path, a.device);
    if (status == EMC_OK) {
        a.run.model.model_dir = model_dir;
        a.run.model.choices_path = choices_path;
        a.run.on_progress = on_progress;
        a.run.on_log = on_log;
        a.run.on_engine = on_engine;
        a.run.context = &log;
        a.run.cancel = cancel;
        a.run.version = EMCELL_VERSION;
        a.run.command = command;
        a.run.temporary_dir = getenv("TMPDIR");
        status = find_place(&a, &log);
    }
    if (status == EMC_OK) {
        if (a.dry_run) {
            exit_code = cli_dry_run(&a.run, &log);
            goto done;
        }
        status = emc_annotate(&summary, &a.run);
    }
    if (status != EMC_OK) {
        exit_code = cli_log_fail(&log, "annotate", status);
        if (status == EMC_ERR_CANCELLED)
            exit_code = EX_TEMPFAIL;
        goto done;
    }
    print_summary(&log, &a, summary);
    exit_code = summary->n_status[EMC_CELL_FAILED] > 0 || summary->n_missing > 0 ? 3 : 0;

done:
    emc_annotate_summary_close(summary);
    free(choices_path);
    free(command);
    free(model_dir);
    cli_config_close(config);
    return exit_code;
}
