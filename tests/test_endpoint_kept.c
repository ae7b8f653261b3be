/* What an endpoint leaves behind: answers on disk, errors that end a pass, and never the key. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "emt.h"
#include "endpoint_case.h"

static void asked_once(void **state)
{
    endpoint_case c;
    char dir[4096];

    (void)state;
    snprintf(dir, sizeof dir, "%s", emt_temp("cache"));
    case_open(&c, 10, NULL, NULL, NULL, dir);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_seen(&c).n_requests, 10);
    /* Another system, other speed, the same questions. */
    case_reopen(&c, "\"concurrency\": 1, \"prompt_price\": 1, \"answer_price\": 1,", NULL, dir);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_seen(&c).n_requests, 10);
    assert_int_equal(c.system->usage->n_cached, 10);
    assert_int_equal(c.system->usage->n_requests, 0);
    assert_true(c.system->usage->cost == 0);
    for (int i = 0; i < c.n; i++) {
        assert_int_equal(case_of(&c, i)->label, i % 4);
        assert_int_equal(case_of(&c, i)->n_tries, 0);
        assert_int_equal(case_of(&c, i)->n_prompt_tokens, 100);
    }
    /* Another temperature is another question. */
    case_reopen(&c, "\"temperature\": 0.5,", NULL, dir);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_seen(&c).n_requests, 20);
    case_close(&c);
}

static int damage(const char *dir, int kind)
{
    DIR *folder = opendir(dir);
    int n = 0;

    for (struct dirent *one; (one = readdir(folder));) {
        char path[4096];
        size_t n_bytes;
        if (!strstr(one->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "%.3000s/%s", dir, one->d_name);
        char *bytes = emt_read(path, &n_bytes);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        char *label = strstr(bytes, "\"text\": \"");
        assert_non_null(label);
        if (kind == 0)
            n_bytes /= 2;
        else if (kind == 1)
            label[9] ^= 1; /* a letter of the answer */
        else
            n_bytes = 0;
        assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
        fclose(file);
        free(bytes);
        n++;
    }
    closedir(folder);
    return n;
}

static void damaged_entries_are_asked_again(void **state)
{
    char dir[4096];
    endpoint_case c;

    (void)state;
    snprintf(dir, sizeof dir, "%s", emt_temp("damaged"));
    case_open(&c, 4, NULL, NULL, NULL, dir);
    case_run(&c);
    for (int kind = 0; kind < 3; kind++) {
        assert_int_equal(damage(dir, kind), 4);
        case_reopen(&c, NULL, NULL, dir);
        case_run(&c);
        case_all_told(&c);
        assert_int_equal(c.system->usage->n_cached, 0);
        assert_int_equal(case_seen(&c).n_requests, 4 * (kind + 2));
        case_reopen(&c, NULL, NULL, dir);
        case_run(&c);
        assert_int_equal(c.system->usage->n_cached, 4);
        for (int i = 0; i < c.n; i++)
            assert_int_equal(case_of(&c, i)->label, i % 4);
    }
    case_close(&c);
}

/* What failed is not kept as an answer. */
static void failures_are_asked_again(void **state)
{
    static const stub_rule rules[] = {{.contains = "item 0001.", .n = 1, .status = 500}};
    endpoint_case c;

    (void)state;
    case_open(&c, 3, &(stub_options){.rules = rules, .n_rules = 1}, "\"max_tries\": 1,", NULL,
              emt_temp("failures"));
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_FAILED), 1);
    case_reopen(&c, NULL, NULL, emt_temp("failures"));
    case_run(&c);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_FAILED), 0);
    assert_int_equal(c.system->usage->n_cached, 2);
    assert_int_equal(stub_endpoint_count(c.stub, "item 0001."), 2);
    assert_int_equal(stub_endpoint_count(c.stub, "item 0000."), 1);
    case_close(&c);
}

static void interrupted_and_gone_on(void **state)
{
    static const stub_rule rules[] = {{.contains = "item 0007.", .n = 1, .silent = true}};
    endpoint_case c;
    int n_first = 0;

    (void)state;
    case_open(&c, 40, &(stub_options){.rules = rules, .n_rules = 1}, "\"concurrency\": 3,", NULL,
              emt_temp("interrupted"));
    c.cancel_after = 15;
    case_run(&c);
    assert_int_equal(c.status, EMC_ERR_CANCELLED);
    for (int i = 0; i < c.n; i++) {
        assert_true(c.n_told[i] <= 1);
        n_first += c.n_told[i];
    }
    assert_in_range(n_first, 15, 18);
    const int n_before = case_seen(&c).n_requests;
    c.cancel_after = 0;
    case_reopen(&c, NULL, NULL, emt_temp("interrupted"));
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(c.system->usage->n_cached, n_first);
    assert_int_equal(case_seen(&c).n_requests, n_before + 40 - n_first);
    case_close(&c);
}

/* Asked to stop between any two answers that lie on disk, the last one among them: what is not
 * handed over is never taken for done. */
static void interrupted_on_disk(void **state)
{
    endpoint_case c;

    (void)state;
    case_open(&c, 6, NULL, NULL, NULL, emt_temp("disk"));
    case_run(&c);
    for (int after = 1; after <= 6; after++) {
        int n_told = 0;
        case_reopen(&c, NULL, NULL, emt_temp("disk"));
        c.cancel_after = after;
        case_run(&c);
        for (int i = 0; i < c.n; i++)
            n_told += c.n_told[i];
        assert_int_equal(n_told, after);
        assert_true(c.status == EMC_ERR_CANCELLED || n_told == c.n);
    }
    case_close(&c);
}

static void ends_the_pass(void **state)
{
    static const stub_rule no_model[] = {
        {.status = 404, .body = "{\"error\": {\"message\": \"no model m\\nhere\"}}"}};
    static const stub_rule unpaid[] = {{.status = 402, .body = "pay"}};
    static const stub_rule later[] = {
        {.contains = "item 0009.", .status = 403, .body = "{\"error\": \"blocked\"}"}};
    endpoint_case c;

    (void)state;
    case_open(&c, 20, &(stub_options){.key = "sk-another-key"}, NULL, CASE_KEY, NULL);
    case_run(&c);
    assert_int_equal(c.status, EMC_ERR_CONFIG);
    assert_non_null(strstr(c.message, "endpoint stub: http://127.0.0.1:"));
    assert_non_null(strstr(c.message, "refuses the key: HTTP 401: no such key"));
    assert_in_range(case_seen(&c).n_requests, 1, 4);
    case_no_key(&c);
    case_close(&c);

    case_open(&c, 20, &(stub_options){.rules = no_model, .n_rules = 1}, NULL, NULL, NULL);
    case_run(&c);
    assert_int_equal(c.status, EMC_ERR_CONFIG);
    assert_non_null(strstr(c.message, "refuses every request alike: HTTP 404: no model m here"));
    assert_in_range(case_seen(&c).n_requests, 5, 8);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_FAILED), 5);
    case_close(&c);

    case_open(&c, 20, &(stub_options){.rules = unpaid, .n_rules = 1}, NULL, NULL, NULL);
    case_run(&c);
    assert_non_null(strstr(c.message, "wants to be paid: HTTP 402: pay"));
    case_close(&c);

    case_open(&c, 12, &(stub_options){.rules = later, .n_rules = 1}, "\"concurrency\": 1,", NULL,
              NULL);
    case_run(&c);
    assert_int_equal(c.status, EMC_ERR_CONFIG);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_LABEL), 9);
    case_close(&c);
}

/* Once it has answered, items that are refused are at fault themselves, and a run that goes on with
 * nothing but them comes to its end. */
static void refused_items_end(void **state)
{
    static const stub_rule rules[] = {{.contains = "say: TE", .status = 400, .body = "too long"}};
    endpoint_case c;

    (void)state;
    case_open(&c, 24, &(stub_options){.rules = rules, .n_rules = 1}, "\"concurrency\": 1,", NULL,
              emt_temp("refused"));
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_FAILED), 6);
    for (int i = 0; i < 6; i++)
        c.questions[i] = c.questions[4 * i + 1];
    c.n = 6;
    case_reopen(&c, NULL, NULL, emt_temp("refused"));
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_FAILED), 6);
    case_close(&c);
}

static void nothing_there(void **state)
{
    endpoint_case c;

    (void)state;
    case_open(&c, 8, NULL, "\"max_tries\": 3,", NULL, NULL);
    stub_endpoint_close(c.stub);
    c.stub = NULL;
    case_run(&c);
    assert_int_equal(c.status, EMC_ERR_IO);
    assert_non_null(strstr(c.message, "nothing answers at http://127.0.0.1:"));
    assert_non_null(strstr(c.message, "after 3 tries"));
    case_close(&c);
}

/* Every place where an endpoint could give the key back. */
static void the_key_is_nowhere(void **state)
{
    static const stub_rule rules[] = {
        {.contains = "item 0000.", .status = 400, .echo_key = true},
        {.contains = "item 0001.", .n = 1, .status = 500, .echo_key = true},
        {.contains = "item 0002.", .content = "ICM " CASE_KEY},
        {.contains = "item 0003.", .n = 1, .echo_key = true},
        {.contains = "item 0004.",
         .content = "null",
         .raw_string = true,
         .message = "\"refusal\": \"not with " CASE_KEY "\""},
        {.contains = "item 0005.", .status = 400, .body = "plain " CASE_KEY " text"},
    };
    endpoint_case c;
    stub_endpoint *other;
    stub_seen seen;

    (void)state;
    case_open(&c, 12, &(stub_options){.rules = rules, .n_rules = EMC_COUNT(rules), .key = CASE_KEY},
              NULL, CASE_KEY, emt_temp("keyless"));
    case_run(&c);
    case_all_told(&c);
    assert_string_equal(case_of(&c, 0)->error, "HTTP 400: wrong header Bearer [key]; go away");
    assert_string_equal(case_of(&c, 2)->raw, "ICM [key]");
    assert_string_equal(case_of(&c, 5)->error, "HTTP 400: plain [key] text");
    assert_non_null(strstr(c.log.bytes, "[key]"));
    case_no_key(&c);
    case_close(&c);

    /* A redirect is not followed. */
    assert_true(stub_endpoint_open(&other, &(stub_options){0}));
    char headers[100];
    snprintf(headers, sizeof headers, "Location: http://127.0.0.1:%d/v1/chat/completions\r\n",
             stub_endpoint_port(other));
    const stub_rule moved = {.status = 307, .headers = headers, .body = "moved"};
    case_open(&c, 2, &(stub_options){.rules = &moved, .n_rules = 1}, NULL, CASE_KEY, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_string_equal(case_of(&c, 0)->error, "HTTP 307: moved");
    stub_endpoint_seen(other, &seen);
    assert_int_equal(seen.n_connected, 0);
    stub_endpoint_close(other);
    case_no_key(&c);
    case_close(&c);
}

static void key_of_a_file(void **state)
{
    const char *path = emt_write("own.key", " " CASE_KEY "\n", strlen(CASE_KEY) + 2);
    endpoint_case c;
    char more[5000];

    (void)state;
    chmod(path, 0600);
    snprintf(more, sizeof more, "\"key_file\": \"%s\",", path);
    case_open(&c, 2, &(stub_options){.key = CASE_KEY}, more, NULL, NULL);
    case_run(&c);
    case_all_told(&c);
    assert_int_equal(case_outcomes(&c, EMC_OUTCOME_LABEL), 2);
    case_no_key(&c);
    case_close(&c);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_once),
        cmocka_unit_test(damaged_entries_are_asked_again),
        cmocka_unit_test(failures_are_asked_again),
        cmocka_unit_test(interrupted_and_gone_on),
        cmocka_unit_test(interrupted_on_disk),
        cmocka_unit_test(ends_the_pass),
        cmocka_unit_test(refused_items_end),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(the_key_is_nowhere),
        cmocka_unit_test(key_of_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
