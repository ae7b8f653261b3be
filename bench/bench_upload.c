/*
 * How near does loading weights come to the slower of bus and disk?
 *
 * bench_upload [--device ...] [--quick]
 *
 * A file of weights in the temporary folder (TMPDIR) is mapped and opened as matrices the size of
 * Qwen3-8B's gate and up: from the page cache, from the disk (the kernel is asked to forget the
 * file first; what a disk or a container keeps for itself is not forgotten), and as F32 that is
 * converted on the way. Beside it plain copies from pinned memory, the bus's ceiling, and plain
 * reads of the file by one thread. Seconds include the sync that ends a load.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/size.h"
#include "bench.h"
#include "device_bench.h"

#define K       4096
#define N_ROWS  24576
#define N_RUNS  5
#define CHUNK   ((size_t)16 << 20)
#define N_PARTS 12 /* matrices: 2.4 GB of bf16 */

typedef struct {
    device_bench *bench;
    int fd;
    char *map;
    size_t n_bytes; /* of the file */
    int n_matrices, n_rows;
    emc_matrix *matrices[N_PARTS];
    double ceiling; /* bytes by the second */
} load;

typedef emc_status (*load_step)(load *l);

static emc_status make_file(load *l)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    uint16_t *chunk = NULL;
    emc_status status;

    (void)snprintf(path, sizeof path, "%s/emcell-bench-XXXXXX", folder ? folder : "/tmp");
    l->fd = mkstemp(path);
    if (l->fd < 0)
        return emc_fail(EMC_ERR_CREATE, "%s: it cannot be made; set TMPDIR", path);
    (void)unlink(path); /* gone with the descriptor */
    EMC_TRY(device_bench_host_normals(l->bench, &chunk, CHUNK / sizeof *chunk, 0));
    status = EMC_OK;
    for (size_t at = 0; at < l->n_bytes && status == EMC_OK; at += CHUNK) {
        const size_t n = l->n_bytes - at < CHUNK ? l->n_bytes - at : CHUNK;
        if (write(l->fd, chunk, n) != (ssize_t)n)
            status = emc_fail(EMC_ERR_IO, "%s: %zu bytes do not fit; set TMPDIR", path, l->n_bytes);
    }
    free(chunk);
    EMC_TRY(status);
    (void)fsync(l->fd);
    l->map = mmap(NULL, l->n_bytes, PROT_READ, MAP_PRIVATE, l->fd, 0);
    if (l->map == MAP_FAILED) {
        l->map = NULL;
        return emc_fail(EMC_ERR_IO, "mmap of %zu bytes failed", l->n_bytes);
    }
    return EMC_OK;
}

static void close_matrices(load *l)
{
    for (int i = 0; i < l->n_matrices; i++) {
        if (l->matrices[i])
            l->bench->dev->ops->matrix_close(l->bench->dev, l->matrices[i]);
        l->matrices[i] = NULL;
    }
}

/* Half as many where a value takes twice the bytes. */
static emc_status open_matrices(load *l, emc_dtype dtype)
{
    const size_t n_bytes = (size_t)l->n_rows * K * emc_dtype_bytes(dtype);

    for (int i = 0; i < l->n_matrices && ((size_t)i + 1) * n_bytes <= l->n_bytes; i++) {
        const emc_matrix_part part = {l->map + (size_t)i * n_bytes, dtype, l->n_rows};
        EMC_TRY(l->bench->dev->ops->matrix_open(l->bench->dev, &l->matrices[i], &part, 1, K));
    }
    return l->bench->dev->ops->sync(l->bench->dev);
}

static emc_status open_bf16(load *l)
{
    return open_matrices(l, EMC_BF16);
}

static emc_status open_f32(load *l)
{
    return open_matrices(l, EMC_F32);
}

/* The mapping goes, too: mapped pages stay in memory. */
static emc_status forget_file(load *l)
{
    (void)munmap(l->map, l->n_bytes);
    l->map = NULL;
    (void)posix_fadvise(l->fd, 0, 0, POSIX_FADV_DONTNEED);
    l->map = mmap(NULL, l->n_bytes, PROT_READ, MAP_PRIVATE, l->fd, 0);
    if (l->map == MAP_FAILED) {
        l->map = NULL;
        return emc_fail(EMC_ERR_IO, "mmap of %zu bytes failed", l->n_bytes);
    }
    return EMC_OK;
}

static emc_status read_file(load *l)
{
    char *chunk = NULL;
    emc_status status = EMC_OK;

    EMC_TRY(emc_alloc(&chunk, CHUNK, 1, "a buffer"));
    for (size_t at = 0; at < l->n_bytes && status == EMC_OK;) {
        const ssize_t n = pread(l->fd, chunk, CHUNK, (off_t)at);
        if (n <= 0)
            status = emc_fail(EMC_ERR_IO, "the file cannot be read");
        else
            at += (size_t)n;
    }
    free(chunk);
    return status;
}

static emc_status copy_pinned(load *l)
{
    emc_device *dev = l->bench->dev;
    const size_t n_chunk = l->n_bytes < CHUNK ? l->n_bytes : CHUNK;
    void *pinned = NULL, *d = NULL;
    emc_status status = dev->ops->alloc_host(dev, &pinned, n_chunk, "a buffer");

    if (status == EMC_OK)
        status = dev->ops->alloc(dev, &d, n_chunk, "its copy");
    for (size_t at = 0; at < l->n_bytes && status == EMC_OK; at += n_chunk)
        status = dev->ops->upload_async(dev, d, pinned, n_chunk);
    if (status == EMC_OK)
        status = dev->ops->sync(dev);
    dev->ops->release(dev, d);
    dev->ops->release_host(dev, pinned);
    return status;
}

/* Prints a row; `before` is not timed. */
static emc_status measure(load *l, const char *what, load_step before, load_step step)
{
    const int n_runs = l->bench->quick ? 1 : N_RUNS;
    bench_runs runs = {.n = 0};

    for (int i = 0; i < n_runs; i++) {
        emc_status status = before ? before(l) : EMC_OK;
        const double start = bench_now();
        if (status == EMC_OK)
            status = step(l);
        bench_add(&runs, bench_now() - start);
        close_matrices(l);
        EMC_TRY(status);
    }
    const double seconds = bench_median(&runs), rate = (double)l->n_bytes / seconds;
    if (l->ceiling == 0)
        l->ceiling = rate;
    printf("| %s | %.2f | %.3f | %.1f | %.0f %% | %.0f %% |\n", what, 1e-9 * (double)l->n_bytes,
           seconds, 1e-9 * rate, 100 * rate / l->ceiling, 100 * bench_spread(&runs));
    return EMC_OK;
}

static emc_status measure_all(load *l)
{
    EMC_TRY(make_file(l));
    printf("| what | GB read | seconds | GB/s | of the bus | spread |\n"
           "|---|---|---|---|---|---|\n");
    EMC_TRY(measure(l, "copies from pinned memory", NULL, copy_pinned));
    EMC_TRY(measure(l, "bf16 weights, page cache", NULL, open_bf16));
    EMC_TRY(measure(l, "f32 weights, page cache", NULL, open_f32));
    EMC_TRY(measure(l, "reading the file", forget_file, read_file));
    return measure(l, "bf16 weights, disk", forget_file, open_bf16);
}

static emc_status run(device_bench *bench)
{
    load l = {.bench = bench,
              .fd = -1,
              .n_matrices = bench->quick ? 2 : N_PARTS,
              .n_rows = bench->quick ? 100 : N_ROWS};
    emc_status status;

    l.n_bytes = (size_t)l.n_matrices * (size_t)l.n_rows * K * sizeof(uint16_t);
    status = measure_all(&l);
    close_matrices(&l);
    if (l.map)
        (void)munmap(l.map, l.n_bytes);
    if (l.fd >= 0)
        (void)close(l.fd);
    return status;
}

int main(int argc, char **argv)
{
    return device_bench_main(argc, argv, "bench_upload", run);
}
