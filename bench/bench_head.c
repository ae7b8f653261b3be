/*
 * How much more than its product does head cost: log-sum-exp, best ids, logits of choices?
 *
 * bench_head [--device ...] [--quick]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "device_bench.h"

#define VOCAB    151936
#define N_WANTED 28 /* logits that are asked for in each row */

static const struct {
    const char *model;
    int k, n_top;
} shapes[] = {{"Qwen3-0.6B", 1024, 1}, {"Qwen3-8B", 4096, 1}, {"Qwen3-8B", 4096, 32}};

typedef struct {
    device_bench *bench;
    uint16_t *weights;
    emc_matrix *w;
    emc_head_args args;
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;

    (void)copy; /* the weights alone go beyond the caches */
    return dev->ops->head(dev, &j->args);
}

static emc_status take_wanted(job *j, int rows, int vocab)
{
    const size_t n = (size_t)rows * N_WANTED;
    int32_t *words = NULL;
    emc_status status;
    void *begin = NULL, *ids = NULL;

    EMC_TRY(emc_alloc(&words, n + 1, sizeof *words, "ids"));
    for (int r = 0; r <= rows; r++)
        words[r] = r * N_WANTED;
    status = device_bench_words(j->bench, &begin, words, (size_t)rows + 1);
    for (size_t i = 0; i < n; i++)
        words[i] = (int32_t)(i * 7919 % (size_t)vocab);
    if (status == EMC_OK)
        status = device_bench_words(j->bench, &ids, words, n);
    free(words);
    j->args.wanted_begin = begin;
    j->args.wanted = ids;
    return status;
}

static emc_status open_job(job *j, int rows, int k, int n_top)
{
    device_bench *bench = j->bench;
    const int vocab = bench->quick ? 9000 : VOCAB;
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = vocab};
    void *x, *wanted, *log_sum, *ids, *logits;

    EMC_TRY(device_bench_host_normals(bench, &j->weights, (size_t)vocab * (size_t)k, -5));
    part.data = j->weights;
    EMC_TRY(bench->dev->ops->matrix_open(bench->dev, &j->w, &part, 1, k));
    EMC_TRY(take_wanted(j, rows, vocab));
    EMC_TRY(device_bench_normals(bench, &x, (size_t)rows * (size_t)k, 0));
    EMC_TRY(device_bench_take(bench, &wanted, (size_t)rows * N_WANTED * sizeof(float)));
    EMC_TRY(device_bench_take(bench, &log_sum, (size_t)rows * sizeof(float)));
    EMC_TRY(device_bench_take(bench, &ids, (size_t)(rows * n_top) * sizeof(int32_t)));
    EMC_TRY(device_bench_take(bench, &logits, (size_t)(rows * n_top) * sizeof(float)));
    j->args.x = x;
    j->args.w = j->w;
    j->args.wanted_logits = wanted;
    j->args.log_sum = log_sum;
    j->args.top_ids = ids;
    j->args.top_logits = logits;
    j->args.rows = rows;
    j->args.n_ids = vocab;
    j->args.n_top = n_top;
    return EMC_OK;
}

static emc_status measure(job *j, const char *model, int rows, int k, int n_top)
{
    device_bench_time time;
    char what[96];

    EMC_TRY(open_job(j, rows, k, n_top));
    EMC_TRY(device_bench_measure(j->bench, call, j, 1, &time));
    (void)snprintf(what, sizeof what, "%s: %d rows, k %d, vocabulary %d, the %d best", model, rows,
                   k, j->args.n_ids, n_top);
    device_bench_flops_row(j->bench, what, time, 2.0 * rows * (double)k * j->args.n_ids);
    return EMC_OK;
}

static emc_status run(device_bench *bench)
{
    emc_status status = device_bench_flops_table(bench);

    for (size_t i = 0; i < EMC_COUNT(shapes) && status == EMC_OK; i++) {
        job j = {.bench = bench};
        status = measure(&j, shapes[i].model, device_bench_rows(bench, 512, 16),
                         bench->quick ? 64 : shapes[i].k, shapes[i].n_top);
        if (j.w)
            bench->dev->ops->matrix_close(bench->dev, j.w);
        device_bench_release(bench);
        free(j.weights);
    }
    return status;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_head", run);
}
