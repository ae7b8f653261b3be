/* emcell profile: list, show and check profiles. */
#include <stdio.h>
#include <string.h>

#include "annotate/labels.h"
#include "annotate/profile.h"
#include "cli/commands.h"
#include "cli/options.h"

static emc_status list(void)
{
    for (int i = 0; emc_profile_builtin(i); i++) {
        emc_profile *profile;
        EMC_TRY(emc_profile_open(&profile, emc_profile_builtin(i)));
        const emc_profile_info *info = emc_profile_get(profile);
        printf("%-10s %s\n", info->name, info->description);
        emc_profile_close(profile);
    }
    return EMC_OK;
}

static emc_status show(const char *name)
{
    emc_profile *profile;
    size_t n;

    EMC_TRY(emc_profile_open(&profile, name));
    const char *text = emc_profile_text(profile, &n);
    fwrite(text, 1, n, stdout);
    if (n == 0 || text[n - 1] != '\n')
        putchar('\n');
    emc_profile_close(profile);
    return EMC_OK;
}

static emc_status check(const char *name)
{
    emc_profile *profile = NULL;
    emc_labels *labels = NULL;
    emc_status status = emc_profile_open(&profile, name);

    if (status != EMC_OK)
        return status;
    const emc_profile_info *info = emc_profile_get(profile);
    if (info->n_labels > 0)
        status = emc_labels_from_profile(&labels, profile);
    if (status == EMC_OK)
        printf("%s: ok; messages: %d, genes: %d, labels: %d%s, thinking %s, answer %s%s%s\n",
               info->name, info->n_messages, info->n_genes, info->n_labels,
               info->n_labels ? "" : " (to be given by --labels)",
               emc_thinking_name(info->thinking), emc_answer_mode_name(info->answer),
               info->answer == EMC_ANSWER_GENERATE ? "" : ", scoring ",
               info->answer == EMC_ANSWER_GENERATE ? "" : emc_scoring_rule_name(info->scoring));
    emc_labels_close(labels);
    emc_profile_close(profile);
    return status;
}

int cli_profile(int argc, char **argv)
{
    const char *words[2] = {NULL, NULL};
    cli_config *config = NULL;
    emc_status status = EMC_OK;
    int exit_code;
    const cli_spec spec = {
        .name = "profile",
        .usage = "list | show NAME|FILE | check NAME|FILE",
        .summary = "Lists, shows and checks profiles: JSON files that say how a model is asked.",
        .epilogue = "emcell profile show embryo > mine.json gives a profile to start from.",
        .max_words = 2,
        .words = words,
    };

    if (cli_parse(&spec, argc, argv, &config, &exit_code)) {
        const char *verb = words[0] ? words[0] : "";
        if (strcmp(verb, "list") == 0 && !words[1])
            status = list();
        else if (strcmp(verb, "show") == 0 && words[1])
            status = show(words[1]);
        else if (strcmp(verb, "check") == 0 && words[1])
            status = check(words[1]);
        else
            status = emc_fail(EMC_ERR_USAGE, "usage: emcell profile %s", spec.usage);
        if (status == EMC_OK && fflush(stdout) != 0)
            status = emc_fail(EMC_ERR_IO, "standard output cannot be written");
        exit_code = status == EMC_OK ? 0 : cli_fail("profile", status);
    }
    cli_config_close(config);
    return exit_code;
}
