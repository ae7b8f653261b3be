/*
 * How near does embed come to a copy's speed, and what does a low-rank update cost?
 *
 * bench_embed [--device ...] [--quick]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "device_bench.h"

#define VOCAB 32768 /* of the models' 151,936: enough to go beyond the caches */

static const struct {
    const char *model;
    int dim, rank;
} shapes[] = {{"Qwen3-0.6B", 1024, 0}, {"Qwen3-8B", 4096, 0}, {"Qwen3-8B", 4096, 16}};

typedef struct {
    device_bench *bench;
    int rows, dim, rank;
    uint16_t *weights;
    float *a, *b;
    emc_matrix *table;
    emc_lora *lora;
    void *out[DEVICE_BENCH_MAX_COPIES], *ids[DEVICE_BENCH_MAX_COPIES];
} job;

static emc_status call(void *context, int copy)
{
    const job *j = context;
    emc_device *dev = j->bench->dev;

    return dev->ops->embed(dev, j->out[copy], j->table, j->lora, j->ids[copy], j->rows);
}

static emc_status open_weights(job *j, int vocab)
{
    emc_device *dev = j->bench->dev;
    const size_t n = (size_t)vocab * (size_t)j->dim, rank = (size_t)j->rank;
    emc_matrix_part part = {.dtype = EMC_BF16, .n_rows = vocab};
    emc_lora_spec spec = {.rank = j->rank, .n = j->dim, .k = vocab};

    EMC_TRY(device_bench_host_normals(j->bench, &j->weights, n, -5));
    part.data = j->weights;
    EMC_TRY(dev->ops->matrix_open(dev, &j->table, &part, 1, j->dim));
    if (rank == 0)
        return EMC_OK;
    EMC_TRY(emc_alloc(&j->a, rank * (size_t)vocab, sizeof *j->a, "an update"));
    EMC_TRY(emc_alloc(&j->b, rank * (size_t)j->dim, sizeof *j->b, "an update"));
    for (size_t i = 0; i < rank * (size_t)vocab; i++)
        j->a[i] = 0.01f * (float)(i % 101);
    for (size_t i = 0; i < rank * (size_t)j->dim; i++)
        j->b[i] = 0.01f * (float)(i % 103);
    spec.a = j->a;
    spec.b = j->b;
    return dev->ops->lora_open(dev, &j->lora, &spec);
}

static emc_status take_rows(job *j, int n_copies, int vocab)
{
    int32_t *ids = NULL;
    emc_status status = EMC_OK;

    EMC_TRY(emc_alloc(&ids, (size_t)j->rows, sizeof *ids, "ids"));
    for (int i = 0; i < n_copies && status == EMC_OK; i++) {
        for (int r = 0; r < j->rows; r++)
            ids[r] = (int32_t)(((long long)(i * j->rows + r) * 7919) % vocab);
        status = device_bench_words(j->bench, &j->ids[i], ids, (size_t)j->rows);
        if (status == EMC_OK)
            status = device_bench_take(j->bench, &j->out[i], (size_t)j->rows * (size_t)j->dim * 2);
    }
    free(ids);
    return status;
}

static emc_status measure(job *j, const char *model)
{
    const int vocab = j->bench->quick ? 100 : VOCAB;
    const double n_bytes = 4.0 * (double)j->rows * j->dim;
    const int n_copies = device_bench_copies(j->bench, (size_t)n_bytes);
    device_bench_time time;
    char what[96];

    EMC_TRY(open_weights(j, vocab));
    EMC_TRY(take_rows(j, n_copies, vocab));
    EMC_TRY(device_bench_measure(j->bench, call, j, n_copies, &time));
    (void)snprintf(what, sizeof what, "%s: %d rows, dim %d, rank %d", model, j->rows, j->dim,
                   j->rank);
    device_bench_bytes_row(j->bench, what, time, n_bytes);
    return EMC_OK;
}

static void close_job(job *j)
{
    emc_device *dev = j->bench->dev;

    dev->ops->lora_close(dev, j->lora);
    if (j->table)
        dev->ops->matrix_close(dev, j->table);
    device_bench_release(j->bench);
    free(j->weights);
    free(j->a);
    free(j->b);
}

static emc_status run(device_bench *bench)
{
    emc_status status = device_bench_bytes_table(bench);

    for (size_t i = 0; i < EMC_COUNT(shapes) && status == EMC_OK; i++) {
        job j = {.bench = bench,
                 .rows = device_bench_rows(bench, 8448, 256),
                 .dim = shapes[i].dim,
                 .rank = shapes[i].rank};
        status = measure(&j, shapes[i].model);
        close_job(&j);
    }
    return status;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_embed", run);
}
