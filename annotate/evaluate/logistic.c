#include "annotate/evaluate/logistic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define N_PAIRS 10

void emc_logistic_free(emc_logistic *model)
{
    free(model->weights);
    *model = (emc_logistic){0};
}

/* Scores to probabilities, in place; returns the logarithm of the sum. */
static double softmax(double *scores, int n)
{
    double most = scores[0], sum = 0;

    for (int k = 1; k < n; k++)
        most = scores[k] > most ? scores[k] : most;
    for (int k = 0; k < n; k++)
        sum += scores[k] = exp(scores[k] - most);
    for (int k = 0; k < n; k++)
        scores[k] /= sum;
    return most + log(sum);
}

/* What is minimised. Parameters: weights by feature, [n_features][n_classes], so that a row's
 * entries touch whole lines; behind them the intercepts. */
typedef struct {
    const emc_sparse_rows *rows;
    const int *classes;
    int n_classes;
    double c;
    size_t n; /* parameters */
    double *scores;
} problem;

static double evaluate(const problem *p, const double *x, double *gradient)
{
    const emc_sparse_rows *rows = p->rows;
    const size_t k = (size_t)p->n_classes, n_weights = (size_t)rows->n_features * k;
    double loss = 0;

    for (size_t i = 0; i < n_weights; i++) {
        loss += 0.5 * x[i] * x[i];
        gradient[i] = x[i];
    }
    memset(gradient + n_weights, 0, k * sizeof *gradient);
    for (int r = 0; r < rows->n_rows; r++) {
        double *s = p->scores;
        memcpy(s, x + n_weights, k * sizeof *s);
        for (int64_t e = rows->begin[r]; e < rows->begin[r + 1]; e++) {
            const double *w = x + (size_t)rows->feature[e] * k;
            for (size_t j = 0; j < k; j++)
                s[j] += rows->value[e] * w[j];
        }
        const double right = s[p->classes[r]];
        loss += p->c * (softmax(s, p->n_classes) - right);
        s[p->classes[r]] -= 1;
        for (size_t j = 0; j < k; j++) {
            s[j] *= p->c;
            gradient[n_weights + j] += s[j];
        }
        for (int64_t e = rows->begin[r]; e < rows->begin[r + 1]; e++) {
            double *g = gradient + (size_t)rows->feature[e] * k;
            for (size_t j = 0; j < k; j++)
                g[j] += rows->value[e] * s[j];
        }
    }
    return loss;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, size_t n)
{
    double most = 0;

    for (size_t i = 0; i < n; i++)
        most = fabs(a[i]) > most ? fabs(a[i]) : most;
    return most;
}

/* The last steps and how the gradient changed over them. */
typedef struct {
    double *step[N_PAIRS], *change[N_PAIRS], rho[N_PAIRS];
    int count, next;
} memory;

/* direction = -H gradient, by the two loops of L-BFGS. */
static void find_direction(double *direction, const double *gradient, const memory *m, size_t n)
{
    double alpha[N_PAIRS];

    for (size_t i = 0; i < n; i++)
        direction[i] = -gradient[i];
    for (int j = 1; j <= m->count; j++) {
        const int at = (m->next - j + N_PAIRS) % N_PAIRS;
        alpha[at] = m->rho[at] * dot(m->step[at], direction, n);
        for (size_t i = 0; i < n; i++)
            direction[i] -= alpha[at] * m->change[at][i];
    }
    if (m->count > 0) {
        const int at = (m->next - 1 + N_PAIRS) % N_PAIRS;
        const double scale = 1 / (m->rho[at] * dot(m->change[at], m->change[at], n));
        for (size_t i = 0; i < n; i++)
            direction[i] *= scale;
    }
    for (int j = m->count; j >= 1; j--) {
        const int at = (m->next - j + N_PAIRS) % N_PAIRS;
        const double beta = m->rho[at] * dot(m->change[at], direction, n);
        for (size_t i = 0; i < n; i++)
            direction[i] += (alpha[at] - beta) * m->step[at][i];
    }
}

typedef struct {
    double *x, *gradient, *next, *next_gradient, *direction;
    memory m;
} work;

static emc_status take_work(work *w, size_t n)
{
    double **const all[] = {&w->x, &w->gradient, &w->next, &w->next_gradient, &w->direction};

    for (size_t i = 0; i < EMC_COUNT(all); i++)
        EMC_TRY(emc_alloc(all[i], n, sizeof(double), "logistic regression"));
    for (int i = 0; i < N_PAIRS; i++) {
        EMC_TRY(emc_alloc(&w->m.step[i], n, sizeof(double), "logistic regression"));
        EMC_TRY(emc_alloc(&w->m.change[i], n, sizeof(double), "logistic regression"));
    }
    return EMC_OK;
}

static void free_work(work *w)
{
    free(w->x);
    free(w->gradient);
    free(w->next);
    free(w->next_gradient);
    free(w->direction);
    for (int i = 0; i < N_PAIRS; i++) {
        free(w->m.step[i]);
        free(w->m.change[i]);
    }
}

static void remember(memory *m, const work *w, size_t n)
{
    double *step = m->step[m->next], *change = m->change[m->next];

    for (size_t i = 0; i < n; i++) {
        step[i] = w->next[i] - w->x[i];
        change[i] = w->next_gradient[i] - w->gradient[i];
    }
    const double curvature = dot(step, change, n);
    if (!(curvature > 1e-12 * dot(change, change, n)))
        return;
    m->rho[m->next] = 1 / curvature;
    m->next = (m->next + 1) % N_PAIRS;
    m->count += m->count < N_PAIRS;
}

static emc_status minimise(work *w, const problem *p, emc_logistic *out, double tolerance, int most,
                           const volatile sig_atomic_t *cancel)
{
    double loss = evaluate(p, w->x, w->gradient);

    for (out->n_iterations = 0; out->n_iterations < most; out->n_iterations++) {
        if (cancel && *cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        if (largest(w->gradient, p->n) <= tolerance)
            break;
        find_direction(w->direction, w->gradient, &w->m, p->n);
        const double slope = dot(w->gradient, w->direction, p->n);
        double length = w->m.count > 0 ? 1 : 1 / (1 + sqrt(dot(w->gradient, w->gradient, p->n)));
        double next = INFINITY;
        for (int halvings = 0; halvings < 60; halvings++, length /= 2) {
            for (size_t i = 0; i < p->n; i++)
                w->next[i] = w->x[i] + length * w->direction[i];
            next = evaluate(p, w->next, w->next_gradient);
            if (next <= loss + 1e-4 * length * slope)
                break;
        }
        if (!(next < loss)) /* rounding: nothing better is to be found */
            break;
        remember(&w->m, w, p->n);
        double *old = w->x, *old_gradient = w->gradient;
        w->x = w->next;
        w->gradient = w->next_gradient;
        w->next = old;
        w->next_gradient = old_gradient;
        loss = next;
    }
    out->gradient = largest(w->gradient, p->n);
    return EMC_OK;
}

emc_status emc_logistic_fit(emc_logistic *out, const emc_sparse_rows *rows, const int *classes,
                            int n_classes, double c, double tolerance, int most,
                            const volatile sig_atomic_t *cancel)
{
    const size_t k = (size_t)n_classes, n_features = (size_t)rows->n_features;
    problem p = {rows, classes, n_classes, c, (n_features + 1) * k, NULL};
    work w = {0};

    *out = (emc_logistic){.n_classes = n_classes, .n_features = rows->n_features};
    emc_status status = emc_alloc(&p.scores, k, sizeof *p.scores, "logistic regression");
    if (status == EMC_OK)
        status = take_work(&w, p.n);
    if (status == EMC_OK)
        status = minimise(&w, &p, out, tolerance, most, cancel);
    if (status == EMC_OK)
        status = emc_alloc(&out->weights, p.n, sizeof *out->weights, "logistic regression");
    if (status == EMC_OK) {
        out->intercepts = out->weights + n_features * k;
        for (size_t f = 0; f < n_features; f++)
            for (size_t j = 0; j < k; j++)
                out->weights[j * n_features + f] = w.x[f * k + j];
        memcpy(out->intercepts, w.x + n_features * k, k * sizeof *out->intercepts);
    }
    free_work(&w);
    free(p.scores);
    return status;
}

void emc_logistic_predict(double *probs, const emc_logistic *model, const int32_t *feature,
                          const double *value, int64_t n)
{
    for (int k = 0; k < model->n_classes; k++) {
        const double *w = model->weights + (size_t)k * (size_t)model->n_features;
        probs[k] = model->intercepts[k];
        for (int64_t e = 0; e < n; e++)
            probs[k] += value[e] * w[feature[e]];
    }
    softmax(probs, model->n_classes);
}
