/*
 * What is each cell called, and are all names there and different?
 *
 * Names of HDF5 files are read when they are asked for, in windows, so that a file of millions of
 * cells takes no more memory than a small one. That no two are the same is found by sorting hashes,
 * at most MOST_HASHES at a time: the names are read once more for each further part of them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/str_map.h"
#include "cells/source.h"

#define WINDOW 4096

/* 64 MiB while a file is opened: enough for 8 million cells in one reading. */
#define MOST_HASHES ((size_t)1 << 23)

emc_status cells_ids_read(const cells_file *file, int64_t first, int64_t n, cells_strings *names,
                          const char **ids)
{
    if (!file->ids.read) {
        for (int64_t i = 0; i < n; i++)
            ids[i] = cells_column_at(&file->cell_ids, (size_t)(first + i));
        return EMC_OK;
    }
    names->n = 0;
    emc_text_clear(&names->pool);
    EMC_TRY(file->ids.read(file->ids.from, first, n, names));
    for (int64_t i = 0; i < n; i++)
        ids[i] = cells_strings_at(names, (size_t)i);
    return EMC_OK;
}

/* The window holds this row's name. */
static emc_status load_window(cells_file *file, int64_t row)
{
    cells_strings *window = &file->id_window;
    const int64_t first = row / WINDOW * WINDOW, left = file->n_cells - first;

    if (row >= file->id_first && row < file->id_first + (int64_t)window->n)
        return EMC_OK;
    window->n = 0;
    emc_text_clear(&window->pool);
    file->id_first = first;
    const emc_status status =
        file->ids.read(file->ids.from, first, left < WINDOW ? left : WINDOW, window);
    if (status != EMC_OK)
        window->n = 0;
    return status;
}

const char *cells_ids_at(cells_file *file, int64_t row)
{
    if (!file->ids.read)
        return cells_column_at(&file->cell_ids, (size_t)row);
    if (load_window(file, row) != EMC_OK || (size_t)(row - file->id_first) >= file->id_window.n)
        return ""; /* the file has failed since it was opened */
    return cells_strings_at(&file->id_window, (size_t)(row - file->id_first));
}

void cells_ids_free(cells_file *file)
{
    if (file->ids.close)
        file->ids.close(file->ids.from);
    cells_strings_free(&file->id_window);
}

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const char *text)
{
    uint64_t h = 14695981039346656037u;

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211u;
    return h;
}

/* By their bits from `bit` down, in place: no list of hashes is slow, and none takes memory. */
static void sort_hashes(uint64_t *hashes, size_t n, int bit)
{
    while (n > 1 && bit >= 0) {
        size_t low = 0, high = n;
        while (low < high) {
            if (hashes[low] >> bit & 1) {
                const uint64_t hash = hashes[low];
                hashes[low] = hashes[--high];
                hashes[high] = hash;
            } else {
                low++;
            }
        }
        bit--;
        sort_hashes(hashes, low, bit);
        hashes += low;
        n -= low;
    }
}

static int compare_hashes(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The names of one part: those whose hash falls to it. */
typedef struct {
    cells_file *file;
    uint64_t part, n_parts;
    uint64_t *hashes; /* [n], in the end only those that came more than once */
    size_t n, capacity;
    int64_t first, second; /* rows of one name, the second as early as there are; -1 */
} id_check;

/* The hash of a row's name; *mine says whether it is of this part. */
static emc_status hash_row(id_check *c, int64_t row, const char **id, uint64_t *hash, bool *mine)
{
    if (c->file->ids.read)
        EMC_TRY(load_window(c->file, row));
    *id = cells_ids_at(c->file, row);
    if (!*id || !**id)
        return emc_fail(EMC_ERR_FORMAT, "%s: cell %lld has no name", c->file->path,
                        (long long)row + 1);
    *hash = hash_of(*id);
    *mine = (*hash >> 32) % c->n_parts == c->part;
    return EMC_OK;
}

static emc_status collect_hashes(id_check *c)
{
    const char *id;
    uint64_t hash;
    bool mine;

    c->n = 0;
    for (int64_t row = 0; row < c->file->n_cells; row++) {
        EMC_TRY(hash_row(c, row, &id, &hash, &mine));
        if (!mine)
            continue;
        EMC_TRY(
            emc_reserve(&c->hashes, &c->capacity, c->n + 1, sizeof *c->hashes, "names of cells"));
        c->hashes[c->n++] = hash;
    }
    return EMC_OK;
}

/* Leaves the hashes that came more than once, each of them once. */
static void keep_repeated(id_check *c)
{
    size_t n = 0;

    sort_hashes(c->hashes, c->n, 63);
    for (size_t i = 1; i < c->n; i++)
        if (c->hashes[i] == c->hashes[i - 1] && (n == 0 || c->hashes[n - 1] != c->hashes[i]))
            c->hashes[n++] = c->hashes[i];
    c->n = n;
}

/* Of the names behind repeated hashes, the first that is there again. */
static emc_status find_again(id_check *c)
{
    emc_status status;
    emc_str_map *map = NULL;
    const char *id;
    uint64_t hash;
    bool mine, existed = false;

    status = emc_str_map_open(&map, c->n);
    for (int64_t row = 0; status == EMC_OK && row < c->file->n_cells && !existed; row++) {
        status = hash_row(c, row, &id, &hash, &mine);
        if (status != EMC_OK || !mine ||
            !bsearch(&hash, c->hashes, c->n, sizeof hash, compare_hashes))
            continue;
        status = emc_str_map_put(map, id, strlen(id), (int32_t)row, &existed);
        if (status == EMC_OK && existed && (c->second < 0 || row < c->second)) {
            c->first = emc_str_map_get(map, id, strlen(id), -1);
            c->second = row;
        }
    }
    emc_str_map_close(map);
    return status;
}

emc_status cells_ids_check(cells_file *file)
{
    id_check c = {.file = file,
                  .n_parts = (uint64_t)file->n_cells / MOST_HASHES + 1,
                  .first = -1,
                  .second = -1};
    emc_status status = EMC_OK;

    for (; status == EMC_OK && c.part < c.n_parts; c.part++) {
        status = collect_hashes(&c);
        if (status != EMC_OK)
            break;
        keep_repeated(&c);
        if (c.n > 0)
            status = find_again(&c);
    }
    free(c.hashes);
    if (status == EMC_OK && c.second >= 0)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: two cells are called \"%s\" (%lld and %lld); make the names unique, "
                          "with adata.obs_names_make_unique() for example",
                          file->path, cells_ids_at(file, c.first), (long long)c.first + 1,
                          (long long)c.second + 1);
    return status;
}
