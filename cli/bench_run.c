/* How long does a shape take? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/size.h"
#include "cli/bench.h"
#include "cli/energy.h"

#define SHARE_WIDTH 0.02 /* as `emcell annotate` has it */

/* A shape on its way. */
typedef struct {
    emc_model *model;
    emc_engine *engine;
    const bench_settings *settings;
    bench_result *result;
    int32_t *ids; /* [prefix + suffix] of one cell */
    uint64_t random;
} run;

double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double bench_process_start(void)
{
    char text[1024];
    unsigned long long ticks = 0;
    const char *after;
    double begin;
    FILE *file = fopen("/proc/self/stat", "r");
    size_t n;

    if (!file)
        return bench_now();
    n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    after = strrchr(text, ')'); /* the program's name may hold anything */
    for (int field = 2; after && field < 22; field++)
        after = strchr(after + 1, ' ');
    if (after)
        ticks = strtoull(after, NULL, 10);
    begin = (double)ticks / (double)sysconf(_SC_CLK_TCK);
    /* Some sandboxes count from another moment. */
    return begin <= bench_now() && begin > bench_now() - 60 ? begin : bench_now();
}

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;

    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void fill_ids(run *r, int32_t *ids, int n)
{
    const uint64_t vocab = (uint64_t)emc_model_get_info(r->model)->vocab;

    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(next_random(&r->random) % vocab);
}

/* Labels with first tokens of their own, so that no two share a row. */
static emc_status set_labels(run *r)
{
    const int labels = r->result->shape.labels, tokens = r->settings->label_tokens;
    const int vocab = emc_model_get_info(r->model)->vocab;
    int32_t *ids = NULL, *begin = NULL;
    emc_status status;

    if (labels > vocab)
        return emc_fail(EMC_ERR_CONFIG, "--labels %d: the model has %d tokens", labels, vocab);
    status = emc_alloc(&ids, (size_t)labels * (size_t)tokens, sizeof *ids, "labels");
    if (status == EMC_OK)
        status = emc_alloc(&begin, (size_t)labels + 1, sizeof *begin, "labels");
    if (status == EMC_OK) {
        fill_ids(r, ids, labels * tokens);
        for (int c = 0; c < labels; c++) {
            ids[c * tokens] = (int32_t)((int64_t)c * vocab / labels);
            begin[c + 1] = (c + 1) * tokens;
        }
        status = emc_engine_set_choices(r->engine, ids, begin, labels);
        if (status == EMC_OK)
            status = emc_engine_set_scoring(r->engine, &(emc_scoring){.width = SHARE_WIDTH});
    }
    free(ids);
    free(begin);
    return status;
}

/* Cells through the engine as `emcell annotate` sends them. */
static emc_status run_cells(run *r, int n_cells)
{
    const bench_shape *shape = &r->result->shape;
    int n_submitted = 0, n_answered = 0;

    while (n_answered < n_cells) {
        emc_answer answer;
        bool got;

        if (r->settings->cancel && *r->settings->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        while (n_submitted < n_cells && !emc_engine_is_full(r->engine)) {
            fill_ids(r, r->ids + shape->prefix, shape->suffix);
            const emc_request request = {.ticket = (uint64_t)n_submitted,
                                         .ids = r->ids,
                                         .n_ids = shape->prefix + shape->suffix,
                                         .ask = r->settings->ask};
            EMC_TRY(emc_engine_submit(r->engine, &request));
            n_submitted++;
        }
        EMC_TRY(emc_engine_poll(r->engine, &answer, &got));
        if (!got)
            return emc_fail(EMC_ERR_INTERNAL, "the engine lost %d cells", n_submitted - n_answered);
        if (n_answered++ == 0 && r->result->first_label_s < 0)
            r->result->first_label_s = bench_now() - r->settings->process_start;
    }
    return EMC_OK;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static emc_status repeat(run *r, const cli_energy *energy)
{
    bench_result *out = r->result;
    emc_engine_stats before, after;
    double joules_before = 0, joules_after = 0;
    const bool counted = cli_energy_joules(energy, &joules_before);

    emc_engine_get_stats(r->engine, &before);
    for (int i = 0; i < r->settings->repetitions; i++) {
        const double begin = bench_now();

        EMC_TRY(run_cells(r, out->n_cells));
        out->seconds[out->n_runs] = bench_now() - begin;
        out->wall_s += out->seconds[out->n_runs++];
    }
    emc_engine_get_stats(r->engine, &after);
    out->device_s = (after.device_ms - before.device_ms) * 1e-3;
    out->n_rows = (after.n_rows - before.n_rows) / out->n_runs;
    out->n_steps = (after.n_steps - before.n_steps) / out->n_runs;
    out->choice_rows =
        (double)(after.n_choice_rows - before.n_choice_rows) / ((double)out->n_cells * out->n_runs);
    out->flop_per_cell = bench_flop(emc_model_get_info(r->model), &out->shape,
                                    r->settings->label_tokens, out->choice_rows);
    if (counted && cli_energy_joules(energy, &joules_after))
        out->joules_per_cell =
            (joules_after - joules_before) / ((double)out->n_cells * out->n_runs);
    qsort(out->seconds, (size_t)out->n_runs, sizeof out->seconds[0], compare);
    out->spread = (out->seconds[out->n_runs - 1] - out->seconds[0]) / out->seconds[out->n_runs / 2];
    return EMC_OK;
}

/* A pass of its own, for marking every operation costs time. */
static emc_status trace(run *r, int n_cells)
{
    bench_result *out = r->result;

    EMC_TRY(emc_engine_set_trace(r->engine, true));
    EMC_TRY(run_cells(r, n_cells));
    while (out->n_operations < BENCH_MAX_OPERATIONS &&
           emc_engine_get_trace(r->engine, out->n_operations, &out->operations[out->n_operations]))
        out->n_operations++;
    return emc_engine_set_trace(r->engine, false);
}

static emc_status measure(run *r)
{
    const bench_shape *shape = &r->result->shape;
    const bench_settings *settings = r->settings;
    cli_energy energy = {0};
    emc_status status;

    EMC_TRY(emc_alloc(&r->ids, (size_t)shape->prefix + (size_t)shape->suffix, sizeof *r->ids,
                      "a prompt"));
    EMC_TRY(set_labels(r));
    fill_ids(r, r->ids, shape->prefix);
    EMC_TRY(emc_engine_set_prefix(r->engine, r->ids, shape->prefix));
    EMC_TRY(run_cells(r, settings->warm_up));
    cli_energy_open(&energy, emc_model_get_info(r->model)->device_name,
                    getenv("CUDA_VISIBLE_DEVICES"));
    status = repeat(r, &energy);
    if (!cli_energy_used(&energy, &r->result->used_bytes))
        r->result->used_bytes = BENCH_UNKNOWN;
    cli_energy_close(&energy);
    if (status == EMC_OK && settings->trace)
        status = trace(r, settings->warm_up < r->result->n_cells ? settings->warm_up
                                                                 : r->result->n_cells);
    return status;
}

emc_status bench_run(bench_result *out, emc_model *model, const bench_shape *shape,
                     const bench_settings *settings)
{
    const emc_engine_options options = {.max_num_batched_tokens = shape->max_num_batched_tokens,
                                        .gpu_memory_utilization = settings->gpu_memory_utilization};
    run r = {.model = model, .settings = settings, .result = out, .random = settings->seed};
    emc_status status;

    *out = (bench_result){.shape = *shape,
                          .n_cells = settings->cells,
                          .first_label_s = BENCH_UNKNOWN,
                          .joules_per_cell = BENCH_UNKNOWN,
                          .used_bytes = BENCH_UNKNOWN};
    EMC_TRY(emc_engine_open(&r.engine, model, &options));
    emc_engine_get_memory_plan(r.engine, &out->plan);
    status = measure(&r);
    emc_engine_close(r.engine);
    free(r.ids);
    return status;
}
