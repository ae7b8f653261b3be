/*
 * Joins a checkpoint, or random weights, and an adapter.
 *
 * Low-rank updates stay unmerged, in f32, unless somebody asks: merging into bf16 weights rounds
 * small updates away, and PEFT adds the f32 update to the product before its one rounding. DoRA's
 * row norms need the base weight, so they are computed here, once.
 */
#include "runtime/weights.h"

#include <stdlib.h>

#include "base/size.h"
#include "loader/adapter.h"
#include "runtime/merge.h"
#include "runtime/random_weights.h"

struct emc_weight_source {
    emc_checkpoint *checkpoint; /* or NULL: */
    emc_random_weights *random;
    emc_adapter *adapter; /* or NULL */
    int n_threads;
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
    const emc_model_config *config = emc_weight_source_config(source);
    const emc_weights *base = source->random ? emc_random_weights_get(source->random)
                                             : emc_checkpoint_weights(source->checkpoint);
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

emc_status emc_weight_source_open(emc_weight_source **out, const emc_weight_source_options *options)
{
    emc_weight_source *source = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&source, 1, sizeof *source, "the table of weights"));
    source->n_threads = options->n_threads;
    status = options->model_dir ? emc_checkpoint_open(&source->checkpoint, options->model_dir)
             : options->shapes  ? emc_random_weights_open_shapes(&source->random, options->random)
                                : emc_random_weights_open(&source->random, options->random);
    if (status == EMC_OK && options->adapter_dir)
        status = emc_adapter_open(&source->adapter, options->adapter_dir,
                                  emc_weight_source_config(source));
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
    emc_random_weights_close(source->random);
    free(source);
}

const emc_model_config *emc_weight_source_config(const emc_weight_source *source)
{
    return source->random ? emc_random_weights_config(source->random)
                          : emc_checkpoint_config(source->checkpoint);
}

const emc_weights *emc_weight_source_get(const emc_weight_source *source)
{
    return &source->weights;
}

int64_t emc_weight_source_parameters(const emc_weight_source *source)
{
    const emc_model_config *c = emc_weight_source_config(source);
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

/* scale[j] = magnitude[j] / norm of row j of W + B A. */
static emc_status dora_scale(float *scale, const emc_tensor *magnitude, const emc_update *update,
                             int n_threads)
{
    const size_t n = update->weight->dims[0];
    float *norms;
    emc_status status;

    EMC_TRY(emc_alloc(&norms, n, sizeof *norms, "row norms"));
    emc_to_f32(scale, magnitude->data, magnitude->dtype, n);
    status = emc_update_norms(update, norms, n_threads);
    for (size_t j = 0; j < n && status == EMC_OK; j++)
        scale[j] /= norms[j];
    free(norms);
    return status;
}

/* One part: its A below those before it, its B beside them, on its own rows. */
static emc_status add_update(emc_low_rank *out, const emc_adapter_lora *update,
                             const emc_tensor *weight, int first_rank, int first_row, int n_threads)
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
    const emc_update whole = {
        .weight = weight, .a = a, .b = b, .b_stride = (size_t)out->rank, .rank = update->rank};

    return dora_scale(out->column_scale + first_row, update->magnitude, &whole, n_threads);
}

/* The embedding looks rows up, so its A is [rank, vocab] and its B [hidden, rank]. */
static emc_status embedding_shape(emc_low_rank_shape *out, const emc_adapter_lora *update,
                                  const emc_tensor *weight)
{
    if (update->magnitude)
        return emc_fail(EMC_ERR_FORMAT, "%s: DoRA of the embedding is not supported",
                        update->magnitude->file);
    *out = (emc_low_rank_shape){
        .rank = update->rank, .n = (int)weight->dims[1], .k = (int)weight->dims[0]};
    return EMC_OK;
}

emc_status emc_weight_source_shape(const emc_weight_source *source, emc_matrix_role role, int layer,
                                   emc_low_rank_shape *out)
{
    const emc_tensor *weights[EMC_MAX_PARTS];
    const emc_adapter_lora *updates[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(source, role, layer, weights);

    *out = (emc_low_rank_shape){0};
    if (!source->adapter)
        return EMC_OK;
    find_updates(emc_adapter_get(source->adapter), role, layer, updates);
    if (role == EMC_MATRIX_EMBED)
        return updates[0]->a ? embedding_shape(out, updates[0], weights[0]) : EMC_OK;
    out->k = (int)weights[0]->dims[1];
    for (int p = 0; p < n_parts; p++) {
        out->n += (int)weights[p]->dims[0];
        out->rank += updates[p]->a ? updates[p]->rank : 0;
        out->scaled = out->scaled || updates[p]->magnitude;
    }
    return EMC_OK;
}

/* n, k, rank and zeroed arrays; ones where a part has no DoRA. */
static emc_status make_room(emc_low_rank *out, const emc_low_rank_shape *shape)
{
    out->n = shape->n;
    out->k = shape->k;
    out->rank = shape->rank;
    if (out->rank == 0)
        return EMC_OK;
    EMC_TRY(emc_alloc(&out->a, (size_t)out->rank * out->k, sizeof(float), "an adapter's A"));
    EMC_TRY(emc_alloc(&out->b, (size_t)out->n * out->rank, sizeof(float), "an adapter's B"));
    if (!shape->scaled)
        return EMC_OK;
    EMC_TRY(emc_alloc(&out->column_scale, (size_t)out->n, sizeof(float), "an adapter's scale"));
    for (int j = 0; j < out->n; j++)
        out->column_scale[j] = 1;
    return EMC_OK;
}

static void embedding_update(emc_low_rank *out, const emc_adapter_lora *update)
{
    const size_t vocab = (size_t)out->k, hidden = (size_t)out->n;
    const size_t rank = (size_t)update->rank;

    emc_to_f32(out->a, update->a->data, update->a->dtype, rank * vocab);
    emc_to_f32(out->b, update->b->data, update->b->dtype, hidden * rank);
    for (size_t i = 0; i < hidden * rank; i++)
        out->b[i] = (float)(update->scale * out->b[i]);
    out->first_rank[1] = update->rank;
}

emc_status emc_weight_source_low_rank(const emc_weight_source *source, emc_matrix_role role,
                                      int layer, emc_low_rank *out)
{
    const emc_tensor *weights[EMC_MAX_PARTS];
    const emc_adapter_lora *updates[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(source, role, layer, weights);
    emc_low_rank_shape shape;
    int rank = 0, row = 0;
    emc_status status;

    *out = (emc_low_rank){0};
    EMC_TRY(emc_weight_source_shape(source, role, layer, &shape));
    if (!source->adapter)
        return EMC_OK;
    find_updates(emc_adapter_get(source->adapter), role, layer, updates);
    status = make_room(out, &shape);
    if (status == EMC_OK && role == EMC_MATRIX_EMBED && out->rank > 0)
        embedding_update(out, updates[0]);
    for (int p = 0; p < n_parts && status == EMC_OK && out->rank > 0 && role != EMC_MATRIX_EMBED;
         p++) {
        if (updates[p]->a) {
            status = add_update(out, updates[p], weights[p], rank, row, source->n_threads);
            rank += updates[p]->rank;
        }
        row += (int)weights[p]->dims[0];
        out->first_rank[p + 1] = rank;
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

bool emc_weight_source_updates(const emc_weight_source *source, emc_matrix_role role, int layer)
{
    const emc_tensor *weights[EMC_MAX_PARTS];
    const emc_adapter_lora *updates[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(source, role, layer, weights);

    if (!source->adapter)
        return false;
    find_updates(emc_adapter_get(source->adapter), role, layer, updates);
    for (int p = 0; p < n_parts; p++)
        if (updates[p]->a)
            return true;
    return false;
}

/* out [n_columns, n_rows] from in [n_rows, n_columns]. Owned by the caller. */
static emc_status transpose(float **out, const float *in, int n_rows, int n_columns)
{
    EMC_TRY(emc_alloc(out, (size_t)n_rows * (size_t)n_columns, sizeof **out, "an adapter"));
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++)
            (*out)[(size_t)j * n_rows + i] = in[(size_t)i * n_columns + j];
    return EMC_OK;
}

/* The table has a row for each id, the update a column: so it is added the other way round. */
static emc_status merge_embedding(const emc_tensor *weight, const emc_low_rank *low, void *out,
                                  emc_dtype dtype, int n_threads)
{
    float *a = NULL, *b = NULL;
    emc_status status = transpose(&a, low->b, low->n, low->rank);

    if (status == EMC_OK)
        status = transpose(&b, low->a, low->rank, low->k);
    if (status == EMC_OK) {
        const emc_update update = {
            .weight = weight, .a = a, .b = b, .b_stride = (size_t)low->rank, .rank = low->rank};

        status = emc_update_merge(&update, out, dtype, n_threads);
    }
    free(a);
    free(b);
    return status;
}

/* Part p, whose rows begin at first_row of the matrix. */
static emc_status merge_part(const emc_tensor *weight, const emc_low_rank *low, int p,
                             int first_row, void *out, emc_dtype dtype, int n_threads)
{
    const int first_rank = low->first_rank[p];
    const emc_update update = {
        .weight = weight,
        .a = low->a + (size_t)first_rank * low->k,
        .b = low->b + (size_t)first_row * low->rank + first_rank,
        .b_stride = (size_t)low->rank,
        .row_scale = low->column_scale ? low->column_scale + first_row : NULL,
        .rank = low->first_rank[p + 1] - first_rank,
    };

    return emc_update_merge(&update, out, dtype, n_threads);
}

emc_status emc_weight_source_merge(const emc_weight_source *source, emc_matrix_role role, int layer,
                                   emc_dtype dtype, emc_merged *out)
{
    const emc_tensor *weights[EMC_MAX_PARTS];
    const int n_parts = emc_weight_source_parts(source, role, layer, weights);
    emc_low_rank low;
    emc_status status;
    int row = 0;

    *out = (emc_merged){{NULL}};
    EMC_TRY(emc_weight_source_low_rank(source, role, layer, &low));
    status = EMC_OK;
    for (int p = 0; p < n_parts && status == EMC_OK; p++) {
        const size_t rows = weights[p]->dims[0], k = weights[p]->dims[1];

        if (low.first_rank[p + 1] > low.first_rank[p]) {
            status = emc_alloc(&out->data[p], rows * k, emc_dtype_bytes(dtype), "merged weights");
            if (status == EMC_OK && role == EMC_MATRIX_EMBED)
                status = merge_embedding(weights[p], &low, out->data[p], dtype, source->n_threads);
            else if (status == EMC_OK)
                status =
                    merge_part(weights[p], &low, p, row, out->data[p], dtype, source->n_threads);
        }
        row += (int)rows;
    }
    emc_low_rank_free(&low);
    if (status != EMC_OK)
        emc_merged_free(out);
    return status;
}

void emc_merged_free(emc_merged *merged)
{
    for (int p = 0; p < EMC_MAX_PARTS; p++)
        free(merged->data[p]);
    *merged = (emc_merged){{NULL}};
}
