#include "cli/input.h"

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
    input->options.limit = input->limit;
    return cli_choice(command, "transpose", input->transpose, transpose,
                      &input->options.transpose) &&
           cli_choice(command, "duplicate-genes", input->duplicate_genes, duplicates,
                      &input->options.duplicate_genes);
}
