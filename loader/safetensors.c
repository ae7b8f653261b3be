/*
 * Is every tensor where the header says it is?
 *
 * The file is an 8-byte little-endian header length, a JSON object (blanks may follow it) and the
 * tensors' bytes, to which data_offsets are relative. The checks are those of the reference
 * library (contiguous from 0 to the end of the file, sizes that agree) and a few on the JSON
 * that it leaves to its parser.
 */
#include "loader/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "base/str_map.h"
#include "base/text.h"
#include "loader/unique_keys.h"

#define LENGTH_BYTES     8
#define MAX_HEADER_BYTES 100000000 /* the reference library's own limit */
#define MAX_NAME_BYTES   512
#define SHAPE_TEXT_BYTES 96

struct emc_safetensors {
    emc_map *map;
    cJSON *header; /* owns the names */
    emc_tensor *tensors;
    size_t n_tensors;
    emc_str_map *by_name;
};

static void shape_text(char out[SHAPE_TEXT_BYTES], int n_dims, const size_t *dims)
{
    size_t n = 0;

    n += (size_t)snprintf(out, SHAPE_TEXT_BYTES, "[");
    for (int i = 0; i < n_dims; i++)
        n += (size_t)snprintf(out + n, SHAPE_TEXT_BYTES - n, i ? ", %zu" : "%zu", dims[i]);
    snprintf(out + n, SHAPE_TEXT_BYTES - n, "]");
}

/* The header's bytes, and where the tensors' begin. */
static emc_status find_header(const char **text, size_t *n_text, const emc_map *map)
{
    uint64_t n = 0;

    if (map->n_bytes < LENGTH_BYTES)
        return emc_fail(EMC_ERR_FORMAT, "%s: need %d bytes for the header's length, file has %zu",
                        map->path, LENGTH_BYTES, map->n_bytes);
    for (int i = 0; i < LENGTH_BYTES; i++)
        n |= (uint64_t)map->data[i] << (8 * i);
    if (n > MAX_HEADER_BYTES)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: header of %" PRIu64 " bytes, at most %d are allowed; not a "
                        "safetensors file?",
                        map->path, n, MAX_HEADER_BYTES);
    if (n > map->n_bytes - LENGTH_BYTES)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: header of %" PRIu64 " bytes, file has %zu after its "
                        "length; truncated?",
                        map->path, n, map->n_bytes - LENGTH_BYTES);
    *text = (const char *)map->data + LENGTH_BYTES;
    *n_text = (size_t)n;
    if (n == 0 || (*text)[0] != '{')
        return emc_fail(EMC_ERR_FORMAT, "%s: the header does not begin with {", map->path);
    /* Names must be whole C strings. */
    if (memmem(*text, *n_text, "\\u0000", 6))
        return emc_fail(EMC_ERR_FORMAT, "%s: a NUL in the header", map->path);
    return EMC_OK;
}

/* A whole number that a double holds exactly. */
static bool read_count(size_t *out, const cJSON *item)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0.0 && item->valuedouble <= 0x1p53) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *out = (size_t)item->valuedouble;
    return true;
}

static emc_status read_dtype(emc_dtype *out, const cJSON *entry)
{
    static const emc_dtype dtypes[] = {EMC_F32, EMC_BF16, EMC_F16};
    const char *name = NULL;

    EMC_TRY(emc_json_get_string(&name, entry, "dtype", true, "header"));
    for (size_t i = 0; i < EMC_COUNT(dtypes); i++) {
        if (strcmp(name, emc_dtype_name(dtypes[i])) == 0) {
            *out = dtypes[i];
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_FORMAT,
                    "dtype is %s, wanted F32, BF16 or F16 (quantised weights are not read)", name);
}

static emc_status read_shape(emc_tensor *tensor, const cJSON *entry)
{
    const cJSON *shape = emc_json_member(entry, "shape"), *item;

    if (!cJSON_IsArray(shape))
        return emc_fail(EMC_ERR_FORMAT, "\"shape\" is not a list");
    cJSON_ArrayForEach(item, shape)
    {
        if (tensor->n_dims == EMC_MAX_DIMS)
            return emc_fail(EMC_ERR_FORMAT, "shape of %d dimensions, at most %d are read",
                            cJSON_GetArraySize(shape), EMC_MAX_DIMS);
        if (!read_count(&tensor->dims[tensor->n_dims], item))
            return emc_fail(EMC_ERR_FORMAT, "\"shape\" holds something other than a size");
        tensor->n_dims++;
    }
    return EMC_OK;
}

static emc_status check_size(const emc_tensor *tensor)
{
    size_t wanted = emc_dtype_bytes(tensor->dtype);
    char shape[SHAPE_TEXT_BYTES];

    shape_text(shape, tensor->n_dims, tensor->dims);
    for (int i = 0; i < tensor->n_dims; i++)
        if (!emc_size_mul(&wanted, wanted, tensor->dims[i]))
            return emc_fail(EMC_ERR_FORMAT, "shape %s is too large to address", shape);
    if (wanted != tensor->n_bytes)
        return emc_fail(EMC_ERR_FORMAT, "%s %s needs %zu bytes, data_offsets give %zu",
                        emc_dtype_name(tensor->dtype), shape, wanted, tensor->n_bytes);
    return EMC_OK;
}

static emc_status read_tensor(emc_tensor *tensor, const cJSON *entry, const unsigned char *bytes,
                              size_t n_bytes)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets", NULL};
    const cJSON *offsets;
    size_t begin, end;

    EMC_TRY(emc_json_check_keys(entry, keys, "header"));
    EMC_TRY(read_dtype(&tensor->dtype, entry));
    EMC_TRY(read_shape(tensor, entry));
    offsets = emc_json_member(entry, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !read_count(&begin, offsets->child) || !read_count(&end, offsets->child->next))
        return emc_fail(EMC_ERR_FORMAT, "\"data_offsets\" is not a list of two sizes");
    if (begin > end)
        return emc_fail(EMC_ERR_FORMAT, "data_offsets [%zu, %zu] run backwards", begin, end);
    if (end > n_bytes)
        return emc_fail(EMC_ERR_FORMAT,
                        "data_offsets end at %zu, the file has %zu bytes of tensors; truncated?",
                        end, n_bytes);
    tensor->data = bytes + begin;
    tensor->n_bytes = end - begin;
    return check_size(tensor);
}

static emc_status check_metadata(const cJSON *metadata, const char *path)
{
    const cJSON *item;

    if (!cJSON_IsObject(metadata))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"__metadata__\" is not an object", path);
    cJSON_ArrayForEach(item, metadata) if (!cJSON_IsString(item)) return emc_fail(
        EMC_ERR_FORMAT, "%s: \"__metadata__\": \"%s\" is not a string", path, item->string);
    return EMC_OK;
}

static emc_status read_tensors(emc_safetensors *file, const unsigned char *bytes, size_t n_bytes)
{
    const char *path = file->map->path;
    const cJSON *entry;

    EMC_TRY(emc_json_check_unique(file->header, path));
    cJSON_ArrayForEach(entry, file->header)
    {
        emc_tensor *tensor = &file->tensors[file->n_tensors];
        emc_status status;

        if (strcmp(entry->string, "__metadata__") == 0) {
            EMC_TRY(check_metadata(entry, path));
            continue;
        }
        if (strlen(entry->string) > MAX_NAME_BYTES)
            return emc_fail(EMC_ERR_FORMAT, "%s: a tensor's name of %zu bytes, at most %d are read",
                            path, strlen(entry->string), MAX_NAME_BYTES);
        tensor->name = entry->string;
        tensor->file = path;
        status = read_tensor(tensor, entry, bytes, n_bytes);
        if (status != EMC_OK)
            return emc_fail_in(status, "%s: tensor %s", path, tensor->name);
        EMC_TRY(emc_str_map_put(file->by_name, tensor->name, strlen(tensor->name),
                                (int32_t)file->n_tensors, NULL));
        file->n_tensors++;
    }
    return EMC_OK;
}

static int by_place(const void *left, const void *right)
{
    const emc_tensor *a = *(const emc_tensor *const *)left, *b = *(const emc_tensor *const *)right;
    const unsigned char *a_data = a->data, *b_data = b->data;

    if (a_data != b_data)
        return a_data < b_data ? -1 : 1;
    return (a->n_bytes > b->n_bytes) - (a->n_bytes < b->n_bytes);
}

/* Every byte after the header belongs to exactly one tensor. */
static emc_status check_cover(const emc_safetensors *file, const unsigned char *bytes,
                              size_t n_bytes)
{
    const char *path = file->map->path;
    const emc_tensor **order = NULL;
    emc_status status;
    size_t at = 0;

    EMC_TRY(emc_alloc(&order, file->n_tensors, sizeof(*order), "a tensor table"));
    for (size_t i = 0; i < file->n_tensors; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->n_tensors, sizeof(*order), by_place);
    for (size_t i = 0; i < file->n_tensors; i++) {
        const size_t begin = (size_t)((const unsigned char *)order[i]->data - bytes);
        if (begin < at) {
            status = emc_fail(EMC_ERR_FORMAT,
                              "%s: tensor %s: begins at byte %zu, inside tensor %s, which ends at "
                              "%zu",
                              path, order[i]->name, begin, order[i - 1]->name, at);
            goto done;
        }
        if (begin > at) {
            status = emc_fail(EMC_ERR_FORMAT,
                              "%s: tensor %s: begins at byte %zu, wanted %zu: bytes between belong "
                              "to no tensor",
                              path, order[i]->name, begin, at);
            goto done;
        }
        at = begin + order[i]->n_bytes;
    }
    status = EMC_OK;
    if (at != n_bytes)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: the tensors end at byte %zu, the file has %zu bytes of tensors",
                          path, at, n_bytes);

done:
    free(order);
    return status;
}

emc_status emc_safetensors_open(emc_safetensors **out, const char *path)
{
    emc_status status;
    emc_safetensors *file = NULL;
    const unsigned char *bytes;
    const char *text = NULL;
    size_t n_text = 0, n_bytes, n_entries;

    *out = NULL;
    EMC_TRY(emc_alloc(&file, 1, sizeof *file, "a tensor file"));
    status = emc_map_open(&file->map, path);
    if (status != EMC_OK)
        goto done;
    status = find_header(&text, &n_text, file->map);
    if (status != EMC_OK)
        goto done;
    status = emc_json_parse(&file->header, text, n_text, path);
    if (status != EMC_OK)
        goto done;
    n_entries = (size_t)cJSON_GetArraySize(file->header);
    status = emc_alloc(&file->tensors, n_entries, sizeof *file->tensors, "a tensor table");
    if (status != EMC_OK)
        goto done;
    status = emc_str_map_open(&file->by_name, n_entries);
    if (status != EMC_OK)
        goto done;
    bytes = file->map->data + LENGTH_BYTES + n_text;
    n_bytes = file->map->n_bytes - LENGTH_BYTES - n_text;
    status = read_tensors(file, bytes, n_bytes);
    if (status != EMC_OK)
        goto done;
    status = check_cover(file, bytes, n_bytes);
    if (status != EMC_OK)
        goto done;
    *out = file;
    file = NULL; /* ownership has moved to the caller */

done:
    emc_safetensors_close(file);
    return status;
}

void emc_safetensors_close(emc_safetensors *file)
{
    if (!file)
        return;
    emc_str_map_close(file->by_name);
    free(file->tensors);
    cJSON_Delete(file->header);
    emc_map_close(file->map);
    free(file);
}

size_t emc_safetensors_count(const emc_safetensors *file)
{
    return file->n_tensors;
}

const emc_tensor *emc_safetensors_tensor(const emc_safetensors *file, size_t i)
{
    return &file->tensors[i];
}

const emc_tensor *emc_safetensors_find(const emc_safetensors *file, const char *name)
{
    const int32_t i = emc_str_map_get(file->by_name, name, strlen(name), -1);

    return i < 0 ? NULL : &file->tensors[i];
}

emc_status emc_tensor_check(const emc_tensor *tensor, int n_dims, size_t dim0, size_t dim1)
{
    const size_t wanted[2] = {dim0, dim1};
    char wanted_text[SHAPE_TEXT_BYTES], found_text[SHAPE_TEXT_BYTES];
    bool same = tensor->n_dims == n_dims;

    for (int i = 0; same && i < n_dims; i++)
        same = tensor->dims[i] == wanted[i];
    if (same)
        return EMC_OK;
    shape_text(wanted_text, n_dims, wanted);
    shape_text(found_text, tensor->n_dims, tensor->dims);
    return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: shape is %s, wanted %s", tensor->file,
                    tensor->name, found_text, wanted_text);
}
