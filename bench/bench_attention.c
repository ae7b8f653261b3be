/*
 * How fast is attention, counting only pairs of query and key that matter?
 *
 * bench_attention [--device cpu|cuda|cuda:N] [--quick]
 *
 * Heads of Qwen3-8B. Prompts are cut into items as the engine does; flat rows see all of their
 * context. An operation is a multiplication or an addition of q . k or of the weighted sum. Where
 * rows are few it is bytes that bound: those tables count each cache position once.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "device_bench.h"

#define N_HEADS    32
#define N_KV_HEADS 8
#define HEAD_DIM   128
#define PAGE       EMC_PAGE_POSITIONS

typedef struct {
    const char *name;
    int prefix, own; /* positions; of the prefix all cells share one copy */
    int cells;       /* 0: as many as fill a step */
    int rows;        /* of a cell: all own positions (0), or so many that see the whole context */
} layout;

static const layout prompts[] = {
    {"300 shared + 600", 300, 600, 0, 0},
    {"4096", 0, 4096, 0, 0},
    {"16384", 0, 16384, 1, 0},
};
static const layout flat[] = {
    {"28 cells x 1 row, context 900", 300, 600, 28, 1},
    {"28 cells x 28 rows, context 900", 300, 600, 28, 28},
    {"256 cells x 1 row, context 900", 300, 600, 256, 1},
    {"1 row, context 32768", 0, 32768, 1, 1},
};

/* A step's arguments and what they point to. */
typedef struct {
    device_bench *bench;
    emc_attention_args args[DEVICE_BENCH_MAX_COPIES];
    double pairs; /* of query row and key, useful ones */
    double bytes; /* K and V positions in use, once each */
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;

    return j->bench->dev->ops->attention(j->bench->dev, &j->args[copy]);
}

static int pages_of(int positions)
{
    return positions / PAGE + (positions % PAGE != 0);
}

/* Items of one cell. Returns how many. */
static int cut(emc_attention_item *items, const layout *c, int row0, int own_page)
{
    const int rows = c->rows > 0 ? c->rows : c->own;
    const int most = EMC_MAX_ITEM_ROWS;
    int n = 0;

    for (int row = 0; row < rows; row += most)
        items[n++] = (emc_attention_item){.row0 = row0 + row,
                                          .n_rows = rows - row < most ? rows - row : most,
                                          .prefix_len = c->prefix,
                                          .own_page = own_page,
                                          .own_seen = c->rows > 0 ? c->own : row + 1,
                                          .causal = c->rows == 0};
    return n;
}

static emc_status fill(device_bench *bench, emc_attention_args *args, const layout *c, int cells,
                       emc_attention_item *items, int32_t *pages)
{
    const int own_pages = pages_of(c->own), prefix_pages = pages_of(c->prefix);
    const int rows_each = c->rows > 0 ? c->rows : c->own, rows = cells * rows_each;
    const int n_pages = prefix_pages + cells * own_pages;
    const size_t n_cache = (size_t)n_pages * N_KV_HEADS * PAGE * HEAD_DIM;
    const size_t n_q = (size_t)rows * N_HEADS * HEAD_DIM;
    void *q, *k, *v, *out, *d_items, *d_pages, *slots, *lens;
    int n_items = 0;

    /* Pages lie anywhere, as after many cells: 7919 is prime, and there are fewer. */
    for (int i = 0; i < n_pages; i++)
        pages[i] = (int32_t)((long long)i * 7919 % n_pages);
    for (int i = 0; i < cells; i++)
        n_items += cut(items + n_items, c, i * rows_each, prefix_pages + i * own_pages);
    EMC_TRY(device_bench_normals(bench, &q, n_q, 0));
    EMC_TRY(device_bench_normals(bench, &k, n_cache, 0));
    EMC_TRY(device_bench_normals(bench, &v, n_cache, 0));
    EMC_TRY(device_bench_take(bench, &out, n_q * 2));
    EMC_TRY(device_bench_words(bench, &d_items, items,
                               (size_t)n_items * sizeof *items / sizeof(int32_t)));
    EMC_TRY(device_bench_words(bench, &d_pages, pages, (size_t)n_pages));
    EMC_TRY(device_bench_take(bench, &slots, (size_t)rows * EMC_MAX_PATH * sizeof(int32_t)));
    EMC_TRY(device_bench_take(bench, &lens, (size_t)rows * sizeof(int32_t)));
    *args = (emc_attention_args){.out = out,
                                 .q = q,
                                 .q_stride = N_HEADS * HEAD_DIM,
                                 .k_cache = k,
                                 .v_cache = v,
                                 .items = d_items,
                                 .n_items = n_items,
                                 .n_causal_items = c->rows > 0 ? 0 : n_items,
                                 .max_causal_rows = c->rows > 0 ? 0 : EMC_MAX_ITEM_ROWS,
                                 .max_flat_rows = c->rows,
                                 .max_flat_keys = c->rows > 0 ? c->prefix + c->own : 0,
                                 .page_table = d_pages,
                                 .path_slots = slots,
                                 .path_lens = lens,
                                 .rows = rows,
                                 .n_heads = N_HEADS,
                                 .n_kv_heads = N_KV_HEADS,
                                 .head_dim = HEAD_DIM,
                                 .scale = (float)(1.0 / sqrt(HEAD_DIM))};
    return EMC_OK;
}

static emc_status open_step(job *j, const layout *c, int cells, int n_copies)
{
    const int rows = c->rows > 0 ? c->rows : c->own;
    emc_attention_item *items = NULL;
    int32_t *pages = NULL;
    emc_status status;

    EMC_TRY(emc_alloc(&items, (size_t)cells * (size_t)pages_of(rows), sizeof *items, "items"));
    status = emc_alloc(&pages, (size_t)(pages_of(c->prefix) + cells * pages_of(c->own)),
                       sizeof *pages, "pages");
    for (int i = 0; i < n_copies && status == EMC_OK; i++)
        status = fill(j->bench, &j->args[i], c, cells, items, pages);
    if (status == EMC_OK)
        status = j->bench->dev->ops->prepare_attention(j->bench->dev, &j->args[0]);
    free(pages);
    free(items);
    return status;
}

static emc_status measure(device_bench *bench, const layout *full)
{
    job j = {.bench = bench};
    layout c = *full;
    device_bench_time time;
    char what[96];

    if (bench->quick) {
        c.prefix = c.prefix > 0 ? 9 : 0;
        c.own = 20;
        c.rows = c.rows > 2 ? 2 : c.rows;
        c.cells = 2;
    }
    const int fill_rows = device_bench_rows(bench, 8448, 1800);
    const int cells = c.cells > 0 ? c.cells : fill_rows > c.own ? fill_rows / c.own : 1;
    const double keys = c.rows > 0 ? (double)c.rows * (c.prefix + c.own)
                                   : (double)c.own * (c.prefix + 0.5 * (c.own + 1));
    const double bytes = 4.0 * N_KV_HEADS * HEAD_DIM * (c.prefix + (double)cells * c.own);
    const int n_copies = device_bench_copies(bench, (size_t)bytes);

    EMC_TRY(open_step(&j, &c, cells, n_copies));
    EMC_TRY(device_bench_measure(bench, call, &j, n_copies, &time));
    (void)snprintf(what, sizeof what, "%s: %d rows, %d cells", full->name, j.args[0].rows, cells);
    if (c.rows > 0)
        device_bench_bytes_row(bench, what, time, bytes);
    else
        device_bench_flops_row(bench, what, time, 4.0 * cells * keys * N_HEADS * HEAD_DIM);
    device_bench_release(bench);
    return EMC_OK;
}

static emc_status run(device_bench *bench)
{
    printf("\nPrompts, %d heads of %d, %d of them for K and V:\n\n", N_HEADS, HEAD_DIM, N_KV_HEADS);
    EMC_TRY(device_bench_flops_table(bench));
    for (size_t i = 0; i < EMC_COUNT(prompts); i++)
        if (bench->is_gpu || bench->quick || prompts[i].own <= 600) /* or it takes minutes */
            EMC_TRY(measure(bench, &prompts[i]));
    printf("\nRows that see their whole context, K and V counted once:\n\n");
    EMC_TRY(device_bench_bytes_table(bench));
    for (size_t i = 0; i < EMC_COUNT(flat); i++)
        EMC_TRY(measure(bench, &flat[i]));
    return EMC_OK;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_attention", run);
}
