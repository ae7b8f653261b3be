/* What does this adapter add to the model, and does it fit? */
#include "loader/adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "loader/adapter_config.h"
#include "loader/adapter_key.h"

#define CONFIG_NAME  "adapter_config.json"
#define WEIGHTS_NAME "adapter_model.safetensors"
#define PICKLED_NAME "adapter_model.bin"
#define PATH_BYTES   512 /* a tensor's name is no longer */

struct emc_adapter {
    char *dir;
    char *config_path;
    emc_model_config model;
    emc_adapter_config config;
    emc_safetensors *file;
    emc_adapter_weights weights;
    emc_adapter_layer *layers;
    bool *saved; /* which modules_to_save have a tensor */
};

const char *emc_projection_name(emc_projection projection)
{
    static const char *const names[EMC_N_PROJ] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"};

    return names[projection];
}

void emc_projection_shape(const emc_model_config *config, emc_projection projection, int *out,
                          int *in)
{
    const int q_width = config->n_heads * config->head_dim;
    const int kv_width = config->n_kv_heads * config->head_dim;

    switch (projection) {
    case EMC_PROJ_Q:
        *out = q_width, *in = config->hidden;
        break;
    case EMC_PROJ_K:
    case EMC_PROJ_V:
        *out = kv_width, *in = config->hidden;
        break;
    case EMC_PROJ_O:
        *out = config->hidden, *in = q_width;
        break;
    case EMC_PROJ_GATE:
    case EMC_PROJ_UP:
        *out = config->ffn, *in = config->hidden;
        break;
    default:
        *out = config->hidden, *in = config->ffn;
        break;
    }
}

/* One module of the model: where its parts go, and the shape of its weight. */
typedef struct {
    emc_adapter_lora *lora;     /* NULL for a norm */
    const emc_tensor **replace; /* a full replacement goes here */
    int out, in;                /* in 0 for a norm */
} module_slot;

static module_slot find_slot(emc_adapter *a, const emc_adapter_key *key)
{
    const emc_model_config *m = &a->model;
    emc_adapter_layer *layer = &a->layers[key->layer];
    module_slot slot = {.out = m->hidden};

    switch (key->kind) {
    case EMC_MODULE_PROJ:
        slot.lora = &layer->proj[key->projection];
        slot.replace = &layer->replace.proj[key->projection];
        emc_projection_shape(m, key->projection, &slot.out, &slot.in);
        break;
    case EMC_MODULE_INPUT_NORM:
        slot.replace = &layer->replace.input_norm;
        break;
    case EMC_MODULE_POST_NORM:
        slot.replace = &layer->replace.post_norm;
        break;
    case EMC_MODULE_Q_NORM:
        slot.replace = &layer->replace.q_norm;
        slot.out = m->head_dim;
        break;
    case EMC_MODULE_K_NORM:
        slot.replace = &layer->replace.k_norm;
        slot.out = m->head_dim;
        break;
    case EMC_MODULE_NORM:
        slot.replace = &a->weights.norm_weight;
        break;
    case EMC_MODULE_EMBED:
        slot.lora = &a->weights.embed;
        slot.replace = &a->weights.embed_weight;
        slot.out = m->vocab, slot.in = m->hidden;
        break;
    case EMC_MODULE_HEAD:
        slot.lora = &a->weights.head;
        slot.replace = &a->weights.head_weight;
        slot.out = m->vocab, slot.in = m->hidden;
        break;
    }
    return slot;
}

static emc_status fill(const emc_tensor **out, const emc_tensor *tensor)
{
    if (*out)
        return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: the same module as tensor %s", tensor->file,
                        tensor->name, (*out)->name);
    *out = tensor;
    return EMC_OK;
}

static emc_status take_weight(emc_adapter *a, const emc_adapter_key *key, const module_slot *slot,
                              const emc_tensor *tensor, const char *path)
{
    /* PEFT stores the whole embedding and head, unasked, when they were resized or targeted. */
    bool asked = key->kind == EMC_MODULE_EMBED || key->kind == EMC_MODULE_HEAD;

    EMC_TRY(emc_tensor_check(tensor, slot->in ? 2 : 1, (size_t)slot->out, (size_t)slot->in));
    if (key->part == EMC_PART_BASE)
        return EMC_OK;
    for (size_t i = 0; i < a->config.n_modules_to_save; i++) {
        if (emc_adapter_config_saves(&a->config, i, path)) {
            a->saved[i] = true;
            asked = true;
        }
    }
    if (!asked)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: tensor %s: a whole weight that \"modules_to_save\" in "
                        "%s does not name",
                        tensor->file, tensor->name, a->config_path);
    return fill(slot->replace, tensor);
}

static emc_status take_lora(emc_adapter *a, const emc_adapter_key *key, emc_adapter_lora *lora,
                            int out, int in, const emc_tensor *tensor, const char *path)
{
    emc_status status;
    int rank;
    double scale;

    if (key->part == EMC_PART_MAGNITUDE) {
        if (!a->config.use_dora)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: tensor %s: a DoRA magnitude, but \"use_dora\" in "
                            "%s is not true",
                            tensor->file, tensor->name, a->config_path);
        EMC_TRY(emc_tensor_check(tensor, 1, (size_t)out, 0));
        return fill(&lora->magnitude, tensor);
    }
    emc_adapter_config_module(&a->config, path, &rank, &scale);
    if (key->kind == EMC_MODULE_EMBED) { /* PEFT's A maps ids to ranks, B ranks to hidden */
        const int vocab = out;
        out = in;
        in = vocab;
    }
    if (key->part == EMC_PART_A)
        status = emc_tensor_check(tensor, 2, (size_t)rank, (size_t)in);
    else
        status = emc_tensor_check(tensor, 2, (size_t)out, (size_t)rank);
    if (status != EMC_OK)
        return emc_fail_in(status, "%s gives rank %d", a->config_path, rank);
    EMC_TRY(fill(key->part == EMC_PART_A ? &lora->a : &lora->b, tensor));
    lora->rank = rank;
    lora->scale = scale;
    return EMC_OK;
}

static emc_status take_tensor(emc_adapter *a, const emc_tensor *tensor)
{
    emc_adapter_key key;
    char path[PATH_BYTES + 1];

    if (!emc_adapter_key_parse(&key, tensor->name))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: tensor %s: not supported; wanted LoRA matrices or whole weights of "
                        "the modules of a Qwen3 model (biases are not)",
                        tensor->file, tensor->name);
    if (key.layer >= a->model.n_layers)
        return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: layer %d, the model has %d", tensor->file,
                        tensor->name, key.layer, a->model.n_layers);
    snprintf(path, sizeof path, "%.*s", (int)key.n_path, key.path);
    const module_slot slot = find_slot(a, &key);
    if (key.part == EMC_PART_WEIGHT || key.part == EMC_PART_BASE)
        return take_weight(a, &key, &slot, tensor, path);
    return take_lora(a, &key, slot.lora, slot.out, slot.in, tensor, path);
}

/* A pair is whole, and no module is changed in two ways. */
static emc_status check_lora(const emc_adapter *a, const emc_adapter_lora *lora,
                             const emc_tensor *replace)
{
    const emc_tensor *any = lora->a ? lora->a : lora->b ? lora->b : lora->magnitude;

    if (!any)
        return EMC_OK;
    if (!lora->a || !lora->b)
        return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: its partner (lora_%s) is missing",
                        any->file, any->name, lora->a ? "B" : "A");
    if (a->config.use_dora && !lora->magnitude)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: tensor %s: its lora_magnitude_vector is missing, \"use_dora\" is true",
                        any->file, any->name);
    if (replace)
        return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: its module is also replaced, by tensor %s",
                        any->file, any->name, replace->name);
    return EMC_OK;
}

static emc_status check_whole(emc_adapter *a)
{
    emc_adapter_weights *w = &a->weights;

    for (int i = 0; i < a->model.n_layers; i++)
        for (int j = 0; j < EMC_N_PROJ; j++)
            EMC_TRY(check_lora(a, &a->layers[i].proj[j], a->layers[i].replace.proj[j]));
    if (a->config.use_dora && w->embed.a)
        return emc_fail(EMC_ERR_FORMAT, "%s: tensor %s: DoRA of the embedding is not supported",
                        w->embed.a->file, w->embed.a->name);
    EMC_TRY(check_lora(a, &w->embed, w->embed_weight));
    EMC_TRY(check_lora(a, &w->head, w->head_weight));
    for (size_t i = 0; i < a->config.n_modules_to_save; i++)
        if (!a->saved[i])
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"modules_to_save\" names \"%s\", %s has no tensor of it",
                            a->config_path, a->config.modules_to_save[i], WEIGHTS_NAME);
    return EMC_OK;
}

/* What changing one end of a tied model means for the other. */
static emc_status settle_tied(emc_adapter *a)
{
    emc_adapter_weights *w = &a->weights;
    const bool touched = w->embed.a || w->head.a || w->embed_weight || w->head_weight;
    bool untied = false;

    if (!a->model.tie_embeddings || !touched)
        return EMC_OK;
    if (a->config.ensure_weight_tying)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: \"ensure_weight_tying\" is true for a tied embedding, which is not "
                        "supported; merge the adapter into its base",
                        a->config_path);
    for (size_t i = 0; i < a->config.n_modules_to_save; i++)
        untied = untied || emc_adapter_config_saves(&a->config, i, "model.embed_tokens");
    if (w->embed_weight && !w->head_weight && !w->head.a && !untied)
        w->head_weight = w->embed_weight;
    return EMC_OK;
}

static emc_status open_files(emc_adapter *a)
{
    emc_status status;
    char *path = NULL, *pickled = NULL;

    if (!emc_is_directory(a->dir))
        return emc_fail(EMC_ERR_NOT_FOUND, "%s: no such folder", a->dir);
    EMC_TRY(emc_path_join(&a->config_path, a->dir, CONFIG_NAME));
    status = emc_adapter_config_read(&a->config, a->config_path);
    if (status == EMC_ERR_NOT_FOUND)
        return emc_fail(status,
                        "%s: no %s; an adapter saved under a name of its own lies in a folder of "
                        "that name",
                        a->dir, CONFIG_NAME);
    EMC_TRY(status);
    EMC_TRY(emc_path_join(&path, a->dir, WEIGHTS_NAME));
    status = emc_path_join(&pickled, a->dir, PICKLED_NAME);
    if (status != EMC_OK)
        goto done;
    if (!emc_file_exists(path) && emc_file_exists(pickled))
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: only pickled weights, which can run code; save the adapter as "
                          "safetensors",
                          pickled);
    else
        status = emc_safetensors_open(&a->file, path);

done:
    free(path);
    free(pickled);
    return status;
}

static emc_status read_adapter(emc_adapter *a)
{
    EMC_TRY(open_files(a));
    EMC_TRY(emc_alloc(&a->layers, (size_t)a->model.n_layers, sizeof(*a->layers), "an adapter"));
    EMC_TRY(emc_alloc(&a->saved, a->config.n_modules_to_save, sizeof(*a->saved), "an adapter"));
    a->weights.layers = a->layers;
    if (emc_safetensors_count(a->file) == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: %s holds no tensors", a->dir, WEIGHTS_NAME);
    for (size_t i = 0; i < emc_safetensors_count(a->file); i++)
        EMC_TRY(take_tensor(a, emc_safetensors_tensor(a->file, i)));
    EMC_TRY(check_whole(a));
    return settle_tied(a);
}

emc_status emc_adapter_open(emc_adapter **out, const char *dir, const emc_model_config *config)
{
    emc_status status;
    emc_adapter *a = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&a, 1, sizeof *a, "an adapter"));
    a->model = *config;
    status = emc_copy_string(&a->dir, dir);
    if (status != EMC_OK)
        goto done;
    status = read_adapter(a);
    if (status != EMC_OK)
        goto done;
    *out = a;
    a = NULL; /* ownership has moved to the caller */

done:
    emc_adapter_close(a);
    return status;
}

void emc_adapter_close(emc_adapter *a)
{
    if (!a)
        return;
    emc_adapter_config_free(&a->config);
    emc_safetensors_close(a->file);
    free(a->layers);
    free(a->saved);
    free(a->config_path);
    free(a->dir);
    free(a);
}

const emc_adapter_weights *emc_adapter_get(const emc_adapter *a)
{
    return &a->weights;
}

const char *emc_adapter_dir(const emc_adapter *a)
{
    return a->dir;
}

const char *emc_adapter_base(const emc_adapter *a)
{
    return a->config.base;
}
