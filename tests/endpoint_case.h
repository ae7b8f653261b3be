#pragma once
/* A small benchmark of ready questions, the stub endpoint, and what a pass of an endpoint gives. */

#include "annotate/evaluate/endpoint_parts.h"
#include "stub_endpoint.h"

#define CASE_KEY "sk-secret-0123456789abcdef"

/* Item i asks "item 000i. say: LABEL" with the label below, which is the right one. The last two
 * items of the benchmark have genes and no messages: 12 of them, and 3. */
extern const char *const case_labels[4];

typedef struct {
    emc_benchmark *benchmark;
    emc_profile *profile;
    stub_endpoint *stub;
    emc_system *system;
    emc_question *questions;
    int n; /* questions; also the number of ready items */
    emc_predictions *predictions;
    int *n_told; /* [n] how often each question was answered */
    int cancel_after;
    volatile sig_atomic_t cancel;
    int held_out;
    emc_text log;
    emc_status status; /* of the last run */
    char message[1024];
} endpoint_case;

/* Server and system. more: further options, each with a comma behind it. key NULL: none. */
void case_open(endpoint_case *c, int n, const stub_options *stub, const char *more, const char *key,
               const char *cache_dir);
void case_run(endpoint_case *c);
/* Only the system anew; questions count from nothing again. */
void case_reopen(endpoint_case *c, const char *more, const char *key, const char *cache_dir);
void case_close(endpoint_case *c);

/* Each question was told once. */
void case_all_told(const endpoint_case *c);
int case_outcomes(const endpoint_case *c, emc_outcome outcome);
const emc_prediction *case_of(const endpoint_case *c, int question);
stub_seen case_seen(const endpoint_case *c);
/* No file of this test, no message, log line, setting or prediction holds the key. */
void case_no_key(const endpoint_case *c);
