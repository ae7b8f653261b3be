/* How do the chunks of a zarr array become numbers? */
#include "cells/zarr_array.h"

#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/size.h"

/* Chunks of text say nothing about their size in the metadata. */
#define LONGEST_TEXT ((size_t)256 << 20)

/* More than this is not spent on keeping a row of chunks; it is then unpacked again. */
#define MOST_CACHE ((size_t)256 << 20)

emc_status zarr_array_open(zarr_array **out, const zarr_node *node)
{
    emc_status status;
    zarr_array *array = NULL;

    *out = NULL;
    status = emc_alloc(&array, 1, sizeof *array, "a zarr array");
    if (status != EMC_OK)
        return status;
    array->store = node->store;
    array->cached = -1;
    status = emc_copy_string(&array->key, node->key);
    if (status == EMC_OK)
        status = zarr_array_parse(array, node);
    if (status == EMC_OK)
        *out = array;
    else
        zarr_array_close(array);
    return status;
}

void zarr_array_close(zarr_array *array)
{
    if (!array)
        return;
    emc_text_free(&array->packed);
    emc_text_free(&array->scratch);
    free(array->is_there);
    free(array->cache);
    free(array->key);
    free(array);
}

/* Byte b of every element stands together. What is left over stays as it is. */
static void unshuffle(char *to, const char *from, size_t n, size_t element)
{
    const size_t count = n / element;

    for (size_t b = 0; b < element; b++)
        for (size_t i = 0; i < count; i++)
            to[i * element + b] = from[b * count + i];
    memcpy(to + count * element, from + count * element, n - count * element);
}

static uint32_t little_endian_32(const char *bytes)
{
    const unsigned char *p = (const unsigned char *)bytes;

    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* CRC-32C (Castagnoli), bit by bit reflected: RFC 3720, section 12.1. */
static uint32_t checksum(const char *bytes, size_t n)
{
    uint32_t table[256], crc = 0xFFFFFFFFu;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82F63B78u : 0);
    }
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ table[(crc ^ (unsigned char)bytes[i]) & 0xFF];
    return ~crc;
}

/* Unpacks array->packed into array->scratch, which has no size known in advance. */
static emc_status unpack_text(zarr_array *array, cells_codec codec, const char *where)
{
    emc_text *to = &array->scratch;
    size_t room;

    if (cells_codec_claim(&room, codec, array->packed.bytes, array->packed.n)) {
        if (room > LONGEST_TEXT)
            return emc_fail(EMC_ERR_FORMAT, "%s: claims %zu bytes of text; at most %zu are read",
                            where, room, LONGEST_TEXT);
    } else {
        room = array->packed.n * 4 + 65536;
    }
    for (;;) {
        room = room < LONGEST_TEXT ? room : LONGEST_TEXT;
        EMC_TRY(emc_reserve(&to->bytes, &to->capacity, room + 1, 1, "a chunk of text"));
        const emc_status status = cells_codec_decode(codec, to->bytes, room, &to->n,
                                                     array->packed.bytes, array->packed.n, where);
        if (status == EMC_OK || room == LONGEST_TEXT || status == EMC_ERR_NOMEM)
            return status;
        room *= 4;
    }
}

/* One step: from array->packed to array->scratch, which then change places. */
static emc_status undo(zarr_array *array, const zarr_step *step, const char *where)
{
    emc_text *from = &array->packed, *to = &array->scratch;
    /* Between two steps a little more may stand than in the chunk itself. */
    const size_t room = array->chunk_bytes + array->chunk_bytes / 64 + 4096;

    emc_text_clear(to);
    if (step->kind == ZARR_CHECKSUM) {
        if (from->n < 4 ||
            checksum(from->bytes, from->n - 4) != little_endian_32(from->bytes + from->n - 4))
            return emc_fail(EMC_ERR_FORMAT, "%s: its checksum is wrong; the file is damaged",
                            where);
        from->n -= 4;
        return EMC_OK;
    }
    if (step->kind == ZARR_UNSHUFFLE) {
        EMC_TRY(emc_reserve(&to->bytes, &to->capacity, from->n + 1, 1, "a chunk"));
        if (from->n)
            unshuffle(to->bytes, from->bytes, from->n, step->element);
        to->n = from->n;
    } else if (array->chunk_bytes == 0) {
        EMC_TRY(unpack_text(array, step->codec, where));
    } else {
        EMC_TRY(emc_reserve(&to->bytes, &to->capacity, room, 1, "a chunk"));
        EMC_TRY(
            cells_codec_decode(step->codec, to->bytes, room, &to->n, from->bytes, from->n, where));
    }
    const emc_text swap = *from;
    *from = *to;
    *to = swap;
    return EMC_OK;
}

static emc_status chunk_key(emc_text *key, const zarr_array *array, int64_t row, int64_t column)
{
    EMC_TRY(emc_text_addf(key, "%s/", array->key));
    if (array->keys_begin_with_c)
        EMC_TRY(emc_text_addf(key, "c%c", array->separator));
    EMC_TRY(emc_text_addf(key, "%lld", (long long)row));
    return array->n_dims == 2 ? emc_text_addf(key, "%c%lld", array->separator, (long long)column)
                              : EMC_OK;
}

emc_status zarr_chunk_read(zarr_array *array, int64_t row, int64_t column, unsigned char *to,
                           bool *found)
{
    const bool is_text = array->chunk_bytes == 0;
    emc_text key = {0}, where = {0};
    emc_status status = chunk_key(&key, array, row, column);

    *found = false;
    if (status == EMC_OK)
        status = emc_text_addf(&where, "%s: %s", zarr_store_path(array->store), key.bytes);
    /* What does not pack grows a little; twice the size is no packed chunk. */
    if (status == EMC_OK)
        status = zarr_store_read(&array->packed, found, array->store, key.bytes,
                                 is_text ? LONGEST_TEXT : 2 * array->chunk_bytes + 4096);
    for (int i = 0; status == EMC_OK && *found && i < array->n_steps; i++)
        status = undo(array, &array->steps[i], where.bytes);
    if (status == EMC_OK && *found && !is_text) {
        if (array->packed.n != array->chunk_bytes)
            status =
                emc_fail(EMC_ERR_FORMAT, "%s: holds %zu bytes, wanted %zu; the file is damaged",
                         where.bytes, array->packed.n, array->chunk_bytes);
        else
            memcpy(to, array->packed.bytes, array->chunk_bytes);
    }
    emc_text_free(&key);
    emc_text_free(&where);
    return status;
}

/* An integer of 1 to 8 bytes in either order. */
static uint64_t integer_at(const unsigned char *p, size_t n, bool big_endian)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)p[big_endian ? n - 1 - i : i] << (8 * i);
    return value;
}

static int64_t signed_at(const zarr_array *array, const unsigned char *p)
{
    const unsigned shift = 64 - 8 * (unsigned)array->item_bytes;
    const uint64_t value = integer_at(p, array->item_bytes, array->big_endian);

    return array->type == ZARR_INT ? (int64_t)(value << shift) >> shift : (int64_t)value;
}

static double double_at(const zarr_array *array, const unsigned char *p)
{
    const uint64_t bits = integer_at(p, array->item_bytes, array->big_endian);
    union {
        uint64_t u;
        double f;
    } wide = {bits};
    union {
        uint32_t u;
        float f;
    } narrow = {(uint32_t)bits};

    switch (array->type) {
    case ZARR_FLOAT:
        return array->item_bytes == 8   ? wide.f
               : array->item_bytes == 4 ? (double)narrow.f
                                        : (double)emc_f16_to_f32((uint16_t)bits);
    case ZARR_INT:
        return (double)signed_at(array, p);
    default:
        return (double)bits;
    }
}

/* The chunk of a one-dimensional array; *bytes NULL where it was never written. */
static emc_status want_chunk(const unsigned char **bytes, zarr_array *array, int64_t chunk)
{
    if (array->cached != chunk) {
        bool found;
        array->cached = -1;
        if (!array->cache) {
            EMC_TRY(emc_alloc(&array->cache, array->chunk_bytes, 1, "a chunk"));
            EMC_TRY(emc_alloc(&array->is_there, 1, sizeof *array->is_there, "a chunk"));
        }
        EMC_TRY(zarr_chunk_read(array, chunk, 0, array->cache, &found));
        array->is_there[0] = found;
        array->cached = chunk;
    }
    *bytes = array->is_there[0] ? array->cache : NULL;
    return EMC_OK;
}

/* The usual types in the order of this machine take a shorter way. */
static bool is_host_order(const zarr_array *array)
{
    const uint16_t one = 1;
    unsigned char low;

    memcpy(&low, &one, 1);
    return (low == 1) != array->big_endian;
}

static double float_at(const unsigned char *p)
{
    float value;

    memcpy(&value, p, sizeof value);
    return (double)value;
}

static int64_t int_at(const unsigned char *p)
{
    int32_t value;

    memcpy(&value, p, sizeof value);
    return value;
}

/* The caller has checked 0 <= start and start + n <= shape[0]. */
static emc_status read_numbers(double *doubles, int64_t *ints, zarr_array *array, int64_t start,
                               int64_t n)
{
    const zarr_type type = array->type;
    const size_t item = array->item_bytes;

    for (int64_t done = 0; done < n;) {
        const int64_t chunk = (start + done) / array->chunk[0];
        const int64_t at = (start + done) % array->chunk[0];
        const int64_t left = array->chunk[0] - at < n - done ? array->chunk[0] - at : n - done;
        const unsigned char *bytes;
        EMC_TRY(want_chunk(&bytes, array, chunk));
        const unsigned char *from = bytes ? bytes + (size_t)at * item : NULL;
        const bool is_plain = from && is_host_order(array);
        for (int64_t i = 0; is_plain && doubles && type == ZARR_FLOAT && item == 4 && i < left; i++)
            doubles[done + i] = float_at(from + 4 * i);
        for (int64_t i = 0; is_plain && ints && type == ZARR_INT && item == 4 && i < left; i++)
            ints[done + i] = int_at(from + 4 * i);
        const bool is_done = is_plain && item == 4 && type == (doubles ? ZARR_FLOAT : ZARR_INT);
        for (int64_t i = 0; !is_done && i < left; i++) {
            const unsigned char *p = from ? from + (size_t)i * item : NULL;
            if (doubles)
                doubles[done + i] = p ? double_at(array, p) : array->fill;
            else
                ints[done + i] = p ? signed_at(array, p) : (int64_t)array->fill;
        }
        done += left;
    }
    return EMC_OK;
}

static emc_status check_numbers(const zarr_array *array, bool integers)
{
    if (array->n_dims == 1 && (integers ? array->type <= ZARR_UINT : array->type <= ZARR_FLOAT))
        return EMC_OK;
    return zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                     "%d dimensions of %s, wanted one "
                     "of %s",
                     array->n_dims, zarr_type_name(array), integers ? "integers" : "numbers");
}

emc_status zarr_read_doubles(double *to, zarr_array *array, int64_t start, int64_t n)
{
    EMC_TRY(check_numbers(array, false));
    return read_numbers(to, NULL, array, start, n);
}

emc_status zarr_read_ints(int64_t *to, zarr_array *array, int64_t start, int64_t n)
{
    EMC_TRY(check_numbers(array, true));
    if (!(array->fill > -9e18 && array->fill < 9e18))
        return zarr_fail(EMC_ERR_FORMAT, array->store, array->key, "a fill value of %g",
                         array->fill);
    return read_numbers(NULL, to, array, start, n);
}

/* Some rows of one chunk into their places. bytes NULL: the fill value. */
static void place_chunk(double *to, const zarr_array *array, const unsigned char *bytes,
                        int64_t chunk_column, int64_t first, int64_t n)
{
    const int64_t width = array->chunk[1], n_columns = array->shape[1];
    const int64_t left = chunk_column * width;
    const int64_t count = n_columns - left < width ? n_columns - left : width;
    const int64_t top = first % array->chunk[0];

    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < count; c++) {
            const size_t at = array->columns_first ? (size_t)(c * array->chunk[0] + top + r)
                                                   : (size_t)((top + r) * width + c);
            to[r * n_columns + left + c] =
                bytes ? double_at(array, bytes + at * array->item_bytes) : array->fill;
        }
}

/* Rows that lie in one row of chunks. */
static emc_status read_chunk_row(double *to, zarr_array *array, int64_t first, int64_t n)
{
    const int64_t chunk_row = first / array->chunk[0];
    const int64_t n_chunks = (array->shape[1] - 1) / array->chunk[1] + 1;
    size_t bytes;
    const bool keeps =
        emc_size_mul(&bytes, array->chunk_bytes, (size_t)n_chunks) && bytes <= MOST_CACHE;

    if (!array->cache) {
        EMC_TRY(emc_alloc(&array->cache, keeps ? bytes : array->chunk_bytes, 1, "chunks"));
        EMC_TRY(emc_alloc(&array->is_there, (size_t)n_chunks, sizeof *array->is_there, "chunks"));
    }
    const bool is_new = !keeps || array->cached != chunk_row;
    array->cached = is_new ? -1 : array->cached;
    for (int64_t i = 0; i < n_chunks; i++) {
        unsigned char *chunk = array->cache + (keeps ? (size_t)i * array->chunk_bytes : 0);
        if (is_new)
            EMC_TRY(zarr_chunk_read(array, chunk_row, i, chunk, &array->is_there[i]));
        place_chunk(to, array, array->is_there[i] ? chunk : NULL, i, first, n);
    }
    if (keeps)
        array->cached = chunk_row;
    return EMC_OK;
}

emc_status zarr_read_rows(double *to, zarr_array *array, int64_t first, int64_t n)
{
    for (int64_t done = 0; done < n;) {
        const int64_t at = (first + done) % array->chunk[0];
        const int64_t left = array->chunk[0] - at < n - done ? array->chunk[0] - at : n - done;
        EMC_TRY(read_chunk_row(to + done * array->shape[1], array, first + done, left));
        done += left;
    }
    return EMC_OK;
}
