/* The page of an evaluation: who answered how well, and what went wrong. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/report/evaluation_parts.h"
#include "base/file.h"
#include "base/size.h"

#define MOST_BYTES ((size_t)1 << 30)

static void count_fact(page *p, const char *name, const cJSON *object, const char *key)
{
    char text[PAGE_NUMBER];

    page_count(text, page_value(p, object, key));
    page_fact(p, name, text);
}

static void what_it_is(page *p, const cJSON *benchmark)
{
    const char *source = page_string(p, benchmark, "source");
    const cJSON *official = cJSON_GetObjectItemCaseSensitive(benchmark, "official");

    page_raw(p, "<dl class=\"facts\">\n");
    count_fact(p, "items asked", benchmark, "n_items");
    count_fact(p, "embryos", benchmark, "n_embryos");
    count_fact(p, "datasets", benchmark, "n_datasets");
    count_fact(p, "items to learn from", benchmark, "n_train");
    page_fact(p, "split", page_string(p, benchmark, "split"));
    page_fact(p, "version", page_string(p, benchmark, "version"));
    page_raw(p, "</dl>\n");
    if (source && *source)
        page_note(p, "Source: %s", source);
    if (!cJSON_IsTrue(official))
        page_note(p, "This benchmark was made by its own recipe. It is not the benchmark of a "
                     "published paper, and figures of papers cannot be held against it.");
}

static const struct {
    const char *key, *name;
    int digits;
} columns[] = {
    {"macro_f1", "macro-F1", 3},
    {"accuracy", "accuracy", 3},
    {"balanced_accuracy", "balanced", 3},
    {"weighted_f1", "weighted-F1", 3},
    {"lineage_accuracy", "lineage", 3},
    {"graded", "graded 0\u20133", 2},
    {"mcc", "MCC", 3},
    {"kappa", "kappa", 3},
    {"ece_width", "ECE", 3},
    {"aurc", "AURC", 3},
};

static void leaderboard(page *p, const cJSON *systems)
{
    enum { BEFORE = 2, AFTER = 1, N = BEFORE + EMC_COUNT(columns) + AFTER };
    const char *heads[N] = {"system", "kind"};
    char align[N + 1] = "ll";
    const cJSON *system;

    for (size_t i = 0; i < EMC_COUNT(columns); i++) {
        heads[BEFORE + i] = columns[i].name;
        align[BEFORE + i] = 'r';
    }
    heads[N - 1] = "no valid label";
    align[N - 1] = 'r';
    page_table_begin(p,
                     "95 % intervals: bootstrap over embryos. An answer that is no valid label, "
                     "and an item without an answer, counts as wrong.",
                     heads, N, align);
    cJSON_ArrayForEach(system, systems)
    {
        const cJSON *metrics = page_object(p, system, "metrics");
        const cJSON *outcomes = page_object(p, system, "outcomes");
        const double n = page_value(p, system, "n");
        double bad = 0;
        static const char *const wrong[] = {"invalid", "off_list", "empty", "refused", "failed"};

        page_row(p);
        page_head_cell(p, page_string(p, system, "name"));
        page_cell_text(p, page_string(p, system, "kind"));
        for (size_t i = 0; i < EMC_COUNT(columns); i++)
            page_cell_interval(p, cJSON_GetObjectItemCaseSensitive(metrics, columns[i].key),
                               columns[i].digits);
        for (size_t i = 0; i < EMC_COUNT(wrong); i++)
            bad += page_value(p, outcomes, wrong[i]);
        page_cell_number(p, n > 0 ? bad / n : NAN, 3);
    }
    page_table_end(p);
}

static void overview(page *p, const cJSON *systems)
{
    const int n = cJSON_GetArraySize(systems);
    chart_interval *rows = NULL;
    const cJSON *system;
    int i = 0;
    static const struct {
        const char *key, *title;
    } charts[] = {{"macro_f1", "Macro-F1"}, {"accuracy", "Accuracy"}};

    if (n == 0 || p->status != EMC_OK)
        return;
    p->status = emc_alloc(&rows, (size_t)n, sizeof *rows, "systems of a page");
    if (p->status != EMC_OK)
        return;
    page_raw(p, "<div class=\"pair\">\n");
    for (size_t c = 0; c < EMC_COUNT(charts); c++) {
        i = 0;
        cJSON_ArrayForEach(system, systems)
        {
            const cJSON *metrics = page_object(p, system, "metrics");
            const char *name = page_string(p, system, "name");
            rows[i] = (chart_interval){name ? name : "", NAN, NAN, NAN};
            if (!page_is_null(metrics, charts[c].key)) {
                const cJSON *interval = page_object(p, metrics, charts[c].key);
                rows[i].value = page_value(p, interval, "value");
                rows[i].low = page_value(p, interval, "low");
                rows[i].high = page_value(p, interval, "high");
            }
            i++;
        }
        page_raw(p, "<figure><figcaption>");
        page_text(p, charts[c].title);
        page_raw(p, "</figcaption>\n");
        chart_intervals(p, charts[c].title, rows, n, 0, 1);
        page_raw(p, "</figure>\n");
    }
    page_raw(p, "</div>\n");
    free(rows);
}

static void paired(page *p, const cJSON *pairs)
{
    static const char *const heads[] = {"a",
                                        "b",
                                        "accuracy a \u2212 b",
                                        "95 %",
                                        "p (bootstrap)",
                                        "p (McNemar)",
                                        "only a right",
                                        "only b right"};
    const cJSON *pair;

    if (cJSON_GetArraySize(pairs) == 0)
        return;
    page_section(p, "pairs", "Pairs of systems");
    page_table_begin(p,
                     "Differences on the same items; bootstrap over embryos, exact McNemar test "
                     "over items. No correction for the number of pairs.",
                     heads, EMC_COUNT(heads), "llrrrrrr");
    cJSON_ArrayForEach(pair, pairs)
    {
        char low[PAGE_NUMBER], high[PAGE_NUMBER];
        page_row(p);
        page_head_cell(p, page_string(p, pair, "a"));
        page_cell_text(p, page_string(p, pair, "b"));
        page_cell_number(p, page_value(p, pair, "difference"), 3);
        page_number(low, page_value(p, pair, "low"), 3);
        page_number(high, page_value(p, pair, "high"), 3);
        page_f(p, "<td class=\"r\">%s\u2013%s</td>", low, high);
        page_cell_number(p, page_value(p, pair, "p_bootstrap"), 4);
        page_cell_number(p, page_value(p, pair, "p_mcnemar"), 4);
        page_cell_count(p, page_value(p, pair, "a_only"));
        page_cell_count(p, page_value(p, pair, "b_only"));
    }
    page_table_end(p);
}

static void sweeps(page *p, const cJSON *list)
{
    static const char *const heads[] = {
        "system", "change", "level", "n", "accuracy", "macro-F1", "same answer as plain"};
    const cJSON *sweep, *point;

    if (cJSON_GetArraySize(list) == 0)
        return;
    page_section(p, "sweeps", "Robustness");
    page_table_begin(p,
                     "The same items, changed: fewer genes, genes left out, another order, "
                     "other words.",
                     heads, EMC_COUNT(heads), "lllrrrr");
    cJSON_ArrayForEach(sweep, list)
    {
        cJSON_ArrayForEach(point, page_array(p, sweep, "points"))
        {
            page_row(p);
            page_head_cell(p, page_string(p, sweep, "system"));
            page_cell_text(p, page_string(p, sweep, "kind"));
            page_cell_text(p, page_string(p, point, "level"));
            page_cell_count(p, page_value(p, point, "n"));
            page_cell_number(p, page_value(p, point, "accuracy"), 3);
            page_cell_number(p, page_value(p, point, "macro_f1"), 3);
            page_cell_number(p, page_value(p, point, "same_as_plain"), 3);
        }
    }
    page_table_end(p);
}

static void open_set(page *p, const cJSON *list)
{
    static const char *const heads[] = {"system",
                                        "label held out",
                                        "known",
                                        "unknown",
                                        "AUROC",
                                        "FPR at 95 %",
                                        "precision of unknown",
                                        "recall of unknown"};
    const cJSON *row;

    if (cJSON_GetArraySize(list) == 0)
        return;
    page_section(p, "open-set", "A label that nobody was told of");
    page_table_begin(p,
                     "One label is neither learnt nor offered; its cells should get low scores "
                     "or be called unknown.",
                     heads, EMC_COUNT(heads), "llrrrrrr");
    cJSON_ArrayForEach(row, list)
    {
        page_row(p);
        page_head_cell(p, page_string(p, row, "system"));
        page_cell_text(p, page_string(p, row, "label"));
        page_cell_count(p, page_value(p, row, "n_known"));
        page_cell_count(p, page_value(p, row, "n_unknown"));
        page_cell_number(p, page_value(p, row, "auroc"), 3);
        page_cell_number(p, page_value(p, row, "fpr95"), 3);
        page_cell_number(p, page_value(p, row, "unknown_precision"), 3);
        page_cell_number(p, page_value(p, row, "unknown_recall"), 3);
    }
    page_table_end(p);
}

static void how_to_read(page *p)
{
    page_section(p, "reading", "How to read the figures");
    page_note(p, "Macro-F1 is the mean of the F1 of the labels that occur among the right answers, "
                 "however few cells they have; accuracy is the share of right answers and equals "
                 "micro-F1. With very uneven labels accuracy says little.");
    page_note(p, "Lineage takes an answer of the same lineage as right. Graded gives 3 for the "
                 "label, 2 for one below it, 1 for its parent or a label of the same parent, else "
                 "0; the mean is shown. A label with fewer than 20 cells is marked: its figures "
                 "are little more than anecdotes.");
    page_note(p, "ECE is the mean distance between the probability that a system gives and how "
                 "often it is right; AURC the mean error while the least sure answers are left "
                 "out one by one. Both are better when lower.");
}

static void command(page *p, const cJSON *document, const cJSON *benchmark)
{
    const cJSON *word, *system, *settings = page_object(p, document, "settings");
    static const char *const heads[] = {"system", "hash of settings and answers", "settings"};

    page_section(p, "made-by", "How this was made");
    page_raw(p, "<pre>");
    cJSON_ArrayForEach(word, page_array(p, document, "command"))
    {
        page_text(p, cJSON_IsString(word) ? word->valuestring : "");
        page_raw(p, " ");
    }
    page_raw(p, "</pre>\n");
    page_note(p, "emcell %s; benchmark %s, hash %s; seed %.0f, %.0f bootstrap samples.",
              page_string(p, document, "emcell"), page_string(p, benchmark, "path"),
              page_string(p, benchmark, "hash"), page_value(p, settings, "seed"),
              page_value(p, settings, "n_bootstrap"));
    page_table_begin(p, NULL, heads, EMC_COUNT(heads), "lll");
    cJSON_ArrayForEach(system, page_array(p, document, "systems"))
    {
        char *text = cJSON_PrintUnformatted(page_object(p, system, "settings"));
        page_row(p);
        page_head_cell(p, page_string(p, system, "name"));
        page_raw(p, "<td><code>");
        page_text(p, page_string(p, system, "hash"));
        page_raw(p, "</code></td><td><code>");
        page_text(p, text);
        page_raw(p, "</code></td>");
        cJSON_free(text);
    }
    page_table_end(p);
    cJSON_ArrayForEach(word, page_array(p, document, "notes"))
        page_note(p, "%s", cJSON_IsString(word) ? word->valuestring : "");
}

static void write_page(page *p, const cJSON *document)
{
    const cJSON *benchmark = page_object(p, document, "benchmark");
    const cJSON *systems = page_array(p, document, "systems");
    const cJSON *labels = page_array(p, document, "labels");
    const char *name = page_string(p, benchmark, "name");
    const cJSON *system;
    bool is_first = true;

    page_begin(p, name ? name : "Evaluation", page_string(p, benchmark, "description"));
    what_it_is(p, benchmark);
    page_section(p, "leaderboard", "Leaderboard");
    overview(p, systems);
    leaderboard(p, systems);
    page_section(p, "systems", "System by system");
    cJSON_ArrayForEach(system, systems)
    {
        report_system(p, system, labels, is_first);
        is_first = false;
    }
    paired(p, page_array(p, document, "paired"));
    sweeps(p, page_array(p, document, "sweeps"));
    open_set(p, page_array(p, document, "open_set"));
    how_to_read(p);
    command(p, document, benchmark);
}

emc_status emc_report_evaluation(const char *folder, const char *output_path)
{
    page p = {0};
    char *path = NULL;
    cJSON *document = NULL;
    emc_status status = emc_path_join(&path, folder, "evaluation.json");

    if (status == EMC_OK)
        status = emc_json_read(&document, path, MOST_BYTES);
    if (status == EMC_OK) {
        p.source = path;
        const char *format = page_string(&p, document, "format");
        if (p.status == EMC_OK && (!format || strcmp(format, "emcell evaluation") != 0 ||
                                   page_value(&p, document, "version") != 1))
            p.status = emc_fail(EMC_ERR_FORMAT,
                                "%s: not an evaluation of this version: wanted \"format\" "
                                "\"emcell evaluation\" and \"version\" 1",
                                path);
        write_page(&p, document);
        status = page_commit(&p, output_path);
    }
    cJSON_Delete(document);
    free(path);
    return status;
}
