/* What do the columns of obs hold? */
#include <stdlib.h>
#include <string.h>

#include "annotate/input.h"
#include "annotate/inspect_parts.h"
#include "base/size.h"
#include "base/str_map.h"

#define MOST_COLUMNS 200
#define MOST_FIELDS  ((int64_t)50 << 20) /* cells x columns that are read; names alone beyond it */

static bool is_number(const char *text)
{
    char *end;

    strtod(text, &end);
    return end != text && *end == '\0';
}

static emc_status add_value(inspect_column *column, emc_str_map *seen, const char *value)
{
    bool existed = false;

    if (column->n_values == INSPECT_VALUES)
        return EMC_OK;
    EMC_TRY(emc_str_map_put(seen, value, strlen(value), column->n_values, &existed));
    if (existed)
        return EMC_OK;
    column->n_values++;
    if (column->n_examples < INSPECT_EXAMPLES)
        return emc_copy_string(&column->examples[column->n_examples++], value);
    return EMC_OK;
}

/* Column c of the reader's options. */
static emc_status look_at_column(inspect_column *column, const emc_cells *cells, int c)
{
    const int64_t n = emc_cells_n_cells(cells);
    bool all_numbers = true, all_booleans = true;
    emc_str_map *seen = NULL;
    emc_status status = emc_str_map_open(&seen, INSPECT_VALUES);

    for (int64_t row = 0; status == EMC_OK && row < n; row++) {
        const char *value = emc_cells_obs(cells, row, c);
        if (!value || strcmp(value, "nan") == 0) {
            column->n_missing++;
            continue;
        }
        all_numbers = all_numbers && is_number(value);
        all_booleans = all_booleans && (strcmp(value, "True") == 0 || strcmp(value, "False") == 0);
        status = add_value(column, seen, value);
    }
    emc_str_map_close(seen);
    column->type = emc_cells_obs_is_categorical(cells, c) ? "categorical"
                   : column->n_missing == n               ? "empty"
                   : all_booleans                         ? "boolean"
                   : all_numbers                          ? "number"
                                                          : "text";
    return status;
}

/* Reads n columns from `first` on with the cells; a failure of the format is theirs. */
static emc_status read_columns(inspection *i, int first, int n)
{
    const char *names[MOST_COLUMNS];
    emc_cells_options wanted;
    emc_cells *cells;

    emc_input_cells_options(&wanted, &i->options->input, i->info);
    for (int c = 0; c < n; c++)
        names[c] = i->columns[first + c].name;
    /* The names of the genes are of no interest here and must not stand in the way. */
    wanted.gene_symbols = "index";
    wanted.gene_table = NULL;
    wanted.duplicate_genes = EMC_DUPLICATES_SUM;
    wanted.layer = emc_catalog_get(i->catalog, i->opened)->name;
    wanted.obs_columns = names;
    wanted.n_obs_columns = n;
    wanted.on_log = NULL;
    emc_status status = emc_cells_open(&cells, i->options->input_path, &wanted);
    for (int c = 0; status == EMC_OK && c < n; c++)
        status = look_at_column(&i->columns[first + c], cells, c);
    emc_cells_close(cells);
    return status;
}

emc_status inspect_columns(inspection *i)
{
    int n = emc_catalog_n_columns(i->catalog);

    n = n < MOST_COLUMNS ? n : MOST_COLUMNS;
    EMC_TRY(emc_alloc(&i->columns, (size_t)n, sizeof(*i->columns), "columns"));
    i->n_columns = n;
    for (int c = 0; c < n; c++) {
        i->columns[c].type = "not looked at";
        EMC_TRY(emc_copy_string(&i->columns[c].name, emc_catalog_column(i->catalog, c)));
    }
    if (n == 0 || emc_cells_n_cells(i->cells) > MOST_FIELDS / n)
        return EMC_OK;
    emc_status status = read_columns(i, 0, n);
    if (status != EMC_ERR_FORMAT && status != EMC_ERR_USAGE)
        return status;
    /* One of them cannot be read: each for itself. */
    for (int c = 0; c < n; c++) {
        status = read_columns(i, c, 1);
        if (status == EMC_ERR_FORMAT || status == EMC_ERR_USAGE)
            status = emc_copy_string(&i->columns[c].error, emc_message());
        EMC_TRY(status);
    }
    return EMC_OK;
}
