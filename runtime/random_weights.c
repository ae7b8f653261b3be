/*
 * Where do weights come from that nobody trained?
 *
 * Speed depends on shapes and, through the power that switching bits takes, on the numbers being
 * spread as real ones are; not on their being all different. So a stretch of random numbers is
 * repeated as often as the largest tensor needs. Its length is prime: no two rows of a matrix
 * hold the same numbers.
 */
#include "runtime/random_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define PERIOD        33554393u /* the largest prime below 2^25 */
#define STEP          20737751u /* from one tensor's place to the next: 0.618 of PERIOD */
#define PLACE_VALUES  32u       /* places are multiples of it, 64 bytes */
#define DEVIATION     0.02      /* initializer_range of the official models */
#define NORM_SPREAD   0.1       /* norms are within it of 1 */
#define SEED          20260101u
#define LAYER_TENSORS 11

struct emc_random_weights {
    emc_model_config config;
    emc_weights weights;
    emc_layer_weights *layers;
    emc_tensor *tensors;
    size_t n_tensors;
    uint16_t *values; /* n_values of matrices, then those of norms */
    size_t n_values;
    size_t n_norm_values;
};

static const struct {
    const char *name;
    int n_layers, n_heads, hidden, ffn;
    bool tied;
} official[] = {
    {"0.6b", 28, 16, 1024, 3072, true},  {"1.7b", 28, 16, 2048, 6144, true},
    {"4b", 36, 32, 2560, 9728, true},    {"8b", 36, 32, 4096, 12288, false},
    {"14b", 40, 40, 5120, 17408, false}, {"32b", 64, 64, 5120, 25600, false},
};

emc_status emc_official_config(emc_model_config *out, const char *name)
{
    for (size_t i = 0; i < EMC_COUNT(official); i++) {
        if (strcmp(name, official[i].name) != 0)
            continue;
        *out = (emc_model_config){
            .n_layers = official[i].n_layers,
            .n_heads = official[i].n_heads,
            .n_kv_heads = 8,
            .head_dim = 128,
            .hidden = official[i].hidden,
            .ffn = official[i].ffn,
            .vocab = 151936,
            .max_positions = 40960,
            .rope_theta = 1e6,
            .rms_eps = 1e-6,
            .tie_embeddings = official[i].tied,
            .dtype_known = true,
            .dtype = EMC_BF16,
            .n_eos = 2,
            .eos_ids = {151645, 151643},
            .bos_id = 151643,
            .pad_id = 151643,
            .generation = {.do_sample = true, .top_k = 20, .temperature = 0.6, .top_p = 0.95}};
        return EMC_OK;
    }
    return emc_fail(EMC_ERR_USAGE,
                    "no official model is called \"%s\": there are 0.6b, 1.7b, 4b, 8b, 14b and 32b",
                    name);
}

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* n values spread evenly over middle - spread .. middle + spread. */
static void fill(uint16_t *out, size_t n, float middle, float spread, uint64_t *state)
{
    const float unit = spread / 32768;
    uint64_t bits = 0;

    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            bits = draw(state);
        out[i] = emc_f32_to_bf16(middle + unit * (float)(int16_t)(bits >> 16 * (i % 4)));
    }
}

static void repeat(uint16_t *values, size_t n)
{
    for (size_t at = PERIOD; at < n; at += PERIOD)
        memcpy(values + at, values, (n - at < PERIOD ? n - at : PERIOD) * sizeof *values);
}

/* A tensor [n, k], a vector where k is 0. */
static const emc_tensor *place(emc_random_weights *w, const char *name, int n, int k)
{
    const size_t i = w->n_tensors++;
    const size_t size = (size_t)n * (size_t)(k > 0 ? k : 1);
    const size_t at = (size_t)((uint64_t)i * STEP % (k > 0 ? PERIOD : w->n_norm_values - size + 1));
    const uint16_t *from = !w->values ? NULL : k > 0 ? w->values : w->values + w->n_values;

    w->tensors[i] = (emc_tensor){.name = name,
                                 .file = "random weights",
                                 .dtype = EMC_BF16,
                                 .n_dims = k > 0 ? 2 : 1,
                                 .dims = {(size_t)n, (size_t)k},
                                 .data = from ? from + at / PLACE_VALUES * PLACE_VALUES : NULL,
                                 .n_bytes = size * sizeof *w->values};
    return &w->tensors[i];
}

static void place_layer(emc_random_weights *w, emc_layer_weights *layer)
{
    const emc_model_config *c = &w->config;
    const int q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;

    layer->input_norm = place(w, "input_layernorm", c->hidden, 0);
    layer->q = place(w, "q_proj", q, c->hidden);
    layer->k = place(w, "k_proj", kv, c->hidden);
    layer->v = place(w, "v_proj", kv, c->hidden);
    layer->q_norm = place(w, "q_norm", c->head_dim, 0);
    layer->k_norm = place(w, "k_norm", c->head_dim, 0);
    layer->o = place(w, "o_proj", c->hidden, q);
    layer->post_norm = place(w, "post_attention_layernorm", c->hidden, 0);
    layer->gate = place(w, "gate_proj", c->ffn, c->hidden);
    layer->up = place(w, "up_proj", c->ffn, c->hidden);
    layer->down = place(w, "down_proj", c->hidden, c->ffn);
}

/* The largest of any tensor but the norms. */
static size_t largest(const emc_model_config *c)
{
    const size_t hidden = (size_t)c->hidden;
    const size_t rows[] = {(size_t)c->vocab, (size_t)c->ffn, (size_t)c->n_heads * c->head_dim};
    size_t most = 0;

    for (size_t i = 0; i < EMC_COUNT(rows); i++)
        most = rows[i] > most ? rows[i] : most;
    return most * hidden;
}

static emc_status fill_all(emc_random_weights *w)
{
    uint64_t state = SEED;

    EMC_TRY(
        emc_alloc(&w->values, w->n_values + w->n_norm_values, sizeof *w->values, "random weights"));
    /* An even spread is sqrt(3) times its standard deviation to either side. */
    fill(w->values, PERIOD, 0, (float)(DEVIATION * sqrt(3)), &state);
    repeat(w->values, w->n_values);
    fill(w->values + w->n_values, w->n_norm_values, 1, (float)NORM_SPREAD, &state);
    return EMC_OK;
}

static emc_status build(emc_random_weights *w, bool with_values)
{
    const emc_model_config *c = &w->config;

    EMC_TRY(emc_alloc(&w->layers, (size_t)c->n_layers, sizeof *w->layers, "layers"));
    EMC_TRY(emc_alloc(&w->tensors, (size_t)c->n_layers * LAYER_TENSORS + 3, sizeof *w->tensors,
                      "a tensor table"));
    w->n_values = largest(c) + PERIOD;
    w->n_norm_values = 2 * (size_t)(c->hidden > c->head_dim ? c->hidden : c->head_dim);
    if (with_values)
        EMC_TRY(fill_all(w));
    w->weights.embed = place(w, "embed_tokens", c->vocab, c->hidden);
    w->weights.norm = place(w, "norm", c->hidden, 0);
    if (!c->tie_embeddings)
        w->weights.head = place(w, "lm_head", c->vocab, c->hidden);
    for (int l = 0; l < c->n_layers; l++)
        place_layer(w, &w->layers[l]);
    w->weights.layers = w->layers;
    return EMC_OK;
}

static emc_status open_weights(emc_random_weights **out, const emc_model_config *config,
                               bool with_values)
{
    emc_random_weights *weights = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&weights, 1, sizeof *weights, "random weights"));
    weights->config = *config;
    status = build(weights, with_values);
    if (status != EMC_OK) {
        emc_random_weights_close(weights);
        return status;
    }
    *out = weights;
    return EMC_OK;
}

emc_status emc_random_weights_open(emc_random_weights **out, const emc_model_config *config)
{
    return open_weights(out, config, true);
}

emc_status emc_random_weights_open_shapes(emc_random_weights **out, const emc_model_config *config)
{
    return open_weights(out, config, false);
}

void emc_random_weights_close(emc_random_weights *weights)
{
    if (!weights)
        return;
    free(weights->values);
    free(weights->tensors);
    free(weights->layers);
    free(weights);
}

const emc_model_config *emc_random_weights_config(const emc_random_weights *weights)
{
    return &weights->config;
}

const emc_weights *emc_random_weights_get(const emc_random_weights *weights)
{
    return &weights->weights;
}
