/* How is a file of any format opened, checked and walked block by block? */
#include "cells/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "base/str_map.h"
#include "cells/source.h"

#define DEFAULT_ROWS  4096
#define DEFAULT_BYTES ((size_t)64 << 20)

/* Asked in this order; a new format is one more line. */
static const cells_format *const formats[] = {&cells_format_hdf5, &cells_format_zarr,
                                              &cells_format_mtx, &cells_format_text};

struct emc_cells {
    cells_file file;
    const cells_format *format;
    char *path;
    emc_text description;
    const char **gene_names;
    const char **gene_ids; /* NULL when the names are the index */
    int32_t *fold;         /* the gene that counts for each gene; NULL without duplicates */
    int n_obs;
    int max_rows;
    size_t max_bytes;
    emc_negative negative;
    int64_t next;
    cells_buffers block; /* of emc_cells_next */
};

/* The start of a file; *n_head is 0 for a folder. */
static emc_status look_at(unsigned char head[512], size_t *n_head, const char *path)
{
    struct stat st;
    ssize_t got = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return emc_fail(errno == ENOENT || errno == ENOTDIR ? EMC_ERR_NOT_FOUND : EMC_ERR_IO,
                        "%s: %s", path, strerror(errno));
    got = fstat(fd, &st);
    if (got == 0 && !S_ISDIR(st.st_mode))
        got = read(fd, head, 512);
    const int error = errno;
    close(fd);
    if (got < 0)
        return emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(error));
    if (got == 0 && !S_ISDIR(st.st_mode))
        return emc_fail(EMC_ERR_FORMAT, "%s: the file is empty", path);
    *n_head = (size_t)got;
    return EMC_OK;
}

/* Pointers to the names, each checked to be there. */
static emc_status borrow_names(const char ***out, const cells_column *names, const char *what,
                               const char *path)
{
    EMC_TRY(emc_alloc(out, names->n, sizeof **out, "names"));
    for (size_t i = 0; i < names->n; i++) {
        const char *name = cells_column_at(names, i);
        if (!name || !*name)
            return emc_fail(EMC_ERR_FORMAT, "%s: %s %zu has no name", path, what, i + 1);
        (*out)[i] = name;
    }
    return EMC_OK;
}

/* Finds genes of one name and folds them into the first, or refuses them. */
static emc_status fold_genes(emc_cells *cells, emc_duplicates rule, int *n_folded)
{
    const int n = cells->file.n_genes;
    const bool sum =
        rule == EMC_DUPLICATES_SUM || (rule == EMC_DUPLICATES_AUTO && cells->file.from_symbols);
    emc_status status;
    emc_str_map *map = NULL;
    int32_t *fold = NULL;

    *n_folded = 0;
    status = emc_str_map_open(&map, (size_t)n);
    if (status == EMC_OK)
        status = emc_alloc(&fold, (size_t)n, sizeof *fold, "genes");
    for (int i = 0; status == EMC_OK && i < n; i++) {
        const char *name = cells->gene_names[i];
        bool existed;
        status = emc_str_map_put(map, name, strlen(name), i, &existed);
        if (status != EMC_OK)
            break;
        fold[i] = emc_str_map_get(map, name, strlen(name), i);
        *n_folded += existed;
        if (existed && !sum)
            status = emc_fail(EMC_ERR_FORMAT,
                              "%s: two genes are called \"%s\" (%d and %d); make the names unique, "
                              "or have them added up with --duplicate-genes sum",
                              cells->path, name, fold[i] + 1, i + 1);
    }
    if (status == EMC_OK && *n_folded > 0) {
        cells->fold = fold;
        fold = NULL;
    }
    free(fold);
    emc_str_map_close(map);
    return status;
}

static emc_status check_names(emc_cells *cells, const emc_cells_options *options)
{
    cells_file *file = &cells->file;
    int n_folded;

    if (file->n_cells == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: it has no cells", cells->path);
    if (file->n_genes == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: it has no genes", cells->path);
    EMC_TRY(cells_ids_check(file));
    EMC_TRY(borrow_names(&cells->gene_names, &file->gene_names, "gene", cells->path));
    if (file->gene_ids.n)
        EMC_TRY(borrow_names(&cells->gene_ids, &file->gene_ids, "gene id", cells->path));
    EMC_TRY(fold_genes(cells, options->duplicate_genes, &n_folded));
    EMC_TRY(emc_text_addf(&cells->description, "%s, %s, %lld cells x %d genes, names from %s",
                          cells->file.format, file->matrix.bytes, (long long)file->n_cells,
                          file->n_genes, file->names.bytes));
    if (n_folded)
        EMC_TRY(emc_text_addf(&cells->description, "; %d genes added to another of the same name",
                              n_folded));
    return EMC_OK;
}

static emc_status set_options(emc_cells *cells, const emc_cells_options *options)
{
    if (options->max_rows < 0 || options->n_obs_columns < 0)
        return emc_fail(EMC_ERR_ARG, "max_rows=%d n_obs_columns=%d, need >= 0", options->max_rows,
                        options->n_obs_columns);
    cells->max_rows = options->max_rows ? options->max_rows : DEFAULT_ROWS;
    cells->max_bytes = options->max_bytes ? options->max_bytes : DEFAULT_BYTES;
    cells->negative = options->negative;
    cells->n_obs = options->n_obs_columns;
    return emc_alloc(&cells->file.obs, (size_t)cells->n_obs, sizeof *cells->file.obs, "columns");
}

emc_status cells_format_of(const cells_format **out, const char *path)
{
    unsigned char head[512];
    size_t n_head = 0;

    *out = NULL;
    EMC_TRY(look_at(head, &n_head, path));
    for (size_t i = 0; i < EMC_COUNT(formats) && !*out; i++)
        if (formats[i]->matches(path, head, n_head))
            *out = formats[i];
    if (*out)
        return EMC_OK;
    if (n_head == 0)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: a folder of an unknown kind; wanted a file, a zarr store, or a "
                        "folder with matrix.mtx(.gz) and its names",
                        path);
    return emc_fail(EMC_ERR_FORMAT,
                    "%s: unknown kind of file; wanted .h5ad, .zarr.zip, 10x .h5, .loom, .mtx, "
                    ".csv, .tsv or .txt (the last four also with .gz)",
                    path);
}

emc_negative cells_set_negative(emc_cells *cells, emc_negative negative)
{
    const emc_negative was = cells->negative;

    cells->negative = negative;
    return was;
}

static emc_status open_source(emc_cells *cells, const emc_cells_options *options)
{
    emc_cells_options wanted = *options;

    /* The table is the source of symbols, so ids without a column of symbols are fine. */
    if (options->gene_table && !options->gene_symbols)
        wanted.gene_symbols = "index";
    EMC_TRY(cells->format->open(&cells->file, &wanted));
    if (options->gene_table)
        EMC_TRY(cells_gene_table_apply(&cells->file, options->gene_table));
    return check_names(cells, options);
}

emc_status emc_cells_open(emc_cells **out, const char *path, const emc_cells_options *options)
{
    static const emc_cells_options defaults = {0};
    const cells_format *format;
    emc_status status;
    emc_cells *cells = NULL;

    *out = NULL;
    if (!options)
        options = &defaults;
    status = cells_format_of(&format, path);
    if (status == EMC_OK)
        status = emc_alloc(&cells, 1, sizeof *cells, "a reader");
    if (status != EMC_OK)
        goto done;
    cells->format = format;
    cells->file.n_values = -1;
    cells->file.n_named = -1;
    status = emc_copy_string(&cells->path, path);
    if (status == EMC_OK)
        status = set_options(cells, options);
    if (status != EMC_OK)
        goto done;
    cells->file.path = cells->path;
    status = open_source(cells, options);
    if (status != EMC_OK)
        goto done;
    *out = cells;
    cells = NULL;

done:
    emc_cells_close(cells);
    return status;
}

void emc_cells_close(emc_cells *cells)
{
    if (!cells)
        return;
    cells_file *file = &cells->file;
    if (file->ops && file->source)
        file->ops->close(file->source);
    cells_column_free(&file->cell_ids);
    cells_ids_free(file);
    cells_column_free(&file->gene_names);
    cells_column_free(&file->gene_ids);
    for (int i = 0; file->obs && i < cells->n_obs; i++)
        cells_column_free(&file->obs[i]);
    free(file->obs);
    emc_text_free(&file->matrix);
    emc_text_free(&file->matrix_name);
    emc_text_free(&file->storage);
    emc_text_free(&file->dtype);
    emc_text_free(&file->filters);
    free(file->gene_of_column);
    emc_text_free(&file->names);
    emc_text_free(&file->advice);
    emc_text_free(&cells->description);
    cells_buffers_free(&cells->block);
    free(cells->gene_names);
    free(cells->gene_ids);
    free(cells->fold);
    free(cells->path);
    free(cells);
}

int64_t emc_cells_n_cells(const emc_cells *cells)
{
    return cells->file.n_cells;
}

int emc_cells_n_genes(const emc_cells *cells)
{
    return cells->file.n_genes;
}

const char *const *emc_cells_gene_names(const emc_cells *cells)
{
    return cells->gene_names;
}

const char *const *emc_cells_gene_ids(const emc_cells *cells)
{
    return cells->gene_ids;
}

int emc_cells_n_named(const emc_cells *cells)
{
    return cells->file.n_named;
}

bool emc_cells_holds_ids(const emc_cells *cells)
{
    return !cells->file.ids.read;
}

const char *emc_cells_id(const emc_cells *cells, int64_t row)
{
    /* What is kept of the names read last is no part of what a reader is. */
    return cells_ids_at((cells_file *)(uintptr_t)&cells->file, row);
}

const char *emc_cells_obs(const emc_cells *cells, int64_t row, int column)
{
    return cells_column_at(&cells->file.obs[column], (size_t)row);
}

bool emc_cells_obs_is_categorical(const emc_cells *cells, int column)
{
    return cells->file.obs[column].codes != NULL;
}

int64_t emc_cells_find(const emc_cells *cells, const char *cell_id)
{
    for (int64_t row = 0; row < cells->file.n_cells; row++)
        if (strcmp(emc_cells_id(cells, row), cell_id) == 0)
            return row;
    return -1;
}

const char *emc_cells_format(const emc_cells *cells)
{
    return cells->file.format;
}

const char *emc_cells_description(const emc_cells *cells)
{
    return cells->description.bytes;
}

static const char *words(const emc_text *text)
{
    return text->n ? text->bytes : "";
}

void emc_cells_get_matrix(const emc_cells *cells, emc_cells_matrix *matrix)
{
    const cells_file *file = &cells->file;

    *matrix = (emc_cells_matrix){.name = words(&file->matrix_name),
                                 .storage = words(&file->storage),
                                 .dtype = words(&file->dtype),
                                 .filters = words(&file->filters),
                                 .n_values = file->n_values};
}

const char *emc_cells_path(const emc_cells *cells)
{
    return cells->path;
}

emc_status emc_cells_seek(emc_cells *cells, int64_t row)
{
    if (row < 0 || row > cells->file.n_cells)
        return emc_fail(EMC_ERR_ARG, "seek to cell %lld of %lld", (long long)row,
                        (long long)cells->file.n_cells);
    cells->next = row;
    return EMC_OK;
}

/* The first of n rows that holds a value below zero, and where it stands; n without any. */
static int find_negative(const cells_rows *block, int n, int64_t *at)
{
    int64_t n_negative = 0;

    /* All of them first, which is quick; which one is asked only when it matters. */
    for (int64_t k = 0; k < block->indptr[n]; k++)
        n_negative += block->values[k] < 0;
    for (int i = 0; n_negative > 0 && i < n; i++)
        for (*at = block->indptr[i]; *at < block->indptr[i + 1]; (*at)++)
            if (block->values[*at] < 0)
                return i;
    return n;
}

/* The cells before a value below zero make a block of their own, so that what is handed out never
 * depends on where blocks end; the next call begins with that value's cell and fails. */
static emc_status stop_at_negative(const emc_cells *cells, const cells_rows *block, int64_t first,
                                   int *n)
{
    int64_t at = 0;
    const int row = find_negative(block, *n, &at);

    if (row > 0) {
        *n = row;
        return EMC_OK;
    }
    return emc_fail(EMC_ERR_FORMAT,
                    "%s: %s: cell \"%s\", gene \"%s\" is %g: scaled values do not say "
                    "which genes are expressed; %s",
                    cells->path, cells->file.matrix.bytes, emc_cells_id(cells, first),
                    cells->gene_names[block->genes[at]], block->values[at],
                    cells->file.advice.n ? cells->file.advice.bytes : "give counts or log-counts");
}

/* The names beside the rows of a block. */
static emc_status fill_names(emc_cells *cells, cells_buffers *into, int64_t first, int n)
{
    EMC_TRY(emc_grow(&into->ids, (size_t)n, sizeof *into->ids, "a block"));
    EMC_TRY(emc_grow(&into->obs, (size_t)n * (size_t)cells->n_obs, sizeof *into->obs, "a block"));
    EMC_TRY(cells_ids_read(&cells->file, first, n, &into->names, into->ids));
    for (int i = 0; i < n; i++)
        for (int c = 0; c < cells->n_obs; c++)
            into->obs[(size_t)i * (size_t)cells->n_obs + (size_t)c] =
                emc_cells_obs(cells, first + i, c);
    return EMC_OK;
}

/* Columns become genes; entries of columns that are none of them leave. */
static void keep_genes(cells_rows *block, int n_rows, const int32_t *gene_of_column)
{
    int64_t to = 0, begin = 0;

    for (int i = 0; i < n_rows; i++) {
        const int64_t end = block->indptr[i + 1];
        for (int64_t k = begin; k < end; k++) {
            const int32_t gene = gene_of_column[block->genes[k]];
            if (gene < 0)
                continue;
            block->genes[to] = gene;
            block->values[to++] = block->values[k];
        }
        begin = end;
        block->indptr[i + 1] = to;
    }
}

emc_status cells_next_into(emc_cells *cells, int64_t most, cells_buffers *into,
                           emc_cell_block *block)
{
    const cells_file *file = &cells->file;
    cells_rows *rows = &into->rows;
    const int64_t first = cells->next, left = file->n_cells - first;

    *block = (emc_cell_block){0};
    if (left == 0)
        return EMC_OK;
    most = most < cells->max_rows ? most : cells->max_rows;
    most = left < most ? left : most;
    int n = (int)file->ops->fit(file->source, first, most, cells->max_bytes);
    EMC_TRY(file->ops->read(file->source, first, n, rows));
    if (file->gene_of_column)
        keep_genes(rows, n, file->gene_of_column);
    const int64_t n_values = rows->indptr[n];
    for (int64_t k = 0; cells->fold && k < n_values; k++)
        rows->genes[k] = cells->fold[rows->genes[k]];
    if (cells->negative == EMC_NEGATIVE_REFUSE)
        EMC_TRY(stop_at_negative(cells, rows, first, &n));
    EMC_TRY(fill_names(cells, into, first, n));
    cells->next = first + n;
    *block = (emc_cell_block){.path = cells->path,
                              .first_row = first,
                              .n_rows = n,
                              .indptr = rows->indptr,
                              .genes = rows->genes,
                              .values = rows->values,
                              .cell_ids = into->ids,
                              .obs = into->obs,
                              .n_obs_columns = cells->n_obs};
    return EMC_OK;
}

emc_status emc_cells_next(emc_cells *cells, emc_cell_block *block)
{
    return cells_next_into(cells, INT64_MAX, &cells->block, block);
}
