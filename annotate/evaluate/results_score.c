/* From predictions to figures with intervals. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/results_parts.h"
#include "base/size.h"
#include "base/str_map.h"

const char *const figure_names[N_FIGURES] = {
    "accuracy",
    "accuracy_valid",
    "balanced_accuracy",
    "macro_f1",
    "weighted_f1",
    "mcc",
    "kappa",
    "sctab_accuracy",
    "graded",
    "lineage_accuracy",
    "hierarchical_f1",
    "ece_width",
    "ece_mass",
    "brier",
    "nll",
    "aurc",
    "coverage_80",
    "coverage_90",
    "coverage_95",
    "invalid",
    "off_list",
    "empty",
    "format_failure",
    "truncated",
    "several",
};

void scored_free(scored *s)
{
    free(s->gold);
    free(s->answer);
    free(s->worth);
    free(s->right);
    free(s->brier);
    free(s->nll);
    for (size_t i = 0; i < EMC_COUNT(s->rate); i++)
        free(s->rate[i]);
    free(s->order);
    free(s->confidence);
    free(s->sorted_right);
    free(s->scratch);
    free(s->counts);
    free(s->bins);
    *s = (scored){0};
}

static emc_status take_memory(scored *s)
{
    const size_t n = (size_t)s->n + 1, k = (size_t)s->n_labels;
    double **const doubles[] = {&s->right,        &s->brier,   &s->nll,     &s->confidence,
                                &s->sorted_right, &s->scratch, &s->rate[0], &s->rate[1],
                                &s->rate[2],      &s->rate[3], &s->rate[4], &s->rate[5]};

    for (size_t i = 0; i < EMC_COUNT(doubles); i++)
        EMC_TRY(emc_alloc(doubles[i], n, sizeof(double), "figures"));
    EMC_TRY(emc_alloc(&s->gold, n, sizeof *s->gold, "figures"));
    EMC_TRY(emc_alloc(&s->answer, n, sizeof *s->answer, "figures"));
    EMC_TRY(emc_alloc(&s->order, n, sizeof *s->order, "figures"));
    EMC_TRY(emc_alloc(&s->worth, n, sizeof *s->worth, "figures"));
    EMC_TRY(emc_alloc(&s->bins, (size_t)s->n_bins, sizeof *s->bins, "figures"));
    return emc_alloc(&s->counts, (k + 1) * (k + 2), sizeof *s->counts, "a confusion matrix");
}

typedef struct {
    double confidence;
    int item;
} sortable;

static int by_confidence(const void *a, const void *b)
{
    const sortable *x = a, *y = b;

    if (x->confidence != y->confidence)
        return x->confidence < y->confidence ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static emc_status sort_items(scored *s)
{
    sortable *items;

    EMC_TRY(emc_alloc(&items, (size_t)s->n + 1, sizeof *items, "figures"));
    for (int i = 0; i < s->n; i++)
        items[i] = (sortable){s->confidence[i], i};
    qsort(items, (size_t)s->n, sizeof *items, by_confidence);
    for (int i = 0; i < s->n; i++) {
        s->order[i] = items[i].item;
        s->confidence[i] = items[i].confidence;
        s->sorted_right[i] = s->right[items[i].item];
    }
    free(items);
    return EMC_OK;
}

emc_status scored_make(scored *s, const emc_evaluation *e, const emc_predictions *predictions,
                       bool has_probs, int held_out)
{
    const emc_labels *labels = emc_benchmark_labels(e->benchmark);

    *s = (scored){.n = e->n_items,
                  .n_labels = emc_labels_count(labels),
                  .n_bins = e->n_bins,
                  .has_probs = has_probs};
    EMC_TRY(take_memory(s));
    for (int i = 0; i < s->n; i++) {
        const emc_bench_item *item = emc_benchmark_item(e->benchmark, e->items[i]);
        const emc_prediction *p = emc_predictions_get(predictions, e->items[i]);
        if (!p)
            return emc_fail(EMC_ERR_CONFIG, "item \"%s\" has no prediction", item->id);
        s->gold[i] = item->label >= 0 && item->label != held_out ? item->label : s->n_labels;
        s->answer[i] = p->outcome == EMC_OUTCOME_LABEL     ? p->label
                       : p->outcome == EMC_OUTCOME_UNKNOWN ? s->n_labels
                                                           : s->n_labels + 1;
        s->right[i] = s->answer[i] == s->gold[i];
        emc_worth_of(&s->worth[i], labels, s->gold[i], s->answer[i]);
        s->brier[i] = s->nll[i] = NAN;
        if (p->probs && s->gold[i] < s->n_labels) {
            s->brier[i] = emc_brier(p->probs, s->n_labels, s->gold[i]);
            s->nll[i] = emc_nll(p->probs, s->gold[i]);
        }
        const bool has_score = isfinite(p->score) && p->score >= 0 && p->score <= 1;
        s->confidence[i] = has_score ? p->score : -1;
        s->has_scores |= has_score;
        s->rate[0][i] = p->outcome == EMC_OUTCOME_INVALID;
        s->rate[1][i] = p->outcome == EMC_OUTCOME_OFF_LIST;
        s->rate[2][i] = p->outcome == EMC_OUTCOME_EMPTY || p->outcome == EMC_OUTCOME_REFUSED;
        s->rate[3][i] = p->raw && !p->format_ok;
        s->rate[4][i] = p->truncated;
        s->rate[5][i] = p->several;
    }
    return sort_items(s);
}

static double weighted_mean(const double *values, const double *weights, int n)
{
    double sum = 0, total = 0;

    for (int i = 0; i < n; i++)
        if (weights[i] > 0 && !isnan(values[i])) {
            sum += weights[i] * values[i];
            total += weights[i];
        }
    return total > 0 ? sum / total : NAN;
}

static void count_confusion(scored *s, const double *weights)
{
    const size_t columns = (size_t)s->n_labels + 2;

    memset(s->counts, 0, ((size_t)s->n_labels + 1) * columns * sizeof *s->counts);
    for (int i = 0; i < s->n; i++)
        s->counts[(size_t)s->gold[i] * columns + (size_t)s->answer[i]] += weights[i];
}

static void hierarchy_figures(double *out, const scored *s, const double *weights)
{
    double total = 0, sctab = 0, graded = 0, lineage = 0, common = 0, right = 0, predicted = 0;

    for (int i = 0; i < s->n; i++) {
        const double w = weights[i];
        total += w;
        sctab += w * s->worth[i].sctab;
        graded += w * s->worth[i].graded;
        lineage += w * s->worth[i].lineage;
        common += w * s->worth[i].n_common;
        right += w * s->worth[i].n_right;
        predicted += w * s->worth[i].n_predicted;
    }
    out[METRIC_SCTAB] = sctab / total;
    out[METRIC_GRADED] = graded / total;
    out[METRIC_LINEAGE] = lineage / total;
    out[METRIC_HIERARCHICAL_F1] = emc_hierarchical_f1(common, right, predicted);
}

static void confidence_figures(double *out, scored *s, const double *weights)
{
    for (int i = 0; i < s->n; i++)
        s->scratch[i] = weights[s->order[i]];
    const emc_confidences c = {s->n, s->confidence, s->sorted_right, s->scratch};
    if (s->has_probs) {
        emc_bins_width(s->bins, s->n_bins, &c);
        out[METRIC_ECE_WIDTH] = emc_ece(s->bins, s->n_bins);
        emc_bins_mass(s->bins, s->n_bins, &c);
        out[METRIC_ECE_MASS] = emc_ece(s->bins, s->n_bins);
        out[METRIC_BRIER] = weighted_mean(s->brier, weights, s->n);
        out[METRIC_NLL] = weighted_mean(s->nll, weights, s->n);
    }
    out[METRIC_AURC] = emc_aurc(&c);
    out[METRIC_COVERAGE_80] = emc_accuracy_at(&c, 0.80);
    out[METRIC_COVERAGE_90] = emc_accuracy_at(&c, 0.90);
    out[METRIC_COVERAGE_95] = emc_accuracy_at(&c, 0.95);
}

void scored_figures(double out[N_FIGURES], scored *s, const double *weights)
{
    for (int i = 0; i < N_FIGURES; i++)
        out[i] = NAN;
    count_confusion(s, weights);
    const emc_confusion c = {s->n_labels, s->counts};
    out[METRIC_ACCURACY] = emc_accuracy(&c);
    out[METRIC_ACCURACY_VALID] = emc_accuracy_valid(&c);
    out[METRIC_BALANCED_ACCURACY] = emc_balanced_accuracy(&c);
    out[METRIC_MACRO_F1] = emc_macro_f1(&c);
    out[METRIC_WEIGHTED_F1] = emc_weighted_f1(&c);
    out[METRIC_MCC] = emc_mcc(&c);
    out[METRIC_KAPPA] = emc_kappa(&c);
    hierarchy_figures(out, s, weights);
    if (s->has_scores)
        confidence_figures(out, s, weights);
    for (int r = 0; r < 6; r++)
        out[N_METRICS + r] = weighted_mean(s->rate[r], weights, s->n);
}

/* --- embryos --- */

static emc_status embryo_key(emc_text *key, const emc_bench_item *item)
{
    emc_text_clear(key);
    if (item->embryo)
        return emc_text_addf(key, "%s\n%s", item->dataset ? item->dataset : "", item->embryo);
    return emc_text_addf(key, "\n\n%s", item->id);
}

emc_status results_clusters(int **out, int *n_clusters, const emc_evaluation *e)
{
    emc_str_map *known = NULL;
    emc_text key = {0};
    int *clusters = NULL, n = 0;
    emc_status status = emc_alloc(&clusters, (size_t)e->n_items + 1, sizeof *clusters, "embryos");

    if (status == EMC_OK)
        status = emc_str_map_open(&known, 256);
    for (int i = 0; i < e->n_items && status == EMC_OK; i++) {
        status = embryo_key(&key, emc_benchmark_item(e->benchmark, e->items[i]));
        if (status != EMC_OK)
            break;
        clusters[i] = emc_str_map_get(known, key.bytes, key.n, -1);
        if (clusters[i] < 0) {
            clusters[i] = n++;
            status = emc_str_map_put(known, key.bytes, key.n, clusters[i], NULL);
        }
    }
    emc_text_free(&key);
    emc_str_map_close(known);
    if (status != EMC_OK) {
        free(clusters);
        clusters = NULL;
    }
    *out = clusters;
    *n_clusters = n;
    return status;
}

emc_status results_count(int *n_embryos, int *n_datasets, const emc_evaluation *e)
{
    emc_str_map *embryos = NULL, *datasets = NULL;
    emc_text key = {0};
    emc_status status = emc_str_map_open(&embryos, 256);

    if (status == EMC_OK)
        status = emc_str_map_open(&datasets, 16);
    for (int i = 0; i < e->n_items && status == EMC_OK; i++) {
        const emc_bench_item *item = emc_benchmark_item(e->benchmark, e->items[i]);
        if (item->dataset)
            status = emc_str_map_put(datasets, item->dataset, strlen(item->dataset), 0, NULL);
        if (status == EMC_OK && item->embryo) {
            status = embryo_key(&key, item);
            if (status == EMC_OK)
                status = emc_str_map_put(embryos, key.bytes, key.n, 0, NULL);
        }
    }
    *n_embryos = status == EMC_OK ? (int)emc_str_map_count(embryos) : 0;
    *n_datasets = status == EMC_OK ? (int)emc_str_map_count(datasets) : 0;
    emc_text_free(&key);
    emc_str_map_close(embryos);
    emc_str_map_close(datasets);
    return status;
}

/* --- intervals --- */

static emc_status resample(double *values, system_result *results, int n_systems,
                           const emc_evaluation *e, const int *clusters, int n_clusters)
{
    const size_t n = (size_t)e->n_items + 1;
    emc_random random = {e->seed};
    double *weights = NULL, figures[N_FIGURES];
    int *drawn = NULL;
    emc_status status = emc_alloc(&weights, n, sizeof *weights, "resamples");

    if (status == EMC_OK)
        status = emc_alloc(&drawn, n, sizeof *drawn, "resamples");
    for (int b = 0; b < e->n_bootstrap && status == EMC_OK; b++) {
        emc_bootstrap_draw(weights, e->n_items, clusters, n_clusters, drawn, &random);
        for (int s = 0; s < n_systems; s++) {
            scored_figures(figures, &results[s].scored, weights);
            results[s].accuracies[b] = figures[METRIC_ACCURACY];
            for (int f = 0; f < N_FIGURES; f++)
                values[((size_t)s * N_FIGURES + (size_t)f) * (size_t)e->n_bootstrap + (size_t)b] =
                    figures[f];
        }
    }
    free(drawn);
    free(weights);
    return status;
}

emc_status bootstrap_systems(system_result *results, int n, const emc_evaluation *e,
                             const double *ones)
{
    const size_t draws = (size_t)e->n_bootstrap;
    double *values = NULL, figures[N_FIGURES];
    int *clusters = NULL, n_clusters = 0;
    emc_status status =
        emc_alloc(&values, (size_t)n * N_FIGURES * draws + 1, sizeof *values, "resamples");

    for (int s = 0; s < n && status == EMC_OK; s++)
        status = emc_alloc(&results[s].accuracies, draws + 1, sizeof *results[s].accuracies,
                           "resamples");
    if (status == EMC_OK)
        status = results_clusters(&clusters, &n_clusters, e);
    if (status == EMC_OK)
        status = resample(values, results, n, e, clusters, n_clusters);
    for (int s = 0; s < n && status == EMC_OK; s++) {
        scored_figures(figures, &results[s].scored, ones); /* last: counts and bins stay */
        for (int f = 0; f < N_FIGURES; f++) {
            double *of = values + ((size_t)s * N_FIGURES + (size_t)f) * draws;
            results[s].figures[f].value = figures[f];
            results[s].figures[f].low = emc_quantile(of, e->n_bootstrap, 0.025);
            results[s].figures[f].high = emc_quantile(of, e->n_bootstrap, 0.975);
            if (n_clusters < 2) /* one embryo tells nothing of others: no interval */
                results[s].figures[f].low = results[s].figures[f].high = NAN;
        }
        for (size_t b = 0; b < draws && n_clusters < 2; b++)
            results[s].accuracies[b] = NAN;
    }
    free(clusters);
    free(values);
    return status;
}
