/* In which form are names of cell types compared? */

#include <stdlib.h>
#include <string.h>

#include "annotate/label_text.h"
#include "annotate/labels.h"

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Ranges that fold to ASCII by a constant offset or to one character. */
static const struct {
    uint32_t first, last;
    uint32_t to; /* of the first */
    bool same;   /* all fold to `to` */
} folds[] = {
    {0x00A0, 0x00A0, ' ', true},   {0x00AB, 0x00AB, '"', true},  {0x00B2, 0x00B3, '2', false},
    {0x00B5, 0x00B5, 0x3BC, true}, {0x00B9, 0x00B9, '1', true},  {0x00BB, 0x00BB, '"', true},
    {0x2000, 0x200A, ' ', true},   {0x2010, 0x2015, '-', true},  {0x2018, 0x201B, '\'', true},
    {0x201C, 0x201F, '"', true},   {0x202F, 0x202F, ' ', true},  {0x205F, 0x205F, ' ', true},
    {0x2070, 0x2070, '0', true},   {0x2074, 0x2079, '4', false}, {0x207A, 0x207A, '+', true},
    {0x207B, 0x207B, '-', true},   {0x2080, 0x2089, '0', false}, {0x208A, 0x208A, '+', true},
    {0x208B, 0x208B, '-', true},   {0x2212, 0x2212, '-', true},  {0x3000, 0x3000, ' ', true},
    {0xFE58, 0xFE58, '-', true},   {0xFE63, 0xFE63, '-', true},  {0xFF01, 0xFF5E, '!', false},
};

/* Not seen, so not compared: soft hyphen, zero-width characters, byte order mark. */
static bool is_invisible(uint32_t c)
{
    return c == 0x00AD || (c >= 0x200B && c <= 0x200D) || c == 0x2060 || c == 0xFEFF;
}

static uint32_t fold(uint32_t c)
{
    for (size_t i = 0; i < EMC_COUNT(folds) && c >= folds[i].first; i++) {
        if (c <= folds[i].last)
            return folds[i].same ? folds[i].to : folds[i].to + (c - folds[i].first);
    }
    return c;
}

static uint32_t lower(uint32_t c)
{
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
    if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9) ||
        (c >= 0x410 && c <= 0x42F))
        return c + 0x20;
    if (c >= 0x400 && c <= 0x40F)
        return c + 0x50;
    /* Latin Extended-A: neighbours are upper and lower case. */
    if ((c >= 0x100 && c <= 0x137) || (c >= 0x14A && c <= 0x177))
        return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E))
        return c + (c & 1);
    return c;
}

static emc_status add_char(emc_text *out, uint32_t c, bool keep_case)
{
    static const char *const ligatures[] = {"ff", "fi", "fl", "ffi", "ffl"};
    char bytes[4];

    if (is_invisible(c))
        return EMC_OK;
    if (c >= 0xFB00 && c <= 0xFB04)
        return emc_text_add_string(out, ligatures[c - 0xFB00]);
    c = fold(c);
    return emc_text_add(out, bytes, (size_t)emc_utf8_encode(bytes, keep_case ? c : lower(c)));
}

emc_status emc_label_fold(emc_text *out, const char *text, size_t n, bool keep_case)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = 0xFFFD;
        const int length = emc_utf8_decode(&c, text + i, n - i);
        EMC_TRY(add_char(out, length ? c : 0xFFFD, keep_case));
        i += length ? (size_t)length : 1;
    }
    return EMC_OK;
}

/* "3. ", "3) ", "(3) ", "3.": how many bytes of a list number begin the text; 0 when none. */
static size_t list_number(const char *s, size_t n)
{
    const bool open = n > 0 && s[0] == '(';
    size_t i = open, end;

    while (i < n && is_digit((unsigned char)s[i]))
        i++;
    if (i == (size_t)open || i == n || (s[i] != ')' && (open || s[i] != '.')))
        return 0;
    end = ++i;
    while (i < n && is_blank((unsigned char)s[i]))
        i++;
    /* "8.cell" is a stage, "1.5" a number, and a number alone is not a list's. */
    if (n - i >= 4 && strncasecmp(s + i, "cell", 4) == 0)
        return 0;
    return i == n || (i == end && !is_letter((unsigned char)s[i])) ? 0 : i;
}

void emc_label_trim(const char **text, size_t *n)
{
    const char *s = *text;
    size_t left = *n, before;

    do {
        before = left;
        while (left && (is_blank((unsigned char)s[0]) || memchr("\"'`*_#>", s[0], 7))) {
            s++;
            left--;
        }
        while (left &&
               (is_blank((unsigned char)s[left - 1]) || memchr("\"'`*_.,;:!", s[left - 1], 10)))
            left--;
        if (left > 1 && (s[0] == '-' || s[0] == '+') && is_blank((unsigned char)s[1])) {
            s++;
            left--;
        }
        const size_t number = list_number(s, left);
        s += number;
        left -= number;
    } while (left != before);
    *text = s;
    *n = left;
}

static bool is_separator(unsigned char c)
{
    return is_blank(c) || (c != '\0' && strchr("_-./,:;()[]{}\"", c));
}

/* A hyphen that ends a word is a sign: CD16- is not CD16. */
static bool is_sign(const char *s, size_t i, size_t n)
{
    return s[i] == '-' && i > 0 && !is_separator((unsigned char)s[i - 1]) &&
           (i + 1 == n || is_blank((unsigned char)s[i + 1]) || s[i + 1] == ',');
}

size_t emc_label_next_word(const char **word, const char *text, size_t n, size_t *at)
{
    size_t begin;

    while (*at < n && is_separator((unsigned char)text[*at]))
        ++*at;
    begin = *at;
    while (*at < n && (!is_separator((unsigned char)text[*at]) || is_sign(text, *at, n)))
        ++*at;
    *word = text + begin;
    return *at - begin;
}

static bool word_is(const char *word, size_t n, const char *wanted)
{
    return strlen(wanted) == n && memcmp(word, wanted, n) == 0;
}

/* British to American at the start of a word; the rest is copied. */
static emc_status add_word(emc_text *out, const char *word, size_t n)
{
    static const struct {
        const char *british, *american;
    } spellings[] = {
        {"haem", "hem"},     {"foet", "fet"},   {"oesoph", "esoph"},
        {"tumour", "tumor"}, {"oedem", "edem"},
    };

    for (size_t i = 0; i < EMC_COUNT(spellings); i++) {
        const size_t length = strlen(spellings[i].british);
        if (n >= length && memcmp(word, spellings[i].british, length) == 0) {
            EMC_TRY(emc_text_add_string(out, spellings[i].american));
            return emc_text_add(out, word + length, n - length);
        }
    }
    return emc_text_add(out, word, n);
}

static bool has_letter(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_letter((unsigned char)s[i]))
            return true;
    }
    return false;
}

/* Drops the plural of the last word of text[begin ..]. Words as short as "PS" have none. */
static void make_singular(emc_text *text, size_t begin)
{
    const char *s;
    size_t n = text->n, word;

    for (word = n; word > begin && text->bytes[word - 1] != ' '; word--)
        ;
    s = text->bytes + word;
    n -= word;
    if (n < 4 || s[n - 1] != 's' || !is_letter((unsigned char)s[n - 2]) || strchr("sui", s[n - 2]))
        return;
    if (n > 4 && memcmp(s + n - 3, "ies", 3) == 0) {
        text->n -= 2;
        text->bytes[text->n - 1] = 'y';
    } else {
        text->n--;
    }
    text->bytes[text->n] = '\0';
}

static void drop_last_cell(emc_text *text, size_t begin)
{
    static const char *const words[] = {" cell", " cells"};

    for (size_t i = 0; i < EMC_COUNT(words); i++) {
        const size_t n = strlen(words[i]);
        if (text->n > begin + n && memcmp(text->bytes + text->n - n, words[i], n) == 0 &&
            has_letter(text->bytes + begin, text->n - n - begin)) {
            text->n -= n;
            text->bytes[text->n] = '\0';
            return;
        }
    }
}

emc_status emc_label_normalise(emc_text *out, const char *text, size_t n, bool *is_like)
{
    emc_text folded = {0};
    const char *s, *word;
    const size_t begin = out->n;
    size_t left, length, at = 0;
    bool like = false;
    emc_status status = emc_label_fold(&folded, text, n, false);

    s = folded.bytes ? folded.bytes : "";
    left = folded.n;
    emc_label_trim(&s, &left);
    while (status == EMC_OK && (length = emc_label_next_word(&word, s, left, &at)) > 0) {
        if (out->n > begin && word_is(word, length, "like")) {
            like = true;
            continue;
        }
        if (out->n > begin)
            status = emc_text_add(out, " ", 1);
        if (status == EMC_OK)
            status = add_word(out, word, length);
    }
    if (status == EMC_OK)
        status = emc_text_add(out, "", 0);
    if (status == EMC_OK && out->n > begin) {
        drop_last_cell(out, begin);
        make_singular(out, begin);
    }
    if (is_like)
        *is_like = like;
    emc_text_free(&folded);
    return status;
}

void emc_strip_think(const char **text, size_t *n)
{
    static const char open[] = "<think>", close[] = "</think>";
    const char *s = *text, *end = s + *n, *at;

    while ((at = memmem(s, (size_t)(end - s), close, sizeof(close) - 1)) != NULL)
        s = at + sizeof(close) - 1;
    at = memmem(s, (size_t)(end - s), open, sizeof(open) - 1);
    if (at)
        end = at;
    while (s < end && is_blank((unsigned char)*s))
        s++;
    while (end > s && is_blank((unsigned char)end[-1]))
        end--;
    *text = s;
    *n = (size_t)(end - s);
}
