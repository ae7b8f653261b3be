/* Which model is this folder, and is it one that the engine computes? */
#include "loader/config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "loader/unique_keys.h"

#define MAX_CONFIG_BYTES (4u << 20)

/* Far above any Qwen3 and low enough that products of two stay far inside size_t. */
#define MAX_LAYERS    4096
#define MAX_HEADS     4096
#define MAX_HEAD_DIM  4096
#define MAX_WIDTH     (1 << 22)
#define MAX_VOCAB     (1 << 24)
#define MAX_POSITIONS (1 << 30)

/* What the reference library assumes where the key is absent. */
#define DEFAULT_HEAD_DIM   128
#define DEFAULT_KV_HEADS   32
#define DEFAULT_BETA_FAST  32.0
#define DEFAULT_BETA_SLOW  1.0
#define GENERATION_TOP_K   50
#define UNQUANTISED_WANTED "wanted an unquantised checkpoint (BF16, F16 or F32)"

/* A member that may be absent but, when there, must say `wanted`. */
static emc_status only_string(const cJSON *json, const char *key, const char *wanted,
                              const char *path)
{
    const char *found = wanted;

    EMC_TRY(emc_json_get_string(&found, json, key, false, path));
    if (strcmp(found, wanted) != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is \"%s\", only \"%s\" is supported", path, key,
                        found, wanted);
    return EMC_OK;
}

static emc_status only_false(const cJSON *json, const char *key, const char *path)
{
    bool value = false;

    EMC_TRY(emc_json_get_bool(&value, json, key, false, path));
    if (value)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is true, only false is supported", path, key);
    return EMC_OK;
}

static emc_status refuse_quantised(const cJSON *json, const char *path)
{
    const cJSON *quantised = emc_json_member(json, "quantization_config");
    const char *method = "an unnamed method";

    if (!quantised)
        quantised = emc_json_member(json, "compression_config");
    if (!quantised)
        return EMC_OK;
    if (cJSON_IsObject(quantised))
        EMC_TRY(emc_json_get_string(&method, quantised, "quant_method", false, path));
    return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" says this checkpoint is quantised with %s; %s",
                    path, quantised->string, method, UNQUANTISED_WANTED);
}

static emc_status check_kind(const cJSON *json, const char *path)
{
    const cJSON *list = emc_json_member(json, "architectures"), *item;
    const char *model_type = NULL;

    EMC_TRY(emc_json_get_string(&model_type, json, "model_type", true, path));
    EMC_TRY(only_string(json, "model_type", "qwen3", path));
    if (list && (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 1))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"architectures\" is not a list of one name", path);
    cJSON_ArrayForEach(item, list)
    {
        const char *name = cJSON_IsString(item) ? item->valuestring : "not a string";
        if (strcmp(name, "Qwen3ForCausalLM") != 0)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"architectures\" holds \"%s\", only \"Qwen3ForCausalLM\" is "
                            "supported",
                            path, name);
    }
    EMC_TRY(refuse_quantised(json, path));
    EMC_TRY(only_string(json, "hidden_act", "silu", path));
    EMC_TRY(only_false(json, "attention_bias", path));
    EMC_TRY(only_false(json, "mlp_bias", path));
    EMC_TRY(only_false(json, "use_sliding_window", path));
    list = emc_json_member(json, "layer_types");
    if (list && !cJSON_IsArray(list))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"layer_types\" is not a list", path);
    cJSON_ArrayForEach(item, list)
    {
        const char *name = cJSON_IsString(item) ? item->valuestring : "not a string";
        if (strcmp(name, "full_attention") != 0)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"layer_types\" holds \"%s\", only \"full_attention\" is "
                            "supported",
                            path, name);
    }
    return EMC_OK;
}

static emc_status read_size(int *out, const cJSON *json, const char *key, int most, bool required,
                            const char *path)
{
    int64_t value = *out;

    EMC_TRY(emc_json_get_int(&value, json, key, 1, most, required, path));
    *out = (int)value;
    return EMC_OK;
}

static emc_status read_sizes(emc_model_config *config, const cJSON *json, const char *path)
{
    const cJSON *head_dim = cJSON_GetObjectItemCaseSensitive(json, "head_dim");
    const cJSON *kv_heads = cJSON_GetObjectItemCaseSensitive(json, "num_key_value_heads");
    const cJSON *layer_types = emc_json_member(json, "layer_types");

    EMC_TRY(read_size(&config->n_layers, json, "num_hidden_layers", MAX_LAYERS, true, path));
    EMC_TRY(read_size(&config->n_heads, json, "num_attention_heads", MAX_HEADS, true, path));
    EMC_TRY(read_size(&config->hidden, json, "hidden_size", MAX_WIDTH, true, path));
    EMC_TRY(read_size(&config->ffn, json, "intermediate_size", MAX_WIDTH, true, path));
    EMC_TRY(read_size(&config->vocab, json, "vocab_size", MAX_VOCAB, true, path));
    EMC_TRY(read_size(&config->max_positions, json, "max_position_embeddings", MAX_POSITIONS, true,
                      path));

    config->n_kv_heads = cJSON_IsNull(kv_heads) ? config->n_heads : DEFAULT_KV_HEADS;
    EMC_TRY(read_size(&config->n_kv_heads, json, "num_key_value_heads", MAX_HEADS, false, path));
    if (config->n_heads % config->n_kv_heads != 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: \"num_key_value_heads\" is %d, which does not divide "
                        "\"num_attention_heads\" %d",
                        path, config->n_kv_heads, config->n_heads);

    /* Library versions differ on what null means here, so it is not guessed. */
    if (cJSON_IsNull(head_dim))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"head_dim\" is null, wanted a number", path);
    config->head_dim = DEFAULT_HEAD_DIM;
    EMC_TRY(read_size(&config->head_dim, json, "head_dim", MAX_HEAD_DIM, false, path));
    if (config->head_dim % 2 != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"head_dim\" is %d, rotary pairs need it even", path,
                        config->head_dim);

    if (layer_types && cJSON_GetArraySize(layer_types) != config->n_layers)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"layer_types\" names %d layers of %d", path,
                        cJSON_GetArraySize(layer_types), config->n_layers);
    return EMC_OK;
}

static emc_status read_positive(double *out, const cJSON *json, const char *key, bool required,
                                double least, const char *path)
{
    EMC_TRY(emc_json_get_double(out, json, key, required, path));
    /* f32 arithmetic follows, so what does not fit f32 is no use. */
    if (!(*out >= least && *out <= 1e30))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is %g, wanted %g to 1e30", path, key, *out,
                        least);
    return EMC_OK;
}

static emc_status check_rope_keys(const cJSON *rope, const char *const *keys, const char *path)
{
    const emc_status status = emc_json_check_keys(rope, keys, rope->string);

    return status == EMC_OK ? status : emc_fail_in(status, "%s", path);
}

/* The reference library's term of the attention factor for one mscale. */
static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static emc_status read_yarn(emc_model_config *config, const cJSON *json, const cJSON *rope,
                            const char *path)
{
    static const char *const keys[] = {"rope_type",
                                       "type",
                                       "rope_theta",
                                       "partial_rotary_factor",
                                       "factor",
                                       "original_max_position_embeddings",
                                       "beta_fast",
                                       "beta_slow",
                                       "attention_factor",
                                       "mscale",
                                       "mscale_all_dim",
                                       "truncate",
                                       NULL};
    emc_rope_scaling *out = &config->rope;
    double mscale = 0.0, mscale_all_dim = 0.0;
    /* At the top level it wins, as in the reference library. */
    const bool outside = emc_json_member(json, "original_max_position_embeddings") != NULL;

    EMC_TRY(check_rope_keys(rope, keys, path));
    *out = (emc_rope_scaling){.kind = EMC_ROPE_YARN,
                              .truncate = true,
                              .beta_fast = DEFAULT_BETA_FAST,
                              .beta_slow = DEFAULT_BETA_SLOW};
    EMC_TRY(read_positive(&out->factor, rope, "factor", true, 1.0, path));
    EMC_TRY(read_size(&out->original_positions, outside ? json : rope,
                      "original_max_position_embeddings", MAX_POSITIONS, true, path));
    EMC_TRY(read_positive(&out->beta_fast, rope, "beta_fast", false, 1e-6, path));
    EMC_TRY(read_positive(&out->beta_slow, rope, "beta_slow", false, 1e-6, path));
    if (out->beta_fast < out->beta_slow)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"beta_fast\" %g is below \"beta_slow\" %g", path,
                        out->beta_fast, out->beta_slow);
    EMC_TRY(emc_json_get_bool(&out->truncate, rope, "truncate", false, path));
    if (emc_json_member(rope, "attention_factor"))
        EMC_TRY(read_positive(&out->attention_factor, rope, "attention_factor", true, 1e-6, path));
    EMC_TRY(emc_json_get_double(&mscale, rope, "mscale", false, path));
    EMC_TRY(emc_json_get_double(&mscale_all_dim, rope, "mscale_all_dim", false, path));
    if (mscale < 0.0 || mscale_all_dim < 0.0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"mscale\" %g and \"mscale_all_dim\" %g, wanted >= 0",
                        path, mscale, mscale_all_dim);
    if (out->attention_factor == 0.0 && mscale > 0.0 && mscale_all_dim > 0.0)
        out->attention_factor =
            yarn_mscale(out->factor, mscale) / yarn_mscale(out->factor, mscale_all_dim);
    if (out->factor * out->original_positions > MAX_POSITIONS)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: \"factor\" %g x \"original_max_position_embeddings\" %d is over %d",
                        path, out->factor, out->original_positions, MAX_POSITIONS);
    return EMC_OK;
}

/* The object with the rope settings, wherever this version of the library put it; or NULL. */
static emc_status find_rope(const cJSON **out, const cJSON *json, const char *path)
{
    const cJSON *old = emc_json_member(json, "rope_scaling");
    const cJSON *rope = emc_json_member(json, "rope_parameters");
    const cJSON *nested;

    if (old && rope && !cJSON_Compare(old, rope, true))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: \"rope_scaling\" and \"rope_parameters\" differ; keep one of them",
                        path);
    if (!rope)
        rope = old;
    if (rope && !cJSON_IsObject(rope))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is not an object", path, rope->string);
    nested = rope ? emc_json_member(rope, "full_attention") : NULL;
    if (nested) {
        static const char *const layer_kinds[] = {"full_attention", NULL};
        EMC_TRY(check_rope_keys(rope, layer_kinds, path));
        if (!cJSON_IsObject(nested))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"full_attention\" is not an object", path);
        rope = nested;
    }
    *out = rope;
    return EMC_OK;
}

static emc_status read_rope(emc_model_config *config, const cJSON *json, const char *path)
{
    static const char *const plain_keys[] = {"rope_type", "type", "rope_theta",
                                             "partial_rotary_factor", NULL};
    const cJSON *rope = NULL;
    const char *kind = "default", *old_kind;
    double rotated = 1.0;

    EMC_TRY(find_rope(&rope, json, path));
    /* A theta inside the object wins, as in the reference library. */
    const bool inside = rope && emc_json_member(rope, "rope_theta");
    EMC_TRY(
        read_positive(&config->rope_theta, inside ? rope : json, "rope_theta", true, 1.0, path));
    if (config->rope_theta <= 1.0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"rope_theta\" is %g, wanted more than 1", path,
                        config->rope_theta);
    EMC_TRY(emc_json_get_double(&rotated, json, "partial_rotary_factor", false, path));
    if (rope) {
        EMC_TRY(emc_json_get_string(&kind, rope, "type", false, path));
        old_kind = kind;
        EMC_TRY(emc_json_get_string(&kind, rope, "rope_type", false, path));
        if (emc_json_member(rope, "type") && strcmp(kind, old_kind) != 0)
            return emc_fail(EMC_ERR_FORMAT, "%s: \"rope_type\" is \"%s\" and \"type\" is \"%s\"",
                            path, kind, old_kind);
        EMC_TRY(emc_json_get_double(&rotated, rope, "partial_rotary_factor", false, path));
    }
    if (rotated != 1.0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"partial_rotary_factor\" is %g, only 1 is supported",
                        path, rotated);
    if (strcmp(kind, "default") == 0)
        return rope ? check_rope_keys(rope, plain_keys, path) : EMC_OK;
    if (strcmp(kind, "yarn") == 0)
        return read_yarn(config, json, rope, path);
    return emc_fail(EMC_ERR_FORMAT,
                    "%s: \"rope_type\" is \"%s\", only \"default\" and \"yarn\" are supported",
                    path, kind);
}

static emc_status read_dtype(emc_model_config *config, const cJSON *json, const char *path)
{
    static const struct {
        const char *name;
        emc_dtype dtype;
    } names[] = {{"bfloat16", EMC_BF16}, {"float16", EMC_F16}, {"float32", EMC_F32}};
    const char *name = NULL, *key = emc_json_member(json, "dtype") ? "dtype" : "torch_dtype";

    EMC_TRY(emc_json_get_string(&name, json, key, false, path));
    if (!name)
        return EMC_OK;
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        if (strcmp(name, names[i].name) == 0) {
            config->dtype = names[i].dtype;
            config->dtype_known = true;
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is \"%s\", wanted bfloat16, float16 or float32",
                    path, key, name);
}

static emc_status read_id(int *out, const cJSON *item, const char *key, int vocab, const char *path)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0.0 && item->valuedouble < vocab) ||
        item->valuedouble != floor(item->valuedouble))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is not a token id, wanted 0 to %d", path, key,
                        vocab - 1);
    *out = (int)item->valuedouble;
    return EMC_OK;
}

/* Token ids of one file. Those of a file read later replace the ones before. */
static emc_status read_ids(emc_model_config *config, const cJSON *json, const char *path)
{
    const cJSON *bos = emc_json_member(json, "bos_token_id");
    const cJSON *pad = emc_json_member(json, "pad_token_id");
    const cJSON *eos = emc_json_member(json, "eos_token_id"), *item;

    if (bos)
        EMC_TRY(read_id(&config->bos_id, bos, "bos_token_id", config->vocab, path));
    /* Some writers say -1 for none. */
    if (pad && !(cJSON_IsNumber(pad) && pad->valuedouble == -1.0))
        EMC_TRY(read_id(&config->pad_id, pad, "pad_token_id", config->vocab, path));
    if (!eos)
        return EMC_OK;
    config->n_eos = 0;
    if (!cJSON_IsArray(eos)) {
        EMC_TRY(read_id(&config->eos_ids[0], eos, "eos_token_id", config->vocab, path));
        config->n_eos = 1;
        return EMC_OK;
    }
    cJSON_ArrayForEach(item, eos)
    {
        if (config->n_eos == EMC_MAX_EOS)
            return emc_fail(EMC_ERR_FORMAT, "%s: \"eos_token_id\" lists more than %d ids", path,
                            EMC_MAX_EOS);
        EMC_TRY(
            read_id(&config->eos_ids[config->n_eos], item, "eos_token_id", config->vocab, path));
        config->n_eos++;
    }
    return EMC_OK;
}

static emc_status read_config(emc_model_config *config, const cJSON *json, const char *path)
{
    if (!cJSON_IsObject(json))
        return emc_fail(EMC_ERR_FORMAT, "%s: not a JSON object", path);
    EMC_TRY(emc_json_check_unique(json, path));
    EMC_TRY(check_kind(json, path));
    EMC_TRY(read_sizes(config, json, path));
    EMC_TRY(read_rope(config, json, path));
    EMC_TRY(read_positive(&config->rms_eps, json, "rms_norm_eps", true, 0.0, path));
    EMC_TRY(emc_json_get_bool(&config->tie_embeddings, json, "tie_word_embeddings", false, path));
    EMC_TRY(read_dtype(config, json, path));
    return read_ids(config, json, path);
}

static emc_status read_generation(emc_model_config *config, const cJSON *json, const char *path)
{
    emc_generation_defaults *out = &config->generation;
    int64_t top_k = out->top_k;

    if (!cJSON_IsObject(json))
        return emc_fail(EMC_ERR_FORMAT, "%s: not a JSON object", path);
    EMC_TRY(emc_json_check_unique(json, path));
    EMC_TRY(read_ids(config, json, path));
    EMC_TRY(emc_json_get_bool(&out->do_sample, json, "do_sample", false, path));
    EMC_TRY(emc_json_get_int(&top_k, json, "top_k", -1, INT_MAX, false, path));
    out->top_k = top_k < 0 ? 0 : (int)top_k; /* some writers say -1 for off */
    EMC_TRY(read_positive(&out->temperature, json, "temperature", false, 0.0, path));
    EMC_TRY(emc_json_get_double(&out->top_p, json, "top_p", false, path));
    if (!(out->top_p > 0.0 && out->top_p <= 1.0))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"top_p\" is %g, wanted more than 0 and at most 1",
                        path, out->top_p);
    return EMC_OK;
}

/* Reads one JSON file of the folder and hands it to `read`. */
static emc_status read_file(emc_model_config *config, const char *dir, const char *name,
                            bool required,
                            emc_status (*read)(emc_model_config *, const cJSON *, const char *))
{
    emc_status status;
    cJSON *json = NULL;
    char *path = NULL;

    EMC_TRY(emc_path_join(&path, dir, name));
    if (!required && !emc_file_exists(path)) {
        status = EMC_OK;
        goto done;
    }
    status = emc_json_read(&json, path, MAX_CONFIG_BYTES);
    if (status != EMC_OK)
        goto done;
    status = read(config, json, path);

done:
    cJSON_Delete(json);
    free(path);
    return status;
}

emc_status emc_model_config_read(emc_model_config *out, const char *dir)
{
    emc_model_config config = {
        .bos_id = -1,
        .pad_id = -1,
        .generation = {.top_k = GENERATION_TOP_K, .temperature = 1.0, .top_p = 1.0},
    };

    *out = config;
    if (!emc_is_directory(dir))
        return emc_fail(EMC_ERR_NOT_FOUND, "%s: no such folder", dir);
    EMC_TRY(read_file(&config, dir, "config.json", true, read_config));
    EMC_TRY(read_file(&config, dir, "generation_config.json", false, read_generation));
    *out = config;
    return EMC_OK;
}
