#include "loader_files.h"

#include "emt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

const char *files_folder(const char *name)
{
    const char *path = emt_temp(name);

    if (mkdir(path, 0777) != 0)
        fail_msg("cannot make %s", path);
    return path;
}

void files_write_raw(const char *dir, const char *name, const char *header, size_t n_data)
{
    char path[8192];
    unsigned char length[8];
    const size_t n = strlen(header);

    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)n >> (8 * i));
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, length, 8) != 8 || write(fd, header, n) != (ssize_t)n ||
        ftruncate(fd, (off_t)(8 + n + n_data)) != 0 || close(fd) != 0)
        fail_msg("cannot write %s", path);
}

static size_t tensor_bytes(const file_tensor *tensor)
{
    size_t n = strcmp(tensor->dtype, "F32") == 0 ? 4 : 2;

    for (int i = 0; i < tensor->n_dims; i++)
        n *= tensor->dims[i];
    return n;
}

void files_write(const char *dir, const char *name, const file_tensor *tensors, size_t n, int shard)
{
    emc_text header = {0};
    size_t at = 0;

    EMT_OK(emc_text_add_string(&header, "{\"__metadata__\":{\"format\":\"pt\"}"));
    for (size_t i = 0; i < n; i++) {
        const file_tensor *t = &tensors[i];
        if (shard >= 0 && t->shard != shard)
            continue;
        EMT_OK(emc_text_addf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype));
        for (int d = 0; d < t->n_dims; d++)
            EMT_OK(emc_text_addf(&header, d ? ",%zu" : "%zu", t->dims[d]));
        EMT_OK(emc_text_addf(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + tensor_bytes(t)));
        at += tensor_bytes(t);
    }
    EMT_OK(emc_text_add_string(&header, "}"));
    files_write_raw(dir, name, header.bytes, at);
    emc_text_free(&header);
}

void files_write_text(const char *dir, const char *name, const char *text)
{
    char path[8192];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(text, 1, strlen(text), file) != strlen(text) || fclose(file) != 0)
        fail_msg("cannot write %s", path);
}

static void add(file_tensor *tensors, size_t *n, const char *name, int dim0, int dim1)
{
    file_tensor *t = &tensors[(*n)++];

    *t = (file_tensor){.dtype = "BF16", .n_dims = dim1 ? 2 : 1};
    t->dims[0] = (size_t)dim0;
    t->dims[1] = (size_t)dim1;
    snprintf(t->name, sizeof t->name, "%s", name);
}

file_tensor *files_qwen3(size_t *n, const emc_model_config *config, bool head)
{
    const int hidden = config->hidden, ffn = config->ffn, head_dim = config->head_dim;
    const int q_width = config->n_heads * head_dim, kv_width = config->n_kv_heads * head_dim;
    const struct {
        const char *name;
        int dim0, dim1;
    } parts[] = {
        {"self_attn.q_proj", q_width, hidden},   {"self_attn.k_proj", kv_width, hidden},
        {"self_attn.v_proj", kv_width, hidden},  {"self_attn.o_proj", hidden, q_width},
        {"self_attn.q_norm", head_dim, 0},       {"self_attn.k_norm", head_dim, 0},
        {"mlp.gate_proj", ffn, hidden},          {"mlp.up_proj", ffn, hidden},
        {"mlp.down_proj", hidden, ffn},          {"input_layernorm", hidden, 0},
        {"post_attention_layernorm", hidden, 0},
    };
    file_tensor *tensors = calloc((size_t)config->n_layers * EMC_COUNT(parts) + 3, sizeof *tensors);

    assert_non_null(tensors);
    *n = 0;
    add(tensors, n, "model.embed_tokens.weight", config->vocab, hidden);
    for (int i = 0; i < config->n_layers; i++) {
        for (size_t j = 0; j < EMC_COUNT(parts); j++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, parts[j].name);
            add(tensors, n, name, parts[j].dim0, parts[j].dim1);
        }
    }
    add(tensors, n, "model.norm.weight", hidden, 0);
    if (head)
        add(tensors, n, "lm_head.weight", config->vocab, hidden);
    return tensors;
}

file_tensor *files_find(file_tensor *tensors, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}
