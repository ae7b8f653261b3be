/* emcell benchmark: makes and checks the folders that emcell evaluate reads. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "annotate/evaluate/benchmark.h"
#include "annotate/evaluate/benchmark_make.h"
#include "cli/commands.h"
#include "cli/common.h"

typedef struct {
    const char *words[3];
    const char *input_dir, *output, *log_format;
    int n_genes, n_threads;
    bool force, quiet;
} arguments;

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    const cli_option options[] = {
        {CLI_STRING, 'o', "output", "DIR", &a->output, "build, import: the folder to write"},
        {CLI_FLAG, 0, "force", NULL, &a->force, "replace a benchmark that is there"},
        {CLI_STRING, 0, "input-dir", "DIR", &a->input_dir,
         "build: where the files of the recipe lie (default: beside the recipe)"},
        {CLI_COUNT, 0, "n-genes", "N", &a->n_genes,
         "build: genes of an item at most (default 200)"},
        {CLI_COUNT, 't', "threads", "N", &a->n_threads, "build: that read and rank"},
        {CLI_HEADING, 0, "Messages", NULL, NULL, NULL},
        {CLI_STRING, 0, "log-format", "text|json", &a->log_format, "of what goes to stderr"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "benchmark",
        .usage = "build RECIPE | import cellverse FILE | check DIR [OPTIONS]",
        .summary = "Makes and checks benchmarks for emcell evaluate.",
        .epilogue = "  build   items from annotated files, by a recipe of emcell dataset\n"
                    "  import  published questions as they are: cellverse\n"
                    "  check   opens a benchmark and counts its items\n"
                    "Example: emcell benchmark build pbmc68k --input-dir data -o pbmc",
        .options = options,
        .n_options = EMC_COUNT(options),
        .max_words = 3,
        .words = a->words,
    };

    if (!cli_parse(&spec, argc, argv, config, exit_code))
        return false;
    *exit_code = 2;
    if (!a->words[0] || !a->words[1]) {
        cli_usage("benchmark", "wanted build RECIPE, import cellverse FILE or check DIR");
        return false;
    }
    return true;
}

static void on_log(void *context, const char *line)
{
    cli_log_info(context, line);
}

static emc_status make(const arguments *a, cli_log *log, const volatile sig_atomic_t *cancel)
{
    const emc_benchmark_make_options options = {
        .output_dir = a->output,
        .force = a->force,
        .n_genes = a->n_genes,
        .recipe = a->words[1],
        .input_dir = a->input_dir,
        .dataset = {.version = EMCELL_VERSION,
                    .n_threads = a->n_threads,
                    .on_log = on_log,
                    .context = log,
                    .cancel = cancel},
    };
    char line[400];
    int64_t n = 0;

    if (!a->output)
        return emc_fail(EMC_ERR_USAGE, "--output is missing");
    if (strcmp(a->words[0], "build") == 0) {
        EMC_TRY(emc_benchmark_build(&n, &options));
    } else {
        if (strcmp(a->words[1], "cellverse") != 0 || !a->words[2])
            return emc_fail(EMC_ERR_USAGE, "import: wanted cellverse FILE");
        EMC_TRY(emc_benchmark_import_cellverse(&n, a->words[2], &options));
    }
    snprintf(line, sizeof line, "%" PRId64 " items in %.300s", n, a->output);
    cli_log_info(log, line);
    return EMC_OK;
}

/* A table of items by label and split. */
static emc_status check(const char *folder)
{
    static const char *const splits[] = {"train", "validation", "test", NULL};
    emc_benchmark *b;
    char hash[EMC_HASH_TEXT];

    EMC_TRY(emc_benchmark_open(&b, folder));
    const emc_benchmark_info *info = emc_benchmark_get(b);
    const emc_labels *labels = emc_benchmark_labels(b);
    emc_hash_text(hash, &info->hash);
    printf("%s, release %s: %s\nhash %s, %d items\n\n%-36s%8s%12s%8s%8s\n", info->name,
           info->version, info->description, hash, emc_benchmark_n_items(b), "label", "train",
           "validation", "test", "none");
    for (int label = -1; label < emc_labels_count(labels); label++) {
        int counts[4] = {0};
        for (int i = 0; i < emc_benchmark_n_items(b); i++) {
            const emc_bench_item *item = emc_benchmark_item(b, i);
            int split = 0;
            while (splits[split] && (!item->split || strcmp(item->split, splits[split]) != 0))
                split++;
            counts[split] += item->label == label;
        }
        if (label >= 0 || counts[0] + counts[1] + counts[2] + counts[3] > 0)
            printf("%-36s%8d%12d%8d%8d\n",
                   label < 0 ? "unknown" : emc_labels_get(labels, label)->label, counts[0],
                   counts[1], counts[2], counts[3]);
    }
    emc_benchmark_close(b);
    return fflush(stdout) == 0 ? EMC_OK : emc_fail(EMC_ERR_IO, "standard output is closed");
}

int cli_benchmark(int argc, char **argv)
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
        exit_code =
            cli_usage("benchmark", "--log-format: \"%s\" is not text or json", a.log_format);
        goto done;
    }
    if (strcmp(a.words[0], "check") == 0)
        status = check(a.words[1]);
    else if (strcmp(a.words[0], "build") == 0 || strcmp(a.words[0], "import") == 0)
        status = make(&a, &log, cancel);
    else
        status = emc_fail(EMC_ERR_USAGE, "\"%s\": wanted build, import or check", a.words[0]);
    exit_code = status == EMC_OK ? 0 : cli_log_fail(&log, "benchmark", status);
    if (status == EMC_ERR_CANCELLED && cli_interrupted())
        exit_code = cli_interrupted();

done:
    cli_config_close(config);
    return exit_code;
}
