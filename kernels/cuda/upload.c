/* How do weights reach the device as fast as disk and bus allow?
 *
 * A GPU copies from pinned memory only; from a mapped file the driver would copy through one small
 * pinned buffer with one thread, and read the disk between copies. So a few threads take pieces of
 * the weights, fault their pages in, copy or convert them into pinned buffers of their own (two
 * each, so that one fills while the other is copied), and queue the copies in a stream beside the
 * device's. bench/bench_upload.c compares this with plain copies.
 *
 * Threads and buffers live from the first piece to the first operation, not to the next wait: a
 * model whose adapter is merged waits after every matrix, and would pin its buffers every time. */
#include "kernels/cuda/upload.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/size.h"

/* Copies of this size reach the bus's full rate; a small GPU gets smaller buffers. */
#define CHUNK_BYTES       ((size_t)16 << 20)
#define LEAST_CHUNK_BYTES ((size_t)256 << 10)
#define CHUNK_PART        8192 /* of the GPU's memory */

#define MAX_THREADS 8
#define N_BUFFERS   2

/* Values converted in one go, through the stack. */
#define N_CONVERTED 1024

typedef struct piece {
    struct piece *next;
    char *d_dst;
    const char *src;
    emc_dtype dtype;
    size_t n;
} piece;

typedef struct {
    void *pinned;
    cudaEvent_t copied;
} buffer;

typedef struct {
    cuda_upload *upload;
    pthread_t thread;
    buffer buffers[N_BUFFERS];
} worker;

struct cuda_upload {
    cuda_device *cuda;
    cudaStream_t stream;
    size_t chunk_bytes;
    int most_workers;
    worker workers[MAX_THREADS];
    int n_workers;
    bool is_there; /* nothing was added since `finish` */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    piece *first, *last; /* not begun */
    size_t n_waiting;    /* of them */
    int n_busy;          /* workers on a piece */
    bool stop;
    emc_status status; /* the first error */
    char message[512];
};

/* --- Workers ---------------------------------------------------------------------------------- */

static void keep_error(cuda_upload *upload, emc_status status)
{
    (void)pthread_mutex_lock(&upload->lock);
    if (upload->status == EMC_OK) {
        upload->status = status;
        (void)snprintf(upload->message, sizeof upload->message, "%s", emc_message());
    }
    (void)pthread_mutex_unlock(&upload->lock);
}

/* Reads a mapped file's pages now, all at once, rather than one by one while copying: first the
 * disk is asked for all of them, then they are mapped. What cannot do that (an old kernel, memory
 * of another kind) does without. */
static void fault_in(const piece *p)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = (uintptr_t)p->src / page * page;
    const uintptr_t to = (uintptr_t)p->src + p->n * emc_dtype_bytes(p->dtype);

    (void)madvise((void *)from, (size_t)(to - from), MADV_WILLNEED);
#ifdef MADV_POPULATE_READ
    (void)madvise((void *)from, (size_t)(to - from), MADV_POPULATE_READ);
#endif
}

static void convert(void *dst, const piece *p)
{
    const size_t size = emc_dtype_bytes(p->dtype);
    float full[N_CONVERTED];

    if (p->dtype == EMC_BF16) {
        memcpy(dst, p->src, p->n * size);
        return;
    }
    for (size_t at = 0; at < p->n; at += N_CONVERTED) {
        const size_t n = p->n - at < N_CONVERTED ? p->n - at : N_CONVERTED;
        emc_to_f32(full, p->src + at * size, p->dtype, n);
        emc_from_f32((uint16_t *)dst + at, EMC_BF16, full, n);
    }
}

static emc_status fill_buffer(cuda_upload *upload, buffer *b)
{
    if (!b->pinned)
        EMC_TRY(cuda_check(cudaMallocHost(&b->pinned, upload->chunk_bytes),
                           "pinned host memory for weights: %zu bytes", upload->chunk_bytes));
    if (!b->copied)
        return cuda_check(cudaEventCreateWithFlags(&b->copied, cudaEventDisableTiming), "an event");
    return cuda_check(cudaEventSynchronize(b->copied), "copying weights");
}

static emc_status send(cuda_upload *upload, const piece *p, buffer *b)
{
    const size_t n_bytes = p->n * sizeof(uint16_t);

    EMC_TRY(fill_buffer(upload, b));
    fault_in(p);
    convert(b->pinned, p);
    EMC_TRY(cuda_check(
        cudaMemcpyAsync(p->d_dst, b->pinned, n_bytes, cudaMemcpyHostToDevice, upload->stream),
        "copying weights: %zu bytes", n_bytes));
    return cuda_check(cudaEventRecord(b->copied, upload->stream), "copying weights");
}

static piece *take_piece(cuda_upload *upload)
{
    piece *p = upload->first;

    upload->first = p->next;
    if (!upload->first)
        upload->last = NULL;
    upload->n_waiting--;
    upload->n_busy++;
    return p;
}

static void *work(void *context)
{
    worker *self = context;
    cuda_upload *upload = self->upload;
    int turn = 0;

    (void)cudaSetDevice(upload->cuda->index);
    (void)pthread_mutex_lock(&upload->lock);
    for (;;) {
        while (!upload->first && !upload->stop)
            (void)pthread_cond_wait(&upload->changed, &upload->lock);
        if (!upload->first)
            break;
        piece *p = take_piece(upload);
        const bool failed = upload->status != EMC_OK;
        (void)pthread_mutex_unlock(&upload->lock);
        if (!failed) {
            const emc_status status = send(upload, p, &self->buffers[turn]);
            if (status != EMC_OK)
                keep_error(upload, status);
            turn = (turn + 1) % N_BUFFERS;
        }
        free(p);
        (void)pthread_mutex_lock(&upload->lock);
        upload->n_busy--;
        (void)pthread_cond_broadcast(&upload->changed);
    }
    (void)pthread_mutex_unlock(&upload->lock);
    return NULL;
}

/* One more where there is more to do than hands; under the lock. */
static emc_status hire(cuda_upload *upload)
{
    worker *w = &upload->workers[upload->n_workers];

    if (upload->n_workers >= upload->most_workers ||
        upload->n_waiting + (size_t)upload->n_busy <= (size_t)upload->n_workers)
        return EMC_OK;
    memset(w, 0, sizeof *w);
    w->upload = upload;
    if (pthread_create(&w->thread, NULL, work, w) != 0)
        return upload->n_workers > 0 ? EMC_OK
                                     : emc_fail(EMC_ERR_NOMEM, "no thread to load weights with");
    upload->n_workers++;
    return EMC_OK;
}

static void dismiss(cuda_upload *upload)
{
    (void)pthread_mutex_lock(&upload->lock);
    upload->stop = true;
    (void)pthread_cond_broadcast(&upload->changed);
    (void)pthread_mutex_unlock(&upload->lock);
    for (int i = 0; i < upload->n_workers; i++)
        (void)pthread_join(upload->workers[i].thread, NULL);
    if (upload->n_workers > 0)
        (void)cudaStreamSynchronize(upload->stream); /* copies out of their buffers */
    for (int i = 0; i < upload->n_workers; i++) {
        worker *w = &upload->workers[i];
        for (int j = 0; j < N_BUFFERS; j++) {
            if (w->buffers[j].copied)
                (void)cudaEventDestroy(w->buffers[j].copied);
            if (w->buffers[j].pinned)
                (void)cudaFreeHost(w->buffers[j].pinned);
        }
    }
    upload->n_workers = 0;
    upload->stop = false;
}

static void drop_pieces(cuda_upload *upload)
{
    (void)pthread_mutex_lock(&upload->lock);
    while (upload->first) {
        piece *p = upload->first;
        upload->first = p->next;
        free(p);
    }
    upload->last = NULL;
    upload->n_waiting = 0;
    (void)pthread_mutex_unlock(&upload->lock);
}

/* --- The device's side ------------------------------------------------------------------------ */

static emc_status add_piece(cuda_upload *upload, const piece *what)
{
    piece *p = NULL;
    emc_status status;

    EMC_TRY(emc_alloc(&p, 1, sizeof *p, "a piece of weights"));
    *p = *what;
    (void)pthread_mutex_lock(&upload->lock);
    if (upload->last)
        upload->last->next = p;
    else
        upload->first = p;
    upload->last = p;
    upload->n_waiting++;
    upload->is_there = false;
    status = hire(upload);
    (void)pthread_cond_broadcast(&upload->changed);
    (void)pthread_mutex_unlock(&upload->lock);
    return status;
}

emc_status cuda_upload_add(cuda_upload *upload, void *d_dst, const void *src, emc_dtype dtype,
                           size_t n)
{
    const size_t most = upload->chunk_bytes / sizeof(uint16_t), size = emc_dtype_bytes(dtype);

    for (size_t at = 0; at < n; at += most) {
        const piece p = {.d_dst = (char *)d_dst + at * sizeof(uint16_t),
                         .src = (const char *)src + at * size,
                         .dtype = dtype,
                         .n = n - at < most ? n - at : most};
        EMC_TRY(add_piece(upload, &p));
    }
    return EMC_OK;
}

/* Waits for the pieces, then for their copies. */
static void finish(cuda_upload *upload)
{
    emc_status status;

    if (upload->is_there)
        return;
    (void)pthread_mutex_lock(&upload->lock);
    while (upload->n_workers > 0 && (upload->first || upload->n_busy > 0))
        (void)pthread_cond_wait(&upload->changed, &upload->lock);
    (void)pthread_mutex_unlock(&upload->lock);
    status = cuda_check(cudaStreamSynchronize(upload->stream), "copying weights");
    if (status != EMC_OK)
        keep_error(upload, status);
    drop_pieces(upload);
    upload->is_there = true;
}

void cuda_upload_join(cuda_upload *upload)
{
    finish(upload);
    if (upload->n_workers > 0)
        dismiss(upload);
}

void cuda_upload_drain(cuda_upload *upload)
{
    finish(upload);
}

emc_status cuda_upload_wait(cuda_upload *upload)
{
    emc_status status;

    finish(upload);
    status = upload->status;
    upload->status = EMC_OK;
    return status == EMC_OK ? EMC_OK : emc_fail(status, "%s", upload->message);
}

static emc_status open_parts(cuda_upload *upload)
{
    const long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n_free, n_whole;

    EMC_TRY(cuda_check(cudaMemGetInfo(&n_free, &n_whole), "free memory"));
    upload->chunk_bytes = n_whole / CHUNK_PART < CHUNK_BYTES ? n_whole / CHUNK_PART : CHUNK_BYTES;
    upload->chunk_bytes -= upload->chunk_bytes % LEAST_CHUNK_BYTES;
    if (upload->chunk_bytes == 0)
        upload->chunk_bytes = LEAST_CHUNK_BYTES;
    upload->most_workers = n_cpus > 2 * MAX_THREADS ? MAX_THREADS : (int)(n_cpus + 1) / 2;
    if (upload->most_workers < 2)
        upload->most_workers = 2;
    return cuda_check(cudaStreamCreateWithFlags(&upload->stream, cudaStreamNonBlocking),
                      "a stream");
}

emc_status cuda_upload_open(cuda_upload **out, cuda_device *cuda)
{
    cuda_upload *upload = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&upload, 1, sizeof *upload, "the way of weights"));
    upload->cuda = cuda;
    upload->is_there = true;
    (void)pthread_mutex_init(&upload->lock, NULL);
    (void)pthread_cond_init(&upload->changed, NULL);
    status = open_parts(upload);
    if (status != EMC_OK) {
        cuda_upload_close(upload);
        return status;
    }
    *out = upload;
    return EMC_OK;
}

void cuda_upload_close(cuda_upload *upload)
{
    if (!upload)
        return;
    drop_pieces(upload);
    dismiss(upload);
    if (upload->stream)
        (void)cudaStreamDestroy(upload->stream);
    (void)pthread_cond_destroy(&upload->changed);
    (void)pthread_mutex_destroy(&upload->lock);
    free(upload);
}
