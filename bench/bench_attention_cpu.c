/*
 * How does attention compare with the linear layers of the same transformer layer?
 *
 * bench_attention_cpu [--quick] [--cpu-time]
 *
 * Heads and widths of Qwen3-0.6B in bf16. One case is a cell with a prompt of 300 shared and 600
 * own tokens, another a step of single tokens, each at its own place of such a prompt. Linear is
 * the layer's four products on the same number of rows. --cpu-time: one thread and its CPU time,
 * for a machine that others use too.
 */
#include <math.h>

#include "base/size.h"
#include "bench.h"
#include "kernels/cpu.h"

#define N_HEADS    16
#define N_KV_HEADS 8
#define HEAD_DIM   128
#define HIDDEN     1024
#define WIDEST     6144 /* gate and up */

typedef struct {
    const char *name;
    int prefix, own, rows, n_items; /* rows: of each item */
} layout;

static const layout layouts[] = {
    {"one cell's prompt", 300, 600, 600, 1},
    {"prefix alone", 0, 300, 300, 1},
    {"64 single tokens", 300, 600, 1, 64},
};
static const layout quick_layouts[] = {{"quick", 20, 30, 30, 2}, {"quick", 20, 30, 1, 3}};

static bool cpu_time;

static double now(void)
{
    struct timespec t;

    if (!cpu_time)
        return bench_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    emc_device *dev;
    void *q, *out, *cache;
    emc_matrix *w;
    uint16_t *weights;
    emc_attention_item *items;
    int n_items;
    int32_t *pages, *slots, *lens;
} layer;

static emc_status device_alloc(emc_device *dev, void *out, size_t n_bytes)
{
    void *memory;

    EMC_TRY(dev->ops->alloc(dev, &memory, n_bytes, "a bench"));
    memcpy(out, &memory, sizeof memory);
    return EMC_OK;
}

static emc_status open_layer(layer *l, const layout *c)
{
    const size_t rows = (size_t)c->rows * (size_t)c->n_items;
    const int pages = (c->prefix + 127) / 128 + (c->own + 127) / 128;
    const size_t page = (size_t)N_KV_HEADS * EMC_PAGE_POSITIONS * HEAD_DIM;
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = WIDEST};

    EMC_TRY(emc_alloc(&l->weights, (size_t)WIDEST * HIDDEN, sizeof *l->weights, "weights"));
    for (size_t i = 0; i < (size_t)WIDEST * HIDDEN; i++)
        l->weights[i] = (uint16_t)(0x3C00 + i % 257);
    part.data = l->weights;
    EMC_TRY(l->dev->ops->matrix_open(l->dev, &l->w, &part, 1, HIDDEN));
    EMC_TRY(device_alloc(l->dev, &l->q, rows * WIDEST * 2));
    EMC_TRY(device_alloc(l->dev, &l->out, rows * WIDEST * 2));
    EMC_TRY(device_alloc(l->dev, &l->cache, (size_t)pages * page * 2));
    const size_t most_items = (size_t)c->n_items * (size_t)(c->rows / EMC_MAX_ITEM_ROWS + 1);
    EMC_TRY(device_alloc(l->dev, &l->items, most_items * sizeof *l->items));
    EMC_TRY(device_alloc(l->dev, &l->pages, (size_t)pages * sizeof *l->pages));
    EMC_TRY(device_alloc(l->dev, &l->slots, rows * EMC_MAX_PATH * sizeof *l->slots));
    EMC_TRY(device_alloc(l->dev, &l->lens, rows * sizeof *l->lens));
    memset(l->q, 0x3C, rows * WIDEST * 2);
    for (size_t i = 0; i < (size_t)pages * page; i++)
        ((uint16_t *)l->cache)[i] = (uint16_t)(0x3C00 + i % 257);
    for (int i = 0; i < pages; i++)
        l->pages[i] = i;
    for (int i = 0; i < c->n_items; i++)
        for (int row = 0; row < c->rows; row += EMC_MAX_ITEM_ROWS)
            l->items[l->n_items++] = (emc_attention_item){
                .row0 = i * c->rows + row,
                .n_rows = c->rows - row < EMC_MAX_ITEM_ROWS ? c->rows - row : EMC_MAX_ITEM_ROWS,
                .prefix_len = c->prefix,
                .own_page = (c->prefix + 127) / 128,
                .own_seen = c->own - c->rows + row + 1,
                .causal = 1};
    return EMC_OK;
}

static void close_layer(layer *l)
{
    const emc_ops *ops = l->dev->ops;

    if (l->w)
        ops->matrix_close(l->dev, l->w);
    ops->release(l->dev, l->q);
    ops->release(l->dev, l->out);
    ops->release(l->dev, l->cache);
    ops->release(l->dev, l->items);
    ops->release(l->dev, l->pages);
    ops->release(l->dev, l->slots);
    ops->release(l->dev, l->lens);
    free(l->weights);
}

/* o and down have the widths of q and ffn as k: turned round, so that one matrix serves all. */
static emc_status run_linear(layer *l, int rows)
{
    static const int widths[] = {4096, 2048, 6144, 3072};

    for (size_t i = 0; i < EMC_COUNT(widths); i++) {
        const emc_linear_args args = {
            .out = l->out, .x = l->q, .w = l->w, .n = widths[i], .rows = rows};
        EMC_TRY(l->dev->ops->linear(l->dev, &args));
    }
    return EMC_OK;
}

static emc_status measure(layer *l, const layout *c, double seconds)
{
    const int rows = c->rows * c->n_items;
    const emc_attention_args args = {.out = l->out,
                                     .q = l->q,
                                     .q_stride = N_HEADS * HEAD_DIM,
                                     .k_cache = l->cache,
                                     .v_cache = l->cache,
                                     .items = l->items,
                                     .n_items = l->n_items,
                                     .n_causal_items = l->n_items,
                                     .max_causal_rows = EMC_MAX_ITEM_ROWS,
                                     .page_table = l->pages,
                                     .path_slots = l->slots,
                                     .path_lens = l->lens,
                                     .rows = rows,
                                     .n_heads = N_HEADS,
                                     .n_kv_heads = N_KV_HEADS,
                                     .head_dim = HEAD_DIM,
                                     .scale = (float)(1.0 / sqrt(HEAD_DIM))};
    const double keys = c->prefix + c->own - 0.5 * (c->rows - 1);
    const double flops = 4.0 * rows * keys * N_HEADS * HEAD_DIM;
    bench_runs attention = {.n = 0}, linear = {.n = 0};
    double spent = 0;

    while (attention.n < BENCH_MAX_RUNS && (attention.n < 1 || spent < seconds)) {
        const double start = now();
        EMC_TRY(l->dev->ops->attention(l->dev, &args));
        const double middle = now();
        EMC_TRY(run_linear(l, rows));
        const double end = now();
        bench_add(&attention, middle - start);
        bench_add(&linear, end - middle);
        spent += end - start;
    }
    const double ours = bench_median(&attention), theirs = bench_median(&linear);
    printf("%-18s %5d %9.3f %8.1f %9.3f %6.0f%% %5.0f%%\n", c->name, rows, 1e3 * ours,
           1e-9 * flops / ours, 1e3 * theirs, 100.0 * ours / theirs,
           100.0 * bench_spread(&attention));
    return EMC_OK;
}

int main(int argc, char **argv)
{
    const bool quick = bench_is_quick(argc, argv);
    const layout *list = quick ? quick_layouts : layouts;
    const size_t n = quick ? EMC_COUNT(quick_layouts) : EMC_COUNT(layouts);
    emc_device *dev = NULL;
    emc_status status;

    for (int i = 1; i < argc; i++)
        cpu_time = cpu_time || strcmp(argv[i], "--cpu-time") == 0;
    const emc_cpu_options options = {.dtype = EMC_BF16, .n_threads = cpu_time ? 1 : 0};
    status = emc_cpu_open(&dev, &options);
    if (status == EMC_OK)
        printf("%s\n%-18s %5s %9s %8s %9s %7s %6s\n", dev->description, "case", "rows", "ms",
               "GFLOP/s", "linear ms", "share", "spread");
    for (size_t i = 0; i < n && status == EMC_OK; i++) {
        layer l = {.dev = dev};
        status = open_layer(&l, &list[i]);
        if (status == EMC_OK)
            status = measure(&l, &list[i], quick ? 0.0 : 2.0);
        close_layer(&l);
    }
    if (dev)
        dev->ops->close(dev);
    if (status != EMC_OK)
        fprintf(stderr, "bench_attention_cpu: %s\n", emc_message());
    return status == EMC_OK ? 0 : emc_status_exit_code(status);
}
