#include "emt.h"

#include "runtime_case.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static int32_t *int_list(const cJSON *array, int *n)
{
    const cJSON *item;
    int32_t *out;

    *n = cJSON_GetArraySize(array);
    out = malloc(((size_t)*n + 1) * sizeof *out);
    *n = 0;
    cJSON_ArrayForEach(item, array) out[(*n)++] = item->valueint;
    return out;
}

void case_open(runtime_case *out, const char *name, const char *base)
{
    char path[600];
    cJSON *json;

    memset(out, 0, sizeof *out);
    snprintf(path, sizeof path, "runtime/%s/model", base);
    snprintf(out->model_dir, sizeof out->model_dir, "%s", emt_golden(path));
    snprintf(path, sizeof path, "runtime/%s/adapter", name);
    if (strcmp(name, base) != 0)
        snprintf(out->adapter_dir, sizeof out->adapter_dir, "%s", emt_golden(path));
    snprintf(path, sizeof path, "runtime/%s/logits.safetensors", name);
    EMT_OK(emc_safetensors_open(&out->logits, emt_golden(path)));
    snprintf(path, sizeof path, "runtime/%s/case.json", name);
    EMT_OK(emc_json_read(&json, emt_golden(path), 1 << 20));
    for (int p = 0; p < CASE_PROMPTS; p++) {
        const cJSON *greedy = cJSON_GetArrayItem(emc_json_member(json, "greedy"), p);

        out->ids[p] =
            int_list(cJSON_GetArrayItem(emc_json_member(json, "prompts"), p), &out->n_ids[p]);
        out->positions[p] = int_list(cJSON_GetArrayItem(emc_json_member(json, "positions"), p),
                                     &out->n_positions[p]);
        out->greedy[p] = int_list(emc_json_member(greedy, "ids"), &out->n_greedy[p]);
        out->greedy_ended[p] = cJSON_IsTrue(emc_json_member(greedy, "ended"));
        assert_true(out->n_ids[p] > 0 && out->n_positions[p] > 0);
    }
    cJSON_Delete(json);
}

void case_close(runtime_case *c)
{
    for (int p = 0; p < CASE_PROMPTS; p++) {
        free(c->ids[p]);
        free(c->positions[p]);
        free(c->greedy[p]);
    }
    emc_safetensors_close(c->logits);
}

float *case_logits(const runtime_case *c, const char *kind, int prompt)
{
    const emc_tensor *tensor;
    char name[32];
    float *out;

    snprintf(name, sizeof name, "%s_%d", kind, prompt);
    tensor = emc_safetensors_find(c->logits, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->dims[0], c->n_positions[prompt]);
    out = malloc(tensor->dims[0] * tensor->dims[1] * sizeof *out);
    emc_to_f32(out, tensor->data, tensor->dtype, tensor->dims[0] * tensor->dims[1]);
    return out;
}

emc_model *case_model(const runtime_case *c, emc_dtype_choice dtype, int n_threads)
{
    const emc_model_options options = {.model_dir = c->model_dir,
                                       .adapter_dir = c->adapter_dir[0] ? c->adapter_dir : NULL,
                                       .dtype = dtype,
                                       .n_threads = n_threads};
    emc_model *model;

    EMT_OK(emc_model_open(&model, &options));
    return model;
}

float *engine_logits(emc_engine *engine, const int32_t *ids, int n, int vocab)
{
    float *out = malloc((size_t)n * vocab * sizeof *out);

    memset(out, 0xFF, (size_t)n * vocab * sizeof *out); /* NaN: a row nobody wrote cannot pass */
    EMT_OK(emc_engine_logits(engine, ids, n, out));
    return out;
}
