/* Are random weights of the official shapes what measurements need: right sizes, sane numbers? */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader_files.h"
#include "runtime/model.h"
#include "runtime/random_weights.h"
#include "runtime_case.h"

/* As the makers count them, a tied head once. */
static const struct {
    const char *name;
    int64_t n_parameters;
} official[] = {
    {"0.6b", 596049920}, {"1.7b", 1720574976}, {"4b", 4022468096},
    {"8b", 8190735360},  {"14b", 14768307200}, {"32b", 32762123264},
};

static int64_t count(const emc_model_config *c)
{
    const int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t attention = 2 * c->hidden * (q + kv) + 2 * c->head_dim;
    const int64_t mlp = 3 * (int64_t)c->hidden * c->ffn;

    return c->n_layers * (attention + mlp + 2 * c->hidden) + c->hidden +
           (int64_t)c->vocab * c->hidden * (c->tie_embeddings ? 1 : 2);
}

static void official_sizes(void **state)
{
    emc_model_config config;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(official); i++) {
        EMT_OK(emc_official_config(&config, official[i].name));
        assert_true(count(&config) == official[i].n_parameters);
    }
    EMT_FAILS(EMC_ERR_USAGE, "no official model is called \"7b\": there are 0.6b, 1.7b, 4b, 8b",
              emc_official_config(&config, "7b"));
    EMT_FAILS(EMC_ERR_USAGE, "\"\"", emc_official_config(&config, ""));
}

/* The makers' own files say the same. */
static void official_configs(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(official); i++) {
        emc_model_config got, want;
        char name[96], path[512];
        const char *dir = files_folder(official[i].name);
        char *text;
        size_t n;

        snprintf(name, sizeof name, "data/qwen3-tokenizer/config-%s.json", official[i].name);
        emt_need_shared(name);
        text = emt_read(emt_shared(name), &n);
        files_write_text(dir, "config.json", text);
        free(text);
        snprintf(path, sizeof path, "%s",
                 emt_shared("data/qwen3-tokenizer/generation_config.json"));
        text = emt_read(path, &n);
        files_write_text(dir, "generation_config.json", text);
        free(text);
        EMT_OK(emc_model_config_read(&want, dir));
        EMT_OK(emc_official_config(&got, official[i].name));
        assert_int_equal(got.n_layers, want.n_layers);
        assert_int_equal(got.n_heads, want.n_heads);
        assert_int_equal(got.n_kv_heads, want.n_kv_heads);
        assert_int_equal(got.head_dim, want.head_dim);
        assert_int_equal(got.hidden, want.hidden);
        assert_int_equal(got.ffn, want.ffn);
        assert_int_equal(got.vocab, want.vocab);
        assert_int_equal(got.max_positions, want.max_positions);
        assert_true(got.rope_theta == want.rope_theta && got.rms_eps == want.rms_eps);
        assert_memory_equal(&got.rope, &want.rope, sizeof got.rope);
        assert_int_equal(got.tie_embeddings, want.tie_embeddings);
        assert_int_equal(got.dtype, want.dtype);
        assert_int_equal(got.n_eos, want.n_eos);
        assert_memory_equal(got.eos_ids, want.eos_ids, (size_t)got.n_eos * sizeof *got.eos_ids);
        assert_int_equal(got.bos_id, want.bos_id);
        assert_int_equal(got.pad_id, want.pad_id);
        assert_int_equal(got.generation.do_sample, want.generation.do_sample);
        assert_int_equal(got.generation.top_k, want.generation.top_k);
        assert_true(got.generation.temperature == want.generation.temperature);
        assert_true(got.generation.top_p == want.generation.top_p);
    }
}

static float *values_of(const emc_tensor *tensor)
{
    const size_t n = tensor->dims[0] * (tensor->n_dims == 2 ? tensor->dims[1] : 1);
    float *out = malloc(n * sizeof *out);

    assert_int_equal(tensor->n_bytes, n * 2);
    emc_to_f32(out, tensor->data, tensor->dtype, n);
    return out;
}

/* An even spread of this deviation ends at sqrt(3) times it; bf16 rounds by 2^-8. */
static void check_matrix(const emc_tensor *tensor, int n, int k)
{
    const double end = 0.02 * sqrt(3) * (1 + 0x1p-8);
    float *values = values_of(tensor);
    double sum = 0, squares = 0;

    assert_int_equal(tensor->dims[0], n);
    assert_int_equal(tensor->dims[1], k);
    for (int i = 0; i < n * k; i++) {
        if (!(fabsf(values[i]) <= end))
            fail_msg("%s: value %g", tensor->name, values[i]);
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    /* Five standard deviations of the mean of that many. */
    assert_true(fabs(sum / (n * k)) < 5 * 0.02 / sqrt(n * k));
    assert_true(fabs(sqrt(squares / (n * k)) - 0.02) < 0.02 * 5 / sqrt(n * k));
    for (int j = 1; j < n; j++) /* no row is that before it */
        assert_true(memcmp(values + (size_t)(j - 1) * k, values + (size_t)j * k,
                           (size_t)k * sizeof *values) != 0);
    free(values);
}

static void check_norm(const emc_tensor *tensor, int n)
{
    float *values = values_of(tensor);
    bool differ = false;

    assert_int_equal(tensor->n_dims, 1);
    assert_int_equal(tensor->dims[0], n);
    for (int i = 0; i < n; i++) {
        assert_true(fabsf(values[i] - 1) <= 0.1 + 0x1p-8);
        differ = differ || values[i] != values[0];
    }
    assert_true(differ);
    free(values);
}

static emc_model_config small_shape(bool tied)
{
    return (emc_model_config){.n_layers = 2,
                              .n_heads = 4,
                              .n_kv_heads = 2,
                              .head_dim = 16,
                              .hidden = 48,
                              .ffn = 72,
                              .vocab = 160,
                              .max_positions = 256,
                              .rope_theta = 1e6,
                              .rms_eps = 1e-6,
                              .tie_embeddings = tied,
                              .dtype_known = true,
                              .dtype = EMC_BF16};
}

static void tensors_are_random_and_whole(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        const emc_model_config c = small_shape(tied == 1);
        emc_random_weights *random, *again;
        const emc_weights *w;

        EMT_OK(emc_random_weights_open(&random, &c));
        w = emc_random_weights_get(random);
        assert_memory_equal(emc_random_weights_config(random), &c, sizeof c);
        check_matrix(w->embed, c.vocab, c.hidden);
        check_norm(w->norm, c.hidden);
        assert_int_equal(w->head == NULL, c.tie_embeddings);
        if (w->head)
            check_matrix(w->head, c.vocab, c.hidden);
        for (int l = 0; l < c.n_layers; l++) {
            const emc_layer_weights *layer = &w->layers[l];

            check_norm(layer->input_norm, c.hidden);
            check_matrix(layer->q, 64, c.hidden);
            check_matrix(layer->k, 32, c.hidden);
            check_matrix(layer->v, 32, c.hidden);
            check_norm(layer->q_norm, c.head_dim);
            check_norm(layer->k_norm, c.head_dim);
            check_matrix(layer->o, c.hidden, 64);
            check_norm(layer->post_norm, c.hidden);
            check_matrix(layer->gate, c.ffn, c.hidden);
            check_matrix(layer->up, c.ffn, c.hidden);
            check_matrix(layer->down, c.hidden, c.ffn);
            assert_memory_not_equal(layer->gate->data, layer->up->data, layer->up->n_bytes);
        }
        assert_memory_not_equal(w->layers[0].q->data, w->layers[1].q->data,
                                w->layers[0].q->n_bytes);
        EMT_OK(emc_random_weights_open(&again, &c));
        assert_memory_equal(w->layers[1].down->data,
                            emc_random_weights_get(again)->layers[1].down->data,
                            w->layers[1].down->n_bytes);
        emc_random_weights_close(again);
        emc_random_weights_close(random);
    }
    emc_random_weights_close(NULL);
}

/* The whole way: a model that the public header opens by name. */
static void a_model_without_files(void **state)
{
    const int32_t ids[] = {1, 100, 151000};
    const emc_model_options options = {.random = "0.6b", .device = "cpu"};
    const emc_model_info *info;
    emc_engine *engine;
    emc_model *model;
    double squares = 0;
    float *logits;

    (void)state;
    EMT_OK(emc_model_open(&model, &options));
    info = emc_model_get_info(model);
    assert_true(info->n_parameters == 596049920);
    assert_true(info->weight_bytes == 2u * 596049920u);
    assert_int_equal(info->dtype, EMC_BF16);
    assert_true(info->load_seconds > 0);
    assert_ptr_equal(model->head.w, model->embed.w);
    EMT_OK(emc_engine_open(&engine, model, NULL));
    logits = engine_logits(engine, ids, (int)EMC_COUNT(ids), info->vocab);
    for (size_t i = 0; i < EMC_COUNT(ids) * (size_t)info->vocab; i++) {
        if (!isfinite(logits[i]))
            fail_msg("logit %zu is %g", i, logits[i]);
        squares += (double)logits[i] * logits[i];
    }
    /* The last norm gives values of about 1, so a logit is 0.02 * sqrt(hidden) in the root mean
     * square. */
    assert_true(fabs(sqrt(squares / ((double)EMC_COUNT(ids) * info->vocab)) - 0.64) < 0.1);
    free(logits);
    emc_engine_close(engine);
    emc_model_close(model);
    EMT_FAILS(EMC_ERR_USAGE, "no official model",
              emc_model_open(&model, &(emc_model_options){.random = "8", .device = "cpu"}));
    assert_null(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_sizes), cmocka_unit_test(official_configs),
        cmocka_unit_test(tensors_are_random_and_whole), cmocka_unit_test(a_model_without_files)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
