/* One evaluation: every system is asked in every pass; answers are on disk as they come. */

#include "annotate/evaluate/evaluate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/evaluate/results.h"
#include "annotate/evaluate/sweep.h"
#include "annotate/progress.h"
#include "base/file.h"
#include "base/size.h"

#define MAX_PATH 4096

/* A pass of a system, as it is kept. */
typedef struct {
    int system;
    eval_pass pass;
    emc_predictions *predictions;
    FILE *file;
    char path[MAX_PATH];
    double seconds;
} kept_pass;

typedef struct {
    const emc_evaluate_options *options;
    int *items, *train, *train_without; /* asked; to learn from; that without the label held out */
    int n_items, n_train, n_train_without;
    const char *split;
    kept_pass *passes;
    size_t n_passes, room;
    int lock; /* of the folder; -1 */

    /* Of the pass at hand. */
    kept_pass *now;
    const eval_questions *questions;
    const int *places; /* [n] which question of the pass each asked one is */
    emc_text line;
} evaluation;

/* --- which items --- */

static emc_status choose_items(evaluation *e)
{
    const emc_evaluate_options *o = e->options;
    const int n = emc_benchmark_n_items(o->benchmark);
    bool has_test = false;

    for (int i = 0; i < n; i++) {
        const char *split = emc_benchmark_item(o->benchmark, i)->split;
        has_test |= split && strcmp(split, "test") == 0;
    }
    e->split = o->split ? o->split : has_test ? "test" : "all";
    EMC_TRY(emc_alloc(&e->items, (size_t)n + 1, sizeof *e->items, "items"));
    EMC_TRY(emc_alloc(&e->train, (size_t)n + 1, sizeof *e->train, "items"));
    for (int i = 0; i < n; i++) {
        const emc_bench_item *item = emc_benchmark_item(o->benchmark, i);
        const bool asked =
            strcmp(e->split, "all") == 0 || (item->split && strcmp(item->split, e->split) == 0);
        if (asked && (o->limit == 0 || e->n_items < o->limit))
            e->items[e->n_items++] = i;
        if (!asked && item->split && strcmp(item->split, "train") == 0 && item->label >= 0)
            e->train[e->n_train++] = i;
    }
    if (e->n_items == 0)
        return emc_fail(EMC_ERR_CONFIG, "benchmark %s has no item of split \"%s\"",
                        emc_benchmark_get(o->benchmark)->name, e->split);
    return EMC_OK;
}

static emc_status choose_train_without(evaluation *e, int label)
{
    if (e->train_without)
        return EMC_OK;
    EMC_TRY(
        emc_alloc(&e->train_without, (size_t)e->n_train + 1, sizeof *e->train_without, "items"));
    for (int i = 0; i < e->n_train; i++)
        if (emc_benchmark_item(e->options->benchmark, e->train[i])->label != label)
            e->train_without[e->n_train_without++] = e->train[i];
    return EMC_OK;
}

/* --- the folder --- */

static emc_status make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", path, strerror(errno));
    if (!emc_is_directory(path))
        return emc_fail(EMC_ERR_CREATE, "%s: is no folder", path);
    return EMC_OK;
}

static emc_status open_folder(evaluation *e)
{
    const emc_evaluate_options *o = e->options;
    char path[MAX_PATH];

    if (snprintf(path, sizeof path, "%s/predictions", o->folder) >= (int)sizeof path)
        return emc_fail(EMC_ERR_USAGE, "%.60s...: the name is too long", o->folder);
    if (emc_is_directory(path) && !o->resume && !o->force)
        return emc_fail(EMC_ERR_CREATE,
                        "%s: an evaluation is there already; --resume goes on with it, --force "
                        "begins anew",
                        o->folder);
    EMC_TRY(make_folder(o->folder));
    EMC_TRY(make_folder(path));
    snprintf(path, sizeof path, "%s/predictions/.lock", o->folder);
    e->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (e->lock < 0)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", path, strerror(errno));
    if (flock(e->lock, LOCK_EX | LOCK_NB) != 0)
        return emc_fail(EMC_ERR_CREATE, "%s: another process works in it", o->folder);
    return EMC_OK;
}

/* Letters, digits, dot, dash; everything else is an underscore. */
static void plain_name(char *out, size_t n, const char *name)
{
    size_t at = 0;

    for (; *name && at + 1 < n; name++) {
        const bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                           (*name >= '0' && *name <= '9') || *name == '-' ||
                           (*name == '.' && at > 0);
        out[at++] = plain ? *name : '_';
    }
    out[at] = '\0';
}

/* What the answers of a pass depend on: the first line of its file. */
static emc_status header_line(emc_text *out, const evaluation *e, const kept_pass *k)
{
    const emc_evaluate_options *o = e->options;
    const emc_system *system = o->systems[k->system];
    char benchmark[EMC_HASH_TEXT];

    emc_hash_text(benchmark, &emc_benchmark_get(o->benchmark)->hash);
    emc_text_clear(out);
    EMC_TRY(emc_text_addf(
        out, "{\"emcell_predictions\": 1, \"benchmark\": \"%s\", \"system\": ", benchmark));
    EMC_TRY(emc_text_add_json(out, system->name, strlen(system->name)));
    EMC_TRY(
        emc_text_addf(out, ", \"sweep\": \"%s\", \"level\": ", k->pass.kind ? k->pass.kind : ""));
    EMC_TRY(emc_text_add_json(out, k->pass.level, strlen(k->pass.level)));
    return emc_text_addf(out,
                         ", \"seed\": %llu, \"n_listed\": %d, \"split\": \"%s\", "
                         "\"settings\": %s}\n",
                         (unsigned long long)o->seed, o->n_listed, e->split, system->settings);
}

/* A line that a kill cut short is cut off, so that the next one begins at a line's start. */
static emc_status drop_torn_line(const char *path)
{
    char *text;
    size_t n;

    EMC_TRY(emc_file_read(&text, &n, path, (size_t)1 << 34));
    size_t whole = n;
    while (whole > 0 && text[whole - 1] != '\n')
        whole--;
    free(text);
    if (whole < n && truncate(path, (off_t)whole) != 0)
        return emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    return EMC_OK;
}

/* Whether the file is there and begins with this pass's header. */
static emc_status same_header(bool *same, const evaluation *e, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;

    *same = false;
    if (!file)
        return errno == ENOENT ? EMC_OK : emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    const ssize_t n = getline(&line, &room, file);
    *same = n > 0 && strcmp(line, e->line.bytes) == 0;
    fclose(file);
    if (n > 0 && !*same && line[n - 1] == '\n') {
        free(line);
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: answers of another benchmark, system or setting; use another folder, "
                        "or --force to begin anew",
                        path);
    }
    free(line);
    return EMC_OK;
}

static emc_status open_pass(evaluation *e, kept_pass *k)
{
    const emc_evaluate_options *o = e->options;
    char name[200], level[100];
    bool same = false;

    plain_name(name, sizeof name, o->systems[k->system]->name);
    plain_name(level, sizeof level, k->pass.level);
    const int n = k->pass.kind ? snprintf(k->path, sizeof k->path, "%s/predictions/%s.%s.%s.jsonl",
                                          o->folder, name, k->pass.kind, level)
                               : snprintf(k->path, sizeof k->path, "%s/predictions/%s.jsonl",
                                          o->folder, name);
    if (n >= (int)sizeof k->path)
        return emc_fail(EMC_ERR_USAGE, "%.60s...: the name is too long", o->folder);
    EMC_TRY(emc_predictions_open(&k->predictions, emc_benchmark_n_items(o->benchmark),
                                 emc_labels_count(emc_benchmark_labels(o->benchmark))));
    EMC_TRY(header_line(&e->line, e, k));
    if (o->force)
        unlink(k->path);
    EMC_TRY(same_header(&same, e, k->path));
    if (same) {
        EMC_TRY(drop_torn_line(k->path));
        EMC_TRY(emc_predictions_read(k->predictions, o->benchmark, k->path));
    }
    k->file = fopen(k->path, same ? "a" : "w");
    if (!k->file)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", k->path, strerror(errno));
    if (!same && (fwrite(e->line.bytes, 1, e->line.n, k->file) != e->line.n || fflush(k->file)))
        return emc_fail(EMC_ERR_IO, "%s: %s", k->path, strerror(errno));
    return EMC_OK;
}

/* --- asking --- */

static emc_status on_prediction(void *context, int question, const emc_prediction *prediction)
{
    evaluation *e = context;
    const emc_evaluate_options *o = e->options;
    kept_pass *k = e->now;
    const int item = e->questions->questions[e->places[question]].item;

    EMC_TRY(emc_predictions_put(k->predictions, item, prediction));
    emc_text_clear(&e->line);
    EMC_TRY(emc_prediction_write(&e->line, o->benchmark, item, prediction));
    EMC_TRY(emc_text_add_string(&e->line, "\n"));
    if (fwrite(e->line.bytes, 1, e->line.n, k->file) != e->line.n || fflush(k->file) != 0)
        return emc_fail(EMC_ERR_IO, "%s: %s", k->path, strerror(errno));
    if (o->on_progress)
        o->on_progress(o->context, o->systems[k->system]->name,
                       emc_predictions_count(k->predictions), e->n_items);
    return EMC_OK;
}

static void on_log(void *context, const char *line)
{
    const emc_evaluate_options *o = ((evaluation *)context)->options;

    if (o->on_log)
        o->on_log(o->context, line);
}

/* Asks what has no answer yet; failed ones have none. */
static emc_status ask(evaluation *e, kept_pass *k, const eval_questions *questions)
{
    const emc_evaluate_options *o = e->options;
    emc_system *system = o->systems[k->system];
    emc_question *open = NULL;
    int *places = NULL, n = 0;
    emc_status status =
        emc_alloc(&open, (size_t)questions->n + 1, sizeof *open, "questions of a pass");

    if (status == EMC_OK)
        status = emc_alloc(&places, (size_t)questions->n + 1, sizeof *places, "questions");
    for (int i = 0; i < questions->n && status == EMC_OK; i++) {
        const emc_prediction *was =
            emc_predictions_get(k->predictions, questions->questions[i].item);
        if (was && was->outcome != EMC_OUTCOME_FAILED)
            continue;
        places[n] = i;
        open[n++] = questions->questions[i];
    }
    if (status == EMC_OK && k->pass.held_out >= 0)
        status = choose_train_without(e, k->pass.held_out);
    if (status == EMC_OK && n > 0) {
        const bool without = k->pass.held_out >= 0;
        const emc_pass pass = {
            .benchmark = o->benchmark,
            .questions = open,
            .n_questions = n,
            .train = without ? e->train_without : e->train,
            .n_train = without ? e->n_train_without : e->n_train,
            .n_listed = o->n_listed,
            .held_out = k->pass.held_out,
            .seed = o->seed,
            .on_prediction = on_prediction,
            .on_log = on_log,
            .context = e,
            .cancel = o->cancel,
        };
        const double begin = emc_seconds();
        e->now = k;
        e->questions = questions;
        e->places = places;
        status = system->run(system, &pass);
        k->seconds = emc_seconds() - begin;
    }
    free(places);
    free(open);
    return status;
}

static emc_status run_pass(evaluation *e, int system, const eval_pass *pass)
{
    eval_questions questions = {0};
    kept_pass *k;

    EMC_TRY(emc_reserve(&e->passes, &e->room, e->n_passes + 1, sizeof *e->passes, "passes"));
    k = &e->passes[e->n_passes++];
    *k = (kept_pass){.system = system, .pass = *pass};
    EMC_TRY(open_pass(e, k));
    emc_status status = eval_questions_make(&questions, e->options, pass, e->items, e->n_items);
    if (status == EMC_OK)
        status = ask(e, k, &questions);
    eval_questions_free(&questions);
    if (k->file && fclose(k->file) != 0 && status == EMC_OK)
        status = emc_fail(EMC_ERR_IO, "%s: %s", k->path, strerror(errno));
    k->file = NULL;
    if (status == EMC_OK)
        for (int i = 0; i < e->n_items; i++)
            if (!emc_predictions_get(k->predictions, e->items[i]))
                return emc_fail(EMC_ERR_INTERNAL, "%s gave no answer to item \"%s\"",
                                e->options->systems[system]->name,
                                emc_benchmark_item(e->options->benchmark, e->items[i])->id);
    return status;
}

static emc_status run_systems(evaluation *e)
{
    const emc_evaluate_options *o = e->options;

    for (int s = 0; s < o->n_systems; s++) {
        eval_pass *passes;
        int n;
        for (int other = 0; other < s; other++) {
            char a[200], b[200];
            plain_name(a, sizeof a, o->systems[s]->name);
            plain_name(b, sizeof b, o->systems[other]->name);
            if (strcmp(a, b) == 0)
                return emc_fail(EMC_ERR_USAGE, "two systems are called \"%s\"", a);
        }
        EMC_TRY(eval_passes(&passes, &n, o, o->systems[s]->kind, e->items, e->n_items));
        emc_status status = EMC_OK;
        for (int i = 0; i < n && status == EMC_OK; i++)
            status = run_pass(e, s, &passes[i]);
        free(passes);
        EMC_TRY(status);
    }
    return EMC_OK;
}

/* --- results --- */

static emc_status write_results(evaluation *e)
{
    const emc_evaluate_options *o = e->options;
    emc_scored_pass *scored = NULL;
    double *seconds = NULL;
    emc_status status = emc_alloc(&scored, e->n_passes + 1, sizeof *scored, "passes");

    if (status == EMC_OK)
        status = emc_alloc(&seconds, (size_t)o->n_systems + 1, sizeof *seconds, "systems");
    for (size_t i = 0; i < e->n_passes && status == EMC_OK; i++) {
        const kept_pass *k = &e->passes[i];
        scored[i] = (emc_scored_pass){.system = o->systems[k->system]->name,
                                      .sweep = k->pass.kind,
                                      .level = k->pass.level,
                                      .predictions = k->predictions};
        if (!k->pass.kind)
            seconds[k->system] = k->seconds;
    }
    if (status == EMC_OK)
        status = emc_evaluation_write(&(emc_evaluation){.benchmark = o->benchmark,
                                                        .items = e->items,
                                                        .n_items = e->n_items,
                                                        .train = e->train,
                                                        .n_train = e->n_train,
                                                        .split = e->split,
                                                        .systems = o->systems,
                                                        .n_systems = o->n_systems,
                                                        .passes = scored,
                                                        .n_passes = (int)e->n_passes,
                                                        .seconds = seconds,
                                                        .seed = o->seed,
                                                        .n_bootstrap = o->n_bootstrap,
                                                        .n_bins = 15,
                                                        .version = o->version,
                                                        .command = o->command,
                                                        .n_command = o->n_command},
                                      o->folder);
    free(seconds);
    free(scored);
    return status;
}

emc_status emc_evaluate(const emc_evaluate_options *options)
{
    evaluation e = {.options = options, .lock = -1};
    emc_status status = EMC_OK;

    if (options->n_systems < 1)
        return emc_fail(EMC_ERR_USAGE, "no system to evaluate");
    status = choose_items(&e);
    if (status == EMC_OK)
        status = open_folder(&e);
    if (status == EMC_OK)
        status = run_systems(&e);
    if (status == EMC_OK)
        status = write_results(&e);
    for (size_t i = 0; i < e.n_passes; i++) {
        if (e.passes[i].file)
            fclose(e.passes[i].file);
        emc_predictions_close(e.passes[i].predictions);
    }
    free(e.passes);
    free(e.items);
    free(e.train);
    free(e.train_without);
    emc_text_free(&e.line);
    if (e.lock >= 0)
        close(e.lock);
    return status;
}
