/* emcell slurm-template: a batch script for Slurm around an annotate command, each line explained.
 * docs/cluster.md says what it is for; tests/cluster/ submits what is printed here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/options.h"

typedef struct {
    const char *name, *partition, *account, *time, *array;
    int n_nodes, n_gpus, n_cpus;
    char *command; /* as a shell takes it */
} job;

static const char head[] =
    "#!/bin/bash\n"
    "# Made by emcell slurm-template. Submit it: sbatch FILE. Look on: emcell status RUN_FOLDER.\n"
    "# Lines with #SBATCH are options of sbatch; the same option on its command line wins.\n"
    "\n";

static const char limits[] =
    "# The longest that one start of the job may take; what is left then, the next one does.\n"
    "#SBATCH --time=%s\n"
    "# Back to the queue when the job is preempted or the node of this script is lost,\n"
    "#SBATCH --requeue\n"
    "# and go on with the others when another node is lost.\n"
    "#SBATCH --no-kill\n"
    "# Two minutes before the time is over, tell the tasks. Each needs up to 20 s to finish the\n"
    "# cells in its model and ends with 75. Not B:USR1, which only this script would hear.\n"
    "#SBATCH --signal=USR1@120\n";

static const char body[] =
    "\n"
    "# How often a job that never gets done may start again.\n"
    "most_restarts=100\n"
    "\n"
    "# This script has to outlive its tasks, also when Slurm tells all of them to end.\n"
    "trap : TERM USR1\n"
    "\n"
    "# Tasks share the run folder and need nothing else of each other:\n"
    "#   --no-kill             the step, as the job, goes on when a node is lost\n"
    "#   --kill-on-bad-exit=0  when one dies, the others go on and take over its part\n"
    "#   --wait=0              when one has ended, the others have all the time they need\n"
    "#   --cpus-per-task       srun does not take it from the job by itself\n"
    "#   --resume              start the run, share it, or go on with it\n"
    "srun --no-kill --kill-on-bad-exit=0 --wait=0 --cpus-per-task=\"$SLURM_CPUS_PER_TASK\" \\\n"
    "    %s\n"
    "code=$?\n"
    "\n"
    "# 75: stopped, and can go on. 1: srun lost a task or a node. Above 128: a signal ended a "
    "task\n"
    "# or srun itself, as a preemption does. Any other code is final: done (0), done but some "
    "cells\n"
    "# failed (3), or a mistake that starting again would repeat.\n"
    "if [ $code -ne 75 ] && [ $code -ne 1 ] && [ $code -le 128 ]; then exit $code; fi\n"
    "# What Slurm has ended itself is not to come back against its will (scancel), or does so "
    "anyhow\n"
    "# (a preemption without grace time). 1, for a site may start again what ends with 75.\n"
    "case $(scontrol show job --oneliner \"$SLURM_JOB_ID\") in\n"
    "*JobState=RUNNING*) ;;\n"
    "*) exit 1 ;;\n"
    "esac\n"
    "if [ \"${SLURM_RESTART_COUNT:-0}\" -ge $most_restarts ]; then exit 1; fi\n"
    "\n"
    "# A script that has ended within the grace time of a preemption counts as done, and Slurm "
    "does\n"
    "# not start it again. So ask for that, and wait to be ended. Where users may not requeue, 75\n"
    "# does the same if the site has RequeueExit=75.\n"
    "scontrol requeue \"$SLURM_JOB_ID\" && sleep 300\n"
    "exit 75\n";

/* What an #SBATCH line can hold without quotes. */
static bool is_plain(const char *option, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./,:%@+";

    if (!text || text[strspn(text, plain)] == '\0')
        return true;
    cli_usage("slurm-template", "--%s: wanted letters, digits and -_./,:%%@+ alone", option);
    return false;
}

/* The first of the words that is `word` with or without a value in it; -1: there is none. */
static int find(int n, char **words, const char *word)
{
    const size_t length = strlen(word);

    for (int i = 0; i < n; i++)
        if (strncmp(words[i], word, length) == 0 &&
            (length == 2 || words[i][length] == '\0' || words[i][length] == '='))
            return i;
    return -1;
}

/* The words after "--": [PROGRAM...] annotate OPTION... False after printing. */
static bool check_command(int n, char **words)
{
    static const char *const needed[] = {"--input", "-i", "--model", "-m", "--output", "-o"};
    const int annotate = find(n, words, "annotate");
    char **options = words + annotate + 1;
    const int n_options = n - annotate - 1;
    int output;

    if (annotate < 0) {
        cli_usage("slurm-template", "what is to run is missing: wanted -- annotate --input FILE "
                                    "--model DIR --output FILE ...");
        return false;
    }
    if (find(n_options, options, "--config") < 0)
        for (size_t i = 0; i < EMC_COUNT(needed); i += 2)
            if (find(n_options, options, needed[i]) < 0 &&
                find(n_options, options, needed[i + 1]) < 0) {
                cli_usage("slurm-template", "annotate: %s is missing", needed[i]);
                return false;
            }
    if (find(n_options, options, "--force") >= 0) {
        cli_usage("slurm-template", "annotate --force would begin anew at each start of the job: "
                                    "leave it out, --resume is added");
        return false;
    }
    output = find(n_options, options, "--output");
    if (output < 0)
        output = find(n_options, options, "-o");
    if (output >= 0 && (strcmp(options[output], "--output=-") == 0 ||
                        (output + 1 < n_options && strcmp(options[output + 1], "-") == 0))) {
        cli_usage("slurm-template", "annotate --output -: each task would write all rows to the "
                                    "job's log: name a file");
        return false;
    }
    return true;
}

static emc_status write_command(job *j, int n, char **words)
{
    static const char own[] = "emcell ";
    char *line = NULL;
    emc_text text = {0};
    const bool is_own = strcmp(words[0], "annotate") == 0;
    const bool has_device = find(n, words, "--device") >= 0;
    emc_status status = cli_command_line(&line, n, words);

    if (status == EMC_OK) /* which begins with our name */
        status = emc_text_add_string(&text, is_own ? line : line + strlen(own));
    if (status == EMC_OK && j->n_gpus > 0 && !has_device)
        status = emc_text_add_string(&text, " --device cuda:all");
    if (status == EMC_OK && find(n, words, "--resume") < 0)
        status = emc_text_add_string(&text, " --resume");
    free(line);
    if (status == EMC_OK)
        j->command = text.bytes;
    else
        emc_text_free(&text);
    return status;
}

static void print_script(const job *j)
{
    fputs(head, stdout);
    printf("# What squeue calls it, and where it runs.\n"
           "#SBATCH --job-name=%s\n",
           j->name);
    if (j->partition)
        printf("#SBATCH --partition=%s\n", j->partition);
    if (j->account)
        printf("#SBATCH --account=%s\n", j->account);
    if (j->array)
        printf("# Jobs that begin when there is room for them, and share one run.\n"
               "#SBATCH --array=%s\n",
               j->array);
    printf("# Messages; %s the job's number. A job that starts again writes behind what is there.\n"
           "#SBATCH --output=%s-%s.log\n"
           "#SBATCH --open-mode=append\n",
           j->array ? "%A_%a is" : "%j is", j->name, j->array ? "%A_%a" : "%j");
    printf("# One task a node: one emcell uses all cores and GPUs that the job has there.\n"
           "#SBATCH --nodes=%d\n"
           "#SBATCH --ntasks-per-node=1\n"
           "#SBATCH --cpus-per-task=%d\n",
           j->n_nodes, j->n_cpus);
    if (j->n_gpus > 0)
        printf("#SBATCH --gpus-per-node=%d\n", j->n_gpus);
    printf(limits, j->time);
    printf(body, j->command);
}

int cli_slurm_template(int argc, char **argv)
{
    job j = {.name = "emcell", .time = "04:00:00", .n_nodes = 1, .n_cpus = 8};
    cli_config *config = NULL;
    int n_own = 1, exit_code;
    emc_status status;
    const cli_option options[] = {
        {CLI_COUNT, 'N', "nodes", "N", &j.n_nodes, "nodes, each with one task (1)"},
        {CLI_COUNT, 'G', "gpus-per-node", "N", &j.n_gpus,
         "GPUs of each node; --device cuda:all is added to the command where\n"
         "it names no device (default: none asked for)"},
        {CLI_COUNT, 0, "cpus-per-task", "N", &j.n_cpus, "cores of each node (8)"},
        {CLI_STRING, 't', "time", "LIMIT", &j.time, "as sbatch takes it (04:00:00)"},
        {CLI_STRING, 'p', "partition", "NAME", &j.partition, "default: the site's"},
        {CLI_STRING, 'A', "account", "NAME", &j.account, "default: yours"},
        {CLI_STRING, 'J', "job-name", "NAME", &j.name, "also of the log (emcell)"},
        {CLI_STRING, 'a', "array", "RANGE", &j.array,
         "as 0-7: as many jobs of their own, which share the run"},
    };
    const cli_spec spec = {
        .name = "slurm-template",
        .usage = "[OPTIONS] -- [PROGRAM...] annotate OPTION... > job.sh",
        .summary = "Prints a batch script for Slurm that survives preemption, time limits and lost "
                   "nodes.",
        .epilogue = "What stands after -- is what each node runs; without PROGRAM it is emcell. "
                    "--resume is added.\ndocs/cluster.md: running on a cluster.\n"
                    "Exit codes: 0, 2 usage, 74 standard output cannot be written.",
        .options = options,
        .n_options = EMC_COUNT(options),
    };

    while (n_own < argc && strcmp(argv[n_own], "--") != 0)
        n_own++;
    if (!cli_parse(&spec, n_own, argv, &config, &exit_code))
        goto done;
    exit_code = 2;
    if (!is_plain("job-name", j.name) || !is_plain("partition", j.partition) ||
        !is_plain("account", j.account) || !is_plain("time", j.time) ||
        !is_plain("array", j.array) ||
        !check_command(n_own < argc ? argc - n_own - 1 : 0, argv + n_own + 1))
        goto done;
    status = write_command(&j, argc - n_own - 1, argv + n_own + 1);
    if (status == EMC_OK) {
        print_script(&j);
        if (fflush(stdout) != 0)
            status = emc_fail(EMC_ERR_IO, "standard output cannot be written");
    }
    exit_code = status == EMC_OK ? 0 : cli_fail("slurm-template", status);

done:
    free(j.command);
    cli_config_close(config);
    return exit_code;
}
