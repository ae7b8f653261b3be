#pragma once
/* The questions of a pass: the items as they are, or changed on purpose. */

#include "annotate/evaluate/evaluate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One pass over the items: plain, a level of a sweep, or a label held out. */
typedef struct {
    const char *kind; /* NULL: plain; emc_sweep_name; "open_set" */
    char level[96];   /* "50"; the label that is held out */
    emc_sweep sweep;
    double amount; /* genes; share left out; number of the order or the wording */
    int held_out;  /* a label; -1: none */
} eval_pass;

/* Zero-initialise; eval_questions_free. */
typedef struct {
    emc_question *questions;
    int n;
    const char **genes; /* behind changed questions */
    double *values;
    int *candidates;
} eval_questions;

void eval_questions_free(eval_questions *q);

/* The passes that the options ask for, for one kind of system ("csv" has the plain one alone).
 * Owned by the caller, free(). EMC_ERR_CONFIG: no such label to hold out. */
emc_status eval_passes(eval_pass **out, int *n, const emc_evaluate_options *options,
                       const char *system_kind, const int *items, int n_items);

/* What is drawn depends on the seed, the level and the item's id alone. */
emc_status eval_questions_make(eval_questions *out, const emc_evaluate_options *options,
                               const eval_pass *pass, const int *items, int n_items);

#ifdef __cplusplus
}
#endif
