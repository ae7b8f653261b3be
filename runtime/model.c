/* Opens a checkpoint, an adapter and a device, and puts the one on the other. */
#include "runtime/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu.h"

/* Operations take whole groups of this many values. */
#define WIDTH_MULTIPLE 8
#define MAX_HEAD_DIM   256

static emc_status open_device(emc_model *model, const emc_model_options *options)
{
    const emc_model_config *config = emc_weight_source_config(model->source);
    emc_cpu_options cpu = {.n_threads = options->n_threads};

    if (options->device && strcmp(options->device, "auto") != 0 &&
        strcmp(options->device, "cpu") != 0)
        return emc_fail(EMC_ERR_DEVICE, "no device \"%s\": this build has cpu", options->device);
    switch (options->dtype) {
    case EMC_DTYPE_AUTO:
        cpu.dtype = config->dtype == EMC_BF16 ? EMC_BF16 : EMC_F32;
        break;
    case EMC_DTYPE_FLOAT32:
        cpu.dtype = EMC_F32;
        break;
    case EMC_DTYPE_BFLOAT16:
        cpu.dtype = EMC_BF16;
        break;
    default:
        return emc_fail(EMC_ERR_ARG, "no such dtype: %d", (int)options->dtype);
    }
    return emc_cpu_open(&model->dev, &cpu);
}

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
                                   .device = model->dev->description};
    EMC_TRY(emc_alloc(&model->inv_freq, (size_t)c->head_dim / 2, sizeof(float), "rotary tables"));
    emc_rope_frequencies(c, model->inv_freq, &model->attention_factor);
    return EMC_OK;
}

static emc_status open_lora(emc_model *model, emc_lora **out, emc_matrix_role role, int layer)
{
    emc_low_rank update;
    emc_status status = EMC_OK;

    EMC_TRY(emc_weight_source_low_rank(model->source, role, layer, &update));
    if (update.rank > 0) {
        const emc_lora_spec spec = {.a = update.a,
                                    .b = update.b,
                                    .column_scale = update.column_scale,
                                    .rank = update.rank,
                                    .n = update.n,
                                    .k = update.k};

        status = model->dev->ops->lora_open(model->dev, out, &spec);
    }
    emc_low_rank_free(&update);
    return status;
}

static emc_status open_matrix(emc_model *model, emc_model_matrix *out, emc_matrix_role role,
                              int layer)
{
    const emc_tensor *tensors[EMC_MAX_PARTS];
    emc_matrix_part parts[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(model->source, role, layer, tensors);

    for (int p = 0; p < n_parts; p++)
        parts[p] = (emc_matrix_part){tensors[p]->data, tensors[p]->dtype, (int)tensors[p]->dims[0]};
    EMC_TRY(model->dev->ops->matrix_open(model->dev, &out->w, parts, n_parts,
                                         (int)tensors[0]->dims[1]));
    return open_lora(model, &out->lora, role, layer);
}

static emc_status open_matrices(emc_model *model)
{
    const emc_weights *weights = emc_weight_source_get(model->source);

    for (int l = 0; l < model->info.n_layers; l++) {
        emc_model_layer *layer = &model->layers[l];

        EMC_TRY(open_matrix(model, &layer->qkv, EMC_MATRIX_QKV, l));
        EMC_TRY(open_matrix(model, &layer->o, EMC_MATRIX_O, l));
        EMC_TRY(open_matrix(model, &layer->gate_up, EMC_MATRIX_GATE_UP, l));
        EMC_TRY(open_matrix(model, &layer->down, EMC_MATRIX_DOWN, l));
    }
    EMC_TRY(open_matrix(model, &model->embed, EMC_MATRIX_EMBED, 0));
    if (weights->head != weights->embed)
        return open_matrix(model, &model->head, EMC_MATRIX_HEAD, 0);
    model->head.w = model->embed.w;
    return open_lora(model, &model->head.lora, EMC_MATRIX_HEAD, 0);
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
    status = model->dev->ops->upload(model->dev, model->d_norms, host, n_bytes);
done:
    free(scratch);
    free(host);
    return status;
}

static emc_status build_model(emc_model *model, const emc_model_options *options)
{
    EMC_TRY(emc_weight_source_open(&model->source, options->model_dir, options->adapter_dir));
    EMC_TRY(check_config(emc_weight_source_config(model->source), options->model_dir));
    EMC_TRY(open_device(model, options));
    EMC_TRY(set_info(model));
    EMC_TRY(emc_alloc(&model->layers, (size_t)model->info.n_layers, sizeof *model->layers,
                      "the table of layers"));
    EMC_TRY(open_norms(model));
    return open_matrices(model);
}

emc_status emc_model_open(emc_model **out, const emc_model_options *options)
{
    emc_model *model = NULL;
    emc_status status;

    *out = NULL;
    if (!options->model_dir)
        return emc_fail(EMC_ERR_ARG, "model: no folder given");
    EMC_TRY(emc_alloc(&model, 1, sizeof *model, "the model"));
    status = build_model(model, options);
    if (status != EMC_OK) {
        emc_model_close(model);
        return status;
    }
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
