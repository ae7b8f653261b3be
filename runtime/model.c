/* Opens a checkpoint, an adapter and devices, and puts the one on the others. */
#include "runtime/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "runtime/random_weights.h"
#include "runtime/threads.h"

/* Operations take whole groups of this many values. */
#define WIDTH_MULTIPLE 8
#define MAX_HEAD_DIM   256

/* The longest that a rank waits for another in a step: many times what a step takes. */
#define DEFAULT_DEADLINE_S 60.0

static emc_status check_width(const char *dir, const char *what, int width)
{
    if (width % WIDTH_MULTIPLE != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s/config.json: %s is %d, need a multiple of %d", dir,
                        what, width, WIDTH_MULTIPLE);
    return EMC_OK;
}

static emc_status check_config(const emc_model_config *config, const char *dir)
{
    EMC_TRY(check_width(dir, "hidden_size", config->hidden));
    EMC_TRY(check_width(dir, "intermediate_size", config->ffn));
    EMC_TRY(check_width(dir, "head_dim", config->head_dim));
    if (config->head_dim > MAX_HEAD_DIM)
        return emc_fail(EMC_ERR_FORMAT, "%s/config.json: head_dim is %d, at most %d is supported",
                        dir, config->head_dim, MAX_HEAD_DIM);
    return EMC_OK;
}

static emc_status set_info(emc_model *model)
{
    const emc_model_config *c = emc_weight_source_config(model->source);

    EMC_TRY(emc_alloc(&model->eos, (size_t)c->n_eos, sizeof *model->eos, "token ids"));
    for (int i = 0; i < c->n_eos; i++)
        model->eos[i] = c->eos_ids[i];
    model->rms_eps = (float)c->rms_eps;
    model->info = (emc_model_info){.n_layers = c->n_layers,
                                   .n_heads = c->n_heads,
                                   .n_kv_heads = c->n_kv_heads,
                                   .head_dim = c->head_dim,
                                   .hidden = c->hidden,
                                   .ffn = c->ffn,
                                   .vocab = c->vocab,
                                   .max_positions = emc_model_context(c),
                                   .eos = model->eos,
                                   .n_eos = c->n_eos,
                                   .dtype = model->dev->dtype,
                                   .n_parameters = emc_weight_source_parameters(model->source),
                                   .device = model->dev->description,
                                   .device_name = model->choice.name,
                                   .device_reason = model->choice.reason,
                                   .device_absent = model->choice.absent};
    EMC_TRY(emc_alloc(&model->inv_freq, (size_t)c->head_dim / 2, sizeof(float), "rotary tables"));
    emc_rope_frequencies(c, model->inv_freq, &model->attention_factor);
    return EMC_OK;
}

static emc_status open_source(emc_model *model, const emc_model_options *options)
{
    const char *dir = options->model_dir ? options->model_dir : options->random;
    emc_model_config random;
    const emc_weight_source_options source = {.model_dir = options->model_dir,
                                              .random = &random,
                                              .adapter_dir = options->adapter_dir,
                                              .n_threads = emc_device_threads(options),
                                              .shapes = options->without_weights};

    if (!options->model_dir)
        EMC_TRY(emc_official_config(&random, options->random));
    EMC_TRY(emc_weight_source_open(&model->own_source, &source));
    model->source = model->own_source;
    return check_config(emc_weight_source_config(model->source), dir);
}

/* --- Ranks -------------------------------------------------------------------------------- */

static int count_peers(const emc_model *first)
{
    return first->n_replicas * first->part.n_ranks;
}

/* One rank's work at opening, on a thread of its own. */
typedef struct {
    const emc_model_options *options;
    emc_model *model;
    emc_comm *copies; /* with the same rank of the other replicas; NULL: nothing is copied */
    bool receives;    /* it is not the first of them */
} opening;

static emc_status open_rank_device(void *context)
{
    const opening *o = context;
    emc_model_options options = *o->options;

    options.n_threads = o->model->choice.n_threads;
    EMC_TRY(emc_device_open(&o->model->dev, &o->model->choice, &options,
                            emc_weight_source_config(o->model->source)->dtype));
    return set_info(o->model);
}

static emc_status load_rank(void *context)
{
    const opening *o = context;

    return emc_model_load(o->model, o->receives);
}

/* A rank that fails must not be waited for. */
static emc_status copy_rank(void *context)
{
    const opening *o = context;
    const emc_status status = emc_model_copy(o->model, o->copies);

    if (status != EMC_OK)
        o->model->dev->ops->comm_abort(o->copies);
    return status;
}

static emc_status close_copies(void *context)
{
    const opening *o = context;

    o->model->dev->ops->comm_close(o->model->dev, o->copies);
    return EMC_OK;
}

/* The ranks of every replica that compute together. */
static emc_status join_ranks(emc_model *first)
{
    const int n = first->part.n_ranks;
    emc_comm *comms[EMC_MOST_DEVICES];
    emc_device *devices[EMC_MOST_DEVICES];

    for (int r = 0; r < first->n_replicas && n > 1 && !first->without_weights; r++) {
        emc_model **ranks = first->peers + (size_t)r * (size_t)n;

        for (int t = 0; t < n; t++)
            devices[t] = ranks[t]->dev;
        EMC_TRY(first->dev->ops->comms_open(comms, devices, n, first->deadline_s));
        for (int t = 0; t < n; t++)
            ranks[t]->comm = comms[t];
    }
    return EMC_OK;
}

/* Rank t of all replicas, to which weights are copied from the first. copies: [peers], NULL where
 * there is nothing to copy. */
static emc_status join_copies(const emc_model *first, emc_comm **copies)
{
    const int n = first->part.n_ranks;
    emc_comm *comms[EMC_MOST_DEVICES];
    emc_device *devices[EMC_MOST_DEVICES];

    if (first->n_replicas == 1 || !first->dev->copies_weights || first->without_weights)
        return EMC_OK;
    for (int t = 0; t < n; t++) {
        for (int r = 0; r < first->n_replicas; r++)
            devices[r] = first->peers[r * n + t]->dev;
        EMC_TRY(first->dev->ops->comms_open(comms, devices, first->n_replicas, first->deadline_s));
        for (int r = 0; r < first->n_replicas; r++)
            copies[r * n + t] = comms[r];
    }
    return EMC_OK;
}

static emc_status load_ranks(emc_model *first, opening *openings, void **contexts)
{
    const int n = count_peers(first);
    emc_comm *copies[EMC_MOST_DEVICES] = {NULL};
    emc_status status = join_ranks(first);

    if (status == EMC_OK)
        status = join_copies(first, copies);
    for (int i = 0; i < n; i++) {
        openings[i].copies = copies[i];
        openings[i].receives = copies[i] && i >= first->part.n_ranks;
    }
    if (status == EMC_OK)
        status = emc_on_threads(load_rank, contexts, n);
    if (status == EMC_OK && copies[0])
        status = emc_on_threads(copy_rank, contexts, n);
    /* All at once: a communicator may wait for the others' ends. */
    if (copies[0])
        (void)emc_on_threads(close_copies, contexts, n);
    return status;
}

static emc_status make_peers(emc_model *first, const emc_device_choices *choices,
                             const emc_model_options *options)
{
    EMC_TRY(emc_alloc(&first->peers, (size_t)choices->n, sizeof *first->peers, "the model"));
    first->n_replicas = choices->n / choices->n_ranks;
    for (int i = 0; i < choices->n; i++) {
        emc_model *model = first;

        if (i > 0)
            EMC_TRY(emc_alloc(&model, 1, sizeof *model, "the model"));
        first->peers[i] = model;
        model->source = first->source;
        model->choice = choices->of[i];
        model->without_weights = options->without_weights;
        model->merges = options->merge_adapter && options->adapter_dir;
        model->sums_f32 = options->sums_f32;
        model->deadline_s = options->deadline_s > 0 ? options->deadline_s : DEFAULT_DEADLINE_S;
        EMC_TRY(emc_model_part_of(&model->part, emc_weight_source_config(first->source),
                                  i % choices->n_ranks, choices->n_ranks));
    }
    return EMC_OK;
}

/* What people are told of all devices together. */
static void describe_all(emc_model *first, const emc_device_choices *choices)
{
    const int n = count_peers(first), n_ranks = first->part.n_ranks;

    first->info.n_devices = n;
    first->info.tensor_parallel_size = n_ranks;
    if (n == 1)
        return;
    snprintf(first->devices, sizeof first->devices, "%s", choices->name);
    snprintf(first->description, sizeof first->description, "%s; %d devices: %d replica%s of %d",
             first->dev->description, n, first->n_replicas, first->n_replicas == 1 ? "" : "s",
             n_ranks);
    first->info.device_name = first->devices;
    first->info.device = first->description;
}

static emc_status build_model(emc_model *first, const emc_model_options *options)
{
    opening openings[EMC_MOST_DEVICES];
    void *contexts[EMC_MOST_DEVICES];
    emc_device_choices choices;

    EMC_TRY(emc_devices_choose(&choices, options));
    EMC_TRY(open_source(first, options));
    EMC_TRY(make_peers(first, &choices, options));
    for (int i = 0; i < choices.n; i++) {
        openings[i] = (opening){.options = options, .model = first->peers[i]};
        contexts[i] = &openings[i];
    }
    EMC_TRY(emc_on_threads(open_rank_device, contexts, choices.n));
    EMC_TRY(load_ranks(first, openings, contexts));
    describe_all(first, &choices);
    return EMC_OK;
}

/* --- Open and close ----------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

emc_status emc_model_open(emc_model **out, const emc_model_options *options)
{
    const double begin = seconds();
    emc_model *model = NULL;
    emc_status status;

    *out = NULL;
    if (!options->model_dir && !options->random)
        return emc_fail(EMC_ERR_ARG, "model: no folder given");
    if (options->model_dir && options->random)
        return emc_fail(EMC_ERR_ARG, "model: both a folder and random weights given");
    EMC_TRY(emc_alloc(&model, 1, sizeof *model, "the model"));
    status = build_model(model, options);
    if (status != EMC_OK) {
        emc_model_close(model);
        return status;
    }
    model->info.load_seconds = seconds() - begin;
    *out = model;
    return EMC_OK;
}

static emc_status leave_group(void *context)
{
    emc_model *model = context;

    if (model && model->comm)
        model->dev->ops->comm_close(model->dev, model->comm);
    return EMC_OK;
}

static void close_rank(emc_model *model)
{
    emc_model_unload(model);
    if (model->dev)
        model->dev->ops->close(model->dev);
    free(model->inv_freq);
    free(model->eos);
}

void emc_model_close(emc_model *model)
{
    if (!model)
        return;
    if (model->peers && model->part.n_ranks > 1)
        (void)emc_on_threads(leave_group, (void *const *)model->peers, count_peers(model));
    for (int i = 0; model->peers && i < count_peers(model); i++) {
        if (model->peers[i])
            close_rank(model->peers[i]);
        if (i > 0)
            free(model->peers[i]);
    }
    free(model->peers);
    emc_weight_source_close(model->own_source);
    free(model);
}

const emc_model_info *emc_model_get_info(const emc_model *model)
{
    return &model->info;
}

const char *emc_model_chosen(const emc_model *model)
{
    return model->dev->ops->chosen(model->dev);
}

void emc_model_rope_rows(const emc_model *model, float *out, int first, int n)
{
    const int half = model->info.head_dim / 2;

    for (int p = 0; p < n; p++) {
        for (int i = 0; i < half; i++) {
            const float angle = (float)(first + p) * model->inv_freq[i];

            *out++ = cosf(angle) * model->attention_factor;
            *out++ = sinf(angle) * model->attention_factor;
        }
    }
    if (model->dev->dtype == EMC_BF16)
        for (float *value = out - (size_t)n * half * 2; value < out; value++)
            *value = emc_bf16_to_f32(emc_f32_to_bf16(*value));
}
