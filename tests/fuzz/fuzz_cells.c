#include "fuzz_cells.h"

#include <hdf5.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cells/kinds.h"
#include "cells/reader.h"

/* Blocks of one file that are looked at: a claim of 2^31 cells may be true. */
#define MOST_BLOCKS 256

static void check_block(const emc_cells *cells, const emc_cell_block *block)
{
    fuzz_require(block->indptr[0] == 0, "indptr starts at 0");
    fuzz_require(block->first_row >= 0 &&
                     block->first_row + block->n_rows <= emc_cells_n_cells(cells),
                 "a block's rows are the file's");
    for (int r = 0; r < block->n_rows; r++) {
        fuzz_require(block->indptr[r + 1] >= block->indptr[r], "indptr rises");
        fuzz_require(block->cell_ids[r] && block->cell_ids[r][0], "a cell has a name");
        for (int64_t k = block->indptr[r]; k < block->indptr[r + 1]; k++)
            fuzz_require(block->genes[k] >= 0 && block->genes[k] < emc_cells_n_genes(cells),
                         "a gene is one of the file's");
        for (int c = 0; c < block->n_obs_columns; c++) {
            const char *text = block->obs[(size_t)r * (size_t)block->n_obs_columns + (size_t)c];
            fuzz_require(!text || emc_utf8_valid(text, strlen(text)) == strlen(text),
                         "metadata are UTF-8");
        }
    }
}

static void read_blocks(emc_cells *cells, const char *place)
{
    int64_t next = 0;

    for (int i = 0; i < MOST_BLOCKS; i++) {
        emc_cell_block block;
        const emc_status status = emc_cells_next(cells, &block);
        fuzz_check(status, place);
        if (status != EMC_OK)
            return;
        if (block.n_rows == 0) {
            fuzz_require(next == emc_cells_n_cells(cells), "every cell comes");
            return;
        }
        fuzz_require(block.first_row == next, "cells come in order");
        check_block(cells, &block);
        next += block.n_rows;
    }
}

bool fuzz_cells(const char *path, fuzz_input input)
{
    static const char *const layers[] = {NULL, NULL, "raw", "counts", "layers/raw", "matrix"};
    static const char *const symbols[] = {NULL, NULL, "index", "feature_name", "label"};
    static const char *const columns[] = {"label", "n", "kind"};
    static const char *const genomes[] = {NULL, NULL, "hg19", "mm10"};
    const uint8_t bits = fuzz_u8(&input);
    const emc_cells_options options = {
        .layer = layers[fuzz_below(&input, EMC_COUNT(layers))],
        .gene_symbols = symbols[fuzz_below(&input, EMC_COUNT(symbols))],
        .obs_columns = columns,
        .n_obs_columns = (bits & 3) == 3 ? (bits >> 2) % 4 : 0,
        .genome = genomes[fuzz_below(&input, EMC_COUNT(genomes))],
        .max_rows = bits & 4 ? 2 : 0,
        .orientation = (bits >> 4) % 3,
        .duplicate_genes = (bits >> 6) % 3,
        .negative = bits & 8 ? EMC_NEGATIVE_PASS : EMC_NEGATIVE_REFUSE,
        .n_threads = bits & 16 ? 2 : 1,
        .turn_bytes = bits & 32 ? 4096 : 0,
        .scratch_dir = fuzz_path(""),
    };
    /* What is wrong may be in a file beside the one that is opened. */
    char place[256];
    snprintf(place, sizeof place, "%s", fuzz_path(""));
    emc_cells *cells;
    emc_status status = emc_cells_open(&cells, path, &options);

    fuzz_check(status, place);
    fuzz_require((status == EMC_OK) == (cells != NULL), "a failed open leaves nothing");
    if (status == EMC_OK) {
        fuzz_require(emc_cells_n_cells(cells) > 0 && emc_cells_n_genes(cells) > 0,
                     "a file has cells and genes");
        fuzz_require(emc_cells_description(cells)[0] != '\0', "a file is described");
        for (int i = 0; i < emc_cells_n_genes(cells) && i < 4096; i++)
            fuzz_require(emc_cells_gene_names(cells)[i][0] != '\0', "a gene has a name");
        read_blocks(cells, place);
        if (emc_cells_seek(cells, emc_cells_n_cells(cells) / 2) == EMC_OK) {
            emc_cell_block block;
            fuzz_check(emc_cells_next(cells, &block), place);
        }
        emc_kind_look look;
        fuzz_check(emc_kind_look_at(&look, cells), place);
    }
    emc_cells_close(cells);
    fuzz_require(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "nothing stays open");
    return status == EMC_OK;
}
