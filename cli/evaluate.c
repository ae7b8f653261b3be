/* emcell evaluate: a benchmark, some systems, a folder of results; the work is in
 * annotate/evaluate/. */
#include "annotate/evaluate/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/report/report.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/gpus.h"

#define MAX_SYSTEMS 64

typedef struct {
    cli_gpu_options gpus;
    const char *benchmark, *output, *model, *profile, *split, *hold_out, *device, *dtype;
    const char *log_format, *scoring;
    cli_list answers, adapters, baselines, predictions, endpoints, sweeps;
    const char *label_column, *id_column, *score_column;
    int64_t limit, seed, n_bootstrap;
    int max_num_batched_tokens, max_tokens, n_threads;
    bool resume, force, quiet, merge_adapter;
} arguments;

/* Everything that is open, in the order of opening. */
typedef struct {
    arguments a;
    emc_benchmark *benchmark;
    emc_profile *profile;
    emc_system *systems[MAX_SYSTEMS];
    int n_systems;
    char *model_dir, *choices_path, *cache_dir;
    emc_text names[MAX_SYSTEMS];
    int n_names;
    cli_log log;
    int64_t shown;
} session;

static bool parse(arguments *a, int argc, char **argv, cli_config **config, int *exit_code)
{
    const cli_option options[] = {
        {CLI_STRING, 'b', "benchmark", "DIR", &a->benchmark, "a folder with manifest.json"},
        {CLI_STRING, 'o', "output", "DIR", &a->output,
         "predictions, evaluation.json, leaderboard.csv and report.html go there"},
        {CLI_STRING, 0, "split", "NAME", &a->split,
         "items that are asked: test (default where there are such), validation, train, all"},
        {CLI_WHOLE, 0, "limit", "N", &a->limit, "the first N of them alone"},
        {CLI_FLAG, 0, "resume", NULL, &a->resume,
         "go on with the evaluation that is there; only what has no answer is asked"},
        {CLI_FLAG, 0, "force", NULL, &a->force, "begin anew over one that is there"},
        {CLI_HEADING, 0, "Systems (each may be given several times)", NULL, NULL, NULL},
        {CLI_LIST, 0, "baselines", "LIST", &a->baselines,
         "all, or of majority,stage,markers,centroid,knn,logistic"},
        {CLI_STRING, 'm', "model", "DIR|NAME", &a->model, "a checkpoint folder, or a hub name"},
        {CLI_LIST, 0, "answer", "LIST", &a->answers,
         "how the model answers: of exact,full,greedy,generate (default exact)"},
        {CLI_LIST, 0, "adapter", "DIR", &a->adapters,
         "a LoRA adapter: one more system beside the bare model"},
        {CLI_LIST, 0, "predictions", "NAME=FILE", &a->predictions,
         "labels of another tool: CSV or TSV with ids and labels"},
        {CLI_LIST, 0, "endpoint", "FILE.json", &a->endpoints,
         "an OpenAI-compatible endpoint; docs/endpoints.md"},
        {CLI_HEADING, 0, "How items are asked", NULL, NULL, NULL},
        {CLI_STRING, 'p', "profile", "NAME|FILE", &a->profile,
         "the wording (default: what the benchmark suggests); labels are the benchmark's"},
        {CLI_STRING, 0, "scoring", "RULE", &a->scoring, "joint, mean, first or prior"},
        {CLI_COUNT, 0, "max-tokens", "N", &a->max_tokens, "of a generated answer"},
        {CLI_LIST, 0, "sweep", "LIST", &a->sweeps,
         "all, or of n_genes,dropout,shuffle,candidate_order,wording: ask again, changed"},
        {CLI_STRING, 0, "hold-out", "LABEL", &a->hold_out,
         "ask again with this label neither learnt nor offered"},
        {CLI_WHOLE, 0, "seed", "N", &a->seed, "of sweeps and resamples (default 1)"},
        {CLI_WHOLE, 0, "n-bootstrap", "N", &a->n_bootstrap, "resamples (default 1000)"},
        {CLI_HEADING, 0, "Tables of --predictions", NULL, NULL, NULL},
        {CLI_STRING, 0, "id-column", "NAME", &a->id_column, "(default: cell_id, id, ...)"},
        {CLI_STRING, 0, "label-column", "NAME", &a->label_column,
         "(default: label, predicted_labels, pred_EML, ...)"},
        {CLI_STRING, 0, "score-column", "NAME", &a->score_column,
         "(default: score, conf_score, ...; none is no error)"},
        {CLI_HEADING, 0, "Device", NULL, NULL, NULL},
        {CLI_STRING, 0, "device", "NAME", &a->device, "auto, cpu, cuda, cuda:N, cuda:0,1"},
        CLI_GPU_OPTIONS(a->gpus),
        {CLI_STRING, 0, "dtype", "TYPE", &a->dtype, "auto, float32, bfloat16"},
        {CLI_FLAG, 0, "merge-adapter", NULL, &a->merge_adapter,
         "add adapters to the weights at load"},
        {CLI_COUNT, 0, "max-num-batched-tokens", "N", &a->max_num_batched_tokens, "rows of a step"},
        {CLI_COUNT, 't', "threads", "N", &a->n_threads, "of the CPU device"},
        {CLI_HEADING, 0, "Messages", NULL, NULL, NULL},
        {CLI_STRING, 0, "log-format", "text|json", &a->log_format, "of what goes to stderr"},
        {CLI_FLAG, 'q', "quiet", NULL, &a->quiet, "errors only"},
    };
    const cli_spec spec = {
        .name = "evaluate",
        .usage = "--benchmark DIR --output DIR [SYSTEMS] [OPTIONS]",
        .summary = "Scores models, endpoints, other tools and baselines on a benchmark.",
        .epilogue =
            "The leaderboard goes to standard output; docs/evaluate.md says what each figure is.\n"
            "Example: emcell evaluate -b benchmarks/emcellbench-sim -o eval --baselines all -m "
            "demo/model\n"
            "Exit codes: 0 done, 3 done but some items have no answer, 75 interrupted: --resume "
            "goes on;\nemcell --help has the rest.",
        .options = options,
        .n_options = EMC_COUNT(options),
    };

    a->seed = 1;
    a->n_bootstrap = 1000;
    if (!cli_parse(&spec, argc, argv, config, exit_code))
        return false;
    *exit_code = 2;
    if (!a->benchmark || !a->output) {
        cli_usage("evaluate", "%s is missing", a->benchmark ? "--output" : "--benchmark");
        return false;
    }
    if (a->resume && a->force) {
        cli_usage("evaluate", "--resume and --force: one of them");
        return false;
    }
    if (a->limit > INT32_MAX || a->n_bootstrap > 1000000) {
        cli_usage("evaluate", "--limit and --n-bootstrap: at most 2147483647 and 1000000");
        return false;
    }
    if (!a->model && a->baselines.n + a->predictions.n + a->endpoints.n == 0) {
        cli_usage("evaluate", "no system: give --baselines, --model, --predictions or --endpoint");
        return false;
    }
    if (!a->model && a->answers.n + a->adapters.n > 0) {
        cli_usage("evaluate", "--answer and --adapter are about a --model");
        return false;
    }
    return true;
}

/* Calls each with every word of the lists, which commas separate; the word is good for the call. */
static emc_status each_word(const cli_list *list, emc_status (*each)(session *s, const char *word),
                            session *s)
{
    for (int i = 0; i < list->n; i++) {
        const char *at = list->values[i];
        while (*at) {
            const size_t n = strcspn(at, ",");
            char word[64];
            snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), at);
            if (n > 0)
                EMC_TRY(each(s, word));
            at += n + (at[n] == ',');
        }
    }
    return EMC_OK;
}

static emc_status check_room(const session *s)
{
    if (s->n_systems == MAX_SYSTEMS)
        return emc_fail(EMC_ERR_USAGE, "more than %d systems", MAX_SYSTEMS);
    return EMC_OK;
}

static bool has_train(const session *s)
{
    for (int i = 0; i < emc_benchmark_n_items(s->benchmark); i++) {
        const char *split = emc_benchmark_item(s->benchmark, i)->split;
        if (split && strcmp(split, "train") == 0)
            return true;
    }
    return false;
}

static emc_status add_baseline(session *s, const char *word)
{
    if (strcmp(word, "all") != 0) {
        EMC_TRY(check_room(s));
        EMC_TRY(emc_baseline_open(&s->systems[s->n_systems], word));
        s->n_systems++;
        return EMC_OK;
    }
    if (!has_train(s))
        return emc_fail(EMC_ERR_CONFIG,
                        "--baselines all: the benchmark has no train items to learn from; "
                        "--baselines markers needs none");
    for (int i = 0; emc_baseline_name(i); i++)
        EMC_TRY(add_baseline(s, emc_baseline_name(i)));
    return EMC_OK;
}

/* A name that lives as long as the session: "demo-full". */
static emc_status keep_name(session *s, const char **out, const char *path, const char *answer)
{
    emc_text *name = &s->names[s->n_names++];
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    EMC_TRY(emc_text_add(name, path + begin, n - begin));
    if (answer)
        EMC_TRY(emc_text_addf(name, "-%s", answer));
    *out = name->bytes;
    return EMC_OK;
}

static emc_status add_model(session *s, const char *answer)
{
    static const char *const dtypes[] = {"auto", "float32", "bfloat16", NULL};
    emc_answer_mode mode;
    int dtype = 0, scoring = -1;

    EMC_TRY(emc_answer_mode_parse(&mode, answer));
    if (s->a.scoring) {
        emc_scoring_rule rule;
        EMC_TRY(emc_scoring_rule_parse(&rule, s->a.scoring));
        scoring = (int)rule;
    }
    if (!cli_choice("evaluate", "--dtype", s->a.dtype, dtypes, &dtype))
        return emc_fail(EMC_ERR_USAGE, "--dtype: \"%s\"", s->a.dtype);
    for (int i = -1; i < s->a.adapters.n; i++) {
        const char *adapter = i < 0 ? NULL : s->a.adapters.values[i];
        emc_model_system_options options = {
            .profile = s->profile,
            .model = {.model_dir = s->model_dir,
                      .adapter_dir = adapter,
                      .device = s->a.device,
                      .dtype = (emc_dtype_choice)dtype,
                      .n_threads = s->a.n_threads,
                      .merge_adapter = s->a.merge_adapter,
                      .choices_path = s->choices_path},
            .answer = (int)mode,
            .scoring = scoring,
            .probability_width = -1,
            .max_tokens = s->a.max_tokens,
            .max_num_batched_tokens = s->a.max_num_batched_tokens,
        };
        if (!cli_gpus("evaluate", &s->a.gpus, &options.model))
            return emc_fail(EMC_ERR_USAGE, "--all-reduce-dtype: \"%s\"",
                            s->a.gpus.all_reduce_dtype);
        EMC_TRY(check_room(s));
        EMC_TRY(keep_name(s, &options.name, adapter ? adapter : s->a.model, answer));
        EMC_TRY(emc_model_system_open(&s->systems[s->n_systems], &options));
        s->n_systems++;
    }
    return EMC_OK;
}

static emc_status add_models(session *s)
{
    const cli_list plain = {{"exact"}, 1};

    if (!s->a.model)
        return EMC_OK;
    EMC_TRY(cli_model_dir(&s->model_dir, s->a.model));
    EMC_TRY(cli_choices_path(&s->choices_path, s->a.device));
    return each_word(s->a.answers.n > 0 ? &s->a.answers : &plain, add_model, s);
}

static emc_status add_predictions(session *s)
{
    for (int i = 0; i < s->a.predictions.n; i++) {
        const char *value = s->a.predictions.values[i], *equal = strchr(value, '=');
        if (!equal || equal == value || !equal[1])
            return emc_fail(EMC_ERR_USAGE, "--predictions \"%s\": wanted NAME=FILE", value);
        EMC_TRY(check_room(s));
        emc_text *name = &s->names[s->n_names++];
        EMC_TRY(emc_text_add(name, value, (size_t)(equal - value)));
        EMC_TRY(emc_csv_system_open(&s->systems[s->n_systems],
                                    &(emc_csv_system_options){.name = name->bytes,
                                                              .path = equal + 1,
                                                              .id_column = s->a.id_column,
                                                              .label_column = s->a.label_column,
                                                              .score_column = s->a.score_column}));
        s->n_systems++;
    }
    return EMC_OK;
}

static emc_status add_endpoints(session *s)
{
    emc_text cache = {0};

    if (s->a.endpoints.n == 0)
        return EMC_OK;
    EMC_TRY(emc_text_addf(&cache, "%s/cache", s->a.output));
    s->cache_dir = cache.bytes;
    for (int i = 0; i < s->a.endpoints.n; i++) {
        const char *path = s->a.endpoints.values[i], *key = NULL;
        char *variable = NULL;
        EMC_TRY(emc_endpoint_key_variable(&variable, path));
        if (variable)
            key = getenv(variable);
        emc_status status = EMC_OK;
        if (variable && (!key || !*key))
            status = emc_fail(EMC_ERR_CONFIG,
                              "%s: the environment variable %s, which holds the "
                              "key, is not set",
                              path, variable);
        free(variable);
        if (status == EMC_OK)
            status = check_room(s);
        if (status == EMC_OK)
            status = emc_endpoint_open(
                &s->systems[s->n_systems],
                &(emc_endpoint_options){
                    .path = path, .key = key, .cache_dir = s->cache_dir, .profile = s->profile});
        EMC_TRY(status);
        s->n_systems++;
    }
    return EMC_OK;
}

static emc_status open_systems(session *s)
{
    EMC_TRY(emc_benchmark_open(&s->benchmark, s->a.benchmark));
    EMC_TRY(emc_benchmark_profile(&s->profile, s->benchmark, s->a.profile));
    EMC_TRY(each_word(&s->a.baselines, add_baseline, s));
    EMC_TRY(add_predictions(s));
    EMC_TRY(add_models(s));
    return add_endpoints(s);
}

/* --- what is said --- */

static void on_log(void *context, const char *line)
{
    cli_log_info(&((session *)context)->log, line);
}

static void on_progress(void *context, const char *system, int n_done, int n_total)
{
    session *s = context;
    char line[200];

    if (n_done < n_total && n_done - s->shown < 500 && n_done >= s->shown)
        return;
    s->shown = n_done < n_total ? n_done : 0;
    snprintf(line, sizeof line, "%.100s: %d of %d items", system, n_done, n_total);
    cli_log_info(&s->log, line);
}

static double member_of(const cJSON *system, const char *key, const char *part)
{
    const cJSON *metrics = emc_json_member(system, "metrics");
    const cJSON *interval = metrics ? emc_json_member(metrics, key) : NULL;
    const cJSON *number = interval ? emc_json_member(interval, part) : NULL;

    return cJSON_IsNumber(number) ? number->valuedouble : NAN;
}

static void print_number(const cJSON *system, const char *key, bool with_interval)
{
    const double value = member_of(system, key, "value");

    if (isnan(value))
        printf(with_interval ? "%22s" : "%9s", "-");
    else if (with_interval && isnan(member_of(system, key, "low")))
        printf("  %-20.3f", value);
    else if (with_interval)
        printf("  %.3f [%.3f, %.3f]", value, member_of(system, key, "low"),
               member_of(system, key, "high"));
    else
        printf("%9.3f", value);
}

/* The table for people; the folder has everything. *n_failed: items without an answer. */
static emc_status print_leaderboard(const char *folder, int *n_failed)
{
    cJSON *document = NULL;
    const cJSON *system;
    emc_text path = {0};
    emc_status status = emc_text_addf(&path, "%s/evaluation.json", folder);

    if (status == EMC_OK)
        status = emc_json_read(&document, path.bytes, (size_t)1 << 30);
    emc_text_free(&path);
    EMC_TRY(status);
    printf("%-24s%7s  %-20s  %-20s%9s%9s%9s\n", "system", "items", "macro-F1", "accuracy",
           "balanced", "lineage", "ECE");
    cJSON_ArrayForEach(system, emc_json_member(document, "systems"))
    {
        const cJSON *name = emc_json_member(system, "name"), *n = emc_json_member(system, "n");
        const cJSON *outcomes = emc_json_member(system, "outcomes");
        const cJSON *failed = outcomes ? emc_json_member(outcomes, "failed") : NULL;
        if (!cJSON_IsString(name) || !cJSON_IsNumber(n))
            continue;
        *n_failed += cJSON_IsNumber(failed) ? failed->valueint : 0;
        printf("%-24.24s%7d", name->valuestring, n->valueint);
        print_number(system, "macro_f1", true);
        print_number(system, "accuracy", true);
        print_number(system, "balanced_accuracy", false);
        print_number(system, "lineage_accuracy", false);
        print_number(system, "ece_width", false);
        putchar('\n');
    }
    cJSON_Delete(document);
    return fflush(stdout) == 0 ? EMC_OK : emc_fail(EMC_ERR_IO, "standard output is closed");
}

static emc_status sweeps_of(unsigned *out, const cli_list *list)
{
    for (int i = 0; i < list->n; i++) {
        const char *at = list->values[i];
        while (*at) {
            const size_t n = strcspn(at, ",");
            bool known = n == 3 && strncmp(at, "all", 3) == 0;
            if (known)
                *out |= (1u << EMC_N_SWEEPS) - 1;
            for (int k = 0; k < EMC_N_SWEEPS && !known; k++) {
                const char *name = emc_sweep_name((emc_sweep)k);
                known = strlen(name) == n && strncmp(at, name, n) == 0;
                if (known)
                    *out |= 1u << k;
            }
            if (!known && n > 0)
                return emc_fail(EMC_ERR_USAGE,
                                "--sweep: \"%.*s\" is none of all, n_genes, dropout, shuffle, "
                                "candidate_order, wording",
                                (int)n, at);
            at += n + (at[n] == ',');
        }
    }
    return EMC_OK;
}

static emc_status evaluate(session *s, int argc, char **argv, const volatile sig_atomic_t *cancel)
{
    const arguments *a = &s->a;
    const char **command = NULL;
    emc_text page = {0};
    unsigned sweeps = 0;

    EMC_TRY(sweeps_of(&sweeps, &a->sweeps));
    EMC_TRY(open_systems(s));
    EMC_TRY(emc_alloc(&command, (size_t)argc + 1, sizeof *command, "a command line"));
    command[0] = "emcell";
    for (int i = 0; i < argc; i++)
        command[i + 1] = argv[i];
    const emc_profile_info *info = emc_profile_get(s->profile);
    emc_status status = emc_evaluate(&(emc_evaluate_options){
        .benchmark = s->benchmark,
        .systems = s->systems,
        .n_systems = s->n_systems,
        .split = a->split,
        .folder = a->output,
        .resume = a->resume,
        .force = a->force,
        .limit = (int)a->limit,
        .n_listed = info->n_genes,
        .n_wordings = info->n_paraphrases + 1,
        .sweeps = sweeps,
        .held_out = a->hold_out,
        .seed = (uint64_t)a->seed,
        .n_bootstrap = (int)a->n_bootstrap,
        .version = EMCELL_VERSION,
        .command = command,
        .n_command = argc + 1,
        .on_log = on_log,
        .on_progress = on_progress,
        .context = s,
        .cancel = cancel,
    });
    free(command);
    if (status == EMC_OK)
        status = emc_text_addf(&page, "%s/report.html", a->output);
    if (status == EMC_OK)
        status = emc_report_evaluation(a->output, page.bytes);
    emc_text_free(&page);
    return status;
}

static void close_session(session *s)
{
    for (int i = 0; i < s->n_systems; i++)
        emc_system_close(s->systems[i]);
    for (int i = 0; i < s->n_names; i++)
        emc_text_free(&s->names[i]);
    emc_profile_close(s->profile);
    emc_benchmark_close(s->benchmark);
    free(s->model_dir);
    free(s->choices_path);
    free(s->cache_dir);
}

int cli_evaluate(int argc, char **argv)
{
    static session s;
    cli_config *config = NULL;
    int exit_code, n_failed = 0;

    s = (session){0};
    const volatile sig_atomic_t *cancel = cli_catch_signals();
    cli_catch_warning();
    if (!parse(&s.a, argc, argv, &config, &exit_code))
        goto done;
    if (!cli_log_open(&s.log, s.a.log_format, s.a.quiet)) {
        exit_code =
            cli_usage("evaluate", "--log-format: \"%s\" is not text or json", s.a.log_format);
        goto done;
    }
    emc_status status = evaluate(&s, argc, argv, cancel);
    if (status == EMC_OK)
        status = print_leaderboard(s.a.output, &n_failed);
    if (status != EMC_OK)
        exit_code = cli_log_fail(&s.log, "evaluate", status);
    if (status == EMC_ERR_CANCELLED)
        exit_code = 75; /* --resume goes on */
    else if (status == EMC_OK)
        exit_code = n_failed > 0 ? 3 : 0;

done:
    close_session(&s);
    cli_config_close(config);
    return exit_code;
}
