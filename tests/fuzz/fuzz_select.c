/* A user's list of cells, and a filter. */
#include <stdlib.h>

#include "cells/select.h"
#include "fuzz.h"

static const char table[] = "cell,ACTB,SOX2\nc1,1,2\nc2,3,0\nc3,0,1\n\"c,4\",1,1\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const char *files[] = {"cells.tsv", "cells.tsv.gz"};
    const char *path = fuzz_write(files[fuzz_below(&input, 2)], input.at, input.n);
    const emc_cells_options options = {.orientation = EMC_CELLS_IN_ROWS};
    const emc_select_options wanted = {.cells_path = path, .sample = input.n % 3, .seed = input.n};
    emc_selection selection = {0};
    emc_obs_filter filter = {0};
    char *text = calloc(n_bytes + 1, 1);
    emc_cells *cells;

    fuzz_require(text != NULL, "memory");
    for (size_t i = 0; i < input.n; i++)
        text[i] = (char)input.at[i];
    fuzz_check(emc_obs_filter_parse(&filter, text), NULL);
    emc_obs_filter_free(&filter);
    free(text);
    fuzz_check(emc_cells_open(&cells, fuzz_write("x.csv", table, sizeof table - 1), &options),
               NULL);
    const emc_status status = emc_select(&selection, cells, &wanted);
    fuzz_check(status, NULL);
    for (int64_t i = 0; status == EMC_OK && selection.rows && i < selection.n_rows; i++)
        fuzz_require(selection.rows[i] >= (i ? selection.rows[i - 1] + 1 : 0) &&
                         selection.rows[i] < emc_cells_n_cells(cells),
                     "rows rise and are the file's");
    emc_selection_free(&selection);
    emc_cells_close(cells);
    return 0;
}
