/* emcell merge: from a run folder to results, without a model; the work is in annotate/merge.c. */
#include "annotate/merge.h"

#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/log.h"
#include "cli/output.h"

typedef struct {
    emc_merge_options merge;
    cli_output_arguments output;
    const char *log_format;
    bool quiet;
} arguments;

static void on_log(void *context, const char *line)
{
    cli_log_info(context, line);
}

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    const cli_option options[] = {
        {CLI_HEADING, 0, "Run", NULL, NULL, NULL},
        {CLI_STRING, 'i', "input", "FILE", &a->merge.input_path,
         "where the annotated file is now (default: where it was)"},
        {CLI_FLAG, 0, "allow-partial", NULL, &a->merge.allow_partial,
         "write what is there of an unfinished run"},
        CLI_OUTPUT_OPTIONS(a->output),
        {CLI_HEADING, 0, "Messages", NULL, NULL, NULL},
        {CLI_STRING, 0, "log-format", "text|json", &a->log_format, "of what goes to stderr"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "merge",
        .usage = "RUN [--output FILE] [OPTIONS]",
        .summary = "Writes the results of a run folder again, without a model.",
        .epilogue = "Every shard's length, checksum and place is checked first.\n"
                    "Exit codes: 0 done, 3 done but some cells failed or are missing, 78 shards "
                    "are missing or\ndamaged; emcell --help has the rest.",
        .options = options,
        .n_options = EMC_COUNT(options),
        .max_words = 1,
        .words = &a->merge.run_dir,
    };

    emc_results_defaults(&a->output.options);
    if (!cli_parse(&spec, argc, argv, config, exit_code))
        return false;
    *exit_code = 2;
    if (!cli_output("merge", &a->output))
        return false;
    if (!a->merge.run_dir) {
        cli_usage("merge", "a run folder is missing, as labels.csv.run");
        return false;
    }
    return true;
}

static void print_summary(cli_log *log, const emc_merge_summary *summary)
{
    char line[256];

    snprintf(line, sizeof line, "%lld cells of %lld of %lld shards", (long long)summary->n_cells,
             (long long)(summary->n_shards - summary->n_missing_shards),
             (long long)summary->n_shards);
    cli_log_info(log, line);
    if (summary->n_missing_cells == 0)
        return;
    snprintf(line, sizeof line, "%lld cells are missing", (long long)summary->n_missing_cells);
    cli_log_warn(log, line);
}

int cli_merge(int argc, char **argv)
{
    arguments a = {0};
    cli_config *config = NULL;
    emc_merge_summary summary;
    cli_log log;
    int exit_code;

    if (!parse(&a, argc, argv, &config, &exit_code))
        goto done;
    if (!cli_log_open(&log, a.log_format, a.quiet)) {
        cli_usage("merge", "--log-format: \"%s\" is not text or json", a.log_format);
        goto done;
    }
    a.merge.results = a.output.options;
    a.merge.results.cancel = cli_catch_signals();
    a.merge.results.on_log = on_log;
    a.merge.results.context = &log;
    const emc_status status = emc_merge(&summary, &a.merge);
    if (status != EMC_OK) {
        exit_code = cli_log_fail(&log, "merge", status);
        if (status == EMC_ERR_CANCELLED && cli_interrupted())
            exit_code = cli_interrupted();
        goto done;
    }
    print_summary(&log, &summary);
    exit_code = summary.n_missing_cells > 0 || summary.n_failed_cells > 0 ? 3 : 0;

done:
    cli_config_close(config);
    return exit_code;
}
