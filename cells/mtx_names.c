/* Which files beside a matrix name its cells and genes, and what do they say? */
#include "cells/mtx_names.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "cells/lines.h"

static const char *const endings[] = {".tsv.gz", ".tsv", ".txt.gz", ".txt"};
static const char *const cell_stems[] = {"barcodes", "barcode", "cells", NULL};
static const char *const gene_stems[] = {"features", "genes", "feature", "gene", NULL};

/* The most bytes of names that are read: far more than the largest file there is. */
#define MOST_BYTES ((size_t)1 << 30)

static bool is_matrix(const char *name)
{
    return cells_path_ends(name, ".mtx") || cells_path_ends(name, ".mtx.gz");
}

/* PREFIX + NAME of each matrix in a folder; none when it cannot be read. */
static emc_status list_folder(cells_strings *names, const char *path, const char *prefix)
{
    emc_status status = EMC_OK;
    DIR *folder = opendir(path);
    struct dirent *entry;

    if (!folder)
        return emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    while (status == EMC_OK && (entry = readdir(folder))) {
        emc_text name = {0};
        if (entry->d_name[0] == '.' || !is_matrix(entry->d_name))
            continue;
        status = emc_text_addf(&name, "%s%s", prefix, entry->d_name);
        if (status == EMC_OK)
            status = cells_strings_add(names, name.bytes, name.n, path);
        emc_text_free(&name);
    }
    closedir(folder);
    return status;
}

/* The matrices of the folders in a folder, as "GENOME/matrix.mtx": Cell Ranger 2 makes one of each
 * genome. */
static emc_status list_below(cells_strings *names, const char *path)
{
    emc_status status = EMC_OK;
    DIR *folder = opendir(path);
    struct dirent *entry;

    if (!folder)
        return emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    while (status == EMC_OK && (entry = readdir(folder))) {
        emc_text prefix = {0};
        char *below = NULL;
        if (entry->d_name[0] == '.')
            continue;
        status = emc_path_join(&below, path, entry->d_name);
        if (status == EMC_OK && emc_is_directory(below))
            status = emc_text_addf(&prefix, "%s/", entry->d_name);
        if (status == EMC_OK && prefix.n > 0 && access(below, R_OK | X_OK) == 0)
            status = list_folder(names, below, prefix.bytes);
        emc_text_free(&prefix);
        free(below);
    }
    closedir(folder);
    return status;
}

static emc_status list_matrices(cells_strings *names, const char *path)
{
    EMC_TRY(list_folder(names, path, ""));
    return names->n > 0 ? EMC_OK : list_below(names, path);
}

bool cells_mtx_is_folder(const char *path)
{
    cells_strings names = {0};
    const bool is = list_matrices(&names, path) == EMC_OK && names.n > 0;

    cells_strings_free(&names);
    return is;
}

/* Several: the one that is called as Cell Ranger calls it. */
static emc_status choose(const char **out, const cells_strings *names, const char *path)
{
    emc_status status = EMC_OK;
    emc_text all = {0};

    *out = NULL;
    for (size_t i = 0; i < names->n; i++) {
        const char *name = cells_strings_at(names, i);
        if (names->n == 1 || !strcmp(name, "matrix.mtx.gz") ||
            (!*out && !strcmp(name, "matrix.mtx")))
            *out = name;
    }
    if (*out)
        return EMC_OK;
    for (size_t i = 0; status == EMC_OK && i < names->n && i < 20; i++)
        status = emc_text_addf(&all, "%s%s", i ? ", " : "", cells_strings_at(names, i));
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: several matrices: %s; give the path of one of them",
                          path, all.n ? all.bytes : "none");
    emc_text_free(&all);
    return status;
}

emc_status cells_mtx_find_matrix(mtx_paths *paths, const char *path)
{
    cells_strings names = {0};
    emc_status status;
    const char *name;

    if (!emc_is_directory(path))
        return emc_copy_string(&paths->matrix, path);
    status = list_matrices(&names, path);
    if (status == EMC_OK)
        status = choose(&name, &names, path);
    if (status == EMC_OK)
        status = emc_path_join(&paths->matrix, path, name);
    cells_strings_free(&names);
    return status;
}

/* PREFIX + stem + ending, the first that is there. */
static emc_status look(char **out, const char *prefix, size_t n_prefix, const char *const *stems)
{
    for (; *stems; stems++)
        for (size_t e = 0; e < EMC_COUNT(endings); e++) {
            emc_text path = {0};
            emc_status status =
                emc_text_addf(&path, "%.*s%s%s", (int)n_prefix, prefix, *stems, endings[e]);
            if (status == EMC_OK && emc_file_exists(path.bytes)) {
                *out = path.bytes;
                return EMC_OK;
            }
            emc_text_free(&path);
            EMC_TRY(status);
        }
    return EMC_OK;
}

/* Both lists, or neither. */
static emc_status look_for_both(mtx_paths *paths, const char *prefix, size_t n_prefix)
{
    if (n_prefix > 4000 || paths->barcodes)
        return EMC_OK;
    EMC_TRY(look(&paths->barcodes, prefix, n_prefix, cell_stems));
    EMC_TRY(look(&paths->features, prefix, n_prefix, gene_stems));
    if (paths->barcodes && paths->features)
        return EMC_OK;
    free(paths->barcodes);
    free(paths->features);
    paths->barcodes = paths->features = NULL;
    return EMC_OK;
}

/* What is left of the path without .mtx, .mtx.gz or .mtx.txt. */
static size_t stem_length(const char *path)
{
    static const char *const all[] = {".mtx", ".mtx.gz", ".mtx.txt", ".txt", ".gz"};
    const size_t n = strlen(path);

    for (size_t i = 0; i < EMC_COUNT(all); i++)
        if (cells_path_ends(path, all[i]))
            return n - strlen(all[i]);
    return n;
}

emc_status cells_mtx_find_names(mtx_paths *paths)
{
    const char *matrix = paths->matrix, *slash = strrchr(matrix, '/');
    const size_t folder = slash ? (size_t)(slash - matrix) + 1 : 0, n = stem_length(matrix);
    const char *const stem_end = matrix + n;
    emc_text joined = {0};
    emc_status status = EMC_OK;

    if (n >= folder + 6 && strncmp(stem_end - 6, "matrix", 6) == 0)
        status = look_for_both(paths, matrix, n - 6);
    for (const char *joint = "._-"; status == EMC_OK && *joint && !paths->barcodes; joint++) {
        emc_text_clear(&joined);
        status = emc_text_addf(&joined, "%.*s%c", (int)n, matrix, *joint);
        if (status == EMC_OK)
            status = look_for_both(paths, joined.bytes, joined.n);
    }
    /* SAMPLE.filtered.mtx beside SAMPLE.barcodes.tsv. */
    for (size_t i = n; status == EMC_OK && i > folder && !paths->barcodes; i--)
        if (strchr("._-", matrix[i - 1]))
            status = look_for_both(paths, matrix, i);
    if (status == EMC_OK)
        status = look_for_both(paths, matrix, folder);
    emc_text_free(&joined);
    EMC_TRY(status);
    if (paths->barcodes)
        return EMC_OK;
    const int prefix = n >= folder + 6 && !strncmp(stem_end - 6, "matrix", 6) ? (int)n - 6 : (int)n;
    return emc_fail(EMC_ERR_NOT_FOUND,
                    "%s: no names of cells and genes beside it; wanted %.*s%sbarcodes.tsv and "
                    "%.*s%sfeatures.tsv (or genes.tsv), or the two without a prefix, also with .gz",
                    matrix, prefix, matrix, prefix == (int)n ? "." : "", prefix, matrix,
                    prefix == (int)n ? "." : "");
}

void cells_mtx_paths_free(mtx_paths *paths)
{
    free(paths->matrix);
    free(paths->barcodes);
    free(paths->features);
    *paths = (mtx_paths){0};
}

/* One field of a line; quotes around it are not part of it. */
static emc_status add_field(cells_column *out, const cells_lines *lines, const char *text, size_t n)
{
    char place[1024];

    if (n >= 2 && text[0] == '"' && text[n - 1] == '"') {
        text++;
        n -= 2;
    }
    snprintf(place, sizeof place, "%s: line %lld", lines->path, (long long)lines->number - 1);
    EMC_TRY(cells_strings_add(&out->values, text, n, place));
    out->n++;
    if (out->values.pool.n > MOST_BYTES)
        return cells_lines_fail(lines, "more than %zu bytes of names", MOST_BYTES);
    return EMC_OK;
}

static emc_status add_barcode(cells_column *out, const cells_lines *lines, const char *line,
                              size_t n)
{
    const char *tab = memchr(line, '\t', n);
    const size_t n_name = tab ? (size_t)(tab - line) : n;

    if (n_name == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: no barcode", lines->path,
                        (long long)lines->number - 1);
    return add_field(out, lines, line, n_name);
}

emc_status cells_mtx_read_barcodes(cells_column *out, const char *path, int64_t most)
{
    cells_lines lines;
    emc_status status = cells_lines_open(&lines, path);

    while (status == EMC_OK && (int64_t)out->n <= most) {
        char *line;
        size_t n;
        status = cells_lines_next(&lines, &line, &n);
        if (status != EMC_OK || !line)
            break;
        status = add_barcode(out, &lines, line, n);
    }
    cells_lines_close(&lines);
    return status;
}

/* The first line says how many of the three columns there are; the others must have them, too. */
static emc_status add_feature(cells_features *out, const cells_lines *lines, int *n_columns,
                              const char *line, size_t n)
{
    const char *fields[3] = {line};
    size_t lengths[3] = {n};
    int n_fields = 1;

    for (const char *tab; n_fields < 3; n_fields++) {
        const char *from = fields[n_fields - 1];
        tab = memchr(from, '\t', (size_t)(line + n - from));
        if (!tab)
            break;
        lengths[n_fields - 1] = (size_t)(tab - from);
        fields[n_fields] = tab + 1;
        lengths[n_fields] = (size_t)(line + n - tab - 1);
    }
    const char *more = n_fields == 3 ? memchr(fields[2], '\t', lengths[2]) : NULL;
    if (more) /* where the gene lies, and what else may come */
        lengths[2] = (size_t)(more - fields[2]);
    if (*n_columns == 0)
        *n_columns = n_fields;
    if (n_fields != *n_columns)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: %d columns, but line 1 has %d", lines->path,
                        (long long)lines->number - 1, n_fields, *n_columns);
    if (lengths[0] == 0 && (n_fields == 1 || lengths[1] == 0))
        return emc_fail(EMC_ERR_FORMAT, "%s: line %lld: no name of a gene", lines->path,
                        (long long)lines->number - 1);
    if (n_fields == 1)
        return add_field(&out->names, lines, fields[0], lengths[0]);
    EMC_TRY(add_field(&out->ids, lines, fields[0], lengths[0]));
    EMC_TRY(add_field(&out->names, lines, fields[1], lengths[1]));
    return n_fields < 3 ? EMC_OK : add_field(&out->types, lines, fields[2], lengths[2]);
}

emc_status cells_mtx_read_features(cells_features *out, const char *path, int64_t most)
{
    cells_lines lines;
    int n_columns = 0;
    emc_status status = cells_lines_open(&lines, path);

    while (status == EMC_OK && (int64_t)out->names.n <= most) {
        char *line;
        size_t n;
        status = cells_lines_next(&lines, &line, &n);
        if (status != EMC_OK || !line)
            break;
        status = add_feature(out, &lines, &n_columns, line, n);
    }
    cells_lines_close(&lines);
    return status;
}
