/* What an endpoint sends: an answer and its label, or why there is none, and never the key. */
#include <string.h>

#include "annotate/evaluate/endpoint_parts.h"
#include "fuzz.h"

#define KEY "sk-0123456789"

static const emc_profile_label names[] = {{.label = "ICM"}, {.label = "TE"}, {.label = "8 cell"}};

static void check_text(const emc_text *text)
{
    fuzz_require(!text->bytes || text->bytes[text->n] == '\0', "a NUL at the end");
    fuzz_require(!text->bytes || !memmem(text->bytes, text->n, KEY, strlen(KEY)), "no key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *body = n_bytes > 0 ? (const char *)data : "";
    endpoint_answer answer = {0};
    emc_text line = {0}, work = {0};
    emc_labels *labels;
    emc_prediction prediction;

    fuzz_check(emc_labels_from_list(&labels, names, EMC_COUNT(names)), NULL);
    const emc_status status = endpoint_answer_read(&answer, body, n_bytes, KEY);
    fuzz_check(status, NULL);
    check_text(&answer.text);
    fuzz_require(!strstr(emc_message(), KEY), "no key in a message");
    fuzz_require(answer.n_prompt_tokens >= 0 && answer.n_answer_tokens >= 0, "counts");
    if (status == EMC_OK) {
        fuzz_require(answer.text.bytes != NULL, "a text, though empty");
        fuzz_check(emc_prediction_from_text(&prediction, &work, labels, NULL, 0, answer.text.bytes,
                                            answer.text.n, !answer.truncated),
                   NULL);
        fuzz_require((prediction.outcome == EMC_OUTCOME_LABEL) == (prediction.label >= 0),
                     "a label where there is one");
    }
    fuzz_check(endpoint_error_text(&line, body, n_bytes, KEY), NULL);
    check_text(&line);
    fuzz_require(line.n < 320 && !memchr(line.bytes, '\n', line.n) &&
                     emc_utf8_valid(line.bytes, line.n) == line.n,
                 "one short line");
    emc_text_free(&line);
    emc_text_free(&work);
    endpoint_answer_free(&answer);
    emc_labels_close(labels);
    return 0;
}
