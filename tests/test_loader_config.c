/* loader/config: what config.json may say, what is refused, and rotary frequencies. */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "loader/config.h"
#include "loader_files.h"

static const struct {
    const char *key, *value;
} whole[] = {
    {"architectures", "[\"Qwen3ForCausalLM\"]"},
    {"attention_bias", "false"},
    {"bos_token_id", "1"},
    {"eos_token_id", "2"},
    {"head_dim", "8"},
    {"hidden_act", "\"silu\""},
    {"hidden_size", "12"},
    {"intermediate_size", "20"},
    {"max_position_embeddings", "64"},
    {"model_type", "\"qwen3\""},
    {"num_attention_heads", "4"},
    {"num_hidden_layers", "2"},
    {"num_key_value_heads", "2"},
    {"rms_norm_eps", "1e-06"},
    {"rope_theta", "1000000"},
    {"tie_word_embeddings", "true"},
    {"torch_dtype", "\"bfloat16\""},
    {"vocab_size", "24"},
};

/* A folder whose config is `whole` with up to two keys set to another text; NULL leaves a key
 * out, and a key that is not there is added. */
static const char *folder_with(const char *key, const char *value, const char *key2,
                               const char *value2)
{
    static int count;
    char name[32];
    emc_text text = {0};
    bool have = false, have2 = false;

    EMT_OK(emc_text_add_string(&text, "{"));
    for (size_t i = 0; i < EMC_COUNT(whole); i++) {
        const char *v = whole[i].value;
        if (key && strcmp(key, whole[i].key) == 0)
            v = value, have = true;
        if (key2 && strcmp(key2, whole[i].key) == 0)
            v = value2, have2 = true;
        if (v)
            EMT_OK(emc_text_addf(&text, "\"%s\":%s,\n", whole[i].key, v));
    }
    if (key && !have)
        EMT_OK(emc_text_addf(&text, "\"%s\":%s,\n", key, value));
    if (key2 && !have2)
        EMT_OK(emc_text_addf(&text, "\"%s\":%s,\n", key2, value2));
    EMT_OK(emc_text_add_string(&text, "\"use_cache\":true}"));
    snprintf(name, sizeof name, "config%d", count++);
    const char *dir = files_folder(name);
    files_write_text(dir, "config.json", text.bytes);
    emc_text_free(&text);
    return dir;
}

static emc_model_config read_with(const char *key, const char *value, const char *key2,
                                  const char *value2)
{
    emc_model_config config;

    EMT_OK(emc_model_config_read(&config, folder_with(key, value, key2, value2)));
    return config;
}

static void test_whole(void **state)
{
    (void)state;
    const emc_model_config c = read_with(NULL, NULL, NULL, NULL);

    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 8);
    assert_int_equal(c.hidden, 12);
    assert_int_equal(c.ffn, 20);
    assert_int_equal(c.vocab, 24);
    assert_int_equal(c.max_positions, 64);
    assert_int_equal(emc_model_context(&c), 64);
    assert_true(c.rope_theta == 1e6 && c.rms_eps == 1e-6);
    assert_int_equal(c.rope.kind, EMC_ROPE_PLAIN);
    assert_true(c.tie_embeddings && c.dtype_known);
    assert_int_equal(c.dtype, EMC_BF16);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos_ids[0], 2);
    assert_int_equal(c.bos_id, 1);
    assert_int_equal(c.pad_id, -1);
    assert_true(!c.generation.do_sample && c.generation.temperature == 1.0);
}

static void test_absent_keys(void **state)
{
    (void)state;

    assert_int_equal(read_with("head_dim", NULL, NULL, NULL).head_dim, 128);
    assert_int_equal(read_with("num_key_value_heads", NULL, "num_attention_heads", "64").n_kv_heads,
                     32);
    assert_int_equal(read_with("num_key_value_heads", "null", NULL, NULL).n_kv_heads, 4);
    assert_false(read_with("tie_word_embeddings", NULL, NULL, NULL).tie_embeddings);
    assert_false(read_with("torch_dtype", NULL, NULL, NULL).dtype_known);
    assert_int_equal(read_with("eos_token_id", NULL, NULL, NULL).n_eos, 0);
    read_with("architectures", NULL, "hidden_act", NULL);
}

static void test_new_names(void **state)
{
    (void)state;
    emc_model_config c = read_with("torch_dtype", NULL, "dtype", "\"float16\"");

    assert_int_equal(c.dtype, EMC_F16);
    c = read_with("torch_dtype", "\"torch.float32\"", NULL, NULL);
    assert_int_equal(c.dtype, EMC_F32);
    c = read_with("rope_theta", NULL, "rope_parameters",
                  "{\"rope_type\":\"default\",\"rope_theta\":5000000.0}");
    assert_true(c.rope_theta == 5e6);
    c = read_with("rope_theta", NULL, "rope_parameters",
                  "{\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\":7e4}}");
    assert_true(c.rope_theta == 7e4);
    c = read_with("rope_scaling",
                  "{\"type\":\"yarn\",\"factor\":4,"
                  "\"original_max_position_embeddings\":32}",
                  NULL, NULL);
    assert_int_equal(c.rope.kind, EMC_ROPE_YARN);
    assert_int_equal(c.rope.original_positions, 32);
    assert_true(c.rope.factor == 4.0 && c.rope.attention_factor == 0.0 && c.rope.truncate);
    assert_int_equal(emc_model_context(&c), 128);
    c = read_with("layer_types", "[\"full_attention\",\"full_attention\"]", "sliding_window",
                  "4096");
    assert_int_equal(c.n_layers, 2);
}

static void test_generation_wins(void **state)
{
    (void)state;
    const char *dir = folder_with(NULL, NULL, NULL, NULL);
    emc_model_config c;

    files_write_text(dir, "generation_config.json",
                     "{\"eos_token_id\":[3,2],\"pad_token_id\":5,\"do_sample\":true,"
                     "\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95}");
    EMT_OK(emc_model_config_read(&c, dir));
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos_ids[0], 3);
    assert_int_equal(c.eos_ids[1], 2);
    assert_int_equal(c.bos_id, 1);
    assert_int_equal(c.pad_id, 5);
    assert_true(c.generation.do_sample && c.generation.temperature == 0.6);
    assert_true(c.generation.top_k == 20 && c.generation.top_p == 0.95);

    files_write_text(dir, "generation_config.json", "{\"top_p\":0.5,\"top_k\":-1}");
    EMT_OK(emc_model_config_read(&c, dir));
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.generation.top_k, 0);

    files_write_text(dir, "generation_config.json", "{\"top_p\":0}");
    EMT_FAILS(EMC_ERR_FORMAT, "generation_config.json: \"top_p\" is 0",
              emc_model_config_read(&c, dir));
    files_write_text(dir, "generation_config.json", "{\"eos_token_id\":[2,24]}");
    EMT_FAILS(EMC_ERR_FORMAT,
              "generation_config.json: \"eos_token_id\" is not a token id, "
              "wanted 0 to 23",
              emc_model_config_read(&c, dir));
    files_write_text(dir, "generation_config.json", "{\"top_k\":-2}");
    EMT_FAILS(EMC_ERR_FORMAT, "\"top_k\" is -2", emc_model_config_read(&c, dir));
    files_write_text(dir, "generation_config.json", "7");
    EMT_FAILS(EMC_ERR_FORMAT, "not a JSON object", emc_model_config_read(&c, dir));
}

#define YARN "{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":32"

static const struct {
    const char *key, *value, *message;
} refused[] = {
    {"model_type", "\"qwen2\"", "\"model_type\" is \"qwen2\", only \"qwen3\" is supported"},
    {"model_type", "\"qwen3_moe\"", "only \"qwen3\""},
    {"model_type", NULL, "\"model_type\" is missing"},
    {"model_type", "3", "\"model_type\" is not a string"},
    {"architectures", "[\"Qwen3ForSequenceClassification\"]", "Qwen3ForSequenceClassification"},
    {"architectures", "[\"Qwen3ForCausalLM\",\"X\"]", "not a list of one name"},
    {"architectures", "\"Qwen3ForCausalLM\"", "not a list of one name"},
    {"hidden_act", "\"gelu\"", "\"hidden_act\" is \"gelu\", only \"silu\""},
    {"attention_bias", "true", "\"attention_bias\" is true, only false"},
    {"attention_bias", "\"no\"", "\"attention_bias\" is not true or false"},
    {"mlp_bias", "true", "\"mlp_bias\" is true"},
    {"use_sliding_window", "true", "\"use_sliding_window\" is true"},
    {"layer_types", "[\"full_attention\",\"sliding_attention\"]", "holds \"sliding_attention\""},
    {"layer_types", "[\"full_attention\"]", "\"layer_types\" names 1 layers of 2"},
    {"layer_types", "{}", "\"layer_types\" is not a list"},
    {"quantization_config", "{\"quant_method\":\"fp8\"}",
     "is quantised with fp8; wanted an "
     "unquantised checkpoint (BF16"},
    {"quantization_config", "{\"quant_method\":\"awq\"}", "is quantised with awq"},
    {"quantization_config", "{\"quant_method\":\"gptq\"}", "is quantised with gptq"},
    {"quantization_config", "{\"quant_method\":\"compressed-tensors\"}",
     "is quantised with compressed-tensors"},
    {"quantization_config", "{\"quant_method\":\"bitsandbytes\"}",
     "is quantised with bitsandbytes"},
    {"quantization_config", "{}", "is quantised with an unnamed method"},
    {"compression_config", "{}", "\"compression_config\" says this checkpoint is quantised"},
    {"hidden_size", "0", "\"hidden_size\" is 0, wanted a whole number from 1 to 4194304"},
    {"hidden_size", "-12", "\"hidden_size\" is -12"},
    {"hidden_size", "12.5", "\"hidden_size\" is 12.5"},
    {"hidden_size", "1e18", "\"hidden_size\" is 1e+18"},
    {"hidden_size", "\"12\"", "\"hidden_size\" is not a number"},
    {"hidden_size", NULL, "\"hidden_size\" is missing"},
    {"intermediate_size", "99999999", "\"intermediate_size\""},
    {"num_hidden_layers", "100000", "\"num_hidden_layers\""},
    {"num_attention_heads", "5", "\"num_key_value_heads\" is 2, which does not divide"},
    {"num_key_value_heads", "8", "\"num_key_value_heads\" is 8, which does not divide"},
    {"num_key_value_heads", "0", "\"num_key_value_heads\" is 0"},
    {"head_dim", "7", "\"head_dim\" is 7, rotary pairs need it even"},
    {"head_dim", "0", "\"head_dim\" is 0"},
    {"head_dim", "null", "\"head_dim\" is null, wanted a number"},
    {"vocab_size", "2147483648", "\"vocab_size\""},
    {"max_position_embeddings", NULL, "\"max_position_embeddings\" is missing"},
    {"rms_norm_eps", NULL, "\"rms_norm_eps\" is missing"},
    {"rms_norm_eps", "-1e-6", "\"rms_norm_eps\" is -1e-06"},
    {"rope_theta", NULL, "\"rope_theta\" is missing"},
    {"rope_theta", "NaN", "not JSON"},
    {"rope_theta", "1e999", "\"rope_theta\" is not a number"},
    {"rope_theta", "0", "\"rope_theta\" is 0"},
    {"rope_theta", "1", "\"rope_theta\" is 1, wanted more than 1"},
    {"rope_theta", "1e40", "\"rope_theta\" is 1e+40"},
    {"partial_rotary_factor", "0.5", "\"partial_rotary_factor\" is 0.5"},
    {"torch_dtype", "\"float64\"", "\"torch_dtype\" is \"float64\", wanted bfloat16"},
    {"dtype", "\"float8_e4m3fn\"", "\"dtype\" is \"float8_e4m3fn\""},
    {"tie_word_embeddings", "1", "\"tie_word_embeddings\" is not true or false"},
    {"eos_token_id", "24", "\"eos_token_id\" is not a token id, wanted 0 to 23"},
    {"eos_token_id", "-1", "\"eos_token_id\" is not a token id"},
    {"eos_token_id", "[1,\"2\"]", "\"eos_token_id\" is not a token id"},
    {"eos_token_id", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "lists more than 16 ids"},
    {"bos_token_id", "1.5", "\"bos_token_id\" is not a token id"},
    {"pad_token_id", "-2", "\"pad_token_id\" is not a token id"},
    {"rope_scaling", "7", "\"rope_scaling\" is not an object"},
    {"rope_scaling", "{\"rope_type\":\"linear\",\"factor\":2}",
     "\"rope_type\" is \"linear\", only \"default\" and \"yarn\""},
    {"rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}", "is \"dynamic\""},
    {"rope_scaling", "{\"type\":\"yarn\",\"rope_type\":\"default\"}",
     "\"rope_type\" is \"default\" and \"type\" is \"yarn\""},
    {"rope_scaling", "{\"rope_type\":\"default\",\"factor\":4}",
     "config.json: rope_scaling: unknown key \"factor\""},
    {"rope_scaling", YARN ",\"mrope_section\":[1]}", "unknown key \"mrope_section\""},
    {"rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":4}",
     "\"original_max_position_embeddings\" is missing"},
    {"rope_scaling", "{\"rope_type\":\"yarn\",\"original_max_position_embeddings\":32}",
     "\"factor\" is missing"},
    {"rope_scaling",
     "{\"rope_type\":\"yarn\",\"factor\":0.5,"
     "\"original_max_position_embeddings\":32}",
     "\"factor\" is 0.5"},
    {"rope_scaling", YARN ",\"factor\":8}", "\"factor\" comes twice"},
    {"rope_scaling", YARN ",\"beta_fast\":0}", "\"beta_fast\" is 0"},
    {"rope_scaling", YARN ",\"beta_slow\":33}", "\"beta_fast\" 32 is below \"beta_slow\" 33"},
    {"rope_scaling", YARN ",\"attention_factor\":-1}", "\"attention_factor\" is -1"},
    {"rope_scaling", YARN ",\"mscale\":-1}", "\"mscale\" -1"},
    {"rope_scaling", YARN ",\"truncate\":1}", "\"truncate\" is not true or false"},
    {"rope_scaling", YARN ",\"partial_rotary_factor\":0.25}", "\"partial_rotary_factor\" is 0.25"},
    {"rope_scaling",
     "{\"rope_type\":\"yarn\",\"factor\":1e9,"
     "\"original_max_position_embeddings\":32}",
     "is over 1073741824"},
    {"rope_parameters", "{\"full_attention\":7}", "\"full_attention\" is not an object"},
    {"rope_parameters", "{\"full_attention\":{},\"sliding_attention\":{}}",
     "unknown key \"sliding_attention\""},
    {"use_cache", "false", "\"use_cache\" comes twice"},
};

static void test_refused(void **state)
{
    (void)state;
    emc_model_config config;

    for (size_t i = 0; i < EMC_COUNT(refused); i++) {
        const char *dir = folder_with(refused[i].key, refused[i].value, NULL, NULL);
        EMT_FAILS(EMC_ERR_FORMAT, refused[i].message, emc_model_config_read(&config, dir));
        assert_non_null(strstr(emc_message(), "config.json: "));
    }
    EMT_FAILS(
        EMC_ERR_FORMAT, "\"rope_scaling\" and \"rope_parameters\" differ",
        emc_model_config_read(&config, folder_with("rope_scaling", YARN "}", "rope_parameters",
                                                   "{\"rope_type\":\"default\"}")));
}

static void test_broken_files(void **state)
{
    (void)state;
    const char *dir = files_folder("broken");
    emc_model_config config;

    EMT_FAILS(EMC_ERR_NOT_FOUND, "nowhere: no such folder",
              emc_model_config_read(&config, emt_temp("nowhere")));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "config.json", emc_model_config_read(&config, dir));
    files_write_text(dir, "config.json", "");
    EMT_FAILS(EMC_ERR_FORMAT, "config.json: empty", emc_model_config_read(&config, dir));
    files_write_text(dir, "config.json", "{\"model_type\":\n");
    EMT_FAILS(EMC_ERR_FORMAT, "not JSON", emc_model_config_read(&config, dir));
    files_write_text(dir, "config.json", "[]");
    EMT_FAILS(EMC_ERR_FORMAT, "not a JSON object", emc_model_config_read(&config, dir));
}

/*
 * The library's powf is allowed 1 ulp and so is ours, each of the other steps (a reciprocal, two
 * products, a sum) rounds once on both sides: 8 roundings of 2^-24 in all.
 */
#define ROPE_RTOL (8 * 0x1p-24)

static void test_rope_golden(void **state)
{
    (void)state;
    const char *path = emt_golden("loader/expected.json");
    size_t n;
    char *text = emt_read(path, &n);
    cJSON *all;
    const cJSON *item, *value;
    int count = 0;

    EMT_OK(emc_json_parse(&all, text, n, path));
    cJSON_ArrayForEach(item, emc_json_member(all, "rope"))
    {
        char name[128];
        emc_model_config config;
        float inv_freq[64], factor;
        int i = 0;

        snprintf(name, sizeof name, "rope-%s", item->string);
        const char *dir = files_folder(name);
        snprintf(name, sizeof name, "loader/rope/%s.json", item->string);
        char *json = emt_read(emt_golden(name), NULL);
        files_write_text(dir, "config.json", json);
        free(json);
        EMT_OK(emc_model_config_read(&config, dir));
        emc_rope_frequencies(&config, inv_freq, &factor);
        cJSON_ArrayForEach(value, emc_json_member(item, "inv_freq"))
        {
            const double want = value->valuedouble;
            if (!(fabs(inv_freq[i] - want) <= ROPE_RTOL * fabs(want)))
                fail_msg("%s: inv_freq[%d] is %.9g, wanted %.9g", item->string, i, inv_freq[i],
                         want);
            i++;
        }
        assert_int_equal(i, config.head_dim / 2);
        const double want = emc_json_member(item, "attention_factor")->valuedouble;
        if (!(fabs(factor - want) <= 0x1p-24 * want))
            fail_msg("%s: attention_factor is %.9g, wanted %.9g", item->string, factor, want);
        count++;
    }
    assert_int_equal(count, 15);
    cJSON_Delete(all);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),       cmocka_unit_test(test_absent_keys),
        cmocka_unit_test(test_new_names),   cmocka_unit_test(test_generation_wins),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_rope_golden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
