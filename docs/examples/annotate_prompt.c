/*
 * Which of a few answers does a model give to one prompt? A whole program that uses emcell as a
 * library; docs/library.md says how to build it.
 *
 *   annotate_prompt MODEL PROMPT CHOICES [DEVICE]
 *
 *   MODEL    a checkpoint folder
 *   PROMPT   a file of token ids, as `emcell prompt` prints them
 *   CHOICES  a file with an answer on each line: its name, a colon, its token ids, the one that
 *            ends an answer included
 *   DEVICE   cpu, cuda, cuda:N or auto
 *
 * Prints each answer with its probability among these.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/emcell.h"

#define MAX_IDS     65536
#define MAX_CHOICES 1024
#define MAX_LINE    4096

typedef struct {
    int32_t ids[MAX_IDS];
    int n;
} id_list;

typedef struct {
    char names[MAX_CHOICES][64];
    id_list ids;                    /* of all choices, one after the other */
    int32_t begin[MAX_CHOICES + 1]; /* choice c: from begin[c] to below begin[c + 1] */
    int n;
} choice_list;

/* Adds the ids of one line. */
static int add_ids(id_list *out, const char *line)
{
    char *end;

    for (;;) {
        const long id = strtol(line, &end, 10);

        if (end == line)
            return line[strspn(line, " \t\r\n")] == '\0' ? 0 : -1;
        if (out->n == MAX_IDS || id < 0 || id > INT32_MAX)
            return -1;
        out->ids[out->n++] = (int32_t)id;
        line = end;
    }
}

static int read_prompt(id_list *out, const char *path)
{
    char line[MAX_LINE];
    FILE *file = fopen(path, "r");
    int result = file ? 0 : -1;

    while (result == 0 && fgets(line, sizeof line, file))
        result = add_ids(out, line);
    if (file)
        fclose(file);
    return result;
}

static int read_choices(choice_list *out, const char *path)
{
    char line[MAX_LINE];
    FILE *file = fopen(path, "r");
    int result = file ? 0 : -1;

    while (result == 0 && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');

        if (!colon || out->n == MAX_CHOICES) {
            result = -1;
            break;
        }
        *colon = '\0';
        snprintf(out->names[out->n], sizeof out->names[out->n], "%.63s", line);
        result = add_ids(&out->ids, colon + 1);
        out->begin[++out->n] = out->ids.n;
    }
    if (file)
        fclose(file);
    return result;
}

/* log_probs are over everything that the model could say: here is each answer's share. */
static void print_answer(const emc_answer *answer, const choice_list *choices)
{
    double most = -INFINITY, sum = 0;

    for (int c = 0; c < choices->n; c++)
        most = fmax(most, answer->log_probs[c]);
    for (int c = 0; c < choices->n; c++)
        sum += exp(answer->log_probs[c] - most);
    for (int c = 0; c < choices->n; c++)
        printf("%s: %.1f %%\n", choices->names[c], 100 * exp(answer->log_probs[c] - most) / sum);
}

/* Submits one prompt and waits. A program with many would submit until the engine is full, and
 * poll while it is. */
static emc_status ask(emc_engine *engine, const id_list *prompt, const choice_list *choices)
{
    const emc_request request = {
        .ticket = 1, .ids = prompt->ids, .n_ids = prompt->n, .ask = EMC_ASK_CHOICES};
    emc_answer answer;
    emc_status status;
    bool got;

    status = emc_engine_set_choices(engine, choices->ids.ids, choices->begin, choices->n);
    if (status == EMC_OK)
        status = emc_engine_submit(engine, &request);
    if (status == EMC_OK)
        status = emc_engine_poll(engine, &answer, &got);
    if (status == EMC_OK && !answer.finite)
        fprintf(stderr, "the model gave no numbers\n");
    else if (status == EMC_OK)
        print_answer(&answer, choices);
    return status;
}

int main(int argc, char **argv)
{
    static id_list prompt;
    static choice_list choices;
    emc_model_options options = {0};
    emc_engine *engine = NULL;
    emc_model *model = NULL;
    emc_status status;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: annotate_prompt MODEL PROMPT CHOICES [DEVICE]\n");
        return 2;
    }
    if (read_prompt(&prompt, argv[2]) != 0 || read_choices(&choices, argv[3]) != 0) {
        fprintf(stderr, "%s or %s cannot be read\n", argv[2], argv[3]);
        return 1;
    }
    options.model_dir = argv[1];
    options.device = argc == 5 ? argv[4] : NULL;
    status = emc_model_open(&model, &options);
    if (status == EMC_OK)
        status = emc_engine_open(&engine, model, NULL);
    if (status == EMC_OK)
        status = ask(engine, &prompt, &choices);
    if (status != EMC_OK)
        fprintf(stderr, "%s\n", emc_message());
    emc_engine_close(engine);
    emc_model_close(model);
    return emc_status_exit_code(status);
}
