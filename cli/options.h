#pragma once
/*
 * One table of options a command: it parses the command line and a --config file, and prints the
 * help, so that the three cannot differ.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    CLI_FLAG,    /* bool *: set to true */
    CLI_UNFLAG,  /* bool *: set to false */
    CLI_STRING,  /* const char ** */
    CLI_LIST,    /* cli_list *: as often as it is given */
    CLI_COUNT,   /* int *, at least 1: k and K multiply by 1,000 and 1,024, as vLLM's do */
    CLI_WHOLE,   /* int64_t *, at least 0 */
    CLI_SHARE,   /* double *, 0 to 1 */
    CLI_HEADING, /* a line between groups of options in the help */
} cli_kind;

/* What an option was given each time. The command line's values replace a --config file's. */
#define CLI_LIST_MOST 32
typedef struct {
    const char *values[CLI_LIST_MOST];
    int n;
} cli_list;

typedef struct {
    cli_kind kind;
    char letter;       /* -x, or 0 */
    const char *name;  /* --name; of a heading: its text */
    const char *value; /* what the help calls the value; NULL for flags */
    void *target;
    const char *help;
} cli_option;

typedef struct {
    const char *name;     /* "annotate" */
    const char *usage;    /* after "emcell annotate " */
    const char *summary;  /* one line */
    const char *epilogue; /* examples and notes under the options, or NULL */
    const cli_option *options;
    size_t n_options;
    int max_words;      /* words that are no options; more are refused */
    const char **words; /* [max_words], filled; the rest is left as it was */
} cli_spec;

/* Text that a --config file's values live in; opened before the parse, closed after the run. */
typedef struct cli_config cli_config;
void cli_config_close(cli_config *config);

/*
 * Parses argv[1..]. Returns true when the command should go on; else *exit_code is what to end
 * with (0 after --help, 2 after a usage error, which is printed). Every command has --help, and
 * --config FILE with lines `name = value`; the command line comes over the file.
 */
bool cli_parse(const cli_spec *spec, int argc, char **argv, cli_config **config, int *exit_code);

/* Prints "emcell COMMAND: message" on standard error and gives the exit code for the status. */
int cli_fail(const char *command, emc_status status);

/* The same for a usage error, with a hint to --help. */
int cli_usage(const char *command, const char *format, ...) EMC_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
