/* Do ranked cells come in order and as if ranked one by one, whatever the threads and ranges? */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cells/ranked.h"
#include "cells_break.h"
#include "cells_files.h"

#define N_CELLS 400
#define N_GENES 80
#define N_TOP   25

/* What ranking one by one gives. */
typedef struct {
    emc_status status;
    char message[256], id[32];
    int n_top, n_expressed, n_kept;
    int32_t genes[N_TOP];
    double values[N_TOP], total;
} expected;

static const emc_rank_options ranking = {.n_top = N_TOP};

static void rank_one_by_one(expected *all, const char *path)
{
    emc_cells *cells;
    emc_genes *genes;
    emc_ranker *ranker;
    emc_cell_block block;

    EMT_OK(emc_cells_open(&cells, path, NULL));
    EMT_OK(emc_genes_open(&genes, emc_cells_gene_names(cells), emc_cells_n_genes(cells), NULL));
    EMT_OK(emc_ranker_open(&ranker, genes, &ranking));
    for (;;) {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            break;
        for (int r = 0; r < block.n_rows; r++) {
            expected *e = &all[block.first_row + r];
            emc_ranked ranked;
            *e = (expected){.status = emc_ranker_cell(ranker, &block, r, &ranked)};
            snprintf(e->id, sizeof e->id, "%s", block.cell_ids[r]);
            if (e->status != EMC_OK) {
                snprintf(e->message, sizeof e->message, "%s", emc_message());
                continue;
            }
            e->n_top = ranked.n_top;
            e->n_expressed = ranked.n_expressed;
            e->n_kept = ranked.n_kept;
            e->total = ranked.total;
            memcpy(e->genes, ranked.genes, (size_t)ranked.n_top * sizeof *e->genes);
            memcpy(e->values, ranked.values, (size_t)ranked.n_top * sizeof *e->values);
        }
    }
    emc_ranker_close(ranker);
    emc_genes_close(genes);
    emc_cells_close(cells);
}

static void check_cell(const emc_ranked_cell *cell, const expected *all, const int64_t *rows)
{
    assert_int_equal(cell->row, rows ? rows[cell->position] : cell->position);
    const expected *e = &all[cell->row];
    assert_string_equal(cell->cell_id, e->id);
    assert_int_equal(cell->status, e->status);
    assert_string_equal(cell->message, e->message);
    assert_int_equal(cell->ranked.n_top, e->n_top);
    assert_int_equal(cell->ranked.n_expressed, e->n_expressed);
    assert_int_equal(cell->ranked.n_kept, e->n_kept);
    assert_true(cell->ranked.total == e->total);
    for (int i = 0; i < e->n_top; i++) {
        assert_int_equal(cell->ranked.genes[i], e->genes[i]);
        assert_true(cell->ranked.values[i] == e->values[i]);
    }
}

/* Positions first .. end - 1, all of them and no more. */
static void check_range(emc_ranked_cells *ranked, const expected *all, const int64_t *rows,
                        int64_t first, int64_t end)
{
    emc_ranked_cell cell;
    bool more = true;

    for (int64_t position = first; position < end; position++) {
        EMT_OK(emc_ranked_cells_next(ranked, &cell, &more));
        assert_true(more);
        assert_int_equal(cell.position, position);
        check_cell(&cell, all, rows);
    }
    for (int i = 0; i < 2; i++) {
        EMT_OK(emc_ranked_cells_next(ranked, &cell, &more));
        assert_false(more);
    }
}

/* Rising rows, each with a chance of one in `every`. */
static int64_t choose_rows(int64_t *rows, uint64_t every, uint64_t *random)
{
    int64_t n = 0;

    for (int64_t row = 0; row < N_CELLS; row++)
        if (emt_random(random) % every == 0)
            rows[n++] = row;
    return n;
}

static void check_all_ways(const char *path, const expected *all, uint64_t seed)
{
    uint64_t random = seed;
    int64_t rows[N_CELLS];

    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        static const int max_rows[] = {0, 1, 5, 64};
        const emc_cells_options options = {.max_rows = max_rows[n_threads - 1],
                                           .n_threads = n_threads};
        emc_cells *cells;
        emc_genes *genes;
        EMT_OK(emc_cells_open(&cells, path, &options));
        EMT_OK(emc_genes_open(&genes, emc_cells_gene_names(cells), N_GENES, NULL));
        for (uint64_t every = 1; every <= 100; every = every * 4 + 3) {
            const bool is_all = every == 1;
            const int64_t n = is_all ? N_CELLS : choose_rows(rows, every, &random);
            const emc_ranked_options wanted = {.cells = cells,
                                               .genes = genes,
                                               .rank = ranking,
                                               .rows = is_all ? NULL : rows,
                                               .n_rows = n,
                                               .n_threads = n_threads};
            emc_ranked_cells *ranked;
            emc_ranked_cell cell;
            bool more;
            EMT_OK(emc_ranked_cells_open(&ranked, &wanted));
            check_range(ranked, all, wanted.rows, 0, n);
            for (int k = 0; k < 8 && n > 0; k++) {
                const int64_t first = (int64_t)(emt_random(&random) % (uint64_t)n);
                const int64_t count = (int64_t)(emt_random(&random) % (uint64_t)(n - first + 1));
                EMT_OK(emc_ranked_cells_seek(ranked, first, count));
                if (k % 2) { /* left in the middle */
                    EMT_OK(emc_ranked_cells_next(ranked, &cell, &more));
                    continue;
                }
                check_range(ranked, all, wanted.rows, first, first + count);
            }
            EMT_OK(emc_ranked_cells_seek(ranked, n, 0));
            check_range(ranked, all, wanted.rows, n, n);
            emc_ranked_cells_close(ranked);
        }
        emc_genes_close(genes);
        emc_cells_close(cells);
    }
}

static void set_value(const char *path, const char *name, hsize_t at, double value)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const hid_t space = H5Dget_space(dataset);
    const hsize_t one = 1;
    const hid_t memory = H5Screate_simple(1, &one, NULL);

    H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL));
    H5(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, &value));
    H5(H5Sclose(memory));
    H5(H5Sclose(space));
    H5(H5Dclose(dataset));
    H5(H5Fclose(file));
}

static void as_one_by_one(void **state)
{
    const char *path = emt_temp("ranked.h5ad");
    expected *all = calloc(N_CELLS, sizeof *all);

    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        const file_spec spec = {.n_cells = N_CELLS,
                                .n_genes = N_GENES,
                                .least = 0,
                                .most = 60,
                                .seed = seed,
                                .layout = seed == 5   ? FILE_CSC
                                          : seed == 6 ? FILE_DENSE
                                                      : FILE_CSR,
                                .chunk = seed % 2 ? 500 : 0,
                                .gzip = 4,
                                .shuffle = seed % 3 == 0,
                                .unsorted = seed % 4 == 3,
                                .repeated = seed < 5,
                                .empty_every = 9};
        int n_failed = 0;
        file_write_h5ad(path, &spec);
        if (seed <= 4) { /* some cells that cannot be ranked */
            set_value(path, "X/data", 1000, NAN);
            set_value(path, "X/data", 3000, INFINITY);
        }
        rank_one_by_one(all, path);
        for (int i = 0; i < N_CELLS; i++)
            n_failed += all[i].status != EMC_OK;
        assert_int_equal(n_failed, seed <= 4 ? 2 : 0);
        check_all_ways(path, all, seed);
    }
    free(all);
}

/* An error of the file comes after the cells before it, ends the run, and a seek begins anew. */
static void an_error_of_the_file(void **state)
{
    const file_spec spec = {
        .n_cells = N_CELLS, .n_genes = N_GENES, .least = 20, .most = 20, .seed = 8};
    const char *path = emt_temp("broken.h5ad");
    const emc_cells_options options = {.max_rows = 10};
    expected *all = calloc(N_CELLS, sizeof *all);
    emc_cells *cells;
    emc_genes *genes;
    emc_ranked_cells *ranked;
    emc_ranked_cell cell;
    emc_status status = EMC_OK;
    int64_t n = 0;
    bool more;

    (void)state;
    file_write_h5ad(path, &spec);
    rank_one_by_one(all, path);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    set_int(file, "X/indices", 4000, N_GENES);
    H5(H5Fclose(file));
    EMT_OK(emc_cells_open(&cells, path, &options));
    EMT_OK(emc_genes_open(&genes, emc_cells_gene_names(cells), N_GENES, NULL));
    const emc_ranked_options wanted = {
        .cells = cells, .genes = genes, .rank = ranking, .n_threads = 2};
    EMT_OK(emc_ranked_cells_open(&ranked, &wanted));
    for (int round = 0; round < 2; round++) {
        for (n = 0;; n++) {
            status = emc_ranked_cells_next(ranked, &cell, &more);
            if (status != EMC_OK)
                break;
            assert_true(more);
            check_cell(&cell, all, NULL);
        }
        EMT_FAILS(EMC_ERR_FORMAT, "/X/indices: row ", status);
        assert_int_equal(n % 10, 0);
        assert_true(n > 100 && n < N_CELLS - 10);
        EMT_FAILS(EMC_ERR_ARG, "after an error", emc_ranked_cells_next(ranked, &cell, &more));
        EMT_OK(emc_ranked_cells_seek(ranked, n + 10, 15)); /* past the damage */
        check_range(ranked, all, NULL, n + 10, n + 25);
        EMT_OK(emc_ranked_cells_seek(ranked, 0, N_CELLS));
    }
    emc_ranked_cells_close(ranked);
    emc_genes_close(genes);
    emc_cells_close(cells);
    free(all);
}

/* A value below zero ends the run at its own cell, wherever blocks and ranges begin; a cell that
 * nobody asked for ends nothing. */
static void a_negative_value(void **state)
{
    enum { BROKEN = 137 };
    const file_spec spec = {
        .n_cells = N_CELLS, .n_genes = N_GENES, .least = 20, .most = 20, .seed = 11};
    const char *path = emt_temp("negative.h5ad");
    static const int64_t around[] = {BROKEN - 3, BROKEN - 1, BROKEN + 2, BROKEN + 3};
    expected *all = calloc(N_CELLS, sizeof *all);
    emc_cells *cells;
    emc_genes *genes;
    emc_ranked_cells *ranked;
    emc_ranked_cell cell;
    int32_t entry_genes[N_GENES];
    double entry_values[N_GENES];
    hsize_t at = 0;
    bool more;

    (void)state;
    file_write_h5ad(path, &spec);
    rank_one_by_one(all, path);
    for (int row = 0; row < BROKEN; row++)
        at += (hsize_t)file_row(&spec, row, entry_genes, entry_values);
    set_value(path, "X/data", at + 5, -1);
    for (int max_rows = 1; max_rows < 1000; max_rows = max_rows * 7) {
        EMT_OK(emc_cells_open(&cells, path, &(emc_cells_options){.max_rows = max_rows}));
        EMT_OK(emc_genes_open(&genes, emc_cells_gene_names(cells), N_GENES, NULL));
        emc_ranked_options wanted = {
            .cells = cells, .genes = genes, .rank = ranking, .n_threads = 2};
        EMT_OK(emc_ranked_cells_open(&ranked, &wanted));
        for (int64_t begin = 0; begin <= BROKEN; begin += BROKEN / 2) {
            EMT_OK(emc_ranked_cells_seek(ranked, begin, N_CELLS - begin));
            for (int64_t i = begin; i < BROKEN; i++) {
                EMT_OK(emc_ranked_cells_next(ranked, &cell, &more));
                assert_true(more);
                check_cell(&cell, all, NULL);
            }
            EMT_FAILS(EMC_ERR_FORMAT, "cell \"cell-137\", gene \"",
                      emc_ranked_cells_next(ranked, &cell, &more));
        }
        emc_ranked_cells_close(ranked);
        wanted.rows = around;
        wanted.n_rows = EMC_COUNT(around);
        EMT_OK(emc_ranked_cells_open(&ranked, &wanted));
        for (size_t i = 0; i < EMC_COUNT(around); i++) {
            EMT_OK(emc_ranked_cells_next(ranked, &cell, &more));
            assert_true(more);
            check_cell(&cell, all, around);
        }
        emc_ranked_cells_close(ranked);
        emc_genes_close(genes);
        emc_cells_close(cells);
    }
    free(all);
}

static void broken_arguments(void **state)
{
    static const int64_t falls[] = {3, 2}, twice[] = {3, 3}, low[] = {-1, 3}, high[] = {1, 30};
    const file_spec spec = {.n_cells = 30, .n_genes = N_GENES, .least = 5, .most = 9, .seed = 2};
    const char *path = emt_temp("small.h5ad");
    emc_cells *cells;
    emc_genes *genes;
    emc_ranked_cells *ranked;
    emc_ranked_cell cell;
    bool more;

    (void)state;
    file_write_h5ad(path, &spec);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    EMT_OK(emc_genes_open(&genes, emc_cells_gene_names(cells), N_GENES, NULL));
    emc_ranked_options wanted = {.cells = cells, .genes = genes, .rank = ranking, .n_rows = 2};
    const int64_t *const bad[] = {falls, twice, low, high};
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        wanted.rows = bad[i];
        EMT_FAILS(EMC_ERR_ARG, "row ", emc_ranked_cells_open(&ranked, &wanted));
        assert_null(ranked);
    }
    wanted.rows = NULL;
    wanted.n_threads = -1;
    EMT_FAILS(EMC_ERR_ARG, "n_threads=-1", emc_ranked_cells_open(&ranked, &wanted));
    wanted.n_threads = 0;
    wanted.rank.n_top = 0;
    EMT_FAILS(EMC_ERR_ARG, "n_top=0", emc_ranked_cells_open(&ranked, &wanted));
    wanted.rank.n_top = 5;
    EMT_OK(emc_ranked_cells_open(&ranked, &wanted));
    EMT_FAILS(EMC_ERR_ARG, "of 30", emc_ranked_cells_seek(ranked, 31, 0));
    EMT_FAILS(EMC_ERR_ARG, "of 30", emc_ranked_cells_seek(ranked, 30, 1));
    EMT_FAILS(EMC_ERR_ARG, "of 30", emc_ranked_cells_seek(ranked, -1, 1));
    EMT_FAILS(EMC_ERR_ARG, "of 30", emc_ranked_cells_seek(ranked, 0, -1));
    EMT_OK(emc_ranked_cells_next(ranked, &cell, &more)); /* unharmed */
    assert_int_equal(cell.position, 0);
    emc_ranked_cells_close(ranked);
    EMT_OK(emc_ranked_cells_open(&ranked, &wanted));
    emc_ranked_cells_close(ranked); /* before anything was asked */
    emc_ranked_cells_close(NULL);
    emc_genes_close(genes);
    emc_cells_close(cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_one_by_one),
        cmocka_unit_test(an_error_of_the_file),
        cmocka_unit_test(a_negative_value),
        cmocka_unit_test(broken_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
