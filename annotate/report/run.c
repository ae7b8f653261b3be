/* The page of a run folder: what came out, how sure the model was, how fast it went. */

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "annotate/ledger.h"
#include "annotate/report/chart.h"
#include "annotate/report/run_tally.h"
#include "base/file.h"
#include "base/size.h"

#define MOST_GROUPS 200 /* rows of the heat map of clusters; the largest are shown */

typedef struct {
    const char *dir;
    emc_plan plan;
    emc_survey survey;
    tally tally;
} run;

static void summary(page *p, const run *r)
{
    char text[PAGE_NUMBER];

    if (r->survey.n_done < r->survey.n_shards) {
        char done[PAGE_NUMBER], all[PAGE_NUMBER];
        page_count(done, (double)r->tally.n_cells);
        page_count(all, (double)r->plan.n_cells);
        page_f(p,
               "<p class=\"warn\">This run is not finished: %s of %s cells are done. The page is "
               "about those.</p>\n",
               done, all);
    }
    if (r->survey.n_damaged > 0)
        page_f(p,
               "<p class=\"warn\">%lld shard files are damaged and left out; <code>emcell annotate "
               "--resume</code> computes them again.</p>\n",
               (long long)r->survey.n_damaged);
    page_raw(p, "<dl class=\"facts\">\n");
    page_count(text, (double)r->tally.n_cells);
    page_fact(p, "cells", text);
    page_count(text, (double)r->tally.n_status[EMC_CELL_OK]);
    page_fact(p, "with a label", text);
    page_number(text,
                r->survey.n_scores > 0 ? r->survey.sum_score / (double)r->survey.n_scores : NAN, 3);
    page_fact(p, "mean probability", text);
    page_fact(p, "answer", emc_plan_get(&r->plan.pins, "--answer"));
    page_fact(p, "genes a cell", emc_plan_get(&r->plan.pins, "--n-genes"));
    page_fact(p, "profile", emc_plan_get(&r->plan.notes, "profile_name"));
    page_fact(p, "gene names", emc_plan_get(&r->plan.notes, "gene_match"));
    page_raw(p, "</dl>\n");
}

static int by_falling_count(const void *a, const void *b)
{
    const chart_bar *x = a, *y = b;

    return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static emc_status labels(page *p, const run *r)
{
    static const char *const heads[] = {"label", "ontology", "cells",  "share", "likeliest for",
                                        "5 %",   "25 %",     "median", "75 %",  "95 %"};
    static const double quantiles[] = {0.05, 0.25, 0.5, 0.75, 0.95};
    chart_bar *bars = NULL;
    char(*numbers)[2 * PAGE_NUMBER] = NULL;
    const tally *t = &r->tally;
    int n = 0;
    emc_status status = emc_alloc(&bars, (size_t)t->n_labels + 1, sizeof *bars, "bars");

    if (status == EMC_OK)
        status = emc_alloc(&numbers, (size_t)t->n_labels + 1, sizeof *numbers, "bars");
    if (status != EMC_OK)
        goto done;
    for (int i = 0; i < t->n_labels; i++)
        if (t->n_label[i] > 0)
            bars[n++] = (chart_bar){r->plan.labels[i].label, (double)t->n_label[i], NULL};
    qsort(bars, (size_t)n, sizeof *bars, by_falling_count);
    for (int i = 0; i < n; i++) {
        page_count(numbers[i], bars[i].count);
        const size_t at = strlen(numbers[i]);
        snprintf(numbers[i] + at, sizeof numbers[i] - at, " (%.1f %%)",
                 100 * bars[i].count / (double)t->n_cells);
        bars[i].right = numbers[i];
    }
    page_section(p, "labels", "Labels");
    page_raw(p, "<div class=\"side\">\n<figure><figcaption>Cells with each label</figcaption>\n");
    chart_bars(p, "Cells with each label", bars, n);
    page_raw(p, "</figure>\n<div>\n");
    page_table_begin(p,
                     "Quantiles of the probability, over the cells for which the label is the "
                     "likeliest; to 0.001.",
                     heads, EMC_COUNT(heads), "llrrrrrrrr");
    for (int i = 0; i <= t->n_labels; i++) {
        int64_t n_likeliest = 0;
        for (int b = 0; b < TALLY_BINS; b++)
            n_likeliest += t->bins[(size_t)i * TALLY_BINS + (size_t)b];
        const bool is_all = i == t->n_labels;
        if (n_likeliest == 0 && (is_all || t->n_label[i] == 0))
            continue;
        page_row(p);
        page_head_cell(p, is_all ? "all" : r->plan.labels[i].label);
        page_cell_text(p, is_all ? "" : r->plan.labels[i].cl);
        const int64_t count = is_all ? t->n_status[EMC_CELL_OK] : t->n_label[i];
        page_cell_count(p, (double)count);
        page_cell_number(p, (double)count / (double)t->n_cells, 3);
        page_cell_count(p, (double)n_likeliest);
        for (size_t q = 0; q < EMC_COUNT(quantiles); q++)
            page_cell_number(p, tally_quantile(t, i, quantiles[q]), 3);
    }
    page_table_end(p);
    page_raw(p, "</div>\n</div>\n");
done:
    free(numbers);
    free(bars);
    return status;
}

static void statuses(page *p, const run *r)
{
    static const char *const heads[] = {"status", "reason", "cells", "share"};
    const tally *t = &r->tally;

    page_section(p, "status", "How the cells ended");
    page_table_begin(p, NULL, heads, EMC_COUNT(heads), "llrr");
    page_row(p);
    page_head_cell(p, emc_cell_status_name(EMC_CELL_OK));
    page_cell_text(p, "");
    page_cell_count(p, (double)t->n_status[EMC_CELL_OK]);
    page_cell_number(p, (double)t->n_status[EMC_CELL_OK] / (double)t->n_cells, 4);
    for (int s = 0; s < EMC_N_CELL_STATUSES; s++)
        for (int i = 0; i < t->n_reasons; i++) {
            if (t->reasons[i].status != (emc_cell_status)s)
                continue;
            page_row(p);
            page_head_cell(p, emc_cell_status_name((emc_cell_status)s));
            page_cell_text(p, t->reasons[i].reason);
            page_cell_count(p, (double)t->reasons[i].n);
            page_cell_number(p, (double)t->reasons[i].n / (double)t->n_cells, 4);
        }
    page_table_end(p);
}

typedef struct {
    int group;
    double n;
} sized_group;

static int by_falling_size(const void *a, const void *b)
{
    const sized_group *x = a, *y = b;

    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return (x->group > y->group) - (x->group < y->group);
}

/* Labels that no shown group has are left out of the drawing. */
static emc_status clusters(page *p, const run *r, const char *column)
{
    const tally *t = &r->tally;
    const int n_groups = emc_groups_count(t->groups), n_all = t->n_labels + 1;
    sized_group *order = NULL;
    const char **rows = NULL, **columns = NULL;
    double *counts = NULL;
    int *kept = NULL, n_kept = 0;
    emc_status status = emc_alloc(&order, (size_t)n_groups + 1, sizeof *order, "clusters");

    if (status == EMC_OK)
        status = emc_alloc(&rows, (size_t)n_groups + 1, sizeof *rows, "clusters");
    if (status == EMC_OK)
        status = emc_alloc(&columns, (size_t)n_all, sizeof *columns, "labels");
    if (status == EMC_OK)
        status = emc_alloc(&kept, (size_t)n_all, sizeof *kept, "labels");
    if (status != EMC_OK)
        goto done;
    for (int g = 0; g < n_groups; g++) {
        order[g] = (sized_group){g, 0};
        for (int i = 0; i < n_all; i++)
            order[g].n += t->by_group[(size_t)g * (size_t)n_all + (size_t)i];
    }
    qsort(order, (size_t)n_groups, sizeof *order, by_falling_size);
    const int n_shown = n_groups < MOST_GROUPS ? n_groups : MOST_GROUPS;
    for (int i = 0; i < n_all; i++) {
        bool used = false;
        for (int g = 0; g < n_shown; g++)
            used |= t->by_group[(size_t)order[g].group * (size_t)n_all + (size_t)i] > 0;
        if (!used)
            continue;
        columns[n_kept] = i < t->n_labels ? r->plan.labels[i].label : "no label";
        kept[n_kept++] = i;
    }
    status = emc_alloc(&counts, (size_t)n_shown * (size_t)n_kept + 1, sizeof *counts, "clusters");
    if (status != EMC_OK)
        goto done;
    for (int g = 0; g < n_shown; g++) {
        rows[g] = emc_groups_name(t->groups, order[g].group);
        for (int i = 0; i < n_kept; i++)
            counts[(size_t)g * (size_t)n_kept + (size_t)i] =
                t->by_group[(size_t)order[g].group * (size_t)n_all + (size_t)kept[i]];
    }
    page_section(p, "clusters", "Clusters and labels");
    page_note(p,
              "Column \"%s\" of the input in rows, labels in columns; as dark as the share of "
              "the row. Largest clusters first%s.",
              column, n_shown < n_groups ? ", the first 200" : "");
    chart_heat(p, "Clusters and labels", rows, n_shown, columns, n_kept, counts, 0);
done:
    free(counts);
    free(kept);
    free(columns);
    free(rows);
    free(order);
    return status;
}

static void unsure(page *p, const run *r)
{
    static const char *const heads[] = {"cell", "row in the file", "likeliest", "probability",
                                        "next", "its probability", "status"};
    const tally *t = &r->tally;

    if (t->n_low == 0)
        return;
    page_section(p, "low", "Cells of low confidence");
    page_table_begin(p, "The lowest probabilities of all cells that were answered.", heads,
                     EMC_COUNT(heads), "lrlrlrl");
    for (int i = 0; i < t->n_low; i++) {
        const tally_cell *c = &t->low[i];
        page_row(p);
        page_head_cell(p, c->cell_id);
        page_cell_count(p, (double)c->row);
        page_cell_text(p, c->label >= 0 ? r->plan.labels[c->label].label : NULL);
        page_cell_number(p, c->score, 3);
        page_cell_text(p, c->next >= 0 ? r->plan.labels[c->next].label : NULL);
        page_cell_number(p, c->next >= 0 ? c->next_score : NAN, 3);
        page_cell_text(p, emc_cell_status_name(c->status));
    }
    page_table_end(p);
}

typedef struct {
    double time_s;
    double n_cells;
} finished;

static int by_time(const void *a, const void *b)
{
    const finished *x = a, *y = b;

    return (x->time_s > y->time_s) - (x->time_s < y->time_s);
}

/* When each shard's file was made; the cells of the first begin the clock. */
static emc_status speed(page *p, const run *r)
{
    finished *times = NULL;
    chart_point *points = NULL;
    int64_t n = 0;
    double cells = 0, most = 0;
    emc_status status = emc_alloc(&times, (size_t)r->survey.n_shards + 1, sizeof *times, "shards");

    for (int64_t i = 0; i < r->survey.n_shards && status == EMC_OK; i++) {
        emc_shard_head head;
        struct stat at;
        char *path;
        if (r->survey.state[i] != EMC_SHARD_DONE)
            continue;
        emc_plan_shard(&r->plan, i, &head);
        status = emc_ledger_done_path(&path, r->dir, i);
        if (status != EMC_OK)
            break;
        if (stat(path, &at) == 0)
            times[n++] = (finished){(double)at.st_mtim.tv_sec + 1e-9 * (double)at.st_mtim.tv_nsec,
                                    (double)head.n_cells};
        free(path);
    }
    enum { POINTS = 60, SHARDS_A_BIN = 4 };
    if (status == EMC_OK)
        status = emc_alloc(&points, POINTS, sizeof *points, "points of a drawing");
    if (status != EMC_OK || n < 3)
        goto done;
    qsort(times, (size_t)n, sizeof *times, by_time);
    const double begin = times[0].time_s, range = times[n - 1].time_s - begin;
    if (!(range > 0))
        goto done;
    /* Bins of equal time; what finishes in one is its rate. */
    const int n_bins = n / SHARDS_A_BIN < 2        ? 2
                       : n / SHARDS_A_BIN < POINTS ? (int)(n / SHARDS_A_BIN)
                                                   : POINTS;
    const double width = range / n_bins;
    for (int i = 0; i < n_bins; i++)
        points[i] = (chart_point){(i + 0.5) * width, 0, 0};
    for (int64_t i = 1; i < n; i++) {
        int bin = (int)((times[i].time_s - begin) / width);
        bin = bin >= n_bins ? n_bins - 1 : bin;
        points[bin].y += times[i].n_cells / width;
        cells += times[i].n_cells;
    }
    for (int i = 0; i < n_bins; i++)
        most = points[i].y > most ? points[i].y : most;
    page_section(p, "speed", "Cells a second over time");
    page_note(p,
              "From the times at which the files of the shards were made, all workers together: "
              "%.1f cells/s from the first to the last. A pause between two starts shows as a "
              "gap.",
              cells / range);
    const chart_axes axes = {"Cells a second over time",
                             "seconds since the first shard",
                             "cells/s",
                             0,
                             range,
                             0,
                             most,
                             false};
    chart_line(p, &axes, points, n_bins);
done:
    free(points);
    free(times);
    return status;
}

static void record(page *p, const run *r)
{
    static const char *const heads[] = {"what", "value"};
    const char *command = emc_plan_get(&r->plan.notes, "command");
    char hash[EMC_HASH_TEXT];

    page_section(p, "made-by", "How this was made");
    if (command) {
        page_raw(p, "<pre>");
        page_text(p, command);
        page_raw(p, "</pre>\n");
    }
    page_table_begin(p, "What the results depend on, as run.json pins it, and where files were.",
                     heads, EMC_COUNT(heads), "ll");
    emc_hash_text(hash, &r->plan.hash);
    page_row(p);
    page_head_cell(p, "plan");
    page_cell_text(p, hash);
    for (size_t i = 0; i < r->plan.pins.n; i++) {
        page_row(p);
        page_head_cell(p, r->plan.pins.pins[i].name);
        page_cell_text(p, r->plan.pins.pins[i].value);
    }
    for (size_t i = 0; i < r->plan.notes.n; i++) {
        if (strcmp(r->plan.notes.pins[i].name, "command") == 0)
            continue;
        page_row(p);
        page_head_cell(p, r->plan.notes.pins[i].name);
        page_cell_text(p, r->plan.notes.pins[i].value);
    }
    page_table_end(p);
    page_section(p, "reading", "How to read the figures");
    page_note(p, "A probability is the model's own over the label set. It says how sure the model "
                 "is, not how often it is right: emcell evaluate measures that on cells whose type "
                 "is known. Whether the labels fit the tissue is for the reader to check.");
}

static emc_status write_page(page *p, const run *r, const emc_report_run_options *options)
{
    const char *input = emc_plan_get(&r->plan.notes, "input_path");
    const char *name = input ? strrchr(input, '/') : NULL;

    page_begin(p, name ? name + 1 : r->dir, "Cell types by emcell annotate");
    summary(p, r);
    if (r->tally.n_cells > 0) {
        EMC_TRY(labels(p, r));
        statuses(p, r);
        if (r->tally.groups)
            EMC_TRY(clusters(p, r, options->groupby));
        unsure(p, r);
        EMC_TRY(speed(p, r));
    }
    record(p, r);
    return p->status;
}

static void close_run(run *r)
{
    tally_free(&r->tally);
    emc_survey_free(&r->survey);
    emc_plan_free(&r->plan);
}

emc_status emc_report_run(const char *run_dir, const char *output_path,
                          const emc_report_run_options *options)
{
    static const emc_report_run_options none;
    const emc_report_run_options *o = options ? options : &none;
    run r = {.dir = run_dir};
    page p = {0};
    emc_status status = emc_plan_read(&r.plan, run_dir);

    if (status == EMC_OK && strcmp(output_path, "-") != 0 && !o->force &&
        emc_file_exists(output_path))
        status = emc_fail(EMC_ERR_CREATE, "%s: is there already; --force replaces it", output_path);
    if (status == EMC_OK)
        status = emc_survey_make(&r.survey, run_dir, &r.plan);
    if (status == EMC_OK)
        status = tally_run(&r.tally, &r.survey, run_dir, &r.plan, o);
    if (status == EMC_OK)
        status = write_page(&p, &r, o);
    if (status == EMC_OK)
        status = page_commit(&p, output_path);
    else
        emc_text_free(&p.text);
    close_run(&r);
    return status;
}
