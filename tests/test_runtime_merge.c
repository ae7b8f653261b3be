/*
 * Does an adapter that was added to the weights at load do what it does beside them?
 *
 * Weights are held to sums in double; logits of the golden adapters to the reference library's,
 * as test_runtime_golden.c holds the unmerged ones.
 */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader_files.h"
#include "runtime/merge.h"
#include "runtime/model.h"
#include "runtime_case.h"

/* --- Weights ------------------------------------------------------------------------------ */

typedef struct {
    int n, k, rank;
    emc_dtype from, to;
    bool scaled;
    size_t offset; /* bytes past an aligned address */
    const char *reaches;
} weight_case;

typedef struct {
    emc_tensor tensor;
    emc_update update;
    char *whole;
    float *a, *b, *scale;
} made_update;

#define STRIDE_GAP 3 /* a matrix of several parts has other ranks beside a part's own */

static float *normals(size_t n, double scale, uint64_t *seed)
{
    float *out = malloc((n + 1) * sizeof *out);

    for (size_t i = 0; i < n; i++)
        out[i] = (float)(scale * emt_normal(seed));
    return out;
}

static made_update make_update(const weight_case *c, uint64_t *seed)
{
    const size_t n_values = (size_t)c->n * c->k;
    float *values = normals(n_values, 0.05, seed);
    made_update out = {0};

    out.whole = malloc(n_values * sizeof(float) + c->offset);
    emc_from_f32(out.whole, c->from, values, n_values);
    memmove(out.whole + c->offset, out.whole, n_values * emc_dtype_bytes(c->from));
    free(values);
    out.a = normals((size_t)c->rank * c->k, 0.3, seed);
    out.b = normals((size_t)c->n * (c->rank + STRIDE_GAP), 0.02, seed);
    out.scale = normals((size_t)c->n, 1, seed);
    out.tensor = (emc_tensor){.dtype = c->from,
                              .n_dims = 2,
                              .dims = {(size_t)c->n, (size_t)c->k},
                              .data = out.whole + c->offset};
    out.update = (emc_update){.a = out.a,
                              .b = out.b,
                              .b_stride = (size_t)(c->rank + STRIDE_GAP),
                              .row_scale = c->scaled ? out.scale : NULL,
                              .rank = c->rank};
    return out;
}

static void free_update(made_update *made)
{
    free(made->whole);
    free(made->a);
    free(made->b);
    free(made->scale);
}

static double weight_at(const made_update *made, size_t i)
{
    float value;

    emc_to_f32(&value, (const char *)made->tensor.data + i * emc_dtype_bytes(made->tensor.dtype),
               made->tensor.dtype, 1);
    return value;
}

/* Value j, i in double; *size is the sum of the absolute values of its terms. */
static double exact_at(const made_update *made, int j, int i, double *size)
{
    const size_t k = made->tensor.dims[1];
    double sum = weight_at(made, (size_t)j * k + (size_t)i);

    *size = fabs(sum);
    for (int r = 0; r < made->update.rank; r++) {
        const double term = (double)made->update.b[(size_t)j * made->update.b_stride + (size_t)r] *
                            made->update.a[(size_t)r * k + (size_t)i];

        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static const weight_case weight_cases[] = {
    {1, 1, 1, EMC_F32, EMC_F32, false, 0, "one value"},
    {3, 31, 2, EMC_BF16, EMC_BF16, false, 0, "less than a block"},
    {5, 32, 4, EMC_BF16, EMC_F32, true, 1, "a whole block, an odd address"},
    {4, 33, 3, EMC_F32, EMC_BF16, true, 2, "a block and one value"},
    {7, 100, 16, EMC_F16, EMC_BF16, false, 1, "several blocks, F16"},
    {130, 257, 150, EMC_BF16, EMC_BF16, true, 0, "several threads"},
};

/* rank + 2 sums and a product round by 2^-24 of at most `size` each; a store in bf16 by 2^-8. */
static void weights_are_right_to_one_rounding(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (size_t c = 0; c < EMC_COUNT(weight_cases); c++) {
        const weight_case *w = &weight_cases[c];
        made_update made = make_update(w, &seed);
        char *out = malloc((size_t)w->n * w->k * sizeof(float));

        made.update.weight = &made.tensor;
        memset(out, 0xFF, (size_t)w->n * w->k * sizeof(float));
        EMT_OK(emc_update_merge(&made.update, out, w->to, 3));
        for (int j = 0; j < w->n; j++) {
            const double scale = w->scaled ? made.scale[j] : 1;

            for (int i = 0; i < w->k; i++) {
                const size_t at = (size_t)j * w->k + (size_t)i;
                double size, want = scale * exact_at(&made, j, i, &size);
                float got;

                emc_to_f32(&got, out + at * emc_dtype_bytes(w->to), w->to, 1);
                if (!(fabs(got - want) <= (w->rank + 3) * 0x1p-24 * fabs(scale) * size +
                                              (w->to == EMC_BF16 ? 0x1p-8 * fabs(want) : 0)))
                    fail_msg("%s: [%d][%d] is %g, want %g", w->reaches, j, i, got, want);
            }
        }
        free(out);
        free_update(&made);
    }
}

static void norms_are_those_of_the_updated_rows(void **state)
{
    uint64_t seed = 2;

    (void)state;
    for (size_t c = 0; c < EMC_COUNT(weight_cases); c++) {
        const weight_case *w = &weight_cases[c];
        made_update made = make_update(w, &seed);
        float *norms = malloc((size_t)w->n * sizeof *norms);

        made.update.weight = &made.tensor;
        memset(norms, 0xFF, (size_t)w->n * sizeof *norms);
        EMT_OK(emc_update_norms(&made.update, norms, 3));
        for (int j = 0; j < w->n; j++) {
            double sum = 0, error = 0;

            for (int i = 0; i < w->k; i++) {
                double size;
                const double value = exact_at(&made, j, i, &size);

                sum += value * value;
                error += size * size;
            }
            /* The difference of two vectors' norms is at most the norm of their difference. */
            if (!(fabs(norms[j] - sqrt(sum)) <=
                  (w->rank + 2) * 0x1p-24 * sqrt(error) + 0x1p-24 * sqrt(sum)))
                fail_msg("%s: norm of row %d is %g, want %g", w->reaches, j, norms[j], sqrt(sum));
        }
        free(norms);
        free_update(&made);
    }
}

static void threads_change_no_bit(void **state)
{
    const weight_case *w = &weight_cases[EMC_COUNT(weight_cases) - 1];
    const size_t n_bytes = (size_t)w->n * w->k * sizeof(uint16_t);
    uint64_t seed = 3;
    made_update made = make_update(w, &seed);
    char *one = malloc(n_bytes), *many = malloc(n_bytes);

    (void)state;
    made.update.weight = &made.tensor;
    EMT_OK(emc_update_merge(&made.update, one, EMC_BF16, 1));
    for (int n_threads = 2; n_threads <= 200; n_threads += 33) {
        memset(many, 0xFF, n_bytes);
        EMT_OK(emc_update_merge(&made.update, many, EMC_BF16, n_threads));
        assert_memory_equal(one, many, n_bytes);
    }
    free(one);
    free(many);
    free_update(&made);
}

/* --- Models ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *base;
} cases[] = {
    {"lora", "group4"},   {"rslora", "group2"},    {"dora", "group1"},
    {"untied", "group1"}, {"embedding", "group8"},
};

static emc_model *open_adapted(const char *model_dir, const char *adapter_dir,
                               emc_dtype_choice dtype, bool merge)
{
    const emc_model_options options = {.model_dir = model_dir,
                                       .adapter_dir = adapter_dir,
                                       .device = case_on_cpu() ? "cpu" : "cuda",
                                       .dtype = dtype,
                                       .n_threads = 2,
                                       .merge_adapter = merge};
    emc_model *model;

    EMT_OK(emc_model_open(&model, &options));
    return model;
}

typedef struct {
    double most, squares, size, n;
    double least_value, most_value;
} distance;

static void compare(distance *out, const float *got, const float *want, int n)
{
    for (int i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - want[i]);

        out->most = error <= out->most ? out->most : error; /* NaN stays */
        out->squares += error * error;
        out->size += (double)want[i] * want[i];
        out->least_value = fmin(out->least_value, want[i]);
        out->most_value = fmax(out->most_value, want[i]);
    }
    out->n += n;
}

/* Our logits at the kept positions against the reference library's exact ones. A virtual GPU, which
 * takes its time, computes one of the prompts. */
static distance golden_distance(const runtime_case *c, emc_model *model)
{
    const int vocab = emc_model_get_info(model)->vocab;
    distance out = {0};
    emc_engine *engine = case_engine(model, NULL);

    for (int p = 0; p < CASE_PROMPTS; p++) {
        if (!case_on_cpu() && c->n_ids[p] != 140)
            continue;
        float *want = case_logits(c, "f32", p);
        float *got = engine_logits(engine, c->ids[p], c->n_ids[p], vocab);

        for (int i = 0; i < c->n_positions[p]; i++)
            compare(&out, got + (size_t)c->positions[p][i] * vocab, want + (size_t)i * vocab,
                    vocab);
        free(want);
        free(got);
    }
    emc_engine_close(engine);
    return out;
}

/* Largest error at most 1e-4 of the logits' range. */
static void float32_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        runtime_case c;
        emc_model *model;
        distance d;

        case_open(&c, cases[i].name, cases[i].base);
        model = open_adapted(c.model_dir, c.adapter_dir, EMC_DTYPE_FLOAT32, true);
        d = golden_distance(&c, model);
        if (!(d.most <= 1e-4 * (d.most_value - d.least_value)))
            fail_msg("%s: error %g in a range of %g", cases[i].name, d.most,
                     d.most_value - d.least_value);
        emc_model_close(model);
        case_close(&c);
    }
}

/*
 * As test_runtime_golden.c derives it for the unmerged adapter, and one rounding more for each of
 * a layer's seven projections and for the head: a merged weight errs by 2^-9 * 0.83 of its value
 * root mean square, independently of its neighbours, and so does a product of many of them.
 */
static double bf16_tolerance(int n_layers, double logits_rms)
{
    return 4 * 0x1p-9 * 0.83 * sqrt(16 * n_layers + 2) * logits_rms;
}

static void bfloat16_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        double error[2] = {0}, tolerance = 0;
        runtime_case c;

        case_open(&c, cases[i].name, cases[i].base);
        /* Beside the weights on a GPU: see test_runtime_golden.c. */
        for (int merge = case_on_cpu() ? 0 : 1; merge < 2; merge++) {
            emc_model *model =
                open_adapted(c.model_dir, c.adapter_dir, EMC_DTYPE_BFLOAT16, merge == 1);
            const distance d = golden_distance(&c, model);

            error[merge] = sqrt(d.squares / d.n);
            tolerance = bf16_tolerance(emc_model_get_info(model)->n_layers, sqrt(d.size / d.n));
            emc_model_close(model);
        }
        print_message("%s: error %.3g merged, %.3g beside; allowed %.3g\n", cases[i].name, error[1],
                      error[0], tolerance);
        for (int merge = 0; merge < 2; merge++)
            if (!(error[merge] <= tolerance))
                fail_msg("%s, merged %d: error %g, allowed %g", cases[i].name, merge, error[merge],
                         tolerance);
        case_close(&c);
    }
}

/* --- Tied embedding and head -------------------------------------------------------------- */

static void write_tensor(float *data, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (float)(0.3 * emt_normal(seed));
}

#define VOCAB  96 /* of group4, which is tied */
#define HIDDEN 64
#define RANK   3

/* An adapter folder with LoRA of embedding or head alone. Static storage of emt_temp. */
static const char *write_adapter(const char *module, const char *a_name, const char *b_name,
                                 size_t a_rows, size_t a_columns, size_t b_rows, size_t b_columns)
{
    const char *dir = files_folder(module);
    const size_t n_a = a_rows * a_columns, n_b = b_rows * b_columns;
    float *data = malloc((n_a + n_b) * sizeof *data);
    char header[1024], config[512], path[600];
    uint64_t n_header, seed = 7;
    FILE *file;

    write_tensor(data, n_a + n_b, &seed);
    snprintf(config, sizeof config,
             "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"r\": %d, "
             "\"lora_alpha\": 6, \"target_modules\": [\"%s\"], \"bias\": \"none\"}",
             RANK, module);
    files_write_text(dir, "adapter_config.json", config);
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[0,%zu]},"
             "\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[%zu,%zu]}}",
             a_name, a_rows, a_columns, n_a * 4, b_name, b_rows, b_columns, n_a * 4,
             (n_a + n_b) * 4);
    n_header = strlen(header);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(&n_header, sizeof n_header, 1, file), 1);
    assert_int_equal(fwrite(header, 1, n_header, file), n_header);
    assert_int_equal(fwrite(data, sizeof *data, n_a + n_b, file), n_a + n_b);
    assert_int_equal(fclose(file), 0);
    free(data);
    return dir;
}

static const char *embedding_adapter(void)
{
    return write_adapter("embed_tokens", "base_model.model.model.embed_tokens.lora_embedding_A",
                         "base_model.model.model.embed_tokens.lora_embedding_B", RANK, VOCAB,
                         HIDDEN, RANK);
}

static const char *head_adapter(void)
{
    return write_adapter("lm_head", "base_model.model.lm_head.lora_A.weight",
                         "base_model.model.lm_head.lora_B.weight", RANK, HIDDEN, VOCAB, RANK);
}

/* What is merged into one of the two must not reach the other. */
static void tied_weights_come_apart(void **state)
{
    (void)state;
    for (int head = 0; head < 2; head++) {
        const char *adapter = head ? head_adapter() : embedding_adapter();
        char adapter_dir[512], model_dir[512];
        float *logits[2];
        int n = 40, vocab = 0;
        int32_t ids[40];
        distance d = {0};

        snprintf(adapter_dir, sizeof adapter_dir, "%s", adapter);
        snprintf(model_dir, sizeof model_dir, "%s", emt_golden("runtime/group4/model"));
        for (int i = 0; i < n; i++)
            ids[i] = (7 * i + 11) % VOCAB;
        for (int merge = 0; merge < 2; merge++) {
            emc_model *model = open_adapted(model_dir, adapter_dir, EMC_DTYPE_FLOAT32, merge == 1);
            emc_engine *engine;

            assert_int_equal(model->head.w == model->embed.w, merge == 0);
            vocab = emc_model_get_info(model)->vocab;
            EMT_OK(emc_engine_open(&engine, model, NULL));
            logits[merge] = engine_logits(engine, ids, n, vocab);
            emc_engine_close(engine);
            emc_model_close(model);
        }
        compare(&d, logits[1], logits[0], n * vocab);
        if (!(d.most <= 1e-4 * (d.most_value - d.least_value)))
            fail_msg("%s: %g apart in a range of %g", head ? "head" : "embedding", d.most,
                     d.most_value - d.least_value);
        free(logits[0]);
        free(logits[1]);
    }
}

/* Without an adapter there is nothing to merge, and the matrices point into the file. */
static void nothing_to_merge(void **state)
{
    emc_model *model = open_adapted(emt_golden("runtime/group4/model"), NULL, EMC_DTYPE_AUTO, true);

    (void)state;
    assert_ptr_equal(model->head.w, model->embed.w);
    assert_false(model->merges);
    emc_model_close(model);
}

/* A device with copies of its own keeps no merged weights on the host. */
static void merged_weights_are_kept_only_where_needed(void **state)
{
    runtime_case c;
    emc_model *model;

    (void)state;
    case_open(&c, "rslora", "group2");
    model = open_adapted(c.model_dir, c.adapter_dir, EMC_DTYPE_AUTO, true);
    assert_int_equal(model->n_held > 0, !model->dev->copies_weights);
    assert_null(model->layers[0].qkv.lora);
    emc_model_close(model);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bfloat16_logits),
        cmocka_unit_test(nothing_to_merge),
        cmocka_unit_test(merged_weights_are_kept_only_where_needed),
        cmocka_unit_test(weights_are_right_to_one_rounding),
        cmocka_unit_test(norms_are_those_of_the_updated_rows),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(float32_logits),
        cmocka_unit_test(tied_weights_come_apart),
    };
    const struct CMUnitTest on_gpu[] = {
        cmocka_unit_test(bfloat16_logits),
        cmocka_unit_test(nothing_to_merge),
        cmocka_unit_test(merged_weights_are_kept_only_where_needed),
    };

    return case_on_cpu() ? cmocka_run_group_tests(tests, NULL, NULL)
                         : cmocka_run_group_tests(on_gpu, NULL, NULL);
}
