/* emcell report: one page about an evaluation or a run; the work is in annotate/report/. */
#include "annotate/report/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/plan.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/common.h"

typedef struct {
    const char *folder, *output, *log_format;
    emc_report_run_options run;
    int64_t n_low;
    bool quiet;
} arguments;

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    const cli_option options[] = {
        {CLI_STRING, 'o', "output", "FILE", &a->output,
         "the page (default: report.html in the folder); - is standard output"},
        {CLI_FLAG, 0, "force", NULL, &a->run.force, "replace a page that is there"},
        {CLI_HEADING, 0, "Of a run", NULL, NULL, NULL},
        {CLI_STRING, 0, "groupby", "COLUMN", &a->run.groupby,
         "a column of the input's obs, such as leiden: a heat map of clusters by label"},
        {CLI_WHOLE, 0, "n-low", "N", &a->n_low, "cells of low confidence to list (default 20)"},
        {CLI_HEADING, 0, "Messages", NULL, NULL, NULL},
        {CLI_STRING, 0, "log-format", "text|json", &a->log_format, "of what goes to stderr"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "report",
        .usage = "FOLDER [OPTIONS]",
        .summary = "One HTML page about a run of emcell annotate or an evaluation.",
        .epilogue = "The page holds all it shows: no script, nothing is fetched. A run that is not "
                    "finished gives\na page of what is there.\n"
                    "Example: emcell report labels.csv.run --groupby leiden -o labels.html",
        .options = options,
        .n_options = EMC_COUNT(options),
        .max_words = 1,
        .words = &a->folder,
    };

    if (!cli_parse(&spec, argc, argv, config, exit_code))
        return false;
    *exit_code = 2;
    if (!a->folder) {
        cli_usage("report", "a folder is missing: of a run, as labels.csv.run, or an evaluation");
        return false;
    }
    if (a->n_low > 100000) {
        cli_usage("report", "--n-low: at most 100000");
        return false;
    }
    a->run.n_low = (int)a->n_low;
    return true;
}

static emc_status write_page(const arguments *a, const char *output)
{
    char *evaluation = NULL;

    EMC_TRY(emc_path_join(&evaluation, a->folder, "evaluation.json"));
    const bool is_evaluation = emc_file_exists(evaluation);
    free(evaluation);
    if (!is_evaluation && !emc_plan_exists(a->folder))
        return emc_fail(EMC_ERR_NOT_FOUND,
                        "%s: neither run.json nor evaluation.json is in it; wanted the folder of "
                        "a run (labels.csv.run) or of an evaluation",
                        a->folder);
    if (!is_evaluation)
        return emc_report_run(a->folder, output, &a->run);
    if (a->run.groupby)
        return emc_fail(EMC_ERR_USAGE, "--groupby: %s is an evaluation; only a run has clusters",
                        a->folder);
    if (strcmp(output, "-") != 0 && !a->run.force && emc_file_exists(output))
        return emc_fail(EMC_ERR_CREATE, "%s: is there already; --force replaces it", output);
    return emc_report_evaluation(a->folder, output);
}

int cli_report(int argc, char **argv)
{
    arguments a = {0};
    cli_config *config = NULL;
    char *beside = NULL;
    cli_log log;
    int exit_code;

    if (!parse(&a, argc, argv, &config, &exit_code))
        goto done;
    if (!cli_log_open(&log, a.log_format, a.quiet)) {
        exit_code = cli_usage("report", "--log-format: \"%s\" is not text or json", a.log_format);
        goto done;
    }
    a.run.cancel = cli_catch_signals();
    emc_status status = a.output ? EMC_OK : emc_path_join(&beside, a.folder, "report.html");
    const char *output = a.output ? a.output : beside;
    if (status == EMC_OK)
        status = write_page(&a, output);
    if (status != EMC_OK) {
        exit_code = cli_log_fail(&log, "report", status);
        if (status == EMC_ERR_CANCELLED && cli_interrupted())
            exit_code = cli_interrupted();
        goto done;
    }
    exit_code = 0;
    if (strcmp(output, "-") != 0) {
        char line[4200];
        snprintf(line, sizeof line, "wrote %.4096s", output);
        cli_log_info(&log, line);
    }

done:
    free(beside);
    cli_config_close(config);
    return exit_code;
}
