#pragma once
/*
 * Which annotated files make a set of examples, and what becomes of their labels? A recipe is a
 * JSON file; every key has its place in one of the built-in recipes.
 *
 * docs/dataset.md has the keys. Paths in a recipe are relative to the recipe's folder, or to a
 * folder that the caller gives.
 */

#include <stddef.h>
#include <stdint.h>

#include "annotate/profile.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_recipe emc_recipe;

#define EMC_LABEL_DROPPED (-1) /* cells of this source label are left out, and counted */
#define EMC_LABEL_UNKNOWN (-2) /* kept as cells whose answer is "unknown" */

/* Where a value of every cell comes from: a column of the input's table where that has it, else of
 * obs, or one word for all. At most one of column and value is given. An empty value is missing, as
 * are NA and NaN in a table. */
typedef struct {
    const char *column; /* NULL: not from a column */
    const char *value;  /* NULL: not one word */
} emc_recipe_value;

/* From the labels of a source to those of the label set. The first entry that fits decides. */
typedef struct {
    const char *source; /* as the file writes it; compared byte for byte */
    const char *stage;  /* it holds for cells of this stage alone; NULL: for all */
    const char *label;  /* of the label set; NULL: dropped; "unknown" */
    const char *note;   /* why, or "" */
} emc_label_map_entry;

typedef struct {
    const char *name;  /* "petropoulos2016-meistermann"; "" where the recipe has it inline */
    const char *paper; /* which the labels follow */
    const char *source;
    const emc_label_map_entry *entries;
    int n_entries;
    bool drop_unlisted; /* a source label that is not listed is dropped; else it is an error */
} emc_label_map;

typedef struct {
    const char *path; /* as written */
    emc_recipe_value label, embryo, dataset, stage;
    const char *table;    /* of further columns, joined by cell id: CSV or TSV, .gz too; or NULL */
    const char *table_id; /* its column of cell ids */
    const char *count_unit; /* "UMI", "reads", "RPKM", "TPM", "log-normalised", ... for the card */
    const char *layer, *gene_symbols, *gene_table; /* as emc_input_options, or NULL */
    const char *const *obs_filters;
    int n_obs_filters;
    const emc_label_map *map;     /* NULL: the label set's own names and synonyms decide */
    const char *source, *licence; /* as given */
} emc_recipe_input;

typedef enum { EMC_SPLIT_EMBRYO, EMC_SPLIT_DATASET, EMC_SPLIT_STAGE, EMC_SPLIT_CELL } emc_split_by;

typedef enum { EMC_PART_TRAIN, EMC_PART_VALIDATION, EMC_PART_TEST } emc_part_of_split;
#define EMC_N_PARTS 3
const char *emc_part_name(emc_part_of_split part); /* "train", "validation", "test" */

typedef struct {
    emc_split_by by;
    double test, validation;     /* shares of the cells, 0 to 1; the sum below 1 */
    const char *const *hold_out; /* groups (of `by`) that are test whatever the shares */
    int n_hold_out;
    bool stratify; /* by label, as far as groups allow */
} emc_recipe_split;

/* What is asked of each cell, and how often. */
typedef struct {
    const int *n_genes; /* one of these a cell, drawn; empty: the profile's */
    int n_n_genes;
    int n_paraphrases;      /* of the profile's wordings, its own first; 1: its own alone */
    int per_cell;           /* examples of one cell, each drawn anew; 1 */
    double candidate_share; /* of examples that list candidates instead of all labels; 0 */
    int candidates_least, candidates_most; /* how many, the right one among them */
    bool stage;           /* {stage} of the wording is filled; off: it leaks the label */
    double unknown_share; /* of negative examples beside the others; 0 */
    int cap;              /* at most so many examples a label and part train; 0: all */
    bool weights;         /* a weight beside each example: n / (n_labels * n of the label) */
} emc_recipe_examples;

typedef struct {
    const char *name, *description, *source;
    const char *profile; /* built-in name or path */
    const char *folder;  /* that paths are relative to */
    const emc_recipe_input *inputs;
    int n_inputs;
    const emc_profile_label *labels; /* in place of the profile's; may be empty */
    int n_labels;
    emc_recipe_split split;
    emc_recipe_examples examples;
    uint64_t seed;
} emc_recipe_info;

/* Names of the built-in recipes and label maps; NULL past the last. Their JSON text. */
const char *emc_recipe_builtin(int index);
const char *emc_recipe_builtin_text(const char *name, size_t *n_bytes);
const char *emc_label_map_builtin(int index);
const char *emc_label_map_builtin_text(const char *name, size_t *n_bytes);

/*
 * Opens a built-in recipe by its name or a file by its path. input_dir: where the files of the
 * recipe lie; NULL: beside the recipe (the working folder for a built-in one).
 *
 * EMC_ERR_NOT_FOUND: neither. EMC_ERR_CONFIG, EMC_ERR_FORMAT: one line that names the file, the key
 * and what is wanted; unknown keys are refused by name.
 */
emc_status emc_recipe_open(emc_recipe **out, const char *name_or_path, const char *input_dir);
void emc_recipe_close(emc_recipe *recipe); /* NULL is fine */
const emc_recipe_info *emc_recipe_get(const emc_recipe *recipe);
/* The profile; with the recipe's labels, where it has any, in the place of its own. */
const emc_profile *emc_recipe_profile(const emc_recipe *recipe);
const char *emc_recipe_text(const emc_recipe *recipe, size_t *n_bytes);

#ifdef __cplusplus
}
#endif
