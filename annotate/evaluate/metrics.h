#pragma once
/*
 * How good are answers? Figures from a confusion matrix, and from what each answer is worth in the
 * hierarchy of labels. Every function is a plain one over arrays; counts are doubles so that
 * resampled items can weigh more than one.
 *
 * Classes are the labels 0 .. n_labels - 1 and n_labels, "unknown": none of them. An answer may
 * also be n_labels + 1: no valid answer at all, which is never right.
 */

#include <stdbool.h>

#include "annotate/labels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* counts[right][answer], [n_labels + 1][n_labels + 2], row-major. */
typedef struct {
    int n_labels;
    const double *counts;
} emc_confusion;

/* Right answers over all. NaN without any item, as everything below. */
double emc_accuracy(const emc_confusion *c);
/* Of those with a valid answer. */
double emc_accuracy_valid(const emc_confusion *c);

/* Of one class 0 .. n_labels: precision is 0 where nothing was answered so, recall and F1 are NaN
 * where the class has no item. F1 = 2 TP / (items + answers). */
typedef struct {
    double n, n_predicted, precision, recall, f1;
} emc_class_score;
emc_class_score emc_class_scores(const emc_confusion *c, int label);

/* The mean recall, the mean F1, and the F1 weighted by items: over the classes that have items. A
 * class that was only answered takes part through the precision of the others. */
double emc_balanced_accuracy(const emc_confusion *c);
double emc_macro_f1(const emc_confusion *c);
double emc_weighted_f1(const emc_confusion *c);

/* Matthews' correlation for several classes; 0 where one side is constant. "No valid answer" is an
 * answer of its own. Gorodkin 2004, Comput. Biol. Chem. 28:367. */
double emc_mcc(const emc_confusion *c);
/* Cohen's kappa; NaN where chance alone agrees always. Cohen 1960, Educ. Psychol. Meas. 20:37. */
double emc_kappa(const emc_confusion *c);

/* What an answer is worth beside the right one. Ancestors are those of emc_labels_ancestors without
 * trivial ones: "cell", "embryonic cell", "native cell", "animal cell". */
typedef struct {
    double sctab;   /* 1: the label or a subtype of it; a parent is wrong (scTab's rule: Fischer et
                       al. 2024, Nat. Commun. 15:6611) */
    double graded;  /* 3 the label, 2 a subtype, 1 an ancestor or a label with an ancestor in
                       common, 0 (the grades of LICT) */
    double lineage; /* 1: of the same lineage */
    double n_common, n_right, n_predicted; /* ancestors, the labels themselves included: in common,
                                              of the right one, of the answer */
} emc_worth;

/* gold and predicted as classes above; "unknown" has no ancestors. */
void emc_worth_of(emc_worth *out, const emc_labels *labels, int gold, int predicted);

/*
 * The name of a label's lineage: its topmost ancestor that is neither trivial nor one of the
 * progenitors that nearly everything descends from ("Prelineage", "ICM"); the label itself where
 * there is none. Borrowed from the labels.
 */
const char *emc_lineage(const emc_labels *labels, int label);

/* 2 P R / (P + R), P = sum n_common / sum n_predicted, R = sum n_common / sum n_right. Kiritchenko
 * et al. 2006, Canadian AI. */
double emc_hierarchical_f1(double n_common, double n_right, double n_predicted);

#ifdef __cplusplus
}
#endif
