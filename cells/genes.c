/* Which symbol does each gene carry today, and which groups is it in? */
#include "cells/genes.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/str_map.h"
#include "cells/aliases.h"

static const struct {
    unsigned group;
    const char *name;
} groups[] = {
    {EMC_GENES_MITOCHONDRIAL, "mitochondrial"},
    {EMC_GENES_RIBOSOMAL, "ribosomal"},
    {EMC_GENES_NUCLEAR_RNA, "nuclear_rna"},
    {EMC_GENES_PSEUDOGENE, "pseudogene"},
    {EMC_GENES_CLONE, "clone"},
};

const char *emc_gene_group_name(unsigned group)
{
    for (size_t i = 0; i < EMC_COUNT(groups); i++)
        if (groups[i].group == group)
            return groups[i].name;
    return NULL;
}

emc_status emc_gene_group_parse(unsigned *group, const char *name)
{
    for (size_t i = 0; i < EMC_COUNT(groups); i++) {
        if (strcmp(groups[i].name, name) == 0) {
            *group = groups[i].group;
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_CONFIG,
                    "no group of genes is called \"%s\"; there are mitochondrial, ribosomal, "
                    "nuclear_rna, pseudogene and clone",
                    name);
}

static size_t n_digits(const char *text)
{
    return strspn(text, "0123456789");
}

static bool is_one_of(const char *text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* RPL or RPS, a number and at most one of the suffixes that coding genes carry. */
static bool is_ribosomal(const char *symbol)
{
    static const char *const suffixes[] = {"", "A", "L", "X", "AL", "L1", "Y1", "Y2"};
    static const char *const others[] = {"RPLP0", "RPLP1", "RPLP2", "RPSA", "RPSA2"};
    size_t n;

    if (is_one_of(symbol, others, EMC_COUNT(others)))
        return true;
    if (strncmp(symbol, "RPL", 3) != 0 && strncmp(symbol, "RPS", 3) != 0)
        return false;
    n = n_digits(symbol + 3);
    return n > 0 && is_one_of(symbol + 3 + n, suffixes, EMC_COUNT(suffixes));
}

/* The length of STEM in STEM, P and a number; 0 for another form. A stem of less than three letters
 * is in too many names (BMP4, TP53) to mean anything. */
static size_t pseudogene_stem(const char *symbol)
{
    /* Coding genes whose name happens to start like another gene's. */
    static const char *const coding[] = {"ADAP1", "ADAP2", "DAPP1", "GDAP1", "GDAP2",
                                         "LTBP1", "LTBP2", "LTBP3", "LTBP4", "RALBP1",
                                         "SSBP1", "SSBP2", "SSBP3", "SSBP4"};
    size_t n = strlen(symbol), end = n;

    while (end > 0 && symbol[end - 1] >= '0' && symbol[end - 1] <= '9')
        end--;
    if (end == n || end < 4 || symbol[end - 1] != 'P' ||
        is_one_of(symbol, coding, EMC_COUNT(coding)))
        return 0;
    return end - 1;
}

static bool is_ribosomal_stem(const char *symbol, size_t n)
{
    char stem[16];

    if (n == 0 || n >= sizeof stem)
        return false;
    memcpy(stem, symbol, n);
    stem[n] = '\0';
    return is_ribosomal(stem);
}

/* A capital prefix of GenBank, five or more digits, a point and a number; or a clone library, a
 * plate and a well: RP11-34P13.7. */
static bool is_clone(const char *symbol)
{
    static const char *const libraries[] = {"RP",  "CTA",   "CTB",   "CTC", "CTD", "KB",
                                            "GS1", "XXbac", "XXcos", "LL",  "LA"};
    const size_t letters = strspn(symbol, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    const size_t digits = n_digits(symbol + letters);
    const char *p = symbol + letters + digits;

    if (letters >= 1 && letters <= 2 && digits >= 5 && *p == '.' && n_digits(p + 1) > 0 &&
        p[1 + n_digits(p + 1)] == '\0')
        return true;
    for (size_t i = 0; i < EMC_COUNT(libraries); i++) {
        const size_t n = strlen(libraries[i]);
        const char *dash = strchr(symbol, '-');
        if (strncmp(symbol, libraries[i], n) == 0 && dash && strchr(dash, '.') &&
            n_digits(dash + 1) > 0)
            return true;
    }
    return false;
}

unsigned emc_gene_groups(const char *symbol)
{
    unsigned in = 0;

    if (strncmp(symbol, "MT-", 3) == 0 || strncmp(symbol, "MT.", 3) == 0)
        in |= EMC_GENES_MITOCHONDRIAL;
    if (is_ribosomal(symbol))
        in |= EMC_GENES_RIBOSOMAL;
    if (strcmp(symbol, "MALAT1") == 0 || strcmp(symbol, "NEAT1") == 0)
        in |= EMC_GENES_NUCLEAR_RNA;
    if (is_ribosomal_stem(symbol, pseudogene_stem(symbol)))
        in |= EMC_GENES_PSEUDOGENE;
    if (is_clone(symbol))
        in |= EMC_GENES_CLONE;
    return in;
}

static int compare_alias(const void *key, const void *item)
{
    return strcmp(key, ((const cells_alias *)item)->previous);
}

const char *emc_gene_current(const char *previous)
{
    const cells_alias *found = bsearch(previous, cells_aliases, (size_t)cells_n_aliases,
                                       sizeof *cells_aliases, compare_alias);
    return found ? found->current : NULL;
}

int emc_gene_alias_count(void)
{
    return cells_n_aliases;
}

void emc_gene_alias(int i, const char **previous, const char **current)
{
    *previous = cells_aliases[i].previous;
    *current = cells_aliases[i].current;
}

bool emc_gene_is_ensembl(const char *name)
{
    size_t letters, digits;

    if (strncmp(name, "ENS", 3) != 0)
        return false;
    letters = strspn(name + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    digits = n_digits(name + 3 + letters);
    if (letters == 0 || name[3 + letters - 1] != 'G' || digits < 6)
        return false;
    name += 3 + letters + digits;
    if (*name == '.')
        return n_digits(name + 1) > 0;
    return *name == '\0';
}

struct emc_genes {
    const char *const *given; /* borrowed */
    const char **names;
    bool *kept;
    int32_t *order;
    emc_str_map *by_given;
    emc_str_map *by_name;
    int n;
    int n_kept;
    int n_renamed;
};

/* Applies the table to genes whose current symbol the file does not use. The table is sorted by
 * previous symbol, so walking it gives the first in byte order the symbol. */
static emc_status rename_genes(emc_genes *genes)
{
    emc_status status;
    emc_str_map *taken = NULL;

    status = emc_str_map_open(&taken, 64);
    for (int a = 0; status == EMC_OK && a < cells_n_aliases; a++) {
        const cells_alias *alias = &cells_aliases[a];
        const size_t n = strlen(alias->current);
        const int i =
            emc_str_map_get(genes->by_given, alias->previous, strlen(alias->previous), -1);
        bool existed;
        if (i < 0 || emc_str_map_get(genes->by_given, alias->current, n, -1) >= 0)
            continue;
        status = emc_str_map_put(taken, alias->current, n, i, &existed);
        if (status == EMC_OK && !existed) {
            genes->names[i] = alias->current;
            genes->n_renamed++;
        }
    }
    emc_str_map_close(taken);
    return status;
}

static emc_status map_names(emc_str_map **out, const char *const *names, int n)
{
    EMC_TRY(emc_str_map_open(out, (size_t)n));
    for (int i = 0; i < n; i++)
        EMC_TRY(emc_str_map_put(*out, names[i], strlen(names[i]), i, NULL));
    return EMC_OK;
}

static bool is_listed(const emc_str_map *list, const emc_genes *genes, int i)
{
    return emc_str_map_get(list, genes->names[i], strlen(genes->names[i]), -1) >= 0 ||
           emc_str_map_get(list, genes->given[i], strlen(genes->given[i]), -1) >= 0;
}

static unsigned groups_in_file(const emc_genes *genes, int i)
{
    unsigned in = emc_gene_groups(genes->names[i]);
    const size_t n_stem = pseudogene_stem(genes->names[i]);

    if (n_stem && emc_str_map_get(genes->by_name, genes->names[i], n_stem, -1) >= 0)
        in |= EMC_GENES_PSEUDOGENE;
    return in;
}

static emc_status keep_genes(emc_genes *genes, const emc_gene_options *options)
{
    emc_status status;
    emc_str_map *exclude = NULL, *only = NULL;

    status = map_names(&exclude, options->exclude, options->n_exclude);
    if (status == EMC_OK)
        status = map_names(&only, options->only, options->n_only);
    if (status == EMC_OK)
        status = emc_alloc(&genes->kept, (size_t)genes->n, sizeof *genes->kept, "genes");
    for (int i = 0; status == EMC_OK && i < genes->n; i++) {
        genes->kept[i] = !(groups_in_file(genes, i) & options->exclude_groups) &&
                         !is_listed(exclude, genes, i) &&
                         (options->n_only == 0 || is_listed(only, genes, i));
        genes->n_kept += genes->kept[i];
    }
    emc_str_map_close(exclude);
    emc_str_map_close(only);
    return status;
}

typedef struct {
    const char *name;
    int32_t i;
} named;

static int compare_named(const void *a, const void *b)
{
    const named *x = a, *y = b;
    const int by_name = strcmp(x->name, y->name);

    return by_name ? by_name : (x->i > y->i) - (x->i < y->i);
}

static emc_status order_genes(emc_genes *genes)
{
    named *sorted = NULL;

    EMC_TRY(emc_alloc(&genes->order, (size_t)genes->n, sizeof *genes->order, "genes"));
    EMC_TRY(emc_alloc(&sorted, (size_t)genes->n, sizeof *sorted, "genes"));
    for (int i = 0; i < genes->n; i++)
        sorted[i] = (named){genes->names[i], i};
    qsort(sorted, (size_t)genes->n, sizeof *sorted, compare_named);
    for (int i = 0; i < genes->n; i++)
        genes->order[sorted[i].i] = i;
    free(sorted);
    return EMC_OK;
}

emc_status emc_genes_open(emc_genes **out, const char *const *names, int n,
                          const emc_gene_options *options)
{
    static const emc_gene_options defaults = {0};
    emc_status status;
    emc_genes *genes = NULL;

    *out = NULL;
    if (n < 1)
        return emc_fail(EMC_ERR_ARG, "%d genes, need at least 1", n);
    if (!options)
        options = &defaults;
    EMC_TRY(emc_alloc(&genes, 1, sizeof *genes, "genes"));
    genes->given = names;
    genes->n = n;
    status = map_names(&genes->by_given, names, n);
    if (status == EMC_OK)
        status = emc_alloc(&genes->names, (size_t)n, sizeof *genes->names, "genes");
    if (status != EMC_OK)
        goto done;
    memcpy(genes->names, names, (size_t)n * sizeof *names);
    if (!options->keep_names)
        status = rename_genes(genes);
    if (status == EMC_OK)
        status = map_names(&genes->by_name, genes->names, n);
    if (status == EMC_OK)
        status = keep_genes(genes, options);
    if (status == EMC_OK)
        status = order_genes(genes);
    if (status != EMC_OK)
        goto done;
    *out = genes;
    genes = NULL;

done:
    emc_genes_close(genes);
    return status;
}

void emc_genes_close(emc_genes *genes)
{
    if (!genes)
        return;
    emc_str_map_close(genes->by_given);
    emc_str_map_close(genes->by_name);
    free(genes->names);
    free(genes->kept);
    free(genes->order);
    free(genes);
}

int emc_genes_count(const emc_genes *genes)
{
    return genes->n;
}

const char *emc_genes_name(const emc_genes *genes, int i)
{
    return genes->names[i];
}

const char *const *emc_genes_names(const emc_genes *genes)
{
    return genes->names;
}

bool emc_genes_is_kept(const emc_genes *genes, int i)
{
    return genes->kept[i];
}

int emc_genes_n_kept(const emc_genes *genes)
{
    return genes->n_kept;
}

int emc_genes_n_renamed(const emc_genes *genes)
{
    return genes->n_renamed;
}

int emc_genes_order(const emc_genes *genes, int i)
{
    return genes->order[i];
}

int emc_genes_find(const emc_genes *genes, const char *name)
{
    const int i = emc_str_map_get(genes->by_name, name, strlen(name), -1);

    return i >= 0 ? i : emc_str_map_get(genes->by_given, name, strlen(name), -1);
}
