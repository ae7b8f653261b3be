/* A dataset: opened in one pass over the files of a recipe, read in another. */

#include "annotate/dataset/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/dataset_parts.h"
#include "base/size.h"

#define BLOCK_BYTES ((size_t)1 << 20)

void emc_dataset_strings_free(emc_dataset_strings *strings)
{
    for (size_t i = 0; i < strings->n_blocks; i++)
        free(strings->blocks[i]);
    free(strings->blocks);
    free(strings->word);
    emc_str_map_close(strings->words);
    *strings = (emc_dataset_strings){0};
}

emc_status emc_dataset_keep(emc_dataset_strings *strings, const char **out, const char *text)
{
    const size_t n = strlen(text) + 1;

    if (n > strings->room - strings->used) {
        const size_t room = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        EMC_TRY(emc_reserve(&strings->blocks, &strings->capacity, strings->n_blocks + 1,
                            sizeof(*strings->blocks), "names"));
        EMC_TRY(emc_alloc(&strings->blocks[strings->n_blocks], room, 1, "names"));
        strings->n_blocks++;
        strings->room = room;
        strings->used = 0;
    }
    char *place = strings->blocks[strings->n_blocks - 1] + strings->used;
    memcpy(place, text, n);
    strings->used += n;
    *out = place;
    return EMC_OK;
}

emc_status emc_dataset_word(emc_dataset_strings *strings, const char **out, const char *text)
{
    const size_t n = strlen(text);
    int32_t place;

    if (!strings->words)
        EMC_TRY(emc_str_map_open(&strings->words, 256));
    place = emc_str_map_get(strings->words, text, n, -1);
    if (place < 0) {
        EMC_TRY(emc_reserve(&strings->word, &strings->words_capacity, strings->n_words + 1,
                            sizeof(*strings->word), "names"));
        EMC_TRY(emc_dataset_keep(strings, &strings->word[strings->n_words], text));
        place = (int32_t)strings->n_words;
        EMC_TRY(emc_str_map_put(strings->words, text, n, place, NULL));
        strings->n_words++;
    }
    *out = strings->word[place];
    return EMC_OK;
}

emc_status emc_dataset_check_cancel(const emc_dataset *dataset)
{
    if (dataset->options.cancel && *dataset->options.cancel)
        return emc_fail(EMC_ERR_CANCELLED, "stopped");
    return EMC_OK;
}

/* The empty class: a recipe that lists labels of its own says which there are. */
static emc_status check_labels(const emc_dataset *d)
{
    const int n_labels = emc_labels_count(d->labels);
    int64_t *counts;
    emc_status status = EMC_OK;

    EMC_TRY(emc_alloc(&counts, (size_t)n_labels, sizeof(*counts), "labels"));
    for (size_t i = 0; i < d->n_cells; i++)
        if (d->cells[i].label >= 0)
            counts[d->cells[i].label]++;
    for (int i = 0; status == EMC_OK && d->info->n_labels > 0 && i < n_labels; i++)
        if (counts[i] == 0)
            status = emc_fail(EMC_ERR_CONFIG, "recipe %s: its label \"%s\" has no cell in %s%s",
                              d->info->name, emc_labels_get(d->labels, i)->label, d->inputs[0].path,
                              d->n_inputs > 1 ? " and the other inputs" : "");
    free(counts);
    return status;
}

static int most_genes(const emc_dataset *d)
{
    const emc_recipe_examples *examples = &d->info->examples;
    int most = d->options.max_genes;

    for (int i = 0; d->options.max_genes <= 0 && i < examples->n_n_genes; i++)
        if (examples->n_genes[i] > most)
            most = examples->n_genes[i];
    return most > 0 ? most : emc_profile_get(d->profile)->n_genes;
}

static emc_status open_dataset(emc_dataset *d)
{
    EMC_TRY(emc_labels_from_profile(&d->labels, d->profile));
    EMC_TRY(emc_alloc(&d->inputs, (size_t)d->info->n_inputs, sizeof(*d->inputs), "inputs"));
    for (d->n_inputs = 0; d->n_inputs < d->info->n_inputs;) {
        d->n_inputs++;
        EMC_TRY(emc_dataset_read_input(d, d->n_inputs - 1));
    }
    if (d->n_cells == 0)
        return emc_fail(EMC_ERR_CONFIG, "recipe %s: no cell is left in %s%s", d->info->name,
                        d->inputs[0].path, d->n_inputs > 1 ? " and the other inputs" : "");
    EMC_TRY(check_labels(d));
    EMC_TRY(emc_dataset_find_twins(d));
    EMC_TRY(emc_split_assign(d->cells, (int64_t)d->n_cells, &d->info->split,
                             emc_labels_count(d->labels), d->info->seed, d->info->name));
    const emc_status status =
        emc_split_check(d->cells, d->hashes, (int64_t)d->n_cells, d->info->split.by);
    return status == EMC_OK ? EMC_OK : emc_fail_in(status, "recipe %s", d->info->name);
}

emc_status emc_dataset_open(emc_dataset **out, const emc_recipe *recipe,
                            const emc_dataset_options *options)
{
    emc_dataset *dataset;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&dataset, 1, sizeof(*dataset), "dataset"));
    dataset->recipe = recipe;
    dataset->info = emc_recipe_get(recipe);
    dataset->profile = emc_recipe_profile(recipe);
    if (options)
        dataset->options = *options;
    dataset->max_genes = most_genes(dataset);
    status = open_dataset(dataset);
    dataset->is_open = true;
    if (status != EMC_OK)
        emc_dataset_close(dataset);
    else
        *out = dataset;
    return status;
}

void emc_dataset_close(emc_dataset *dataset)
{
    if (!dataset)
        return;
    emc_labels_close(dataset->labels);
    emc_dataset_strings_free(&dataset->strings);
    free(dataset->inputs);
    free(dataset->cells);
    free(dataset->hashes);
    free(dataset);
}

const emc_recipe_info *emc_dataset_recipe(const emc_dataset *dataset)
{
    return dataset->info;
}

const emc_profile *emc_dataset_profile(const emc_dataset *dataset)
{
    return dataset->profile;
}

const emc_labels *emc_dataset_labels(const emc_dataset *dataset)
{
    return dataset->labels;
}

int64_t emc_dataset_count(const emc_dataset *dataset)
{
    return (int64_t)dataset->n_cells;
}

const emc_dataset_cell *emc_dataset_get(const emc_dataset *dataset, int64_t index)
{
    return &dataset->cells[index];
}

int emc_dataset_n_inputs(const emc_dataset *dataset)
{
    return dataset->n_inputs;
}

const emc_dataset_input *emc_dataset_get_input(const emc_dataset *dataset, int index)
{
    return &dataset->inputs[index];
}

/* The second pass. */
typedef struct {
    emc_dataset *dataset;
    emc_status (*each)(void *context, const emc_dataset_genes *genes);
    void *context;
    const char **genes;
    int64_t next; /* cell */
} pass;

static emc_status check_same(const pass *p, const emc_input *input, const emc_input_cell *cell)
{
    const emc_dataset_cell *known = &p->dataset->cells[p->next];
    emc_hash hash;

    if (cell->status == EMC_CELL_OK && strcmp(cell->cell_id, known->cell_id) == 0) {
        hash = emc_dataset_hash(input, &cell->ranked);
        if (emc_hash_equal(&hash, &p->dataset->hashes[p->next]))
            return EMC_OK;
    }
    return emc_fail(EMC_ERR_FORMAT, "%s: cell \"%s\" changed while the dataset was made",
                    p->dataset->inputs[known->input].path, known->cell_id);
}

static emc_status hand_out(pass *p, const emc_input *input, const emc_input_cell *cell)
{
    const emc_genes *names = emc_input_genes(input);
    const int most = p->dataset->max_genes;
    emc_dataset_genes genes = {
        .cell = &p->dataset->cells[p->next],
        .genes = p->genes,
        .values = cell->ranked.values,
        .n_genes = cell->ranked.n_top < most ? cell->ranked.n_top : most,
        .total = cell->ranked.total,
    };

    EMC_TRY(check_same(p, input, cell));
    for (int i = 0; i < genes.n_genes; i++)
        p->genes[i] = emc_genes_name(names, cell->ranked.genes[i]);
    p->next++;
    return p->each(p->context, &genes);
}

static emc_status read_again(pass *p, emc_input *input, int index)
{
    emc_dataset *d = p->dataset;
    const int64_t n = (int64_t)d->n_cells;
    emc_input_cell cell;
    bool more = true;

    while (p->next < n && d->cells[p->next].input == index) {
        EMC_TRY(emc_dataset_check_cancel(d));
        EMC_TRY(emc_input_next(input, &cell, &more));
        if (!more || cell.row > d->cells[p->next].row)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: changed while the dataset was made: cell \"%s\" "
                            "is not there any more",
                            d->inputs[index].path, d->cells[p->next].cell_id);
        if (cell.row < d->cells[p->next].row)
            continue;
        EMC_TRY(hand_out(p, input, &cell));
        if (d->options.on_progress && (p->next % 1024 == 0 || p->next == n))
            d->options.on_progress(d->options.context, p->next, n);
    }
    return EMC_OK;
}

emc_status emc_dataset_each(emc_dataset *dataset,
                            emc_status (*each)(void *context, const emc_dataset_genes *genes),
                            void *context)
{
    pass p = {.dataset = dataset, .each = each, .context = context};
    emc_status status = emc_alloc(&p.genes, (size_t)dataset->max_genes, sizeof(*p.genes), "genes");

    for (int i = 0; status == EMC_OK && i < dataset->n_inputs; i++) {
        emc_input *input = NULL;
        if (dataset->inputs[i].n_kept == 0)
            continue;
        status = emc_dataset_input_open(&input, dataset, i, NULL, 0);
        if (status == EMC_OK)
            status = read_again(&p, input, i);
        emc_input_close(input);
    }
    free(p.genes);
    return status;
}
