/* Which cells are the same, and does anything stand on two sides of the split? */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/dataset_parts.h"
#include "base/size.h"

static int64_t root_of(emc_dataset_cell *cells, int64_t i)
{
    while (cells[i].twin != i) {
        cells[i].twin = cells[cells[i].twin].twin;
        i = cells[i].twin;
    }
    return i;
}

/* The earlier of two roots stays one. */
static void join(emc_dataset_cell *cells, int64_t a, int64_t b)
{
    a = root_of(cells, a);
    b = root_of(cells, b);
    if (a < b)
        cells[b].twin = a;
    else
        cells[a].twin = b;
}

/* dataset NUL id. */
static emc_status add_id(emc_text *key, const emc_dataset_cell *cell)
{
    emc_text_clear(key);
    EMC_TRY(emc_text_add(key, cell->dataset, strlen(cell->dataset) + 1));
    return emc_text_add_string(key, cell->cell_id);
}

emc_status emc_dataset_find_twins(emc_dataset *dataset)
{
    emc_dataset_cell *cells = dataset->cells;
    emc_str_map *ids = NULL, *hashes = NULL;
    emc_text key = {0};
    int64_t n_other = 0, n_twins = 0;
    emc_status status = emc_str_map_open(&ids, dataset->n_cells);

    if (status == EMC_OK)
        status = emc_str_map_open(&hashes, dataset->n_cells);
    for (size_t i = 0; status == EMC_OK && i < dataset->n_cells; i++) {
        const emc_hash *hash = &dataset->hashes[i];
        int32_t first = (int32_t)i;
        cells[i].twin = (int64_t)i;
        if (cells[i].dataset)
            status = add_id(&key, &cells[i]);
        if (status == EMC_OK && cells[i].dataset) {
            first = emc_str_map_get(ids, key.bytes, key.n, (int32_t)i);
            status = emc_str_map_put(ids, key.bytes, key.n, (int32_t)i, NULL);
        }
        join(cells, first, (int64_t)i);
        first = emc_str_map_get(hashes, (const char *)hash->bytes, sizeof(hash->bytes), (int32_t)i);
        join(cells, first, (int64_t)i);
        if (status == EMC_OK)
            status = emc_str_map_put(hashes, (const char *)hash->bytes, sizeof(hash->bytes),
                                     (int32_t)i, NULL);
    }
    for (size_t i = 0; status == EMC_OK && i < dataset->n_cells; i++) {
        cells[i].twin = root_of(cells, (int64_t)i);
        if (cells[i].twin == (int64_t)i)
            continue;
        n_twins++;
        dataset->inputs[cells[i].input].n_twins++;
        n_other += cells[i].label != cells[cells[i].twin].label;
    }
    if (status == EMC_OK && n_twins > 0 && dataset->options.on_log) {
        emc_text_clear(&key);
        status = emc_text_addf(&key,
                               "%lld cells are the same as an earlier one; %lld of them are "
                               "labelled otherwise than that",
                               (long long)n_twins, (long long)n_other);
        if (status == EMC_OK)
            dataset->options.on_log(dataset->options.context, key.bytes);
    }
    emc_text_free(&key);
    emc_str_map_close(ids);
    emc_str_map_close(hashes);
    return status;
}

emc_status emc_split_key(emc_text *key, bool *has, const emc_dataset_cell *cell, emc_split_by by)
{
    const char *value = by == EMC_SPLIT_EMBRYO    ? cell->embryo
                        : by == EMC_SPLIT_DATASET ? cell->dataset
                                                  : cell->stage;

    emc_text_clear(key);
    *has = by != EMC_SPLIT_CELL && value;
    if (!*has)
        return EMC_OK;
    if (by == EMC_SPLIT_EMBRYO) {
        const char *dataset = cell->dataset ? cell->dataset : "";
        EMC_TRY(emc_text_add(key, dataset, strlen(dataset) + 1));
    }
    return emc_text_add_string(key, value);
}

/* The first that stands on two sides, and how many cells stand elsewhere than the first of their
 * kind. */
typedef struct {
    emc_str_map *parts; /* of what was seen */
    int64_t n;
    char first[256];
} crossing;

static emc_status look(crossing *c, const char *key, size_t n, const char *what, const char *name,
                       emc_part_of_split part)
{
    const int32_t before = emc_str_map_get(c->parts, key, n, (int32_t)part);

    EMC_TRY(emc_str_map_put(c->parts, key, n, (int32_t)part, NULL));
    if (before == (int32_t)part)
        return EMC_OK;
    if (c->n++ == 0)
        snprintf(c->first, sizeof(c->first), "%s \"%.160s\" is in %s and in %s", what, name,
                 emc_part_name((emc_part_of_split)before), emc_part_name(part));
    return EMC_OK;
}

static emc_status check_all(crossing kinds[4], emc_text *key, const emc_dataset_cell *cells,
                            const emc_hash *hashes, int64_t n, emc_split_by by)
{
    crossing *embryos = &kinds[0], *groups = &kinds[1], *ids = &kinds[2], *same = &kinds[3];

    for (int64_t i = 0; i < n; i++) {
        const emc_dataset_cell *cell = &cells[i];
        bool has = false;
        if (by != EMC_SPLIT_CELL)
            EMC_TRY(emc_split_key(key, &has, cell, EMC_SPLIT_EMBRYO));
        if (has)
            EMC_TRY(look(embryos, key->bytes, key->n, "embryo", cell->embryo, cell->part));
        EMC_TRY(emc_split_key(key, &has, cell, by));
        if (has && by != EMC_SPLIT_EMBRYO)
            EMC_TRY(look(groups, key->bytes, key->n, by == EMC_SPLIT_DATASET ? "dataset" : "stage",
                         key->bytes, cell->part));
        if (cell->dataset) {
            EMC_TRY(add_id(key, cell));
            EMC_TRY(look(ids, key->bytes, key->n, "cell", cell->cell_id, cell->part));
        }
        EMC_TRY(look(same, (const char *)hashes[i].bytes, sizeof(hashes[i].bytes),
                     "the expression of cell", cell->cell_id, cell->part));
    }
    return EMC_OK;
}

emc_status emc_split_check(const emc_dataset_cell *cells, const emc_hash *hashes, int64_t n,
                           emc_split_by by)
{
    crossing kinds[4] = {{0}, {0}, {0}, {0}};
    emc_text key = {0};
    emc_status status = EMC_OK;

    for (int i = 0; status == EMC_OK && i < 4; i++)
        status = emc_str_map_open(&kinds[i].parts, 64);
    if (status == EMC_OK)
        status = check_all(kinds, &key, cells, hashes, n, by);
    for (int i = 0; status == EMC_OK && i < 4; i++)
        if (kinds[i].n > 0)
            status = emc_fail(EMC_ERR_CONFIG,
                              "the split leaks: %s; crossings by embryo: %lld, by dataset or "
                              "stage: %lld, by cell id: %lld, by expression: %lld",
                              kinds[i].first, (long long)kinds[0].n, (long long)kinds[1].n,
                              (long long)kinds[2].n, (long long)kinds[3].n);
    for (int i = 0; i < 4; i++)
        emc_str_map_close(kinds[i].parts);
    emc_text_free(&key);
    return status;
}
