/*
 * The forward pass, written once against kernels/ops.h:
 *
 *   x = embed[token]
 *   per layer:
 *     h = rmsnorm(x, input_norm)
 *     q, k, v = h Wqkv^T;  q, k = rope(rmsnorm per head);  k and v go to the cache
 *     x = x + attention(q, cache) Wo^T
 *     h = rmsnorm(x, post_norm)
 *     x = x + (silu(h Wgate^T) * (h Wup^T)) Wdown^T
 *   logits = rmsnorm(x, norm) Whead^T
 *
 * The last layer is pruned: later tokens need its K and V of every row, but nobody looks at its
 * other results except where logits are read, so from q on it runs for the readers alone.
 *
 * Where we round differently from the reference library's bf16: it rounds between the two
 * factors of a norm, between norm and rotation, after each product of the rotation, and between
 * silu and its product with up; here each operation rounds once, at its store. Alike: the residual
 * is rounded before the next norm reads it, K and V are stored rounded, logits differ only in that
 * ours stay f32.
 */
#include "runtime/graph.h"

#include <math.h>
#include <stdlib.h>

#include "base/size.h"

struct emc_graph {
    const emc_model *model;
    size_t n_bytes;
    int q_width;  /* n_heads * head_dim */
    int kv_width; /* n_kv_heads * head_dim */
    /* T, [max_rows, ...] */
    void *x;       /* hidden: the residual */
    void *h;       /* hidden: normed */
    void *qkv;     /* q_width + 2 kv_width */
    void *attn;    /* q_width */
    void *gate_up; /* 2 ffn */
    void *act;     /* ffn */
    /* T, [max_readers, hidden] */
    void *reader_x;
    void *reader_h;
};

static emc_status take(emc_graph *graph, void **out, int rows, int width)
{
    emc_device *dev = graph->model->dev;
    const size_t n_bytes = (size_t)rows * (size_t)width * emc_dtype_bytes(dev->dtype);

    EMC_TRY(dev->ops->alloc(dev, out, n_bytes, "activations"));
    graph->n_bytes += n_bytes;
    return EMC_OK;
}

static emc_status take_all(emc_graph *graph, int max_rows, int max_readers)
{
    const emc_model_info *info = &graph->model->info;

    EMC_TRY(take(graph, &graph->x, max_rows, info->hidden));
    EMC_TRY(take(graph, &graph->h, max_rows, info->hidden));
    EMC_TRY(take(graph, &graph->qkv, max_rows, graph->q_width + 2 * graph->kv_width));
    EMC_TRY(take(graph, &graph->attn, max_rows, graph->q_width));
    EMC_TRY(take(graph, &graph->gate_up, max_rows, 2 * info->ffn));
    EMC_TRY(take(graph, &graph->act, max_rows, info->ffn));
    EMC_TRY(take(graph, &graph->reader_x, max_readers, info->hidden));
    return take(graph, &graph->reader_h, max_readers, info->hidden);
}

emc_status emc_graph_open(emc_graph **out, const emc_model *model, int max_rows, int max_readers)
{
    emc_graph *graph = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&graph, 1, sizeof *graph, "the graph"));
    graph->model = model;
    graph->q_width = model->info.n_heads * model->info.head_dim;
    graph->kv_width = model->info.n_kv_heads * model->info.head_dim;
    status = take_all(graph, max_rows, max_readers);
    if (status != EMC_OK) {
        emc_graph_close(graph);
        return status;
    }
    *out = graph;
    return EMC_OK;
}

void emc_graph_close(emc_graph *graph)
{
    if (!graph)
        return;
    void *const taken[] = {graph->x,       graph->h,   graph->qkv,      graph->attn,
                           graph->gate_up, graph->act, graph->reader_x, graph->reader_h};
    for (size_t i = 0; i < EMC_COUNT(taken); i++)
        graph->model->dev->ops->release(graph->model->dev, taken[i]);
    free(graph);
}

size_t emc_graph_bytes(const emc_graph *graph)
{
    return graph->n_bytes;
}

/* out = x W^T, of n rows of the matrix from `first` on. */
static emc_status multiply(const emc_graph *graph, void *out, const void *x,
                           const emc_model_matrix *matrix, int first, int n, int rows,
                           const void *residual)
{
    const emc_linear_args args = {.out = out,
                                  .x = x,
                                  .w = matrix->w,
                                  .first = first,
                                  .n = n,
                                  .lora = matrix->lora,
                                  .residual = residual,
                                  .rows = rows};

    return graph->model->dev->ops->linear(graph->model->dev, &args);
}

static emc_status norm(const emc_graph *graph, void *out, const void *x, const void *weight,
                       int rows)
{
    emc_device *dev = graph->model->dev;

    return dev->ops->rmsnorm(dev, out, x, weight, rows, graph->model->info.hidden,
                             graph->model->rms_eps);
}

/* Rotary arguments without q, k or v. */
static emc_rope_args rope_args(const emc_graph *graph, const emc_graph_args *args, int layer,
                               const int32_t *positions, int rows)
{
    const emc_model_info *info = &graph->model->info;

    return (emc_rope_args){.q_norm = graph->model->layers[layer].q_norm,
                           .k_norm = graph->model->layers[layer].k_norm,
                           .rope_table = args->rope_table,
                           .positions = positions,
                           .slots = args->step->device.slots,
                           .k_cache = args->cache->k[layer],
                           .v_cache = args->cache->v[layer],
                           .rows = rows,
                           .n_heads = info->n_heads,
                           .n_kv_heads = info->n_kv_heads,
                           .head_dim = info->head_dim,
                           .eps = graph->model->rms_eps};
}

/* Attention of the step's rows, or of its readers. */
static emc_status attend(const emc_graph *graph, const emc_graph_args *args, int layer,
                         int q_stride, bool readers)
{
    const emc_model_info *info = &graph->model->info;
    const emc_step *step = args->step;
    const emc_step_arrays *d = &step->device;
    const emc_attention_args attention = {.out = graph->attn,
                                          .q = graph->qkv,
                                          .q_stride = q_stride,
                                          .k_cache = args->cache->k[layer],
                                          .v_cache = args->cache->v[layer],
                                          .items = readers ? d->reader_items : d->items,
                                          .n_items = readers ? step->n_reader_items : step->n_items,
                                          .page_table = d->page_table,
                                          .path_slots =
                                              readers ? d->reader_path_slots : d->path_slots,
                                          .path_lens = readers ? d->reader_path_lens : d->path_lens,
                                          .rows = readers ? step->n_readers : step->n_rows,
                                          .n_heads = info->n_heads,
                                          .n_kv_heads = info->n_kv_heads,
                                          .head_dim = info->head_dim,
                                          .scale = 1.0f / sqrtf((float)info->head_dim)};

    return graph->model->dev->ops->attention(graph->model->dev, &attention);
}

/* From the attention's output to the layer's: x = x + attn Wo^T, then x = x + mlp(x). */
static emc_status finish_layer(const emc_graph *graph, int layer, void *x, void *h, int rows)
{
    emc_device *dev = graph->model->dev;
    const emc_model_layer *weights = &graph->model->layers[layer];
    const int hidden = graph->model->info.hidden, ffn = graph->model->info.ffn;

    EMC_TRY(multiply(graph, x, graph->attn, &weights->o, 0, hidden, rows, x));
    EMC_TRY(norm(graph, h, x, weights->post_norm, rows));
    EMC_TRY(multiply(graph, graph->gate_up, h, &weights->gate_up, 0, 2 * ffn, rows, NULL));
    EMC_TRY(dev->ops->swiglu(dev, graph->act, graph->gate_up, rows, ffn));
    return multiply(graph, x, graph->act, &weights->down, 0, hidden, rows, x);
}

static emc_status run_layer(const emc_graph *graph, const emc_graph_args *args, int layer)
{
    emc_device *dev = graph->model->dev;
    const emc_model_layer *weights = &graph->model->layers[layer];
    const int rows = args->step->n_rows;
    const int width = graph->q_width + 2 * graph->kv_width;
    const size_t value = emc_dtype_bytes(dev->dtype);
    emc_rope_args rope = rope_args(graph, args, layer, args->step->device.positions, rows);

    EMC_TRY(norm(graph, graph->h, graph->x, weights->input_norm, rows));
    EMC_TRY(multiply(graph, graph->qkv, graph->h, &weights->qkv, 0, width, rows, NULL));
    rope.q = graph->qkv;
    rope.k = (char *)graph->qkv + (size_t)graph->q_width * value;
    rope.v = (char *)graph->qkv + (size_t)(graph->q_width + graph->kv_width) * value;
    rope.q_stride = rope.kv_stride = width;
    EMC_TRY(dev->ops->rope_store(dev, &rope));
    EMC_TRY(attend(graph, args, layer, width, false));
    return finish_layer(graph, layer, graph->x, graph->h, rows);
}

/* K and V for every row, the rest for the readers, which it leaves in reader_x. */
static emc_status run_last_layer(const emc_graph *graph, const emc_graph_args *args)
{
    emc_device *dev = graph->model->dev;
    const int layer = graph->model->info.n_layers - 1, hidden = graph->model->info.hidden;
    const emc_model_layer *weights = &graph->model->layers[layer];
    const emc_step *step = args->step;
    emc_rope_args rope = rope_args(graph, args, layer, step->device.positions, step->n_rows);

    EMC_TRY(norm(graph, graph->h, graph->x, weights->input_norm, step->n_rows));
    EMC_TRY(multiply(graph, graph->qkv, graph->h, &weights->qkv, graph->q_width,
                     2 * graph->kv_width, step->n_rows, NULL));
    rope.k = graph->qkv;
    rope.v = (char *)graph->qkv + (size_t)graph->kv_width * emc_dtype_bytes(dev->dtype);
    rope.kv_stride = 2 * graph->kv_width;
    EMC_TRY(dev->ops->rope_store(dev, &rope));
    if (step->n_readers == 0)
        return EMC_OK;

    EMC_TRY(dev->ops->gather_rows(dev, graph->reader_x, graph->x, step->device.reader_rows,
                                  step->n_readers, hidden));
    EMC_TRY(dev->ops->gather_rows(dev, graph->reader_h, graph->h, step->device.reader_rows,
                                  step->n_readers, hidden));
    EMC_TRY(multiply(graph, graph->qkv, graph->reader_h, &weights->qkv, 0, graph->q_width,
                     step->n_readers, NULL));
    rope = rope_args(graph, args, layer, step->device.reader_positions, step->n_readers);
    rope.q = graph->qkv;
    rope.q_stride = graph->q_width;
    EMC_TRY(dev->ops->rope_store(dev, &rope));
    EMC_TRY(attend(graph, args, layer, graph->q_width, true));
    return finish_layer(graph, layer, graph->reader_x, graph->reader_h, step->n_readers);
}

static emc_status run_head(const emc_graph *graph, const emc_graph_args *args)
{
    emc_device *dev = graph->model->dev;
    const emc_step_arrays *d = &args->step->device;
    const emc_head_args head = {.x = graph->reader_h,
                                .w = graph->model->head.w,
                                .lora = graph->model->head.lora,
                                .wanted_begin = d->wanted_begin,
                                .wanted = d->wanted,
                                .wanted_logits = d->wanted_logits,
                                .log_sum = d->log_sums,
                                .top_ids = d->best,
                                .n_top = 1,
                                .all_logits = args->all_logits,
                                .rows = args->step->n_readers,
                                .n_ids = args->n_ids};

    EMC_TRY(
        norm(graph, graph->reader_h, graph->reader_x, graph->model->norm, args->step->n_readers));
    return dev->ops->head(dev, &head);
}

emc_status emc_graph_run(emc_graph *graph, const emc_graph_args *args)
{
    emc_device *dev = graph->model->dev;
    const emc_step *step = args->step;

    EMC_TRY(dev->ops->embed(dev, graph->x, graph->model->embed.w, graph->model->embed.lora,
                            step->device.tokens, step->n_rows));
    for (int layer = 0; layer + 1 < graph->model->info.n_layers; layer++)
        EMC_TRY(run_layer(graph, args, layer));
    EMC_TRY(run_last_layer(graph, args));
    return step->n_readers > 0 ? run_head(graph, args) : EMC_OK;
}
