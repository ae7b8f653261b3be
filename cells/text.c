/* Which cells and genes does a text table hold, and which of the two are its rows? */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "cells/genes.h"
#include "cells/record.h"
#include "cells/turn.h"

/* A table as it stands in the file: names on top and at the side. Which of them are cells is known
 * only when the last line has been seen, so the file is read twice: for the names, and for the
 * values, which then go where they belong. */
typedef struct {
    const char *path;
    cells_records *records;
    char *corner; /* the header's first field when it stands above the side names */
    cells_strings top;
    cells_strings side;
    size_t n_fields; /* of every row */
    cells_turn *values;
} text_table;

static emc_status add_name(cells_strings *names, const char *name, const text_table *table)
{
    char place[1024];

    if (emc_utf8_valid(name, strlen(name)) == strlen(name))
        return cells_strings_add(names, name, strlen(name), table->path);
    snprintf(place, sizeof place, "%s: line %lld", table->path,
             (long long)cells_records_line(table->records));
    return cells_strings_add(names, name, strlen(name), place);
}

static emc_status not_a_number(const text_table *table, size_t column, const char *text)
{
    return emc_fail(EMC_ERR_FORMAT, "%s: line %lld (\"%s\"), column %zu (\"%s\"): \"%.40s\" is %s",
                    table->path, (long long)cells_records_line(table->records),
                    cells_records_field(table->records, 0), column + 1,
                    cells_strings_at(&table->top, column - 1), text,
                    *text ? "no number" : "empty, wanted a number");
}

static emc_status read_header(text_table *table, size_t *n_header)
{
    EMC_TRY(cells_records_next(table->records, n_header));
    if (*n_header == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: the file holds no text", table->path);
    if (*n_header > INT_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: %zu columns", table->path, *n_header);
    for (size_t i = 0; i < *n_header; i++)
        EMC_TRY(add_name(&table->top, cells_records_field(table->records, i), table));
    return EMC_OK;
}

/* Moves the first name on top to the corner. */
static emc_status take_corner(text_table *table)
{
    cells_strings top = {0};
    emc_status status = emc_copy_string(&table->corner, cells_strings_at(&table->top, 0));

    for (size_t i = 1; status == EMC_OK && i < table->top.n; i++)
        status = add_name(&top, cells_strings_at(&table->top, i), table);
    cells_strings_free(&table->top);
    table->top = top;
    return status;
}

static emc_status wrong_width(const text_table *table, size_t n_fields, size_t n_header)
{
    const bool one_more = n_fields != table->n_fields && table->n_fields != n_header;

    return emc_fail(EMC_ERR_FORMAT,
                    "%s: line %lld: %zu fields, but the header has %zu%s; every row must have as "
                    "many as the header, or one more",
                    table->path, (long long)cells_records_line(table->records), n_fields, n_header,
                    one_more ? " and the first row one more" : "");
}

/* The names, and that all rows are of one width. */
static emc_status read_names(text_table *table)
{
    size_t n_header, n_fields;

    EMC_TRY(read_header(table, &n_header));
    for (;;) {
        EMC_TRY(cells_records_next(table->records, &n_fields));
        if (n_fields == 0)
            break;
        if (table->n_fields == 0) {
            table->n_fields = n_fields;
            if (n_fields == n_header)
                EMC_TRY(take_corner(table));
        }
        /* R's write.table names the columns but not the one of row names. */
        if (n_fields != table->n_fields || (n_fields != n_header && n_fields != n_header + 1))
            return wrong_width(table, n_fields, n_header);
        if (n_fields < 2)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: line %lld: a single column; wanted names and numbers separated "
                            "by tab, comma, semicolon or blanks",
                            table->path, (long long)cells_records_line(table->records));
        EMC_TRY(add_name(&table->side, cells_records_field(table->records, 0), table));
    }
    if (table->n_fields == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: a header and no rows", table->path);
    if (table->side.n > INT_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: %zu x %zu is too large for a text table", table->path,
                        table->side.n, table->top.n);
    return EMC_OK;
}

static emc_status add_row(text_table *table, int32_t row, bool genes_in_rows)
{
    for (size_t i = 1; i < table->n_fields; i++) {
        const char *text = cells_records_field(table->records, i);
        const int32_t column = (int32_t)(i - 1);
        double value;
        if (text[0] == '0' && !text[1])
            continue;
        if (!cells_parse_number(&value, text))
            return not_a_number(table, i, text);
        if (value != 0.0)
            EMC_TRY(genes_in_rows ? cells_turn_add(table->values, column, row, value)
                                  : cells_turn_add(table->values, row, column, value));
    }
    return EMC_OK;
}

/* The second reading. */
static emc_status read_values(text_table *table, bool genes_in_rows,
                              const emc_cells_options *options)
{
    const char delimiter = cells_records_delimiter(table->records);
    cells_turn_options turning;
    size_t n_fields;

    cells_turn_options_from(&turning, options);
    turning.path = table->path;
    turning.n_rows = (int64_t)(genes_in_rows ? table->top.n : table->side.n);
    turning.n_columns = (int)(genes_in_rows ? table->side.n : table->top.n);
    turning.advice = "convert it once: ad.read_csv(...).write_h5ad(...), of cells in rows";
    EMC_TRY(cells_turn_open(&table->values, &turning));
    cells_records_close(table->records);
    table->records = NULL;
    EMC_TRY(cells_records_open(&table->records, table->path, delimiter));
    EMC_TRY(cells_records_next(table->records, &n_fields));
    for (size_t row = 0; row < table->side.n; row++) {
        EMC_TRY(cells_records_next(table->records, &n_fields));
        if (n_fields != table->n_fields)
            return emc_fail(EMC_ERR_IO, "%s: line %lld: it changed while it was read", table->path,
                            (long long)cells_records_line(table->records));
        EMC_TRY(add_row(table, (int32_t)row, genes_in_rows));
    }
    return cells_turn_end(table->values);
}

static int count_known(const cells_strings *names)
{
    int n = 0;

    for (size_t i = 0; i < names->n; i++) {
        const char *name = cells_strings_at(names, i);
        n += emc_gene_is_known(name) || emc_gene_is_ensembl(name);
    }
    return n;
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcasecmp(word, *words) == 0)
            return true;
    return false;
}

/* Known gene names decide; without any, the word in the corner. */
static emc_status find_orientation(emc_orientation *out, emc_text *why, const text_table *table)
{
    static const char *const gene_words[] = {"gene",      "genes",  "gene_id",
                                             "gene_name", "symbol", "gene_symbol",
                                             "feature",   "geneid", NULL};
    static const char *const cell_words[] = {"cell",     "cells",  "cell_id", "barcode",
                                             "barcodes", "cellid", "sample",  NULL};
    const int top = count_known(&table->top), side = count_known(&table->side);

    if (*out != EMC_ORIENTATION_AUTO)
        return emc_text_add_string(why, "as the options say");
    if (top != side) {
        *out = top > side ? EMC_CELLS_IN_ROWS : EMC_GENES_IN_ROWS;
        return emc_text_addf(why, "%d known genes %s, %d %s", top > side ? top : side,
                             top > side ? "in the header" : "in the first column",
                             top > side ? side : top,
                             top > side ? "in the first column" : "in the header");
    }
    if (table->corner && is_one_of(table->corner, gene_words))
        *out = EMC_GENES_IN_ROWS;
    else if (table->corner && is_one_of(table->corner, cell_words))
        *out = EMC_CELLS_IN_ROWS;
    else
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: cannot tell cells from genes (%d known human genes in the header and "
                        "in the first column); say which with --transpose",
                        table->path, top);
    return emc_text_addf(why, "the header starts with %s", table->corner);
}

static emc_status describe(cells_file *file, const text_table *table, bool genes_in_rows,
                           const char *why, bool is_gz)
{
    file->n_values = cells_turn_count(table->values);
    EMC_TRY(
        emc_text_addf(&file->matrix, "%s in rows (%s)", genes_in_rows ? "genes" : "cells", why));
    EMC_TRY(emc_text_add_string(&file->matrix_name, "X"));
    EMC_TRY(emc_text_add_string(&file->storage, "table"));
    EMC_TRY(emc_text_add_string(&file->dtype, "text"));
    EMC_TRY(emc_text_add_string(&file->filters, is_gz ? "gzip" : "none"));
    return emc_text_add_string(&file->names, genes_in_rows ? "the first column" : "the header");
}

static emc_status fill_file(cells_file *file, text_table *table, const emc_cells_options *options)
{
    emc_orientation orientation = options->orientation;
    emc_text why = {0};
    emc_status status = find_orientation(&orientation, &why, table);
    const bool genes_in_rows = orientation == EMC_GENES_IN_ROWS;

    if (status == EMC_OK)
        status = read_values(table, genes_in_rows, options);
    if (status == EMC_OK)
        status =
            describe(file, table, genes_in_rows, why.bytes, cells_path_ends(file->path, ".gz"));
    emc_text_free(&why);
    EMC_TRY(status);
    cells_strings *cells = genes_in_rows ? &table->top : &table->side;
    cells_strings *genes = genes_in_rows ? &table->side : &table->top;
    file->cell_ids = (cells_column){.values = *cells, .n = cells->n};
    file->gene_names = (cells_column){.values = *genes, .n = genes->n};
    *cells = *genes = (cells_strings){0};
    file->n_cells = (int64_t)file->cell_ids.n;
    file->n_genes = (int)file->gene_names.n;
    file->ops = &cells_turn_ops;
    file->source = table->values;
    table->values = NULL;
    if (!options->gene_symbols && cells_name_kind_of(&file->gene_names) == CELLS_NAMES_ENSEMBL)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: the genes are Ensembl ids and a text table has no column of symbols; "
                        "replace them by symbols, or take them as they are with --gene-symbols "
                        "index",
                        table->path);
    return EMC_OK;
}

static emc_status check_options(const cells_file *file, const emc_cells_options *options)
{
    if (options->layer && strcmp(options->layer, "X") != 0)
        return emc_fail(EMC_ERR_USAGE, "%s: a text table has no layer \"%s\"", file->path,
                        options->layer);
    if (options->gene_symbols && strcmp(options->gene_symbols, "index") != 0)
        return emc_fail(EMC_ERR_USAGE, "%s: a text table has no column \"%s\" of symbols",
                        file->path, options->gene_symbols);
    if (options->n_obs_columns > 0)
        return emc_fail(EMC_ERR_USAGE, "%s: a text table has no column \"%s\" beside the cells",
                        file->path, options->obs_columns[0]);
    return EMC_OK;
}

static bool text_matches(const char *path, const unsigned char *head, size_t n_head)
{
    static const char *const endings[] = {".csv",    ".tsv",    ".txt",    ".tab",
                                          ".csv.gz", ".tsv.gz", ".txt.gz", ".tab.gz"};

    (void)head;
    if (n_head == 0)
        return false;
    for (size_t i = 0; i < EMC_COUNT(endings); i++)
        if (cells_path_ends(path, endings[i]))
            return true;
    return false;
}

static emc_status text_open(cells_file *file, const emc_cells_options *options)
{
    text_table table = {.path = file->path};
    emc_status status = check_options(file, options);

    file->format = "text";
    if (status == EMC_OK)
        status = cells_records_open(&table.records, file->path, 0);
    if (status == EMC_OK)
        status = read_names(&table);
    if (status == EMC_OK)
        status = fill_file(file, &table, options);
    cells_records_close(table.records);
    cells_strings_free(&table.top);
    cells_strings_free(&table.side);
    cells_turn_close(table.values);
    free(table.corner);
    return status;
}

const cells_format cells_format_text = {text_matches, text_open, NULL};
