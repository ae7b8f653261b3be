/* An endpoint that answers, or does not, in every way: nothing is lost, everything is counted. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "emt.h"
#include "endpoint_case.h"

static void assert_good(const endpoint_case *c, int question)
{
    const emc_prediction *p = case_of(c, question);

    if (p->outcome != EMC_OUTCOME_LABEL || p->label != question % 4)
        fail_msg("question %d: %s, label %d, %s", question, emc_outcome_name(p->outcome), p->label,
                 p->error ? p->error : p->raw);
}

static void answers_and_counts(void **state)
{
    endpoint_case c;

    (void)state;
    case_open(&c, 20, &(stub_options){.key = CASE_KEY},
              "\"prompt_price\": 2, \"answer_price\": 10, \"currency\": \"EUR\", \"body\": "
              "{\"seed\": 1},",
              CASE_KEY, NULL);
    case_run(&c);
    case_all_told(&c);
    for (int i = 0; i < c.n; i++) {
        assert_good(&c, i);
        assert_true(case_of(&c, i)->format_ok);
        assert_int_equal(case_of(&c, i)->n_tries, 1);
        assert_int_equal(case_of(&c, i)->n_prompt_tokens, 100);
        assert_int_equal(case_of(&c, i)->n_answer_tokens, 3);
    }
    const emc_system_usage *u = c.system->usage;
    assert_int_equal(u->n_requests, 20);
    assert_int_equal(u->n_answers, 20);
    assert_int_equal(u->n_retries + u->n_cached + u->n_failed + u->n_untold + u->n_thoughts, 0);
    assert_int_equal(u->n_prompt_tokens, 2000);
    assert_int_equal(u->n_answer_tokens, 60);
    assert_true(fabs(u->cost - (2000 * 2e-6 + 60 * 10e-6)) < 1e-12);
    assert_string_equal(u->currency, "EUR");
    const stub_seen seen = case_seen(&c);
    assert_int_equal(seen.n_requests, 20);
    assert_int_equal(seen.n_with_key, 20);
    assert_string_equal(seen.path, "/v1/chat/completions");
    assert_non_null(strstr(seen.last, "\"model\":\"m\""));
    assert_non_null(strstr(seen.last, "\"max_tokens\":512"));
    assert_non_null(strstr(seen.last, "\"temperature\":0"));
    assert_non_null(strstr(seen.last, "\"seed\":1"));
    /* Connections are kept. */
    assert_true(seen.n_connected <= 4);
    case_no_key(&c);
    case_close(&c);
}

static void really_at_once(void **state)
{
    endpoint_case c;

    (void)state;
    case_open(&c, 12, &(stub_options){.n_together = 6}, "\"concurrency\": 6,", NULL, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_seen(&c).n_most, 6);
    assert_int_equal(case_seen(&c).n_with_key, 0);
    case_close(&c);
    case_open(&c, 8, NULL, "\"concurrency\": 1,", NULL, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_seen(&c).n_most, 1);
    case_close(&c);
}

/* Every third is slow, so that answers overtake each other. */
static void order_does_not_matter(void **state)
{
    static const stub_rule slow[] = {
        {.contains = "0.", .delay_ms = 60},
        {.contains = "3.", .delay_ms = 30},
    };
    endpoint_case c;

    (void)state;
    case_open(&c, 20, &(stub_options){.rules = slow, .n_rules = 2}, "\"concurrency\": 8,", NULL,
              NULL);
    case_run(&c);
    case_all_told(&c);
    for (int i = 0; i < c.n; i++)
        assert_good(&c, i);
    case_close(&c);
}

/* What fails once and comes with the next try. */
static void tried_again(void **state)
{
    static const char busy[] = "{\"error\": {\"message\": \"too many\"}}";
    static const stub_rule rules[] = {
        {.contains = "item 0000.", .n = 1, .status = 429, .body = busy},
        {.contains = "item 0001.",
         .n = 1,
         .status = 429,
         .body = busy,
         .headers = "Retry-After: 0\r\n"},
        {.contains = "item 0002.", .n = 2, .status = 500, .body = "<html>broken</html>"},
        {.contains = "item 0003.", .n = 1, .cut = 40},
        {.contains = "item 0004.", .n = 1, .cut = 40, .short_sent = true},
        {.contains = "item 0005.", .n = 1, .status = 425},
        {.contains = "item 0006.", .n = 1, .body = "this is not JSON"},
        {.contains = "item 0007.", .n = 1, .body = "{\"choices\": []}"},
        {.contains = "item 0008.", .n = 1, .status = 503, .body = ""},
        {.contains = "item 0009.", .n = 1, .status = 408},
        {.contains = "item 0010.", .n = 1, .status = 409},
        {.contains = "item 0011.", .n = 1, .body = "{\"error\": {\"message\": \"overloaded\"}}"},
        {.contains = "item 0012.", .close = true},
        {.contains = "item 0013.", .chunked = true},
        {.contains = "item 0014.", .n = 1, .body = ""},
    };
    endpoint_case c;

    (void)state;
    case_open(&c, 16, &(stub_options){.rules = rules, .n_rules = EMC_COUNT(rules)}, NULL, NULL,
              NULL);
    case_run(&c);
    case_all_told(&c);
    for (int i = 0; i < c.n; i++) {
        assert_good(&c, i);
        const int tries = i == 2 ? 3 : i < 12 || i == 14 ? 2 : 1;
        if (case_of(&c, i)->n_tries != tries)
            fail_msg("question %d took %d tries", i, case_of(&c, i)->n_tries);
    }
    assert_int_equal(c.system->usage->n_retries, 14);
    assert_int_equal(c.system->usage->n_requests, 30);
    assert_int_equal(case_seen(&c).n_requests, 30);
    assert_non_null(strstr(c.log.bytes, "stub: HTTP 429: too many; try 2 of 5 in"));
    assert_non_null(strstr(c.log.bytes, "overloaded"));
    case_close(&c);
}

/* On a kept connection libcurl itself asks once more; on its first one the try is ours. */
static void reset_connection(void **state)
{
    static const stub_rule rules[] = {{.n = 2, .reset = true}};
    endpoint_case c;

    (void)state;
    case_open(&c, 1, &(stub_options){.rules = rules, .n_rules = 1}, NULL, NULL, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_good(&c, 0);
    assert_int_equal(case_of(&c, 0)->n_tries, 3);
    assert_int_equal(case_seen(&c).n_requests, 3);
    case_close(&c);
}

/* Both forms of Retry-After are read; longest_wait keeps the test short. */
static void asked_to_wait(void **state)
{
    static const stub_rule rules[] = {
        {.contains = "item 0000.", .n = 1, .status = 429, .headers = "Retry-After: 77\r\n"},
        {.contains = "item 0001.",
         .n = 1,
         .status = 503,
         .headers = "Retry-After: Fri, 01 Jan 2060 00:00:00 GMT\r\n"},
    };
    endpoint_case c;

    (void)state;
    case_open(&c, 2, &(stub_options){.rules = rules, .n_rules = 2},
              "\"longest_wait\": 0.02, \"concurrency\": 1,", NULL, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_good(&c, 0);
    assert_good(&c, 1);
    assert_non_null(strstr(c.log.bytes, "HTTP 429: {\"id\""));
    assert_non_null(strstr(c.log.bytes, "in 0.02 s, 77 s were asked for"));
    const char *date = strstr(c.log.bytes, "HTTP 503");
    assert_non_null(date);
    date = strstr(date, "in 0.02 s, ");
    assert_non_null(date);
    assert_true(atof(date + 11) > 86400);
    case_close(&c);
}

static void fails_at_last(void **state)
{
    static const stub_rule rules[] = {
        {.contains = "item 0001.", .status = 500, .body = "{\"error\": \"always\\nso\"}"},
        {.contains = "item 0002.", .padding = 17 << 20},
        {.contains = "item 0003.", .status = 400, .body = "{\"detail\": \"too long\"}"},
        {.contains = "item 0004.", .silent = true},
        {.contains = "item 0005.",
         .status = 302,
         .headers = "Location: http://127.0.0.1:1/\r\n",
         .body = ""},
    };
    endpoint_case c;

    (void)state;
    case_open(&c, 8, &(stub_options){.rules = rules, .n_rules = EMC_COUNT(rules)},
              "\"max_tries\": 3, \"timeout\": 0.3,", NULL, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_FAILED), 5);
    assert_string_equal(case_of(&c, 1)->error, "HTTP 500: always so");
    assert_int_equal(case_of(&c, 1)->n_tries, 3);
    assert_non_null(strstr(case_of(&c, 2)->error, "more than 16 MiB"));
    assert_int_equal(case_of(&c, 2)->n_tries, 1);
    assert_string_equal(case_of(&c, 3)->error, "HTTP 400: too long");
    assert_int_equal(case_of(&c, 3)->n_tries, 1);
    assert_non_null(strstr(case_of(&c, 4)->error, "imed out"));
    assert_int_equal(case_of(&c, 4)->n_tries, 3);
    assert_string_equal(case_of(&c, 5)->error, "HTTP 302: no reason is given");
    assert_int_equal(c.system->usage->n_failed, 5);
    assert_good(&c, 0);
    assert_good(&c, 6);
    assert_good(&c, 7);
    case_close(&c);
}

/* What comes back as an answer and is none of the labels, or more than one. */
static void words(void **state)
{
    static const stub_rule rules[] = {
        {.contains = "item 0000.", .content = "Fibroblast"},
        {.contains = "item 0001.", .content = "<think>\\nICM? No.\\n</think>\\n\\nTE"},
        {.contains = "item 0002.",
         .content = "null",
         .raw_string = true,
         .message = "\"refusal\": \"I would rather not name an ICM\""},
        {.contains = "item 0003.", .content = "Mor", .finish = "length"},
        {.contains = "item 0004.",
         .content = "",
         .message = "\"reasoning_content\": \"ICM\"",
         .finish = "length"},
        {.contains = "item 0005.", .content = "ICM", .finish = "content_filter"},
        {.contains = "item 0006.",
         .raw_string = true,
         .content = "[{\"type\": \"text\", \"text\": \"Hypo\"}, {\"type\": \"image_url\"}, "
                    "{\"type\": \"text\", \"text\": \"blast\"}]"},
        {.contains = "item 0007.", .content = "I cannot tell", .no_usage = true},
        {.contains = "item 0008.",
         .content = "{\\\"answer\\\": \\\"ICM\\\"}",
         .message = "\"reasoning\": \"hm\""},
        {.contains = "item 0009.", .content = "ICM or TE"},
        {.contains = "item 0010.", .content = "unknown"},
    };
    endpoint_case c;

    (void)state;
    case_open(&c, 11, &(stub_options){.rules = rules, .n_rules = EMC_COUNT(rules)}, NULL, NULL,
              NULL);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_of(&c, 0)->outcome, EMC_OUTCOME_INVALID);
    assert_good(&c, 1);
    assert_string_equal(case_of(&c, 1)->stripped, "TE");
    assert_int_equal(case_of(&c, 2)->outcome, EMC_OUTCOME_REFUSED);
    assert_int_equal(case_of(&c, 2)->label, -1);
    assert_string_equal(case_of(&c, 2)->raw, "I would rather not name an ICM");
    assert_true(case_of(&c, 3)->truncated);
    assert_int_equal(case_of(&c, 4)->outcome, EMC_OUTCOME_EMPTY);
    assert_true(case_of(&c, 4)->truncated);
    assert_int_equal(case_of(&c, 5)->outcome, EMC_OUTCOME_REFUSED);
    assert_good(&c, 6);
    assert_int_equal(case_of(&c, 7)->outcome, EMC_OUTCOME_REFUSED);
    assert_good(&c, 8);
    assert_string_equal(case_of(&c, 8)->step, "json");
    assert_int_equal(case_of(&c, 9)->outcome, EMC_OUTCOME_INVALID);
    assert_int_equal(case_of(&c, 10)->outcome, EMC_OUTCOME_UNKNOWN);
    assert_int_equal(c.system->usage->n_thoughts, 2);
    assert_int_equal(c.system->usage->n_untold, 1);
    assert_int_equal(c.system->usage->n_answers, 11);
    assert_int_equal(c.system->usage->n_failed, 0);
    assert_true(isnan(c.system->usage->cost));
    case_close(&c);
}

/* Items with genes: the profile's words, candidates, too few genes, a label held out. */
static void prompts_of_genes(void **state)
{
    endpoint_case c;

    (void)state;
    case_open(&c, 2, NULL, "\"structured\": \"guided_choice\",", NULL, NULL);
    c.questions[0] = c.questions[2];
    c.questions[1] = c.questions[3];
    c.held_out = 3;
    case_run(&c);
    case_all_told(&c);
    /* The prompt ends after the genes, so that the stub says "TE" and what follows. */
    assert_int_equal(case_of(&c, 0)->label, 1);
    assert_int_equal(case_of(&c, 1)->outcome, EMC_OUTCOME_UNKNOWN);
    stub_seen seen = case_seen(&c);
    assert_int_equal(seen.n_requests, 1);
    assert_non_null(strstr(seen.last, "Genes: G1 G2 G3 G4 G5 G6 G7 G8 G9 G10 G11 say: TE"));
    assert_non_null(strstr(seen.last, "\"guided_choice\":[\"ICM\",\"TE\",\"Hypoblast\"]"));

    case_reopen(&c, "\"structured\": \"json_schema\", \"max_tokens\": 0, \"temperature\": null,",
                NULL, NULL);
    c.held_out = -1;
    c.questions[0].wording = 8; /* lists the labels */
    c.questions[0].candidates = (const int[]){2, 0};
    c.questions[0].n_candidates = 2;
    case_run(&c);
    case_all_told(&c);
    seen = case_seen(&c);
    assert_int_equal(case_of(&c, 0)->outcome, EMC_OUTCOME_OFF_LIST);
    assert_non_null(strstr(seen.last, "\"enum\":[\"Hypoblast\",\"ICM\"]"));
    assert_non_null(strstr(seen.last, "The cell types are: Hypoblast"));
    assert_null(strstr(seen.last, "Morula"));
    assert_null(strstr(seen.last, "max_tokens"));
    assert_null(strstr(seen.last, "temperature"));
    case_close(&c);
}

/* The least time that so many requests may take; nothing is said of the most. */
static void not_faster_than_allowed(void **state)
{
    struct timespec a, b;
    endpoint_case c;

    (void)state;
    case_open(&c, 6, NULL, "\"requests_per_minute\": 1200, \"concurrency\": 6,", NULL, NULL);
    clock_gettime(CLOCK_MONOTONIC, &a);
    case_run(&c);
    clock_gettime(CLOCK_MONOTONIC, &b);
    case_all_told(&c);
    const double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    assert_true(seconds >= 5 * 60.0 / 1200);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_and_counts),    cmocka_unit_test(really_at_once),
        cmocka_unit_test(order_does_not_matter), cmocka_unit_test(tried_again),
        cmocka_unit_test(reset_connection),      cmocka_unit_test(asked_to_wait),
        cmocka_unit_test(fails_at_last),         cmocka_unit_test(words),
        cmocka_unit_test(prompts_of_genes),      cmocka_unit_test(not_faster_than_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
