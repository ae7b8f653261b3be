/* What does the metadata of a group or an array say, and can it be true? */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/zarr_array.h"

/* Metadata is small; the largest is a root with everything in it. */
#define LONGEST_META ((size_t)64 << 20)

/* A chunk is held whole, and codecs count in int. */
#define LONGEST_CHUNK ((size_t)INT32_MAX)

/* JSON numbers are doubles: beyond this they are not exact. */
#define LARGEST_SHAPE ((double)((int64_t)1 << 53))

emc_status zarr_fail(emc_status status, const zarr_store *store, const char *key,
                     const char *format, ...)
{
    char text[768];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return emc_fail(status, "%s: %s%s%s", zarr_store_path(store), key, *key ? ": " : "", text);
}

/* A JSON piece directly under a node; *out NULL when it is not there. */
static emc_status read_json(cJSON **out, zarr_store *store, const char *key, const char *name)
{
    emc_text text = {0};
    char *path = NULL, *place = NULL;
    emc_status status = *key ? emc_path_join(&path, key, name) : emc_copy_string(&path, name);
    bool found = false;

    *out = NULL;
    if (status == EMC_OK)
        status = zarr_store_read(&text, &found, store, path, LONGEST_META);
    if (status == EMC_OK && found)
        status = emc_path_join(&place, zarr_store_path(store), path);
    if (status == EMC_OK && found)
        status = emc_json_parse(out, text.bytes, text.n, place);
    if (status == EMC_OK && found && !cJSON_IsObject(*out)) {
        status = zarr_fail(EMC_ERR_FORMAT, store, path, "not a JSON object");
        cJSON_Delete(*out);
        *out = NULL;
    }
    emc_text_free(&text);
    free(path);
    free(place);
    return status;
}

static emc_status open_format_3(zarr_node *node)
{
    const char *type = "";

    node->format = 3;
    node->attrs = emc_json_member(node->meta, "attributes");
    EMC_TRY(emc_json_get_string(&type, node->meta, "node_type", true, node->place));
    if (strcmp(type, "group") == 0)
        node->kind = ZARR_GROUP;
    else if (strcmp(type, "array") == 0)
        node->kind = ZARR_ARRAY;
    else
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "node_type \"%.40s\"", type);
    return EMC_OK;
}

static emc_status open_format_2(zarr_node *node)
{
    int64_t format = 0;

    EMC_TRY(read_json(&node->meta, node->store, node->key, ".zarray"));
    node->kind = ZARR_ARRAY;
    if (!node->meta) {
        EMC_TRY(read_json(&node->meta, node->store, node->key, ".zgroup"));
        node->kind = ZARR_GROUP;
    }
    EMC_TRY(read_json(&node->attributes, node->store, node->key, ".zattrs"));
    if (!node->meta) {
        /* Some writers make no .zgroup for groups that only hold others. */
        node->kind = node->attributes ? ZARR_GROUP : ZARR_NOTHING;
    } else {
        EMC_TRY(emc_json_get_int(&format, node->meta, "zarr_format", 0, 1000, true, node->place));
        if (format != 2)
            return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                             "zarr format %lld, wanted 2 or 3", (long long)format);
    }
    node->format = 2;
    node->attrs = node->attributes;
    return EMC_OK;
}

emc_status zarr_node_open(zarr_node *node, zarr_store *store, const char *key, const char *name)
{
    *node = (zarr_node){.store = store};
    if (name && *key)
        EMC_TRY(emc_path_join(&node->key, key, name));
    else
        EMC_TRY(emc_copy_string(&node->key, name ? name : key));
    EMC_TRY(emc_path_join(&node->place, zarr_store_path(store), node->key));
    EMC_TRY(read_json(&node->meta, store, node->key, "zarr.json"));
    EMC_TRY(node->meta ? open_format_3(node) : open_format_2(node));
    if (node->attrs && !cJSON_IsObject(node->attrs))
        return zarr_fail(EMC_ERR_FORMAT, store, node->key, "attributes that are no object");
    return EMC_OK;
}

void zarr_node_close(zarr_node *node)
{
    cJSON_Delete(node->meta);
    cJSON_Delete(node->attributes);
    free(node->key);
    free(node->place);
    *node = (zarr_node){0};
}

emc_status zarr_node_want(zarr_node *node, zarr_store *store, const char *key, const char *name,
                          zarr_node_kind kind)
{
    EMC_TRY(zarr_node_open(node, store, key, name));
    if (node->kind == ZARR_NOTHING)
        return zarr_fail(EMC_ERR_FORMAT, store, key, "no %s", name ? name : "zarr metadata");
    if (node->kind != kind)
        return zarr_fail(EMC_ERR_FORMAT, store, node->key, "wanted %s, found %s",
                         kind == ZARR_GROUP ? "a group" : "an array",
                         kind == ZARR_GROUP ? "an array" : "a group");
    return EMC_OK;
}

const char *zarr_node_text(const zarr_node *node, const char *name)
{
    const cJSON *item = node->attrs ? emc_json_member(node->attrs, name) : NULL;

    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* shape and chunks: one or two whole numbers each. */
static emc_status parse_sizes(int64_t to[2], int *n, const cJSON *list, int64_t least,
                              const char *what, const zarr_node *node)
{
    const int found = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;

    if (found < 1 || found > 2)
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "%s of %d numbers, wanted one or two", what, found);
    for (int i = 0; i < found; i++) {
        const cJSON *item = cJSON_GetArrayItem(list, i);
        const double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(value >= (double)least && value <= LARGEST_SHAPE) || value != floor(value))
            return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                             "%s holds %g; the metadata is damaged", what, value);
        to[i] = (int64_t)value;
    }
    *n = found;
    return EMC_OK;
}

static emc_status bad_type(const zarr_node *node, const char *type)
{
    return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                     "values of type %.80s, which are not read; write the data with anndata 0.8 or "
                     "later",
                     type);
}

static emc_status set_number(zarr_array *array, char kind, unsigned bytes, const zarr_node *node,
                             const char *name)
{
    const bool whole = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;

    array->item_bytes = bytes;
    array->type = kind == 'b'   ? ZARR_BOOL
                  : kind == 'i' ? ZARR_INT
                  : kind == 'u' ? ZARR_UINT
                                : ZARR_FLOAT;
    if (!whole || (kind == 'f' && bytes == 1) || (kind == 'b' && bytes != 1))
        return bad_type(node, name);
    return EMC_OK;
}

/* "<f4", "|i1", "<U12", "|S5", "|O" */
static emc_status parse_type_2(zarr_array *array, const zarr_node *node)
{
    const char *name = "";
    char order, kind, rest;
    unsigned long n = 0;
    char digits[12] = "";

    if (!cJSON_IsString(emc_json_member(node->meta, "dtype")))
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "a table in one array, which anndata wrote before 0.7; convert it with "
                         "ad.read_zarr(...).write_h5ad(...)");
    EMC_TRY(emc_json_get_string(&name, node->meta, "dtype", true, node->place));
    const int parts = sscanf(name, "%c%c%11[0-9]%c", &order, &kind, digits, &rest);
    if (strcmp(name, "|O") == 0) {
        array->type = ZARR_STRINGS;
        return EMC_OK;
    }
    if (parts != 3 || !strchr("<>|=", order) || !strchr("biufUS", kind))
        return bad_type(node, name);
    n = strtoul(digits, NULL, 10);
    array->big_endian = order == '>';
    if (kind != 'U' && kind != 'S')
        return set_number(array, kind, (unsigned)(n < 1000 ? n : 1000), node, name);
    array->type = kind == 'U' ? ZARR_UTF32 : ZARR_BYTES;
    array->item_bytes = (kind == 'U' ? 4 : 1) * (size_t)n;
    return n >= 1 && n <= 1 << 20 ? EMC_OK : bad_type(node, name);
}

static emc_status parse_type_3(zarr_array *array, const zarr_node *node)
{
    const cJSON *type = emc_json_member(node->meta, "data_type");
    const char *name = "";
    int64_t n = 0;
    char kind[8], rest;
    unsigned bits;

    if (cJSON_IsObject(type)) {
        EMC_TRY(emc_json_get_string(&name, type, "name", true, node->place));
        const cJSON *settings = emc_json_member(type, "configuration");
        const bool is_utf32 = strcmp(name, "fixed_length_utf32") == 0;
        if (!settings || (!is_utf32 && strcmp(name, "null_terminated_bytes") != 0))
            return bad_type(node, name);
        EMC_TRY(emc_json_get_int(&n, settings, "length_bytes", 1, 1 << 22, true, node->place));
        array->type = is_utf32 ? ZARR_UTF32 : ZARR_BYTES;
        array->item_bytes = (size_t)n;
        return is_utf32 && n % 4 != 0 ? bad_type(node, name) : EMC_OK;
    }
    EMC_TRY(emc_json_get_string(&name, node->meta, "data_type", true, node->place));
    if (strcmp(name, "string") == 0) {
        array->type = ZARR_STRINGS;
        return EMC_OK;
    }
    if (strcmp(name, "bool") == 0)
        return set_number(array, 'b', 1, node, name);
    if (sscanf(name, "%7[a-z]%u%c", kind, &bits, &rest) != 2 || bits % 8 != 0 || bits > 64 ||
        (strcmp(kind, "int") != 0 && strcmp(kind, "uint") != 0 && strcmp(kind, "float") != 0))
        return bad_type(node, name);
    return set_number(array, kind[0], bits / 8, node, name);
}

static emc_status too_many(const zarr_node *node)
{
    return zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "too many codecs");
}

static emc_status add_step(zarr_array *array, zarr_step step, const zarr_node *node)
{
    if (array->n_steps == ZARR_MOST_STEPS)
        return too_many(node);
    array->steps[array->n_steps++] = step;
    return EMC_OK;
}

static emc_status unknown_codec(const zarr_node *node, const char *name)
{
    return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                     "packed with the codec \"%.60s\", which is not read; convert the data with "
                     "ad.read_zarr(...).write_h5ad(...)",
                     name);
}

/* A codec that both formats have. */
static emc_status add_codec(zarr_array *array, const char *name, const zarr_node *node)
{
    static const cells_codec known[] = {CELLS_CODEC_ZLIB, CELLS_CODEC_GZIP, CELLS_CODEC_ZSTD,
                                        CELLS_CODEC_LZ4, CELLS_CODEC_BLOSC};

    if (strncmp(name, "numcodecs.", 10) == 0)
        name += 10;
    for (size_t i = 0; i < EMC_COUNT(known); i++)
        if (strcmp(name, cells_codec_name(known[i])) == 0)
            return add_step(array, (zarr_step){.codec = known[i]}, node);
    return unknown_codec(node, name);
}

/* The compressor is undone first, then the filters from the last to the first. */
static emc_status parse_codecs_2(zarr_array *array, const zarr_node *node)
{
    const cJSON *compressor = emc_json_member(node->meta, "compressor");
    const cJSON *filters = emc_json_member(node->meta, "filters");
    const char *id = "", *order = "C", *separator = ".";
    bool has_strings = false;

    EMC_TRY(emc_json_get_string(&order, node->meta, "order", false, node->place));
    EMC_TRY(emc_json_get_string(&separator, node->meta, "dimension_separator", false, node->place));
    array->columns_first = strcmp(order, "F") == 0;
    array->separator = strcmp(separator, "/") == 0 ? '/' : '.';
    if (compressor) {
        EMC_TRY(emc_json_get_string(&id, compressor, "id", true, node->place));
        EMC_TRY(add_codec(array, id, node));
    }
    const int n = cJSON_IsArray(filters) ? cJSON_GetArraySize(filters) : 0;
    if (n > 2 * ZARR_MOST_STEPS)
        return too_many(node);
    for (int i = n - 1; i >= 0; i--) {
        const cJSON *filter = cJSON_GetArrayItem(filters, i);
        int64_t element = 4;
        EMC_TRY(emc_json_get_string(&id, filter, "id", true, node->place));
        if (strcmp(id, "vlen-utf8") == 0 && i == 0) {
            has_strings = true;
        } else if (strcmp(id, "shuffle") == 0) {
            EMC_TRY(emc_json_get_int(&element, filter, "elementsize", 1, 4096, false, node->place));
            EMC_TRY(add_step(array, (zarr_step){ZARR_UNSHUFFLE, 0, (size_t)element}, node));
        } else {
            return unknown_codec(node, id);
        }
    }
    if (has_strings != (array->type == ZARR_STRINGS))
        return bad_type(node, has_strings ? "text in numbers" : "objects without vlen-utf8");
    return EMC_OK;
}

static emc_status parse_codec_3(zarr_array *array, const cJSON *codec, bool *has_strings,
                                const zarr_node *node)
{
    const cJSON *settings = emc_json_member(codec, "configuration");
    const char *name = "", *endian = "little";
    int64_t element = 4;

    EMC_TRY(emc_json_get_string(&name, codec, "name", true, node->place));
    if (strcmp(name, "bytes") == 0) {
        if (settings)
            EMC_TRY(emc_json_get_string(&endian, settings, "endian", false, node->place));
        array->big_endian = strcmp(endian, "big") == 0;
    } else if (strcmp(name, "vlen-utf8") == 0) {
        *has_strings = true;
    } else if (strcmp(name, "transpose") == 0) {
        const cJSON *order = settings ? emc_json_member(settings, "order") : NULL;
        const cJSON *first = cJSON_GetArrayItem(order, 0);
        array->columns_first = array->n_dims == 2 && cJSON_IsNumber(first) && first->valueint == 1;
    } else if (strcmp(name, "crc32c") == 0) {
        return add_step(array, (zarr_step){ZARR_CHECKSUM, 0, 0}, node);
    } else if (strcmp(name, "numcodecs.shuffle") == 0) {
        if (settings)
            EMC_TRY(
                emc_json_get_int(&element, settings, "elementsize", 1, 4096, false, node->place));
        return add_step(array, (zarr_step){ZARR_UNSHUFFLE, 0, (size_t)element}, node);
    } else if (strcmp(name, "sharding_indexed") == 0) {
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "stored in shards (zarr 3), which are not read; convert the data with "
                         "ad.read_zarr(...).write_h5ad(...)");
    } else {
        return add_codec(array, name, node);
    }
    return EMC_OK;
}

static emc_status parse_codecs_3(zarr_array *array, const zarr_node *node)
{
    const cJSON *codecs = emc_json_member(node->meta, "codecs");
    const cJSON *keys = emc_json_member(node->meta, "chunk_key_encoding");
    const cJSON *settings = emc_json_member(keys, "configuration");
    const char *encoding = "default", *separator = NULL;
    bool has_strings = false;

    if (keys)
        EMC_TRY(emc_json_get_string(&encoding, keys, "name", true, node->place));
    array->keys_begin_with_c = strcmp(encoding, "v2") != 0;
    separator = array->keys_begin_with_c ? "/" : ".";
    if (settings)
        EMC_TRY(emc_json_get_string(&separator, settings, "separator", false, node->place));
    array->separator = strcmp(separator, ".") == 0 ? '.' : '/';
    const int n = cJSON_IsArray(codecs) ? cJSON_GetArraySize(codecs) : 0;
    if (n > 2 * ZARR_MOST_STEPS)
        return too_many(node);
    for (int i = n - 1; i >= 0; i--)
        EMC_TRY(parse_codec_3(array, cJSON_GetArrayItem(codecs, i), &has_strings, node));
    if (has_strings != (array->type == ZARR_STRINGS))
        return bad_type(node, has_strings ? "text in numbers" : "strings without vlen-utf8");
    return EMC_OK;
}

static emc_status parse_fill(zarr_array *array, const zarr_node *node)
{
    const cJSON *fill = emc_json_member(node->meta, "fill_value");

    if (cJSON_IsNumber(fill))
        array->fill = fill->valuedouble;
    else if (cJSON_IsTrue(fill))
        array->fill = 1;
    else if (cJSON_IsString(fill) && array->type <= ZARR_FLOAT) {
        if (strcmp(fill->valuestring, "NaN") == 0)
            array->fill = NAN;
        else if (strcmp(fill->valuestring, "Infinity") == 0)
            array->fill = INFINITY;
        else if (strcmp(fill->valuestring, "-Infinity") == 0)
            array->fill = -INFINITY;
        else
            return zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "fill value \"%.40s\"",
                             fill->valuestring);
    }
    return EMC_OK;
}

emc_status zarr_array_parse(zarr_array *array, const zarr_node *node)
{
    const cJSON *grid = emc_json_member(node->meta, "chunk_grid");
    const cJSON *chunks =
        node->format == 2 ? emc_json_member(node->meta, "chunks")
                          : emc_json_member(emc_json_member(grid, "configuration"), "chunk_shape");
    int n_chunk_dims = 0;

    array->format = node->format;
    EMC_TRY(parse_sizes(array->shape, &array->n_dims, emc_json_member(node->meta, "shape"), 0,
                        "shape", node));
    EMC_TRY(parse_sizes(array->chunk, &n_chunk_dims, chunks, 1, "chunks", node));
    if (n_chunk_dims != array->n_dims)
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                         "a shape of %d numbers and chunks of %d", array->n_dims, n_chunk_dims);
    EMC_TRY(node->format == 2 ? parse_type_2(array, node) : parse_type_3(array, node));
    EMC_TRY(node->format == 2 ? parse_codecs_2(array, node) : parse_codecs_3(array, node));
    EMC_TRY(parse_fill(array, node));
    size_t bytes = array->type == ZARR_STRINGS ? 1 : array->item_bytes;
    for (int i = 0; i < array->n_dims; i++)
        if (!emc_size_mul(&bytes, bytes, (size_t)array->chunk[i]) || bytes > LONGEST_CHUNK)
            return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                             "chunks of more than %zu bytes; write the data with smaller chunks",
                             LONGEST_CHUNK);
    array->chunk_bytes = array->type == ZARR_STRINGS ? 0 : bytes;
    return EMC_OK;
}

const char *zarr_type_name(const zarr_array *array)
{
    static const char *const names[3][9] = {
        {"", "int8", "int16", "", "int32", "", "", "", "int64"},
        {"", "uint8", "uint16", "", "uint32", "", "", "", "uint64"},
        {"", "", "float16", "", "float32", "", "", "", "float64"},
    };

    if (array->type == ZARR_BOOL)
        return "bool";
    return array->type > ZARR_FLOAT ? "text" : names[array->type - ZARR_INT][array->item_bytes];
}

emc_status zarr_array_codecs(emc_text *text, const zarr_array *array)
{
    if (array->n_steps == 0)
        return emc_text_add_string(text, "none");
    for (int i = 0; i < array->n_steps; i++)
        EMC_TRY(emc_text_addf(text, "%s%s", i ? ", " : "",
                              array->steps[i].kind == ZARR_UNPACK
                                  ? cells_codec_name(array->steps[i].codec)
                              : array->steps[i].kind == ZARR_UNSHUFFLE ? "shuffle"
                                                                       : "crc32c"));
    return EMC_OK;
}
