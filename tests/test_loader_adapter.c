/* loader/adapter: folders as PEFT saves them against what PEFT then computes, and broken ones. */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "loader/adapter.h"
#include "loader/checkpoint.h"
#include "loader_files.h"

#define MAX_WIDTH 32 /* of any module of the golden model */
#define TOKEN     3  /* whose embedding the golden file has */

static float value_at(const emc_tensor *tensor, int row, int column)
{
    const size_t width = tensor->n_dims == 2 ? tensor->dims[1] : 1;
    const size_t bytes = emc_dtype_bytes(tensor->dtype);
    float value;

    emc_to_f32(&value, (const char *)tensor->data + ((size_t)row * width + (size_t)column) * bytes,
               tensor->dtype, 1);
    return value;
}

/* One input to a module and what the adapter adds to its output, in double. *size is the sum of
 * the absolute values of all products, which the rounding errors scale with. */
static void add_linear(double *added, double *size, const emc_adapter_lora *lora,
                       const emc_tensor *base, int out, int in)
{
    double ax[MAX_WIDTH] = {0}, ax_size[MAX_WIDTH] = {0};

    assert_true(lora->rank <= MAX_WIDTH);
    for (int r = 0; r < lora->rank; r++) {
        for (int i = 0; i < in; i++) {
            ax[r] += value_at(lora->a, r, i) / (i + 1.0);
            ax_size[r] += fabs(value_at(lora->a, r, i)) / (i + 1.0);
        }
    }
    for (int o = 0; o < out; o++) {
        double wx = 0.0, norm = 0.0;
        added[o] = size[o] = 0.0;
        for (int r = 0; r < lora->rank; r++) {
            added[o] += lora->scale * value_at(lora->b, o, r) * ax[r];
            size[o] += fabs(lora->scale * value_at(lora->b, o, r)) * ax_size[r];
        }
        if (!lora->magnitude)
            continue;
        for (int i = 0; i < in; i++) {
            double w = value_at(base, o, i);
            wx += w / (i + 1.0);
            size[o] += fabs(w) / (i + 1.0);
            for (int r = 0; r < lora->rank; r++)
                w += lora->scale * value_at(lora->b, o, r) * value_at(lora->a, r, i);
            norm += w * w;
        }
        const double factor = value_at(lora->magnitude, o, 0) / sqrt(norm);
        added[o] = factor * (wx + added[o]) - wx;
        size[o] *= 1.0 + factor;
    }
}

static void add_embedding(double *added, double *size, const emc_adapter_lora *lora, int hidden)
{
    for (int o = 0; o < hidden; o++) {
        added[o] = size[o] = 0.0;
        for (int r = 0; r < lora->rank; r++) {
            const double term = lora->scale * value_at(lora->b, o, r) * value_at(lora->a, r, TOKEN);
            added[o] += term;
            size[o] += fabs(term);
        }
    }
}

/*
 * PEFT computes in f32: a sum of n products rounds at most n + a few times by 2^-24, and y + delta
 * - y adds two roundings of |y|, at most 4 here.
 */
static void expect_added(const cJSON *all, const char *name, const double *added,
                         const double *size, int n)
{
    const cJSON *want = emc_json_member(all, name), *item;
    int i = 0;

    if (!want)
        fail_msg("%s is not a module of this adapter", name);
    cJSON_ArrayForEach(item, want)
    {
        const double tolerance = (2 * MAX_WIDTH * size[i] + 2 * 4.0) * 0x1p-24;
        if (!(fabs(added[i] - item->valuedouble) <= tolerance))
            fail_msg("%s: output %d is %.9g, wanted %.9g", name, i, added[i], item->valuedouble);
        i++;
    }
    assert_int_equal(i, n);
}

/* The modules that have LoRA are those of the golden file, and each adds what PEFT's adds. */
static void compare_with_peft(const emc_adapter *adapter, const emc_model_config *config,
                              const emc_weights *base, const cJSON *all)
{
    const emc_adapter_weights *w = emc_adapter_get(adapter);
    double added[MAX_WIDTH], size[MAX_WIDTH];
    int n_found = 0;

    for (int i = 0; i < config->n_layers; i++) {
        const emc_layer_weights *l = &base->layers[i];
        const emc_tensor *bases[EMC_N_PROJ] = {l->q, l->k, l->v, l->o, l->gate, l->up, l->down};
        for (int p = 0; p < EMC_N_PROJ; p++) {
            const emc_adapter_lora *lora = &w->layers[i].proj[p];
            char name[128];
            int out, in;
            if (!lora->a) {
                assert_true(!lora->b && !lora->magnitude && lora->rank == 0);
                continue;
            }
            emc_projection_shape(config, (emc_projection)p, &out, &in);
            add_linear(added, size, lora, bases[p], out, in);
            snprintf(name, sizeof name, "model.layers.%d.%s.%s", i,
                     p <= EMC_PROJ_O ? "self_attn" : "mlp", emc_projection_name((emc_projection)p));
            expect_added(all, name, added, size, out);
            n_found++;
        }
    }
    if (w->head.a) {
        add_linear(added, size, &w->head, base->head, config->vocab, config->hidden);
        expect_added(all, "lm_head", added, size, config->vocab);
        n_found++;
    }
    if (w->embed.a) {
        add_embedding(added, size, &w->embed, config->hidden);
        expect_added(all, "model.embed_tokens", added, size, config->hidden);
        n_found++;
    }
    assert_int_equal(n_found, cJSON_GetArraySize(all));
}

static void test_golden_adapters(void **state)
{
    (void)state;
    const char *path = emt_golden("loader/expected.json");
    size_t n;
    char *text = emt_read(path, &n);
    emc_checkpoint *base;
    cJSON *all;
    const cJSON *item;
    int count = 0;

    EMT_OK(emc_json_parse(&all, text, n, path));
    EMT_OK(emc_checkpoint_open(&base, emt_golden("loader/single_f32")));
    cJSON_ArrayForEach(item, emc_json_member(all, "adapters"))
    {
        emc_model_config config = *emc_checkpoint_config(base);
        emc_adapter *adapter;
        char name[128];

        config.tie_embeddings = cJSON_IsTrue(emc_json_member(item, "tied"));
        snprintf(name, sizeof name, "loader/adapters/%s", item->string);
        EMT_OK(emc_adapter_open(&adapter, emt_golden(name), &config));
        assert_non_null(strstr(emc_adapter_dir(adapter), name));
        compare_with_peft(adapter, &config, emc_checkpoint_weights(base),
                          emc_json_member(item, "added"));
        emc_adapter_close(adapter);
        count++;
    }
    assert_int_equal(count, 8);
    emc_checkpoint_close(base);
    cJSON_Delete(all);
    free(text);
}

static emc_model_config golden_config(bool tied)
{
    emc_model_config config;

    EMT_OK(emc_model_config_read(&config, emt_golden("loader/single_f32")));
    config.tie_embeddings = tied;
    return config;
}

static void test_golden_scales(void **state)
{
    (void)state;
    const emc_model_config config = golden_config(false);
    emc_adapter *adapter;

    EMT_OK(emc_adapter_open(&adapter, emt_golden("loader/adapters/patterns"), &config));
    const emc_adapter_layer *l = emc_adapter_get(adapter)->layers;
    assert_int_equal(l[0].proj[EMC_PROJ_Q].rank, 2);
    assert_int_equal(l[1].proj[EMC_PROJ_Q].rank, 3);
    assert_int_equal(l[0].proj[EMC_PROJ_DOWN].rank, 5);
    assert_int_equal(l[1].proj[EMC_PROJ_DOWN].rank, 4);
    assert_true(l[1].proj[EMC_PROJ_Q].scale == 4.0 / 3.0);
    assert_true(l[0].proj[EMC_PROJ_V].scale == 3.5);
    assert_true(l[0].proj[EMC_PROJ_DOWN].scale == 0.5);
    emc_adapter_close(adapter);

    EMT_OK(emc_adapter_open(&adapter, emt_golden("loader/adapters/rslora"), &config));
    assert_true(emc_adapter_get(adapter)->layers[0].proj[EMC_PROJ_Q].scale == 5.0 / sqrt(3.0));
    emc_adapter_close(adapter);
}

static void test_golden_replacements(void **state)
{
    (void)state;
    emc_model_config config = golden_config(false);
    emc_adapter *adapter;

    EMT_OK(emc_adapter_open(&adapter, emt_golden("loader/adapters/saved"), &config));
    const emc_adapter_weights *w = emc_adapter_get(adapter);
    assert_string_equal(w->embed_weight->name, "base_model.model.model.embed_tokens.weight");
    assert_string_equal(w->head_weight->name, "base_model.model.lm_head.weight");
    assert_string_equal(w->norm_weight->name, "base_model.model.model.norm.weight");
    for (int i = 0; i < config.n_layers; i++) {
        const emc_layer_replacement *r = &w->layers[i].replace;
        char name[128];
        snprintf(name, sizeof name, "base_model.model.model.layers.%d.input_layernorm.weight", i);
        assert_string_equal(r->input_norm->name, name);
        snprintf(name, sizeof name, "base_model.model.model.layers.%d.self_attn.k_norm.weight", i);
        assert_string_equal(r->k_norm->name, name);
        assert_non_null(strstr(r->q_norm->name, "q_norm"));
        assert_non_null(strstr(r->post_norm->name, "post_attention_layernorm"));
        assert_null(r->proj[EMC_PROJ_UP]);
    }
    emc_adapter_close(adapter);

    /* A tied model whose head was trained: the embedding stays the base's. */
    config = golden_config(true);
    EMT_OK(emc_adapter_open(&adapter, emt_golden("loader/adapters/tied_head"), &config));
    assert_non_null(emc_adapter_get(adapter)->head_weight);
    assert_null(emc_adapter_get(adapter)->embed_weight);
    emc_adapter_close(adapter);

    /* Stored copies of the base's own weights are no replacements. */
    config = golden_config(false);
    EMT_OK(emc_adapter_open(&adapter, emt_golden("loader/adapters/embed_head"), &config));
    assert_null(emc_adapter_get(adapter)->embed_weight);
    assert_null(emc_adapter_get(adapter)->head_weight);
    emc_adapter_close(adapter);
}

#define Q0   "base_model.model.model.layers.0.self_attn.q_proj."
#define UP1  "base_model.model.model.layers.1.mlp.up_proj."
#define EMB  "base_model.model.model.embed_tokens."
#define HEAD "base_model.model.lm_head."

/* A rank-2 pair on the first layer's q: what most broken adapters below start from. */
#define PAIR                                                                                       \
    {Q0 "lora_A.weight", "F32", 2, {2, 12}, 0},                                                    \
    {                                                                                              \
        Q0 "lora_B.weight", "F32", 2, {32, 2}, 0                                                   \
    }

#define MAX_TENSORS 4

typedef struct {
    const char *settings; /* beside peft_type, r 2 and lora_alpha 4 */
    file_tensor tensors[MAX_TENSORS];
    bool tied;
    const char *message; /* NULL: opens */
} made_up;

static emc_status open_made_up(emc_adapter **adapter, const made_up *m)
{
    static int count;
    const emc_model_config config = golden_config(m->tied);
    char name[32], dir[4096], text[1024];
    size_t n = 0;

    while (n < MAX_TENSORS && m->tensors[n].name[0])
        n++;
    snprintf(name, sizeof name, "adapter%d", count++);
    snprintf(dir, sizeof dir, "%s", files_folder(name));
    snprintf(text, sizeof text, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4%s%s}",
             *m->settings ? "," : "", m->settings);
    files_write_text(dir, "adapter_config.json", text);
    files_write(dir, "adapter_model.safetensors", m->tensors, n, -1);
    return emc_adapter_open(adapter, dir, &config);
}

static const made_up tolerated[] = {
    {"", {PAIR}, false, NULL},
    {"\"bias\":\"all\",\"lora_bias\":false,\"target_parameters\":[],\"layer_replication\":null,"
     "\"task_type\":\"CAUSAL_LM\",\"loftq_config\":{},\"init_lora_weights\":\"gaussian\","
     "\"target_modules\":\"all-linear\",\"layers_to_transform\":[0],\"lora_dropout\":0.1",
     {PAIR},
     false,
     NULL},
    {"",
     {{Q0 "lora_A.default.weight", "BF16", 2, {2, 12}, 0},
      {Q0 "lora_B.default.weight", "BF16", 2, {32, 2}, 0}},
     false,
     NULL},
    {"",
     {{"model.layers.0.self_attn.q_proj.lora_A.weight", "F16", 2, {2, 12}, 0},
      {"model.layers.0.self_attn.q_proj.lora_B.weight", "F32", 2, {32, 2}, 0}},
     false,
     NULL},
    {"",
     {{"base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
       "F32",
       2,
       {2, 12},
       0},
      {"base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_B.weight",
       "F32",
       2,
       {32, 2},
       0}},
     false,
     NULL},
    {"\"rank_pattern\":{\"language_model.layers.0.self_attn.q_proj\":3}",
     {{"base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
       "F32",
       2,
       {3, 12},
       0},
      {"base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_B.weight",
       "F32",
       2,
       {32, 3},
       0}},
     false,
     NULL},
    {"\"use_dora\":true",
     {PAIR, {Q0 "lora_magnitude_vector.default.weight", "F32", 1, {32}, 0}},
     false,
     NULL},
    {"\"modules_to_save\":[\"mlp\"]", {PAIR, {UP1 "weight", "F32", 2, {20, 12}, 0}}, false, NULL},
    {"", {PAIR, {Q0 "base_layer.weight", "F32", 2, {32, 12}, 0}}, false, NULL},
};

static void test_tolerated(void **state)
{
    (void)state;

    for (size_t i = 0; i < EMC_COUNT(tolerated); i++) {
        emc_adapter *adapter;
        const emc_status status = open_made_up(&adapter, &tolerated[i]);
        if (status != EMC_OK)
            fail_msg("%s %s: %s", tolerated[i].settings, tolerated[i].tensors[0].name,
                     emc_message());
        const emc_adapter_lora *q = &emc_adapter_get(adapter)->layers[0].proj[EMC_PROJ_Q];
        assert_true(q->a && q->b);
        assert_true(q->scale == 4.0 / q->rank);
        assert_null(emc_adapter_get(adapter)->layers[1].proj[EMC_PROJ_Q].a);
        emc_adapter_close(adapter);
    }
}

static const made_up refused[] = {
    {"\"lora_bias\":true", {PAIR}, false, "\"lora_bias\" is set, which is not supported"},
    {"\"fan_in_fan_out\":true", {PAIR}, false, "\"fan_in_fan_out\" is set"},
    {"\"layer_replication\":[[0,2]]", {PAIR}, false, "\"layer_replication\" is set"},
    {"\"target_parameters\":[\"x\"]", {PAIR}, false, "\"target_parameters\" is set"},
    {"\"alora_invocation_tokens\":[1]", {PAIR}, false, "\"alora_invocation_tokens\" is set"},
    {"\"use_qalora\":true", {PAIR}, false, "\"use_qalora\" is set"},
    {"\"trainable_token_indices\":[1]", {PAIR}, false, "\"trainable_token_indices\" is set"},
    {"\"use_bdlora\":{\"nblocks\":2}", {PAIR}, false, "\"use_bdlora\" is set"},
    {"\"arrow_config\":{\"top_k\":3}", {PAIR}, false, "\"arrow_config\" is set"},
    {"\"kasa_config\":{\"beta\":1}", {PAIR}, false, "\"kasa_config\" is set"},
    {"\"a_later_idea\":1", {PAIR}, false, "\"a_later_idea\" is set"},
    {"\"init_lora_weights\":\"pissa_niter_4\"",
     {PAIR},
     false,
     "\"init_lora_weights\" is \"pissa_niter_4\", whose base differs"},
    {"\"init_lora_weights\":\"olora\"", {PAIR}, false, "\"init_lora_weights\" is \"olora\""},
    {"\"r\":3", {PAIR}, false, "\"r\" comes twice"},
    {"\"use_dora\":1", {PAIR}, false, "\"use_dora\" is not true or false"},
    {"\"modules_to_save\":\"lm_head\"", {PAIR}, false, "\"modules_to_save\" is not a list"},
    {"\"modules_to_save\":[1]", {PAIR}, false, "\"modules_to_save\" holds something other"},
    {"\"modules_to_save\":[\"lm_head\"]",
     {PAIR},
     false,
     "\"modules_to_save\" names \"lm_head\", adapter_model.safetensors has no tensor of it"},
    {"\"rank_pattern\":[1]", {PAIR}, false, "\"rank_pattern\" is not an object"},
    {"\"rank_pattern\":{\"q_proj\":3}", {PAIR}, false, "adapter_config.json gives rank 3: "},
    {"\"rank_pattern\":{\"q_proj\":3}", {PAIR}, false, "shape is [2, 12], wanted [3, 12]"},
    {"\"rank_pattern\":{\"q_proj\":0}", {PAIR}, false, "\"q_proj\" is not a number from 1"},
    {"\"rank_pattern\":{\"q_proj\":2.5}", {PAIR}, false, "\"q_proj\" is not a number from 1"},
    {"\"rank_pattern\":{\"(?=x)q\":2}",
     {PAIR},
     false,
     "\"rank_pattern\": pattern \"(?=x)q\": a group of this kind at byte 1"},
    {"\"alpha_pattern\":{\"q_proj\":\"4\"}", {PAIR}, false, "\"alpha_pattern\": \"q_proj\" is not"},
    {"",
     {{Q0 "lora_A.weight", "F32", 2, {2, 12}, 0}},
     false,
     "q_proj.lora_A.weight: its partner (lora_B) is missing"},
    {"",
     {{Q0 "lora_B.weight", "F32", 2, {32, 2}, 0}},
     false,
     "q_proj.lora_B.weight: its partner (lora_A) is missing"},
    {"",
     {PAIR, {Q0 "lora_A.default.weight", "F32", 2, {2, 12}, 0}},
     false,
     "the same module as tensor " Q0 "lora_A.weight"},
    {"",
     {PAIR, {"model.layers.0.self_attn.q_proj.lora_A.weight", "F32", 2, {2, 12}, 0}},
     false,
     "the same module as tensor"},
    {"", {{Q0 "lora_A.weight", "F32", 2, {2, 32}, 0}}, false, "shape is [2, 32], wanted [2, 12]"},
    {"", {{Q0 "lora_B.weight", "F32", 2, {12, 2}, 0}}, false, "shape is [12, 2], wanted [32, 2]"},
    {"", {{Q0 "lora_A.weight", "F32", 2, {4, 12}, 0}}, false, "shape is [4, 12], wanted [2, 12]"},
    {"", {{Q0 "lora_A.weight", "I8", 2, {2, 12}, 0}}, false, "dtype is I8"},
    {"",
     {{"base_model.model.model.layers.2.mlp.up_proj.lora_A.weight", "F32", 2, {2, 12}, 0}},
     false,
     "layer 2, the model has 2"},
    {"", {PAIR, {Q0 "lora_B.bias", "F32", 1, {32}, 0}}, false, "q_proj.lora_B.bias: not supported"},
    {"\"bias\":\"all\"",
     {PAIR, {Q0 "bias", "F32", 1, {32}, 0}},
     false,
     "q_proj.bias: not supported; wanted LoRA matrices or whole weights of the modules of a Qwen3 "
     "model (biases are not)"},
    {"",
     {PAIR, {"base_model.model.model.layers.0.mlp.experts.lora_A.weight", "F32", 2, {2, 12}, 0}},
     false,
     "experts.lora_A.weight: not supported"},
    {"",
     {PAIR,
      {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.other.weight",
       "F32",
       2,
       {2, 12},
       0}},
     false,
     "lora_A.other.weight: not supported"},
    {"",
     {PAIR, {"base_model.model.model.layers.01.mlp.up_proj.lora_A.weight", "F32", 2, {2, 12}, 0}},
     false,
     "layers.01.mlp.up_proj.lora_A.weight: not supported"},
    {"",
     {PAIR, {UP1 "weight", "F32", 2, {20, 12}, 0}},
     false,
     "up_proj.weight: a whole weight that \"modules_to_save\" in"},
    {"\"modules_to_save\":[\"up_proj\"]",
     {PAIR, {UP1 "weight", "F32", 2, {12, 20}, 0}},
     false,
     "up_proj.weight: shape is [12, 20], wanted [20, 12]"},
    {"\"modules_to_save\":[\"q_proj\"]",
     {PAIR, {Q0 "weight", "F32", 2, {32, 12}, 0}},
     false,
     "its module is also replaced"},
    {"",
     {PAIR, {Q0 "base_layer.weight", "F32", 2, {32, 13}, 0}},
     false,
     "base_layer.weight: shape is [32, 13], wanted [32, 12]"},
    {"", {{HEAD "weight", "F32", 2, {25, 12}, 0}}, false, "shape is [25, 12], wanted [24, 12]"},
    {"",
     {PAIR, {Q0 "lora_magnitude_vector", "F32", 1, {32}, 0}},
     false,
     "a DoRA magnitude, but \"use_dora\" in"},
    {"\"use_dora\":true", {PAIR}, false, "its lora_magnitude_vector is missing"},
    {"\"use_dora\":true",
     {PAIR, {Q0 "lora_magnitude_vector", "F32", 1, {12}, 0}},
     false,
     "lora_magnitude_vector: shape is [12], wanted [32]"},
    {"\"use_dora\":true",
     {{EMB "lora_embedding_A", "F32", 2, {2, 24}, 0},
      {EMB "lora_embedding_B", "F32", 2, {12, 2}, 0}},
     false,
     "DoRA of the embedding is not supported"},
    {"",
     {{EMB "lora_embedding_A", "F32", 2, {2, 12}, 0}},
     false,
     "lora_embedding_A: shape is [2, 12], wanted [2, 24]"},
    {"", {{EMB "lora_A.weight", "F32", 2, {2, 24}, 0}}, false, "lora_A.weight: not supported"},
    {"", {{HEAD "lora_embedding_A", "F32", 2, {2, 24}, 0}}, false, "not supported"},
    {"\"ensure_weight_tying\":true",
     {PAIR, {EMB "weight", "F32", 2, {24, 12}, 0}},
     true,
     "\"ensure_weight_tying\" is true for a tied embedding"},
    {"", {{"", NULL, 0, {0}, 0}}, false, "adapter_model.safetensors holds no tensors"},
};

static void test_refused(void **state)
{
    (void)state;

    for (size_t i = 0; i < EMC_COUNT(refused); i++) {
        emc_adapter *adapter = (emc_adapter *)&adapter;
        EMT_FAILS(EMC_ERR_FORMAT, refused[i].message, open_made_up(&adapter, &refused[i]));
        assert_null(adapter);
    }
}

static void test_tied(void **state)
{
    (void)state;
    const made_up unasked = {"", {{EMB "weight", "F32", 2, {24, 12}, 0}}, true, NULL};
    const made_up asked = {"\"modules_to_save\":[\"embed_tokens\"]",
                           {{EMB "weight", "F32", 2, {24, 12}, 0}},
                           true,
                           NULL};
    const made_up untied = {"", {{EMB "weight", "F32", 2, {24, 12}, 0}}, false, NULL};
    emc_adapter *adapter;

    EMT_OK(open_made_up(&adapter, &unasked));
    assert_non_null(emc_adapter_get(adapter)->embed_weight);
    assert_ptr_equal(emc_adapter_get(adapter)->head_weight, emc_adapter_get(adapter)->embed_weight);
    emc_adapter_close(adapter);
    EMT_OK(open_made_up(&adapter, &asked));
    assert_non_null(emc_adapter_get(adapter)->embed_weight);
    assert_null(emc_adapter_get(adapter)->head_weight);
    emc_adapter_close(adapter);
    EMT_OK(open_made_up(&adapter, &untied));
    assert_null(emc_adapter_get(adapter)->head_weight);
    emc_adapter_close(adapter);
}

static void test_broken_folders(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } configs[] = {
        {"[]", "not a JSON object"},
        {"{\"r\":2,\"lora_alpha\":4}", "\"peft_type\" is missing"},
        {"{\"peft_type\":\"IA3\"}", "\"peft_type\" is \"IA3\", only \"LORA\""},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":4}", "\"r\" is missing"},
        {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":4}", "\"r\" is 0"},
        {"{\"peft_type\":\"LORA\",\"r\":-1,\"lora_alpha\":4}", "\"r\" is -1"},
        {"{\"peft_type\":\"LORA\",\"r\":2}", "\"lora_alpha\" is missing"},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1e30}", "\"lora_alpha\" is 1e+30"},
    };
    const emc_model_config config = golden_config(false);
    char dir[4096];
    emc_adapter *adapter;

    EMT_FAILS(EMC_ERR_NOT_FOUND, "no such folder",
              emc_adapter_open(&adapter, emt_temp("nowhere"), &config));
    snprintf(dir, sizeof dir, "%s", files_folder("broken"));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "no adapter_config.json; an adapter saved under a name",
              emc_adapter_open(&adapter, dir, &config));
    for (size_t i = 0; i < EMC_COUNT(configs); i++) {
        files_write_text(dir, "adapter_config.json", configs[i].text);
        EMT_FAILS(EMC_ERR_FORMAT, configs[i].message, emc_adapter_open(&adapter, dir, &config));
    }
    files_write_text(dir, "adapter_config.json",
                     "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4}");
    EMT_FAILS(EMC_ERR_NOT_FOUND, "adapter_model.safetensors",
              emc_adapter_open(&adapter, dir, &config));
    files_write_text(dir, "adapter_model.bin", "x");
    EMT_FAILS(EMC_ERR_FORMAT, "adapter_model.bin: only pickled weights",
              emc_adapter_open(&adapter, dir, &config));
    assert_null(adapter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_adapters),
        cmocka_unit_test(test_golden_scales),
        cmocka_unit_test(test_golden_replacements),
        cmocka_unit_test(test_tolerated),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_tied),
        cmocka_unit_test(test_broken_folders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
