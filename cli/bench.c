/* emcell bench: arguments in, tables out. What is measured stands in bench_run.c. */
#include "cli/bench.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/gpus.h"
#include "cli/log.h"

#define MAX_SWEEP  16
#define MAX_SHAPES 256

typedef struct {
    int n;
    int values[MAX_SWEEP];
} sweep;

typedef struct {
    emc_model_options model;
    cli_gpu_options gpus;
    const char *prefix, *suffix, *labels, *batched, *dtype, *format, *answer;
    int seed;
    bool no_trace, quiet;
    bench_settings settings;
    sweep sweeps[4]; /* in the order of bench_shape */
    bench_format out;
} arguments;

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    bench_settings *settings = &a->settings;
    const cli_option options[] = {
        {CLI_HEADING, 0, "Model", NULL, NULL, NULL},
        {CLI_STRING, 'm', "model", "DIR", &a->model.model_dir,
         "Qwen3 checkpoint folder, or a name in the local Hugging Face cache"},
        {CLI_STRING, 0, "random", "SIZE", &a->model.random,
         "random weights of 0.6b, 1.7b, 4b, 8b, 14b or 32b, in place of --model"},
        {CLI_STRING, 0, "adapter", "DIR", &a->model.adapter_dir, "PEFT LoRA adapter folder"},
        {CLI_FLAG, 0, "merge-adapter", NULL, &a->model.merge_adapter,
         "add the adapter to the weights at load"},
        {CLI_STRING, 0, "dtype", "NAME", &a->dtype, "auto (default), bfloat16, float32"},
        {CLI_HEADING, 0, "Work; N,N,... measures every combination", NULL, NULL, NULL},
        {CLI_STRING, 0, "prefix", "N,...", &a->prefix, "tokens that all cells share (300)"},
        {CLI_STRING, 0, "suffix", "N,...", &a->suffix, "tokens of a cell's own (600)"},
        {CLI_STRING, 0, "labels", "N,...", &a->labels, "labels to choose from (28)"},
        {CLI_COUNT, 0, "label-tokens", "N", &settings->label_tokens,
         "tokens of a label (2); labels share none of them"},
        {CLI_STRING, 0, "answer", "exact|full|greedy", &a->answer,
         "the likeliest label, proved, its probability to 0.02 (exact, the\n"
         "default); all labels; or the likeliest branches alone"},
        {CLI_COUNT, 'n', "cells", "N", &settings->cells, "cells of a repetition (256)"},
        {CLI_COUNT, 0, "warm-up", "N", &settings->warm_up, "cells before the clock starts (32)"},
        {CLI_COUNT, 'r', "repetitions", "N", &settings->repetitions,
         "the median and the spread are shown (3)"},
        {CLI_COUNT, 0, "seed", "N", &a->seed, "of token ids (1)"},
        {CLI_FLAG, 0, "no-trace", NULL, &a->no_trace, "no pass for the time by operation"},
        {CLI_HEADING, 0, "Engine", NULL, NULL, NULL},
        {CLI_STRING, 0, "device", "auto|cpu|cuda|cuda:LIST", &a->model.device,
         "where the model runs (default: auto); cuda:0,2 or cuda:all: several"},
        CLI_GPU_OPTIONS(a->gpus),
        {CLI_COUNT, 't', "threads", "N", &a->model.n_threads,
         "CPU threads (default: one for each core)"},
        {CLI_STRING, 0, "max-num-batched-tokens", "N,...", &a->batched,
         "tokens of a step, a multiple of 128 (default: the device's)"},
        {CLI_SHARE, 0, "gpu-memory-utilization", "SHARE", &settings->gpu_memory_utilization,
         "the part of a GPU's memory to use at most (0.9)"},
        {CLI_HEADING, 0, "Output", NULL, NULL, NULL},
        {CLI_STRING, 0, "format", "md|csv|json", &a->format, "of the tables (default: md)"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only on standard error"},
    };
    const cli_spec spec = {
        .name = "bench",
        .usage = "--model DIR | --random SIZE [OPTIONS]",
        .summary = "Measures the engine with random prompts: no data, and no weights, needed.",
        .epilogue =
            "prompt tokens/s counts the cells' own tokens, rows/s also those of the labels; the "
            "shared\nprefix is computed once and in neither. model TFLOP/s counts products with "
            "the layers'\nweights (of the last layer what is needed), attention over the keys "
            "that a token sees, and\nlogits of the rows that are read. Its ceiling is a large "
            "product measured in the same run.\nidle is the part of the time in which the device "
            "had nothing to do; - is not known.\nJoules and used memory need NVIDIA's management "
            "library and count everything on that GPU.",
        .options = options,
        .n_options = EMC_COUNT(options),
    };

    *settings = (bench_settings){.cells = 256,
                                 .warm_up = 32,
                                 .repetitions = 3,
                                 .label_tokens = 2,
                                 .gpu_memory_utilization = CLI_NO_SHARE};
    a->seed = 1;
    return cli_parse(&spec, argc, argv, config, exit_code);
}

/* "300,600" into *out; false after printing. */
static bool read_sweep(sweep *out, const char *name, const char *text, int least, int most,
                       int multiple)
{
    const char *next = text;

    for (out->n = 0; out->n < MAX_SWEEP; next++) {
        char *end;
        long value;

        errno = 0;
        value = strtol(next, &end, 10);
        if (end == next || errno != 0 || value < least || value > most || value % multiple != 0 ||
            (*end && *end != ','))
            break;
        out->values[out->n++] = (int)value;
        if (!*end)
            return true;
        next = end;
    }
    if (out->n == MAX_SWEEP)
        cli_usage("bench", "--%s: more than %d values", name, MAX_SWEEP);
    else if (multiple > 1)
        cli_usage("bench", "--%s: \"%s\" is not a list of multiples of %d up to %d", name, text,
                  multiple, most);
    else
        cli_usage("bench", "--%s: \"%s\" is not a list of whole numbers from %d to %d", name, text,
                  least, most);
    return false;
}

static bool read_sweeps(arguments *a)
{
    const struct {
        const char *name, *text, *standard;
        int least, most, multiple;
    } kinds[] = {{"prefix", a->prefix, "300", 0, 1 << 20, 1},
                 {"suffix", a->suffix, "600", 1, 1 << 20, 1},
                 {"labels", a->labels, "28", 1, 1 << 16, 1},
                 {"max-num-batched-tokens", a->batched, NULL, 128, 1 << 20, 128}};
    size_t n = 1;

    for (size_t i = 0; i < EMC_COUNT(kinds); i++) {
        const char *text = kinds[i].text ? kinds[i].text : kinds[i].standard;
        a->sweeps[i] = (sweep){.n = 1}; /* 0: the device's default */
        if (text && !read_sweep(&a->sweeps[i], kinds[i].name, text, kinds[i].least, kinds[i].most,
                                kinds[i].multiple))
            return false;
        n *= (size_t)a->sweeps[i].n;
    }
    if (n > MAX_SHAPES) {
        cli_usage("bench", "%zu combinations, at most %d", n, MAX_SHAPES);
        return false;
    }
    return true;
}

/* Checks what belongs together; false after printing. */
static bool check(arguments *a)
{
    static const char *const dtypes[] = {"auto", "float32", "bfloat16", NULL};
    static const char *const formats[] = {"md", "csv", "json", NULL};
    static const char *const answers[] = {"exact", "full", "greedy", NULL};
    static const emc_ask asks[] = {EMC_ASK_BEST, EMC_ASK_CHOICES, EMC_ASK_GREEDY};
    int dtype, format, answer;

    if (!a->model.model_dir == !a->model.random) {
        cli_usage("bench", "say --model DIR or --random SIZE");
        return false;
    }
    if (a->model.merge_adapter && !a->model.adapter_dir) {
        cli_usage("bench", "--merge-adapter needs --adapter");
        return false;
    }
    if (a->settings.repetitions > BENCH_MAX_RUNS) {
        cli_usage("bench", "--repetitions %d: at most %d", a->settings.repetitions, BENCH_MAX_RUNS);
        return false;
    }
    if (a->settings.label_tokens > 64) {
        cli_usage("bench", "--label-tokens %d: at most 64", a->settings.label_tokens);
        return false;
    }
    if (!cli_choice("bench", "dtype", a->dtype, dtypes, &dtype) ||
        !cli_choice("bench", "format", a->format, formats, &format) ||
        !cli_choice("bench", "answer", a->answer, answers, &answer) || !read_sweeps(a) ||
        !cli_memory_share("bench", &a->settings.gpu_memory_utilization) ||
        !cli_gpus("bench", &a->gpus, &a->model))
        return false;
    a->model.dtype = (emc_dtype_choice)dtype;
    a->out = (bench_format)format;
    a->settings.ask = asks[answer];
    a->settings.answer = answers[answer];
    a->settings.seed = (uint64_t)a->seed;
    a->settings.trace = !a->no_trace;
    return true;
}

static int n_shapes(const arguments *a)
{
    return a->sweeps[0].n * a->sweeps[1].n * a->sweeps[2].n * a->sweeps[3].n;
}

static bench_shape shape_at(const arguments *a, int index)
{
    int values[EMC_COUNT(a->sweeps)];

    for (size_t i = EMC_COUNT(a->sweeps); i-- > 0; index /= a->sweeps[i].n)
        values[i] = a->sweeps[i].values[index % a->sweeps[i].n];
    return (bench_shape){values[0], values[1], values[2], values[3]};
}

static void tell(cli_log *log, const emc_model_info *model, const bench_result *result, int index,
                 int n)
{
    char line[256];

    snprintf(line, sizeof line, "%d of %d: prefix %d, suffix %d, labels %d: %.2f cells/s on %s",
             index + 1, n, result->shape.prefix, result->shape.suffix, result->shape.labels,
             result->n_cells / result->seconds[result->n_runs / 2], model->device_name);
    cli_log_info(log, line);
}

/* Every shape, then the ceilings: they would delay the first label. */
static emc_status measure(arguments *a, emc_model *model, const char *name, cli_log *log)
{
    const int n = n_shapes(a);
    bench_report report = {
        .model = emc_model_get_info(model), .name = name, .settings = &a->settings};
    bench_result *results = NULL;
    emc_status status = emc_alloc(&results, (size_t)n, sizeof *results, "results");

    for (int i = 0; i < n && status == EMC_OK; i++) {
        const bench_shape shape = shape_at(a, i);

        status = bench_run(&results[i], model, &shape, &a->settings);
        if (status == EMC_OK && i == 0)
            cli_log_memory_plan(log, &results[i].plan);
        if (status == EMC_OK)
            tell(log, report.model, &results[i], i, n);
        if (i > 0)
            results[i].first_label_s = BENCH_UNKNOWN; /* that of a program's first shape counts */
    }
    if (status == EMC_OK)
        status = emc_model_measure(model, &report.ceilings);
    if (strcmp(report.model->device_name, "cpu") != 0) { /* of all GPUs together */
        report.ceilings.product_flops *= report.model->n_devices;
        report.ceilings.copy_bytes *= report.model->n_devices;
    }
    report.n_results = n;
    report.results = results;
    if (status == EMC_OK)
        status = bench_print(&report, a->out);
    free(results);
    return status;
}

int cli_bench(int argc, char **argv)
{
    static arguments a;
    char *model_dir = NULL, *choices_path = NULL, name[512];
    cli_config *config = NULL;
    emc_model *model = NULL;
    emc_status status;
    int exit_code;
    cli_log log;

    a = (arguments){0};
    if (!parse(&a, argc, argv, &config, &exit_code))
        goto done;
    exit_code = 2;
    if (!check(&a))
        goto done;
    (void)cli_log_open(&log, NULL, a.quiet);
    a.settings.process_start = bench_process_start();
    a.settings.cancel = cli_catch_signals();
    snprintf(name, sizeof name, "%s%s", a.model.random ? "random " : "",
             a.model.random ? a.model.random : a.model.model_dir);
    status = a.model.model_dir ? cli_model_dir(&model_dir, a.model.model_dir) : EMC_OK;
    if (status == EMC_OK)
        status = cli_choices_path(&choices_path, a.model.device);
    if (status == EMC_OK) {
        a.model.model_dir = model_dir;
        a.model.choices_path = choices_path;
        status = emc_model_open(&model, &a.model);
    }
    if (status == EMC_OK) {
        cli_log_device(&log, emc_model_get_info(model)->device,
                       emc_model_get_info(model)->device_reason);
        status = measure(&a, model, name, &log);
    }
    exit_code = status == EMC_OK ? 0 : cli_log_fail(&log, "bench", status);
    if (status == EMC_ERR_CANCELLED && cli_interrupted())
        exit_code = cli_interrupted();

done:
    emc_model_close(model);
    free(choices_path);
    free(model_dir);
    cli_config_close(config);
    return exit_code;
}
