/* emcell tokenize: JSONL on standard input, JSONL on standard output, so that anyone can compare
 * our tokens with any other tokenizer's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/options.h"
#include "tokenizer/jsonl.h"

/* A line that cannot be done becomes {"error": ...}, so that lines in and out stay in step. */
static emc_status one_line(const emc_tokenizer *tok, const char *line, size_t n, unsigned flags,
                           long number, emc_text *out, long *n_failed)
{
    char name[32];
    emc_status status;

    snprintf(name, sizeof name, "line %ld", number);
    emc_text_clear(out);
    status = emc_jsonl_line(tok, line, n, flags, name, out);
    if (status == EMC_ERR_FORMAT || status == EMC_ERR_CONFIG) {
        ++*n_failed;
        emc_text_clear(out);
        EMC_TRY(emc_text_add_string(out, "{\"error\": "));
        EMC_TRY(emc_text_add_json(out, emc_message(), strlen(emc_message())));
        status = emc_text_add_string(out, "}\n");
    }
    EMC_TRY(status);
    if (fwrite(out->bytes, 1, out->n, stdout) != out->n)
        return emc_fail(EMC_ERR_IO, "standard output cannot be written");
    return EMC_OK;
}

static emc_status all_lines(const emc_tokenizer *tok, unsigned flags, long *n_failed)
{
    emc_status status = EMC_OK;
    emc_text out = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;

    for (long number = 1; (n = getline(&line, &capacity, stdin)) >= 0; number++) {
        if (n > 0 && line[n - 1] == '\n')
            n--;
        status = one_line(tok, line, (size_t)n, flags, number, &out, n_failed);
        if (status != EMC_OK)
            goto done;
    }
    if (ferror(stdin))
        status = emc_fail(EMC_ERR_IO, "standard input cannot be read");
    else if (fflush(stdout) != 0)
        status = emc_fail(EMC_ERR_IO, "standard output cannot be written");

done:
    free(line);
    emc_text_free(&out);
    return status;
}

int cli_tokenize(int argc, char **argv)
{
    const char *model = NULL;
    bool chat = false, decode = false;
    cli_config *config = NULL;
    char *model_dir = NULL;
    emc_tokenizer *tok = NULL;
    emc_status status;
    long n_failed = 0;
    int exit_code;
    const cli_option options[] = {
        {CLI_STRING, 'm', "model", "DIR", &model, "folder with the tokenizer's files"},
        {CLI_FLAG, 0, "chat", NULL, &chat, "add \"prompt\", the rendered text, for messages"},
        {CLI_FLAG, 0, "decode", NULL, &decode,
         "from {\"ids\"} to {\"text\", \"text_skip_special\"}"},
    };
    const cli_spec spec = {
        .name = "tokenize",
        .usage = "--model DIR [--chat | --decode] < in.jsonl > out.jsonl",
        .summary = "Turns text into token ids, or back: one JSON object a line in, one out.",
        .epilogue =
            "Lines in: {\"text\": ...}, or {\"messages\": [...], \"add_generation_prompt\": "
            "bool,\n\"enable_thinking\": bool}; with --decode {\"ids\": [...]}. A line that "
            "cannot be done gives\n{\"error\": ...} in its place, and exit code 3 at the end.",
        .options = options,
        .n_options = EMC_COUNT(options),
    };

    if (!cli_parse(&spec, argc, argv, &config, &exit_code))
        goto done;
    exit_code = 2;
    if (!model || (chat && decode)) {
        cli_usage("tokenize",
                  model ? "--chat and --decode exclude each other" : "--model is missing");
        goto done;
    }
    status = cli_model_dir(&model_dir, model);
    if (status == EMC_OK)
        status = emc_tokenizer_open(&tok, model_dir);
    if (status == EMC_OK)
        status = all_lines(tok, (chat ? EMC_JSONL_CHAT : 0) | (decode ? EMC_JSONL_DECODE : 0),
                           &n_failed);
    exit_code = status != EMC_OK ? cli_fail("tokenize", status) : n_failed ? 3 : 0;

done:
    emc_tokenizer_close(tok);
    free(model_dir);
    cli_config_close(config);
    return exit_code;
}
