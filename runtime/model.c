/* Opens a checkpoint, an adapter and a device, and puts the one on the other. */
#include "runtime/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "runtime/random_weights.h"

/* Operations take whole groups of this many values. */
#define WIDTH_MULTIPLE 8
#define MAX_HEAD_DIM   256

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

/* "q_proj, k_proj, v_proj of layer 3" */
static void describe_matrix(char *out, size_t n_out, emc_matrix_role role, int layer)
{
    static const char *const names[] = {
        [EMC_MATRIX_QKV] = "q_proj, k_proj, v_proj", [EMC_MATRIX_O] = "o_proj",
        [EMC_MATRIX_GATE_UP] = "gate_proj, up_proj", [EMC_MATRIX_DOWN] = "down_proj",
        [EMC_MATRIX_EMBED] = "the embedding",        [EMC_MATRIX_HEAD] = "the head",
    };

    if (role == EMC_MATRIX_EMBED || role == EMC_MATRIX_HEAD)
        snprintf(out, n_out, "%s", names[role]);
    else
        snprintf(out, n_out, "%s of layer %d", names[role], layer);
}

/*
 * Puts what could not be loaded before this thread's message and, where the device lacks memory,
 * what helps behind it. A device that can still tell its memory has not failed in another way.
 */
static emc_status explain(emc_model *model, emc_status status, const char *what)
{
    size_t n_free = 0, n_whole = 0;
    char message[512];

    if (status != EMC_ERR_DEVICE && status != EMC_ERR_NOMEM)
        return emc_fail_in(status, "loading %s", what);
    snprintf(message, sizeof message, "%s", emc_message());
    if (status == EMC_ERR_NOMEM)
        return emc_fail(status,
                        "loading %s: %s; take a smaller model or a machine with more memory", what,
                        message);
    if (model->dev->ops->memory(model->dev, &n_free, &n_whole) == EMC_OK && n_whole > 0)
        return emc_fail(status,
                        "loading %s: %s; %.1f GB of weights are loaded: take a smaller model or a "
                        "GPU with more memory",
                        what, message, (double)model->info.weight_bytes * 1e-9);
    return emc_fail(status, "loading %s: %s", what, message);
}

static size_t update_bytes(const emc_model *model, const emc_low_rank_shape *shape)
{
    if (shape->rank == 0)
        return 0;
    return ((size_t)shape->n + (size_t)shape->k) * (size_t)shape->rank *
               emc_dtype_bytes(model->dev->dtype) +
           (shape->scaled ? (size_t)shape->n * sizeof(float) : 0);
}

static emc_status open_lora(emc_model *model, emc_lora **out, emc_matrix_role role, int layer)
{
    emc_low_rank_shape shape;
    emc_low_rank update;
    emc_status status = EMC_OK;

    EMC_TRY(emc_weight_source_shape(model->source, role, layer, &shape));
    if (model->without_weights) {
        model->info.weight_bytes += update_bytes(model, &shape);
        return EMC_OK;
    }
    EMC_TRY(emc_weight_source_low_rank(model->source, role, layer, &update));
    if (update.rank > 0) {
        const emc_lora_spec spec = {.a = update.a,
                                    .b = update.b,
                                    .column_scale = update.column_scale,
                                    .rank = update.rank,
                                    .n = update.n,
                                    .k = update.k};

        status = model->dev->ops->lora_open(model->dev, out, &spec);
        model->info.weight_bytes += update_bytes(model, &shape);
    }
    emc_low_rank_free(&update);
    return status;
}

static void free_merged(emc_model *model)
{
    for (int i = 0; i < model->n_merged; i++)
        emc_merged_free(&model->merged[i]);
    model->n_merged = 0;
}

/* Puts merged weights in the place of those that the adapter changes. A device that copies has
 * done so with the matrix before while this one was computed. */
static emc_status merge_parts(emc_model *model, emc_matrix_part *parts, emc_matrix_role role,
                              int layer)
{
    emc_merged merged;

    EMC_TRY(emc_weight_source_merge(model->source, role, layer, model->dev->dtype, &merged));
    if (model->dev->copies_weights && model->n_merged > 0) {
        const emc_status status = model->dev->ops->sync(model->dev);

        if (status != EMC_OK) {
            emc_merged_free(&merged);
            return status;
        }
        free_merged(model);
    }
    for (int p = 0; p < EMC_MAX_PARTS; p++)
        if (merged.data[p])
            parts[p] = (emc_matrix_part){merged.data[p], model->dev->dtype, parts[p].n_rows};
    model->merged[model->n_merged++] = merged;
    return EMC_OK;
}

static emc_status load_matrix(emc_model *model, emc_model_matrix *out, emc_matrix_role role,
                              int layer)
{
    const emc_tensor *tensors[EMC_MAX_PARTS];
    emc_matrix_part parts[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(model->source, role, layer, tensors);
    const int k = (int)tensors[0]->dims[1];
    size_t n_rows = 0;

    for (int p = 0; p < n_parts; p++) {
        parts[p] = (emc_matrix_part){tensors[p]->data, tensors[p]->dtype, (int)tensors[p]->dims[0]};
        n_rows += tensors[p]->dims[0];
    }
    if (model->merged && !model->without_weights)
        EMC_TRY(merge_parts(model, parts, role, layer));
    if (!model->without_weights)
        EMC_TRY(model->dev->ops->matrix_open(model->dev, &out->w, parts, n_parts, k));
    model->info.weight_bytes += n_rows * (size_t)k * emc_dtype_bytes(model->dev->dtype);
    return model->merged ? EMC_OK : open_lora(model, &out->lora, role, layer);
}

static emc_status open_matrix(emc_model *model, emc_model_matrix *out, emc_matrix_role role,
                              int layer)
{
    const emc_status status = load_matrix(model, out, role, layer);
    char what[64];

    if (status == EMC_OK)
        return EMC_OK;
    describe_matrix(what, sizeof what, role, layer);
    return explain(model, status, what);
}

/* One matrix for embedding and head where both are the same tensor with nothing merged into it. */
static bool head_is_embed(const emc_model *model)
{
    const emc_weights *weights = emc_weight_source_get(model->source);

    return weights->head == weights->embed &&
           !(model->merged && (emc_weight_source_updates(model->source, EMC_MATRIX_EMBED, 0) ||
                               emc_weight_source_updates(model->source, EMC_MATRIX_HEAD, 0)));
}

static emc_status open_matrices(emc_model *model)
{
    emc_status status;

    for (int l = 0; l < model->info.n_layers; l++) {
        emc_model_layer *layer = &model->layers[l];

        EMC_TRY(open_matrix(model, &layer->qkv, EMC_MATRIX_QKV, l));
        EMC_TRY(open_matrix(model, &layer->o, EMC_MATRIX_O, l));
        EMC_TRY(open_matrix(model, &layer->gate_up, EMC_MATRIX_GATE_UP, l));
        EMC_TRY(open_matrix(model, &layer->down, EMC_MATRIX_DOWN, l));
    }
    EMC_TRY(open_matrix(model, &model->embed, EMC_MATRIX_EMBED, 0));
    if (!head_is_embed(model))
        return open_matrix(model, &model->head, EMC_MATRIX_HEAD, 0);
    model->head.w = model->embed.w;
    status = model->merged ? EMC_OK : open_lora(model, &model->head.lora, EMC_MATRIX_HEAD, 0);
    return status == EMC_OK ? EMC_OK : explain(model, status, "the head");
}

/* Converts one norm to T at `place` of the host copy, and notes where it will lie. */
static void place_norm(const emc_model *model, void **out, const emc_tensor *tensor, char *host,
                       size_t *place, float *scratch)
{
    const size_t n = tensor->dims[0];

    emc_to_f32(scratch, tensor->data, tensor->dtype, n);
    emc_from_f32(host + *place, model->dev->dtype, scratch, n);
    *out = (char *)model->d_norms + *place;
    *place += n * emc_dtype_bytes(model->dev->dtype);
}

/* All norms in one block. Widths are whole groups of 8, so each begins 16-byte aligned. */
static emc_status open_norms(emc_model *model)
{
    const emc_weights *weights = emc_weight_source_get(model->source);
    const size_t hidden = (size_t)model->info.hidden, head_dim = (size_t)model->info.head_dim;
    const size_t n_values = (size_t)model->info.n_layers * 2 * (hidden + head_dim) + hidden;
    const size_t n_bytes = n_values * emc_dtype_bytes(model->dev->dtype);
    float *scratch = NULL;
    char *host = NULL;
    size_t place = 0;
    emc_status status;

    if (model->without_weights) {
        model->info.weight_bytes += n_bytes;
        return EMC_OK;
    }
    status = model->dev->ops->alloc(model->dev, &model->d_norms, n_bytes, "norms");
    if (status == EMC_OK)
        status = emc_alloc(&host, n_bytes, 1, "norms");
    if (status == EMC_OK)
        status = emc_alloc(&scratch, hidden > head_dim ? hidden : head_dim, sizeof(float), "norms");
    if (status != EMC_OK)
        goto done;
    for (int l = 0; l < model->info.n_layers; l++) {
        const emc_layer_weights *from = &weights->layers[l];
        emc_model_layer *to = &model->layers[l];

        place_norm(model, &to->input_norm, from->input_norm, host, &place, scratch);
        place_norm(model, &to->post_norm, from->post_norm, host, &place, scratch);
        place_norm(model, &to->q_norm, from->q_norm, host, &place, scratch);
        place_norm(model, &to->k_norm, from->k_norm, host, &place, scratch);
    }
    place_norm(model, &model->norm, weights->norm, host, &place, scratch);
    model->info.weight_bytes += n_bytes;
    status = model->dev->ops->upload(model->dev, model->d_norms, host, n_bytes);
done:
    free(scratch);
    free(host);
    return status;
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
    EMC_TRY(emc_weight_source_open(&model->source, &source));
    return check_config(emc_weight_source_config(model->source), dir);
}

static emc_status build_model(emc_model *model, const emc_model_options *options)
{
    emc_status status;

    EMC_TRY(emc_device_choose(&model->choice, options));
    EMC_TRY(open_source(model, options));
    EMC_TRY(emc_device_open(&model->dev, &model->choice, options,
                            emc_weight_source_config(model->source)->dtype));
    EMC_TRY(set_info(model));
    EMC_TRY(emc_alloc(&model->layers, (size_t)model->info.n_layers, sizeof *model->layers,
                      "the table of layers"));
    if (options->merge_adapter && options->adapter_dir)
        EMC_TRY(emc_alloc(&model->merged, (size_t)model->info.n_layers * 4 + 2,
                          sizeof *model->merged, "the table of merged weights"));
    status = open_norms(model);
    if (status != EMC_OK)
        return explain(model, status, "the norms");
    EMC_TRY(open_matrices(model));
    if (model->without_weights)
        return EMC_OK;
    EMC_TRY(model->dev->ops->sync(model->dev));
    if (model->dev->copies_weights)
        free_merged(model);
    return EMC_OK;
}

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
    model->without_weights = options->without_weights;
    status = build_model(model, options);
    if (status != EMC_OK) {
        emc_model_close(model);
        return status;
    }
    model->info.load_seconds = seconds() - begin;
    *out = model;
    return EMC_OK;
}

static void close_matrix(emc_model *model, emc_model_matrix *matrix)
{
    if (matrix->lora)
        model->dev->ops->lora_close(model->dev, matrix->lora);
    if (matrix->w)
        model->dev->ops->matrix_close(model->dev, matrix->w);
}

void emc_model_close(emc_model *model)
{
    if (!model)
        return;
    for (int l = 0; model->layers && l < model->info.n_layers; l++) {
        close_matrix(model, &model->layers[l].qkv);
        close_matrix(model, &model->layers[l].o);
        close_matrix(model, &model->layers[l].gate_up);
        close_matrix(model, &model->layers[l].down);
    }
    if (model->head.w == model->embed.w)
        model->head.w = NULL;
    close_matrix(model, &model->head);
    close_matrix(model, &model->embed);
    if (model->dev) {
        model->dev->ops->release(model->dev, model->d_norms);
        model->dev->ops->close(model->dev);
    }
    free_merged(model);
    free(model->merged);
    free(model->layers);
    free(model->inv_freq);
    free(model->eos);
    emc_weight_source_close(model->source);
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
