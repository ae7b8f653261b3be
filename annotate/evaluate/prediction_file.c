/* Predictions, one a line of JSON: kept as they come, read back by a later run. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/prediction.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "base/str_map.h"

#define MOST_BYTES ((size_t)1 << 34)

static emc_status add_string(emc_text *out, const char *key, const char *value)
{
    EMC_TRY(emc_text_addf(out, ", \"%s\": ", key));
    return value ? emc_text_add_json(out, value, strlen(value)) : emc_text_add_string(out, "null");
}

static emc_status add_number(emc_text *out, const char *key, double value)
{
    return isfinite(value) ? emc_text_addf(out, ", \"%s\": %.17g", key, value)
                           : emc_text_addf(out, ", \"%s\": null", key);
}

static const char *label_name(const emc_benchmark *benchmark, int label)
{
    return label >= 0 ? emc_labels_get(emc_benchmark_labels(benchmark), label)->label : NULL;
}

static const char *match_name(emc_match_kind kind)
{
    static const char *const names[] = {"none",       "exact",     "normal",   "synonym",
                                        "subcluster", "extracted", "ambiguous"};

    return (unsigned)kind < EMC_COUNT(names) ? names[kind] : "none";
}

emc_status emc_prediction_write(emc_text *out, const emc_benchmark *benchmark, int item,
                                const emc_prediction *p)
{
    const emc_bench_item *asked = emc_benchmark_item(benchmark, item);
    const int n = emc_labels_count(emc_benchmark_labels(benchmark));

    EMC_TRY(emc_text_add_string(out, "{\"id\": "));
    EMC_TRY(emc_text_add_json(out, asked->id, strlen(asked->id)));
    EMC_TRY(add_string(out, "gold", asked->gold));
    EMC_TRY(add_string(out, "outcome", emc_outcome_name(p->outcome)));
    EMC_TRY(add_string(out, "label", label_name(benchmark, p->label)));
    EMC_TRY(add_number(out, "score", p->score));
    if (p->raw) {
        EMC_TRY(add_string(out, "raw", p->raw));
        EMC_TRY(add_string(out, "stripped", p->stripped));
        EMC_TRY(add_string(out, "extracted", p->extracted));
        EMC_TRY(add_string(out, "step", p->step));
        EMC_TRY(add_string(out, "match", match_name(p->match)));
        EMC_TRY(emc_text_addf(out,
                              ", \"format_ok\": %s, \"truncated\": %s, \"several\": %s, "
                              "\"is_like\": %s",
                              p->format_ok ? "true" : "false", p->truncated ? "true" : "false",
                              p->several ? "true" : "false", p->is_like ? "true" : "false"));
    }
    if (p->probs) {
        EMC_TRY(emc_text_add_string(out, ", \"probs\": ["));
        for (int i = 0; i < n; i++)
            EMC_TRY(emc_text_addf(out, "%s%.17g", i > 0 ? "," : "", p->probs[i]));
        EMC_TRY(emc_text_add_string(out, "]"));
    }
    EMC_TRY(emc_text_addf(out,
                          ", \"n_prompt_tokens\": %d, \"n_answer_tokens\": %d, \"n_tries\": %d",
                          p->n_prompt_tokens, p->n_answer_tokens, p->n_tries));
    EMC_TRY(add_number(out, "seconds", p->seconds));
    if (p->error)
        EMC_TRY(add_string(out, "error", p->error));
    return emc_text_add_string(out, "}");
}

/* --- back --- */

typedef struct {
    emc_predictions *predictions;
    const emc_benchmark *benchmark;
    double *probs; /* [n_labels] */
    int n_labels;
    char where[600];
} reading;

static emc_status find_label(int *out, const reading *r, const char *name)
{
    *out = -1;
    if (!name)
        return EMC_OK;
    for (int i = 0; i < r->n_labels && *out < 0; i++)
        if (strcmp(label_name(r->benchmark, i), name) == 0)
            *out = i;
    if (*out < 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is no label of the benchmark", r->where, name);
    return EMC_OK;
}

static emc_status find_outcome(emc_outcome *out, const reading *r, const char *name)
{
    for (int i = 0; i < EMC_N_OUTCOMES; i++)
        if (strcmp(emc_outcome_name((emc_outcome)i), name) == 0) {
            *out = (emc_outcome)i;
            return EMC_OK;
        }
    return emc_fail(EMC_ERR_FORMAT, "%s: no outcome \"%s\"", r->where, name);
}

static emc_status read_probs(emc_prediction *p, reading *r, const cJSON *tree)
{
    const cJSON *list = emc_json_member(tree, "probs"), *number;
    int n = 0;

    if (!list)
        return EMC_OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != r->n_labels)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"probs\" must have %d numbers", r->where,
                        r->n_labels);
    cJSON_ArrayForEach(number, list)
    {
        if (!cJSON_IsNumber(number) || !(number->valuedouble >= 0 && number->valuedouble <= 1))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"probs\": number %d is no probability", r->where,
                            n + 1);
        r->probs[n++] = number->valuedouble;
    }
    p->probs = r->probs;
    return EMC_OK;
}

static const char *step_named(const char *name)
{
    for (int i = 0; i <= (int)EMC_RUNG_INSIDE && name; i++)
        if (strcmp(emc_rung_name((emc_rung)i), name) == 0)
            return emc_rung_name((emc_rung)i);
    return NULL;
}

static emc_status read_words(emc_prediction *p, const cJSON *tree, const char *where)
{
    const char *step = NULL, *match = NULL;

    EMC_TRY(emc_json_get_string(&p->raw, tree, "raw", false, where));
    EMC_TRY(emc_json_get_string(&p->stripped, tree, "stripped", false, where));
    EMC_TRY(emc_json_get_string(&p->extracted, tree, "extracted", false, where));
    EMC_TRY(emc_json_get_string(&step, tree, "step", false, where));
    EMC_TRY(emc_json_get_string(&match, tree, "match", false, where));
    p->step = step_named(step);
    for (int i = 0; match && i <= (int)EMC_MATCH_AMBIGUOUS; i++)
        if (strcmp(match_name((emc_match_kind)i), match) == 0)
            p->match = (emc_match_kind)i;
    EMC_TRY(emc_json_get_bool(&p->format_ok, tree, "format_ok", false, where));
    EMC_TRY(emc_json_get_bool(&p->truncated, tree, "truncated", false, where));
    EMC_TRY(emc_json_get_bool(&p->several, tree, "several", false, where));
    return emc_json_get_bool(&p->is_like, tree, "is_like", false, where);
}

static emc_status read_prediction(reading *r, const cJSON *tree, const emc_str_map *ids)
{
    emc_prediction p = {.label = -1, .score = NAN};
    const char *id = NULL, *outcome = NULL, *label = NULL;
    int64_t prompt = 0, answer = 0, tries = 0;

    EMC_TRY(emc_json_get_string(&id, tree, "id", true, r->where));
    EMC_TRY(emc_json_get_string(&outcome, tree, "outcome", true, r->where));
    EMC_TRY(emc_json_get_string(&label, tree, "label", false, r->where));
    const int item = emc_str_map_get(ids, id, strlen(id), -1);
    if (item < 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is no item of the benchmark", r->where, id);
    EMC_TRY(find_outcome(&p.outcome, r, outcome));
    EMC_TRY(find_label(&p.label, r, label));
    if ((p.label >= 0) != (p.outcome == EMC_OUTCOME_LABEL || p.outcome == EMC_OUTCOME_OFF_LIST))
        return emc_fail(EMC_ERR_FORMAT, "%s: outcome \"%s\" %s a label", r->where, outcome,
                        p.label >= 0 ? "with" : "without");
    EMC_TRY(emc_json_get_double(&p.score, tree, "score", false, r->where));
    EMC_TRY(emc_json_get_double(&p.seconds, tree, "seconds", false, r->where));
    EMC_TRY(emc_json_get_int(&prompt, tree, "n_prompt_tokens", 0, INT32_MAX, false, r->where));
    EMC_TRY(emc_json_get_int(&answer, tree, "n_answer_tokens", 0, INT32_MAX, false, r->where));
    EMC_TRY(emc_json_get_int(&tries, tree, "n_tries", 0, INT32_MAX, false, r->where));
    EMC_TRY(emc_json_get_string(&p.error, tree, "error", false, r->where));
    EMC_TRY(read_words(&p, tree, r->where));
    EMC_TRY(read_probs(&p, r, tree));
    p.n_prompt_tokens = (int)prompt;
    p.n_answer_tokens = (int)answer;
    p.n_tries = (int)tries;
    return emc_predictions_put(r->predictions, item, &p);
}

static emc_status map_ids(emc_str_map **out, const emc_benchmark *benchmark)
{
    const int n = emc_benchmark_n_items(benchmark);

    EMC_TRY(emc_str_map_open(out, (size_t)n));
    for (int i = 0; i < n; i++) {
        const char *id = emc_benchmark_item(benchmark, i)->id;
        EMC_TRY(emc_str_map_put(*out, id, strlen(id), i, NULL));
    }
    return EMC_OK;
}

static emc_status read_lines(reading *r, const char *path, const char *text, size_t n,
                             const emc_str_map *ids)
{
    long long number = 0;

    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t length = end ? (size_t)(end - text) - at : n - at;
        cJSON *tree = NULL;
        number++;
        snprintf(r->where, sizeof r->where, "%.500s: line %lld", path, number);
        if (length > 0) {
            emc_status status = emc_json_parse(&tree, text + at, length, r->where);
            /* The first line says what the others are answers of. */
            if (status == EMC_OK && !(number == 1 && emc_json_member(tree, "emcell_predictions")))
                status = read_prediction(r, tree, ids);
            cJSON_Delete(tree);
            EMC_TRY(status);
        }
        at += length + 1;
    }
    return EMC_OK;
}

emc_status emc_predictions_read(emc_predictions *predictions, const emc_benchmark *benchmark,
                                const char *path)
{
    reading r = {.predictions = predictions,
                 .benchmark = benchmark,
                 .n_labels = emc_labels_count(emc_benchmark_labels(benchmark))};
    emc_str_map *ids = NULL;
    char *text = NULL;
    size_t n = 0;
    emc_status status = emc_file_read(&text, &n, path, MOST_BYTES);

    if (status == EMC_OK)
        status = emc_alloc(&r.probs, (size_t)r.n_labels + 1, sizeof *r.probs, "probabilities");
    if (status == EMC_OK)
        status = map_ids(&ids, benchmark);
    if (status == EMC_OK)
        status = read_lines(&r, path, text, n, ids);
    emc_str_map_close(ids);
    free(r.probs);
    free(text);
    return status;
}
