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
 * A device that adds in the norm has each product of o and down stored by itself and added by the
 * norm that follows, which costs one rounding more.
 *
 * Every product runs at one of two numbers of rows, however many are real: the step's, or the
 * readers'. A row's bits may depend on that number, and on nothing else that a step could change.
 * So a short step costs a whole one where a device multiplies the padding, too; further numbers of
 * rows are for batch_rows below, once a device promises the same bits for them.
 *
 * The last layer is pruned: later tokens need its K and V of every row, but nobody looks at its
 * other results except where logits are read, so from q on it runs for the readers alone.
 *
 * With tensor parallelism a rank runs this on its part of the heads, of the MLP's width and of the
 * vocabulary (part.h). Its products of o and down are parts of sums, which the ranks make together
 * before they are added to x; x is the same on all ranks. They all get the same logits, log-sums
 * and best ids.
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

/* What is kept of each row from layer to layer. */
typedef struct {
    void *x; /* T [batch_rows, hidden]: the residual */
    void *h; /* T [batch_rows, hidden]: normed, or what is to be added to x */
    int batch_rows;
} stream;

struct emc_graph {
    const emc_model *model;
    bool adds_in_norm;
    int q_width;  /* n_heads * head_dim, of this rank, as all that follows */
    int kv_width; /* n_kv_heads * head_dim */
    int ffn;
    stream all; /* of a step's rows */
    stream readers;
    /* T, [max_rows, ...] */
    void *qkv;     /* q_width + 2 kv_width */
    void *attn;    /* q_width */
    void *gate_up; /* 2 ffn */
    void *act;     /* ffn */
    /* With other ranks. */
    float *sums;   /* [max_rows, hidden]; NULL: sums are of T */
    float *slices; /* of each rank's slice of the vocabulary [3, max_readers]: log_sums, best ids,
                      their logits */
};

/* One step on its way. */
typedef struct {
    const emc_graph *graph;
    const emc_graph_args *args;
    int rows;
    int readers;
} pass;

/* --- Memory --------------------------------------------------------------------------------- */

static int q_width(const emc_model *model)
{
    return model->part.n_heads * model->info.head_dim;
}

static int kv_width(const emc_model *model)
{
    return model->part.n_kv_heads * model->info.head_dim;
}

/* Bytes of sums and of slices, 0 for a rank that is alone. */
static size_t sums_bytes(const emc_model *model, int max_rows)
{
    return model->part.n_ranks > 1 && model->sums_f32
               ? (size_t)max_rows * (size_t)model->info.hidden * sizeof(float)
               : 0;
}

static size_t slices_bytes(const emc_model *model, int max_readers)
{
    return model->part.n_ranks > 1
               ? (size_t)model->part.n_ranks * 3 * (size_t)max_readers * sizeof(float)
               : 0;
}

size_t emc_graph_bytes(const emc_model *model, int max_rows, int max_readers)
{
    const size_t hidden = (size_t)model->info.hidden, ffn = (size_t)model->part.ffn;
    const size_t q = (size_t)q_width(model), kv = (size_t)kv_width(model);

    return ((size_t)max_rows * (2 * hidden + (q + 2 * kv) + q + 3 * ffn) +
            (size_t)max_readers * 2 * hidden) *
               emc_dtype_bytes(model->dev->dtype) +
           sums_bytes(model, max_rows) + slices_bytes(model, max_readers);
}

static emc_status take_shared(emc_graph *graph)
{
    const emc_model *model = graph->model;
    const size_t n_sums = sums_bytes(model, graph->all.batch_rows);
    const size_t n_slices = slices_bytes(model, graph->readers.batch_rows);
    void *memory;

    if (n_sums > 0) {
        EMC_TRY(model->dev->ops->alloc(model->dev, &memory, n_sums, "sums over ranks"));
        graph->sums = memory;
    }
    if (n_slices > 0) {
        EMC_TRY(model->dev->ops->alloc(model->dev, &memory, n_slices, "slices of the vocabulary"));
        graph->slices = memory;
    }
    return EMC_OK;
}

static emc_status take(emc_graph *graph, void **out, int rows, int width)
{
    emc_device *dev = graph->model->dev;

    return dev->ops->alloc(dev, out, (size_t)rows * (size_t)width * emc_dtype_bytes(dev->dtype),
                           "activations");
}

static emc_status take_all(emc_graph *graph)
{
    const emc_model_info *info = &graph->model->info;
    const int rows = graph->all.batch_rows, readers = graph->readers.batch_rows;

    EMC_TRY(take(graph, &graph->all.x, rows, info->hidden));
    EMC_TRY(take(graph, &graph->all.h, rows, info->hidden));
    EMC_TRY(take(graph, &graph->qkv, rows, graph->q_width + 2 * graph->kv_width));
    EMC_TRY(take(graph, &graph->attn, rows, graph->q_width));
    EMC_TRY(take(graph, &graph->gate_up, rows, 2 * graph->ffn));
    EMC_TRY(take(graph, &graph->act, rows, graph->ffn));
    EMC_TRY(take(graph, &graph->readers.x, readers, info->hidden));
    EMC_TRY(take(graph, &graph->readers.h, readers, info->hidden));
    return take_shared(graph);
}

emc_status emc_graph_open(emc_graph **out, const emc_model *model, int max_rows, int max_readers)
{
    emc_graph *graph = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&graph, 1, sizeof *graph, "the graph"));
    graph->model = model;
    graph->adds_in_norm = model->dev->adds_in_norm || model->comm;
    graph->q_width = q_width(model);
    graph->kv_width = kv_width(model);
    graph->ffn = model->part.ffn;
    graph->all.batch_rows = max_rows;
    graph->readers.batch_rows = max_readers;
    status = take_all(graph);
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
    void *const taken[] = {graph->all.x,     graph->all.h,    graph->qkv,  graph->attn,
                           graph->gate_up,   graph->act,      graph->sums, graph->slices,
                           graph->readers.x, graph->readers.h};
    for (size_t i = 0; i < EMC_COUNT(taken); i++)
        graph->model->dev->ops->release(graph->model->dev, taken[i]);
    free(graph);
}

/* --- Products ------------------------------------------------------------------------------- */

/* out = x W^T, of n rows of the matrix from `first` on. */
static emc_linear_args product(const emc_model_matrix *matrix, int first, int n, void *out,
                               const void *x, const stream *s)
{
    return (emc_linear_args){.out = out,
                             .x = x,
                             .w = matrix->w,
                             .first = first,
                             .n = n,
                             .lora = matrix->lora,
                             .rows = s->batch_rows,
                             .batch_rows = s->batch_rows};
}

static emc_linear_args qkv_product(const emc_graph *graph, int layer, int first, int n,
                                   const stream *s)
{
    return product(&graph->model->layers[layer].qkv, first, n, graph->qkv, s->h, s);
}

/* A product whose result is added to x: at once, or by the next norm, and there where ranks put
 * their parts of it together before. */
static emc_linear_args added_product(const emc_graph *graph, const emc_model_matrix *matrix,
                                     const void *x, const stream *s)
{
    emc_linear_args args =
        product(matrix, 0, graph->model->info.hidden, graph->adds_in_norm ? s->h : s->x, x, s);

    args.residual = graph->adds_in_norm ? NULL : s->x;
    args.out_f32 = graph->sums != NULL;
    if (args.out_f32)
        args.out = graph->sums;
    return args;
}

static emc_linear_args o_product(const emc_graph *graph, int layer, const stream *s)
{
    return added_product(graph, &graph->model->layers[layer].o, graph->attn, s);
}

static emc_linear_args gate_up_product(const emc_graph *graph, int layer, const stream *s)
{
    return product(&graph->model->layers[layer].gate_up, 0, 2 * graph->ffn, graph->gate_up, s->h,
                   s);
}

static emc_linear_args down_product(const emc_graph *graph, int layer, const stream *s)
{
    return added_product(graph, &graph->model->layers[layer].down, graph->act, s);
}

bool emc_graph_get_product(const emc_graph *graph, int index, emc_graph_product *out)
{
    const int last = graph->model->info.n_layers - 1, q = graph->q_width, kv = graph->kv_width;
    const int layer = index / 4 < last ? index / 4 : last, place = index - 4 * layer;
    const stream *s = layer < last ? &graph->all : &graph->readers;

    if (index < 0 || place > 4)
        return false;
    if (place == 4)
        *out =
            (emc_graph_product){EMC_TRACE_QKV, qkv_product(graph, layer, q, 2 * kv, &graph->all)};
    else if (place == 0)
        *out = (emc_graph_product){EMC_TRACE_QKV,
                                   qkv_product(graph, layer, 0, layer < last ? q + 2 * kv : q, s)};
    else if (place == 1)
        *out = (emc_graph_product){EMC_TRACE_O, o_product(graph, layer, s)};
    else if (place == 2)
        *out = (emc_graph_product){EMC_TRACE_GATE_UP, gate_up_product(graph, layer, s)};
    else
        *out = (emc_graph_product){EMC_TRACE_DOWN, down_product(graph, layer, s)};
    return true;
}

emc_head_args emc_graph_get_head(const emc_graph *graph)
{
    const emc_model *model = graph->model;

    return (emc_head_args){.x = graph->readers.h,
                           .w = model->head.w,
                           .lora = model->head.lora,
                           .n_top = 1,
                           .first_id = model->part.first_id,
                           .rows = graph->readers.batch_rows,
                           .batch_rows = graph->readers.batch_rows,
                           .n_ids = model->part.first_id + model->part.vocab};
}

/* --- Preparing ------------------------------------------------------------------------------ */

/* Attention without what belongs to a step. */
static emc_attention_args attention_args(const emc_graph *graph, int q_stride)
{
    const emc_model *model = graph->model;

    return (emc_attention_args){.out = graph->attn,
                                .q = graph->qkv,
                                .q_stride = q_stride,
                                .n_heads = model->part.n_heads,
                                .n_kv_heads = model->part.n_kv_heads,
                                .head_dim = model->info.head_dim,
                                .scale = 1.0f / sqrtf((float)model->info.head_dim)};
}

/* Where prepare_ asks for a pointer, any will do. */
static emc_status prepare_attention(const emc_graph *graph, int n_positions, bool readers)
{
    emc_device *dev = graph->model->dev;
    const int width = graph->q_width + (readers ? 0 : 2 * graph->kv_width);
    emc_attention_args args = attention_args(graph, width);

    args.k_cache = args.v_cache = graph->act;
    args.items = graph->act;
    args.page_table = args.path_slots = args.path_lens = graph->act;
    args.rows = readers ? graph->readers.batch_rows : graph->all.batch_rows;
    args.n_items = args.n_causal_items = args.rows;
    args.max_causal_rows = EMC_MAX_ITEM_ROWS;
    if (!readers)
        EMC_TRY(dev->ops->prepare_attention(dev, &args));
    /* Every row that is not of a prompt is read. */
    args.n_items = graph->readers.batch_rows;
    args.n_causal_items = args.max_causal_rows = 0;
    args.max_flat_rows = EMC_FLAT_ROWS;
    args.max_flat_keys = n_positions;
    return dev->ops->prepare_attention(dev, &args);
}

static emc_status prepare_head(const emc_graph *graph)
{
    emc_device *dev = graph->model->dev;
    emc_head_args head = emc_graph_get_head(graph);

    head.wanted_begin = head.wanted = graph->act;
    head.wanted_logits = head.log_sum = graph->act;
    head.top_ids = graph->act;
    return dev->ops->prepare_head(dev, &head);
}

emc_status emc_graph_prepare(const emc_graph *graph, int n_positions)
{
    emc_device *dev = graph->model->dev;
    emc_graph_product p;

    /* All layers: adapters may differ from one to the next. */
    for (int i = 0; emc_graph_get_product(graph, i, &p); i++)
        EMC_TRY(dev->ops->prepare_linear(dev, &p.args));
    EMC_TRY(prepare_attention(graph, n_positions, false));
    EMC_TRY(prepare_attention(graph, n_positions, true));
    return prepare_head(graph);
}

/* --- Operations ----------------------------------------------------------------------------- */

int emc_graph_marks(const emc_model *model)
{
    return 11 * model->info.n_layers + 16;
}

/* Bytes of n values a row. */
static double bytes_of(const pass *p, int rows, int n)
{
    return (double)rows * n * (double)emc_dtype_bytes(p->graph->model->dev->dtype);
}

static emc_status multiply(const pass *p, emc_trace_operation operation, emc_linear_args args,
                           int rows)
{
    emc_device *dev = p->graph->model->dev;
    const double k = args.x == p->graph->attn  ? p->graph->q_width
                     : args.x == p->graph->act ? p->graph->ffn
                                               : p->graph->model->info.hidden;

    args.rows = rows;
    EMC_TRY(dev->ops->linear(dev, &args));
    return emc_trace_mark(p->args->trace, operation, 2.0 * rows * args.n * k, 0);
}

/* What added_product gave, a rank's part of a sum, becomes the sum: in h. */
static emc_status add_ranks(const pass *p, const stream *s, int rows)
{
    const emc_graph *graph = p->graph;
    const emc_model *model = graph->model;
    emc_device *dev = model->dev;
    const size_t n = (size_t)rows * (size_t)model->info.hidden;

    if (!model->comm)
        return EMC_OK;
    if (graph->sums) {
        EMC_TRY(dev->ops->all_reduce(dev, model->comm, graph->sums, n, EMC_F32));
        EMC_TRY(dev->ops->round(dev, s->h, graph->sums, n));
    } else {
        EMC_TRY(dev->ops->all_reduce(dev, model->comm, s->h, n, dev->dtype));
    }
    return emc_trace_mark(p->args->trace, EMC_TRACE_RANKS, 0,
                          (double)n *
                              (double)(graph->sums ? sizeof(float) : emc_dtype_bytes(dev->dtype)));
}

/* h = norm of x. */
static emc_status norm(const pass *p, const stream *s, const void *weight, int rows)
{
    emc_device *dev = p->graph->model->dev;
    const int hidden = p->graph->model->info.hidden;

    EMC_TRY(dev->ops->rmsnorm(dev, s->h, s->x, weight, rows, hidden, p->graph->model->rms_eps));
    return emc_trace_mark(p->args->trace, EMC_TRACE_RMSNORM, 0, 2 * bytes_of(p, rows, hidden));
}

/* h = norm of x, to which what added_product left is added first. */
static emc_status add_and_norm(const pass *p, const stream *s, const void *weight, int rows)
{
    emc_device *dev = p->graph->model->dev;
    const int hidden = p->graph->model->info.hidden;

    if (!p->graph->adds_in_norm)
        return norm(p, s, weight, rows);
    EMC_TRY(dev->ops->add_rmsnorm(dev, s->h, s->x, s->h, weight, rows, hidden,
                                  p->graph->model->rms_eps));
    return emc_trace_mark(p->args->trace, EMC_TRACE_RMSNORM, 0, 4 * bytes_of(p, rows, hidden));
}

/* The norm before a layer's attention: nothing is left to add before the first. */
static emc_status input_norm(const pass *p, int layer)
{
    const void *weight = p->graph->model->layers[layer].input_norm;

    return layer == 0 ? norm(p, &p->graph->all, weight, p->rows)
                      : add_and_norm(p, &p->graph->all, weight, p->rows);
}

/* With rotary arguments q, k, v and their strides set. */
static emc_status rope(const pass *p, int layer, const int32_t *positions, int rows,
                       emc_rope_args args)
{
    const emc_model *model = p->graph->model;
    const int n = (args.q ? p->graph->q_width : 0) + (args.k ? 2 * p->graph->kv_width : 0);

    args.q_norm = model->layers[layer].q_norm;
    args.k_norm = model->layers[layer].k_norm;
    args.rope_table = p->args->rope_table;
    args.positions = positions;
    args.slots = p->args->step->device.slots;
    args.k_cache = p->args->cache->k[layer];
    args.v_cache = p->args->cache->v[layer];
    args.rows = rows;
    args.n_heads = model->part.n_heads;
    args.n_kv_heads = model->part.n_kv_heads;
    args.head_dim = model->info.head_dim;
    args.eps = model->rms_eps;
    EMC_TRY(model->dev->ops->rope_store(model->dev, &args));
    return emc_trace_mark(p->args->trace, EMC_TRACE_ROPE_STORE, 0, 2 * bytes_of(p, rows, n));
}

/* Attention of the step's rows, or of its readers. */
static emc_status attend(const pass *p, int layer, int q_stride, bool readers)
{
    emc_device *dev = p->graph->model->dev;
    const emc_step *step = p->args->step;
    const emc_step_arrays *d = &step->device;
    const emc_step_items *items = readers ? &step->reader_items : &step->items;
    emc_attention_args args = attention_args(p->graph, q_stride);

    args.k_cache = p->args->cache->k[layer];
    args.v_cache = p->args->cache->v[layer];
    args.items = readers ? d->reader_items : d->items;
    args.n_items = items->n_items;
    args.n_causal_items = items->n_causal_items;
    args.max_causal_rows = items->max_causal_rows;
    args.max_flat_rows = items->max_flat_rows;
    args.max_flat_keys = items->max_flat_keys;
    args.page_table = d->page_table;
    args.path_slots = readers ? d->reader_path_slots : d->path_slots;
    args.path_lens = readers ? d->reader_path_lens : d->path_lens;
    args.rows = readers ? p->readers : p->rows;
    EMC_TRY(dev->ops->attention(dev, &args));
    return emc_trace_mark(p->args->trace, EMC_TRACE_ATTENTION,
                          4.0 * items->n_pairs * p->graph->q_width, 0);
}

static emc_status gather(const pass *p, void *out, const void *x)
{
    emc_device *dev = p->graph->model->dev;
    const int hidden = p->graph->model->info.hidden;

    EMC_TRY(
        dev->ops->gather_rows(dev, out, x, p->args->step->device.reader_rows, p->readers, hidden));
    return emc_trace_mark(p->args->trace, EMC_TRACE_GATHER_ROWS, 0,
                          2 * bytes_of(p, p->readers, hidden));
}

/* --- Layers --------------------------------------------------------------------------------- */

/* From the attention's output to the layer's: x = x + attn Wo^T, then x = x + mlp(x), the last sum
 * perhaps left to the next norm. */
static emc_status finish_layer(const pass *p, int layer, const stream *s, int rows)
{
    const emc_graph *graph = p->graph;
    emc_device *dev = graph->model->dev;
    const int ffn = graph->ffn;

    EMC_TRY(multiply(p, EMC_TRACE_O, o_product(graph, layer, s), rows));
    EMC_TRY(add_ranks(p, s, rows));
    EMC_TRY(add_and_norm(p, s, graph->model->layers[layer].post_norm, rows));
    EMC_TRY(multiply(p, EMC_TRACE_GATE_UP, gate_up_product(graph, layer, s), rows));
    EMC_TRY(dev->ops->swiglu(dev, graph->act, graph->gate_up, rows, ffn));
    EMC_TRY(emc_trace_mark(p->args->trace, EMC_TRACE_SWIGLU, 0, 3 * bytes_of(p, rows, ffn)));
    EMC_TRY(multiply(p, EMC_TRACE_DOWN, down_product(graph, layer, s), rows));
    return add_ranks(p, s, rows);
}

static void *qkv_at(const emc_graph *graph, int column)
{
    return (char *)graph->qkv + (size_t)column * emc_dtype_bytes(graph->model->dev->dtype);
}

static emc_status run_layer(const pass *p, int layer)
{
    const emc_graph *graph = p->graph;
    const int q = graph->q_width, kv = graph->kv_width, width = q + 2 * kv;
    const emc_rope_args args = {.q = graph->qkv,
                                .k = qkv_at(graph, q),
                                .v = qkv_at(graph, q + kv),
                                .q_stride = width,
                                .kv_stride = width};

    EMC_TRY(input_norm(p, layer));
    EMC_TRY(multiply(p, EMC_TRACE_QKV, qkv_product(graph, layer, 0, width, &graph->all), p->rows));
    EMC_TRY(rope(p, layer, p->args->step->device.positions, p->rows, args));
    EMC_TRY(attend(p, layer, width, false));
    return finish_layer(p, layer, &graph->all, p->rows);
}

/* K and V for every row, the rest for the readers. */
static emc_status run_last_layer(const pass *p)
{
    const emc_graph *graph = p->graph;
    const emc_step_arrays *d = &p->args->step->device;
    const int layer = graph->model->info.n_layers - 1;
    const int q = graph->q_width, kv = graph->kv_width;
    const emc_rope_args kv_args = {.k = graph->qkv, .v = qkv_at(graph, kv), .kv_stride = 2 * kv};
    const emc_rope_args q_args = {.q = graph->qkv, .q_stride = q};

    EMC_TRY(input_norm(p, layer));
    EMC_TRY(multiply(p, EMC_TRACE_QKV, qkv_product(graph, layer, q, 2 * kv, &graph->all), p->rows));
    EMC_TRY(rope(p, layer, d->positions, p->rows, kv_args));
    if (p->readers == 0)
        return EMC_OK;

    EMC_TRY(gather(p, graph->readers.x, graph->all.x));
    EMC_TRY(gather(p, graph->readers.h, graph->all.h));
    EMC_TRY(
        multiply(p, EMC_TRACE_QKV, qkv_product(graph, layer, 0, q, &graph->readers), p->readers));
    EMC_TRY(rope(p, layer, d->reader_positions, p->readers, q_args));
    EMC_TRY(attend(p, layer, q, true));
    return finish_layer(p, layer, &graph->readers, p->readers);
}

/* Where this rank's slice of the vocabulary gives its results. */
static float *own_slice(const emc_graph *graph)
{
    return graph->slices + (size_t)graph->model->part.rank * 3 * (size_t)graph->readers.batch_rows;
}

/* What the ranks found in their slices becomes the step's results. A logit that is wanted is one
 * rank's; the others have 0, and a sum with zeros is exact. */
static emc_status merge_slices(const pass *p)
{
    const emc_graph *graph = p->graph;
    const emc_model *model = graph->model;
    const emc_step *step = p->args->step;
    const emc_step_arrays *d = &step->device;
    emc_device *dev = model->dev;
    const int readers = graph->readers.batch_rows;
    const size_t n_bytes = 3 * (size_t)readers * sizeof(float);
    const emc_merge_heads_args args = {.log_sum = d->log_sums,
                                       .top_ids = d->best,
                                       .slice_log_sums = graph->slices,
                                       .slice_ids = (const int32_t *)graph->slices + readers,
                                       .slice_logits = graph->slices + 2 * readers,
                                       .stride = 3 * readers,
                                       .n_slices = model->part.n_ranks,
                                       .rows = p->readers};

    EMC_TRY(dev->ops->all_gather(dev, model->comm, graph->slices, own_slice(graph), n_bytes));
    EMC_TRY(dev->ops->merge_heads(dev, &args));
    if (step->n_wanted > 0)
        EMC_TRY(dev->ops->all_reduce(dev, model->comm, d->wanted_logits, (size_t)step->n_wanted,
                                     EMC_F32));
    return emc_trace_mark(p->args->trace, EMC_TRACE_RANKS, 0,
                          (double)n_bytes * model->part.n_ranks +
                              (double)step->n_wanted * sizeof(float));
}

static emc_status run_head(const pass *p)
{
    const emc_graph *graph = p->graph;
    const emc_model *model = graph->model;
    const emc_step_arrays *d = &p->args->step->device;
    const int readers = graph->readers.batch_rows;
    emc_head_args head = emc_graph_get_head(graph);

    head.wanted_begin = d->wanted_begin;
    head.wanted = d->wanted;
    head.wanted_logits = d->wanted_logits;
    head.log_sum = model->comm ? own_slice(graph) : d->log_sums;
    head.top_ids = model->comm ? (int32_t *)own_slice(graph) + readers : d->best;
    head.top_logits = model->comm ? own_slice(graph) + 2 * readers : NULL;
    head.all_logits = p->args->all_logits;
    head.rows = p->readers;
    if (p->args->n_ids < head.n_ids)
        head.n_ids = p->args->n_ids;
    EMC_TRY(add_and_norm(p, &graph->readers, model->norm, p->readers));
    EMC_TRY(model->dev->ops->head(model->dev, &head));
    EMC_TRY(emc_trace_mark(p->args->trace, EMC_TRACE_HEAD,
                           2.0 * p->readers * model->part.vocab * model->info.hidden, 0));
    return model->comm ? merge_slices(p) : EMC_OK;
}

emc_status emc_graph_run(const emc_graph *graph, const emc_graph_args *args)
{
    const emc_model *model = graph->model;
    const pass p = {
        .graph = graph, .args = args, .rows = args->step->n_rows, .readers = args->step->n_readers};

    EMC_TRY(model->dev->ops->embed(model->dev, graph->all.x, model->embed.w, model->embed.lora,
                                   args->step->device.tokens, p.rows));
    EMC_TRY(emc_trace_mark(args->trace, EMC_TRACE_EMBED, 0,
                           2 * bytes_of(&p, p.rows, model->info.hidden)));
    for (int layer = 0; layer + 1 < model->info.n_layers; layer++)
        EMC_TRY(run_layer(&p, layer));
    EMC_TRY(run_last_layer(&p));
    return p.readers > 0 ? run_head(&p) : EMC_OK;
}
