#pragma once
/* Inside dataset/: what a dataset is made of, and the steps of opening it. */

#include "annotate/dataset/dataset.h"
#include "annotate/input.h"
#include "base/str_map.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Expression is compared by so many genes; see emc_dataset_cell.twin. */
#define EMC_TWIN_GENES 1000

/* Strings that stay where they are. Zero-initialise. */
typedef struct {
    char **blocks;
    size_t n_blocks, capacity, used, room; /* of the last block */
    emc_str_map *words;                    /* to their number in word */
    const char **word;
    size_t n_words, words_capacity;
} emc_dataset_strings;
void emc_dataset_strings_free(emc_dataset_strings *strings);
emc_status emc_dataset_keep(emc_dataset_strings *strings, const char **out, const char *text);
/* The same pointer for the same text. */
emc_status emc_dataset_word(emc_dataset_strings *strings, const char **out, const char *text);

struct emc_dataset {
    const emc_recipe *recipe;
    const emc_recipe_info *info;
    const emc_profile *profile;
    emc_dataset_options options;
    int max_genes;
    bool is_open; /* the first pass is done */
    emc_labels *labels;
    emc_dataset_strings strings;
    emc_dataset_input *inputs;
    int n_inputs;
    emc_dataset_cell *cells;
    emc_hash *hashes; /* of the expression of each */
    size_t n_cells, cells_capacity, hashes_capacity;
};

/* A table of further columns, by cell id. */
typedef struct emc_dataset_table emc_dataset_table;
emc_status emc_dataset_table_open(emc_dataset_table **out, emc_dataset_strings *strings,
                                  const char *path, const char *id_column,
                                  const char *const *columns, int n_columns);
void emc_dataset_table_close(emc_dataset_table *table);
bool emc_dataset_table_has(const emc_dataset_table *table, int column);
/* False: no such cell. *value is NULL where missing. */
bool emc_dataset_table_get(const emc_dataset_table *table, const char *cell_id, int column,
                           const char **value);

/* The input's file opened as both passes read it; obs columns of the caller. */
emc_status emc_dataset_input_open(emc_input **out, emc_dataset *dataset, int input,
                                  const char *const *columns, int n_columns);
emc_hash emc_dataset_hash(const emc_input *input, const emc_ranked *ranked);
/* The first pass over one input. */
emc_status emc_dataset_read_input(emc_dataset *dataset, int input);
emc_status emc_dataset_check_cancel(const emc_dataset *dataset);

/* Fills twin of every cell and counts them. */
emc_status emc_dataset_find_twins(emc_dataset *dataset);
/* Fills part of every cell, whose twin is known. n_labels: of the label set. */
emc_status emc_split_assign(emc_dataset_cell *cells, int64_t n, const emc_recipe_split *split,
                            int n_labels, uint64_t seed, const char *name);

/* The group of a cell as bytes, appended to nothing: key is cleared before. False: it has none. */
emc_status emc_split_key(emc_text *key, bool *has, const emc_dataset_cell *cell, emc_split_by by);

#ifdef __cplusplus
}
#endif
