/* loader/checkpoint: folders as the reference library saves them, and broken ones. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"
#include "loader/checkpoint.h"
#include "loader_files.h"

static cJSON *expected(const char *part)
{
    static char path[8192];
    size_t n;
    cJSON *all, *wanted;

    snprintf(path, sizeof path, "%s", emt_golden("loader/expected.json"));
    char *text = emt_read(path, &n);
    EMT_OK(emc_json_parse(&all, text, n, path));
    free(text);
    wanted = cJSON_DetachItemFromObjectCaseSensitive(all, part);
    assert_non_null(wanted);
    cJSON_Delete(all);
    return wanted;
}

static uint64_t byte_sum(const emc_tensor *tensor)
{
    const unsigned char *bytes = tensor->data;
    uint64_t sum = 0;

    for (size_t i = 0; i < tensor->n_bytes; i++)
        sum += bytes[i];
    return sum;
}

static void expect_tensor(const cJSON *tensors, const char *name, const emc_tensor *tensor)
{
    const cJSON *wanted = emc_json_member(tensors, name), *dim;
    int n_dims = 0;

    assert_non_null(wanted);
    assert_non_null(tensor);
    assert_string_equal(tensor->name, name);
    assert_string_equal(strrchr(tensor->file, '/') + 1,
                        emc_json_member(wanted, "file")->valuestring);
    assert_string_equal(emc_dtype_name(tensor->dtype),
                        emc_json_member(wanted, "dtype")->valuestring);
    cJSON_ArrayForEach(dim, emc_json_member(wanted, "shape"))
        assert_int_equal(tensor->dims[n_dims++], dim->valueint);
    assert_int_equal(tensor->n_dims, n_dims);
    assert_true(byte_sum(tensor) == (uint64_t)emc_json_member(wanted, "byte_sum")->valuedouble);
}

static void test_golden_checkpoints(void **state)
{
    (void)state;
    cJSON *all = expected("checkpoints");
    const cJSON *tensors;

    cJSON_ArrayForEach(tensors, all)
    {
        char folder[256], name[128];
        emc_checkpoint *c;
        int n = 2;

        snprintf(folder, sizeof folder, "loader/%s", tensors->string);
        EMT_OK(emc_checkpoint_open(&c, emt_golden(folder)));
        const emc_weights *w = emc_checkpoint_weights(c);
        expect_tensor(tensors,
                      strcmp(tensors->string, "tied_only_head") == 0 ? "lm_head.weight"
                                                                     : "model.embed_tokens.weight",
                      w->embed);
        expect_tensor(tensors, "model.norm.weight", w->norm);
        if (emc_checkpoint_config(c)->tie_embeddings) {
            assert_null(w->head);
        } else {
            expect_tensor(tensors, "lm_head.weight", w->head);
            n++;
        }
        for (int i = 0; i < emc_checkpoint_config(c)->n_layers; i++) {
            const emc_layer_weights *l = &w->layers[i];
            const struct {
                const char *name;
                const emc_tensor *tensor;
            } parts[] = {
                {"input_layernorm", l->input_norm}, {"self_attn.q_proj", l->q},
                {"self_attn.k_proj", l->k},         {"self_attn.v_proj", l->v},
                {"self_attn.q_norm", l->q_norm},    {"self_attn.k_norm", l->k_norm},
                {"self_attn.o_proj", l->o},         {"post_attention_layernorm", l->post_norm},
                {"mlp.gate_proj", l->gate},         {"mlp.up_proj", l->up},
                {"mlp.down_proj", l->down},
            };
            for (size_t j = 0; j < EMC_COUNT(parts); j++, n++) {
                snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, parts[j].name);
                expect_tensor(tensors, name, parts[j].tensor);
            }
        }
        assert_int_equal(n, cJSON_GetArraySize(tensors));
        emc_checkpoint_close(c);
    }
    cJSON_Delete(all);
}

static const char small_config[] =
    "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"vocab_size\":24,"
    "\"hidden_size\":12,\"intermediate_size\":20,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,"
    "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-6,\"rope_theta\":1e6,"
    "\"tie_word_embeddings\":%s}";

static const emc_model_config small = {.n_layers = 2,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_dim = 8,
                                       .hidden = 12,
                                       .ffn = 20,
                                       .vocab = 24};

/* A folder with the small config, the weights still to be written. */
static void small_folder(char dir[4096], bool tied)
{
    static int count;
    char name[32], config[1024];

    snprintf(name, sizeof name, "small%d", count++);
    snprintf(dir, 4096, "%s", files_folder(name));
    snprintf(config, sizeof config, small_config, tied ? "true" : "false");
    files_write_text(dir, "config.json", config);
}

static void expect_failure(emc_status status, const char *message, const char *dir)
{
    emc_checkpoint *c = (emc_checkpoint *)&c;

    EMT_FAILS(status, message, emc_checkpoint_open(&c, dir));
    assert_null(c);
}

/* One change to one tensor of a whole model, and the message it must give. */
static const struct {
    const char *tensor, *rename, *dtype;
    int n_dims;
    size_t dims[2];
    const char *message;
} changes[] = {
    {"model.norm.weight",
     "model.final.weight",
     "BF16",
     1,
     {12},
     "tensor model.norm.weight is missing"},
    {"lm_head.weight", "lm_head.scale", "BF16", 2, {24, 12}, "tensor lm_head.weight is missing"},
    {"model.layers.1.self_attn.o_proj.weight",
     "model.layers.2.self_attn.o_proj.weight",
     "BF16",
     2,
     {12, 32},
     "tensor model.layers.1.self_attn.o_proj.weight is missing"},
    {"model.layers.1.self_attn.o_proj.weight",
     NULL,
     "BF16",
     2,
     {32, 12},
     "o_proj.weight: shape is [32, 12], wanted [12, 32]"},
    {"model.layers.0.self_attn.q_proj.weight",
     NULL,
     "BF16",
     2,
     {12, 12},
     "q_proj.weight: shape is [12, 12], wanted [32, 12]"},
    {"model.layers.0.self_attn.k_norm.weight",
     NULL,
     "BF16",
     1,
     {32},
     "k_norm.weight: shape is [32], wanted [8]"},
    {"model.layers.0.input_layernorm.weight",
     NULL,
     "BF16",
     2,
     {12, 1},
     "input_layernorm.weight: shape is [12, 1], wanted [12]"},
    {"model.embed_tokens.weight",
     NULL,
     "BF16",
     2,
     {23, 12},
     "embed_tokens.weight: shape is [23, 12], wanted [24, 12]"},
    {"model.layers.0.mlp.up_proj.weight",
     NULL,
     "I8",
     2,
     {20, 12},
     "up_proj.weight: dtype is I8, wanted F32, BF16 or F16"},
    {"model.layers.0.mlp.up_proj.weight", NULL, "F8_E4M3", 2, {20, 12}, "dtype is F8_E4M3"},
    {"model.layers.0.mlp.gate_proj.weight",
     "model.layers.0.mlp.up_proj.weight",
     "BF16",
     2,
     {20, 12},
     "\"model.layers.0.mlp.up_proj.weight\" comes twice"},
};

static void test_broken_tensors(void **state)
{
    (void)state;

    for (size_t i = 0; i < EMC_COUNT(changes); i++) {
        char dir[4096];
        size_t n;
        file_tensor *tensors = files_qwen3(&n, &small, true);
        file_tensor *t = files_find(tensors, n, changes[i].tensor);

        small_folder(dir, false);
        t->dtype = changes[i].dtype;
        t->n_dims = changes[i].n_dims;
        memcpy(t->dims, changes[i].dims, sizeof changes[i].dims);
        if (changes[i].rename)
            snprintf(t->name, sizeof t->name, "%s", changes[i].rename);
        files_write(dir, "model.safetensors", tensors, n, -1);
        expect_failure(EMC_ERR_FORMAT, changes[i].message, dir);
        free(tensors);
    }
}

/* Extra tensors: which are ignored, and which are refused. */
static void test_extra_tensors(void **state)
{
    (void)state;
    static const struct {
        bool tied;
        const char *name;
        size_t dims[2];
        const char *message; /* NULL: ignored */
    } extras[] = {
        {false, "model.layers.0.self_attn.rotary_emb.inv_freq", {4, 1}, NULL},
        {true, "model.layers.0.self_attn.rotary_emb.inv_freq", {4, 1}, NULL},
        {true, "lm_head.weight", {24, 12}, NULL},
        {true, "lm_head.weight", {12, 24}, "lm_head.weight: shape is [12, 24], wanted [24, 12]"},
        {false, "lm_head.bias", {24, 1}, "tensor lm_head.bias is not part of a Qwen3 model"},
        {true, "model.layers.0.self_attn.q_proj.bias", {32, 1}, "q_proj.bias is not part of"},
        {false, "model.layers.2.input_layernorm.weight", {12, 1}, "model of 2 layers"},
        {false, "model.layers.00.input_layernorm.weight", {12, 1}, "layers.00.input_layernorm"},
    };

    for (size_t i = 0; i < EMC_COUNT(extras); i++) {
        char dir[4096];
        size_t n;
        file_tensor *tensors = files_qwen3(&n, &small, !extras[i].tied);
        emc_checkpoint *c;

        small_folder(dir, extras[i].tied);
        tensors = realloc(tensors, (n + 1) * sizeof *tensors);
        tensors[n] = (file_tensor){.dtype = "F32", .n_dims = 2};
        memcpy(tensors[n].dims, extras[i].dims, sizeof extras[i].dims);
        snprintf(tensors[n].name, sizeof tensors[n].name, "%s", extras[i].name);
        files_write(dir, "model.safetensors", tensors, n + 1, -1);
        if (extras[i].message) {
            expect_failure(EMC_ERR_FORMAT, extras[i].message, dir);
        } else {
            EMT_OK(emc_checkpoint_open(&c, dir));
            assert_true((emc_checkpoint_weights(c)->head == NULL) == extras[i].tied);
            /* No dtype in this config: that of the embedding. */
            assert_true(emc_checkpoint_config(c)->dtype_known);
            assert_int_equal(emc_checkpoint_config(c)->dtype, EMC_BF16);
            emc_checkpoint_close(c);
        }
        free(tensors);
    }
}

/* A small model in two shards: tensors of the second layer in b, the rest in a. */
static void write_shards(const char *dir, const file_tensor *tensors, size_t n)
{
    files_write(dir, "a.safetensors", tensors, n, 0);
    files_write(dir, "b.safetensors", tensors, n, 1);
}

/* Writes the index with one line replaced, added or left out. */
static void write_index(const char *dir, const file_tensor *tensors, size_t n, const char *name,
                        const char *line)
{
    emc_text text = {0};
    bool done = false;

    EMT_OK(emc_text_add_string(&text, "{\"metadata\":{\"total_size\":1},\"weight_map\":{"));
    for (size_t i = 0; i < n; i++) {
        if (name && strcmp(tensors[i].name, name) == 0) {
            EMT_OK(emc_text_add_string(&text, line));
            done = true;
            continue;
        }
        EMT_OK(emc_text_addf(&text, "\"%s\":\"%s.safetensors\",", tensors[i].name,
                             tensors[i].shard ? "b" : "a"));
    }
    assert_true(!name || done);
    text.bytes[text.n - 1] = '}';
    EMT_OK(emc_text_add_string(&text, "}"));
    files_write_text(dir, "model.safetensors.index.json", text.bytes);
    emc_text_free(&text);
}

static void test_index(void **state)
{
    (void)state;
    static const struct {
        const char *name, *line;
        emc_status status;
        const char *message; /* NULL: opens */
    } cases[] = {
        {NULL, NULL, EMC_OK, NULL},
        {"model.norm.weight", "\"model.norm.weight\":\"../a.safetensors\",", EMC_ERR_FORMAT,
         "the file's name \"../a.safetensors\" is not a plain name"},
        {"model.norm.weight", "\"model.norm.weight\":\"/a.safetensors\",", EMC_ERR_FORMAT,
         "not a plain name"},
        {"model.norm.weight", "\"model.norm.weight\":\"..\",", EMC_ERR_FORMAT, "not a plain name"},
        {"model.norm.weight", "\"model.norm.weight\":\"\",", EMC_ERR_FORMAT, "not a plain name"},
        {"model.norm.weight", "\"model.norm.weight\":7,", EMC_ERR_FORMAT, "not a plain name"},
        {"model.norm.weight", "\"model.norm.weight\":\"c.safetensors\",", EMC_ERR_NOT_FOUND,
         "c.safetensors"},
        {"model.norm.weight", "\"model.norm.weight\":\"b.safetensors\",", EMC_ERR_FORMAT,
         "tensor model.norm.weight: wanted in b.safetensors, it is in a.safetensors"},
        {"model.norm.weight", "\"model.norm.bias\":\"a.safetensors\",", EMC_ERR_FORMAT,
         "tensor model.norm.bias: wanted in a.safetensors, it is in no shard"},
        {"model.norm.weight", "", EMC_ERR_FORMAT,
         "a.safetensors: tensor model.norm.weight: not in"},
        {"model.norm.weight",
         "\"model.norm.weight\":\"a.safetensors\",\"model.norm.weight\":\"a.safetensors\",",
         EMC_ERR_FORMAT, "\"model.norm.weight\" comes twice"},
    };

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char dir[4096];
        size_t n;
        file_tensor *tensors = files_qwen3(&n, &small, true);
        emc_checkpoint *c;

        for (size_t j = 0; j < n; j++)
            tensors[j].shard = strstr(tensors[j].name, "layers.1.") != NULL;
        small_folder(dir, false);
        write_shards(dir, tensors, n);
        write_index(dir, tensors, n, cases[i].name, cases[i].line);
        if (cases[i].message) {
            expect_failure(cases[i].status, cases[i].message, dir);
        } else {
            EMT_OK(emc_checkpoint_open(&c, dir));
            assert_int_equal(emc_checkpoint_file_count(c), 2);
            assert_string_equal(strrchr(emc_checkpoint_file(c, 1), '/'), "/b.safetensors");
            emc_checkpoint_close(c);
        }
        free(tensors);
    }
}

static void test_doubled_across_shards(void **state)
{
    (void)state;
    char dir[4096];
    size_t n;
    file_tensor *tensors = files_qwen3(&n, &small, true);

    for (size_t j = 0; j < n; j++)
        tensors[j].shard = strstr(tensors[j].name, "layers.1.") != NULL;
    small_folder(dir, false);
    files_write(dir, "a.safetensors", tensors, n, 0);
    files_write(dir, "b.safetensors", tensors, n, -1);
    write_index(dir, tensors, n, NULL, NULL);
    expect_failure(EMC_ERR_FORMAT, "b.safetensors: tensor model.embed_tokens.weight: also in", dir);
    free(tensors);
}

static void test_broken_folders(void **state)
{
    (void)state;
    char dir[4096];

    expect_failure(EMC_ERR_NOT_FOUND, "no such folder", emt_temp("nowhere"));
    expect_failure(EMC_ERR_NOT_FOUND, "config.json", files_folder("empty"));
    small_folder(dir, false);
    expect_failure(EMC_ERR_NOT_FOUND, "neither model.safetensors nor", dir);
    files_write_text(dir, "pytorch_model.bin", "x");
    expect_failure(EMC_ERR_FORMAT, "only pickled weights (pytorch_model.bin)", dir);
    files_write_text(dir, "model.safetensors.index.json", "[]");
    expect_failure(EMC_ERR_FORMAT, "\"weight_map\" is not an object", dir);
    files_write_text(dir, "model.safetensors.index.json", "{\"weight_map\":{}}");
    expect_failure(EMC_ERR_FORMAT, "\"weight_map\" is not an object with tensors", dir);
    files_write_text(dir, "model.safetensors.index.json", "{\"weight_map\":");
    expect_failure(EMC_ERR_FORMAT, "index.json: line 1: not JSON", dir);
    files_write_text(dir, "model.safetensors", "x");
    expect_failure(EMC_ERR_FORMAT, "model.safetensors: need 8 bytes", dir);
}

/* A tied model whose file carries a head that was trained apart. */
static void test_copy_that_differs(void **state)
{
    (void)state;
    char dir[4096], path[8192];
    size_t n, n_bytes;
    file_tensor *tensors = files_qwen3(&n, &small, true);
    emc_checkpoint *c;

    small_folder(dir, true);
    files_write(dir, "model.safetensors", tensors, n, -1);
    EMT_OK(emc_checkpoint_open(&c, dir));
    emc_checkpoint_close(c);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    char *bytes = emt_read(path, &n_bytes);
    bytes[n_bytes - 1] = 1; /* the head's last value: it is written last */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    expect_failure(EMC_ERR_FORMAT,
                   "lm_head.weight: row 23 differs from model.embed_tokens.weight, but "
                   "\"tie_word_embeddings\" in config.json is true",
                   dir);
    free(bytes);
    free(tensors);
}

/* As the hub's cache keeps a model: links to files that lie elsewhere under other names. */
static void test_links(void **state)
{
    (void)state;
    static const char *const names[] = {
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "model-00001-of-00004.safetensors",
        "model-00002-of-00004.safetensors",
        "model-00003-of-00004.safetensors",
        "model-00004-of-00004.safetensors",
    };
    char snapshot[4096], blobs[4096], path[8192], link[8192];
    emc_checkpoint *c;

    snprintf(snapshot, sizeof snapshot, "%s", files_folder("snapshot"));
    snprintf(blobs, sizeof blobs, "%s", files_folder("blobs"));
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        size_t n;
        snprintf(path, sizeof path, "loader/sharded_f16/%s", names[i]);
        char *bytes = emt_read(emt_golden(path), &n);
        snprintf(path, sizeof path, "%s/%zu", blobs, i);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, n, file), n);
        assert_int_equal(fclose(file), 0);
        free(bytes);
        snprintf(link, sizeof link, "%s/%s", snapshot, names[i]);
        snprintf(path, sizeof path, "../blobs/%zu", i);
        assert_int_equal(symlink(path, link), 0);
    }
    EMT_OK(emc_checkpoint_open(&c, snapshot));
    assert_int_equal(emc_checkpoint_file_count(c), 4);
    emc_checkpoint_close(c);

    snprintf(path, sizeof path, "%s/5", blobs);
    assert_int_equal(unlink(path), 0);
    expect_failure(EMC_ERR_NOT_FOUND, "names a file that is not here; incomplete download?",
                   snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_checkpoints),
        cmocka_unit_test(test_broken_tensors),
        cmocka_unit_test(test_extra_tensors),
        cmocka_unit_test(test_copy_that_differs),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_doubled_across_shards),
        cmocka_unit_test(test_broken_folders),
        cmocka_unit_test(test_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
