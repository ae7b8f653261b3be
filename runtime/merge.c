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

/* sum[i] = sum_r b[r] a[r][i] */
static void sum_block(float *sum, const float *a, size_t k, const float *b, int rank)
{
    float part[BLOCK] = {0};

    for (int r = 0; r < rank; r++)
        for (int i = 0; i < BLOCK; i++)
            part[i] += b[r] * a[(size_t)r * k + i];
    memcpy(sum, part, sizeof part);
}

static void sum_rest(float *sum, const float *a, size_t k, const float *b, int rank, size_t n)
{
    memset(sum, 0, n * sizeof *sum);
    for (int r = 0; r < rank; r++)
        for (size_t i = 0; i < n; i++)
            sum[i] += b[r] * a[(size_t)r * k + i];
}

/* The weight's values at their own width: a file promises no alignment. */
static void add_weight(float *row, const char *bytes, emc_dtype dtype, size_t n)
{
    float values[BLOCK];
    uint16_t halves[BLOCK];

    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t count = n - at < BLOCK ? n - at : BLOCK;

        if (dtype == EMC_BF16 && count == BLOCK) {
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
    const float *b = u->b + (size_t)j * u->b_stride;
    const char *weight = u->weight->data;
    size_t i = 0;

    for (; i + BLOCK <= k; i += BLOCK)
        sum_block(row + i, u->a + i, k, b, u->rank);
    sum_rest(row + i, u->a + i, k, b, u->rank, k - i);
    add_weight(row, weight + (size_t)j * k * emc_dtype_bytes(u->weight->dtype), u->weight->dtype,
               k);
}

static float norm(const float *row, size_t k)
{
    double sum = 0;

    for (size_t i = 0; i < k; i++)
        sum += (double)row[i] * row[i];
    return (float)sqrt(sum);
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
        if (!s->out)
            continue;
        if (u->row_scale)
            for (size_t i = 0; i < k; i++)
                s->row[i] *= u->row_scale[j];
        emc_from_f32(s->out + (size_t)j * k * emc_dtype_bytes(s->dtype), s->dtype, s->row, k);
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
