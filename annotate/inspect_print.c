/* Tells what an inspection found, to people and to programs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "annotate/inspect_parts.h"

/* 12345678 as 12,345,678. */
static emc_status add_count(emc_text *out, int64_t n)
{
    char digits[32];
    const int length = snprintf(digits, sizeof(digits), "%lld", (long long)n);

    for (int i = 0; i < length; i++) {
        EMC_TRY(emc_text_add(out, digits + i, 1));
        const int left = length - 1 - i;
        if (left > 0 && left % 3 == 0 && digits[i] != '-')
            EMC_TRY(emc_text_add(out, ",", 1));
    }
    return EMC_OK;
}

static emc_status add_bytes(emc_text *out, int64_t n)
{
    const double mib = (double)n / (1 << 20);

    return mib < 1024 ? emc_text_addf(out, "%.1f MiB", mib)
                      : emc_text_addf(out, "%.1f GiB", mib / 1024);
}

static emc_status print_matrix(emc_text *out, const emc_catalog_matrix *m, bool is_chosen)
{
    EMC_TRY(emc_text_addf(out, "%s %-14s ", is_chosen ? "*" : " ", m->name));
    if (m->status != EMC_OK)
        return emc_text_addf(out, "cannot be read: %s\n", m->message);
    EMC_TRY(emc_text_addf(out, "%s: %s\n                 ", emc_kind_name(m->look.kind),
                          m->look.reason));
    EMC_TRY(
        emc_text_addf(out, "%s%s%s", m->storage, *m->storage && *m->dtype ? " of " : "", m->dtype));
    if (*m->filters)
        EMC_TRY(emc_text_addf(out, ", filters: %s", m->filters));
    if (m->n_values >= 0) {
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_count(out, m->n_values));
        EMC_TRY(emc_text_add_string(out, " values"));
    }
    return emc_text_addf(out, ", %d genes\n                 %.0f genes in half of %lld cells\n",
                         m->n_genes, m->look.genes_median, (long long)m->look.n_rows);
}

static emc_status print_matrices(emc_text *out, const inspection *i)
{
    EMC_TRY(emc_text_add_string(out, "\nMatrices (* is what annotate ranks)\n"));
    for (int m = 0; m < emc_catalog_n_matrices(i->catalog); m++)
        EMC_TRY(print_matrix(out, emc_catalog_get(i->catalog, m), m == i->chosen));
    if (i->chosen < 0)
        return emc_text_addf(out, "  none would do: %s\n", i->why.bytes);
    return emc_text_addf(out, "  %s\n", i->why.bytes);
}

static emc_status print_genes(emc_text *out, const inspection *i)
{
    const inspect_genes *g = &i->genes;

    EMC_TRY(emc_text_addf(out,
                          "\nGenes\n  %s\n  %.1f %% of %d names are human symbols (wanted: "
                          "%.0f %%), %d of some 200 that every human file has\n",
                          g->source, 100 * g->match.rate, g->n, 100 * g->least, g->match.n_known));
    if (g->match.n_symbols < g->n && g->match.examples[0])
        EMC_TRY(emc_text_addf(out, "  not symbols: %s\n", g->match.examples));
    EMC_TRY(emc_text_addf(out, "  the file's own ids: %s", g->identifiers));
    if (g->n_ensembl > 0)
        EMC_TRY(emc_text_addf(out, " (%d Ensembl ids, %d with a version)", g->n_ensembl,
                              g->n_versioned));
    if (g->n_from_table >= 0)
        EMC_TRY(emc_text_addf(out, ", %d named by the table", g->n_from_table));
    return emc_text_addf(out,
                         "\n  %d share a name with another, %d previous symbols become "
                         "current ones, %d can be listed under profile %s\n",
                         g->n_duplicates, g->n_renamed, g->n_kept, i->info->name);
}

static emc_status print_column(emc_text *out, const inspect_column *c, int64_t n_cells)
{
    EMC_TRY(emc_text_addf(out, "  %-24s ", c->name));
    if (c->error)
        return emc_text_addf(out, "cannot be read: %s\n", c->error);
    EMC_TRY(emc_text_add_string(out, c->type));
    if (c->n_examples > 0) {
        EMC_TRY(emc_text_addf(out, ", %s%d value%s: ", c->n_values == INSPECT_VALUES ? ">= " : "",
                              c->n_values, c->n_values == 1 ? "" : "s"));
        for (int e = 0; e < c->n_examples; e++)
            EMC_TRY(emc_text_addf(out, "%s%s", e > 0 ? ", " : "", c->examples[e]));
        if (c->n_values > c->n_examples)
            EMC_TRY(emc_text_add_string(out, ", ..."));
    }
    if (c->n_missing > 0)
        EMC_TRY(
            emc_text_addf(out, "; %.3g %% missing", 100 * (double)c->n_missing / (double)n_cells));
    return emc_text_add_string(out, "\n");
}

static emc_status print_memory(emc_text *out, const inspection *i)
{
    const inspect_memory *m = &i->memory;

    EMC_TRY(emc_text_add_string(out, "\nMemory for reading\n  names "));
    EMC_TRY(add_bytes(out, m->names_bytes));
    EMC_TRY(emc_text_add_string(out, ", rows on their way at most "));
    EMC_TRY(add_bytes(out, m->block_bytes));
    if (m->matrix_bytes > 0) {
        EMC_TRY(emc_text_add_string(out, ", the matrix "));
        EMC_TRY(add_bytes(out, m->matrix_bytes));
    }
    if (m->scratch_bytes > 0) {
        EMC_TRY(emc_text_add_string(out, ", and on disk "));
        EMC_TRY(add_bytes(out, m->scratch_bytes));
        EMC_TRY(emc_text_add_string(out, " (--scratch-dir)"));
    }
    return emc_text_add_string(out, "\n");
}

emc_status inspect_print(emc_text *out, const inspection *i)
{
    const int64_t n_cells = emc_cells_n_cells(i->cells);

    EMC_TRY(emc_text_addf(out, "%s: %s, ", i->options->input_path, emc_cells_format(i->cells)));
    EMC_TRY(add_count(out, n_cells));
    EMC_TRY(emc_text_add_string(out, " cells x "));
    EMC_TRY(add_count(out, i->genes.n));
    EMC_TRY(emc_text_add_string(out, " genes\n"));
    EMC_TRY(print_matrices(out, i));
    EMC_TRY(print_genes(out, i));
    EMC_TRY(emc_text_addf(out, "\nCells, such as %s\n", emc_cells_id(i->cells, 0)));
    if (i->n_columns == 0)
        EMC_TRY(emc_text_add_string(out, "  no columns beside them\n"));
    for (int c = 0; c < i->n_columns; c++)
        EMC_TRY(print_column(out, &i->columns[c], n_cells));
    EMC_TRY(print_memory(out, i));
    if (i->n_problems > 0)
        EMC_TRY(emc_text_add_string(out, "\nProblems\n"));
    for (int p = 0; p < i->n_problems; p++)
        EMC_TRY(emc_text_addf(out, "  %s\n", i->problems[p]));
    return EMC_OK;
}

/* "key": "value", with what comes before it. */
static emc_status json_string(emc_text *out, const char *before, const char *key, const char *value)
{
    EMC_TRY(emc_text_addf(out, "%s\"%s\": ", before, key));
    return emc_text_add_json(out, value, strlen(value));
}

static emc_status json_number(emc_text *out, const char *key, double value)
{
    if (!isfinite(value))
        return emc_text_addf(out, ", \"%s\": null", key);
    return emc_text_addf(out, ", \"%s\": %.17g", key, value);
}

static emc_status json_int(emc_text *out, const char *key, int64_t value)
{
    return emc_text_addf(out, ", \"%s\": %lld", key, (long long)value);
}

static emc_status json_look(emc_text *out, const emc_kind_look *look)
{
    EMC_TRY(json_string(out, ", ", "kind", emc_kind_name(look->kind)));
    EMC_TRY(json_string(out, ", ", "reason", look->reason));
    EMC_TRY(json_number(out, "whole_share", look->whole_share));
    EMC_TRY(json_number(out, "negative_share", look->negative_share));
    EMC_TRY(json_number(out, "not_finite_share", look->not_finite_share));
    EMC_TRY(json_number(out, "min", look->min));
    EMC_TRY(json_number(out, "max", look->max));
    EMC_TRY(json_number(out, "log_base", look->log_base));
    EMC_TRY(json_number(out, "target_sum", look->target_sum));
    EMC_TRY(json_number(out, "genes_median", look->genes_median));
    EMC_TRY(json_int(out, "n_genes_seen", look->n_genes_seen));
    return json_int(out, "n_rows_seen", look->n_rows);
}

static emc_status json_matrix(emc_text *out, const emc_catalog_matrix *m)
{
    EMC_TRY(json_string(out, "{", "name", m->name));
    if (m->status != EMC_OK) {
        EMC_TRY(json_string(out, ", ", "error", m->message));
        return emc_text_add_string(out, "}");
    }
    EMC_TRY(json_string(out, ", ", "title", m->title));
    EMC_TRY(json_string(out, ", ", "storage", m->storage));
    EMC_TRY(json_string(out, ", ", "dtype", m->dtype));
    EMC_TRY(json_string(out, ", ", "filters", m->filters));
    if (m->n_values < 0)
        EMC_TRY(emc_text_add_string(out, ", \"n_values\": null"));
    else
        EMC_TRY(json_int(out, "n_values", m->n_values));
    EMC_TRY(json_int(out, "n_cells", m->n_cells));
    EMC_TRY(json_int(out, "n_genes", m->n_genes));
    EMC_TRY(json_look(out, &m->look));
    return emc_text_add_string(out, "}");
}

static emc_status json_genes(emc_text *out, const inspection *i)
{
    const inspect_genes *g = &i->genes;

    EMC_TRY(json_string(out, ", \"genes\": {", "source", g->source));
    EMC_TRY(json_int(out, "n", g->n));
    EMC_TRY(json_string(out, ", ", "identifiers", g->identifiers));
    EMC_TRY(json_int(out, "n_ensembl", g->n_ensembl));
    EMC_TRY(json_int(out, "n_versioned", g->n_versioned));
    EMC_TRY(json_int(out, "n_duplicates", g->n_duplicates));
    EMC_TRY(json_int(out, "n_renamed", g->n_renamed));
    if (g->n_from_table < 0)
        EMC_TRY(emc_text_add_string(out, ", \"n_from_table\": null"));
    else
        EMC_TRY(json_int(out, "n_from_table", g->n_from_table));
    EMC_TRY(json_int(out, "n_kept", g->n_kept));
    EMC_TRY(json_number(out, "match_rate", g->match.rate));
    EMC_TRY(json_number(out, "min_gene_match", g->least));
    EMC_TRY(json_int(out, "n_known", g->match.n_known));
    EMC_TRY(
        json_string(out, ", ", "unmatched", g->match.n_symbols < g->n ? g->match.examples : ""));
    return emc_text_add_string(out, "}");
}

static emc_status json_column(emc_text *out, const inspect_column *c)
{
    EMC_TRY(json_string(out, "{", "name", c->name));
    if (c->error) {
        EMC_TRY(json_string(out, ", ", "error", c->error));
        return emc_text_add_string(out, "}");
    }
    EMC_TRY(json_string(out, ", ", "type", c->type));
    EMC_TRY(json_int(out, "n_values", c->n_values));
    EMC_TRY(emc_text_addf(out, ", \"n_values_is_least\": %s",
                          c->n_values == INSPECT_VALUES ? "true" : "false"));
    EMC_TRY(json_int(out, "n_missing", c->n_missing));
    EMC_TRY(emc_text_add_string(out, ", \"examples\": ["));
    for (int e = 0; e < c->n_examples; e++) {
        if (e > 0)
            EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(emc_text_add_json(out, c->examples[e], strlen(c->examples[e])));
    }
    return emc_text_add_string(out, "]}");
}

static emc_status json_cells(emc_text *out, const inspection *i)
{
    EMC_TRY(json_string(out, ", \"cells\": {", "first_id", emc_cells_id(i->cells, 0)));
    EMC_TRY(emc_text_add_string(out, ", \"columns\": ["));
    for (int c = 0; c < i->n_columns; c++) {
        if (c > 0)
            EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(json_column(out, &i->columns[c]));
    }
    return emc_text_add_string(out, "]}");
}

emc_status inspect_print_json(emc_text *out, const inspection *i)
{
    EMC_TRY(json_string(out, "{", "path", i->options->input_path));
    EMC_TRY(json_string(out, ", ", "profile", i->info->name));
    EMC_TRY(json_string(out, ", ", "format", emc_cells_format(i->cells)));
    EMC_TRY(json_int(out, "n_cells", emc_cells_n_cells(i->cells)));
    EMC_TRY(json_int(out, "n_genes", i->genes.n));
    EMC_TRY(emc_text_add_string(out, ", \"matrices\": ["));
    for (int m = 0; m < emc_catalog_n_matrices(i->catalog); m++) {
        if (m > 0)
            EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(json_matrix(out, emc_catalog_get(i->catalog, m)));
    }
    EMC_TRY(emc_text_add_string(out, "], \"auto\": "));
    if (i->chosen < 0) {
        EMC_TRY(json_string(out, "{", "error", i->why.bytes));
    } else {
        EMC_TRY(json_string(out, "{", "layer", emc_catalog_get(i->catalog, i->chosen)->name));
        EMC_TRY(json_string(out, ", ", "reason", i->why.bytes));
    }
    EMC_TRY(emc_text_add_string(out, "}"));
    EMC_TRY(json_genes(out, i));
    EMC_TRY(json_cells(out, i));
    EMC_TRY(emc_text_addf(out, ", \"memory\": {\"names_bytes\": %lld",
                          (long long)i->memory.names_bytes));
    EMC_TRY(json_int(out, "matrix_bytes", i->memory.matrix_bytes));
    EMC_TRY(json_int(out, "block_bytes", i->memory.block_bytes));
    EMC_TRY(json_int(out, "scratch_bytes", i->memory.scratch_bytes));
    EMC_TRY(emc_text_add_string(out, "}, \"problems\": ["));
    for (int p = 0; p < i->n_problems; p++) {
        if (p > 0)
            EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(emc_text_add_json(out, i->problems[p], strlen(i->problems[p])));
    }
    return emc_text_add_string(out, "]}\n");
}
