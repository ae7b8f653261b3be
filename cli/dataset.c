/* emcell dataset: instruction data from annotated files; the work is in annotate/dataset/. */
#include "annotate/dataset/build.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common.h"

typedef struct {
    const char *words[2];
    const char *input_dir, *output, *tokenizer, *form, *log_format;
    int n_threads;
    bool force, quiet;
} arguments;

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    const cli_option options[] = {
        {CLI_STRING, 0, "input-dir", "DIR", &a->input_dir,
         "where the files of the recipe lie (default: beside the recipe)"},
        {CLI_STRING, 'o', "output", "DIR", &a->output,
         "build: the folder to write; PART.FORM.jsonl, card.md, card.json"},
        {CLI_STRING, 0, "form", "LIST", &a->form,
         "build: of messages,alpaca,sharegpt (default: all)"},
        {CLI_STRING, 'm', "model", "DIR|NAME", &a->tokenizer,
         "build: a checkpoint whose tokenizer counts tokens for the card"},
        {CLI_FLAG, 0, "force", NULL, &a->force, "build: replace what is there"},
        {CLI_COUNT, 't', "threads", "N", &a->n_threads, "that read and rank"},
        {CLI_HEADING, 0, "Messages", NULL, NULL, NULL},
        {CLI_STRING, 0, "log-format", "text|json", &a->log_format, "of what goes to stderr"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "dataset",
        .usage = "build|check RECIPE [OPTIONS]\n       emcell dataset recipes|label-maps|show NAME",
        .summary = "Makes instruction data that tunes a model from annotated files.",
        .epilogue = "  build       writes the data and its card\n"
                    "  check       reads, maps labels and splits; prints the counts\n"
                    "  recipes     lists the built-in recipes; label-maps the built-in maps\n"
                    "  show NAME   prints the JSON of a built-in recipe or map\n"
                    "docs/dataset.md has the keys of a recipe.\n"
                    "Example: emcell dataset build yan2013 --input-dir data -o yan",
        .options = options,
        .n_options = EMC_COUNT(options),
        .max_words = 2,
        .words = a->words,
    };

    if (!cli_parse(&spec, argc, argv, config, exit_code))
        return false;
    *exit_code = 2;
    if (!a->words[0]) {
        cli_usage("dataset", "what to do is missing: build, check, recipes, label-maps or show");
        return false;
    }
    return true;
}

static void on_log(void *context, const char *line)
{
    cli_log_info(context, line);
}

static emc_status parse_forms(unsigned *out, const char *list)
{
    *out = 0;
    for (const char *at = list; at && *at;) {
        const size_t n = strcspn(at, ",");
        bool known = n == 0;
        for (int form = 0; form < EMC_N_FORMS; form++) {
            const char *name = emc_form_name((emc_form)form);
            if (strlen(name) == n && strncmp(name, at, n) == 0) {
                *out |= 1u << form;
                known = true;
            }
        }
        if (!known)
            return emc_fail(EMC_ERR_USAGE, "--form: \"%.*s\" is none of messages, alpaca, sharegpt",
                            (int)n, at);
        at += n + (at[n] == ',');
    }
    return EMC_OK;
}

static emc_status build(const arguments *a, cli_log *log, const volatile sig_atomic_t *cancel)
{
    emc_build_options options = {
        .recipe = a->words[1],
        .input_dir = a->input_dir,
        .output_dir = a->output,
        .force = a->force,
        .dataset = {.version = EMCELL_VERSION,
                    .n_threads = a->n_threads,
                    .on_log = on_log,
                    .context = log,
                    .cancel = cancel},
    };
    emc_build_summary summary = {0};
    char *tokenizer = NULL, line[400];

    if (!a->output)
        return emc_fail(EMC_ERR_USAGE, "--output is missing");
    EMC_TRY(parse_forms(&options.forms, a->form));
    if (a->tokenizer)
        EMC_TRY(cli_model_dir(&tokenizer, a->tokenizer));
    options.tokenizer_dir = tokenizer;
    const emc_status status = emc_dataset_build(&summary, &options);
    if (status == EMC_OK) {
        snprintf(line, sizeof line,
                 "%" PRId64 " cells: %" PRId64 " train, %" PRId64 " validation, %" PRId64
                 " test examples in %.200s",
                 summary.n_cells, summary.n_examples[0], summary.n_examples[1],
                 summary.n_examples[2], summary.output_dir);
        cli_log_info(log, line);
    }
    emc_build_summary_close(&summary);
    free(tokenizer);
    return status;
}

/* A table of cells by label and part on standard output. */
static emc_status check(const arguments *a, cli_log *log, const volatile sig_atomic_t *cancel)
{
    emc_recipe *recipe = NULL;
    emc_dataset *dataset = NULL;
    emc_status status = emc_recipe_open(&recipe, a->words[1], a->input_dir);

    if (status == EMC_OK)
        status = emc_dataset_open(&dataset, recipe,
                                  &(emc_dataset_options){.version = EMCELL_VERSION,
                                                         .n_threads = a->n_threads,
                                                         .on_log = on_log,
                                                         .context = log,
                                                         .cancel = cancel});
    const int n_labels = status == EMC_OK ? emc_labels_count(emc_dataset_labels(dataset)) : 0;
    if (status == EMC_OK)
        printf("%-28s%10s%12s%10s\n", "label", "train", "validation", "test");
    for (int label = 0; label <= n_labels && status == EMC_OK; label++) {
        int64_t counts[EMC_N_PARTS] = {0};
        for (int64_t i = 0; i < emc_dataset_count(dataset); i++) {
            const emc_dataset_cell *cell = emc_dataset_get(dataset, i);
            counts[cell->part] += (cell->label < 0 ? n_labels : cell->label) == label;
        }
        if (counts[0] + counts[1] + counts[2] > 0)
            printf("%-28s%10" PRId64 "%12" PRId64 "%10" PRId64 "\n",
                   label < n_labels ? emc_labels_get(emc_dataset_labels(dataset), label)->label
                                    : "unknown",
                   counts[0], counts[1], counts[2]);
    }
    emc_dataset_close(dataset);
    emc_recipe_close(recipe);
    if (status == EMC_OK && fflush(stdout) != 0)
        status = emc_fail(EMC_ERR_IO, "standard output is closed");
    return status;
}

static emc_status print_names(const char *(*name)(int index))
{
    for (int i = 0; name(i); i++)
        puts(name(i));
    return fflush(stdout) == 0 ? EMC_OK : emc_fail(EMC_ERR_IO, "standard output is closed");
}

static emc_status show(const char *name)
{
    size_t n;
    const char *text = emc_recipe_builtin_text(name, &n);

    if (!text)
        text = emc_label_map_builtin_text(name, &n);
    if (!text)
        return emc_fail(EMC_ERR_NOT_FOUND,
                        "no built-in recipe or label map \"%s\"; `emcell dataset recipes` and "
                        "`emcell dataset label-maps` list them",
                        name);
    fwrite(text, 1, n, stdout);
    return fflush(stdout) == 0 ? EMC_OK : emc_fail(EMC_ERR_IO, "standard output is closed");
}

int cli_dataset(int argc, char **argv)
{
    arguments a = {0};
    cli_config *config = NULL;
    emc_status status;
    cli_log log;
    int exit_code;

    const volatile sig_atomic_t *cancel = cli_catch_signals();
    if (!parse(&a, argc, argv, &config, &exit_code))
        goto done;
    if (!cli_log_open(&log, a.log_format, a.quiet)) {
        exit_code = cli_usage("dataset", "--log-format: \"%s\" is not text or json", a.log_format);
        goto done;
    }
    const bool is_build = strcmp(a.words[0], "build") == 0;
    const bool is_check = strcmp(a.words[0], "check") == 0,
               is_show = strcmp(a.words[0], "show") == 0;
    if ((is_build || is_check || is_show) && !a.words[1])
        status = emc_fail(EMC_ERR_USAGE, "%s: the name of a recipe is missing", a.words[0]);
    else if (is_build)
        status = build(&a, &log, cancel);
    else if (is_check)
        status = check(&a, &log, cancel);
    else if (is_show)
        status = show(a.words[1]);
    else if (strcmp(a.words[0], "recipes") == 0)
        status = print_names(emc_recipe_builtin);
    else if (strcmp(a.words[0], "label-maps") == 0)
        status = print_names(emc_label_map_builtin);
    else
        status = emc_fail(EMC_ERR_USAGE, "\"%s\": wanted build, check, recipes, label-maps or show",
                          a.words[0]);
    exit_code = status == EMC_OK ? 0 : cli_log_fail(&log, "dataset", status);
    if (status == EMC_ERR_CANCELLED && cli_interrupted())
        exit_code = cli_interrupted();

done:
    cli_config_close(config);
    return exit_code;
}
