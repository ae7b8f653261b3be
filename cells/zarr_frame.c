/* How does a column of obs or var become text, in each way that anndata has written one to zarr? */
#include "cells/zarr_frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"

emc_status zarr_frame_open(zarr_frame *frame, zarr_store *store, const char *key)
{
    EMC_TRY(zarr_node_open(&frame->node, store, key, NULL));
    if (frame->node.kind == ZARR_NOTHING)
        return zarr_fail(EMC_ERR_FORMAT, store, "", "no %s; is it anndata's?", key);
    if (frame->node.kind != ZARR_GROUP)
        return zarr_fail(EMC_ERR_FORMAT, store, key,
                         "a table in one array, which anndata wrote before 0.7; convert it with "
                         "ad.read_zarr(...).write_h5ad(...)");
    const char *index = zarr_node_text(&frame->node, "_index");
    if (index && !emc_is_plain_name(index))
        return zarr_fail(EMC_ERR_FORMAT, store, key, "an index called \"%.60s\"", index);
    return emc_copy_string(&frame->index, index ? index : "_index");
}

void zarr_frame_close(zarr_frame *frame)
{
    zarr_node_close(&frame->node);
    free(frame->index);
    *frame = (zarr_frame){0};
}

/* One array as text. */
static emc_status read_plain(cells_column *out, const zarr_node *node, int64_t n)
{
    zarr_array *array;
    emc_status status;

    EMC_TRY(zarr_array_open(&array, node));
    if (n >= 0 && array->shape[0] != n)
        status = zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "has %lld entries, wanted %lld",
                           (long long)array->shape[0], (long long)n);
    else
        status = zarr_read_text(&out->values, array, n >= 0);
    if (status == EMC_OK)
        out->n = (size_t)array->shape[0];
    zarr_array_close(array);
    return status;
}

/* Integers of a known count. *out is the caller's to free, also on failure. */
static emc_status read_ints(int64_t **out, int64_t n, const zarr_node *node)
{
    zarr_array *array;
    emc_status status;

    EMC_TRY(zarr_array_open(&array, node));
    if (array->shape[0] != n || array->n_dims != 1)
        status = zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "has %lld entries, wanted %lld",
                           (long long)array->shape[0], (long long)n);
    else
        status = emc_alloc(out, (size_t)n, sizeof **out, "a column");
    if (status == EMC_OK)
        status = zarr_read_ints(*out, array, 0, n);
    zarr_array_close(array);
    return status;
}

/* An array's length without reading it; the codes of a column whose length nobody knows yet. */
static emc_status length_of(int64_t *n, const zarr_node *node)
{
    zarr_array *array;

    EMC_TRY(zarr_array_open(&array, node));
    *n = array->shape[0];
    zarr_array_close(array);
    if (*n > INT32_MAX)
        return zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "%lld entries", (long long)*n);
    return EMC_OK;
}

static emc_status read_mask(cells_column *out, const zarr_node *node)
{
    int64_t *mask = NULL;
    emc_status status = emc_alloc(&out->missing, out->n, 1, "a mask");

    if (status == EMC_OK)
        status = read_ints(&mask, (int64_t)out->n, node);
    for (size_t i = 0; status == EMC_OK && i < out->n; i++)
        out->missing[i] = mask[i] != 0;
    free(mask);
    return status;
}

static emc_status read_nullable(cells_column *out, const zarr_node *group, int64_t n)
{
    zarr_node values = {0}, mask = {0};
    emc_status status = zarr_node_want(&values, group->store, group->key, "values", ZARR_ARRAY);

    if (status == EMC_OK)
        status = read_plain(out, &values, n);
    if (status == EMC_OK)
        status = zarr_node_want(&mask, group->store, group->key, "mask", ZARR_ARRAY);
    if (status == EMC_OK)
        status = read_mask(out, &mask);
    zarr_node_close(&values);
    zarr_node_close(&mask);
    return status;
}

/* Categories: an array, or a group of values that may be missing. */
static emc_status read_categories(cells_column *out, const zarr_node *node)
{
    if (node->kind == ZARR_ARRAY)
        return read_plain(out, node, -1);
    if (node->kind == ZARR_GROUP)
        return read_nullable(out, node, -1);
    return zarr_fail(EMC_ERR_FORMAT, node->store, node->key, "the categories are not there");
}

static emc_status read_codes(cells_column *out, const zarr_node *codes, const zarr_node *categories,
                             int64_t n)
{
    cells_column names = {0};
    int64_t *wide = NULL;
    emc_status status = read_categories(&names, categories);

    if (status == EMC_OK && n < 0)
        status = length_of(&n, codes);
    if (status == EMC_OK)
        status = read_ints(&wide, n, codes);
    if (status == EMC_OK)
        status = emc_alloc(&out->codes, (size_t)n, sizeof *out->codes, "codes");
    for (int64_t i = 0; status == EMC_OK && i < n; i++) {
        if (wide[i] >= (int64_t)names.n)
            status = zarr_fail(EMC_ERR_FORMAT, codes->store, codes->key,
                               "entry %lld is %lld of %zu categories", (long long)i,
                               (long long)wide[i], names.n);
        else
            out->codes[i] =
                wide[i] < 0 || !cells_column_at(&names, (size_t)wide[i]) ? -1 : (int32_t)wide[i];
    }
    free(wide);
    if (status == EMC_OK) {
        out->values = names.values;
        out->n = (size_t)n;
        names.values = (cells_strings){0};
    }
    cells_column_free(&names);
    return status;
}

static emc_status read_categorical(cells_column *out, const zarr_node *group, int64_t n)
{
    zarr_node codes = {0}, categories = {0};
    emc_status status = zarr_node_want(&codes, group->store, group->key, "codes", ZARR_ARRAY);

    if (status == EMC_OK)
        status = zarr_node_open(&categories, group->store, group->key, "categories");
    if (status == EMC_OK)
        status = read_codes(out, &codes, &categories, n);
    zarr_node_close(&codes);
    zarr_node_close(&categories);
    return status;
}

/* Before 0.8: an array of codes whose attribute says where, below the frame, the names are. */
static emc_status read_old_categorical(cells_column *out, const zarr_frame *frame,
                                       const zarr_node *codes, const char *where, int64_t n)
{
    zarr_node categories = {0};
    emc_status status = zarr_node_open(&categories, frame->node.store, frame->node.key, where);

    if (status == EMC_OK)
        status = read_codes(out, codes, &categories, n);
    zarr_node_close(&categories);
    return status;
}

static emc_status read_node(cells_column *out, const zarr_frame *frame, const zarr_node *node,
                            int64_t n)
{
    const char *encoding = zarr_node_text(node, "encoding-type");
    const char *old = zarr_node_text(node, "categories");

    if (node->kind == ZARR_ARRAY)
        return old ? read_old_categorical(out, frame, node, old, n) : read_plain(out, node, n);
    if (encoding && strcmp(encoding, "categorical") == 0)
        return read_categorical(out, node, n);
    if (encoding && strncmp(encoding, "nullable-", 9) == 0)
        return read_nullable(out, node, n);
    return zarr_fail(EMC_ERR_FORMAT, node->store, node->key,
                     node->kind == ZARR_GROUP ? "a column of an unknown encoding (%s)"
                                              : "not there%.0s",
                     encoding ? encoding : "none");
}

emc_status zarr_frame_column(cells_column *out, const zarr_frame *frame, const char *name,
                             int64_t n)
{
    zarr_node node = {0};
    emc_status status = zarr_node_open(&node, frame->node.store, frame->node.key, name);

    if (status == EMC_OK)
        status = read_node(out, frame, &node, n);
    zarr_node_close(&node);
    if (status != EMC_OK)
        cells_column_free(out);
    return status;
}

bool zarr_frame_has(const zarr_frame *frame, const char *name)
{
    zarr_node node = {0};

    if (!emc_is_plain_name(name) || name[0] == '.' || strcmp(name, "__categories") == 0 ||
        strcmp(name, "zarr.json") == 0)
        return false;
    /* Metadata that is broken is there, too: who opens it next says what is wrong. */
    const bool is = zarr_node_open(&node, frame->node.store, frame->node.key, name) != EMC_OK ||
                    node.kind != ZARR_NOTHING;
    zarr_node_close(&node);
    return is;
}

emc_status zarr_frame_columns(cells_strings *names, const zarr_frame *frame)
{
    cells_strings all = {0};
    emc_status status = zarr_store_list(&all, frame->node.store, frame->node.key);

    for (size_t i = 0; status == EMC_OK && i < all.n; i++) {
        const char *name = cells_strings_at(&all, i);
        if (zarr_frame_has(frame, name))
            status = cells_strings_add(names, name, strlen(name), frame->node.key);
    }
    cells_strings_free(&all);
    return status;
}

static emc_status generic_index(cells_column *out, char **name, const cells_frame *frame)
{
    const zarr_frame *zarr = frame->self;

    *name = NULL;
    EMC_TRY(emc_copy_string(name, zarr->index));
    return zarr_frame_column(out, zarr, zarr->index, -1);
}

static emc_status generic_columns(cells_strings *names, const cells_frame *frame)
{
    return zarr_frame_columns(names, frame->self);
}

static bool generic_has(const cells_frame *frame, const char *column)
{
    return zarr_frame_has(frame->self, column);
}

static emc_status generic_column(cells_column *out, const cells_frame *frame, const char *column,
                                 int64_t n)
{
    return zarr_frame_column(out, frame->self, column, n);
}

cells_frame zarr_frame_generic(const zarr_frame *frame, const char *name)
{
    return (cells_frame){name, frame, generic_index, generic_columns, generic_has, generic_column};
}
