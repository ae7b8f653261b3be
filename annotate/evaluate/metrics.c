#include "annotate/evaluate/metrics.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define MAX_ANCESTORS 64

static double at(const emc_confusion *c, int right, int answer)
{
    return c->counts[(size_t)right * (size_t)(c->n_labels + 2) + (size_t)answer];
}

static double items_of(const emc_confusion *c, int right)
{
    double sum = 0;

    for (int i = 0; i < c->n_labels + 2; i++)
        sum += at(c, right, i);
    return sum;
}

static double answers_of(const emc_confusion *c, int answer)
{
    double sum = 0;

    for (int i = 0; i < c->n_labels + 1; i++)
        sum += at(c, i, answer);
    return sum;
}

static double total_of(const emc_confusion *c)
{
    double sum = 0;

    for (int i = 0; i < c->n_labels + 1; i++)
        sum += items_of(c, i);
    return sum;
}

static double right_of(const emc_confusion *c)
{
    double sum = 0;

    for (int i = 0; i < c->n_labels + 1; i++)
        sum += at(c, i, i);
    return sum;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

double emc_accuracy(const emc_confusion *c)
{
    return share(right_of(c), total_of(c));
}

double emc_accuracy_valid(const emc_confusion *c)
{
    return share(right_of(c), total_of(c) - answers_of(c, c->n_labels + 1));
}

emc_class_score emc_class_scores(const emc_confusion *c, int label)
{
    const double n = items_of(c, label), n_predicted = answers_of(c, label);
    const double right = at(c, label, label);

    return (emc_class_score){
        .n = n,
        .n_predicted = n_predicted,
        .precision = n_predicted > 0 ? right / n_predicted : 0,
        .recall = share(right, n),
        .f1 = n > 0 ? 2 * right / (n + n_predicted) : NAN,
    };
}

double emc_balanced_accuracy(const emc_confusion *c)
{
    double sum = 0, n = 0;

    for (int i = 0; i < c->n_labels + 1; i++) {
        const double items = items_of(c, i);
        if (items > 0) {
            sum += at(c, i, i) / items;
            n++;
        }
    }
    return share(sum, n);
}

double emc_macro_f1(const emc_confusion *c)
{
    double sum = 0, n = 0;

    for (int i = 0; i < c->n_labels + 1; i++) {
        const emc_class_score s = emc_class_scores(c, i);
        if (s.n > 0) {
            sum += s.f1;
            n++;
        }
    }
    return share(sum, n);
}

double emc_weighted_f1(const emc_confusion *c)
{
    double sum = 0, n = 0;

    for (int i = 0; i < c->n_labels + 1; i++) {
        const emc_class_score s = emc_class_scores(c, i);
        if (s.n > 0) {
            sum += s.n * s.f1;
            n += s.n;
        }
    }
    return share(sum, n);
}

double emc_mcc(const emc_confusion *c)
{
    const double n = total_of(c), right = right_of(c);
    double both = 0, items_2 = 0, answers_2 = 0;

    if (!(n > 0))
        return NAN;
    for (int i = 0; i < c->n_labels + 2; i++) {
        const double items = i < c->n_labels + 1 ? items_of(c, i) : 0;
        const double answers = answers_of(c, i);
        both += items * answers;
        items_2 += items * items;
        answers_2 += answers * answers;
    }
    const double spread = (n * n - items_2) * (n * n - answers_2);
    return spread > 0 ? (right * n - both) / sqrt(spread) : 0;
}

double emc_kappa(const emc_confusion *c)
{
    const double n = total_of(c);
    double chance = 0;

    if (!(n > 0))
        return NAN;
    for (int i = 0; i < c->n_labels + 1; i++)
        chance += items_of(c, i) * answers_of(c, i) / (n * n);
    return chance < 1 ? (right_of(c) / n - chance) / (1 - chance) : NAN;
}

/* --- the hierarchy --- */

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcasecmp(name, *names) == 0)
            return true;
    return false;
}

static bool is_trivial(const char *name)
{
    static const char *const names[] = {"cell", "embryonic cell", "native cell", "animal cell",
                                        NULL};
    return is_one_of(name, names);
}

/* The label itself first, then its ancestors without trivial ones. */
static int line_of(const emc_labels *labels, int label, const char **out)
{
    const char *all[MAX_ANCESTORS];
    int n = emc_labels_ancestors(labels, label, all, MAX_ANCESTORS), kept = 0;

    n = n < MAX_ANCESTORS ? n : MAX_ANCESTORS;
    out[kept++] = emc_labels_get(labels, label)->label;
    for (int i = 0; i < n; i++)
        if (!is_trivial(all[i]))
            out[kept++] = all[i];
    return kept;
}

static bool holds(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

const char *emc_lineage(const emc_labels *labels, int label)
{
    static const char *const progenitors[] = {"Prelineage", "ICM", NULL};
    const char *line[MAX_ANCESTORS + 1];
    const int n = line_of(labels, label, line);

    for (int i = n - 1; i > 0; i--)
        if (!is_one_of(line[i], progenitors))
            return line[i];
    return line[0];
}

void emc_worth_of(emc_worth *out, const emc_labels *labels, int gold, int predicted)
{
    const int n_labels = emc_labels_count(labels);
    const char *right[MAX_ANCESTORS + 1], *said[MAX_ANCESTORS + 1];

    *out = (emc_worth){0};
    if (gold == n_labels) { /* right only by saying so */
        const double same = predicted == gold;
        *out = (emc_worth){.sctab = same,
                           .graded = 3 * same,
                           .lineage = same,
                           .n_common = same,
                           .n_right = 1,
                           .n_predicted = predicted < n_labels ? line_of(labels, predicted, said)
                                                               : predicted == n_labels};
        return;
    }
    const int n_right = line_of(labels, gold, right);
    out->n_right = n_right;
    if (predicted >= n_labels) {
        out->n_predicted = predicted == n_labels;
        return;
    }
    const int n_said = line_of(labels, predicted, said);
    out->n_predicted = n_said;
    for (int i = 0; i < n_said; i++)
        out->n_common += holds(right, n_right, said[i]);
    const bool is_subtype = holds(said + 1, n_said - 1, right[0]);
    out->sctab = gold == predicted || is_subtype;
    out->graded = gold == predicted ? 3 : is_subtype ? 2 : out->n_common > 0 ? 1 : 0;
    out->lineage = strcmp(emc_lineage(labels, gold), emc_lineage(labels, predicted)) == 0;
}

double emc_hierarchical_f1(double n_common, double n_right, double n_predicted)
{
    const double precision = n_predicted > 0 ? n_common / n_predicted : 0;
    const double recall = share(n_common, n_right);

    if (isnan(recall))
        return NAN;
    return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
}
