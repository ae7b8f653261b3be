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
    int n_known;        /* of these, ubiquitous genes or renamed ones: emc_gene_is_known */
    const char *advice; /* static; what the names look like and what to do */
    char examples[160]; /* some names that are not symbols, "" when all are */
} emc_gene_match;

/*
 * A whole transcriptome (5,000 names or more) of human symbols holds nearly all of the ubiquitous
 * genes: rate is the share of those found. A fragment need not hold any: rate is the share of names
 * with the form of a human symbol (capitals, digits and hyphens from a letter on, the "orf" of
 * C1orf43; not an Ensembl id, a number, or Actb as mice write it).
 *
 * The built-in table is the only list behind this; no gene is left out of a prompt for not being
 * on it.
 */
void emc_gene_match_of(emc_gene_match *out, const char *const *names, int n);

#ifdef __cplusplus
}
#endif
