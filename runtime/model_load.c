/* Puts a rank's part of the weights on its device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/model.h"

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

/* A matrix of the model as this rank has it. */
typedef struct {
    emc_matrix_role role;
    int layer;
    const emc_tensor *tensors[EMC_MAX_PARTS]; /* whole */
    int part_rows[EMC_MAX_PARTS];             /* of these */
    emc_matrix_slice slice;
} piece;

static void find_piece(const emc_model *model, piece *out, emc_matrix_role role, int layer)
{
    *out = (piece){.role = role, .layer = layer};
    emc_matrix_slice_of(&out->slice, &model->part, emc_weight_source_config(model->source), role);
    const int n_parts = emc_weight_source_parts(model->source, role, layer, out->tensors);
    for (int p = 0; p < n_parts; p++)
        out->part_rows[p] = (int)out->tensors[p]->dims[0];
}

static int count_rows(const piece *m)
{
    int n = 0;

    for (int p = 0; p < m->slice.n_parts; p++)
        n += m->slice.n_rows[p];
    return n;
}

static emc_status open_lora(emc_model *model, emc_lora **out, const piece *m)
{
    emc_low_rank_shape shape;
    emc_low_rank update;
    emc_status status = EMC_OK;

    EMC_TRY(emc_weight_source_shape(model->source, m->role, m->layer, &shape));
    if (shape.rank > 0 && m->role != EMC_MATRIX_EMBED) {
        shape.n = count_rows(m);
        shape.k = m->slice.n_columns;
    }
    if (model->without_weights) {
        model->info.weight_bytes += update_bytes(model, &shape);
        return EMC_OK;
    }
    EMC_TRY(emc_weight_source_low_rank(model->source, m->role, m->layer, &update));
    if (m->role != EMC_MATRIX_EMBED)
        emc_matrix_slice_update(&m->slice, m->part_rows, &update);
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

/* --- Matrices --------------------------------------------------------------------------------- */

/* Keeps a block that the device may point into; frees it if that fails. */
static emc_status hold(emc_model *model, void *block)
{
    const emc_status status = emc_reserve(&model->held, &model->held_capacity, model->n_held + 1,
                                          sizeof *model->held, "the table of blocks");

    if (status == EMC_OK)
        model->held[model->n_held++] = block;
    else
        free(block);
    return status;
}

/* A device that copies has done so with the blocks of the matrix before while this one's were
 * computed. */
static emc_status drop_copied(emc_model *model)
{
    if (!model->dev->copies_weights || model->n_held == 0)
        return EMC_OK;
    EMC_TRY(model->dev->ops->sync(model->dev));
    while (model->n_held > 0)
        free(model->held[--model->n_held]);
    return EMC_OK;
}

/* Puts merged weights in the place of those that the adapter changes. */
static emc_status merge_parts(emc_model *model, emc_matrix_part *parts, const piece *m)
{
    emc_status status = EMC_OK;
    emc_merged merged;

    EMC_TRY(emc_weight_source_merge(model->source, m->role, m->layer, model->dev->dtype, &merged));
    for (int p = 0; p < EMC_MAX_PARTS; p++) {
        if (!merged.data[p])
            continue;
        parts[p] = (emc_matrix_part){merged.data[p], model->dev->dtype, parts[p].n_rows};
        if (status == EMC_OK)
            status = hold(model, merged.data[p]);
        else
            free(merged.data[p]);
    }
    return status;
}

/* The slice's columns of one tensor, row by row. */
static emc_status pack_columns(emc_model *model, emc_matrix_part *part, const piece *m, int whole_k)
{
    const size_t size = emc_dtype_bytes(part->dtype), row = (size_t)whole_k * size;
    const size_t n_bytes = (size_t)m->slice.n_columns * size;
    const char *from = (const char *)part->data + (size_t)m->slice.first_column * size;
    char *packed = NULL;

    EMC_TRY(emc_alloc(&packed, (size_t)part->n_rows, n_bytes, "a slice of weights"));
    for (int r = 0; r < part->n_rows; r++)
        memcpy(packed + (size_t)r * n_bytes, from + (size_t)r * row, n_bytes);
    part->data = packed;
    return hold(model, packed);
}

/* From whole tensors to the rows and columns that this rank has of them. */
static emc_status cut_parts(emc_model *model, emc_matrix_part *parts, const piece *m)
{
    const int whole_k = (int)m->tensors[0]->dims[1];

    for (int p = 0; p < m->slice.n_parts; p++) {
        parts[p].data = (const char *)parts[p].data + (size_t)m->slice.first_row[p] *
                                                          (size_t)whole_k *
                                                          emc_dtype_bytes(parts[p].dtype);
        parts[p].n_rows = m->slice.n_rows[p];
        if (!m->slice.all_columns)
            EMC_TRY(pack_columns(model, &parts[p], m, whole_k));
    }
    return EMC_OK;
}

static emc_status open_parts(emc_model *model, bool receives, emc_matrix **out, const piece *m)
{
    const emc_ops *ops = model->dev->ops;
    emc_matrix_part parts[EMC_MAX_PARTS];

    for (int p = 0; p < m->slice.n_parts; p++)
        parts[p] = (emc_matrix_part){m->tensors[p]->data, m->tensors[p]->dtype, m->part_rows[p]};
    if (receives) {
        for (int p = 0; p < m->slice.n_parts; p++)
            parts[p] = (emc_matrix_part){NULL, parts[p].dtype, m->slice.n_rows[p]};
    } else {
        if (model->merges || !m->slice.all_columns)
            EMC_TRY(drop_copied(model));
        if (model->merges)
            EMC_TRY(merge_parts(model, parts, m));
        EMC_TRY(cut_parts(model, parts, m));
    }
    return ops->matrix_open(model->dev, out, parts, m->slice.n_parts, m->slice.n_columns);
}

static emc_status load_matrix(emc_model *model, bool receives, emc_model_matrix *out,
                              const piece *m)
{
    if (!model->without_weights)
        EMC_TRY(open_parts(model, receives, &out->w, m));
    model->info.weight_bytes +=
        (size_t)count_rows(m) * (size_t)m->slice.n_columns * emc_dtype_bytes(model->dev->dtype);
    return model->merges ? EMC_OK : open_lora(model, &out->lora, m);
}

static emc_status open_matrix(emc_model *model, bool receives, emc_model_matrix *out,
                              emc_matrix_role role, int layer)
{
    emc_status status;
    char what[64];
    piece m;

    find_piece(model, &m, role, layer);
    status = load_matrix(model, receives, out, &m);
    if (status == EMC_OK)
        return EMC_OK;
    describe_matrix(what, sizeof what, role, layer);
    return explain(model, status, what);
}

/* One matrix for embedding and head where both are the same tensor with nothing merged into it. */
static bool head_is_embed(const emc_model *model)
{
    const emc_weights *weights = emc_weight_source_get(model->source);

    return model->part.n_ranks == 1 && weights->head == weights->embed &&
           !(model->merges && (emc_weight_source_updates(model->source, EMC_MATRIX_EMBED, 0) ||
                               emc_weight_source_updates(model->source, EMC_MATRIX_HEAD, 0)));
}

static emc_status open_head(emc_model *model, bool receives)
{
    emc_status status;
    piece m;

    if (!head_is_embed(model))
        return open_matrix(model, receives, &model->head, EMC_MATRIX_HEAD, 0);
    model->head.w = model->embed.w;
    if (model->merges)
        return EMC_OK;
    find_piece(model, &m, EMC_MATRIX_HEAD, 0);
    status = open_lora(model, &model->head.lora, &m);
    return status == EMC_OK ? EMC_OK : explain(model, status, "the head");
}

static emc_status open_matrices(emc_model *model, bool receives)
{
    for (int l = 0; l < model->info.n_layers; l++) {
        emc_model_layer *layer = &model->layers[l];

        EMC_TRY(open_matrix(model, receives, &layer->qkv, EMC_MATRIX_QKV, l));
        EMC_TRY(open_matrix(model, receives, &layer->o, EMC_MATRIX_O, l));
        EMC_TRY(open_matrix(model, receives, &layer->gate_up, EMC_MATRIX_GATE_UP, l));
        EMC_TRY(open_matrix(model, receives, &layer->down, EMC_MATRIX_DOWN, l));
    }
    EMC_TRY(open_matrix(model, receives, &model->embed, EMC_MATRIX_EMBED, 0));
    return open_head(model, receives);
}

/* --- Norms ------------------------------------------------------------------------------------ */

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

emc_status emc_model_load(emc_model *model, bool receives)
{
    emc_status status;

    EMC_TRY(emc_alloc(&model->layers, (size_t)model->info.n_layers, sizeof *model->layers,
                      "the table of layers"));
    status = open_norms(model);
    if (status != EMC_OK)
        return explain(model, status, "the norms");
    EMC_TRY(open_matrices(model, receives));
    if (model->without_weights)
        return EMC_OK;
    EMC_TRY(model->dev->ops->sync(model->dev));
    return drop_copied(model);
}

static emc_status copy_matrix(emc_model *model, emc_comm *copies, const emc_model_matrix *matrix)
{
    return model->dev->ops->matrix_broadcast(model->dev, copies, matrix->w);
}

/* Waits layer by layer, so that no wait is a long one. */
emc_status emc_model_copy(emc_model *model, emc_comm *copies)
{
    for (int l = 0; l < model->info.n_layers; l++) {
        const emc_model_layer *layer = &model->layers[l];

        EMC_TRY(copy_matrix(model, copies, &layer->qkv));
        EMC_TRY(copy_matrix(model, copies, &layer->o));
        EMC_TRY(copy_matrix(model, copies, &layer->gate_up));
        EMC_TRY(copy_matrix(model, copies, &layer->down));
        EMC_TRY(model->dev->ops->sync(model->dev));
    }
    EMC_TRY(copy_matrix(model, copies, &model->embed));
    if (model->head.w != model->embed.w)
        EMC_TRY(copy_matrix(model, copies, &model->head));
    return model->dev->ops->sync(model->dev);
}

static void close_matrix(emc_model *model, emc_model_matrix *matrix)
{
    if (matrix->lora)
        model->dev->ops->lora_close(model->dev, matrix->lora);
    if (matrix->w)
        model->dev->ops->matrix_close(model->dev, matrix->w);
}

void emc_model_unload(emc_model *model)
{
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
    if (model->dev)
        model->dev->ops->release(model->dev, model->d_norms);
    while (model->n_held > 0)
        free(model->held[--model->n_held]);
    free(model->held);
    free(model->layers);
}
