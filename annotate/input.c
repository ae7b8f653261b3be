#include "annotate/input.h"

#include "base/size.h"
#include "cells/ranked.h"
#include <stdlib.h>

struct emc_input {
    emc_cells *cells;
    emc_genes *genes;
    emc_ranked_cells *ranked;
    emc_gene_match match;
    double *medians;
    int64_t *rows; /* [n_cells] chosen; NULL: all of them */
    int64_t n_cells;
    int n_genes, min_genes;
};

static emc_status open_cells(emc_input *in, const char *path, const emc_input_options *options,
                             const emc_profile_info *profile, const char *const *obs_columns,
                             int n_obs_columns)
{
    const emc_cells_options wanted = {
        .layer = options->layer,
        .gene_symbols = options->gene_symbols,
        .obs_columns = obs_columns,
        .n_obs_columns = n_obs_columns,
        .duplicate_genes = (emc_duplicates)options->duplicate_genes,
        .orientation = (emc_orientation)options->transpose,
        .genome = options->genome,
        .allow_external = options->allow_external,
        .n_threads = options->n_threads,
        .scratch_dir = options->scratch_dir,
        .on_log = options->on_log,
        .context = options->log_context,
        .negative =
            profile->on_negative == EMC_VALUES_SKIP ? EMC_NEGATIVE_PASS : EMC_NEGATIVE_REFUSE,
    };

    EMC_TRY(emc_cells_open(&in->cells, path, &wanted));
    if (options->on_log)
        options->on_log(options->log_context, emc_cells_description(in->cells));
    in->n_cells = emc_cells_n_cells(in->cells);
    if (options->limit > 0 && options->limit < in->n_cells)
        in->n_cells = options->limit;
    return EMC_OK;
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

static emc_status check_genes(emc_input *in, const char *path, const emc_input_options *options)
{
    const double least = options->min_gene_match < 0 ? EMC_MIN_GENE_MATCH : options->min_gene_match;
    emc_gene_match *match = &in->match;

    emc_gene_match_of(match, emc_genes_names(in->genes), emc_genes_count(in->genes));
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
    const emc_ranked_options wanted = {
        .cells = in->cells,
        .genes = in->genes,
        .rank = {.n_top = in->n_genes,
                 .min_value = profile->min_value,
                 .medians = in->medians,
                 .not_finite = profile->on_not_finite == EMC_VALUES_SKIP ? EMC_NOT_FINITE_DROP
                                                                         : EMC_NOT_FINITE_FAIL},
        .rows = in->rows,
        .n_rows = in->n_cells,
        .n_threads = options->n_threads,
    };
    EMC_TRY(emc_ranked_cells_open(&in->ranked, &wanted));
    return emc_ranked_cells_seek(in->ranked, 0, in->n_cells);
}

emc_status emc_input_open(emc_input **out, const char *path, const emc_input_options *options,
                          const emc_profile_info *profile, const char *const *obs_columns,
                          int n_obs_columns)
{
    emc_input *in;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&in, 1, sizeof(*in), "input"));
    status = open_cells(in, path, options, profile, obs_columns, n_obs_columns);
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
    free(input->rows);
    free(input->medians);
    emc_genes_close(input->genes);
    emc_cells_close(input->cells);
    free(input);
}

int64_t emc_input_n_cells(const emc_input *input)
{
    return input->n_cells;
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
    return input->rows ? input->rows[position] : position;
}

int64_t emc_input_position(const emc_input *input, int64_t row)
{
    int64_t low = 0, high = input->n_cells;

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (emc_input_row(input, middle) < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < input->n_cells && emc_input_row(input, low) == row ? low : -1;
}

emc_status emc_input_seek(emc_input *input, int64_t first, int64_t n)
{
    if (first < 0 || n < 0 || first > input->n_cells || n > input->n_cells - first)
        return emc_fail(EMC_ERR_ARG, "input: cells %lld + %lld of %lld", (long long)first,
                        (long long)n, (long long)input->n_cells);
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
