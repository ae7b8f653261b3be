/* emcell: finds the subcommand and hands it its arguments. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "cli/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
#ifndef EMCELL_ENGINE_ONLY
    {"annotate", cli_annotate, "name the cell type of every cell of a file"},
    {"status", cli_status, "how far a run is, who works on it, and what failed"},
    {"merge", cli_merge, "write the results of a run folder again, without a model"},
    {"dataset", cli_dataset, "make instruction data from annotated files"},
    {"benchmark", cli_benchmark, "make and check benchmarks for evaluate"},
    {"evaluate", cli_evaluate, "score models, endpoints and baselines on a benchmark"},
    {"report", cli_report, "one page about a run or an evaluation"},
    {"inspect", cli_inspect, "tell what a file holds and what would be made of it"},
    {"prompt", cli_prompt, "print what the model is asked about a cell, without a model"},
    {"profile", cli_profile, "list, show and check profiles: how a model is asked"},
    {"tokenize", cli_tokenize, "text to token ids and back, JSONL in and out"},
    {"slurm-template", cli_slurm_template, "a batch script for Slurm around an annotate command"},
#endif
    {"bench", cli_bench, "measure the engine with random prompts, without data or weights"},
    {"doctor", cli_doctor, "what this machine and this build offer"},
};

static void print_help(FILE *stream)
{
    fprintf(stream, "emcell names cell types with a language model: single-cell expression files "
                    "in, labels with probabilities out.\n\n"
                    "usage: emcell COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < EMC_COUNT(commands); i++)
        fprintf(stream, "  %-14s %s\n", commands[i].name, commands[i].summary);
    fprintf(stream,
            "\nemcell COMMAND --help lists a command's options. emcell --version.\n"
            "Exit codes: 0 done, 2 usage, 3 done but some cells failed, 65 bad input, "
            "66 input missing,\n69 no such device or not enough of its memory, 70 our own "
            "mistake, 71 no memory, 73 cannot create\nthe output, 74 read or write error, "
            "75 interrupted or the device failed underway: safe to resume, 78 settings that "
            "do not fit,\n130 and 143 interrupted with nothing to resume.\n"
            "For research use only; not for clinical use or the selection of embryos.\n");
}

/* A stream that the caller closed would lend its number to the next file that is opened, and
 * messages would end up in a result. Each is filled with what fails when it is used. */
static void fill_closed_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            return;
}

int main(int argc, char **argv)
{
    fill_closed_streams();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file size limit */
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return fflush(stdout) == 0 ? 0 : 74;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("emcell %s\n", EMCELL_VERSION);
        return fflush(stdout) == 0 ? 0 : 74;
    }
    for (size_t i = 0; i < EMC_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "emcell: no command \"%s\" (emcell --help lists them)\n", argv[1]);
    return 2;
}
