#include "endpoint_case.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "emt.h"

const char *const case_labels[4] = {"ICM", "TE", "Hypoblast", "Morula"};

static void write_benchmark(int n)
{
    static const char labels[] = "{\"labels\": [{\"label\": \"ICM\"}, {\"label\": \"TE\"}, "
                                 "{\"label\": \"Hypoblast\"}, {\"label\": \"Morula\"}]}";
    static const char manifest[] =
        "{\"format\": \"emcell benchmark\", \"version\": 1, \"name\": \"small\", \"release\": "
        "\"1\", \"description\": \"d\", \"source\": \"s\", \"licence\": \"l\", \"official\": "
        "false, \"profile\": \"embryo\", \"items\": {\"path\": \"items.jsonl\"}, \"labels\": "
        "{\"path\": \"labels.json\"}}";
    emc_text items = {0};

    for (int i = 0; i < n; i++)
        EMT_OK(emc_text_addf(&items,
                             "{\"id\": \"c%d\", \"label\": \"%s\", \"messages\": [{\"role\": "
                             "\"user\", \"content\": \"item %04d. say: %s\"}]}\n",
                             i, case_labels[i % 4], i, case_labels[i % 4]));
    EMT_OK(emc_text_add_string(
        &items,
        "{\"id\": \"genes\", \"label\": \"ICM\", \"genes\": [\"G1\", \"G2\", \"G3\", \"G4\", "
        "\"G5\", \"G6\", \"G7\", \"G8\", \"G9\", \"G10\", \"G11\", \"say: TE\"]}\n"
        "{\"id\": \"few\", \"label\": \"ICM\", \"genes\": [\"G1\", \"G2\", \"G3\"]}\n"));
    mkdir(emt_temp("bench"), 0777);
    emt_write("bench/manifest.json", manifest, strlen(manifest));
    emt_write("bench/labels.json", labels, strlen(labels));
    emt_write("bench/items.jsonl", items.bytes, items.n);
    emc_text_free(&items);
}

void case_reopen(endpoint_case *c, const char *more, const char *key, const char *cache_dir)
{
    emc_text text = {0};

    emc_system_close(c->system);
    emc_predictions_close(c->predictions);
    memset(c->n_told, 0, (size_t)(c->n + 2) * sizeof *c->n_told);
    c->cancel = 0;
    emc_text_clear(&c->log);
    EMT_OK(emc_text_add(&c->log, "", 0));
    EMT_OK(emc_predictions_open(&c->predictions, c->n + 2, 4));
    EMT_OK(emc_text_addf(&text,
                         "{\"backoff\": 0.001, %s \"name\": \"stub\", \"model\": \"m\", \"url\": "
                         "\"http://127.0.0.1:%d/v1\"}",
                         more ? more : "", stub_endpoint_port(c->stub)));
    const char *path = emt_write("endpoint.json", text.bytes, text.n);
    EMT_OK(emc_endpoint_open(
        &c->system, &(emc_endpoint_options){
                        .path = path, .key = key, .cache_dir = cache_dir, .profile = c->profile}));
    emc_text_free(&text);
}

void case_open(endpoint_case *c, int n, const stub_options *stub, const char *more, const char *key,
               const char *cache_dir)
{
    *c = (endpoint_case){.n = n, .held_out = -1};
    /* A proxy of the machine has no part in this. */
    setenv("no_proxy", "*", 1);
    write_benchmark(n);
    EMT_OK(emc_benchmark_open(&c->benchmark, emt_temp("bench")));
    EMT_OK(emc_benchmark_profile(&c->profile, c->benchmark, NULL));
    c->questions = calloc((size_t)n + 2, sizeof *c->questions);
    c->n_told = calloc((size_t)n + 2, sizeof *c->n_told);
    for (int i = 0; i < n + 2; i++) {
        const emc_bench_item *item = emc_benchmark_item(c->benchmark, i);
        c->questions[i] = (emc_question){.item = i, .genes = item->genes, .n_genes = item->n_genes};
    }
    assert_true(stub_endpoint_open(&c->stub, stub ? stub : &(stub_options){0}));
    case_reopen(c, more, key, cache_dir);
}

static emc_status on_prediction(void *context, int question, const emc_prediction *prediction)
{
    endpoint_case *c = context;
    int n_told = 0;

    c->n_told[question]++;
    for (int i = 0; i < c->n + 2; i++)
        n_told += c->n_told[i];
    if (c->cancel_after > 0 && n_told >= c->cancel_after)
        c->cancel = 1;
    return emc_predictions_put(c->predictions, question, prediction);
}

static void on_log(void *context, const char *line)
{
    endpoint_case *c = context;

    assert_null(strchr(line, '\n'));
    EMT_OK(emc_text_addf(&c->log, "%s\n", line));
}

void case_run(endpoint_case *c)
{
    const emc_pass pass = {.benchmark = c->benchmark,
                           .questions = c->questions,
                           .n_questions = c->n,
                           .held_out = c->held_out,
                           .seed = 7,
                           .on_prediction = on_prediction,
                           .on_log = on_log,
                           .context = c,
                           .cancel = &c->cancel};

    c->status = c->system->run(c->system, &pass);
    snprintf(c->message, sizeof c->message, "%s", c->status == EMC_OK ? "" : emc_message());
}

void case_close(endpoint_case *c)
{
    emc_system_close(c->system);
    stub_endpoint_close(c->stub);
    emc_predictions_close(c->predictions);
    emc_profile_close(c->profile);
    emc_benchmark_close(c->benchmark);
    emc_text_free(&c->log);
    free(c->questions);
    free(c->n_told);
}

void case_all_told(const endpoint_case *c)
{
    if (c->status != EMC_OK)
        fail_msg("the pass failed: %s", c->message);
    for (int i = 0; i < c->n; i++)
        if (c->n_told[i] != 1)
            fail_msg("question %d was answered %d times", i, c->n_told[i]);
}

int case_outcomes(const endpoint_case *c, emc_outcome outcome)
{
    int n = 0;

    for (int i = 0; i < c->n; i++)
        n += emc_predictions_get(c->predictions, i) &&
             emc_predictions_get(c->predictions, i)->outcome == outcome;
    return n;
}

const emc_prediction *case_of(const endpoint_case *c, int question)
{
    const emc_prediction *p = emc_predictions_get(c->predictions, question);

    assert_non_null(p);
    return p;
}

stub_seen case_seen(const endpoint_case *c)
{
    stub_seen seen;

    stub_endpoint_seen(c->stub, &seen);
    return seen;
}

static int look_into(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    size_t n;

    (void)st, (void)walk;
    if (kind != FTW_F || strstr(path, "own.key"))
        return 0;
    char *bytes = emt_read(path, &n);
    const bool found = memmem(bytes, n, CASE_KEY, strlen(CASE_KEY)) != NULL;
    free(bytes);
    if (found || strstr(path, CASE_KEY))
        fail_msg("%s holds the key", path);
    return 0;
}

static void look_at(const char *text)
{
    if (text && strstr(text, "0123456789abcdef"))
        fail_msg("the key stands in: %s", text);
}

void case_no_key(const endpoint_case *c)
{
    look_at(c->message);
    look_at(c->log.bytes);
    look_at(c->system->name);
    look_at(c->system->settings);
    look_at(c->system->description);
    for (int i = 0; i < c->n; i++) {
        const emc_prediction *p = emc_predictions_get(c->predictions, i);
        emc_text line = {0};
        if (!p)
            continue;
        look_at(p->raw);
        look_at(p->stripped);
        look_at(p->extracted);
        look_at(p->error);
        emc_text_free(&line);
    }
    nftw(emt_temp_dir(), look_into, 16, FTW_PHYS);
}
