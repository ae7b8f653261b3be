#pragma once
/* Which kind of character a code point is, and text in normal form C. Inside tokenizer/ only. */

#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a code point is. At most one of the first four; none of them is "other". */
enum {
    EMC_CHAR_LETTER = 1,
    EMC_CHAR_NUMBER = 2,
    EMC_CHAR_SPACE = 4,   /* White_Space, but for CR and LF */
    EMC_CHAR_NEWLINE = 8, /* CR, LF */
    EMC_CHAR_MARK = 16,   /* has a combining class */
    EMC_CHAR_JOINS = 32,  /* may compose with what stands before it */
    EMC_CHAR_DECAYS = 64, /* is never in normal form C */
    EMC_CHAR_BREAKS = 128 /* has a canonical decomposition (Hangul syllables not counted) */
};

/* A text without any of these is in normal form C. */
#define EMC_CHAR_UNSTABLE (EMC_CHAR_MARK | EMC_CHAR_JOINS | EMC_CHAR_DECAYS)

/* One byte a code point: a flat table of 1.1 MB, of which a text touches a few pages. */
typedef struct {
    uint8_t *kinds;   /* [0x110000] of EMC_CHAR_ */
    uint8_t *classes; /* [0x110000] combining classes */
} emc_unicode;

emc_status emc_unicode_open(emc_unicode **out);
void emc_unicode_close(emc_unicode *unicode);

/* The character at text[*pos], which must be well-formed UTF-8; moves *pos behind it. */
static inline uint32_t emc_utf8_next(const char *text, size_t *pos)
{
    const unsigned char *p = (const unsigned char *)text + *pos;

    if (p[0] < 0x80) {
        *pos += 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *pos += 2;
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    }
    if (p[0] < 0xF0) {
        *pos += 3;
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *pos += 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

/*
 * The union of the kinds of all characters of a text. *n_valid is n_bytes, or the offset of the
 * first byte that is not UTF-8, where the look ends.
 */
unsigned emc_unicode_scan(const emc_unicode *unicode, const char *text, size_t n_bytes,
                          size_t *n_valid);

/* Appends normal form C of well-formed UTF-8. Time is linear, whatever the marks. */
emc_status emc_unicode_nfc(const emc_unicode *unicode, const char *text, size_t n_bytes,
                           emc_text *out);

/*
 * The end of the piece that starts at `pos` < n_bytes, by the pattern of Qwen2 and Qwen3:
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*
 *   |\s*[\r\n]+|\s+(?!\S)|\s+
 *
 * The text must be well-formed UTF-8. A piece depends only on what follows its start.
 */
size_t emc_unicode_split(const emc_unicode *unicode, const char *text, size_t n_bytes, size_t pos);

#ifdef __cplusplus
}
#endif
