/* emcell prompt: the text and the ids that a model gets for a cell, without running one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/input.h"
#include "cli/log.h"

#define MAX_OBS_COLUMNS 32

typedef struct {
    emc_prompts_options run;
    cli_input_arguments input;
    const char *model, *obs;
    bool all, jsonl, quiet;
    emc_text line;
} arguments;

static emc_status write_line(arguments *a)
{
    if (fwrite(a->line.bytes, 1, a->line.n, stdout) != a->line.n)
        return emc_fail(EMC_ERR_IO, "standard output cannot be written");
    return EMC_OK;
}

static emc_status print_json(arguments *a, const emc_cell_prompt *prompt)
{
    emc_text_clear(&a->line);
    EMC_TRY(emc_cell_prompt_json(&a->line, prompt, &a->run));
    EMC_TRY(emc_text_add(&a->line, "\n", 1));
    return write_line(a);
}

static emc_status print_plain(arguments *a, const emc_cell_prompt *prompt)
{
    emc_text_clear(&a->line);
    EMC_TRY(emc_text_addf(&a->line, "cell %s: %s%s%s\n", prompt->cell_id,
                          emc_cell_status_name(prompt->status), *prompt->reason ? ", " : "",
                          prompt->reason));
    EMC_TRY(emc_text_add(&a->line, prompt->text, prompt->n_text));
    EMC_TRY(emc_text_addf(&a->line, "\n%d genes", prompt->n_genes));
    if (prompt->ids) {
        EMC_TRY(emc_text_addf(&a->line, ", %d tokens:", prompt->n_ids));
        for (int i = 0; i < prompt->n_ids; i++)
            EMC_TRY(emc_text_addf(&a->line, " %d", (int)prompt->ids[i]));
    }
    EMC_TRY(emc_text_add(&a->line, "\n", 1));
    return write_line(a);
}

static emc_status print_prompt(void *context, const emc_cell_prompt *prompt)
{
    arguments *a = context;

    return a->jsonl ? print_json(a, prompt) : print_plain(a, prompt);
}

static void on_log(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    const cli_option options[] = {
        CLI_INPUT_OPTIONS(a->input),
        {CLI_HEADING, 0, "Prompt", NULL, NULL, NULL},
        {CLI_STRING, 'c', "cell", "ID", &a->run.cell_id, "the cell of this id"},
        {CLI_FLAG, 'a', "all", NULL, &a->all, "every cell"},
        {CLI_FLAG, 0, "jsonl", NULL, &a->jsonl, "one JSON object a cell"},
        {CLI_STRING, 'p', "profile", "NAME|FILE", &a->run.profile,
         "how the model is asked (default: embryo)"},
        {CLI_STRING, 0, "labels", "FILE", &a->run.labels_path,
         "the labels, one a line, in place of the profile's"},
        {CLI_STRING, 'm', "model", "DIR", &a->model,
         "folder with tokenizer files, for ids; text alone without"},
        {CLI_STRING, 0, "obs-columns", "A,B", &a->obs, "columns of obs to add to the JSON"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "prompt",
        .usage = "--input FILE (--cell ID | --all) [OPTIONS]",
        .summary = "Prints what the model is asked about a cell: text, token ids, their number.",
        .epilogue = "The same code asks the model in emcell annotate, so what is printed here is "
                    "what it gets.",
        .options = options,
        .n_options = EMC_COUNT(options),
    };

    a->input.options.min_gene_match = -1;
    return cli_parse(&spec, argc, argv, config, exit_code);
}

/* Cuts "a,b" into columns, in place; more than fit are counted only. */
static int split(char *text, const char **columns)
{
    int n = 0;

    for (char *next = text; next; n++) {
        if (n < MAX_OBS_COLUMNS)
            columns[n] = next;
        next = strchr(next, ',');
        if (next)
            *next++ = '\0';
    }
    return n;
}

int cli_prompt(int argc, char **argv)
{
    static arguments a;
    const char *columns[MAX_OBS_COLUMNS];
    cli_config *config = NULL;
    char *model_dir = NULL, *obs = NULL;
    emc_status status = EMC_OK;
    int exit_code, n_obs = 0;

    a = (arguments){0};
    if (!parse(&a, argc, argv, &config, &exit_code))
        goto done;
    exit_code = 2;
    if (!cli_input("prompt", &a.input))
        goto done;
    if (a.all == (a.run.cell_id != NULL)) {
        cli_usage("prompt", "say --cell ID or --all");
        goto done;
    }
    a.run.input_path = a.input.path;
    a.run.input = a.input.options;
    if (a.model)
        status = cli_model_dir(&model_dir, a.model);
    if (status == EMC_OK && a.obs && !(obs = strdup(a.obs)))
        status = emc_fail(EMC_ERR_NOMEM, "no memory");
    if (status == EMC_OK && obs && (n_obs = split(obs, columns)) > MAX_OBS_COLUMNS)
        status = emc_fail(EMC_ERR_USAGE, "--obs-columns: %d columns, at most %d", n_obs,
                          MAX_OBS_COLUMNS);
    if (status == EMC_OK) {
        a.run.tokenizer_dir = model_dir;
        a.run.obs_columns = columns;
        a.run.n_obs_columns = n_obs;
        a.run.on_log = a.quiet ? NULL : on_log;
        a.run.cancel = cli_catch_signals();
        status = emc_prompts(&a.run, print_prompt, &a);
    }
    if (status == EMC_OK && fflush(stdout) != 0)
        status = emc_fail(EMC_ERR_IO, "standard output cannot be written");
    exit_code = status == EMC_OK ? 0 : cli_fail("prompt", status);
    if (status == EMC_ERR_CANCELLED && cli_interrupted())
        exit_code = cli_interrupted();

done:
    emc_text_free(&a.line);
    free(obs);
    free(model_dir);
    cli_config_close(config);
    return exit_code;
}
