#include "annotate/input.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

struct emc_input {
    emc_cells *cells;
    emc_genes *genes;
    emc_ranker *ranker;
    emc_gene_match match;
    double *medians;
    int64_t n_cells, next;
    int n_genes, min_genes;
    emc_cell_block block;
    int64_t block_begin, block_end; /* rows that the block holds */
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
        .negative =
            profile->on_negative == EMC_VALUES_SKIP ? EMC_NEGATIVE_PASS : EMC_NEGATIVE_REFUSE,
    };

    EMC_TRY(emc_cells_open(&in->cells, path, &wanted));
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

static emc_status open_ranker(emc_input *in, const emc_input_options *options,
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
    const emc_rank_options wanted = {
        .n_top = in->n_genes,
        .min_value = profile->min_value,
        .medians = in->medians,
        .not_finite =
            profile->on_not_finite == EMC_VALUES_SKIP ? EMC_NOT_FINITE_DROP : EMC_NOT_FINITE_FAIL,
    };
    return emc_ranker_open(&in->ranker, in->genes, &wanted);
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
        status = open_ranker(in, options, profile);
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
    emc_ranker_close(input->ranker);
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

emc_status emc_input_seek(emc_input *input, int64_t row)
{
    if (row < 0 || row > input->n_cells)
        return emc_fail(EMC_ERR_ARG, "input: no row %lld", (long long)row);
    EMC_TRY(emc_cells_seek(input->cells, row));
    input->next = row;
    input->block_begin = input->block_end = row;
    return EMC_OK;
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
    emc_input *in = input;

    *more = in->next < in->n_cells;
    if (!*more)
        return EMC_OK;
    if (in->next >= in->block_end) {
        EMC_TRY(emc_cells_next(in->cells, &in->block));
        if (in->block.n_rows == 0)
            return emc_fail(EMC_ERR_FORMAT, "%s: ends after %lld of %lld cells",
                            emc_cells_path(in->cells), (long long)in->next, (long long)in->n_cells);
        in->block_begin = in->block.first_row;
        in->block_end = in->block.first_row + in->block.n_rows;
    }
    const int row = (int)(in->next - in->block_begin);
    *cell = (emc_input_cell){.row = in->next,
                             .cell_id = in->block.cell_ids[row],
                             .reason = "",
                             .message = "",
                             .status = EMC_CELL_OK};
    cell->obs =
        in->block.obs ? in->block.obs + (size_t)row * (size_t)in->block.n_obs_columns : NULL;
    in->next++;
    const emc_status status = emc_ranker_cell(in->ranker, &in->block, row, &cell->ranked);
    if (status == EMC_ERR_FORMAT) {
        memset(&cell->ranked, 0, sizeof(cell->ranked));
        cell->status = EMC_CELL_FAILED;
        cell->reason = "bad_value";
        cell->message = emc_message();
        return EMC_OK;
    }
    EMC_TRY(status);
    judge(in, cell);
    return EMC_OK;
}
