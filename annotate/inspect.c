/* Finds out what a file offers; inspect_print.c tells it. */
#include "annotate/inspect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/input.h"
#include "annotate/inspect_parts.h"
#include "base/size.h"
#include "base/str_map.h"

#define BLOCK_BYTES ((int64_t)64 << 20) /* a reader's own default */
#define TURN_BYTES  ((int64_t)1 << 30)
#define FEW_GENES   0.05 /* share of a sample's rows that are empty before it is a problem */

emc_status inspect_problem(inspection *i, const char *format, ...)
{
    char line[1024];
    va_list args;

    if (i->n_problems == INSPECT_PROBLEMS)
        return EMC_OK;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    return emc_copy_string(&i->problems[i->n_problems++], line);
}

void inspect_free(inspection *i)
{
    for (int c = 0; i->columns && c < i->n_columns; c++) {
        free(i->columns[c].name);
        free(i->columns[c].error);
        for (int e = 0; e < i->columns[c].n_examples; e++)
            free(i->columns[c].examples[e]);
    }
    free(i->columns);
    for (int p = 0; p < i->n_problems; p++)
        free(i->problems[p]);
    emc_text_free(&i->why);
    emc_cells_close(i->cells);
    emc_catalog_close(i->catalog);
    emc_profile_close(i->profile);
}

/* The first matrix that can be read, or -1. */
static emc_status look_at_all(int *first, emc_catalog *catalog)
{
    *first = -1;
    for (int m = 0; m < emc_catalog_n_matrices(catalog); m++) {
        EMC_TRY(emc_catalog_look_at(catalog, m));
        if (*first < 0 && emc_catalog_get(catalog, m)->status == EMC_OK)
            *first = m;
    }
    return EMC_OK;
}

static const char *asked_layer(const inspection *i)
{
    const char *layer = i->options->input.layer;

    return layer && strcmp(layer, "auto") != 0 ? layer : NULL;
}

static emc_status choose_matrix(inspection *i)
{
    emc_status status;

    if (asked_layer(i)) {
        for (int m = 0; m < emc_catalog_n_matrices(i->catalog); m++) {
            const emc_catalog_matrix *matrix = emc_catalog_get(i->catalog, m);
            if (strcmp(matrix->name, asked_layer(i)) == 0 && matrix->status == EMC_OK)
                i->chosen = m;
        }
        if (i->chosen < 0)
            return emc_fail(EMC_ERR_USAGE, "%s: no matrix \"%s\" that can be read",
                            i->options->input_path, asked_layer(i));
        return emc_text_add_string(&i->why, "named by --layer");
    }
    status = emc_catalog_choose(i->catalog, &i->chosen, &i->why);
    if (status == EMC_ERR_FORMAT) {
        i->chosen = -1;
        emc_text_clear(&i->why);
        EMC_TRY(emc_text_add_string(&i->why, emc_message()));
        return inspect_problem(i, "annotate stops here: %s", emc_message());
    }
    return status;
}

/*
 * Opens what there is. Names of genes that annotate would stop at (ids without symbols, two of one
 * name) are taken as they are in a second attempt, so that the rest of the file can be told of.
 */
static emc_status open_catalog(inspection *i, emc_cells_options *wanted)
{
    int first;

    EMC_TRY(emc_catalog_open(&i->catalog, i->options->input_path, wanted));
    EMC_TRY(look_at_all(&first, i->catalog));
    if (first < 0 && emc_catalog_get(i->catalog, 0)->status == EMC_ERR_FORMAT &&
        !wanted->gene_symbols) {
        EMC_TRY(
            inspect_problem(i, "annotate stops here: %s", emc_catalog_get(i->catalog, 0)->message));
        emc_catalog_close(i->catalog);
        i->catalog = NULL;
        wanted->gene_symbols = "index";
        wanted->duplicate_genes = EMC_DUPLICATES_SUM;
        EMC_TRY(emc_catalog_open(&i->catalog, i->options->input_path, wanted));
        EMC_TRY(look_at_all(&first, i->catalog));
    }
    if (first < 0) {
        const emc_catalog_matrix *matrix = emc_catalog_get(i->catalog, 0);
        return emc_fail(matrix->status, "%s", matrix->message);
    }
    EMC_TRY(choose_matrix(i));
    i->opened = i->chosen < 0 ? first : i->chosen;
    return emc_catalog_take(&i->cells, i->catalog, i->opened);
}

static bool has_version(const char *id)
{
    return emc_gene_is_ensembl(id) && strchr(id, '.') != NULL;
}

static emc_status count_duplicates(inspect_genes *genes, const char *const *names)
{
    emc_str_map *map = NULL;
    emc_status status = emc_str_map_open(&map, (size_t)genes->n);

    for (int g = 0; status == EMC_OK && g < genes->n; g++) {
        bool existed = false;
        status = emc_str_map_put(map, names[g], strlen(names[g]), g, &existed);
        genes->n_duplicates += existed;
    }
    emc_str_map_close(map);
    return status;
}

static emc_status look_at_genes(inspection *i)
{
    inspect_genes *genes = &i->genes;
    const char *const *names = emc_cells_gene_names(i->cells);
    const char *const *ids = emc_cells_gene_ids(i->cells);
    const emc_input_options *input = &i->options->input;
    const emc_gene_options wanted = {
        .keep_names = input->keep_gene_names,
        .exclude_groups = i->info->drop_groups,
        .exclude = i->info->drop_genes,
        .n_exclude = i->info->n_drop_genes,
    };
    emc_genes *renamed;

    genes->source = emc_cells_description(i->cells);
    genes->n = emc_cells_n_genes(i->cells);
    genes->n_from_table = emc_cells_n_named(i->cells);
    genes->least = input->min_gene_match < 0 ? EMC_MIN_GENE_MATCH : input->min_gene_match;
    for (int g = 0; g < genes->n; g++) {
        const char *id = ids ? ids[g] : names[g];
        genes->n_ensembl += emc_gene_is_ensembl(id);
        genes->n_versioned += has_version(id);
    }
    genes->identifiers = 2 * genes->n_ensembl > genes->n ? "Ensembl ids" : "names";
    EMC_TRY(count_duplicates(genes, names));
    EMC_TRY(emc_genes_open(&renamed, names, genes->n, &wanted));
    genes->n_renamed = emc_genes_n_renamed(renamed);
    genes->n_kept = emc_genes_n_kept(renamed);
    emc_gene_match_of(&genes->match, emc_genes_names(renamed), genes->n);
    emc_genes_close(renamed);
    if (genes->match.rate < genes->least)
        return inspect_problem(i,
                               "annotate stops here: %.1f %% of the gene names are human symbols, "
                               "wanted at least %.0f %% (--min-gene-match); such as %s: %s",
                               100 * genes->match.rate, 100 * genes->least, genes->match.examples,
                               genes->match.advice);
    return EMC_OK;
}

static void plan_memory(inspection *i)
{
    const emc_catalog_matrix *matrix = emc_catalog_get(i->catalog, i->opened);
    const char *storage = matrix->storage;
    inspect_memory *m = &i->memory;
    const int64_t n_cells = emc_cells_n_cells(i->cells);

    for (int64_t row = 0; emc_cells_holds_ids(i->cells) && row < n_cells; row++)
        m->names_bytes += (int64_t)strlen(emc_cells_id(i->cells, row)) + 1 + 8 + 16;
    for (int g = 0; g < i->genes.n; g++)
        m->names_bytes += (int64_t)strlen(emc_cells_gene_names(i->cells)[g]) + 1 + 2 * 8;
    m->block_bytes = 2 * BLOCK_BYTES; /* one being ranked, one being read */
    if (matrix->n_values < 0)
        return;
    const int64_t whole = 12 * matrix->n_values + 8 * n_cells;
    if (strcmp(storage, "table") == 0) {
        m->matrix_bytes = whole;
    } else if (strcmp(storage, "csc") == 0) {
        m->matrix_bytes = whole < TURN_BYTES ? whole : TURN_BYTES;
        m->scratch_bytes = whole < TURN_BYTES ? 0 : whole;
    }
}

/* What the values themselves warn of. */
static emc_status judge_values(inspection *i)
{
    const emc_catalog_matrix *matrix = emc_catalog_get(i->catalog, i->opened);
    const emc_kind_look *look = &matrix->look;

    if (look->n_empty_rows > FEW_GENES * (double)look->n_rows || look->kind == EMC_KIND_EMPTY)
        EMC_TRY(inspect_problem(i, "%lld of the %lld cells looked at have no value above zero",
                                (long long)look->n_empty_rows, (long long)look->n_rows));
    if (look->genes_median < i->info->min_genes && look->kind != EMC_KIND_SCALED)
        EMC_TRY(inspect_problem(i,
                                "half of the cells looked at express at most %.0f genes, fewer "
                                "than the profile wants (%d, --min-genes)",
                                look->genes_median, i->info->min_genes));
    if (look->not_finite_share > 0)
        EMC_TRY(inspect_problem(
            i, "%.3g %% of the values are NaN or infinite: %s", 100 * look->not_finite_share,
            i->info->on_not_finite == EMC_VALUES_SKIP ? "the profile leaves them out"
                                                      : "such cells get status failed"));
    for (int m = 0; m < emc_catalog_n_matrices(i->catalog); m++) {
        matrix = emc_catalog_get(i->catalog, m);
        if (matrix->status != EMC_OK)
            EMC_TRY(inspect_problem(i, "%s cannot be read: %s", matrix->name, matrix->message));
    }
    return EMC_OK;
}

static emc_status inspect_file(inspection *i)
{
    emc_cells_options wanted;

    EMC_TRY(emc_profile_open(&i->profile, i->options->profile));
    i->info = emc_profile_get(i->profile);
    emc_input_cells_options(&wanted, &i->options->input, i->info);
    EMC_TRY(open_catalog(i, &wanted));
    EMC_TRY(look_at_genes(i));
    plan_memory(i);
    EMC_TRY(judge_values(i));
    return inspect_columns(i);
}

emc_status emc_inspect(emc_text *out, const emc_inspect_options *options)
{
    inspection i = {.options = options, .chosen = -1};
    emc_status status = inspect_file(&i);

    if (status == EMC_OK)
        status = options->json ? inspect_print_json(out, &i) : inspect_print(out, &i);
    inspect_free(&i);
    return status;
}
