/*
 * How many prompts a second does the engine answer, for each size of step?
 *
 * usage: bench_engine [--quick] [--threads N] [--prompts N] [--prefix N] [--own N] [--rows N] MODEL
 *
 * Prompts share a prefix and have tokens of their own; each is asked which of 30 random choices of
 * four tokens it is. Random tokens: only the time means something. One line for each size of step.
 */
#include <stdint.h>

#include "bench.h"
#include "runtime/emcell.h"

#define N_CHOICES     30
#define CHOICE_TOKENS 4
#define REPEATS       3

typedef struct {
    const char *model;
    int threads, prompts, prefix, own;
    int rows; /* 0: several */
    bool quick;
} options;

static int32_t next_token(uint64_t *state, int vocab)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((*state >> 33) % (uint64_t)vocab);
}

/* Choices that begin with one of five tokens. */
static emc_status set_choices(emc_engine *engine, int vocab)
{
    int32_t ids[N_CHOICES * CHOICE_TOKENS], begin[N_CHOICES + 1];
    uint64_t state = 1;

    for (int c = 0; c <= N_CHOICES; c++)
        begin[c] = c * CHOICE_TOKENS;
    for (int c = 0; c < N_CHOICES; c++) {
        ids[c * CHOICE_TOKENS] = c % 5;
        ids[c * CHOICE_TOKENS + 1] = c / 5;
        for (int i = 2; i < CHOICE_TOKENS; i++)
            ids[c * CHOICE_TOKENS + i] = next_token(&state, vocab);
    }
    return emc_engine_set_choices(engine, ids, begin, N_CHOICES);
}

static emc_status answer_all(emc_engine *engine, const options *o, int32_t *ids, int vocab)
{
    int n_answered = 0, n_submitted = 0;
    uint64_t state = 2;

    while (n_answered < o->prompts) {
        emc_answer answer;
        bool got;

        while (n_submitted < o->prompts && !emc_engine_is_full(engine)) {
            for (int i = o->prefix; i < o->prefix + o->own; i++)
                ids[i] = next_token(&state, vocab);
            EMC_TRY(emc_engine_submit(engine, &(emc_request){.ticket = (uint64_t)n_submitted,
                                                             .ids = ids,
                                                             .n_ids = o->prefix + o->own}));
            n_submitted++;
        }
        EMC_TRY(emc_engine_poll(engine, &answer, &got));
        n_answered += got;
    }
    return EMC_OK;
}

static emc_status measure(emc_model *model, const options *o, int rows)
{
    const emc_engine_options engine_options = {.max_num_batched_tokens = rows};
    const int vocab = emc_model_get_info(model)->vocab;
    emc_engine_stats before, after;
    bench_runs runs = {.n = 0};
    emc_engine *engine = NULL;
    int32_t *ids = calloc((size_t)(o->prefix + o->own), sizeof *ids);
    emc_status status = emc_engine_open(&engine, model, &engine_options);

    if (status == EMC_OK)
        status = set_choices(engine, vocab);
    if (status == EMC_OK)
        status = emc_engine_set_prefix(engine, ids, o->prefix);
    if (status == EMC_OK)
        emc_engine_get_stats(engine, &before);
    for (int i = 0; i < (o->quick ? 1 : REPEATS) && status == EMC_OK; i++) {
        const double start = bench_now();

        status = answer_all(engine, o, ids, vocab);
        bench_add(&runs, bench_now() - start);
    }
    if (status == EMC_OK) {
        const double seconds = bench_median(&runs);

        emc_engine_get_stats(engine, &after);
        printf("| %5d | %8.3f | %9.1f | %5.1f %% | %7.1f | %7.1f |\n", rows, o->prompts / seconds,
               (double)(after.n_rows - before.n_rows) / runs.n / seconds, 100 * bench_spread(&runs),
               (double)after.kv_bytes / 1e6, (double)after.activation_bytes / 1e6);
        fflush(stdout);
    }
    emc_engine_close(engine);
    free(ids);
    return status;
}

static void read_options(options *o, int argc, char **argv)
{
    const struct {
        const char *name;
        int *value;
    } numbers[] = {{"--threads", &o->threads},
                   {"--prompts", &o->prompts},
                   {"--prefix", &o->prefix},
                   {"--own", &o->own},
                   {"--rows", &o->rows}};

    for (int i = 1; i < argc; i++) {
        bool known = strcmp(argv[i], "--quick") == 0;

        for (size_t n = 0; n < EMC_COUNT(numbers) && i + 1 < argc; n++) {
            if (strcmp(argv[i], numbers[n].name) == 0) {
                *numbers[n].value = atoi(argv[++i]);
                known = true;
                break;
            }
        }
        if (!known)
            o->model = argv[i];
    }
}

int main(int argc, char **argv)
{
    static const int sizes[] = {128, 256, 512, 1024, 2048};
    options o = {.prompts = 16, .prefix = 300, .own = 600, .quick = bench_is_quick(argc, argv)};
    emc_model *model = NULL;
    emc_status status;

    if (o.quick) {
        o.prompts = 4;
        o.prefix = 20;
        o.own = 60;
    }
    read_options(&o, argc, argv);
    if (!o.model) {
        fprintf(stderr, "usage: bench_engine MODEL_FOLDER [options]\n");
        return 2;
    }
    const double start = bench_now();
    status =
        emc_model_open(&model, &(emc_model_options){.model_dir = o.model, .n_threads = o.threads});
    if (status == EMC_OK) {
        const emc_model_info *info = emc_model_get_info(model);

        printf("%s, %s, %.0f M parameters, opened in %.2f s; %d prompts of %d + %d tokens\n\n",
               info->device, emc_dtype_name(info->dtype), (double)info->n_parameters / 1e6,
               bench_now() - start, o.prompts, o.prefix, o.own);
        printf("|  rows | prompts/s |   rows/s | spread  |  K/V MB | act. MB |\n"
               "|------:|----------:|---------:|--------:|--------:|--------:|\n");
    }
    for (size_t i = 0; i < EMC_COUNT(sizes) && status == EMC_OK; i++)
        if (o.rows == 0 || o.rows == sizes[i])
            status = measure(model, &o, sizes[i]);
    if (status != EMC_OK)
        fprintf(stderr, "%s\n", emc_message());
    emc_model_close(model);
    return status == EMC_OK ? 0 : 1;
}
