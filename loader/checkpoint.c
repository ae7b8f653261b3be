/* Are all weights of the model here, once each and in the right shape? */
#include "loader/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "base/str_map.h"
#include "loader/unique_keys.h"

#define EMBED_NAME        "model.embed_tokens.weight"
#define HEAD_NAME         "lm_head.weight"
#define MAX_COMPARED_ROWS 64
#define SINGLE_NAME       "model.safetensors"
#define INDEX_NAME        "model.safetensors.index.json"
#define MAX_INDEX_BYTES   (64u << 20)
#define MAX_SHARDS        4096
#define NAME_BYTES        128 /* the longest name of ours takes 55 */

struct emc_checkpoint {
    char *dir;
    emc_model_config config;
    emc_weights weights;
    emc_layer_weights *layers;
    emc_safetensors **files;
    char **paths;
    size_t n_files;
    const emc_tensor **tensors; /* of all files */
    bool *used;
    size_t n_tensors;
    emc_str_map *by_name; /* index into tensors */
    size_t n_bytes;
};

static emc_status open_file(emc_checkpoint *c, const char *name)
{
    const size_t i = c->n_files;

    c->n_files++; /* what is there of it is closed with the rest */
    EMC_TRY(emc_path_join(&c->paths[i], c->dir, name));
    return emc_safetensors_open(&c->files[i], c->paths[i]);
}

static emc_status reserve_files(emc_checkpoint *c, size_t n)
{
    EMC_TRY(emc_alloc(&c->files, n, sizeof(*c->files), "a list of shards"));
    return emc_alloc(&c->paths, n, sizeof(*c->paths), "a list of shards");
}

/* All tensors of the open files under their names. */
static emc_status collect(emc_checkpoint *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_files; i++)
        n += emc_safetensors_count(c->files[i]);
    EMC_TRY(emc_alloc(&c->tensors, n, sizeof(*c->tensors), "a tensor table"));
    EMC_TRY(emc_alloc(&c->used, n, sizeof(*c->used), "a tensor table"));
    EMC_TRY(emc_str_map_open(&c->by_name, n));
    for (size_t i = 0; i < c->n_files; i++) {
        for (size_t j = 0; j < emc_safetensors_count(c->files[i]); j++) {
            const emc_tensor *tensor = emc_safetensors_tensor(c->files[i], j);
            const size_t n_name = strlen(tensor->name);
            bool existed;
            EMC_TRY(
                emc_str_map_put(c->by_name, tensor->name, n_name, (int32_t)c->n_tensors, &existed));
            if (existed)
                return emc_fail(
                    EMC_ERR_FORMAT, "%s: tensor %s: also in %s", tensor->file, tensor->name,
                    c->tensors[emc_str_map_get(c->by_name, tensor->name, n_name, 0)]->file);
            c->tensors[c->n_tensors++] = tensor;
        }
    }
    return EMC_OK;
}

/* Opens each file that the index names, once. */
static emc_status open_shards(emc_checkpoint *c, const cJSON *weight_map, const char *path)
{
    emc_status status;
    emc_str_map *seen = NULL;
    const cJSON *item;

    EMC_TRY(reserve_files(c, MAX_SHARDS));
    EMC_TRY(emc_str_map_open(&seen, 64));
    status = EMC_OK;
    cJSON_ArrayForEach(item, weight_map)
    {
        const char *name = cJSON_IsString(item) ? item->valuestring : "";
        bool existed;

        if (!emc_is_plain_name(name)) {
            status = emc_fail(EMC_ERR_FORMAT,
                              "%s: tensor %s: the file's name \"%s\" is not a plain name inside "
                              "the folder",
                              path, item->string, name);
            goto done;
        }
        status = emc_str_map_put(seen, name, strlen(name), 0, &existed);
        if (status != EMC_OK)
            goto done;
        if (existed)
            continue;
        if (c->n_files == MAX_SHARDS) {
            status = emc_fail(EMC_ERR_FORMAT, "%s: names more than %d files", path, MAX_SHARDS);
            goto done;
        }
        status = open_file(c, name);
        if (status == EMC_ERR_NOT_FOUND)
            status =
                emc_fail_in(status, "%s names a file that is not here; incomplete download?", path);
        if (status != EMC_OK)
            goto done;
    }

done:
    emc_str_map_close(seen);
    return status;
}

/* The index and its shards name the same tensors, each in the same file. */
static emc_status compare_index(const emc_checkpoint *c, const cJSON *weight_map, const char *path)
{
    emc_status status;
    emc_str_map *indexed = NULL;
    const cJSON *item;

    EMC_TRY(emc_str_map_open(&indexed, c->n_tensors));
    cJSON_ArrayForEach(item, weight_map)
    {
        const size_t n_name = strlen(item->string);
        const int32_t i = emc_str_map_get(c->by_name, item->string, n_name, -1);
        const char *file = i < 0 ? NULL : strrchr(c->tensors[i]->file, '/');

        if (!file || strcmp(file + 1, item->valuestring) != 0) {
            status = emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: wanted in %s, it is %s%s", path,
                              item->string, item->valuestring, file ? "in " : "in no shard",
                              file ? file + 1 : "");
            goto done;
        }
        status = emc_str_map_put(indexed, item->string, n_name, 0, NULL);
        if (status != EMC_OK)
            goto done;
    }
    status = EMC_OK;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const emc_tensor *tensor = c->tensors[i];
        if (emc_str_map_get(indexed, tensor->name, strlen(tensor->name), -1) < 0) {
            status = emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: not in %s", tensor->file,
                              tensor->name, path);
            goto done;
        }
    }

done:
    emc_str_map_close(indexed);
    return status;
}

static emc_status open_index(emc_checkpoint *c, const char *path)
{
    emc_status status;
    cJSON *json = NULL;
    const cJSON *weight_map;

    EMC_TRY(emc_json_read(&json, path, MAX_INDEX_BYTES));
    weight_map = emc_json_member(json, "weight_map");
    if (!cJSON_IsObject(weight_map) || !weight_map->child) {
        status = emc_fail(EMC_ERR_FORMAT, "%s: \"weight_map\" is not an object with tensors", path);
        goto done;
    }
    status = emc_json_check_unique(weight_map, path);
    if (status != EMC_OK)
        goto done;
    status = open_shards(c, weight_map, path);
    if (status != EMC_OK)
        goto done;
    status = collect(c);
    if (status != EMC_OK)
        goto done;
    status = compare_index(c, weight_map, path);

done:
    cJSON_Delete(json);
    return status;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = NULL;
    const bool there = emc_path_join(&path, dir, name) == EMC_OK && emc_file_exists(path);

    free(path);
    return there;
}

static emc_status no_weights(const char *dir)
{
    static const char *const pickled[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};

    for (size_t i = 0; i < EMC_COUNT(pickled); i++)
        if (has_file(dir, pickled[i]))
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: only pickled weights (%s), which can run code; save the model "
                            "as safetensors",
                            dir, pickled[i]);
    return emc_fail(EMC_ERR_NOT_FOUND, "%s: neither %s nor %s", dir, SINGLE_NAME, INDEX_NAME);
}

/* With both there, the single file counts, as in the reference library. */
static emc_status open_weights(emc_checkpoint *c)
{
    emc_status status;
    char *path = NULL;

    if (has_file(c->dir, SINGLE_NAME)) {
        EMC_TRY(reserve_files(c, 1));
        EMC_TRY(open_file(c, SINGLE_NAME));
        return collect(c);
    }
    if (!has_file(c->dir, INDEX_NAME))
        return no_weights(c->dir);
    EMC_TRY(emc_path_join(&path, c->dir, INDEX_NAME));
    status = open_index(c, path);
    free(path);
    return status;
}

/* The tensor of that name, which must be there in that shape; dim1 0 for a vector. */
static emc_status take(emc_checkpoint *c, const emc_tensor **out, const char *name, int dim0,
                       int dim1)
{
    const int32_t i = emc_str_map_get(c->by_name, name, strlen(name), -1);

    if (i < 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s is missing", c->dir, name);
    EMC_TRY(emc_tensor_check(c->tensors[i], dim1 ? 2 : 1, (size_t)dim0, (size_t)dim1));
    c->used[i] = true;
    *out = c->tensors[i];
    c->n_bytes += c->tensors[i]->n_bytes;
    return EMC_OK;
}

static emc_status take_layer(emc_checkpoint *c, int layer)
{
    const emc_model_config *config = &c->config;
    const int hidden = config->hidden, ffn = config->ffn, head_dim = config->head_dim;
    const int q_width = config->n_heads * head_dim, kv_width = config->n_kv_heads * head_dim;
    emc_layer_weights *w = &c->layers[layer];
    const struct {
        const emc_tensor **out;
        const char *name;
        int dim0, dim1;
    } wanted[] = {
        {&w->input_norm, "input_layernorm", hidden, 0},
        {&w->q, "self_attn.q_proj", q_width, hidden},
        {&w->k, "self_attn.k_proj", kv_width, hidden},
        {&w->v, "self_attn.v_proj", kv_width, hidden},
        {&w->q_norm, "self_attn.q_norm", head_dim, 0},
        {&w->k_norm, "self_attn.k_norm", head_dim, 0},
        {&w->o, "self_attn.o_proj", hidden, q_width},
        {&w->post_norm, "post_attention_layernorm", hidden, 0},
        {&w->gate, "mlp.gate_proj", ffn, hidden},
        {&w->up, "mlp.up_proj", ffn, hidden},
        {&w->down, "mlp.down_proj", hidden, ffn},
    };

    for (size_t i = 0; i < EMC_COUNT(wanted); i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, wanted[i].name);
        EMC_TRY(take(c, wanted[i].out, name, wanted[i].dim0, wanted[i].dim1));
    }
    return EMC_OK;
}

static bool has_tensor(const emc_checkpoint *c, const char *name)
{
    return emc_str_map_get(c->by_name, name, strlen(name), -1) >= 0;
}

/*
 * The copy of the embedding that a tied model's files may carry as its head. One that differs
 * means that the config is wrong. A trained head differs nearly everywhere, so rows spread over
 * it are enough, and the copy is not read from disk as a whole.
 */
static emc_status check_copy(const emc_checkpoint *c, const emc_tensor *copy)
{
    const emc_tensor *embed = c->weights.embed;
    const size_t hidden = (size_t)c->config.hidden, vocab = (size_t)c->config.vocab;
    const size_t step = vocab > MAX_COMPARED_ROWS ? vocab / MAX_COMPARED_ROWS : 1;
    float *rows = NULL;
    emc_status status;

    EMC_TRY(emc_tensor_check(copy, 2, vocab, hidden));
    EMC_TRY(emc_alloc(&rows, 2 * hidden, sizeof *rows, "two rows"));
    status = EMC_OK;
    for (size_t row = 0; status == EMC_OK && row < vocab; row += step) {
        const size_t at = row * hidden;
        emc_to_f32(rows, (const char *)embed->data + at * emc_dtype_bytes(embed->dtype),
                   embed->dtype, hidden);
        emc_to_f32(rows + hidden, (const char *)copy->data + at * emc_dtype_bytes(copy->dtype),
                   copy->dtype, hidden);
        if (memcmp(rows, rows + hidden, hidden * sizeof *rows) != 0)
            status = emc_fail(EMC_ERR_FORMAT,
                              "%s: tensor %s: row %zu differs from %s, but \"tie_word_embeddings\" "
                              "in config.json is true; set it to false if the head was trained",
                              copy->file, copy->name, row, embed->name);
    }
    free(rows);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n_text = strlen(text), n_end = strlen(end);

    return n_text >= n_end && strcmp(text + n_text - n_end, end) == 0;
}

static emc_status take_all(emc_checkpoint *c)
{
    const int vocab = c->config.vocab, hidden = c->config.hidden;
    const bool only_head = c->config.tie_embeddings && !has_tensor(c, EMBED_NAME);

    EMC_TRY(emc_alloc(&c->layers, (size_t)c->config.n_layers, sizeof(*c->layers), "layers"));
    /* Some writers keep the other name of a shared tensor. */
    EMC_TRY(take(c, &c->weights.embed,
                 only_head && has_tensor(c, HEAD_NAME) ? HEAD_NAME : EMBED_NAME, vocab, hidden));
    EMC_TRY(take(c, &c->weights.norm, "model.norm.weight", hidden, 0));
    if (!c->config.tie_embeddings)
        EMC_TRY(take(c, &c->weights.head, HEAD_NAME, vocab, hidden));
    for (int layer = 0; layer < c->config.n_layers; layer++)
        EMC_TRY(take_layer(c, layer));
    c->weights.layers = c->layers;

    for (size_t i = 0; i < c->n_tensors; i++) {
        if (c->used[i] || ends_with(c->tensors[i]->name, ".rotary_emb.inv_freq"))
            continue;
        if (strcmp(c->tensors[i]->name, HEAD_NAME) != 0)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: tensor %s is not part of a Qwen3 model of %d "
                            "layers",
                            c->tensors[i]->file, c->tensors[i]->name, c->config.n_layers);
        EMC_TRY(check_copy(c, c->tensors[i])); /* only a tied model leaves it unused */
    }
    return EMC_OK;
}

emc_status emc_checkpoint_open(emc_checkpoint **out, const char *dir)
{
    emc_status status;
    emc_checkpoint *c = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&c, 1, sizeof *c, "a checkpoint"));
    status = emc_copy_string(&c->dir, dir);
    if (status != EMC_OK)
        goto done;
    status = emc_model_config_read(&c->config, dir);
    if (status != EMC_OK)
        goto done;
    status = open_weights(c);
    if (status != EMC_OK)
        goto done;
    status = take_all(c);
    if (status != EMC_OK)
        goto done;
    if (!c->config.dtype_known)
        c->config.dtype = c->weights.embed->dtype;
    c->config.dtype_known = true;
    *out = c;
    c = NULL; /* ownership has moved to the caller */

done:
    emc_checkpoint_close(c);
    return status;
}

void emc_checkpoint_close(emc_checkpoint *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_files; i++) {
        emc_safetensors_close(c->files[i]);
        free(c->paths[i]);
    }
    free(c->files);
    free(c->paths);
    emc_str_map_close(c->by_name);
    free(c->tensors);
    free(c->used);
    free(c->layers);
    free(c->dir);
    free(c);
}

const emc_model_config *emc_checkpoint_config(const emc_checkpoint *c)
{
    return &c->config;
}

const emc_weights *emc_checkpoint_weights(const emc_checkpoint *c)
{
    return &c->weights;
}

size_t emc_checkpoint_bytes(const emc_checkpoint *c)
{
    return c->n_bytes;
}

size_t emc_checkpoint_file_count(const emc_checkpoint *c)
{
    return c->n_files;
}

const char *emc_checkpoint_file(const emc_checkpoint *c, size_t i)
{
    return c->paths[i];
}
