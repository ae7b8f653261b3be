/* Options, keys, waits and answers of an endpoint, without one. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "emt.h"
#include "endpoint_case.h"

/* --- options --- */

#define START "{\"name\": \"n\", \"model\": \"m\", \"url\": \"http://h\""

static void broken_options(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{", "options.json"},
        {"[]", "wanted an object"},
        {"{\"model\": \"m\", \"url\": \"http://h\"}", "\"name\""},
        {"{\"name\": \"n\", \"url\": \"http://h\"}", "\"model\""},
        {"{\"name\": \"n\", \"model\": \"m\"}", "\"url\""},
        {START ", \"key\": \"sk-secret-0123456789abcdef\"}", "\"key\""},
        {START ", \"name\": \"o\"}", "\"name\""},
        {"{\"name\": \"a/b\", \"model\": \"m\", \"url\": \"http://h\"}", "plain name"},
        {"{\"name\": \"n\", \"model\": \"\", \"url\": \"http://h\"}", "\"model\" is empty"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"ftp://h\"}", "http:// or https://"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"file:///etc\"}", "http:// or https://"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"h\"}", "http:// or https://"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"http:///v1\"}", "names no host"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"http://u:p@h\"}", "a password"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"http://h/?key=1\"}", "before any ?"},
        {"{\"name\": \"n\", \"model\": \"m\", \"url\": \"http://h/\\n\"}",
         "no place in an address"},
        {START ", \"concurrency\": 0}", "\"concurrency\""},
        {START ", \"concurrency\": 1.5}", "\"concurrency\""},
        {START ", \"max_tries\": 0}", "\"max_tries\""},
        {START ", \"max_tokens\": -1}", "\"max_tokens\""},
        {START ", \"requests_per_minute\": -1}", "\"requests_per_minute\""},
        {START ", \"timeout\": 0}", "\"timeout\""},
        {START ", \"backoff\": -1}", "\"backoff\""},
        {START ", \"longest_wait\": 1e9}", "\"longest_wait\""},
        {START ", \"temperature\": -1}", "\"temperature\""},
        {START ", \"temperature\": \"0\"}", "\"temperature\""},
        {START ", \"prompt_price\": 1}", "go together"},
        {START ", \"prompt_price\": -1, \"answer_price\": 1}", "\"prompt_price\""},
        {START ", \"structured\": \"yes\"}", "\"json_schema\""},
        {START ", \"body\": []}", "\"body\" must be an object"},
        {START ", \"body\": {\"messages\": []}}", "must not hold \"messages\""},
        {START ", \"body\": {\"temperature\": 1}}", "an option of its own"},
        {START ", \"key_variable\": \"A\", \"key_file\": \"b\"}", "cannot both"},
        {START ", \"key_variable\": \"\"}", "environment variable"},
        {START ", \"key_variable\": \"sk-secret-0123456789abcdef\"}", "environment variable"},
    };
    endpoint_settings s;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *path = emt_write("options.json", cases[i].text, strlen(cases[i].text));
        const emc_status status = endpoint_settings_read(&s, path);
        if (status != EMC_ERR_FORMAT && status != EMC_ERR_CONFIG)
            fail_msg("%s: %s", cases[i].text, emc_status_name(status));
        if (!strstr(emc_message(), cases[i].says) || !strstr(emc_message(), "options.json"))
            fail_msg("%s: %s", cases[i].text, emc_message());
        if (strstr(emc_message(), "sk-secret"))
            fail_msg("quoted: %s", emc_message());
    }
    EMT_FAILS(EMC_ERR_NOT_FOUND, "not-there.json", endpoint_settings_read(&s, "not-there.json"));
}

static void urls(void **state)
{
    static const struct {
        const char *given, *whole;
    } cases[] = {
        {"http://h", "http://h/v1/chat/completions"},
        {"https://h:8000/", "https://h:8000/v1/chat/completions"},
        {"http://h/v1", "http://h/v1/chat/completions"},
        {"http://h/v1//", "http://h/v1/chat/completions"},
        {"https://h/api/openai", "https://h/api/openai/chat/completions"},
        {"http://[::1]:8080/v1/chat/completions", "http://[::1]:8080/v1/chat/completions"},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        endpoint_settings s;
        char text[300];
        snprintf(text, sizeof text, "{\"name\": \"n\", \"model\": \"m\", \"url\": \"%s\"}",
                 cases[i].given);
        EMT_OK(endpoint_settings_read(&s, emt_write("url.json", text, strlen(text))));
        assert_string_equal(s.url, cases[i].whole);
        endpoint_settings_free(&s);
    }
}

/* The files that the docs show are read as they stand there. */
static void files_of_the_docs(void **state)
{
    char *text = emt_read(emt_golden("../../docs/endpoints.md"), NULL);
    int n = 0;

    (void)state;
    for (char *at = strstr(text, "```json\n"); at; at = strstr(at, "```json\n")) {
        endpoint_settings s;
        at += strlen("```json\n");
        const size_t length = (size_t)(strstr(at, "```") - at);
        EMT_OK(endpoint_settings_read(&s, emt_write("docs.json", at, length)));
        endpoint_settings_free(&s);
        n++;
    }
    free(text);
    assert_int_equal(n, 3);
}

static emc_status open_with(const char *more, const char *key)
{
    emc_profile *profile;
    emc_system *system;
    char text[600];

    snprintf(text, sizeof text, START "%s}", more);
    EMT_OK(emc_profile_open(&profile, "embryo"));
    const emc_status status = emc_endpoint_open(
        &system, &(emc_endpoint_options){.path = emt_write("open.json", text, strlen(text)),
                                         .key = key,
                                         .profile = profile});
    emc_system_close(system);
    emc_profile_close(profile);
    return status;
}

static void keys(void **state)
{
    char more[400], *key = NULL, *variable = NULL;
    const char *path = emt_write("a.key", CASE_KEY "\r\n", strlen(CASE_KEY) + 2);

    (void)state;
    chmod(path, 0644);
    EMT_FAILS(EMC_ERR_CONFIG, "chmod 600", endpoint_key_read(&key, path));
    assert_null(key);
    chmod(path, 0600);
    EMT_OK(endpoint_key_read(&key, path));
    assert_string_equal(key, CASE_KEY);
    free(key);
    path = emt_write("b.key", " \n", 2);
    chmod(path, 0600);
    EMT_FAILS(EMC_ERR_CONFIG, "the key is empty", endpoint_key_read(&key, path));
    path = emt_write("b.key", "sk-1\nX-Header: 1", 16);
    EMT_FAILS(EMC_ERR_CONFIG, "no key has", endpoint_key_read(&key, path));
    assert_null(strstr(emc_message(), "sk-1"));
    path = emt_write("b.key", "sk\0x", 4);
    EMT_FAILS(EMC_ERR_CONFIG, "a NUL", endpoint_key_read(&key, path));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "none.key", endpoint_key_read(&key, "none.key"));

    EMT_OK(open_with("", NULL));
    EMT_FAILS(EMC_ERR_CONFIG, "MY_KEY, which holds the key, is not set",
              open_with(", \"key_variable\": \"MY_KEY\"", NULL));
    EMT_FAILS(EMC_ERR_CONFIG, "MY_KEY: the key is empty",
              open_with(", \"key_variable\": \"MY_KEY\"", ""));
    EMT_OK(open_with(", \"key_variable\": \"MY_KEY\"", CASE_KEY));
    snprintf(more, sizeof more, ", \"body\": {\"api_key\": \"%s\"}", CASE_KEY);
    EMT_FAILS(EMC_ERR_CONFIG, "among the options", open_with(more, CASE_KEY));
    assert_null(strstr(emc_message(), CASE_KEY));

    path = emt_write("v.json", START ", \"key_variable\": \"MY_KEY\"}",
                     strlen(START ", \"key_variable\": \"MY_KEY\"}"));
    EMT_OK(emc_endpoint_key_variable(&variable, path));
    assert_string_equal(variable, "MY_KEY");
    free(variable);
    EMT_OK(emc_endpoint_key_variable(&variable, emt_write("v.json", START "}", sizeof START)));
    assert_null(variable);
}

/* --- times --- */

/* A minute that begins anywhere never sees more than the limit, however eager who asks is. */
static void never_too_many_a_minute(void **state)
{
    endpoint_pace pace = {.per_minute = 37};
    double at[400];
    uint64_t random = 3;
    int n = 0;

    (void)state;
    for (double now = 1000; n < 400; now += 3 * emt_uniform(&random))
        while (n < 400 && endpoint_pace_due(&pace) <= now) {
            at[n++] = now;
            endpoint_pace_take(&pace, now);
        }
    for (int i = 0; i < n; i++) {
        int within = 0;
        for (int j = i; j < n && at[j] < at[i] + 60 - 1e-6; j++)
            within++;
        assert_true(within <= 37);
    }
    pace = (endpoint_pace){.per_minute = 0, .paused = 5};
    endpoint_pace_take(&pace, 4);
    assert_true(endpoint_pace_due(&pace) == 5);
}

static void waits_grow(void **state)
{
    const endpoint_settings s = {.backoff = 2, .longest_wait = 30};
    emc_random random = {1}, same = {1};

    (void)state;
    for (int tried = 1; tried < 2000; tried++) {
        const double most = tried < 5 ? 2 * exp2(tried - 1) : 30;
        const double wait = endpoint_wait(&s, tried, 0, &random);
        assert_true(wait >= most / 2 && wait <= most);
        assert_true(wait == endpoint_wait(&s, tried, 0, &same));
    }
    assert_true(endpoint_wait(&s, 1, 12, &random) == 12);
    assert_true(endpoint_wait(&s, 1, 3600, &random) == 30);
    assert_true(endpoint_wait(&s, 4, 0.5, &random) >= 8);
}

/* --- answers --- */

static void broken_answers(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "the answer"},
        {"{", "the answer"},
        {"\xff", "the answer"},
        {"null", "no object"},
        {"{}", "choices[0].message"},
        {"{\"choices\": {}}", "choices[0].message"},
        {"{\"choices\": [1]}", "choices[0].message"},
        {"{\"choices\": [{\"message\": \"ICM\"}]}", "choices[0].message"},
        {"{\"choices\": [{\"message\": {\"content\": 5}}]}", "neither text nor parts"},
        {"{\"error\": {\"message\": \"m " CASE_KEY "\"}}", "m [key]"},
        {"{\"error\": 3}", "an error: {"},
        {"{\"error\": \"\\n\"}", "an error: without words"},
    };
    endpoint_answer answer = {0};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *text = cases[i].text;
        if (endpoint_answer_read(&answer, text, strlen(text), CASE_KEY) != EMC_ERR_FORMAT ||
            !strstr(emc_message(), cases[i].says))
            fail_msg("%s: %s", text, emc_message());
        assert_null(strstr(emc_message(), CASE_KEY));
    }
    endpoint_answer_free(&answer);
}

/* Whatever counts a server makes up, none is negative, huge or half told. */
static void odd_counts(void **state)
{
    static const char *const usages[] = {"{}", "3", "{\"prompt_tokens\": -1}",
                                         "{\"prompt_tokens\": 1e300, \"completion_tokens\": 3}",
                                         "{\"prompt_tokens\": \"7\", \"completion_tokens\": 3}"};
    endpoint_answer answer = {0};
    char text[300];

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(usages); i++) {
        snprintf(text, sizeof text,
                 "{\"choices\": [{\"message\": {\"content\": null}}], \"usage\": %s}", usages[i]);
        EMT_OK(endpoint_answer_read(&answer, text, strlen(text), NULL));
        assert_false(answer.told);
        assert_int_equal(answer.n_prompt_tokens, 0);
        assert_string_equal(answer.text.bytes, "");
    }
    endpoint_answer_free(&answer);
}

static void errors_are_one_short_line(void **state)
{
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"{\"error\": {\"message\": \"a\\n\\tb\\u0007\", \"code\": 3}}", "a b "},
        {"{\"message\": \"m\"}", "m"},
        {"{\"detail\": [{\"loc\": 1}]}", "{\"detail\": [{\"loc\": 1}]}"},
        {"<html>\r\n<b>no</b>", "<html> <b>no</b>"},
        {"\x80\xc2\x85\xe2\x80\xa8x", "???x"},
        {"", ""},
        {"key " CASE_KEY CASE_KEY, "key [key][key]"},
    };
    emc_text out = {0}, longest = {0};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_text_clear(&out);
        EMT_OK(endpoint_error_text(&out, cases[i].body, strlen(cases[i].body), CASE_KEY));
        assert_string_equal(out.bytes, cases[i].says);
    }
    /* The key lies across the place where the text is cut. */
    for (int i = 0; i < 290; i++)
        EMT_OK(emc_text_add_string(&longest, "x"));
    EMT_OK(emc_text_addf(&longest, "%s%s", CASE_KEY, "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"));
    emc_text_clear(&out);
    EMT_OK(endpoint_error_text(&out, longest.bytes, longest.n, CASE_KEY));
    assert_true(out.n < 310);
    assert_null(strstr(out.bytes, "sk-"));
    assert_int_equal(emc_utf8_valid(out.bytes, out.n), out.n);
    assert_string_equal(out.bytes + out.n - 3, "...");
    /* A stand-in is no secret, and is part of other words. */
    emc_text_clear(&out);
    EMT_OK(endpoint_error_text(&out, "EMPTY list", 10, "EMPTY"));
    assert_string_equal(out.bytes, "EMPTY list");
    emc_text_free(&longest);
    emc_text_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_options),
        cmocka_unit_test(urls),
        cmocka_unit_test(files_of_the_docs),
        cmocka_unit_test(keys),
        cmocka_unit_test(never_too_many_a_minute),
        cmocka_unit_test(waits_grow),
        cmocka_unit_test(broken_answers),
        cmocka_unit_test(odd_counts),
        cmocka_unit_test(errors_are_one_short_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
