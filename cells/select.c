/* Filters, a list, a sample and a limit, one after the other over the same rising rows. */
#include "cells/select.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/random.h"
#include "base/size.h"
#include "base/str_map.h"
#include "cells/record.h"
#include "cells/source.h"

#define N_EXAMPLES 5

emc_status emc_obs_filter_parse(emc_obs_filter *out, const char *text)
{
    const char *equal = strstr(text, "=="), *unequal = strstr(text, "!=");
    const char *at = !equal || (unequal && unequal < equal) ? unequal : equal;

    *out = (emc_obs_filter){0};
    if (!at)
        return emc_fail(EMC_ERR_USAGE,
                        "--obs-filter \"%s\": wanted 'COLUMN==VALUE' or 'COLUMN!=VALUE'", text);
    const char *value = at + 2, *end = at;
    while (end > text && end[-1] == ' ')
        end--;
    while (*value == ' ')
        value++;
    if (end == text)
        return emc_fail(EMC_ERR_USAGE, "--obs-filter \"%s\": no column before %.2s", text, at);
    out->is_equal = *at == '=';
    EMC_TRY(emc_copy_bytes(&out->column, text, (size_t)(end - text)));
    return emc_copy_string(&out->value, value);
}

void emc_obs_filter_free(emc_obs_filter *filter)
{
    free(filter->column);
    free(filter->value);
    *filter = (emc_obs_filter){0};
}

void emc_selection_free(emc_selection *selection)
{
    free(selection->rows);
    emc_text_free(&selection->note);
    *selection = (emc_selection){0};
}

/* Keeps the rows for which `keep` is true, in place. `room` is what rows has. */
static emc_status keep_rows(emc_selection *chosen, bool (*keep)(void *context, int64_t row),
                            void *context)
{
    size_t room = chosen->rows ? (size_t)chosen->n_rows : 0;
    int64_t *rows = chosen->rows;
    const bool was_all = !rows;
    int64_t n = 0;

    for (int64_t i = 0; i < chosen->n_rows; i++) {
        const int64_t row = was_all ? i : rows[i];
        if (!keep(context, row))
            continue;
        if ((size_t)n >= room) {
            EMC_TRY(emc_reserve(&rows, &room, (size_t)n + 1, sizeof *rows, "chosen cells"));
            chosen->rows = rows; /* n_rows still counts the rows before, all of them */
        }
        rows[n++] = row;
    }
    if (n == chosen->n_rows && was_all) {
        free(rows);
        chosen->rows = NULL;
        return EMC_OK;
    }
    chosen->rows = rows;
    chosen->n_rows = n;
    return EMC_OK;
}

typedef struct {
    const emc_cells *cells;
    const emc_obs_filter *filter;
    int column;
} filter_work;

/* A whole number of a float column comes as "1", and pandas prints it as "1.0". */
static bool is_same_value(const char *value, const char *wanted)
{
    const size_t n = strlen(value);

    if (strncmp(value, wanted, n) != 0)
        return false;
    return wanted[n] == '\0' ||
           (n > 0 && strspn(value, "-0123456789") == n && strcmp(wanted + n, ".0") == 0);
}

static bool passes(void *context, int64_t row)
{
    const filter_work *w = context;
    const char *value = emc_cells_obs(w->cells, row, w->column);
    /* How a missing number comes. */
    if (value && strcmp(value, "nan") == 0 && strcmp(w->filter->value, "nan") != 0)
        value = NULL;
    const bool equals = value && is_same_value(value, w->filter->value);
    return equals == w->filter->is_equal;
}

/* Some different values of a column, for a message. */
static emc_status add_values(emc_text *out, const emc_cells *cells, int column)
{
    const char *seen[N_EXAMPLES];
    int n = 0;

    for (int64_t row = 0; row < emc_cells_n_cells(cells) && n < N_EXAMPLES; row++) {
        const char *value = emc_cells_obs(cells, row, column);
        bool is_new = value != NULL;
        for (int i = 0; is_new && i < n; i++)
            is_new = strcmp(seen[i], value) != 0;
        if (!is_new)
            continue;
        EMC_TRY(emc_text_addf(out, "%s\"%s\"", n > 0 ? ", " : "", value));
        seen[n++] = value;
    }
    return n > 0 ? EMC_OK : emc_text_add_string(out, "nothing");
}

static emc_status apply_filter(emc_selection *chosen, const emc_cells *cells,
                               const emc_obs_filter *filter, int column)
{
    filter_work w = {.cells = cells, .filter = filter, .column = column};
    const char *sign = filter->is_equal ? "==" : "!=";
    const int64_t before = chosen->n_rows;
    emc_text values = {0};
    emc_status status;

    EMC_TRY(keep_rows(chosen, passes, &w));
    if (chosen->n_rows > 0)
        return emc_text_addf(&chosen->note, ", %lld with %s %s %s", (long long)chosen->n_rows,
                             filter->column, sign, filter->value);
    status = add_values(&values, cells, column);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE,
                          "%s: no cells left: none of %lld has %s %s \"%s\" (--obs-filter); the "
                          "column holds %s",
                          emc_cells_path(cells), (long long)before, filter->column, sign,
                          filter->value, values.bytes);
    emc_text_free(&values);
    return status;
}

typedef struct {
    const emc_cells *cells;
    emc_str_map *ids; /* of the list, to their place in it */
    bool *found;      /* [ids] */
} list_work;

static bool is_listed(void *context, int64_t row)
{
    list_work *w = context;
    const char *id = emc_cells_id(w->cells, row);

    return emc_str_map_get(w->ids, id, strlen(id), -1) >= 0;
}

static bool is_header(const char *field, const emc_cells *cells)
{
    static const char *const words[] = {"cell_id", "barcode", "barcodes", "cell", "index", ""};

    for (size_t i = 0; i < EMC_COUNT(words); i++)
        if (strcasecmp(field, words[i]) == 0)
            return emc_cells_find(cells, field) < 0;
    return false;
}

static emc_status open_list(cells_records **out, const char *path)
{
    EMC_TRY(cells_records_open(out, path, 0));
    if (strchr("\t,;", cells_records_delimiter(*out)))
        return EMC_OK;
    /* One id a line, which may hold blanks. */
    cells_records_close(*out);
    return cells_records_open(out, path, '\t');
}

static emc_status read_list(list_work *w, cells_strings *names, const char *path)
{
    cells_records *records = NULL;
    size_t n_fields = 1;
    emc_status status = open_list(&records, path);

    while (status == EMC_OK) {
        bool existed;
        status = cells_records_next(records, &n_fields);
        if (status != EMC_OK || n_fields == 0)
            break;
        const char *id = cells_records_field(records, 0);
        if (cells_records_line(records) == 1 && is_header(id, w->cells))
            continue;
        if (!*id || names->n == INT32_MAX) {
            status = emc_fail(EMC_ERR_FORMAT, "%s: line %lld: %s", path,
                              (long long)cells_records_line(records),
                              *id ? "too many cells" : "no cell id");
            break;
        }
        status = emc_str_map_put(w->ids, id, strlen(id), (int32_t)names->n, &existed);
        if (status == EMC_OK && !existed)
            status = cells_strings_add(names, id, strlen(id), path);
    }
    cells_records_close(records);
    if (status == EMC_OK && names->n == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: it lists no cells", path);
    return status;
}

/* Marks the listed ids that are cells of the file, chosen until now or not; returns how many are
 * not. */
static int64_t mark_found(list_work *w, size_t n_names)
{
    int64_t n_found = 0;

    for (int64_t row = 0; row < emc_cells_n_cells(w->cells); row++) {
        const char *id = emc_cells_id(w->cells, row);
        const int32_t at = emc_str_map_get(w->ids, id, strlen(id), -1);
        if (at >= 0) {
            w->found[at] = true;
            n_found++;
        }
    }
    return (int64_t)n_names - n_found;
}

/* "3 of 10 ids are no cells of the file: a, b, c" */
static emc_status tell_unknown(emc_text *out, const list_work *w, const cells_strings *names,
                               int64_t n_unknown)
{
    int n = 0;

    EMC_TRY(emc_text_addf(out, "%lld of %zu ids are no cells of the file:", (long long)n_unknown,
                          names->n));
    for (size_t i = 0; i < names->n && n < N_EXAMPLES; i++)
        if (!w->found[i])
            EMC_TRY(
                emc_text_addf(out, "%s \"%s\"", n++ > 0 ? "," : "", cells_strings_at(names, i)));
    return n_unknown > N_EXAMPLES ? emc_text_add_string(out, ", ...") : EMC_OK;
}

static emc_status apply_names(emc_selection *chosen, list_work *w, const cells_strings *names,
                              const char *path)
{
    const int64_t before = chosen->n_rows, n_unknown = mark_found(w, names->n);
    emc_text unknown = {0};
    emc_status status = EMC_OK;

    if (n_unknown > 0)
        status = tell_unknown(&unknown, w, names, n_unknown);
    if (status == EMC_OK)
        status = keep_rows(chosen, is_listed, w);
    if (status == EMC_OK && chosen->n_rows == 0)
        status = emc_fail(EMC_ERR_USAGE, "%s: no cells left: none of %lld is in %s (--cells)%s%s",
                          emc_cells_path(w->cells), (long long)before, path, unknown.n ? "; " : "",
                          unknown.n ? unknown.bytes : "");
    if (status == EMC_OK)
        status = emc_text_addf(&chosen->note, ", %lld in %s%s%s%s", (long long)chosen->n_rows, path,
                               unknown.n ? " (" : "", unknown.n ? unknown.bytes : "",
                               unknown.n ? ")" : "");
    emc_text_free(&unknown);
    return status;
}

static emc_status apply_list(emc_selection *chosen, const emc_cells *cells, const char *path)
{
    list_work w = {.cells = cells};
    cells_strings names = {0};
    emc_status status = emc_str_map_open(&w.ids, 1024);

    if (status == EMC_OK)
        status = read_list(&w, &names, path);
    if (status == EMC_OK)
        status = emc_alloc(&w.found, names.n, sizeof *w.found, "listed cells");
    if (status == EMC_OK)
        status = apply_names(chosen, &w, &names, path);
    free(w.found);
    emc_str_map_close(w.ids);
    cells_strings_free(&names);
    return status;
}

typedef struct {
    emc_random random;
    int64_t n_left, n_wanted;
} sample_work;

static bool is_drawn(void *context, int64_t row)
{
    sample_work *w = context;
    const uint64_t left = (uint64_t)w->n_left--;

    (void)row;
    if (emc_random_below(&w->random, left) >= (uint64_t)w->n_wanted)
        return false;
    w->n_wanted--;
    return true;
}

emc_status emc_select(emc_selection *out, const emc_cells *cells, const emc_select_options *options)
{
    emc_selection *chosen = out;
    const int64_t n_cells = emc_cells_n_cells(cells);

    *chosen = (emc_selection){.n_rows = n_cells};
    if (options->n_filters < 0 || options->sample < 0 || options->limit < 0)
        return emc_fail(EMC_ERR_ARG, "select: n_filters=%d sample=%lld limit=%lld, need >= 0",
                        options->n_filters, (long long)options->sample, (long long)options->limit);
    for (int i = 0; i < options->n_filters; i++)
        EMC_TRY(apply_filter(chosen, cells, &options->filters[i], options->first_column + i));
    if (options->cells_path)
        EMC_TRY(apply_list(chosen, cells, options->cells_path));
    if (options->sample > 0 && options->sample < chosen->n_rows) {
        sample_work w = {
            .random = {options->seed}, .n_left = chosen->n_rows, .n_wanted = options->sample};
        EMC_TRY(keep_rows(chosen, is_drawn, &w));
        EMC_TRY(emc_text_addf(&chosen->note, ", %lld drawn with seed %llu",
                              (long long)chosen->n_rows, (unsigned long long)options->seed));
    }
    if (options->limit > 0 && options->limit < chosen->n_rows) {
        chosen->n_rows = options->limit;
        EMC_TRY(emc_text_addf(&chosen->note, ", the first %lld", (long long)chosen->n_rows));
    }
    if (chosen->note.n == 0)
        return EMC_OK;
    if (chosen->rows)
        EMC_TRY(
            emc_grow(&chosen->rows, (size_t)chosen->n_rows, sizeof *chosen->rows, "chosen cells"));
    emc_text note = {0};
    const emc_status status =
        emc_text_addf(&note, "cells: %lld of %lld chosen: %s", (long long)chosen->n_rows,
                      (long long)n_cells, chosen->note.bytes + 2);
    emc_text_free(&chosen->note);
    chosen->note = note;
    return status;
}
