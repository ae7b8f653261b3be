/* Which genes does this cell express most? */
#include "cells/rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

typedef struct {
    double value;
    int32_t order; /* of the gene's name; breaks ties */
    int32_t gene;
} candidate;

struct emc_ranker {
    const emc_genes *genes;
    emc_rank_options options;
    int n_genes;
    double *sums; /* per gene, valid where stamps[gene] == stamp */
    uint32_t *stamps;
    uint32_t stamp;
    int32_t *touched;
    candidate *heap; /* the n_top best, the worst of them on top */
    int n_heap;
    int n_top; /* never more than there are genes */
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
    status = emc_alloc(&ranker->sums, n, sizeof *ranker->sums, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->stamps, n, sizeof *ranker->stamps, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->touched, n, sizeof *ranker->touched, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->heap, n_top, sizeof *ranker->heap, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->out_genes, n_top, sizeof *ranker->out_genes, "a ranker");
    if (status == EMC_OK)
        status = emc_alloc(&ranker->out_values, n_top, sizeof *ranker->out_values, "a ranker");
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
    free(ranker->heap);
    free(ranker->out_genes);
    free(ranker->out_values);
    free(ranker);
}

static bool is_before(const candidate *a, const candidate *b)
{
    return a->value > b->value || (a->value == b->value && a->order < b->order);
}

/* Puts c where the root was and lets it sink: parents are worse than their children. */
static void sink(candidate *heap, int n, candidate c)
{
    int i = 0;

    for (;;) {
        int child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_before(&heap[child], &heap[child + 1]))
            child++;
        if (!is_before(&c, &heap[child]))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = c;
}

/* Keeps the n_top best in a heap whose root is the worst of them. */
static void offer(emc_ranker *ranker, candidate c)
{
    candidate *heap = ranker->heap;
    int i;

    if (ranker->n_heap == ranker->n_top) {
        if (is_before(&c, &heap[0]))
            sink(heap, ranker->n_heap, c);
        return;
    }
    for (i = ranker->n_heap++; i > 0 && is_before(&heap[(i - 1) / 2], &c); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

/* Empties the heap, worst first, into the lists. qsort is not used: it may take memory. */
static void unload(emc_ranker *ranker)
{
    for (int n = ranker->n_heap; n > 0; n--) {
        ranker->out_genes[n - 1] = ranker->heap[0].gene;
        ranker->out_values[n - 1] = ranker->heap[0].value;
        sink(ranker->heap, n - 1, ranker->heap[n - 1]);
    }
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
    *n_touched = n;
    return EMC_OK;
}

emc_status emc_ranker_cell(emc_ranker *ranker, const emc_cell_block *block, int row,
                           emc_ranked *ranked)
{
    const emc_rank_options *options = &ranker->options;
    int n_touched = 0;

    *ranked = (emc_ranked){0};
    if (row < 0 || row >= block->n_rows)
        return emc_fail(EMC_ERR_ARG, "ranking: row %d of %d", row, block->n_rows);
    EMC_TRY(add_up(ranker, block, row, &n_touched));
    ranker->n_heap = 0;
    for (int i = 0; i < n_touched; i++) {
        const int32_t gene = ranker->touched[i];
        double value = ranker->sums[gene];
        if (!(value > 0))
            continue;
        ranked->n_expressed++;
        ranked->total += value;
        if (!emc_genes_is_kept(ranker->genes, gene) || value < options->min_value)
            continue;
        if (options->medians) {
            if (isnan(options->medians[gene]))
                continue;
            value /= options->medians[gene];
        }
        ranked->n_kept++;
        offer(ranker, (candidate){value, emc_genes_order(ranker->genes, gene), gene});
    }
    unload(ranker);
    ranked->n_top = ranker->n_heap;
    ranked->genes = ranker->out_genes;
    ranked->values = ranker->out_values;
    return EMC_OK;
}
