#pragma once
/* The columns of a run's results, and how an answer fills them. */

#include "annotate/answer.h"
#include "annotate/labels.h"
#include "annotate/pipeline.h"
#include "annotate/run.h"
#include "base/status.h"
#include "cells/result.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_result_rows emc_result_rows;

/* Opens the result table and, where it is asked for, the table of probabilities. Labels are
 * borrowed. EMC_ERR_USAGE: an unknown format, or probabilities of
 * generated answers, which have none. Other errors as emc_table_open. */
emc_status emc_result_rows_open(emc_result_rows **out, const emc_annotate_options *options,
                                const emc_labels *labels, emc_answer_mode answer);
/* Removes what was not committed. */
void emc_result_rows_close(emc_result_rows *rows);

/* probs [n_labels] or NULL where there are none; raw_text is NULL unless something was generated.
 */
emc_status emc_result_rows_add(emc_result_rows *rows, const emc_item *item,
                               const emc_verdict *verdict, const double *probs,
                               const char *raw_text);

/* Gives the files their names. */
emc_status emc_result_rows_commit(emc_result_rows *rows);

/* Keeps the rows there are, under the files' names with EMC_INCOMPLETE after them. */
emc_status emc_result_rows_keep(emc_result_rows *rows);

#ifdef __cplusplus
}
#endif
