/* evaluation.json and leaderboard.csv; annotate/evaluate/results.h has the keys. */

#include "annotate/evaluate/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/results_parts.h"
#include "base/file.h"
#include "base/size.h"
#include "cells/result.h"

emc_status results_add_number(emc_text *out, const char *key, double value)
{
    return isfinite(value) ? emc_text_addf(out, "\"%s\": %.12g", key, value)
                           : emc_text_addf(out, "\"%s\": null", key);
}

emc_status results_add_string(emc_text *out, const char *key, const char *value)
{
    EMC_TRY(emc_text_addf(out, "\"%s\": ", key));
    return value ? emc_text_add_json(out, value, strlen(value)) : emc_text_add_string(out, "null");
}

static emc_status add_benchmark(emc_text *out, const emc_evaluation *e)
{
    const emc_benchmark_info *info = emc_benchmark_get(e->benchmark);
    char hash[EMC_HASH_TEXT];
    int n_embryos, n_datasets;

    EMC_TRY(results_count(&n_embryos, &n_datasets, e));
    emc_hash_text(hash, &info->hash);
    EMC_TRY(emc_text_add_string(out, " \"benchmark\": {"));
    EMC_TRY(results_add_string(out, "name", info->name));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "version", info->version));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "description", info->description));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "source", info->source));
    EMC_TRY(emc_text_addf(out, ", \"official\": %s, ", info->official ? "true" : "false"));
    EMC_TRY(results_add_string(out, "path", info->path));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "hash", hash));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "split", e->split));
    return emc_text_addf(out,
                         ", \"n_items\": %d, \"n_embryos\": %d, \"n_datasets\": %d, \"n_train\": "
                         "%d},\n",
                         e->n_items, n_embryos, n_datasets, e->n_train);
}

static int count_label(const emc_evaluation *e, const int *items, int n, int label)
{
    int count = 0;

    for (int i = 0; i < n; i++)
        count += emc_benchmark_item(e->benchmark, items[i])->label == label;
    return count;
}

static emc_status add_labels(emc_text *out, const emc_evaluation *e)
{
    const emc_labels *labels = emc_benchmark_labels(e->benchmark);
    const int n = emc_labels_count(labels);

    EMC_TRY(emc_text_add_string(out, " \"labels\": [\n"));
    for (int i = 0; i < n; i++) {
        const emc_profile_label *label = emc_labels_get(labels, i);
        EMC_TRY(emc_text_add_string(out, "  {"));
        EMC_TRY(results_add_string(out, "label", label->label));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_string(out, "parent", label->parent));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_string(out, "lineage", emc_lineage(labels, i)));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(results_add_string(out, "cl", label->cl));
        EMC_TRY(emc_text_addf(out, ", \"n\": %d, \"n_train\": %d}%s\n",
                              count_label(e, e->items, e->n_items, i),
                              count_label(e, e->train, e->n_train, i), i + 1 < n ? "," : ""));
    }
    return emc_text_add_string(out, " ],\n");
}

static emc_status add_strings(emc_text *out, const char *key, const char *const *strings, int n)
{
    EMC_TRY(emc_text_addf(out, " \"%s\": [", key));
    for (int i = 0; i < n; i++) {
        EMC_TRY(emc_text_add_string(out, i > 0 ? ", " : ""));
        EMC_TRY(emc_text_add_json(out, strings[i], strlen(strings[i])));
    }
    return emc_text_add_string(out, "]");
}

/* --- pairs --- */

static emc_status add_pair(emc_text *out, const emc_evaluation *e, const system_result *a,
                           const system_result *b, double *differences)
{
    const int n = e->n_bootstrap;
    int64_t a_only = 0, b_only = 0;

    for (int i = 0; i < e->n_items; i++) {
        a_only += a->scored.right[i] > b->scored.right[i];
        b_only += b->scored.right[i] > a->scored.right[i];
    }
    for (int i = 0; i < n; i++)
        differences[i] = a->accuracies[i] - b->accuracies[i];
    const double p = n > 0 && !isnan(differences[0]) ? emc_bootstrap_p(differences, n) : NAN;
    EMC_TRY(emc_text_add_string(out, "  {"));
    EMC_TRY(results_add_string(out, "a", a->system->name));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_string(out, "b", b->system->name));
    EMC_TRY(emc_text_addf(out, ", \"n\": %d, ", e->n_items));
    EMC_TRY(results_add_number(
        out, "difference", a->figures[METRIC_ACCURACY].value - b->figures[METRIC_ACCURACY].value));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "low", emc_quantile(differences, n, 0.025)));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "high", emc_quantile(differences, n, 0.975)));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "p_bootstrap", p));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(results_add_number(out, "p_mcnemar", emc_mcnemar(a_only, b_only)));
    return emc_text_addf(out, ", \"a_only\": %lld, \"b_only\": %lld}", (long long)a_only,
                         (long long)b_only);
}

static emc_status add_pairs(emc_text *out, const emc_evaluation *e, const system_result *results)
{
    double *differences;
    bool is_first = true;
    emc_status status;

    EMC_TRY(emc_alloc(&differences, (size_t)e->n_bootstrap + 1, sizeof *differences, "pairs"));
    status = emc_text_add_string(out, " \"paired\": [\n");
    for (int a = 0; a < e->n_systems; a++)
        for (int b = a + 1; b < e->n_systems && status == EMC_OK; b++) {
            status = emc_text_add_string(out, is_first ? "" : ",\n");
            if (status == EMC_OK)
                status = add_pair(out, e, &results[a], &results[b], differences);
            is_first = false;
        }
    free(differences);
    EMC_TRY(status);
    return emc_text_add_string(out, is_first ? " ],\n" : "\n ],\n");
}

/* --- sweeps and held-out labels --- */

static const system_result *result_of(const system_result *results, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(results[i].system->name, name) == 0)
            return &results[i];
    return NULL;
}

static emc_status add_point(emc_text *out, const emc_evaluation *e, const emc_scored_pass *pass,
                            const system_result *plain, const double *ones)
{
    scored s;
    double figures[N_FIGURES], same = 0;
    emc_status status = scored_make(&s, e, pass->predictions, false, -1);

    if (status == EMC_OK) {
        scored_figures(figures, &s, ones);
        for (int i = 0; i < s.n && plain; i++)
            same += s.answer[i] == plain->scored.answer[i];
        status = emc_text_add_string(out, "{");
    }
    if (status == EMC_OK)
        status = results_add_string(out, "level", pass->level);
    if (status == EMC_OK)
        status = emc_text_addf(out, ", \"n\": %d, ", e->n_items);
    if (status == EMC_OK)
        status = results_add_number(out, "accuracy", figures[METRIC_ACCURACY]);
    if (status == EMC_OK)
        status = emc_text_add_string(out, ", ");
    if (status == EMC_OK)
        status = results_add_number(out, "macro_f1", figures[METRIC_MACRO_F1]);
    if (status == EMC_OK)
        status = emc_text_add_string(out, ", ");
    if (status == EMC_OK)
        status = results_add_number(out, "same_as_plain", plain ? same / e->n_items : NAN);
    scored_free(&s);
    EMC_TRY(status);
    return emc_text_add_string(out, "}");
}

static bool is_sweep(const emc_scored_pass *pass)
{
    return pass->sweep && strcmp(pass->sweep, "open_set") != 0;
}

static emc_status add_sweeps(emc_text *out, const emc_evaluation *e, const system_result *results,
                             const double *ones)
{
    bool is_first = true;

    EMC_TRY(emc_text_add_string(out, " \"sweeps\": [\n"));
    for (int i = 0; i < e->n_passes; i++) {
        const emc_scored_pass *pass = &e->passes[i];
        if (!is_sweep(pass))
            continue;
        const emc_scored_pass *before = i > 0 ? &e->passes[i - 1] : NULL;
        const bool goes_on = before && is_sweep(before) &&
                             strcmp(before->sweep, pass->sweep) == 0 &&
                             strcmp(before->system, pass->system) == 0;
        if (!goes_on) {
            EMC_TRY(emc_text_add_string(out, is_first ? "  {" : "]},\n  {"));
            EMC_TRY(results_add_string(out, "system", pass->system));
            EMC_TRY(emc_text_addf(out, ", \"kind\": \"%s\", \"points\": [", pass->sweep));
            is_first = false;
        } else {
            EMC_TRY(emc_text_add_string(out, ", "));
        }
        EMC_TRY(add_point(out, e, pass, result_of(results, e->n_systems, pass->system), ones));
    }
    return emc_text_add_string(out, is_first ? " ],\n" : "]}\n ],\n");
}

static int label_named(const emc_evaluation *e, const char *name)
{
    const emc_labels *labels = emc_benchmark_labels(e->benchmark);

    for (int i = 0; i < emc_labels_count(labels); i++)
        if (strncmp(emc_labels_get(labels, i)->label, name, 90) == 0)
            return i;
    return -1;
}

/* Confidences of items that are known and of those that are not; items without a number count as
 * the least sure. */
static emc_status add_open_set_row(emc_text *out, const emc_evaluation *e,
                                   const emc_scored_pass *pass)
{
    scored s;
    double *known = NULL, *unknown = NULL, said = 0, said_right = 0;
    int n_known = 0, n_unknown = 0;
    emc_status status = scored_make(&s, e, pass->predictions, false, label_named(e, pass->level));

    if (status == EMC_OK)
        status = emc_alloc(&known, (size_t)s.n + 1, sizeof *known, "scores");
    if (status == EMC_OK)
        status = emc_alloc(&unknown, (size_t)s.n + 1, sizeof *unknown, "scores");
    for (int i = 0; i < s.n && status == EMC_OK; i++) {
        const int item = s.order[i];
        const bool is_unknown = s.gold[item] == s.n_labels;
        const bool says_unknown = s.answer[item] == s.n_labels;
        if (is_unknown)
            unknown[n_unknown++] = s.confidence[i];
        else
            known[n_known++] = s.confidence[i];
        said += says_unknown;
        said_right += says_unknown && is_unknown;
    }
    if (status == EMC_OK)
        status = emc_text_add_string(out, "  {");
    if (status == EMC_OK)
        status = results_add_string(out, "system", pass->system);
    if (status == EMC_OK)
        status = emc_text_add_string(out, ", ");
    if (status == EMC_OK)
        status = results_add_string(out, "label", pass->level);
    if (status == EMC_OK)
        status = emc_text_addf(out, ", \"n_known\": %d, \"n_unknown\": %d, ", n_known, n_unknown);
    const double figures[] = {
        s.has_scores ? emc_auroc(known, n_known, unknown, n_unknown) : NAN,
        s.has_scores ? emc_fpr95(known, n_known, unknown, n_unknown) : NAN,
        said > 0 ? said_right / said : NAN,
        n_unknown > 0 ? said_right / n_unknown : NAN,
    };
    static const char *const names[] = {"auroc", "fpr95", "unknown_precision", "unknown_recall"};
    for (size_t i = 0; i < EMC_COUNT(figures) && status == EMC_OK; i++) {
        status = emc_text_add_string(out, i > 0 ? ", " : "");
        if (status == EMC_OK)
            status = results_add_number(out, names[i], figures[i]);
    }
    free(known);
    free(unknown);
    scored_free(&s);
    EMC_TRY(status);
    return emc_text_add_string(out, "}");
}

static emc_status add_open_set(emc_text *out, const emc_evaluation *e)
{
    bool is_first = true;

    EMC_TRY(emc_text_add_string(out, " \"open_set\": [\n"));
    for (int i = 0; i < e->n_passes; i++) {
        if (!e->passes[i].sweep || strcmp(e->passes[i].sweep, "open_set") != 0)
            continue;
        EMC_TRY(emc_text_add_string(out, is_first ? "" : ",\n"));
        EMC_TRY(add_open_set_row(out, e, &e->passes[i]));
        is_first = false;
    }
    return emc_text_add_string(out, is_first ? " ],\n" : "\n ],\n");
}

/* --- the whole --- */

static emc_status add_document(emc_text *out, const emc_evaluation *e, const system_result *results,
                               const int *order, const double *ones)
{
    const char *held_out = NULL;

    for (int i = 0; i < e->n_passes; i++)
        if (e->passes[i].sweep && strcmp(e->passes[i].sweep, "open_set") == 0)
            held_out = e->passes[i].level;
    EMC_TRY(emc_text_add_string(out, "{\n \"format\": \"emcell evaluation\", \"version\": 1, "));
    EMC_TRY(results_add_string(out, "emcell", e->version ? e->version : "unknown"));
    EMC_TRY(emc_text_add_string(out, ",\n"));
    EMC_TRY(add_strings(out, "command", e->command, e->n_command));
    EMC_TRY(emc_text_add_string(out, ",\n"));
    EMC_TRY(add_benchmark(out, e));
    EMC_TRY(add_labels(out, e));
    EMC_TRY(emc_text_addf(out, " \"settings\": {\"seed\": %llu, \"n_bootstrap\": %d, ",
                          (unsigned long long)e->seed, e->n_bootstrap));
    EMC_TRY(results_add_string(out, "held_out", held_out));
    EMC_TRY(emc_text_addf(out, ", \"bins\": %d},\n \"systems\": [\n", e->n_bins));
    for (int i = 0; i < e->n_systems; i++) {
        EMC_TRY(results_add_system(out, e, &results[order[i]]));
        EMC_TRY(emc_text_add_string(out, i + 1 < e->n_systems ? ",\n" : "\n"));
    }
    EMC_TRY(emc_text_add_string(out, " ],\n"));
    EMC_TRY(add_pairs(out, e, results));
    EMC_TRY(add_sweeps(out, e, results, ones));
    EMC_TRY(add_open_set(out, e));
    EMC_TRY(add_strings(out, "notes", e->notes, e->n_notes));
    return emc_text_add_string(out, "\n}\n");
}

static emc_status write_text(const emc_text *text, const char *folder, const char *name)
{
    emc_out_file *file = NULL;
    char *path;
    emc_status status;

    EMC_TRY(emc_path_join(&path, folder, name));
    status = emc_out_file_open(&file, path);
    if (status == EMC_OK)
        status = emc_out_file_write(file, text->bytes, text->n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    free(path);
    return status;
}

#define N_LEADING 7

static emc_status add_row(emc_table *table, const emc_evaluation *e, const system_result *r,
                          int n_embryos, int n_datasets)
{
    const emc_benchmark_info *info = emc_benchmark_get(e->benchmark);

    EMC_TRY(emc_table_string(table, info->name));
    EMC_TRY(emc_table_string(table, e->split));
    EMC_TRY(emc_table_string(table, r->system->name));
    EMC_TRY(emc_table_string(table, r->system->kind));
    EMC_TRY(emc_table_int(table, e->n_items));
    EMC_TRY(emc_table_int(table, n_embryos));
    EMC_TRY(emc_table_int(table, n_datasets));
    for (int f = 0; f < N_FIGURES; f++) {
        EMC_TRY(emc_table_float(table, r->figures[f].value));
        EMC_TRY(emc_table_float(table, r->figures[f].low));
        EMC_TRY(emc_table_float(table, r->figures[f].high));
    }
    return emc_table_end_row(table);
}

static emc_status write_leaderboard(const emc_evaluation *e, const system_result *results,
                                    const int *order, const char *folder)
{
    static const char *const leading[N_LEADING] = {"benchmark", "split",     "system",    "kind",
                                                   "n_cells",   "n_embryos", "n_datasets"};
    emc_column columns[N_LEADING + 3 * N_FIGURES] = {{0}};
    char names[3 * N_FIGURES][40], *path = NULL;
    emc_table *table = NULL;
    int n_embryos, n_datasets;

    for (int i = 0; i < N_LEADING; i++)
        columns[i] =
            (emc_column){.name = leading[i], .type = i < 4 ? EMC_COLUMN_STRING : EMC_COLUMN_INT};
    for (int f = 0; f < 3 * N_FIGURES; f++) {
        static const char *const endings[] = {"", "_low", "_high"};
        snprintf(names[f], sizeof names[f], "%s%s", figure_names[f / 3], endings[f % 3]);
        columns[N_LEADING + f] =
            (emc_column){.name = names[f], .type = EMC_COLUMN_FLOAT, .digits = 6};
    }
    EMC_TRY(results_count(&n_embryos, &n_datasets, e));
    EMC_TRY(emc_path_join(&path, folder, "leaderboard.csv"));
    emc_status status =
        emc_table_open(&table, path, EMC_TABLE_CSV, columns, (int)EMC_COUNT(columns));
    for (int i = 0; i < e->n_systems && status == EMC_OK; i++)
        status = add_row(table, e, &results[order[i]], n_embryos, n_datasets);
    if (status == EMC_OK)
        status = emc_table_commit(table);
    emc_table_close(table);
    free(path);
    return status;
}

/* The better one first: by macro-F1, then by name. */
static bool is_before(const system_result *a, const system_result *b)
{
    const double x = a->figures[METRIC_MACRO_F1].value, y = b->figures[METRIC_MACRO_F1].value;

    if (isnan(x) != isnan(y))
        return isnan(y);
    if (x != y && !isnan(x))
        return x > y;
    return strcmp(a->system->name, b->system->name) < 0;
}

static void sort_systems(int *order, const system_result *results, int n)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && is_before(&results[i], &results[order[at - 1]]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static emc_status fill_results(system_result *results, const emc_evaluation *e)
{
    for (int s = 0; s < e->n_systems; s++) {
        system_result *r = &results[s];
        r->system = e->systems[s];
        r->seconds = e->seconds ? e->seconds[s] : 0;
        for (int i = 0; i < e->n_passes; i++)
            if (!e->passes[i].sweep && strcmp(e->passes[i].system, r->system->name) == 0)
                r->predictions = e->passes[i].predictions;
        if (!r->predictions)
            return emc_fail(EMC_ERR_CONFIG, "system \"%s\" has no plain pass", r->system->name);
        EMC_TRY(scored_make(&r->scored, e, r->predictions, r->system->has_probs, -1));
    }
    return EMC_OK;
}

emc_status emc_evaluation_write(const emc_evaluation *evaluation, const char *folder)
{
    const emc_evaluation *e = evaluation;
    system_result *results = NULL;
    emc_text text = {0};
    double *ones = NULL;
    int *order = NULL;
    emc_status status = emc_alloc(&results, (size_t)e->n_systems + 1, sizeof *results, "systems");

    if (status == EMC_OK)
        status = emc_alloc(&order, (size_t)e->n_systems + 1, sizeof *order, "systems");
    if (status == EMC_OK)
        status = emc_alloc(&ones, (size_t)e->n_items + 1, sizeof *ones, "items");
    for (int i = 0; i < e->n_items && status == EMC_OK; i++)
        ones[i] = 1;
    if (status == EMC_OK)
        status = fill_results(results, e);
    if (status == EMC_OK)
        status = bootstrap_systems(results, e->n_systems, e, ones);
    if (status == EMC_OK) {
        sort_systems(order, results, e->n_systems);
        status = add_document(&text, e, results, order, ones);
    }
    if (status == EMC_OK)
        status = write_text(&text, folder, "evaluation.json");
    if (status == EMC_OK)
        status = write_leaderboard(e, results, order, folder);
    for (int s = 0; results && s < e->n_systems; s++) {
        scored_free(&results[s].scored);
        free(results[s].accuracies);
    }
    emc_text_free(&text);
    free(results);
    free(order);
    free(ones);
    return status;
}
