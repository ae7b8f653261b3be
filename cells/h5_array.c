/* What is the fastest safe way from a dataset's storage to numbers? */
#include "cells/h5_array.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "cells/h5_numbers.h"

/* Numbers of plain storage that are read and converted at a time: they stay in a core's cache. */
#define PIECE ((size_t)1 << 15)

/* Larger chunks are left to the library: unpacking one for a few rows would cost too much. */
#define MOST_CHUNK ((size_t)64 << 20)

/* Chunks stored as they are, up to this size, are taken whole; of larger ones the library reads
 * just the range. */
#define MOST_PLAIN_CHUNK ((size_t)1 << 20)

#define MOST_FILTERS 2

typedef enum {
    BY_LIBRARY = 0,
    BY_FILE,  /* contiguous: straight from the file */
    BY_CHUNKS /* raw chunks, unpacked here */
} h5_way;

struct h5_array {
    const char *path;
    hid_t dataset;
    hid_t memory_type; /* the library's, not to be closed */
    bool as_int32;
    h5_way way;
    h5_number_kind kind;
    hsize_t length;
    /* BY_FILE */
    int file;
    haddr_t offset;
    /* BY_CHUNKS */
    hsize_t chunk; /* numbers */
    int n_filters; /* in the order in which they packed */
    int filters[MOST_FILTERS];
    unsigned char *kept; /* the last chunk of the last range, unpacked */
    hsize_t kept_chunk;
    bool has_kept;
};

/* ---- opening ---- */

static bool choose_file(h5_array *array, hid_t created)
{
    const hid_t file = H5Iget_file_id(array->dataset);
    const hid_t access = file < 0 ? -1 : H5Fget_access_plist(file);
    void *handle = NULL;
    bool is_plain = false;

    if (access >= 0 && H5Pget_driver(access) == H5FD_SEC2 &&
        H5Pget_layout(created) == H5D_CONTIGUOUS &&
        H5Dget_storage_size(array->dataset) == array->length * array->kind.n_bytes)
        is_plain = H5Fget_vfd_handle(file, access, &handle) >= 0 && handle;
    if (access >= 0)
        H5Pclose(access);
    cells_h5_close(file);
    if (!is_plain)
        return false;
    array->offset = H5Dget_offset(array->dataset);
    array->file = *(int *)handle;
    return array->offset != HADDR_UNDEF;
}

static bool choose_chunks(h5_array *array, hid_t created)
{
    size_t n_bytes;
    unsigned partial = 0;

    if (H5Pget_layout(created) != H5D_CHUNKED || H5Pget_chunk(created, 1, &array->chunk) != 1 ||
        array->chunk == 0 || H5Pget_chunk_opts(created, &partial) < 0 || partial != 0 ||
        !emc_size_mul(&n_bytes, (size_t)array->chunk, array->kind.n_bytes) || n_bytes > MOST_CHUNK)
        return false;
    array->n_filters = H5Pget_nfilters(created);
    if (array->n_filters > MOST_FILTERS || (array->n_filters < 1 && n_bytes > MOST_PLAIN_CHUNK))
        return false;
    for (int i = 0; i < array->n_filters; i++) {
        unsigned flags, config, values[1] = {0};
        size_t n_values = 1;
        array->filters[i] =
            (int)H5Pget_filter2(created, (unsigned)i, &flags, &n_values, values, 0, NULL, &config);
        const bool is_shuffle = array->filters[i] == H5Z_FILTER_SHUFFLE && n_values == 1 &&
                                values[0] == array->kind.n_bytes;
        if (!is_shuffle && array->filters[i] != H5Z_FILTER_DEFLATE)
            return false;
    }
    return true;
}

emc_status h5_array_open(h5_array **out, hid_t dataset, bool as_int32, const char *path)
{
    emc_status status;
    h5_array *array = NULL;
    hid_t type = -1, created = -1;

    *out = NULL;
    status = emc_alloc(&array, 1, sizeof *array, "a matrix");
    if (status != EMC_OK) {
        cells_h5_close(dataset);
        return status;
    }
    *array = (h5_array){.path = path,
                        .dataset = dataset,
                        .as_int32 = as_int32,
                        .memory_type = as_int32 ? H5T_NATIVE_INT32 : H5T_NATIVE_DOUBLE};
    status = cells_h5_dims(&array->length, 1, dataset, path);
    if (status != EMC_OK)
        goto done;
    type = H5Dget_type(dataset);
    created = H5Dget_create_plist(dataset);
    if (type < 0 || created < 0) {
        status = cells_h5_broken(path, dataset, "reading the type");
        goto done;
    }
    array->kind = h5_number_kind_of(type);
    const bool is_float =
        array->kind.number == H5_NUMBER_F32 || array->kind.number == H5_NUMBER_F64;
    if (array->kind.number != H5_NUMBER_NONE && !(as_int32 && is_float)) {
        if (choose_file(array, created))
            array->way = BY_FILE;
        else if (choose_chunks(array, created))
            array->way = BY_CHUNKS;
    }
    *out = array;
    array = NULL;

done:
    if (type >= 0)
        H5Tclose(type);
    if (created >= 0)
        H5Pclose(created);
    h5_array_close(array);
    return status;
}

void h5_array_close(h5_array *array)
{
    if (!array)
        return;
    cells_h5_close(array->dataset);
    free(array->kept);
    free(array);
}

hid_t h5_array_dataset(const h5_array *array)
{
    return array->dataset;
}

hsize_t h5_array_length(const h5_array *array)
{
    return array->length;
}

/* ---- reading ---- */

typedef enum { JOB_DONE = 0, JOB_NO_MEMORY, JOB_DAMAGED, JOB_SHORT, JOB_ERROR } job_end;

/* Some numbers of one array: a piece of plain storage, or of one chunk. */
typedef struct {
    h5_array *array;
    hsize_t first; /* in the dataset */
    size_t n;
    void *to;
    hsize_t chunk;    /* its number */
    size_t packed_at; /* its bytes, in the pool of packed chunks */
    size_t n_packed;  /* 0: it is kept unpacked */
    uint32_t mask;    /* filters that were left out */
    bool keep;        /* unpacked into array->kept */
    job_end end;
    int error;
} job;

/* What a worker unpacks in. */
typedef struct {
    unsigned char *bytes[2];
    size_t capacity[2];
    struct libdeflate_decompressor *inflater;
} workspace;

struct h5_unpacker {
    cells_team *team;
    workspace *workspaces; /* one a worker */
    job *jobs;
    size_t n_jobs, jobs_capacity;
    unsigned char *pool; /* packed chunks */
    size_t n_pool, pool_capacity;
};

emc_status h5_unpacker_open(h5_unpacker **out, int n_threads)
{
    emc_status status;
    h5_unpacker *unpacker = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&unpacker, 1, sizeof *unpacker, "reading a matrix"));
    status = cells_team_open(&unpacker->team, n_threads);
    if (status == EMC_OK)
        status = emc_alloc(&unpacker->workspaces, (size_t)cells_team_size(unpacker->team),
                           sizeof *unpacker->workspaces, "reading a matrix");
    if (status != EMC_OK) {
        h5_unpacker_close(unpacker);
        return status;
    }
    *out = unpacker;
    return EMC_OK;
}

void h5_unpacker_close(h5_unpacker *unpacker)
{
    if (!unpacker)
        return;
    for (int i = 0; unpacker->workspaces && i < cells_team_size(unpacker->team); i++) {
        free(unpacker->workspaces[i].bytes[0]);
        free(unpacker->workspaces[i].bytes[1]);
        libdeflate_free_decompressor(unpacker->workspaces[i].inflater);
    }
    cells_team_close(unpacker->team);
    free(unpacker->workspaces);
    free(unpacker->jobs);
    free(unpacker->pool);
    free(unpacker);
}

static void convert(const job *j, void *from, size_t at)
{
    const h5_array *array = j->array;
    unsigned char *numbers = (unsigned char *)from + at * array->kind.n_bytes;

    if (array->as_int32)
        h5_numbers_int32(j->to, numbers, array->kind, j->n);
    else
        h5_numbers_double(j->to, numbers, array->kind, j->n);
}

static bool reserve(workspace *space, int which, size_t n_bytes)
{
    return emc_reserve(&space->bytes[which], &space->capacity[which], n_bytes, 1,
                       "unpacking a chunk") == EMC_OK;
}

static void read_plain(job *j, workspace *space)
{
    const size_t size = j->array->kind.n_bytes;
    size_t left = j->n * size;
    off_t at = (off_t)(j->array->offset + j->first * size);

    if (!reserve(space, 0, left)) {
        j->end = JOB_NO_MEMORY;
        return;
    }
    for (unsigned char *to = space->bytes[0]; left > 0;) {
        const ssize_t got = pread(j->array->file, to, left, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            j->end = got < 0 ? JOB_ERROR : JOB_SHORT;
            j->error = errno;
            return;
        }
        to += got;
        at += got;
        left -= (size_t)got;
    }
    convert(j, space->bytes[0], 0);
}

/* Undoes the filters, last first. *out is in the workspace, or `packed` itself. */
static job_end undo_filters(unsigned char **out, const job *j, unsigned char *packed,
                            workspace *space)
{
    const h5_array *array = j->array;
    const size_t n_bytes = (size_t)array->chunk * array->kind.n_bytes;
    size_t n = j->n_packed, got;
    int to = 0;

    *out = packed;
    for (int i = array->n_filters - 1; i >= 0; i--) {
        if (j->mask >> i & 1)
            continue;
        if (!reserve(space, to, n_bytes))
            return JOB_NO_MEMORY;
        if (array->filters[i] == H5Z_FILTER_SHUFFLE) {
            if (n != n_bytes)
                return JOB_DAMAGED;
            h5_numbers_unshuffle(space->bytes[to], *out, (size_t)array->chunk, array->kind.n_bytes);
        } else {
            if (!space->inflater)
                space->inflater = libdeflate_alloc_decompressor();
            if (!space->inflater)
                return JOB_NO_MEMORY;
            if (libdeflate_zlib_decompress(space->inflater, *out, n, space->bytes[to], n_bytes,
                                           &got) != LIBDEFLATE_SUCCESS)
                return JOB_DAMAGED;
            n = got;
        }
        *out = space->bytes[to];
        to = 1 - to;
    }
    return n == n_bytes ? JOB_DONE : JOB_DAMAGED;
}

static void unpack(job *j, unsigned char *pool, workspace *space)
{
    h5_array *array = j->array;
    const size_t n_bytes = (size_t)array->chunk * array->kind.n_bytes;
    unsigned char *bytes;

    j->end = undo_filters(&bytes, j, pool + j->packed_at, space);
    if (j->end != JOB_DONE)
        return;
    if (j->keep) {
        memcpy(array->kept, bytes, n_bytes);
        array->has_kept = true;
    }
    convert(j, bytes, (size_t)(j->first % array->chunk));
}

static void run_job(void *context, int item, int worker)
{
    h5_unpacker *unpacker = context;
    job *j = &unpacker->jobs[item];

    if (j->array->way == BY_FILE)
        read_plain(j, &unpacker->workspaces[worker]);
    else
        unpack(j, unpacker->pool, &unpacker->workspaces[worker]);
}

static void *place(const h5_array *array, void *to, size_t at)
{
    return (char *)to + at * (array->as_int32 ? sizeof(int32_t) : sizeof(double));
}

static emc_status add_job(h5_unpacker *unpacker, const job *j)
{
    EMC_TRY(emc_reserve(&unpacker->jobs, &unpacker->jobs_capacity, unpacker->n_jobs + 1,
                        sizeof *unpacker->jobs, "reading a matrix"));
    unpacker->jobs[unpacker->n_jobs++] = *j;
    return EMC_OK;
}

static emc_status plan_plain(h5_unpacker *unpacker, h5_array *array, void *to, hsize_t start,
                             hsize_t n)
{
    for (hsize_t at = 0; at < n; at += PIECE) {
        const job piece = {.array = array,
                           .first = start + at,
                           .n = n - at < PIECE ? (size_t)(n - at) : PIECE,
                           .to = place(array, to, (size_t)at)};
        EMC_TRY(add_job(unpacker, &piece));
    }
    return EMC_OK;
}

/* Numbers of a chunk that has none of its own: what the file says unwritten ones are. */
static emc_status read_by_library(const h5_array *array, void *to, hsize_t start, hsize_t n)
{
    return cells_h5_slice(to, array->dataset, start, n, array->memory_type, array->path);
}

/* Takes the raw bytes of one chunk into the pool. */
static emc_status take_chunk(h5_unpacker *unpacker, job *j)
{
    const h5_array *array = j->array;
    const hsize_t at = j->chunk * array->chunk;
    const size_t n_bytes = (size_t)array->chunk * array->kind.n_bytes;
    hsize_t n_packed = 0;

    /* The library calls it a failure when nobody wrote the chunk; what else is wrong it says
     * itself.
     */
    if (H5Dget_chunk_storage_size(array->dataset, &at, &n_packed) < 0 || n_packed == 0)
        return read_by_library(array, j->to, j->first, j->n);
    /* What does not pack grows by 5 bytes in 16 KiB; twice the size is no packed chunk. */
    if (n_packed > 2 * (hsize_t)n_bytes + 4096)
        return cells_h5_fail(
            EMC_ERR_FORMAT, array->path, array->dataset,
            "chunk %llu of %llu bytes, but unpacked it has %zu; the file is damaged",
            (unsigned long long)j->chunk, (unsigned long long)n_packed, n_bytes);
    j->packed_at = (unpacker->n_pool + 15) / 16 * 16;
    j->n_packed = (size_t)n_packed;
    EMC_TRY(emc_reserve(&unpacker->pool, &unpacker->pool_capacity, j->packed_at + j->n_packed, 1,
                        "reading a matrix"));
    if (H5Dread_chunk(array->dataset, H5P_DEFAULT, &at, &j->mask, unpacker->pool + j->packed_at) <
        0)
        return cells_h5_broken(array->path, array->dataset, "reading a chunk");
    unpacker->n_pool = j->packed_at + j->n_packed;
    return add_job(unpacker, j);
}

static emc_status plan_chunks(h5_unpacker *unpacker, h5_array *array, void *to, hsize_t start,
                              hsize_t n)
{
    const hsize_t end = start + n, last = (end - 1) / array->chunk;
    const size_t n_bytes = (size_t)array->chunk * array->kind.n_bytes;

    for (hsize_t chunk = start / array->chunk; chunk <= last; chunk++) {
        const hsize_t from = chunk * array->chunk > start ? chunk * array->chunk : start;
        const hsize_t until =
            end - chunk * array->chunk < array->chunk ? end : (chunk + 1) * array->chunk;
        job j = {.array = array,
                 .first = from,
                 .n = (size_t)(until - from),
                 .to = place(array, to, (size_t)(from - start)),
                 .chunk = chunk};
        if (array->has_kept && array->kept_chunk == chunk) {
            convert(&j, array->kept, (size_t)(from % array->chunk));
            continue;
        }
        /* The next range most often begins in the chunk in which this one ends. */
        j.keep = chunk == last && until % array->chunk != 0 && until < array->length &&
                 !array->kind.is_swapped; /* which is mended in place, so only once */
        if (j.keep) {
            array->has_kept = false;
            array->kept_chunk = chunk;
            if (!array->kept)
                EMC_TRY(emc_alloc(&array->kept, n_bytes, 1, "a chunk"));
        }
        EMC_TRY(take_chunk(unpacker, &j));
    }
    return EMC_OK;
}

static emc_status report(const job *j)
{
    const char *path = j->array->path;
    const hid_t at = j->array->dataset;

    switch (j->end) {
    case JOB_DONE:
        break;
    case JOB_NO_MEMORY:
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory to unpack a chunk", path);
    case JOB_DAMAGED:
        return cells_h5_fail(EMC_ERR_FORMAT, path, at,
                             "chunk %llu cannot be unpacked; the file is damaged: fetch or write "
                             "it again",
                             (unsigned long long)j->chunk);
    case JOB_SHORT:
        return cells_h5_fail(EMC_ERR_FORMAT, path, at,
                             "the file ends before value %llu; it was cut short: fetch it again",
                             (unsigned long long)(j->first + j->n));
    case JOB_ERROR:
        return cells_h5_fail(EMC_ERR_IO, path, at, "reading values failed (%s)",
                             strerror(j->error));
    }
    return EMC_OK;
}

emc_status h5_arrays_read(h5_unpacker *unpacker, h5_array *const *arrays, void *const *to,
                          int n_arrays, hsize_t start, hsize_t n)
{
    emc_status status = EMC_OK;

    unpacker->n_jobs = 0;
    unpacker->n_pool = 0;
    for (int i = 0; status == EMC_OK && n > 0 && i < n_arrays; i++)
        status = arrays[i]->way == BY_FILE     ? plan_plain(unpacker, arrays[i], to[i], start, n)
                 : arrays[i]->way == BY_CHUNKS ? plan_chunks(unpacker, arrays[i], to[i], start, n)
                                               : read_by_library(arrays[i], to[i], start, n);
    if (status == EMC_OK && unpacker->n_jobs > INT32_MAX)
        status = emc_fail(EMC_ERR_NOMEM, "%s: no memory for a block", arrays[0]->path);
    if (status == EMC_OK)
        cells_team_run(unpacker->team, (int)unpacker->n_jobs, run_job, unpacker);
    for (size_t i = 0; status == EMC_OK && i < unpacker->n_jobs; i++)
        status = report(&unpacker->jobs[i]);
    for (int i = 0; status != EMC_OK && i < n_arrays; i++)
        arrays[i]->has_kept = false; /* what is kept may be half of a chunk */
    return status;
}
