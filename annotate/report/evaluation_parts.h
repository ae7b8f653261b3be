#pragma once
/* The parts of an evaluation's page that stand in files of their own. */

#include "annotate/report/chart.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All about one system; is_open: unfolded when the page opens. labels: those of the evaluation. */
void report_system(page *p, const cJSON *system, const cJSON *labels, bool is_open);

#ifdef __cplusplus
}
#endif
