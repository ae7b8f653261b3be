/* How is this adapter meant to be applied, and is that something the engine computes? */
#include "loader/adapter_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "loader/unique_keys.h"

#define MAX_CONFIG_BYTES (4u << 20)
#define MAX_RANK         (1 << 20)
#define MAX_ALPHA        1e9

/* Read below, or without effect on what a finished adapter computes. */
static const char *const known_keys[] = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "lora_alpha",
    "init_lora_weights",
    "lora_dropout",
    "loftq_config",
    "layers_to_transform",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
};

/* Left-over settings of a feature that is off do no harm. */
static bool is_off(const cJSON *item)
{
    return cJSON_IsNull(item) || cJSON_IsFalse(item) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

/* Everything else changes the arithmetic (lora_bias, fan_in_fan_out, layer_replication,
 * target_parameters, alora_invocation_tokens, use_qalora, trainable_token_indices, use_bdlora,
 * arrow_config, kasa_config, ...) or is newer than this reader. */
static emc_status refuse_others(const cJSON *json, const char *path)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json)
    {
        bool known = is_off(item);
        for (size_t i = 0; !known && i < EMC_COUNT(known_keys); i++)
            known = strcmp(item->string, known_keys[i]) == 0;
        if (!known)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"%s\" is set, which is not supported; train without it or merge "
                            "the adapter into its base",
                            path, item->string);
    }
    return EMC_OK;
}

static emc_status check_kind(const cJSON *json, const char *path)
{
    /* Their training starts from a base that they changed. An adapter that was converted to a
     * plain one when it was saved says true here. */
    static const char *const changed_base[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const cJSON *init = emc_json_member(json, "init_lora_weights");
    const char *type = NULL;

    EMC_TRY(emc_json_get_string(&type, json, "peft_type", true, path));
    if (strcmp(type, "LORA") != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"peft_type\" is \"%s\", only \"LORA\" is supported",
                        path, type);
    EMC_TRY(refuse_others(json, path));
    for (size_t i = 0; cJSON_IsString(init) && i < EMC_COUNT(changed_base); i++)
        if (strncmp(init->valuestring, changed_base[i], strlen(changed_base[i])) == 0)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"init_lora_weights\" is \"%s\", whose base differs from the "
                            "original; save it converted to plain LoRA "
                            "(path_initial_model_for_weight_conversion)",
                            path, init->valuestring);
    return EMC_OK;
}

static emc_status read_patterns(emc_pattern_value **out, size_t *n_out, const cJSON *json,
                                const char *key, double least, double most, const char *path)
{
    const cJSON *patterns = emc_json_member(json, key), *item;
    const size_t n = (size_t)cJSON_GetArraySize(patterns);

    if (!patterns)
        return EMC_OK;
    if (!cJSON_IsObject(patterns))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is not an object", path, key);
    EMC_TRY(emc_json_check_unique(patterns, path));
    EMC_TRY(emc_alloc(out, n, sizeof **out, "patterns"));
    cJSON_ArrayForEach(item, patterns)
    {
        emc_pattern_value *entry = &(*out)[*n_out];
        const double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        if (!(value >= least && value <= most) || (least == 1.0 && value != floor(value)))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\": \"%s\" is not a number from %g to %g",
                            path, key, item->string, least, most);
        const emc_status status = emc_pattern_open(&entry->pattern, item->string);
        if (status != EMC_OK)
            return emc_fail_in(status, "%s: \"%s\"", path, key);
        entry->value = value;
        (*n_out)++;
    }
    return EMC_OK;
}

static emc_status read_saved(emc_adapter_config *config, const cJSON *json, const char *path)
{
    const cJSON *list = emc_json_member(json, "modules_to_save"), *item;

    if (!list)
        return EMC_OK;
    if (!cJSON_IsArray(list))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"modules_to_save\" is not a list", path);
    EMC_TRY(emc_alloc(&config->modules_to_save, (size_t)cJSON_GetArraySize(list),
                      sizeof(*config->modules_to_save), "a list of modules"));
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item) || !*item->valuestring)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: \"modules_to_save\" holds something other than a "
                            "name",
                            path);
        EMC_TRY(emc_copy_string(&config->modules_to_save[config->n_modules_to_save],
                                item->valuestring));
        config->n_modules_to_save++;
    }
    return EMC_OK;
}

static emc_status read_settings(emc_adapter_config *config, const cJSON *json, const char *path)
{
    const char *base = "";
    int64_t r;

    if (!cJSON_IsObject(json))
        return emc_fail(EMC_ERR_FORMAT, "%s: not a JSON object", path);
    EMC_TRY(emc_json_check_unique(json, path));
    EMC_TRY(check_kind(json, path));
    EMC_TRY(emc_json_get_int(&r, json, "r", 1, MAX_RANK, true, path));
    config->r = (int)r;
    EMC_TRY(emc_json_get_double(&config->alpha, json, "lora_alpha", true, path));
    if (!(fabs(config->alpha) <= MAX_ALPHA))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"lora_alpha\" is %g, wanted at most %g", path,
                        config->alpha, MAX_ALPHA);
    EMC_TRY(emc_json_get_bool(&config->use_rslora, json, "use_rslora", false, path));
    EMC_TRY(emc_json_get_bool(&config->use_dora, json, "use_dora", false, path));
    EMC_TRY(
        emc_json_get_bool(&config->ensure_weight_tying, json, "ensure_weight_tying", false, path));
    EMC_TRY(emc_json_get_string(&base, json, "base_model_name_or_path", false, path));
    EMC_TRY(emc_copy_string(&config->base, base));
    EMC_TRY(
        read_patterns(&config->ranks, &config->n_ranks, json, "rank_pattern", 1.0, MAX_RANK, path));
    EMC_TRY(read_patterns(&config->alphas, &config->n_alphas, json, "alpha_pattern", -MAX_ALPHA,
                          MAX_ALPHA, path));
    return read_saved(config, json, path);
}

emc_status emc_adapter_config_read(emc_adapter_config *out, const char *path)
{
    cJSON *json = NULL;

    EMC_TRY(emc_json_read(&json, path, MAX_CONFIG_BYTES));
    const emc_status status = read_settings(out, json, path);
    cJSON_Delete(json);
    return status;
}

static void free_patterns(emc_pattern_value *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        emc_pattern_close(patterns[i].pattern);
    free(patterns);
}

void emc_adapter_config_free(emc_adapter_config *config)
{
    free_patterns(config->ranks, config->n_ranks);
    free_patterns(config->alphas, config->n_alphas);
    for (size_t i = 0; i < config->n_modules_to_save; i++)
        free(config->modules_to_save[i]);
    free(config->modules_to_save);
    free(config->base);
    *config = (emc_adapter_config){0};
}

static double first_match(const emc_pattern_value *patterns, size_t n, const char *path,
                          double otherwise)
{
    for (size_t i = 0; i < n; i++)
        if (emc_pattern_matches(patterns[i].pattern, path))
            return patterns[i].value;
    return otherwise;
}

void emc_adapter_config_module(const emc_adapter_config *config, const char *path, int *rank,
                               double *scale)
{
    const double alpha = first_match(config->alphas, config->n_alphas, path, config->alpha);

    *rank = (int)first_match(config->ranks, config->n_ranks, path, config->r);
    *scale = config->use_rslora ? alpha / sqrt(*rank) : alpha / *rank;
}

bool emc_adapter_config_saves(const emc_adapter_config *config, size_t i, const char *path)
{
    const char *name = config->modules_to_save[i];
    const size_t n = strlen(name);

    /* A name counts where it ends a module's path, as in the reference library. */
    for (const char *at = strstr(path, name); at; at = strstr(at + 1, name))
        if (at[n] == '\0' || at[n] == '.')
            return true;
    return false;
}
