#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"

#define MAX_OPTIONS  128
#define CONFIG_LIMIT (1 << 20)
#define HELP_COLUMN  34

struct cli_config {
    char *text;
};

void cli_config_close(cli_config *config)
{
    if (!config)
        return;
    free(config->text);
    free(config);
}

int cli_fail(const char *command, emc_status status)
{
    fprintf(stderr, "emcell %s: %s\n", command, emc_message());
    return emc_status_exit_code(status);
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "emcell %s: ", command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (emcell %s --help lists the options)\n", command);
    return 2;
}

static bool has_value(const cli_option *option)
{
    return option->kind != CLI_FLAG && option->kind != CLI_UNFLAG && option->kind != CLI_HEADING;
}

static void print_help(const cli_spec *spec)
{
    printf("%s\n\nusage: emcell %s %s\n", spec->summary, spec->name, spec->usage);
    for (size_t i = 0; i < spec->n_options; i++) {
        const cli_option *option = &spec->options[i];
        char left[80];
        if (option->kind == CLI_HEADING) {
            printf("\n%s\n", option->name);
            continue;
        }
        snprintf(left, sizeof left, "  %c%c%s --%s%s%s", option->letter ? '-' : ' ',
                 option->letter ? option->letter : ' ', option->letter ? "," : " ", option->name,
                 option->value ? " " : "", option->value ? option->value : "");
        if (strlen(left) < HELP_COLUMN)
            printf("%-*s", HELP_COLUMN, left);
        else
            printf("%s\n%*s", left, HELP_COLUMN, "");
        /* A newline in the help goes on under its first line. */
        for (const char *p = option->help; *p; p++)
            if (*p == '\n')
                printf("\n%*s", HELP_COLUMN, "");
            else
                putchar(*p);
        putchar('\n');
    }
    printf("\n%-*s%s\n", HELP_COLUMN, "      --config FILE", "options as lines `name = value`");
    printf("%-*s%s\n", HELP_COLUMN, "  -h, --help", "this text");
    if (spec->epilogue)
        printf("\n%s\n", spec->epilogue);
}

/* "8448", "4k" (4000), "4K" (4096). */
static bool parse_count(int *out, const char *text)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || errno != 0)
        return false;
    if (*end == 'k' || *end == 'K') {
        if (value > INT_MAX || value < INT_MIN)
            return false;
        value *= *end++ == 'k' ? 1000 : 1024;
    }
    if (*end || value > INT_MAX || value < 1)
        return false;
    *out = (int)value;
    return true;
}

static bool parse_whole(int64_t *out, const char *text)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || *end || errno != 0 || value < 0)
        return false;
    *out = value;
    return true;
}

static bool add_value(const cli_spec *spec, const cli_option *option, const char *text,
                      const char *where)
{
    cli_list *list = option->target;

    if (!*text) {
        cli_usage(spec->name, "%s--%s: the value is empty", where, option->name);
        return false;
    }
    if (list->n == CLI_LIST_MOST) {
        cli_usage(spec->name, "%s--%s: given more than %d times", where, option->name,
                  CLI_LIST_MOST);
        return false;
    }
    list->values[list->n++] = text;
    return true;
}

/* Stores one value. False with a message for a value of the wrong kind; `where` begins it. */
static bool store(const cli_spec *spec, const cli_option *option, const char *text,
                  const char *where)
{
    char *end;
    double number;

    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->target = true;
        return true;
    case CLI_UNFLAG:
        *(bool *)option->target = false;
        return true;
    case CLI_STRING:
        *(const char **)option->target = text;
        if (*text)
            return true;
        cli_usage(spec->name, "%s--%s: the value is empty", where, option->name);
        return false;
    case CLI_LIST:
        return add_value(spec, option, text, where);
    case CLI_WHOLE:
        if (parse_whole(option->target, text))
            return true;
        cli_usage(spec->name, "%s--%s: \"%s\" is not a whole number from 0", where, option->name,
                  text);
        return false;
    case CLI_COUNT:
        if (parse_count(option->target, text))
            return true;
        cli_usage(spec->name, "%s--%s: \"%s\" is not a whole number from 1", where, option->name,
                  text);
        return false;
    case CLI_SHARE:
        number = strtod(text, &end);
        if (end != text && !*end && number >= 0 && number <= 1) {
            *(double *)option->target = number;
            return true;
        }
        cli_usage(spec->name, "%s--%s: \"%s\" is not a number from 0 to 1", where, option->name,
                  text);
        return false;
    default:
        return false;
    }
}

static const cli_option *find(const cli_spec *spec, const char *name, size_t n)
{
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i].kind != CLI_HEADING && strlen(spec->options[i].name) == n &&
            strncmp(spec->options[i].name, name, n) == 0)
            return &spec->options[i];
    return NULL;
}

/* The number of single-letter edits between two short words. */
static int edit_distance(const char *a, const char *b)
{
    int row[64];
    const int n = (int)strlen(b);

    if (n >= (int)EMC_COUNT(row))
        return INT_MAX;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            const int change = diagonal + (a[i - 1] != b[j - 1]);
            const int least = row[j - 1] < row[j] ? row[j - 1] + 1 : row[j] + 1;
            diagonal = row[j];
            row[j] = change < least ? change : least;
        }
    }
    return row[n];
}

static void unknown_option(const cli_spec *spec, const char *word)
{
    const char *nearest = NULL;
    int least = 4; /* further away is no likely typing error */
    char name[64];

    if (word[0] == '-' && word[1] != '-') {
        cli_usage(spec->name, "unknown option in %s", word);
        return;
    }

    while (*word == '-')
        word++;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    for (size_t i = 0; i < spec->n_options; i++) {
        const int distance = spec->options[i].kind == CLI_HEADING
                                 ? least
                                 : edit_distance(name, spec->options[i].name);
        if (distance < least) {
            least = distance;
            nearest = spec->options[i].name;
        }
    }
    if (nearest)
        cli_usage(spec->name, "unknown option --%s; did you mean --%s?", name, nearest);
    else
        cli_usage(spec->name, "unknown option --%s", name);
}

static char *trim(char *text)
{
    size_t n;

    while (*text == ' ' || *text == '\t')
        text++;
    n = strlen(text);
    while (n > 0 && strchr(" \t\r", text[n - 1]))
        text[--n] = '\0';
    return text;
}

/* Reads `name = value` lines; '#' begins a comment line. False after printing what is wrong. */
static bool read_config(const cli_spec *spec, const char *path, cli_config **out)
{
    cli_config *config = NULL;
    char where[512];
    int line = 0;

    if (emc_alloc(&config, 1, sizeof *config, "a config file") != EMC_OK ||
        emc_file_read(&config->text, NULL, path, CONFIG_LIMIT) != EMC_OK) {
        fprintf(stderr, "emcell %s: --config %s\n", spec->name, emc_message());
        cli_config_close(config);
        return false;
    }
    *out = config;
    for (char *next = config->text; next;) {
        char *text = next, *equals;
        const cli_option *option;
        next = strchr(text, '\n');
        if (next)
            *next++ = '\0';
        line++;
        text = trim(text);
        if (!*text || *text == '#')
            continue;
        equals = strchr(text, '=');
        if (equals)
            *equals = '\0';
        option = find(spec, trim(text), strlen(trim(text)));
        if (!option || (has_value(option) && !equals)) {
            cli_usage(spec->name, "%s: line %d: %s \"%s\"", path, line,
                      option ? "no value for" : "unknown option", trim(text));
            return false;
        }
        if (!has_value(option) && equals && strcmp(trim(equals + 1), "true") != 0) {
            if (strcmp(trim(equals + 1), "false") == 0)
                continue;
            cli_usage(spec->name, "%s: line %d: \"%s\" is true or false", path, line, text);
            return false;
        }
        snprintf(where, sizeof where, "%s: line %d: ", path, line);
        if (!store(spec, option, equals ? trim(equals + 1) : NULL, where))
            return false;
    }
    return true;
}

/* The tables that getopt_long wants. Codes: the option's index + 256; 'h' and 'c' for our own. */
static void make_tables(const cli_spec *spec, struct option *longs, char *shorts)
{
    size_t n = 0;

    *shorts++ = ':'; /* a missing value is told apart from an unknown option */
    *shorts++ = 'h';
    for (size_t i = 0; i < spec->n_options; i++) {
        const cli_option *option = &spec->options[i];
        if (option->kind == CLI_HEADING)
            continue;
        longs[n++] = (struct option){
            option->name, has_value(option) ? required_argument : no_argument, NULL, (int)i + 256};
        if (option->letter) {
            *shorts++ = option->letter;
            if (has_value(option))
                *shorts++ = ':';
        }
    }
    *shorts = '\0';
    longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
    longs[n++] = (struct option){"config", required_argument, NULL, 'c' + 128};
    longs[n] = (struct option){0};
}

static const cli_option *by_code(const cli_spec *spec, int code)
{
    if (code >= 256)
        return &spec->options[code - 256];
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i].kind != CLI_HEADING && spec->options[i].letter == code)
            return &spec->options[i];
    return NULL;
}

bool cli_parse(const cli_spec *spec, int argc, char **argv, cli_config **config, int *exit_code)
{
    struct option longs[MAX_OPTIONS + 3];
    char shorts[2 * MAX_OPTIONS + 3];
    bool seen[MAX_OPTIONS] = {false};
    int code, n_words = 0;

    *config = NULL;
    *exit_code = 2;
    if (spec->n_options > MAX_OPTIONS)
        return false;
    make_tables(spec, longs, shorts);
    opterr = 0;
    /* The config file first, wherever it stands: the command line comes over it. */
    for (int pass = 0; pass < 2; pass++) {
        optind = 0; /* glibc: start over */
        while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
            const cli_option *option;
            if (code == 'h') {
                print_help(spec);
                *exit_code = 0;
                return false;
            }
            if (code == 'c' + 128) {
                if (pass == 0 && !*config && !read_config(spec, optarg, config))
                    return false;
                continue;
            }
            if (code == '?' || code == ':') {
                if (code == ':')
                    cli_usage(spec->name, "%s: the value is missing", argv[optind - 1]);
                else if (optopt && by_code(spec, optopt) && !has_value(by_code(spec, optopt)))
                    cli_usage(spec->name, "%s: takes no value", argv[optind - 1]);
                else
                    unknown_option(spec, argv[optind - 1]);
                return false;
            }
            option = by_code(spec, code);
            if (pass == 0 || !option)
                continue;
            const bool is_first = !seen[option - spec->options];
            if (option->kind == CLI_LIST && is_first)
                ((cli_list *)option->target)->n = 0; /* what a config file gave */
            if (has_value(option) && option->kind != CLI_LIST && !is_first) {
                cli_usage(spec->name, "--%s is given twice", option->name);
                return false;
            }
            seen[option - spec->options] = true;
            if (!store(spec, option, optarg, ""))
                return false;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (n_words == spec->max_words) {
            cli_usage(spec->name, "what is \"%s\"?", argv[i]);
            return false;
        }
        spec->words[n_words++] = argv[i];
    }
    return true;
}
