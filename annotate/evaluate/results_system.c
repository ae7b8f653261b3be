/* One system in evaluation.json. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/results_parts.h"
#include "base/hash.h"
#include "base/size.h"
#include "base/str_map.h"

#define FEW_CELLS     20
#define MOST_MISTAKES 10
#define CELLS_OF_EACH 3
#define GENES_SHOWN   20
#define GENES_LOOKED  50
#define RISK_POINTS   100

static emc_status add_interval(emc_text *out, const char *key, const interval *i)
{
    if (!isfinite(i->value))
        return emc_text_addf(out, "\"%s\": null", key);
    EMC_TRY(emc_text_addf(out, "\"%s\": {", key));
    EMC_TRY(results_add_number(out, "value", i->value));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "low", i->low));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "high", i->high));
    return emc_text_add_string(out, "}");
}

static emc_status add_figures(emc_text *out, const char *key, const system_result *r, int first,
                              int end)
{
    EMC_TRY(emc_text_addf(out, "   \"%s\": {", key));
    for (int f = first; f < end; f++) {
        EMC_TRY(emc_text_add_string(out, f > first ? ", " : ""));
        EMC_TRY(add_interval(out, figure_names[f], &r->figures[f]));
    }
    return emc_text_add_string(out, "},\n");
}

/* Over the settings and what was answered. */
static emc_status hash_of(emc_hash *out, const emc_evaluation *e, const system_result *r)
{
    emc_hasher *hasher;
    emc_text line = {0};
    emc_status status = EMC_OK;

    EMC_TRY(emc_hasher_open(&hasher));
    emc_hasher_add(hasher, r->system->settings, strlen(r->system->settings));
    for (int i = 0; i < e->n_items && status == EMC_OK; i++) {
        emc_prediction p = *emc_predictions_get(r->predictions, e->items[i]);
        p.seconds = 0; /* the same answers have the same hash */
        emc_text_clear(&line);
        status = emc_prediction_write(&line, e->benchmark, e->items[i], &p);
        if (status == EMC_OK)
            emc_hasher_add(hasher, line.bytes, line.n);
    }
    *out = emc_hasher_end(hasher);
    emc_hasher_close(hasher);
    emc_text_free(&line);
    return status;
}

static emc_status add_outcomes(emc_text *out, const emc_evaluation *e, const system_result *r)
{
    int counts[EMC_N_OUTCOMES] = {0};

    for (int i = 0; i < e->n_items; i++)
        counts[emc_predictions_get(r->predictions, e->items[i])->outcome]++;
    EMC_TRY(emc_text_add_string(out, "   \"outcomes\": {"));
    for (int i = 0; i < EMC_N_OUTCOMES; i++)
        EMC_TRY(emc_text_addf(out, "%s\"%s\": %d", i > 0 ? ", " : "",
                              emc_outcome_name((emc_outcome)i), counts[i]));
    return emc_text_add_string(out, "},\n");
}

static const char *class_name(const emc_evaluation *e, int class_number)
{
    const emc_labels *labels = emc_benchmark_labels(e->benchmark);
    const int n = emc_labels_count(labels);

    return class_number < n    ? emc_labels_get(labels, class_number)->label
           : class_number == n ? "unknown"
                               : "no label";
}

static emc_status add_classes(emc_text *out, const emc_evaluation *e, const system_result *r)
{
    const emc_confusion c = {r->scored.n_labels, r->scored.counts};

    EMC_TRY(emc_text_add_string(out, "   \"classes\": [\n"));
    for (int i = 0; i < c.n_labels; i++) {
        const emc_class_score s = emc_class_scores(&c, i);
        EMC_TRY(emc_text_add_string(out, "    {"));
        EMC_TRY(results_add_string(out, "label", class_name(e, i)));
        EMC_TRY(emc_text_addf(out, ", \"n\": %.0f, \"n_predicted\": %.0f, ", s.n, s.n_predicted));
        EMC_TRY(results_add_number(out, "precision", s.precision));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_number(out, "recall", s.recall));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_number(out, "f1", s.f1));
        EMC_TRY(emc_text_addf(out, ", \"few\": %s}%s\n", s.n < FEW_CELLS ? "true" : "false",
                              i + 1 < c.n_labels ? "," : ""));
    }
    EMC_TRY(emc_text_add_string(out, "   ],\n   \"confusion\": ["));
    const double unknown = emc_class_scores(&c, c.n_labels).n;
    for (int row = 0; row < c.n_labels + (unknown > 0); row++) {
        EMC_TRY(emc_text_add_string(out, row > 0 ? ", [" : "["));
        for (int i = 0; i < c.n_labels + 2; i++)
            EMC_TRY(emc_text_addf(out, "%s%.0f", i > 0 ? "," : "",
                                  c.counts[(size_t)row * (size_t)(c.n_labels + 2) + (size_t)i]));
        EMC_TRY(emc_text_add_string(out, "]"));
    }
    return emc_text_add_string(out, "],\n");
}

static emc_status add_bins(emc_text *out, const char *key, const emc_bin *bins, int n)
{
    EMC_TRY(emc_text_addf(out, "\"%s\": [", key));
    for (int i = 0; i < n; i++) {
        EMC_TRY(emc_text_add_string(out, i > 0 ? ", {" : "{"));
        EMC_TRY(results_add_number(out, "low", bins[i].low));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_number(out, "high", bins[i].high));
        EMC_TRY(emc_text_addf(out, ", \"n\": %.0f, ", bins[i].n));
        EMC_TRY(results_add_number(out, "confidence", bins[i].confidence));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_number(out, "accuracy", bins[i].accuracy));
        EMC_TRY(emc_text_add_string(out, "}"));
    }
    return emc_text_add_string(out, "]");
}

static emc_status add_confidence(emc_text *out, const system_result *r)
{
    const scored *s = &r->scored;
    emc_bin *bins = s->bins;

    for (int i = 0; i < s->n; i++)
        s->scratch[i] = 1;
    const emc_confidences c = {s->n, s->confidence, s->sorted_right, s->scratch};
    if (s->has_probs && s->has_scores) {
        EMC_TRY(emc_text_add_string(out, "   \"reliability\": {"));
        emc_bins_width(bins, s->n_bins, &c);
        EMC_TRY(add_bins(out, "width", bins, s->n_bins));
        EMC_TRY(emc_text_add_string(out, ", "));
        emc_bins_mass(bins, s->n_bins, &c);
        EMC_TRY(add_bins(out, "mass", bins, s->n_bins));
        EMC_TRY(emc_text_add_string(out, "},\n"));
    } else {
        EMC_TRY(emc_text_add_string(out, "   \"reliability\": null,\n"));
    }
    if (!s->has_scores)
        return emc_text_add_string(out, "   \"risk\": null,\n");
    EMC_TRY(emc_text_add_string(out, "   \"risk\": ["));
    for (int i = 1; i <= RISK_POINTS; i++) {
        const double coverage = (double)i / RISK_POINTS;
        EMC_TRY(emc_text_add_string(out, i > 1 ? ", {" : "{"));
        EMC_TRY(results_add_number(out, "coverage", coverage));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_number(out, "risk", 1 - emc_accuracy_at(&c, coverage)));
        EMC_TRY(emc_text_add_string(out, "}"));
    }
    return emc_text_add_string(out, "],\n");
}

/* --- embryos and datasets --- */

static const char *group_of(const emc_bench_item *item, bool by_dataset)
{
    return by_dataset ? item->dataset : item->embryo;
}

/* The items of the group that begins at `first` weigh 1, all others 0; false when an earlier item
 * has the same group. */
static bool weigh_group(double *weights, const emc_evaluation *e, int first, bool by_dataset)
{
    const emc_bench_item *of = emc_benchmark_item(e->benchmark, e->items[first]);

    for (int i = 0; i < e->n_items; i++) {
        const emc_bench_item *item = emc_benchmark_item(e->benchmark, e->items[i]);
        const char *group = group_of(item, by_dataset);
        const char *a = by_dataset || !item->dataset ? "" : item->dataset;
        const char *b = by_dataset || !of->dataset ? "" : of->dataset;
        const bool same =
            group && strcmp(group, group_of(of, by_dataset)) == 0 && strcmp(a, b) == 0;
        if (same && i < first)
            return false;
        weights[i] = same;
    }
    return true;
}

static emc_status add_groups(emc_text *out, const emc_evaluation *e, system_result *r,
                             const char *key, bool by_dataset)
{
    double *weights, figures[N_FIGURES];
    bool is_first = true;
    emc_status status;

    EMC_TRY(emc_alloc(&weights, (size_t)e->n_items + 1, sizeof *weights, "groups"));
    status = emc_text_addf(out, "   \"%s\": [", key);
    for (int i = 0; i < e->n_items && status == EMC_OK; i++) {
        const emc_bench_item *item = emc_benchmark_item(e->benchmark, e->items[i]);
        const char *name = group_of(item, by_dataset);
        double n = 0, n_right = 0, low, high;
        if (!name || !weigh_group(weights, e, i, by_dataset))
            continue;
        for (int k = 0; k < e->n_items; k++) {
            n += weights[k];
            n_right += weights[k] * r->scored.right[k];
        }
        scored_figures(figures, &r->scored, weights);
        emc_wilson(n_right, n, &low, &high);
        status = emc_text_add_string(out, is_first ? "{" : ", {");
        is_first = false;
        if (status == EMC_OK)
            status = results_add_string(out, "name", name);
        if (status == EMC_OK)
            status = emc_text_addf(out, ", \"n\": %.0f, \"n_right\": %.0f, ", n, n_right);
        const char *const names[] = {"accuracy", "low", "high", "macro_f1"};
        const double values[] = {n_right / n, low, high, figures[METRIC_MACRO_F1]};
        for (size_t k = 0; k < EMC_COUNT(names) && status == EMC_OK; k++) {
            status = emc_text_add_string(out, k > 0 ? ", " : "");
            if (status == EMC_OK)
                status = results_add_number(out, names[k], values[k]);
        }
        if (status == EMC_OK)
            status = emc_text_add_string(out, "}");
    }
    free(weights);
    EMC_TRY(status);
    return emc_text_add_string(out, "],\n");
}

/* --- mistakes --- */

typedef struct {
    int gold, answer, n;
} mistake;

static int by_count(const void *a, const void *b)
{
    const mistake *x = a, *y = b;

    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    if (x->gold != y->gold)
        return x->gold < y->gold ? -1 : 1;
    return (x->answer > y->answer) - (x->answer < y->answer);
}

static emc_status add_markers(emc_text *out, const char *key, const emc_evaluation *e,
                              const emc_bench_item *item, int label)
{
    const int n_labels = emc_labels_count(emc_benchmark_labels(e->benchmark));
    int n = 0;
    const char *const *markers =
        label < n_labels ? emc_benchmark_markers(e->benchmark, label, &n) : NULL;
    bool is_first = true;

    EMC_TRY(emc_text_addf(out, "\"%s\": [", key));
    for (int g = 0; g < item->n_genes && g < GENES_LOOKED; g++)
        for (int m = 0; m < n; m++) {
            if (strcmp(markers[m], item->genes[g]) != 0)
                continue;
            EMC_TRY(emc_text_add_string(out, is_first ? "" : ", "));
            EMC_TRY(emc_text_add_json(out, item->genes[g], strlen(item->genes[g])));
            is_first = false;
        }
    return emc_text_add_string(out, "]");
}

static emc_status add_cell(emc_text *out, const emc_evaluation *e, const system_result *r,
                           const mistake *m, int index)
{
    const emc_bench_item *item = emc_benchmark_item(e->benchmark, e->items[index]);
    const emc_prediction *p = emc_predictions_get(r->predictions, e->items[index]);

    EMC_TRY(emc_text_add_string(out, "{"));
    EMC_TRY(results_add_string(out, "id", item->id));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "embryo", item->embryo));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "score", p->score));
    EMC_TRY(emc_text_add_string(out, ", \"genes\": ["));
    for (int g = 0; g < item->n_genes && g < GENES_SHOWN; g++) {
        EMC_TRY(emc_text_add_string(out, g > 0 ? ", " : ""));
        EMC_TRY(emc_text_add_json(out, item->genes[g], strlen(item->genes[g])));
    }
    EMC_TRY(emc_text_add_string(out, "], "));
    EMC_TRY(add_markers(out, "speak_for", e, item, m->answer));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(add_markers(out, "speak_against", e, item, m->gold));
    return emc_text_add_string(out, "}");
}

/* The surest of them first: scored_make has sorted the items by confidence. */
static emc_status add_mistake(emc_text *out, const emc_evaluation *e, const system_result *r,
                              const mistake *m)
{
    const scored *s = &r->scored;
    int n = 0;

    EMC_TRY(emc_text_add_string(out, "{"));
    EMC_TRY(results_add_string(out, "gold", class_name(e, m->gold)));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "predicted", class_name(e, m->answer)));
    EMC_TRY(emc_text_addf(out, ", \"n\": %d, \"cells\": [", m->n));
    for (int i = s->n - 1; i >= 0 && n < CELLS_OF_EACH; i--) {
        const int item = s->order[i];
        if (s->gold[item] != m->gold || s->answer[item] != m->answer)
            continue;
        EMC_TRY(emc_text_add_string(out, n++ > 0 ? ", " : ""));
        EMC_TRY(add_cell(out, e, r, m, item));
    }
    return emc_text_add_string(out, "]}");
}

static emc_status add_mistakes(emc_text *out, const emc_evaluation *e, const system_result *r)
{
    const scored *s = &r->scored;
    const int n_rows = s->n_labels + 1, n_columns = s->n_labels + 2;
    mistake *all;
    int n = 0;
    emc_status status;

    EMC_TRY(emc_alloc(&all, (size_t)n_rows * (size_t)n_columns, sizeof *all, "mistakes"));
    for (int row = 0; row < n_rows; row++)
        for (int c = 0; c < n_columns; c++) {
            const double count = s->counts[(size_t)row * (size_t)n_columns + (size_t)c];
            if (row != c && count > 0)
                all[n++] = (mistake){row, c, (int)count};
        }
    qsort(all, (size_t)n, sizeof *all, by_count);
    status = emc_text_add_string(out, "   \"mistakes\": [");
    for (int i = 0; i < n && i < MOST_MISTAKES && status == EMC_OK; i++) {
        status = emc_text_add_string(out, i > 0 ? ",\n    " : "\n    ");
        if (status == EMC_OK)
            status = add_mistake(out, e, r, &all[i]);
    }
    free(all);
    EMC_TRY(status);
    return emc_text_add_string(out, "],\n");
}

static emc_status add_usage(emc_text *out, const emc_evaluation *e, const system_result *r)
{
    static const emc_system_usage none = {.cost = NAN};
    const emc_system_usage *usage = r->system->usage ? r->system->usage : &none;
    long long prompt = 0, answer = 0, tries = 0;

    for (int i = 0; i < e->n_items; i++) {
        const emc_prediction *p = emc_predictions_get(r->predictions, e->items[i]);
        prompt += p->n_prompt_tokens;
        answer += p->n_answer_tokens;
        tries += p->n_tries;
    }
    EMC_TRY(emc_text_add_string(out, "   \"usage\": {"));
    EMC_TRY(results_add_number(out, "seconds", r->seconds));
    EMC_TRY(emc_text_addf(out,
                          ", \"n_prompt_tokens\": %lld, \"n_answer_tokens\": %lld, \"n_tries\": "
                          "%lld, \"n_cached\": %lld, ",
                          prompt, answer, tries, (long long)usage->n_cached));
    EMC_TRY(results_add_number(out, "cost", usage->cost));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "currency", usage->currency));
    return emc_text_add_string(out, "}\n");
}

emc_status results_add_system(emc_text *out, const emc_evaluation *e, const system_result *result)
{
    system_result copy = *result, *r = &copy; /* groups use its scratch memory */
    char hash_text[EMC_HASH_TEXT];
    int n_embryos, n_datasets;
    emc_hash hash;

    EMC_TRY(hash_of(&hash, e, r));
    emc_hash_text(hash_text, &hash);
    EMC_TRY(results_count(&n_embryos, &n_datasets, e));
    EMC_TRY(emc_text_add_string(out, "  {"));
    EMC_TRY(results_add_string(out, "name", r->system->name));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "kind", r->system->kind));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "description", r->system->description));
    EMC_TRY(emc_text_addf(out, ",\n   \"settings\": %s, \"hash\": \"%s\",\n", r->system->settings,
                          hash_text));
    EMC_TRY(emc_text_addf(out, "   \"n\": %d, \"n_embryos\": %d, \"n_datasets\": %d,\n", e->n_items,
                          n_embryos, n_datasets));
    EMC_TRY(add_outcomes(out, e, r));
    EMC_TRY(add_figures(out, "rates", r, N_METRICS, N_FIGURES));
    EMC_TRY(add_figures(out, "metrics", r, 0, N_METRICS));
    EMC_TRY(add_classes(out, e, r));
    EMC_TRY(add_confidence(out, r));
    EMC_TRY(add_mistakes(out, e, r));
    EMC_TRY(add_groups(out, e, r, "embryos", false));
    EMC_TRY(add_groups(out, e, r, "datasets", true));
    EMC_TRY(add_usage(out, e, r));
    return emc_text_add_string(out, "  }");
}
