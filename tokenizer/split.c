/*
 * Where does the pre-tokenizer of Qwen2 and Qwen3 cut a text?
 *
 * The pattern stands in unicode.h. Its alternatives are tried in order, as a regular expression
 * engine does; each function below is one of them and gives the end of its match, or its start
 * when it does not match. Kinds are disjoint, so no alternative but the blanks ever backtracks.
 */
#include "tokenizer/unicode.h"

#define OTHER_NOT (EMC_CHAR_LETTER | EMC_CHAR_NUMBER | EMC_CHAR_SPACE | EMC_CHAR_NEWLINE)

typedef struct {
    const uint8_t *kinds;
    const char *text;
    size_t n;
} input;

/* The kind of the character at pos; *next is the position behind it. */
static inline unsigned kind_at(const input *in, size_t pos, size_t *next)
{
    *next = pos;
    return in->kinds[emc_utf8_next(in->text, next)];
}

/* The end of the run of characters from pos that are of a kind in `mask`. */
static inline size_t run_of(const input *in, size_t pos, unsigned mask)
{
    while (pos < in->n) {
        size_t next;
        if (!(kind_at(in, pos, &next) & mask))
            break;
        pos = next;
    }
    return pos;
}

static inline size_t run_of_other(const input *in, size_t pos)
{
    while (pos < in->n) {
        size_t next;
        if (kind_at(in, pos, &next) & OTHER_NOT)
            break;
        pos = next;
    }
    return pos;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d), where U+017F folds to s as well. */
static size_t contraction(const input *in, size_t pos)
{
    const char *p = in->text + pos;
    const size_t left = in->n - pos;

    if (left < 2 || p[0] != '\'')
        return pos;
    const char a = (char)(p[1] | 0x20), b = left > 2 ? (char)(p[2] | 0x20) : '\0';
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return pos + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return pos + 3;
    if (left > 2 && (unsigned char)p[1] == 0xC5 && (unsigned char)p[2] == 0xBF)
        return pos + 3;
    return pos;
}

/* \s*[\r\n]+ or \s+(?!\S) or \s+ at a blank. */
static size_t blanks(const input *in, size_t pos)
{
    size_t i = pos, last = pos, newline = pos;

    while (i < in->n) {
        size_t next;
        const unsigned kind = kind_at(in, i, &next);
        if (!(kind & (EMC_CHAR_SPACE | EMC_CHAR_NEWLINE)))
            break;
        last = i;
        i = next;
        if (kind & EMC_CHAR_NEWLINE)
            newline = i;
    }
    if (newline > pos)
        return newline;
    /* Something follows, so the last blank is given back, unless it is the only one. */
    return i < in->n && last > pos ? last : i;
}

size_t emc_unicode_split(const emc_unicode *unicode, const char *text, size_t n_bytes, size_t pos)
{
    const input in = {unicode->kinds, text, n_bytes};
    size_t next, end;
    const unsigned kind = kind_at(&in, pos, &next);

    if (kind & EMC_CHAR_LETTER)
        return run_of(&in, next, EMC_CHAR_LETTER);
    if (kind & EMC_CHAR_NUMBER)
        return next;
    if (text[pos] == '\'' && (end = contraction(&in, pos)) > pos)
        return end;
    if (!(kind & EMC_CHAR_NEWLINE)) {
        end = run_of(&in, next, EMC_CHAR_LETTER);
        if (end > next)
            return end;
    }
    if (!(kind & OTHER_NOT))
        return run_of(&in, run_of_other(&in, next), EMC_CHAR_NEWLINE);
    if (text[pos] == ' ' && (end = run_of_other(&in, next)) > next)
        return run_of(&in, end, EMC_CHAR_NEWLINE);
    return blanks(&in, pos);
}
