/*
 * Does a row's product depend on the row alone on this machine? Everything that is promised about
 * answers rests on it, and a library underneath may choose another routine for another shape.
 *
 * A few different rows stand in a block in many orders, and the block again and again over all rows
 * of the product: so each comes at every place of a tile, beside others. The results of one and the
 * same row must be the same wherever it stands.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/engine.h"

#define SOURCES    61 /* different rows: a prime, so that tiles do not come round */
#define ORDERS     12
#define BLOCK_ROWS (SOURCES * ORDERS)
/* A device that multiplies the real rows alone gets two tiles. */
#define FEW_ROWS 256
/* All results are looked at, for in bf16 only one value in some thousands tells another order of a
 * sum. So many rows at a time. */
#define STRETCH_ROWS 64
/* Ids of the vocabulary from one that is looked at to the next, of a row. */
#define HEAD_STEP 1024

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* a linear congruential generator */
    return *state;
}

/* Fixed numbers of both signs and very different sizes: products of short numbers of one size add
 * up exactly in f32, and then no order of a sum shows. */
static void fill(float *x, size_t n)
{
    uint32_t state = 1;

    for (size_t i = 0; i < n; i++) {
        const int32_t value = (int32_t)next(&state);

        x[i] = ldexpf((float)value, -30 - (int)(next(&state) >> 28));
    }
}

/* Which of the different rows stands at row r: order 1 is 0 1 2 ..., order 2 is 0 2 4 ... */
static int source_at(int r)
{
    return r % SOURCES * (r / SOURCES % ORDERS + 1) % SOURCES;
}

typedef struct {
    emc_device *dev;
    const emc_graph *graph;
    emc_graph_product product;
    int rows;     /* of the product */
    size_t width; /* bytes of a row of x */
    char *block;  /* T [BLOCK_ROWS, k] */
    char *first;  /* T or f32 [SOURCES, n]: the results of the first order */
    void *y;      /* T or f32 [STRETCH_ROWS, n], where the device copies to at its full speed */
} self_check;

/* Of a row of the product's results. */
static size_t row_bytes(const self_check *check)
{
    const emc_linear_args *args = &check->product.args;

    return (size_t)args->n * emc_dtype_bytes(args->out_f32 ? EMC_F32 : check->dev->dtype);
}

/* Fills x with the block, again and again: each copy doubles what is there. */
static emc_status set_rows(const self_check *check, const void *x)
{
    const emc_ops *ops = check->dev->ops;
    const size_t whole = (size_t)check->rows * check->width;
    size_t done = BLOCK_ROWS * check->width;
    char *d_x;

    /* Its owner lends x for this. */
    memcpy(&d_x, &x, sizeof d_x);
    if (done > whole)
        done = whole;
    EMC_TRY(ops->upload(check->dev, d_x, check->block, done));
    for (size_t n; done < whole; done += n) {
        n = done < whole - done ? done : whole - done;
        EMC_TRY(ops->copy(check->dev, d_x + done, d_x, n));
    }
    return EMC_OK;
}

static emc_status refuse(const self_check *check, emc_trace_operation operation, int batch_rows,
                         int r)
{
    return emc_fail(EMC_ERR_DEVICE,
                    "self-check: %s of %d rows gives a row other bits at place %d than at place "
                    "%d; results would depend on the batch, so this device is not used (%s)",
                    emc_trace_name(operation), batch_rows, r, source_at(r),
                    check->dev->description);
}

static emc_status compare_rows(const self_check *check, int first, int n)
{
    const emc_linear_args *args = &check->product.args;
    const size_t y_row = row_bytes(check);

    EMC_TRY(check->dev->ops->download(
        check->dev, check->y, (const char *)args->out + (size_t)first * y_row, (size_t)n * y_row));
    for (int r = first; r < first + n; r++)
        if (memcmp((const char *)check->y + (size_t)(r - first) * y_row,
                   check->first + (size_t)source_at(r) * y_row, y_row) != 0)
            return refuse(check, check->product.operation, args->batch_rows, r);
    return EMC_OK;
}

static emc_status compare_all(const self_check *check)
{
    for (int first = 0; first < check->rows; first += STRETCH_ROWS) {
        const int left = check->rows - first;

        EMC_TRY(compare_rows(check, first, left < STRETCH_ROWS ? left : STRETCH_ROWS));
    }
    return EMC_OK;
}

static emc_status run_check(self_check *check)
{
    emc_linear_args args = check->product.args;
    const size_t y_row = row_bytes(check);

    args.rows = check->rows;
    EMC_TRY(set_rows(check, args.x));
    EMC_TRY(check->dev->ops->linear(check->dev, &args));
    EMC_TRY(check->dev->ops->download(check->dev, check->first, args.out, SOURCES * y_row));
    EMC_TRY(compare_all(check));
    if (args.residual) /* it may be what was just written */
        return EMC_OK;
    args.rows = 1;
    EMC_TRY(check->dev->ops->linear(check->dev, &args));
    return compare_rows(check, 0, 1);
}

/* The block for rows of k values. */
static void make_block(self_check *check, const char *sources, int k)
{
    check->width = (size_t)k * emc_dtype_bytes(check->dev->dtype);
    for (int r = 0; r < BLOCK_ROWS && r < check->rows; r++)
        memcpy(check->block + (size_t)r * check->width,
               sources + (size_t)source_at(r) * check->width, check->width);
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

static emc_status check_products(self_check *check, const emc_model *model, const char *sources)
{
    const emc_model_info *info = &model->info;
    const int q_width = model->part.n_heads * info->head_dim;
    const bool at_once = check->dev->at_once;

    for (int i = 0; emc_graph_get_product(check->graph, i, &check->product); i++) {
        const emc_linear_args *args = &check->product.args;
        const int layer = i / 4;

        /* A layer in the middle has the shapes of the first. */
        if (layer > 0 && layer < info->n_layers - 1)
            continue;
        /* Where a product costs what its real rows do, a routine that fails one fails all. */
        if (at_once && i > 0)
            break;
        check->rows = at_once && args->batch_rows > FEW_ROWS ? FEW_ROWS : args->batch_rows;
        make_block(check, sources,
                   check->product.operation == EMC_TRACE_O      ? q_width
                   : check->product.operation == EMC_TRACE_DOWN ? model->part.ffn
                                                                : info->hidden);
        EMC_TRY(run_check(check));
    }
    return EMC_OK;
}

/* --- The head ------------------------------------------------------------------------------- */

/* From one logit that is looked at to the row's next: eight in what the head multiplies at a time,
 * or of a small vocabulary. The different rows look between each other's. */
static int id_step(int vocab)
{
    return vocab < 8 * HEAD_STEP ? (vocab + 7) / 8 : HEAD_STEP;
}

static int count_ids(int vocab)
{
    return (vocab + id_step(vocab) - 1) / id_step(vocab) + 1;
}

/* Id i that is wanted of a row; the last is the vocabulary's. */
static int32_t wanted_id(int vocab, int source, int i)
{
    const int id = i * id_step(vocab) + source * id_step(vocab) / SOURCES;

    return id < vocab ? id : vocab - 1;
}

/* What a step would bring to the head and take from it, on either side. */
typedef struct {
    int n_ids;      /* wanted of each row */
    size_t n_given; /* words: wanted_begin and wanted */
    size_t n_got;   /* words: wanted_logits and log_sum */
    int32_t *host;  /* [n_given + n_got] */
    void *device;   /* the same, and [rows] top_ids */
} head_memory;

static emc_status take_head_memory(const self_check *check, head_memory *m, int vocab)
{
    const size_t rows = (size_t)check->rows;

    m->n_ids = count_ids(vocab);
    m->n_given = rows + 1 + rows * (size_t)m->n_ids;
    m->n_got = rows * (size_t)m->n_ids + rows;
    EMC_TRY(emc_alloc(&m->host, m->n_given + m->n_got, sizeof *m->host, "the self-check"));
    return check->dev->ops->alloc(
        check->dev, &m->device, (m->n_given + m->n_got + rows) * sizeof *m->host, "the self-check");
}

static emc_status compare_head(const self_check *check, const head_memory *m)
{
    const size_t n = (size_t)m->n_ids, word = sizeof *m->host;
    const int32_t *logits = m->host + m->n_given;
    const int32_t *log_sums = logits + (size_t)check->rows * n;

    for (int r = 0; r < check->rows; r++)
        if (memcmp(logits + (size_t)r * n, logits + (size_t)source_at(r) * n, n * word) != 0 ||
            memcmp(log_sums + r, log_sums + source_at(r), word) != 0)
            return refuse(check, EMC_TRACE_HEAD, check->rows, r);
    return EMC_OK;
}

static emc_status run_head(const self_check *check, const head_memory *m, emc_head_args args)
{
    const emc_ops *ops = check->dev->ops;
    const size_t rows = (size_t)check->rows, word = sizeof *m->host;
    int32_t *wanted_begin = m->host, *wanted = wanted_begin + rows + 1;
    int32_t *d_words = m->device;

    wanted_begin[0] = 0;
    for (int r = 0; r < check->rows; r++) {
        for (int i = 0; i < m->n_ids; i++)
            *wanted++ = args.first_id + wanted_id(args.n_ids - args.first_id, source_at(r), i);
        wanted_begin[r + 1] = wanted_begin[r] + m->n_ids;
    }
    EMC_TRY(set_rows(check, args.x));
    EMC_TRY(ops->upload(check->dev, d_words, m->host, m->n_given * word));
    args.wanted_begin = d_words;
    args.wanted = d_words + rows + 1;
    args.wanted_logits = (float *)m->device + m->n_given;
    args.log_sum = args.wanted_logits + rows * (size_t)m->n_ids;
    args.top_ids = d_words + m->n_given + m->n_got;
    EMC_TRY(ops->head(check->dev, &args));
    EMC_TRY(ops->download(check->dev, m->host + m->n_given, args.wanted_logits, m->n_got * word));
    return compare_head(check, m);
}

/* Of every slab of the vocabulary that the head multiplies at a time a few logits. */
static emc_status check_head(self_check *check, const emc_model *model, const char *sources)
{
    const emc_head_args args = emc_graph_get_head(check->graph);
    head_memory memory = {0};
    emc_status status;

    check->rows = args.batch_rows;
    make_block(check, sources, model->info.hidden);
    status = take_head_memory(check, &memory, model->part.vocab);
    if (status == EMC_OK)
        status = run_head(check, &memory, args);
    free(memory.host);
    check->dev->ops->release(check->dev, memory.device);
    return status;
}

emc_status emc_engine_self_check(const emc_model *model, const emc_graph *graph)
{
    const emc_model_info *info = &model->info;
    const size_t value = emc_dtype_bytes(model->dev->dtype);
    const int q_width = model->part.n_heads * info->head_dim;
    const int kv_width = model->part.n_kv_heads * info->head_dim;
    const int k = most(most(info->hidden, model->part.ffn), q_width);
    const int n = most(most(2 * model->part.ffn, info->hidden), q_width + 2 * kv_width);
    self_check check = {.dev = model->dev, .graph = graph};
    float *values = NULL;
    char *sources = NULL;
    emc_status status;

    status = emc_alloc(&values, (size_t)SOURCES * (size_t)k, sizeof *values, "the self-check");
    if (status == EMC_OK)
        status = emc_alloc(&sources, (size_t)SOURCES * (size_t)k, value, "the self-check");
    if (status == EMC_OK)
        status = emc_alloc(&check.block, (size_t)BLOCK_ROWS * (size_t)k, value, "the self-check");
    if (status == EMC_OK)
        status = check.dev->ops->alloc_host(check.dev, &check.y,
                                            (size_t)STRETCH_ROWS * (size_t)n * sizeof(float),
                                            "the self-check");
    if (status == EMC_OK)
        status =
            emc_alloc(&check.first, (size_t)SOURCES * (size_t)n, sizeof(float), "the self-check");
    if (status == EMC_OK) {
        fill(values, (size_t)SOURCES * (size_t)k);
        emc_from_f32(sources, model->dev->dtype, values, (size_t)SOURCES * (size_t)k);
        status = check_products(&check, model, sources);
        /* A device that computes at once would pay for it what the head of a step costs. */
        if (status == EMC_OK && !check.dev->at_once)
            status = check_head(&check, model, sources);
    }
    free(values);
    free(sources);
    free(check.block);
    free(check.first);
    check.dev->ops->release_host(check.dev, check.y);
    return status;
}
