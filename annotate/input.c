#include "annotate/input.h"

#include "base/size.h"
#include "base/text.h"
#include "cells/catalog.h"
#include "cells/ranked.h"
#include "cells/select.h"
#include <stdlib.h>
#include <string.h>

struct emc_input {
    emc_cells *cells;
    emc_genes *genes;
    emc_ranked_cells *ranked;
    emc_gene_match match;
    double *medians;
    emc_selection chosen;
    char *layer;
    int n_genes, min_genes;
    /* of the options and the profile, for the hash */
    int duplicate_genes;
    double min_value;
    bool drops_not_finite;
};

static void log_line(const emc_input_options *options, const char *line)
{
    if (options->on_log)
        options->on_log(options->log_context, line);
}

/* The values decide which matrix is read. */
static emc_status open_auto(emc_input *in, const char *path, const emc_input_options *options,
                            const emc_cells_options *wanted)
{
    emc_catalog *catalog = NULL;
    emc_text why = {0};
    int chosen;
    emc_status status = emc_catalog_open(&catalog, path, wanted);

    if (status == EMC_OK)
        status = emc_catalog_choose(catalog, &chosen, &why);
    if (status == EMC_OK)
        status = emc_copy_string(&in->layer, emc_catalog_get(catalog, chosen)->name);
    if (status == EMC_OK)
        status = emc_catalog_take(&in->cells, catalog, chosen);
    if (status == EMC_OK) {
        log_line(options, emc_cells_description(in->cells));
        log_line(options, why.bytes);
    }
    emc_text_free(&why);
    emc_catalog_close(catalog);
    return status;
}

void emc_input_cells_options(emc_cells_options *out, const emc_input_options *options,
                             const emc_profile_info *profile)
{
    *out = (emc_cells_options){
        .gene_symbols = options->gene_symbols,
        .gene_table = options->gene_table,
        .duplicate_genes = (emc_duplicates)options->duplicate_genes,
        .orientation = (emc_orientation)options->transpose,
        .negative =
            profile->on_negative == EMC_VALUES_SKIP ? EMC_NEGATIVE_PASS : EMC_NEGATIVE_REFUSE,
        .genome = options->genome,
        .allow_external = options->allow_external,
        .n_threads = options->n_threads,
        .scratch_dir = options->scratch_dir,
        .on_log = options->on_log,
        .context = options->log_context,
    };
}

/* Opens the file; its columns are those asked for and then one a filter. */
static emc_status open_cells(emc_input *in, const char *path, const emc_input_options *options,
                             const emc_profile_info *profile, const char *const *columns,
                             int n_columns)
{
    emc_cells_options wanted;

    emc_input_cells_options(&wanted, options, profile);
    wanted.obs_columns = columns;
    wanted.n_obs_columns = n_columns;
    if (!options->layer || strcmp(options->layer, "auto") == 0)
        return open_auto(in, path, options, &wanted);
    wanted.layer = options->layer;
    EMC_TRY(emc_copy_string(&in->layer, options->layer));
    EMC_TRY(emc_cells_open(&in->cells, path, &wanted));
    log_line(options, emc_cells_description(in->cells));
    return EMC_OK;
}

static emc_status select_cells(emc_input *in, const emc_input_options *options,
                               const emc_obs_filter *filters, int first_column)
{
    const emc_select_options wanted = {
        .filters = filters,
        .n_filters = options->n_obs_filters,
        .first_column = first_column,
        .cells_path = options->cells_path,
        .sample = options->sample,
        .seed = options->seed,
        .limit = options->limit,
    };

    EMC_TRY(emc_select(&in->chosen, in->cells, &wanted));
    if (in->chosen.note.n > 0)
        log_line(options, in->chosen.note.bytes);
    return EMC_OK;
}

/* Opens the file with the columns that the filters need, and chooses the cells. */
static emc_status open_chosen(emc_input *in, const char *path, const emc_input_options *options,
                              const emc_profile_info *profile, const char *const *obs_columns,
                              int n_obs_columns)
{
    const int n_filters = options->n_obs_filters;
    const size_t n_columns = (size_t)n_obs_columns + (size_t)n_filters;
    emc_obs_filter *filters = NULL;
    const char **columns = NULL;
    emc_status status = emc_alloc(&filters, (size_t)n_filters, sizeof(*filters), "filters");

    if (status == EMC_OK)
        status = emc_alloc(&columns, n_columns, sizeof(*columns), "columns");
    for (int i = 0; status == EMC_OK && i < n_obs_columns; i++)
        columns[i] = obs_columns[i];
    for (int i = 0; status == EMC_OK && i < n_filters; i++) {
        status = emc_obs_filter_parse(&filters[i], options->obs_filters[i]);
        columns[n_obs_columns + i] = filters[i].column;
    }
    if (status == EMC_OK)
        status = open_cells(in, path, options, profile, columns, (int)n_columns);
    if (status == EMC_OK)
        status = select_cells(in, options, filters, n_obs_columns);
    for (int i = 0; filters && i < n_filters; i++)
        emc_obs_filter_free(&filters[i]);
    free(filters);
    free(columns);
    return status;
}

static emc_status name_genes(emc_input *in, const emc_input_options *options,
                             const emc_profile_info *profile)
{
    const emc_gene_options wanted = {
        .keep_names = options->keep_gene_names,
        .exclude_groups = profile->drop_groups,
        .exclude = profile->drop_genes,
        .n_exclude = profile->n_drop_genes,
    };
    const char *medians = options->medians_path ? options->medians_path : profile->medians_path;

    EMC_TRY(emc_genes_open(&in->genes, emc_cells_gene_names(in->cells),
                           emc_cells_n_genes(in->cells), &wanted));
    if (medians)
        return emc_medians_read(&in->medians, NULL, medians, in->genes);
    return EMC_OK;
}

/* The match rate is told whether or not it is enough. */
static emc_status log_genes(const emc_input *in, const emc_input_options *options)
{
    const emc_gene_match *match = &in->match;
    const int n_renamed = emc_genes_n_renamed(in->genes);
    emc_text line = {0};
    emc_status status = emc_text_addf(&line, "genes: %.1f %% of %d names are human symbols",
                                      100 * match->rate, match->n_genes);

    if (status == EMC_OK && emc_cells_n_named(in->cells) >= 0)
        status = emc_text_addf(&line, ", %d of them from %s", emc_cells_n_named(in->cells),
                               options->gene_table);
    if (status == EMC_OK && n_renamed > 0)
        status =
            emc_text_addf(&line, ", %d previous symbols are written as current ones", n_renamed);
    if (status == EMC_OK && match->rate < 1)
        status = emc_text_addf(&line, "; not such as %s", match->examples);
    if (status == EMC_OK)
        log_line(options, line.bytes);
    emc_text_free(&line);
    return status;
}

static emc_status check_genes(emc_input *in, const char *path, const emc_input_options *options)
{
    const double least = options->min_gene_match < 0 ? EMC_MIN_GENE_MATCH : options->min_gene_match;
    emc_gene_match *match = &in->match;

    emc_gene_match_of(match, emc_genes_names(in->genes), emc_genes_count(in->genes));
    EMC_TRY(log_genes(in, options));
    if (match->rate < least)
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: %.0f %% of the gene names are known human symbols, wanted at least "
                        "%.0f %% (--min-gene-match); such as %s: %s",
                        path, 100 * match->rate, 100 * least, match->examples, match->advice);
    return EMC_OK;
}

static emc_status open_ranked(emc_input *in, const emc_input_options *options,
                              const emc_profile_info *profile)
{
    in->n_genes = options->n_genes > 0 ? options->n_genes : profile->n_genes;
    in->min_genes = options->min_genes > 0 ? options->min_genes : profile->min_genes;
    /* Fewer genes wanted than the profile's least: then a full list is enough. */
    if (options->min_genes <= 0 && in->min_genes > in->n_genes)
        in->min_genes = in->n_genes;
    if (in->min_genes > in->n_genes)
        return emc_fail(EMC_ERR_USAGE, "--min-genes %d is above --n-genes %d", in->min_genes,
                        in->n_genes);
    in->duplicate_genes = options->duplicate_genes;
    in->min_value = profile->min_value;
    in->drops_not_finite = profile->on_not_finite == EMC_VALUES_SKIP;
    const emc_ranked_options wanted = {
        .cells = in->cells,
        .genes = in->genes,
        .rank = {.n_top = in->n_genes,
                 .min_value = profile->min_value,
                 .medians = in->medians,
                 .not_finite = in->drops_not_finite ? EMC_NOT_FINITE_DROP : EMC_NOT_FINITE_FAIL},
        .rows = in->chosen.rows,
        .n_rows = in->chosen.n_rows,
        .n_threads = options->n_threads,
    };
    EMC_TRY(emc_ranked_cells_open(&in->ranked, &wanted));
    return emc_ranked_cells_seek(in->ranked, 0, in->chosen.n_rows);
}

emc_status emc_input_open(emc_input **out, const char *path, const emc_input_options *options,
                          const emc_profile_info *profile, const char *const *obs_columns,
                          int n_obs_columns)
{
    emc_input *in;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&in, 1, sizeof(*in), "input"));
    status = open_chosen(in, path, options, profile, obs_columns, n_obs_columns);
    if (status == EMC_OK)
        status = name_genes(in, options, profile);
    if (status == EMC_OK)
        status = check_genes(in, path, options);
    if (status == EMC_OK)
        status = open_ranked(in, options, profile);
    if (status != EMC_OK)
        emc_input_close(in);
    else
        *out = in;
    return status;
}

void emc_input_close(emc_input *input)
{
    if (!input)
        return;
    emc_ranked_cells_close(input->ranked);
    emc_selection_free(&input->chosen);
    free(input->layer);
    free(input->medians);
    emc_genes_close(input->genes);
    emc_cells_close(input->cells);
    free(input);
}

int64_t emc_input_n_cells(const emc_input *input)
{
    return input->chosen.n_rows;
}

int emc_input_n_genes_listed(const emc_input *input)
{
    return input->n_genes;
}

const emc_cells *emc_input_cells(const emc_input *input)
{
    return input->cells;
}

const emc_genes *emc_input_genes(const emc_input *input)
{
    return input->genes;
}

const emc_gene_match *emc_input_match(const emc_input *input)
{
    return &input->match;
}

int64_t emc_input_n_rows(const emc_input *input)
{
    return emc_cells_n_cells(input->cells);
}

int64_t emc_input_row(const emc_input *input, int64_t position)
{
    return input->chosen.rows ? input->chosen.rows[position] : position;
}

int64_t emc_input_position(const emc_input *input, int64_t row)
{
    int64_t low = 0, high = input->chosen.n_rows;

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (emc_input_row(input, middle) < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < input->chosen.n_rows && emc_input_row(input, low) == row ? low : -1;
}

const char *emc_input_layer(const emc_input *input)
{
    return input->layer;
}

static void hash_int(emc_hasher *hasher, int64_t value)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)value >> (8 * i));
    emc_hasher_add(hasher, bytes, sizeof bytes);
}

static void hash_double(emc_hasher *hasher, double value)
{
    int64_t bits;

    memcpy(&bits, &value, sizeof bits);
    hash_int(hasher, bits);
}

static void hash_text(emc_hasher *hasher, const char *text)
{
    emc_hasher_add(hasher, text, strlen(text) + 1);
}

emc_status emc_input_hash(emc_hash *out, const emc_input *input)
{
    const emc_input *in = input;
    const int n_genes = emc_genes_count(in->genes);
    emc_hasher *hasher;

    EMC_TRY(emc_hasher_open(&hasher));
    hash_text(hasher, "emcell input 1"); /* changes with what follows */
    hash_text(hasher, in->layer);
    hash_int(hasher, emc_cells_n_cells(in->cells));
    hash_int(hasher, in->chosen.n_rows);
    for (int64_t i = 0; i < in->chosen.n_rows; i++)
        hash_int(hasher, emc_input_row(in, i));
    hash_int(hasher, n_genes);
    for (int i = 0; i < n_genes; i++) {
        hash_text(hasher, emc_genes_name(in->genes, i));
        hash_int(hasher, emc_genes_is_kept(in->genes, i));
        if (in->medians)
            hash_double(hasher, in->medians[i]);
    }
    hash_int(hasher, in->duplicate_genes);
    hash_int(hasher, in->n_genes);
    hash_int(hasher, in->min_genes);
    hash_double(hasher, in->min_value);
    hash_int(hasher, in->drops_not_finite);
    *out = emc_hasher_end(hasher);
    emc_hasher_close(hasher);
    return EMC_OK;
}

emc_status emc_input_seek(emc_input *input, int64_t first, int64_t n)
{
    if (first < 0 || n < 0 || first > input->chosen.n_rows || n > input->chosen.n_rows - first)
        return emc_fail(EMC_ERR_ARG, "input: cells %lld + %lld of %lld", (long long)first,
                        (long long)n, (long long)input->chosen.n_rows);
    return emc_ranked_cells_seek(input->ranked, first, n);
}

/* What can be said of a cell from its ranking. */
static void judge(const emc_input *in, emc_input_cell *cell)
{
    if (cell->ranked.n_expressed == 0) {
        cell->status = EMC_CELL_EMPTY;
        cell->reason = "no_genes";
    } else if (cell->ranked.n_top < in->min_genes) {
        cell->status = EMC_CELL_TOO_FEW_GENES;
        cell->reason = "few_genes";
    }
}

emc_status emc_input_next(emc_input *input, emc_input_cell *cell, bool *more)
{
    emc_ranked_cell ranked;

    EMC_TRY(emc_ranked_cells_next(input->ranked, &ranked, more));
    *cell = (emc_input_cell){.position = ranked.position,
                             .row = ranked.row,
                             .cell_id = ranked.cell_id,
                             .obs = ranked.obs,
                             .ranked = ranked.ranked,
                             .reason = "",
                             .message = "",
                             .status = EMC_CELL_OK};
    if (!*more)
        return EMC_OK;
    if (ranked.status == EMC_ERR_FORMAT) {
        cell->status = EMC_CELL_FAILED;
        cell->reason = "bad_value";
        cell->message = ranked.message;
        return EMC_OK;
    }
    if (ranked.status != EMC_OK)
        return emc_fail(ranked.status, "%s", ranked.message);
    judge(input, cell);
    return EMC_OK;
}
