/* Which cells of a file come next, and what are their genes worth? */
#include "cells/ranked.h"

#include <stdlib.h>

#include "base/size.h"
#include "cells/source.h"

/* Rows between two wanted ones that are read over: cheaper than to begin anew. */
#define MOST_GAP 16

struct emc_ranked_cells {
    emc_ranked_options options;
    int64_t n;    /* positions */
    int64_t next; /* position to give */
    int64_t end;  /* past the last position to give */
    emc_ranker *ranker;
    cells_buffers buffers;
    emc_cell_block block; /* n_rows = 0: none is read */
    bool is_broken;
};

static int64_t row_of(const emc_ranked_cells *ranked, int64_t position)
{
    return ranked->options.rows ? ranked->options.rows[position] : position;
}

static emc_status check_rows(const emc_ranked_options *options)
{
    const int64_t n_cells = emc_cells_n_cells(options->cells);

    if (!options->rows)
        return EMC_OK;
    if (options->n_rows < 0)
        return emc_fail(EMC_ERR_ARG, "ranked cells: n_rows=%lld", (long long)options->n_rows);
    for (int64_t i = 0; i < options->n_rows; i++) {
        const int64_t row = options->rows[i];
        if (row < 0 || row >= n_cells || (i > 0 && row <= options->rows[i - 1]))
            return emc_fail(EMC_ERR_ARG, "ranked cells: row %lld of %lld at position %lld",
                            (long long)row, (long long)n_cells, (long long)i);
    }
    return EMC_OK;
}

emc_status emc_ranked_cells_open(emc_ranked_cells **out, const emc_ranked_options *options)
{
    emc_status status;
    emc_ranked_cells *ranked = NULL;

    *out = NULL;
    EMC_TRY(check_rows(options));
    EMC_TRY(emc_alloc(&ranked, 1, sizeof *ranked, "ranked cells"));
    ranked->options = *options;
    ranked->n = options->rows ? options->n_rows : emc_cells_n_cells(options->cells);
    ranked->end = ranked->n;
    status = emc_ranker_open(&ranked->ranker, options->genes, &options->rank);
    if (status != EMC_OK) {
        emc_ranked_cells_close(ranked);
        return status;
    }
    *out = ranked;
    return EMC_OK;
}

void emc_ranked_cells_close(emc_ranked_cells *ranked)
{
    if (!ranked)
        return;
    emc_ranker_close(ranked->ranker);
    cells_buffers_free(&ranked->buffers);
    free(ranked);
}

emc_status emc_ranked_cells_seek(emc_ranked_cells *ranked, int64_t first, int64_t n)
{
    if (first < 0 || n < 0 || first > ranked->n || n > ranked->n - first)
        return emc_fail(EMC_ERR_ARG, "ranked cells: positions %lld + %lld of %lld",
                        (long long)first, (long long)n, (long long)ranked->n);
    ranked->next = first;
    ranked->end = first + n;
    ranked->block.n_rows = 0;
    ranked->is_broken = false;
    return EMC_OK;
}

/* Reads the block that begins with the next wanted row, and no row after the last wanted one. */
static emc_status read_block(emc_ranked_cells *ranked)
{
    const int64_t first = row_of(ranked, ranked->next);
    int64_t last = first, position = ranked->next + 1;

    if (!ranked->options.rows)
        last = ranked->end - 1;
    for (; ranked->options.rows && position < ranked->end; position++) {
        if (row_of(ranked, position) - last > MOST_GAP)
            break;
        last = row_of(ranked, position);
    }
    EMC_TRY(emc_cells_seek(ranked->options.cells, first));
    return cells_next_into(ranked->options.cells, last - first + 1, &ranked->buffers,
                           &ranked->block);
}

emc_status emc_ranked_cells_next(emc_ranked_cells *ranked, emc_ranked_cell *cell, bool *more)
{
    *cell = (emc_ranked_cell){.message = ""};
    *more = false;
    if (ranked->is_broken)
        return emc_fail(EMC_ERR_ARG, "ranked cells: next after an error");
    if (ranked->next == ranked->end)
        return EMC_OK;
    const int64_t row = row_of(ranked, ranked->next);
    emc_cell_block *block = &ranked->block;
    if (block->n_rows == 0 || row >= block->first_row + block->n_rows) {
        ranked->is_broken = true;
        EMC_TRY(read_block(ranked));
        ranked->is_broken = false;
    }
    const int at = (int)(row - block->first_row);
    cell->position = ranked->next++;
    cell->row = row;
    cell->cell_id = block->cell_ids[at];
    cell->obs =
        block->n_obs_columns ? block->obs + (size_t)at * (size_t)block->n_obs_columns : NULL;
    cell->status = emc_ranker_cell(ranked->ranker, block, at, &cell->ranked);
    if (cell->status != EMC_OK) {
        cell->ranked = (emc_ranked){0};
        cell->message = emc_message();
    }
    *more = true;
    return EMC_OK;
}
