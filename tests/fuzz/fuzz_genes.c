/* Tables of gene symbols and of medians. */
#include <stdlib.h>

#include "cells/genes.h"
#include "cells/reader.h"
#include "fuzz.h"

static const char table[] = "cell,ENSG00000111640,ENSG00000075624.3,A\nc1,1,0,2\nc2,0,3,0\n";

static void gene_table(fuzz_input input)
{
    const emc_cells_options options = {.gene_table = fuzz_write("genes.tsv", input.at, input.n),
                                       .orientation = EMC_CELLS_IN_ROWS};
    emc_cells *cells;
    const emc_status status =
        emc_cells_open(&cells, fuzz_write("x.csv", table, sizeof table - 1), &options);

    fuzz_check(status, options.gene_table);
    if (status == EMC_OK)
        fuzz_require(emc_cells_n_named(cells) > 0, "a table names a gene");
    emc_cells_close(cells);
}

static void medians(fuzz_input input)
{
    static const char *const names[] = {"ACTB", "SOX2", "POU5F1", "A"};
    const char *path = fuzz_write("medians.tsv", input.at, input.n);
    emc_genes *genes;
    double *values = NULL;
    int n_found = 0;

    fuzz_check(emc_genes_open(&genes, names, EMC_COUNT(names), NULL), NULL);
    const emc_status status = emc_medians_read(&values, &n_found, path, genes);
    fuzz_check(status, path);
    for (int i = 0; status == EMC_OK && i < (int)EMC_COUNT(names); i++)
        fuzz_require(!(values[i] <= 0), "a median is above zero");
    free(values);
    emc_genes_close(genes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};

    if (fuzz_below(&input, 2))
        medians(input);
    else
        gene_table(input);
    return 0;
}
