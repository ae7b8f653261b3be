#pragma once
/* What a model says of each label, by whole prompts: prompt and label as one text, computed anew
 * for each label. Slow, and of nothing that answers are made with but the model's graph. */

#include "annotate/profile.h"

#define N_LABELS 27 /* of the profile embryo */

/* What is known of one label after a prompt. */
typedef struct {
    double first, joint; /* logs of the probability of its first token; of all */
    int n;
} label_logs;

#define N_NAIVE 3 /* asked cells that are computed so */

typedef struct {
    label_logs cells[N_NAIVE][N_LABELS], empty[N_LABELS];
    char cell_ids[N_NAIVE][64];
    int n;
} naive_answers;

/* Of the first n <= N_NAIVE cells of the file that are asked. */
void naive_make(naive_answers *answers, int n, const char *cells, const char *model_dir);

/* The score of a label by this rule. */
double naive_score(emc_scoring_rule rule, const label_logs *logs, double log_prior);
