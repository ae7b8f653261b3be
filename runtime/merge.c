/*
 * How is a low-rank update added to a weight?
 *
 * Row by row: the update is summed first, over the rank, then the weight is added, so that small
 * updates lose nothing before the one rounding at the store. Rows are shared out among threads.
 */
#include "runtime/merge.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define BLOCK       32 /* values of a row that are summed in registers */
#define MAX_THREADS 64
#define FEW_STEPS   (1u << 22) /* multiplications that are not worth a second thread */

typedef struct {
    const emc_update *update;
    char *out; /* or NULL */
    emc_dtype dtype;
    float *norms; /* or NULL */
    float *row;   /* room for one row, this thread's own */
    int first, end;
} share;

/* row[i] = sum_r b[r] a[r][i]. Four ranks at a time: each value of the row is loaded and stored
 * once for them. */
static void sum_ranks(float *restrict row, const float *restrict a, size_t k, const float *b,
                      int rank)
{
    int r = 0;

    memset(row, 0, k * sizeof *row);
    for (; r + 4 <= rank; r += 4, a += 4 * k) {
        const float b0 = b[r], b1 = b[r + 1], b2 = b[r + 2], b3 = b[r + 3];

        for (size_t i = 0; i < k; i++)
            row[i] += (b0 * a[i] + b1 * a[k + i]) + (b2 * a[2 * k + i] + b3 * a[3 * k + i]);
    }
    for (; r < rank; r++, a += k)
        for (size_t i = 0; i < k; i++)
            row[i] += b[r] * a[i];
}

/* A file promises no alignment. */
static void add_weight(float *restrict row, const char *bytes, emc_dtype dtype, size_t n)
{
    float values[BLOCK];
    uint16_t halves[BLOCK];

    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t count = n - at < BLOCK ? n - at : BLOCK;

        if (dtype == EMC_BF16 && count == BLOCK) { /* nearly all: with a loop of known length */
            memcpy(halves, bytes + at * sizeof *halves, sizeof halves);
            for (int i = 0; i < BLOCK; i++)
                values[i] = emc_bf16_to_f32(halves[i]);
        } else {
            emc_to_f32(values, bytes + at * emc_dtype_bytes(dtype), dtype, count);
        }
        for (size_t i = 0; i < count; i++)
            row[at + i] += values[i];
    }
}

static void update_row(const emc_update *u, float *row, int j)
{
    const size_t k = u->weight->dims[1];
    const char *weight = u->weight->data;

    sum_ranks(row, u->a, k, u->b + (size_t)j * u->b_stride, u->rank);
    add_weight(row, weight + (size_t)j * k * emc_dtype_bytes(u->weight->dtype), u->weight->dtype,
               k);
}

static float norm(const float *row, size_t k)
{
    double part[8] = {0}, sum = 0;
    size_t at = 0;

    for (; at + 8 <= k; at += 8)
        for (int i = 0; i < 8; i++)
            part[i] += (double)row[at + i] * row[at + i];
    for (; at < k; at++)
        sum += (double)row[at] * row[at];
    for (int i = 0; i < 8; i++)
        sum += part[i];
    return (float)sqrt(sum);
}

static void store_row(char *out, emc_dtype dtype, const float *restrict row, float scale, size_t k)
{
    uint16_t *restrict halves = (uint16_t *)out;
    float *restrict floats = (float *)out;

    if (dtype == EMC_BF16)
        for (size_t i = 0; i < k; i++)
            halves[i] = emc_f32_to_bf16(scale * row[i]);
    else
        for (size_t i = 0; i < k; i++)
            floats[i] = scale * row[i];
}

static void *run_share(void *arg)
{
    const share *s = arg;
    const emc_update *u = s->update;
    const size_t k = u->weight->dims[1];

    for (int j = s->first; j < s->end; j++) {
        update_row(u, s->row, j);
        if (s->norms)
            s->norms[j] = norm(s->row, k);
        if (s->out)
            store_row(s->out + (size_t)j * k * emc_dtype_bytes(s->dtype), s->dtype, s->row,
                      u->row_scale ? u->row_scale[j] : 1, k);
    }
    return NULL;
}

static emc_status run(const share *whole, int n_threads)
{
    const emc_update *u = whole->update;
    const int n = (int)u->weight->dims[0];
    const size_t k = u->weight->dims[1];
    pthread_t threads[MAX_THREADS];
    share shares[MAX_THREADS];
    bool started[MAX_THREADS] = {false};
    float *rows = NULL;

    if ((double)n * (double)k * u->rank < FEW_STEPS)
        n_threads = 1;
    n_threads = n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    n_threads = n_threads < n ? n_threads : n;
    EMC_TRY(emc_alloc(&rows, (size_t)n_threads * k, sizeof *rows, "rows of weights"));
    for (int t = 0; t < n_threads; t++) {
        shares[t] = *whole;
        shares[t].row = rows + (size_t)t * k;
        shares[t].first = (int)((int64_t)n * t / n_threads);
        shares[t].end = (int)((int64_t)n * (t + 1) / n_threads);
        if (t > 0)
            started[t] = pthread_create(&threads[t], NULL, run_share, &shares[t]) == 0;
    }
    /* What no thread could be had for is done here. */
    for (int t = 0; t < n_threads; t++)
        if (!started[t])
            run_share(&shares[t]);
    for (int t = 1; t < n_threads; t++)
        if (started[t])
            pthread_join(threads[t], NULL);
    free(rows);
    return EMC_OK;
}

emc_status emc_update_merge(const emc_update *update, void *out, emc_dtype dtype, int n_threads)
{
    return run(&(share){.update = update, .out = out, .dtype = dtype}, n_threads);
}

emc_status emc_update_norms(const emc_update *update, float *norms, int n_threads)
{
    return run(&(share){.update = update, .norms = norms}, n_threads);
}
