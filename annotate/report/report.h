#pragma once
/*
 * One page that says what came out: of an evaluation folder (evaluation.json) or of a run folder
 * (its shards). One HTML file with inline SVG and style, no script, nothing fetched; light and
 * dark; readable at 360 px. All text from files is escaped.
 */

#include "annotate/run.h"
#include "base/status.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Text for HTML: & < > " ' are escaped, bytes that are not UTF-8 become U+FFFD, control characters
 * other than tab and line end too. */
emc_status emc_html_add(emc_text *out, const char *text, size_t n);

/* EMC_ERR_FORMAT: folder/evaluation.json is not one; the line names the key. */
emc_status emc_report_evaluation(const char *folder, const char *output_path);

typedef struct {
    const char *groupby; /* a column of obs: clusters against labels; NULL: none */
    int n_low;           /* cells of the low-confidence list; 0: 20 */
    bool force;          /* an existing page is replaced */
    void (*on_log)(void *context, const char *line);
    void *context;
    const volatile sig_atomic_t *cancel;
} emc_report_run_options;

/* Labels, quantiles of the probability, clusters by label, cells of low confidence, gene match,
 * cells/s over time. A run that is not finished gives a page of what is there and says so.
 * EMC_ERR_FORMAT, EMC_ERR_NOT_FOUND as emc_results_write. */
emc_status emc_report_run(const char *run_dir, const char *output_path,
                          const emc_report_run_options *options);

#ifdef __cplusplus
}
#endif
