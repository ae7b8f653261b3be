/* emcell inspect: what is in a file, and what annotate would make of it. */
#include <stdio.h>
#include <string.h>

#include "annotate/inspect.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/input.h"

static void on_log(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

int cli_inspect(int argc, char **argv)
{
    static cli_input_arguments input;
    emc_inspect_options inspect = {0};
    const char *word = NULL;
    cli_config *config = NULL;
    emc_text report = {0};
    bool quiet = false;
    int exit_code;

    input = (cli_input_arguments){.options.min_gene_match = -1};
    const cli_option options[] = {
        CLI_INPUT_OPTIONS(input),
        {CLI_HEADING, 0, "Report", NULL, NULL, NULL},
        {CLI_STRING, 'p', "profile", "NAME|FILE", &inspect.profile,
         "how the model will be asked (default: embryo)"},
        {CLI_FLAG, 0, "json", NULL, &inspect.json, "one JSON object"},
        {CLI_FLAG, 'q', "quiet", NULL, &quiet, "errors and the report only"},
    };
    const cli_spec spec = {
        .name = "inspect",
        .usage = "FILE [OPTIONS]",
        .summary = "Tells what a file of cells holds: matrices and the kind of their values, which "
                   "would be ranked\nand why, gene names, columns of obs, memory, problems.",
        .epilogue = "Looks at 512 cells spread over the file. Options that choose cells have no "
                    "effect here.",
        .options = options,
        .n_options = EMC_COUNT(options),
        .max_words = 1,
        .words = &word,
    };

    if (!cli_parse(&spec, argc, argv, &config, &exit_code))
        goto done;
    exit_code = 2;
    if (word && input.path) {
        cli_usage("inspect", "two files: %s and %s", input.path, word);
        goto done;
    }
    input.path = word ? word : input.path;
    if (!cli_input("inspect", &input))
        goto done;
    inspect.input_path = input.path;
    inspect.input = input.options;
    inspect.input.on_log = quiet ? NULL : on_log;
    emc_status status = emc_inspect(&report, &inspect);
    if (status == EMC_OK &&
        (fwrite(report.bytes, 1, report.n, stdout) != report.n || fflush(stdout) != 0))
        status = emc_fail(EMC_ERR_IO, "standard output cannot be written");
    exit_code = status == EMC_OK ? 0 : cli_fail("inspect", status);

done:
    emc_text_free(&report);
    cli_config_close(config);
    return exit_code;
}
