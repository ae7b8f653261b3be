/* By which median is each gene divided before ranking? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/genes.h"
#include "cells/record.h"

/* The gene of one line, by its name in the medians file: as it is, or by its current symbol. */
static int find_gene(const emc_genes *genes, const char *name)
{
    const char *current;
    const int i = emc_genes_find(genes, name);

    if (i >= 0)
        return i;
    current = emc_gene_current(name);
    return current ? emc_genes_find(genes, current) : -1;
}

static emc_status read_line(double *medians, int *n_found, const cells_records *records,
                            size_t n_fields, const emc_genes *genes, const char *path)
{
    const long long line = (long long)cells_records_line(records);
    double median;

    if (n_fields != 2)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: %zu fields, wanted gene<TAB>median", path,
                        line, n_fields);
    const char *gene = cells_records_field(records, 0), *text = cells_records_field(records, 1);
    if (!cells_parse_number(&median, text)) {
        if (line == 1)
            return EMC_OK; /* a header */
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld (\"%s\"): \"%s\" is no number", path, line,
                        gene, text);
    }
    if (!(median > 0) || !isfinite(median))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: line %lld (\"%s\"): a median must be a finite number above zero, "
                        "found %s",
                        path, line, gene, text);
    const int i = find_gene(genes, gene);
    if (i < 0)
        return EMC_OK;
    if (!isnan(medians[i]))
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: a second median for \"%s\"", path, line,
                        emc_genes_name(genes, i));
    medians[i] = median;
    ++*n_found;
    return EMC_OK;
}

emc_status emc_medians_read(double **out, int *n_found, const char *path, const emc_genes *genes)
{
    const size_t n_genes = (size_t)emc_genes_count(genes);
    emc_status status;
    cells_records *records = NULL;
    double *medians = NULL;
    int found = 0;

    *out = NULL;
    status = emc_alloc(&medians, n_genes, sizeof *medians, "medians");
    if (status == EMC_OK)
        status = cells_records_open(&records, path, '\t');
    if (status != EMC_OK)
        goto done;
    for (size_t i = 0; i < n_genes; i++)
        medians[i] = NAN;
    for (;;) {
        size_t n_fields;
        status = cells_records_next(records, &n_fields);
        if (status == EMC_OK && n_fields > 0)
            status = read_line(medians, &found, records, n_fields, genes, path);
        if (status != EMC_OK)
            goto done;
        if (n_fields == 0)
            break;
    }
    if (found == 0) {
        status = emc_fail(EMC_ERR_FORMAT, "%s: a median for none of the %zu genes", path, n_genes);
        goto done;
    }
    if (n_found)
        *n_found = found;
    *out = medians;
    medians = NULL;

done:
    cells_records_close(records);
    free(medians);
    return status;
}
