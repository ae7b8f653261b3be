/* Which module does this tensor change, and how? */
#include "loader/adapter_key.h"

#include <string.h>

#define MAX_LAYER_DIGITS 6

static const struct {
    const char *name;
    emc_module_kind kind;
    emc_projection projection;
} in_layer[] =
    {
        {"self_attn.q_proj", EMC_MODULE_PROJ, EMC_PROJ_Q},
        {"self_attn.k_proj", EMC_MODULE_PROJ, EMC_PROJ_K},
        {"self_attn.v_proj", EMC_MODULE_PROJ, EMC_PROJ_V},
        {"self_attn.o_proj", EMC_MODULE_PROJ, EMC_PROJ_O},
        {"mlp.gate_proj", EMC_MODULE_PROJ, EMC_PROJ_GATE},
        {"mlp.up_proj", EMC_MODULE_PROJ, EMC_PROJ_UP},
        {"mlp.down_proj", EMC_MODULE_PROJ, EMC_PROJ_DOWN},
        {"input_layernorm", EMC_MODULE_INPUT_NORM, EMC_N_PROJ},
        {"post_attention_layernorm", EMC_MODULE_POST_NORM, EMC_N_PROJ},
        {"self_attn.q_norm", EMC_MODULE_Q_NORM, EMC_N_PROJ},
        {"self_attn.k_norm", EMC_MODULE_K_NORM, EMC_N_PROJ},
},
  outside[] = {
      {"embed_tokens", EMC_MODULE_EMBED, EMC_N_PROJ},
      {"lm_head", EMC_MODULE_HEAD, EMC_N_PROJ},
      {"norm", EMC_MODULE_NORM, EMC_N_PROJ},
};

/* Where the adapter's name may stand, "default" is tolerated. */
static const struct {
    const char *name;
    emc_module_part part;
} linear_parts[] =
    {
        {"lora_A.weight", EMC_PART_A},
        {"lora_A.default.weight", EMC_PART_A},
        {"lora_B.weight", EMC_PART_B},
        {"lora_B.default.weight", EMC_PART_B},
        {"lora_magnitude_vector", EMC_PART_MAGNITUDE},
        {"lora_magnitude_vector.weight", EMC_PART_MAGNITUDE},
        {"lora_magnitude_vector.default", EMC_PART_MAGNITUDE},
        {"lora_magnitude_vector.default.weight", EMC_PART_MAGNITUDE},
},
  embedding_parts[] =
      {
          {"lora_embedding_A", EMC_PART_A},
          {"lora_embedding_A.default", EMC_PART_A},
          {"lora_embedding_B", EMC_PART_B},
          {"lora_embedding_B.default", EMC_PART_B},
},
  weight_parts[] = {
      {"weight", EMC_PART_WEIGHT},
      {"modules_to_save.weight", EMC_PART_WEIGHT},
      {"modules_to_save.default.weight", EMC_PART_WEIGHT},
      {"base_layer.weight", EMC_PART_BASE},
      {"original_module.weight", EMC_PART_BASE},
};

/* Moves *at past `word` and the dot after it. */
static bool skip_word(const char **at, const char *word)
{
    const size_t n = strlen(word);

    if (strncmp(*at, word, n) != 0 || (*at)[n] != '.')
        return false;
    *at += n + 1;
    return true;
}

/* Moves *at past a plain number and the dot after it. */
static bool skip_number(const char **at, int *number)
{
    const char *p = *at;
    int n_digits = 0;

    *number = 0;
    for (; *p >= '0' && *p <= '9' && n_digits < MAX_LAYER_DIGITS; p++, n_digits++)
        *number = *number * 10 + (*p - '0');
    if (n_digits == 0 || *p != '.' || (n_digits > 1 && **at == '0'))
        return false;
    *at = p + 1;
    return true;
}

static bool parse_part(emc_adapter_key *out, const char *rest)
{
    for (size_t i = 0; i < EMC_COUNT(weight_parts); i++) {
        if (strcmp(rest, weight_parts[i].name) == 0) {
            out->part = weight_parts[i].part;
            return true;
        }
    }
    for (size_t i = 0; out->kind == EMC_MODULE_EMBED && i < EMC_COUNT(embedding_parts); i++) {
        if (strcmp(rest, embedding_parts[i].name) == 0) {
            out->part = embedding_parts[i].part;
            return true;
        }
    }
    if (out->kind != EMC_MODULE_PROJ && out->kind != EMC_MODULE_HEAD)
        return false;
    for (size_t i = 0; i < EMC_COUNT(linear_parts); i++) {
        if (strcmp(rest, linear_parts[i].name) == 0) {
            out->part = linear_parts[i].part;
            return true;
        }
    }
    return false;
}

bool emc_adapter_key_parse(emc_adapter_key *out, const char *name)
{
    const char *at = name;
    bool found = false;

    *out = (emc_adapter_key){.projection = EMC_N_PROJ};
    while (strncmp(at, "base_model.model.", 17) == 0)
        at += 17;
    out->path = at;
    while (skip_word(&at, "base_model") || skip_word(&at, "model") ||
           skip_word(&at, "language_model"))
        continue;
    if (skip_word(&at, "layers")) {
        if (!skip_number(&at, &out->layer))
            return false;
        for (size_t i = 0; !found && i < EMC_COUNT(in_layer); i++) {
            found = skip_word(&at, in_layer[i].name);
            out->kind = in_layer[i].kind;
            out->projection = in_layer[i].projection;
        }
    } else {
        for (size_t i = 0; !found && i < EMC_COUNT(outside); i++) {
            found = skip_word(&at, outside[i].name);
            out->kind = outside[i].kind;
        }
    }
    if (!found)
        return false;
    out->n_path = (size_t)(at - 1 - out->path);
    return parse_part(out, at);
}
