#include "emt.h"

#include "runtime_case.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "runtime/engine.h"

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

static const char *device_name(void)
{
    const char *only = getenv("EMT_ONLY_DEVICE");

    return only ? only : "cpu";
}

bool case_on_cpu(void)
{
    return strcmp(device_name(), "cpu") == 0;
}

bool case_full(void)
{
    return getenv("EMT_FULL") != NULL;
}

emc_engine *case_engine(emc_model *model, const emc_engine_options *options)
{
    emc_engine_options with = options ? *options : (emc_engine_options){0};
    emc_engine *engine;

    if (!case_on_cpu() && with.max_num_batched_tokens == 0)
        with.max_num_batched_tokens = 128;
    EMT_OK(emc_engine_open(&engine, model, &with));
    return engine;
}

emc_model *case_model(const runtime_case *c, emc_dtype_choice dtype, int n_threads)
{
    const emc_model_options options = {.model_dir = c->model_dir,
                                       .adapter_dir = c->adapter_dir[0] ? c->adapter_dir : NULL,
                                       .device = device_name(),
                                       .dtype = case_on_cpu() ? dtype : EMC_DTYPE_BFLOAT16,
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

void keep_answer(kept_answer *kept, const emc_answer *answer, int n_choices)
{
    assert_null(kept->ids); /* answered once */
    kept->ids = malloc(((size_t)answer->n_ids + 1) * sizeof *kept->ids);
    if (answer->n_ids > 0)
        memcpy(kept->ids, answer->ids, (size_t)answer->n_ids * sizeof *kept->ids);
    kept->n_ids = answer->n_ids;
    kept->ended = answer->ended;
    kept->found = answer->found;
    if (answer->ask != EMC_ASK_GENERATE) {
        kept->log_probs = malloc((size_t)n_choices * sizeof(double));
        kept->scores = malloc((size_t)n_choices * sizeof(double));
        memcpy(kept->log_probs, answer->log_probs, (size_t)n_choices * sizeof(double));
        memcpy(kept->scores, answer->scores, (size_t)n_choices * sizeof(double));
    }
}

static void poll_answer(emc_engine *engine, int n, int n_choices, kept_answer *out)
{
    emc_answer answer;
    bool got;

    EMT_OK(emc_engine_poll(engine, &answer, &got));
    assert_true(got);
    assert_in_range(answer.ticket, 0, n - 1);
    keep_answer(&out[answer.ticket], &answer, n_choices);
}

void run_requests(emc_engine *engine, const emc_request *requests, const int *order, int n,
                  int n_choices, kept_answer *out)
{
    emc_answer answer;
    int n_answered = 0;
    bool got;

    memset(out, 0, (size_t)n * sizeof *out);
    for (int i = 0; i < n; i++) {
        const emc_request *request = &requests[order ? order[i] : i];

        for (; emc_engine_is_full(engine); n_answered++)
            poll_answer(engine, n, n_choices, out);
        EMT_OK(emc_engine_submit(engine, request));
    }
    for (; n_answered < n; n_answered++)
        poll_answer(engine, n, n_choices, out);
    EMT_OK(emc_engine_poll(engine, &answer, &got));
    assert_false(got);
}

void free_answers(kept_answer *answers, int n)
{
    for (int i = 0; i < n; i++) {
        free(answers[i].log_probs);
        free(answers[i].scores);
        free(answers[i].ids);
    }
}

static bool same_found(const emc_found *a, const emc_found *b)
{
    return a->choice == b->choice && a->complete == b->complete && a->share == b->share &&
           a->share_low == b->share_low && a->share_high == b->share_high &&
           a->outside_low == b->outside_low && a->outside_high == b->outside_high &&
           a->n_rows == b->n_rows;
}

void assert_same_answers(const kept_answer *a, const kept_answer *b, int n, int n_choices,
                         const char *what)
{
    for (int i = 0; i < n; i++) {
        if (a[i].n_ids != b[i].n_ids || a[i].ended != b[i].ended ||
            memcmp(a[i].ids, b[i].ids, (size_t)a[i].n_ids * sizeof *a[i].ids) != 0)
            fail_msg("%s: request %d generated something else", what, i);
        assert_int_equal(!a[i].log_probs, !b[i].log_probs);
        if (a[i].log_probs &&
            memcmp(a[i].log_probs, b[i].log_probs, (size_t)n_choices * sizeof(double)) != 0)
            fail_msg("%s: request %d has other log-probabilities", what, i);
        if (a[i].scores &&
            (memcmp(a[i].scores, b[i].scores, (size_t)n_choices * sizeof(double)) != 0 ||
             !same_found(&a[i].found, &b[i].found)))
            fail_msg("%s: request %d found something else", what, i);
    }
}

void assert_idle(const emc_engine *engine)
{
    assert_int_equal(engine->n_order + engine->n_finished, 0);
    assert_null(engine->reserve_holder);
    assert_int_equal(engine->n_reserve_held, 0);
    assert_int_equal(emc_pages_free(engine->cache->pages) + engine->n_prefix_pages +
                         engine->n_reserve,
                     emc_pages_count(engine->cache->pages));
}

static bool has_choice(const random_choices *set, const int32_t *ids, int n)
{
    for (int c = 0; c < set->n; c++)
        if (set->begin[c + 1] - set->begin[c] == n &&
            memcmp(set->ids + set->begin[c], ids, (size_t)n * sizeof *ids) == 0)
            return true;
    return false;
}

void draw_choices(random_choices *out, int vocab, int n, uint64_t *random)
{
    memset(out, 0, sizeof *out);
    while (out->n < n) {
        int32_t *ids = out->ids + out->begin[out->n];
        const int length = 1 + (int)(emt_random(random) % MOST_TOKENS);

        /* Few first tokens, so that choices share beginnings. */
        for (int i = 0; i < length; i++)
            ids[i] = (int32_t)(emt_random(random) % (uint64_t)(i < 2 ? 5 : vocab));
        if (has_choice(out, ids, length))
            continue;
        out->begin[out->n + 1] = out->begin[out->n] + length;
        out->n++;
    }
}
