#include "annotate/gene_match.h"

#include <stdio.h>
#include <string.h>

#include "cells/genes.h"

#define N_WHOLE 5000 /* names of a whole transcriptome; panels and selections have fewer */
#define N_SURE  20   /* of some 220 known genes; a human transcriptome holds nearly all */

static bool is_capital(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* GATA3, HLA-DRA, C1orf43, AC012345.1, Y_RNA; not Gata3, 7157, gene_12. */
static bool has_symbol_form(const char *name)
{
    if (!is_capital(name[0]) || emc_gene_is_ensembl(name))
        return false;
    for (const char *c = name; *c; c++) {
        /* orf between digits, as in C1orf43 and CXorf40 */
        if (strncmp(c, "orf", 3) == 0 && is_digit(c[3]) && name[0] == 'C')
            c += 2;
        else if (!is_capital(*c) && !is_digit(*c) && !strchr("-._@", *c))
            return false;
    }
    return true;
}

/* Actb, mt-Nd1: one capital in front, then small letters. */
static bool has_mouse_form(const char *name)
{
    return (is_capital(name[0]) && name[1] >= 'a' && name[1] <= 'z' &&
            strspn(name + 1, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(name + 1)) ||
           strncmp(name, "mt-", 3) == 0;
}

static bool is_number(const char *name)
{
    return name[0] != '\0' && strspn(name, "0123456789.") == strlen(name);
}

static const char *advise(int n, int n_symbols, int n_ensembl, int n_mouse, int n_numbers)
{
    const int half = (n - n_symbols) / 2;

    if (n_ensembl > half)
        return "they are Ensembl ids: name the column that has symbols with --gene-symbols, or "
               "add one to the file";
    if (n_mouse > half)
        return "they are written as mouse genes are: map them to their human orthologs, or name "
               "the column of human symbols with --gene-symbols";
    if (n_numbers > half)
        return "they are numbers: name the column that has symbols with --gene-symbols; a text "
               "table may have cells and genes the other way round (--transpose)";
    if (2 * n_symbols > n)
        return "hardly any gene that every human file holds is among them: check the species and "
               "the column of symbols (--gene-symbols)";
    return "human gene symbols are wanted: name the column that has them with --gene-symbols; a "
           "text table may have cells and genes the other way round (--transpose)";
}

static void add_example(emc_gene_match *out, const char *name)
{
    const size_t used = strlen(out->examples), n = strlen(name);

    if (n < 40 && used + n + 3 < sizeof(out->examples) / 2)
        snprintf(out->examples + used, sizeof(out->examples) - used, "%s%s", used ? ", " : "",
                 name);
}

void emc_gene_match_of(emc_gene_match *out, const char *const *names, int n)
{
    int n_ensembl = 0, n_mouse = 0, n_numbers = 0;

    memset(out, 0, sizeof(*out));
    out->n_genes = n;
    for (int i = 0; i < n; i++) {
        const bool is_symbol = has_symbol_form(names[i]);
        out->n_symbols += is_symbol;
        out->n_known += emc_gene_is_known(names[i]);
        n_ensembl += emc_gene_is_ensembl(names[i]);
        n_mouse += !is_symbol && has_mouse_form(names[i]);
        n_numbers += is_number(names[i]);
        if (!is_symbol)
            add_example(out, names[i]);
    }
    out->rate = n > 0 ? (double)out->n_symbols / n : 0;
    if (n >= N_WHOLE && out->n_known < N_SURE)
        out->rate *= (double)out->n_known / N_SURE;
    out->advice = advise(n, out->n_symbols, n_ensembl, n_mouse, n_numbers);
    for (int i = 0; i < n && out->examples[0] == '\0'; i++)
        add_example(out, names[i]);
}
