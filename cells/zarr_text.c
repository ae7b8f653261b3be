/* How do the entries of a zarr array become text? */
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "cells/frame.h"
#include "cells/zarr_array.h"

/* Numbers that are turned into text at a time. */
#define NUMBERS 1024

static emc_status add_entry(cells_strings *out, const char *bytes, size_t n, int64_t entry,
                            const zarr_array *array)
{
    char place[1024];

    snprintf(place, sizeof place, "%s: %s: entry %lld", zarr_store_path(array->store), array->key,
             (long long)entry);
    return cells_strings_add(out, bytes, n, place);
}

static uint32_t u32(const unsigned char *p, bool big_endian)
{
    return big_endian ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
                      : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* UTF-32, padded with zeros. */
static emc_status add_utf32(cells_strings *out, emc_text *text, const unsigned char *p,
                            int64_t entry, const zarr_array *array)
{
    size_t n = array->item_bytes / 4;

    while (n > 0 && u32(p + 4 * (n - 1), false) == 0)
        n--;
    emc_text_clear(text);
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        const uint32_t code = u32(p + 4 * i, array->big_endian);
        if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
            return zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                             "entry %lld: 0x%x is no character; the file is damaged",
                             (long long)entry, code);
        EMC_TRY(emc_text_add(text, bytes, (size_t)emc_utf8_encode(bytes, code)));
    }
    return add_entry(out, n ? text->bytes : "", text->n, entry, array);
}

/* Bytes, padded with zeros. */
static emc_status add_bytes(cells_strings *out, const unsigned char *p, int64_t entry,
                            const zarr_array *array)
{
    size_t n = array->item_bytes;

    while (n > 0 && p[n - 1] == 0)
        n--;
    return add_entry(out, (const char *)p, n, entry, array);
}

/* The entries of a chunk of strings: a count, then a length before each; all little endian. */
static emc_status add_strings(cells_strings *out, int64_t first, int64_t wanted,
                              const zarr_array *array)
{
    const unsigned char *p = (const unsigned char *)array->packed.bytes;
    size_t left = array->packed.n;

    if (left < 4 || u32(p, false) < (uint64_t)wanted)
        return zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                         "the chunk of entry %lld holds %llu strings, wanted %lld; the file is "
                         "damaged",
                         (long long)first, left < 4 ? 0ULL : (unsigned long long)u32(p, false),
                         (long long)wanted);
    p += 4;
    left -= 4;
    for (int64_t i = 0; i < wanted; i++) {
        const size_t n = left < 4 ? SIZE_MAX : u32(p, false);
        if (left < 4 || n > left - 4)
            return zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                             "entry %lld is cut short; the file is damaged",
                             (long long)(first + i));
        EMC_TRY(add_entry(out, (const char *)p + 4, n, first + i, array));
        p += 4 + n;
        left -= 4 + n;
    }
    return EMC_OK;
}

static emc_status add_chunk(cells_strings *out, emc_text *text, int64_t first, int64_t n,
                            const zarr_array *array, const unsigned char *chunk)
{
    if (array->type == ZARR_STRINGS)
        return add_strings(out, first, n, array);
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *p = chunk + (size_t)i * array->item_bytes;
        EMC_TRY(array->type == ZARR_UTF32 ? add_utf32(out, text, p, first + i, array)
                                          : add_bytes(out, p, first + i, array));
    }
    return EMC_OK;
}

static emc_status read_texts(cells_strings *out, zarr_array *array, bool may_lack)
{
    emc_status status = EMC_OK;
    emc_text text = {0};

    if (array->chunk_bytes && !array->cache)
        status = emc_alloc(&array->cache, array->chunk_bytes, 1, "a chunk");
    for (int64_t first = 0; status == EMC_OK && first < array->shape[0]; first += array->chunk[0]) {
        const int64_t left = array->shape[0] - first;
        const int64_t n = left < array->chunk[0] ? left : array->chunk[0];
        bool found;
        status = zarr_chunk_read(array, first / array->chunk[0], 0, array->cache, &found);
        if (status == EMC_OK && found)
            status = add_chunk(out, &text, first, n, array, array->cache);
        else if (status == EMC_OK && !may_lack)
            status = zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                               "the chunk of entry %lld is not there; copy the whole store again",
                               (long long)first);
        for (int64_t i = 0; status == EMC_OK && !found && i < n; i++)
            status = cells_strings_add(out, "", 0, array->key);
    }
    emc_text_free(&text);
    return status;
}

/* The chunk that was read last is there; names cannot be made of nothing. */
static emc_status check_there(const zarr_array *array, int64_t first, bool may_lack)
{
    if (may_lack || array->is_there[0])
        return EMC_OK;
    return zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                     "a chunk behind entry %lld is not there; copy the whole store again",
                     (long long)first);
}

static emc_status read_doubles_text(cells_strings *out, zarr_array *array, bool may_lack)
{
    double values[NUMBERS];

    for (int64_t first = 0; first < array->shape[0]; first += NUMBERS) {
        const int64_t left = array->shape[0] - first, n = left < NUMBERS ? left : NUMBERS;
        EMC_TRY(zarr_read_doubles(values, array, first, n));
        EMC_TRY(check_there(array, first, may_lack));
        for (int64_t i = 0; i < n; i++) {
            char text[64];
            cells_print_double(text, sizeof text, values[i], array->item_bytes == 4);
            EMC_TRY(cells_strings_add(out, text, strlen(text), array->key));
        }
    }
    return EMC_OK;
}

static emc_status read_ints_text(cells_strings *out, zarr_array *array, bool may_lack)
{
    int64_t values[NUMBERS];

    for (int64_t first = 0; first < array->shape[0]; first += NUMBERS) {
        const int64_t left = array->shape[0] - first, n = left < NUMBERS ? left : NUMBERS;
        EMC_TRY(zarr_read_ints(values, array, first, n));
        EMC_TRY(check_there(array, first, may_lack));
        for (int64_t i = 0; i < n; i++) {
            char text[32];
            if (array->type == ZARR_BOOL)
                snprintf(text, sizeof text, "%s", values[i] ? "True" : "False");
            else if (array->type == ZARR_UINT)
                snprintf(text, sizeof text, "%llu", (unsigned long long)values[i]);
            else
                snprintf(text, sizeof text, "%lld", (long long)values[i]);
            EMC_TRY(cells_strings_add(out, text, strlen(text), array->key));
        }
    }
    return EMC_OK;
}

emc_status zarr_read_text(cells_strings *out, zarr_array *array, bool may_lack)
{
    if (array->n_dims != 1 || array->shape[0] > INT32_MAX)
        return zarr_fail(EMC_ERR_FORMAT, array->store, array->key,
                         array->n_dims != 1 ? "two dimensions, wanted one"
                                            : "more than 2147483647 entries");
    if (array->type >= ZARR_UTF32)
        return read_texts(out, array, may_lack);
    return array->type == ZARR_FLOAT ? read_doubles_text(out, array, may_lack)
                                     : read_ints_text(out, array, may_lack);
}
