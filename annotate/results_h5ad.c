/* Which columns does a run add to an .h5ad? */
#include "annotate/results_parts.h"

emc_status results_h5ad_check(const emc_results_options *options, const emc_results_run *run)
{
    (void)run;
    return emc_fail(EMC_ERR_USAGE, "%s: this build writes tables only", options->output_path);
}

emc_status results_h5ad_open(results_h5ad **out, const emc_results_options *options,
                             const emc_results_run *run, const results_survey *survey)
{
    (void)survey;
    *out = NULL;
    return results_h5ad_check(options, run);
}

void results_h5ad_close(results_h5ad *h5ad)
{
    (void)h5ad;
}

emc_status results_h5ad_add(results_h5ad *h5ad, const emc_result_row *row)
{
    (void)h5ad;
    (void)row;
    return EMC_OK;
}

emc_status results_h5ad_commit(results_h5ad *h5ad)
{
    (void)h5ad;
    return EMC_OK;
}
