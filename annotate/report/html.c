/* Text for HTML, escaped. */

#include "annotate/report/report.h"

static const char *escape_of(uint32_t code)
{
    switch (code) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

emc_status emc_html_add(emc_text *out, const char *text, size_t n)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        const int length = emc_utf8_decode(&code, text + at, n - at);
        const bool is_control =
            (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7f && code < 0xa0);
        const char *escape = escape_of(code);
        if (length == 0 || is_control)
            EMC_TRY(emc_text_add_string(out, replacement));
        else if (escape)
            EMC_TRY(emc_text_add_string(out, escape));
        else
            EMC_TRY(emc_text_add(out, text + at, (size_t)length));
        at += length > 0 ? (size_t)length : 1;
    }
    return EMC_OK;
}
