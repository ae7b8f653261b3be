/*
 * How do rows meet weights?
 *
 * A round is at most CPU_ROUND_ROWS rows, cut into tiles of CPU_TILE_ROWS; the last is filled up
 * with zeros. A thread takes a block of CPU_BLOCK rows of the weights, brings it into the dtype of
 * the product once (64 rows: at most 1 MB of f32 up to k = 4096, so it stays in the L2 cache), and
 * multiplies every tile by it. Where activations and weights are stored in the product's dtype
 * already, they are read where they lie.
 */
#include "kernels/cpu/product.h"

#include <string.h>

#include "kernels/cpu/math.h"

typedef struct {
    cpu_device *cpu;
    const cpu_product_args *args;
    int n_tiles;
    int n_blocks;
    int n_groups;        /* a slab's tiles go to this many threads */
    bool all_staged;     /* every tile needs a copy, not only an unfinished last one */
    size_t product_size; /* bytes of a value of the product's dtype */
} job;

static int tile_rows(const job *j, int tile)
{
    const int left = j->args->rows - tile * CPU_TILE_ROWS;

    return left < CPU_TILE_ROWS ? left : CPU_TILE_ROWS;
}

static bool is_staged(const job *j, int tile)
{
    return j->all_staged || tile_rows(j, tile) < CPU_TILE_ROWS;
}

static void *staged_tile(const job *j, int tile)
{
    const size_t place = j->all_staged ? (size_t)tile : 0;

    return (char *)j->cpu->staged +
           place * CPU_TILE_ROWS * (size_t)j->args->w->k_padded * j->product_size;
}

static void convert(void *dst, emc_dtype to, const void *src, emc_dtype from, size_t n)
{
    if (to == from)
        memcpy(dst, src, n * emc_dtype_bytes(to));
    else if (to == EMC_F32)
        cpu_widen(dst, src, from, n);
    else
        cpu_narrow(dst, to, src, n);
}

/* t[r][i] = sum_k x[r][k] a[i][k] */
static void reduce_row(float *t, const float *x, const emc_lora *lora)
{
    const int k = lora->k, whole = k - k % CPU_LANES;

    for (int i = 0; i < lora->rank; i++) {
        const float *a = lora->a + (size_t)i * (size_t)k;
        cpu_vec sum = {0};
        for (int c = 0; c < whole; c += CPU_LANES)
            sum = cpu_fma(cpu_load(x + c), cpu_load(a + c), sum);
        float rest = cpu_sum(sum);
        for (int c = whole; c < k; c++)
            rest += x[c] * a[c];
        t[i] = rest;
    }
}

static emc_status stage_tile(void *context, int worker, int tile)
{
    const job *j = context;
    const cpu_product_args *args = j->args;
    const emc_dtype dtype = j->cpu->device.dtype;
    const size_t k = (size_t)args->w->k, k_padded = (size_t)args->w->k_padded;
    const int n_rows = tile_rows(j, tile);
    const size_t row0 = (size_t)tile * CPU_TILE_ROWS;

    if (is_staged(j, tile)) {
        char *staged = staged_tile(j, tile);
        const size_t stride = k_padded * j->product_size;
        for (int r = 0; r < n_rows; r++) {
            char *row = staged + (size_t)r * stride;
            convert(row, j->cpu->product, cpu_at(args->x, dtype, (row0 + (size_t)r) * k), dtype, k);
            memset(row + k * j->product_size, 0, (k_padded - k) * j->product_size);
        }
        memset(staged + (size_t)n_rows * stride, 0, (size_t)(CPU_TILE_ROWS - n_rows) * stride);
    }
    for (int r = 0; args->lora && r < n_rows; r++) {
        float *x = j->cpu->workers[worker].x;
        cpu_widen(x, cpu_at(args->x, dtype, (row0 + (size_t)r) * k), dtype, k);
        reduce_row(j->cpu->lora + (row0 + (size_t)r) * (size_t)args->lora->rank, x, args->lora);
    }
    return EMC_OK;
}

/* One row of weights as the product wants it, whatever the file's dtype and alignment. */
static void fetch_row(const job *j, char *dst, const cpu_part *part, int row)
{
    const emc_dtype from = part->part.dtype, to = j->cpu->product;
    const size_t k = (size_t)j->args->w->k, n = emc_dtype_bytes(from);
    const char *src = (const char *)part->part.data + (size_t)(row - part->first) * k * n;

    if (from == j->cpu->device.dtype && from == to) {
        memcpy(dst, src, k * n);
    } else if (from == EMC_BF16 && to == EMC_F32 && (uintptr_t)src % 2 == 0) {
        cpu_widen((float *)(void *)dst, src, from, k);
    } else {
        /* In pieces, rounded to T as the contract has it, then widened again where f32 is used. */
        float piece[256];
        uint16_t rounded[256];
        for (size_t c = 0; c < k; c += EMC_COUNT(piece)) {
            const size_t left = k - c, m = left < EMC_COUNT(piece) ? left : EMC_COUNT(piece);
            emc_to_f32(piece, src + c * n, from, m);
            if (j->cpu->device.dtype == EMC_BF16) {
                cpu_narrow(rounded, EMC_BF16, piece, m);
                convert(dst + c * j->product_size, to, rounded, EMC_BF16, m);
            } else {
                memcpy(dst + c * j->product_size, piece, m * sizeof *piece);
            }
        }
    }
    memset(dst + k * j->product_size, 0,
           (size_t)(j->args->w->k_padded - j->args->w->k) * j->product_size);
}

/* A block of the weights, where it lies if it can be used there. */
static const void *fetch_block(const job *j, int worker, int block)
{
    const emc_matrix *w = j->args->w;
    const int column0 = block * CPU_BLOCK, row0 = j->args->first + column0;
    const int left = j->args->n - column0, n = left < CPU_BLOCK ? left : CPU_BLOCK;
    const cpu_part *part = cpu_matrix_part(w, row0);
    const size_t stride = (size_t)w->k_padded * j->product_size;
    char *block_w = j->cpu->workers[worker].w;

    if (part->part.dtype == j->cpu->device.dtype && part->part.dtype == j->cpu->product &&
        w->k == w->k_padded && part->first + part->part.n_rows >= row0 + CPU_BLOCK) {
        const char *there = (const char *)part->part.data + (size_t)(row0 - part->first) * stride;
        if ((uintptr_t)there % j->product_size == 0)
            return there;
    }
    for (int i = 0; i < n; i++) {
        part = cpu_matrix_part(w, row0 + i);
        fetch_row(j, block_w + (size_t)i * stride, part, row0 + i);
    }
    memset(block_w + (size_t)n * stride, 0, (size_t)(CPU_BLOCK - n) * stride);
    return block_w;
}

static void add_lora(const job *j, float *y, int row0, int n_rows, int column)
{
    const emc_lora *lora = j->args->lora;
    const size_t b_stride = (size_t)lora->n + CPU_BLOCK;

    for (int r = 0; r < n_rows; r++) {
        const float *t = j->cpu->lora + (size_t)(row0 + r) * (size_t)lora->rank;
        float *out = y + (size_t)r * CPU_BLOCK;
        for (int i = 0; i < lora->rank; i++) {
            const float *b = lora->b + (size_t)i * b_stride + column;
            const cpu_vec scale = cpu_all(t[i]);
            for (int c = 0; c < CPU_BLOCK; c += CPU_LANES)
                cpu_store(out + c, cpu_fma(scale, cpu_load(b + c), cpu_load(out + c)));
        }
        for (int c = 0; lora->column_scale && c < CPU_BLOCK; c++)
            out[c] *= lora->column_scale[column + c];
    }
}

static emc_status multiply(void *context, int worker, int item)
{
    const job *j = context;
    const cpu_product_args *args = j->args;
    const int slab = item / j->n_groups, group = item % j->n_groups;
    const int first_block = slab * args->slab;
    float *y = j->cpu->workers[worker].y;

    for (int block = first_block; block < first_block + args->slab && block < j->n_blocks;
         block++) {
        const void *w = fetch_block(j, worker, block);
        const int column0 = block * CPU_BLOCK, left = args->n - column0;
        for (int tile = group; tile < j->n_tiles; tile += j->n_groups) {
            const int row0 = tile * CPU_TILE_ROWS;
            const void *x = is_staged(j, tile) ? staged_tile(j, tile)
                                               : cpu_at(args->x, j->cpu->device.dtype,
                                                        (size_t)row0 * (size_t)args->w->k);
            EMC_TRY(cpu_gemm_run(j->cpu->gemm, args->w->plan, worker, x, w, y));
            const cpu_tile finished = {.y = y,
                                       .row0 = row0,
                                       .n_rows = tile_rows(j, tile),
                                       .column0 = column0,
                                       .n_columns = left < CPU_BLOCK ? left : CPU_BLOCK};
            if (args->lora)
                add_lora(j, y, row0, finished.n_rows, args->first + column0);
            args->done(args->context, &finished);
        }
    }
    return EMC_OK;
}

emc_status cpu_product(cpu_device *cpu, const cpu_product_args *args)
{
    const int n_workers = cpu_pool_workers(cpu->pool);
    job j = {.cpu = cpu,
             .args = args,
             .n_tiles = cpu_items(args->rows, CPU_TILE_ROWS),
             .n_blocks = cpu_items(args->n, CPU_BLOCK),
             .all_staged = cpu->product != cpu->device.dtype || args->w->k != args->w->k_padded,
             .product_size = emc_dtype_bytes(cpu->product)};
    const int n_slabs = cpu_items(j.n_blocks, args->slab);

    /* Few slabs for many threads: let several share a slab, each with some of the tiles. */
    j.n_groups = cpu_items(2 * n_workers, n_slabs);
    if (j.n_groups > j.n_tiles)
        j.n_groups = j.n_tiles;
    if (j.all_staged || args->lora)
        EMC_TRY(cpu_pool_run(cpu->pool, stage_tile, &j, j.n_tiles));
    else if (is_staged(&j, j.n_tiles - 1))
        EMC_TRY(stage_tile(&j, 0, j.n_tiles - 1));
    return cpu_pool_run(cpu->pool, multiply, &j, n_slabs * j.n_groups);
}
