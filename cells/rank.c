/* Which genes does this cell express most? */
#include "cells/rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/top.h"

struct emc_ranker {
    const emc_genes *genes;
    emc_rank_options options;
    int n_genes;
    int n_top;      /* never more than there are genes */
    int32_t *order; /* of each gene's name; -1: it is not listed */
    /* Of a row that stores a gene twice, or in no order: */
    double *sums; /* per gene, valid where stamps[gene] == stamp */
    uint32_t *stamps;
    uint32_t stamp;
    int32_t *touched;
    double *touched_sums;
    cells_candidate *candidates;
    int32_t *out_genes;
    double *out_values;
};

emc_status emc_ranker_open(emc_ranker **out, const emc_genes *genes,
                           const emc_rank_options *options)
{
    emc_status status;
    emc_ranker *ranker = NULL;
    const size_t n = (size_t)emc_genes_count(genes);

    *out = NULL;
    if (options->n_top < 1 || !(options->min_value >= 0))
        return emc_fail(EMC_ERR_ARG,
                        "ranking: n_top=%d min_value=%g, need n_top >= 1 and "
                        "min_value >= 0",
                        options->n_top, options->min_value);
    EMC_TRY(emc_alloc(&ranker, 1, sizeof *ranker, "a ranker"));
    ranker->genes = genes;
    ranker->options = *options;
    ranker->n_genes = (int)n;
    ranker->n_top = options->n_top < (int)n ? options->n_top : (int)n;
    const size_t n_top = (size_t)ranker->n_top;
    status = emc_alloc(&ranker->order, n, sizeof *ranker->order, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->sums, n, sizeof *ranker->sums, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->stamps, n, sizeof *ranker->stamps, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->touched, n, sizeof *ranker->touched, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->touched_sums, n, sizeof *ranker->touched_sums, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->candidates, n + 1, sizeof *ranker->candidates, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->out_genes, n_top, sizeof *ranker->out_genes, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->out_values, n_top, sizeof *ranker->out_values, "a ranker");
    for (int g = 0; status == EMC_OK && g < (int)n; g++) {
        const bool is_listed =
            emc_genes_is_kept(genes, g) && !(options->medians && isnan(options->medians[g]));
        ranker->order[g] = is_listed ? emc_genes_order(genes, g) : -1;
    }
    if (status != EMC_OK) {
        emc_ranker_close(ranker);
        return status;
    }
    *out = ranker;
    return EMC_OK;
}

void emc_ranker_close(emc_ranker *ranker)
{
    if (!ranker)
        return;
    free(ranker->sums);
    free(ranker->stamps);
    free(ranker->touched);
    free(ranker->touched_sums);
    free(ranker->candidates);
    free(ranker->order);
    free(ranker->out_genes);
    free(ranker->out_values);
    free(ranker);
}

/* Sums the row into `sums`; the genes met are in `touched`. */
static emc_status add_up(emc_ranker *ranker, const emc_cell_block *block, int row, int *n_touched)
{
    int n = 0;

    if (++ranker->stamp == 0) { /* wrapped: old stamps would look new */
        memset(ranker->stamps, 0, (size_t)ranker->n_genes * sizeof *ranker->stamps);
        ranker->stamp = 1;
    }
    for (int64_t k = block->indptr[row]; k < block->indptr[row + 1]; k++) {
        const int32_t gene = block->genes[k];
        const double value = block->values[k];
        if (gene < 0 || gene >= ranker->n_genes)
            return emc_fail(EMC_ERR_ARG, "ranking: gene %d of %d", gene, ranker->n_genes);
        if (!isfinite(value)) {
            if (ranker->options.not_finite == EMC_NOT_FINITE_DROP)
                continue;
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: cell \"%s\", gene \"%s\" is %s: it cannot be ranked; mend the "
                            "file, or choose another --layer",
                            block->path ? block->path : "cells", block->cell_ids[row],
                            emc_genes_name(ranker->genes, gene), isnan(value) ? "NaN" : "infinite");
        }
        if (ranker->stamps[gene] != ranker->stamp) {
            ranker->stamps[gene] = ranker->stamp;
            ranker->sums[gene] = 0;
            ranker->touched[n++] = gene;
        }
        ranker->sums[gene] += value;
    }
    for (int i = 0; i < n; i++)
        ranker->touched_sums[i] = ranker->sums[ranker->touched[i]];
    *n_touched = n;
    return EMC_OK;
}

/* True when each gene stands once, in rising order, and all values are finite: as nearly every file
 * has it, and nothing need be added up. */
static bool is_plain(const emc_ranker *ranker, const int32_t *genes, const double *values,
                     int64_t n)
{
    int n_falls = 0;
    double sum = 0; /* of zeros; or NaN */

    if (n == 0)
        return true;
    for (int64_t k = 1; k < n; k++)
        n_falls += genes[k] <= genes[k - 1];
    if (n_falls || genes[0] < 0 || genes[n - 1] >= ranker->n_genes)
        return false;
    for (int64_t k = 0; k < n; k++)
        sum += values[k] * 0;
    return sum == 0;
}

/* The genes that may be listed, of n genes with their sums. */
static int choose(const emc_ranker *ranker, const int32_t *genes, const double *sums, int64_t n,
                  emc_ranked *ranked)
{
    const double *medians = ranker->options.medians;
    const double least = ranker->options.min_value;
    const int32_t *order = ranker->order;
    cells_candidate *candidates = ranker->candidates;
    double total = 0;
    int n_expressed = 0, n_kept = 0;

    for (int64_t i = 0; i < n; i++) {
        const int32_t gene = genes[i];
        const double sum = sums[i];
        const bool is_expressed = sum > 0;
        n_expressed += is_expressed;
        total += is_expressed ? sum : 0;
        /* Written in any case, kept by the count: no branch to guess. */
        candidates[n_kept] = (cells_candidate){sum, order[gene], gene};
        n_kept += is_expressed & (sum >= least) & (order[gene] >= 0);
    }
    for (int i = 0; medians && i < n_kept; i++)
        candidates[i].value /= medians[candidates[i].gene];
    ranked->n_expressed = n_expressed;
    ranked->total = total;
    ranked->n_kept = n_kept;
    return n_kept;
}

emc_status emc_ranker_cell(emc_ranker *ranker, const emc_cell_block *block, int row,
                           emc_ranked *ranked)
{
    *ranked = (emc_ranked){0};
    if (row < 0 || row >= block->n_rows)
        return emc_fail(EMC_ERR_ARG, "ranking: row %d of %d", row, block->n_rows);
    const int64_t start = block->indptr[row];
    const int32_t *genes = block->genes + start;
    const double *sums = block->values + start;
    int64_t n = block->indptr[row + 1] - start;
    if (!is_plain(ranker, genes, sums, n)) {
        int n_touched = 0;
        EMC_TRY(add_up(ranker, block, row, &n_touched));
        genes = ranker->touched;
        sums = ranker->touched_sums;
        n = n_touched;
    }
    const int n_kept = choose(ranker, genes, sums, n, ranked);
    const int n_top = n_kept < ranker->n_top ? n_kept : ranker->n_top;
    cells_top(ranker->candidates, n_kept, ranker->n_top);
    for (int i = 0; i < n_top; i++) {
        ranker->out_genes[i] = ranker->candidates[i].gene;
        ranker->out_values[i] = ranker->candidates[i].value;
    }
    ranked->n_top = n_top;
    ranked->genes = ranker->out_genes;
    ranked->values = ranker->out_values;
    return EMC_OK;
}
