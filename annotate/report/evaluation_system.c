/* One system's figures: outcomes, labels, confusion, calibration, embryos, commonest mistakes. */

#include <math.h>
#include <stdlib.h>

#include "annotate/report/evaluation_parts.h"
#include "base/size.h"

static void outcomes(page *p, const cJSON *system)
{
    static const struct {
        const char *key, *meaning;
    } rows[] = {
        {"label", "a label of those offered"},
        {"unknown", "none of them, by its own word or a threshold"},
        {"invalid", "words that mean no label, or several"},
        {"off_list", "a label that was not offered"},
        {"empty", "nothing, or nothing but thoughts"},
        {"refused", "declined to answer"},
        {"failed", "no answer came"},
    };
    static const char *const heads[] = {"outcome", "items", "share", "what it is"};
    const cJSON *counts = page_object(p, system, "outcomes");
    const double n = page_value(p, system, "n");

    page_table_begin(p, "How the items ended", heads, EMC_COUNT(heads), "lrrl");
    for (size_t i = 0; i < EMC_COUNT(rows); i++) {
        const double count = page_value(p, counts, rows[i].key);
        if (!(count > 0) && i > 0)
            continue;
        page_row(p);
        page_head_cell(p, rows[i].key);
        page_cell_count(p, count);
        page_cell_number(p, n > 0 ? count / n : NAN, 3);
        page_cell_text(p, rows[i].meaning);
    }
    page_table_end(p);
}

static void classes(page *p, const cJSON *system)
{
    static const char *const heads[] = {"label",  "cells", "answers", "precision",
                                        "recall", "F1",    ""};
    const cJSON *row;

    page_table_begin(p, "Label by label", heads, EMC_COUNT(heads), "lrrrrrl");
    cJSON_ArrayForEach(row, page_array(p, system, "classes"))
    {
        const double n = page_value(p, row, "n"), n_predicted = page_value(p, row, "n_predicted");
        if (!(n > 0) && !(n_predicted > 0))
            continue;
        page_row(p);
        page_head_cell(p, page_string(p, row, "label"));
        page_cell_count(p, n);
        page_cell_count(p, n_predicted);
        page_cell_number(p, page_value(p, row, "precision"), 3);
        page_cell_number(p, page_value(p, row, "recall"), 3);
        page_cell_number(p, page_value(p, row, "f1"), 3);
        page_cell_text(p, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "few")) ? "few cells"
                                                                                     : "");
    }
    page_table_end(p);
}

/* Rows and columns that hold nothing are left out, so that a drawing is as small as it can be. */
static void confusion(page *p, const cJSON *system, const cJSON *labels)
{
    const int n_labels = cJSON_GetArraySize(labels);
    const cJSON *matrix = page_array(p, system, "confusion"), *row, *value, *label;
    const int n_rows = cJSON_GetArraySize(matrix), most = n_labels + 2;
    const char **names = NULL, **kept_rows = NULL, **kept = NULL;
    double *counts = NULL;
    bool *used = NULL;
    int n_kept = 0, r = 0, i = 0;

    if (p->status != EMC_OK || n_rows == 0)
        return;
    if (n_rows > n_labels + 1) {
        p->status = emc_fail(EMC_ERR_FORMAT, "%s: \"confusion\" has %d rows for %d labels",
                             p->source, n_rows, n_labels);
        return;
    }
    const size_t n = (size_t)most;
    p->status = emc_alloc(&names, n, sizeof *names, "labels");
    if (p->status == EMC_OK)
        p->status = emc_alloc(&kept, n, sizeof *kept, "labels");
    if (p->status == EMC_OK)
        p->status = emc_alloc(&kept_rows, n, sizeof *kept_rows, "labels");
    if (p->status == EMC_OK)
        p->status = emc_alloc(&used, n, sizeof *used, "labels");
    if (p->status == EMC_OK)
        p->status = emc_alloc(&counts, n * n * 2, sizeof *counts, "confusion");
    if (p->status != EMC_OK)
        goto done;
    cJSON_ArrayForEach(label, labels)
    {
        names[i] = page_string(p, label, "label");
        names[i] = names[i] ? names[i] : "";
        i++;
    }
    names[n_labels] = "unknown";
    names[n_labels + 1] = "no label";
    cJSON_ArrayForEach(row, matrix)
    {
        int c = 0;
        cJSON_ArrayForEach(value, row)
        {
            if (c < most && cJSON_IsNumber(value) && value->valuedouble > 0) {
                counts[(size_t)r * n + (size_t)c] = value->valuedouble;
                used[r] = used[c] = true;
            }
            c++;
        }
        r++;
    }
    int n_same = 0, n_kept_rows = 0;
    double *packed = counts + n * n;
    for (int c = 0; c < most; c++)
        if (used[c])
            kept[n_kept++] = names[c];
    for (r = 0; r < n_rows; r++) {
        if (!used[r])
            continue;
        kept_rows[n_kept_rows] = names[r];
        int at = 0;
        for (int c = 0; c < most; c++)
            if (used[c])
                packed[(size_t)n_kept_rows * (size_t)n_kept + (size_t)at++] =
                    counts[(size_t)r * n + (size_t)c];
        n_kept_rows++;
        n_same = n_kept_rows;
    }
    page_raw(p, "<figure><figcaption>Right labels in rows, answers in columns; as dark as the "
                "share of the row.</figcaption>\n");
    chart_heat(p, "Confusion matrix", kept_rows, n_kept_rows, kept, n_kept, packed, n_same);
    page_raw(p, "</figure>\n");
done:
    free(counts);
    free(used);
    free(kept_rows);
    free(kept);
    free(names);
}

/* Points of a list of objects; *n is 0 after a failure. Owned by the caller. */
static chart_point *points_of(page *p, const cJSON *list, const char *x, const char *y,
                              const char *size, int *n)
{
    chart_point *points = NULL;
    const cJSON *item;
    double sum = 0;

    *n = 0;
    if (p->status != EMC_OK || cJSON_GetArraySize(list) == 0)
        return NULL;
    p->status =
        emc_alloc(&points, (size_t)cJSON_GetArraySize(list), sizeof *points, "points of a drawing");
    if (p->status != EMC_OK)
        return NULL;
    cJSON_ArrayForEach(item, list)
    {
        points[*n] = (chart_point){page_value(p, item, x), page_value(p, item, y),
                                   size ? page_value(p, item, size) : 0};
        sum += isfinite(points[*n].size) ? points[*n].size : 0;
        ++*n;
    }
    for (int i = 0; i < *n; i++)
        points[i].size = sum > 0 ? points[i].size / sum : 0;
    return points;
}

static void confidence(page *p, const cJSON *system)
{
    const cJSON *risk = cJSON_GetObjectItemCaseSensitive(system, "risk");
    int n;

    if (page_is_null(system, "reliability") && page_is_null(system, "risk"))
        return;
    page_raw(p, "<h3>How far its probabilities can be trusted</h3>\n<div class=\"pair\">\n");
    if (!page_is_null(system, "reliability")) {
        const cJSON *bins = page_array(p, page_object(p, system, "reliability"), "width");
        chart_point *points = points_of(p, bins, "confidence", "accuracy", "n", &n);
        const chart_axes axes = {
            "Reliability diagram", "probability given", "share right", 0, 1, 0, 1, true};
        page_raw(p, "<figure><figcaption>Reliability: bins of equal width, marks as large as "
                    "their share of the items</figcaption>\n");
        chart_line(p, &axes, points, n);
        page_raw(p, "</figure>\n");
        free(points);
    }
    if (cJSON_IsArray(risk)) {
        chart_point *points = points_of(p, risk, "coverage", "risk", NULL, &n);
        double most = 0.05;
        for (int i = 0; i < n; i++)
            most = points[i].y > most ? points[i].y : most;
        const chart_axes axes = {"Risk and coverage",
                                 "share answered, surest first",
                                 "share wrong",
                                 0,
                                 1,
                                 0,
                                 most,
                                 false};
        page_raw(p, "<figure><figcaption>Risk when only the surest are kept</figcaption>\n");
        chart_line(p, &axes, points, n);
        page_raw(p, "</figure>\n");
        free(points);
    }
    page_raw(p, "</div>\n");
}

static void groups(page *p, const cJSON *system, const char *key, const char *caption)
{
    static const char *const heads[] = {"name", "cells", "right", "accuracy", "95 %", "macro-F1"};
    const cJSON *row, *list = page_array(p, system, key);

    if (cJSON_GetArraySize(list) == 0)
        return;
    page_table_begin(p, caption, heads, EMC_COUNT(heads), "lrrrrr");
    cJSON_ArrayForEach(row, list)
    {
        char low[PAGE_NUMBER], high[PAGE_NUMBER];
        page_row(p);
        page_head_cell(p, page_string(p, row, "name"));
        page_cell_count(p, page_value(p, row, "n"));
        page_cell_count(p, page_value(p, row, "n_right"));
        page_cell_number(p, page_value(p, row, "accuracy"), 3);
        page_number(low, page_value(p, row, "low"), 2);
        page_number(high, page_value(p, row, "high"), 2);
        page_f(p, "<td class=\"r\">%s\u2013%s</td>", low, high);
        page_cell_number(p, page_value(p, row, "macro_f1"), 3);
    }
    page_table_end(p);
}

static void mistakes(page *p, const cJSON *system)
{
    static const char *const heads[] = {
        "right",           "answer", "times",       "cell",
        "embryo",          "score",  "first genes", "speak for the answer",
        "speak against it"};
    const cJSON *mistake, *cell, *list = page_array(p, system, "mistakes");

    if (cJSON_GetArraySize(list) == 0)
        return;
    page_table_begin(p,
                     "Commonest mistakes. Genes that speak for the answer are its markers, those "
                     "against it markers of the right label, among the first genes of the cell.",
                     heads, EMC_COUNT(heads), "llrllrlll");
    cJSON_ArrayForEach(mistake, list)
    {
        bool is_first = true;
        cJSON_ArrayForEach(cell, page_array(p, mistake, "cells"))
        {
            page_row(p);
            page_head_cell(p, is_first ? page_string(p, mistake, "gold") : "");
            page_cell_text(p, is_first ? page_string(p, mistake, "predicted") : "");
            if (is_first)
                page_cell_count(p, page_value(p, mistake, "n"));
            else
                page_raw(p, "<td></td>");
            page_cell_text(p, page_string(p, cell, "id"));
            page_cell_text(p, page_string(p, cell, "embryo"));
            page_cell_number(p, page_value(p, cell, "score"), 3);
            page_cell_genes(p, page_array(p, cell, "genes"));
            page_cell_genes(p, page_array(p, cell, "speak_for"));
            page_cell_genes(p, page_array(p, cell, "speak_against"));
            is_first = false;
        }
    }
    page_table_end(p);
}

static void usage(page *p, const cJSON *system)
{
    const cJSON *use = page_object(p, system, "usage");
    char seconds[PAGE_NUMBER], prompt[PAGE_NUMBER], answer[PAGE_NUMBER], cost[PAGE_NUMBER];
    const double price = page_value(p, use, "cost");
    const char *currency = page_string(p, use, "currency");

    page_number(seconds, page_value(p, use, "seconds"), 1);
    page_count(prompt, page_value(p, use, "n_prompt_tokens"));
    page_count(answer, page_value(p, use, "n_answer_tokens"));
    page_number(cost, price, 4);
    if (price > 0)
        page_note(p, "It took %s s, %s prompt and %s answer tokens, %s %s.", seconds, prompt,
                  answer, cost, currency ? currency : "");
    else
        page_note(p, "It took %s s, %s prompt and %s answer tokens.", seconds, prompt, answer);
}

void report_system(page *p, const cJSON *system, const cJSON *labels, bool is_open)
{
    page_raw(p, is_open ? "<details open=\"open\"><summary>" : "<details><summary>");
    page_text(p, page_string(p, system, "name"));
    page_raw(p, "<span class=\"kind\">");
    page_text(p, page_string(p, system, "description"));
    page_raw(p, "</span></summary>\n");
    usage(p, system);
    outcomes(p, system);
    classes(p, system);
    confusion(p, system, labels);
    confidence(p, system);
    groups(p, system, "embryos", "Embryo by embryo");
    groups(p, system, "datasets", "Dataset by dataset");
    mistakes(p, system);
    page_raw(p, "</details>\n");
}
