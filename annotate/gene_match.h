#pragma once
/* Are these human gene symbols? Asked once a file, before any time is spent on the model. */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    double rate;        /* 0 to 1, see below */
    int n_genes;        /* names looked at */
    int n_symbols;      /* of these, with the form of a human gene symbol */
    int n_known;        /* of these, genes that every human file holds: emc_gene_is_known */
    const char *advice; /* static; what the names look like and what to do */
    char examples[160]; /* some names that are not symbols, "" when all are */
} emc_gene_match;

/*
 * rate is the share of names with the form of a human symbol: capitals, digits and hyphens from a
 * letter on, the "orf" of C1orf43; not an Ensembl id, a number, or Actb as mice write it. A file
 * of 5,000 names or more that holds fewer than 20 of the genes which every human file holds
 * (emc_gene_is_known) is of another species, or its names are no genes: rate is then multiplied by
 * n_known / 20. A smaller file may be a selection without any of them.
 *
 * No gene is left out of a prompt for what is found here. n >= 1.
 */
void emc_gene_match_of(emc_gene_match *out, const char *const *names, int n);

#ifdef __cplusplus
}
#endif
