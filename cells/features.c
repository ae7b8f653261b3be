/* Which features of a 10x matrix are genes, and under which names? */
#include "cells/features.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"

#define GENE_TYPE "Gene Expression"

void cells_features_free(cells_features *features)
{
    cells_column_free(&features->ids);
    cells_column_free(&features->names);
    cells_column_free(&features->types);
    cells_column_free(&features->genomes);
}

static const char *text_at(const cells_column *column, size_t i)
{
    const char *text = column->n ? cells_column_at(column, i) : NULL;

    return text ? text : "";
}

/* The different words of a column, at most 20 of them, among the features that are kept (keep
 * NULL: among all). */
static emc_status list_words(emc_text *text, size_t *n_words, const cells_column *column,
                             const uint8_t *keep)
{
    const char *seen[20];

    *n_words = 0;
    for (size_t i = 0; i < column->n && *n_words < EMC_COUNT(seen); i++) {
        const char *word = text_at(column, i);
        size_t at = 0;
        if (keep && !keep[i])
            continue;
        while (at < *n_words && strcmp(seen[at], word) != 0)
            at++;
        if (at < *n_words)
            continue;
        EMC_TRY(emc_text_addf(text, "%s%s", at ? ", " : "", *word ? word : "(empty)"));
        seen[(*n_words)++] = word;
    }
    return EMC_OK;
}

static emc_status keep_genes(uint8_t *keep, const cells_file *file, const cells_features *features,
                             size_t n)
{
    emc_status status;
    emc_text types = {0};
    size_t n_kept = 0, n_types;

    for (size_t i = 0; i < n; i++) {
        keep[i] =
            features->types.n == 0 || strcasecmp(text_at(&features->types, i), GENE_TYPE) == 0;
        n_kept += keep[i];
    }
    if (n_kept > 0 || n == 0)
        return EMC_OK;
    status = list_words(&types, &n_types, &features->types, NULL);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: no feature is of type \"" GENE_TYPE "\"; the types are: %s",
                          file->path, types.bytes);
    emc_text_free(&types);
    return status;
}

/* Where the names of genes of one genome begin with it, as in "GRCh38_ACTB" or "mm10___Actb", the
 * length of that prefix; else 0. */
static size_t prefix_of(const char *text, const char *genome)
{
    const size_t n = strlen(genome);

    if (n == 0 || strncmp(text, genome, n) != 0 || text[n] != '_')
        return 0;
    return n + strspn(text + n, "_");
}

/* The only genome of the kept features; refused when there are several. */
static emc_status lone_genome(const char **genome, const cells_file *file,
                              const cells_features *features, const uint8_t *keep, size_t n)
{
    emc_status status;
    emc_text genomes = {0};
    size_t n_genomes;

    status = list_words(&genomes, &n_genomes, &features->genomes, keep);
    if (status == EMC_OK && n_genomes > 1)
        status = emc_fail(EMC_ERR_USAGE, "%s: several genomes: %s; choose one with --genome",
                          file->path, genomes.bytes);
    emc_text_free(&genomes);
    for (size_t i = 0; i < n && n_genomes == 1; i++)
        if (keep[i])
            *genome = text_at(&features->genomes, i);
    return status;
}

static emc_status no_such_genome(const cells_file *file, const cells_features *features,
                                 const uint8_t *is_gene, const char *wanted)
{
    emc_status status;
    emc_text genomes = {0};
    size_t n_genomes;

    if (features->genomes.n == 0)
        return emc_fail(EMC_ERR_USAGE,
                        "%s: no genome \"%s\": this format names none, and no feature begins with "
                        "\"%s_\"",
                        file->path, wanted, wanted);
    status = list_words(&genomes, &n_genomes, &features->genomes, is_gene);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: no genome \"%s\"; there are: %s", file->path, wanted,
                          genomes.bytes);
    emc_text_free(&genomes);
    return status;
}

/* keep says afterwards which features are genes of the genome; *genome is "" when none is named. */
static emc_status keep_genome(uint8_t *keep, const char **genome, const cells_file *file,
                              const cells_features *features, size_t n, const char *wanted)
{
    const cells_column *prefixed = features->ids.n ? &features->ids : &features->names;
    size_t n_kept = 0;

    *genome = wanted ? wanted : "";
    if (!wanted)
        return features->genomes.n ? lone_genome(genome, file, features, keep, n) : EMC_OK;
    for (size_t i = 0; i < n; i++)
        n_kept +=
            keep[i] && (features->genomes.n ? strcmp(text_at(&features->genomes, i), wanted) == 0
                                            : prefix_of(text_at(prefixed, i), wanted) > 0);
    if (n_kept == 0)
        return no_such_genome(file, features, keep, wanted);
    for (size_t i = 0; i < n; i++)
        keep[i] =
            keep[i] && (features->genomes.n ? strcmp(text_at(&features->genomes, i), wanted) == 0
                                            : prefix_of(text_at(prefixed, i), wanted) > 0);
    return EMC_OK;
}

/* The kept entries of a column; one that is empty comes from `other`. A prefix that all of them
 * have is left out. */
static emc_status take(cells_column *out, const cells_file *file, const cells_column *column,
                       const cells_column *other, const uint8_t *keep, const char *genome)
{
    bool prefixed = *genome;
    size_t n = column->n;

    for (size_t i = 0; i < n && prefixed; i++)
        prefixed = !keep[i] || prefix_of(text_at(column, i), genome) > 0;
    for (size_t i = 0; i < n; i++) {
        if (!keep[i])
            continue;
        const char *text = text_at(column, i);
        text += prefixed ? prefix_of(text, genome) : 0;
        if (!*text)
            text = text_at(other, i);
        EMC_TRY(cells_strings_add(&out->values, text, strlen(text), file->path));
        out->n++;
    }
    return EMC_OK;
}

static emc_status name_genes(cells_file *file, const cells_features *features, const uint8_t *keep,
                             const char *genome, const char *from, const emc_cells_options *options)
{
    const char *wanted = options->gene_symbols;
    const bool has_both = features->ids.n && features->names.n;
    const bool as_they_are = wanted && !strcmp(wanted, "index");
    /* A table of symbols wants ids. */
    const bool by_id = wanted && (!strcmp(wanted, "gene_ids") || !strcmp(wanted, "id") ||
                                  (as_they_are && options->gene_table));
    const bool by_name = !wanted || as_they_are || !strcmp(wanted, "gene_names") ||
                         !strcmp(wanted, "gene_symbols") || !strcmp(wanted, "name");

    if (!by_id && !by_name)
        return emc_fail(EMC_ERR_USAGE,
                        "%s: %s has no column \"%s\"; --gene-symbols takes gene_names or gene_ids",
                        file->path, from, wanted);
    const cells_column *names = by_id && features->ids.n ? &features->ids
                                : features->names.n      ? &features->names
                                                         : &features->ids;
    EMC_TRY(take(&file->gene_names, file, names, &features->ids, keep, genome));
    if (has_both && names == &features->names)
        EMC_TRY(take(&file->gene_ids, file, &features->ids, &features->names, keep, genome));
    file->from_symbols = has_both && names == &features->names;
    if (!wanted && cells_name_kind_of(&file->gene_names) == CELLS_NAMES_ENSEMBL)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: %s holds Ensembl ids and no symbols; take them as they are with "
                        "--gene-symbols index",
                        file->path, from);
    return emc_text_addf(&file->names, "%s, %s%s%s", from,
                         !has_both ? "the only column"
                         : by_id   ? "ids"
                                   : "symbols",
                         *genome ? ", genome " : "", genome);
}

emc_status cells_features_apply(cells_file *file, const cells_features *features, const char *from,
                                const emc_cells_options *options)
{
    const size_t n = features->ids.n ? features->ids.n : features->names.n;
    emc_status status;
    uint8_t *keep = NULL;
    const char *genome = "";

    if (n > INT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: %s has %zu features", file->path, from, n);
    status = emc_alloc(&keep, n, 1, "features");
    if (status == EMC_OK)
        status = emc_alloc(&file->gene_of_column, n, sizeof *file->gene_of_column, "features");
    if (status == EMC_OK)
        status = keep_genes(keep, file, features, n);
    if (status == EMC_OK)
        status = keep_genome(keep, &genome, file, features, n, options->genome);
    file->n_columns = (int)n;
    file->n_genes = 0;
    for (size_t i = 0; status == EMC_OK && i < n; i++)
        file->gene_of_column[i] = keep[i] ? file->n_genes++ : -1;
    if (status == EMC_OK)
        status = name_genes(file, features, keep, genome, from, options);
    if (status == EMC_OK && file->n_genes < file->n_columns)
        status = emc_text_addf(&file->names, "; %d other features left out",
                               file->n_columns - file->n_genes);
    if (status == EMC_OK && file->n_genes == file->n_columns) {
        free(file->gene_of_column);
        file->gene_of_column = NULL;
    }
    free(keep);
    return status;
}
