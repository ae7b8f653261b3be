/*
 * Joins a checkpoint and an adapter.
 *
 * Low-rank updates stay unmerged, in f32: merging into bf16 weights would round small updates
 * away, and PEFT adds the f32 update to the product before its one rounding. DoRA's row norms
 * need the base weight, so they are computed here, once.
 */
#include "runtime/weights.h"

#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "loader/adapter.h"

struct emc_weight_source {
    emc_checkpoint *checkpoint;
    emc_adapter *adapter; /* or NULL */
    emc_weights weights;
    emc_layer_weights *layers;
};

static void choose(const emc_tensor **slot, const emc_tensor *replacement)
{
    if (replacement)
        *slot = replacement;
}

static void replace_layer(emc_layer_weights *layer, const emc_layer_replacement *replace)
{
    choose(&layer->input_norm, replace->input_norm);
    choose(&layer->post_norm, replace->post_norm);
    choose(&layer->q_norm, replace->q_norm);
    choose(&layer->k_norm, replace->k_norm);
    choose(&layer->q, replace->proj[EMC_PROJ_Q]);
    choose(&layer->k, replace->proj[EMC_PROJ_K]);
    choose(&layer->v, replace->proj[EMC_PROJ_V]);
    choose(&layer->o, replace->proj[EMC_PROJ_O]);
    choose(&layer->gate, replace->proj[EMC_PROJ_GATE]);
    choose(&layer->up, replace->proj[EMC_PROJ_UP]);
    choose(&layer->down, replace->proj[EMC_PROJ_DOWN]);
}

static emc_status set_weights(emc_weight_source *source)
{
    const emc_model_config *config = emc_checkpoint_config(source->checkpoint);
    const emc_weights *base = emc_checkpoint_weights(source->checkpoint);
    const emc_adapter_weights *adapted = source->adapter ? emc_adapter_get(source->adapter) : NULL;

    EMC_TRY(emc_alloc(&source->layers, (size_t)config->n_layers, sizeof *source->layers,
                      "the table of weights"));
    for (int l = 0; l < config->n_layers; l++) {
        source->layers[l] = base->layers[l];
        if (adapted)
            replace_layer(&source->layers[l], &adapted->layers[l].replace);
    }
    source->weights = *base;
    source->weights.layers = source->layers;
    if (!source->weights.head)
        source->weights.head = base->embed;
    if (adapted) {
        choose(&source->weights.embed, adapted->embed_weight);
        choose(&source->weights.head, adapted->head_weight);
        choose(&source->weights.norm, adapted->norm_weight);
    }
    return EMC_OK;
}

emc_status emc_weight_source_open(emc_weight_source **out, const char *model_dir,
                                  const char *adapter_dir)
{
    emc_weight_source *source = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&source, 1, sizeof *source, "the table of weights"));
    status = emc_checkpoint_open(&source->checkpoint, model_dir);
    if (status == EMC_OK && adapter_dir)
        status = emc_adapter_open(&source->adapter, adapter_dir,
                                  emc_checkpoint_config(source->checkpoint));
    if (status == EMC_OK)
        status = set_weights(source);
    if (status != EMC_OK) {
        emc_weight_source_close(source);
        return status;
    }
    *out = source;
    return EMC_OK;
}

void emc_weight_source_close(emc_weight_source *source)
{
    if (!source)
        return;
    free(source->layers);
    emc_adapter_close(source->adapter);
    emc_checkpoint_close(source->checkpoint);
    free(source);
}

const emc_model_config *emc_weight_source_config(const emc_weight_source *source)
{
    return emc_checkpoint_config(source->checkpoint);
}

const emc_weights *emc_weight_source_get(const emc_weight_source *source)
{
    return &source->weights;
}

int64_t emc_weight_source_parameters(const emc_weight_source *source)
{
    const emc_model_config *c = emc_checkpoint_config(source->checkpoint);
    const int64_t hidden = c->hidden;
    const int64_t q = (int64_t)c->n_heads * c->head_dim;
    const int64_t kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t layer =
        hidden * (q + 2 * kv) + q * hidden + 3 * hidden * c->ffn + 2 * hidden + 2 * c->head_dim;

    return c->n_layers * layer + hidden + hidden * c->vocab * (c->tie_embeddings ? 1 : 2);
}

int emc_weight_source_parts(const emc_weight_source *source, emc_matrix_role role, int layer,
                            const emc_tensor **parts)
{
    const emc_layer_weights *l = &source->layers[layer];

    switch (role) {
    case EMC_MATRIX_QKV:
        parts[0] = l->q;
        parts[1] = l->k;
        parts[2] = l->v;
        return 3;
    case EMC_MATRIX_O:
        parts[0] = l->o;
        return 1;
    case EMC_MATRIX_GATE_UP:
        parts[0] = l->gate;
        parts[1] = l->up;
        return 2;
    case EMC_MATRIX_DOWN:
        parts[0] = l->down;
        return 1;
    case EMC_MATRIX_EMBED:
        parts[0] = source->weights.embed;
        return 1;
    case EMC_MATRIX_HEAD:
        parts[0] = source->weights.head;
        return 1;
    }
    return 0;
}

/* The adapter's updates of a matrix's parts, in the parts' order. */
static void find_updates(const emc_adapter_weights *adapted, emc_matrix_role role, int layer,
                         const emc_adapter_lora **updates)
{
    const emc_adapter_lora *proj = adapted->layers[layer].proj;

    switch (role) {
    case EMC_MATRIX_QKV:
        updates[0] = &proj[EMC_PROJ_Q];
        updates[1] = &proj[EMC_PROJ_K];
        updates[2] = &proj[EMC_PROJ_V];
        break;
    case EMC_MATRIX_O:
        updates[0] = &proj[EMC_PROJ_O];
        break;
    case EMC_MATRIX_GATE_UP:
        updates[0] = &proj[EMC_PROJ_GATE];
        updates[1] = &proj[EMC_PROJ_UP];
        break;
    case EMC_MATRIX_DOWN:
        updates[0] = &proj[EMC_PROJ_DOWN];
        break;
    case EMC_MATRIX_EMBED:
        updates[0] = &adapted->embed;
        break;
    case EMC_MATRIX_HEAD:
        updates[0] = &adapted->head;
        break;
    }
}

/* scale[j] = magnitude[j] / norm of row j of W + B A, b and a holding this part only. Summed in
 * double: a row has thousands of terms. */
static emc_status dora_scale(float *scale, const emc_tensor *weight, const emc_tensor *magnitude,
                             const float *a, const float *b, size_t b_stride, int rank, int n,
                             int k)
{
    const size_t row_bytes = (size_t)k * emc_dtype_bytes(weight->dtype);
    float *row;

    EMC_TRY(emc_alloc(&row, (size_t)k, sizeof *row, "row norms"));
    emc_to_f32(scale, magnitude->data, magnitude->dtype, (size_t)n);
    for (int j = 0; j < n; j++) {
        double sum = 0;

        emc_to_f32(row, (const char *)weight->data + (size_t)j * row_bytes, weight->dtype,
                   (size_t)k);
        for (int r = 0; r < rank; r++)
            for (int i = 0; i < k; i++)
                row[i] += b[(size_t)j * b_stride + r] * a[(size_t)r * k + i];
        for (int i = 0; i < k; i++)
            sum += (double)row[i] * row[i];
        scale[j] = (float)(scale[j] / sqrt(sum));
    }
    free(row);
    return EMC_OK;
}

/* One part: its A below those before it, its B beside them, on its own rows. */
static emc_status add_update(emc_low_rank *out, const emc_adapter_lora *update,
                             const emc_tensor *weight, int first_rank, int first_row)
{
    const int n = (int)weight->dims[0];
    float *a = out->a + (size_t)first_rank * out->k;
    float *b = out->b + (size_t)first_row * out->rank + first_rank;
    float *column;

    EMC_TRY(emc_alloc(&column, (size_t)n * update->rank, sizeof *column, "an adapter's B"));
    emc_to_f32(a, update->a->data, update->a->dtype, (size_t)update->rank * out->k);
    emc_to_f32(column, update->b->data, update->b->dtype, (size_t)n * update->rank);
    for (int j = 0; j < n; j++)
        for (int r = 0; r < update->rank; r++)
            b[(size_t)j * out->rank + r] =
                (float)(update->scale * column[(size_t)j * update->rank + r]);
    free(column);
    if (!update->magnitude)
        return EMC_OK;
    return dora_scale(out->column_scale + first_row, weight, update->magnitude, a, b,
                      (size_t)out->rank, update->rank, n, out->k);
}

/* n, k, rank and zeroed arrays; ones where a part has no DoRA. */
static emc_status make_room(emc_low_rank *out, const emc_adapter_lora **updates,
                            const emc_tensor **weights, int n_parts)
{
    bool dora = false;

    out->k = (int)weights[0]->dims[1];
    for (int p = 0; p < n_parts; p++) {
        out->n += (int)weights[p]->dims[0];
        out->rank += updates[p]->a ? updates[p]->rank : 0;
        dora = dora || updates[p]->magnitude;
    }
    if (out->rank == 0)
        return EMC_OK;
    EMC_TRY(emc_alloc(&out->a, (size_t)out->rank * out->k, sizeof(float), "an adapter's A"));
    EMC_TRY(emc_alloc(&out->b, (size_t)out->n * out->rank, sizeof(float), "an adapter's B"));
    if (!dora)
        return EMC_OK;
    EMC_TRY(emc_alloc(&out->column_scale, (size_t)out->n, sizeof(float), "an adapter's scale"));
    for (int j = 0; j < out->n; j++)
        out->column_scale[j] = 1;
    return EMC_OK;
}

/* The embedding looks rows up, so its A is [rank, vocab] and its B [hidden, rank]. */
static emc_status embedding_update(emc_low_rank *out, const emc_adapter_lora *update,
                                   const emc_tensor *weight)
{
    const size_t vocab = weight->dims[0], hidden = weight->dims[1];
    const size_t rank = (size_t)update->rank;

    if (update->magnitude)
        return emc_fail(EMC_ERR_FORMAT, "%s: DoRA of the embedding is not supported",
                        update->magnitude->file);
    out->n = (int)hidden;
    out->k = (int)vocab;
    EMC_TRY(emc_alloc(&out->a, rank * vocab, sizeof(float), "an adapter's A"));
    EMC_TRY(emc_alloc(&out->b, hidden * rank, sizeof(float), "an adapter's B"));
    emc_to_f32(out->a, update->a->data, update->a->dtype, rank * vocab);
    emc_to_f32(out->b, update->b->data, update->b->dtype, hidden * rank);
    for (size_t i = 0; i < hidden * rank; i++)
        out->b[i] = (float)(update->scale * out->b[i]);
    out->rank = update->rank;
    return EMC_OK;
}

emc_status emc_weight_source_low_rank(const emc_weight_source *source, emc_matrix_role role,
                                      int layer, emc_low_rank *out)
{
    const emc_tensor *weights[EMC_MAX_PARTS];
    const emc_adapter_lora *updates[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(source, role, layer, weights);
    int rank = 0, row = 0;
    emc_status status;

    *out = (emc_low_rank){0};
    if (!source->adapter)
        return EMC_OK;
    find_updates(emc_adapter_get(source->adapter), role, layer, updates);
    if (role == EMC_MATRIX_EMBED) {
        status = updates[0]->a ? embedding_update(out, updates[0], weights[0]) : EMC_OK;
        if (status != EMC_OK)
            emc_low_rank_free(out);
        return status;
    }
    status = make_room(out, updates, weights, n_parts);
    for (int p = 0; p < n_parts && status == EMC_OK && out->rank > 0; p++) {
        if (updates[p]->a) {
            status = add_update(out, updates[p], weights[p], rank, row);
            rank += updates[p]->rank;
        }
        row += (int)weights[p]->dims[0];
    }
    if (status != EMC_OK)
        emc_low_rank_free(out);
    return status;
}

void emc_low_rank_free(emc_low_rank *update)
{
    free(update->a);
    free(update->b);
    free(update->column_scale);
    *update = (emc_low_rank){0};
}
