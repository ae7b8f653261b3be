#pragma once
/* The steps of comparing names that labels.c and answers share. */

#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Compatibility forms to their plain ones, appended to *out; lower case unless keep_case. A byte
 * that is not UTF-8 becomes U+FFFD. */
emc_status emc_label_fold(emc_text *out, const char *text, size_t n, bool keep_case);

/* Narrows the text: blanks, quotes, markdown, list numbers and final stops at both ends go. The
 * text is folded. */
void emc_label_trim(const char **text, size_t *n);

/* The next word of a folded text from *at on; separators are skipped. Its length, 0 past the
 * last. */
size_t emc_label_next_word(const char **word, const char *text, size_t n, size_t *at);

#ifdef __cplusplus
}
#endif
