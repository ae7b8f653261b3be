/* The first pass over one input: which cells are kept, what each is labelled, and what tells
 * whether it is the same as another. */

#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/dataset_parts.h"
#include "annotate/dataset/recipe_parts.h"
#include "annotate/input_files.h"
#include "base/file.h"
#include "base/size.h"

/* The values that a recipe asks of every cell. */
enum { LABEL, EMBRYO, DATASET, STAGE, N_VALUES };

/* Answers of the look-up that are kept beside labels, which are -2 or more. */
#define NO_LABEL (-3)

typedef struct {
    emc_dataset *dataset;
    const emc_recipe_input *input;
    emc_dataset_input *counts;
    int index; /* of the input */
    emc_dataset_table *table;
    emc_input *cells;
    const emc_recipe_value *values[N_VALUES];
    int obs[N_VALUES]; /* column of the reader; -1: not from there */
    const char *words[N_VALUES];
    const char *columns[N_VALUES];
    int n_columns;
    int64_t n_joined;   /* cells that the table lists */
    emc_str_map *known; /* source label and stage to label */
    emc_text key;
} reading;

static emc_status keep_path(const char **out, emc_dataset *dataset, const char *path)
{
    char *joined = NULL;

    if (path[0] == '/')
        return emc_dataset_keep(&dataset->strings, out, path);
    EMC_TRY(emc_path_join(&joined, dataset->info->folder, path));
    const emc_status status = emc_dataset_keep(&dataset->strings, out, joined);
    free(joined);
    return status;
}

emc_status emc_dataset_input_open(emc_input **out, emc_dataset *dataset, int input,
                                  const char *const *columns, int n_columns)
{
    const emc_recipe_input *wanted = &dataset->info->inputs[input];
    const emc_profile_info *profile = emc_profile_get(dataset->profile);
    emc_input_options options = {
        .layer = wanted->layer,
        .gene_symbols = wanted->gene_symbols,
        .obs_filters = wanted->obs_filters,
        .n_obs_filters = wanted->n_obs_filters,
        .n_genes = dataset->max_genes > EMC_TWIN_GENES ? dataset->max_genes : EMC_TWIN_GENES,
        .min_genes =
            profile->min_genes < dataset->max_genes ? profile->min_genes : dataset->max_genes,
        .min_gene_match = -1,
        .n_threads = dataset->options.n_threads,
        .on_log = dataset->is_open ? NULL : dataset->options.on_log, /* once is enough */
        .log_context = dataset->options.context,
    };

    *out = NULL;
    if (wanted->gene_table)
        EMC_TRY(keep_path(&options.gene_table, dataset, wanted->gene_table));
    return emc_input_open(out, dataset->inputs[input].path, &options, profile, columns, n_columns);
}

/*
 * Names and values of the best genes in their order, which is that of falling values and rising
 * names, and how many genes there are to list: nothing of it depends on how a file stores the cell.
 * Values are taken as float32, since the same cell may be stored in either width.
 */
emc_hash emc_dataset_hash(const emc_input *input, const emc_ranked *ranked)
{
    const emc_genes *genes = emc_input_genes(input);
    const int n = ranked->n_top < EMC_TWIN_GENES ? ranked->n_top : EMC_TWIN_GENES;
    unsigned char bytes[4 + EMC_TWIN_GENES * 12];
    unsigned char *at = bytes + 4;
    const int32_t n_kept = ranked->n_kept;

    memcpy(bytes, &n_kept, 4);
    for (int i = 0; i < n; i++) {
        const char *name = emc_genes_name(genes, ranked->genes[i]);
        const emc_hash hash = emc_hash_of(name, strlen(name));
        const float value = (float)ranked->values[i];
        memcpy(at, hash.bytes, 8);
        memcpy(at + 8, &value, 4);
        at += 12;
    }
    return emc_hash_of(bytes, (size_t)(at - bytes));
}

/* The table first: what it has need not be in the file. */
static emc_status open_table(reading *r)
{
    const char *wanted[N_VALUES];

    for (int v = 0; v < N_VALUES; v++)
        wanted[v] = r->values[v]->column;
    if (!r->input->table)
        return EMC_OK;
    EMC_TRY(keep_path(&r->counts->table, r->dataset, r->input->table));
    EMC_TRY(emc_fingerprint(&r->counts->table_hash, r->counts->table));
    return emc_dataset_table_open(&r->table, &r->dataset->strings, r->counts->table,
                                  r->input->table_id, wanted, N_VALUES);
}

static void choose_columns(reading *r)
{
    for (int v = 0; v < N_VALUES; v++) {
        const char *column = r->values[v]->column;
        r->obs[v] = -1;
        if (!column || (r->table && emc_dataset_table_has(r->table, v)))
            continue;
        for (int c = 0; c < r->n_columns; c++)
            if (strcmp(r->columns[c], column) == 0)
                r->obs[v] = c;
        if (r->obs[v] < 0) {
            r->obs[v] = r->n_columns;
            r->columns[r->n_columns++] = column;
        }
    }
}

static emc_status open_reading(reading *r)
{
    emc_status status;

    EMC_TRY(emc_str_map_open(&r->known, 64));
    EMC_TRY(emc_input_fingerprint(&r->counts->hash, r->counts->path));
    EMC_TRY(open_table(r));
    choose_columns(r);
    status = emc_dataset_input_open(&r->cells, r->dataset, r->index, r->columns, r->n_columns);
    /* A column that is not there is the recipe's mistake. */
    if (status == EMC_ERR_NOT_FOUND || status == EMC_ERR_USAGE)
        status = emc_fail_in(EMC_ERR_CONFIG, "recipe %s", r->dataset->info->name);
    return status;
}

/* *out is of the dataset's words; NULL: missing. */
static emc_status get_value(reading *r, const char **out, int value, const emc_input_cell *cell,
                            bool joined)
{
    const char *text = r->words[value];

    *out = NULL;
    if (r->obs[value] >= 0)
        text = cell->obs[r->obs[value]];
    else if (r->values[value]->column)
        return joined ? (emc_dataset_table_get(r->table, cell->cell_id, value, out), EMC_OK)
                      : EMC_OK;
    if (!text || text[0] == '\0')
        return EMC_OK;
    return emc_dataset_word(&r->dataset->strings, out, text);
}

/* What a source label means, from the map, or else from the label set itself. */
static emc_status look_up(const reading *r, int *label, const char *source, const char *stage)
{
    const emc_labels *labels = r->dataset->labels;
    const emc_label_map *map = r->input->map;
    const emc_label_map_entry *entry;
    emc_label_match match;

    if (!map) {
        EMC_TRY(emc_labels_match(labels, source, strlen(source), &match));
        *label = match.kind == EMC_MATCH_EXACT || match.kind == EMC_MATCH_NORMAL ||
                         match.kind == EMC_MATCH_SYNONYM
                     ? match.label
                     : NO_LABEL;
        return EMC_OK;
    }
    entry = emc_label_map_find(map, source, stage);
    *label = entry || map->drop_unlisted ? EMC_LABEL_DROPPED : NO_LABEL;
    if (!entry || !entry->label)
        return EMC_OK;
    if (strcmp(entry->label, "unknown") == 0)
        *label = EMC_LABEL_UNKNOWN;
    for (int i = 0; i < emc_labels_count(labels); i++)
        if (strcmp(emc_labels_get(labels, i)->label, entry->label) == 0)
            *label = i;
    return EMC_OK;
}

static emc_status find_label(reading *r, int *label, const char *source, const char *stage,
                             const char *cell_id)
{
    int32_t known;

    emc_text_clear(&r->key);
    EMC_TRY(emc_text_add(&r->key, source, strlen(source) + 1));
    EMC_TRY(emc_text_add_string(&r->key, stage ? stage : ""));
    known = emc_str_map_get(r->known, r->key.bytes, r->key.n, INT32_MIN);
    *label = known;
    if (known != INT32_MIN)
        return EMC_OK;
    EMC_TRY(look_up(r, label, source, stage));
    if (*label != NO_LABEL)
        return emc_str_map_put(r->known, r->key.bytes, r->key.n, *label, NULL);
    if (r->input->map)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: source label \"%s\"%s%s%s (cell \"%s\") is not in the label map%s%s; "
                        "list it (\"label\": null drops its cells)",
                        r->counts->path, source, stage ? " of stage \"" : "", stage ? stage : "",
                        stage ? "\"" : "", cell_id, r->input->map->name[0] ? " " : "",
                        r->input->map->name);
    return emc_fail(EMC_ERR_CONFIG,
                    "%s: source label \"%s\" (cell \"%s\") means no one label of the set, and the "
                    "input has no \"label_map\" that says what becomes of it",
                    r->counts->path, source, cell_id);
}

static emc_status add_cell(reading *r, const emc_dataset_cell *cell, const emc_hash *hash,
                           const char *cell_id)
{
    emc_dataset *d = r->dataset;
    emc_dataset_cell *added;

    if (d->n_cells >= INT32_MAX)
        return emc_fail(EMC_ERR_CONFIG, "%s: more than %d cells in one dataset", r->counts->path,
                        INT32_MAX);
    EMC_TRY(emc_reserve(&d->cells, &d->cells_capacity, d->n_cells + 1, sizeof(*d->cells), "cells"));
    EMC_TRY(
        emc_reserve(&d->hashes, &d->hashes_capacity, d->n_cells + 1, sizeof(*d->hashes), "cells"));
    added = &d->cells[d->n_cells];
    *added = *cell;
    added->index = added->twin = (int64_t)d->n_cells;
    EMC_TRY(emc_dataset_keep(&d->strings, &added->cell_id, cell_id));
    d->hashes[d->n_cells++] = *hash;
    r->counts->n_kept++;
    return EMC_OK;
}

static emc_status check_group(const reading *r, const emc_dataset_cell *cell, const char *cell_id)
{
    static const char *const words[] = {"embryo", "dataset", "stage"};
    const char *const values[] = {cell->embryo, cell->dataset, cell->stage};
    const emc_split_by by = r->dataset->info->split.by;

    if (by == EMC_SPLIT_CELL || values[by])
        return EMC_OK;
    return emc_fail(EMC_ERR_CONFIG, "%s: cell \"%s\" has no %s, and the split is by %s",
                    r->counts->path, cell_id, words[by], words[by]);
}

static emc_status read_cell(reading *r, const emc_input_cell *cell)
{
    emc_dataset_cell kept = {.input = r->index, .row = cell->row};
    const char *unused;
    bool joined = r->table && emc_dataset_table_get(r->table, cell->cell_id, LABEL, &unused);

    r->n_joined += joined;
    EMC_TRY(get_value(r, &kept.source_label, LABEL, cell, joined));
    EMC_TRY(get_value(r, &kept.stage, STAGE, cell, joined));
    if (!kept.source_label) {
        r->counts->n_unlabelled++;
        return EMC_OK;
    }
    EMC_TRY(find_label(r, &kept.label, kept.source_label, kept.stage, cell->cell_id));
    if (kept.label == EMC_LABEL_DROPPED) {
        r->counts->n_dropped++;
        return EMC_OK;
    }
    if (cell->status != EMC_CELL_OK) {
        r->counts->n_poor++;
        return EMC_OK;
    }
    EMC_TRY(get_value(r, &kept.embryo, EMBRYO, cell, joined));
    EMC_TRY(get_value(r, &kept.dataset, DATASET, cell, joined));
    EMC_TRY(check_group(r, &kept, cell->cell_id));
    const emc_hash hash = emc_dataset_hash(r->cells, &cell->ranked);
    return add_cell(r, &kept, &hash, cell->cell_id);
}

static emc_status read_all(reading *r)
{
    const emc_dataset_options *options = &r->dataset->options;
    emc_input_cell cell;
    bool more = true;

    r->counts->n_cells = emc_input_n_cells(r->cells);
    for (int64_t n = 0;; n++) {
        EMC_TRY(emc_dataset_check_cancel(r->dataset));
        EMC_TRY(emc_input_next(r->cells, &cell, &more));
        if (options->on_progress && (!more || n % 1024 == 0))
            options->on_progress(options->context, n, r->counts->n_cells);
        if (!more)
            break;
        EMC_TRY(read_cell(r, &cell));
    }
    if (r->table && r->n_joined == 0)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: none of its cells is in the table %s; are its ids (\"%s\") those of "
                        "the file?",
                        r->counts->path, r->input->table, r->input->table_id);
    return EMC_OK;
}

emc_status emc_dataset_read_input(emc_dataset *dataset, int input)
{
    const emc_recipe_input *wanted = &dataset->info->inputs[input];
    emc_dataset_input *counts = &dataset->inputs[input];
    reading r = {
        .dataset = dataset,
        .input = wanted,
        .counts = counts,
        .index = input,
        .values = {&wanted->label, &wanted->embryo, &wanted->dataset, &wanted->stage},
    };
    emc_status status = keep_path(&counts->path, dataset, wanted->path);

    for (int v = 0; v < N_VALUES; v++)
        r.words[v] = r.values[v]->value;
    counts->dataset = wanted->dataset.value ? wanted->dataset.value : "";
    if (status == EMC_OK)
        status = open_reading(&r);
    if (status == EMC_OK)
        status = read_all(&r);
    emc_input_close(r.cells);
    emc_dataset_table_close(r.table);
    emc_str_map_close(r.known);
    emc_text_free(&r.key);
    return status;
}
