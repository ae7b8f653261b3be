#pragma once
/*
 * JSON text through cJSON, with messages that name the file and the line.
 *
 * Traps of cJSON that callers must know: numbers are doubles; objects are linked lists (walk
 * them once, never look up by key in a large one); a string is cut at \u0000, so text that may
 * hold NUL needs a reader of its own.
 */

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parses text[0..n_bytes), which must be one JSON value and blanks. `name` is for messages.
 * EMC_ERR_FORMAT: not JSON, not UTF-8, or nested deeper than 100. Free with cJSON_Delete. */
emc_status emc_json_parse(cJSON **out, const char *text, size_t n_bytes, const char *name);

/* The same for a file of at most `limit` bytes. */
emc_status emc_json_read(cJSON **out, const char *path, size_t limit);

/* Members of an object, exact names. `name` says whose they are in messages. *out is left alone
 * when an optional member is missing or null, so set the default before. Wrong types are
 * EMC_ERR_FORMAT, as is a missing required member. Strings are borrowed from the tree. */
emc_status emc_json_get_string(const char **out, const cJSON *object, const char *key,
                               bool required, const char *name);
emc_status emc_json_get_int(int64_t *out, const cJSON *object, const char *key, int64_t least,
                            int64_t most, bool required, const char *name);
emc_status emc_json_get_double(double *out, const cJSON *object, const char *key, bool required,
                               const char *name);
emc_status emc_json_get_bool(bool *out, const cJSON *object, const char *key, bool required,
                             const char *name);

/* Refuses a member whose name is not in `keys` (ends with NULL), and one that comes twice. */
emc_status emc_json_check_keys(const cJSON *object, const char *const *keys, const char *name);

/* cJSON_GetObjectItemCaseSensitive that gives NULL for a JSON null, too. */
const cJSON *emc_json_member(const cJSON *object, const char *key);

#ifdef __cplusplus
}
#endif
