#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

emc_status emc_text_add(emc_text *text, const void *bytes, size_t n)
{
    size_t need;

    if (!emc_size_add(&need, text->n, n) || !emc_size_add(&need, need, 1))
        return emc_fail(EMC_ERR_NOMEM, "no memory for a text of %zu bytes", n);
    EMC_TRY(emc_reserve(&text->bytes, &text->capacity, need, 1, "a text"));
    if (n)
        memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
    text->bytes[text->n] = '\0';
    return EMC_OK;
}

emc_status emc_text_add_string(emc_text *text, const char *string)
{
    return emc_text_add(text, string, strlen(string));
}

emc_status emc_text_addf(emc_text *text, const char *format, ...)
{
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    emc_status status =
        n < 0 ? emc_fail(EMC_ERR_INTERNAL, "bad format")
              : emc_reserve(&text->bytes, &text->capacity, text->n + (size_t)n + 1, 1, "a text");
    if (status == EMC_OK) {
        vsnprintf(text->bytes + text->n, (size_t)n + 1, format, again);
        text->n += (size_t)n;
    }
    va_end(again);
    return status;
}

void emc_text_clear(emc_text *text)
{
    text->n = 0;
    if (text->bytes)
        text->bytes[0] = '\0';
}

void emc_text_free(emc_text *text)
{
    free(text->bytes);
    *text = (emc_text){0};
}

emc_status emc_text_add_json(emc_text *text, const char *bytes, size_t n)
{
    EMC_TRY(emc_text_add(text, "\"", 1));
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)bytes[i];
        uint32_t code;
        int length;
        if (c == '"' || c == '\\') {
            EMC_TRY(emc_text_addf(text, "\\%c", c));
            i++;
        } else if (c == '\n' || c == '\t' || c == '\r') {
            EMC_TRY(emc_text_add_string(text, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r"));
            i++;
        } else if (c < 0x20 || c == 0x7F) {
            EMC_TRY(emc_text_addf(text, "\\u%04x", c));
            i++;
        } else if ((length = emc_utf8_decode(&code, bytes + i, n - i)) > 0) {
            EMC_TRY(emc_text_add(text, bytes + i, (size_t)length));
            i += (size_t)length;
        } else {
            EMC_TRY(emc_text_add_string(text, "\xEF\xBF\xBD"));
            i++;
        }
    }
    return emc_text_add(text, "\"", 1);
}

emc_status emc_text_add_csv(emc_text *text, const char *string, char separator)
{
    const char special[] = {separator, '"', '\r', '\n', '\0'};

    if (!strpbrk(string, special))
        return emc_text_add_string(text, string);
    EMC_TRY(emc_text_add(text, "\"", 1));
    for (const char *p = string; *p; p++) {
        if (*p == '"')
            EMC_TRY(emc_text_add(text, "\"", 1));
        EMC_TRY(emc_text_add(text, p, 1));
    }
    return emc_text_add(text, "\"", 1);
}

int emc_utf8_decode(uint32_t *code, const char *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *b = (const unsigned char *)p;
    const int length = b[0] < 0x80             ? 1
                       : (b[0] & 0xE0) == 0xC0 ? 2
                       : (b[0] & 0xF0) == 0xE0 ? 3
                       : (b[0] & 0xF8) == 0xF0 ? 4
                                               : 0;
    uint32_t value;

    if (length == 1) {
        *code = b[0];
        return 1;
    }
    if (length == 0 || (size_t)length > n)
        return 0;
    value = b[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((b[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (b[i] & 0x3Fu);
    }
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *code = value;
    return length;
}

int emc_utf8_encode(char out[4], uint32_t code)
{
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        code = 0xFFFD;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t emc_utf8_valid(const char *bytes, size_t n)
{
    size_t i = 0;
    uint32_t code;

    while (i < n) {
        const int length = emc_utf8_decode(&code, bytes + i, n - i);
        if (length == 0)
            break;
        i += (size_t)length;
    }
    return i;
}
