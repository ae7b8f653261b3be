/* Baselines against a naive recomputation with dense vectors; they never see what is asked. */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/logistic.h"
#include "annotate/evaluate/system.h"

#define N_TRAIN   120
#define N_ASKED   25
#define LISTED    60
#define MAX_GENES 4000

typedef struct {
    emc_benchmark *benchmark;
    int n_labels, train[N_TRAIN], asked[N_ASKED];
    emc_question questions[N_ASKED];
    const char *genes[MAX_GENES];
    int n_genes;
    double probs[N_ASKED][64];
    int labels[N_ASKED], n_answers;
} fixture;

static int gene_index(fixture *f, const char *name)
{
    for (int i = 0; i < f->n_genes; i++)
        if (strcmp(f->genes[i], name) == 0)
            return i;
    assert_true(f->n_genes < MAX_GENES);
    f->genes[f->n_genes] = name;
    return f->n_genes++;
}

/* Every few items of a split, so that most labels are there. */
static int choose(const emc_benchmark *b, int *out, int n, const char *split)
{
    int found = 0, seen = 0;

    for (int i = 0; i < emc_benchmark_n_items(b) && found < n; i++)
        if (strcmp(emc_benchmark_item(b, i)->split, split) == 0 && seen++ % 11 == 0)
            out[found++] = i;
    return found;
}

static void open_fixture(fixture *f)
{
    *f = (fixture){0};
    EMT_OK(emc_benchmark_open(&f->benchmark, EMT_BENCHMARKS "/emcellbench-sim"));
    f->n_labels = emc_labels_count(emc_benchmark_labels(f->benchmark));
    assert_int_equal(choose(f->benchmark, f->train, N_TRAIN, "train"), N_TRAIN);
    assert_int_equal(choose(f->benchmark, f->asked, N_ASKED, "test"), N_ASKED);
    for (int i = 0; i < N_ASKED; i++) {
        const emc_bench_item *item = emc_benchmark_item(f->benchmark, f->asked[i]);
        f->questions[i] = (emc_question){.item = f->asked[i],
                                         .genes = item->genes,
                                         .values = item->values,
                                         .n_genes = item->n_genes};
    }
}

static emc_status on_prediction(void *context, int question, const emc_prediction *p)
{
    fixture *f = context;

    f->n_answers++;
    f->labels[question] = p->label;
    assert_true(p->outcome == EMC_OUTCOME_LABEL && p->probs);
    memcpy(f->probs[question], p->probs, (size_t)f->n_labels * sizeof(double));
    double sum = 0;
    for (int k = 0; k < f->n_labels; k++)
        sum += p->probs[k];
    assert_true(fabs(sum - 1) < 1e-12);
    assert_true(p->score == p->probs[p->label]);
    return EMC_OK;
}

static emc_status ask(fixture *f, const char *name, int held_out, int n_train)
{
    emc_system *system;
    int train[N_TRAIN], n = 0;

    for (int i = 0; i < n_train; i++)
        if (emc_benchmark_item(f->benchmark, f->train[i])->label != held_out)
            train[n++] = f->train[i];
    f->n_answers = 0;
    EMT_OK(emc_baseline_open(&system, name));
    assert_string_equal(system->name, name);
    const emc_status status = system->run(system, &(emc_pass){.benchmark = f->benchmark,
                                                              .questions = f->questions,
                                                              .n_questions = N_ASKED,
                                                              .train = train,
                                                              .n_train = n,
                                                              .n_listed = LISTED,
                                                              .held_out = held_out,
                                                              .on_prediction = on_prediction,
                                                              .context = f});
    emc_system_close(system);
    return status;
}

/* Ranks as a dense vector of length 1 over the genes of the train items. */
static void rank_vector(fixture *f, double *out, const emc_bench_item *item, int n_known)
{
    const int n = item->n_genes < LISTED ? item->n_genes : LISTED;
    double square = 0;

    memset(out, 0, MAX_GENES * sizeof *out);
    for (int g = 0; g < n; g++) {
        const double value = 1 - (double)g / n;
        const int index = gene_index(f, item->genes[g]);
        square += value * value;
        if (n_known == 0 || index < n_known)
            out[index] = value;
    }
    for (int g = 0; g < MAX_GENES; g++)
        out[g] /= sqrt(square);
}

static double dot(const double *a, const double *b)
{
    double sum = 0;

    for (int g = 0; g < MAX_GENES; g++)
        sum += a[g] * b[g];
    return sum;
}

static void expect_probs(const fixture *f, int question, const double *scores)
{
    double sum = 0;

    for (int k = 0; k < f->n_labels; k++)
        sum += scores[k];
    for (int k = 0; k < f->n_labels; k++)
        if (!(fabs(f->probs[question][k] - scores[k] / sum) < 1e-9))
            fail_msg("question %d, label %d: %.12g, wanted %.12g", question, k,
                     f->probs[question][k], scores[k] / sum);
}

static void test_counts(void **state)
{
    (void)state;
    static fixture f;
    double counts[64] = {0};

    open_fixture(&f);
    for (int i = 0; i < N_TRAIN; i++)
        counts[emc_benchmark_item(f.benchmark, f.train[i])->label]++;
    EMT_OK(ask(&f, "majority", -1, N_TRAIN));
    assert_int_equal(f.n_answers, N_ASKED);
    for (int q = 0; q < N_ASKED; q++)
        expect_probs(&f, q, counts);
    EMT_OK(ask(&f, "stage", -1, N_TRAIN));
    for (int q = 0; q < N_ASKED; q++) {
        double of_stage[64] = {0};
        const char *stage = emc_benchmark_item(f.benchmark, f.asked[q])->stage;
        for (int i = 0; i < N_TRAIN; i++) {
            const emc_bench_item *item = emc_benchmark_item(f.benchmark, f.train[i]);
            of_stage[item->label] += strcmp(item->stage, stage) == 0;
        }
        expect_probs(&f, q, of_stage);
    }
    emc_benchmark_close(f.benchmark);
}

static void test_neighbours(void **state)
{
    (void)state;
    static fixture f;
    static double train[N_TRAIN][MAX_GENES], asked[MAX_GENES], centroid[64][MAX_GENES];

    open_fixture(&f);
    for (int i = 0; i < N_TRAIN; i++)
        rank_vector(&f, train[i], emc_benchmark_item(f.benchmark, f.train[i]), 0);
    const int n_known = f.n_genes;
    EMT_OK(ask(&f, "knn", -1, N_TRAIN));
    for (int q = 0; q < N_ASKED; q++) {
        double votes[64] = {0}, similar[N_TRAIN];
        rank_vector(&f, asked, emc_benchmark_item(f.benchmark, f.asked[q]), n_known);
        for (int i = 0; i < N_TRAIN; i++)
            similar[i] = dot(asked, train[i]);
        for (int n = 0; n < 15; n++) {
            int best = 0;
            for (int i = 1; i < N_TRAIN; i++)
                best = similar[i] > similar[best] ? i : best;
            votes[emc_benchmark_item(f.benchmark, f.train[best])->label] += similar[best];
            similar[best] = -1;
        }
        expect_probs(&f, q, votes);
    }
    for (int i = 0; i < N_TRAIN; i++)
        for (int g = 0; g < MAX_GENES; g++)
            centroid[emc_benchmark_item(f.benchmark, f.train[i])->label][g] += train[i][g];
    EMT_OK(ask(&f, "centroid", -1, N_TRAIN));
    for (int q = 0; q < N_ASKED; q++) {
        double scores[64] = {0};
        rank_vector(&f, asked, emc_benchmark_item(f.benchmark, f.asked[q]), n_known);
        for (int k = 0; k < f.n_labels; k++) {
            const double length = sqrt(dot(centroid[k], centroid[k]));
            scores[k] = length > 0 ? exp(20 * dot(asked, centroid[k]) / length) : 0;
        }
        expect_probs(&f, q, scores);
    }
    emc_benchmark_close(f.benchmark);
}

static void test_markers(void **state)
{
    (void)state;
    static fixture f;

    open_fixture(&f);
    EMT_OK(ask(&f, "markers", -1, 0)); /* nothing to learn */
    for (int q = 0; q < N_ASKED; q++) {
        const emc_bench_item *item = emc_benchmark_item(f.benchmark, f.asked[q]);
        double scores[64];
        for (int k = 0; k < f.n_labels; k++) {
            int n;
            const char *const *markers = emc_benchmark_markers(f.benchmark, k, &n);
            double sum = 0;
            for (int g = 0; g < LISTED && g < item->n_genes; g++)
                for (int m = 0; m < n; m++)
                    sum +=
                        strcmp(markers[m], item->genes[g]) == 0 ? (LISTED - g) / (double)LISTED : 0;
            scores[k] = exp(20 * sum / n);
        }
        expect_probs(&f, q, scores);
    }
    emc_benchmark_close(f.benchmark);
}

/* The regression over log-normalised values, fitted again with dense rows; labels without train
 * items get nothing, and do not change the others. */
static void test_logistic(void **state)
{
    (void)state;
    static fixture f;
    static double rows[N_TRAIN][MAX_GENES];
    static int64_t begin[N_TRAIN + 1];
    static int32_t feature[N_TRAIN * 400];
    static double value[N_TRAIN * 400];
    static int classes[N_TRAIN], present[64];
    enum { N = 40 }; /* few, so that labels are missing */
    int n_present = 0, n_entries = 0;

    open_fixture(&f);
    for (int i = 0; i < N; i++) {
        const emc_bench_item *item = emc_benchmark_item(f.benchmark, f.train[i]);
        for (int g = 0; g < item->n_genes; g++)
            rows[i][gene_index(&f, item->genes[g])] = log1p(1e4 * item->values[g] / item->total);
    }
    for (int k = 0; k < f.n_labels; k++) {
        bool has = false;
        for (int i = 0; i < N; i++)
            if (emc_benchmark_item(f.benchmark, f.train[i])->label == k) {
                classes[i] = n_present;
                has = true;
            }
        if (has)
            present[n_present++] = k;
    }
    assert_true(n_present > 5 && n_present < f.n_labels);
    for (int i = 0; i < N; i++) {
        begin[i] = n_entries;
        for (int g = 0; g < f.n_genes; g++)
            if (rows[i][g] > 0) {
                feature[n_entries] = g;
                value[n_entries++] = rows[i][g];
            }
        begin[i + 1] = n_entries;
    }
    const emc_sparse_rows sparse = {N, f.n_genes, begin, feature, value};
    emc_logistic model;
    EMT_OK(emc_logistic_fit(&model, &sparse, classes, n_present, 1, 1e-3, 1000, NULL));
    EMT_OK(ask(&f, "logistic", -1, N));
    for (int q = 0; q < N_ASKED; q++) {
        const emc_bench_item *item = emc_benchmark_item(f.benchmark, f.asked[q]);
        double scores[64] = {0}, probs[64];
        int32_t genes[400];
        double values[400];
        int n = 0;
        for (int g = 0; g < item->n_genes; g++) {
            const int index = gene_index(&f, item->genes[g]);
            if (index >= model.n_features)
                continue;
            genes[n] = index;
            values[n++] = log1p(1e4 * item->values[g] / item->total);
        }
        emc_logistic_predict(probs, &model, genes, values, n);
        for (int k = 0; k < n_present; k++)
            scores[present[k]] = probs[k];
        double sum = 0;
        for (int k = 0; k < f.n_labels; k++) { /* both stop within the same tolerance */
            assert_true(fabs(f.probs[q][k] - scores[k]) < 1e-3);
            sum += scores[k];
        }
        assert_true(fabs(sum - 1) < 1e-12);
    }
    emc_logistic_free(&model);
    /* Nothing speaks for what is offered: all are equal. */
    int absent[2], n_absent = 0;
    for (int k = 0; k < f.n_labels && n_absent < 2; k++) {
        bool has = false;
        for (int i = 0; i < n_present; i++)
            has |= present[i] == k;
        if (!has)
            absent[n_absent++] = k;
    }
    for (int q = 0; q < N_ASKED; q++) {
        f.questions[q].candidates = absent;
        f.questions[q].n_candidates = n_absent;
    }
    EMT_OK(ask(&f, "majority", -1, N));
    for (int q = 0; q < N_ASKED; q++)
        assert_true(f.probs[q][absent[0]] == 1.0 / n_absent);
    emc_benchmark_close(f.benchmark);
}

/* What is held out gets nothing, nor what was not offered; without train items there is one line.
 */
static void test_limits(void **state)
{
    (void)state;
    static fixture f;
    static const int offered[] = {10, 3, 12};

    open_fixture(&f);
    const int held_out = emc_benchmark_item(f.benchmark, f.train[60])->label;
    for (int i = 0; emc_baseline_name(i); i++) {
        const char *name = emc_baseline_name(i);
        EMT_OK(ask(&f, name, held_out, N_TRAIN));
        for (int q = 0; q < N_ASKED; q++)
            assert_true(f.probs[q][held_out] == 0 && f.labels[q] != held_out);
        if (strcmp(name, "markers") != 0)
            EMT_FAILS(EMC_ERR_CONFIG, "no train items", ask(&f, name, -1, 0));
    }
    for (int q = 0; q < N_ASKED; q++) {
        f.questions[q].candidates = offered;
        f.questions[q].n_candidates = 3;
    }
    EMT_OK(ask(&f, "markers", -1, 0));
    for (int q = 0; q < N_ASKED; q++)
        assert_true(f.labels[q] == 10 || f.labels[q] == 3 || f.labels[q] == 12);
    emc_system *system;
    EMT_FAILS(EMC_ERR_USAGE, "no baseline \"svm\"", emc_baseline_open(&system, "svm"));
    emc_benchmark_close(f.benchmark);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),  cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_markers), cmocka_unit_test(test_logistic),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
