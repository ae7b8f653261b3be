#pragma once
/*
 * JSON read into one flat list of values, for texts that may hold NUL and for files with several
 * hundred thousand values. cJSON cuts strings at \u0000 and allocates every value on its own.
 * Inside tokenizer/ only.
 */

#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_TAPE_NULL,
    EMC_TAPE_FALSE,
    EMC_TAPE_TRUE,
    EMC_TAPE_NUMBER,
    EMC_TAPE_STRING,
    EMC_TAPE_ARRAY,
    EMC_TAPE_OBJECT
} emc_tape_kind;

/* A value, followed in the list by what it holds. The children of an object are a string (the
 * key) and a value in turn. */
typedef struct emc_tape_value {
    emc_tape_kind kind;
    uint32_t n;       /* bytes of a string or number; values in an array; members of an object */
    uint32_t size;    /* list entries, this one and all within it */
    const char *text; /* of a string (with a NUL behind it) or a number; otherwise NULL */
} emc_tape_value;

typedef struct emc_tape emc_tape;

/*
 * Reads one JSON value and blanks around it; stricter than nothing but RFC 8259: no NaN, no
 * unescaped control characters, no half of a surrogate pair (it has no UTF-8), no key twice in
 * one object with at most 64 members. `name` is for messages. Keeps no pointer to `json`.
 * EMC_ERR_FORMAT: any of this, not UTF-8, nested deeper than 64, or longer than 1 GiB.
 */
emc_status emc_tape_open(emc_tape **out, const char *json, size_t n_bytes, const char *name);
void emc_tape_close(emc_tape *tape);

/* Borrowed from the tape, as is everything found through it. */
const emc_tape_value *emc_tape_root(const emc_tape *tape);

static inline const emc_tape_value *emc_tape_next(const emc_tape_value *value)
{
    return value + value->size;
}

/* The member's value, NULL when there is none or `object` is no object. A JSON null is given. */
const emc_tape_value *emc_tape_member(const emc_tape_value *object, const char *key);

bool emc_tape_equals(const emc_tape_value *value, const char *string);

/* A number that is written as a whole one from 0 to `most`; false for anything else. */
bool emc_tape_whole(const emc_tape_value *value, int32_t most, int32_t *out);

#ifdef __cplusplus
}
#endif
