/* Does the iterator give what anndata gives? Golden files and, where they are, real ones. */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cells/reader.h"

#define MOST_COLUMNS 8

static cJSON *read_golden(const char *name)
{
    cJSON *tree;

    EMT_OK(emc_json_read(&tree, emt_golden(name), 1 << 24));
    return tree;
}

static const char *string_of(const cJSON *object, const char *key)
{
    const cJSON *item = emc_json_member(object, key);

    return item ? item->valuestring : NULL;
}

static double number_of(const cJSON *object, const char *key)
{
    return emc_json_member(object, key)->valuedouble;
}

/* The options that a case asks for, with its columns of obs. */
static emc_cells_options options_of(const cJSON *wanted, const char *columns[MOST_COLUMNS])
{
    emc_cells_options options = {.layer = string_of(wanted, "layer"),
                                 .gene_symbols = string_of(wanted, "gene_symbols"),
                                 .obs_columns = columns};
    const cJSON *column;

    if (emc_json_member(wanted, "negative"))
        options.negative = EMC_NEGATIVE_PASS;
    cJSON_ArrayForEach(column, emc_json_member(wanted, "obs"))
    {
        assert_true(options.n_obs_columns < MOST_COLUMNS);
        columns[options.n_obs_columns++] = column->string;
    }
    return options;
}

static void assert_text(const char *found, const cJSON *wanted)
{
    if (cJSON_IsNull(wanted))
        assert_null(found);
    else
        assert_string_equal(found, wanted->valuestring);
}

static void check_names(emc_cells *cells, const cJSON *wanted)
{
    const cJSON *name, *ids = emc_json_member(wanted, "ids");
    int i = 0;

    assert_int_equal(emc_cells_n_cells(cells),
                     cJSON_GetArraySize(emc_json_member(wanted, "cells")));
    cJSON_ArrayForEach(name, emc_json_member(wanted, "cells"))
    {
        assert_text(emc_cells_id(cells, i), name);
        assert_int_equal(emc_cells_find(cells, name->valuestring), i++);
    }
    assert_int_equal(emc_cells_find(cells, "no such cell"), -1);
    assert_int_equal(emc_cells_n_genes(cells),
                     cJSON_GetArraySize(emc_json_member(wanted, "genes")));
    i = 0;
    cJSON_ArrayForEach(name, emc_json_member(wanted, "genes"))
        assert_text(emc_cells_gene_names(cells)[i++], name);
    if (!ids)
        assert_null(emc_cells_gene_ids(cells));
    i = 0;
    cJSON_ArrayForEach(name, ids) assert_text(emc_cells_gene_ids(cells)[i++], name);
    if (!strstr(emc_cells_description(cells), string_of(wanted, "describes")))
        fail_msg("\"%s\" does not say \"%s\"", emc_cells_description(cells),
                 string_of(wanted, "describes"));
}

/* Adds a block up into a row each and compares it with the expected values, bit for bit. */
static void check_block(const emc_cell_block *block, const cJSON *wanted, int n_genes)
{
    double *sums = calloc((size_t)n_genes, sizeof *sums);

    assert_int_equal(block->indptr[0], 0);
    for (int r = 0; r < block->n_rows; r++) {
        const cJSON *row =
            cJSON_GetArrayItem(emc_json_member(wanted, "values"), (int)block->first_row + r);
        const cJSON *value, *column;
        int g = 0, c = 0;
        memset(sums, 0, (size_t)n_genes * sizeof *sums);
        for (int64_t k = block->indptr[r]; k < block->indptr[r + 1]; k++)
            sums[block->genes[k]] += block->values[k];
        cJSON_ArrayForEach(value, row)
        {
            if (sums[g] != value->valuedouble)
                fail_msg("%s row %d gene %d: %.17g, wanted %.17g", string_of(wanted, "describes"),
                         (int)block->first_row + r, g, sums[g], value->valuedouble);
            g++;
        }
        assert_text(block->cell_ids[r], cJSON_GetArrayItem(emc_json_member(wanted, "cells"),
                                                           (int)block->first_row + r));
        cJSON_ArrayForEach(column, emc_json_member(wanted, "obs"))
            assert_text(block->obs[r * block->n_obs_columns + c++],
                        cJSON_GetArrayItem(column, (int)block->first_row + r));
        assert_int_equal(c, block->n_obs_columns);
    }
    free(sums);
}

static void check_rows(emc_cells *cells, const cJSON *wanted, int64_t from)
{
    const int64_t n_cells = emc_cells_n_cells(cells);
    emc_cell_block block;
    int64_t next = from;

    EMT_OK(emc_cells_seek(cells, from));
    do {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            break;
        assert_int_equal(block.first_row, next);
        check_block(&block, wanted, emc_cells_n_genes(cells));
        next += block.n_rows;
    } while (block.n_rows > 0);
    assert_int_equal(next, n_cells);
}

/* Every encoding in every split into blocks. */
static void golden_files(void **state)
{
    static const struct {
        int max_rows;
        size_t max_bytes;
    } limits[] = {{0, 0}, {1, 0}, {2, 0}, {3, 0}, {0, 1}, {0, 400}};
    cJSON *cases = read_golden("cells/expected.json");
    const cJSON *wanted;
    int n = 0;

    (void)state;
    cJSON_ArrayForEach(wanted, cases)
    {
        for (size_t i = 0; i < EMC_COUNT(limits); i++) {
            const char *columns[MOST_COLUMNS];
            char name[64];
            emc_cells_options options = options_of(wanted, columns);
            emc_cells *cells;
            options.max_rows = limits[i].max_rows;
            options.max_bytes = limits[i].max_bytes;
            snprintf(name, sizeof name, "cells/%s", string_of(wanted, "file"));
            EMT_OK(emc_cells_open(&cells, emt_golden(name), &options));
            assert_string_equal(emc_cells_format(cells), "h5ad");
            check_names(cells, wanted);
            for (int64_t from = 0; from <= emc_cells_n_cells(cells); from++)
                check_rows(cells, wanted, from);
            emc_cells_close(cells);
        }
        n++;
    }
    assert_true(n >= 20);
    cJSON_Delete(cases);
}

static void blocks_keep_their_limits(void **state)
{
    emc_cells_options options = {.max_rows = 2};
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/modern.h5ad"), &options));
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.n_rows, 2);
    emc_cells_close(cells);
    options = (emc_cells_options){.max_bytes = 200, .layer = "csr_int64"};
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/modern.h5ad"), &options));
    do {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows > 1)
            assert_true(block.indptr[block.n_rows] * 12 <= 200);
    } while (block.n_rows > 0);
    EMT_FAILS(EMC_ERR_ARG, "seek", emc_cells_seek(cells, 8));
    EMT_FAILS(EMC_ERR_ARG, "seek", emc_cells_seek(cells, -1));
    emc_cells_close(cells);
    /* Dense: whole chunks of three rows where they fit, then what is left. */
    options = (emc_cells_options){.max_rows = 5, .layer = "chunked"};
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/odd.h5ad"), &options));
    for (int i = 0; i < 3; i++) {
        EMT_OK(emc_cells_next(cells, &block));
        assert_int_equal(block.n_rows, i < 2 ? 3 : 1);
    }
    emc_cells_close(cells);
}

static void negative_and_not_finite(void **state)
{
    emc_cells_options options = {.layer = "scaled"};
    emc_cells *cells;
    emc_cell_block block;
    int n_negative = 0, n_odd = 0;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/odd.h5ad"), &options));
    EMT_FAILS(EMC_ERR_FORMAT, "scaled values", emc_cells_next(cells, &block));
    assert_non_null(strstr(emc_message(), "odd.h5ad"));
    assert_non_null(strstr(emc_message(), "cell \"AAAC-1\", gene \""));
    assert_non_null(strstr(emc_message(), "--layer (the file has X, chunked"));
    emc_cells_close(cells);
    options.negative = EMC_NEGATIVE_PASS;
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/odd.h5ad"), &options));
    EMT_OK(emc_cells_next(cells, &block));
    for (int64_t k = 0; k < block.indptr[block.n_rows]; k++)
        n_negative += block.values[k] == -1;
    assert_true(n_negative > 12);
    emc_cells_close(cells);
    options = (emc_cells_options){.layer = "holes"};
    EMT_OK(emc_cells_open(&cells, emt_golden("cells/odd.h5ad"), &options));
    EMT_OK(emc_cells_next(cells, &block));
    for (int64_t k = 0; k < block.indptr[block.n_rows]; k++)
        n_odd += !isfinite(block.values[k]);
    assert_int_equal(n_odd, 2);
    emc_cells_close(cells);
}

static void check_real(const cJSON *wanted)
{
    const char *columns[MOST_COLUMNS];
    const emc_cells_options options = options_of(wanted, columns);
    const cJSON *pick, *row, *column;
    emc_cells *cells;
    emc_cell_block block;
    int64_t n_values = 0;
    double sum = 0;
    char name[256];

    snprintf(name, sizeof name, "data/%s", string_of(wanted, "file"));
    EMT_OK(emc_cells_open(&cells, emt_shared(name), &options));
    assert_int_equal(emc_cells_n_cells(cells), number_of(wanted, "n_cells"));
    assert_int_equal(emc_cells_n_genes(cells), number_of(wanted, "n_genes"));
    cJSON_ArrayForEach(row, emc_json_member(wanted, "rows")) assert_text(
        emc_cells_id(cells, cJSON_GetArrayItem(row, 0)->valueint), cJSON_GetArrayItem(row, 1));
    int c = 0;
    cJSON_ArrayForEach(column, emc_json_member(wanted, "obs"))
    {
        int i = 0;
        cJSON_ArrayForEach(row, emc_json_member(wanted, "rows"))
            assert_text(emc_cells_obs(cells, cJSON_GetArrayItem(row, 0)->valueint, c),
                        cJSON_GetArrayItem(column, i++));
        c++;
    }
    do {
        EMT_OK(emc_cells_next(cells, &block));
        for (int64_t k = 0; block.n_rows > 0 && k < block.indptr[block.n_rows]; k++) {
            n_values += block.values[k] != 0;
            sum += block.values[k];
        }
    } while (block.n_rows > 0);
    assert_int_equal(n_values, number_of(wanted, "n_values"));
    /* Both sums have rounded at most n times. */
    const double tolerance = 2.0 * (double)n_values * 0x1p-52 * fabs(number_of(wanted, "sum"));
    assert_true(fabs(sum - number_of(wanted, "sum")) <= tolerance + 1e-12);
    cJSON_ArrayForEach(pick, emc_json_member(wanted, "picks"))
    {
        const char *gene = cJSON_GetArrayItem(pick, 1)->valuestring;
        double found = 0;
        EMT_OK(emc_cells_seek(cells, cJSON_GetArrayItem(pick, 0)->valueint));
        EMT_OK(emc_cells_next(cells, &block));
        for (int64_t k = 0; k < block.indptr[1]; k++)
            if (strcmp(emc_cells_gene_names(cells)[block.genes[k]], gene) == 0)
                found += block.values[k];
        if (found != cJSON_GetArrayItem(pick, 2)->valuedouble)
            fail_msg("%s: %s: %.17g", name, gene, found);
    }
    emc_cells_close(cells);
}

static void real_files(void **state)
{
    cJSON *cases;
    const cJSON *wanted;

    (void)state;
    emt_need_shared("data/yan2013/yan2013.h5ad");
    cases = read_golden("cells/real.json");
    cJSON_ArrayForEach(wanted, cases) check_real(wanted);
    cJSON_Delete(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_files),
        cmocka_unit_test(blocks_keep_their_limits),
        cmocka_unit_test(negative_and_not_finite),
        cmocka_unit_test(real_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
