#include "cli/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "kernels/cuda.h"
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

bool cli_memory_share(const char *command, double *share)
{
    if (*share == 0) {
        cli_usage(command, "--gpu-memory-utilization: 0 leaves no memory, wanted more, up to 1");
        return false;
    }
    if (*share == CLI_NO_SHARE)
        *share = 0;
    return true;
}

emc_status cli_command_line(char **out, int argc, char **argv)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./,:=+@%";
    emc_text text = {0};
    emc_status status = emc_text_add_string(&text, "emcell");

    *out = NULL;
    for (int i = 0; i < argc && status == EMC_OK; i++) {
        const char *word = argv[i];
        const bool quoted = !*word || word[strspn(word, plain)] != '\0';
        status = emc_text_add_string(&text, quoted ? " '" : " ");
        for (; *word && status == EMC_OK; word++)
            status =
                *word == '\'' ? emc_text_add_string(&text, "'\\''") : emc_text_add(&text, word, 1);
        if (status == EMC_OK && quoted)
            status = emc_text_add_string(&text, "'");
    }
    if (status == EMC_OK)
        *out = text.bytes;
    else
        emc_text_free(&text);
    return status;
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

/* As the XDG base directory specification has it: only an absolute path counts. */
static emc_status cache_folder(char **out)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *parent = NULL;
    emc_status status;

    *out = NULL;
    if (cache && cache[0] == '/')
        return emc_path_join(out, cache, "emcell");
    if (!home || home[0] != '/')
        return EMC_OK;
    EMC_TRY(emc_path_join(&parent, home, ".cache"));
    (void)mkdir(parent, 0700);
    status = emc_path_join(out, parent, "emcell");
    free(parent);
    return status;
}

emc_status cli_choices_path(char **out, const char *device)
{
    emc_cuda_system system;
    char *folder = NULL;
    emc_status status;

    *out = NULL;
    if (device && strcmp(device, "cpu") == 0)
        return EMC_OK;
    emc_cuda_describe_system(&system);
    if (system.n_gpus == 0)
        return EMC_OK;
    EMC_TRY(cache_folder(&folder));
    if (!folder)
        return EMC_OK;
    (void)mkdir(folder, 0700);
    status = emc_is_directory(folder) ? emc_path_join(out, folder, "cuda-products.json") : EMC_OK;
    free(folder);
    return status;
}

uint64_t cli_hash(const char *text)
{
    uint64_t hash = 0xCBF29CE484222325u;

    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        hash = (hash ^ *p) * 0x100000001B3u;
    return hash;
}

void cli_log_device(cli_log *log, const char *device, const char *reason)
{
    char line[512];

    snprintf(line, sizeof line, "device: %s%s%s", device, reason && *reason ? "; " : "",
             reason ? reason : "");
    cli_log_info(log, line);
}

void cli_log_memory_plan(cli_log *log, const emc_memory_plan *plan)
{
    char line[512];

    if (plan->device_whole == 0)
        return;
    snprintf(line, sizeof line,
             "GPU memory: weights %.2f GB, activations %.2f GB, steps %.2f GB, %d pages %.2f GB; "
             "%.2f of %.2f GB were free",
             1e-9 * (double)plan->weights, 1e-9 * (double)plan->activations,
             1e-9 * (double)plan->steps, plan->n_pages, 1e-9 * (double)plan->pages,
             1e-9 * (double)plan->device_free, 1e-9 * (double)plan->device_whole);
    cli_log_info(log, line);
}

static volatile sig_atomic_t caught;

/* The second one means it. */
static void on_signal(int number)
{
    if (caught == SIGINT || caught == SIGTERM)
        _exit(128 + number);
    caught = number;
}

/* A scheduler's warning that the time is nearly up. */
static void on_warning(int number)
{
    if (!caught)
        caught = number;
}

static void catch_signal(int number, void (*handler)(int number))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

const volatile sig_atomic_t *cli_catch_signals(void)
{
    catch_signal(SIGINT, on_signal);
    catch_signal(SIGTERM, on_signal);
    return &caught;
}

void cli_catch_warning(void)
{
    catch_signal(SIGUSR1, on_warning);
}

int cli_interrupted(void)
{
    return caught ? 128 + (int)caught : 0;
}
