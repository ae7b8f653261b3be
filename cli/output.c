#include "cli/output.h"

#include "cli/common.h"

bool cli_output(const char *command, cli_output_arguments *output)
{
    /* In the order of emc_h5ad_kind. */
    static const char *const kinds[] = {"copy", "obs", "link", NULL};
    int kind = 0;

    if (!cli_choice(command, "h5ad", output->h5ad, kinds, &kind))
        return false;
    if (output->in_place && output->h5ad) {
        cli_usage(command, "--in-place and --h5ad exclude each other");
        return false;
    }
    output->options.h5ad = output->in_place ? EMC_H5AD_IN_PLACE : (emc_h5ad_kind)kind;
    return true;
}
