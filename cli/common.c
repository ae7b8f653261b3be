#include "cli/common.h"

#include <stdlib.h>
#include <string.h>

#include "loader/hub.h"

bool cli_transpose(const char *command, const char *text, int *out)
{
    static const char *const names[] = {"auto", "no", "yes"}; /* in the order of the codes */

    *out = 0;
    for (int i = 0; text && i < (int)EMC_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    if (text)
        cli_usage(command, "--transpose: \"%s\" is not auto, yes or no", text);
    return !text;
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
