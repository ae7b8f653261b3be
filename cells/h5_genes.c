/* Under which names do the genes of an .h5ad file go? */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "cells/h5.h"

/* Columns that hold symbols beside Ensembl ids, the most usual first; case does not matter. */
static const char *const symbol_columns[] = {
    "feature_name", "gene_symbols", "gene_symbol",     "gene_name",  "gene_names", "symbol",
    "symbols",      "hgnc_symbol",  "gene_short_name", "genesymbol", "gene",       "genes",
    "features",     "name",
};

emc_status cells_h5_list_columns(emc_text *text, hid_t var, const char *index, const char *path)
{
    cells_strings all = {0}, shown = {0};
    emc_status status = cells_h5_frame_columns(&all, var, path);

    for (size_t i = 0; status == EMC_OK && i < all.n; i++) {
        const char *name = cells_strings_at(&all, i);
        if (strcmp(name, index) != 0 && strcmp(name, "__categories") != 0)
            status = cells_strings_add(&shown, name, strlen(name), path);
    }
    if (status == EMC_OK)
        status = shown.n ? cells_h5_list(text, &shown) : emc_text_add_string(text, "none");
    cells_strings_free(&all);
    cells_strings_free(&shown);
    return status;
}

/* The first of symbol_columns that the frame has, or NULL. *spelled is the frame's own spelling. */
static emc_status find_symbol_column(char **spelled, hid_t var, const char *index, const char *path)
{
    cells_strings names = {0};
    emc_status status = cells_h5_frame_columns(&names, var, path);

    *spelled = NULL;
    for (size_t c = 0; status == EMC_OK && !*spelled && c < EMC_COUNT(symbol_columns); c++)
        for (size_t i = 0; status == EMC_OK && !*spelled && i < names.n; i++) {
            const char *name = cells_strings_at(&names, i);
            if (strcasecmp(name, symbol_columns[c]) == 0 && strcmp(name, index) != 0)
                status = emc_copy_string(spelled, name);
        }
    cells_strings_free(&names);
    return status;
}

/* The column with each missing or empty symbol replaced by the id of that gene. */
static emc_status take_symbols(cells_file *file, hid_t var, const char *column)
{
    cells_column symbols = {0};
    emc_status status = cells_h5_column(&symbols, var, column, file->n_genes, file->path);

    if (status == EMC_OK) {
        file->gene_ids = file->gene_names;
        file->gene_names = (cells_column){.n = (size_t)file->n_genes};
    }
    for (int i = 0; status == EMC_OK && i < file->n_genes; i++) {
        const char *name = cells_column_at(&symbols, (size_t)i);
        if (!name || !*name)
            name = cells_column_at(&file->gene_ids, (size_t)i);
        status = cells_strings_add(&file->gene_names.values, name ? name : "",
                                   name ? strlen(name) : 0, file->path);
    }
    file->from_symbols = true;
    cells_column_free(&symbols);
    return status;
}

static emc_status no_symbols(const cells_file *file, const cells_h5_gene_frames *frames,
                             const char *index, const char *what)
{
    emc_text columns = {0};
    emc_status status = cells_h5_list_columns(&columns, frames->var, index, file->path);

    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: the index of %s holds %s and no column of symbols was found; name "
                          "one with --gene-symbols (columns: %s), or take the index as it is with "
                          "--gene-symbols index",
                          file->path, frames->name, what, columns.bytes);
    emc_text_free(&columns);
    return status;
}

/* Whether the other frame lists the same genes, so that its columns may be used. */
static emc_status is_same_index(bool *same, const cells_file *file, hid_t other)
{
    cells_column names = {0};
    emc_status status;
    char *index = NULL;

    *same = false;
    if (other < 0)
        return EMC_OK;
    status = cells_h5_frame_index(&names, &index, other, file->path);
    *same = status == EMC_OK && names.n == file->gene_names.n;
    for (size_t i = 0; *same && i < names.n; i++) {
        const char *a = cells_column_at(&names, i), *b = cells_column_at(&file->gene_names, i);
        *same = a && b && strcmp(a, b) == 0;
    }
    cells_column_free(&names);
    free(index);
    return status;
}

/* The column that was asked for, from the frame or from the other. */
static emc_status take_named(cells_file *file, const cells_h5_gene_frames *frames,
                             const char *index, const char *wanted)
{
    emc_text columns = {0};
    emc_status status;
    bool same;

    if (strcmp(wanted, index) == 0)
        return emc_text_addf(&file->names, "the index of %s", frames->name);
    if (cells_h5_frame_has(frames->var, wanted)) {
        EMC_TRY(take_symbols(file, frames->var, wanted));
        return emc_text_addf(&file->names, "%s column %s", frames->name, wanted);
    }
    EMC_TRY(is_same_index(&same, file, frames->other));
    if (same && cells_h5_frame_has(frames->other, wanted)) {
        EMC_TRY(take_symbols(file, frames->other, wanted));
        return emc_text_addf(&file->names, "var column %s", wanted);
    }
    status = cells_h5_list_columns(&columns, frames->var, index, file->path);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: %s has no column \"%s\"; it has: %s", file->path,
                          frames->name, wanted, columns.bytes);
    emc_text_free(&columns);
    return status;
}

/* A column that is known to hold symbols, as the index does not. */
static emc_status take_found(cells_file *file, const cells_h5_gene_frames *frames,
                             const char *index, const char *what)
{
    emc_status status;
    char *column = NULL;
    hid_t from = frames->var;
    bool same;

    status = find_symbol_column(&column, frames->var, index, file->path);
    if (status == EMC_OK && !column) {
        status = is_same_index(&same, file, frames->other);
        from = frames->other;
        if (status == EMC_OK && same)
            status = find_symbol_column(&column, frames->other, index, file->path);
    }
    if (status == EMC_OK && column)
        status = take_symbols(file, from, column);
    if (status == EMC_OK &&
        (!column || cells_name_kind_of(&file->gene_names) != CELLS_NAMES_SYMBOLS))
        status = no_symbols(file, frames, index, what);
    if (status == EMC_OK)
        status = emc_text_addf(&file->names, "%s column %s, as the index holds %s",
                               from == frames->var ? frames->name : "var", column, what);
    free(column);
    return status;
}

emc_status cells_h5_genes(cells_file *file, const cells_h5_gene_frames *frames, const char *wanted)
{
    emc_status status;
    char *index = NULL;

    status = cells_h5_frame_index(&file->gene_names, &index, frames->var, file->path);
    file->n_genes = (int)file->gene_names.n;
    if (status != EMC_OK || file->n_genes == 0) {
        free(index);
        return status;
    }
    const cells_name_kind kind =
        wanted ? CELLS_NAMES_SYMBOLS : cells_name_kind_of(&file->gene_names);
    if (wanted && strcmp(wanted, "index") != 0)
        status = take_named(file, frames, index, wanted);
    else if (kind == CELLS_NAMES_SYMBOLS)
        status = emc_text_addf(&file->names, "the index of %s", frames->name);
    else
        status = take_found(file, frames, index,
                            kind == CELLS_NAMES_ENSEMBL ? "Ensembl ids" : "only numbers");
    free(index);
    return status;
}
