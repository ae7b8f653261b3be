/* Under which names do the genes of an .h5ad file or a zarr store go? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "cells/frame.h"

/* Columns that hold symbols beside Ensembl ids, the most usual first; case does not matter. */
static const char *const symbol_columns[] = {
    "feature_name", "gene_symbols", "gene_symbol",     "gene_name",  "gene_names", "symbol",
    "symbols",      "hgnc_symbol",  "gene_short_name", "genesymbol", "gene",       "genes",
    "features",     "name",
};

emc_status cells_list_names(emc_text *text, const cells_strings *names)
{
    for (size_t i = 0; i < names->n; i++) {
        if (i == 20)
            return emc_text_addf(text, ", and %zu more", names->n - i);
        EMC_TRY(emc_text_addf(text, "%s%s", i ? ", " : "", cells_strings_at(names, i)));
    }
    return EMC_OK;
}

emc_status cells_frame_list(emc_text *text, const cells_frame *frame, const char *index,
                            const char *path)
{
    cells_strings all = {0}, shown = {0};
    emc_status status = frame->columns(&all, frame);

    for (size_t i = 0; status == EMC_OK && i < all.n; i++) {
        const char *name = cells_strings_at(&all, i);
        if (strcmp(name, index) != 0 && strcmp(name, "__categories") != 0)
            status = cells_strings_add(&shown, name, strlen(name), path);
    }
    if (status == EMC_OK)
        status = shown.n ? cells_list_names(text, &shown) : emc_text_add_string(text, "none");
    cells_strings_free(&all);
    cells_strings_free(&shown);
    return status;
}

/* The first of symbol_columns that the frame has, or NULL. *spelled is the frame's own spelling. */
static emc_status find_symbol_column(char **spelled, const cells_frame *frame, const char *index)
{
    cells_strings names = {0};
    emc_status status = frame->columns(&names, frame);

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
static emc_status take_symbols(cells_file *file, const cells_frame *frame, const char *column)
{
    cells_column symbols = {0};
    emc_status status = frame->column(&symbols, frame, column, file->n_genes);

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

static emc_status no_symbols(const cells_file *file, const cells_frame *frame, const char *index,
                             const char *what)
{
    emc_text columns = {0};
    emc_status status = cells_frame_list(&columns, frame, index, file->path);

    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: the index of %s holds %s and no column of symbols was found; name "
                          "one with --gene-symbols (columns: %s), or take the index as it is with "
                          "--gene-symbols index",
                          file->path, frame->name, what, columns.bytes);
    emc_text_free(&columns);
    return status;
}

/* Whether the other frame lists the same genes, so that its columns may be used. */
static emc_status is_same_index(bool *same, const cells_file *file, const cells_frame *other)
{
    cells_column names = {0};
    emc_status status;
    char *index = NULL;

    *same = false;
    if (!other)
        return EMC_OK;
    status = other->index(&names, &index, other);
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
static emc_status take_named(cells_file *file, const cells_frame *frame, const cells_frame *other,
                             const char *index, const char *wanted)
{
    emc_text columns = {0};
    emc_status status;
    bool same;

    if (strcmp(wanted, index) == 0)
        return emc_text_addf(&file->names, "the index of %s", frame->name);
    if (frame->has(frame, wanted)) {
        EMC_TRY(take_symbols(file, frame, wanted));
        return emc_text_addf(&file->names, "%s column %s", frame->name, wanted);
    }
    EMC_TRY(is_same_index(&same, file, other));
    if (same && other->has(other, wanted)) {
        EMC_TRY(take_symbols(file, other, wanted));
        return emc_text_addf(&file->names, "var column %s", wanted);
    }
    status = cells_frame_list(&columns, frame, index, file->path);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: %s has no column \"%s\"; it has: %s", file->path,
                          frame->name, wanted, columns.bytes);
    emc_text_free(&columns);
    return status;
}

/* A column that is known to hold symbols, as the index does not. */
static emc_status take_found(cells_file *file, const cells_frame *frame, const cells_frame *other,
                             const char *index, const char *what)
{
    emc_status status;
    char *column = NULL;
    const cells_frame *from = frame;
    bool same;

    status = find_symbol_column(&column, frame, index);
    if (status == EMC_OK && !column) {
        status = is_same_index(&same, file, other);
        from = other;
        if (status == EMC_OK && same)
            status = find_symbol_column(&column, other, index);
    }
    if (status == EMC_OK && column)
        status = take_symbols(file, from, column);
    if (status == EMC_OK &&
        (!column || cells_name_kind_of(&file->gene_names) != CELLS_NAMES_SYMBOLS))
        status = no_symbols(file, frame, index, what);
    if (status == EMC_OK)
        status = emc_text_addf(&file->names, "%s column %s, as the index holds %s",
                               from == frame ? frame->name : "var", column, what);
    free(column);
    return status;
}

emc_status cells_frame_genes(cells_file *file, const cells_frame *frame, const cells_frame *other,
                             const char *wanted)
{
    emc_status status;
    char *index = NULL;

    status = frame->index(&file->gene_names, &index, frame);
    file->n_genes = (int)file->gene_names.n;
    if (status != EMC_OK || file->n_genes == 0) {
        free(index);
        return status;
    }
    const cells_name_kind kind =
        wanted ? CELLS_NAMES_SYMBOLS : cells_name_kind_of(&file->gene_names);
    if (wanted && strcmp(wanted, "index") != 0)
        status = take_named(file, frame, other, index, wanted);
    else if (kind == CELLS_NAMES_SYMBOLS)
        status = emc_text_addf(&file->names, "the index of %s", frame->name);
    else
        status = take_found(file, frame, other, index,
                            kind == CELLS_NAMES_ENSEMBL ? "Ensembl ids" : "only numbers");
    free(index);
    return status;
}

void cells_print_double(char *text, size_t n, double value, bool is_float32)
{
    for (int digits = is_float32 ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, n, "%.*g", digits, value);
        const double back = strtod(text, NULL);
        if (is_float32 ? (float)back == (float)value : back == value)
            return;
    }
}
