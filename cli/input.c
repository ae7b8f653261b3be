#include "cli/input.h"

#include <stdlib.h>

#include "cli/common.h"

bool cli_input(const char *command, cli_input_arguments *input)
{
    /* In the order of the codes in emc_input_options. */
    static const char *const transpose[] = {"auto", "no", "yes", NULL};
    static const char *const duplicates[] = {"auto", "refuse", "sum", NULL};

    if (!input->path) {
        cli_usage(command, "--input is missing");
        return false;
    }
    if (!input->options.scratch_dir)
        input->options.scratch_dir = getenv("TMPDIR");
    if (input->options.scratch_dir && !*input->options.scratch_dir)
        input->options.scratch_dir = NULL;
    input->options.obs_filters = input->obs_filters.values;
    input->options.n_obs_filters = input->obs_filters.n;
    input->options.sample = input->sample;
    input->options.seed = (uint64_t)input->seed;
    input->options.limit = input->limit;
    return cli_choice(command, "transpose", input->transpose, transpose,
                      &input->options.transpose) &&
           cli_choice(command, "duplicate-genes", input->duplicate_genes, duplicates,
                      &input->options.duplicate_genes);
}
