/*
 * Is emcell.h all that another program needs? This file includes nothing else of ours, and is
 * compiled as C and, where there is a C++ compiler, as C++ (tests/runtime.cmake).
 */
#include "runtime/emcell.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, emc_message());
    return 1;
}

/* The likelier of two answers to a prompt. */
static int ask(emc_engine *engine)
{
    const int32_t prompt[] = {10, 20, 30, 40, 50};
    const int32_t ids[] = {11, 5, 12, 13, 5}, begin[] = {0, 2, 5};
    emc_request request;
    emc_answer answer;
    bool got;

    if (emc_engine_set_prefix(engine, prompt, 2) != EMC_OK ||
        emc_engine_set_choices(engine, ids, begin, 2) != EMC_OK)
        return failed("setting up");
    memset(&request, 0, sizeof request);
    request.ticket = 7;
    request.ids = prompt;
    request.n_ids = 5;
    request.ask = EMC_ASK_CHOICES;
    if (emc_engine_is_full(engine) || emc_engine_submit(engine, &request) != EMC_OK)
        return failed("submit");
    if (emc_engine_poll(engine, &answer, &got) != EMC_OK || !got || answer.ticket != 7)
        return failed("poll");
    for (int c = 0; c < 2; c++)
        if (!(answer.log_probs[c] < 0) || !isfinite(answer.log_probs[c]))
            return failed("log-probability");
    return 0;
}

int main(void)
{
    const char *golden = getenv("EMT_DATA");
    emc_model_options options;
    emc_model *model = NULL;
    emc_engine *engine = NULL;
    char dir[4096];
    int result;

    snprintf(dir, sizeof dir, "%s/runtime/group2/model", golden ? golden : "tests/golden");
    memset(&options, 0, sizeof options);
    options.model_dir = dir;
    if (emc_model_open(&model, &options) != EMC_OK)
        return failed("model");
    if (emc_engine_open(&engine, model, NULL) != EMC_OK)
        result = failed("engine");
    else
        result = ask(engine);
    emc_engine_close(engine);
    emc_model_close(model);
    return result;
}
