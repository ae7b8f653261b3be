/* loader/pattern: the same answers as PEFT's own matching, or a refusal. */
#include "emt.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "loader/pattern.h"

/* What the header does not promise to read. All else in the golden file must be read. */
static const struct {
    const char *text, *message;
} refused[] = {
    {"a)|(lm_head", "a group that was not opened at byte 1"},
    {"(q_proj", "a group that is not closed"},
    {"[q", "a bracket that is not closed at byte 0"},
    {"*q", "a quantifier after nothing at byte 0"},
    {"q**", "a quantifier after nothing at byte 2"},
    {"q++_proj", "a quantifier after nothing at byte 2"},
    {"{2}", "a quantifier after nothing at byte 0"},
    {"q{3000}", "this {...} at byte 1"},
    {"\\bq_proj", "an escape at byte 0"},
    {"\\Sq", "an escape at byte 0"},
    {"(q)_proj\\1", "an escape at byte 8"},
    {"lm[_\\-]head", "an escape at byte 4"},
    {"(?i)Q_PROJ", "a group of this kind at byte 1"},
    {"(?P<n>q)_proj", "a group of this kind at byte 1"},
    {"()q_proj", "an empty group at byte 1"},
    {"", "a pattern of 0 bytes"},
    {"q\\", "an escape at byte 1"},
    {"q]", "a bare bracket or line end at byte 1"},
    {"q}", "a bare bracket or line end at byte 1"},
    {"[[:alpha:]]", "a bracket inside brackets at byte 1"},
    {"q{", "this {...} at byte 1"},
    {"q{}", "this {...} at byte 1"},
    {"q{1", "this {...} at byte 1"},
    {"q{,3}", "this {...} at byte 1"},
    {"q{1,2,3}", "this {...} at byte 1"},
    {"q{100}", "this {...} at byte 1"},
    {"((q{9}){9}){9}", "a third {...} at byte 11"},
};

static bool is_refused(const char *text)
{
    for (size_t i = 0; i < EMC_COUNT(refused); i++)
        if (strcmp(refused[i].text, text) == 0)
            return true;
    return false;
}

static void test_as_peft(void **state)
{
    (void)state;
    const char *file = emt_golden("loader/expected.json");
    size_t n;
    char *text = emt_read(file, &n);
    cJSON *all;
    const cJSON *item, *path;
    int n_read = 0;

    EMT_OK(emc_json_parse(&all, text, n, file));
    cJSON_ArrayForEach(item, emc_json_member(all, "patterns"))
    {
        const char *pattern_text = emc_json_member(item, "pattern")->valuestring;
        const cJSON *matches = emc_json_member(item, "matches");
        emc_pattern *pattern;

        if (is_refused(pattern_text))
            continue;
        EMT_OK(emc_pattern_open(&pattern, pattern_text));
        assert_non_null(matches);
        const cJSON *match = matches->child;
        cJSON_ArrayForEach(path, emc_json_member(all, "pattern_paths"))
        {
            if (emc_pattern_matches(pattern, path->valuestring) != (bool)cJSON_IsTrue(match))
                fail_msg("\"%s\" and %s", pattern_text, path->valuestring);
            match = match->next;
        }
        emc_pattern_close(pattern);
        n_read++;
    }
    assert_int_equal(n_read, 31);
    cJSON_Delete(all);
    free(text);
}

static void test_refused(void **state)
{
    (void)state;
    char long_text[300];
    emc_pattern *pattern;

    for (size_t i = 0; i < EMC_COUNT(refused); i++) {
        EMT_FAILS(EMC_ERR_FORMAT, refused[i].message, emc_pattern_open(&pattern, refused[i].text));
        assert_null(pattern);
    }
    memset(long_text, 'q', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    EMT_FAILS(EMC_ERR_FORMAT, "a pattern of 299 bytes", emc_pattern_open(&pattern, long_text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_peft),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
