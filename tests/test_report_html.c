/* What a file says stays text in a page. */
#include "emt.h"

#include <string.h>

#include "annotate/report/report.h"

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        size_t n; /* 0: up to the NUL */
    } cases[] = {
        {"", "", 0},
        {"TE", "TE", 0},
        {"<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", 0},
        {"a & b", "a &amp; b", 0},
        {"\" onload='x'", "&quot; onload=&#39;x&#39;", 0},
        {"&lt;", "&amp;lt;", 0},
        {"tab\tline\n", "tab\tline\n", 0},
        {"\x1b[31m", "\xef\xbf\xbd[31m", 0},
        {"\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac", 0},
        {"\xff<", "\xef\xbf\xbd&lt;", 0},
        {"\xc3<b>", "\xef\xbf\xbd&lt;b&gt;", 0}, /* half a character hides nothing */
        {"a\0b",
         "a\xef\xbf\xbd"
         "b",
         3},
        {"\xc2\x85", "\xef\xbf\xbd", 0}, /* a control character of Latin-1 */
        {"\x7f", "\xef\xbf\xbd", 0},
    };

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_text out = {0};
        EMT_OK(emc_text_add(&out, "", 0));
        EMT_OK(emc_html_add(&out, cases[i].in, cases[i].n ? cases[i].n : strlen(cases[i].in)));
        assert_string_equal(out.bytes ? out.bytes : "", cases[i].out);
        emc_text_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_escapes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
