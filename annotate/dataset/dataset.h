#pragma once
/*
 * The labelled cells of a recipe's files: which there are, which part of the split each belongs to,
 * and their ranked genes, one after the other.
 *
 * Files are read twice: once for labels, duplicates and the split, of which a small record a cell
 * stays in memory; then again for the genes, so memory does not grow with genes or values.
 */

#include <signal.h>
#include <stdint.h>

#include "annotate/dataset/recipe.h"
#include "annotate/labels.h"
#include "base/hash.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_dataset emc_dataset;

/* One cell that is kept. Strings belong to the dataset. */
typedef struct {
    int64_t index; /* among the kept ones, in the order of inputs and rows */
    int input;     /* of the recipe */
    int64_t row;   /* in that file */
    const char *cell_id;
    int label;                /* of the label set; EMC_LABEL_UNKNOWN */
    const char *source_label; /* as the file writes it */
    /* NULL where the recipe has none or the value is missing. */
    const char *embryo, *dataset, *stage;
    emc_part_of_split part;
    int64_t twin; /* the first kept cell that is the same (id and dataset, where it has one, or
                     expression: the names and float32 values of the 1,000 best genes, and how many
                     could be listed); its own index otherwise. Twins are in one part, and all but
                     the first are left out of the examples */
} emc_dataset_cell;

typedef struct {
    const char *version;
    int max_genes; /* that emc_dataset_each lists; 0: the most the recipe asks for */
    int n_threads; /* 0: one a core this process may use */
    void (*on_log)(void *context, const char *line);
    /* Cells of the input that is read while the dataset is opened; then cells that are handed out.
     */
    void (*on_progress)(void *context, int64_t n_done, int64_t n_total);
    void *context;
    const volatile sig_atomic_t *cancel; /* may be NULL */
} emc_dataset_options;

/*
 * Reads every file once and splits. The recipe must outlive the dataset. EMC_ERR_CONFIG, one line
 * each, that names the file: a column that is not there, a source label that no map lists, a label
 * that is not in the set, a label of the set without a cell where the recipe lists labels of its
 * own, no embryo where the split is by embryo, one embryo only (a split by embryo needs two), an id
 * twice in one file, a split that leaves a part with a share empty. Errors of the files as they
 * are.
 */
emc_status emc_dataset_open(emc_dataset **out, const emc_recipe *recipe,
                            const emc_dataset_options *options);
void emc_dataset_close(emc_dataset *dataset); /* NULL is fine */

const emc_recipe_info *emc_dataset_recipe(const emc_dataset *dataset);
const emc_profile *emc_dataset_profile(const emc_dataset *dataset);
const emc_labels *emc_dataset_labels(const emc_dataset *dataset);
int64_t emc_dataset_count(const emc_dataset *dataset);
const emc_dataset_cell *emc_dataset_get(const emc_dataset *dataset, int64_t index);

/* What was left out of an input, and why; for the card. */
typedef struct {
    const char *path, *dataset; /* dataset: its name, or "" where a column gives it */
    emc_hash hash;              /* emc_fingerprint of the file */
    int64_t n_cells;            /* chosen by filters */
    int64_t n_kept;
    int64_t n_dropped;    /* by the label map */
    int64_t n_unlabelled; /* without a value */
    int64_t n_poor;       /* too few genes, empty or failed */
    int64_t n_twins;      /* of n_kept: the same as an earlier cell */
    const char *table;    /* the path of its table of columns; NULL: it has none */
    emc_hash table_hash;
} emc_dataset_input;
int emc_dataset_n_inputs(const emc_dataset *dataset);
const emc_dataset_input *emc_dataset_get_input(const emc_dataset *dataset, int index);

/* A cell's genes, best first, by name, with the values they were ranked by; total over all its
 * genes. Borrowed for the call. */
typedef struct {
    const emc_dataset_cell *cell;
    const char *const *genes;
    const double *values;
    int n_genes;
    double total;
} emc_dataset_genes;

/* Reads the files again and calls each for every kept cell in order of index, on the thread of the
 * call; stops at its first failure, whose status is returned. EMC_ERR_FORMAT: a file changed. */
emc_status emc_dataset_each(emc_dataset *dataset,
                            emc_status (*each)(void *context, const emc_dataset_genes *genes),
                            void *context);

/*
 * Does anything that should be on one side of the split stand on two? Looks at embryos (within a
 * dataset; where the split is not by cell), datasets or stages where the split is by them, cells of
 * the same id and dataset, and cells of the same expression. EMC_ERR_CONFIG names the first and
 * counts them all. emc_dataset_open has called it; it takes the cells as an array so that any split
 * can be checked: hashes [n] of the expression, in the order of cells.
 */
emc_status emc_split_check(const emc_dataset_cell *cells, const emc_hash *hashes, int64_t n,
                           emc_split_by by);

#ifdef __cplusplus
}
#endif
