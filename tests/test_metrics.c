/* Figures of answers against scikit-learn, and against NumPy written from the formulas
 * (tests/golden/make_metrics.py); what neither has, by hand. */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/bootstrap.h"
#include "annotate/evaluate/calibration.h"
#include "annotate/evaluate/logistic.h"
#include "annotate/evaluate/metrics.h"
#include "base/json.h"

#define TOLERANCE 1e-9
#define MAX_N     2000

static cJSON *cases(const char *key, cJSON **document)
{
    EMT_OK(emc_json_read(document, emt_golden("metrics/cases.json"), 1 << 24));
    cJSON *list = cJSON_GetObjectItemCaseSensitive(*document, key);
    assert_non_null(list);
    return list;
}

static int numbers(double *out, const cJSON *list)
{
    const cJSON *item;
    int n = 0;

    cJSON_ArrayForEach(item, list)
    {
        assert_true(n < MAX_N);
        out[n++] = item->valuedouble;
    }
    return n;
}

static void expect(const cJSON *want, const char *key, double got)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(want, key);

    assert_non_null(number);
    if (cJSON_IsNull(number) ? !isnan(got) : !(fabs(got - number->valuedouble) <= TOLERANCE))
        fail_msg("%s is %.17g, wanted %.17g", key, got, number->valuedouble);
}

static void test_classification(void **state)
{
    (void)state;
    static double gold[MAX_N], answer[MAX_N], counts[64 * 64];
    cJSON *document, *one;
    int n_cases = 0;

    cJSON *list = cases("classification", &document);
    cJSON_ArrayForEach(one, list)
    {
        const int n_labels = cJSON_GetObjectItem(one, "n_labels")->valueint;
        const int n = numbers(gold, cJSON_GetObjectItem(one, "gold"));
        const cJSON *want = cJSON_GetObjectItem(one, "want");
        numbers(answer, cJSON_GetObjectItem(one, "answer"));
        memset(counts, 0, sizeof counts);
        for (int i = 0; i < n; i++)
            counts[(int)gold[i] * (n_labels + 2) + (int)answer[i]]++;
        const emc_confusion c = {n_labels, counts};
        expect(want, "accuracy", emc_accuracy(&c));
        expect(want, "accuracy_valid", emc_accuracy_valid(&c));
        expect(want, "balanced_accuracy", emc_balanced_accuracy(&c));
        expect(want, "macro_f1", emc_macro_f1(&c));
        expect(want, "weighted_f1", emc_weighted_f1(&c));
        expect(want, "mcc", emc_mcc(&c));
        expect(want, "kappa", emc_kappa(&c));
        const cJSON *of;
        cJSON_ArrayForEach(of, cJSON_GetObjectItem(one, "per_class"))
        {
            const emc_class_score s =
                emc_class_scores(&c, cJSON_GetObjectItem(of, "class")->valueint);
            expect(of, "precision", s.precision);
            expect(of, "recall", s.recall);
            expect(of, "f1", s.f1);
            expect(of, "n", s.n);
        }
        n_cases++;
    }
    assert_true(n_cases > 60);
    cJSON_Delete(document);
}

static int by_confidence(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void test_calibration(void **state)
{
    (void)state;
    static double confidence[MAX_N], right[MAX_N], weight[MAX_N], pairs[MAX_N][2];
    emc_bin bins[15];
    cJSON *document, *one;

    cJSON *list = cases("calibration", &document);
    cJSON_ArrayForEach(one, list)
    {
        const cJSON *want = cJSON_GetObjectItem(one, "want");
        const int n = numbers(confidence, cJSON_GetObjectItem(one, "confidence"));
        numbers(right, cJSON_GetObjectItem(one, "right"));
        for (int i = 0; i < n; i++) {
            pairs[i][0] = confidence[i];
            pairs[i][1] = right[i];
        }
        qsort(pairs, (size_t)n, sizeof *pairs, by_confidence);
        for (int i = 0; i < n; i++) {
            confidence[i] = pairs[i][0];
            right[i] = pairs[i][1];
            weight[i] = 1;
        }
        const emc_confidences c = {n, confidence, right, weight};
        emc_bins_width(bins, 15, &c);
        expect(want, "ece_width", emc_ece(bins, 15));
        emc_bins_mass(bins, 15, &c);
        expect(want, "ece_mass", emc_ece(bins, 15));
        expect(want, "aurc", emc_aurc(&c));
        expect(want, "coverage_80", emc_accuracy_at(&c, 0.80));
        expect(want, "coverage_90", emc_accuracy_at(&c, 0.90));
        expect(want, "coverage_95", emc_accuracy_at(&c, 0.95));
    }
    cJSON_Delete(document);
}

static void test_probabilities(void **state)
{
    (void)state;
    static double probs[MAX_N];
    cJSON *document, *one;
    int n_cases = 0;

    cJSON *list = cases("probabilities", &document);
    cJSON_ArrayForEach(one, list)
    {
        const int n = numbers(probs, cJSON_GetObjectItem(one, "probs"));
        const int gold = cJSON_GetObjectItem(one, "gold")->valueint;

        expect(one, "brier", emc_brier(probs, n, gold));
        expect(one, "nll", emc_nll(probs, gold));
        n_cases++;
    }
    assert_true(n_cases > 30);
    cJSON_Delete(document);
}

/* An item of weight 2 is two items; one of weight 0 is none. */
static void test_weights(void **state)
{
    (void)state;
    const double confidence[] = {0.1, 0.4, 0.4, 0.4, 0.8, 0.9, 0.9};
    const double right[] = {0, 1, 1, 0, 1, 0, 1}, ones[] = {1, 1, 1, 1, 1, 1, 1};
    const double short_confidence[] = {0.1, 0.3, 0.4, 0.4, 0.8, 0.9, 0.9};
    const double short_right[] = {0, 1, 1, 0, 1, 0, 1}, weights[] = {1, 0, 2, 1, 1, 1, 1};
    const emc_confidences plain = {7, confidence, right, ones};
    const emc_confidences weighted = {7, short_confidence, short_right, weights};
    emc_bin a[5], b[5];

    assert_true(fabs(emc_aurc(&plain) - emc_aurc(&weighted)) < 1e-15);
    emc_bins_width(a, 5, &plain);
    emc_bins_width(b, 5, &weighted);
    assert_true(fabs(emc_ece(a, 5) - emc_ece(b, 5)) < 1e-15);
    emc_bins_mass(a, 5, &plain);
    emc_bins_mass(b, 5, &weighted);
    assert_true(fabs(emc_ece(a, 5) - emc_ece(b, 5)) < 1e-15);
    for (int k = 1; k <= 20; k++)
        assert_true(fabs(emc_accuracy_at(&plain, k / 20.0) - emc_accuracy_at(&weighted, k / 20.0)) <
                    1e-15);
    /* Without a number: the least sure, and in no bin. */
    const double none[] = {-1, -1, 0.5}, one_right[] = {1, 0, 1};
    const emc_confidences mostly = {3, none, one_right, ones};
    emc_bins_width(a, 5, &mostly);
    assert_true(fabs(emc_ece(a, 5) - 0.5) < 1e-15);
    assert_true(emc_accuracy_at(&mostly, 0.3) == 1);
    assert_true(fabs(emc_accuracy_at(&mostly, 1) - 2.0 / 3) < 1e-15);
    const emc_confidences empty = {0, none, one_right, ones};
    assert_true(isnan(emc_aurc(&empty)) && isnan(emc_accuracy_at(&empty, 0.8)));
    emc_bins_mass(a, 5, &empty);
    assert_true(isnan(emc_ece(a, 5)));
}

static void test_open_set(void **state)
{
    (void)state;
    static double known[MAX_N], unknown[MAX_N];
    cJSON *document, *one;

    cJSON *list = cases("open_set", &document);
    cJSON_ArrayForEach(one, list)
    {
        const int n_known = numbers(known, cJSON_GetObjectItem(one, "known"));
        const int n_unknown = numbers(unknown, cJSON_GetObjectItem(one, "unknown"));
        expect(one, "auroc", emc_auroc(known, n_known, unknown, n_unknown));
        expect(one, "fpr95", emc_fpr95(known, n_known, unknown, n_unknown));
    }
    cJSON_Delete(document);
    assert_true(isnan(emc_auroc(known, 0, unknown, 3)));
    assert_true(isnan(emc_fpr95(known, 3, unknown, 0)));
}

static void test_statistics(void **state)
{
    (void)state;
    static double values[MAX_N];
    cJSON *document, *one;

    cJSON *list = cases("quantiles", &document);
    cJSON_ArrayForEach(one, list)
    {
        const int n = numbers(values, cJSON_GetObjectItem(one, "values"));
        expect(one, "want", emc_quantile(values, n, cJSON_GetObjectItem(one, "q")->valuedouble));
    }
    cJSON_ArrayForEach(one, cJSON_GetObjectItem(document, "mcnemar"))
        expect(one, "want",
               emc_mcnemar(cJSON_GetObjectItem(one, "a")->valueint,
                           cJSON_GetObjectItem(one, "b")->valueint));
    cJSON_ArrayForEach(one, cJSON_GetObjectItem(document, "wilson"))
    {
        double low, high;
        emc_wilson(cJSON_GetObjectItem(one, "k")->valuedouble,
                   cJSON_GetObjectItem(one, "n")->valuedouble, &low, &high);
        expect(one, "low", low);
        expect(one, "high", high);
    }
    cJSON_Delete(document);
    values[0] = NAN;
    assert_true(isnan(emc_quantile(values, 1, 0.5)));
    const double differences[] = {0.1, 0.2, -0.1, 0.3};
    assert_true(fabs(emc_bootstrap_p(differences, 4) - 0.8) < 1e-15);
}

/* Whole clusters are drawn, as many as there are; every cluster as often as any other. */
static void test_bootstrap(void **state)
{
    (void)state;
    const int cluster[] = {0, 0, 1, 2, 2, 2, 3};
    double weights[7], sums[4] = {0};
    int drawn[4];
    emc_random random = {5};

    for (int b = 0; b < 20000; b++) {
        emc_bootstrap_draw(weights, 7, cluster, 4, drawn, &random);
        assert_true(weights[0] == weights[1] && weights[3] == weights[4] &&
                    weights[4] == weights[5]);
        assert_true(weights[0] + weights[2] + weights[3] + weights[6] == 4);
        for (int c = 0; c < 4; c++)
            sums[c] += drawn[c];
    }
    for (int c = 0; c < 4; c++) /* mean 20000, standard deviation 122 */
        assert_true(fabs(sums[c] - 20000) < 700);
}

/* The profile embryo: TE > CTB > {STB, EVT}; Hypoblast > {AVE, YS endoderm}. */
static void test_hierarchy(void **state)
{
    (void)state;
    static const struct {
        const char *gold, *predicted;
        double sctab, graded, lineage;
    } table[] = {
        {"CTB", "CTB", 1, 3, 1},
        {"CTB", "STB", 1, 2, 1},
        {"STB", "CTB", 0, 1, 1},
        {"STB", "EVT", 0, 1, 1},
        {"STB", "TE", 0, 1, 1},
        {"AVE", "YS endoderm", 0, 1, 1},
        {"Zygote", "8 cell", 0, 1, 1},
        {"Zygote", "STB", 0, 0, 0},
        {"HEP", "Erythroblast", 0, 1, 1},
        {"Amnion", "CTB", 0, 1, 0},
        {"Early epiblast", "Late epiblast", 0, 1, 1},
    };
    emc_profile *profile;
    emc_labels *labels;
    emc_worth worth;

    EMT_OK(emc_profile_open(&profile, "embryo"));
    EMT_OK(emc_labels_from_profile(&labels, profile));
    const int n = emc_labels_count(labels);
    for (size_t i = 0; i < EMC_COUNT(table); i++) {
        emc_label_match gold, predicted;
        EMT_OK(emc_labels_match(labels, table[i].gold, strlen(table[i].gold), &gold));
        EMT_OK(
            emc_labels_match(labels, table[i].predicted, strlen(table[i].predicted), &predicted));
        emc_worth_of(&worth, labels, gold.label, predicted.label);
        if (worth.sctab != table[i].sctab || worth.graded != table[i].graded ||
            worth.lineage != table[i].lineage)
            fail_msg("%s for %s: %g %g %g", table[i].predicted, table[i].gold, worth.sctab,
                     worth.graded, worth.lineage);
    }
    emc_worth_of(&worth, labels, n, n);
    assert_true(worth.sctab == 1 && worth.graded == 3 && worth.lineage == 1);
    emc_worth_of(&worth, labels, n, 0);
    assert_true(worth.sctab == 0 && worth.graded == 0);
    emc_worth_of(&worth, labels, 0, n + 1);
    assert_true(worth.graded == 0 && worth.n_predicted == 0 && worth.n_right > 0);
    /* The formula, by hand: P = 3/4, R = 3/5. */
    assert_true(fabs(emc_hierarchical_f1(3, 5, 4) - 2 * 0.75 * 0.6 / 1.35) < 1e-15);
    assert_true(emc_hierarchical_f1(0, 5, 0) == 0);
    emc_labels_close(labels);
    emc_profile_close(profile);
}

#define MAX_LABELS 32

/* Labels of a made-up hierarchy. */
static emc_labels *open_hierarchy(const cJSON *one)
{
    const cJSON *names = cJSON_GetObjectItem(one, "names");
    const cJSON *parents = cJSON_GetObjectItem(one, "parents");
    static emc_profile_label list[MAX_LABELS];
    const int n = cJSON_GetArraySize(names);
    emc_labels *labels;

    assert_true(n <= MAX_LABELS);
    for (int i = 0; i < n; i++) {
        const int parent = cJSON_GetArrayItem(parents, i)->valueint;

        list[i] = (emc_profile_label){
            .label = cJSON_GetArrayItem(names, i)->valuestring,
            .parent = parent < 0 ? NULL : cJSON_GetArrayItem(names, parent)->valuestring};
    }
    EMT_OK(emc_labels_from_list(&labels, list, n));
    return labels;
}

static void test_hierarchies(void **state)
{
    (void)state;
    cJSON *document, *one, *pair;
    int n_cases = 0;

    cJSON *list = cases("hierarchies", &document);
    cJSON_ArrayForEach(one, list)
    {
        emc_labels *labels = open_hierarchy(one);
        emc_worth sum = {0}, worth;
        double n = 0;

        cJSON_ArrayForEach(pair, cJSON_GetObjectItem(one, "pairs"))
        {
            emc_worth_of(&worth, labels, cJSON_GetArrayItem(pair, 0)->valueint,
                         cJSON_GetArrayItem(pair, 1)->valueint);
            sum.sctab += worth.sctab;
            sum.graded += worth.graded;
            sum.lineage += worth.lineage;
            sum.n_common += worth.n_common;
            sum.n_right += worth.n_right;
            sum.n_predicted += worth.n_predicted;
            n++;
        }
        expect(one, "sctab", sum.sctab / n);
        expect(one, "graded", sum.graded / n);
        expect(one, "lineage", sum.lineage / n);
        expect(one, "hierarchical_f1",
               emc_hierarchical_f1(sum.n_common, sum.n_right, sum.n_predicted));
        emc_labels_close(labels);
        n_cases++;
    }
    assert_true(n_cases > 40);
    cJSON_Delete(document);
}

/*
 * Resamples of a few embryos against all that there are: of n embryos n^n equally likely draws. The
 * share of resamples with a figure at or below each value it can have is within five standard
 * deviations of what the enumeration says, and so are the ends of the interval.
 */
#define MAX_CLUSTERS 4
#define RESAMPLES    20000

typedef struct {
    int n_items, n_clusters;
    int cluster[8];
    double right[8], other[8]; /* of one system, of another */
} few_embryos;

static double accuracy_of(const few_embryos *e, const double *right, const double *weights)
{
    double sum = 0, total = 0;

    for (int i = 0; i < e->n_items; i++) {
        sum += weights[i] * right[i];
        total += weights[i];
    }
    return sum / total;
}

/* Every draw's accuracy, and how far it is above the other system's on the same draw; returns how
 * many. */
static int enumerate(double *out, double *above_other, const few_embryos *e)
{
    int n = 1;

    for (int i = 0; i < e->n_clusters; i++)
        n *= e->n_clusters;
    for (int draw = 0; draw < n; draw++) {
        double weights[8];
        int drawn[MAX_CLUSTERS] = {0};

        for (int i = 0, rest = draw; i < e->n_clusters; i++, rest /= e->n_clusters)
            drawn[rest % e->n_clusters]++;
        for (int i = 0; i < e->n_items; i++)
            weights[i] = drawn[e->cluster[i]];
        out[draw] = accuracy_of(e, e->right, weights);
        above_other[draw] = out[draw] - accuracy_of(e, e->other, weights);
    }
    return n;
}

static double share_at_most(const double *values, int n, double most)
{
    int n_at_most = 0;

    for (int i = 0; i < n; i++)
        n_at_most += values[i] <= most + 1e-12;
    return (double)n_at_most / n;
}

static void test_bootstrap_of_few(void **state)
{
    (void)state;
    static const few_embryos all[] = {
        {4, 2, {0, 0, 1, 1}, {1, 1, 0, 1}, {1, 0, 0, 1}},
        {6, 3, {0, 1, 1, 2, 2, 2}, {1, 0, 1, 0, 0, 1}, {0, 1, 1, 0, 0, 0}},
        {8, 4, {0, 0, 0, 1, 2, 2, 3, 3}, {1, 1, 0, 0, 1, 1, 0, 0}, {0, 1, 0, 1, 1, 0, 0, 0}},
        {3, 3, {0, 1, 2}, {1, 1, 1}, {1, 1, 1}}, /* nothing varies */
        {3, 3, {0, 1, 2}, {1, 1, 1}, {0, 0, 0}}, /* one is always above */
    };
    static double exact[256], above_other[256], drawn[RESAMPLES], differences[RESAMPLES];
    emc_random random = {11};

    for (size_t c = 0; c < EMC_COUNT(all); c++) {
        const few_embryos *e = &all[c];
        const int n_exact = enumerate(exact, above_other, e);
        double weights[8];
        int scratch[MAX_CLUSTERS];

        for (int b = 0; b < RESAMPLES; b++) {
            emc_bootstrap_draw(weights, e->n_items, e->cluster, e->n_clusters, scratch, &random);
            drawn[b] = accuracy_of(e, e->right, weights);
            differences[b] = drawn[b] - accuracy_of(e, e->other, weights);
        }
        for (int i = 0; i < n_exact; i++) {
            const double p = share_at_most(exact, n_exact, exact[i]);
            const double got = share_at_most(drawn, RESAMPLES, exact[i]);

            assert_true(fabs(got - p) <= 5 * sqrt(p * (1 - p) / RESAMPLES) + 1e-12);
        }
        /* Twice the lesser side of zero, ties on both. */
        double below = 0, above = 0;
        for (int i = 0; i < n_exact; i++) {
            below += above_other[i] <= 0;
            above += above_other[i] >= 0;
        }
        const double side = fmin(below, above) / n_exact, p = fmin(1, 2 * side);
        assert_true(fabs(emc_bootstrap_p(differences, RESAMPLES) - p) <=
                    10 * sqrt(side * fmax(0, 1 - side) / RESAMPLES) + 3.0 / RESAMPLES);
        for (int q = 1; q < 40; q += 38) { /* 0.025 and 0.975 */
            const double end = emc_quantile(drawn, RESAMPLES, q / 40.0);
            const double slack = 5 * sqrt(0.025 * 0.975 / RESAMPLES);

            assert_true(share_at_most(exact, n_exact, end) >= q / 40.0 - slack);
            assert_true(1 - share_at_most(exact, n_exact, end - 1e-9) >= 1 - q / 40.0 - slack);
        }
    }
}

static void test_logistic(void **state)
{
    (void)state;
    static double x[MAX_N], row[64], probs[16], want[64];
    static int64_t begin[MAX_N];
    static int32_t feature[MAX_N];
    static int classes[MAX_N];
    cJSON *document, *one = cases("logistic", &document), *line;
    emc_logistic model;
    int n_rows = 0, n_features = 0, n_entries = 0;

    cJSON_ArrayForEach(line, cJSON_GetObjectItem(one, "x"))
    {
        n_features = numbers(row, line);
        begin[n_rows] = n_entries;
        classes[n_rows] = cJSON_GetArrayItem(cJSON_GetObjectItem(one, "y"), n_rows)->valueint;
        n_rows++;
        for (int f = 0; f < n_features; f++)
            if (row[f] != 0) {
                feature[n_entries] = f;
                x[n_entries++] = row[f];
            }
        begin[n_rows] = n_entries;
    }
    const emc_sparse_rows rows = {n_rows, n_features, begin, feature, x};
    EMT_OK(emc_logistic_fit(&model, &rows, classes, 3, 1.0, 1e-7, 10000, NULL));
    assert_true(model.gradient <= 1e-7);
    for (int k = 0; k < 3; k++) {
        numbers(want, cJSON_GetArrayItem(cJSON_GetObjectItem(one, "weights"), k));
        for (int f = 0; f < n_features; f++)
            assert_true(fabs(model.weights[k * n_features + f] - want[f]) < 1e-6);
    }
    for (int r = 0; r < n_rows; r++) {
        numbers(want, cJSON_GetArrayItem(cJSON_GetObjectItem(one, "probs"), r));
        emc_logistic_predict(probs, &model, feature + begin[r], x + begin[r],
                             begin[r + 1] - begin[r]);
        for (int k = 0; k < 3; k++)
            assert_true(fabs(probs[k] - want[k]) < 1e-7);
    }
    emc_logistic_free(&model);
    const volatile sig_atomic_t cancel = 1;
    EMT_FAILS(EMC_ERR_CANCELLED, "interrupted",
              emc_logistic_fit(&model, &rows, classes, 3, 1.0, 1e-9, 10000, &cancel));
    emc_logistic_free(&model);
    cJSON_Delete(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classification), cmocka_unit_test(test_calibration),
        cmocka_unit_test(test_weights),        cmocka_unit_test(test_open_set),
        cmocka_unit_test(test_statistics),     cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_hierarchy),      cmocka_unit_test(test_hierarchies),
        cmocka_unit_test(test_probabilities),  cmocka_unit_test(test_bootstrap_of_few),
        cmocka_unit_test(test_logistic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
