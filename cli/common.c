#include "cli/common.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "loader/hub.h"

bool cli_choice(const char *command, const char *option, const char *text, const char *const *names,
                int *out)
{
    emc_text list = {0};

    *out = 0;
    if (!text)
        return true;
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            emc_text_free(&list);
            return true;
        }
        (void)emc_text_addf(&list, "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
    }
    cli_usage(command, "--%s: \"%s\" is not %s", option, text, list.bytes);
    emc_text_free(&list);
    return false;
}

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

emc_status cli_model_dir(char **out, const char *model)
{
    const emc_hub_dirs dirs = {
        .hub_cache = getenv("HF_HUB_CACHE"),
        .hf_home = getenv("HF_HOME"),
        .cache_home = getenv("XDG_CACHE_HOME"),
        .home = getenv("HOME"),
    };

    return emc_hub_resolve(out, model, &dirs);
}

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

const volatile sig_atomic_t *cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART; /* the second signal is deadly again */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return &caught;
}

int cli_interrupted(void)
{
    return caught ? 128 + (int)caught : 0;
}
