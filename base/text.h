#pragma once
/* A growing byte string, UTF-8, and the escapes of JSON and CSV. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise; `bytes` always ends in a NUL once anything was added. Free with
 * emc_text_free. May hold NULs. */
typedef struct {
    char *bytes;
    size_t n;
    size_t capacity;
} emc_text;

emc_status emc_text_add(emc_text *text, const void *bytes, size_t n);
emc_status emc_text_add_string(emc_text *text, const char *string);
emc_status emc_text_addf(emc_text *text, const char *format, ...) EMC_PRINTF(2, 3);
void emc_text_clear(emc_text *text); /* keeps the memory */
void emc_text_free(emc_text *text);

/* A JSON string, quotes included. Control characters, quote and backslash are escaped, the rest
 * is copied; bytes that are not UTF-8 become U+FFFD. */
emc_status emc_text_add_json(emc_text *text, const char *bytes, size_t n);

/* One field by RFC 4180: quoted when it holds the separator, a quote, CR or LF. */
emc_status emc_text_add_csv(emc_text *text, const char *string, char separator);

/* Reads one character. Returns its length in bytes, 1 to 4, or 0 when the bytes at `p` are not
 * well-formed UTF-8 (surrogates, overlong forms and values above U+10FFFF included). n >= 1. */
int emc_utf8_decode(uint32_t *code, const char *p, size_t n);

/* Writes 1 to 4 bytes. A code point that is not a character becomes U+FFFD. */
int emc_utf8_encode(char out[4], uint32_t code);

/* The number of leading bytes that are well-formed; n when all are. */
size_t emc_utf8_valid(const char *bytes, size_t n);

#ifdef __cplusplus
}
#endif
