#pragma once
/* The regular expressions of rank_pattern and alpha_pattern. Internal to loader/. */

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_pattern emc_pattern;

/*
 * A Python regular expression that must match a module's path from its start or from a dot to
 * its end. Read are literals, ".", "[...]", groups "(...)" and "(?:...)", "|", the quantifiers
 * * + ? {m} {m,n} and their lazy forms, "^", "$", and the escapes \d, \w and of punctuation; at
 * most two {...} with numbers up to 99, and 256 bytes.
 *
 * EMC_ERR_FORMAT names the first construct beyond that. `text` is copied.
 */
emc_status emc_pattern_open(emc_pattern **out, const char *text);
void emc_pattern_close(emc_pattern *pattern);

bool emc_pattern_matches(const emc_pattern *pattern, const char *path);

#ifdef __cplusplus
}
#endif
