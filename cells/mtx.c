/* Where does a 10x matrix folder keep its cells, its genes and its counts? */
#include "cells/mtx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/mtx_names.h"
#include "cells/turn.h"

/* So many entries are looked at to see whether they come cell by cell: a file of any other order
 * shows it in far fewer, unless its first gene is in that many cells (see is_by_gene). */
#define LOOK_AT ((int64_t)1 << 20)

static bool mtx_matches(const char *path, const unsigned char *head, size_t n_head)
{
    static const char banner[] = "%%MatrixMarket";

    if (n_head == 0)
        return cells_mtx_is_folder(path);
    return (n_head >= sizeof banner - 1 && memcmp(head, banner, sizeof banner - 1) == 0) ||
           cells_path_ends(path, ".mtx") || cells_path_ends(path, ".mtx.gz");
}

static emc_status check_options(const cells_file *file, const emc_cells_options *options)
{
    if (options->layer && strcmp(options->layer, "X") != 0 && strcmp(options->layer, "matrix") != 0)
        return emc_fail(EMC_ERR_USAGE, "%s: a 10x matrix folder has no layer \"%s\"", file->path,
                        options->layer);
    if (options->n_obs_columns > 0)
        return emc_fail(EMC_ERR_USAGE,
                        "%s: a 10x matrix folder has no column \"%s\" beside the cells", file->path,
                        options->obs_columns[0]);
    return EMC_OK;
}

/* Which of the two sizes counts the cells: the second, unless only the other way round fits, or
 * both fit and the options say so. */
static emc_status find_axes(mtx_scanner *scanner, const mtx_paths *paths, size_t n_cells,
                            size_t n_features, emc_orientation wanted)
{
    const mtx_header *header = &scanner->header;
    const bool as_usual =
        header->n_first == (int64_t)n_features && header->n_second == (int64_t)n_cells;

    scanner->cells_first = (!as_usual || wanted == EMC_CELLS_IN_ROWS) &&
                           header->n_first == (int64_t)n_cells &&
                           header->n_second == (int64_t)n_features;
    if (as_usual || scanner->cells_first) {
        scanner->n_cells = (int64_t)n_cells;
        scanner->n_columns = (int32_t)n_features;
        return EMC_OK;
    }
    /* A list is read up to one more than the larger size. */
    const size_t most =
        (size_t)(header->n_first > header->n_second ? header->n_first : header->n_second);
    return emc_fail(
        EMC_ERR_FORMAT, "%s: line %lld: %lld x %lld, but %s names %s%zu genes and %s %s%zu cells%s",
        paths->matrix, (long long)header->place.number - 1, (long long)header->n_first,
        (long long)header->n_second, paths->features, n_features > most ? "over " : "",
        n_features > most ? most : n_features, paths->barcodes, n_cells > most ? "over " : "",
        n_cells > most ? most : n_cells,
        (int64_t)n_features == header->n_first + 1 || (int64_t)n_cells == header->n_second + 1
            ? "; does a list begin with a heading?"
            : "");
}

static emc_status read_names(cells_file *file, mtx_scanner *scanner, const mtx_paths *paths,
                             const emc_cells_options *options)
{
    const mtx_header *header = &scanner->header;
    const int64_t most = header->n_first > header->n_second ? header->n_first : header->n_second;
    cells_features features = {0};
    emc_status status;

    status = cells_mtx_read_barcodes(&file->cell_ids, paths->barcodes, most);
    if (status == EMC_OK)
        status = cells_mtx_read_features(&features, paths->features, most);
    if (status == EMC_OK)
        status =
            find_axes(scanner, paths, file->cell_ids.n, features.names.n, options->orientation);
    file->n_cells = (int64_t)file->cell_ids.n;
    if (status == EMC_OK) {
        const char *slash = strrchr(paths->features, '/');
        status =
            cells_features_apply(file, &features, slash ? slash + 1 : paths->features, options);
    }
    cells_features_free(&features);
    return status;
}

/* Whether the entries come cell by cell, as far as one looks. The scanner is back at the first
 * one afterwards. */
static emc_status look_at_order(mtx_scanner *scanner, bool *in_order)
{
    int64_t last = -1, n_changes = 0, n = 0;
    mtx_entry entry;
    bool more = true;

    *in_order = true;
    while (n < LOOK_AT && *in_order) {
        EMC_TRY(cells_mtx_next(scanner, &entry, &more));
        if (!more)
            break;
        *in_order = entry.cell >= last;
        n_changes += entry.cell != last;
        last = entry.cell;
        n++;
    }
    /* A cell an entry, so far: that is how a gene of very many cells begins. */
    if (more && n == LOOK_AT && n_changes == n)
        *in_order = false;
    cells_mtx_seek(scanner, scanner->header.place, 0);
    return EMC_OK;
}

/* All entries, in the order of the file, become rows. */
static emc_status turn(cells_file *file, mtx_scanner *scanner, const emc_cells_options *options)
{
    cells_turn_options turning;
    emc_status status;
    cells_turn *rows = NULL;
    mtx_entry entry;
    bool more = true;

    cells_turn_options_from(&turning, options);
    turning.path = file->path;
    turning.n_rows = scanner->n_cells;
    turning.n_columns = scanner->n_columns;
    turning.n_expected = scanner->header.n_entries;
    turning.advice = "write it again with genes in rows, by scipy.io.mmwrite or Matrix::writeMM";
    EMC_TRY(cells_turn_open(&rows, &turning));
    file->ops = &cells_turn_ops;
    file->source = rows;
    for (;;) {
        status = cells_mtx_next(scanner, &entry, &more);
        if (status != EMC_OK || !more)
            break;
        status = cells_turn_add(rows, entry.cell, entry.column, entry.value);
        if (status != EMC_OK)
            break;
    }
    return status == EMC_OK ? cells_turn_end(rows) : status;
}

static emc_status describe(cells_file *file, const mtx_scanner *scanner, const mtx_paths *paths,
                           bool in_order)
{
    const mtx_field field = scanner->header.field;
    const char *slash = strrchr(paths->matrix, '/');

    file->n_values = scanner->header.n_entries;
    EMC_TRY(emc_text_add_string(&file->matrix_name, slash ? slash + 1 : paths->matrix));
    EMC_TRY(emc_text_add_string(&file->storage, "coordinates"));
    EMC_TRY(emc_text_add_string(&file->dtype, field == MTX_INTEGER   ? "integer"
                                              : field == MTX_PATTERN ? "pattern"
                                                                     : "real"));
    EMC_TRY(emc_text_add_string(&file->filters,
                                cells_stream_is_gzip(scanner->lines.stream) ? "gzip" : "none"));
    EMC_TRY(emc_text_add_string(&file->advice, "a 10x matrix folder holds counts; this one does "
                                               "not: give counts or log-counts"));
    return emc_text_addf(&file->matrix, "%s (coordinates, %s, %s%s)", file->matrix_name.bytes,
                         file->dtype.bytes,
                         scanner->cells_first ? "cells in rows" : "genes in rows",
                         in_order ? "" : ", not cell by cell");
}

static emc_status mtx_open(cells_file *file, const emc_cells_options *options)
{
    mtx_scanner scanner = {0};
    mtx_paths paths = {0};
    emc_status status;
    bool in_order = true;

    file->format = "10x mtx";
    status = check_options(file, options);
    if (status == EMC_OK)
        status = cells_mtx_find_matrix(&paths, file->path);
    if (status == EMC_OK)
        status = cells_lines_open(&scanner.lines, paths.matrix);
    if (status == EMC_OK)
        status = cells_mtx_read_header(&scanner.header, &scanner.lines);
    if (status == EMC_OK)
        status = cells_mtx_find_names(&paths);
    if (status == EMC_OK)
        status = read_names(file, &scanner, &paths, options);
    if (status == EMC_OK)
        status = look_at_order(&scanner, &in_order);
    if (status == EMC_OK)
        status = describe(file, &scanner, &paths, in_order);
    if (status == EMC_OK && !in_order)
        status = turn(file, &scanner, options);
    if (status == EMC_OK && in_order) {
        file->ops = &cells_mtx_rows_ops;
        status = cells_mtx_rows_open(&file->source, &scanner, paths.matrix);
        if (status == EMC_OK)
            scanner.lines = (cells_lines){0};
    }
    cells_lines_close(&scanner.lines);
    cells_mtx_paths_free(&paths);
    return status;
}

const cells_format cells_format_mtx = {mtx_matches, mtx_open, NULL};
