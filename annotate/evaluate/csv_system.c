/* Predictions of any other tool, from a table of ids and labels. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/evaluate/system.h"
#include "base/hash.h"
#include "base/size.h"
#include "base/str_map.h"
#include "cells/record.h"

typedef struct {
    emc_system base; /* first */
    char *name, *path, *id_column, *label_column, *score_column, *description;
    emc_text settings;
} csv_system;

/* What one row says of an item. */
typedef struct {
    char *label;
    double score;
    int64_t line;
} said;

typedef struct {
    const csv_system *system;
    const emc_pass *pass;
    cells_records *records;
    size_t id, label, score, n_columns; /* places of the columns; SIZE_MAX: none */
    emc_str_map *items;                 /* ids of the questions -> question */
    said *rows;                         /* [n_questions] */
    int64_t n_other;                    /* rows about other cells */
} reading;

static size_t find_column(const cells_records *records, size_t n, const char *wanted,
                          const char *const *usual)
{
    for (size_t i = 0; i < n && wanted; i++)
        if (strcmp(cells_records_field(records, i), wanted) == 0)
            return i;
    for (; !wanted && *usual; usual++)
        for (size_t i = 0; i < n; i++)
            if (strcmp(cells_records_field(records, i), *usual) == 0)
                return i;
    return SIZE_MAX;
}

static emc_status missing_column(const reading *r, size_t n, const char *wanted, const char *what)
{
    emc_text names = {0};
    emc_status status = emc_text_add_string(&names, "");

    for (size_t i = 0; i < n && i < 20 && status == EMC_OK; i++)
        status =
            emc_text_addf(&names, "%s%.60s", i > 0 ? ", " : "", cells_records_field(r->records, i));
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_CONFIG, "%s: no column %s%s%s for %s; it has %s", r->system->path,
                          wanted ? "\"" : "", wanted ? wanted : "known", wanted ? "\"" : "", what,
                          names.bytes);
    emc_text_free(&names);
    return status;
}

static emc_status read_header(reading *r)
{
    static const char *const ids[] = {"cell_id", "id", "query_cell", "cell", "barcode", "", NULL};
    static const char *const labels[] = {
        "label",   "majority_voting", "predicted_labels", "prediction",
        "predict", "pred_EML",        "cell_type",        NULL};
    static const char *const scores[] = {"score", "conf_score", "prediction_score_max",
                                         "probability", NULL};
    const csv_system *s = r->system;

    EMC_TRY(cells_records_next(r->records, &r->n_columns));
    if (r->n_columns == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: no header", s->path);
    r->id = find_column(r->records, r->n_columns, s->id_column, ids);
    r->label = find_column(r->records, r->n_columns, s->label_column, labels);
    r->score = find_column(r->records, r->n_columns, s->score_column, scores);
    if (r->id == SIZE_MAX)
        return missing_column(r, r->n_columns, s->id_column, "ids of cells");
    if (r->label == SIZE_MAX)
        return missing_column(r, r->n_columns, s->label_column, "labels");
    if (s->score_column && r->score == SIZE_MAX)
        return missing_column(r, r->n_columns, s->score_column, "scores");
    return EMC_OK;
}

static emc_status read_row(reading *r, size_t n_fields)
{
    const long long line = (long long)cells_records_line(r->records);
    const char *path = r->system->path;

    if (n_fields != r->n_columns)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: %zu fields, the header has %zu", path, line,
                        n_fields, r->n_columns);
    const char *id = cells_records_field(r->records, r->id);
    const int question = emc_str_map_get(r->items, id, strlen(id), -1);
    if (question < 0) {
        r->n_other++;
        return EMC_OK;
    }
    said *row = &r->rows[question];
    if (row->label)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: \"%s\" a second time, first on line %lld",
                        path, line, id, (long long)row->line);
    row->line = line;
    row->score = NAN;
    if (r->score != SIZE_MAX) {
        const char *text = cells_records_field(r->records, r->score);
        if (*text && !cells_parse_number(&row->score, text))
            return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: score \"%s\" is no number", path, line,
                            text);
    }
    return emc_copy_string(&row->label, cells_records_field(r->records, r->label));
}

static emc_status read_table(reading *r)
{
    size_t n_fields;

    EMC_TRY(cells_records_open(&r->records, r->system->path, 0));
    EMC_TRY(read_header(r));
    for (;;) {
        EMC_TRY(cells_records_next(r->records, &n_fields));
        if (n_fields == 0)
            return EMC_OK;
        EMC_TRY(read_row(r, n_fields));
    }
}

static emc_status map_questions(reading *r)
{
    const emc_pass *pass = r->pass;

    EMC_TRY(emc_str_map_open(&r->items, (size_t)pass->n_questions));
    EMC_TRY(emc_alloc(&r->rows, (size_t)pass->n_questions + 1, sizeof *r->rows, "predictions"));
    for (int i = 0; i < pass->n_questions; i++) {
        const char *id = emc_benchmark_item(pass->benchmark, pass->questions[i].item)->id;
        EMC_TRY(emc_str_map_put(r->items, id, strlen(id), i, NULL));
    }
    return EMC_OK;
}

static emc_status answer(const reading *r, int question, emc_text *work)
{
    const emc_question *q = &r->pass->questions[question];
    const said *row = &r->rows[question];
    emc_prediction prediction = {.label = -1, .score = NAN};

    if (!row->label) {
        prediction.outcome = EMC_OUTCOME_FAILED;
        prediction.error = "the table has no row of this cell";
    } else {
        EMC_TRY(emc_prediction_from_text(&prediction, work,
                                         emc_benchmark_labels(r->pass->benchmark), q->candidates,
                                         q->n_candidates, row->label, strlen(row->label), true));
        prediction.score = row->score;
        prediction.n_tries = 1;
    }
    return r->pass->on_prediction(r->pass->context, question, &prediction);
}

static emc_status run(emc_system *system, const emc_pass *pass)
{
    reading r = {.system = (csv_system *)system, .pass = pass};
    emc_text work = {0}, line = {0};
    emc_status status = map_questions(&r);

    if (status == EMC_OK)
        status = read_table(&r);
    if (status == EMC_OK && r.n_other > 0 && pass->on_log) {
        status = emc_text_addf(&line, "%s: %lld rows are about cells that are not asked",
                               r.system->path, (long long)r.n_other);
        if (status == EMC_OK)
            pass->on_log(pass->context, line.bytes);
    }
    for (int i = 0; i < pass->n_questions && status == EMC_OK; i++)
        status = answer(&r, i, &work);
    for (int i = 0; i < pass->n_questions && r.rows; i++)
        free(r.rows[i].label);
    free(r.rows);
    emc_str_map_close(r.items);
    cells_records_close(r.records);
    emc_text_free(&work);
    emc_text_free(&line);
    return status;
}

static void close_system(emc_system *system)
{
    csv_system *s = (csv_system *)system;

    free(s->name);
    free(s->path);
    free(s->id_column);
    free(s->label_column);
    free(s->score_column);
    free(s->description);
    emc_text_free(&s->settings);
    free(s);
}

static emc_status copy_optional(char **out, const char *text)
{
    return text ? emc_copy_string(out, text) : EMC_OK;
}

static emc_status fill(csv_system *s, const emc_csv_system_options *o)
{
    emc_text description = {0};
    char hash_text[EMC_HASH_TEXT];
    emc_hash hash;

    EMC_TRY(emc_copy_string(&s->name, o->name));
    EMC_TRY(emc_copy_string(&s->path, o->path));
    EMC_TRY(copy_optional(&s->id_column, o->id_column));
    EMC_TRY(copy_optional(&s->label_column, o->label_column));
    EMC_TRY(copy_optional(&s->score_column, o->score_column));
    EMC_TRY(emc_fingerprint(&hash, o->path));
    emc_hash_text(hash_text, &hash);
    EMC_TRY(emc_text_addf(&s->settings, "{\"table\": \"%s\", \"label_column\": ", hash_text));
    if (o->label_column)
        EMC_TRY(emc_text_add_json(&s->settings, o->label_column, strlen(o->label_column)));
    else
        EMC_TRY(emc_text_add_string(&s->settings, "null"));
    EMC_TRY(emc_text_add_string(&s->settings, "}"));
    EMC_TRY(emc_text_addf(&description, "labels of %s", o->path));
    s->description = description.bytes;
    return EMC_OK;
}

emc_status emc_csv_system_open(emc_system **out, const emc_csv_system_options *options)
{
    csv_system *s = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&s, 1, sizeof *s, "a system"));
    const emc_status status = fill(s, options);
    if (status != EMC_OK) {
        close_system(&s->base);
        return status;
    }
    s->base = (emc_system){.name = s->name,
                           .kind = "csv",
                           .description = s->description,
                           .settings = s->settings.bytes,
                           .has_probs = false,
                           .run = run,
                           .close = close_system};
    *out = &s->base;
    return EMC_OK;
}
