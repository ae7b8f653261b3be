/*
 * What does it take to beat nothing? Systems without a language model, which learn from the train
 * items of a benchmark. None looks at the label of an item that is asked.
 *
 * A cell is a vector over genes. By rank: the r-th of its L listed genes has 1 - r / L (r from 0),
 * as long as the prompt's list. By value: log(1 + 10^4 value / total) of every gene that the item
 * has; values that are logarithms already as they are; ranks where there are no values.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/logistic.h"
#include "annotate/evaluate/system.h"
#include "base/size.h"
#include "base/str_map.h"

#define K_NEIGHBOURS 15
#define SHARPNESS    20.0 /* of softmax over cosines and marker scores, which lie within 0 to 1 */
#define LOGISTIC_C   1.0
#define TOLERANCE    1e-3
#define MOST_STEPS   1000
#define LISTED       100 /* genes by rank where nobody says how many */

typedef struct work work;
typedef struct {
    const char *name, *description, *settings;
    bool learns;  /* needs train items */
    bool by_rank; /* vectors of ranks */
    bool by_value;
    emc_status (*prepare)(work *w);
    /* Scores [n_labels], at least 0; what is not offered is left out afterwards. */
    emc_status (*score)(work *w, const emc_question *q, double *scores);
} baseline;

typedef struct {
    emc_system base; /* first */
    const baseline *kind;
} baseline_system;

/* Sparse vectors, one behind the other. */
typedef struct {
    int64_t *begin; /* [n + 1] */
    int32_t *feature;
    double *value;
    size_t n, room;
    size_t n_entries, entries_room;
} vectors;

struct work {
    const baseline *kind;
    const emc_pass *pass;
    int n_labels;
    emc_str_map *genes; /* of the train items */
    vectors train, asked;
    double *sums;    /* [n_labels][n_genes] or [n_labels]; centroids, counts */
    double *similar; /* [n_train] */
    int *nearest;    /* [K_NEIGHBOURS] */
    int *classes;    /* [n_train] */
    emc_logistic model;
    int *present, n_present; /* labels that the train items have, rising */
    double *present_probs;
};

/* --- vectors --- */

static void free_vectors(vectors *v)
{
    free(v->begin);
    free(v->feature);
    free(v->value);
    *v = (vectors){0};
}

static void clear_vectors(vectors *v)
{
    v->n = 0;
    v->n_entries = 0;
}

static int listed(const work *w, const emc_question *q)
{
    return q->n_listed > 0 ? q->n_listed : w->pass->n_listed > 0 ? w->pass->n_listed : LISTED;
}

static double value_of(const emc_bench_item *item, const emc_question *q, int gene, double total)
{
    if (!q->values)
        return 1 - (double)gene / q->n_genes;
    if (item->is_log)
        return q->values[gene];
    return q->values[gene] > 0 && total > 0 ? log1p(1e4 * q->values[gene] / total) : 0;
}

static double total_of(const emc_bench_item *item, const emc_question *q)
{
    double sum = 0;

    if (item->total > 0)
        return item->total;
    for (int i = 0; q->values && i < q->n_genes; i++)
        sum += q->values[i] > 0 ? q->values[i] : 0;
    return sum;
}

/* Appends a question's vector. Genes that no train item has are left out, or with `learn` added.
 * Ranks are brought to length 1. */
static emc_status add_vector(work *w, vectors *v, const emc_question *q, bool learn)
{
    const emc_bench_item *item = emc_benchmark_item(w->pass->benchmark, q->item);
    const int most = listed(w, q);
    const int n = w->kind->by_rank && q->n_genes > most ? most : q->n_genes;
    const double total = total_of(item, q);
    const size_t first = v->n_entries;
    double square = 0;

    EMC_TRY(emc_reserve(&v->begin, &v->room, v->n + 2, sizeof *v->begin, "vectors"));
    const size_t need = v->n_entries + (size_t)n;
    size_t room = v->entries_room;
    EMC_TRY(emc_reserve(&v->feature, &room, need, sizeof *v->feature, "vectors"));
    EMC_TRY(emc_reserve(&v->value, &v->entries_room, need, sizeof *v->value, "vectors"));
    v->begin[v->n++] = (int64_t)first;
    for (int i = 0; i < n; i++) {
        int32_t gene = emc_str_map_get(w->genes, q->genes[i], strlen(q->genes[i]), -1);
        if (gene < 0 && learn) {
            gene = (int32_t)emc_str_map_count(w->genes);
            EMC_TRY(emc_str_map_put(w->genes, q->genes[i], strlen(q->genes[i]), gene, NULL));
        }
        const double value = w->kind->by_rank ? 1 - (double)i / n : value_of(item, q, i, total);
        square += value * value;
        if (gene < 0 || value == 0)
            continue;
        v->feature[v->n_entries] = gene;
        v->value[v->n_entries++] = value;
    }
    v->begin[v->n] = (int64_t)v->n_entries;
    for (size_t e = first; w->kind->by_rank && square > 0 && e < v->n_entries; e++)
        v->value[e] /= sqrt(square);
    return EMC_OK;
}

static emc_question question_of(const work *w, int item)
{
    const emc_bench_item *i = emc_benchmark_item(w->pass->benchmark, item);

    return (emc_question){
        .item = item, .genes = i->genes, .values = i->values, .n_genes = i->n_genes};
}

static emc_status learn_vectors(work *w)
{
    EMC_TRY(emc_str_map_open(&w->genes, 4096));
    for (int i = 0; i < w->pass->n_train; i++) {
        const emc_question q = question_of(w, w->pass->train[i]);
        EMC_TRY(add_vector(w, &w->train, &q, true));
    }
    EMC_TRY(emc_alloc(&w->classes, (size_t)w->pass->n_train + 1, sizeof *w->classes, "classes"));
    for (int i = 0; i < w->pass->n_train; i++)
        w->classes[i] = emc_benchmark_item(w->pass->benchmark, w->pass->train[i])->label;
    return EMC_OK;
}

/* --- majority, stage --- */

static emc_status count_labels(work *w)
{
    EMC_TRY(emc_alloc(&w->sums, (size_t)w->n_labels, sizeof *w->sums, "labels"));
    for (int i = 0; i < w->pass->n_train; i++)
        w->sums[emc_benchmark_item(w->pass->benchmark, w->pass->train[i])->label]++;
    return EMC_OK;
}

static emc_status score_majority(work *w, const emc_question *q, double *scores)
{
    (void)q;
    memcpy(scores, w->sums, (size_t)w->n_labels * sizeof *scores);
    return EMC_OK;
}

/* The train items of the same stage; all of them where there is none. */
static emc_status score_stage(work *w, const emc_question *q, double *scores)
{
    const char *stage = emc_benchmark_item(w->pass->benchmark, q->item)->stage;
    bool found = false;

    memset(scores, 0, (size_t)w->n_labels * sizeof *scores);
    for (int i = 0; i < w->pass->n_train && stage; i++) {
        const emc_bench_item *item = emc_benchmark_item(w->pass->benchmark, w->pass->train[i]);
        if (item->stage && strcmp(item->stage, stage) == 0) {
            scores[item->label]++;
            found = true;
        }
    }
    return found ? EMC_OK : score_majority(w, q, scores);
}

/* --- markers --- */

static emc_status check_markers(work *w)
{
    int n;

    for (int i = 0; i < w->n_labels; i++) {
        emc_benchmark_markers(w->pass->benchmark, i, &n);
        if (n > 0)
            return EMC_OK;
    }
    return emc_fail(EMC_ERR_CONFIG,
                    "markers: no label of the benchmark has markers; give markers.json");
}

/* The mean rank weight of the label's markers, 0 for those that the cell does not list; a label
 * without markers is never chosen. */
static emc_status score_markers(work *w, const emc_question *q, double *scores)
{
    const int most = listed(w, q), n = q->n_genes < most ? q->n_genes : most;

    for (int i = 0; i < w->n_labels; i++) {
        int n_markers;
        const char *const *markers = emc_benchmark_markers(w->pass->benchmark, i, &n_markers);
        double sum = 0;
        for (int m = 0; m < n_markers; m++)
            for (int g = 0; g < n; g++)
                if (strcmp(markers[m], q->genes[g]) == 0)
                    sum += 1 - (double)g / n;
        scores[i] = n_markers > 0 ? exp(SHARPNESS * sum / n_markers) : 0;
    }
    return EMC_OK;
}

/* --- neighbours --- */

static emc_status learn_centroids(work *w)
{
    EMC_TRY(learn_vectors(w));
    const size_t n_genes = emc_str_map_count(w->genes);
    EMC_TRY(emc_alloc(&w->sums, (size_t)w->n_labels * n_genes + 1, sizeof *w->sums, "centroids"));
    for (int i = 0; i < w->pass->n_train; i++)
        for (int64_t e = w->train.begin[i]; e < w->train.begin[i + 1]; e++)
            w->sums[(size_t)w->classes[i] * n_genes + (size_t)w->train.feature[e]] +=
                w->train.value[e];
    for (int k = 0; k < w->n_labels; k++) {
        double *centroid = w->sums + (size_t)k * n_genes, square = 0;
        for (size_t g = 0; g < n_genes; g++)
            square += centroid[g] * centroid[g];
        for (size_t g = 0; g < n_genes && square > 0; g++)
            centroid[g] /= sqrt(square);
    }
    return EMC_OK;
}

static bool is_learnt(const work *w, int label)
{
    for (int i = 0; i < w->pass->n_train; i++)
        if (w->classes[i] == label)
            return true;
    return false;
}

static emc_status score_centroid(work *w, const emc_question *q, double *scores)
{
    const size_t n_genes = emc_str_map_count(w->genes);

    clear_vectors(&w->asked);
    EMC_TRY(add_vector(w, &w->asked, q, false));
    for (int k = 0; k < w->n_labels; k++) {
        double cosine = 0;
        for (int64_t e = 0; e < w->asked.begin[1]; e++)
            cosine +=
                w->asked.value[e] * w->sums[(size_t)k * n_genes + (size_t)w->asked.feature[e]];
        scores[k] = is_learnt(w, k) ? exp(SHARPNESS * cosine) : 0;
    }
    return EMC_OK;
}

static emc_status learn_neighbours(work *w)
{
    EMC_TRY(learn_vectors(w));
    EMC_TRY(emc_alloc(&w->sums, emc_str_map_count(w->genes) + 1, sizeof *w->sums, "a cell"));
    EMC_TRY(emc_alloc(&w->nearest, K_NEIGHBOURS + 1, sizeof *w->nearest, "neighbours"));
    return emc_alloc(&w->similar, (size_t)w->pass->n_train + 1, sizeof *w->similar, "neighbours");
}

/* Votes weigh as much as the neighbour is similar; of equal ones the earlier train item is nearer.
 */
static emc_status score_knn(work *w, const emc_question *q, double *scores)
{
    int n = 0;

    clear_vectors(&w->asked);
    EMC_TRY(add_vector(w, &w->asked, q, false));
    for (int64_t e = 0; e < w->asked.begin[1]; e++)
        w->sums[w->asked.feature[e]] = w->asked.value[e];
    for (int i = 0; i < w->pass->n_train; i++) {
        double cosine = 0;
        for (int64_t e = w->train.begin[i]; e < w->train.begin[i + 1]; e++)
            cosine += w->train.value[e] * w->sums[w->train.feature[e]];
        w->similar[i] = cosine;
        int at = n < K_NEIGHBOURS ? n++ : K_NEIGHBOURS;
        for (; at > 0 && cosine > w->similar[w->nearest[at - 1]]; at--)
            w->nearest[at] = w->nearest[at - 1];
        if (at < K_NEIGHBOURS)
            w->nearest[at] = i;
    }
    for (int64_t e = 0; e < w->asked.begin[1]; e++)
        w->sums[w->asked.feature[e]] = 0;
    memset(scores, 0, (size_t)w->n_labels * sizeof *scores);
    for (int i = 0; i < n; i++)
        scores[w->classes[w->nearest[i]]] += w->similar[w->nearest[i]];
    return EMC_OK;
}

/* --- logistic regression --- */

/* Only labels that have train items: the intercept of any other would have no bound. */
static emc_status learn_logistic(work *w)
{
    int *classes = NULL;

    EMC_TRY(learn_vectors(w));
    EMC_TRY(emc_alloc(&w->present, (size_t)w->n_labels + 1, sizeof *w->present, "classes"));
    EMC_TRY(
        emc_alloc(&w->present_probs, (size_t)w->n_labels + 1, sizeof *w->present_probs, "classes"));
    EMC_TRY(emc_alloc(&classes, (size_t)w->pass->n_train + 1, sizeof *classes, "classes"));
    for (int k = 0; k < w->n_labels; k++) {
        if (!is_learnt(w, k))
            continue;
        for (int i = 0; i < w->pass->n_train; i++)
            if (w->classes[i] == k)
                classes[i] = w->n_present;
        w->present[w->n_present++] = k;
    }
    const emc_sparse_rows rows = {w->pass->n_train, (int)emc_str_map_count(w->genes),
                                  w->train.begin, w->train.feature, w->train.value};
    const emc_status status = emc_logistic_fit(&w->model, &rows, classes, w->n_present, LOGISTIC_C,
                                               TOLERANCE, MOST_STEPS, w->pass->cancel);
    free(classes);
    EMC_TRY(status);
    if (w->model.gradient > TOLERANCE && w->pass->on_log)
        w->pass->on_log(w->pass->context,
                        "logistic: stopped before its tolerance was reached; its answers are those "
                        "of the last step");
    return EMC_OK;
}

static emc_status score_logistic(work *w, const emc_question *q, double *scores)
{
    clear_vectors(&w->asked);
    EMC_TRY(add_vector(w, &w->asked, q, false));
    emc_logistic_predict(w->present_probs, &w->model, w->asked.feature, w->asked.value,
                         w->asked.begin[1]);
    memset(scores, 0, (size_t)w->n_labels * sizeof *scores);
    for (int k = 0; k < w->n_present; k++)
        scores[w->present[k]] = w->present_probs[k];
    return EMC_OK;
}

/* --- */

static const baseline baselines[] = {
    {"majority", "the commonest label of the train items", "{}", true, false, false, count_labels,
     score_majority},
    {"stage", "the commonest label of the train items of the same stage", "{}", true, false, false,
     count_labels, score_stage},
    {"markers", "known marker genes among the listed ones", "{\"sharpness\": 20}", false, false,
     false, check_markers, score_markers},
    {"centroid", "nearest centroid of ranked genes, cosine", "{\"sharpness\": 20}", true, true,
     false, learn_centroids, score_centroid},
    {"knn", "15 nearest cells by ranked genes, cosine", "{\"k\": 15}", true, true, false,
     learn_neighbours, score_knn},
    {"logistic", "multinomial logistic regression on log-normalised expression",
     "{\"c\": 1, \"tolerance\": 0.001, \"most_steps\": 1000, \"scale\": 10000}", true, false, true,
     learn_logistic, score_logistic},
};

const char *emc_baseline_name(int index)
{
    return index >= 0 && index < (int)EMC_COUNT(baselines) ? baselines[index].name : NULL;
}

static void free_work(work *w)
{
    emc_str_map_close(w->genes);
    free_vectors(&w->train);
    free_vectors(&w->asked);
    free(w->sums);
    free(w->similar);
    free(w->nearest);
    free(w->classes);
    free(w->present);
    free(w->present_probs);
    emc_logistic_free(&w->model);
}

static bool is_offered(const work *w, const emc_question *q, int label)
{
    bool offered = q->n_candidates == 0;

    for (int c = 0; c < q->n_candidates && !offered; c++)
        offered = q->candidates[c] == label;
    return offered && label != w->pass->held_out;
}

/* Only what is offered, and not the label that is held out. Where nothing speaks for any of these,
 * all are equal. */
static void normalise(double *scores, const work *w, const emc_question *q)
{
    double sum = 0;

    for (int k = 0; k < w->n_labels; k++) {
        if (!is_offered(w, q, k))
            scores[k] = 0;
        sum += scores[k];
    }
    const bool nothing = !(sum > 0);
    for (int k = 0; k < w->n_labels && nothing; k++) {
        scores[k] = is_offered(w, q, k);
        sum += scores[k];
    }
    for (int k = 0; k < w->n_labels && sum > 0; k++)
        scores[k] /= sum;
}

static emc_status answer_all(work *w, double *scores)
{
    const emc_pass *pass = w->pass;

    for (int i = 0; i < pass->n_questions; i++) {
        const emc_question *q = &pass->questions[i];
        emc_prediction prediction = {.outcome = EMC_OUTCOME_FAILED, .label = -1, .score = NAN};
        if (pass->cancel && *pass->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        if (q->n_genes == 0 &&
            (w->kind->by_rank || w->kind->by_value || strcmp(w->kind->name, "markers") == 0)) {
            prediction.error = "the item has no list of genes";
        } else {
            EMC_TRY(w->kind->score(w, q, scores));
            normalise(scores, w, q);
            emc_prediction_from_probs(&prediction, scores, w->n_labels, 0);
        }
        EMC_TRY(pass->on_prediction(pass->context, i, &prediction));
    }
    return EMC_OK;
}

static emc_status run(emc_system *system, const emc_pass *pass)
{
    work w = {.kind = ((baseline_system *)system)->kind,
              .pass = pass,
              .n_labels = emc_labels_count(emc_benchmark_labels(pass->benchmark))};
    double *scores = NULL;
    emc_status status = EMC_OK;

    if (w.kind->learns && pass->n_train == 0)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: the benchmark has no train items to learn from; leave this baseline "
                        "out",
                        w.kind->name);
    for (int i = 0; i < pass->n_train; i++)
        if (emc_benchmark_item(pass->benchmark, pass->train[i])->label < 0)
            return emc_fail(EMC_ERR_ARG, "%s: a train item without a label", w.kind->name);
    status = emc_alloc(&scores, (size_t)w.n_labels + 1, sizeof *scores, "scores");
    if (status == EMC_OK)
        status = w.kind->prepare(&w);
    if (status == EMC_OK)
        status = answer_all(&w, scores);
    free(scores);
    free_work(&w);
    return status;
}

static void close_system(emc_system *system)
{
    free(system);
}

emc_status emc_baseline_open(emc_system **out, const char *name)
{
    baseline_system *s;

    *out = NULL;
    for (size_t i = 0; i < EMC_COUNT(baselines); i++) {
        if (strcmp(baselines[i].name, name) != 0)
            continue;
        EMC_TRY(emc_alloc(&s, 1, sizeof *s, "a system"));
        s->kind = &baselines[i];
        s->base = (emc_system){.name = s->kind->name,
                               .kind = "baseline",
                               .description = s->kind->description,
                               .settings = s->kind->settings,
                               .has_probs = true,
                               .run = run,
                               .close = close_system};
        *out = &s->base;
        return EMC_OK;
    }
    return emc_fail(EMC_ERR_USAGE,
                    "no baseline \"%s\": there are majority, stage, markers, centroid, knn and "
                    "logistic",
                    name);
}
