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
    int n_top;       /* never more than there are genes */
    uint8_t *listed; /* whether a gene may be */
    /* Of the row at hand, an entry each: */
    uint16_t *steps; /* of the value; 0: not listed */
    int32_t *wanted; /* the entries whose step is high enough */
    double *scaled;  /* values over medians; NULL without medians */
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
    status = emc_alloc(&ranker->listed, n, sizeof *ranker->listed, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->steps, n, sizeof *ranker->steps, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->wanted, n + 1, sizeof *ranker->wanted, "a ranker");
    if (status == EMC_OK && options->medians)
        status = emc_alloc(&ranker->scaled, n, sizeof *ranker->scaled, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->sums, n, sizeof *ranker->sums, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->stamps, n, sizeof *ranker->stamps, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->touched, n, sizeof *ranker->touched, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->touched_sums, n, sizeof *ranker->touched_sums, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->candidates, n, sizeof *ranker->candidates, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->out_genes, n_top, sizeof *ranker->out_genes, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->out_values, n_top, sizeof *ranker->out_values, "a ranker");
    for (int g = 0; status == EMC_OK && g < (int)n; g++)
        ranker->listed[g] =
            emc_genes_is_kept(genes, g) && !(options->medians && isnan(options->medians[g]));
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
    free(ranker->listed);
    free(ranker->steps);
    free(ranker->wanted);
    free(ranker->scaled);
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
 * has it, and nothing need be added up. Lanes, so that no comparison waits for the one before. */
static bool is_plain(const emc_ranker *ranker, const int32_t *genes, const double *values,
                     int64_t n)
{
    enum { LANES = 8 };
    int32_t falls[LANES] = {0};
    double zeros[LANES] = {0}; /* or NaN */
    int64_t k = 1;

    if (n == 0)
        return true;
    if (n > ranker->n_genes || genes[0] < 0)
        return false;
    for (; k + LANES <= n; k += LANES)
        for (int j = 0; j < LANES; j++) {
            falls[j] |= genes[k + j] <= genes[k + j - 1];
            zeros[j] += values[k + j] * 0;
        }
    for (; k < n; k++) {
        falls[0] |= genes[k] <= genes[k - 1];
        zeros[0] += values[k] * 0;
    }
    zeros[0] += values[0] * 0;
    for (int j = 1; j < LANES; j++) {
        falls[0] |= falls[j];
        zeros[0] += zeros[j];
    }
    return !falls[0] && zeros[0] == 0 && genes[n - 1] < ranker->n_genes;
}

/* What a step was counted; two tables by turns, as most values of a row share a step and each
 * addition would wait for the one before. */
typedef struct {
    uint32_t of[2][CELLS_N_STEPS];
} step_counts;

/* Gives each of n genes a step, and counts. */
static void count_steps(emc_ranker *ranker, const int32_t *genes, const double *sums, int n,
                        step_counts *counts, emc_ranked *ranked)
{
    const double *medians = ranker->options.medians;
    const double least = ranker->options.min_value;
    double total = 0;
    int n_expressed = 0;

    memset(counts, 0, sizeof *counts);
    for (int i = 0; i < n; i++) {
        const double sum = sums[i];
        const bool is_expressed = sum > 0;
        const bool is_listed = is_expressed & (sum >= least) & (ranker->listed[genes[i]] != 0);
        double value = sum;
        if (medians) {
            value = is_listed ? sum / medians[genes[i]] : 1;
            ranker->scaled[i] = value;
        }
        n_expressed += is_expressed;
        total += is_expressed ? sum : 0;
        const int step = is_listed ? cells_step(value) : 0;
        ranker->steps[i] = (uint16_t)step;
        counts->of[i & 1][step]++;
    }
    ranked->n_expressed = n_expressed;
    ranked->total = total;
    ranked->n_kept = n - (int)(counts->of[0][0] + counts->of[1][0]);
}

/* The candidates on the edge and above it; *n_in of them, the first, are above it. */
static int gather(emc_ranker *ranker, const int32_t *genes, const double *values, int n,
                  const step_counts *counts, int n_kept, int *n_in)
{
    const int n_top = n_kept < ranker->n_top ? n_kept : ranker->n_top;
    int edge = CELLS_N_STEPS, above = 0, on_edge = 0, n_wanted = 0, in = 0;

    while (above + on_edge < n_top) {
        above += on_edge;
        edge--;
        on_edge = (int)(counts->of[0][edge] + counts->of[1][edge]);
    }
    /* Written in any case, kept by the count: no branch to guess. */
    for (int i = 0; i < n; i++) {
        ranker->wanted[n_wanted] = i;
        n_wanted += ranker->steps[i] >= edge;
    }
    int rest = above;
    for (int w = 0; w < n_wanted; w++) {
        const int i = ranker->wanted[w];
        const bool is_in = ranker->steps[i] > edge;
        ranker->candidates[is_in ? in : rest] =
            (cells_candidate){values[i], emc_genes_order(ranker->genes, genes[i]), genes[i]};
        in += is_in;
        rest += !is_in;
    }
    *n_in = above;
    return n_wanted;
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
    step_counts counts;
    int n_in;
    count_steps(ranker, genes, sums, (int)n, &counts, ranked);
    const double *values = ranker->options.medians ? ranker->scaled : sums;
    const int n_wanted = gather(ranker, genes, values, (int)n, &counts, ranked->n_kept, &n_in);
    const int n_top = ranked->n_kept < ranker->n_top ? ranked->n_kept : ranker->n_top;
    cells_top(ranker->candidates, n_wanted, n_in, n_top);
    for (int i = 0; i < n_top; i++) {
        ranker->out_genes[i] = ranker->candidates[i].gene;
        ranker->out_values[i] = ranker->candidates[i].value;
    }
    ranked->n_top = n_top;
    ranked->genes = ranker->out_genes;
    ranked->values = ranker->out_values;
    return EMC_OK;
}
