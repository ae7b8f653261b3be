#pragma once
/*
 * From predictions to figures: evaluation.json and leaderboard.csv of an evaluation folder, which
 * the report (annotate/report) is made from.
 *
 * evaluation.json, all keys always there; a number that does not exist is null. An INTERVAL is
 * {"value", "low", "high"}: 95 %, bootstrap over embryos (over items where no embryo is told).
 *
 *   format      "emcell evaluation", version 1, emcell "0.1.0"
 *   command     [argv...] without secrets
 *   benchmark   {name, version, description, source, official, path, hash, split, n_items,
 *                n_embryos, n_datasets, n_train}
 *   labels      [{label, parent, lineage, cl, n, n_train}] in order; lineage: the top ancestor that
 *               is not trivial
 *   settings    {seed, n_bootstrap, held_out, bins}
 *   systems     [SYSTEM] in order of falling macro-F1, ties by name
 *   paired      [{a, b, n, difference (accuracy of a - b), low, high, p_bootstrap, p_mcnemar,
 *                 a_only, b_only}] every pair of systems of the plain pass
 *   sweeps      [{system, kind, points: [{level, n, accuracy, macro_f1, same_as_plain}]}]; kind:
 *               "n_genes", "dropout", "shuffle", "candidate_order", "wording"
 *   open_set    [{system, label, n_known, n_unknown, auroc, fpr95, unknown_precision,
 *                 unknown_recall}]
 *   notes       [string]
 *
 * SYSTEM:
 *   name kind description settings (object) hash (of settings and predictions)
 *   n n_embryos n_datasets
 *   outcomes    {label, unknown, invalid, off_list, empty, refused, failed} counts, sum n
 *   rates       {invalid, off_list, empty (refused ones, too), format_failure, truncated, several}
 * each an INTERVAL metrics     {accuracy, accuracy_valid, balanced_accuracy, macro_f1, weighted_f1,
 * mcc, kappa, sctab_accuracy, graded, lineage_accuracy, hierarchical_f1, ece_width, ece_mass,
 *                brier, nll, aurc, coverage_80, coverage_90, coverage_95} each an INTERVAL or null
 *   classes     [{label, n, n_predicted, precision, recall, f1, few}] in label order; few: n < 20
 *   confusion   [[count]] rows: right labels, then "unknown" where there are such items; columns:
 *               labels, then "unknown", then "no label" (all other outcomes)
 *   reliability {width: [{low, high, n, confidence, accuracy}], mass: [...]} or null
 *   risk        [{coverage, risk}] at most 101 points, or null
 *   embryos datasets   [{name, n, n_right, accuracy, low, high, macro_f1}]; Wilson's 95 %
 *   mistakes    [{gold, predicted, n, cells: [{id, embryo, score, genes: [...], speak_for: [...],
 *                 speak_against: [...]}]}] the ten commonest, three cells each: of its first 50
 *               genes those that are markers of the predicted and of the right label
 *   usage       {seconds, n_prompt_tokens, n_answer_tokens, n_tries, n_cached, cost, currency}
 */

#include "annotate/evaluate/benchmark.h"
#include "annotate/evaluate/prediction.h"
#include "annotate/evaluate/system.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One pass of one system over the same items, plain or changed by a sweep. */
typedef struct {
    const char *system; /* the name of one of systems */
    const char *sweep;  /* NULL: the plain pass; the kind; "open_set" */
    const char *level;  /* "50"; "": plain; the label held out */
    const emc_predictions *predictions;
} emc_scored_pass;

typedef struct {
    const emc_benchmark *benchmark;
    const int *items; /* [n_items] that were asked, in every pass */
    int n_items;
    const int *train;
    int n_train;
    const char *split;
    emc_system *const *systems; /* names, kinds, settings */
    int n_systems;
    const emc_scored_pass *passes;
    int n_passes;
    const double *seconds; /* [n_systems] of the plain pass */
    uint64_t seed;
    int n_bootstrap; /* 1000 */
    int n_bins;      /* 15 */
    const char *version;
    const char *const *command;
    int n_command;
    const char *const *notes;
    int n_notes;
} emc_evaluation;

/* Writes evaluation.json and leaderboard.csv into the folder, each when whole. The bytes depend on
 * the evaluation alone. EMC_ERR_CONFIG: an item of a pass without a prediction (an item is never
 * left out). EMC_ERR_CREATE, EMC_ERR_IO. */
emc_status emc_evaluation_write(const emc_evaluation *evaluation, const char *folder);

#ifdef __cplusplus
}
#endif
