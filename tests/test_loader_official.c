/* loader/checkpoint: the six official sizes, over sparse files of true size. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "loader/checkpoint.h"
#include "loader_files.h"

/* The official files: sizes of the table in the model's specification. */
static const struct {
    const char *name;
    int n_layers, n_heads, hidden, ffn, n_shards;
    bool tied, head_in_files;
    uint64_t parameters;
} sizes[] = {
    {"0.6b", 28, 16, 1024, 3072, 1, true, true, 596049920},
    {"1.7b", 28, 16, 2048, 6144, 2, true, true, 1720574976},
    {"4b", 36, 32, 2560, 9728, 3, true, false, 4022468096},
    {"8b", 36, 32, 4096, 12288, 5, false, true, 8190735360},
    {"14b", 40, 40, 5120, 17408, 8, false, true, 14768307200},
    {"32b", 64, 64, 5120, 25600, 17, false, true, 32762123264},
};

static const char *official(const char *stem, const char *size)
{
    char name[128];

    snprintf(name, sizeof name, "data/qwen3-tokenizer/%s-%s.json", stem, size);
    return emt_shared(name);
}

static void copy(const char *dir, const char *name, const char *from)
{
    char *text = emt_read(from, NULL);

    files_write_text(dir, name, text);
    free(text);
}

/* Cuts the tensors into shards as the official index does, and gives its total_size. */
static double assign_shards(file_tensor *tensors, size_t n, const char *dir, const char *size)
{
    const char *path = official("model.safetensors.index", size);
    size_t n_text;
    char *text = emt_read(path, &n_text);
    cJSON *index;

    copy(dir, "model.safetensors.index.json", path);
    EMT_OK(emc_json_parse(&index, text, n_text, path));
    const cJSON *map = emc_json_member(index, "weight_map");
    assert_int_equal(cJSON_GetArraySize(map), n);
    for (size_t i = 0; i < n; i++) {
        const cJSON *file = emc_json_member(map, tensors[i].name);
        assert_non_null(file);
        assert_int_equal(sscanf(file->valuestring, "model-%d-of-", &tensors[i].shard), 1);
    }
    const double total =
        emc_json_member(emc_json_member(index, "metadata"), "total_size")->valuedouble;
    cJSON_Delete(index);
    free(text);
    return total;
}

static void check_official(size_t which)
{
    const char *size = sizes[which].name;
    char dir[4096], name[64];
    emc_model_config config;
    emc_checkpoint *c;
    size_t n, head_bytes;
    double total = 0.0;

    snprintf(dir, sizeof dir, "%s", files_folder(size));
    copy(dir, "config.json", official("config", size));
    copy(dir, "generation_config.json", emt_shared("data/qwen3-tokenizer/generation_config.json"));
    EMT_OK(emc_model_config_read(&config, dir));
    file_tensor *tensors = files_qwen3(&n, &config, sizes[which].head_in_files);
    if (sizes[which].n_shards == 1)
        files_write(dir, "model.safetensors", tensors, n, -1);
    else
        total = assign_shards(tensors, n, dir, size);
    for (int shard = 1; sizes[which].n_shards > 1 && shard <= sizes[which].n_shards; shard++) {
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", shard, sizes[which].n_shards);
        files_write(dir, name, tensors, n, shard);
    }
    free(tensors);

    EMT_OK(emc_checkpoint_open(&c, dir));
    const emc_weights *w = emc_checkpoint_weights(c);
    const emc_model_config *read = emc_checkpoint_config(c);
    assert_int_equal(read->n_layers, sizes[which].n_layers);
    assert_int_equal(read->n_heads, sizes[which].n_heads);
    assert_int_equal(read->hidden, sizes[which].hidden);
    assert_int_equal(read->ffn, sizes[which].ffn);
    assert_true(read->tie_embeddings == sizes[which].tied);
    assert_true((w->head == NULL) == sizes[which].tied);
    assert_int_equal(w->layers[0].q->dims[0], sizes[which].n_heads * 128);
    assert_int_equal(emc_checkpoint_file_count(c), sizes[which].n_shards);
    assert_true(emc_checkpoint_bytes(c) == 2 * sizes[which].parameters);
    head_bytes = sizes[which].tied && sizes[which].head_in_files ? w->embed->n_bytes : 0;
    assert_true(total == 0.0 || total == (double)(emc_checkpoint_bytes(c) + head_bytes));
    if (sizes[which].n_shards > 2) { /* some layer straddles two shards */
        int n_straddling = 0;
        for (int i = 0; i < read->n_layers; i++)
            n_straddling += strcmp(w->layers[i].q->file, w->layers[i].post_norm->file) != 0;
        assert_true(n_straddling > 0);
    }
    emc_checkpoint_close(c);
}

static void test_official_sizes(void **state)
{
    (void)state;

    emt_need_shared("data/qwen3-tokenizer/config-32b.json");
    for (size_t i = 0; i < EMC_COUNT(sizes); i++)
        check_official(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_official_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
