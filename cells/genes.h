#pragma once
/*
 * What is each gene of a file called today, and does it take part in the ranking?
 *
 * Names: a previous HGNC symbol becomes the current one (T is TBXT, SEPT1 and its spreadsheet date
 * 1-Sep are SEPTIN1), from a table of well-known renames built into the library. A rename applies
 * only when the current symbol is not itself a gene of the file, and to one gene at most (the
 * first in byte order of the old names).
 */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Groups of genes that can be left out; the tests apply to the current symbol. */
typedef enum {
    EMC_GENES_MITOCHONDRIAL = 1, /* MT-..., and MT.... as R writes it */
    EMC_GENES_RIBOSOMAL = 2,     /* cytosolic ribosomal proteins: RPL3, RPS4X, RPLP0, RPSA, ...; not
                                    the kinases RPS6K..., MRPL/MRPS or pseudogenes */
    EMC_GENES_NUCLEAR_RNA = 4,   /* MALAT1, NEAT1 */
    EMC_GENES_PSEUDOGENE = 8,    /* STEM, P and a number, where STEM is a gene of the file or a
                                    ribosomal protein: RPL10P6, POU5F1P3; not BMP4, CASP3 */
    EMC_GENES_CLONE = 16 /* names of sequence clones: AC012345.1, RP11-34P13.7, CTD-2023N9.1 */
} emc_gene_group;

/* "mitochondrial", "ribosomal", "nuclear_rna", "pseudogene", "clone"; NULL for no single group. */
const char *emc_gene_group_name(unsigned group);

/* EMC_ERR_CONFIG: no such group; the message lists them. */
emc_status emc_gene_group_parse(unsigned *group, const char *name);

/* The groups that a symbol is in by its name alone; PSEUDOGENE only with a stem known without a
 * file (a ribosomal protein). */
unsigned emc_gene_groups(const char *symbol);

/* The current symbol of a previous one, or NULL. Static storage. */
const char *emc_gene_current(const char *previous);

/* How many rows the built-in table has; row i of it, 0 <= i < n. For listing. */
int emc_gene_alias_count(void);
void emc_gene_alias(int i, const char **previous, const char **current);

/* True for one of some 200 genes of which every human file holds many: tells the genes' axis of a
 * table from the cells'. */
bool emc_gene_is_known(const char *name);

/* True for an Ensembl gene id, with or without version: ENSG00000141510.18, ENSMUSG... */
bool emc_gene_is_ensembl(const char *name);

/* Zero-initialised: current names, nothing left out. */
typedef struct {
    bool keep_names;            /* no renaming */
    unsigned exclude_groups;    /* of emc_gene_group */
    const char *const *exclude; /* left out, too: symbols, current or as the file has them */
    int n_exclude;
    const char *const *only; /* when n_only > 0, nothing else takes part */
    int n_only;
} emc_gene_options;

typedef struct emc_genes emc_genes;

/* names [n] are borrowed for the life of *out, n >= 1. options may be NULL. */
emc_status emc_genes_open(emc_genes **out, const char *const *names, int n,
                          const emc_gene_options *options);
void emc_genes_close(emc_genes *genes);

int emc_genes_count(const emc_genes *genes);

/* The symbol to write for gene i. */
const char *emc_genes_name(const emc_genes *genes, int i);

/* All of them, [n]. */
const char *const *emc_genes_names(const emc_genes *genes);

/* False for one that the options leave out. */
bool emc_genes_is_kept(const emc_genes *genes, int i);
int emc_genes_n_kept(const emc_genes *genes);
int emc_genes_n_renamed(const emc_genes *genes);

/* The place of gene i when all names are sorted by their bytes (equal names by i). */
int emc_genes_order(const emc_genes *genes, int i);

/* The gene of this name (current, else as in the file), or -1. */
int emc_genes_find(const emc_genes *genes, const char *name);

/*
 * Medians for scaling: a text file (.gz too) of lines "gene<TAB>median", old or current symbols;
 * one header line is skipped when its second field is not a number. *out is [emc_genes_count],
 * NaN for a gene that the file does not list; free(). *n_found says how many have one (may be
 * NULL). EMC_ERR_FORMAT: a line without two fields, a median that is not a finite number above
 * zero, a gene listed twice, no gene at all.
 */
emc_status emc_medians_read(double **out, int *n_found, const char *path, const emc_genes *genes);

#ifdef __cplusplus
}
#endif
