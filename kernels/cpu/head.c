/*
 * What are the log-sum-exp, the best ids and the wanted logits of a row, without its logits?
 *
 * The vocabulary is cut into slabs of CPU_SLAB_BLOCKS blocks. Within a slab a row's blocks come in
 * order and go into one partial result; the partial results of all slabs are then joined in order.
 * Which thread took a slab makes no difference. Exponentials are f32, their sums over blocks f64:
 * log_sum is within a few 1e-7 of the exact one of the same logits.
 */
#include <string.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/product.h"

#define SLAB_IDS (CPU_SLAB_BLOCKS * CPU_BLOCK)

typedef struct {
    const emc_head_args *args;
    cpu_head_part *parts; /* [slabs, CPU_ROUND_ROWS] */
    int row0;             /* of this round */
    int n_rows;
    int vocab;
    int n_slabs;
} job;

/* Joins exp-sums relative to two maxima. */
static void join(cpu_head_part *into, float max, double sum)
{
    if (max == into->max || !(max > -INFINITY)) { /* without a maximum sum is 0 or NaN */
        into->sum += sum;
    } else if (max > into->max) {
        into->sum = into->sum * exp((double)into->max - (double)max) + sum;
        into->max = max;
    } else { /* also a NaN, which then stays in the sum */
        into->sum += sum * exp((double)max - (double)into->max);
    }
}

/* Ids come rising, so that of equal logits the lowest id stays first. */
static void take_top(cpu_head_part *part, float logit, int id, int n_top)
{
    int place = part->n_top;

    if (isnan(logit) || (place == n_top && !(logit > part->top[place - 1])))
        return;
    if (place == n_top)
        place--;
    else
        part->n_top++;
    for (; place > 0 && logit > part->top[place - 1]; place--) {
        part->top[place] = part->top[place - 1];
        part->top_id[place] = part->top_id[place - 1];
    }
    part->top[place] = logit;
    part->top_id[place] = id;
}

static void take_row(cpu_head_part *part, const float *y, int id0, int n, int n_ids, int n_top)
{
    float logit[CPU_BLOCK], total[16] = {0}, max = -INFINITY;

    for (int c = 0; c < CPU_BLOCK; c++)
        logit[c] = c < n ? y[c] : -INFINITY;
    for (int c = 0; c < CPU_BLOCK; c++)
        max = logit[c] > max ? logit[c] : max;
    for (int c = 0; c < n && id0 + c < n_ids; c++)
        take_top(part, logit[c], id0 + c, n_top);
    const float base = max > -INFINITY ? max : 0.0f;
    for (int c = 0; c < CPU_BLOCK; c += 16)
        for (int l = 0; l < 16; l++)
            total[l] += cpu_exp(logit[c + l] - base);
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            total[l] += total[l + width];
    join(part, max, (double)total[0]);
}

static void take_wanted(const job *j, const cpu_tile *tile, int r)
{
    const emc_head_args *args = j->args;
    const int row = j->row0 + tile->row0 + r;
    const float *y = tile->y + (size_t)r * CPU_BLOCK;

    for (int i = args->wanted_begin[row]; i < args->wanted_begin[row + 1]; i++) {
        const int id = args->wanted[i] - args->first_id, column = id - tile->column0;
        if (column >= 0 && column < tile->n_columns)
            args->wanted_logits[i] = y[column];
        else if (tile->column0 == 0 && (id < 0 || id >= j->vocab))
            args->wanted_logits[i] = 0.0f;
    }
}

static void take_tile(void *context, const cpu_tile *tile)
{
    const job *j = context;
    const emc_head_args *args = j->args;
    const int slab = tile->column0 / SLAB_IDS;
    cpu_head_part *parts = j->parts + (size_t)slab * CPU_ROUND_ROWS + tile->row0;

    for (int r = 0; r < tile->n_rows; r++) {
        const float *y = tile->y + (size_t)r * CPU_BLOCK;
        if (tile->column0 % SLAB_IDS == 0)
            parts[r] = (cpu_head_part){.max = -INFINITY};
        take_row(&parts[r], y, args->first_id + tile->column0, tile->n_columns, args->n_ids,
                 args->n_top);
        take_wanted(j, tile, r);
        if (args->all_logits)
            memcpy(args->all_logits + (size_t)(j->row0 + tile->row0 + r) * (size_t)j->vocab +
                       tile->column0,
                   y, (size_t)tile->n_columns * sizeof *y);
    }
}

static void finish_row(const job *j, int r)
{
    const size_t row = (size_t)(j->row0 + r);
    const int n_top = j->args->n_top;
    cpu_head_part whole = j->parts[r];

    for (int slab = 1; slab < j->n_slabs; slab++) {
        const cpu_head_part *part = &j->parts[(size_t)slab * CPU_ROUND_ROWS + (size_t)r];
        join(&whole, part->max, part->sum);
        for (int i = 0; i < part->n_top; i++)
            take_top(&whole, part->top[i], part->top_id[i], n_top);
    }
    j->args->log_sum[row] = (float)((double)whole.max + log(whole.sum));
    for (size_t i = 0; i < (size_t)n_top; i++) {
        const bool there = (int)i < whole.n_top;

        j->args->top_ids[row * (size_t)n_top + i] = there ? whole.top_id[i] : -1;
        if (j->args->top_logits)
            j->args->top_logits[row * (size_t)n_top + i] = there ? whole.top[i] : NAN;
    }
}

emc_status cpu_head(emc_device *dev, const emc_head_args *args)
{
    cpu_device *cpu = cpu_of(dev);

    EMC_TRY(emc_check_head(args, cpu_matrix_shape(args->w), cpu_lora_shape(args->lora)));
    const int vocab = args->w->n_rows;
    for (int row0 = 0; row0 < args->rows; row0 += CPU_ROUND_ROWS) {
        const int left = args->rows - row0;
        job j = {.args = args,
                 .parts = cpu->parts,
                 .row0 = row0,
                 .n_rows = left < CPU_ROUND_ROWS ? left : CPU_ROUND_ROWS,
                 .vocab = vocab,
                 .n_slabs = cpu_items(vocab, SLAB_IDS)};
        const cpu_product_args product = {
            .x = cpu_at(args->x, dev->dtype, (size_t)row0 * (size_t)args->w->k),
            .rows = j.n_rows,
            .w = args->w,
            .first = 0,
            .n = vocab,
            .lora = args->lora,
            .slab = CPU_SLAB_BLOCKS,
            .done = take_tile,
            .context = &j};
        EMC_TRY(cpu_product(cpu, &product));
        for (int r = 0; r < j.n_rows; r++)
            finish_row(&j, r);
    }
    return EMC_OK;
}
